// SPDX-License-Identifier: GPL-2.0
/*
 * mshare as a module: GUP of an mm that has windows.
 *
 * In the tree GUP's slow path walks the host where it meets a window. Here a
 * range is cut where windows begin and end, a window's pages are taken from the
 * host by the exported GUP, and the rest is what it was. GUP-fast looks at leaves
 * only, so it is used where the range has no window before and after.
 */
#include <linux/mm.h>
#include <linux/mshare.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>

#include "../internal.h"
#include "internal.h"
#include "core.h"

/* Raised before a window's first entry is set */
atomic_t mshare_windows_made;

/* As faultin_page() of mm/gup.c. */
static int mshare_gup_fault(struct vm_area_struct *window,
			    unsigned long address, unsigned int flags,
			    int *locked)
{
	unsigned int fault_flags = 0;
	vm_fault_t ret;

	if (flags & FOLL_NOFAULT)
		return -EFAULT;
	if (flags & FOLL_WRITE)
		fault_flags |= FAULT_FLAG_WRITE;
	if (flags & FOLL_REMOTE)
		fault_flags |= FAULT_FLAG_REMOTE;
	if (flags & FOLL_UNLOCKABLE) {
		fault_flags |= FAULT_FLAG_ALLOW_RETRY | FAULT_FLAG_KILLABLE;
		if (flags & FOLL_INTERRUPTIBLE)
			fault_flags |= FAULT_FLAG_INTERRUPTIBLE;
	}
	if (flags & FOLL_NOWAIT)
		fault_flags |= FAULT_FLAG_ALLOW_RETRY | FAULT_FLAG_RETRY_NOWAIT;
	if (flags & FOLL_TRIED)
		fault_flags |= FAULT_FLAG_TRIED;

	ret = mshare_handle_fault(window, address, fault_flags, NULL);
	if (ret & VM_FAULT_COMPLETED) {
		*locked = 0;
		return -EAGAIN;
	}
	if (ret & VM_FAULT_ERROR)
		return vm_fault_to_errno(ret & ~VM_FAULT_DENIED, flags) ?:
			-EFAULT;
	if (ret & VM_FAULT_RETRY) {
		if (!(fault_flags & FAULT_FLAG_RETRY_NOWAIT))
			*locked = 0;
		return -EBUSY;
	}
	return 0;
}

/* As check_vma_flags(): 0 or the error. */
static int mshare_gup_check(struct vm_area_struct *window, unsigned int flags)
{
	vm_flags_t vm_flags = window->vm_flags;

	if (flags & FOLL_LONGTERM)
		return -EOPNOTSUPP;
	if (flags & FOLL_ANON)
		return -EFAULT;
	if (flags & FOLL_WRITE)
		return vm_flags & VM_WRITE ? 0 : -EFAULT;
	if (vm_flags & VM_READ ||
	    (flags & FOLL_FORCE && vm_flags & VM_MAYREAD))
		return 0;
	return -EFAULT;
}

static void mshare_gup_drop(struct page **pages, long count, unsigned int flags)
{
	if (flags & FOLL_PIN)
		unpin_user_pages(pages, count);
	else
		release_pages(pages, count);
}

/*
 * A run of pages of the host, if they are mapped there and the region allows it.
 * 0: the first is not, or it does not. One VMA and one chunk have one answer;
 * a flip through the view takes no lock of the host's, so it is asked again with
 * the pages in hand.
 */
static long mshare_gup_run(struct vm_area_struct *window, unsigned long address,
			   unsigned long nr_pages, unsigned int flags,
			   struct page **pages)
{
	unsigned int host_flags = FOLL_NOFAULT |
		(flags & (FOLL_WRITE | FOLL_HWPOISON | FOLL_DUMP |
			  FOLL_PCI_P2PDMA | FOLL_HONOR_NUMA_FAULT));
	unsigned long access = flags & FOLL_WRITE ? VM_WRITE : VM_READ;
	unsigned long offset = mshare_window_offset(window, address);
	struct mshare_link *link = window->vm_private_data;
	struct mshare_region *region = link->region;
	struct mm_struct *host = region->host;
	struct vm_area_struct *host_vma;
	unsigned long end;
	long ret = 0;

	if (mmap_read_lock_killable(host))
		return -EINTR;
	host_vma = vma_lookup(host, offset);
	if (!host_vma || !mshare_allowed(region, host_vma, offset, access))
		goto out;
	end = min(host_vma->vm_end, (offset & PUD_MASK) + PUD_SIZE);
	nr_pages = min(nr_pages, (end - offset) >> PAGE_SHIFT);
	mshare_gup_delay();
	if (flags & FOLL_PIN)
		ret = pin_user_pages_remote(host, offset, nr_pages, host_flags,
					    pages, NULL);
	else
		ret = get_user_pages_remote(host, offset, nr_pages, host_flags,
					    pages, NULL);
	if (ret <= 0) {
		if (ret == -EFAULT)
			ret = 0;	/* not mapped: fault */
		goto out;
	}
	smp_mb();	/* pairs with that in mshare_flush_region() */
	if (!mshare_allowed(region, host_vma, offset, access) &&
	    !mshare_skip_gup_recheck) {
		mshare_gup_drop(pages, ret, flags);
		ret = 0;
	}
out:
	mmap_read_unlock(host);
	return ret;
}

