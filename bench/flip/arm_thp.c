// SPDX-License-Identifier: PostgreSQL
/*
 * Coordinated mprotect of a memfd in transparent huge pages, which the kernel
 * gives to who asks by madvise() once its policy lets them.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "flip.h"

#define POLICY	"/sys/kernel/mm/transparent_hugepage/shmem_enabled"

static char policy_before[32];

/* "always within_size advise [never] deny force": what stands in brackets. */
void thp_policy_keep(void)
{
	char line[128], *start;
	FILE *f = fopen(POLICY, "r");

	if (!f)
		return;
	if (fgets(line, sizeof(line), f) && (start = strchr(line, '[')))
		sscanf(start, "[%31[^]]", policy_before);
	fclose(f);
}

static bool policy(const char *word)
{
	FILE *f = fopen(POLICY, "w");

	if (!f)
		return false;
	fputs(word, f);
	return fclose(f) == 0;
}

void thp_policy_restore(void)
{
	if (*policy_before)
		policy(policy_before);
}

static uint64_t huge_bytes(void)
{
	return number_in("/proc/meminfo", "ShmemHugePages:") * KiB;
}

static void teardown(struct range *r)
{
	close(r->object);
	thp_policy_restore();
}

static char *attach(const struct range *r)
{
	char *base = mapping_attach(r);

	if (base && madvise(base, r->bytes, MADV_HUGEPAGE) != 0)
		return NULL;
	coordinated_listen(mapping_protect);
	return base;
}

/* All of the object, as huge pages. */
static bool allocate(const struct range *r)
{
	uint64_t before = huge_bytes();
	char *base = mapping_attach_aligned(r, HUGE_PAGE);

	if (!base || madvise(base, r->bytes, MADV_HUGEPAGE) != 0)
		return fail("madvise: %s", strerror(errno));
	for (uint64_t at = 0; at < r->piece; at += HUGE_PAGE)
		base[at] = 1;
	munmap(base, r->bytes);
	if (huge_bytes() - before < r->piece)
		return lack("of %llu MiB the kernel gave %llu in huge pages", (unsigned long long)(r->piece / MiB),
			    (unsigned long long)((huge_bytes() - before) / MiB));
	return true;
}

static bool setup(struct range *r)
{
	if (r->piece % HUGE_PAGE)
		return lack("a range of less than a huge page");
	if (!policy("advise"))
		return lack("cannot write " POLICY);
	r->object = memfd_create("flip", MFD_CLOEXEC);
	if (r->object < 0 || ftruncate(r->object, r->piece) != 0) {
		fail("memfd: %s", strerror(errno));
	} else if (allocate(r)) {
		return coordinated_setup(r);
	}
	teardown(r);
	return false;
}

const struct arm arm_thp = {
	.name = "thp",
	.max_bytes = 1 * GiB,
	.setup = setup,
	.teardown = teardown,
	.attach = attach,
	.protect = coordinated_protect,
	.own = mapping_own,
};
