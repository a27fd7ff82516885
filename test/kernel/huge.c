// SPDX-License-Identifier: GPL-2.0
/*
 * Objects of 2 MiB pages: anonymous ones with MAP_HUGETLB, files on hugetlbfs.
 * Their PMD tables are shared by windows, and by nobody in hugetlb's own way.
 */
#include "mshare_test.h"

#include <sys/mount.h>

#define POOL	"/proc/sys/vm/nr_hugepages"
#define HUGE	(MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB | MAP_HUGE_2MB)

FIXTURE(huge)
{
	int region;
	char *p;
	long tables;
};

static long free_pages(void)
{
	return figure("/proc/meminfo", "HugePages_Free");
}

static long pool_size(void)
{
	return figure("/proc/meminfo", "HugePages_Total");
}

/* Has the kernel find so many; returns whether it could. */
static bool set_pool(long pages)
{
	char text[16];

	snprintf(text, sizeof(text), "%ld", pages);
	for (int i = 0; i < 5 && pool_size() < pages; i++) {
		write_file("/proc/sys/vm/compact_memory", "1");
		write_file(POOL, text);
	}
	return pool_size() >= pages;
}

FIXTURE_SETUP(huge)
{
	if (access(POOL, W_OK) || !set_pool(16))
		SKIP(return, "no huge pages to be had");
	self->region = region(1);
	ASSERT_LE(0, self->region);
	self->p = window(self->region, 1, RW);
	ASSERT_NE(MAP_FAILED, self->p);
}

/* Whatever a test did, all of the pool is free again. */
FIXTURE_TEARDOWN(huge)
{
	munmap(self->p, SLOT);
	close(self->region);
	for (int i = 0; i < 100 && free_pages() < pool_size(); i++)
		sleep_us(10000);
	EXPECT_EQ(pool_size(), free_pages());
	EXPECT_EQ(0, figure("/proc/meminfo", "HugePages_Rsvd"));
	write_file(POOL, "0");
}

static int create_huge(int region, __u64 at, __u64 size, int prot)
{
	return create_flags(region, at, size, prot, HUGE, -1, 0);
}

static int huge_memfd(size_t size)
{
	int fd = memfd_create("mshare_huge", MFD_CLOEXEC | MFD_HUGETLB |
			      MFD_HUGE_2MB);

	if (fd >= 0 && ftruncate(fd, size)) {
		close(fd);
		return -1;
	}
	return fd;
}

TEST_F(huge, refuses)
{
	int small = memfd(4 * PMD), object = huge_memfd(4 * PMD);
	const unsigned int anon = MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB;

	ASSERT_LE(0, object);
	EXPECT_EQ(-EINVAL, create_huge(self->region, 0, PAGE, RW));
	EXPECT_EQ(-EINVAL, create_huge(self->region, PAGE, PMD, RW));
	EXPECT_EQ(-EINVAL, create_huge(self->region, 0, PMD + PAGE, RW));
	/* without a size, that of the default; with one, it has to be 2 MiB */
	EXPECT_EQ(figure("/proc/meminfo", "Hugepagesize") == 2048 ? 0 :
		  -EOPNOTSUPP,
		  create_flags(self->region, 0, PMD, RW, anon, -1, 0));
	unmap(self->region, 0, PMD);
	EXPECT_EQ(-EINVAL, create_flags(self->region, 0, CHUNK, RW,
					anon | 30U << 26, -1, 0));
	EXPECT_EQ(-EINVAL, create_flags(self->region, 0, PMD, RW,
					MAP_SHARED | MAP_ANONYMOUS |
					MAP_HUGE_2MB, -1, 0));
	EXPECT_EQ(-EINVAL, create_flags(self->region, 0, PMD, RW,
					MAP_SHARED | MAP_HUGETLB | MAP_HUGE_2MB,
					small, 0));
	EXPECT_EQ(-EINVAL, create_file(self->region, PAGE, PMD, RW, object, 0));
	EXPECT_EQ(-EINVAL, create_file(self->region, 0, PAGE, RW, object, 0));
	EXPECT_EQ(-EINVAL, create_file(self->region, 0, PMD, RW, object, PAGE));
	/* more than the pool has */
	EXPECT_EQ(-ENOMEM, create_huge(self->region, 0, 64 * PMD, RW));
	EXPECT_EQ(0, region_stat(self->region).mapped_bytes);
	close(small);
	close(object);
}

