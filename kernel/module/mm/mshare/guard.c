// SPDX-License-Identifier: GPL-2.0
/*
 * mshare as a module: MSHAREFS_GUARD is refused. shmem has no place for a gate,
 * and nobody to ask there.
 */
#include "internal.h"

long mshare_ioctl_guard(struct mshare_region *region, void __user *arg)
{
	return -EOPNOTSUPP;
}

void mshare_guard_close(struct mshare_region *region, unsigned long start,
			unsigned long end)
{
}

int mshare_guard_check(struct mshare_region *region, unsigned long start,
		       unsigned long end)
{
	return 0;
}

void mshare_guard_unmapped(struct mshare_region *region)
{
}

void mshare_guard_exit(struct mshare_region *region)
{
}
