/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The x86 side of mshare: entries of views and windows.
 *
 * x86 ANDs R/W and ORs NX over all levels of a walk, so a right taken out of
 * one entry of a view is gone from all that lies beneath. Entries are always
 * stored with Accessed set: no hardware update of one can be lost.
 */
#ifndef _ASM_X86_MSHARE_H
#define _ASM_X86_MSHARE_H

#include <linux/mm.h>

/* Flags of a table entry that grants VM_READ, VM_WRITE, VM_EXEC of @prot. */
static inline pteval_t mshare_table_flags(unsigned long prot)
{
	pteval_t flags = _PAGE_TABLE;

	if (!(prot & VM_WRITE))
		flags &= ~_PAGE_RW;
	if (!(prot & VM_EXEC))
		flags |= _PAGE_NX & __supported_pte_mask;
	return flags;
}

/* A view's entry for @pmd, a host PMD table; none if @prot is. */
static inline pud_t mshare_mk_pud(pmd_t *pmd, unsigned long prot)
{
	if (!prot)
		return __pud(0);
	return __pud(mshare_table_flags(prot) | __pa(pmd));
}

/* A window's entry for @view, the PUD page of a view. */
static inline p4d_t mshare_mk_p4d(pud_t *view, unsigned long prot)
{
	return __p4d(mshare_table_flags(prot) | __pa(view));
}

#ifdef CONFIG_MSHARE_DEBUG
#include <linux/delay.h>
extern bool mshare_skip_gup_check, mshare_skip_gup_recheck;
extern u32 mshare_gup_delay_us;

/* Between check and grab: gives a test's flip the time to come between. */
static inline void mshare_gup_delay(void)
{
	if (unlikely(READ_ONCE(mshare_gup_delay_us)))
		udelay(min(READ_ONCE(mshare_gup_delay_us), 20000));
}
#else
#define mshare_skip_gup_check	false
#define mshare_skip_gup_recheck	false

static inline void mshare_gup_delay(void)
{
}
#endif

/*
 * GUP-fast looks at leaves only. In an ordinary mm every table entry grants
 * all rights; one that does not is a region's.
 */
static inline bool mshare_pud_gup_denied(pud_t pud, bool write)
{
	return write && unlikely(!(pud_flags(pud) & _PAGE_RW)) &&
		!mshare_skip_gup_check;
}

static inline bool mshare_p4d_gup_denied(p4d_t p4d, bool write)
{
	return write && unlikely(!(p4d_flags(p4d) & _PAGE_RW)) &&
		!mshare_skip_gup_check;
}

/*
 * A flip that came between the check and the grab has stored before we read
 * again; one that comes after finds the page already held. The barrier pairs
 * with the one that mshare_flush_region() makes after the stores. The P4D entry
 * is not asked again: it grants the same for as long as the window is there.
 */
static inline bool mshare_gup_recheck(pud_t *pudp, pud_t pud)
{
	smp_mb();	/* pairs with that in mshare_flush_region() */
	return likely(pud_val(READ_ONCE(*pudp)) == pud_val(pud)) ||
		mshare_skip_gup_recheck;
}

#endif /* _ASM_X86_MSHARE_H */
