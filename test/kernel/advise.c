// SPDX-License-Identifier: GPL-2.0
/*
 * MSHAREFS_ADVISE: what madvise(2) does to the memory of a process, for all who
 * map a region; with its errors.
 */
#include "mshare_test.h"
#include "mshare_mm.h"

#define GROUP	"advise"
#define OBJECT	(2 * PMD)
#define PAGES	(OBJECT / PAGE)

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ	22
#define MADV_POPULATE_WRITE	23
#endif

FIXTURE(advise)
{
	int region;
	int object;
	char *p;
};

FIXTURE_SETUP(advise)
{
	ASSERT_EQ(0, group_enter(GROUP));
	self->region = region(1);
	ASSERT_LE(0, self->region);
	self->object = memfd(OBJECT);
	ASSERT_LE(0, self->object);
	ASSERT_EQ(0, create_file(self->region, 0, OBJECT, RW, self->object, 0));
	self->p = window(self->region, 1, RW);
	ASSERT_NE(MAP_FAILED, self->p);
}

FIXTURE_TEARDOWN(advise)
{
	close(self->region);
	close(self->object);
	group_leave(GROUP);
}

static long resident(FIXTURE_DATA(advise) *self)
{
	return region_stat(self->region).resident_bytes / PAGE;
}

static void fill(FIXTURE_DATA(advise) *self)
{
	for (long page = 0; page < PAGES; page++)
		self->p[page * PAGE] = page + 1;
}

static long wrong_pages(FIXTURE_DATA(advise) *self)
{
	long wrong = 0;

	for (long page = 0; page < PAGES; page++)
		wrong += self->p[page * PAGE] != (char)(page + 1);
	return wrong;
}

TEST_F(advise, refuses)
{
	static const int unknown[] = {
		-1, 999, MADV_NORMAL, MADV_WILLNEED, MADV_FREE, MADV_DONTFORK,
		MADV_MERGEABLE, MADV_DODUMP, MADV_WIPEONFORK, MADV_COLLAPSE,
		MADV_HWPOISON, MADV_SOFT_OFFLINE,
	};
	static const struct { __u64 at, size; } ranges[] = {
		{ 0, 0 }, { 1, PAGE }, { 0, PAGE + 1 }, { SLOT, PAGE },
		{ -PAGE, 2 * PAGE }, { PAGE, -PAGE }, { 0, SLOT + PAGE },
	};
	struct mshare_advise flags = {
		.size = PAGE, .advice = MADV_COLD, .flags = 1
	};
	int unsized = region_open();

	for (int i = 0; i < ARRAY_SIZE(unknown); i++) {
		EXPECT_EQ(-EINVAL, advise(self->region, 0, PAGE, unknown[i]))
			TH_LOG("advice %d", unknown[i]);
	}
	for (int i = 0; i < ARRAY_SIZE(ranges); i++) {
		EXPECT_EQ(-EINVAL, advise(self->region, ranges[i].at,
					  ranges[i].size, MADV_COLD))
			TH_LOG("range %d", i);
	}
	EXPECT_EQ(-EINVAL, result(ioctl(self->region, MSHAREFS_ADVISE, &flags)));
	EXPECT_EQ(-EINVAL, advise(unsized, 0, PAGE, MADV_COLD));
	close(unsized);
}

TEST_F(advise, populate_maps_pages)
{
	long faults;

	EXPECT_EQ(0, advise(self->region, PMD, PMD / 2, MADV_POPULATE_READ));
	EXPECT_EQ(PMD / 2 / PAGE, resident(self));
	EXPECT_EQ(0, advise(self->region, 0, OBJECT, MADV_POPULATE_WRITE));
	EXPECT_EQ(PAGES, resident(self));
	faults = region_stat(self->region).faults;
	fill(self);
	EXPECT_EQ(faults, region_stat(self->region).faults);
	EXPECT_EQ(0, wrong_pages(self));
}

