/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Ordinary mappings of shmem that share their page tables: the switch, and what
 * a process pays for what others have touched.
 */
#ifndef MSHARE_SHMEM_H
#define MSHARE_SHMEM_H

#include "mshare_test.h"

#include <sys/resource.h>

#define SHMEM_MODE	"/sys/module/mshare/parameters/shmem_enabled"

static inline bool shmem_can_share(void)
{
	return !access(SHMEM_MODE, F_OK);
}

static inline int shmem_mode(const char *mode)
{
	return write_file(SHMEM_MODE, mode);
}

static inline long minor_faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_THREAD, &usage);
	return usage.ru_minflt;
}

#endif /* MSHARE_SHMEM_H */