TEST_F(huge, holds_what_was_written)
{
	long before = free_pages();
	pid_t pid;

	ASSERT_EQ(0, create_huge(self->region, PMD, 4 * PMD, RW));
	EXPECT_EQ(4 * PMD, region_stat(self->region).mapped_bytes);
	EXPECT_EQ(SEGV_MAPERR, touch(self->p, PROT_READ));
	for (long at = PMD; at < 5 * PMD; at += PAGE) {
		ASSERT_EQ(0, self->p[at]);
		*(long *)(self->p + at) = at;
	}
	EXPECT_EQ(4 * PMD, region_stat(self->region).resident_bytes);
	EXPECT_EQ(before - 4, free_pages());
	pid = fork_on(-1);
	if (pid == 0) {
		for (long at = PMD; at < 5 * PMD; at += PAGE)
			if (*(long *)(self->p + at) != at)
				_exit(1);
		*(long *)(self->p + PMD) = 7;
		_exit(0);
	}
	EXPECT_EQ(0, child_status(pid));
	EXPECT_EQ(7, *(long *)(self->p + PMD));

	ASSERT_EQ(0, unmap(self->region, 2 * PMD, PMD));
	EXPECT_EQ(SEGV_MAPERR, touch(self->p + 2 * PMD, PROT_READ));
	EXPECT_EQ(3 * PMD, *(long *)(self->p + 3 * PMD));
	EXPECT_EQ(3 * PMD, region_stat(self->region).resident_bytes);
	EXPECT_EQ(-EINVAL, unmap(self->region, 3 * PMD, PAGE));
	EXPECT_EQ(0, unmap(self->region, 0, SLOT));
	EXPECT_EQ(0, region_stat(self->region).mapped_bytes);
	EXPECT_EQ(before, free_pages());
}

TEST_F(huge, file_and_region_are_coherent)
{
	int object = huge_memfd(4 * PMD);
	char *q;

	ASSERT_LE(0, object);
	ASSERT_EQ(0, create_file(self->region, CHUNK - PMD, 3 * PMD, RW, object,
				 PMD));
	q = mmap(NULL, 4 * PMD, RW, MAP_SHARED, object, 0);
	ASSERT_NE(MAP_FAILED, q);
	self->p[CHUNK] = 5;		/* the object's third page */
	EXPECT_EQ(5, q[2 * PMD]);
	q[PMD + PAGE] = 6;
	EXPECT_EQ(6, self->p[CHUNK - PMD + PAGE]);
	ASSERT_EQ(0, fallocate(object, FALLOC_FL_PUNCH_HOLE |
			       FALLOC_FL_KEEP_SIZE, 2 * PMD, PMD));
	EXPECT_EQ(0, self->p[CHUNK]);
	munmap(q, 4 * PMD);
	close(object);
}

TEST_F(huge, whole_chunks_flip)
{
	struct mshare_stat before, after;

	ASSERT_EQ(0, create_huge(self->region, 0, 4 * PMD, RW));
	memset(self->p, RET, 4 * PMD);
	before = region_stat(self->region);
	EXPECT_EQ(0, protect(self->region, 0, CHUNK, PROT_READ));
	after = region_stat(self->region);
	EXPECT_EQ(1, after.flip_entries - before.flip_entries);
	EXPECT_EQ(1, after.shootdowns - before.shootdowns);
	EXPECT_EQ(PROT_READ, rights(self->p + PMD));
	EXPECT_EQ(0, protect(self->region, 0, CHUNK, PROT_NONE));
	EXPECT_EQ(0, rights(self->p + PMD));
	EXPECT_EQ(0, protect(self->region, 0, CHUNK, RW));
	EXPECT_EQ(RW, rights(self->p + PMD));
	EXPECT_EQ(RET, self->p[3 * PMD]);
}

