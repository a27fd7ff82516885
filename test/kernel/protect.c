// SPDX-License-Identifier: GPL-2.0
/*
 * PROTECT: what a right is (host and view and window), ranges of every shape,
 * errors that change nothing, calls side by side.
 */
#include "mshare_test.h"

#include <pthread.h>

#define PAGES	16		/* mapped at the start of a chunk */

FIXTURE(protect)
{
	int region;
	char *p;
};

FIXTURE_SETUP(protect)
{
	self->region = region(2);
	ASSERT_LE(0, self->region);
	self->p = window(self->region, 2, RWX);
	ASSERT_NE(MAP_FAILED, self->p);
}

FIXTURE_TEARDOWN(protect)
{
	knob("skip_views", false);
	close(self->region);
}

static const int prots[] = { PROT_NONE, PROT_READ, RW, RX, RWX };

/* host AND view AND window, for every combination, mapped in or not */
TEST_F(protect, rights_are_the_intersection)
{
	char *w[ARRAY_SIZE(prots)];

	for (int i = 0; i < ARRAY_SIZE(prots); i++) {
		w[i] = window(self->region, 1, prots[i]);
		ASSERT_NE(MAP_FAILED, w[i]);
	}
	ASSERT_EQ(0, create_anon(self->region, 0, 2 * PAGES * PAGE, RWX));
	ASSERT_EQ(0, create_anon(self->region, CHUNK, PAGE, RWX));
	memset(self->p, RET, PAGES * PAGE);

	/* by the view: the whole chunk */
	for (int v = 0; v < ARRAY_SIZE(prots); v++) {
		ASSERT_EQ(0, protect(self->region, 0, CHUNK, prots[v]));
		for (int i = 0; i < ARRAY_SIZE(prots); i++) {
			EXPECT_EQ(prots[v] & prots[i], rights(w[i]));
			EXPECT_EQ(prots[v] & prots[i], rights(w[i] + PAGE));
			EXPECT_EQ(RWX, rights(self->p + CHUNK));
		}
	}
	/* by the host: one page */
	ASSERT_EQ(0, protect(self->region, 0, CHUNK, RWX));
	for (int h = 0; h < ARRAY_SIZE(prots); h++) {
		ASSERT_EQ(0, protect(self->region, PAGE, PAGE, prots[h]));
		for (int i = 0; i < ARRAY_SIZE(prots); i++) {
			EXPECT_EQ(prots[h] & prots[i], rights(w[i] + PAGE));
			EXPECT_EQ(prots[i], rights(w[i]));
			EXPECT_EQ(prots[i], rights(w[i] + 2 * PAGE));
		}
	}
	/* a page that was never there before it was closed */
	for (int v = 0; v < ARRAY_SIZE(prots); v++) {
		int at = (PAGES + v) * PAGE;

		ASSERT_EQ(0, protect(self->region, at, PAGE, prots[v]));
		if (prots[v] & PROT_WRITE) {
			EXPECT_EQ(0, touch(self->p + at, PROT_WRITE));
		} else {
			EXPECT_EQ(SEGV_ACCERR, touch(self->p + at, PROT_WRITE));
		}
		EXPECT_EQ(prots[v] & PROT_READ ? 0 : SEGV_ACCERR,
			  touch(self->p + at, PROT_READ));
	}
}

/* Writing implies reading, executing alone leaves nothing behind. */
TEST_F(protect, write_only_and_execute_only)
{
	ASSERT_EQ(0, create_anon(self->region, 0, 4 * PAGE, RWX));
	memset(self->p, RET, 4 * PAGE);
	for (int i = 0; i < 2; i++) {
		size_t size = i ? CHUNK : PAGE;

		ASSERT_EQ(0, protect(self->region, 0, size, PROT_WRITE));
		EXPECT_EQ(0, touch(self->p, PROT_WRITE));
		EXPECT_EQ(SEGV_ACCERR, touch(self->p, PROT_EXEC));
		ASSERT_EQ(0, protect(self->region, 0, size, PROT_EXEC));
		EXPECT_EQ(0, touch(self->p, PROT_EXEC));
		EXPECT_EQ(SEGV_ACCERR, touch(self->p, PROT_WRITE));
		ASSERT_EQ(0, protect(self->region, 0, size, RWX));
		EXPECT_EQ(RWX, rights(self->p));
	}
}

