// SPDX-License-Identifier: GPL-2.0
/*
 * A page that is closed stays closed, whatever becomes of it: read faults,
 * fault-around, migration, swap, collapse and split of huge pages, holes. Each
 * of them rebuilds the page's entry; after each a store must still fault.
 */
#include "mshare_test.h"
#include "mshare_mm.h"

#define OBJECT	(2 * PMD)
#define VICTIM	(PMD + 7 * PAGE)	/* the closed page */

FIXTURE(piece)
{
	int region;
	int object;
	char *p;		/* the window */
	char *q;		/* an ordinary mapping of the object */
};

FIXTURE_VARIANT(piece)
{
	size_t size;		/* what is closed: a page, or all (by the view) */
	bool present;		/* was the page in the region's tables before? */
};

FIXTURE_VARIANT_ADD(piece, page) { .size = PAGE, .present = true };
FIXTURE_VARIANT_ADD(piece, absent_page) { .size = PAGE, .present = false };
FIXTURE_VARIANT_ADD(piece, chunk) { .size = CHUNK, .present = true };
FIXTURE_VARIANT_ADD(piece, absent_chunk) { .size = CHUNK, .present = false };

FIXTURE_SETUP(piece)
{
	ASSERT_EQ(0, map_object(OBJECT, RW, &self->region, &self->object,
				&self->p));
	self->q = map_aligned(self->object, OBJECT);
	ASSERT_NE(MAP_FAILED, self->q);
	memset(self->q, RET, OBJECT);
	if (variant->present)
		memset(self->p, RET, OBJECT);
	ASSERT_EQ(0, protect(self->region,
			     variant->size == PAGE ? VICTIM : 0, variant->size,
			     PROT_READ));
}

FIXTURE_TEARDOWN(piece)
{
	close(self->region);
	close(self->object);
}

/* A store faults now, and after a read has brought the page in again. */
#define EXPECT_CLOSED() do {						\
	EXPECT_EQ(SEGV_ACCERR, touch(self->p + VICTIM, PROT_WRITE));	\
	EXPECT_EQ(0, touch(self->p + VICTIM, PROT_READ));		\
	EXPECT_EQ(SEGV_ACCERR, touch(self->p + VICTIM, PROT_WRITE));	\
	EXPECT_EQ(RET, self->p[VICTIM]);				\
	for (int _i = -2; _i <= 2; _i++) {				\
		if (_i)							\
			EXPECT_NEIGHBOUR(_i * (long)PAGE);		\
	}								\
	EXPECT_NEIGHBOUR(-(long)PMD);					\
	EXPECT_EQ(SEGV_ACCERR, touch(self->p + VICTIM, PROT_WRITE));	\
} while (0)

#define EXPECT_NEIGHBOUR(distance) do {					\
	int _rights = rights(self->p + VICTIM + (distance));		\
	EXPECT_EQ(variant->size == PAGE ? RW : PROT_READ, _rights);	\
} while (0)

#define EXPECT_REOPENS() do {						\
	EXPECT_EQ(0, protect(self->region, 0, CHUNK, RW));		\
	EXPECT_EQ(RW, rights(self->p + VICTIM));			\
	EXPECT_EQ(RW, rights(self->p + VICTIM + PAGE));			\
} while (0)

TEST_F(piece, store)
{
	EXPECT_CLOSED();
	EXPECT_REOPENS();
}

TEST_F(piece, read)
{
	EXPECT_EQ(0, touch(self->p + VICTIM, PROT_READ));
	EXPECT_CLOSED();
}

/* A read fault maps up to sixteen pages around it. */
TEST_F(piece, read_of_a_neighbour)
{
	EXPECT_EQ(0, touch(self->p + VICTIM + PAGE, PROT_READ));
	EXPECT_EQ(SEGV_ACCERR, touch(self->p + VICTIM, PROT_WRITE));
	EXPECT_EQ(0, touch(self->p + VICTIM - PAGE, PROT_READ));
	EXPECT_CLOSED();
}

TEST_F(piece, store_to_a_neighbour)
{
	EXPECT_EQ(variant->size == PAGE ? 0 : SEGV_ACCERR,
		  touch(self->p + VICTIM - PAGE, PROT_WRITE));
	EXPECT_EQ(variant->size == PAGE ? 0 : SEGV_ACCERR,
		  touch(self->p + VICTIM + PAGE, PROT_WRITE));
	EXPECT_CLOSED();
}

TEST_F(piece, another_process_and_another_window)
{
	char *w = window(self->region, 1, RW);
	pid_t pid;

	ASSERT_NE(MAP_FAILED, w);
	EXPECT_EQ(SEGV_ACCERR, touch(w + VICTIM, PROT_WRITE));
	EXPECT_EQ(PROT_READ, rights(w + VICTIM));
	pid = fork();
	if (pid == 0) {
		EXPECT_CLOSED();
		_exit(0);
	}
	EXPECT_EQ(0, child_status(pid));
	EXPECT_CLOSED();
}