TEST_F(huge, pieces_flip)
{
	ASSERT_EQ(0, create_huge(self->region, 0, 4 * PMD, RW));
	memset(self->p, RET, 3 * PMD);		/* one is not there yet */
	EXPECT_EQ(0, protect(self->region, PMD, PMD, PROT_READ));
	EXPECT_EQ(0, protect(self->region, 3 * PMD, PMD, PROT_NONE));
	EXPECT_EQ(RW, rights(self->p));
	EXPECT_EQ(PROT_READ, rights(self->p + PMD));
	EXPECT_EQ(PROT_READ, rights(self->p + 2 * PMD - PAGE));
	EXPECT_EQ(RW, rights(self->p + 2 * PMD));
	EXPECT_EQ(0, rights(self->p + 3 * PMD));
	/* opened in a chunk that is closed by its view */
	EXPECT_EQ(0, protect(self->region, 0, CHUNK, PROT_READ));
	EXPECT_EQ(0, protect(self->region, 2 * PMD, PMD, RW));
	EXPECT_EQ(PROT_READ, rights(self->p));
	EXPECT_EQ(RW, rights(self->p + 2 * PMD));
	EXPECT_EQ(PROT_READ, rights(self->p + 3 * PMD));
	EXPECT_EQ(0, protect(self->region, 0, CHUNK, RW));
	for (int i = 0; i < 4; i++) {
		EXPECT_EQ(RW, rights(self->p + i * PMD));
	}
}

/*
 * What was split for a piece is one again when it is open again: else the
 * mappings run out while nothing is protected any more.
 */
TEST_F(huge, pieces_merge_again)
{
	/* across the end of a chunk */
	const unsigned long start = CHUNK - 4 * PMD, second = start + 6 * PMD;
	char *p = self->p + start, *q, *r;
	int object = huge_memfd(9 * PMD);

	ASSERT_LE(0, object);
	ASSERT_EQ(0, create_flags(self->region, start, 6 * PMD, RW, HUGE, -1, 0));
	ASSERT_EQ(0, create_file(self->region, second, 8 * PMD, RW, object, PMD));
	memset(p, RET, 13 * PMD);		/* one is not there yet */
	EXPECT_EQ(2, region_stat(self->region).host_vmas);
	ASSERT_EQ(0, write_file("/proc/sys/vm/max_map_count", "5"));
	for (int round = 0; round < 2; round++)
		for (int i = 0; i < 14; i++) {
			EXPECT_EQ(0, protect(self->region, start + i * PMD, PMD,
					     PROT_READ))
				TH_LOG("page %d", i);
			EXPECT_EQ(PROT_READ, rights(p + i * PMD));
			if (i) {
				EXPECT_EQ(RW, rights(p + i * PMD - PAGE));
			}
			EXPECT_EQ(0, protect(self->region, start + i * PMD, PMD,
					     RW))
				TH_LOG("page %d", i);
		}
	write_file("/proc/sys/vm/max_map_count", "65530");
	EXPECT_EQ(2, region_stat(self->region).host_vmas);
	for (int i = 0; i < 14; i++) {
		EXPECT_EQ(RW, rights(p + i * PMD));
	}

	/* the object and the merged mapping are still each other's */
	q = mmap(NULL, 9 * PMD, RW, MAP_SHARED, object, 0);
	ASSERT_NE(MAP_FAILED, q);
	r = self->p + second + 4 * PMD;
	*r = 12;
	EXPECT_EQ(12, q[5 * PMD]);
	ASSERT_EQ(0, fallocate(object, FALLOC_FL_PUNCH_HOLE |
			       FALLOC_FL_KEEP_SIZE, 5 * PMD, PMD));
	EXPECT_EQ(0, *r);
	munmap(q, 9 * PMD);
	ASSERT_EQ(0, unmap(self->region, second + 2 * PMD, PMD));
	EXPECT_EQ(SEGV_MAPERR, touch(self->p + second + 2 * PMD, PROT_READ));
	EXPECT_EQ(RW, rights(self->p + second + 3 * PMD));
	ASSERT_EQ(0, ftruncate(object, PMD));
	EXPECT_EQ(DENIED_BUS, touch(self->p + second + 3 * PMD, PROT_READ));
	close(object);
}

