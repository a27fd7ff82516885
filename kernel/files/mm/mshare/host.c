// SPDX-License-Identifier: GPL-2.0
/*
 * mshare: the host mm, and the objects mapped in it.
 *
 * The host is an mm_struct that no task runs on. Its addresses are offsets in
 * the region, its VMAs map the objects, and its page tables are ordinary: rmap,
 * reclaim, migration and THP work on them without knowing of mshare.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/hugetlb.h>
#include <linux/khugepaged.h>
#include <linux/magic.h>
#include <linux/memcontrol.h>
#include <linux/memfd.h>
#include <linux/mman.h>
#include <linux/sched/mm.h>
#include <linux/security.h>
#include <linux/seq_file.h>
#include <linux/shmem_fs.h>
#include <linux/slab.h>
#include <linux/swap.h>
#include <asm/tlb.h>

#include "../internal.h"
#include "internal.h"

/* Taken under the mmap_lock of a process: see the lock order in internal.h */
static struct lock_class_key mshare_host_lock_class;

/*
 * What rmap, reclaim, migration and the rest take out of the host's tables is
 * gone from the TLBs of the sharers when this returns. The host's own cpumask
 * is empty, so nothing else flushes. Tables may have been freed (khugepaged,
 * munmap), hence the lazy CPUs too.
 */
static void mshare_invalidate_tlbs(struct mmu_notifier *mn,
				   struct mm_struct *host,
				   unsigned long start, unsigned long end)
{
	struct mshare_region *region;

	region = container_of(mn, struct mshare_region, mn);
	if (READ_ONCE(region->flusher) == current || mshare_skip_notifier_flush)
		return;
	mshare_flush_region(region, true);
}

static void mshare_free_notifier(struct mmu_notifier *mn)
{
	mshare_region_unpin(container_of(mn, struct mshare_region, mn));
}

static const struct mmu_notifier_ops mshare_notifier_ops = {
	.arch_invalidate_secondary_tlbs	= mshare_invalidate_tlbs,
	.free_notifier			= mshare_free_notifier,
};

int mshare_host_init(struct mshare_region *region)
{
	struct mm_struct *host = mm_alloc();
	int err;

	if (!host)
		return -ENOMEM;
	lockdep_set_class(&host->mmap_lock, &mshare_host_lock_class);
	host->task_size = TASK_SIZE_MAX;
	region->host = host;
	err = mshare_hostmm_bind(region);
	if (err)
		goto err_put;

	region->mn.ops = &mshare_notifier_ops;
	err = mmu_notifier_register(&region->mn, host);
	if (err)
		goto err_unbind;
	return 0;

err_unbind:
	mshare_hostmm_unbind(region);
err_put:
	region->host = NULL;
	mmput(host);
	return err;
}

/*
 * Bring what is counted against size= up to date. Concurrent callers may
 * store an older number over a newer one; the next corrects it, as what was
 * counted is what is stored.
 */
static void mshare_fs_recount(struct mshare_region *region,
			      atomic_long_t *counted, long now)
{
	if (now != atomic_long_read(counted))
		atomic_long_add(now - atomic_long_xchg(counted, now),
				&region->fs->bytes);
}

/*
 * Tables that are reserved count before they are there. Of those that are it is
 * not known for which object: where the region has others too, theirs count only
 * beyond what is reserved.
 */
void mshare_host_account(struct mshare_region *region)
{
	long tables = mm_pgtables_bytes(region->host);

	mshare_fs_recount(region, &region->tables,
			  max(tables, atomic_long_read(&region->reserved)));
	mshare_rss_update(region);
}

/* @vma is a locked one of the host; only what was not reserved can grow. */
void mshare_anon_account(struct mshare_region *region,
			 struct vm_area_struct *vma)
{
	struct mshare_anon *anon = mshare_vma_anon(vma);

	if (anon && !anon->reserved)
		mshare_fs_recount(region, &anon->charged,
				  file_inode(vma->vm_file)->i_blocks <<
				  SECTOR_SHIFT);
}

/*
 * Count the bytes of anonymous objects in a range as unmapped, or mapped after
 * all; no VMA crosses its borders. Those with none left go to @gone.
 */
static void mshare_anon_count(struct mshare_region *region, unsigned long start,
			      unsigned long end, bool mapped,
			      struct list_head *gone)
{
	VMA_ITERATOR(vmi, region->host, start);
	struct vm_area_struct *vma;

