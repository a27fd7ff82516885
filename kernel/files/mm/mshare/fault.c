// SPDX-License-Identifier: GPL-2.0
/*
 * mshare: page faults in windows.
 *
 * A fault in a window is a fault of the host mm at the same offset; what it
 * brings in is there for every sharer. The window itself only needs its entry.
 */
#include <linux/memcontrol.h>
#include <linux/mshare.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/swap.h>
#include <trace/events/mshare.h>

#include "../internal.h"
#include "internal.h"

/*
 * Do the host VMA and the view allow it? The window was asked by the caller,
 * by its VMA's flags.
 */
bool mshare_allowed(struct mshare_region *region,
		    struct vm_area_struct *host_vma, unsigned long offset,
		    unsigned long access)
{
	struct mshare_chunk *chunk = mshare_chunk(region, offset);

	return chunk && mshare_grants(mshare_granted(chunk, host_vma), access);
}

/* Is the page table there that a leaf for @offset goes into? */
static bool mshare_has_table(struct mshare_region *region, unsigned long offset)
{
	pud_t pud;

	pud = READ_ONCE(*pud_offset(p4d_offset(pgd_offset(region->host, offset),
					       offset), offset));
	return pud_present(pud) && !pmd_none(*pmd_offset(&pud, offset));
}

/* What the page cache has for @offset: a folio, a swap entry, or NULL */
static void *mshare_cached(struct vm_area_struct *host_vma,
			   unsigned long offset)
{
	return xa_load(&host_vma->vm_file->f_mapping->i_pages,
		       linear_page_index(host_vma, offset));
}

/*
 * Does size= allow what a fault here may take: a page table, or a page of an
 * object that was not reserved? Only at the limit it is worth looking. What
 * earlier faults took is counted here, as they return with the VMA unlocked:
 * the count is short by a page for each fault that is under way.
 */
bool mshare_fault_fits(struct mshare_region *region,
		       struct vm_area_struct *host_vma, unsigned long offset)
{
	struct mshare_anon *anon = mshare_vma_anon(host_vma);

	/* all was counted, or nothing */
	if (is_vm_hugetlb_page(host_vma) || (anon && anon->reserved))
		return true;
	mshare_anon_account(region, host_vma);
	if (likely(mshare_fs_fits(region->fs, PAGE_SIZE)))
		return true;
	return mshare_has_table(region, offset) &&
		(!anon || mshare_cached(host_vma, offset));
}

/*
 * Does the creator's group have room for what a fault may take, or can some be
 * made without killing? Charged for a moment, which tells nobody.
 */
static bool mshare_group_has_room(struct mshare_region *region)
{
	const unsigned int order = PAGE_ALLOC_COSTLY_ORDER;
	struct mem_cgroup *old = set_active_memcg(region->memcg);
	struct page *pages;

	pages = alloc_pages(GFP_KERNEL_ACCOUNT | __GFP_RETRY_MAYFAIL |
			    __GFP_NOWARN, order);
	set_active_memcg(old);
	if (pages)
		__free_pages(pages, order);
	return pages;
}

/**
 * mshare_out_of_memory - is there nobody left to be killed?
 * @region: the region, at whose group's cost a fault got VM_FAULT_OOM
 *
 * The OOM killer was there before. That is VM_FAULT_OOM for good only where it
 * found nobody, and has said so in the log; tried again, it would say so again
 * and again. A task that is being killed, or waits for a group of cgroup v1
 * without OOM killer, is not concerned.
 */
bool mshare_out_of_memory(struct mshare_region *region)
{
	if (fatal_signal_pending(current) || task_in_memcg_oom(current) ||
	    mshare_group_has_room(region))
		return false;
	WRITE_ONCE(region->starved, true);
	return true;
}

/* Was that so, is it still, and would a fault here take memory? */
bool mshare_fault_starves(struct mshare_region *region,
			  struct vm_area_struct *host_vma, unsigned long offset)
{
	void *cached;

	if (likely(!READ_ONCE(region->starved)) || is_vm_hugetlb_page(host_vma))
		return false;
	cached = mshare_cached(host_vma, offset);
	if (cached && !xa_is_value(cached) && mshare_has_table(region, offset))
		return false;
	if (!mshare_group_has_room(region))
		return true;
	WRITE_ONCE(region->starved, false);
	return false;
}