/* Also where the protection would not change */
TEST_F(huge, pieces_do_not_cut_pages)
{
	static const int prots[] = { PROT_READ, RW };

	ASSERT_EQ(0, create_huge(self->region, PMD, 2 * PMD, RW));
	ASSERT_EQ(0, create_anon(self->region, 3 * PMD, PMD, RW));
	memset(self->p + PMD, RET, 3 * PMD);
	for (int i = 0; i < 2; i++) {
		EXPECT_EQ(-EINVAL, protect(self->region, PMD, PAGE, prots[i]));
		EXPECT_EQ(-EINVAL, protect(self->region, 2 * PMD - PAGE,
					   PMD + PAGE, prots[i]));
		EXPECT_EQ(-EINVAL, protect(self->region, 2 * PMD + PAGE,
					   2 * PMD, prots[i]));
	}
	for (int i = 1; i < 4; i++) {
		EXPECT_EQ(RW, rights(self->p + i * PMD));
	}
	EXPECT_EQ(0, region_stat(self->region).flips);
	/* a hole has no pages to cut, nor has what lies beside */
	EXPECT_EQ(0, protect(self->region, PAGE, 2 * PMD - PAGE, PROT_READ));
	EXPECT_EQ(0, protect(self->region, 3 * PMD, PAGE, PROT_READ));
	EXPECT_EQ(PROT_READ, rights(self->p + PMD));
	EXPECT_EQ(RW, rights(self->p + 2 * PMD));
	EXPECT_EQ(PROT_READ, rights(self->p + 3 * PMD));
}

TEST_F(huge, memory_of_the_caller)
{
	char *own = mmap(NULL, 3 * PMD, RW, HUGE, -1, 0);

	ASSERT_NE(MAP_FAILED, own);
	own[PMD] = 1;
	EXPECT_EQ(-EINVAL, create_from(self->region, 0, PMD, RW, own + PAGE));
	EXPECT_EQ(-EINVAL, create_from(self->region, 0, PAGE, RW, own));
	EXPECT_EQ(-EINVAL, create_from(self->region, PAGE, PMD, RW, own));
	ASSERT_EQ(0, create_from(self->region, 0, 2 * PMD, RW, own + PMD));
	EXPECT_EQ(1, self->p[0]);
	self->p[PMD] = 2;
	EXPECT_EQ(2, own[2 * PMD]);
	/* counted once, and not given back before both have gone */
	EXPECT_EQ(pool_size() - 3, free_pages() -
		  figure("/proc/meminfo", "HugePages_Rsvd"));
	ASSERT_EQ(0, munmap(own, 3 * PMD));
	EXPECT_EQ(2, self->p[PMD]);
	EXPECT_GT(pool_size(), free_pages());
	ASSERT_EQ(0, unmap(self->region, 0, 2 * PMD));
}

/*
 * Two ordinary mappings of 1 GiB of a file share a PMD table, see x86's
 * HUGETLB_PMD_PAGE_TABLE_SHARING. A region's table is not theirs: what is
 * taken out of one is not taken out of the other, and views keep theirs.
 */
TEST_F(huge, tables_are_not_shared_in_hugetlbs_way)
{
	int object = huge_memfd(CHUNK);
	char *aligned, *q[2];
	long tables[2];

	ASSERT_LE(0, object);
	aligned = mmap(NULL, 3 * CHUNK, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS |
		       MAP_NORESERVE, -1, 0);
	ASSERT_NE(MAP_FAILED, aligned);
	aligned += -(unsigned long)aligned % CHUNK;
	for (int i = 0; i < 2; i++) {
		q[i] = mmap(aligned + i * CHUNK, CHUNK, RW, MAP_SHARED |
			    MAP_FIXED | MAP_NORESERVE, object, 0);
		ASSERT_NE(MAP_FAILED, q[i]);
	}
	ASSERT_EQ(0, create_flags(self->region, CHUNK, CHUNK, RW,
				  MAP_SHARED | MAP_NORESERVE, object, 0));
	/* the region is first, then one that could borrow its table */
	self->p[CHUNK] = 1;
	tables[0] = figure("/proc/self/status", "VmPTE");
	EXPECT_EQ(1, q[0][0]);
	tables[1] = figure("/proc/self/status", "VmPTE");
	EXPECT_LT(tables[0], tables[1])
		TH_LOG("it came without a table of its own");
	ASSERT_EQ(0, protect(self->region, CHUNK, CHUNK, PROT_READ));
	EXPECT_EQ(0, touch(q[0], PROT_WRITE));
	ASSERT_EQ(0, protect(self->region, CHUNK, CHUNK, RW));
	ASSERT_EQ(0, protect(self->region, CHUNK, PMD, PROT_READ));
	EXPECT_EQ(0, touch(q[0], PROT_WRITE));
	ASSERT_EQ(0, mprotect(q[0], CHUNK, PROT_NONE));
	EXPECT_EQ(PROT_READ, rights(self->p + CHUNK));
	/* and the second may share the first's, but unmaps nothing of ours */
	EXPECT_EQ(RET, q[1][0]);
	ASSERT_EQ(0, munmap(q[1], CHUNK));
	ASSERT_EQ(0, munmap(q[0], CHUNK));
	EXPECT_EQ(RET, self->p[CHUNK]);
	ASSERT_EQ(0, unmap(self->region, CHUNK, CHUNK));
	EXPECT_EQ(SEGV_MAPERR, touch(self->p + CHUNK, PROT_READ));
	close(object);
}

