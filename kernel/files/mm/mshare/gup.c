// SPDX-License-Identifier: GPL-2.0
/*
 * mshare: GUP's slow path, for a window. Its fast path is in asm/mshare.h.
 */
#include <linux/mm.h>
#include <linux/mshare.h>

#include "../internal.h"
#include "internal.h"

/**
 * mshare_gup_enter - the host VMA that GUP's slow path walks for a window
 * @window: the window; its mmap_lock is held
 * @address: the address, in it; on return that in the host, its offset
 * @flags: FOLL_*
 *
 * Returns the VMA with the host's mmap_lock held, until mshare_gup_leave();
 * NULL if the access is denied or nothing is mapped there; ERR_PTR(-EINTR).
 *
 * The walk is one of the host, under the host's lock, so no table is freed
 * meanwhile, and a flip of less than a chunk comes before or after it.
 */
struct vm_area_struct *mshare_gup_enter(struct vm_area_struct *window,
					unsigned long *address,
					unsigned int flags)
{
	unsigned long access = flags & FOLL_WRITE ? VM_WRITE : VM_READ;
	struct mshare_link *link = window->vm_private_data;
	struct mshare_region *region = link->region;
	struct vm_area_struct *host_vma;

	*address = mshare_window_offset(window, *address);
	if (mmap_read_lock_killable(region->host))
		return ERR_PTR(-EINTR);
	host_vma = vma_lookup(region->host, *address);
	if (!host_vma || !mshare_allowed(region, host_vma, *address, access)) {
		mmap_read_unlock(region->host);
		return NULL;
	}
	mshare_gup_delay();
	return host_vma;
}

/**
 * mshare_gup_leave - the end of what mshare_gup_enter() began
 * @host_vma: what that returned
 * @offset: the address there
 * @flags: FOLL_*
 * @page: what the walk came to
 *
 * A flip through the view does not take the host's lock: it may overtake us
 * between check and grab, so the view is asked again with the page in hand:
 * either it was grabbed before PROTECT returned, or it is dropped here.
 */
struct page *mshare_gup_leave(struct vm_area_struct *host_vma,
			      unsigned long offset, unsigned int flags,
			      struct page *page)
{
	unsigned long access = flags & FOLL_WRITE ? VM_WRITE : VM_READ;
	struct mm_struct *host = host_vma->vm_mm;

	if (IS_ERR_OR_NULL(page) || !(flags & (FOLL_GET | FOLL_PIN)))
		goto out;

	smp_mb();	/* pairs with that in mshare_flush_region() */
	if (!mshare_allowed(mshare_host_region(host), host_vma, offset,
			    access) && !mshare_skip_gup_recheck) {
		if (flags & FOLL_PIN)
			unpin_user_page(page);
		else
			put_page(page);
		page = NULL;
	}
out:
	mmap_read_unlock(host);
	return page;
}
