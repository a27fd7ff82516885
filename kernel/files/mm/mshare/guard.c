// SPDX-License-Identifier: GPL-2.0
/*
 * mshare: what a region denies for writing, denied to everybody who reaches
 * the object (MSHAREFS_GUARD).
 *
 * A shmem object that is guarded has a gate, which is asked before the object
 * changes: by write() for each folio, by the removal of pages, and by the first
 * store of an ordinary mapping to a page, as filesystems are (->page_mkwrite).
 * There is no state but the gate: what is denied is what the region's host VMAs
 * and views do not grant, and these are found by the object's i_mmap.
 *
 * Who changes the object asks and acts under gate->lock, held for reading. A
 * closing changes its state first and then takes the lock for writing, once: who
 * had asked before is through, who asks later is denied. An ordinary mapping
 * cannot hold it until its entry is there, and has the folio locked instead;
 * the closing locks each folio to take R/W out of such entries.
 */
#include <linux/fs.h>
#include <linux/hugetlb.h>
#include <linux/mshare_gate.h>
#include <linux/pagemap.h>
#include <linux/pagevec.h>
#include <linux/rmap.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "../internal.h"
#include "internal.h"

/* What a system call's wait is: as user mode's, it ends with any signal. */
#define MSHARE_GATE_SYSCALL	(FAULT_FLAG_USER | FAULT_FLAG_ALLOW_RETRY)

/**
 * struct mshare_gate - what stands before a guarded object
 * @refs: the region's, and those of who asks
 * @link: by which accesses from outside wait; its region is pinned
 * @inode: the object
 * @in_region: region->gates, under region->lock
 * @lock: see above
 * @in_force: from when all objects of a GUARD have gates, until the region has
 *	none of it mapped any more; under @lock
 * @synced: system calls that began before there was a gate are over
 * @rcu: frees it: who finds it by the inode may be late
 */
struct mshare_gate {
	refcount_t refs;
	struct mshare_link link;
	struct inode *inode;
	struct list_head in_region;
	struct rw_semaphore lock;
	bool in_force;
	bool synced;
	struct rcu_head rcu;
};

static struct mshare_gate *mshare_gate_get(struct inode *inode)
{
	struct mshare_gate *gate;

	rcu_read_lock();
	gate = rcu_dereference(SHMEM_I(inode)->gate);
	if (gate && !refcount_inc_not_zero(&gate->refs))
		gate = NULL;
	rcu_read_unlock();
	return gate;
}

static void mshare_gate_put(struct mshare_gate *gate)
{
	if (!refcount_dec_and_test(&gate->refs))
		return;
	iput(gate->inode);
	mshare_region_unpin(gate->link.region);
	kfree_rcu(gate, rcu);
}

static struct mm_struct *mshare_gate_host(struct mshare_gate *gate)
{
	return gate->link.region->host;
}

/*
 * Does the region grant a page for writing? A part of a chunk that stays closed
 * gets its VMA's flags before the view opens: the view is asked first.
 */
static bool mshare_gate_grants(struct mshare_region *region,
			       struct vm_area_struct *host_vma,
			       unsigned long offset)
{
	u8 prot = READ_ONCE(mshare_chunk(region, offset)->prot);

	smp_rmb();	/* pairs with the flush in mshare_flip_gathered() */
	return prot & READ_ONCE(host_vma->vm_flags) & VM_WRITE;
}

/*
 * The host VMA that denies one of these pages, if any does, and at which offset
 * in the region; i_mmap is locked.
 */