/* An anonymous object counts against size= with all of its pages. */
TEST_F(huge, size_of_the_mount_holds)
{
	char dir[] = "/tmp/hugeXXXXXX";
	int fd;

	ASSERT_NE(NULL, mkdtemp(dir));
	ASSERT_EQ(0, mount("msharefs", dir, "msharefs", 0, "size=7m"));
	fd = open(dir, O_TMPFILE | O_RDWR, 0600);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, SLOT));
	EXPECT_EQ(-ENOSPC, create_huge(fd, 0, 4 * PMD, RW));
	for (int i = 0; i < 4; i++) {
		ASSERT_EQ(0, create_huge(fd, 0, 2 * PMD, RW));
		EXPECT_EQ(-ENOSPC, create_huge(fd, 4 * PMD, 2 * PMD, RW));
		ASSERT_EQ(0, unmap(fd, 0, PMD));
		ASSERT_EQ(0, unmap(fd, PMD, PMD));
	}
	close(fd);
	umount2(dir, MNT_DETACH);
	rmdir(dir);
}

/* They stay where they are, unless they are to go, as whole pages. */
TEST_F(huge, advice)
{
	static const struct {
		int advice, err;
		bool stays;
	} cases[] = {
		{ MADV_POPULATE_READ, 0, true },
		{ MADV_POPULATE_WRITE, 0, true },
		{ MADV_HUGEPAGE, 0, true },
		{ MADV_NOHUGEPAGE, 0, true },
		{ MADV_COLD, -EINVAL, true },
		{ MADV_PAGEOUT, -EINVAL, true },
		{ MADV_DONTNEED, 0, true },
		{ MADV_REMOVE, 0, false },
	};

	ASSERT_EQ(0, create_flags(self->region, 0, 2 * PMD, RW, HUGE, -1, 0));
	for (int i = 0; i < ARRAY_SIZE(cases); i++) {
		memset(self->p, 1, 2 * PMD);
		EXPECT_EQ(cases[i].err, advise(self->region, 0, PMD,
					       cases[i].advice))
			TH_LOG("advice %d", cases[i].advice);
		EXPECT_EQ(cases[i].stays, self->p[PMD - 1])
			TH_LOG("advice %d", cases[i].advice);
		EXPECT_EQ(1, self->p[PMD])
			TH_LOG("advice %d", cases[i].advice);
	}
	EXPECT_EQ(-EINVAL, advise(self->region, 0, PAGE, MADV_HUGEPAGE));
	EXPECT_EQ(-EINVAL, advise(self->region, PAGE, PMD, MADV_DONTNEED));
}

TEST_F(huge, readers_are_denied_while_it_flips)
{
	volatile long *through = shared_page(PAGE);
	double start = now();
	pid_t pid;

	ASSERT_EQ(0, create_huge(self->region, 0, 2 * PMD, RW));
	pid = fork_on(nr_cpus() - 1);
	if (pid == 0)
		for (;;)
			*through += !touch(self->p + PMD, PROT_WRITE);
	for (long i = 0; !stress_over(start, stress_seconds() / 2, i > 20); i++) {
		size_t at = i % 2 ? 0 : PMD, size = i % 2 ? CHUNK : PMD;
		long before;

		ASSERT_EQ(0, protect(self->region, at, size, PROT_READ));
		before = *through;
		sleep_us(500);
		EXPECT_GE(before + 1, *through);
		ASSERT_EQ(0, protect(self->region, 0, CHUNK, RW));
		for (before = *through; *through < before + 2; )
			sleep_us(50);
	}
	kill(pid, SIGKILL);
	child_status(pid);
}

TEST_HARNESS_MAIN