	for_each_vma_range(vmi, vma, end) {
		unsigned long bytes = vma->vm_end - vma->vm_start;
		struct mshare_anon *anon = mshare_vma_anon(vma);

		if (!anon)
			continue;
		if (mapped) {
			list_del_init(&anon->gone);
			anon->mapped += bytes;
		} else {
			anon->mapped -= bytes;
			if (!anon->mapped)
				list_add(&anon->gone, gone);
		}
	}
}

/* Bytes of tables that a range may need, from the leaves' to that of a slot */
static unsigned long mshare_table_bytes(unsigned long start, unsigned long end,
					bool huge)
{
	unsigned long n = ((end - 1) >> PUD_SHIFT) - (start >> PUD_SHIFT) + 1;

	n += ((end - 1) >> P4D_SHIFT) - (start >> P4D_SHIFT) + 1;
	if (!huge)
		n += ((end - 1) >> PMD_SHIFT) - (start >> PMD_SHIFT) + 1;
	return n << PAGE_SHIFT;
}

/* All that a reserved object will ever take is counted here, its tables too. */
static struct mshare_anon *mshare_anon_alloc(struct mshare_region *region,
					     const struct mshare_create *c,
					     bool reserved)
{
	struct mshare_anon *anon = kzalloc(sizeof(*anon), GFP_KERNEL_ACCOUNT);
	int err;

	if (!anon)
		return ERR_PTR(-ENOMEM);
	anon->mapped = c->size;
	anon->reserved = reserved;
	INIT_LIST_HEAD(&anon->gone);
	if (!reserved)
		return anon;

	anon->tables = mshare_table_bytes(c->region_offset,
					  c->region_offset + c->size,
					  c->flags & MAP_HUGETLB);
	err = mshare_fs_charge(region->fs, c->size + anon->tables);
	if (err) {
		kfree(anon);
		return ERR_PTR(err);
	}
	atomic_long_set(&anon->charged, c->size);
	atomic_long_add(anon->tables, &region->tables);
	atomic_long_add(anon->tables, &region->reserved);
	return anon;
}

/* What it had reserved of tables is given back by the next recount. */
static void mshare_anon_free_one(struct mshare_region *region,
				 struct mshare_anon *anon)
{
	mshare_fs_uncharge(region->fs, atomic_long_read(&anon->charged));
	atomic_long_sub(anon->tables, &region->reserved);
	kfree(anon);
}

static void mshare_anon_free(struct mshare_region *region,
			     struct list_head *gone)
{
	struct mshare_anon *anon, *next;

	list_for_each_entry_safe(anon, next, gone, gone)
		mshare_anon_free_one(region, anon);
}

/* The last reference is gone: nobody else sees the host. */
void mshare_host_exit(struct mshare_region *region)
{
	struct mm_struct *host = region->host;
	LIST_HEAD(gone);

	mshare_guard_exit(region);
	/* khugepaged may hold on to the mm, longer than the cgroup is held */
	mshare_hostmm_unbind(region);
	mmap_write_lock(host);
	mshare_anon_count(region, 0, region->size, false, &gone);
	mmap_write_unlock(host);
	mmput(host);
	mshare_anon_free(region, &gone);
	mshare_fs_uncharge(region->fs, atomic_long_xchg(&region->tables, 0));
}

void mshare_host_stat(struct mshare_region *region, struct mshare_stat *stat)
{
	struct mm_struct *host = region->host;
	u64 pages = 0;
	int i;

	stat->host_vmas = READ_ONCE(host->map_count);
	stat->mapped_bytes = (u64)READ_ONCE(host->total_vm) << PAGE_SHIFT;
	for (i = 0; i < NR_MM_COUNTERS; i++)
		if (i != MM_SWAPENTS)
			pages += percpu_counter_sum_positive(&host->rss_stat[i]);
#ifdef CONFIG_HUGETLB_PAGE
	pages += atomic_long_read(&host->hugetlb_usage);
#endif
	stat->resident_bytes = pages << PAGE_SHIFT;
	stat->page_table_bytes = mm_pgtables_bytes(host);
	stat->page_table_bytes += atomic_long_read(&region->nr_views) *
				  PAGE_SIZE;
}