/*
 * Find and lock the host VMA, by its own lock where the window's is held. An
 * UNMAP of a terabyte has the mmap_lock for seconds: who can be told to come
 * again is let go by a fatal signal, and who must not sleep does not.
 */
struct vm_area_struct *mshare_lock_host(struct mm_struct *host,
					unsigned long offset,
					unsigned int flags)
{
	if (flags & FAULT_FLAG_VMA_LOCK)
		return lock_vma_under_rcu(host, offset);
	if (flags & FAULT_FLAG_RETRY_NOWAIT) {
		if (!mmap_read_trylock(host))
			return ERR_PTR(-EAGAIN);
	} else if (flags & FAULT_FLAG_ALLOW_RETRY &&
		   flags & FAULT_FLAG_KILLABLE) {
		if (mmap_read_lock_killable(host))
			return ERR_PTR(-EINTR);
	} else {
		mmap_read_lock(host);
	}
	return vma_lookup(host, offset);
}

static void mshare_unlock_host(struct mm_struct *host,
			       struct vm_area_struct *host_vma,
			       unsigned int flags)
{
	if (flags & FAULT_FLAG_VMA_LOCK)
		vma_end_read(host_vma);
	else
		mmap_read_unlock(host);
}

/* Let go of what the caller holds of the process, as VM_FAULT_RETRY means. */
void mshare_unlock_window(struct vm_area_struct *vma, unsigned int flags)
{
	if (flags & FAULT_FLAG_VMA_LOCK)
		vma_end_read(vma);
	else
		mmap_read_unlock(vma->vm_mm);
}

/*
 * A page that who may only read is the first to touch is charged to his group,
 * as that of a file on tmpfs would be: it is there when the host's fault comes,
 * which would charge the creator's. Page tables and the page cache of other
 * files go by the active group, huge pages of hugetlb by the task.
 */
static vm_fault_t mshare_guest_page(struct vm_area_struct *host_vma,
				    unsigned long offset)
{
	struct address_space *mapping = host_vma->vm_file->f_mapping;
	pgoff_t index = linear_page_index(host_vma, offset);
	struct folio *folio;

	if (!shmem_mapping(mapping) || xa_load(&mapping->i_pages, index))
		return 0;
	folio = shmem_read_folio_gfp(mapping, index, mapping_gfp_mask(mapping));
	if (IS_ERR(folio))
		return vmf_error(PTR_ERR(folio));
	folio_put(folio);
	return 0;
}

/*
 * In its group's statistics a fault counts for the process that takes it, as
 * elsewhere; the host mm, whose fault it was too, has no owner that it could
 * count for. A fault that goes on elsewhere, by retrying, is major only once.
 */
static void mshare_count_fault(struct mm_struct *mm, vm_fault_t ret)
{
	if (ret & VM_FAULT_MAJOR)
		count_memcg_event_mm(mm, PGMAJFAULT);
	if (!(ret & VM_FAULT_RETRY))
		count_memcg_event_mm(mm, PGFAULT);
}

/*
 * The process's lock is not held while the fault waits for I/O: the first
 * time (ALLOW_RETRY, not TRIED) it is dropped before the host's fault, and the
 * result is VM_FAULT_COMPLETED. An error must be returned with the lock held,
 * so it becomes VM_FAULT_RETRY, and the second time, with both locks held to
 * the end, it is returned as what it is. The link keeps the region alive.
 *
 * Returns whether it was dropped, for mshare_fault_end().
 */
bool mshare_fault_begin(struct mshare_link *link, struct vm_area_struct *vma,
			unsigned int flags)
{
	bool release = fault_flag_allow_retry_first(flags) &&
		       !(flags & FAULT_FLAG_RETRY_NOWAIT);

	if (release) {
		refcount_inc(&link->refs);
		mshare_unlock_window(vma, flags);
	}
	return release;
}

/*
 * What the process's fault returns when the host's, under locks that are held as
 * that left them, has returned @ret
 */
