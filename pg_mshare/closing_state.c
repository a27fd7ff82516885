/*-------------------------------------------------------------------------
 *
 * closing_state.c
 *	  What is closed and until when, as every process may ask.
 *
 * Closings themselves are in closing.c.  Nothing here waits for anybody: signal handlers
 * ask too, and while a closing begins or ends others see it by these words only.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/shmem.h"

#include "closing.h"
#include "pg_mshare.h"

ClosingShared *closing_shared = NULL;

/* In the shared-memory request hook */
void
closing_request(void)
{
	RequestAddinShmemSpace(MAXALIGN(sizeof(ClosingShared)));
	RequestNamedLWLockTranche("pg_mshare", 1);
}

/* The postmaster leaves shared memory, and its signal handler must not look there. */
static void
closing_detach(int code, Datum arg)
{
	closing_shared = NULL;
}

/* In the shared-memory startup hook, at each (re)start */
void
closing_startup(void)
{
	ClosingShared *new;
	bool		found;

	new = ShmemInitStruct("pg_mshare", sizeof(ClosingShared), &found);
	memset(new, 0, sizeof(*new));
	closing_shared = new;
	on_shmem_exit(closing_detach, 0);
	closing_shared->lock = &GetNamedLWLockTranche("pg_mshare")->lock;
	ConditionVariableInit(&closing_shared->lock_released);
	pg_atomic_init_u32(&closing_shared->urgent, 0);
	pg_atomic_init_u64(&closing_shared->guard_at, 0);
	pg_atomic_init_u64(&closing_shared->wanted_at, 0);
	SpinLockInit(&closing_shared->mutex);
}

Closing
closing_read(void)
{
	Closing		copy;

	SpinLockAcquire(&closing_shared->mutex);
	copy = closing_shared->closing;
	SpinLockRelease(&closing_shared->mutex);
	return copy;
}

/* Is that closing still in force? */
bool
closing_is(uint64 serial)
{
	Closing		now = closing_read();

	return now.kind != CLOSING_NONE && now.serial == serial;
}

/* Is a closing noted?  Reads without the lock; async-signal-safe */
bool
closing_is_noted(void)
{
	return closing_shared->closing.kind != CLOSING_NONE;
}

/*
 * Async-signal-safe.  Parked writers are relieved one by one then, before a header
 * lock is held for long.
 */
bool
closing_is_watch(void)
{
	return closing_shared->closing.kind == CLOSING_WATCH;
}

TimestampTz
closing_frozen_since(void)
{
	Closing		now = closing_read();

	return now.kind == CLOSING_FREEZE ? now.since : 0;
}

/* The closing that is under way is to be given up, if it is still that one. */
void
closing_give_up(uint64 serial)
{
	SpinLockAcquire(&closing_shared->mutex);
	closing_shared->unwanted = serial;
	SpinLockRelease(&closing_shared->mutex);
}

/* Asked by who is closing, while it waits for other processes */
bool
closing_is_unwanted(void)
{
	bool		unwanted;

	SpinLockAcquire(&closing_shared->mutex);
	unwanted = closing_shared->closing.kind != CLOSING_NONE &&
		closing_shared->closing.serial == closing_shared->unwanted;
	SpinLockRelease(&closing_shared->mutex);
	return unwanted || QueryCancelPending || ProcDiePending || ShutdownRequestPending;
}

bool
freeze_worker_is_running(void)
{
	bool		running;

	SpinLockAcquire(&closing_shared->mutex);
	running = closing_shared->worker != NULL;
	SpinLockRelease(&closing_shared->mutex);
	return running;
}

/* Async-signal-safe */
bool
freeze_worker_alive(void)
{
	int			pid = closing_shared->worker_pid;

	return pid != 0 && kill(pid, 0) == 0;
}

/* Async-signal-safe */
void
freeze_wake_worker(void)
{
	PGPROC	   *worker = closing_shared->worker;

	if (worker != NULL)
		SetLatch(&worker->procLatch);
}

/* Called by a process about to sleep under a header lock; async-signal-safe */
void
freeze_urgent(void)
{
	pg_atomic_exchange_u32(&closing_shared->urgent, 1);
	freeze_wake_worker();
}
