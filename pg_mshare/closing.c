/*-------------------------------------------------------------------------
 *
 * closing.c
 *	  Closings: how they begin, and how they end.
 *
 * While buffers are closed, a statement that needs to write waits, and one that
 * has to read from disk fails.  SQL is no dependable way out of that: the session
 * that closed may itself need a page that waits.  So every closing is a lease that
 * ends after pg_mshare.freeze_timeout at the latest, and it is ended by the freeze
 * worker (freeze_worker.c), or, if that is stopped, by anybody (overdue.c).  Without a
 * worker nothing is closed.
 *
 * There is one closing at a time, of one kind:
 *
 *	flip		pg_mshare_flip(): closed and reopened inside one call
 *	protect		pg_mshare_protect(): any ranges, until all are open again
 *	freeze		pg_mshare_freeze(): the whole pool, until pg_mshare_thaw()
 *	watch		pg_mshare_watch(): the whole pool, reopened by parts as they are written
 *
 * Header locks: a process that is parked while it holds a buffer header's spinlock
 * would end in a stuck-spinlock PANIC of others (faults.c).  It raises "urgent",
 * and the worker reopens the pool, lets it pass and closes again; the tenth time
 * that this happens within one closing it gives the closing up.
 *
 * Locking: the LWLock "lock" serialises changes of protection and is held while
 * one is under way, but not while the pool merely stays closed; and for a step of a
 * resize, while nothing is closed (resize.c).  Waiting for it can be
 * cancelled; "lock_released" is broadcast when it is let go of in the ordinary way, and
 * who waits looks again after a moment anyhow.  The spinlock
 * "mutex" guards the few words that say what is closed and until when, so that the
 * worker can look at them while a change is under way.  If whoever holds the
 * LWLock is stopped for longer than the closing may last, the worker goes ahead
 * without it: a change of protection is complete in itself, and the one that was
 * overtaken notices when it goes on.
 *
 * A closing that is under way waits for processes to answer (processes.c).  It is given
 * up if they do not, if its session is cancelled, or if somebody wants to reopen the
 * pool meanwhile: "unwanted" is its serial then.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sched.h>

#include "access/xlog.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "closing.h"
#include "pg_mshare.h"

/* How long reopening waits for every process to have done it */
#define REOPEN_TIMEOUT_US	INT64CONST(5000000)

/* How long the holder of the lock may keep others waiting that want to open the pool */
#define CLOSING_PATIENCE_US	INT64CONST(100000)

/* How often the lock is tried, by who waits for it and by who holds the pool closed */
#define LOCK_CHECK_MS		10
#define LOCK_RETRY_US		100

/* How long before its deadline a closing ends itself, so that the worker need not */
#define OWN_END_US			50000

/* How many writes have waited, wherever, ever */
static uint64
count_waits(void)
{
	return pg_atomic_read_u64(&pool->waits) + fault_mode_waits();
}

/* Until when a change of protection has to be done; providers go by the wall clock. */
TimestampTz
closing_change_deadline(const Closing *closing)
{
	return GetCurrentTimestamp() + closing->deadline - monotonic_us();
}

/* Note that nothing is closed any more; returns how many writes had to wait. */
static uint64
closing_forget(void)
{
	uint64		waits = count_waits();

	SpinLockAcquire(&closing_shared->mutex);
	closing_shared->closing.kind = CLOSING_NONE;
	waits -= closing_shared->closing.waits_before;
	counters_opened();
	SpinLockRelease(&closing_shared->mutex);
	return waits;
}

/* Take the lock, unless its holder does not let go of it. */
bool
closing_lock_within(int64 timeout_us)
{
	int64		end = monotonic_us() + timeout_us;

	while (!LWLockConditionalAcquire(closing_shared->lock, LW_EXCLUSIVE))
	{
		if (monotonic_us() >= end)
			return false;
		CHECK_FOR_INTERRUPTS();
		wait_nap(WAIT_FOR_CLOSING, 1000);
	}
	return true;
}

void
closing_unlock(void)
{
	LWLockRelease(closing_shared->lock);
	ConditionVariableBroadcast(&closing_shared->lock_released);
}