TEST_F(advise, populate_finds_holes)
{
	EXPECT_EQ(-ENOMEM, advise(self->region, OBJECT, PAGE,
				  MADV_POPULATE_READ));
	/* what comes before is populated */
	EXPECT_EQ(-ENOMEM, advise(self->region, OBJECT - 2 * PAGE, 4 * PAGE,
				  MADV_POPULATE_WRITE));
	EXPECT_EQ(2, resident(self));
	/* beyond the end of the object */
	ASSERT_EQ(0, ftruncate(self->object, PMD));
	EXPECT_EQ(-EFAULT, advise(self->region, PMD, PAGE, MADV_POPULATE_READ));
}

/* By the view, and by the host's mapping */
TEST_F(advise, populate_asks_for_the_right)
{
	static const size_t sizes[] = { CHUNK, PMD };

	for (int i = 0; i < ARRAY_SIZE(sizes); i++) {
		ASSERT_EQ(0, protect(self->region, 0, sizes[i], PROT_READ));
		EXPECT_EQ(-EINVAL, advise(self->region, 0, PAGE,
					  MADV_POPULATE_WRITE));
		EXPECT_EQ(0, advise(self->region, 0, PAGE, MADV_POPULATE_READ));
		EXPECT_EQ(PROT_READ, rights(self->p));
		ASSERT_EQ(0, protect(self->region, 0, sizes[i], PROT_NONE));
		EXPECT_EQ(-EINVAL, advise(self->region, 0, PAGE,
					  MADV_POPULATE_READ));
		ASSERT_EQ(0, protect(self->region, 0, CHUNK, RW));
	}
}

TEST_F(advise, dontneed_unmaps_but_keeps)
{
	long faults;

	fill(self);
	EXPECT_EQ(PAGES, resident(self));
	EXPECT_EQ(0, advise(self->region, 0, PMD, MADV_DONTNEED));
	EXPECT_EQ(PMD / PAGE, resident(self));
	faults = region_stat(self->region).faults;
	EXPECT_EQ(0, wrong_pages(self));
	EXPECT_LT(faults, region_stat(self->region).faults);
	/* for what is mapped, as madvise() */
	EXPECT_EQ(-ENOMEM, advise(self->region, PMD, CHUNK, MADV_DONTNEED));
	EXPECT_EQ(PMD / PAGE, resident(self));
}

TEST_F(advise, remove_punches)
{
	struct stat st;

	fill(self);
	EXPECT_EQ(0, advise(self->region, PMD, PMD, MADV_REMOVE));
	EXPECT_EQ(PMD / PAGE, resident(self));
	ASSERT_EQ(0, fstat(self->object, &st));
	EXPECT_EQ(PMD, st.st_blocks * 512);
	EXPECT_EQ(1, self->p[0]);
	for (long page = PMD / PAGE; page < PAGES; page++) {
		ASSERT_EQ(0, self->p[page * PAGE]);
	}
}

TEST_F(advise, remove_needs_a_writable_object)
{
	char path[64];
	int reader;

	fill(self);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", self->object);
	reader = open(path, O_RDONLY);
	ASSERT_LE(0, reader);
	ASSERT_EQ(0, create_file(self->region, CHUNK, OBJECT, PROT_READ,
				 reader, 0));
	EXPECT_EQ(-EACCES, advise(self->region, CHUNK, PAGE, MADV_REMOVE));
	EXPECT_EQ(0, wrong_pages(self));
	close(reader);
}

TEST_F(advise, pageout_swaps)
{
	const char *why = swap_setup();

	if (why)
		SKIP(return, "%s", why);
	fill(self);
	EXPECT_EQ(0, group_swapped(GROUP));
	EXPECT_EQ(0, advise(self->region, 0, OBJECT, MADV_PAGEOUT));
	EXPECT_LT(OBJECT / 2, group_swapped(GROUP));
	EXPECT_GT(PAGES / 2, resident(self));
	EXPECT_EQ(0, wrong_pages(self));
}

TEST_F(advise, cold_pages_stay)
{
	fill(self);
	EXPECT_EQ(0, advise(self->region, 0, OBJECT, MADV_COLD));
	EXPECT_EQ(PAGES, resident(self));
	EXPECT_EQ(0, wrong_pages(self));
}

