// SPDX-License-Identifier: GPL-2.0
/*
 * mshare: what becomes of an access that the region's protection denies. It is
 * told as an event, and with MSHARE_FAULT_WAIT the thread sleeps in its fault,
 * with no lock held, until the protection allows what it wants.
 *
 * A wait belongs to a thread and an address. It outlasts signals: user mode
 * handles them and comes back by a fault, which finds the wait, and its first
 * denial, again. It is over when the region's fd grants the access, removes
 * the page or stops waits, when its deadline has passed, and when the thread
 * is killed or its window goes.
 *
 * A system call that a signal handler makes there has a wait of its own, or is
 * denied at once, and leaves that of user mode as it is; but it waits no longer
 * than that may.
 */
#include <linux/capability.h>
#include <linux/cgroup.h>
#include <linux/cred.h>
#include <linux/hrtimer.h>
#include <linux/init.h>
#include <linux/mshare.h>
#include <linux/pid.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/sysctl.h>
#include <linux/uaccess.h>
#include <linux/uidgid.h>
#include <trace/events/mshare.h>

#include "internal.h"

static_assert(MSHARE_ACCESS_READ == VM_READ);
static_assert(MSHARE_ACCESS_WRITE == VM_WRITE);
static_assert(MSHARE_ACCESS_EXEC == VM_EXEC);

/*
 * Threads that were interrupted and never came back leave their waits. A
 * process keeps so many for each thread that it has; the oldest gives way.
 */
#define MSHARE_WAITS_PER_THREAD		16

/* So many are looked at before others may have wait_lock */
#define MSHARE_WAIT_BATCH		32

/* Its members may let system calls wait; -1: none. */
static int mshare_fault_group = -1;

/**
 * struct mshare_wait - a thread that waits, or is interrupted while it does
 * @link: its mm's
 * @denial: who and what; holds references of the pids
 * @address: the page in the window
 * @start: time of the denial
 * @since: time of the thread's first denial there, from which a deadline counts
 * @deadline: the wait's last moment, or KTIME_MAX; read by its thread only
 * @sleeper: the thread from when it is to sleep until it lets go of the wait,
 *	else NULL; who else ends the wait frees it only without one
 * @look: the sleeper shall look again
 * @over: out of the lists; its thread, that slept, frees it
 * @in_region: region->waiting
 * @in_link: link->waiting, those that slept last at the end
 *
 * Under region->wait_lock.
 */
struct mshare_wait {
	struct mshare_link *link;
	struct mshare_denial denial;
	unsigned long address;
	u64 start;
	u64 since;
	ktime_t deadline;
	struct task_struct *sleeper;
	bool look;
	bool over;
	struct list_head in_region;
	struct list_head in_link;
};

void mshare_wait_init(struct mshare_region *region)
{
	mutex_init(&region->wait_walk);
	spin_lock_init(&region->wait_lock);
	INIT_LIST_HEAD(&region->waiting);
}

static struct mshare_wait *mshare_wait_alloc(const struct mshare_denial *denial)
{
	struct mshare_wait *wait = kzalloc(sizeof(*wait), GFP_KERNEL_ACCOUNT);

	if (!wait)
		return NULL;
	wait->denial = *denial;
	get_pid(denial->pid);
	get_pid(denial->tid);
	return wait;
}

void mshare_wait_free(struct mshare_wait *wait)
{
	if (!wait)
		return;
	put_pid(wait->denial.pid);
	put_pid(wait->denial.tid);
	kfree(wait);
}

/* Out of the lists, and told. @flags: 0 or MSHARE_EVENT_TIMEOUT */
static void mshare_wait_end(struct mshare_wait *wait, u32 flags)
{
	struct mshare_link *link = wait->link;
	u64 now = ktime_get_ns();

	lockdep_assert_held(&link->region->wait_lock);
	list_del(&wait->in_region);
	list_del(&wait->in_link);
	link->region->nr_waiting--;
	link->nr_waiting--;
	trace_mshare_wait(link->region->ino, wait->denial.offset,
			  wait->denial.access, now - wait->start,
			  flags | wait->denial.flags);
	mshare_event_add(link->region, &wait->denial, now, now - wait->start,
			 flags | MSHARE_EVENT_DONE);
}

