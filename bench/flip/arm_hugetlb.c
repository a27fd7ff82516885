// SPDX-License-Identifier: PostgreSQL
/*
 * Coordinated mprotect of 2 MiB pages of hugetlb: 512 times fewer entries. The
 * mappings are placed so that Linux shares their PMD tables, one for each GiB;
 * an mprotect() takes the shared table from its process, which then faults the
 * GiB in again, and may share again.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/memfd.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "flip.h"

static uint64_t reserved_before;

static void teardown(struct range *r)
{
	close(r->object);
	number_to(NR_HUGE_PAGES, reserved_before);
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

static bool setup(struct range *r)
{
	uint64_t wanted = r->piece / HUGE_PAGE;

	if (r->piece % HUGE_PAGE)
		return lack("a range of less than a huge page");
	reserved_before = number_in(NR_HUGE_PAGES, "");
	number_to(NR_HUGE_PAGES, reserved_before + wanted);
	if (number_in(NR_HUGE_PAGES, "") < reserved_before + wanted) {
		number_to(NR_HUGE_PAGES, reserved_before);
		return lack("no %llu huge pages to be had", (unsigned long long)wanted);
	}
	r->object = memfd_create("flip", MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_2MB);
	if (r->object < 0 || ftruncate(r->object, r->piece) != 0 || !allocate(r)) {
		fail("hugetlb: %s", strerror(errno));
		teardown(r);
		return false;
	}
	return coordinated_setup(r);
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
