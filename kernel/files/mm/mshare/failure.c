// SPDX-License-Identifier: GPL-2.0
/*
 * mshare: memory that has failed. The VMAs that map a page in a region are of the
 * host mm; the tasks that are to be told have windows.
 */
#include <linux/mm.h>
#include <linux/mshare.h>
#include <linux/pagewalk.h>
#include <linux/sched/task.h>

#include "internal.h"

/**
 * mshare_task_address - where a task has a window of a page
 * @task: the task
 * @host: the host mm of a region
 * @offset: of the page in the host, or -EFAULT
 *
 * The caller holds rcu_read_lock(), and the lock of an object whose VMAs are in
 * the host. Only @task's own lock may be waited for here, so VMAs are looked at by
 * RCU, as a fault does that takes only theirs.
 *
 * Returns the address in the first window that shows the page, or -EFAULT.
 */
unsigned long mshare_task_address(struct task_struct *task,
				  const struct mm_struct *host,
				  unsigned long offset)
{
	struct mshare_region *region = mshare_host_region(host);
	unsigned long address = -EFAULT;

	if (!region || offset == -EFAULT)
		return -EFAULT;
	task_lock(task);
	if (task->mm && mm_has_mshare(task->mm)) {
		MA_STATE(mas, &task->mm->mm_mt, 0, 0);
		struct vm_area_struct *vma;

		mas_for_each(&mas, vma, ULONG_MAX) {
			struct mshare_link *link = vma->vm_private_data;
			unsigned long start = vma->vm_pgoff << PAGE_SHIFT;

			if (!vma_is_mshare(vma) || link->region != region ||
			    offset < start ||
			    offset - start >= vma->vm_end - vma->vm_start)
				continue;
			address = vma->vm_start + offset - start;
			break;
		}
	}
	task_unlock(task);
	return address;
}

/**
 * mshare_walk_windows - walk_page_range() of what the windows of an mm show
 * @mm: the mm, its mmap_lock held
 * @ops: what to do; a callback's addresses are the host's, offsets in the region
 * @private: for the callbacks
 * @address: if a callback ends the walk: what it has stored here is an offset in
 *	the window's region, and becomes an address of @mm
 *
 * Returns what ended the walk, 0 if nothing did, or -EINTR.
 */
int mshare_walk_windows(struct mm_struct *mm, const struct mm_walk_ops *ops,
			void *private, unsigned long *address)
{
	VMA_ITERATOR(vmi, mm, 0);
	struct vm_area_struct *vma;
	int ret = 0;

	for_each_vma(vmi, vma) {
		unsigned long start = vma->vm_pgoff << PAGE_SHIFT;
		struct mshare_link *link = vma->vm_private_data;
		struct mm_struct *host;

		if (!vma_is_mshare(vma))
			continue;
		host = link->region->host;
		if (mmap_read_lock_killable(host))
			return -EINTR;
		ret = walk_page_range(host, start,
				      start + vma->vm_end - vma->vm_start, ops,
				      private);
		mmap_read_unlock(host);
		if (ret > 0)
			*address += vma->vm_start - start;
		if (ret)
			break;
	}
	return ret;
}
