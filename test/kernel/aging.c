// SPDX-License-Identifier: GPL-2.0
/*
 * What reclaim knows of use: pages that are touched again and again stay, while
 * others stream through the rest of an object that does not fit. By a window as
 * by a mapping, with the multi-generational LRU, which looks for references in
 * page tables of processes, and without. All pages are zero, as the kernel swaps such
 * pages without I/O, so that a large object takes minutes.
 */
#include "mshare_test.h"
#include "mshare_mm.h"

#define GENERATIONS	"/sys/kernel/mm/lru_gen/enabled"

/* MiB that are in use; there is memory for half as much again. */
static size_t hot_mib(void)
{
	const char *s = getenv("MSHARE_TEST_HOT");

	return s ? atol(s) : 32;
}

FIXTURE(aging)
{
	size_t hot, size;
	char was[16];		/* what of MGLRU was on */
};

FIXTURE_VARIANT(aging)
{
	const char *generations;
};

FIXTURE_VARIANT_ADD(aging, lists) { .generations = "0" };
FIXTURE_VARIANT_ADD(aging, generations) { .generations = "7" };

FIXTURE_SETUP(aging)
{
	int fd = open(GENERATIONS, O_RDONLY | O_CLOEXEC);
	const char *why = swap_setup();

	if (fd >= 0 && read(fd, self->was, sizeof(self->was) - 1) < 0)
		self->was[0] = '\0';
	close(fd);
	self->hot = hot_mib() * MIB;
	self->size = self->hot * 2 + self->hot / 8;
	if (why)
		SKIP(return, "%s", why);
	if (group_create("aging"))
		SKIP(return, "no memory cgroups: %m");
	if (write_file(GENERATIONS, variant->generations) &&
	    *variant->generations != '0')
		SKIP(return, "no multi-generational LRU: %m");
}

FIXTURE_TEARDOWN(aging)
{
	write_file(GENERATIONS, self->was);
	group_leave("aging");
}

/* How many pages of a range of an object are not in memory */
static size_t pages_out(int object, size_t size)
{
	unsigned char *in = malloc(size / PAGE);
	char *p = mmap(NULL, size, PROT_READ, MAP_SHARED, object, 0);
	size_t out = 0;

	mincore(p, size, in);
	for (size_t i = 0; i < size / PAGE; i++)
		out += !(in[i] & 1);
	munmap(p, size);
	free(in);
	return out;
}

static void read_pages(char *p, size_t size)
{
	for (size_t at = 0; at < size; at += PAGE)
		(void)*(volatile char *)(p + at);
}

/*
 * In a process of the group: of the pages in use those that were found gone, in
 * thousandths of all that were looked at.
 */
static long gone(size_t hot, size_t size, bool by_window, bool in_use)
{
	size_t step = hot / 16, out = 0, looked = 0;
	int object, r;
	char limit[32], *p;

	snprintf(limit, sizeof(limit), "%zu", hot + hot / 2);
	if (group_enter("aging") ||
	    write_file(group_path("aging", "memory.high"), limit))
		return -1;
	if (by_window) {
		if (map_object(size, RW, &r, &object, &p))
			return -1;
	} else {
		object = memfd(size);
		p = mmap(NULL, size, RW, MAP_SHARED, object, 0);
	}
	memset(p, 0, hot);
	for (int round = 0; round < 3; round++)
		for (size_t at = hot; at + step <= size; at += step) {
			memset(p + at, 0, step);
			if (round) {
				out += pages_out(object, hot);
				looked += hot / PAGE;
			}
			if (in_use)
				read_pages(p, hot);
		}
	return out * 1000 / looked;
}

static long gone_of_child(size_t hot, size_t size, bool by_window, bool in_use)
{
	volatile long *result = shared_page(PAGE);
	pid_t pid = fork_on(-1);

	if (pid == 0) {
		*result = gone(hot, size, by_window, in_use);
		_exit(0);
	}
	return child_status(pid) ? -1 : *result;
}

/* A region is on no list of mms that are walked: that must not be to its cost. */
TEST_F_TIMEOUT(aging, what_is_in_use_stays, 600)
{
	long mapping = gone_of_child(self->hot, self->size, false, true);
	long window = gone_of_child(self->hot, self->size, true, true);

	TH_LOG("%ld of 1000 pages were gone by a mapping, %ld by a window",
	       mapping, window);
	ASSERT_LE(0, mapping);
	ASSERT_LE(0, window);
	EXPECT_GE(mapping + 100, window);
}

/* What nobody touches goes: else the figures above say nothing. */
TEST_F_TIMEOUT(aging, control, 600)
{
	EXPECT_LT(500, gone_of_child(self->hot, self->size, false, false));
	EXPECT_LT(500, gone_of_child(self->hot, self->size, true, false));
}

TEST_HARNESS_MAIN
