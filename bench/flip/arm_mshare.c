// SPDX-License-Identifier: PostgreSQL
/*
 * mshare: the range is in a region whose page tables all sharers use; one ioctl
 * changes its protection for them.
 *
 * piece: a part of what is mapped. The range lies across the border of two
 * chunks of 1 GiB, each of which holds a page that is not in it: so neither is
 * flipped whole, and the kernel writes every entry, once for all sharers.
 *
 * leaf: as mshare, without what views bring: a debugging knob has the kernel
 * write every entry of whole chunks too.
 *
 * mshare-again: mshare under another name (A/A).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/msharefs.h>

#include "flip.h"

#define MSHAREFS	"/sys/fs/mshare"

/* What windows and region sizes are multiples of: mshare_info tells. */
static uint64_t granule(void)
{
	unsigned long long value = 0;
	FILE *f = fopen(MSHAREFS "/mshare_info", "r");

	if (f) {
		if (fscanf(f, "%llu", &value) != 1)
			value = 0;
		fclose(f);
	}
	return value;
}

static uint64_t window_bytes(const struct range *r)
{
	uint64_t unit = granule(), end = r->region_offset + r->bytes;

	return (end + unit - 1) / unit * unit;
}

static char *attach(const struct range *r)
{
	char *p = mmap(NULL, window_bytes(r), PROT_READ | PROT_WRITE, MAP_SHARED, r->region, 0);

	return p == MAP_FAILED ? NULL : p + r->region_offset;
}

static void teardown(struct range *r)
{
	close(r->region);
}

static struct mshare_stat region_stat(const struct range *r)
{
	struct mshare_stat stat = { .size = sizeof(stat) };

	if (ioctl(r->region, MSHAREFS_STAT, &stat) != 0) {
		perror("flip: MSHAREFS_STAT");
		exit(1);
	}
	return stat;
}

/*
 * Fill the page tables once, from a process that then goes away. As many pages
 * of each piece as memory for page tables and the time box allow, in equal
 * strips over all pieces.
 */
static bool populate(struct range *r)
{
	const uint64_t strips = r->piece < MiB ? 1 : 8, table_bytes = r->bytes / PAGE * 8;
	uint64_t *dense = shared_memory(sizeof(*dense));
	uint64_t allowed = strips, strip = r->piece / strips;
	uint64_t room = memory_available() / 2;
	int status;
	pid_t child;

	if (table_bytes > room)
		allowed = strips * room / table_bytes;
	if (allowed == 0)
		return fail("not enough memory for an eighth of %llu MiB of page tables",
			    (unsigned long long)(table_bytes / MiB));

	child = fork();
	if (child == 0) {
		const char *base = attach(r);
		double start = now();

		if (!base)
			_exit(1);
		for (uint64_t i = 0; i < allowed; i++) {
			/* The next strip takes as long as the last ones. */
			if (i && (now() - start) * (i + 1) / i > populate_seconds)
				break;
			touch(base, r, i * strip, (i + 1) * strip, touch_step);
			*dense = (i + 1) * strip;
		}
		_exit(0);
	}
	if (child < 0 || waitpid(child, &status, 0) < 0 || status != 0)
		return fail("cannot fill the region's page tables (wait status 0x%x)", status);
	r->dense = *dense;
	munmap(dense, sizeof(*dense));
	return true;
}

static bool map(const struct range *r, uint64_t offset, uint64_t size)
{
	struct mshare_create create = {
		.region_offset = offset,
		.size = size,
		.prot = PROT_READ | PROT_WRITE,
		.flags = MAP_SHARED | MAP_NORESERVE,
		.fd = r->object,
	};

	if (ioctl(r->region, MSHAREFS_CREATE_MAPPING, &create) != 0)
		return fail("MSHAREFS_CREATE_MAPPING at %llu: %s",
			    (unsigned long long)offset, strerror(errno));
	return true;
}

