/*-------------------------------------------------------------------------
 *
 * freeze.c
 *	  Closings, and the worker that ends them.
 *
 * While buffers are closed, a statement that needs to write waits, and one that
 * has to read from disk fails.  SQL is no dependable way out of that: the session
 * that closed may itself need a page that waits.  So every closing is a lease that
 * ends after pg_mshare.freeze_timeout at the latest, and it is ended by the freeze
 * worker: a background worker without a database connection that touches no page.
 * It reopens the pool at the deadline, before it exits for whatever reason, and
 * when the postmaster dies.  Without a worker nothing is closed.
 *
 * The worker may be stopped.  A second after the deadline whoever is parked in a signal
 * handler opens the pool in its place, and so does the postmaster, for those who wait
 * in the kernel, or whose reads fail: a closing that might outlast the timer that runs
 * there, if one does, sends it the flip signal, and it sets the timer.  They open on
 * paper what never changes (pool.c), take no lock, and leave the closing noted, until
 * the worker goes on or somebody thaws.
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
#include <signal.h>

#include "access/xlog.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/bufmgr.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "storage/spin.h"
#include "utils/guc.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "pg_mshare.h"

/* How long reopening waits for every process to have done it */
#define REOPEN_TIMEOUT_US	INT64CONST(5000000)

/* How long to wait for the lock before opening without; less than OVERDUE_US */
#define LOCK_TIMEOUT_US		INT64CONST(500000)

/* How long the holder of the lock may keep others waiting that want to open the pool */
#define CLOSING_PATIENCE_US	INT64CONST(100000)

/* How often the lock is tried, by who waits for it and by who holds the pool closed */
#define LOCK_CHECK_MS		10
#define LOCK_RETRY_US		100

/* How long before its deadline a closing ends itself, so that the worker need not */
#define OWN_END_US			50000

/* How long a relieved process gets to pass, and how often that is looked at */
#define RELIEF_TIMEOUT_US	100000
#define RELIEF_POLL_US		200

/* How long after its deadline a closing that has not ended is ended by anybody */
#define OVERDUE_US			INT64CONST(1000000)

/* How often who closes looks whether all openers have done it */
#define OPENERS_CHECK_US	100

/* When the worker wakes if it need not */
#define NEVER				PG_INT64_MAX

/* As pg_mshare_ctl prints them */
static const char *const closing_names[] = {
	[CLOSING_NONE] = "nothing",
	[CLOSING_FLIP] = "by pg_mshare_flip",
	[CLOSING_PROTECT] = "by pg_mshare_protect",
	[CLOSING_FREEZE] = "frozen",
	[CLOSING_WATCH] = "by pg_mshare_watch",
};

typedef struct Closing
{
	ClosingKind kind;
	int			pid;			/* whose it is */
	uint64		serial;
	TimestampTz since;
	TimestampTz until;			/* as it is told */
	int64		deadline;		/* as it is kept: monotonic_us() */
	int			reclosings;		/* for the sake of a header lock */
	uint64		waits_before;
} Closing;

typedef struct FreezeShared
{
	LWLock	   *lock;
	ConditionVariable lock_released;
	pg_atomic_uint32 urgent;	/* a process is parked under a header lock */
	int			worker_pid;		/* 0: nobody is left to reopen anything */
	pg_atomic_uint64 guard_at;	/* when the postmaster looks, monotonic_us() */
	pg_atomic_uint64 wanted_at; /* when somebody last waited for the lock, likewise */

	slock_t		mutex;			/* guards what follows */
	PGPROC	   *worker;			/* NULL: close nothing */
	int64		worker_wakes_at;	/* monotonic_us() */
	uint64		unwanted;		/* serial of a closing that is to be given up */
	Closing		closing;
} FreezeShared;

static FreezeShared *shared = NULL;

/* The postmaster's; its children do not inherit it. */
static timer_t guard_timer;
static bool guard_is_there = false;

PGDLLEXPORT void pg_mshare_freeze_worker_main(Datum arg);

/* ----------
 * Start
 * ----------
 */

/* In the shared-memory request hook */
void
freeze_request(void)
{
	RequestAddinShmemSpace(MAXALIGN(sizeof(FreezeShared)));
	RequestNamedLWLockTranche("pg_mshare", 1);
}

/* The postmaster leaves shared memory, and its signal handler must not look there. */
static void
freeze_detach(int code, Datum arg)
{
	shared = NULL;
}