/* What is closed now, and how long anything has been, ever */
void
closing_describe(ClosingState *state)
{
	static const char *const functions[] = {
		[CLOSING_FLIP] = "pg_mshare_flip",
		[CLOSING_PROTECT] = "pg_mshare_protect",
		[CLOSING_FREEZE] = "pg_mshare_freeze",
		[CLOSING_WATCH] = "pg_mshare_watch",
	};
	Closing		now;

	SpinLockAcquire(&closing_shared->mutex);
	now = closing_shared->closing;
	state->closed_us = counters_closed_us();
	SpinLockRelease(&closing_shared->mutex);

	state->pid = now.pid;
	state->until = now.until;
	state->by = now.kind == CLOSING_NONE ? NULL :
		now.pid == closing_shared->worker_pid ? "pg_mshare_ctl" : functions[now.kind];
}

/* Open ranges.  They never stay closed on purpose, so failing is but told. */
void
closing_reopen(const PoolRange *ranges, int nranges, FlipResult *result)
{
	PoolRange	whole = {0, NBuffers, POOL_READWRITE};

	if (pool_protect(ranges, nranges,
					 GetCurrentTimestamp() + REOPEN_TIMEOUT_US, result))
		return;

	/* A part may need memory for its edges where the whole needs none. */
	if (result->sys_errno == ETIMEDOUT ||
		!pool_protect(&whole, 1, GetCurrentTimestamp() + REOPEN_TIMEOUT_US, result))
	{
		errno = result->sys_errno;
		ereport(WARNING,
				(errmsg("not every process has reopened the buffer pool: %m"),
				 result->pid != 0 ?
				 errdetail("No answer came from %s; it will when it runs again.",
						   process_name(result->pid, result->backend_type)) : 0));
	}
}

/* End the closing, whatever it is.  The lock is held, or could not be had. */
void
closing_end(const char *why)
{
	Closing		was = closing_read();
	PoolRange	whole = {0, NBuffers, POOL_READWRITE};
	FlipResult	result;
	uint64		waits;

	closing_reopen(&whole, 1, &result);
	waits = closing_forget();
	ereport(MyProcPid == closing_shared->worker_pid ? LOG : mshare_log_level,
			(errmsg("pg_mshare: buffer pool reopened after %.3f ms (%s), " UINT64_FORMAT " writes waited",
					(GetCurrentTimestamp() - was.since) / 1000.0, why, waits)));
}

/* The processes that have not answered a flip: the first of them, and how many others */
static void
report_silence(const FlipResult *result, const char *consequence)
{
	ereport(ERROR,
			(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
			 result->pid == 0 ?
			 errmsg("a process that is starting did not change the protection of its buffer pool in time") :
			 errmsg("%s did not change the protection of its buffer pool in time",
					process_name(result->pid, result->backend_type)),
			 result->silent > 1 ?
			 errdetail("Nor did %d others. %s", result->silent - 1, consequence) :
			 errdetail_internal("%s", consequence),
			 errhint("See whether that process is stopped, for instance by a debugger, or in a system call that does not end.")));
}

static void
report_failure(const FlipResult *result)
{
	errno = result->sys_errno;
	switch (result->sys_errno)
	{
		case ETIMEDOUT:
			report_silence(result, "The pool is open again.");
			break;
		case EINTR:
			CHECK_FOR_INTERRUPTS();
			ereport(ERROR,
					(errcode(ERRCODE_OPERATOR_INTERVENTION),
					 errmsg("the closing was given up"),
					 errdetail("The pool was reopened while other processes were still closing it.")));
			break;
		case ECANCELED:
			ereport(ERROR,
					(errcode(ERRCODE_OPERATOR_INTERVENTION),
					 errmsg("the freeze worker has ended the closing"),
					 errhint("The server log says why.")));
			break;
		case EBUSY:
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("%s has another handler of SIGSEGV",
							process_name(result->pid, result->backend_type)),
					 errdetail("It was installed by \"%s\", and a write into closed buffers would crash that process. The pool is open again.",
							   process_file_at(result->pid, result->handler)),
					 errhint("End that session before buffers are closed. With provider mshare no handler is needed.")));
			break;
		case ENOMEM:
			ereport(ERROR,
					(errcode(ERRCODE_OUT_OF_MEMORY),
					 errmsg("could not change the protection of the buffer pool: %m"),
					 errdetail("The pool is open again."),
					 errhint("Fewer ranges of different protection need less; vm.max_map_count limits them for each process.")));
			break;
		default:
			ereport(ERROR,
					(errcode(ERRCODE_SYSTEM_ERROR),
					 errmsg("could not change the protection of the buffer pool: %m"),
					 errdetail("The pool is open again.")));
	}
}

