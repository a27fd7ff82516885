// SPDX-License-Identifier: GPL-2.0
/*
 * mshare: view tables, and the windows that are attached to them.
 *
 * A view is a PUD page of the region's own. Its entries point to the host's
 * PMD tables; the P4D entries of windows point to it. Rights that a view's
 * entry or a window's lacks are gone for all that lies beneath, while the
 * host's own tables stay as the core mm knows them. Only ioctls, under
 * region->lock, write views; only the functions here write windows' entries.
 */
#include <linux/file.h>
#include <linux/memcontrol.h>
#include <linux/mman.h>
#include <linux/mmu_notifier.h>
#include <linux/mshare.h>
#include <linux/pagewalk.h>
#include <linux/pgalloc.h>
#include <linux/pkeys.h>
#include <linux/sched/mm.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <asm/tlb.h>
#include <trace/events/mshare.h>

#include "internal.h"

static void mshare_view_free_rcu(struct rcu_head *head)
{
	struct ptdesc *ptdesc = container_of(head, struct ptdesc, pt_rcu_head);

	pagetable_pud_dtor(ptdesc);
	pagetable_free(ptdesc);
}

/* What counts against size=: the page, and what is kept beside it. */
static unsigned long mshare_view_bytes(void)
{
	return PAGE_SIZE + kmalloc_size_roundup(sizeof(struct mshare_view));
}

/*
 * The windows are gone and flushed. A paravirtual flush may have left out a
 * preempted vCPU that is in GUP-fast, with interrupts off: hence RCU.
 */
void mshare_view_free(struct mshare_region *region, struct mshare_view *view)
{
	struct ptdesc *ptdesc = virt_to_ptdesc(view->puds);

	call_rcu(&ptdesc->pt_rcu_head, mshare_view_free_rcu);
	kfree(view);
	mshare_fs_uncharge(region->fs, mshare_view_bytes());
}

static struct mshare_view *mshare_view_alloc(void)
{
	struct mshare_view *view = kzalloc(sizeof(*view), GFP_KERNEL_ACCOUNT);
	struct ptdesc *ptdesc;

	if (!view)
		return NULL;
	ptdesc = pagetable_alloc(GFP_PGTABLE_USER, 0);
	if (!ptdesc) {
		kfree(view);
		return NULL;
	}
	pagetable_pud_ctor(ptdesc);
	view->puds = ptdesc_address(ptdesc);
	return view;
}

/*
 * The view of the slot at @offset, made if there is none, at the cost of @payer
 * (NULL: the caller's group); or an ERR_PTR.
 */
struct mshare_view *mshare_view_get(struct mshare_region *region,
				    unsigned long offset,
				    struct mem_cgroup *payer)
{
	struct mshare_view **slot = &region->views[offset / MSHARE_SLOT_SIZE];
	struct mshare_view *view = READ_ONCE(*slot), *raced;
	struct mem_cgroup *old;
	int err;

	if (view)
		return view;
	err = mshare_fs_charge(region->fs, mshare_view_bytes());
	if (err)
		return ERR_PTR(err);

	old = set_active_memcg(payer);
	view = mshare_view_alloc();
	set_active_memcg(old);
	if (!view) {
		mshare_fs_uncharge(region->fs, mshare_view_bytes());
		return ERR_PTR(-ENOMEM);
	}
	raced = cmpxchg(slot, NULL, view);
	if (raced) {
		mshare_view_free(region, view);
		return raced;
	}
	atomic_long_inc(&region->nr_views);
	cond_resched();			/* the next slot may be of 131,071 */
	return view;
}

/* See mshare_for_each_chunk(). */
struct mshare_chunk *__mshare_next_chunk(struct mshare_region *region,
					 unsigned long *addr,
					 unsigned long end)
{
	unsigned long next;

	for (; *addr < end; *addr = next) {
		struct mshare_view *view;

		cond_resched();
		next = (*addr & MSHARE_SLOT_MASK) + MSHARE_SLOT_SIZE;
		view = READ_ONCE(region->views[*addr / MSHARE_SLOT_SIZE]);
		if (!view || !view->mapped)
			continue;
		for (; *addr < min(next, end); *addr += PUD_SIZE)
			if (view->chunks[pud_index(*addr)].mapped)
				return &view->chunks[pud_index(*addr)];
	}
	return NULL;
}

