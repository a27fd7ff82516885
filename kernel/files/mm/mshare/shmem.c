// SPDX-License-Identifier: GPL-2.0
/*
 * mshare: shared tables for ordinary mappings of shmem, without a region.
 *
 * What many processes map of a shmem object at addresses that are congruent to
 * its offsets modulo 1 GiB can have one PMD table for each of these chunks. The
 * tables are those of the object's pool: a region that nobody sees, made for
 * the first sharer and gone with the last, whose host mm maps the object at its
 * own offsets. A process's PUD entry points to the host's PMD table. There are
 * neither views nor windows: the mapping stays what it is.
 *
 * Who only reads the tables of a process may walk into shared ones: locks of
 * tables are theirs, whoever gets there. Who would change them for the mapping
 * of one process is either told first, so that this has tables of its own (and
 * for now none, as faults bring them back), or goes by the object and meets the
 * host's mapping too: he passes over shared tables in any other.
 *
 * An entry is set by a fault, with the VMA locked, and cleared by who unmaps,
 * or has the VMA locked for writing; so who has it locked sees no change but
 * from none. VM_SHARE_TABLES says that this may be, and is set and cleared with
 * the mmap_lock held for writing. A fault in a chunk that could share makes it
 * either shared or the process's own before it goes on.
 *
 * A host's PMD table lives as long as the host: until the last sharer has left,
 * all its entries cleared and flushed. That tears the host down, whose VMA is
 * taken out of i_mmap before a table is freed: who found the entry of a sharer by
 * i_mmap, which is locked, is still safe.
 */
#include <linux/file.h>
#include <linux/memcontrol.h>
#include <linux/mman.h>
#include <linux/mmu_notifier.h>
#include <linux/moduleparam.h>
#include <linux/mshare.h>
#include <linux/pkeys.h>
#include <linux/sched/mm.h>
#include <linux/shmem_fs.h>
#include <linux/slab.h>
#include <linux/xarray.h>
#include <asm/tlb.h>

#include "../internal.h"
#include "internal.h"

/* The offsets that can be shared: more than x86 has user addresses for at once */
#define MSHARE_POOL_SIZE	BIT(46)

/*
 * Never eligible: what a leaf would have to be other for. The host's are neither
 * executable nor locked nor watched, are of no protection key, and go by no advice.
 */
#define MSHARE_UNSHARED_FLAGS	(VM_EXEC | VM_LOCKED | VM_LOCKONFAULT |	\
				 VM_HUGEPAGE | VM_NOHUGEPAGE |		\
				 ARCH_VM_PKEY_FLAGS | VM_UFFD_MISSING |	\
				 VM_UFFD_WP | VM_UFFD_MINOR)

enum mshare_shmem_mode {
	MSHARE_SHMEM_NEVER,
	MSHARE_SHMEM_ADVISE,
	MSHARE_SHMEM_ALWAYS,
};

static const char * const mshare_shmem_modes[] = {
	[MSHARE_SHMEM_NEVER]	= "never",
	[MSHARE_SHMEM_ADVISE]	= "advise",
	[MSHARE_SHMEM_ALWAYS]	= "always",
};

static int mshare_shmem_mode;

static int mshare_shmem_set(const char *val, const struct kernel_param *kp)
{
	int mode = sysfs_match_string(mshare_shmem_modes, val);

	if (mode < 0)
		return mode;
	WRITE_ONCE(mshare_shmem_mode, mode);
	return 0;
}

static int mshare_shmem_get(char *buf, const struct kernel_param *kp)
{
	int len = 0, mode;

	for (mode = 0; mode < ARRAY_SIZE(mshare_shmem_modes); mode++)
		len += sysfs_emit_at(buf, len,
				     mode == READ_ONCE(mshare_shmem_mode) ?
				     "[%s] " : "%s ", mshare_shmem_modes[mode]);
	return len - 1 + sysfs_emit_at(buf, len - 1, "\n");
}

static const struct kernel_param_ops mshare_shmem_param_ops = {
	.set	= mshare_shmem_set,
	.get	= mshare_shmem_get,
};

#undef MODULE_PARAM_PREFIX
#define MODULE_PARAM_PREFIX	"mshare."
module_param_cb(shmem_enabled, &mshare_shmem_param_ops, NULL, 0644);