static struct vm_area_struct *mshare_gate_find(struct mshare_gate *gate,
					       pgoff_t first, pgoff_t last,
					       unsigned long *offset)
{
	struct address_space *mapping = gate->inode->i_mapping;
	struct mshare_region *region = gate->link.region;
	struct vm_area_struct *vma;

	vma_interval_tree_foreach(vma, &mapping->i_mmap, first, last) {
		unsigned long addr = vma->vm_start, end = vma->vm_end;

		if (vma->vm_mm != region->host)
			continue;
		if (first > vma->vm_pgoff)
			addr += (first - vma->vm_pgoff) << PAGE_SHIFT;
		if (last - vma->vm_pgoff < vma_pages(vma))
			end = vma->vm_start +
			      ((last - vma->vm_pgoff + 1) << PAGE_SHIFT);
		for (; addr < end; addr = (addr & PUD_MASK) + PUD_SIZE) {
			if (mshare_gate_grants(region, vma, addr))
				continue;
			*offset = addr;
			return vma;
		}
	}
	return NULL;
}

static bool mshare_gate_denies(struct mshare_gate *gate, pgoff_t first,
			       pgoff_t last)
{
	struct address_space *mapping = gate->inode->i_mapping;
	unsigned long offset;
	bool denies;

	lockdep_assert_held(&gate->lock);
	if (!gate->in_force)
		return false;
	i_mmap_lock_read(mapping);
	denies = mshare_gate_find(gate, first, last, &offset);
	i_mmap_unlock_read(mapping);
	return denies;
}

/*
 * The same as an event, or a wait: 0, VM_FAULT_SIGSEGV, VM_FAULT_OOM, or with
 * VM_FAULT_RETRY the wait that the caller sleeps in when it has no locks.
 * Outsiders are guests: their events drive out no others.
 */
static vm_fault_t mshare_gate_ask(struct mshare_gate *gate, pgoff_t first,
				  pgoff_t last, unsigned int flags, u32 event,
				  struct mshare_wait **sleep)
{
	struct address_space *mapping = gate->inode->i_mapping;
	struct mshare_denial denial = {
		.pid	= task_tgid(current),
		.tid	= task_pid(current),
		.access	= VM_WRITE,
		.flags	= event | MSHARE_EVENT_OUTSIDE,
		.guest	= true,
	};
	struct vm_area_struct *host_vma;
	struct mshare_wait *new;
	vm_fault_t ret;

	if (!mshare_gate_denies(gate, first, last))
		return 0;
	ret = mshare_deny_prepare(gate->link.region, &denial, flags, &new);
	if (ret)
		return ret;
	i_mmap_lock_read(mapping);
	host_vma = mshare_gate_find(gate, first, last, &denial.offset);
	if (host_vma)
		ret = mshare_deny_at(&gate->link, &denial, denial.offset,
				     host_vma, flags, &new, sleep);
	i_mmap_unlock_read(mapping);
	mshare_wait_free(new);
	return ret;
}

int __mshare_gate_enter(struct inode *inode, loff_t start, loff_t end,
			void **gate)
{
	struct mshare_gate *asked = mshare_gate_get(inode);

	if (!asked)
		return 0;
	down_read(&asked->lock);
	if (mshare_gate_denies(asked, start >> PAGE_SHIFT,
			       (end - 1) >> PAGE_SHIFT)) {
		mshare_gate_leave(asked);
		return MSHARE_GATE_DENIED;
	}
	*gate = asked;
	return 0;
}

/* @gate: from mshare_gate_enter() */
void mshare_gate_leave(void *gate)
{
	struct mshare_gate *asked = gate;

	if (!asked)
		return;
	up_read(&asked->lock);
	mshare_gate_put(asked);
}

/* *@waited: it has */
static int __mshare_gate_wait(struct inode *inode, pgoff_t first, pgoff_t last,
			      bool *waited)
{
	struct mshare_gate *gate = mshare_gate_get(inode);
	struct mshare_wait *sleep;
	vm_fault_t ret;

	if (!gate)
		return 0;
	for (;;) {
		down_read(&gate->lock);
		ret = mshare_gate_ask(gate, first, last, MSHARE_GATE_SYSCALL,
				      MSHARE_EVENT_KERNEL, &sleep);
		up_read(&gate->lock);
		if (!(ret & VM_FAULT_RETRY))
			break;
		*waited = true;
		mshare_wait_sleep(gate->link.region, sleep,
				  MSHARE_GATE_SYSCALL);
		if (signal_pending(current))
			break;
	}
	mshare_gate_put(gate);
	if (ret & VM_FAULT_RETRY)
		return -ERESTARTSYS;
	if (ret & VM_FAULT_OOM)
		return -ENOMEM;
	return ret ? -EPERM : 0;
}

