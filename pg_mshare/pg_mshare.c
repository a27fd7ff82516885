/*-------------------------------------------------------------------------
 *
 * pg_mshare.c
 *	  Shared buffers in memory whose protection flips for all processes at once.
 *
 * Where the blocks of shared buffers are whole pages of the server's own shared memory,
 * they stay there (pool.c).  Elsewhere the pool is moved at the start of the server: the
 * extension maps memory of its own, points BufferBlocks at it, and every process forked
 * later inherits both.  Buffer descriptors, locks and WAL buffers stay where they are.
 *
 *	pool.c					the mapping, and the plan of its protection
 *	memory.c				what memory may be had, and why not more
 *	processes.c				every process that maps it, and how to reach it
 *	provider_mshare.c		flips by one ioctl() on an msharefs region
 *	provider_mprotect.c		flips by a signal to each process
 *	faults.c				what a write into closed buffers does
 *	fault_mode.c			and where the kernel makes it wait instead
 *	denials.c				who waits there, as the kernel tells
 *	fault_log.c				the last of them
 *	tell.c					what the log is told of them
 *	counters.c				what is counted for monitoring
 *	closing_state.c			what is closed, and until when
 *	closing.c				closings: how they begin, and how they end
 *	overdue.c				and if they do not end in time
 *	freeze_worker.c			the worker that ends them
 *	control.c				the way in without SQL, for pg_mshare_ctl
 *	wait_events.c			what pg_stat_activity calls our waits
 *	watch.c					who writes what, seen by closing the pool
 *	resize.c				how much of the pool is in use
 *	functions.c				the SQL interface
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "fmgr.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "utils/guc.h"

#include "pg_mshare.h"

PG_MODULE_MAGIC;

/* How soon workers come back after an error */
#define FREEZE_WORKER_RESTART_S	1
#define RESIZE_WORKER_RESTART_S	5

typedef enum WantedProvider
{
	WANT_AUTO,
	WANT_MSHARE,
	WANT_MPROTECT,
	WANT_OFF
} WantedProvider;

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

/* GUCs */
static int	mshare_provider = WANT_AUTO;
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

const Provider *provider = NULL;

static bool preloaded = false;
static shmem_request_hook_type prev_shmem_request_hook = NULL;
static shmem_startup_hook_type prev_shmem_startup_hook = NULL;

void		_PG_init(void);

static void
define_settings(void)
{
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
							 "The server's own huge_pages backs an area that stays unused.",
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
mshare_set_kernel_waits(KernelWaits waits)
{
	SetConfigOption("pg_mshare.kernel_waits", kernel_waits_options[waits].name,
					PGC_INTERNAL, PGC_S_OVERRIDE);
}

static void
mshare_shmem_request(void)
{
	if (prev_shmem_request_hook)
		prev_shmem_request_hook();

	closing_request();
}

static void
mshare_shmem_startup(void)
{
	bool		first = pool_base == NULL;

	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	closing_startup();
	LWLockRelease(AddinShmemInitLock);

	pool_startup(mshare_provider == WANT_MPROTECT ?
				 &provider_mprotect : &provider_mshare,
				 mshare_provider == WANT_AUTO);
	if (first)
	{
		processes_startup();
		faults_startup();
		overdue_guard_startup(provider->catch_up || flip_signal_install());
	}
	fault_log_startup();
	counters_startup();
	wait_events_startup();
	fault_mode_startup();
	resize_startup();
}

void
mshare_require_preload(void)
{
	if (!preloaded)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("pg_mshare must be loaded via shared_preload_libraries"),
				 errhint("Add pg_mshare to shared_preload_libraries and restart the server.")));
}

/* For functions that have nothing to work on without the pool */
void
mshare_require(void)
{
	mshare_require_preload();
	if (provider == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("pg_mshare is off"),
				 IsPostmasterEnvironment ?
				 errhint("Set pg_mshare.provider to auto and restart the server.") :
				 errhint("A single-user server has no process that could end a closing. Start the server with a postmaster.")));
}

/* A background worker without a database connection, and of a type of its own */
static void
register_worker(const char *name, const char *function,
				BgWorkerStartTime start, int restart_s)
{
	BackgroundWorker worker = {
		.bgw_flags = BGWORKER_SHMEM_ACCESS,
		.bgw_start_time = start,
		.bgw_restart_time = restart_s,
	};

	strlcpy(worker.bgw_name, name, BGW_MAXLEN);
	strlcpy(worker.bgw_type, name, BGW_MAXLEN);
	strlcpy(worker.bgw_library_name, "pg_mshare", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, function, BGW_MAXLEN);
	RegisterBackgroundWorker(&worker);
}

void
_PG_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		return;

	preloaded = true;
	define_settings();

	if (mshare_provider == WANT_OFF)
	{
		ereport(LOG,
				(errmsg("pg_mshare: off, shared buffers stay where they are")));
		return;
	}

	/* A single-user server has no worker that could end a closing. */
	if (!IsPostmasterEnvironment)
		return;

	register_worker("pg_mshare freeze worker", "pg_mshare_freeze_worker_main",
					BgWorkerStart_PostmasterStart, FREEZE_WORKER_RESTART_S);
	register_worker("pg_mshare resize worker", "pg_mshare_resize_worker_main",
					BgWorkerStart_ConsistentState, RESIZE_WORKER_RESTART_S);
	prev_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = mshare_shmem_request;
	prev_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = mshare_shmem_startup;
}
