/* SPDX-License-Identifier: GPL-2.0 */
/*
 * mshare: what a CPU does for flips when it loads an mm. mm/mshare/tlb.c has why.
 * arch/x86/mm/tlb.c calls these with interrupts off.
 */
#ifndef _ASM_X86_MSHARE_TLB_H
#define _ASM_X86_MSHARE_TLB_H

#ifdef CONFIG_MSHARE

#include <asm/tlbflush.h>

#ifdef CONFIG_MSHARE_DEBUG
extern bool mshare_skip_switch_flush;
#else
#define mshare_skip_switch_flush	false
#endif

/* The number of the last flush that counts for @mm, 0 if it has no windows */
static __always_inline u64 mshare_tlb_number(const struct mm_struct *mm)
{
	const atomic64_t *gen = READ_ONCE(mm->context.mshare_gen);

	return unlikely(gen) ? atomic64_read(gen) : 0;
}

/* The CPU loads @mm: from here on flushes of its regions interrupt the CPU. */
static __always_inline void mshare_tlb_enter(const struct mm_struct *mm)
{
	const atomic64_t *gen = READ_ONCE(mm->context.mshare_gen);

	this_cpu_write(cpu_tlbstate.mshare_gen, gen);
	if (unlikely(gen))
		smp_mb();	/* pairs with that in mshare_flush_region() */
}

/* Can the TLB hold, under the ASID of @mm, what is older than the last flush? */
static __always_inline bool mshare_tlb_is_old(u16 asid,
					      const struct mm_struct *mm)
{
	u64 number = mshare_tlb_number(mm);

	return number && !mshare_skip_switch_flush &&
		this_cpu_read(cpu_tlbstate.mshare_flushed[asid]) < number;
}

/* The ASID of @mm is about to be flushed. */
static __always_inline void mshare_tlb_flushing(u16 asid,
						const struct mm_struct *mm)
{
	u64 number = mshare_tlb_number(mm);

	if (number)
		this_cpu_write(cpu_tlbstate.mshare_flushed[asid], number);
}

#else /* !CONFIG_MSHARE */

/* Macros: even empty functions would sway the code around them */
#define mshare_tlb_enter(mm)		do { } while (0)
#define mshare_tlb_is_old(asid, mm)	false
#define mshare_tlb_flushing(asid, mm)	do { } while (0)

#endif /* CONFIG_MSHARE */

#endif /* _ASM_X86_MSHARE_TLB_H */