/**
 * mshare_gate_wait - a system call was denied to change an object
 * @inode: the object; no lock is held
 * @start: of what it was to change, in bytes
 * @end: behind it
 *
 * Returns 0 if the call shall try again, -EPERM, -ENOMEM or -ERESTARTSYS. A
 * wait is outside of all locks, and any signal ends it: MSHARE_WAIT_KERNEL is
 * not needed for it.
 */
int mshare_gate_wait(struct inode *inode, loff_t start, loff_t end)
{
	bool waited;

	return __mshare_gate_wait(inode, start >> PAGE_SHIFT,
				  (end - 1) >> PAGE_SHIFT, &waited);
}

/*
 * The same for truncate(), whose -EPERM may have been another's. Then there was
 * nothing to wait for.
 */
int mshare_gate_wait_truncate(struct inode *inode, loff_t size)
{
	loff_t end = i_size_read(inode);
	bool waited = false;
	int err;

	if (!shmem_mapping(inode->i_mapping) || size >= end)
		return -EPERM;
	err = __mshare_gate_wait(inode, size >> PAGE_SHIFT,
				 (end - 1) >> PAGE_SHIFT, &waited);
	return err || waited ? err : -EPERM;
}

/*
 * A mapping that shall be one which can be denied. SysV shared memory puts
 * vm_ops of its own over it, without ->page_mkwrite(). A PMD would be writable
 * as a whole after a page was asked for.
 */
int __mshare_gate_mmap(struct file *file, struct vm_area_struct *vma)
{
	if (vma->vm_file != file)
		return -EBUSY;
	vm_flags_set(vma, VM_NOHUGEPAGE);
	vma->vm_ops = &shmem_gated_vm_ops;
	return 0;
}

/*
 * The first store to a page by a mapping of the above. If it was made one for
 * huge pages after all, all of the folio must be granted.
 */
vm_fault_t mshare_gate_mkwrite(struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	struct folio *folio = page_folio(vmf->page);
	struct inode *inode = file_inode(vma->vm_file);
	struct mshare_gate *gate = mshare_gate_get(inode);
	pgoff_t first = vmf->pgoff, last = first;
	vm_fault_t ret = VM_FAULT_LOCKED;

	file_update_time(vma->vm_file);
	if (gate)
		down_read(&gate->lock);
	folio_lock(folio);
	if (folio->mapping != inode->i_mapping) {
		ret = VM_FAULT_NOPAGE;
		goto out;
	}
	if (!(vma->vm_flags & VM_NOHUGEPAGE)) {
		first = folio->index;
		last = folio_next_index(folio) - 1;
	}
	if (gate && vma->vm_mm != mshare_gate_host(gate) &&
	    mshare_gate_denies(gate, first, last))
		ret = VM_FAULT_SIGSEGV | VM_FAULT_DENIED;
out:
	if (ret != VM_FAULT_LOCKED)
		folio_unlock(folio);
	mshare_gate_leave(gate);
	return ret;
}

/**
 * mshare_gate_fault - a store by an ordinary mapping was denied
 * @vma: the mapping, locked as FAULT_FLAG_VMA_LOCK says
 * @address: the address, in it
 * @flags: FAULT_FLAG_*
 * @regs: as for handle_mm_fault(); NULL for GUP, which never waits and is no
 *	event
 *
 * Returns what the fault comes to: 0 if the store may be tried again. Of what
 * is denied to a host VMA of another region a window's fault waits with locks
 * of its process the second time: it does not wait, and the second is the event.
 */
