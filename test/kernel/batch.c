// SPDX-License-Identifier: GPL-2.0
/*
 * Reclaim and khugepaged take many pages at a time out of a region's tables:
 * the sharers are flushed once for a batch of them, not once for each. That
 * nobody sees a page that has gone is tested by mobility.
 */
#include "mshare_test.h"
#include "mshare_mm.h"

#define GROUP		"batch"
#define OBJECT		(8 * MIB)
#define PAGES		(OBJECT / PAGE)
#define REGIONS		6		/* more than a batch takes note of */

FIXTURE(batch)
{
	int regions[REGIONS];
	int objects[REGIONS];
	char *p[REGIONS];
	int nr;
};

FIXTURE_SETUP(batch)
{
	const char *why = swap_setup();

	if (why)
		SKIP(return, "%s", why);
	ASSERT_EQ(0, group_enter(GROUP));
}

FIXTURE_TEARDOWN(batch)
{
	knob("skip_batching", false);
	for (int i = 0; i < self->nr; i++) {
		munmap(self->p[i], SLOT);
		close(self->regions[i]);
		close(self->objects[i]);
	}
	group_leave(GROUP);
}

static long pattern(int region, long page)
{
	return region * 1000003L + page + 1;
}

static int add_region(FIXTURE_DATA(batch) *self)
{
	int i = self->nr, object = memfd(OBJECT), r = region(1);

	if (object < 0 || r < 0 || create_file(r, 0, OBJECT, RW, object, 0))
		return -1;
	self->objects[i] = object;
	self->regions[i] = r;
	self->p[i] = window(r, 1, RW);
	self->nr++;
	return self->p[i] == MAP_FAILED ? -1 : 0;
}

static long *word(FIXTURE_DATA(batch) *self, int region, long page)
{
	return (long *)(self->p[region] + page * PAGE);
}

/*
 * Fills the objects, not through the windows: reclaim flushes at once what the
 * processor has marked dirty, before it is written out, as in every mm.
 */
static void fill(FIXTURE_DATA(batch) *self, long pages)
{
	for (long page = 0; page < pages; page++)
		for (int i = 0; i < self->nr; i++) {
			long value = pattern(i, page);

			pwrite(self->objects[i], &value, sizeof(value),
			       page * PAGE);
			(void)*(volatile long *)word(self, i, page);
		}
}

static long resident_pages(FIXTURE_DATA(batch) *self)
{
	long pages = 0;

	for (int i = 0; i < self->nr; i++)
		pages += region_stat(self->regions[i]).resident_bytes / PAGE;
	return pages;
}

static long rounds(FIXTURE_DATA(batch) *self)
{
	long sum = 0;

	for (int i = 0; i < self->nr; i++)
		sum += region_stat(self->regions[i]).shootdowns;
	return sum;
}

/* Reclaims until half of the pages are gone; returns how many are. */
static long reclaim_half(FIXTURE_DATA(batch) *self)
{
	long before = resident_pages(self), gone = 0;

	for (int i = 0; i < 50 && gone < before / 2; i++) {
		/* once again: what it knows of its lists is some time old */
		if (write_file(group_path(GROUP, "memory.reclaim"), "4M"))
			sleep_us(100000);
		gone = before - resident_pages(self);
	}
	return gone;
}

static long wrong_words(FIXTURE_DATA(batch) *self, long pages)
{
	long wrong = 0;

	for (long page = 0; page < pages; page++)
		for (int i = 0; i < self->nr; i++)
			wrong += *word(self, i, page) != pattern(i, page);
	return wrong;
}

TEST_F(batch, one_round_for_a_batch)
{
	long gone, taken;

	ASSERT_EQ(0, add_region(self));
	fill(self, PAGES);
	EXPECT_LE(PAGES, resident_pages(self));
	taken = rounds(self);
	gone = reclaim_half(self);
	taken = rounds(self) - taken;
	TH_LOG("%ld pages in %ld rounds", gone, taken);
	EXPECT_LE(PAGES / 2, gone);
	EXPECT_LT(0, taken);
	EXPECT_GT(gone / 8, taken);
	EXPECT_EQ(0, wrong_words(self, PAGES));
}