/* __get_user_pages() for a range within a window. */
static long mshare_gup_window(struct vm_area_struct *window,
			      unsigned long start, unsigned long nr_pages,
			      unsigned int flags, struct page **pages,
			      int *locked)
{
	unsigned long done = 0;
	long ret = 0;

	if (!pages)		/* mlock() and MAP_POPULATE pass over it */
		return flags & FOLL_MADV_POPULATE ? -EINVAL : nr_pages;
	ret = mshare_gup_check(window, flags);
	while (!ret && done < nr_pages) {
		if (fatal_signal_pending(current)) {
			ret = -EINTR;
			break;
		}
		cond_resched();
		ret = mshare_gup_run(window, start, nr_pages - done, flags,
				     pages + done);
		if (ret < 0)
			break;
		done += ret;
		start += ret << PAGE_SHIFT;
		if (ret) {
			ret = 0;
			continue;
		}
		ret = mshare_gup_fault(window, start, flags, locked);
		if (ret == -EBUSY || ret == -EAGAIN)
			return done;
	}
	return done ?: ret;
}

/* The first window in a range of an mm, or NULL. */
struct vm_area_struct *mshare_window_in(struct mm_struct *mm,
					unsigned long start, unsigned long end)
{
	MA_STATE(mas, &mm->mm_mt, start, start);
	struct vm_area_struct *vma;

	mas_for_each(&mas, vma, end - 1)
		if (vma_is_mshare(vma))
			return vma;
	return NULL;
}

/* For __get_user_pages(): @mm has windows, and its mmap_lock is held. */
long mshare_get_user_pages(struct mm_struct *mm, unsigned long start,
			   unsigned long nr_pages, unsigned int gup_flags,
			   struct page **pages, int *locked)
{
	unsigned long done = 0;
	long ret = 0;

	start = untagged_addr_remote(mm, start);
	while (done < nr_pages) {
		unsigned long nr = nr_pages - done;
		unsigned long end = start + (nr << PAGE_SHIFT);
		struct page **to = pages ? pages + done : NULL;
		struct vm_area_struct *window;

		window = end > start ? mshare_window_in(mm, start, end) : NULL;
		if (window && window->vm_start <= start) {
			nr = min(nr, (window->vm_end - start) >> PAGE_SHIFT);
			ret = mshare_gup_window(window, start, nr, gup_flags,
						to, locked);
		} else {
			if (window)
				nr = (window->vm_start - start) >> PAGE_SHIFT;
			ret = __get_user_pages(mm, start, nr, gup_flags, to,
					       locked);
		}
		if (ret <= 0)
			break;
		done += ret;
		start += ret << PAGE_SHIFT;
		if (ret < nr || (locked && !*locked))
			break;
	}
	return done ?: ret;
}

/*
 * GUP-fast where the range has no window, and none was made anywhere meanwhile:
 * who saw an entry of one sees the count, too. 0: not here. The hook lets pass what
 * this calls.
 */
noinline __noclone
int mshare_gup_ordinary(unsigned long start, unsigned long end,
			unsigned int gup_flags, struct page **pages)
{
	int made = atomic_read_acquire(&mshare_windows_made), ret;
	bool window;

	rcu_read_lock();
	window = mshare_window_in(current->mm, start, end);
	rcu_read_unlock();
	if (window)
		return 0;
	ret = gup_fast_fallback(start, (end - start) >> PAGE_SHIFT, gup_flags,
				pages);
	smp_rmb();	/* pairs with the barrier in mshare_link_find() */
	if (ret > 0 && atomic_read(&mshare_windows_made) != made) {
		mshare_gup_drop(pages, ret, gup_flags);
		return 0;
	}
	return ret;
}

/* For gup_fast_fallback(): current->mm has windows. */
int mshare_gup_fast(unsigned long start, unsigned long nr_pages,
		    unsigned int gup_flags, struct page **pages)
{
	unsigned long len, end;
	int ret;

	if (gup_flags & FOLL_FAST_ONLY)		/* may be an NMI */
		return 0;
	start = untagged_addr(start) & PAGE_MASK;
	len = nr_pages << PAGE_SHIFT;
	if (check_add_overflow(start, len, &end))
		return -EOVERFLOW;
	if (end > TASK_SIZE_MAX || !access_ok((void __user *)start, len))
		return -EFAULT;
	if (len) {
		ret = mshare_gup_ordinary(start, end, gup_flags, pages);
		if (ret)
			return ret;
	}
	if (gup_flags & FOLL_PIN)
		return pin_user_pages_unlocked(start, nr_pages, pages,
					       gup_flags & ~FOLL_PIN);
	return get_user_pages_unlocked(start, nr_pages, pages,
				       gup_flags & ~FOLL_GET);
}
