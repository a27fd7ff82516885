// SPDX-License-Identifier: GPL-2.0
/*
 * mshare: a region, the file behind which it stands, and its ioctls.
 */
#include <linux/compiler.h>
#include <linux/fs.h>
#include <linux/memcontrol.h>
#include <linux/mman.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "internal.h"

#define CREATE_TRACE_POINTS
#include <trace/events/mshare.h>

static_assert(sizeof(struct mshare_create) == 40);
static_assert(sizeof(struct mshare_unmap) == 16);
static_assert(sizeof(struct mshare_protect) == 24);
static_assert(sizeof(struct mshare_advise) == 24);
static_assert(sizeof(struct mshare_stat) >= MSHARE_STAT_SIZE_VER0);
static_assert(sizeof(struct mshare_fault_mode) == 16);
static_assert(sizeof(struct mshare_event) == 40);
static_assert(sizeof(struct mshare_guard) == 24);

/* Possible errors: -ENOSPC (nr_regions=), -ENOMEM. */
struct mshare_region *mshare_region_alloc(struct mshare_fs *fs)
{
	struct mshare_region *region;
	int err;

	err = mshare_fs_charge_region(fs);
	if (err)
		return ERR_PTR(err);
	region = kzalloc(sizeof(*region), GFP_KERNEL_ACCOUNT);
	if (!region ||
	    percpu_counter_init(&region->faults, 0, GFP_KERNEL_ACCOUNT)) {
		kfree(region);
		atomic_long_dec(&fs->regions);
		return ERR_PTR(-ENOMEM);
	}
	refcount_set(&region->refs, 1);
	refcount_set(&region->pins, 1);
	refcount_inc(&fs->refs);
	region->fs = fs;
	mutex_init(&region->lock);
	spin_lock_init(&region->links_lock);
	INIT_LIST_HEAD(&region->gates);
	mshare_wait_init(region);
	mshare_event_init(region);
	region->memcg = get_mem_cgroup_from_mm(current->mm);
	return region;
}

/* ftruncate(): once, to whole slots. The caller holds the inode's lock. */
int mshare_region_set_size(struct mshare_region *region, loff_t size)
{
	unsigned long slots = size / MSHARE_SLOT_SIZE;
	int err;

	if (!region)
		return -EINVAL;
	if (region->size)
		return -EBUSY;
	if (size <= 0 || size & ~MSHARE_SLOT_MASK || size > TASK_SIZE)
		return -EINVAL;

	region->views = kvcalloc(slots, sizeof(*region->views),
				 GFP_KERNEL_ACCOUNT);
	if (!region->views)
		return -ENOMEM;
	err = mshare_host_init(region);
	if (err) {
		kvfree(region->views);
		region->views = NULL;
		return err;
	}
	/* pairs with smp_load_acquire() in mshare_region_size() */
	smp_store_release(&region->size, size);
	return 0;
}

/* The last fd, window and fault are gone: nobody can see the region. */
static void mshare_region_free(struct mshare_region *region)
{
	struct mshare_fs *fs = region->fs;
	unsigned long slot;

	WARN_ON_ONCE(region->nr_links);
	kvfree(region->sharers);
	mshare_event_exit(region);
	mem_cgroup_put(region->memcg);
	for (slot = 0; slot < region->size / MSHARE_SLOT_SIZE; slot++) {
		if (region->views[slot])
			mshare_view_free(region, region->views[slot]);
		cond_resched();
	}
	kvfree(region->views);
	percpu_counter_destroy(&region->faults);
	atomic_long_dec(&fs->regions);
	mshare_fs_put(fs);
}

/* May sleep: the last one takes the host mm down. */
void mshare_region_put(struct mshare_region *region)
{
	struct mm_struct *host = region->host;

	if (!refcount_dec_and_test(&region->refs))
		return;
	mshare_pool_gone(region);
	if (host)
		mshare_host_exit(region);
	mshare_region_free(region);
	if (host)
		mmu_notifier_put(&region->mn);	/* unpins it */
	else
		mshare_region_unpin(region);
}