/* Its thread takes the lock before it goes on, so it is there to be woken. */
static void mshare_wait_wake(struct mshare_wait *wait)
{
	if (wait->sleeper) {
		WRITE_ONCE(wait->look, true);
		wake_up_process(wait->sleeper);
	}
}

/* The same by another than its thread. */
static void mshare_wait_cancel(struct mshare_wait *wait)
{
	mshare_wait_end(wait, 0);
	if (wait->sleeper) {
		wait->over = true;
		mshare_wait_wake(wait);
	} else {
		mshare_wait_free(wait);
	}
}

/* One of many has been looked at. */
static void mshare_wait_pause(struct mshare_region *region, unsigned long left)
	__must_hold(&region->wait_lock)
{
	if (left % MSHARE_WAIT_BATCH)
		return;
	spin_unlock(&region->wait_lock);
	cond_resched();
	spin_lock(&region->wait_lock);
}

/*
 * End the waits that @prot allows in a range; with @look, others look again.
 *
 * There may be thousands, so wait_lock is let go meanwhile. What has been looked at
 * goes to the end, where those come that join: they have seen already what is the
 * reason for this walk. So those that have not been looked at are the first ones,
 * whoever leaves, as long as there is one walk at a time.
 */
static void mshare_wait_walk(struct mshare_region *region, unsigned long start,
			     unsigned long end, unsigned long prot, bool look)
{
	struct mshare_wait *wait;
	unsigned long left;

	mutex_lock(&region->wait_walk);
	spin_lock(&region->wait_lock);
	for (left = region->nr_waiting; left && region->nr_waiting; left--) {
		wait = list_first_entry(&region->waiting, struct mshare_wait,
					in_region);
		list_move_tail(&wait->in_region, &region->waiting);
		if (wait->denial.offset >= start && wait->denial.offset < end &&
		    mshare_grants(prot, wait->denial.access))
			mshare_wait_cancel(wait);
		else if (look)
			mshare_wait_wake(wait);
		mshare_wait_pause(region, left);
	}
	spin_unlock(&region->wait_lock);
	mutex_unlock(&region->wait_walk);
}

/**
 * mshare_wait_grant - end waits that a range's new protection allows
 * @region: the region, locked
 * @start: of the range, in the region
 * @end: of the range
 * @prot: what all that is mapped in it has now; all rights if nothing is
 */
void mshare_wait_grant(struct mshare_region *region, unsigned long start,
		       unsigned long end, unsigned long prot)
{
	lockdep_assert_held(&region->lock);
	mshare_wait_walk(region, start, end, prot, false);
}

/*
 * A window goes: its threads' next access finds none. As above; those of other
 * windows may move to the end meanwhile, and nobody looks for them.
 */
void mshare_wait_leave(struct mshare_link *link, unsigned long start,
		       unsigned long end)
{
	struct mshare_region *region = link->region;
	struct mshare_wait *wait;
	unsigned int left;

	spin_lock(&region->wait_lock);
	for (left = link->nr_waiting; left && link->nr_waiting; left--) {
		wait = list_first_entry(&link->waiting, struct mshare_wait,
					in_link);
		list_move_tail(&wait->in_link, &link->waiting);
		if (wait->address >= start && wait->address < end)
			mshare_wait_cancel(wait);
		mshare_wait_pause(region, left);
	}
	spin_unlock(&region->wait_lock);
}

/* The mode has changed: who waits looks again, also at the deadline. */
static void mshare_wait_look(struct mshare_region *region, u32 mode)
{
	if (mode == MSHARE_FAULT_SIGNAL)
		mshare_wait_walk(region, 0, ULONG_MAX, MSHARE_PROT_ALL, false);
	else
		mshare_wait_walk(region, 0, 0, 0, true);
}

/* The fds open for writing are counted: without one nobody ends a wait. */
void mshare_wait_add_writer(struct mshare_region *region)
{
	spin_lock(&region->wait_lock);
	region->writers++;
	spin_unlock(&region->wait_lock);
}