/* In the shared-memory startup hook, at each (re)start */
void
freeze_startup(void)
{
	FreezeShared *new;
	bool		found;

	new = ShmemInitStruct("pg_mshare", sizeof(FreezeShared), &found);
	memset(new, 0, sizeof(*new));
	shared = new;
	on_shmem_exit(freeze_detach, 0);
	shared->lock = &GetNamedLWLockTranche("pg_mshare")->lock;
	ConditionVariableInit(&shared->lock_released);
	pg_atomic_init_u32(&shared->urgent, 0);
	pg_atomic_init_u64(&shared->guard_at, 0);
	pg_atomic_init_u64(&shared->wanted_at, 0);
	SpinLockInit(&shared->mutex);
}

void
freeze_register_worker(void)
{
	mshare_register_worker("pg_mshare freeze worker", "pg_mshare_freeze_worker_main",
						   BgWorkerStart_PostmasterStart, 1);
}

/* ----------
 * Closings
 * ----------
 */

static Closing
closing_read(void)
{
	Closing		copy;

	SpinLockAcquire(&shared->mutex);
	copy = shared->closing;
	SpinLockRelease(&shared->mutex);
	return copy;
}

TimestampTz
freeze_frozen_since(void)
{
	Closing		now = closing_read();

	return now.kind == CLOSING_FREEZE ? now.since : 0;
}

/* What is closed now, and how long anything has been, ever */
void
freeze_describe(ClosingState *state)
{
	static const char *const functions[] = {
		[CLOSING_FLIP] = "pg_mshare_flip",
		[CLOSING_PROTECT] = "pg_mshare_protect",
		[CLOSING_FREEZE] = "pg_mshare_freeze",
		[CLOSING_WATCH] = "pg_mshare_watch",
	};
	Closing		now;

	SpinLockAcquire(&shared->mutex);
	now = shared->closing;
	state->closed_us = counters_closed_us();
	SpinLockRelease(&shared->mutex);

	state->pid = now.pid;
	state->until = now.until;
	state->by = now.kind == CLOSING_NONE ? NULL :
		now.pid == shared->worker_pid ? "pg_mshare_ctl" : functions[now.kind];
}

/* Is a closing noted?  Reads without the lock; async-signal-safe */
bool
freeze_is_noted(void)
{
	return shared->closing.kind != CLOSING_NONE;
}

/* Async-signal-safe */
bool
freeze_worker_alive(void)
{
	int			pid = shared->worker_pid;

	return pid != 0 && kill(pid, 0) == 0;
}

/* Async-signal-safe */
void
freeze_wake_worker(void)
{
	PGPROC	   *worker = shared->worker;

	if (worker != NULL)
		SetLatch(&worker->procLatch);
}

/* Called by a process about to sleep under a header lock; async-signal-safe */
void
freeze_urgent(void)
{
	pg_atomic_exchange_u32(&shared->urgent, 1);
	freeze_wake_worker();
}

/*
 * When the closing that is noted is overdue, NEVER: none is.  Reads without a lock
 * what closing_begin() writes in this order.
 */
static int64
overdue_at(void)
{
	if (shared->closing.kind == CLOSING_NONE)
		return NEVER;
	pg_read_barrier();
	return shared->closing.deadline + OVERDUE_US;
}

/*
 * Open the pool if the closing is overdue and has not been opened.  Returns how long it
 * is until then.  Called with the flip signal blocked; async-signal-safe
 *
 * Somebody may end this closing and begin the next one meanwhile, which must not be
 * opened: who closes waits for openers after it has moved the generation on
 * (freeze_await_openers()), and those who come later find that nothing is overdue.
 */
int64
freeze_open_overdue(void)
{
	int64		overdue = overdue_at();
	int64		now = monotonic_us();
	const PoolPlan *plan;
	uint32		generation;

	if (overdue > now)
		return overdue == NEVER ? NEVER : overdue - now;

	pg_atomic_fetch_add_u32(&pool->openers, 1);
	generation = pg_atomic_read_u32(&pool->generation);
	plan = pool_plan_at(generation);
	pg_read_barrier();
	if (overdue_at() <= now &&
		(plan->nranges > 1 || plan->ranges[0].protection != POOL_READWRITE) &&
		provider->open_all(generation))
		fault_tell_overdue();
	pg_atomic_fetch_sub_u32(&pool->openers, 1);
	return NEVER;
}

