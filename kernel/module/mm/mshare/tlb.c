// SPDX-License-Identifier: GPL-2.0
/*
 * mshare as a module: TLB shootdown for the sharers of a region.
 *
 * A module has no part in switch_mm(), so a flip goes to each mm: each one's
 * tlb_gen moves on, so that a CPU which runs it later, or holds it lazily, flushes
 * by itself; the CPUs that may run one now are interrupted once, whatever the
 * number of mms.
 *
 * Which CPUs these are is in the mms' cpumasks: switch_mm_irqs_off() enters a
 * CPU in the mask of the mm that it loads and takes it out of that of the mm
 * it leaves. One that is out has at most translations under an ASID that is
 * not loaded. No access uses these, and when that mm is loaded again,
 * choose_new_asid() finds by tlb_gen that they are old. CR3 bits such as LAM's
 * are of no concern: they do not make an ASID of their own.
 *
 * A lazy CPU still has the mm loaded, but runs a kernel thread, which does not
 * touch user memory. It stays in the mask, and leaves lazy mode by
 * switch_mm_irqs_off(), which first says so in is_lazy and then, behind a full
 * barrier, reads tlb_gen. The flush moves tlb_gen, a full barrier too, and then
 * reads is_lazy: either it sees a CPU that is lazy no more and interrupts it,
 * or the CPU sees the new tlb_gen and flushes. What a lazy CPU could do is to
 * walk tables speculatively, so it must not be left with any that is freed.
 */
#include <linux/cpumask.h>
#include <linux/debugfs.h>
#include <linux/percpu.h>
#include <asm/tlbflush.h>
#include <trace/events/mshare.h>

#include "internal.h"

/* More sharers than this: flush_tlb_all() is cheaper than a walk over them. */
#define MSHARE_FLUSH_ALL_LINKS	1536

#ifdef CONFIG_MSHARE_DEBUG
static u32 mshare_flush_all_links = MSHARE_FLUSH_ALL_LINKS;

void __init mshare_tlb_debug_init(struct dentry *dir)
{
	debugfs_create_u32("flush_all_links", 0600, dir,
			   &mshare_flush_all_links);
}

u64 mshare_tlb_gen(struct mm_struct *mm)
{
	return atomic64_read(&mm->context.tlb_gen);
}
#else
#define mshare_flush_all_links	MSHARE_FLUSH_ALL_LINKS
#endif

/* Owned by the CPU while preemption is off: flushes do not nest. */
static DEFINE_PER_CPU(struct cpumask, mshare_flush_cpus);

static DEFINE_PER_CPU(struct flush_tlb_info, mshare_flush_info);

/*
 * Flush all that @cpus hold of mms whose tlb_gen the caller has moved on, in
 * one round. It is a barrier against GUP-fast too, so it always interrupts:
 * the paravirtual flush does not wait for a preempted vCPU. Lazy CPUs flush by
 * tlb_gen when they come back; with @lazy, needed where tables may have been
 * freed, they are interrupted as well.
 */
static void flush_tlb_shared(const struct cpumask *cpus, bool lazy)
{
	struct flush_tlb_info *info = this_cpu_ptr(&mshare_flush_info);

	*info = (struct flush_tlb_info) {
		.end		= TLB_FLUSH_ALL,
		.freed_tables	= lazy,
		.new_tlb_gen	= TLB_GENERATION_INVALID,
		.initiating_cpu	= smp_processor_id(),
	};
	native_flush_tlb_multi(cpus, info);
}

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
	unsigned long sharers;
	bool all;

	atomic64_inc(&region->shootdowns);
	preempt_disable();
	cpus = this_cpu_ptr(&mshare_flush_cpus);
	cpumask_clear(cpus);

	spin_lock(&region->links_lock);
	sharers = region->nr_links;
	all = sharers > mshare_flush_all_links;
	if (!all) {
		list_for_each_entry(link, &region->links, in_region) {
			inc_mm_tlb_gen(link->mm);
			cpumask_or(cpus, cpus, mm_cpumask(link->mm));
		}
	}
	spin_unlock(&region->links_lock);

	/* smp_mb(): with no sharer yet, order the stores against the first */
	smp_mb();
	trace_mshare_shootdown(region->ino, sharers,
			       all ? cpu_online_mask : cpus, all || lazy);
	if (all)
		flush_tlb_all();
	else if (!cpumask_empty(cpus))
		flush_tlb_shared(cpus, lazy);
	preempt_enable();
}
