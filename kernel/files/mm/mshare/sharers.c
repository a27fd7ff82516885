// SPDX-License-Identifier: GPL-2.0
/*
 * mshare: the mms that have windows of a region. There may be thousands, and who
 * goes through them meets each in cold caches: they are in an array, in any order.
 */
#include <linux/mm.h>
#include <linux/percpu_counter.h>
#include <linux/slab.h>

#include "internal.h"

#define MSHARE_MIN_ROOM		16UL

/*
 * What is mapped in a region counts for each mm that has windows of it as shared
 * memory that it maps: /proc shows it, and the OOM killer goes by it. Page by
 * page would be work for every sharer at every fault; so all are told by how
 * much it has changed, once that is a sixteenth or so. Who is in region->sharers
 * has been told @rss pages, no more and no less.
 */
#define MSHARE_RSS_SLACK	(SZ_1M >> PAGE_SHIFT)

static void mshare_rss_add(struct mm_struct *mm, long pages)
{
	percpu_counter_add(&mm->rss_stat[MM_SHMEMPAGES], pages);
}

void mshare_rss_update(struct mshare_region *region)
{
	struct percpu_counter *stat = region->host->rss_stat;
	unsigned long i;
	long pages, told;

	pages = percpu_counter_read_positive(&stat[MM_SHMEMPAGES]) +
		percpu_counter_read_positive(&stat[MM_FILEPAGES]);
	told = READ_ONCE(region->rss);
	if (abs(pages - told) <= MSHARE_RSS_SLACK + told / 16)
		return;
	if (!spin_trylock(&region->links_lock))
		return;			/* the next one does it */
	for (i = 0; i < region->nr_links; i++)
		mshare_rss_add(region->sharers[i].mm, pages - region->rss);
	WRITE_ONCE(region->rss, pages);
	spin_unlock(&region->links_lock);
}

/* Somebody else may have done it, since the room was @room. */
static int mshare_sharers_grow(struct mshare_region *region, unsigned long room,
			       gfp_t gfp)
{
	unsigned long more = max(2 * room, MSHARE_MIN_ROOM);
	struct mshare_sharer *sharers;

	sharers = kvmalloc_array(more, sizeof(*sharers), gfp);
	if (!sharers)
		return -ENOMEM;
	spin_lock(&region->links_lock);
	if (region->room == room) {
		memcpy(sharers, region->sharers, room * sizeof(*sharers));
		swap(sharers, region->sharers);
		region->room = more;
	}
	spin_unlock(&region->links_lock);
	kvfree(sharers);
	return 0;
}

/* From here on the mm is told. Possible errors: -ENOMEM. */
int mshare_sharer_add(struct mshare_link *link, gfp_t gfp)
{
	struct mshare_region *region = link->region;
	unsigned long room;

	spin_lock(&region->links_lock);
	while ((room = region->room) == region->nr_links) {
		spin_unlock(&region->links_lock);
		if (mshare_sharers_grow(region, room, gfp))
			return -ENOMEM;
		spin_lock(&region->links_lock);
	}
	link->nr = region->nr_links++;
	region->sharers[link->nr].mm = link->mm;
	region->sharers[link->nr].link = link;
	mshare_rss_add(link->mm, region->rss);
	spin_unlock(&region->links_lock);
	return 0;
}

/*
 * The last of them takes the place. Who goes through them from the end, and lets
 * the lock go in between, so meets some twice, but misses none.
 */
void mshare_sharer_del(struct mshare_link *link)
{
	struct mshare_region *region = link->region;
	struct mshare_sharer *last;

	spin_lock(&region->links_lock);
	last = &region->sharers[--region->nr_links];
	last->link->nr = link->nr;
	region->sharers[link->nr] = *last;
	mshare_rss_add(link->mm, -region->rss);
	spin_unlock(&region->links_lock);
}