TEST_F(protect, a_chunk_is_what_is_mapped_in_it)
{
	struct mshare_stat before, after;

	ASSERT_EQ(0, create_anon(self->region, 0, 64 * MIB, RW));
	memset(self->p, 1, 64 * MIB);
	/* closing all that is mapped in the chunk is closing the chunk */
	before = region_stat(self->region);
	ASSERT_EQ(0, protect(self->region, 0, 64 * MIB, PROT_READ));
	after = region_stat(self->region);
	EXPECT_EQ(1, after.flips - before.flips);
	EXPECT_GE(4, after.flip_entries - before.flip_entries);
	EXPECT_LE(1, after.flip_entries - before.flip_entries);
	EXPECT_LE(1, after.shootdowns - before.shootdowns);
	EXPECT_EQ(PROT_READ, rights(self->p));
	EXPECT_EQ(PROT_READ, rights(self->p + 64 * MIB - PAGE));
	before = after;
	ASSERT_EQ(0, protect(self->region, 0, 64 * MIB, RW));
	after = region_stat(self->region);
	EXPECT_EQ(1, after.flips - before.flips);
	EXPECT_GE(4, after.flip_entries - before.flip_entries);
	EXPECT_EQ(RW, rights(self->p + 64 * MIB - PAGE));
}

TEST_F(protect, first_opening_is_constant_time_too)
{
	struct mshare_stat before, after;

	ASSERT_EQ(0, create_anon(self->region, 0, 64 * MIB, PROT_READ));
	for (long at = 0; at < 64 * MIB; at += PAGE)
		*(volatile char *)(self->p + at);
	before = region_stat(self->region);
	ASSERT_EQ(0, protect(self->region, 0, 64 * MIB, RW));
	after = region_stat(self->region);
	EXPECT_GE(4, after.flip_entries - before.flip_entries);
	EXPECT_EQ(RW, rights(self->p + 32 * MIB));
}

TEST_F(protect, a_terabyte)
{
	struct mshare_stat before, after;

	ASSERT_EQ(0, create_sparse(self->region, 0, 2 * SLOT, RW));
	for (unsigned long at = 0; at < 2 * SLOT; at += 4 * CHUNK)
		self->p[at] = 1;
	for (int i = 0; i < 4; i++) {
		int prot = i % 2 ? RW : i ? PROT_NONE : PROT_READ;

		before = region_stat(self->region);
		ASSERT_EQ(0, protect(self->region, 0, 2 * SLOT, prot));
		after = region_stat(self->region);
		EXPECT_EQ(1, after.flips - before.flips);
		EXPECT_GE(1024, after.flip_entries - before.flip_entries);
		for (unsigned long at = 0; at < 2 * SLOT; at += SLOT / 8) {
			EXPECT_EQ(prot, rights(self->p + at));
			EXPECT_EQ(prot, rights(self->p + at + CHUNK - PAGE));
		}
	}
}

#define ROUNDS	99