TEST_F(piece, migration)
{
	long from = pfn_of(self->q + VICTIM);
	int err = migrate_page(self->q + VICTIM);

	if (err == -EINVAL || err == -EPERM)
		SKIP(return, "no way to migrate a page: memory failure handling is off");
	ASSERT_EQ(0, err);
	EXPECT_NE(from, pfn_of(self->q + VICTIM));
	EXPECT_CLOSED();
	/* and once more, now that the page is surely mapped read-only */
	ASSERT_EQ(0, migrate_page(self->q + VICTIM));
	EXPECT_CLOSED();
	EXPECT_REOPENS();
}

TEST_F(piece, compaction)
{
	ASSERT_EQ(0, write_file("/proc/sys/vm/compact_memory", "1"));
	EXPECT_CLOSED();
	EXPECT_REOPENS();
}

TEST_F(piece, swap)
{
	const char *why = swap_setup();

	if (why)
		SKIP(return, "%s", why);
	/* charged anew, to a group whose memory can be reclaimed on request */
	ASSERT_EQ(0, fallocate(self->object, FALLOC_FL_PUNCH_HOLE |
			       FALLOC_FL_KEEP_SIZE, 0, OBJECT));
	ASSERT_EQ(0, group_enter("piece"));
	memset(self->q, RET, OBJECT);
	EXPECT_EQ(0, touch(self->p + VICTIM, PROT_READ));
	munmap(self->q, OBJECT);

	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(0, swap_out_of("piece", self->object, VICTIM, 50))
			TH_LOG("the page would not be swapped out");
		if (i) {
			/* in by a store, which is denied, or by a read */
			EXPECT_EQ(0, touch(self->p + VICTIM, PROT_READ));
		}
		EXPECT_CLOSED();
	}
	EXPECT_REOPENS();
	group_leave("piece");
}

TEST_F(piece, collapse_and_split)
{
	int err = collapse_pages(self->q, OBJECT);

	if (err == -EINVAL)
		SKIP(return, "no huge pages in this kernel");
	ASSERT_EQ(0, err);
	EXPECT_CLOSED();
	ASSERT_EQ(0, collapse_pages(self->q, OBJECT));
	EXPECT_EQ(0, touch(self->p + PMD, PROT_READ));
	EXPECT_CLOSED();
	/* a hole in the middle splits the huge page */
	ASSERT_EQ(0, fallocate(self->object, FALLOC_FL_PUNCH_HOLE |
			       FALLOC_FL_KEEP_SIZE, VICTIM + 64 * PAGE, PAGE));
	EXPECT_CLOSED();
	ASSERT_EQ(0, collapse_pages(self->q, OBJECT));
	EXPECT_CLOSED();
	EXPECT_REOPENS();
	EXPECT_EQ(0, self->p[VICTIM + 64 * PAGE]);
}

/* One page is closed, opened and closed inside a huge mapping. */
TEST_F(piece, inside_a_huge_page)
{
	int err = collapse_pages(self->q, OBJECT);

	if (err == -EINVAL)
		SKIP(return, "no huge pages in this kernel");
	ASSERT_EQ(0, err);
	ASSERT_EQ(0, protect(self->region, 0, CHUNK, RW));
	EXPECT_EQ(0, touch(self->p + PMD, PROT_WRITE));
	EXPECT_EQ(RW, rights(self->p + VICTIM));
	ASSERT_EQ(0, protect(self->region, variant->size == PAGE ? VICTIM : 0,
			     variant->size, PROT_READ));
	EXPECT_CLOSED();
	EXPECT_REOPENS();
}

TEST_F(piece, hole_punched_under_it)
{
	ASSERT_EQ(0, fallocate(self->object, FALLOC_FL_PUNCH_HOLE |
			       FALLOC_FL_KEEP_SIZE, VICTIM, PAGE));
	EXPECT_EQ(SEGV_ACCERR, touch(self->p + VICTIM, PROT_WRITE));
	EXPECT_EQ(0, self->p[VICTIM]);
	EXPECT_EQ(SEGV_ACCERR, touch(self->p + VICTIM, PROT_WRITE));
	self->q[VICTIM] = RET;
	EXPECT_CLOSED();
}

TEST_F(piece, truncated_and_grown)
{
	ASSERT_EQ(0, ftruncate(self->object, VICTIM));
	/* denied before anybody looks for the page */
	EXPECT_EQ(SEGV_ACCERR, touch(self->p + VICTIM, PROT_WRITE));
	EXPECT_EQ(DENIED_BUS, touch(self->p + VICTIM, PROT_READ));
	ASSERT_EQ(0, ftruncate(self->object, OBJECT));
	EXPECT_EQ(SEGV_ACCERR, touch(self->p + VICTIM, PROT_WRITE));
	EXPECT_EQ(0, self->p[VICTIM]);
	memset(self->q + VICTIM, RET, OBJECT - VICTIM);
	EXPECT_CLOSED();
}

/* The walkers that clear and protect entries one by one */
TEST_F(piece, clear_refs)
{
	for (const char *word = "1\0" "3\0" "4\0"; *word; word += 2) {
		write_file("/proc/self/clear_refs", word);
		EXPECT_CLOSED();
	}
}

TEST_HARNESS_MAIN