/* One that is killed in between, or stopped, is not waited for for long. */
void
freeze_await_openers(void)
{
	for (int64 end = monotonic_us() + OVERDUE_US;
		 pg_atomic_read_u32(&pool->openers) != 0 && monotonic_us() < end;)
		pg_usleep(OPENERS_CHECK_US);
}

static bool
guard_looks_before(int64 overdue)
{
	int64		guard_at = pg_atomic_read_u64(&shared->guard_at);

	return guard_at <= overdue && guard_at > monotonic_us();
}

/*
 * The flip signal's handler: in the postmaster, open what is overdue, or see that the
 * timer comes in time.
 */
void
freeze_guard(void)
{
	struct itimerspec timer = {0};
	int64		next;

	if (!guard_is_there || getpid() != PostmasterPid || shared == NULL)
		return;
	freeze_open_overdue();
	next = overdue_at();
	if (next == NEVER || next <= monotonic_us() || guard_looks_before(next))
		return;
	timer.it_value.tv_sec = next / 1000000;
	timer.it_value.tv_nsec = next % 1000000 * 1000;
	timer_settime(guard_timer, TIMER_ABSTIME, &timer, NULL);
	pg_atomic_write_u64(&shared->guard_at, next);
}

/* Once, in the postmaster, after the pool is mapped */
void
freeze_guard_startup(void)
{
	struct sigevent event = {
		.sigev_notify = SIGEV_THREAD_ID,
		.sigev_signo = FLIP_SIGNAL,
		._sigev_un._tid = getpid()
	};

	guard_is_there = (provider->catch_up || flip_signal_install()) &&
		timer_create(CLOCK_MONOTONIC, &event, &guard_timer) == 0;
	if (!guard_is_there)
		ereport(LOG,
				(errmsg("pg_mshare: the postmaster cannot end closings that the freeze worker does not end"),
				 errdetail("Signal %d is already in use, or there are too many timers.", FLIP_SIGNAL)));
}

/* Is that closing still in force? */
bool
closing_is(uint64 serial)
{
	Closing		now = closing_read();

	return now.kind != CLOSING_NONE && now.serial == serial;
}

static void
unlock(void)
{
	LWLockRelease(shared->lock);
	ConditionVariableBroadcast(&shared->lock_released);
}

/* The closing that is under way is to be given up, if it is still that one. */
static void
closing_give_up(uint64 serial)
{
	SpinLockAcquire(&shared->mutex);
	shared->unwanted = serial;
	SpinLockRelease(&shared->mutex);
}

/* Asked by who is closing, while it waits for other processes */
bool
closing_is_unwanted(void)
{
	bool		unwanted;

	SpinLockAcquire(&shared->mutex);
	unwanted = shared->closing.kind != CLOSING_NONE &&
		shared->closing.serial == shared->unwanted;
	SpinLockRelease(&shared->mutex);
	return unwanted || QueryCancelPending || ProcDiePending || ShutdownRequestPending;
}

static bool
worker_is_running(void)
{
	bool		running;

	SpinLockAcquire(&shared->mutex);
	running = shared->worker != NULL;
	SpinLockRelease(&shared->mutex);
	return running;
}

/* How many writes have waited, wherever, ever */
static uint64
count_waits(void)
{
	return pg_atomic_read_u64(&pool->waits) + fault_mode_waits();
}

/* Until when a change of protection has to be done; providers go by the wall clock. */
static TimestampTz
change_deadline(const Closing *closing)
{
	return GetCurrentTimestamp() + closing->deadline - monotonic_us();
}

/* Note that nothing is closed any more; returns how many writes had to wait. */
static uint64
closing_forget(void)
{
	uint64		waits = count_waits();

	SpinLockAcquire(&shared->mutex);
	shared->closing.kind = CLOSING_NONE;
	waits -= shared->closing.waits_before;
	counters_opened();
	SpinLockRelease(&shared->mutex);
	return waits;
}