/* The pools by their inodes; the lock is for who makes one. */
static DEFINE_XARRAY(mshare_pools);
static DEFINE_MUTEX(mshare_pools_lock);

/* Pools are on no mount, and count against none. */
static struct mshare_fs mshare_pool_fs = {
	.refs		= REFCOUNT_INIT(1),
	.max_bytes	= LONG_MAX,
	.max_regions	= LONG_MAX,
};

static const struct file_operations mshare_pool_file_ops = {};

/*
 * What the host maps: all that there may be of the object, for reading and
 * writing. It has no VM_MAYWRITE while it is put into i_mmap or taken out, so that
 * it is not counted as a writable mapping: the object can be sealed or guarded as
 * if the host were not there. A sharer that writes counts by itself. The file is
 * the pool's own, as that of a sharer may do something when it is closed.
 */
static int mshare_pool_map(struct mshare_region *pool, struct file *sharer)
{
	unsigned long vm_flags = VM_READ | VM_WRITE | VM_SHARED | VM_MAYREAD |
				 VM_MAYSHARE | VM_NORESERVE | VM_SOFTDIRTY;
	struct mm_struct *host = pool->host;
	struct vm_area_struct *vma;
	struct file *file;
	int err = -ENOMEM;

	file = alloc_file_clone(sharer, O_RDONLY, &mshare_pool_file_ops);
	if (IS_ERR(file))
		return PTR_ERR(file);
	vma = vm_area_alloc(host);
	if (!vma)
		goto err_file;
	vma_set_range(vma, 0, MSHARE_POOL_SIZE, 0);
	vm_flags_init(vma, vm_flags);
	vma->vm_page_prot = vm_get_page_prot(vm_flags);
	vma->vm_file = file;
	vma->vm_ops = &shmem_pool_vm_ops;

	mmap_write_lock(host);
	err = insert_vm_struct(host, vma);
	if (!err)
		vm_flags_set(vma, VM_MAYWRITE);
	mmap_write_unlock(host);
	if (!err)
		return 0;
	vm_area_free(vma);
err_file:
	fput(file);
	return err;
}

static struct mshare_region *mshare_pool_alloc(struct file *sharer)
{
	struct mshare_region *pool = mshare_region_alloc(&mshare_pool_fs);
	int err;

	if (IS_ERR(pool))
		return pool;
	pool->ino = file_inode(sharer)->i_ino;
	err = mshare_host_init(pool) ?: mshare_pool_map(pool, sharer);
	if (err) {
		mshare_region_put(pool);
		return ERR_PTR(err);
	}
	pool->inode = file_inode(sharer);
	return pool;
}

/* The pool of a file's object, with a reference; it is made if need be. */
static struct mshare_region *mshare_pool_get(struct file *file)
{
	unsigned long index = (unsigned long)file_inode(file);
	struct mshare_region *pool;

	mutex_lock(&mshare_pools_lock);
	rcu_read_lock();
	pool = xa_load(&mshare_pools, index);
	if (pool && !refcount_inc_not_zero(&pool->refs))
		pool = NULL;
	rcu_read_unlock();
	if (!pool) {
		pool = mshare_pool_alloc(file);
		if (!IS_ERR(pool) &&
		    xa_err(xa_store(&mshare_pools, index, pool, GFP_KERNEL))) {
			mshare_region_put(pool);
			pool = ERR_PTR(-ENOMEM);
		}
	}
	mutex_unlock(&mshare_pools_lock);
	return pool;
}

/* The last reference is gone. Another pool may have taken the place already. */
void mshare_pool_gone(struct mshare_region *pool)
{
	struct mm_struct *host = pool->host;

	if (!pool->inode)
		return;
	xa_cmpxchg(&mshare_pools, (unsigned long)pool->inode, pool, NULL, 0);
	mmap_write_lock(host);
	vm_flags_clear(find_vma(host, 0), VM_MAYWRITE);
	mmap_write_unlock(host);
}

/* Is this the host's VMA of a pool, which nobody writes by? i_mmap is locked. */
bool mshare_is_pool(const struct vm_area_struct *vma)
{
	struct mshare_region *region = mshare_host_region(vma->vm_mm);

	return region && region->inode;
}

/* The mm's link to the pool of a VMA's object. Under the mm's page_table_lock. */
static struct mshare_link *mshare_pool_link(struct vm_area_struct *vma)
{
	struct inode *inode = file_inode(vma->vm_file);
	struct mshare_link *link;