static void mshare_show_mapping(struct seq_file *seq,
				struct vm_area_struct *vma,
				unsigned long start, unsigned long end,
				unsigned long prot)
{
	seq_printf(seq, "mapping:\t%012lx-%012lx %c%c%c %08lx ", start, end,
		   prot & VM_READ ? 'r' : '-', prot & VM_WRITE ? 'w' : '-',
		   prot & VM_EXEC ? 'x' : '-',
		   linear_page_index(vma, start) << PAGE_SHIFT);
	if (mshare_vma_anon(vma))
		seq_puts(seq, "[anonymous]");
	else
		seq_file_path(seq, vma->vm_file, "\n");
	seq_putc(seq, '\n');
}

/*
 * A line for each object, or for each part of one that has a protection of its
 * own: offsets in the region, what is granted, offset in the object, object.
 */
void mshare_host_show(struct mshare_region *region, struct seq_file *seq)
{
	VMA_ITERATOR(vmi, region->host, 0);
	struct vm_area_struct *vma;

	mmap_read_lock(region->host);
	for_each_vma(vmi, vma) {
		unsigned long start = vma->vm_start, next;
		unsigned long prot = mshare_granted(mshare_chunk(region, start),
						    vma);

		for (next = start; next < vma->vm_end; ) {
			unsigned long other = prot;

			next = min((next & PUD_MASK) + PUD_SIZE, vma->vm_end);
			if (next < vma->vm_end)
				other = mshare_granted(mshare_chunk(region,
								    next), vma);
			if (next < vma->vm_end && other == prot)
				continue;
			mshare_show_mapping(seq, vma, start, next, prot);
			start = next;
			prot = other;
		}
	}
	mmap_read_unlock(region->host);
}

/* Page tables down to the PMD table of each chunk: faults link nothing. */
static int mshare_alloc_tables(struct mshare_region *region,
			       unsigned long start, unsigned long end)
{
	struct mm_struct *host = region->host;
	struct mem_cgroup *old = set_active_memcg(region->memcg);
	unsigned long addr;
	int err = 0;

	for (addr = start & PUD_MASK; addr < end; addr += PUD_SIZE) {
		p4d_t *p4d = p4d_alloc(host, pgd_offset(host, addr), addr);
		pud_t *pud = p4d ? pud_alloc(host, p4d, addr) : NULL;

		if (!pud || !pmd_alloc(host, pud, addr)) {
			err = -ENOMEM;
			break;
		}
		cond_resched();
	}
	set_active_memcg(old);
	return err;
}

/*
 * The checks that do_mmap() makes of a file, with its errors, and those of
 * what a region cannot hold. On return *@vm_flags has the VM_MAY* that remain.
 */
static int mshare_check_file(struct file *file, const struct mshare_create *c,
			     unsigned long *vm_flags)
{
	struct address_space *mapping = file->f_mapping;
	struct inode *inode = file_inode(file);

	if (inode->i_sb->s_magic == MSHARE_MAGIC)
		return -EINVAL;
	if (!S_ISREG(inode->i_mode) || !file->f_op->mmap)
		return -ENODEV;
	/* Pages that rmap does not know, or that GUP must not take */
	if (IS_DAX(inode) || inode->i_sb->s_magic == SECRETMEM_MAGIC)
		return -EOPNOTSUPP;
	if (is_file_hugepages(file)) {
		if (huge_page_size(hstate_file(file)) != PMD_SIZE)
			return -EOPNOTSUPP;
		if ((c->region_offset | c->size | c->offset) & ~PMD_MASK)
			return -EINVAL;
	} else if (c->flags & MAP_HUGETLB) {
		return -EINVAL;
	}
	/*
	 * Files with a page cache, whose ->mmap() maps no page yet. Files on
	 * kernfs and the like may be a device's memory.
	 */
	if (!shmem_mapping(mapping) && !is_file_hugepages(file) &&
	    (!mapping->a_ops->read_folio || mapping->a_ops == &ram_aops))
		return -ENODEV;
	if (c->offset > MAX_LFS_FILESIZE - c->size)
		return -EOVERFLOW;
	if (!(file->f_mode & FMODE_READ))
		return -EACCES;
	if (!(file->f_mode & FMODE_WRITE)) {
		if (c->prot & PROT_WRITE)
			return -EACCES;
		*vm_flags &= ~(VM_MAYWRITE | VM_SHARED);
	} else if (IS_APPEND(inode)) {
		return -EACCES;
	} else if (c->prot & PROT_WRITE && IS_SWAPFILE(inode)) {
		return -ETXTBSY;
	}
	if (path_noexec(&file->f_path)) {
		if (c->prot & PROT_EXEC)
			return -EPERM;
		*vm_flags &= ~VM_MAYEXEC;
	}
	return memfd_check_seals_mmap(file, vm_flags);
}