/* The host's entry for the PMD table of a chunk. */
static pud_t mshare_host_pud(struct mshare_region *region, unsigned long offset)
{
	pgd_t *pgd = pgd_offset(region->host, offset);

	return *pud_offset(p4d_offset(pgd, offset), offset);
}

/*
 * Let the chunk at @offset be seen, with @prot. The host's PMD table is there,
 * and stays as long as anything is mapped in the chunk: an entry that is there
 * already points to it. The state is stored before the entry, so that a fault
 * never grants what the entry then denies.
 */
void mshare_view_link(struct mshare_region *region, unsigned long offset,
		      unsigned long prot)
{
	struct mshare_view *view = region->views[offset / MSHARE_SLOT_SIZE];
	unsigned long i = pud_index(offset);
	pud_t pud = view->puds[i];

	lockdep_assert_held(&region->lock);
	if (pud_none(pud))
		pud = mshare_host_pud(region, offset);
	VM_WARN_ON_ONCE(pud_pfn(pud) !=
			pud_pfn(mshare_host_pud(region, offset)));
	WRITE_ONCE(view->chunks[i].prot, prot);
	set_pud(&view->puds[i], mshare_mk_pud(pud, prot));
}

/* Let it be seen no more. The caller flushes. */
void mshare_view_unlink(struct mshare_region *region, unsigned long offset)
{
	struct mshare_view *view = region->views[offset / MSHARE_SLOT_SIZE];

	lockdep_assert_held(&region->lock);
	set_pud(&view->puds[pud_index(offset)], __pud(0));
}

void mshare_link_put(struct mshare_link *link)
{
	if (!refcount_dec_and_test(&link->refs))
		return;
	mshare_region_put(link->region);
	kfree_rcu(link, rcu);
}

/*
 * A link of @mm, which has none to @region. It is in region->sharers before an
 * entry is set: from then on flushes include the mm. NULL: no memory.
 */
struct mshare_link *mshare_link_alloc(struct mshare_region *region,
				      struct mm_struct *mm, gfp_t gfp)
{
	struct mshare_link *link = kzalloc(sizeof(*link), gfp);

	if (!link)
		return NULL;
	refcount_set(&link->refs, 1);
	link->region = region;
	link->mm = mm;
	INIT_LIST_HEAD(&link->waiting);
	if (mshare_sharer_add(link, gfp)) {
		kfree(link);
		return NULL;
	}
	refcount_inc(&region->refs);
	mshare_link_add(link);
	return link;
}

/*
 * The mm has no entry any more that leads to the region; the caller puts the link.
 *
 * A paravirtual flush does not wait for a preempted vCPU. GUP-fast of another
 * thread, with interrupts off, may have walked such an entry, and has yet to ask
 * whether there is a window.
 */
void mshare_link_leave(struct mshare_link *link)
{
	if (atomic_read(&link->mm->mm_users) > 1)
		tlb_remove_table_sync_one();
	mshare_link_del(link);
	mshare_sharer_del(link);
}

/* Count a window of @mm, whose mmap_lock is held for writing. */
static struct mshare_link *mshare_link_get(struct mshare_region *region,
					   struct mm_struct *mm, gfp_t gfp)
{
	struct mshare_link *link;

	mmap_assert_write_locked(mm);
	atomic64_inc(&region->windows);
	link = mshare_link_find(mm, region);
	if (link) {
		link->windows++;
		return link;
	}

	link = mshare_link_alloc(region, mm, gfp);
	if (link)
		link->windows = 1;
	else
		atomic64_dec(&region->windows);
	return link;
}

/*
 * Uncount one. munmap() may have downgraded the mmap_lock, but then no second
 * munmap() or mmap() is under way, and an exiting mm has no other user. The
 * entries are clear and flushed.
 */
static void mshare_link_drop(struct mshare_link *link)
{
	struct mshare_region *region = link->region;

	atomic64_dec(&region->windows);
	if (--link->windows)
		return;
	mshare_link_leave(link);
	mshare_link_put(link);
}

/*
 * Let the window's P4D entry at @address point to the view. Returns 0, or
 * VM_FAULT_OOM, which a later fault may find gone, or VM_FAULT_SIGBUS if there
 * are foreign tables, as no window's slot can have. An entry without any right
 * could be read through still: there is none, though a debugger, by FOLL_FORCE,
 * may fault in what is behind it.
 */
