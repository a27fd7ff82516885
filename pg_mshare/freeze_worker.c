/*-------------------------------------------------------------------------
 *
 * freeze_worker.c
 *	  The background worker that ends closings.
 *
 * It has no database connection and touches no page.  It reopens the pool at a closing's
 * deadline, before it exits for whatever reason, and when the postmaster dies; relieves
 * who is parked under a buffer header's lock; reads what the kernel tells of denials; and
 * does what pg_mshare_ctl asks for.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "storage/bufmgr.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "closing.h"
#include "pg_mshare.h"

/* How long a relieved process gets to pass, and how often that is looked at */
#define RELIEF_TIMEOUT_US	100000
#define RELIEF_POLL_US		200

/* As pg_mshare_ctl prints them */
static const char *const closing_names[] = {
	[CLOSING_NONE] = "nothing",
	[CLOSING_FLIP] = "by pg_mshare_flip",
	[CLOSING_PROTECT] = "by pg_mshare_protect",
	[CLOSING_FREEZE] = "frozen",
	[CLOSING_WATCH] = "by pg_mshare_watch",
};

PGDLLEXPORT void pg_mshare_freeze_worker_main(Datum arg);

/* What the kernel has to tell; is the pool to be reopened for a header lock? */
static bool
worker_read_denials(void)
{
	return denials_read(closing_read().kind == CLOSING_NONE && pool_is_open());
}

/*
 * Somebody waits under a header lock, or might: open the pool, let it pass, and
 * restore what was closed.
 */
static void
worker_relieve(void)
{
	static PoolRange closed[POOL_MAX_RANGES];
	const PoolPlan *plan;
	PoolRange	whole = {0, NBuffers, POOL_READWRITE};
	int			nclosed = 0;
	Closing		now;
	FlipResult	result;
	int			reclosing;
	bool		locked;

	if (!closing_lock_within(LOCK_TIMEOUT_US))
		return;					/* "urgent" stays, and we come again */
	pg_atomic_exchange_u32(&closing_shared->urgent, 0);

	/* That may have been another closing's. */
	worker_read_denials();
	now = closing_read();
	locked = processes_parked(PARKED_UNDER_HEADER_LOCK) > 0;
	if (now.kind == CLOSING_NONE || (!locked && !denials_lost()))
	{
		closing_unlock();
		return;
	}

	SpinLockAcquire(&closing_shared->mutex);
	reclosing = ++closing_shared->closing.reclosings;
	SpinLockRelease(&closing_shared->mutex);
	if (reclosing > mshare_debug_max_reclosings)
	{
		ereport(WARNING,
				(errmsg("the closing of the buffer pool is given up"),
				 errdetail("%d times a process had to write while it held a buffer header's spinlock.",
						   reclosing),
				 errhint("Hint bits of many pages are being set; try again later.")));
		closing_end("header locks");
		pg_atomic_fetch_add_u64(&counters->given_up, 1);
		closing_unlock();
		return;
	}

	plan = pool_plan();
	for (int i = 0; i < plan->nranges; i++)
	{
		if (plan->ranges[i].protection != POOL_READWRITE)
			closed[nclosed++] = plan->ranges[i];
	}
	closing_reopen(&whole, 1, &result);
	for (int waited = 0; waited < RELIEF_TIMEOUT_US; waited += RELIEF_POLL_US)
	{
		denials_read(true);
		if (processes_parked(PARKED_UNDER_HEADER_LOCK) == 0)
			break;
		pg_usleep(RELIEF_POLL_US);
	}
	if (!pool_protect(closed, nclosed, closing_change_deadline(&now), &result))
		closing_end("closing failed");
	ereport(LOG,
			(errmsg("pg_mshare: buffer pool reopened for a moment, as %s (%d of %d)",
					locked ? "a process had to write while it held a buffer header's spinlock" :
					"the kernel dropped events, and a process may hold a buffer header's spinlock",
					reclosing, mshare_debug_max_reclosings)));
	closing_unlock();
}

/* What pg_mshare_ctl prints */
static void
worker_write_state(bool done, const char *answer)
{
	Closing		now = closing_read();
	PoolProtection protection;
	StringInfoData state;

	initStringInfo(&state);
	appendStringInfo(&state, "postmaster %d\nprovider %s\nprotection %s\nclosed %s\n",
					 PostmasterPid, provider->name,
					 pool_protection(&protection) ? protection_name(protection) : "mixed",
					 closing_names[now.kind]);
	if (now.kind != CLOSING_NONE)
	{
		appendStringInfo(&state, "by %d\n", now.pid);
		appendStringInfo(&state, "since %s\n", timestamptz_to_str(now.since));
		appendStringInfo(&state, "until %s\n", timestamptz_to_str(now.until));
	}
	appendStringInfo(&state, "waiters %d\n", processes_parked(PARKED));
	control_write_state(state.data, done, answer);
	pfree(state.data);
}

static const char *
worker_freeze(void)
{
	closing_check(POOL_READ);
	if (!closing_lock_within(LOCK_TIMEOUT_US))
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("another change of the buffer pool's protection does not end")));
	closing_refuse_other(CLOSING_NONE);
	closing_freeze_locked(mshare_freeze_timeout * INT64CONST(1000));
	return "the buffer pool is frozen";
}