/*
 * Close ranges as part of the closing that is noted; the lock is held.  A worker that
 * has gone since then saw an open pool if we were slow, and left the closing to us.
 */
static void
closing_apply(const PoolRange *ranges, int nranges, FlipResult *result)
{
	Closing		now = closing_read();

	if (pool_protect(ranges, nranges, closing_change_deadline(&now), result))
	{
		if (closing_is(now.serial) && freeze_worker_is_running())
			return;
		result->sys_errno = ECANCELED;
	}
	closing_end("closing failed");
	pg_atomic_fetch_add_u64(&counters->given_up, 1);
	closing_unlock();
	report_failure(result);
}

/*
 * Note a new closing and let the worker know, before anything is closed.  If there
 * is no worker it is too late to find that out afterwards.
 */
static void
closing_begin(ClosingKind kind, int64 timeout_us)
{
	uint64		waits = count_waits();
	PGPROC	   *worker;
	bool		wake;

	SpinLockAcquire(&closing_shared->mutex);
	worker = closing_shared->worker;
	if (worker != NULL)
	{
		closing_shared->closing.serial++;
		closing_shared->closing.since = GetCurrentTimestamp();
		closing_shared->closing.until = closing_shared->closing.since + timeout_us;
		closing_shared->closing.deadline = monotonic_us() + timeout_us;
		closing_shared->closing.pid = MyProcPid;
		closing_shared->closing.reclosings = 0;
		closing_shared->closing.waits_before = waits;
		pg_write_barrier();
		closing_shared->closing.kind = kind;
		wake = closing_shared->worker_wakes_at > closing_shared->closing.deadline;
		counters_closed(kind);
	}
	SpinLockRelease(&closing_shared->mutex);

	if (worker == NULL)
	{
		closing_unlock();
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the freeze worker is not running"),
				 errhint("The server starts it again within a second, unless it is shutting down or max_worker_processes is too small.")));
	}
	if (wake)
		SetLatch(&worker->procLatch);
	overdue_guard_closing();
}

/*
 * Processes that an earlier flip has given up get as long again to answer, with the
 * pool open; closing it before they do would stop all others in vain.  The worker has
 * other things to do than to wait.
 */
static void
await_silent(void)
{
	int64		end = monotonic_us() + mshare_close_timeout * INT64CONST(1000);
	FlipResult	result;

	if (processes_silent(&result))
		processes_signal(pg_atomic_read_u32(&pool->generation));
	while (processes_silent(&result))
	{
		if (monotonic_us() >= end || MyProc == closing_shared->worker)
			report_silence(&result, "It still has not, so nothing was closed now.");
		CHECK_FOR_INTERRUPTS();
		wait_nap(WAIT_FOR_ANSWERS, 1000);
	}
}

/* What can be refused before anything is locked */
void
closing_check(PoolProtection protection)
{
	if (RecoveryInProgress() && mshare_kernel_waits != KERNEL_WAITS_ALL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("recovery is in progress"),
				 errdetail("A page that the startup process cannot read into would end the standby."),
				 errhint("Closing buffers is possible after promotion, or where reads from disk wait: the server log says at its start why they do not.")));

	if (fault_mode_tears_reads() != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("buffers cannot be closed while reads from disk do not wait"),
				 errdetail("A read that is under way then would end in the middle of a block, which looks like a damaged page."),
				 errhint("%s", fault_mode_tears_reads())));

	if (protection == POOL_NONE && mshare_on_fault == ON_FAULT_WAIT)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("buffers cannot be closed to readers while pg_mshare.on_fault is wait"),
				 errdetail("Flushing a buffer reads its page under a spinlock, which must not wait."),
				 errhint("Use protection 'r', or set pg_mshare.on_fault to crash.")));

	if (processes_unregistered() > 0)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("%d processes of the server cannot be reached",
						processes_unregistered()),
				 errhint("Restart the server.")));

	await_silent();
}