	hlist_for_each_entry(link, &vma->vm_mm->mshare_links, in_mm)
		if (link->region->inode == inode)
			return link;
	return NULL;
}

/* The same, with a reference, or NULL */
static struct mshare_link *mshare_pool_link_get(struct vm_area_struct *vma)
{
	struct mshare_link *link;

	spin_lock(&vma->vm_mm->page_table_lock);
	link = mshare_pool_link(vma);
	if (link)
		refcount_inc(&link->refs);
	spin_unlock(&vma->vm_mm->page_table_lock);
	return link;
}

/*
 * Let no CPU keep what it holds of the mm's tables, nor walk them by the old entry.
 * All of it: by strides of an entry cleared only one page of each would be flushed.
 */
static void mshare_flush_sharer(struct mm_struct *mm)
{
	flush_tlb_mm_range(mm, 0, TLB_FLUSH_ALL, 0, true);
}

/*
 * A mapping goes that may have shared, or will no more: take the link out of its mm
 * if nothing is attached. Another thread may have cleared the last entry and be
 * about to flush.
 */
void __mshare_shmem_close(struct vm_area_struct *vma)
{
	struct mshare_link *link = mshare_pool_link_get(vma);
	bool last;

	if (!link)
		return;
	mutex_lock(&link->region->lock);
	last = !READ_ONCE(link->chunks) && !hlist_unhashed(&link->in_mm);
	if (last) {
		mshare_flush_sharer(link->mm);
		mshare_link_leave(link);
	}
	mutex_unlock(&link->region->lock);
	if (last)
		mshare_link_put(link);
	mshare_link_put(link);
}

static bool mshare_pud_shared(pud_t pud)
{
	return pud_present(pud) && !pud_leaf(pud) &&
		ptdesc_pmd_pts_count(virt_to_ptdesc(pud_pgtable(pud)));
}

/* The entry of an address, if there are tables down to it */
static pud_t *mshare_pud_at(struct mm_struct *mm, unsigned long address)
{
	pgd_t *pgd = pgd_offset(mm, address);
	p4d_t *p4d;

	if (!pgd_present(*pgd))
		return NULL;
	p4d = p4d_offset(pgd, address);
	return p4d_present(*p4d) ? pud_offset(p4d, address) : NULL;
}

/* Can all of the chunk around an address share, by what the VMA is? */
static bool mshare_chunk_fits(struct vm_area_struct *vma, unsigned long address)
{
	unsigned long start = address & PUD_MASK;
	unsigned long offset = mshare_window_offset(vma, start);

	if (start < vma->vm_start || vma->vm_end - start < PUD_SIZE ||
	    !(vma->vm_flags & VM_READ) ||
	    vma->vm_flags & MSHARE_UNSHARED_FLAGS)
		return false;
	if (IS_ENABLED(CONFIG_MEM_SOFT_DIRTY) &&
	    !(vma->vm_flags & VM_SOFTDIRTY))
		return false;
	return !(offset & ~PUD_MASK) && offset < MSHARE_POOL_SIZE;
}

/* May a chunk be attached now? A guarded object has rules for each mapping. */
static bool mshare_may_attach(struct vm_area_struct *vma)
{
	return READ_ONCE(mshare_shmem_mode) != MSHARE_SHMEM_NEVER &&
		!rcu_access_pointer(SHMEM_I(file_inode(vma->vm_file))->gate);
}

/* The host's PMD table for an offset */
static pud_t *mshare_pool_pud(struct mshare_region *pool, unsigned long offset)
{
	struct mm_struct *host = pool->host;
	p4d_t *p4d = p4d_alloc(host, pgd_offset(host, offset), offset);
	pud_t *pud = p4d ? pud_alloc(host, p4d, offset) : NULL;

	return pud && pmd_alloc(host, pud, offset) ? pud : NULL;
}

/*
 * Let the entry point to the pool's table if it is none. What fails for want of
 * memory is no error: the process gets a table of its own.
 */
