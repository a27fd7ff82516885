// SPDX-License-Identifier: PostgreSQL
/*
 * Each process repairs its own fault. Closing cannot be put off: everyone is
 * asked, as in arm mprotect. Reopening is a word in memory; who then stores
 * faults and calls mprotect() for itself. A reopening has ended when every
 * sharer has stored once.
 */
#include <sys/mman.h>

#include "flip.h"

static struct {
	_Atomic int prot;
	_Atomic uint64_t repairs;
} *state;

static bool setup(struct range *r)
{
	if (!state)
		state = shared_memory(sizeof(*state));
	return coordinated_setup(r);
}

static bool protect(const struct range *r, int prot)
{
	state->prot = prot;
	return prot & PROT_WRITE ? sharers_store_everywhere() :
				   coordinated_protect(r, prot);
}

static bool repair(void)
{
	if (!(state->prot & PROT_WRITE) || mapping_protect(state->prot, NULL) != 0)
		return false;
	state->repairs++;
	return true;
}

static uint64_t entries_written(const struct range *r)
{
	return mapping_entries(r, coordinated_rounds()) +
	       state->repairs * (r->bytes / PAGE);
}

const struct arm arm_repair = {
	.name = "repair",
	.max_bytes = 1 * GiB,
	.setup = setup,
	.attach = mapping_attach_listening,
	.protect = protect,
	.repair = repair,
	.entries_written = entries_written,
};