/* Take the lock, but not while a flip is closed */
static bool
try_lock_between_flips(void)
{
	if (!LWLockConditionalAcquire(closing_shared->lock, LW_EXCLUSIVE))
	{
		pg_atomic_write_u64(&closing_shared->wanted_at, monotonic_us());
		return false;
	}
	if (closing_read().kind != CLOSING_FLIP || overdue_at() <= monotonic_us())
		return true;
	LWLockRelease(closing_shared->lock);
	return false;
}

/* Take the lock when no flip is closed. */
static void
lock_between_flips(void)
{
	ConditionVariablePrepareToSleep(&closing_shared->lock_released);
	while (!try_lock_between_flips())
		ConditionVariableTimedSleep(&closing_shared->lock_released, LOCK_CHECK_MS,
									wait_event(WAIT_FOR_CLOSING));
	ConditionVariableCancelSleep();

	/* The pool is open, but the worker is stopped and has not said so. */
	if (overdue_at() <= monotonic_us())
		closing_end("overdue");
}

/*
 * Take the lock to change or end a closing of ours; false: another one has ended it,
 * and may have the lock.
 */
static bool
lock_own(uint64 serial)
{
	while (closing_is(serial))
	{
		if (LWLockConditionalAcquire(closing_shared->lock, LW_EXCLUSIVE))
		{
			if (closing_is(serial))
				return true;
			closing_unlock();
			return false;
		}
		wait_nap(WAIT_FOR_CLOSING, LOCK_RETRY_US);
	}
	return false;
}

/* Let go of the lock and raise an error if something is closed that must not be. */
void
closing_refuse_other(ClosingKind allowed)
{
	ClosingKind kind = closing_read().kind;
	const char *message = NULL;

	if (kind == CLOSING_NONE || kind == allowed)
		return;

	closing_unlock();
	switch (kind)
	{
		case CLOSING_FREEZE:
			message = "the buffer pool is frozen";
			break;
		case CLOSING_PROTECT:
			message = "buffers are closed by pg_mshare_protect()";
			break;
		case CLOSING_WATCH:
			message = "writes into the buffer pool are being watched";
			break;
		case CLOSING_FLIP:
			message = "the buffer pool is being flipped";
			break;
		case CLOSING_NONE:
			break;
	}
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_IN_USE),
			 errmsg_internal("%s", message),
			 errhint("pg_mshare_thaw() reopens the pool.")));
}

static void
lock_unless_closed(ClosingKind allowed)
{
	lock_between_flips();
	closing_refuse_other(allowed);
}

/*
 * For resize.c, which takes buffers out of use while nothing is closed: whoever has the
 * lock and finds that keeps all closings waiting until it lets go.  It takes it again and
 * again, so who waits goes first, if "yield".
 */
bool
closing_try_lock_open(bool yield)
{
	int64		wanted_at = pg_atomic_read_u64(&closing_shared->wanted_at);

	if ((yield && monotonic_us() - wanted_at < 2 * LOCK_CHECK_MS * 1000) ||
		!LWLockConditionalAcquire(closing_shared->lock, LW_EXCLUSIVE))
		return false;
	if (overdue_at() <= monotonic_us())
		closing_end("overdue");
	if (closing_read().kind == CLOSING_NONE)
		return true;
	LWLockRelease(closing_shared->lock);
	return false;
}

/* An error if anything is closed, but for a flip, whose end is waited for */
void
closing_refuse(void)
{
	lock_unless_closed(CLOSING_NONE);
	closing_unlock();
}

/* When to end a closing that is to last that long, by monotonic_us() */
static int64
own_end(const Closing *closing, int64 hold_us)
{
	return Min(monotonic_us() + hold_us, closing->deadline - OWN_END_US);
}