void mshare_region_unpin(struct mshare_region *region)
{
	if (refcount_dec_and_test(&region->pins))
		kfree_rcu(region, rcu);
}

static long mshare_ioctl_create(struct mshare_region *region, void __user *arg)
{
	struct mshare_create create;

	if (copy_from_user(&create, arg, sizeof(create)))
		return -EFAULT;
	return mshare_host_create(region, &create);
}

/**
 * mshare_ioctl_unmap - MSHAREFS_UNMAP
 * @region: the region
 * @arg: struct mshare_unmap
 *
 * Takes out what is mapped in the range, for every process; a mapping may be
 * cut, holes are no error.
 *
 * Possible returned errors are:
 *
 * - %EBADF: the fd is not open for writing.
 * - %EFAULT: @arg is not readable.
 * - %EINTR: a fatal signal came first.
 * - %EINVAL: the range is empty, not page aligned, not in the region, or cuts a
 *   huge page of hugetlbfs.
 * - %ENOMEM: no memory for splitting a mapping; nothing has changed.
 */
static long mshare_ioctl_unmap(struct mshare_region *region, void __user *arg)
{
	struct mshare_unmap unmap;
	long err;

	if (copy_from_user(&unmap, arg, sizeof(unmap)))
		return -EFAULT;
	if (!mshare_range_ok(region, unmap.region_offset, unmap.size))
		return -EINVAL;
	mshare_host_write_back(region, unmap.region_offset,
			       unmap.region_offset + unmap.size);
	if (mutex_lock_killable(&region->lock))
		return -EINTR;
	err = mshare_host_unmap(region, unmap.region_offset,
				unmap.region_offset + unmap.size);
	if (!err)
		mshare_wait_grant(region, unmap.region_offset,
				  unmap.region_offset + unmap.size,
				  MSHARE_PROT_ALL);
	mutex_unlock(&region->lock);
	return err;
}

/**
 * mshare_ioctl_protect - MSHAREFS_PROTECT
 * @region: the region
 * @arg: struct mshare_protect
 *
 * Sets the protection of what is mapped in the range, for every process. When
 * it returns no access that starts later has more than that; an access that
 * already holds the page (a pin, a system call's reference) may finish.
 *
 * Possible returned errors are:
 *
 * - %EACCES: more than an object in the range allows; nothing has changed.
 * - %EBADF: the fd is not open for writing.
 * - %EFAULT: @arg is not readable.
 * - %EINTR: a fatal signal came first.
 * - %EINVAL: unknown bits in prot or flags; the range is empty, not page
 *   aligned, not in the region, or cuts a huge page of hugetlbfs.
 * - %ENOMEM: nothing is mapped in the range, or no memory for splitting a
 *   mapping; nothing has changed.
 */
static long mshare_ioctl_protect(struct mshare_region *region, void __user *arg)
{
	struct mshare_protect protect;
	unsigned long end, prot;
	long err;

	if (copy_from_user(&protect, arg, sizeof(protect)))
		return -EFAULT;
	if (protect.flags || protect.prot & ~(PROT_READ | PROT_WRITE | PROT_EXEC))
		return -EINVAL;
	if (!mshare_range_ok(region, protect.region_offset, protect.size))
		return -EINVAL;
	end = protect.region_offset + protect.size;
	prot = calc_vm_prot_bits(protect.prot, 0);
	if ((protect.region_offset | end) & ~PUD_MASK)
		mshare_host_write_back(region, protect.region_offset & PUD_MASK,
				       ALIGN(end, PUD_SIZE));
	if (mutex_lock_killable(&region->lock))
		return -EINTR;
	err = mshare_protect(region, protect.region_offset, end, prot);
	if (!err && !(prot & VM_WRITE))
		mshare_guard_close(region, protect.region_offset, end);
	if (!err)
		mshare_wait_grant(region, protect.region_offset, end, prot);
	mutex_unlock(&region->lock);
	return err;
}