vm_fault_t mshare_gate_fault(struct vm_area_struct *vma, unsigned long address,
			     unsigned int flags, struct pt_regs *regs)
{
	struct mshare_gate *gate = mshare_gate_get(file_inode(vma->vm_file));
	u32 event = flags & FAULT_FLAG_USER ? 0 : MSHARE_EVENT_KERNEL;
	pgoff_t first = linear_page_index(vma, address), last = first;
	struct mshare_wait *sleep = NULL;
	vm_fault_t ret = 0;

	if (!gate)
		return 0;
	if (!(vma->vm_flags & VM_NOHUGEPAGE)) {
		first = round_down(first, PTRS_PER_PTE);
		last = first + PTRS_PER_PTE - 1;
	}
	if (mm_is_mshare_host(vma->vm_mm)) {
		if (fault_flag_allow_retry_first(flags))
			regs = NULL;
		flags &= ~FAULT_FLAG_ALLOW_RETRY;
	}
	down_read(&gate->lock);
	if (regs)
		ret = mshare_gate_ask(gate, first, last, flags, event, &sleep);
	else if (mshare_gate_denies(gate, first, last))
		ret = VM_FAULT_SIGSEGV | VM_FAULT_DENIED;
	up_read(&gate->lock);
	if (sleep) {
		mshare_unlock_window(vma, flags);
		mshare_wait_sleep(gate->link.region, sleep, flags);
	}
	mshare_gate_put(gate);
	return ret;
}

/* Is any of these pages mapped outside of the region so that it can be written? */
static bool mshare_gate_outside(struct mshare_gate *gate, pgoff_t first,
				pgoff_t last)
{
	struct address_space *mapping = gate->inode->i_mapping;
	struct vm_area_struct *vma;
	bool outside = false;

	i_mmap_lock_read(mapping);
	vma_interval_tree_foreach(vma, &mapping->i_mmap, first, last)
		if (vma->vm_mm != mshare_gate_host(gate) &&
		    vma->vm_flags & VM_SHARED) {
			outside = true;
			break;
		}
	i_mmap_unlock_read(mapping);
	return outside;
}

/*
 * Take R/W out of what is mapped of a folio outside, and Dirty: a mapping of
 * what is dirty would become writable by an mprotect(), and nobody be asked.
 */
static u64 mshare_gate_clean_folio(struct mshare_gate *gate,
				   struct folio *folio)
{
	struct address_space *mapping = gate->inode->i_mapping;
	pgoff_t first = folio->index, last = folio_next_index(folio) - 1;
	struct vm_area_struct *vma;
	u64 entries = 0;

	i_mmap_lock_read(mapping);
	vma_interval_tree_foreach(vma, &mapping->i_mmap, first, last)
		if (vma->vm_mm != mshare_gate_host(gate))
			entries += pfn_mkclean_range(folio_pfn(folio),
						     folio_nr_pages(folio),
						     first, vma);
	i_mmap_unlock_read(mapping);
	if (entries)
		folio_mark_dirty(folio);
	return entries;
}

static u64 mshare_gate_clean(struct mshare_gate *gate, pgoff_t first,
			     pgoff_t last)
{
	struct address_space *mapping = gate->inode->i_mapping;
	struct folio_batch batch;
	u64 entries = 0;
	int i;

	if (!mshare_gate_outside(gate, first, last))
		return 0;
	folio_batch_init(&batch);
	while (filemap_get_folios(mapping, &first, last, &batch)) {
		for (i = 0; i < folio_batch_count(&batch); i++) {
			struct folio *folio = batch.folios[i];

			folio_lock(folio);
			if (folio->mapping == mapping)
				entries += mshare_gate_clean_folio(gate, folio);
			folio_unlock(folio);
		}
		folio_batch_release(&batch);
		cond_resched();
	}
	return entries;
}

/**
 * mshare_guard_close - what a range lost it loses outside too
 * @region: the region, locked
 * @start: where what is no longer granted for writing begins
 * @end: where it ends
 *
 * Nothing is to be done for objects without a gate. With one, the cost is that
 * of the pages in the range only where others have mapped some of it.
 */
