// SPDX-License-Identifier: GPL-2.0
/*
 * mshare as a module: the links of an mm, in a hash by mm.
 */
#include <linux/list.h>
#include <linux/mshare.h>
#include <linux/rcupdate.h>
#include <linux/rculist.h>
#include <linux/sched/mm.h>
#include <linux/spinlock.h>

#include "internal.h"
#include "core.h"

struct hlist_head mshare_links[1 << MSHARE_HASH_BITS];
static DEFINE_SPINLOCK(mshare_links_lock);

static struct hlist_head *mshare_bucket(const struct mm_struct *mm)
{
	return &mshare_links[hash_ptr(mm, MSHARE_HASH_BITS)];
}

/* Asked by ftrace handlers, anywhere. */
bool notrace mshare_links_find(const struct mm_struct *mm)
{
	struct mshare_link *link;
	bool found = false;

	preempt_disable_notrace();
	hlist_for_each_entry_rcu_notrace(link, mshare_bucket(mm), in_mm) {
		if (link->mm == mm) {
			found = true;
			break;
		}
	}
	preempt_enable_notrace();
	return found;
}

/*
 * The mm's link to a region, or NULL. The mm's mmap_lock is held for writing.
 * This is asked when the mm gets a window, of which GUP-fast has to know.
 */
struct mshare_link *mshare_link_find(struct mm_struct *mm,
				     struct mshare_region *region)
{
	struct mshare_link *link, *found = NULL;

	atomic_inc(&mshare_windows_made);
	smp_mb__after_atomic();	/* before the entry: see mshare_gup_ordinary() */

	rcu_read_lock();
	hlist_for_each_entry_rcu(link, mshare_bucket(mm), in_mm) {
		if (link->mm == mm && link->region == region) {
			found = link;
			break;
		}
	}
	rcu_read_unlock();
	return found;
}

/* From here on mm_has_mshare(). No window's entry has been set. */
void mshare_link_add(struct mshare_link *link)
{
	bool first = !mm_has_mshare(link->mm);

	spin_lock(&mshare_links_lock);
	hlist_add_head_rcu(&link->in_mm, mshare_bucket(link->mm));
	spin_unlock(&mshare_links_lock);
	/* Another thread may be past the hook of GUP, and not yet in GUP-fast */
	if (first && atomic_read(&link->mm->mm_users) > 1)
		synchronize_rcu_tasks();
}

/* The entries of the mm's windows of the region are clear and flushed. */
void mshare_link_del(struct mshare_link *link)
{
	spin_lock(&mshare_links_lock);
	hlist_del_rcu(&link->in_mm);
	spin_unlock(&mshare_links_lock);
}