/* Open ranges.  They never stay closed on purpose, so failing is but told. */
static void
reopen(const PoolRange *ranges, int nranges, FlipResult *result)
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
static void
closing_end(const char *why)
{
	Closing		was = closing_read();
	PoolRange	whole = {0, NBuffers, POOL_READWRITE};
	FlipResult	result;
	uint64		waits;

	reopen(&whole, 1, &result);
	waits = closing_forget();
	ereport(MyProcPid == shared->worker_pid ? LOG : mshare_log_level,
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

	if (pool_protect(ranges, nranges, change_deadline(&now), result))
	{
		if (closing_is(now.serial) && worker_is_running())
			return;
		result->sys_errno = ECANCELED;
	}
	closing_end("closing failed");
	pg_atomic_fetch_add_u64(&counters->given_up, 1);
	unlock();
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

	SpinLockAcquire(&shared->mutex);
	worker = shared->worker;
	if (worker != NULL)
	{
		shared->closing.serial++;
		shared->closing.since = GetCurrentTimestamp();
		shared->closing.until = shared->closing.since + timeout_us;
		shared->closing.deadline = monotonic_us() + timeout_us;
		shared->closing.pid = MyProcPid;
		shared->closing.reclosings = 0;
		shared->closing.waits_before = waits;
		pg_write_barrier();
		shared->closing.kind = kind;
		wake = shared->worker_wakes_at > shared->closing.deadline;
		counters_closed(kind);
	}
	SpinLockRelease(&shared->mutex);

	if (worker == NULL)
	{
		unlock();
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the freeze worker is not running"),
				 errhint("The server starts it again within a second, unless it is shutting down or max_worker_processes is too small.")));
	}
	if (wake)
		SetLatch(&worker->procLatch);
	if (guard_is_there && !guard_looks_before(overdue_at()))
		process_send_flip(PostmasterPid);
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
		if (monotonic_us() >= end || MyProc == shared->worker)
			report_silence(&result, "It still has not, so nothing was closed now.");
		CHECK_FOR_INTERRUPTS();
		wait_nap(WAIT_FOR_ANSWERS, 1000);
	}
}

/* What can be refused before anything is locked */
static void
check_closing(PoolProtection protection)
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
	if (!LWLockConditionalAcquire(shared->lock, LW_EXCLUSIVE))
	{
		pg_atomic_write_u64(&shared->wanted_at, monotonic_us());
		return false;
	}
	if (closing_read().kind != CLOSING_FLIP || overdue_at() <= monotonic_us())
		return true;
	LWLockRelease(shared->lock);
	return false;
}

/* Take the lock when no flip is closed. */
static void
lock_between_flips(void)
{
	ConditionVariablePrepareToSleep(&shared->lock_released);
	while (!try_lock_between_flips())
		ConditionVariableTimedSleep(&shared->lock_released, LOCK_CHECK_MS,
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
		if (LWLockConditionalAcquire(shared->lock, LW_EXCLUSIVE))
		{
			if (closing_is(serial))
				return true;
			unlock();
			return false;
		}
		wait_nap(WAIT_FOR_CLOSING, LOCK_RETRY_US);
	}
	return false;
}

/* Let go of the lock and raise an error if something is closed that must not be. */
static void
refuse_closed(ClosingKind allowed)
{
	ClosingKind kind = closing_read().kind;
	const char *message = NULL;

	if (kind == CLOSING_NONE || kind == allowed)
		return;

	unlock();
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
	refuse_closed(allowed);
}

/*
 * For resize.c, which takes buffers out of use while nothing is closed: whoever has the
 * lock and finds that keeps all closings waiting until it lets go.  It takes it again and
 * again, so who waits goes first, if "yield".
 */
bool
closing_try_lock_open(bool yield)
{
	int64		wanted_at = pg_atomic_read_u64(&shared->wanted_at);

	if ((yield && monotonic_us() - wanted_at < 2 * LOCK_CHECK_MS * 1000) ||
		!LWLockConditionalAcquire(shared->lock, LW_EXCLUSIVE))
		return false;
	if (overdue_at() <= monotonic_us())
		closing_end("overdue");
	if (closing_read().kind == CLOSING_NONE)
		return true;
	LWLockRelease(shared->lock);
	return false;
}

void
closing_unlock(void)
{
	unlock();
}

