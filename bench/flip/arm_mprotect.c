// SPDX-License-Identifier: PostgreSQL
/* Coordinated mprotect: every process changes its own mapping and answers. */
#include "flip.h"

static bool setup(struct range *r)
{
	(void)r;
	coordinated_start();
	return true;
}

static char *attach(const struct range *r)
{
	coordinated_listen(mapping_protect);
	return mapping_attach(r);
}

static bool protect(const struct range *r, int prot)
{
	(void)r;
	return coordinated_protect(prot);
}

static uint64_t entries_written(const struct range *r)
{
	return mapping_entries(r, coordinated_rounds());
}

const struct arm arm_mprotect = {
	.name = "mprotect",
	.max_bytes = 1 * GiB,
	.setup = setup,
	.attach = attach,
	.protect = protect,
	.entries_written = entries_written,
};