static int compare(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static double median(double values[ROUNDS])
{
	qsort(values, ROUNDS, sizeof(*values), compare);
	return values[ROUNDS / 2];
}

/*
 * What is empty is stepped over: with 57 bits there are 67 million chunks. The
 * measure is the time for an eighth as many steps of a loop. Of many short rounds
 * the one in the middle counts: some are interrupted, and in some of an emulated
 * machine the clock stands still.
 */
TEST_F(protect, empty_address_space_costs_little)
{
	double took[ROUNDS], loop[ROUNDS], walk, measure;
	unsigned long slots = 131071, chunks;
	int fd = region_open();

	while (slots > 1 && ftruncate(fd, slots * SLOT))
		slots /= 2;
	chunks = slots * (SLOT / CHUNK);
	ASSERT_EQ(0, create_anon(fd, 0, CHUNK, RW));
	for (int round = 0; round < ROUNDS; round++) {
		double start = now();

		EXPECT_EQ(-ENOMEM, protect(fd, CHUNK, slots * SLOT - CHUNK, RW));
		took[round] = now() - start;
		start = now();
		for (volatile unsigned long i = 0; i < chunks / 8; i++)
			;
		loop[round] = now() - start;
	}
	walk = median(took);
	measure = median(loop);
	/* KASAN looks at each step of the one, not of the other */
	if (!access("/sys/kernel/debug/kmemleak", F_OK))
		measure *= 16;
	EXPECT_GT(measure, walk)
		TH_LOG("%lu slots: %.1f us, and the loop %.1f us", slots,
		       walk * 1e6, measure * 1e6);
	close(fd);
}

TEST_F(protect, chunks_and_edges)
{
	const unsigned long top = 4 * CHUNK;
	const struct { unsigned long from, to; } ranges[] = {
		{ 0, top }, { PAGE, top }, { 0, top - PAGE },
		{ PAGE, top - PAGE }, { CHUNK, 2 * CHUNK },
		{ CHUNK - PAGE, 2 * CHUNK }, { CHUNK, 2 * CHUNK + PAGE },
		{ CHUNK - PAGE, 2 * CHUNK + PAGE }, { CHUNK - PAGE, CHUNK + PAGE },
		{ CHUNK / 2, 3 * CHUNK + CHUNK / 2 }, { 0, PAGE },
		{ top - PAGE, top }, { CHUNK, CHUNK + PAGE },
	};
	const unsigned long probes[] = {
		0, PAGE, CHUNK / 2 - PAGE, CHUNK / 2, CHUNK - 2 * PAGE,
		CHUNK - PAGE, CHUNK, CHUNK + PAGE, CHUNK + CHUNK / 2,
		2 * CHUNK - PAGE, 2 * CHUNK, 2 * CHUNK + PAGE, 3 * CHUNK - PAGE,
		3 * CHUNK, 3 * CHUNK + CHUNK / 2 - PAGE, 3 * CHUNK + CHUNK / 2,
		top - 2 * PAGE, top - PAGE,
	};
	static const int closed[] = { PROT_READ, PROT_NONE };

	ASSERT_EQ(0, create_sparse(self->region, 0, top, RW));
	for (int i = 0; i < ARRAY_SIZE(probes); i++)
		self->p[probes[i]] = RET;
	for (int i = 0; i < 2 * ARRAY_SIZE(ranges); i++) {
		unsigned long from = ranges[i / 2].from, to = ranges[i / 2].to;

		ASSERT_EQ(0, protect(self->region, from, to - from,
				     closed[i % 2]));
		for (int j = 0; j < ARRAY_SIZE(probes); j++) {
			bool in = probes[j] >= from && probes[j] < to;

			EXPECT_EQ(in ? closed[i % 2] : RW,
				  rights(self->p + probes[j]))
				TH_LOG("range %d probe %#lx", i, probes[j]);
		}
		/* back by the same range, or by the whole */
		if (i % 3) {
			ASSERT_EQ(0, protect(self->region, from, to - from, RW));
		} else {
			ASSERT_EQ(0, protect(self->region, 0, top, RW));
		}
		for (int j = 0; j < ARRAY_SIZE(probes); j++) {
			EXPECT_EQ(RW, rights(self->p + probes[j]))
				TH_LOG("range %d probe %#lx", i, probes[j]);
		}
	}
}

/* Opening a piece of a chunk that is closed through the view */
TEST_F(protect, pushdown)
{
	static const int closed[] = { PROT_READ, PROT_NONE };

	ASSERT_EQ(0, create_sparse(self->region, 0, CHUNK, RW));
	for (int i = 0; i < 2; i++)
		for (int neighbour = 0; neighbour < 2; neighbour++) {
			const unsigned long at = CHUNK / 2;

			/* pages that were there, and pages that were not */
			self->p[at] = RET;
			if (neighbour) {
				self->p[at + PAGE] = RET;
				self->p[at - PAGE] = RET;
				self->p[at + PMD] = RET;
			}
			ASSERT_EQ(0, protect(self->region, 0, CHUNK, closed[i]));
			ASSERT_EQ(0, protect(self->region, at, PAGE, RW));
			EXPECT_EQ(RW, rights(self->p + at));
			EXPECT_EQ(closed[i], rights(self->p + at + PAGE));
			EXPECT_EQ(closed[i], rights(self->p + at - PAGE));
			EXPECT_EQ(closed[i], rights(self->p + at + PMD));
			EXPECT_EQ(closed[i], rights(self->p));
			EXPECT_EQ(closed[i], rights(self->p + CHUNK - PAGE));
			/* whole again: closed, then open */
			ASSERT_EQ(0, protect(self->region, 0, CHUNK, closed[i]));
			EXPECT_EQ(closed[i], rights(self->p + at));
			ASSERT_EQ(0, protect(self->region, 0, CHUNK, RW));
			EXPECT_EQ(RW, rights(self->p + at));
			EXPECT_EQ(RW, rights(self->p + at + PAGE));
			EXPECT_EQ(RW, rights(self->p + CHUNK - PAGE));
		}
}

/* A right that only some pieces of a closed chunk get: none leaks to others. */
TEST_F(protect, pushdown_keeps_every_right)
{
	ASSERT_EQ(0, create_anon(self->region, 0, 8 * PAGE, RWX));
	memset(self->p, RET, 8 * PAGE);
	for (int from = 0; from < ARRAY_SIZE(prots); from++)
		for (int to = 0; to < ARRAY_SIZE(prots); to++) {
			ASSERT_EQ(0, protect(self->region, 0, CHUNK, prots[from]));
			ASSERT_EQ(0, protect(self->region, 2 * PAGE, 2 * PAGE,
					     prots[to]));
			EXPECT_EQ(prots[from], rights(self->p + PAGE));
			EXPECT_EQ(prots[to], rights(self->p + 2 * PAGE));
			EXPECT_EQ(prots[to], rights(self->p + 3 * PAGE));
			EXPECT_EQ(prots[from], rights(self->p + 4 * PAGE));
		}
}

TEST_F(protect, holes_have_no_protection)
{
	ASSERT_EQ(0, create_anon(self->region, 0, PAGE, RW));
	ASSERT_EQ(0, create_anon(self->region, 4 * PAGE, PAGE, RW));
	ASSERT_EQ(0, create_anon(self->region, 2 * CHUNK, PAGE, RW));
	ASSERT_EQ(0, create_anon(self->region, SLOT + CHUNK, PAGE, RW));
	self->p[0] = self->p[4 * PAGE] = self->p[2 * CHUNK] = RET;
	ASSERT_EQ(0, protect(self->region, 0, 2 * SLOT, PROT_READ));
	EXPECT_EQ(PROT_READ, rights(self->p));
	EXPECT_EQ(PROT_READ, rights(self->p + 4 * PAGE));
	EXPECT_EQ(PROT_READ, rights(self->p + 2 * CHUNK));
	EXPECT_EQ(PROT_READ, rights(self->p + SLOT + CHUNK));
	EXPECT_EQ(-SEGV_MAPERR, rights(self->p + PAGE));
	EXPECT_EQ(-SEGV_MAPERR, rights(self->p + CHUNK));

	/* what comes into a hole later is not bound by what was said before */
	ASSERT_EQ(0, create_anon(self->region, CHUNK, PAGE, RW));
	EXPECT_EQ(RW, rights(self->p + CHUNK));
	ASSERT_EQ(0, create_anon(self->region, PAGE, PAGE, RW));
	EXPECT_EQ(RW, rights(self->p + PAGE));
	EXPECT_EQ(PROT_READ, rights(self->p));

	/* unmapped and mapped again: the old protection is gone */
	ASSERT_EQ(0, unmap(self->region, 2 * CHUNK, PAGE));
	ASSERT_EQ(0, create_anon(self->region, 2 * CHUNK, PAGE, RW));
	EXPECT_EQ(RW, rights(self->p + 2 * CHUNK));
	EXPECT_EQ(-ENOMEM, protect(self->region, 3 * CHUNK, CHUNK, PROT_READ));
	EXPECT_EQ(-ENOMEM, protect(self->region, 2 * PAGE, 2 * PAGE, PROT_READ));
}

/* Found by fuzz: a range that ends, or begins, in a hole of a closed chunk */
TEST_F(protect, hole_beside_what_is_closed)
{
	ASSERT_EQ(0, create_anon(self->region, 0, PAGE, RW));
	ASSERT_EQ(0, create_anon(self->region, CHUNK + 8 * PAGE, PAGE, PROT_READ));
	ASSERT_EQ(0, create_anon(self->region, 2 * CHUNK, PAGE, RW));
	/* only the first chunk has anything in the range, and all of it */
	ASSERT_EQ(0, protect(self->region, 0, CHUNK + PAGE, RWX));
	EXPECT_EQ(PROT_READ, rights(self->p + CHUNK + 8 * PAGE));
	ASSERT_EQ(0, protect(self->region, 0, PAGE, PROT_READ));
	ASSERT_EQ(0, protect(self->region, 0, CHUNK + PAGE, RW));
	EXPECT_EQ(PROT_READ, rights(self->p + CHUNK + 8 * PAGE));
	EXPECT_EQ(RW, rights(self->p));
	/* the same from above */
	ASSERT_EQ(0, protect(self->region, 2 * CHUNK, PAGE, PROT_READ));
	ASSERT_EQ(0, protect(self->region, CHUNK + 16 * PAGE, 2 * CHUNK, RW));
	EXPECT_EQ(PROT_READ, rights(self->p + CHUNK + 8 * PAGE));
	EXPECT_EQ(RW, rights(self->p + 2 * CHUNK));
}

TEST_F(protect, errors_change_nothing)
{
	char path[64];
	int reader;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", memfd(PAGE));
	reader = open(path, O_RDONLY);
	ASSERT_LE(0, reader);
	/* the object that forbids it comes last, in the same chunk and beyond */
	for (int far = 0; far < 2; far++) {
		unsigned long at = far ? 3 * CHUNK : 0;
		unsigned long last = far ? SLOT + CHUNK + PAGE : at + 8 * PAGE;

		ASSERT_EQ(0, create_anon(self->region, at, 4 * PAGE, RW));
		ASSERT_EQ(0, create_file(self->region, last, PAGE, PROT_READ,
					 reader, 0));
		memset(self->p + at, RET, 4 * PAGE);
		ASSERT_EQ(0, protect(self->region, at, PAGE, PROT_NONE));
		ASSERT_EQ(0, protect(self->region, at + PAGE, PAGE, PROT_READ));
		EXPECT_EQ(-EACCES, protect(self->region, at, last + PAGE - at, RW));
		EXPECT_EQ(-EACCES, protect(self->region, 0, 2 * SLOT, RW));
		EXPECT_EQ(-EACCES, protect(self->region, last, PAGE, PROT_WRITE));
		EXPECT_EQ(PROT_NONE, rights(self->p + at));
		EXPECT_EQ(PROT_READ, rights(self->p + at + PAGE));
		EXPECT_EQ(RW, rights(self->p + at + 2 * PAGE));
		EXPECT_EQ(PROT_READ, rights(self->p + last));
		ASSERT_EQ(0, protect(self->region, at, last + PAGE - at, PROT_READ));
		EXPECT_EQ(PROT_READ, rights(self->p + at));
		EXPECT_EQ(PROT_READ, rights(self->p + at + 2 * PAGE));
		EXPECT_EQ(PROT_READ, rights(self->p + last));
		EXPECT_EQ(-EACCES, protect(self->region, 0, 2 * SLOT, RW));
		EXPECT_EQ(PROT_READ, rights(self->p + at + 3 * PAGE));
		ASSERT_EQ(0, unmap(self->region, 0, 2 * SLOT));
	}
}

TEST_F(protect, only_changes_count_as_flips)
{
	struct mshare_stat before, after;

	ASSERT_EQ(0, create_anon(self->region, 0, 4 * PAGE, RW));
	memset(self->p, RET, 4 * PAGE);
	before = region_stat(self->region);
	ASSERT_EQ(0, protect(self->region, 0, CHUNK, RW));
	ASSERT_EQ(0, protect(self->region, PAGE, PAGE, RW));
	after = region_stat(self->region);
	EXPECT_EQ(before.flips, after.flips);
	EXPECT_EQ(before.flip_entries, after.flip_entries);
	ASSERT_EQ(0, protect(self->region, PAGE, PAGE, PROT_READ));
	ASSERT_EQ(0, protect(self->region, PAGE, PAGE, PROT_READ));
	ASSERT_EQ(0, protect(self->region, 0, CHUNK, PROT_READ));
	ASSERT_EQ(0, protect(self->region, 0, CHUNK, PROT_READ));
	ASSERT_EQ(0, protect(self->region, 0, CHUNK, RW));
	after = region_stat(self->region);
	EXPECT_EQ(before.flips + 3, after.flips);
}

/*
 * The knob for measurements: no view changes, every leaf does, and all that
 * PROTECT promises holds, also when the knob is turned between flips.
 */
TEST_F(protect, by_leaves_alone)
{
	static const int flips[] = { PROT_READ, RW, PROT_NONE, PROT_READ, RW };
	unsigned long size = 2 * CHUNK;
	struct mshare_stat before, after;

	if (access(KNOBS, F_OK))
		SKIP(return, "no knobs: MSHARE_DEBUG is off");
	ASSERT_EQ(0, create_sparse(self->region, 0, size, RW));
	for (unsigned long at = 0; at < size; at += CHUNK)
		memset(self->p + at, RET, PAGES * PAGE);
	for (int i = 0; i < 4 * ARRAY_SIZE(flips); i++) {
		bool leaves = i & 2;
		int prot = flips[i % ARRAY_SIZE(flips)];

		ASSERT_EQ(0, knob("skip_views", leaves));
		before = region_stat(self->region);
		ASSERT_EQ(0, protect(self->region, 0, size, prot));
		after = region_stat(self->region);
		EXPECT_EQ(1, after.flips - before.flips);
		if (leaves) {
			EXPECT_LE(2 * PAGES,
				  after.flip_entries - before.flip_entries);
		} else if (i & 1) {	/* leaves were given all back before */
			EXPECT_EQ(2, after.flip_entries - before.flip_entries);
		}
		if (fork() == 0) {
			for (unsigned long at = 0; at < size; at += CHUNK) {
				EXPECT_EQ(prot, rights(self->p + at));
				EXPECT_EQ(prot, rights(self->p + at + CHUNK / 2));
			}
			_exit(0);
		}
		wait(NULL);
		for (unsigned long at = 0; at < size; at += CHUNK) {
			EXPECT_EQ(prot, rights(self->p + at));
			EXPECT_EQ(prot, rights(self->p + at + PAGE));
			EXPECT_EQ(prot, rights(self->p + at + CHUNK - PAGE));
		}
	}
	ASSERT_EQ(0, knob("skip_views", true));
	ASSERT_EQ(0, protect(self->region, PAGE, size - 2 * PAGE, PROT_READ));
	EXPECT_EQ(RW, rights(self->p));
	EXPECT_EQ(PROT_READ, rights(self->p + PAGE));
	EXPECT_EQ(PROT_READ, rights(self->p + size - 2 * PAGE));
	EXPECT_EQ(RW, rights(self->p + size - PAGE));

	/* a chunk that is not its slot's first, closed by its view */
	ASSERT_EQ(0, knob("skip_views", false));
	ASSERT_EQ(0, protect(self->region, 0, size, PROT_READ));
	ASSERT_EQ(0, knob("skip_views", true));
	ASSERT_EQ(0, protect(self->region, CHUNK, CHUNK, RW));
	EXPECT_EQ(PROT_READ, rights(self->p));
	EXPECT_EQ(RW, rights(self->p + CHUNK));
	EXPECT_EQ(RW, rights(self->p + CHUNK + CHUNK / 2));
}

TEST_F(protect, reaches_every_process)
{
	char path[64];
	int go[2], done[2], fd;
	char *q, c = 0;
	pid_t pid;

	ASSERT_EQ(0, create_anon(self->region, 0, 4 * PAGE, RW));
	memset(self->p, RET, 4 * PAGE);
	ASSERT_EQ(0, pipe(go));
	ASSERT_EQ(0, pipe(done));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", self->region);
	pid = fork();
	if (pid == 0) {
		EXPECT_EQ(RW, rights(self->p));
		write(done[1], &c, 1);
		read(go[0], &c, 1);
		EXPECT_EQ(PROT_READ, rights(self->p));
		/* a child may open for all again */
		EXPECT_EQ(0, protect(self->region, 0, CHUNK, RW));
		EXPECT_EQ(RW, rights(self->p));
		_exit(0);
	}
	read(done[0], &c, 1);
	ASSERT_EQ(0, protect(self->region, 0, CHUNK, PROT_READ));
	/* born or attached while it is closed */
	if (fork() == 0) {
		EXPECT_EQ(PROT_READ, rights(self->p));
		_exit(0);
	}
	wait(NULL);
	fd = open(path, O_RDWR);
	ASSERT_LE(0, fd);
	q = window(fd, 1, RW);
	EXPECT_EQ(PROT_READ, rights(q));
	write(go[1], &c, 1);
	EXPECT_EQ(0, child_status(pid));
	EXPECT_EQ(RW, rights(self->p));
	EXPECT_EQ(RW, rights(q));
	close(fd);
}

TEST_F(protect, system_calls_are_denied_too)
{
	int zero = open("/dev/zero", O_RDONLY), null = open("/tmp", O_TMPFILE |
							    O_RDWR, 0600);

	ASSERT_LE(0, zero);
	ASSERT_LE(0, null);
	ASSERT_EQ(0, create_anon(self->region, 0, 8 * PAGE, RW));
	memset(self->p, 1, 8 * PAGE);
	for (int i = 0; i < 2; i++) {
		unsigned long size = i ? CHUNK : PAGE;

		ASSERT_EQ(0, protect(self->region, 0, size, PROT_READ));
		EXPECT_EQ(-1, read(zero, self->p, 1));
		EXPECT_EQ(EFAULT, errno);
		EXPECT_EQ(1, self->p[0]);
		EXPECT_EQ(1, pwrite(null, self->p, 1, 0));
		ASSERT_EQ(0, protect(self->region, 0, size, PROT_NONE));
		EXPECT_EQ(-1, pwrite(null, self->p, 1, 0));
		EXPECT_EQ(EFAULT, errno);
		EXPECT_EQ(-1, read(zero, self->p, 1));
		EXPECT_EQ(EFAULT, errno);
		ASSERT_EQ(0, protect(self->region, 0, size, RW));
		EXPECT_EQ(1, self->p[0]);
		EXPECT_EQ(PAGE, read(zero, self->p, PAGE));
		EXPECT_EQ(0, self->p[0]);
		self->p[0] = 1;
	}
	/* up to the closed page and not further */
	ASSERT_EQ(0, protect(self->region, 4 * PAGE, PAGE, PROT_READ));
	EXPECT_EQ(2 * PAGE, read(zero, self->p + 2 * PAGE, 4 * PAGE));
	EXPECT_EQ(1, self->p[4 * PAGE]);
	EXPECT_EQ(1, self->p[5 * PAGE]);
	close(zero);
	close(null);
}

/*
 * Each thread owns pages nobody else protects, in chunks that all share, and
 * finds its own word in force whenever its call has returned.
 */
struct flipper {
	int region, number;
	char *p;
	double end;
	long flips, wrong;
};

static void *flip_own_pages(void *arg)
{
	struct flipper *f = arg;
	unsigned int seed = f->number;

	while (now() < f->end) {
		int page = f->number + 4 * (rand_r(&seed) % 4);
		unsigned long at = (rand_r(&seed) & 1 ? CHUNK : 0) + page * PAGE;
		int prot = prots[rand_r(&seed) % 3];

		if (protect(f->region, at, PAGE, prot) ||
		    rights(f->p + at) != prot)
			f->wrong++;
		f->flips++;
	}
	return NULL;
}

TEST_F(protect, side_by_side)
{
	struct flipper f[4];
	pthread_t threads[4];

	ASSERT_EQ(0, create_anon(self->region, 0, PAGES * PAGE, RW));
	ASSERT_EQ(0, create_anon(self->region, CHUNK, PAGES * PAGE, RW));
	for (int i = 0; i < 4; i++) {
		f[i] = (struct flipper) {
			self->region, i, self->p, now() + stress_seconds()
		};
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, flip_own_pages,
					    &f[i]));
	}
	for (int i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
		EXPECT_LT(0, f[i].flips);
		EXPECT_EQ(0, f[i].wrong)
			TH_LOG("thread %d: %ld of %ld", i, f[i].wrong, f[i].flips);
	}
}

