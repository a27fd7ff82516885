// SPDX-License-Identifier: GPL-2.0
/*
 * mshare: TLB shootdown for the sharers of a region.
 *
 * A flip takes rights from many mms at once, most of which sleep. It looks at
 * no mm, only at CPUs: those that have one of these mms loaded are interrupted,
 * once, and the others find out by themselves when they load one.
 *
 * All flushes of all regions are numbered on one axis, and a region has the
 * number of its last. An mm with windows points to that number of its region
 * (context.mshare_gen); one with windows of several regions to that of the last
 * flush of any, so that it flushes, and is interrupted, more often than it must.
 * Each CPU has for each ASID the number of a flush that all in its TLB under
 * this ASID is younger than (cpu_tlbstate.mshare_flushed). Numbers of all regions
 * are of one axis, so this says the same of whatever mm the ASID is given to,
 * and whatever windows that gets: where it is less than the mm's number, the
 * ASID is flushed. A number that is too low costs a flush, no more.
 *
 * A CPU tells what it has loaded by the pointer of that mm: see
 * mshare_tlb_enter(). That is stored, and behind a full barrier the number is
 * read; a flush moves the number, and behind a full barrier reads the pointers.
 * Either it sees the CPU and interrupts it, or the CPU sees the new number.
 * While it changes CR3 its loaded_mm is LOADED_MM_SWITCHING, from before it stores
 * the pointer: such a CPU is interrupted, as it may have the tables of the last mm.
 *
 * A lazy CPU still has the mm loaded, but runs a kernel thread, which does not
 * touch user memory. Its pointer stays, and it leaves lazy mode by
 * switch_mm_irqs_off(), which first says so in is_lazy and then, behind a full
 * barrier, reads the number: as before, one of the two sees the other. What a
 * lazy CPU could do is to walk tables speculatively, so it must not be left with
 * any that is freed.
 */
#include <linux/cpumask.h>
#include <linux/debugfs.h>
#include <linux/hardirq.h>
#include <linux/mmu_context.h>
#include <linux/percpu.h>
#include <linux/vmstat.h>
#include <asm/mshare_tlb.h>
#include <asm/tlbflush.h>
#include <trace/events/mshare.h>

#include "internal.h"

/* The number of the last flush of any region */
static atomic64_t mshare_last_flush;

/* Owned by the CPU while preemption is off: flushes do not nest. */
static DEFINE_PER_CPU(struct cpumask, mshare_flush_cpus);

/*
 * On a CPU that may run a sharer. Its pointer may be of a window that is gone,
 * or yet to be noted: it is stored anew.
 */
static void mshare_flush_cpu(void *info)
{
	struct mm_struct *mm = this_cpu_read(cpu_tlbstate.loaded_mm);
	int *initiator = info;

	if (*initiator != smp_processor_id()) {
		inc_irq_stat(irq_tlb_count);
		count_vm_tlb_event(NR_TLB_REMOTE_FLUSH_RECEIVED);
	}
	if (this_cpu_read(cpu_tlbstate_shared.is_lazy)) {
		/* as flush_tlb_func(): nothing is left to walk by */
		switch_mm_irqs_off(NULL, &init_mm, NULL);
		return;
	}
	mshare_tlb_enter(mm);
	if (!mshare_tlb_number(mm))
		return;
	mshare_tlb_flushing(this_cpu_read(cpu_tlbstate.loaded_mm_asid), mm);
	flush_tlb_local();
}

/* Does a CPU have an mm loaded for which a flush of @tlb counts? */
static bool mshare_cpu_shares(int cpu, const struct mshare_tlb *tlb, bool lazy)
{
	const struct tlb_state *state = per_cpu_ptr(&cpu_tlbstate, cpu);
	const atomic64_t *gen = READ_ONCE(state->mshare_gen);

	smp_rmb();	/* what is loaded, and is_lazy, are as new as that */
	if (READ_ONCE(state->loaded_mm) == LOADED_MM_SWITCHING)
		return true;
	if (gen != &tlb->gen && gen != &mshare_last_flush)
		return false;
	return lazy || !READ_ONCE(per_cpu(cpu_tlbstate_shared.is_lazy, cpu));
}