/**
 * mshare_ioctl_advise - MSHAREFS_ADVISE
 * @region: the region
 * @arg: struct mshare_advise
 *
 * What madvise(2) does to a range of a process this does to what is mapped in
 * a range of the region, for all who map it: MADV_POPULATE_READ,
 * MADV_POPULATE_WRITE, MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_PAGEOUT, MADV_COLD,
 * MADV_REMOVE, MADV_DONTNEED.
 *
 * Possible returned errors are:
 *
 * - %EACCES: MADV_REMOVE, and the region does not grant all of the range for
 *   writing; nothing has changed.
 * - %EAGAIN: no memory for splitting a mapping.
 * - %EBADF: the fd is not open for writing.
 * - %EFAULT: @arg is not readable; populating met what an access would get
 *   SIGBUS for.
 * - %EHWPOISON: populating met a page that is broken.
 * - %EINTR: a fatal signal came first.
 * - %EINVAL: other advice, flags is not 0; the range is empty, not page aligned
 *   or not in the region; MADV_PAGEOUT or MADV_COLD of huge pages of hugetlbfs;
 *   other advice on a part of one; populating for an access that the region
 *   denies.
 * - %ENOMEM: a part of the range is not mapped; all advice but populating has
 *   been taken for the rest. No memory.
 * - %EOPNOTSUPP: MADV_REMOVE of a file whose filesystem has no holes.
 * - %EPERM: MADV_REMOVE of a file that is immutable or append-only, of a memfd
 *   that was sealed against writing after it was mapped, or of what a guard
 *   denies: another region's, or where a page is mapped twice.
 * - %ETXTBSY: MADV_REMOVE of a file that is swap space.
 *
 * And MADV_REMOVE's are those of fallocate(2) by the object's filesystem.
 */
static long mshare_ioctl_advise(struct mshare_region *region, void __user *arg)
{
	struct mshare_advise advise;

	if (copy_from_user(&advise, arg, sizeof(advise)))
		return -EFAULT;
	if (advise.flags ||
	    !mshare_range_ok(region, advise.region_offset, advise.size))
		return -EINVAL;
	return mshare_advise(region, advise.region_offset,
			     advise.region_offset + advise.size, advise.advice);
}

/**
 * mshare_ioctl_stat - MSHAREFS_STAT
 * @region: the region
 * @arg: struct mshare_stat; any size from %MSHARE_STAT_SIZE_VER0 on
 *
 * Possible returned errors are:
 *
 * - %EFAULT: @arg is not readable or not writable.
 * - %EINVAL: size is too short, or flags is not 0.
 */
static long mshare_ioctl_stat(struct mshare_region *region, void __user *arg)
{
	struct mshare_stat stat = {};
	u32 head[2];

	if (copy_from_user(head, arg, sizeof(head)))
		return -EFAULT;
	if (head[0] < MSHARE_STAT_SIZE_VER0 || head[1])
		return -EINVAL;

	stat.size = sizeof(stat);
	stat.windows = atomic64_read(&region->windows);
	stat.processes = READ_ONCE(region->nr_links);
	stat.faults = percpu_counter_sum(&region->faults);
	stat.flips = atomic64_read(&region->flips);
	stat.flip_entries = atomic64_read(&region->flip_entries);
	stat.shootdowns = atomic64_read(&region->shootdowns);
	stat.waits = atomic64_read(&region->waits);
	if (mshare_region_size(region))
		mshare_host_stat(region, &stat);
	if (copy_to_user(arg, &stat, min_t(size_t, head[0], sizeof(stat))))
		return -EFAULT;
	return 0;
}