static bool open_region(struct range *r, uint64_t offset)
{
	r->region_offset = offset;
	if (granule() == 0)
		return lack("no msharefs at " MSHAREFS " (mount -t msharefs msharefs " MSHAREFS ")");
	r->region = open(MSHAREFS, O_TMPFILE | O_RDWR, 0600);
	if (r->region < 0)
		return fail("open of an unnamed region in " MSHAREFS ": %s", strerror(errno));
	if (ftruncate(r->region, window_bytes(r)) != 0) {
		fail("ftruncate of the region: %s", strerror(errno));
		teardown(r);
		return false;
	}
	return true;
}

static bool fill(struct range *r)
{
	uint64_t resident;

	for (uint64_t at = 0; at < r->bytes; at += r->piece)
		if (!map(r, r->region_offset + at, r->piece))
			return false;
	if (!populate(r))
		return false;
	resident = region_stat(r).resident_bytes;
	if (resident != range_pages_present(r) * PAGE)
		return fail("%llu bytes are present in the region's page tables, not %llu",
			    (unsigned long long)resident,
			    (unsigned long long)range_pages_present(r) * PAGE);
	return true;
}

static bool setup(struct range *r)
{
	if (!open_region(r, 0))
		return false;
	if (fill(r))
		return true;
	teardown(r);
	return false;
}

static bool setup_piece(struct range *r)
{
	if (!open_region(r, GiB - r->bytes / 2 / PAGE * PAGE))
		return false;
	if (fill(r) && map(r, 0, PAGE) && map(r, 2 * GiB - PAGE, PAGE))
		return true;
	teardown(r);
	return false;
}

static bool setup_leaf(struct range *r)
{
	if (!number_to(SKIP_VIEWS, 0))
		return lack("no " SKIP_VIEWS " (CONFIG_MSHARE_DEBUG, root)");
	return setup(r);
}

static bool protect(const struct range *r, int prot)
{
	struct mshare_protect request = {
		.region_offset = r->region_offset,
		.size = r->bytes,
		.prot = prot,
	};

	if (ioctl(r->region, MSHAREFS_PROTECT, &request) != 0)
		return fail("MSHAREFS_PROTECT: %s", strerror(errno));
	return true;
}

/* The first flip after each turn of the knob does both kinds of work. */
static bool views_off(const struct range *r)
{
	if (!number_to(SKIP_VIEWS, 1))
		return fail("cannot set " SKIP_VIEWS);
	return protect(r, PROT_READ) && protect(r, PROT_READ | PROT_WRITE);
}

static void views_on(void)
{
	number_to(SKIP_VIEWS, 0);
}

static uint64_t entries_written(const struct range *r)
{
	return region_stat(r).flip_entries;
}

static uint64_t shootdowns(const struct range *r)
{
	return region_stat(r).shootdowns;
}

#define WHOLE_CHUNKS(arm_name) {		\
	.name = arm_name,			\
	.max_bytes = UINT64_MAX,		\
	.setup = setup,				\
	.teardown = teardown,			\
	.attach = attach,			\
	.protect = protect,			\
	.own = protect,				\
	.entries_written = entries_written,	\
	.shootdowns = shootdowns,		\
}

const struct arm arm_mshare = WHOLE_CHUNKS("mshare");
const struct arm arm_mshare_again = WHOLE_CHUNKS("mshare-again");

const struct arm arm_piece = {
	.name = "piece",
	.max_bytes = 1 * GiB,
	.setup = setup_piece,
	.teardown = teardown,
	.attach = attach,
	.protect = protect,
	.own = protect,
	.entries_written = entries_written,
	.shootdowns = shootdowns,
};

const struct arm arm_leaf = {
	.name = "leaf",
	.max_bytes = 1 * GiB,
	.setup = setup_leaf,
	.teardown = teardown,
	.attach = attach,
	.started = views_off,
	.ending = views_on,
	.protect = protect,
	.own = protect,
	.entries_written = entries_written,
	.shootdowns = shootdowns,
};
