/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Making the kernel move pages: migration, swap, huge pages, and memory
 * cgroups to swap out from.
 */
#ifndef MSHARE_MM_H
#define MSHARE_MM_H

#include "mshare_test.h"

#include <sys/mount.h>
#include <sys/swap.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE		25
#endif
#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE	101
#endif

#define GROUPS	"/sys/fs/cgroup"

/* An ordinary mapping that huge pages fit into */
static inline char *map_aligned(int fd, size_t size)
{
	char *p = mmap(NULL, size + PMD, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS |
		       MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return p;
	p += -(unsigned long)p % PMD;
	return mmap(p, size, RW, MAP_SHARED | MAP_FIXED, fd, 0);
}

/* The page frame behind an address of an ordinary mapping, 0 if none */
static inline long pfn_of(void *addr)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	__u64 entry = 0;

	(void)*(volatile char *)addr;
	if (fd >= 0) {
		if (pread(fd, &entry, 8, (unsigned long)addr / PAGE * 8) != 8)
			entry = 0;
		close(fd);
	}
	return entry & ((1UL << 55) - 1);
}

/*
 * Moves one page elsewhere, in every mapping that it has. Its old frame is
 * lost until the next boot, a price that a test machine can pay.
 */
static inline int migrate_page(void *addr)
{
	int err = 0;

	for (int i = 0; i < 20; i++) {
		(void)*(volatile char *)addr;
		err = result(madvise(addr, PAGE, MADV_SOFT_OFFLINE));
		if (err != -EBUSY && err != -EAGAIN && err != -EIO)
			break;
		sleep_us(10000);
	}
	return err;
}

/* Huge pages are put together only while nobody holds one of the small ones. */
static inline int collapse_pages(void *addr, size_t size)
{
	int err = 0;

	for (int i = 0; i < 20; i++) {
		err = result(madvise(addr, size, MADV_COLLAPSE));
		if (err != -EAGAIN)
			break;
	}
	return err;
}

/* Returns why there can be no swap, or NULL. */
static inline const char *swap_setup(void)
{
	if (meminfo_kb("SwapTotal") > 0 || !swapon("/dev/vdb", 0))
		return NULL;
	return "no swap space, and none on /dev/vdb";
}

/* Memory cgroups, on the unified hierarchy; mounted where it is not */

static inline const char *group_path(const char *name, const char *file)
{
	static __thread char path[128];

	snprintf(path, sizeof(path), GROUPS "/%s/%s", name, file);
	return path;
}

static inline int group_create(const char *name)
{
	if (access(GROUPS "/cgroup.procs", F_OK) &&
	    mount("cgroup2", GROUPS, "cgroup2", 0, NULL))
		return -errno;
	write_file(GROUPS "/cgroup.subtree_control", "+memory");
	if (mkdir(group_path(name, ""), 0755) && errno != EEXIST)
		return -errno;
	return access(group_path(name, "memory.current"), R_OK) ? -errno : 0;
}

static inline int group_enter(const char *name)
{
	int err = group_create(name);

	return err ?: write_file(group_path(name, "cgroup.procs"), "0");
}

static inline void group_leave(const char *name)
{
	write_file(GROUPS "/cgroup.procs", "0");
	rmdir(group_path(name, ""));
}

static inline long group_value(const char *name, const char *value)
{
	FILE *file = fopen(group_path(name, value), "re");
	long bytes = -1;

	if (file) {
		if (fscanf(file, "%ld", &bytes) != 1)
			bytes = -1;
		fclose(file);
	}
	return bytes;
}

static inline long group_bytes(const char *name)
{
	return group_value(name, "memory.current");
}

/* Pages on their way out count too. */
static inline long group_swapped(const char *name)
{
	return group_value(name, "memory.swap.current");
}

static inline bool in_page_cache(int fd, off_t offset)
{
	void *p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, offset);
	unsigned char resident = 1;

	if (p != MAP_FAILED) {
		mincore(p, PAGE, &resident);
		munmap(p, PAGE);
	}
	return resident & 1;
}

/*
 * Has the kernel reclaim a group until a page of an object is out. What reclaim
 * knows of its lists is some time old, so it may take some tries.
 */
static inline int swap_out_of(const char *group, int fd, off_t offset, int tries)
{
	for (int i = 0; i < tries; i++) {
		if (write_file(group_path(group, "memory.reclaim"), "64M"))
			sleep_us(100000);
		if (!in_page_cache(fd, offset))
			return 0;
	}
	return -EBUSY;
}

#endif /* MSHARE_MM_H */