/* Number a flush, and let the region have this number if it has no later one. */
static void mshare_tlb_next(struct mshare_tlb *tlb)
{
	s64 gen = atomic64_inc_return(&mshare_last_flush);
	s64 last = atomic64_read(&tlb->gen);

	while (last < gen && !atomic64_try_cmpxchg(&tlb->gen, &last, gen))
		;
}

/**
 * mshare_flush_region - let no CPU keep what it holds of a region's tables
 * @region: the region; its tables were changed before the call
 * @lazy: interrupt lazy CPUs too, because tables may be freed
 *
 * Returns when it is done. May be called under page-table locks, but with
 * interrupts enabled. It is a barrier against GUP-fast too, so it always
 * interrupts: the paravirtual flush does not wait for a preempted vCPU.
 *
 * An mm points to the number before its first entry is set, and the CPUs that
 * run it have noted that, so no sharer is missed.
 */
void mshare_flush_region(struct mshare_region *region, bool lazy)
{
	struct cpumask *cpus;
	int cpu, me;

	atomic64_inc(&region->shootdowns);
	mshare_tlb_next(&region->tlb);
	smp_mb();	/* the stores and the number are there for whoever is not seen */

	me = get_cpu();
	cpus = this_cpu_ptr(&mshare_flush_cpus);
	cpumask_clear(cpus);
	for_each_online_cpu(cpu)
		if (mshare_cpu_shares(cpu, &region->tlb, lazy))
			__cpumask_set_cpu(cpu, cpus);
	trace_mshare_shootdown(region->ino, READ_ONCE(region->nr_links), cpus,
			       lazy);
	if (!cpumask_empty(cpus)) {
		count_vm_tlb_event(NR_TLB_REMOTE_FLUSH);
		on_each_cpu_mask(cpus, mshare_flush_cpu, &me, true);
	}
	put_cpu();
}

static void mshare_note_mm(void *mm)
{
	if (this_cpu_read(cpu_tlbstate.loaded_mm) == mm)
		mshare_tlb_enter(mm);
}

#ifdef CONFIG_MSHARE_DEBUG
bool mshare_skip_switch_flush;
static bool mshare_skip_note;

void __init mshare_tlb_debug_init(struct dentry *dir)
{
	debugfs_create_bool("skip_switch_flush", 0600, dir,
			    &mshare_skip_switch_flush);
	debugfs_create_bool("skip_note", 0600, dir, &mshare_skip_note);
}

/* Each flush of a region that the mm has a window of moves it. */
u64 mshare_tlb_gen(struct mm_struct *mm)
{
	u64 number;

	rcu_read_lock();
	number = mshare_tlb_number(mm);
	rcu_read_unlock();
	return number + atomic64_read(&mm->context.tlb_gen);
}
#else
#define mshare_skip_note	false
#endif

/*
 * The links of an mm have changed. Who reads the pointer has interrupts off,
 * and a region is freed behind a grace period.
 */
void mshare_tlb_follow(struct mm_struct *mm)
{
	struct hlist_node *first = mm->mshare_links.first;
	const atomic64_t *gen = NULL;

	if (first && first->next)
		gen = &mshare_last_flush;
	else if (first)
		gen = &hlist_entry(first, struct mshare_link,
				   in_mm)->region->tlb.gen;
	WRITE_ONCE(mm->context.mshare_gen, gen);
}

/* A link was added: those that run the mm already are interrupted from now on. */
void mshare_tlb_note(struct mm_struct *mm)
{
	smp_mb();	/* a CPU is in the mask, or has read the new pointer */
	if (!mshare_skip_note)
		on_each_cpu_mask(mm_cpumask(mm), mshare_note_mm, mm, true);
}