void mshare_guard_close(struct mshare_region *region, unsigned long start,
			unsigned long end)
{
	struct mshare_gate *gate;
	struct vm_area_struct *vma;
	u64 entries = 0;

	lockdep_assert_held(&region->lock);
	if (mshare_skip_guard_close)
		return;
	list_for_each_entry(gate, &region->gates, in_region) {
		VMA_ITERATOR(vmi, region->host, start);

		down_write(&gate->lock);
		up_write(&gate->lock);
		mmap_read_lock(region->host);
		for_each_vma_range(vmi, vma, end) {
			pgoff_t first, last;

			if (file_inode(vma->vm_file) != gate->inode)
				continue;
			first = linear_page_index(vma, max(start, vma->vm_start));
			last = linear_page_index(vma, min(end, vma->vm_end) - 1);
			entries += mshare_gate_clean(gate, first, last);
		}
		mmap_read_unlock(region->host);
	}
	atomic64_add(entries, &region->flip_entries);
}

static void mshare_gate_set(struct mshare_gate *gate, bool in_force)
{
	down_write(&gate->lock);
	gate->in_force = in_force;
	up_write(&gate->lock);
}

/**
 * mshare_guard_check - does a guard deny to remove what is in a range?
 * @region: the region, locked
 * @start: where the range begins
 * @end: where it ends
 *
 * Its own does at a page that is mapped twice. MADV_REMOVE would wait for that,
 * with the region locked.
 *
 * Returns 0 or -EPERM.
 */
int mshare_guard_check(struct mshare_region *region, unsigned long start,
		       unsigned long end)
{
	VMA_ITERATOR(vmi, region->host, start);
	struct vm_area_struct *vma;
	int err = 0;

	mmap_read_lock(region->host);
	for_each_vma_range(vmi, vma, end) {
		loff_t pos = (loff_t)vma->vm_pgoff << PAGE_SHIFT;
		void *gate;

		if (!shmem_mapping(vma->vm_file->f_mapping))
			continue;
		err = mshare_gate_enter(file_inode(vma->vm_file),
					pos + max(start, vma->vm_start) -
					vma->vm_start,
					pos + min(end, vma->vm_end) -
					vma->vm_start, &gate);
		if (err) {
			err = -EPERM;
			break;
		}
		mshare_gate_leave(gate);
	}
	mmap_read_unlock(region->host);
	return err;
}

/* The inode forgets its gate; who waits at it or will ask goes through. */
static void mshare_gate_remove(struct mshare_gate *gate)
{
	list_del(&gate->in_region);
	RCU_INIT_POINTER(SHMEM_I(gate->inode)->gate, NULL);
	mshare_gate_set(gate, false);
	mshare_wait_leave(&gate->link, 0, ULONG_MAX);
	mshare_gate_put(gate);
}

static bool mshare_gate_mapped(struct mshare_gate *gate)
{
	struct address_space *mapping = gate->inode->i_mapping;
	struct vm_area_struct *vma;
	bool mapped = false;

	i_mmap_lock_read(mapping);
	vma_interval_tree_foreach(vma, &mapping->i_mmap, 0, ULONG_MAX)
		if (vma->vm_mm == mshare_gate_host(gate)) {
			mapped = true;
			break;
		}
	i_mmap_unlock_read(mapping);
	return mapped;
}

/* Something was unmapped from the region, which is locked. */
void mshare_guard_unmapped(struct mshare_region *region)
{
	struct mshare_gate *gate, *next;

	list_for_each_entry_safe(gate, next, &region->gates, in_region)
		if (!mshare_gate_mapped(gate))
			mshare_gate_remove(gate);
}

/* The region goes; nobody else sees it, but by its gates. */
void mshare_guard_exit(struct mshare_region *region)
{
	struct mshare_gate *gate, *next;

	list_for_each_entry_safe(gate, next, &region->gates, in_region)
		mshare_gate_remove(gate);
}

