// SPDX-License-Identifier: GPL-2.0
/*
 * What the selftests check that were posted for mshare v3 (basic and memory, in
 * their second version): memory of both page sizes is shared by name, is gone with
 * UNMAP, is swapped, and is had in transparent huge pages. There madvise() of the
 * mapping asks for swapping; here it is the region that is asked.
 */
#include "mshare_test.h"
#include "mshare_mm.h"

#define GROUP		"upstream"
#define SHMEM_ENABLED	"/sys/kernel/mm/transparent_hugepage/shmem_enabled"
#define ANON		(MAP_ANONYMOUS | MAP_SHARED | MAP_FIXED)

static int named_region(char *path, size_t size)
{
	int fd;

	snprintf(path, 64, "%s/tests-%d", mshare_dir(), getpid());
	fd = open(path, O_CREAT | O_EXCL | O_RDWR, 0600);
	return fd < 0 || ftruncate(fd, size) ? -1 : fd;
}

FIXTURE(basic)
{
	char path[64];
};

FIXTURE_VARIANT(basic)
{
	size_t size;
	unsigned int flags;
};

FIXTURE_VARIANT_ADD(basic, anon_4k) { .size = PAGE, .flags = ANON };
FIXTURE_VARIANT_ADD(basic, anon_8k) { .size = 2 * PAGE, .flags = ANON };
FIXTURE_VARIANT_ADD(basic, hugetlb_2m) {
	.size = PMD, .flags = ANON | MAP_HUGETLB,
};

FIXTURE_VARIANT_ADD(basic, hugetlb_4m) {
	.size = 2 * PMD, .flags = ANON | MAP_HUGETLB,
};

FIXTURE_SETUP(basic)
{
	int fd;

	if (variant->flags & MAP_HUGETLB) {
		write_file("/proc/sys/vm/nr_hugepages", "2");
		if (figure("/proc/meminfo", "HugePages_Free") < 2)
			SKIP(return, "no huge pages to be had");
	}
	fd = named_region(self->path, SLOT);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, create_flags(fd, 0, variant->size, RW, variant->flags, -1, 0));
	close(fd);
}

FIXTURE_TEARDOWN(basic)
{
	EXPECT_EQ(0, unlink(self->path));
	write_file("/proc/sys/vm/nr_hugepages", "0");
}

static char *window_of(const char *path)
{
	return window(open(path, O_RDWR | O_CLOEXEC), 1, RW);
}

/* Neither process has the other's mapping or descriptor. */
TEST_F(basic, shared_mem)
{
	pid_t pid = fork_on(-1);
	char *p = window_of(self->path);

	if (pid == 0) {
		if (p != MAP_FAILED)
			memset(p, 'c', variant->size);
		_exit(p == MAP_FAILED);
	}
	EXPECT_EQ(0, child_status(pid));
	ASSERT_NE(MAP_FAILED, p);
	EXPECT_EQ('c', p[0]);
	EXPECT_EQ('c', p[variant->size - 1]);
}

TEST_F(basic, ioctl_unmap)
{
	char *p = window_of(self->path);

	ASSERT_NE(MAP_FAILED, p);
	EXPECT_EQ(0, touch(p, PROT_WRITE));
	EXPECT_EQ(0, unmap(open(self->path, O_RDWR | O_CLOEXEC), 0, variant->size));
	EXPECT_EQ(SEGV_MAPERR, touch(p, PROT_WRITE));
}

FIXTURE(memory)
{
	char path[64];
	int region;
	char *p;
};

FIXTURE_SETUP(memory)
{
	if (group_enter(GROUP))
		SKIP(return, "no memory cgroups: %m");
	self->region = named_region(self->path, SLOT);
	ASSERT_LE(0, self->region);
	ASSERT_EQ(0, create_flags(self->region, 0, PMD, RW, ANON, -1, 0));
	self->p = window(self->region, 1, RW);
	ASSERT_NE(MAP_FAILED, self->p);
}

FIXTURE_TEARDOWN(memory)
{
	munmap(self->p, SLOT);
	close(self->region);
	unlink(self->path);
	group_leave(GROUP);
}

TEST_F(memory, swap)
{
	const char *why = swap_setup();

	if (why)
		SKIP(return, "%s", why);
	memset(self->p, 1, PMD);
	EXPECT_EQ(0, group_swapped(GROUP));
	EXPECT_EQ(-EINVAL, result(madvise(self->p, SLOT, MADV_PAGEOUT)));
	EXPECT_EQ(0, group_swapped(GROUP));
	EXPECT_EQ(0, advise(self->region, 0, PMD, MADV_PAGEOUT));
	EXPECT_LT(PMD * 9 / 10, group_swapped(GROUP));
	for (size_t at = 0; at < PMD; at += PAGE)
		ASSERT_EQ(1, self->p[at]);
}

/* Twice: without the setting there are none. */
TEST_F(memory, thp)
{
	const char *stat = group_path(GROUP, "memory.stat");

	if (write_file(SHMEM_ENABLED, "never"))
		SKIP(return, "no huge pages for shared memory in this kernel");
	memset(self->p, 1, PMD);
	EXPECT_EQ(0, figure(stat, "shmem_thp"));
	ASSERT_EQ(0, unmap(self->region, 0, PMD));

	ASSERT_EQ(0, write_file(SHMEM_ENABLED, "always"));
	ASSERT_EQ(0, create_flags(self->region, 0, PMD, RW, ANON, -1, 0));
	memset(self->p, 1, PMD);
	EXPECT_LE(PMD, figure(stat, "shmem_thp"));
	write_file(SHMEM_ENABLED, "never");
}

TEST_HARNESS_MAIN
