/*-------------------------------------------------------------------------
 *
 * settings.c
 *	  The GUCs.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "utils/guc.h"

#include "pg_mshare.h"

static const struct config_enum_entry provider_options[] = {
	{"auto", WANT_AUTO, false},
	{"mshare", WANT_MSHARE, false},
	{"mprotect", WANT_MPROTECT, false},
	{"off", WANT_OFF, false},
	{NULL, 0, false}
};

static const struct config_enum_entry huge_pages_options[] = {
	{"off", POOL_HUGE_OFF, false},
	{"try", POOL_HUGE_TRY, false},
	{"on", POOL_HUGE_ON, false},
	{NULL, 0, false}
};

static const struct config_enum_entry on_fault_options[] = {
	{"wait", ON_FAULT_WAIT, false},
	{"crash", ON_FAULT_CRASH, false},
	{NULL, 0, false}
};

static const struct config_enum_entry log_level_options[] = {
	{"debug5", DEBUG5, false},
	{"debug4", DEBUG4, false},
	{"debug3", DEBUG3, false},
	{"debug2", DEBUG2, false},
	{"debug1", DEBUG1, false},
	{"debug", DEBUG2, true},
	{"log", LOG, false},
	{NULL, 0, false}
};

static const struct config_enum_entry kernel_waits_options[] = {
	{"off", KERNEL_WAITS_OFF, false},
	{"writes", KERNEL_WAITS_WRITES, false},
	{"all", KERNEL_WAITS_ALL, false},
	{NULL, 0, false}
};

bool		mshare_preloaded = false;

/* GUCs */
int			mshare_provider = WANT_AUTO;
char	   *mshare_path = NULL;
bool		mshare_populate = false;
int			mshare_huge_pages = POOL_HUGE_OFF;
int			mshare_on_fault = ON_FAULT_WAIT;
int			mshare_freeze_timeout = 10000;
bool		mshare_dump_pool = false;
int			mshare_log_level = LOG;
int			mshare_close_timeout = 250;
int			mshare_target_size = 0;
int			mshare_kernel_waits = KERNEL_WAITS_OFF;
int			mshare_debug_kernel_waits = KERNEL_WAITS_ALL;
bool		mshare_debug_move_pool = false;
bool		mshare_debug_torn_reads = false;
bool		mshare_debug_ignore_header_lock = false;
int			mshare_debug_max_reclosings = MAX_RECLOSINGS;
int			mshare_debug_max_ranges = POOL_MAX_RANGES;