/* Stay closed; returns early if the closing is ended by the worker. */
static void
hold_closed(const Closing *closing, int64 hold_us)
{
	int64		end = own_end(closing, hold_us);

	for (;;)
	{
		uint32		generation = pg_atomic_read_u32(&pool->generation);
		int64		now = monotonic_us();

		if (now >= end || !closing_is(closing->serial))
			return;
		pgstat_report_wait_start(wait_event(WAIT_FOR_END_OF_FLIP));
		futex_wait(&pool->generation, generation, end - now);
		pgstat_report_wait_end();
	}
}

/*
 * Close a range, hold it closed and reopen it.  Interrupts are held and nothing is
 * looked up or allocated in between.
 */
void
closing_flip(const PoolRange *range, int64 hold_us, FlipResult *down,
			 FlipResult *up)
{
	Closing		noted;
	TimestampTz closed_until;
	uint64		waits;
	bool		mine = true;

	closing_check(range->protection);

	/*
	 * Give way first: with more backends than processors, one that is at the end of
	 * its time slice would lose its processor while the pool is closed.
	 */
	sched_yield();
	lock_unless_closed(CLOSING_NONE);
	closing_begin(CLOSING_FLIP, mshare_freeze_timeout * INT64CONST(1000));
	noted = closing_read();
	closing_apply(range, 1, down);
	HOLD_INTERRUPTS();
	if (hold_us > 0)
	{
		closing_unlock();
		hold_closed(&noted, hold_us);
		mine = lock_own(noted.serial);
	}
	if (mine)
	{
		PoolRange	open = {range->first, range->count, POOL_READWRITE};

		closing_reopen(&open, 1, up);
		closed_until = GetCurrentTimestamp();
		waits = closing_forget();
		closing_unlock();
	}
	RESUME_INTERRUPTS();

	if (!mine)
		report_failure(&(FlipResult) {.sys_errno = ECANCELED});

	ereport(mshare_log_level,
			(errmsg("pg_mshare: buffers %d to %d were closed (%s) from %s for %.3f ms, " UINT64_FORMAT " writes waited",
					range->first + 1, range->first + range->count,
					protection_name(range->protection),
					timestamptz_to_str(noted.since),
					(closed_until - noted.since) / 1000.0, waits),
			 errhidestmt(true)));
}

static void
log_closing(const PoolRange *ranges, int nranges)
{
	Closing		now = closing_read();
	const PoolRange *last = &ranges[nranges - 1];

	ereport(mshare_log_level,
			(errmsg("pg_mshare: %s %d to %d are closed (%s) by process %d, until %s at the latest",
					nranges == 1 ? "buffers" : "some buffers of",
					ranges->first + 1, last->first + last->count,
					protection_name(ranges->protection), MyProcPid,
					timestamptz_to_str(now.until))));
}

/* Will the plan have room for the changes?  The lock is held. */
static void
check_ranges(const PoolRange *ranges, int nranges)
{
	int			limit = pool_ranges_limit();

	if (ranges->count == NBuffers ||
		pool_plan()->nranges + 2 * nranges <= limit)
		return;
	closing_unlock();
	ereport(ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("too many ranges of different protection"),
			 errdetail("The limit is %d: each is a mapping to the kernel, of which vm.max_map_count allows twice as many.",
					   limit),
			 errhint("Protect larger ranges, or reopen some.")));
}

/*
 * Set the protection of ranges, one for all, as part of the closing that is in force
 * if any.
 */
void
closing_protect(const PoolRange *ranges, int nranges, FlipResult *result)
{
	bool		closing = ranges->protection != POOL_READWRITE;

	if (closing)
		closing_check(ranges->protection);
	lock_unless_closed(CLOSING_PROTECT);
	check_ranges(ranges, nranges);

	if (closing)
	{
		if (closing_read().kind == CLOSING_NONE)
			closing_begin(CLOSING_PROTECT, mshare_freeze_timeout * INT64CONST(1000));
		closing_apply(ranges, nranges, result);
		closing_unlock();
		log_closing(ranges, nranges);
		return;
	}

	closing_reopen(ranges, nranges, result);
	if (closing_read().kind == CLOSING_PROTECT && pool_is_open())
		closing_end("pg_mshare_protect");
	closing_unlock();
}

