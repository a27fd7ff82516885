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
 *	settings.c				and the GUCs
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"

#include "pg_mshare.h"

PG_MODULE_MAGIC;

/* How soon workers come back after an error */
#define FREEZE_WORKER_RESTART_S	1
#define RESIZE_WORKER_RESTART_S	5

static shmem_request_hook_type prev_shmem_request_hook = NULL;
static shmem_startup_hook_type prev_shmem_startup_hook = NULL;

void		_PG_init(void);

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
				 mshare_provider == WANT_AUTO,
				 mshare_populate ? resize_populated_bytes() : 0);
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

	settings_define();

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