static const char *
worker_thaw(void)
{
	Closing		now = closing_read();

	if (now.kind == CLOSING_NONE)
		return "nothing was closed";
	closing_end_anyhow(now.serial, "pg_mshare_ctl");
	return "the buffer pool is open";
}

/* Do what pg_mshare_ctl asks for, and tell it. */
static void
worker_obey(void)
{
	const char *volatile answer = "as follows";
	ErrorData  *volatile error = NULL;
	MemoryContext context = CurrentMemoryContext;
	ControlRequest request;

	if (!control_request(&request))
		return;
	PG_TRY();
	{
		switch (request)
		{
			case CONTROL_FREEZE:
				answer = worker_freeze();
				break;
			case CONTROL_THAW:
				answer = worker_thaw();
				break;
			case CONTROL_STATUS:
				break;
			case CONTROL_UNKNOWN:
				ereport(ERROR,
						(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						 errmsg("the request is not understood")));
		}
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		LWLockReleaseAll();
		error = CopyErrorData();
		FlushErrorState();
		answer = error->message;
	}
	PG_END_TRY();

	worker_write_state(error == NULL, answer);
	if (error != NULL)
		FreeErrorData(error);
}

/* Whatever ends the worker, nothing stays closed behind it. */
static void
worker_exit(int code, Datum arg)
{
	Closing		now;

	SpinLockAcquire(&closing_shared->mutex);
	closing_shared->worker = NULL;
	SpinLockRelease(&closing_shared->mutex);

	now = closing_read();
	if (now.kind != CLOSING_NONE)
		closing_end_anyhow(now.serial, "freeze worker exits");

	denials_finish();
	control_shutdown();

	/* Until here, parked processes could count on us. */
	closing_shared->worker_pid = 0;
}

static void
worker_start(void)
{
	Closing		now;

	before_shmem_exit(worker_exit, 0);
	SpinLockAcquire(&closing_shared->mutex);
	closing_shared->worker = MyProc;
	closing_shared->worker_pid = MyProcPid;
	closing_shared->worker_wakes_at = NEVER;
	SpinLockRelease(&closing_shared->mutex);

	now = closing_read();
	if (now.kind != CLOSING_NONE)
		closing_end_anyhow(now.serial, "freeze worker starts");
	worker_write_state(true, NULL);
}

/*
 * How long to sleep, in ms, -1 for ever.  Once it has been woken for a closing the
 * worker sleeps until its deadline even if it has ended meanwhile, so that frequent
 * flips do not wake it each time.
 */
static long
worker_nap(void)
{
	int64		now = monotonic_us();
	int64		wakes_at;

	SpinLockAcquire(&closing_shared->mutex);
	if (closing_shared->closing.kind != CLOSING_NONE)
		closing_shared->worker_wakes_at = closing_shared->closing.deadline;
	else if (closing_shared->worker_wakes_at <= now)
		closing_shared->worker_wakes_at = NEVER;
	wakes_at = closing_shared->worker_wakes_at;
	SpinLockRelease(&closing_shared->mutex);

	if (denials_waiting())
		wakes_at = Min(wakes_at, now + WAIT_CHECK_US);
	if (wakes_at == NEVER)
		return -1;
	return Max((wakes_at - now + 999) / 1000, 0);
}

/*
 * An immediate stop, or a crash restart.  Who waits in a system call would not hear
 * of it before the postmaster sends SIGKILL.
 */
static void
worker_quit(SIGNAL_ARGS)
{
	fault_mode_stop();
	SignalHandlerForCrashExit(SIGNAL_PASSED);
}

void
pg_mshare_freeze_worker_main(Datum arg)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	pqsignal(SIGQUIT, worker_quit);
	control_startup();
	BackgroundWorkerUnblockSignals();
	worker_start();

	for (;;)
	{
		Closing		now;
		long		nap;
		int			events;

		ResetLatch(MyLatch);

		/* Not 0, or the postmaster would not start us again. */
		if (ShutdownRequestPending)
			proc_exit(1);
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}

		if (worker_read_denials())
			pg_atomic_exchange_u32(&closing_shared->urgent, 1);
		if (pg_atomic_read_u32(&closing_shared->urgent))
			worker_relieve();
		if (control_pending())
			worker_obey();
		fault_log_tell(false);

		now = closing_read();
		if (now.kind != CLOSING_NONE && monotonic_us() >= now.deadline)
			closing_end_anyhow(now.serial, "timeout");

		nap = pg_atomic_read_u32(&closing_shared->urgent) ? 0 : worker_nap();
		events = WaitLatchOrSocket(MyLatch,
								   WL_LATCH_SET | WL_POSTMASTER_DEATH |
								   (nap >= 0 ? WL_TIMEOUT : 0) |
								   (denials_fd() >= 0 ? WL_SOCKET_READABLE : 0),
								   denials_fd(), nap, wait_event(WAIT_OF_FREEZE_WORKER));
		if (events & WL_POSTMASTER_DEATH)
			proc_exit(1);
	}
}