void mshare_wait_drop_writer(struct mshare_region *region)
{
	const struct mshare_fault_mode mode = { .mode = MSHARE_FAULT_SIGNAL };
	bool last;

	spin_lock(&region->wait_lock);
	last = !--region->writers;
	if (last)
		region->fault_mode = mode;
	spin_unlock(&region->wait_lock);
	if (last)
		mshare_wait_look(region, mode.mode);
}

static bool mshare_may_stall_kernel(void)
{
	kgid_t group = make_kgid(&init_user_ns, READ_ONCE(mshare_fault_group));

	return capable(CAP_SYS_PTRACE) ||
		(gid_valid(group) && in_group_p(group));
}

/**
 * mshare_ioctl_fault_mode - MSHAREFS_FAULT_MODE
 * @region: the region
 * @arg: struct mshare_fault_mode
 *
 * MSHARE_FAULT_SIGNAL: an access that the region's protection denies gets
 * SIGSEGV, a system call EFAULT; all that wait get it now. MSHARE_FAULT_WAIT:
 * the thread sleeps until the protection allows the access, or the page is
 * unmapped, or timeout_ns have passed since it was first denied there; then it
 * gets the signal or EFAULT. A timeout_ns of 0 is none. User mode handles
 * signals meanwhile; a system call waits only with MSHARE_WAIT_KERNEL, and
 * only a fatal signal ends that before. Without it, it gets EFAULT.
 *
 * The last close of an fd that is open for writing sets MSHARE_FAULT_SIGNAL.
 *
 * Possible returned errors are:
 *
 * - %EBADF: the fd is not open for writing.
 * - %EFAULT: @arg is not readable.
 * - %EINVAL: unknown mode or flags.
 * - %EPERM: MSHARE_WAIT_KERNEL, and the caller has neither CAP_SYS_PTRACE nor
 *   is it in the group vm.mshare_fault_group.
 */
long mshare_ioctl_fault_mode(struct mshare_region *region, void __user *arg)
{
	struct mshare_fault_mode mode;

	if (copy_from_user(&mode, arg, sizeof(mode)))
		return -EFAULT;
	if (mode.mode > MSHARE_FAULT_WAIT || mode.flags & ~MSHARE_WAIT_KERNEL)
		return -EINVAL;
	if (mode.flags & MSHARE_WAIT_KERNEL && !mshare_may_stall_kernel())
		return -EPERM;
	spin_lock(&region->wait_lock);
	region->fault_mode = mode;
	spin_unlock(&region->wait_lock);
	mshare_wait_look(region, mode.mode);
	return 0;
}

/*
 * May this fault wait? It must be able to let go of its locks; an exiting or
 * dumping task could not be killed out of it, a kernel thread not at all.
 */
static bool mshare_may_wait(struct mshare_region *region, unsigned int flags)
{
	const struct mshare_fault_mode *mode = &region->fault_mode;

	if (READ_ONCE(mode->mode) != MSHARE_FAULT_WAIT)
		return false;
	if (!(flags & FAULT_FLAG_USER) &&
	    !(READ_ONCE(mode->flags) & MSHARE_WAIT_KERNEL))
		return false;
	if (!(flags & FAULT_FLAG_ALLOW_RETRY) ||
	    flags & FAULT_FLAG_RETRY_NOWAIT)
		return false;
	return !(current->flags & (PF_EXITING | PF_DUMPCORE | PF_KTHREAD));
}

static ktime_t mshare_wait_deadline(struct mshare_wait *wait)
{
	u64 timeout = wait->link->region->fault_mode.timeout_ns, deadline;

	if (!timeout || check_add_overflow(wait->since, timeout, &deadline))
		return KTIME_MAX;
	return min_t(u64, deadline, KTIME_MAX);
}

/*
 * The wait of this thread there that a signal, or a look, has interrupted, of
 * user mode or (@flags is MSHARE_EVENT_KERNEL) of the kernel
 */
static struct mshare_wait *mshare_wait_find(struct mshare_link *link,
					    unsigned long address, u32 flags)
{
	struct mshare_wait *wait;

	list_for_each_entry(wait, &link->waiting, in_link)
		if (wait->address == address && wait->denial.flags == flags &&
		    wait->denial.tid == task_pid(current))
			return wait;
	return NULL;
}