/* When the library is preloaded */
void
settings_define(void)
{
	mshare_preloaded = true;

	DefineCustomEnumVariable("pg_mshare.provider",
							 "Selects how the protection of shared buffers is changed.",
							 "auto uses msharefs where the kernel has it, and mprotect() in every process elsewhere.",
							 &mshare_provider,
							 WANT_AUTO, provider_options,
							 PGC_POSTMASTER, 0, NULL, NULL, NULL);

	DefineCustomStringVariable("pg_mshare.path",
							   "Sets the directory where msharefs is mounted.",
							   NULL,
							   &mshare_path,
							   "/sys/fs/mshare",
							   PGC_POSTMASTER, 0, NULL, NULL, NULL);

	DefineCustomBoolVariable("pg_mshare.populate",
							 "Allocates shared buffers and fills their page tables at server start.",
							 NULL,
							 &mshare_populate,
							 false,
							 PGC_POSTMASTER, 0, NULL, NULL, NULL);

	DefineCustomEnumVariable("pg_mshare.huge_pages",
							 "Backs shared buffers with huge pages of 2 MB.",
							 "Where shared buffers are moved, the server's own huge_pages backs an area that stays unused.",
							 &mshare_huge_pages,
							 POOL_HUGE_OFF, huge_pages_options,
							 PGC_POSTMASTER, 0, NULL, NULL, NULL);

	DefineCustomEnumVariable("pg_mshare.on_fault",
							 "Selects what a write into closed buffers does to its process.",
							 NULL,
							 &mshare_on_fault,
							 ON_FAULT_WAIT, on_fault_options,
							 PGC_POSTMASTER, 0, NULL, NULL, NULL);

	DefineCustomIntVariable("pg_mshare.freeze_timeout",
							"Sets the longest time that buffers stay closed.",
							NULL,
							&mshare_freeze_timeout,
							10000, 100, MAX_FREEZE_TIMEOUT_MS,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);

	DefineCustomBoolVariable("pg_mshare.dump_pool",
							 "Has core dumps hold shared buffers.",
							 "Each core is then larger by shared_buffers.",
							 &mshare_dump_pool,
							 false,
							 PGC_POSTMASTER, 0, NULL, NULL, NULL);

	DefineCustomEnumVariable("pg_mshare.log_level",
							 "Sets the log level of closings that end as they should.",
							 "Those that the freeze worker ends, and what goes wrong, are always logged.",
							 &mshare_log_level,
							 LOG, log_level_options,
							 PGC_SUSET, 0, NULL, NULL, NULL);

	DefineCustomIntVariable("pg_mshare.close_timeout",
							"Sets how long a closing waits for processes that do not answer.",
							"It is then undone, and they are named. Concerns provider mprotect.",
							&mshare_close_timeout,
							250, 10, MAX_FREEZE_TIMEOUT_MS,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);

	DefineCustomIntVariable("pg_mshare.target_size",
							"Sets how much of shared buffers is in use.",
							"The memory of the rest is left to the system. 0 is all; shared_buffers is the most there can be.",
							&mshare_target_size,
							0, 0, INT_MAX / 2,
							PGC_SIGHUP, GUC_UNIT_BLOCKS, NULL, NULL, NULL);

	DefineCustomEnumVariable("pg_mshare.kernel_waits",
							 "Shows which accesses to closed buffers wait in the kernel.",
							 "Reads from disk into closed buffers wait with all, and fail without.",
							 &mshare_kernel_waits,
							 KERNEL_WAITS_OFF, kernel_waits_options,
							 PGC_INTERNAL, GUC_NOT_IN_SAMPLE | GUC_DISALLOW_IN_FILE,
							 NULL, NULL, NULL);

	DefineCustomEnumVariable("pg_mshare.debug_kernel_waits",
							 "Limits which accesses to closed buffers wait in the kernel.",
							 "For tests only.",
							 &mshare_debug_kernel_waits,
							 KERNEL_WAITS_ALL, kernel_waits_options,
							 PGC_POSTMASTER, GUC_NOT_IN_SAMPLE | GUC_NO_SHOW_ALL,
							 NULL, NULL, NULL);

	DefineCustomBoolVariable("pg_mshare.debug_move_pool",
							 "Moves shared buffers though they could stay where they are.",
							 "For tests only.",
							 &mshare_debug_move_pool,
							 false,
							 PGC_POSTMASTER, GUC_NOT_IN_SAMPLE | GUC_NO_SHOW_ALL,
							 NULL, NULL, NULL);

	DefineCustomBoolVariable("pg_mshare.debug_torn_reads",
							 "Closes buffers though reads from disk do not wait.",
							 "For tests only: reads end in the middle of a block.",
							 &mshare_debug_torn_reads,
							 false,
							 PGC_POSTMASTER, GUC_NOT_IN_SAMPLE | GUC_NO_SHOW_ALL,
							 NULL, NULL, NULL);

	DefineCustomBoolVariable("pg_mshare.debug_ignore_header_lock",
							 "Lets writers sleep while they hold a buffer header's spinlock.",
							 "For tests only: the server will PANIC.",
							 &mshare_debug_ignore_header_lock,
							 false,
							 PGC_POSTMASTER, GUC_NOT_IN_SAMPLE | GUC_NO_SHOW_ALL,
							 NULL, NULL, NULL);

	DefineCustomIntVariable("pg_mshare.debug_max_reclosings",
							"Limits how often a closing is reopened for the sake of a header lock.",
							"For tests only.",
							&mshare_debug_max_reclosings,
							MAX_RECLOSINGS, 0, MAX_RECLOSINGS,
							PGC_POSTMASTER, GUC_NOT_IN_SAMPLE | GUC_NO_SHOW_ALL,
							NULL, NULL, NULL);

	DefineCustomIntVariable("pg_mshare.debug_max_ranges",
							"Limits the ranges of different protection.",
							"For tests only.",
							&mshare_debug_max_ranges,
							POOL_MAX_RANGES, 8, POOL_MAX_RANGES,
							PGC_POSTMASTER, GUC_NOT_IN_SAMPLE | GUC_NO_SHOW_ALL,
							NULL, NULL, NULL);

	MarkGUCPrefixReserved("pg_mshare");
}

/* In the postmaster, at each (re)start */
void
settings_set_kernel_waits(KernelWaits waits)
{
	SetConfigOption("pg_mshare.kernel_waits", kernel_waits_options[waits].name,
					PGC_INTERNAL, PGC_S_OVERRIDE);
}