/*
 * Make a VMA of the object, as mmap_region() does for a current->mm; there is
 * nothing to merge with or to unmap, and nothing private to account. Nor is a
 * lock of the region held: ->mmap() may wait for a server (FUSE, NFS), and that
 * may have windows. So it sees what it sees from mmap(): a VMA of the caller's mm,
 * with its mmap_lock held. mshare_insert_vma() takes it to the host.
 */
static struct vm_area_struct *mshare_make_vma(struct file *file,
					      struct mshare_anon *anon,
					      const struct mshare_create *c,
					      unsigned long vm_flags)
{
	struct mm_struct *mm = current->mm;
	struct vm_area_struct *vma;
	int err;

	vma = vm_area_alloc(mm);
	if (!vma)
		return ERR_PTR(-ENOMEM);
	vma_set_range(vma, c->region_offset, c->region_offset + c->size,
		      c->flags & MAP_ANONYMOUS ? 0 : c->offset >> PAGE_SHIFT);
	/* Without VM_SOFTDIRTY every first store to a page would be a fault */
	vm_flags |= VM_SOFTDIRTY | ((vm_flags >> 4) & MSHARE_PROT_ALL);
	vm_flags_init(vma, vm_flags);
	vma->vm_page_prot = vm_get_page_prot(vm_flags);

	err = -EINTR;
	if (mmap_write_lock_killable(mm))
		goto err_free;
	if (file) {
		vma->vm_file = get_file(file);
		err = mmap_file(file, vma);
	} else {
		err = shmem_zero_setup(vma);
		if (err == -ENOSPC)	/* no inode: no memory */
			err = -ENOMEM;
		vma->vm_private_data = anon;
	}
	mmap_write_unlock(mm);
	if (err)
		goto err_file;

	/* What ->mmap() made of it. No page is there yet. */
	err = -EOPNOTSUPP;
	if (vma_is_anonymous(vma) ||
	    vma->vm_flags & (VM_IO | VM_PFNMAP | VM_MIXEDMAP | VM_LOCKED))
		goto err_close;
	return vma;

err_close:
	vma_close(vma);
err_file:
	if (vma->vm_file)
		fput(vma->vm_file);
err_free:
	vm_area_free(vma);
	return ERR_PTR(err);
}

/* It was not inserted. ->close() may wait as ->mmap() may. */
static void mshare_drop_vma(struct vm_area_struct *vma)
{
	vma_close(vma);
	fput(vma->vm_file);
	vm_area_free(vma);
}

/* Does ->close() write back what is dirty? That of FUSE and 9p does. */
static bool mshare_writes_back(struct vm_area_struct *vma)
{
	return vma->vm_ops && vma->vm_ops->close && !is_vm_hugetlb_page(vma);
}

/* Let it be the host's, with rights @prot; nothing is mapped in its place. */
static int mshare_insert_vma(struct mshare_region *region,
			     struct vm_area_struct *vma, unsigned long prot)
{
	struct mm_struct *host = region->host;
	int err;

	/* Whether it is locked was told by the mm that it was of */
	vma->vm_mm = host;
	vma->vm_lock_seq = UINT_MAX;
	/* VM_DONTEXPAND is hugetlb's, against mremap(): pieces would not merge */
	vm_flags_init(vma, (vma->vm_flags & ~(VM_DONTEXPAND | MSHARE_PROT_ALL)) |
			   prot | mshare_hostmm_vm_flags(vma));
	err = insert_vm_struct(host, vma);
	if (err)
		return err;
	vm_stat_account(host, vma->vm_flags, vma_pages(vma));
	vma_set_page_prot(vma);
	khugepaged_enter_vma(vma, vma->vm_flags);
	if (mshare_writes_back(vma))
		WRITE_ONCE(region->writes_back, true);
	return 0;
}

/*
 * A chunk that already holds something under another protection than @prot
 * gets both by its host VMAs.
 */
