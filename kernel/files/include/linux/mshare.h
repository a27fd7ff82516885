/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the rest of the kernel calls of mshare: see Documentation/mm/mshare.rst.
 * Every hook is a predicate or one call, and vanishes with CONFIG_MSHARE=n.
 */
#ifndef _LINUX_MSHARE_H
#define _LINUX_MSHARE_H

#include <linux/mm_types.h>
#include <linux/sched.h>

struct mempolicy;
struct mm_walk_ops;
struct mmu_gather;
struct page;
struct pt_regs;
struct seq_file;
struct zap_details;

#ifdef CONFIG_MSHARE

#include <asm/mshare.h>

#ifdef CONFIG_MSHARE_DEBUG
extern bool mshare_skip_batching;
#else
#define mshare_skip_batching	false
#endif

extern const struct vm_operations_struct mshare_window_ops;

/* Is this VMA a window, that is: are its page tables a region's? */
static inline bool vma_is_mshare(const struct vm_area_struct *vma)
{
	return unlikely(vma->vm_ops == &mshare_window_ops);
}

/* Does this mm have windows? Stable under its mmap_lock. */
static inline bool mm_has_mshare(const struct mm_struct *mm)
{
	return unlikely(!hlist_empty(&mm->mshare_links));
}

static inline void mshare_mm_init(struct mm_struct *mm)
{
	INIT_HLIST_HEAD(&mm->mshare_links);
	mm->mshare_region = NULL;
	mm->context.mshare_gen = NULL;
}

/* Is this the host mm of a region? Until the region is taken down. */
static inline bool mm_is_mshare_host(const struct mm_struct *mm)
{
	return unlikely(READ_ONCE(mm->mshare_region));
}

struct mem_cgroup *mshare_host_mem_cgroup(const struct mm_struct *mm);

/* The memory cgroup that a host mm charges, else NULL. Under RCU. */
static inline struct mem_cgroup *mshare_mem_cgroup(const struct mm_struct *mm)
{
	return mm_is_mshare_host(mm) ? mshare_host_mem_cgroup(mm) : NULL;
}

/* Can reclaim put off the flush of this mm? A host's sharers', always. */
static inline bool mshare_should_defer(const struct mm_struct *mm)
{
	return mm_is_mshare_host(mm) && !mshare_skip_batching;
}

void mshare_batch_add(struct tlbflush_unmap_batch *batch,
		      const struct mm_struct *host);
void __mshare_batch_flush(struct tlbflush_unmap_batch *batch);

/* Flush the sharers of what was noted in the batch. */
static inline void mshare_batch_flush(struct tlbflush_unmap_batch *batch)
{
	if (unlikely(batch->mshare_region))
		__mshare_batch_flush(batch);
}

/* The mm that munmap() of @vma, if any, is for: a host mm is not current's. */
static inline struct mm_struct *mshare_unmap_mm(struct vm_area_struct *vma)
{
	return vma ? vma->vm_mm : current->mm;
}

vm_fault_t mshare_handle_fault(struct vm_area_struct *vma,
			       unsigned long address, unsigned int flags,
			       struct pt_regs *regs);
void mshare_zap_window(struct mmu_gather *tlb, struct vm_area_struct *vma,
		       unsigned long start, unsigned long end);
bool mshare_window_at(struct mm_struct *mm, unsigned long address);
int mshare_madvise(struct mm_struct *mm, unsigned long start,
		   unsigned long end, int behavior);
int mshare_window_set_policy(struct vm_area_struct *window, unsigned long start,
			     unsigned long end, struct mempolicy *policy);
unsigned long mshare_dump_size(struct vm_area_struct *window);
unsigned long mshare_task_address(struct task_struct *task,
				  const struct mm_struct *host,
				  unsigned long offset);
int mshare_walk_windows(struct mm_struct *mm, const struct mm_walk_ops *ops,
			void *private, unsigned long *address);
void mshare_show_smap(struct seq_file *seq, struct vm_area_struct *vma);
struct vm_area_struct *mshare_gup_enter(struct vm_area_struct *window,
					unsigned long *address,
					unsigned int flags);
struct page *mshare_gup_leave(struct vm_area_struct *host_vma,
			      unsigned long offset, unsigned int flags,
			      struct page *page);

/* Was this SIGSEGV a denial, not a hole? */
static inline bool mshare_fault_denied(vm_fault_t fault)
{
	return fault & VM_FAULT_DENIED;
}

/*
 * The rest of the kernel makes all these calls from the start. What they need
 * would be set up here, at init and with the first mount, were it otherwise.
 */
static inline int mshare_core_init(void)
{
	return 0;
}

static inline void mshare_core_exit(void)
{
}

static inline int mshare_core_get(void)
{
	return 0;
}

static inline void mshare_core_put(void)
{
}

#else /* !CONFIG_MSHARE */

static inline bool vma_is_mshare(const struct vm_area_struct *vma)
{
	return false;
}

static inline bool mm_has_mshare(const struct mm_struct *mm)
{
	return false;
}

static inline void mshare_mm_init(struct mm_struct *mm)
{
}

static inline bool mm_is_mshare_host(const struct mm_struct *mm)
{
	return false;
}

static inline struct mem_cgroup *mshare_mem_cgroup(const struct mm_struct *mm)
{
	return NULL;
}

/* Macros: even empty functions would sway the code around them */
#define mshare_window_at(mm, address)	false
#define mshare_should_defer(mm)		false
#define mshare_batch_add(batch, host)	do { } while (0)
#define mshare_batch_flush(batch)	do { } while (0)