/* Close the whole pool; the lock is held. */
static Closing
close_pool(ClosingKind kind, int64 timeout_us)
{
	PoolRange	whole = {0, NBuffers, POOL_READ};
	FlipResult	result;
	Closing		noted;

	closing_begin(kind, timeout_us);
	noted = closing_read();
	closing_apply(&whole, 1, &result);
	return noted;
}

void
closing_freeze_locked(int64 timeout_us)
{
	PoolRange	whole = {0, NBuffers, POOL_READ};

	close_pool(CLOSING_FREEZE, timeout_us);
	closing_unlock();
	log_closing(&whole, 1);
}

void
closing_freeze(int64 timeout_us)
{
	closing_check(POOL_READ);
	lock_unless_closed(CLOSING_NONE);
	closing_freeze_locked(timeout_us);
}

/*
 * Returns the closing's serial, and when the session has to end it, with interrupts
 * held until it has.
 */
uint64
closing_watch(int64 duration_us, int64 *end)
{
	PoolRange	whole = {0, NBuffers, POOL_READ};
	Closing		noted;

	closing_check(POOL_READ);
	lock_unless_closed(CLOSING_NONE);
	noted = close_pool(CLOSING_WATCH, mshare_freeze_timeout * INT64CONST(1000));
	HOLD_INTERRUPTS();
	closing_unlock();
	log_closing(&whole, 1);
	*end = own_end(&noted, duration_us);
	return noted.serial;
}

/*
 * Open ranges that were written; "all" of them, or those that are new.  The plan is
 * looked at under the lock: while the worker relieves a header lock it has one range.
 */
WatchOpening
closing_watch_open(uint64 serial, const PoolRange *ranges, int nranges, bool all)
{
	WatchOpening opening = WATCH_OPENED;
	int			limit = pool_ranges_limit();
	FlipResult	result;

	if (!lock_own(serial))
		return WATCH_ENDED;
	if (!all && pool_plan()->nranges + 2 * nranges > limit)
		opening = WATCH_TOO_MANY_RANGES;
	else
		closing_reopen(ranges, nranges, &result);
	closing_unlock();
	return opening;
}

void
closing_watch_end(uint64 serial)
{
	if (!lock_own(serial))
		return;
	closing_end("pg_mshare_watch");
	closing_unlock();
}

/*
 * End the closing that is in force, with the lock or without, and have it given up if
 * it is still under way; unless whoever has the lock is opening the pool right now.
 */
void
closing_end_anyhow(uint64 serial, const char *why)
{
	bool		locked;

	closing_give_up(serial);
	locked = closing_lock_within(LOCK_TIMEOUT_US);
	if (!locked && pool_is_open())
		return;
	if (!locked)
		ereport(WARNING,
				(errmsg("a change of the buffer pool's protection does not end"),
				 errdetail("The pool is reopened regardless.")));
	if (closing_is(serial))
		closing_end(why);
	if (locked)
		closing_unlock();
}

/*
 * Reopen the pool; false if nothing was closed.  A flip ends itself, and its end is
 * waited for, but not for long if it is still under way.
 */
bool
closing_thaw(void)
{
	int64		patience_ends = monotonic_us() + CLOSING_PATIENCE_US;
	Closing		now;

	ConditionVariablePrepareToSleep(&closing_shared->lock_released);
	while (!try_lock_between_flips())
	{
		ConditionVariableTimedSleep(&closing_shared->lock_released, LOCK_CHECK_MS,
									wait_event(WAIT_FOR_CLOSING));
		now = closing_read();
		if (monotonic_us() < patience_ends || now.kind == CLOSING_NONE)
			continue;
		if (LWLockConditionalAcquire(closing_shared->lock, LW_EXCLUSIVE))
			closing_unlock();			/* a flip that holds the pool closed */
		else
		{
			ConditionVariableCancelSleep();
			closing_end_anyhow(now.serial, "pg_mshare_thaw");
			return true;
		}
	}
	ConditionVariableCancelSleep();

	now = closing_read();
	if (now.kind != CLOSING_NONE)
		closing_end("pg_mshare_thaw");
	closing_unlock();
	return now.kind != CLOSING_NONE;
}