static int mshare_open_edge(struct mshare_region *region, unsigned long offset,
			    unsigned long prot, bool *piece)
{
	unsigned long chunk_start = offset & PUD_MASK;
	struct mshare_chunk *chunk = mshare_chunk(region, offset);
	struct mmu_gather tlb;
	u64 entries = 0;
	int err;

	if (!chunk || !chunk->mapped || chunk->prot == prot)
		return 0;
	*piece = true;
	err = mshare_split(region, chunk_start) ?:
		mshare_split(region, chunk_start + PUD_SIZE);
	if (err)
		return err;
	tlb_gather_mmu(&tlb, region->host);
	mshare_pushdown(region, chunk_start, &tlb, &entries);
	tlb_finish_mmu(&tlb);
	mshare_view_link(region, chunk_start, MSHARE_PROT_ALL);
	return 0;
}

static bool mshare_anything_in(struct mshare_region *region,
			       unsigned long start, unsigned long end)
{
	return start < end && find_vma_intersection(region->host, start, end);
}

/*
 * Map the object by *@new, which is NULL afterwards if it is the host's, or was;
 * region->lock and the host's mmap_lock are held.
 */
static int mshare_map_object(struct mshare_region *region,
			     struct vm_area_struct **new,
			     unsigned long prot)
{
	unsigned long start = (*new)->vm_start, end = (*new)->vm_end;
	unsigned long ceiling = mshare_vma_ceiling(*new);
	struct mshare_anon *anon = mshare_vma_anon(*new);
	unsigned long tables = anon && anon->reserved ? 0 :
			       ((end - start) >> PUD_SHIFT) * PAGE_SIZE;
	unsigned long addr, mid = start, mid_end = end;
	bool head = false, tail = false;
	struct vm_area_struct *vma;
	int err;

	if (mshare_anything_in(region, start, end))
		return -EEXIST;
	if (region->host->map_count >= sysctl_max_map_count)
		return -ENOMEM;
	/* PMD tables: counted before they are there, until the next recount */
	err = mshare_fs_charge(region->fs, tables);
	if (err)
		return err;
	atomic_long_add(tables, &region->tables);
	for (addr = start & MSHARE_SLOT_MASK; addr < end;
	     addr += MSHARE_SLOT_SIZE) {
		struct mshare_view *view = mshare_view_get(region, addr,
							   region->memcg);

		if (IS_ERR(view))
			return PTR_ERR(view);
	}

	err = mshare_open_edge(region, start, prot, &head);
	if (!err && (start & PUD_MASK) != ((end - 1) & PUD_MASK))
		err = mshare_open_edge(region, end - 1, prot, &tail);
	if (err)
		goto out;

	/*
	 * The VMA carries all rights and the view takes them, so that opening
	 * a chunk later is one store; only in a chunk that is shared with
	 * others, under another protection, the VMA carries what was asked.
	 */
	err = mshare_insert_vma(region, *new, head || tail ? prot : ceiling);
	if (err)
		goto out;
	*new = NULL;
	err = mshare_alloc_tables(region, start, end);
	if (!err && (head || tail)) {
		if (head)
			mid = min(end, ALIGN(start + 1, PUD_SIZE));
		if (tail)
			mid_end = (end - 1) & PUD_MASK;
		if (mid < mid_end) {
			err = mshare_split(region, mid) ?:
				mshare_split(region, mid_end);
			vma = vma_lookup(region->host, mid);
			if (!err)
				mshare_set_host_prot(region, NULL, vma,
						     ceiling, NULL);
		}
	}
	if (err) {
		/*
		 * A whole mapping: needs no split, takes nothing else along,
		 * and fails for want of memory only. It must not stay.
		 */
		while (mshare_hostmm_unmap(region, start, end))
			cond_resched();
	}
out:
	/* After an error too: an edge that was opened has pieces now */
	for (addr = start & PUD_MASK; addr < end; addr += PUD_SIZE) {
		if (!err && !mshare_chunk(region, addr)->mapped)
			mshare_view_link(region, addr, prot);
		mshare_chunk_refresh(region, addr);
	}
	return err;
}

#define MSHARE_CREATE_FLAGS	(MAP_TYPE | MAP_ANONYMOUS | MAP_FIXED | \
				 MAP_FIXED_NOREPLACE | MAP_POPULATE | \
				 MAP_NORESERVE | MAP_HUGETLB | MSHARE_FROM_MM)

