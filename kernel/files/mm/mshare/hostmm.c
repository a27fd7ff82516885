// SPDX-License-Identifier: GPL-2.0
/*
 * mshare: what the core mm knows of a host mm, which is the region behind it.
 */
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/mshare.h>

#include "../internal.h"
#include "internal.h"

/**
 * mshare_hostmm_bind - let a new host mm be known as that of its region
 * @region: the region; region->host is set
 *
 * What the mm allocates is charged to region->memcg: it has no owner whose
 * cgroup that would be.
 *
 * Possible errors: -ENOMEM.
 */
int mshare_hostmm_bind(struct mshare_region *region)
{
#ifdef CONFIG_MEMCG
	RCU_INIT_POINTER(region->host->owner, NULL);
#endif
	WRITE_ONCE(region->host->mshare_region, region);
	return 0;
}

/* The last reference of the region is gone; others may hold on to the mm. */
void mshare_hostmm_unbind(struct mshare_region *region)
{
	WRITE_ONCE(region->host->mshare_region, NULL);
}

/* The region that @host is the host mm of, until it is taken down. */
struct mshare_region *mshare_host_region(const struct mm_struct *host)
{
	return READ_ONCE(host->mshare_region);
}

/*
 * A fault in a pool is charged to the process whose it is. Else, and that is for
 * reclaim, which asks whose references count, a pool is its first sharer's.
 */
struct mem_cgroup *mshare_host_mem_cgroup(const struct mm_struct *mm)
{
	struct mshare_region *region = mshare_host_region(mm);

	if (!region)
		return NULL;
	if (region->inode && current->active_memcg)
		return current->active_memcg;
	return region->memcg;
}

/* munmap() of the host, whose mmap_lock is held for writing. */
int mshare_hostmm_unmap(struct mshare_region *region, unsigned long start,
			unsigned long end)
{
	VMA_ITERATOR(vmi, region->host, start);

	return do_vmi_munmap(&vmi, region->host, start, end - start, NULL,
			     false);
}

/* Flags that a new VMA of the host needs besides its own: none. */
unsigned long mshare_hostmm_vm_flags(const struct vm_area_struct *vma)
{
	return 0;
}