vm_fault_t mshare_window_attach(struct mshare_region *region,
				struct vm_area_struct *vma,
				unsigned long address)
{
	unsigned long offset = mshare_window_offset(vma, address);
	struct mm_struct *mm = vma->vm_mm;
	struct mshare_view *view;
	vm_fault_t ret = 0;
	p4d_t *p4d, entry;

	if (!(vma->vm_flags & MSHARE_PROT_ALL))
		return 0;
	view = READ_ONCE(region->views[offset / MSHARE_SLOT_SIZE]);
	p4d = p4d_alloc(mm, pgd_offset(mm, address), address);
	if (!p4d)
		return VM_FAULT_OOM;
	if (likely(p4d_present(*p4d)))
		return 0;

	entry = mshare_mk_p4d(view->puds, vma->vm_flags);
	spin_lock(&mm->page_table_lock);
	if (p4d_none(*p4d)) {
		set_p4d(p4d, entry);
		trace_mshare_attach(region->ino, address & MSHARE_SLOT_MASK,
				    offset & MSHARE_SLOT_MASK);
	} else if (p4d_pgtable(*p4d) != view->puds) {
		ret = VM_FAULT_SIGBUS;
	}
	spin_unlock(&mm->page_table_lock);
	return ret;
}

/* All slots at once, so that nothing mapped elsewhere faults here. */
static void mshare_window_attach_all(struct mshare_region *region,
				     struct vm_area_struct *vma)
{
	unsigned long address;

	for (address = vma->vm_start; address < vma->vm_end;
	     address += MSHARE_SLOT_SIZE) {
		cond_resched();
		mshare_window_attach(region, vma, address);
	}
}

/**
 * mshare_zap_window - detach slots of a window
 * @tlb: of the process's mm
 * @vma: the window
 * @start: first address; all slots touched are detached, and may be attached
 *	again by a fault
 * @end: the address behind
 *
 * No page is touched: the tables beneath are the region's. freed_tables makes
 * the flush reach lazy CPUs: their paging-structure caches must not lead to a
 * view that may be freed with the region. Everything is flushed: a slot is more
 * than what the unsigned int of tlb_flush_p4d_range() takes, which would make
 * its size 0.
 */
void mshare_zap_window(struct mmu_gather *tlb, struct vm_area_struct *vma,
		       unsigned long start, unsigned long end)
{
	struct mm_struct *mm = vma->vm_mm;
	unsigned long address;

	for (address = start & MSHARE_SLOT_MASK; address < end;
	     address += MSHARE_SLOT_SIZE) {
		pgd_t *pgd = pgd_offset(mm, address);
		p4d_t *p4d;

		cond_resched();
		if (pgd_none(*pgd))
			continue;
		p4d = p4d_offset(pgd, address);
		if (p4d_none(*p4d))
			continue;
		spin_lock(&mm->page_table_lock);
		p4d_clear(p4d);
		spin_unlock(&mm->page_table_lock);
		if (mshare_skip_detach_flush)
			continue;
		tlb_flush_p4d_range(tlb, address, PAGE_SIZE);
		tlb->need_flush_all = 1;
		tlb->freed_tables = 1;
	}
}

/* fork() only: splitting and moving are refused. */
static void mshare_window_open(struct vm_area_struct *vma)
{
	struct mshare_link *parent = vma->vm_private_data;
	struct mshare_region *region = parent->region;

	vma->vm_private_data = mshare_link_get(region, vma->vm_mm,
					       GFP_KERNEL_ACCOUNT | __GFP_NOFAIL);
	mshare_window_attach_all(region, vma);
}

static void mshare_window_close(struct vm_area_struct *vma)
{
	struct mshare_link *link = vma->vm_private_data;

	mshare_wait_leave(link, vma->vm_start, vma->vm_end);
	mshare_link_drop(link);
}

static int mshare_window_may_split(struct vm_area_struct *vma,
				   unsigned long address)
{
	return -EINVAL;
}

static int mshare_window_mprotect(struct vm_area_struct *vma,
				  unsigned long start, unsigned long end,
				  unsigned long newflags)
{
	return -EINVAL;
}

const struct vm_operations_struct mshare_window_ops = {
	.open		= mshare_window_open,
	.close		= mshare_window_close,
	.may_split	= mshare_window_may_split,
	.mprotect	= mshare_window_mprotect,
#ifdef CONFIG_NUMA
	.get_policy	= mshare_window_get_policy,
#endif
};

/*
 * A window holds a file of its own: that of the fd shall be released by the
 * last close, whoever has windows.
 */
static const struct file_operations mshare_window_file_ops = {};

