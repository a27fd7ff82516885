// SPDX-License-Identifier: PostgreSQL
/*
 * mshare: the range is a region whose page tables all sharers use; one ioctl
 * changes its protection for them.
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

static int region = -1;
static uint64_t size;

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
	uint64_t unit = granule();

	return (r->bytes + unit - 1) / unit * unit;
}

static char *attach(const struct range *r)
{
	void *p = mmap(NULL, window_bytes(r), PROT_READ | PROT_WRITE, MAP_SHARED, region, 0);

	return p == MAP_FAILED ? NULL : p;
}

static void teardown(void)
{
	close(region);
	region = -1;
}

static struct mshare_stat region_stat(void)
{
	struct mshare_stat stat = { .size = sizeof(stat) };

	if (ioctl(region, MSHAREFS_STAT, &stat) != 0) {
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
	const uint64_t strips = 8, table_bytes = r->bytes / PAGE * 8;
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
			touch(base, r, i * strip, (i + 1) * strip);
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

static bool setup(struct range *r)
{
	if (granule() == 0)
		return fail("no msharefs at " MSHAREFS " (mount -t msharefs msharefs " MSHAREFS ")");
	region = open(MSHAREFS, O_TMPFILE | O_RDWR, 0600);
	if (region < 0)
		return fail("open of an unnamed region in " MSHAREFS ": %s", strerror(errno));
	size = r->bytes;
	if (ftruncate(region, window_bytes(r)) != 0) {
		fail("ftruncate of the region: %s", strerror(errno));
		goto err_region;
	}
	for (uint64_t at = 0; at < r->bytes; at += r->piece) {
		struct mshare_create create = {
			.region_offset = at,
			.size = r->piece,
			.prot = PROT_READ | PROT_WRITE,
			.flags = MAP_SHARED | MAP_NORESERVE,
			.fd = r->object,
		};

		if (ioctl(region, MSHAREFS_CREATE_MAPPING, &create) != 0) {
			fail("MSHAREFS_CREATE_MAPPING at %llu: %s",
			     (unsigned long long)at, strerror(errno));
			goto err_region;
		}
	}
	if (!populate(r))
		goto err_region;
	if (region_stat().resident_bytes != range_pages_present(r) * PAGE) {
		fail("%llu bytes are present in the region's page tables, not %llu",
		     (unsigned long long)region_stat().resident_bytes,
		     (unsigned long long)range_pages_present(r) * PAGE);
		goto err_region;
	}
	return true;

err_region:
	teardown();
	return false;
}

static bool protect(int prot)
{
	struct mshare_protect request = { .size = size, .prot = prot };

	if (ioctl(region, MSHAREFS_PROTECT, &request) != 0)
		return fail("MSHAREFS_PROTECT: %s", strerror(errno));
	return true;
}

static uint64_t entries_written(void)
{
	return region_stat().flip_entries;
}

static bool shootdowns(uint64_t *count)
{
	*count = region_stat().shootdowns;
	return true;
}

const struct arm arm_mshare = {
	.name = "mshare",
	.max_bytes = UINT64_MAX,
	.setup = setup,
	.teardown = teardown,
	.attach = attach,
	.protect = protect,
	.entries_written = entries_written,
	.shootdowns = shootdowns,
};