/*
 * Whole flips against pieces: a writer process closes and opens the whole, we
 * close one page; whoever came last, the page is never more open than the
 * last of the two calls, and after both have ended the order can be told.
 */
TEST_F(protect, whole_against_pieces)
{
	double end = now() + stress_seconds();
	pid_t pid;

	ASSERT_EQ(0, create_anon(self->region, 0, PAGES * PAGE, RW));
	ASSERT_EQ(0, create_anon(self->region, CHUNK, PAGES * PAGE, RW));
	pid = fork();
	if (pid == 0) {
		while (now() < end) {
			EXPECT_EQ(0, protect(self->region, 0, 2 * SLOT, PROT_NONE));
			EXPECT_EQ(0, protect(self->region, 0, 2 * SLOT, PROT_READ));
		}
		_exit(0);
	}
	while (now() < end) {
		int have;

		/* nobody ever gives write to this page */
		ASSERT_EQ(0, protect(self->region, 3 * PAGE, PAGE, PROT_READ));
		have = rights(self->p + 3 * PAGE);
		EXPECT_EQ(0, have & PROT_WRITE);
		ASSERT_EQ(0, protect(self->region, CHUNK, PAGE, PROT_READ));
		have = rights(self->p + CHUNK);
		EXPECT_EQ(0, have & PROT_WRITE);
	}
	EXPECT_EQ(0, child_status(pid));
	EXPECT_EQ(PROT_READ, rights(self->p));
	ASSERT_EQ(0, protect(self->region, 0, 2 * SLOT, RW));
	for (int i = 0; i < PAGES; i++) {
		EXPECT_EQ(RW, rights(self->p + i * PAGE));
		EXPECT_EQ(RW, rights(self->p + CHUNK + i * PAGE));
	}
}

TEST_HARNESS_MAIN