static long mshare_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct mshare_region *region = mshare_file_region(file);
	void __user *uarg = (void __user *)arg;

	/* It grows: any size, by its number */
	if (_IOC_TYPE(cmd) == _IOC_TYPE(MSHAREFS_STAT) &&
	    _IOC_NR(cmd) == _IOC_NR(MSHAREFS_STAT))
		return mshare_ioctl_stat(region, uarg);

	switch (cmd) {
	case MSHAREFS_CREATE_MAPPING:
	case MSHAREFS_UNMAP:
	case MSHAREFS_PROTECT:
	case MSHAREFS_ADVISE:
	case MSHAREFS_FAULT_MODE:
	case MSHAREFS_GUARD:
		break;
	default:
		return -ENOTTY;
	}
	if (!(file->f_mode & FMODE_WRITE))
		return -EBADF;

	switch (cmd) {
	case MSHAREFS_CREATE_MAPPING:
		return mshare_ioctl_create(region, uarg);
	case MSHAREFS_UNMAP:
		return mshare_ioctl_unmap(region, uarg);
	case MSHAREFS_PROTECT:
		return mshare_ioctl_protect(region, uarg);
	case MSHAREFS_ADVISE:
		return mshare_ioctl_advise(region, uarg);
	case MSHAREFS_GUARD:
		return mshare_ioctl_guard(region, uarg);
	default:
		return mshare_ioctl_fault_mode(region, uarg);
	}
}

/*
 * Windows start at a slot: ask for one slot more than is needed and take the
 * aligned part. An aligned hint that is free is honoured, as mmap() has it.
 */
static unsigned long mshare_get_unmapped_area(struct file *file,
					      unsigned long addr,
					      unsigned long len,
					      unsigned long pgoff,
					      unsigned long flags)
{
	struct mshare_region *region = mshare_file_region(file);
	unsigned long size = mshare_region_size(region);

	if ((flags & MAP_TYPE) == MAP_PRIVATE)
		return -EINVAL;
	if (len & ~MSHARE_SLOT_MASK || len > size ||
	    (pgoff << PAGE_SHIFT) & ~MSHARE_SLOT_MASK ||
	    pgoff > (size - len) >> PAGE_SHIFT)
		return -EINVAL;
	if (flags & MAP_FIXED)
		return addr & ~MSHARE_SLOT_MASK ? -EINVAL : addr;

	if (addr && !(addr & ~MSHARE_SLOT_MASK)) {
		unsigned long got = mm_get_unmapped_area(current->mm, NULL,
							 addr, len, 0, flags);

		if (got == addr)
			return got;
	}
	addr = mm_get_unmapped_area(current->mm, NULL, 0,
				    len + MSHARE_SLOT_SIZE - PAGE_SIZE, 0,
				    flags);
	if (IS_ERR_VALUE(addr))
		return addr;
	return ALIGN(addr, MSHARE_SLOT_SIZE);
}

/* Reading is of events, a stream: a reader that waits keeps no other out. */
static int mshare_file_open(struct inode *inode, struct file *file)
{
	if (file->f_mode & FMODE_WRITE)
		mshare_wait_add_writer(inode->i_private);
	return stream_open(inode, file);
}

/* The last fd of an open() is closed; windows do not hold this file. */
static int mshare_file_release(struct inode *inode, struct file *file)
{
	if (file->f_mode & FMODE_WRITE)
		mshare_wait_drop_writer(inode->i_private);
	return 0;
}

/* Programs of v3 set the size so; there is nothing else to allocate. */
static long mshare_fallocate(struct file *file, int mode, loff_t offset,
			     loff_t len)
{
	struct inode *inode = file_inode(file);
	int err;

	if (mode || offset)
		return -EOPNOTSUPP;
	inode_lock(inode);
	err = mshare_region_set_size(inode->i_private, len);
	if (!err)
		i_size_write(inode, len);
	inode_unlock(inode);
	return err;
}

/* /proc/PID/fdinfo/FD: what the region consists of. */
static void mshare_show_fdinfo(struct seq_file *seq, struct file *file)
{
	struct mshare_region *region = mshare_file_region(file);

	if (mshare_region_size(region))
		mshare_host_show(region, seq);
}

const struct file_operations mshare_file_ops = {
	.owner			= THIS_MODULE,
	.open			= mshare_file_open,
	.release		= mshare_file_release,
	.read			= mshare_event_read,
	.poll			= mshare_event_poll,
	.mmap			= mshare_window_map,
	.get_unmapped_area	= mshare_get_unmapped_area,
	.unlocked_ioctl		= mshare_ioctl,
	.fallocate		= mshare_fallocate,
	.show_fdinfo		= mshare_show_fdinfo,
};
