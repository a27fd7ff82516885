// SPDX-License-Identifier: GPL-2.0
/*
 * mshare: the links of an mm. They are few, and in a list that mm_struct has.
 */
#include <linux/list.h>
#include <linux/mm_types.h>

#include "internal.h"

/*
 * The mm's link to a region, or NULL. The mm's mmap_lock is held for writing; but
 * faults add links to pools without, hence the lock.
 */
struct mshare_link *mshare_link_find(struct mm_struct *mm,
				     struct mshare_region *region)
{
	struct mshare_link *link;

	spin_lock(&mm->page_table_lock);
	hlist_for_each_entry(link, &mm->mshare_links, in_mm)
		if (link->region == region)
			break;
	spin_unlock(&mm->page_table_lock);
	return link;
}

/* From here on mm_has_mshare(). No window's entry has been set. */
void mshare_link_add(struct mshare_link *link)
{
	spin_lock(&link->mm->page_table_lock);
	hlist_add_head(&link->in_mm, &link->mm->mshare_links);
	mshare_tlb_follow(link->mm);
	spin_unlock(&link->mm->page_table_lock);
	mshare_tlb_note(link->mm);
}

/* The entries of the mm's windows of the region are clear and flushed. */
void mshare_link_del(struct mshare_link *link)
{
	spin_lock(&link->mm->page_table_lock);
	hlist_del_init(&link->in_mm);
	mshare_tlb_follow(link->mm);
	spin_unlock(&link->mm->page_table_lock);
}