static int mshare_check_create(struct mshare_region *region,
			       const struct mshare_create *c)
{
	unsigned int more = c->flags & ~MSHARE_CREATE_FLAGS;
	bool no_fd = c->flags & (MAP_ANONYMOUS | MSHARE_FROM_MM);

	if (c->prot & ~(PROT_READ | PROT_WRITE | PROT_EXEC))
		return -EINVAL;
	/* No size is the default size, see mshare_huge_file() */
	if (more && (more != MAP_HUGE_2MB || !(c->flags & MAP_HUGETLB)))
		return -EINVAL;
	if ((c->flags & MAP_TYPE) != MAP_SHARED &&
	    (c->flags & MAP_TYPE) != MAP_SHARED_VALIDATE)
		return -EINVAL;
	if (c->flags & MAP_ANONYMOUS && c->flags & MSHARE_FROM_MM)
		return -EINVAL;
	if (no_fd && c->fd != (u32)-1)
		return -EINVAL;
	if (!(c->flags & MAP_ANONYMOUS) && !PAGE_ALIGNED(c->offset))
		return -EINVAL;
	if (c->flags & MAP_HUGETLB &&
	    (c->region_offset | c->size) & ~PMD_MASK)
		return -EINVAL;
	if (!mshare_range_ok(region, c->region_offset, c->size))
		return -EINVAL;
	return 0;
}

/* Is nothing mapped where the object shall be? */
static int mshare_check_free(struct mshare_region *region,
			     const struct mshare_create *c)
{
	bool taken;

	if (mmap_read_lock_killable(region->host))
		return -EINTR;
	taken = mshare_anything_in(region, c->region_offset,
				   c->region_offset + c->size);
	mmap_read_unlock(region->host);
	return taken ? -EEXIST : 0;
}

/*
 * What the caller has mapped at the address that is @c's offset, which becomes
 * that in the object. @vm_flags keeps the VM_MAY* that the mapping has.
 */
static struct file *mshare_file_from_mm(struct mshare_create *c,
					unsigned long *vm_flags)
{
	struct mm_struct *mm = current->mm;
	unsigned long start = c->offset;
	struct vm_area_struct *vma;
	struct file *file = NULL;
	int err = -EINVAL;

	if (mmap_read_lock_killable(mm))
		return ERR_PTR(-EINTR);
	vma = vma_lookup(mm, start);
	if (!vma || c->size > vma->vm_end - start) {
		err = -EFAULT;
	} else if (vma->vm_flags & VM_MAYSHARE && vma->vm_file &&
		   (shmem_mapping(vma->vm_file->f_mapping) ||
		    is_file_hugepages(vma->vm_file))) {
		file = get_file(vma->vm_file);
		c->offset = (u64)linear_page_index(vma, start) << PAGE_SHIFT;
		*vm_flags &= vma->vm_flags | ~(MSHARE_PROT_ALL << 4);
	}
	mmap_read_unlock(mm);
	return file ?: ERR_PTR(err);
}

/* As mmap(MAP_ANONYMOUS | MAP_HUGETLB); the pages are reserved by ->mmap(). */
static struct file *mshare_huge_file(const struct mshare_create *c,
				     struct mshare_anon *anon)
{
	int page_size_log = (c->flags >> MAP_HUGE_SHIFT) & MAP_HUGE_MASK;
	struct file *file;

	file = hugetlb_file_setup(HUGETLB_ANON_FILE, c->size, VM_NORESERVE,
				  HUGETLB_ANONHUGE_INODE, page_size_log);
	if (IS_ERR(file))
		return file;
	if (huge_page_size(hstate_file(file)) != PMD_SIZE) {
		fput(file);
		return ERR_PTR(-EOPNOTSUPP);
	}
	file->private_data = anon;
	return file;
}