static void mshare_wait_add(struct mshare_link *link, struct mshare_wait *wait,
			    unsigned long address, u64 now)
{
	unsigned int max = MSHARE_WAITS_PER_THREAD * get_nr_threads(current);
	struct mshare_wait *old = mshare_wait_find(link, address, 0);

	wait->since = old ? old->since : now;
	if (link->nr_waiting >= max) {
		list_for_each_entry(old, &link->waiting, in_link) {
			if (old->sleeper)
				continue;
			mshare_wait_cancel(old);
			break;
		}
	}
	wait->link = link;
	wait->address = address;
	wait->start = now;
	list_add_tail(&wait->in_region, &link->region->waiting);
	list_add_tail(&wait->in_link, &link->waiting);
	link->region->nr_waiting++;
	link->nr_waiting++;
	atomic64_inc(&link->region->waits);
}

/* Go on with a wait: false if it may not, or its time is up, and it is over. */
static bool mshare_wait_resume(struct mshare_wait *wait, unsigned int flags,
			       u64 now)
{
	bool may = mshare_may_wait(wait->link->region, flags);

	wait->deadline = mshare_wait_deadline(wait);
	if (may && ktime_before(now, wait->deadline)) {
		wait->sleeper = current;
		wait->look = false;
		list_move_tail(&wait->in_link, &wait->link->waiting);
		return true;
	}
	mshare_wait_end(wait, may ? MSHARE_EVENT_TIMEOUT : 0);
	return false;
}

/**
 * mshare_deny_prepare - what takes memory of a denial
 * @region: the region
 * @denial: who is to be denied what
 * @flags: FAULT_FLAG_*
 * @new: the wait that it may come to, or NULL; for mshare_deny_at()
 *
 * Returns 0 or VM_FAULT_OOM.
 */
vm_fault_t mshare_deny_prepare(struct mshare_region *region,
			       const struct mshare_denial *denial,
			       unsigned int flags, struct mshare_wait **new)
{
	*new = NULL;
	if (mshare_may_wait(region, flags)) {
		*new = mshare_wait_alloc(denial);
		if (!*new)
			return VM_FAULT_OOM;
	}
	mshare_event_prepare(region, denial->guest ? NULL : region->memcg);
	mshare_wait_delay();
	return 0;
}

/**
 * mshare_deny_at - an access that host VMA and view do not allow
 * @link: by which it was made
 * @denial: who is denied what; its offset is where
 * @address: of the page in the window, or what else tells it from others
 * @host_vma: the host VMA, which stays what it is meanwhile
 * @flags: FAULT_FLAG_*
 * @new: from mshare_deny_prepare(); NULL afterwards if it is in use
 * @sleep: set with VM_FAULT_RETRY
 *
 * Returns 0 if a flip has just come and allowed it; the error that denies it;
 * or VM_FAULT_RETRY, and then the caller lets go of all locks, but keeps the
 * link, and calls mshare_wait_sleep().
 *
 * No wakeup is lost: a flip stores what it grants and then looks for waits,
 * under wait_lock. We ask for what is granted again under that lock, and join
 * the waits before we drop it. Either the flip's look comes later, and finds
 * us, or we come later, and see what it had stored.
 */
vm_fault_t mshare_deny_at(struct mshare_link *link,
			  const struct mshare_denial *denial,
			  unsigned long address,
			  struct vm_area_struct *host_vma, unsigned int flags,
			  struct mshare_wait **new, struct mshare_wait **sleep)
{
	vm_fault_t ret = VM_FAULT_SIGSEGV | VM_FAULT_DENIED;
	struct mshare_wait *wait, *over = NULL;
	struct mshare_region *region = link->region;
	u64 now;

	spin_lock(&region->wait_lock);
	if (!mshare_skip_wait_recheck &&
	    mshare_allowed(region, host_vma, denial->offset, denial->access)) {
		ret = 0;
		goto out;
	}
	now = ktime_get_ns();
	wait = mshare_wait_find(link, address, denial->flags);
	if (wait) {
		wait->denial.access = denial->access;
	} else {
		mshare_event_add(region, denial, now, 0, 0);
		if (!*new || !mshare_may_wait(region, flags))
			goto out;
		swap(wait, *new);
		wait->denial.offset = denial->offset;
		mshare_wait_add(link, wait, address, now);
	}
	if (mshare_wait_resume(wait, flags, now)) {
		*sleep = wait;
		ret = VM_FAULT_RETRY;
	} else {
		over = wait;
	}
out:
	spin_unlock(&region->wait_lock);
	mshare_wait_free(over);
	return ret;
}

