/*-------------------------------------------------------------------------
 *
 * closing.h
 *	  What the files that close and open the pool share: closing_state.c, overdue.c,
 *	  closing.c and freeze_worker.c.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLOSING_H
#define CLOSING_H

#include "storage/condition_variable.h"
#include "storage/lwlock.h"
#include "storage/spin.h"

#include "pg_mshare.h"

/* How long to wait for the lock before opening without; less than what is overdue */
#define LOCK_TIMEOUT_US		INT64CONST(500000)

/* When the worker wakes if it need not, and when what is not closed is overdue */
#define NEVER				PG_INT64_MAX

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

typedef struct ClosingShared
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
} ClosingShared;

/* ----------
 * closing_state.c
 * ----------
 */
extern ClosingShared *closing_shared;

extern Closing closing_read(void);
extern void closing_give_up(uint64 serial);
extern bool freeze_worker_is_running(void);

/* ----------
 * overdue.c
 * ----------
 */
extern int64 overdue_at(void);
extern void overdue_guard_closing(void);

/* ----------
 * closing.c
 * ----------
 */
extern bool closing_lock_within(int64 timeout_us);
extern void closing_check(PoolProtection protection);
extern void closing_refuse_other(ClosingKind allowed);
extern TimestampTz closing_change_deadline(const Closing *closing);
extern void closing_reopen(const PoolRange *ranges, int nranges, FlipResult *result);
extern void closing_freeze_locked(int64 timeout_us);
extern void closing_end(const char *why);
extern void closing_end_anyhow(uint64 serial, const char *why);

#endif							/* CLOSING_H */
