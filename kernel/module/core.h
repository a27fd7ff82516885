/* SPDX-License-Identifier: GPL-2.0 */
/* mshare as a module: what its files share. */
#ifndef _MSHARE_MODULE_CORE_H
#define _MSHARE_MODULE_CORE_H

#include <linux/list.h>
#include <linux/mm_types.h>

struct mshare_region;

/* symbols.c */
int mshare_symbols_init(void);
unsigned long mshare_symbol(const char *name);

/* hooks.c */
vm_fault_t mshare_hook_fault(struct vm_area_struct *vma, unsigned long address,
			     unsigned int flags, struct pt_regs *regs);
void mshare_direct_fault(void);
long mshare_hook_gup(struct mm_struct *mm, unsigned long start,
		     unsigned long nr_pages, unsigned int gup_flags,
		     struct page **pages, int *locked);
bool mshare_gup_wanted(const struct mm_struct *mm, unsigned long from);
void mshare_direct_gup(void);
int mshare_hooks_set(void);
void mshare_hooks_clear(void);
int mshare_hooks_show(char *buf, size_t size);

/* selftest.c */
int mshare_selftest(void);

/* hostmm.c */
extern struct hlist_head mshare_hosts[];
struct mshare_region *mshare_host_region(const struct mm_struct *host);
void mshare_host_mask(struct mm_struct *host);

/* gup.c */
extern atomic_t mshare_windows_made;
long mshare_get_user_pages(struct mm_struct *mm, unsigned long start,
			   unsigned long nr_pages, unsigned int gup_flags,
			   struct page **pages, int *locked);
int mshare_gup_ordinary(unsigned long start, unsigned long end,
			unsigned int gup_flags, struct page **pages);
struct vm_area_struct *mshare_window_in(struct mm_struct *mm,
					unsigned long start, unsigned long end);
int mshare_gup_fast(unsigned long start, unsigned long nr_pages,
		    unsigned int gup_flags, struct page **pages);

/* batch.c */
extern atomic_t mshare_nr_batches;
bool mshare_batch_note(struct mshare_region *region);
void mshare_batch_flush(void);
void mshare_batch_drop_all(void);

#endif /* _MSHARE_MODULE_CORE_H */
