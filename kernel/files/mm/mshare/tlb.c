// SPDX-License-Identifier: GPL-2.0
/*
 * mshare: TLB shootdown for the sharers of a region.
 *
 * A flip takes rights from many mms at once. Each one's tlb_gen moves on, so
 * that a CPU which runs it later, or holds it lazily, flushes by itself; the
 * CPUs that may run one now are interrupted once, whatever the number of mms.
 */
#include <linux/cpumask.h>
#include <linux/percpu.h>
#include <asm/tlbflush.h>

#include "internal.h"

/* Owned by the CPU while preemption is off: flushes do not nest. */
static DEFINE_PER_CPU(struct cpumask, mshare_flush_cpus);

/**
 * mshare_flush_region - let no CPU keep what it holds of a region's tables
 * @region: the region; its tables were changed before the call
 * @lazy: interrupt lazy CPUs too, because tables may be freed
 *
 * Returns when it is done. May be called under page-table locks, but with
 * interrupts enabled; takes region->links_lock.
 *
 * inc_mm_tlb_gen() is a full barrier between the caller's stores and the read
 * of the mm's cpumask, and pairs with switch_mm(): a CPU that enters the mm
 * meanwhile either is in the mask or sees the new generation. A link is in
 * the list before its mm's first entry is set, so no sharer is missed.
 */
void mshare_flush_region(struct mshare_region *region, bool lazy)
{
	struct mshare_link *link;
	struct cpumask *cpus;
	bool all;

	atomic64_inc(&region->shootdowns);
	preempt_disable();
	cpus = this_cpu_ptr(&mshare_flush_cpus);
	cpumask_clear(cpus);

	spin_lock(&region->links_lock);
	all = region->nr_links > MSHARE_FLUSH_ALL_LINKS;
	if (!all) {
		list_for_each_entry(link, &region->links, in_region) {
			inc_mm_tlb_gen(link->mm);
			cpumask_or(cpus, cpus, mm_cpumask(link->mm));
		}
	}
	spin_unlock(&region->links_lock);

	/* smp_mb(): with no sharer yet, order the stores against the first */
	smp_mb();
	if (all)
		flush_tlb_all();
	else if (!cpumask_empty(cpus))
		flush_tlb_shared(cpus, lazy);
	preempt_enable();
}