TEST_F(batch, control)
{
	long gone, taken;

	ASSERT_EQ(0, knob("skip_batching", true));
	ASSERT_EQ(0, add_region(self));
	fill(self, PAGES);
	taken = rounds(self);
	gone = reclaim_half(self);
	taken = rounds(self) - taken;
	EXPECT_LE(PAGES / 2, gone);
	EXPECT_LE(gone, taken)
		TH_LOG("no power: %ld pages in %ld rounds without batching",
		       gone, taken);
	EXPECT_EQ(0, wrong_words(self, PAGES));
}

/* Their pages take turns on reclaim's lists. */
TEST_F(batch, more_regions_than_a_batch_holds)
{
	long gone, taken;

	for (int i = 0; i < REGIONS; i++) {
		ASSERT_EQ(0, add_region(self));
	}
	fill(self, PAGES / REGIONS);
	taken = rounds(self);
	gone = reclaim_half(self);
	taken = rounds(self) - taken;
	TH_LOG("%ld pages in %ld rounds", gone, taken);
	EXPECT_LE(PAGES / 3, gone);
	EXPECT_GT(gone / 4, taken);
	EXPECT_LT(0, taken);
	EXPECT_EQ(0, wrong_words(self, PAGES / REGIONS));
}

/* The region goes while reclaim may have noted it. */
TEST_F(batch, regions_go_meanwhile)
{
	double start = now();
	long seen;
	pid_t pid;

	pid = fork_on(nr_cpus() - 1);
	if (pid == 0)
		for (;;)
			write_file(group_path(GROUP, "memory.reclaim"), "1M");
	for (long i = 0; !stress_over(start, stress_seconds(), i > 10); i++) {
		int object = memfd(MIB), r = region(1);
		long value = i + 1, *p;

		ASSERT_LE(0, r);
		ASSERT_EQ(0, create_file(r, 0, MIB, RW, object, 0));
		p = (long *)window(r, 1, RW);
		ASSERT_NE(MAP_FAILED, p);
		for (long at = 0; at < MIB; at += PAGE) {
			ASSERT_EQ(sizeof(value), pwrite(object, &value,
							sizeof(value), at));
			seen = p[at / sizeof(long)];
			ASSERT_EQ(value, seen);
		}
		munmap(p, SLOT);
		close(r);
		close(object);
	}
	kill(pid, SIGKILL);
	child_status(pid);
}

/* How often pages of a small object can be put together while a process reads */
static int collapse_under_a_reader(FIXTURE_DATA(batch) *self, int tries)
{
	char *q = map_aligned(self->objects[0], OBJECT);
	int done = 0;
	pid_t pid;

	if (q == MAP_FAILED)
		return -1;
	pid = fork_on(nr_cpus() - 1);
	if (pid == 0)
		for (volatile char *p = self->p[0]; ; )
			for (long page = 0; page < PMD / PAGE; page++)
				(void)p[page * PAGE];
	for (int i = 0; i < tries; i++) {
		memset(q, i, PMD);
		sleep_us(1000);
		done += !madvise(q, PMD, MADV_COLLAPSE);
		/* apart again */
		fallocate(self->objects[0],
			  FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE);
	}
	kill(pid, SIGKILL);
	child_status(pid);
	munmap(q, OBJECT);
	return done;
}

/* The pages are unmapped, then looked at: nobody may hold one. */
TEST_F(batch, pages_collapse_under_a_reader)
{
	int done;

	ASSERT_EQ(0, add_region(self));
	done = collapse_under_a_reader(self, 50);
	if (done < 0)
		SKIP(return, "no room for a mapping");
	EXPECT_LT(0, done);
}

TEST_HARNESS_MAIN