/**
 * mshare_deny - a fault that host VMA and view do not allow
 * @vma: the window, locked
 * @address: the address, in it
 * @host_vma: the host VMA, locked
 * @flags: FAULT_FLAG_*
 * @sleep: set with VM_FAULT_RETRY
 *
 * Returns what mshare_deny_at() does.
 */
vm_fault_t mshare_deny(struct vm_area_struct *vma, unsigned long address,
		       struct vm_area_struct *host_vma, unsigned int flags,
		       struct mshare_wait **sleep)
{
	unsigned long offset = mshare_window_offset(vma, address);
	struct mshare_link *link = vma->vm_private_data;
	struct mshare_denial denial = {
		.pid	= task_tgid(current),
		.tid	= task_pid(current),
		.offset	= offset & PAGE_MASK,
		.access	= mshare_fault_access(flags),
		.flags	= flags & FAULT_FLAG_USER ? 0 : MSHARE_EVENT_KERNEL,
		.guest	= mshare_window_is_guest(vma),
	};
	struct mshare_wait *new;
	vm_fault_t ret;

	/* No flip will ever allow what window or object do not. */
	if (!mshare_grants(vma->vm_flags & mshare_vma_ceiling(host_vma),
			   denial.access))
		return VM_FAULT_SIGSEGV | VM_FAULT_DENIED;
	ret = mshare_deny_prepare(link->region, &denial, flags, &new);
	if (!ret)
		ret = mshare_deny_at(link, &denial, address & PAGE_MASK,
				     host_vma, flags, &new, sleep);
	mshare_wait_free(new);
	return ret;
}

/*
 * Sleep until there is reason to look again. User mode comes back to it when
 * it has handled its signals, and so does a deadline, to be told what it is.
 *
 * User mode leaves for the freezer as for a signal. A system call is frozen
 * where it sleeps, as vfork() is, with what locks it has: who wants one of
 * these waits for it in any case.
 */
void mshare_wait_sleep(struct mshare_region *region, struct mshare_wait *wait,
		       unsigned int flags)
{
	bool user = flags & FAULT_FLAG_USER;
	unsigned int state = user ? TASK_INTERRUPTIBLE :
				    TASK_KILLABLE | TASK_FREEZABLE_UNSAFE;
	ktime_t *deadline = wait->deadline == KTIME_MAX ? NULL :
							  &wait->deadline;

	if (!user)
		cgroup_enter_frozen();
	for (;;) {
		set_current_state(state);
		if (READ_ONCE(wait->look) ||
		    signal_pending_state(state, current))
			break;
		if (!schedule_hrtimeout(deadline, HRTIMER_MODE_ABS))
			break;
	}
	__set_current_state(TASK_RUNNING);
	if (!user)
		cgroup_leave_frozen(false);

	/* Without a sleeper, others may free it as soon as the lock is dropped. */
	spin_lock(&region->wait_lock);
	if (!wait->over && fatal_signal_pending(current)) {
		mshare_wait_end(wait, 0);
		wait->over = true;
	}
	wait->sleeper = NULL;
	if (!wait->over)
		wait = NULL;
	spin_unlock(&region->wait_lock);
	mshare_wait_free(wait);
}

static struct ctl_table mshare_sysctls[] = {
	{
		.procname	= "mshare_fault_group",
		.data		= &mshare_fault_group,
		.maxlen		= sizeof(mshare_fault_group),
		.mode		= 0644,
		.proc_handler	= proc_dointvec,
	},
};

static struct ctl_table_header *mshare_sysctl_header;

void __init mshare_wait_sysctls_init(void)
{
	mshare_sysctl_header = register_sysctl("vm", mshare_sysctls);
	if (!mshare_sysctl_header)
		pr_warn("no sysctl vm.mshare_fault_group\n");
}

void mshare_wait_sysctls_exit(void)
{
	unregister_sysctl_table(mshare_sysctl_header);
}
