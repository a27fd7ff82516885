// SPDX-License-Identifier: GPL-2.0
/*
 * mshare: batches of reclaim. Sharers are flushed once for many pages.
 */
#include <linux/mm_types.h>
#include <linux/mshare.h>
#include <asm/tlbflush.h>

#include "internal.h"

/*
 * Reclaim, migration and khugepaged unmap many pages of a host mm before they
 * touch the first of these. mm/rmap.c notes the region in the task's batch,
 * and try_to_unmap_flush() flushes it once, before any page is freed or
 * copied. Lazy CPUs can wait, as no page table is freed by that. A batch is of
 * pages of one memory cgroup, so a second region in one is rare: it has no room,
 * and is flushed with all else, once too.
 *
 * A region that is noted may die, but not its memory: it then has no sharers.
 */
void __mshare_batch_flush(struct tlbflush_unmap_batch *batch)
{
	struct mshare_region *region = batch->mshare_region;

	if (batch->mshare_more) {
		atomic64_inc(&region->shootdowns);
		if (!mshare_skip_batch_flush)
			flush_tlb_all();
	} else if (!mshare_skip_batch_flush) {
		mshare_flush_region(region, false);
	}
	mshare_region_unpin(region);
	batch->mshare_region = NULL;
	batch->mshare_more = false;
}

/*
 * A page of @host was unmapped; its page-table lock is held, a spinlock, so what
 * is freed behind a grace period stays. That may be all that is left of the
 * region, as others can hold on to the host mm longer than the region does:
 * then there is nobody left to flush.
 */
void mshare_batch_add(struct tlbflush_unmap_batch *batch,
		      const struct mm_struct *host)
{
	struct mshare_region *region = mshare_host_region(host);

	if (!region || region == batch->mshare_region)
		return;
	if (batch->mshare_region)
		batch->mshare_more = true;
	else if (refcount_inc_not_zero(&region->pins))
		batch->mshare_region = region;
}
