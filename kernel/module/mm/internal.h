/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What "../internal.h" is for mm/mshare/: the tree's mm/internal.h and mm/vma.h
 * are not in the headers package. The functions are the kernel's own, found by
 * symbols.c; the inline ones are those of 6.12.
 */
#ifndef _MSHARE_MODULE_MM_INTERNAL_H
#define _MSHARE_MODULE_MM_INTERNAL_H

#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/mm_inline.h>
#include <linux/pagemap.h>
#include <linux/ptrace.h>
#include <linux/rmap.h>
#include <linux/seq_file.h>
#include <linux/swap.h>

/* Internal flags of GUP */
enum {
	FOLL_TOUCH = 1 << 16,
	FOLL_TRIED = 1 << 17,
	FOLL_REMOTE = 1 << 18,
	FOLL_PIN = 1 << 19,
	FOLL_FAST_ONLY = 1 << 20,
	FOLL_UNLOCKABLE = 1 << 21,
	FOLL_MADV_POPULATE = 1 << 22,
};

long __get_user_pages(struct mm_struct *mm, unsigned long start,
		      unsigned long nr_pages, unsigned int gup_flags,
		      struct page **pages, int *locked);
int gup_fast_fallback(unsigned long start, unsigned long nr_pages,
		      unsigned int gup_flags, struct page **pages);
long faultin_page_range(struct mm_struct *mm, unsigned long start,
			unsigned long end, bool write, int *locked);
int split_vma(struct vma_iterator *vmi, struct vm_area_struct *vma,
	      unsigned long addr, int new_below);
struct vm_area_struct *vma_modify_flags(struct vma_iterator *vmi,
					struct vm_area_struct *prev,
					struct vm_area_struct *vma,
					unsigned long start, unsigned long end,
					unsigned long new_flags);
struct vm_area_struct *vma_modify_policy(struct vma_iterator *vmi,
					 struct vm_area_struct *prev,
					 struct vm_area_struct *vma,
					 unsigned long start, unsigned long end,
					 struct mempolicy *new_pol);
bool vma_wants_writenotify(struct vm_area_struct *vma, pgprot_t vm_page_prot);
long __x64_sys_mbind(const struct pt_regs *regs);
long __x64_sys_mremap(const struct pt_regs *regs);
int show_smap(struct seq_file *m, void *v);
struct coredump_params;
int elf_core_dump(struct coredump_params *cprm);
void __bad_area_nosemaphore(struct pt_regs *regs, unsigned long error_code,
			    unsigned long address, u32 pkey, int si_code);
/* mm/memory-failure.c */
struct to_kill {
	struct list_head nd;
	struct task_struct *tsk;
	unsigned long addr;
	short size_shift;
};

struct hwpoison_walk {
	struct to_kill tk;
	unsigned long pfn;
	int flags;
};

extern const struct mm_walk_ops hwpoison_walk_ops;
void collect_procs(struct folio *folio, struct page *page,
		   struct list_head *tokill, int force_early);
int kill_accessing_process(struct task_struct *p, unsigned long pfn, int flags);
int kill_proc(struct to_kill *tk, unsigned long pfn, int flags);
struct task_struct *task_early_kill(struct task_struct *tsk, int force_early);
void add_to_kill_ksm(struct task_struct *tsk, struct page *p,
		     struct vm_area_struct *vma, struct list_head *to_kill,
		     unsigned long addr);

int kallsyms_lookup_size_offset(unsigned long addr, unsigned long *size,
				unsigned long *offset);

static inline int mmap_file(struct file *file, struct vm_area_struct *vma)
{
	static const struct vm_operations_struct no_ops = {};
	int err = call_mmap(file, vma);

	if (err)
		vma->vm_ops = &no_ops;
	return err;
}

static inline void vma_close(struct vm_area_struct *vma)
{
	static const struct vm_operations_struct no_ops = {};

	if (vma->vm_ops && vma->vm_ops->close) {
		vma->vm_ops->close(vma);
		vma->vm_ops = &no_ops;
	}
}

static inline void vma_set_range(struct vm_area_struct *vma,
				 unsigned long start, unsigned long end,
				 pgoff_t pgoff)
{
	vma->vm_start = start;
	vma->vm_end = end;
	vma->vm_pgoff = pgoff;
}

static inline bool
vma_wants_manual_pte_write_upgrade(struct vm_area_struct *vma)
{
	if (vma->vm_flags & VM_SHARED)
		return vma_wants_writenotify(vma, vma->vm_page_prot);
	return !!(vma->vm_flags & VM_WRITE);
}

#endif /* _MSHARE_MODULE_MM_INTERNAL_H */
