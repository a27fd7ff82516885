// SPDX-License-Identifier: PostgreSQL
/* A range that each sharer maps for itself, with page tables of its own. */
#define _GNU_SOURCE
#include <sys/mman.h>

#include "flip.h"

/* In a sharer. */
static char *mapping;
static uint64_t mapping_bytes;

/* At a multiple of `alignment`, which is a power of two. */
char *mapping_attach_aligned(const struct range *r, uint64_t alignment)
{
	char *room = mmap(NULL, r->bytes + alignment, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	char *start;

	if (room == MAP_FAILED)
		return NULL;
	start = (char *)(((uintptr_t)room + alignment - 1) & ~(alignment - 1));
	mapping_bytes = r->bytes;
	mapping = mmap(start, r->bytes, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_NORESERVE | MAP_FIXED, r->object, 0);
	return mapping == MAP_FAILED ? NULL : mapping;
}

char *mapping_attach(const struct range *r)
{
	return mapping_attach_aligned(r, HUGE_PAGE);
}

/* The sharer will mprotect() it when it is asked. */
char *mapping_attach_listening(const struct range *r)
{
	coordinated_listen(mapping_protect);
	return mapping_attach(r);
}

int mapping_protect(int prot, void *context)
{
	(void)context;
	return mprotect(mapping, mapping_bytes, prot);
}

bool mapping_own(const struct range *r, int prot)
{
	(void)r;
	return mapping_protect(prot, NULL) == 0;
}

/* Entries that so many rounds have written: each present one of each sharer. */
uint64_t mapping_entries(const struct range *r, uint64_t rounds)
{
	uint64_t pages = sharers_count() * (r->bytes / PAGE);
	uint64_t mapped = sharers_pages_mapped();

	/* The kernel's count is off by a few per process and CPU. */
	return rounds * (mapped < pages - pages / 100 ? mapped : pages);
}