/*
 * Could somebody outside of all regions write by a mapping that was made before
 * there was a gate? Who makes one now counts itself before it looks for a gate.
 */
static bool mshare_gate_too_late(struct mshare_gate *gate)
{
	struct address_space *mapping = gate->inode->i_mapping;
	struct vm_area_struct *vma;
	int outside;

	i_mmap_lock_read(mapping);
	outside = atomic_read(&mapping->i_mmap_writable);
	vma_interval_tree_foreach(vma, &mapping->i_mmap, 0, ULONG_MAX)
		if (mm_is_mshare_host(vma->vm_mm) &&
		    vma_is_shared_maywrite(vma) && !mshare_is_pool(vma))
			outside--;
	i_mmap_unlock_read(mapping);
	return outside > 0;
}

/* Give the object that a host VMA maps a gate, unless it has the region's. */
static int mshare_gate_add(struct mshare_region *region,
			   struct vm_area_struct *vma, struct list_head *new)
{
	struct inode *inode = file_inode(vma->vm_file);
	struct mshare_gate *gate;
	bool ours, taken;

	rcu_read_lock();
	gate = rcu_dereference(SHMEM_I(inode)->gate);
	ours = gate && gate->link.region == region;
	rcu_read_unlock();
	if (ours)
		return 0;

	gate = kzalloc(sizeof(*gate), GFP_KERNEL_ACCOUNT);
	if (!gate)
		return -ENOMEM;
	refcount_set(&gate->refs, 1);
	init_rwsem(&gate->lock);
	INIT_LIST_HEAD(&gate->link.waiting);
	refcount_inc(&region->pins);
	gate->link.region = region;
	ihold(inode);
	gate->inode = inode;

	/* full barrier, as mapping_map_writable() is: see mshare_gate_too_late() */
	taken = cmpxchg(&SHMEM_I(inode)->gate, NULL, RCU_INITIALIZER(gate));
	if (taken) {
		mshare_gate_put(gate);
		return -EBUSY;
	}
	list_add(&gate->in_region, new);
	return mshare_gate_too_late(gate) ? -EBUSY : 0;
}

/* A host of another region with a mapping that cannot be denied yet */
static struct mm_struct *mshare_gate_next_host(struct mshare_gate *gate)
{
	struct address_space *mapping = gate->inode->i_mapping;
	struct mm_struct *host = NULL;
	struct vm_area_struct *vma;

	i_mmap_lock_read(mapping);
	vma_interval_tree_foreach(vma, &mapping->i_mmap, 0, ULONG_MAX) {
		if (vma->vm_mm == mshare_gate_host(gate) ||
		    !vma_is_shared_maywrite(vma) || mshare_is_pool(vma) ||
		    vma->vm_ops == &shmem_gated_vm_ops ||
		    !mmget_not_zero(vma->vm_mm))
			continue;
		host = vma->vm_mm;
		break;
	}
	i_mmap_unlock_read(mapping);
	return host;
}

/* What other regions have mapped becomes as if they had mapped it now. */
static void mshare_gate_convert(struct mshare_gate *gate)
{
	struct vm_area_struct *vma;
	struct mm_struct *host;

	while ((host = mshare_gate_next_host(gate))) {
		VMA_ITERATOR(vmi, host, 0);

		mmap_write_lock(host);
		for_each_vma(vmi, vma) {
			if (file_inode(vma->vm_file) != gate->inode)
				continue;
			vma_start_write(vma);
			vm_flags_set(vma, VM_NOHUGEPAGE);
			vma->vm_ops = &shmem_gated_vm_ops;
			vma_set_page_prot(vma);
			zap_page_range_single(vma, vma->vm_start,
					      vma->vm_end - vma->vm_start, NULL);
		}
		mmap_write_unlock(host);
		mmput(host);
	}
}

static int mshare_guard_range(struct mshare_region *region,
			      unsigned long start, unsigned long end,
			      struct list_head *new)
{
	VMA_ITERATOR(vmi, region->host, start);
	struct vm_area_struct *vma;
	int err = -ENOMEM;