static void mshare_attach(struct vm_area_struct *vma, unsigned long address,
			  pud_t *pud)
{
	unsigned long offset = mshare_window_offset(vma, address & PUD_MASK);
	struct mm_struct *mm = vma->vm_mm;
	struct mshare_region *pool = mshare_pool_get(vma->vm_file);
	bool write = vma->vm_flags & VM_WRITE;
	struct mshare_link *link;
	pud_t *shared;

	if (IS_ERR(pool))
		return;
	mutex_lock(&pool->lock);
	shared = mshare_pool_pud(pool, offset);
	link = mshare_pool_link_get(vma);
	if (!link) {
		link = mshare_link_alloc(pool, mm, GFP_KERNEL_ACCOUNT);
		if (link)
			refcount_inc(&link->refs);
	}
	if (shared && link) {
		spin_lock(&mm->page_table_lock);
		if (pud_none(*pud)) {
			ptdesc_pmd_pts_inc(virt_to_ptdesc(pud_pgtable(*shared)));
			link->chunks++;
			set_pud(pud, mshare_mk_shared_pud(*shared, write));
		}
		spin_unlock(&mm->page_table_lock);
	}
	mutex_unlock(&pool->lock);
	if (link)
		mshare_link_put(link);
	mshare_region_put(pool);
}

/* Clear an entry that points to a shared table; the caller flushes. */
static void mshare_detach(struct vm_area_struct *vma, pud_t *pud)
{
	struct mm_struct *mm = vma->vm_mm;

	spin_lock(&mm->page_table_lock);
	ptdesc_pmd_pts_dec(virt_to_ptdesc(pud_pgtable(*pud)));
	pud_clear(pud);
	mshare_pool_link(vma)->chunks--;
	spin_unlock(&mm->page_table_lock);
}

/*
 * Is the chunk shared (1) or not (0)? If it could be but was neither that nor the
 * process's own, it now is the one or the other. Possible errors: -ENOMEM.
 */
static int mshare_chunk_decide(struct vm_area_struct *vma,
			       unsigned long address)
{
	struct mm_struct *mm = vma->vm_mm;
	pud_t *pud = mshare_pud_at(mm, address);
	p4d_t *p4d;

	if ((!pud || pud_none(*pud)) && mshare_chunk_fits(vma, address)) {
		p4d = p4d_alloc(mm, pgd_offset(mm, address), address);
		pud = p4d ? pud_alloc(mm, p4d, address) : NULL;
		if (!pud)
			return -ENOMEM;
		if (mshare_may_attach(vma))
			mshare_attach(vma, address, pud);
		if (pud_none(*pud) && !pmd_alloc(mm, pud, address))
			return -ENOMEM;
	}
	return pud && mshare_pud_shared(*pud);
}

/**
 * mshare_shmem_fault - handle_mm_fault() for a mapping with VM_SHARE_TABLES
 * @vma: the mapping, locked as FAULT_FLAG_VMA_LOCK says; it allows the access
 * @address: the address, in it
 * @flags: FAULT_FLAG_*
 * @regs: as for handle_mm_fault()
 * @ret: what handle_mm_fault() shall return
 *
 * Returns whether the chunk is shared, so that the fault was one of the host;
 * if not the process has a table of its own there, or cannot share one.
 */
bool mshare_shmem_fault(struct vm_area_struct *vma, unsigned long address,
			unsigned int flags, struct pt_regs *regs,
			vm_fault_t *ret)
{
	struct mm_struct *mm = vma->vm_mm, *host;
	struct vm_area_struct *host_vma;
	struct mem_cgroup *memcg, *old;
	struct mshare_link *link;
	unsigned long offset = mshare_window_offset(vma, address);
	bool release;
	int shared;

	memcg = get_mem_cgroup_from_mm(mm);
	old = set_active_memcg(memcg);
	shared = mshare_chunk_decide(vma, address);
	*ret = VM_FAULT_OOM;
	if (shared <= 0)
		goto out;

	spin_lock(&mm->page_table_lock);
	link = mshare_pool_link(vma);
	spin_unlock(&mm->page_table_lock);
	/* It stays while the chunk is attached, and that while the VMA is locked */
	host = link->region->host;
	*ret = VM_FAULT_RETRY;
	host_vma = mshare_lock_host(host, offset, flags);
	if (IS_ERR_OR_NULL(host_vma)) {
		if (!(flags & FAULT_FLAG_RETRY_NOWAIT))
			mshare_unlock_window(vma, flags);
		goto out;
	}
	release = mshare_fault_begin(link, vma, flags);
	*ret = handle_mm_fault(host_vma, offset, flags, regs);
	mshare_rss_update(link->region);
	*ret = mshare_fault_end(link, vma, host_vma, flags, *ret, release);
out:
	set_active_memcg(old);
	mem_cgroup_put(memcg);
	return shared;
}

