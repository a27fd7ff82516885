/* SPDX-License-Identifier: GPL-2.0 */
/*
 * In place of the tree's header of this name: what the hooks call of mshare,
 * and what they ask. mm_struct has no fields for it; there are hashes instead.
 */
#ifndef _LINUX_MSHARE_H
#define _LINUX_MSHARE_H

#include <linux/hash.h>
#include <linux/list.h>
#include <linux/mm_types.h>
#include <linux/pagewalk.h>
#include <linux/sched.h>
#include <asm/mshare.h>

struct mempolicy;
struct mmu_gather;
struct mshare_region;
struct pt_regs;
struct seq_file;

#ifdef CONFIG_MSHARE_DEBUG
extern bool mshare_skip_batching;
#else
#define mshare_skip_batching	false
#endif

extern const struct vm_operations_struct mshare_window_ops;

/* Is this VMA a window, that is: are its page tables a region's? */
static __always_inline bool vma_is_mshare(const struct vm_area_struct *vma)
{
	return unlikely(vma->vm_ops == &mshare_window_ops);
}

#define MSHARE_HASH_BITS	10

extern struct hlist_head mshare_links[1 << MSHARE_HASH_BITS];
bool mshare_links_find(const struct mm_struct *mm);

/* Does this mm have windows? An ordinary one meets an empty bucket. */
static __always_inline bool mm_has_mshare(const struct mm_struct *mm)
{
	return unlikely(!hlist_empty(&mshare_links[hash_ptr(mm, MSHARE_HASH_BITS)])) &&
		mshare_links_find(mm);
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
void mshare_show_smap(struct seq_file *seq, struct vm_area_struct *vma);
unsigned long mshare_dump_size(struct vm_area_struct *window);
unsigned long mshare_task_address(struct task_struct *task,
				  const struct mm_struct *host,
				  unsigned long offset);
int mshare_walk_windows(struct mm_struct *mm, const struct mm_walk_ops *ops,
			void *private, unsigned long *address);
struct folio *mshare_folio_walk_start(struct folio_walk *fw,
				      struct vm_area_struct *window,
				      unsigned long addr,
				      folio_walk_flags_t flags);

/* core.c: hooks stand from the first mount on */
int mshare_core_init(void);
void mshare_core_exit(void);
int mshare_core_get(void);
void mshare_core_put(void);

#endif /* _LINUX_MSHARE_H */