	if (mmap_read_lock_killable(region->host))
		return -EINTR;
	for_each_vma_range(vmi, vma, end) {
		err = -EOPNOTSUPP;
		if (!vma_is_shmem(vma) && vma->vm_ops != &shmem_gated_vm_ops)
			break;
		err = -EACCES;
		if (!vma_is_shared_maywrite(vma))
			break;
		err = mshare_gate_add(region, vma, new);
		if (err)
			break;
	}
	mmap_read_unlock(region->host);
	return err;
}

static struct mshare_gate *mshare_gate_unsynced(struct mshare_region *region)
{
	struct mshare_gate *gate;

	list_for_each_entry(gate, &region->gates, in_region)
		if (!READ_ONCE(gate->synced)) {
			refcount_inc(&gate->refs);
			return gate;
		}
	return NULL;
}

/*
 * Wait for system calls that were changing objects before these had a gate: they
 * have the inode locked. Without the region's lock, as one may sleep in a fault,
 * until the region grants what it reads.
 */
static int mshare_guard_sync(struct mshare_region *region)
{
	struct mshare_gate *gate;
	int err = 0;

	while (!err) {
		if (mutex_lock_killable(&region->lock))
			return -EINTR;
		gate = mshare_gate_unsynced(region);
		mutex_unlock(&region->lock);
		if (!gate)
			break;
		err = down_write_killable(&gate->inode->i_rwsem);
		if (!err) {
			inode_unlock(gate->inode);
			WRITE_ONCE(gate->synced, true);
		}
		mshare_gate_put(gate);
	}
	return err;
}

/**
 * mshare_ioctl_guard - MSHAREFS_GUARD
 * @region: the region
 * @arg: struct mshare_guard
 *
 * From when it returns, what the region denies for writing of the objects
 * mapped in the range is denied to ordinary mappings, write(2), fallocate(2)
 * and truncate(2) of them too: SIGSEGV or EPERM, or with MSHARE_FAULT_WAIT a
 * wait, and an event with MSHARE_EVENT_OUTSIDE. An object is guarded as a
 * whole, until the region has none of it mapped any more. To guard again what
 * is guarded changes nothing.
 *
 * Possible returned errors are:
 *
 * - %EACCES: an object was not mapped with an fd that is open for writing.
 * - %EBADF: the fd is not open for writing.
 * - %EBUSY: another region guards an object, or it is mapped outside of
 *   regions, shared and by an fd that is open for writing.
 * - %EFAULT: @arg is not readable.
 * - %EINTR: a fatal signal came first.
 * - %EINVAL: flags or __pad is not 0; the range is empty, not page aligned or
 *   not in the region.
 * - %ENOMEM: nothing is mapped in the range, or no memory.
 * - %EOPNOTSUPP: an object is not shmem: a memfd, a file on tmpfs, an anonymous
 *   object of small pages; or it is SysV shared memory.
 *
 * After an error but EINTR nothing has changed.
 */
long mshare_ioctl_guard(struct mshare_region *region, void __user *arg)
{
	struct mshare_gate *gate, *next;
	struct mshare_guard guard;
	LIST_HEAD(new);
	long err;

	if (copy_from_user(&guard, arg, sizeof(guard)))
		return -EFAULT;
	if (guard.flags || guard.__pad ||
	    !mshare_range_ok(region, guard.region_offset, guard.size))
		return -EINVAL;
	if (mutex_lock_killable(&region->lock))
		return -EINTR;
	err = mshare_guard_range(region, guard.region_offset,
				 guard.region_offset + guard.size, &new);
	list_for_each_entry_safe(gate, next, &new, in_region) {
		if (err) {
			mshare_gate_remove(gate);
		} else {
			mshare_gate_convert(gate);
			mshare_gate_set(gate, true);
			list_move(&gate->in_region, &region->gates);
		}
	}
	mutex_unlock(&region->lock);
	return err ?: mshare_guard_sync(region);
}