/**
 * mshare_shmem_zap - is a chunk that is to be zapped shared?
 * @tlb: of the process's mm
 * @vma: the mapping
 * @pud: its entry for the chunk
 * @address: where in the chunk
 * @details: as for unmap_page_range()
 *
 * If it is unmapped it is detached, as it is whole: mshare_shmem_split(). Else
 * its pages are the host's to zap. freed_tables makes the flush reach lazy CPUs:
 * the table may be freed with the pool. All is flushed: see mshare_flush_sharer().
 */
bool mshare_shmem_zap(struct mmu_gather *tlb, struct vm_area_struct *vma,
		      pud_t *pud, unsigned long address,
		      struct zap_details *details)
{
	if (!mshare_pud_shared(*pud))
		return false;
	if (details && details->zap_flags & ZAP_FLAG_UNMAP) {
		mshare_detach(vma, pud);
		tlb_flush_pud_range(tlb, address & PUD_MASK, PUD_SIZE);
		tlb->need_flush_all = 1;
		tlb->freed_tables = 1;
	}
	return true;
}

/**
 * __mshare_unshare - let a process have tables of its own
 * @vma: a mapping with VM_SHARE_TABLES; the mmap_lock is held for writing
 * @start: where the range begins
 * @end: where it ends
 *
 * Each chunk that the range touches is detached, and no CPU knows of it when
 * this returns. Faults may attach it again, once the VMA is unlocked.
 */
void __mshare_unshare(struct vm_area_struct *vma, unsigned long start,
		      unsigned long end)
{
	unsigned long address;
	bool detached = false;
	pud_t *pud;

	start = max(start, vma->vm_start) & PUD_MASK;
	end = min(end, vma->vm_end);
	vma_start_write(vma);
	for (address = start; address < end; address += PUD_SIZE) {
		pud = mshare_pud_at(vma->vm_mm, address);
		if (!pud || !mshare_pud_shared(*pud))
			continue;
		mshare_detach(vma, pud);
		detached = true;
	}
	if (detached)
		mshare_flush_sharer(vma->vm_mm);
}

/**
 * mshare_unshare_mm - the same for all of an mm
 * @mm: the mm; its mmap_lock is held for writing
 * @forever: and let no mapping that there is share again
 */
void mshare_unshare_mm(struct mm_struct *mm, bool forever)
{
	VMA_ITERATOR(vmi, mm, 0);
	struct vm_area_struct *vma;

	for_each_vma(vmi, vma) {
		if (!(vma->vm_flags & VM_SHARE_TABLES))
			continue;
		__mshare_unshare(vma, vma->vm_start, vma->vm_end);
		if (forever) {
			vm_flags_clear(vma, VM_SHARE_TABLES);
			__mshare_shmem_close(vma);
		}
	}
}

/* As if they had always been there. What fails is for who needs them. */
static void mshare_own_tables(struct vm_area_struct *vma, unsigned long start,
			      unsigned long end)
{
	unsigned long address;
	pud_t *pud;

	if (!(vma->vm_flags & VM_SHARE_TABLES))
		return;
	start = max(start, vma->vm_start);
	end = min(end, vma->vm_end);
	for (address = start & PUD_MASK; address < end; address += PUD_SIZE) {
		pud = mshare_pud_at(vma->vm_mm, address);
		if (pud && pud_none(*pud))
			pmd_alloc(vma->vm_mm, pud, address);
	}
}

/* Advice that touches pages, but takes the mmap_lock for reading only */
int mshare_madvise_unshare(struct mm_struct *mm, unsigned long start,
			   unsigned long end, int behavior)
{
	struct vm_area_struct *vma;
	struct vma_iterator vmi;

	switch (behavior) {
	case MADV_DONTNEED:
	case MADV_DONTNEED_LOCKED:
	case MADV_FREE:
	case MADV_COLD:
	case MADV_PAGEOUT:
	case MADV_COLLAPSE:
		break;
	default:
		return 0;
	}
	if (mmap_write_lock_killable(mm))
		return -EINTR;
	start = untagged_addr_remote(mm, start);
	end = untagged_addr_remote(mm, end);
	vma_iter_init(&vmi, mm, start);
	for_each_vma_range(vmi, vma, end) {
		mshare_unshare(vma, start, end);
		if (behavior == MADV_COLLAPSE)
			mshare_own_tables(vma, start, end);
	}
	mmap_write_unlock(mm);
	return 0;
}

