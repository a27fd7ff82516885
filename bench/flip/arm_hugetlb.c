// SPDX-License-Identifier: PostgreSQL
/*
 * Coordinated mprotect of hugetlb.
 *
 * hugetlb: 2 MiB pages, 512 times fewer entries. The mappings are placed so that
 * Linux shares their PMD tables, one for each GiB; an mprotect() takes the shared
 * table from its process, which then faults the GiB in again, and may share
 * again.
 *
 * hugetlb-1g: 1 GiB pages. One entry for each GiB and process.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/memfd.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "flip.h"

#ifndef MFD_HUGE_1GB
#define MFD_HUGE_1GB	(30U << 26)
#endif

/* A size of pages. */
struct pool {
	uint64_t page;
	unsigned int flag;
	const char *reserved;		/* file: how many there are */
	uint64_t reserved_before;
};

static struct pool pool_2m = { HUGE_PAGE, MFD_HUGE_2MB, NR_HUGE_PAGES, 0 };
static struct pool pool_1g = { GiB, MFD_HUGE_1GB, NR_GIGANTIC_PAGES, 0 };

static void give_back(const struct pool *pool, struct range *r)
{
	close(r->object);
	number_to(pool->reserved, pool->reserved_before);
}

static void teardown(struct range *r)
{
	give_back(&pool_2m, r);
}

static void teardown_1g(struct range *r)
{
	give_back(&pool_1g, r);
}

/* All pages of the object; the mapping that allocated them goes away. */
static bool allocate(const struct range *r)
{
	char *p = mmap(NULL, r->piece, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_POPULATE, r->object, 0);

	if (p == MAP_FAILED)
		return false;
	munmap(p, r->piece);
	return true;
}

static bool reserve(struct pool *pool, struct range *r)
{
	uint64_t wanted = r->piece / pool->page;

	if (r->piece % pool->page)
		return lack("a range of less than a huge page");
	pool->reserved_before = number_in(pool->reserved, "");
	number_to(pool->reserved, pool->reserved_before + wanted);
	if (number_in(pool->reserved, "") < pool->reserved_before + wanted) {
		number_to(pool->reserved, pool->reserved_before);
		return lack("no %llu huge pages of %llu MiB to be had", (unsigned long long)wanted,
			    (unsigned long long)(pool->page / MiB));
	}
	r->object = memfd_create("flip", MFD_CLOEXEC | MFD_HUGETLB | pool->flag);
	if (r->object < 0 || ftruncate(r->object, r->piece) != 0 || !allocate(r)) {
		fail("hugetlb: %s", strerror(errno));
		give_back(pool, r);
		return false;
	}
	return coordinated_setup(r);
}

static bool setup(struct range *r)
{
	return reserve(&pool_2m, r);
}

static bool setup_1g(struct range *r)
{
	return reserve(&pool_1g, r);
}

static char *attach(const struct range *r)
{
	coordinated_listen(mapping_protect);
	return mapping_attach_aligned(r, GiB);
}

const struct arm arm_hugetlb = {
	.name = "hugetlb",
	.max_bytes = 1 * GiB,
	.setup = setup,
	.teardown = teardown,
	.attach = attach,
	.protect = coordinated_protect,
	.own = mapping_own,
};

const struct arm arm_hugetlb_1g = {
	.name = "hugetlb-1g",
	.max_bytes = 1 * GiB,
	.setup = setup_1g,
	.teardown = teardown_1g,
	.attach = attach,
	.protect = coordinated_protect,
	.own = mapping_own,
};