/**
 * mshare_window_map - mmap() of a region
 * @file: the region's file
 * @vma: to become a window; its place was checked by ->get_unmapped_area,
 *	except what MAP_FIXED can get past it
 *
 * Possible returned errors are, besides mmap()'s own:
 *
 * - %EBUSY: MMU notifiers have been registered for the mm.
 * - %EINVAL: no size yet; not MAP_SHARED; address, offset or length are not
 *   whole slots within the size.
 * - %ENFILE: too many files are open in the system.
 * - %ENOMEM: no memory.
 * - %ENOSPC: more page tables than the mount's size= allows.
 */
int mshare_window_map(struct file *file, struct vm_area_struct *vma)
{
	struct mshare_region *region = mshare_file_region(file);
	unsigned long size = mshare_region_size(region);
	unsigned long length = vma->vm_end - vma->vm_start;
	unsigned long start = vma->vm_pgoff << PAGE_SHIFT, offset;
	struct mem_cgroup *payer = mshare_window_is_guest(vma) ? NULL :
							region->memcg;
	struct mshare_link *link;
	struct file *own;

	if (!(vma->vm_flags & VM_MAYSHARE) || length > size ||
	    vma->vm_pgoff > (size - length) >> PAGE_SHIFT ||
	    (vma->vm_start | start | length) & ~MSHARE_SLOT_MASK)
		return -EINVAL;
	if (mm_has_notifiers(vma->vm_mm))
		return -EBUSY;
	for (offset = start; offset < start + length;
	     offset += MSHARE_SLOT_SIZE) {
		struct mshare_view *view = mshare_view_get(region, offset,
							   payer);

		if (IS_ERR(view))
			return PTR_ERR(view);
	}
	own = alloc_file_clone(file, O_RDONLY, &mshare_window_file_ops);
	if (IS_ERR(own))
		return PTR_ERR(own);
	link = mshare_link_get(region, vma->vm_mm, GFP_KERNEL_ACCOUNT);
	if (!link) {
		fput(own);
		return -ENOMEM;
	}
	vma_set_file(vma, own);
	fput(own);			/* the window has it */

	/*
	 * VM_SHARED also without write access: the OOM reaper goes by it. No
	 * protection key, as PROT_EXEC alone gets: keys are in leaves, which
	 * are for all, and faults would judge by what no access obeys.
	 */
	vm_flags_clear(vma, ARCH_VM_PKEY_FLAGS);
	vm_flags_set(vma, VM_SHARED | VM_DONTEXPAND | VM_DONTDUMP);
	vma->vm_private_data = link;
	vma->vm_ops = &mshare_window_ops;
	mshare_window_attach_all(region, vma);
	return 0;
}

/* Bytes that no window has for itself: the region's, once for all of them. */
void mshare_show_smap(struct seq_file *seq, struct vm_area_struct *vma)
{
	struct mshare_link *link = vma->vm_private_data;
	struct mshare_stat stat = {};

	mshare_host_stat(link->region, &stat);
	seq_printf(seq, "Region_Rss:     %8llu kB\n", stat.resident_bytes >> 10);
	seq_printf(seq, "Region_Tables:  %8llu kB\n",
		   stat.page_table_bytes >> 10);
}

/**
 * mshare_folio_walk_start - folio_walk_start() for a window
 * @fw: see there
 * @window: the window; its mmap_lock is held
 * @addr: the address, in it
 * @flags: see there
 *
 * The walk is one of the host. Its lock is let go with the page table's held:
 * who unmaps the page, or frees the table, has to take that first. The host's
 * tables are not shared in hugetlb's way, so its lock of the VMA can go, too.
 */
struct folio *mshare_folio_walk_start(struct folio_walk *fw,
				      struct vm_area_struct *window,
				      unsigned long addr,
				      folio_walk_flags_t flags)
{
	unsigned long offset = mshare_window_offset(window, addr);
	struct mshare_link *link = window->vm_private_data;
	struct mm_struct *host = link->region->host;
	struct vm_area_struct *host_vma;
	struct folio *folio = NULL;

	if (mmap_read_lock_killable(host))
		return NULL;
	host_vma = vma_lookup(host, offset);
	if (host_vma)
		folio = folio_walk_start(fw, host_vma, offset, flags);
	if (folio)
		vma_pgtable_walk_end(host_vma);
	mmap_read_unlock(host);
	return folio;
}