vm_fault_t mshare_fault_end(struct mshare_link *link,
			    struct vm_area_struct *vma,
			    struct vm_area_struct *host_vma,
			    unsigned int flags, vm_fault_t ret, bool release)
{
	/* RETRY and COMPLETED have dropped the host's lock, but with NOWAIT */
	if (!(ret & (VM_FAULT_RETRY | VM_FAULT_COMPLETED)) ||
	    flags & FAULT_FLAG_RETRY_NOWAIT)
		mshare_unlock_host(link->region->host, host_vma, flags);
	else if (!release)
		mshare_unlock_window(vma, flags);

	if (release) {
		mshare_link_put(link);
		/* cgroup v1 without its OOM killer: told once for each fault */
		if (ret & VM_FAULT_OOM)
			mem_cgroup_oom_synchronize(true);
		if (ret & VM_FAULT_ERROR)
			return VM_FAULT_RETRY;
		if (!(ret & VM_FAULT_RETRY))
			ret |= VM_FAULT_COMPLETED;
	}
	return ret;
}

static vm_fault_t mshare_do_fault(struct vm_area_struct *vma,
				  unsigned long address, unsigned int flags,
				  struct pt_regs *regs)
{
	unsigned long offset = mshare_window_offset(vma, address);
	struct mshare_link *link = vma->vm_private_data;
	struct mshare_region *region = link->region;
	bool guest = mshare_window_is_guest(vma);
	struct mm_struct *host = region->host, *mm = vma->vm_mm;
	struct vm_area_struct *host_vma;
	struct mshare_wait *wait = NULL;
	struct mem_cgroup *old;
	vm_fault_t ret;
	bool release;

	percpu_counter_inc(&region->faults);
	ret = mshare_window_attach(region, vma, address);
	if (ret)
		return ret;

	host_vma = mshare_lock_host(host, offset, flags);
	if (IS_ERR(host_vma)) {
		if (!(flags & FAULT_FLAG_RETRY_NOWAIT))
			mshare_unlock_window(vma, flags);
		return VM_FAULT_RETRY;
	}
	if (!host_vma) {
		if (flags & FAULT_FLAG_VMA_LOCK) {
			/* a hole, or locked: look again with the mmap_lock */
			vma_end_read(vma);
			return VM_FAULT_RETRY;
		}
		mmap_read_unlock(host);
		return VM_FAULT_SIGSEGV;
	}
	if (!mshare_allowed(region, host_vma, offset,
			    mshare_fault_access(flags)))
		ret = regs ? mshare_deny(vma, address, host_vma, flags, &wait) :
			     VM_FAULT_SIGSEGV | VM_FAULT_DENIED;
	if (!ret && (!mshare_fault_fits(region, host_vma, offset) ||
		     (!guest && mshare_fault_starves(region, host_vma, offset))))
		ret = VM_FAULT_SIGBUS;
	if (ret) {
		mshare_unlock_host(host, host_vma, flags);
		if (wait) {
			refcount_inc(&link->refs);
			mshare_unlock_window(vma, flags);
			mshare_wait_sleep(region, wait, flags);
			mshare_link_put(link);
		}
		return ret;
	}

	release = mshare_fault_begin(link, vma, flags);
	old = set_active_memcg(guest ? NULL : region->memcg);
	ret = guest ? mshare_guest_page(host_vma, offset) : 0;
	if (!ret)
		ret = handle_mm_fault(host_vma, offset, flags, regs);
	set_active_memcg(old);
	mshare_count_fault(mm, ret);
	if (ret & VM_FAULT_OOM && !guest && mshare_out_of_memory(region))
		ret = (ret & ~VM_FAULT_OOM) | VM_FAULT_SIGBUS;

	/* While the window, if it is still locked, or the link keeps the region */
	mshare_host_account(region);
	return mshare_fault_end(link, vma, host_vma, flags, ret, release);
}

/**
 * mshare_handle_fault - handle_mm_fault() for a window
 * @vma: the window, locked as FAULT_FLAG_VMA_LOCK says
 * @address: the address, in it
 * @flags: FAULT_FLAG_*
 * @regs: as for handle_mm_fault(); NULL unless it is the access itself: what
 *	GUP and fixup_user_fault() are denied is no event, and does not wait
 */
vm_fault_t mshare_handle_fault(struct vm_area_struct *vma,
			       unsigned long address, unsigned int flags,
			       struct pt_regs *regs)
{
	unsigned long offset = mshare_window_offset(vma, address);
	struct mshare_link *link = vma->vm_private_data;
	unsigned long ino = link->region->ino;
	vm_fault_t ret;

	ret = mshare_do_fault(vma, address, flags, regs);
	trace_mshare_fault(ino, offset, flags, ret);	/* vma may be gone */
	return ret;
}