/* An error if anything is closed, but for a flip, whose end is waited for */
void
closing_refuse(void)
{
	lock_unless_closed(CLOSING_NONE);
	unlock();
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

	check_closing(range->protection);

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
		unlock();
		hold_closed(&noted, hold_us);
		mine = lock_own(noted.serial);
	}
	if (mine)
	{
		PoolRange	open = {range->first, range->count, POOL_READWRITE};

		reopen(&open, 1, up);
		closed_until = GetCurrentTimestamp();
		waits = closing_forget();
		unlock();
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
	unlock();
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
		check_closing(ranges->protection);
	lock_unless_closed(CLOSING_PROTECT);
	check_ranges(ranges, nranges);

	if (closing)
	{
		if (closing_read().kind == CLOSING_NONE)
			closing_begin(CLOSING_PROTECT, mshare_freeze_timeout * INT64CONST(1000));
		closing_apply(ranges, nranges, result);
		unlock();
		log_closing(ranges, nranges);
		return;
	}

	reopen(ranges, nranges, result);
	if (closing_read().kind == CLOSING_PROTECT && pool_is_open())
		closing_end("pg_mshare_protect");
	unlock();
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

static void
freeze_pool(int64 timeout_us)
{
	PoolRange	whole = {0, NBuffers, POOL_READ};

	close_pool(CLOSING_FREEZE, timeout_us);
	unlock();
	log_closing(&whole, 1);
}

void
closing_freeze(int64 timeout_us)
{
	check_closing(POOL_READ);
	lock_unless_closed(CLOSING_NONE);
	freeze_pool(timeout_us);
}

/* ----------
 * A watch: the whole pool, opened by ranges as they are written (watch.c)
 * ----------
 */

/*
 * Returns the closing's serial, and when the session has to end it, with interrupts
 * held until it has.
 */
uint64
closing_watch(int64 duration_us, int64 *end)
{
	PoolRange	whole = {0, NBuffers, POOL_READ};
	Closing		noted;

	check_closing(POOL_READ);
	lock_unless_closed(CLOSING_NONE);
	noted = close_pool(CLOSING_WATCH, mshare_freeze_timeout * INT64CONST(1000));
	HOLD_INTERRUPTS();
	unlock();
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
		reopen(ranges, nranges, &result);
	unlock();
	return opening;
}

void
closing_watch_end(uint64 serial)
{
	if (!lock_own(serial))
		return;
	closing_end("pg_mshare_watch");
	unlock();
}

/*
 * Async-signal-safe.  Parked writers are relieved one by one then, before a header
 * lock is held for long.
 */
bool
closing_is_watch(void)
{
	return shared->closing.kind == CLOSING_WATCH;
}

/* Take the lock, unless its holder does not let go of it. */
static bool
lock_within(int64 timeout_us)
{
	int64		end = monotonic_us() + timeout_us;

	while (!LWLockConditionalAcquire(shared->lock, LW_EXCLUSIVE))
	{
		if (monotonic_us() >= end)
			return false;
		CHECK_FOR_INTERRUPTS();
		wait_nap(WAIT_FOR_CLOSING, 1000);
	}
	return true;
}

/*
 * End the closing that is in force, with the lock or without, and have it given up if
 * it is still under way; unless whoever has the lock is opening the pool right now.
 */
static void
end_closing(uint64 serial, const char *why)
{
	bool		locked;

	closing_give_up(serial);
	locked = lock_within(LOCK_TIMEOUT_US);
	if (!locked && pool_is_open())
		return;
	if (!locked)
		ereport(WARNING,
				(errmsg("a change of the buffer pool's protection does not end"),
				 errdetail("The pool is reopened regardless.")));
	if (closing_is(serial))
		closing_end(why);
	if (locked)
		unlock();
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

	ConditionVariablePrepareToSleep(&shared->lock_released);
	while (!try_lock_between_flips())
	{
		ConditionVariableTimedSleep(&shared->lock_released, LOCK_CHECK_MS,
									wait_event(WAIT_FOR_CLOSING));
		now = closing_read();
		if (monotonic_us() < patience_ends || now.kind == CLOSING_NONE)
			continue;
		if (LWLockConditionalAcquire(shared->lock, LW_EXCLUSIVE))
			unlock();			/* a flip that holds the pool closed */
		else
		{
			ConditionVariableCancelSleep();
			end_closing(now.serial, "pg_mshare_thaw");
			return true;
		}
	}
	ConditionVariableCancelSleep();

	now = closing_read();
	if (now.kind != CLOSING_NONE)
		closing_end("pg_mshare_thaw");
	unlock();
	return now.kind != CLOSING_NONE;
}

/* ----------
 * The worker
 * ----------
 */

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

	if (!lock_within(LOCK_TIMEOUT_US))
		return;					/* "urgent" stays, and we come again */
	pg_atomic_exchange_u32(&shared->urgent, 0);

	/* That may have been another closing's. */
	worker_read_denials();
	now = closing_read();
	locked = processes_parked(PARKED_UNDER_HEADER_LOCK) > 0;
	if (now.kind == CLOSING_NONE || (!locked && !denials_lost()))
	{
		unlock();
		return;
	}

	SpinLockAcquire(&shared->mutex);
	reclosing = ++shared->closing.reclosings;
	SpinLockRelease(&shared->mutex);
	if (reclosing > mshare_debug_max_reclosings)
	{
		ereport(WARNING,
				(errmsg("the closing of the buffer pool is given up"),
				 errdetail("%d times a process had to write while it held a buffer header's spinlock.",
						   reclosing),
				 errhint("Hint bits of many pages are being set; try again later.")));
		closing_end("header locks");
		pg_atomic_fetch_add_u64(&counters->given_up, 1);
		unlock();
		return;
	}

	plan = pool_plan();
	for (int i = 0; i < plan->nranges; i++)
	{
		if (plan->ranges[i].protection != POOL_READWRITE)
			closed[nclosed++] = plan->ranges[i];
	}
	reopen(&whole, 1, &result);
	for (int waited = 0; waited < RELIEF_TIMEOUT_US; waited += RELIEF_POLL_US)
	{
		denials_read(true);
		if (processes_parked(PARKED_UNDER_HEADER_LOCK) == 0)
			break;
		pg_usleep(RELIEF_POLL_US);
	}
	if (!pool_protect(closed, nclosed, change_deadline(&now), &result))
		closing_end("closing failed");
	ereport(LOG,
			(errmsg("pg_mshare: buffer pool reopened for a moment, as %s (%d of %d)",
					locked ? "a process had to write while it held a buffer header's spinlock" :
					"the kernel dropped events, and a process may hold a buffer header's spinlock",
					reclosing, mshare_debug_max_reclosings)));
	unlock();
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
	check_closing(POOL_READ);
	if (!lock_within(LOCK_TIMEOUT_US))
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("another change of the buffer pool's protection does not end")));
	refuse_closed(CLOSING_NONE);
	freeze_pool(mshare_freeze_timeout * INT64CONST(1000));
	return "the buffer pool is frozen";
}

