/*-------------------------------------------------------------------------
 *
 * overdue.c
 *	  Closings that have not ended when they should have.
 *
 * The freeze worker may be stopped.  A second after the deadline whoever is parked in a
 * signal handler opens the pool in its place, and so does the postmaster, for those who
 * wait in the kernel, or whose reads fail: a closing that might outlast the timer that
 * runs there, if one does, sends it the flip signal, and it sets the timer.  They open on
 * paper what never changes (pool.c), take no lock, and leave the closing noted, until
 * the worker goes on or somebody thaws.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>
#include <time.h>

#include "closing.h"
#include "pg_mshare.h"

/* How long after its deadline a closing that has not ended is ended by anybody */
#define OVERDUE_US			INT64CONST(1000000)

/* How often who closes looks whether all openers have done it */
#define OPENERS_CHECK_US	100

/* The postmaster's; its children do not inherit it. */
static timer_t guard_timer;
static bool guard_is_there = false;

/*
 * When the closing that is noted is overdue, NEVER: none is.  Reads without a lock
 * what closing_begin() writes in this order.
 */
int64
overdue_at(void)
{
	if (closing_shared->closing.kind == CLOSING_NONE)
		return NEVER;
	pg_read_barrier();
	return closing_shared->closing.deadline + OVERDUE_US;
}

/*
 * Open the pool if the closing is overdue and has not been opened.  Returns how long it
 * is until then.  Called with the flip signal blocked; async-signal-safe
 *
 * Somebody may end this closing and begin the next one meanwhile, which must not be
 * opened: who closes waits for openers after it has moved the generation on
 * (overdue_await_openers()), and those who come later find that nothing is overdue.
 */
int64
overdue_open(void)
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
		overdue_tell();
	pg_atomic_fetch_sub_u32(&pool->openers, 1);
	return NEVER;
}

/* One that is killed in between, or stopped, is not waited for for long. */
void
overdue_await_openers(void)
{
	for (int64 end = monotonic_us() + OVERDUE_US;
		 pg_atomic_read_u32(&pool->openers) != 0 && monotonic_us() < end;)
		pg_usleep(OPENERS_CHECK_US);
}

static bool
guard_looks_before(int64 overdue)
{
	int64		guard_at = pg_atomic_read_u64(&closing_shared->guard_at);

	return guard_at <= overdue && guard_at > monotonic_us();
}

/*
 * The flip signal's handler: in the postmaster, open what is overdue, or see that the
 * timer comes in time.
 */
void
overdue_guard(void)
{
	struct itimerspec timer = {0};
	int64		next;

	if (!guard_is_there || getpid() != PostmasterPid || closing_shared == NULL)
		return;
	overdue_open();
	next = overdue_at();
	if (next == NEVER || next <= monotonic_us() || guard_looks_before(next))
		return;
	timer.it_value.tv_sec = next / 1000000;
	timer.it_value.tv_nsec = next % 1000000 * 1000;
	timer_settime(guard_timer, TIMER_ABSTIME, &timer, NULL);
	pg_atomic_write_u64(&closing_shared->guard_at, next);
}

/* Once, in the postmaster, after the pool is mapped */
void
overdue_guard_startup(bool has_signal)
{
	struct sigevent event = {
		.sigev_notify = SIGEV_THREAD_ID,
		.sigev_signo = FLIP_SIGNAL,
		._sigev_un._tid = getpid()
	};

	guard_is_there = has_signal &&
		timer_create(CLOCK_MONOTONIC, &event, &guard_timer) == 0;
	if (!guard_is_there)
		ereport(LOG,
				(errmsg("pg_mshare: the postmaster cannot end closings that the freeze worker does not end"),
				 errdetail("Signal %d is already in use, or there are too many timers.", FLIP_SIGNAL)));
}

/* A closing was noted: see that the postmaster looks when it is overdue. */
void
overdue_guard_closing(void)
{
	if (guard_is_there && !guard_looks_before(overdue_at()))
		process_send_flip(PostmasterPid);
}
