/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the rest of the kernel calls of mshare: see Documentation/mm/mshare.rst.
 * Every hook is a predicate or one call, and vanishes with CONFIG_MSHARE=n.
 */
#ifndef _LINUX_MSHARE_H
#define _LINUX_MSHARE_H

#include <linux/mm_types.h>
#include <linux/sched.h>

struct follow_page_context;
struct mmu_gather;
struct page;
struct pt_regs;
struct seq_file;

typedef struct page *(*mshare_follow_t)(struct vm_area_struct *vma,
					unsigned long address,
					unsigned int flags,
					struct follow_page_context *ctx);

#ifdef CONFIG_MSHARE

#include <asm/mshare.h>

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
	mm->mshare_memcg = NULL;
}

/* The memory cgroup that a region's host mm charges, else NULL. */
static inline struct mem_cgroup *mshare_mem_cgroup(const struct mm_struct *mm)
{
	return READ_ONCE(mm->mshare_memcg);
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
int mshare_madvise(struct mm_struct *mm, unsigned long start,
		   unsigned long end, int behavior);
void mshare_show_smap(struct seq_file *seq, struct vm_area_struct *vma);
struct page *mshare_follow_page(struct vm_area_struct *vma,
				unsigned long address, unsigned int flags,
				struct follow_page_context *ctx,
				mshare_follow_t follow);

/* Was this SIGSEGV a denial, not a hole? */
static inline bool mshare_fault_denied(vm_fault_t fault)
{
	return fault & VM_FAULT_DENIED;
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

static inline struct mem_cgroup *mshare_mem_cgroup(const struct mm_struct *mm)
{
	return NULL;
}

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

static inline void mshare_show_smap(struct seq_file *seq,
				    struct vm_area_struct *vma)
{
}

static inline struct page *mshare_follow_page(struct vm_area_struct *vma,
					      unsigned long address,
					      unsigned int flags,
					      struct follow_page_context *ctx,
					      mshare_follow_t follow)
{
	return NULL;
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

static inline bool mshare_gup_recheck(p4d_t *p4dp, p4d_t p4d, pud_t *pudp,
				      pud_t pud)
{
	return true;
}

#endif /* CONFIG_MSHARE */

#endif /* _LINUX_MSHARE_H */
