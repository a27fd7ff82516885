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
#include <linux/prefetch.h>
#include <linux/sched/isolation.h>
#include <asm/tlbflush.h>
#include <trace/events/mshare.h>

#include "internal.h"

/*
 * flush_tlb_all() goes to no mm, but takes the time of CPUs that the walk would
 * spare, and all that these have in their TLBs. What so many sharers take to visit
 * is about what one such CPU is worth.
 */
#define MSHARE_WALK_PER_CPU	768

/* Sharers that are visited with preemption off */
#define MSHARE_WALK_STEP	256
#define MSHARE_WALK_PREFETCH	8

#ifdef CONFIG_MSHARE_DEBUG
static u32 mshare_walk_per_cpu = MSHARE_WALK_PER_CPU;

void __init mshare_tlb_debug_init(struct dentry *dir)
{
	debugfs_create_u32("walk_per_cpu", 0600, dir, &mshare_walk_per_cpu);
}

u64 mshare_tlb_gen(struct mm_struct *mm)
{
	return atomic64_read(&mm->context.tlb_gen);
}
#else
#define mshare_walk_per_cpu	MSHARE_WALK_PER_CPU
#endif

/*
 * How many more sharers to visit rather than flush all, when @cpus are known to
 * be interrupted? As many as it takes, if that would disturb isolated CPUs.
 */
static unsigned long mshare_walk_worth(const struct cpumask *cpus, bool lazy)
{
	unsigned long spared = 0;
	int cpu;

	for_each_online_cpu(cpu)
		if (!cpumask_test_cpu(cpu, cpus) ||
		    (!lazy && per_cpu(cpu_tlbstate_shared.is_lazy, cpu)))
			spared++;
	if (spared && (housekeeping_enabled(HK_TYPE_TICK) ||
		       housekeeping_enabled(HK_TYPE_DOMAIN)))
		return ULONG_MAX;
	return spared * mshare_walk_per_cpu;
}

static void mshare_walk_prefetch(const struct mm_struct *mm)
{
	prefetchw(&mm->context.tlb_gen);
	prefetch(mm_cpumask((struct mm_struct *)mm));
}

/*
 * Move the tlb_gen of all sharers on, and find the CPUs that may run one; false
 * if that is too much. From the end: who joins meanwhile has nothing that is
 * stale, and of those that leave mshare_sharer_del() says why none is missed.
 */
static bool mshare_walk(struct mshare_region *region, struct cpumask *cpus,
			bool lazy)
{
	struct mshare_sharer *sharers;
	unsigned long left = ULONG_MAX, end;

	do {
		spin_lock(&region->links_lock);
		left = min(left, region->nr_links);
		if (left > mshare_walk_worth(cpus, lazy)) {
			spin_unlock(&region->links_lock);
			return false;
		}
		end = left - min(left, MSHARE_WALK_STEP);
		for (sharers = region->sharers; left > end; left--) {
			struct mm_struct *mm = sharers[left - 1].mm;

			if (left > MSHARE_WALK_PREFETCH)
				mshare_walk_prefetch(sharers[left - 1 - MSHARE_WALK_PREFETCH].mm);
			inc_mm_tlb_gen(mm);
			cpumask_or(cpus, cpus, mm_cpumask(mm));
		}
		spin_unlock(&region->links_lock);
	} while (left);
	return true;
}

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
	struct flush_tlb_info *info;

	get_cpu();
	info = this_cpu_ptr(&mshare_flush_info);
	*info = (struct flush_tlb_info) {
		.end		= TLB_FLUSH_ALL,
		.freed_tables	= lazy,
		.new_tlb_gen	= TLB_GENERATION_INVALID,
		.initiating_cpu	= smp_processor_id(),
	};
	native_flush_tlb_multi(cpus, info);
	put_cpu();
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
 * region->sharers before its mm's first entry is set, so no sharer is missed.
 */
void mshare_flush_region(struct mshare_region *region, bool lazy)
{
	cpumask_var_t cpus;
	bool have, all;

	atomic64_inc(&region->shootdowns);
	have = zalloc_cpumask_var(&cpus, GFP_NOWAIT | __GFP_NOWARN);
	all = !have || !mshare_walk(region, cpus, lazy);

	/* with no sharer yet, order the stores against the first */
	smp_mb();
	trace_mshare_shootdown(region->ino, READ_ONCE(region->nr_links),
			       all ? cpu_online_mask : cpus, all || lazy);
	if (all)
		flush_tlb_all();
	else if (!cpumask_empty(cpus))
		flush_tlb_shared(cpus, lazy);
	if (have)
		free_cpumask_var(cpus);
}
