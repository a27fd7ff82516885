// SPDX-License-Identifier: GPL-2.0
/*
 * mshare as a module: rounds of interrupts, and batches of reclaim.
 *
 * A task's batch has no room for regions: there is a table by task. The host's
 * notifier is told of a page that was unmapped; if that is to be flushed later
 * the region is noted, and flushed before arch_tlbbatch_flush(). Who finds no
 * room in the table flushes at once.
 */
#include <linux/hash.h>
#include <linux/mshare.h>
#include <linux/percpu.h>
#include <asm/tlbflush.h>

#include "internal.h"
#include "core.h"

#define MSHARE_BATCH_BITS	6
#define MSHARE_BATCH_PROBES	4

/**
 * struct mshare_batch - what reclaim by a task has to flush
 * @task: the task, which alone changes the rest; NULL: free
 * @regions: NULL behind the last; each is pinned
 * @more: there are more
 */
struct mshare_batch {
	struct task_struct *task;
	struct mshare_region *regions[MSHARE_BATCH_REGIONS];
	bool more;
};

static struct mshare_batch mshare_batches[1 << MSHARE_BATCH_BITS];
atomic_t mshare_nr_batches;

static struct mshare_batch *mshare_batch_at(unsigned int probe)
{
	unsigned int i = hash_ptr(current, MSHARE_BATCH_BITS) + probe;

	return &mshare_batches[i % ARRAY_SIZE(mshare_batches)];
}

static struct mshare_batch *mshare_batch_find(void)
{
	unsigned int i;

	for (i = 0; i < MSHARE_BATCH_PROBES; i++)
		if (READ_ONCE(mshare_batch_at(i)->task) == current)
			return mshare_batch_at(i);
	return NULL;
}

static struct mshare_batch *mshare_batch_begin(void)
{
	unsigned int i;

	for (i = 0; i < MSHARE_BATCH_PROBES; i++) {
		struct mshare_batch *batch = mshare_batch_at(i);

		/* pairs with the release in mshare_batch_end() */
		if (!READ_ONCE(batch->task) &&
		    !cmpxchg(&batch->task, NULL, current)) {
			atomic_inc(&mshare_nr_batches);
			return batch;
		}
	}
	return NULL;
}

static void mshare_batch_end(struct mshare_batch *batch)
{
	int i;

	for (i = 0; i < MSHARE_BATCH_REGIONS && batch->regions[i]; i++) {
		mshare_region_unpin(batch->regions[i]);
		batch->regions[i] = NULL;
	}
	batch->more = false;
	/* the entry is empty for who takes it next */
	smp_store_release(&batch->task, NULL);
	atomic_dec(&mshare_nr_batches);
}

/*
 * A page of the region's host was unmapped; its page-table lock is held. Is the
 * flush taken over? A region that is being taken down has nobody to flush.
 */
bool mshare_batch_note(struct mshare_region *region)
{
	struct mshare_batch *batch = mshare_batch_find() ?: mshare_batch_begin();
	int i;

	if (!batch)
		return false;
	for (i = 0; i < MSHARE_BATCH_REGIONS && batch->regions[i]; i++)
		if (batch->regions[i] == region)
			return true;
	if (i == MSHARE_BATCH_REGIONS)
		batch->more = true;
	else if (refcount_inc_not_zero(&region->pins))
		batch->regions[i] = region;
	return true;
}

/* Flush what the current task has noted, as __mshare_batch_flush() in the tree. */
void mshare_batch_flush(void)
{
	struct mshare_batch *batch = mshare_batch_find();
	int i;

	if (!batch)
		return;
	if (batch->more && !mshare_skip_batch_flush)
		flush_tlb_all();
	for (i = 0; i < MSHARE_BATCH_REGIONS && batch->regions[i]; i++) {
		if (batch->more)
			atomic64_inc(&batch->regions[i]->shootdowns);
		else if (!mshare_skip_batch_flush)
			mshare_flush_region(batch->regions[i], false);
	}
	mshare_batch_end(batch);
}

/* The hooks are gone, and nobody is in one; no region has a sharer. */
void mshare_batch_drop_all(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(mshare_batches); i++)
		if (mshare_batches[i].task)
			mshare_batch_end(&mshare_batches[i]);
}
