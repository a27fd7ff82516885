// SPDX-License-Identifier: PostgreSQL
/* Coordinated mprotect: every process changes its own mapping and answers. */
#include "flip.h"

static uint64_t entries_written(const struct range *r)
{
	return mapping_entries(r, coordinated_rounds());
}

const struct arm arm_mprotect = {
	.name = "mprotect",
	.max_bytes = 1 * GiB,
	.setup = coordinated_setup,
	.attach = mapping_attach_listening,
	.protect = coordinated_protect,
	.own = mapping_own,
	.entries_written = entries_written,
};