/**
 * mshare_host_create - MSHAREFS_CREATE_MAPPING
 * @region: the region
 * @c: what to map, and where; with MSHARE_FROM_MM its offset becomes that in the
 *	object
 *
 * Possible returned errors are:
 *
 * - %EACCES: the file, or with MSHARE_FROM_MM that of the mapping, is not open
 *   for reading, or PROT_WRITE and it is not open for writing or is append-only;
 *   PROT_WRITE with PROT_EXEC where prctl(PR_SET_MDWE) forbids it; a security
 *   module's denial.
 * - %EBADF: the region's fd is not open for writing, or fd is not open.
 * - %EEXIST: something is mapped in the range.
 * - %EFAULT: the argument is not readable; MSHARE_FROM_MM, and no single mapping
 *   covers the range at that address.
 * - %EINTR: a fatal signal came first.
 * - %EINVAL: unknown bits in prot or flags, MAP_PRIVATE, MAP_ANONYMOUS or
 *   MSHARE_FROM_MM with an fd or with each other, MAP_HUGETLB with a file that is
 *   not on hugetlbfs; the range is empty, not aligned to the object's pages or
 *   not in the region; nor is the offset; the object is itself on msharefs;
 *   MSHARE_FROM_MM, and the mapping is not a shared one of shmem or hugetlbfs.
 * - %ENODEV: the file is not a regular one, or cannot be mapped; there are no
 *   huge pages of 2 MiB.
 * - %ENOMEM: no memory, too few huge pages, or too many mappings in the region.
 * - %ENOSPC: more than the mount's size= allows.
 * - %EOPNOTSUPP: an object whose pages cannot be shared: DAX, secretmem,
 *   hugetlbfs with pages of another size than 2 MiB, which MAP_HUGETLB alone
 *   asks for where that is the default size.
 * - %EOVERFLOW: offset + size is beyond what a file can have.
 * - %EPERM: PROT_WRITE and the memfd is sealed, or PROT_EXEC and the file is on
 *   a noexec mount.
 * - %ETXTBSY: PROT_WRITE and the file is swapped on.
 */
int mshare_host_create(struct mshare_region *region, struct mshare_create *c)
{
	unsigned long prot = c->prot, vm_prot = calc_vm_prot_bits(prot, 0);
	unsigned long vm_flags = VM_SHARED | VM_MAYSHARE | VM_MAYREAD |
				 VM_MAYWRITE | VM_MAYEXEC;
	struct mshare_anon *anon = NULL;
	struct vm_area_struct *vma;
	struct file *file = NULL;
	bool writable = false;
	int err;

	err = mshare_check_create(region, c);
	if (err)
		return err;
	if (map_deny_write_exec(prot, prot))
		return -EACCES;
	if (c->flags & MAP_NORESERVE &&
	    sysctl_overcommit_memory != OVERCOMMIT_NEVER)
		vm_flags |= VM_NORESERVE;

	if (!(c->flags & MAP_ANONYMOUS)) {
		if (c->flags & MSHARE_FROM_MM)
			file = mshare_file_from_mm(c, &vm_flags);
		else
			file = fget(c->fd) ?: ERR_PTR(-EBADF);
		if (IS_ERR(file))
			return PTR_ERR(file);
		/* The seals look at what is asked for now */
		vm_flags |= vm_prot;
		err = mshare_check_file(file, c, &vm_flags);
		vm_flags &= ~MSHARE_PROT_ALL;
		if (err)
			goto out_file;
	}
	err = security_mmap_file(file, prot, MAP_SHARED);
	if (err)
		goto out_file;
	/* A security module may allow now less than all that comes later */
	if (security_mmap_file(file, (vm_flags >> 4) & MSHARE_PROT_ALL,
			       MAP_SHARED))
		vm_flags = (vm_flags & ~(MSHARE_PROT_ALL << 4)) |
			   vm_prot << 4;

	if (!file) {
		bool huge = c->flags & MAP_HUGETLB;

		anon = mshare_anon_alloc(region, c,
					 huge || !(vm_flags & VM_NORESERVE));
		if (IS_ERR(anon))
			return PTR_ERR(anon);
		file = huge ? mshare_huge_file(c, anon) : NULL;
		if (IS_ERR(file)) {
			err = PTR_ERR(file);
			file = NULL;
			goto out_anon;
		}
	}

	/* Before ->mmap() has reserved anything in vain. It is asked again. */
	err = mshare_check_free(region, c);
	if (err)
		goto out_anon;
	if (file && is_shared_maywrite(vm_flags)) {
		err = mapping_map_writable(file->f_mapping);
		if (err)
			goto out_anon;
		writable = true;
	}
	vma = mshare_make_vma(file, anon, c, vm_flags);
	if (IS_ERR(vma)) {
		err = PTR_ERR(vma);
		goto out_writable;
	}

	err = -EINTR;
	if (!mutex_lock_killable(&region->lock)) {
		if (!mmap_write_lock_killable(region->host)) {
			err = mshare_map_object(region, &vma, vm_prot);
			mmap_write_unlock(region->host);
			if (!err && !(vm_prot & VM_WRITE))
				mshare_guard_close(region, c->region_offset,
						   c->region_offset + c->size);
		}
		mutex_unlock(&region->lock);
	}
	if (vma)
		mshare_drop_vma(vma);
	mshare_host_account(region);
	/* Best effort, as mmap(MAP_POPULATE): what fails, faults later */
	if (!err && c->flags & MAP_POPULATE)
		mshare_populate(region, c->region_offset,
				c->region_offset + c->size, VM_READ);
out_writable:
	if (writable)
		mapping_unmap_writable(file->f_mapping);
out_anon:
	if (err && anon) {
		mshare_anon_free_one(region, anon);
		mshare_host_account(region);
	}
out_file:
	if (file)
		fput(file);
	return err;
}

