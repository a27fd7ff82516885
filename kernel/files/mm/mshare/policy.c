// SPDX-License-Identifier: GPL-2.0
/*
 * mshare: memory policies.
 *
 * A window has no policy of its own: mbind() sets those of the objects below
 * it. Faults are the host's and go by them, or by that of the task that faults.
 */
#include <linux/mempolicy.h>
#include <linux/mm.h>
#include <linux/mshare.h>
#include <linux/pagemap.h>

#include "../internal.h"
#include "internal.h"

/* A range of a VMA, for a ->set_policy(), which asks for no more of it. */
static struct vm_area_struct mshare_vma_part(struct vm_area_struct *vma,
					     unsigned long start,
					     unsigned long end)
{
	struct vm_area_struct part = *vma;

	vma_set_range(&part, start, end, linear_page_index(vma, start));
	return part;
}

/*
 * An object that has no policy for all its mappings, as hugetlb's have none: it
 * is that of the host VMA, as it would be that of a process's.
 */
static int mshare_vma_set_policy(struct vma_iterator *vmi,
				 struct vm_area_struct *prev,
				 struct vm_area_struct **vma,
				 unsigned long start, unsigned long end,
				 struct mempolicy *policy)
{
	struct vm_area_struct *changed;
	struct mempolicy *new, *old;

	if (mpol_equal(vma_policy(*vma), policy))
		return 0;
	new = mpol_dup(policy);
	if (IS_ERR(new))
		return PTR_ERR(new);
	changed = vma_modify_policy(vmi, start > (*vma)->vm_start ? *vma : prev,
				    *vma, start, end, policy);
	if (IS_ERR(changed)) {
		mpol_put(new);
		return PTR_ERR(changed);
	}
	/* Faults under its lock may use the old one */
	vma_start_write(changed);
	old = changed->vm_policy;
	changed->vm_policy = new;
	mpol_put(old);
	*vma = changed;
	return 0;
}

/**
 * mshare_set_policy - mbind() of a range of a region
 * @region: the region
 * @start: where the range begins
 * @end: where it ends
 * @policy: the policy; NULL for none
 *
 * As with mbind() elsewhere, what came before an error has been changed. Holes
 * have no policy, and what is mapped there later has its own.
 *
 * Possible returned errors are:
 *
 * - %EFAULT: nothing is mapped in the range.
 * - %EINTR: a fatal signal came.
 * - %EINVAL: the range begins or ends inside a huge page of hugetlbfs.
 * - %ENOMEM: no memory, or too many mappings.
 */
static int mshare_set_policy(struct mshare_region *region, unsigned long start,
			     unsigned long end, struct mempolicy *policy)
{
	VMA_ITERATOR(vmi, region->host, start);
	struct vm_area_struct *vma, *prev;
	int err = -EFAULT;

	if (mmap_write_lock_killable(region->host))
		return -EINTR;
	prev = vma_prev(&vmi);
	for_each_vma_range(vmi, vma, end) {
		unsigned long first = max(start, vma->vm_start);
		unsigned long last = min(end, vma->vm_end);

		if (vma->vm_ops && vma->vm_ops->set_policy) {
			struct vm_area_struct part =
				mshare_vma_part(vma, first, last);

			err = vma->vm_ops->set_policy(&part, policy);
		} else {
			err = mshare_vma_set_policy(&vmi, prev, &vma, first,
						    last, policy);
		}
		if (err)
			break;
		prev = vma;
	}
	mshare_merge(region, start, end);
	mmap_write_unlock(region->host);
	return err;
}

/**
 * mshare_window_set_policy - mbind() of a range of a window
 * @window: the window; the mmap_lock is held for writing
 * @start: where the range begins, in the process
 * @end: where it ends, in the window too
 * @policy: the policy; NULL for none
 *
 * It is for all who use the region, so it needs a file open for writing, as
 * what else is: %EACCES.
 */
int mshare_window_set_policy(struct vm_area_struct *window, unsigned long start,
			     unsigned long end, struct mempolicy *policy)
{
	unsigned long offset = mshare_window_offset(window, start);
	struct mshare_link *link = window->vm_private_data;

	if (mshare_window_is_guest(window))
		return -EACCES;
	return mshare_set_policy(link->region, offset, offset + end - start,
				 policy);
}

/*
 * What is not shared, and so not counted, could go with the host's lock: the
 * caller gets a copy, which it drops as it would a reference of a shared one.
 */
static struct mempolicy *mshare_vma_get_policy(struct vm_area_struct *vma)
{
	struct mempolicy *policy = mpol_dup(vma_policy(vma));

	if (IS_ERR_OR_NULL(policy))
		return NULL;
	policy->flags |= MPOL_F_SHARED;
	return policy;
}

/**
 * mshare_window_get_policy - the policy of what a window shows at an address
 * @window: the window; its mmap_lock is held
 * @address: the address, in it
 * @ilx: for interleaving
 *
 * Returns a policy that mpol_cond_put() is for, or NULL: none, or a hole.
 */
struct mempolicy *mshare_window_get_policy(struct vm_area_struct *window,
					   unsigned long address, pgoff_t *ilx)
{
	unsigned long offset = mshare_window_offset(window, address);
	struct mshare_link *link = window->vm_private_data;
	struct mm_struct *host = link->region->host;
	struct mempolicy *policy = NULL;
	struct vm_area_struct *vma;

	mmap_read_lock(host);
	vma = vma_lookup(host, offset);
	if (vma && vma->vm_ops && vma->vm_ops->get_policy)
		policy = vma->vm_ops->get_policy(vma, offset, ilx);
	else if (vma)
		policy = mshare_vma_get_policy(vma);
	mmap_read_unlock(host);
	return policy;
}