/*
 * Forget the process's own tables of whole chunks, so that faults may attach shared
 * ones. Who looks at them by the object has i_mmap locked, all others the VMA or
 * the mmap_lock, or interrupts off.
 */
static void mshare_forget_tables(struct vm_area_struct *vma,
				 unsigned long start, unsigned long end)
{
	struct address_space *mapping = vma->vm_file->f_mapping;
	struct mmu_gather tlb;

	start = ALIGN(start, PUD_SIZE);
	end &= PUD_MASK;
	if (start >= end || !mshare_chunk_fits(vma, start))
		return;
	__mshare_unshare(vma, start, end);
	zap_page_range_single(vma, start, end - start, NULL);
	tlb_gather_mmu(&tlb, vma->vm_mm);
	i_mmap_lock_write(mapping);
	free_pgd_range(&tlb, start, end, start, end);
	i_mmap_unlock_write(mapping);
	tlb_finish_mmu(&tlb);
}

/**
 * mshare_shmem_advise - MADV_SHARE_TABLES and MADV_UNSHARE_TABLES
 * @vma: the mapping; the mmap_lock is held for writing
 * @start: where the range in it begins
 * @end: where it ends
 * @behavior: which of the two
 * @vm_flags: those that the range shall have
 *
 * Possible errors: -EINVAL, @vma is not a shared mapping of shmem.
 */
int mshare_shmem_advise(struct vm_area_struct *vma, unsigned long start,
			unsigned long end, int behavior,
			unsigned long *vm_flags)
{
	if (!(vma->vm_flags & VM_MAYSHARE) || !vma->vm_file ||
	    !shmem_mapping(vma->vm_file->f_mapping))
		return -EINVAL;
	if (behavior == MADV_UNSHARE_TABLES) {
		mshare_unshare(vma, start, end);
		/* whose flag nobody will see when it is unmapped */
		mshare_shmem_close(vma);
		*vm_flags &= ~VM_SHARE_TABLES;
	} else if (!mm_has_notifiers(vma->vm_mm)) {
		mshare_forget_tables(vma, start, end);
		*vm_flags |= VM_SHARE_TABLES;
	}
	return 0;
}

/* mmap(): VM_SHARE_TABLES if the mapping shall share without being asked */
vm_flags_t mshare_shmem_vm_flags(struct file *file, vm_flags_t vm_flags)
{
	if (likely(READ_ONCE(mshare_shmem_mode) != MSHARE_SHMEM_ALWAYS) ||
	    !(vm_flags & VM_MAYSHARE) ||
	    (file && !shmem_mapping(file->f_mapping)) ||
	    mm_has_notifiers(current->mm))
		return 0;
	return VM_SHARE_TABLES;
}

/**
 * mshare_shmem_area - an address that can share
 * @file: of the mapping, or NULL
 * @address: the caller's hint
 * @len: its length
 * @pgoff: its offset in the object
 * @flags: MAP_*
 *
 * Returns an address that is congruent to the offset modulo 1 GiB, or 0 if none
 * is asked for or to be had.
 */
unsigned long mshare_shmem_area(struct file *file, unsigned long address,
				unsigned long len, unsigned long pgoff,
				unsigned long flags)
{
	unsigned long offset = (pgoff << PAGE_SHIFT) & ~PUD_MASK;
	unsigned long area;

	if (likely(READ_ONCE(mshare_shmem_mode) == MSHARE_SHMEM_NEVER) ||
	    address || len < PUD_SIZE || len > TASK_SIZE - PUD_SIZE ||
	    flags & MAP_FIXED || !(flags & MAP_SHARED))
		return 0;
	area = mm_get_unmapped_area(current->mm, NULL, 0,
				    len + PUD_SIZE - PAGE_SIZE, 0, flags);
	if (IS_ERR_VALUE(area))
		return 0;
	return area + ((offset - area) & ~PUD_MASK);
}