/*
 * The view entries of chunks that become empty are cleared, and every CPU has
 * forgotten them, before do_vmi_munmap() frees the tables that they lead to;
 * GUP-fast is out too, as it runs with interrupts off. Faults link nothing, so
 * the entries stay clear.
 */
static int mshare_unmap_locked(struct mshare_region *region,
			       unsigned long start, unsigned long end)
{
	unsigned long first = start & PUD_MASK, last = ALIGN(end, PUD_SIZE);
	struct mshare_chunk *chunk;
	bool cleared = false;
	unsigned long addr;
	LIST_HEAD(gone);
	int err;

	if (mshare_cuts_huge(region, start) || mshare_cuts_huge(region, end))
		return -EINVAL;
	err = mshare_split(region, start) ?: mshare_split(region, end);
	if (err)
		return err;

	if (mshare_anything_in(region, first, start))
		first += PUD_SIZE;
	if (mshare_anything_in(region, end, last))
		last -= PUD_SIZE;
	mshare_for_each_chunk(region, chunk, addr, first, last) {
		mshare_view_unlink(region, addr);
		cleared = true;
	}
	if (cleared && !mshare_skip_unmap_flush)
		mshare_flush_region(region, true);

	/* VMAs and pages; the views no longer lead there */
	mshare_anon_count(region, start, end, false, &gone);
	err = mshare_hostmm_unmap(region, start, end);
	mshare_for_each_chunk(region, chunk, addr, start & PUD_MASK, end) {
		if (err && addr >= first && addr < last)
			mshare_view_link(region, addr, chunk->prot);
		mshare_chunk_refresh(region, addr);
	}
	if (err)
		mshare_anon_count(region, start, end, true, &gone);
	else
		mshare_anon_free(region, &gone);
	return err;
}

/**
 * mshare_host_write_back - do what closing a range may have to wait for
 * @region: the region, not locked
 * @start: start of the range
 * @end: its end
 *
 * UNMAP, and flips of pieces when they merge, close VMAs with the region locked.
 * Where that writes a file back (FUSE, 9p) it waits for a server, which may be about
 * to call the region. So it is done before, and what is left is what has become
 * dirty meanwhile. An error is for who syncs the file.
 */
void mshare_host_write_back(struct mshare_region *region, unsigned long start,
			    unsigned long end)
{
	struct vm_area_struct *vma;
	struct file *file;

	while (READ_ONCE(region->writes_back)) {
		VMA_ITERATOR(vmi, region->host, start);

		file = NULL;
		if (mmap_read_lock_killable(region->host))
			return;
		for_each_vma_range(vmi, vma, end) {
			if (!mshare_writes_back(vma))
				continue;
			file = get_file(vma->vm_file);
			start = vma->vm_end;
			break;
		}
		mmap_read_unlock(region->host);
		if (!file)
			return;
		write_inode_now(file->f_mapping->host, 1);
		fput(file);
	}
}

int mshare_host_unmap(struct mshare_region *region, unsigned long start,
		      unsigned long end)
{
	int err;

	if (mmap_write_lock_killable(region->host))
		return -EINTR;
	err = mshare_unmap_locked(region, start, end);
	mmap_write_unlock(region->host);
	mshare_guard_unmapped(region);
	mshare_host_account(region);
	return err;
}