/* An object of a size= that is nearly used up cannot be filled by advice. */
TEST_F(advise, populate_keeps_to_the_size)
{
	char dir[] = "/tmp/adviseXXXXXX";
	int fd;

	ASSERT_NE(NULL, mkdtemp(dir));
	ASSERT_EQ(0, mount("msharefs", dir, "msharefs", 0, "size=8m"));
	fd = open(dir, O_TMPFILE | O_RDWR, 0600);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, SLOT));
	ASSERT_EQ(0, create_anon(fd, 0, 64 * MIB, RW));
	EXPECT_EQ(-EFAULT, advise(fd, 0, 64 * MIB, MADV_POPULATE_WRITE));
	EXPECT_GE(8 * MIB + PMD, region_stat(fd).resident_bytes);
	/* what was removed can be had again */
	EXPECT_EQ(0, advise(fd, 0, 64 * MIB, MADV_REMOVE));
	EXPECT_EQ(0, region_stat(fd).resident_bytes);
	EXPECT_EQ(0, advise(fd, 0, 4 * MIB, MADV_POPULATE_WRITE));
	close(fd);
	umount2(dir, MNT_DETACH);
	rmdir(dir);
}

/* Bytes of huge pages in the page cache of an object */
static long huge_bytes(void)
{
	return meminfo_kb("ShmemHugePages") * 1024;
}

#define SHMEM_ENABLED	"/sys/kernel/mm/transparent_hugepage/shmem_enabled"

TEST_F(advise, hugepage_and_nohugepage)
{
	static const int advice[] = { MADV_NOHUGEPAGE, MADV_HUGEPAGE };
	long before, got[2];

	if (write_file(SHMEM_ENABLED, "advise"))
		SKIP(return, "no huge pages for shared memory in this kernel");
	for (int i = 0; i < 2; i++) {
		__u64 at = (i + 1) * CHUNK;

		ASSERT_EQ(0, create_anon(self->region, at, 4 * PMD, RW));
		EXPECT_EQ(0, advise(self->region, at, 4 * PMD, advice[i]));
		before = huge_bytes();
		memset(self->p + at, 1, 4 * PMD);
		got[i] = huge_bytes() - before;
	}
	write_file(SHMEM_ENABLED, "never");
	EXPECT_EQ(0, got[0]);
	EXPECT_LT(0, got[1])
		TH_LOG("no huge page was used after MADV_HUGEPAGE");
}

/* While others use it and its protection changes */
TEST_F(advise, under_use)
{
	static const int advice[] = {
		MADV_POPULATE_READ, MADV_POPULATE_WRITE, MADV_HUGEPAGE,
		MADV_NOHUGEPAGE, MADV_PAGEOUT, MADV_COLD, MADV_DONTNEED,
	};
	double start = now();
	pid_t pids[2];

	fill(self);
	for (int i = 0; i < 2; i++) {
		pids[i] = fork_on(i % nr_cpus());
		if (pids[i] == 0)
			for (;;)
				for (long page = i; page < PAGES; page += 2)
					if (!touch(self->p + page * PAGE,
						   PROT_READ) &&
					    self->p[page * PAGE] !=
					    (char)(page + 1))
						_exit(1);
	}
	for (long i = 0; !stress_over(start, stress_seconds(), i > 50); i++) {
		int err = advise(self->region, i % 3 * PMD / 2, PMD,
				 advice[i % ARRAY_SIZE(advice)]);

		/* closed for a moment, or swapped on its way */
		EXPECT_TRUE(!err || err == -EINVAL)
			TH_LOG("advice %d: %d", advice[i % ARRAY_SIZE(advice)],
			       err);
		if (i % 5 == 0) {
			EXPECT_EQ(0, protect(self->region, 0,
					     i % 2 ? CHUNK : PMD, PROT_READ));
			EXPECT_EQ(0, protect(self->region, 0, CHUNK, RW));
		}
	}
	for (int i = 0; i < 2; i++) {
		kill(pids[i], SIGKILL);
		EXPECT_EQ(SIGKILL, child_status(pids[i]))
			TH_LOG("a reader found what nobody wrote");
	}
}

TEST_HARNESS_MAIN