static inline struct mm_struct *mshare_unmap_mm(struct vm_area_struct *vma)
{
	return current->mm;
}

static inline vm_fault_t mshare_handle_fault(struct vm_area_struct *vma,
					     unsigned long address,
					     unsigned int flags,
					     struct pt_regs *regs)
{
	return VM_FAULT_SIGSEGV;
}

static inline void mshare_zap_window(struct mmu_gather *tlb,
				     struct vm_area_struct *vma,
				     unsigned long start, unsigned long end)
{
}

static inline int mshare_madvise(struct mm_struct *mm, unsigned long start,
				 unsigned long end, int behavior)
{
	return 0;
}

static inline int mshare_window_set_policy(struct vm_area_struct *window,
					   unsigned long start,
					   unsigned long end,
					   struct mempolicy *policy)
{
	return 0;
}

static inline unsigned long mshare_dump_size(struct vm_area_struct *window)
{
	return 0;
}

static inline unsigned long mshare_task_address(struct task_struct *task,
						const struct mm_struct *host,
						unsigned long offset)
{
	return -EFAULT;
}

static inline int mshare_walk_windows(struct mm_struct *mm,
				      const struct mm_walk_ops *ops,
				      void *private, unsigned long *address)
{
	return 0;
}

static inline void mshare_show_smap(struct seq_file *seq,
				    struct vm_area_struct *vma)
{
}

static inline struct vm_area_struct *
mshare_gup_enter(struct vm_area_struct *window, unsigned long *address,
		 unsigned int flags)
{
	return window;
}

static inline struct page *mshare_gup_leave(struct vm_area_struct *host_vma,
					    unsigned long offset,
					    unsigned int flags,
					    struct page *page)
{
	return page;
}

static inline bool mshare_fault_denied(vm_fault_t fault)
{
	return false;
}

static inline bool mshare_pud_gup_denied(pud_t pud, bool write)
{
	return false;
}

static inline bool mshare_p4d_gup_denied(p4d_t p4d, bool write)
{
	return false;
}

static inline bool mshare_gup_recheck(pud_t *pudp, pud_t pud)
{
	return true;
}

#endif /* CONFIG_MSHARE */

#ifdef CONFIG_MSHARE_SHMEM

/* Ordinary mappings of shmem that share their tables: mm/mshare/shmem.c */
vm_flags_t mshare_shmem_vm_flags(struct file *file, vm_flags_t vm_flags);
unsigned long mshare_shmem_area(struct file *file, unsigned long address,
				unsigned long len, unsigned long pgoff,
				unsigned long flags);
bool mshare_shmem_fault(struct vm_area_struct *vma, unsigned long address,
			unsigned int flags, struct pt_regs *regs,
			vm_fault_t *ret);
bool mshare_shmem_zap(struct mmu_gather *tlb, struct vm_area_struct *vma,
		      pud_t *pud, unsigned long address,
		      struct zap_details *details);
int mshare_shmem_advise(struct vm_area_struct *vma, unsigned long start,
			unsigned long end, int behavior,
			unsigned long *vm_flags);
void mshare_unshare_mm(struct mm_struct *mm, bool forever);
void __mshare_unshare(struct vm_area_struct *vma, unsigned long start,
		      unsigned long end);
void __mshare_shmem_close(struct vm_area_struct *vma);

/* Let what changes the mapping in this range change no table of others. */
static inline void mshare_unshare(struct vm_area_struct *vma,
				  unsigned long start, unsigned long end)
{
	if (unlikely(vma->vm_flags & VM_SHARE_TABLES))
		__mshare_unshare(vma, start, end);
}

/* The mapping is about to be cut at this address. */
static inline void mshare_shmem_split(struct vm_area_struct *vma,
				      unsigned long address)
{
	if (address & ~PUD_MASK)
		mshare_unshare(vma, address, address + 1);
}

static inline void mshare_shmem_close(struct vm_area_struct *vma)
{
	if (unlikely(vma->vm_flags & VM_SHARE_TABLES))
		__mshare_shmem_close(vma);
}

/* How many mms beside the pool's host have the table with this entry; 0: one has */
static inline unsigned int mshare_table_sharers(pmd_t *pmd)
{
	return ptdesc_pmd_pts_count(virt_to_ptdesc(pmd));
}

/* Each of them counts for a page that by rmap only the host maps. */
#define mshare_note_others(mss, pmd) \
	((mss)->others = max(mshare_table_sharers(pmd), 1U) - 1)
#define mshare_mapcount(mss, mapcount) ((mapcount) + (mss)->others)

#else /* !CONFIG_MSHARE_SHMEM */

#define mshare_shmem_vm_flags(file, vm_flags)			0
#define mshare_shmem_area(file, address, len, pgoff, flags)	0
#define mshare_shmem_fault(vma, address, flags, regs, ret)	false
#define mshare_shmem_zap(tlb, vma, pud, address, details)	false
#define mshare_unshare_mm(mm, forever)		do { } while (0)
#define mshare_unshare(vma, start, end)		do { } while (0)
#define mshare_shmem_split(vma, address)	do { } while (0)
#define mshare_shmem_close(vma)			do { } while (0)
#define mshare_table_sharers(pmd)		0
#define mshare_note_others(mss, pmd)		do { } while (0)
#define mshare_mapcount(mss, mapcount)	(mapcount)

#endif /* CONFIG_MSHARE_SHMEM */

#endif /* _LINUX_MSHARE_H */