/* Is there a window at an address of a process? Its mmap_lock is held. */
bool mshare_window_at(struct mm_struct *mm, unsigned long address)
{
	struct vm_area_struct *vma;

	if (!mm_has_mshare(mm))
		return false;
	vma = vma_lookup(mm, address);
	return vma && vma_is_mshare(vma);
}

/*
 * Does a range consist of whole windows? 0: it has none, -EINVAL: of other
 * mappings too, or of parts, or of holes; else 1.
 */
static int mshare_whole_windows(struct mm_struct *mm, unsigned long start,
				unsigned long end)
{
	VMA_ITERATOR(vmi, mm, start);
	unsigned long bytes = end - start;
	struct vm_area_struct *vma;
	bool window = false, whole = true;

	for_each_vma_range(vmi, vma, end) {
		if (vma_is_mshare(vma))
			window = true;
		if (!vma_is_mshare(vma) || vma->vm_start < start ||
		    vma->vm_end > end)
			whole = false;
		else
			bytes -= vma->vm_end - vma->vm_start;
	}
	if (!window)
		return 0;
	return whole && !bytes ? 1 : -EINVAL;
}

/*
 * madvise() would refuse it, as for all that cannot be expanded; MADV_DONTDUMP
 * it takes. A part would split the window.
 */
static int mshare_madvise_dodump(struct mm_struct *mm, unsigned long start,
				 unsigned long end)
{
	struct vma_iterator vmi;
	struct vm_area_struct *vma;
	int ret;

	if (mmap_write_lock_killable(mm))
		return -EINTR;
	start = untagged_addr_remote(mm, start);
	end = untagged_addr_remote(mm, end);
	vma_iter_init(&vmi, mm, start);
	ret = mshare_whole_windows(mm, start, end);
	if (ret > 0)
		for_each_vma_range(vmi, vma, end)
			vm_flags_clear(vma, VM_DONTDUMP);
	mmap_write_unlock(mm);
	return ret;
}

#ifdef CONFIG_COREDUMP
/* Where the last of what the host has before @end ends, or 0 */
static unsigned long mshare_mapped_end(struct mm_struct *host,
				       unsigned long end)
{
	VMA_ITERATOR(vmi, host, end - 1);
	struct vm_area_struct *last;

	last = vma_lookup(host, end - 1) ?: vma_prev(&vmi);
	return last ? min(last->vm_end, end) : 0;
}

/**
 * mshare_dump_size - how much of a window is in a core dump
 * @window: the window, which is not left out; its mmap_lock is held
 *
 * Up to the end of the last object: a slot is more than most disks.
 */
unsigned long mshare_dump_size(struct vm_area_struct *window)
{
	unsigned long start = window->vm_pgoff << PAGE_SHIFT;
	unsigned long end = start + window->vm_end - window->vm_start;
	struct mshare_link *link = window->vm_private_data;
	struct mm_struct *host = link->region->host;

	mmap_read_lock(host);
	end = mshare_mapped_end(host, end);
	mmap_read_unlock(host);
	return end > start ? end - start : 0;
}
#endif

/**
 * mshare_madvise - does madvise() of a range concern windows?
 * @mm: of the process; not locked
 * @start: where the range begins
 * @end: where it ends
 * @behavior: the advice
 *
 * Advice that only changes how a VMA is inherited or dumped is taken, and
 * MADV_DODUMP is done here. What would touch pages, or would be about pages and
 * do nothing, is not taken, in any VMA of a range that has a window.
 *
 * Returns 0 if madvise() shall go on, 1 if it is done, else -errno.
 */
int mshare_madvise(struct mm_struct *mm, unsigned long start,
		   unsigned long end, int behavior)
{
	struct vma_iterator vmi;
	struct vm_area_struct *vma;
	int err;

	if (!mm_has_mshare(mm))
		return 0;
	err = mshare_madvise_unshare(mm, start, end, behavior);
	if (err)
		return err;
	switch (behavior) {
	case MADV_DONTFORK:
	case MADV_DOFORK:
	case MADV_DONTDUMP:
		return 0;
	case MADV_DODUMP:
		return mshare_madvise_dodump(mm, start, end);
	}

	if (mmap_read_lock_killable(mm))
		return -EINTR;
	vma_iter_init(&vmi, mm, untagged_addr_remote(mm, start));
	end = untagged_addr_remote(mm, end);
	for_each_vma_range(vmi, vma, end) {
		if (vma_is_mshare(vma)) {
			err = -EINVAL;
			break;
		}
	}
	mmap_read_unlock(mm);
	return err;
}