static const char *
worker_thaw(void)
{
	Closing		now = closing_read();

	if (now.kind == CLOSING_NONE)
		return "nothing was closed";
	end_closing(now.serial, "pg_mshare_ctl");
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

	SpinLockAcquire(&shared->mutex);
	shared->worker = NULL;
	SpinLockRelease(&shared->mutex);

	now = closing_read();
	if (now.kind != CLOSING_NONE)
		end_closing(now.serial, "freeze worker exits");

	denials_finish();
	control_shutdown();

	/* Until here, parked processes could count on us. */
	shared->worker_pid = 0;
}

static void
worker_start(void)
{
	Closing		now;

	before_shmem_exit(worker_exit, 0);
	SpinLockAcquire(&shared->mutex);
	shared->worker = MyProc;
	shared->worker_pid = MyProcPid;
	shared->worker_wakes_at = NEVER;
	SpinLockRelease(&shared->mutex);

	now = closing_read();
	if (now.kind != CLOSING_NONE)
		end_closing(now.serial, "freeze worker starts");
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

	SpinLockAcquire(&shared->mutex);
	if (shared->closing.kind != CLOSING_NONE)
		shared->worker_wakes_at = shared->closing.deadline;
	else if (shared->worker_wakes_at <= now)
		shared->worker_wakes_at = NEVER;
	wakes_at = shared->worker_wakes_at;
	SpinLockRelease(&shared->mutex);

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
			pg_atomic_exchange_u32(&shared->urgent, 1);
		if (pg_atomic_read_u32(&shared->urgent))
			worker_relieve();
		if (control_pending())
			worker_obey();
		fault_log_tell(false);

		now = closing_read();
		if (now.kind != CLOSING_NONE && monotonic_us() >= now.deadline)
			end_closing(now.serial, "timeout");

		nap = pg_atomic_read_u32(&shared->urgent) ? 0 : worker_nap();
		events = WaitLatchOrSocket(MyLatch,
								   WL_LATCH_SET | WL_POSTMASTER_DEATH |
								   (nap >= 0 ? WL_TIMEOUT : 0) |
								   (denials_fd() >= 0 ? WL_SOCKET_READABLE : 0),
								   denials_fd(), nap, wait_event(WAIT_OF_FREEZE_WORKER));
		if (events & WL_POSTMASTER_DEATH)
			proc_exit(1);
	}
}
