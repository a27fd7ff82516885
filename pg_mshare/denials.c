/*-------------------------------------------------------------------------
 *
 * denials.c
 *	  What the kernel tells of accesses that it denied, and who waits for that.
 *
 * A process that waits in the kernel runs no code of ours, so the freeze worker does
 * for it, from the region's events, what the signal handler would have done: enter
 * the fault into the log, count the process among those that wait, give it a wait
 * event, add how long it waited, and, first of all, look whether it holds the lock of
 * its buffer's header (faults.c).  A waiting process takes no lock and lets go of
 * none, so one look at its denial is enough; during a watch, whose session opens what
 * is written, only those that still wait after a while are looked at.
 *
 * Of a wait that was granted under a header lock, its end is not the end: until the
 * process has got a processor and has let go of the lock, the pool must stay open, or
 * it would wait again.
 *
 * The kernel keeps 1,024 events.  If some were lost, a process may wait under a header
 * lock unseen; then the pool is reopened for a moment too.
 *
 * Where processes do not wait in the kernel, stores are told of by the signal handler,
 * and system calls, which have failed, by the events still.
 *
 * All of this is the freeze worker's.  Nothing here touches a page.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <unistd.h>

#include <linux/msharefs.h>

#include "storage/proc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "pg_mshare.h"

typedef struct Wait
{
	uint32		tid;
	uint64		region_offset;
	uint64		began_ns;		/* CLOCK_MONOTONIC */
	Fault		fault;
	uint32		number;			/* in the fault log */
	Parked		parked;
	bool		granted;		/* but still under the header lock */
	PGPROC	   *proc;			/* whose wait event was set, or NULL */
	uint32		wait_event_before;
} Wait;

static Wait *waits = NULL;
static int	nwaits = 0;
static int	room = 0;

/* Events were, so that somebody may wait of whom we do not know. */
static bool lost = false;

/* Where there are events to be read, -1: nowhere */
int
denials_fd(void)
{
	return fault_mode_has_events() ? region_fd : -1;
}

/* Change another process's wait event, unless it has just done so itself. */
static bool
replace_wait_event(PGPROC *proc, uint32 from, uint32 to)
{
	return __atomic_compare_exchange_n(&proc->wait_event_info, &from, to, false,
									   __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

static Wait *
find_wait(const struct mshare_event *event)
{
	for (int i = 0; i < nwaits; i++)
	{
		if (waits[i].tid == event->tid && !waits[i].granted &&
			waits[i].region_offset == event->region_offset)
			return &waits[i];
	}
	return NULL;
}

static void
wait_begin(const struct mshare_event *event, const Fault *fault, uint32 number,
		   PGPROC *proc)
{
	Wait		wait = {
		.tid = event->tid,
		.region_offset = event->region_offset,
		.began_ns = event->time_ns,
		.fault = *fault,
		.number = number,
		.parked = PARKED,
		.proc = proc
	};

	if (wait.proc)
	{
		wait.wait_event_before = wait.proc->wait_event_info;
		if (!replace_wait_event(wait.proc, wait.wait_event_before,
								wait_event(WAIT_FOR_OPENING)))
			wait.proc = NULL;
	}
	process_set_waiting(fault->pid, PARKED);

	if (nwaits == room)
	{
		room = room ? 2 * room : 64;
		waits = waits ? repalloc(waits, room * sizeof(Wait)) :
			MemoryContextAlloc(TopMemoryContext, room * sizeof(Wait));
	}
	waits[nwaits++] = wait;
}

static void
wait_forget(Wait *wait)
{
	process_set_waiting(wait->fault.pid, PARKED_NOT);
	*wait = waits[--nwaits];
}

static void
wait_end(Wait *wait, int64 waited_us)
{
	fault_log_end(wait->number, waited_us);
	if (wait->proc)
		replace_wait_event(wait->proc, wait_event(WAIT_FOR_OPENING),
						   wait->wait_event_before);
	if (wait->parked == PARKED_UNDER_HEADER_LOCK)
		wait->granted = true;
	else
		wait_forget(wait);
}

static FaultAccess
event_access(const struct mshare_event *event)
{
	if (event->access & MSHARE_ACCESS_WRITE)
		return FAULT_WRITE;
	return event->access & MSHARE_ACCESS_EXEC ? FAULT_EXEC : FAULT_READ;
}

/* A read from disk writes into its buffer. */
static void
count_failure(const Fault *fault)
{
	if (fault->system_call && fault->access == FAULT_WRITE)
		pg_atomic_fetch_add_u64(&counters->failed_reads, 1);
}

static void
note_denial(const struct mshare_event *event, TimestampTz now, uint64 now_ns)
{
	bool		system_call = event->flags & MSHARE_EVENT_KERNEL;
	Fault		fault = {
		.time = now - (int64) (now_ns - event->time_ns) / 1000,
		.pid = event->pid,
		.access = event_access(event),
		.system_call = system_call,
		.buffer = event->region_offset / BLCKSZ,
	};
	PGPROC	   *proc;
	uint32		number;

	if (!system_call && mshare_kernel_waits == KERNEL_WAITS_OFF)
		return;					/* the handler tells */
	if (fault.buffer >= NBuffers)
		return;					/* the rest of the last huge page */

	proc = process_find_proc(fault.pid);
	fault.backend_type = proc_backend_type(proc);
	fault_name_block(&fault);
	number = fault_log_add(&fault);
	if (!system_call || mshare_kernel_waits == KERNEL_WAITS_ALL)
		wait_begin(event, &fault, number, proc);
	else
	{
		fault_log_end(number, 0);	/* has failed at once */
		count_failure(&fault);
	}
}

static void
note_event(const struct mshare_event *event, TimestampTz now, uint64 now_ns)
{
	if (event->flags & MSHARE_EVENT_LOST)
		lost = true;
	if (event->flags & MSHARE_EVENT_DONE)
	{
		Wait	   *wait = find_wait(event);

		if (wait && (event->flags & MSHARE_EVENT_TIMEOUT))
			count_failure(&wait->fault);
		if (wait)
			wait_end(wait, event->waited_ns / 1000);
	}
	else
		note_denial(event, now, now_ns);
}

static void
read_events(void)
{
	struct mshare_event events[64];
	ssize_t		got;

	while ((got = read(region_fd, events, sizeof(events))) > 0)
	{
		TimestampTz now = GetCurrentTimestamp();
		uint64		now_ns = monotonic_ns();

		for (int i = 0; i < got / sizeof(events[0]); i++)
			note_event(&events[i], now, now_ns);
	}
}

/* Drop the waits that began before then: their ends must have been lost. */
static void
forget_before(uint64 then_ns)
{
	for (int i = nwaits - 1; i >= 0; i--)
	{
		if (waits[i].began_ns < then_ns && !waits[i].granted)
		{
			waits[i].parked = PARKED;
			wait_end(&waits[i], (then_ns - waits[i].began_ns) / 1000);
		}
	}
}

/* Has somebody been found who waits under a header lock? */
static bool
look_at_header_locks(void)
{
	bool		found = false;
	TimestampTz now = GetCurrentTimestamp();

	for (int i = nwaits - 1; i >= 0; i--)
	{
		Wait	   *wait = &waits[i];

		if (wait->granted)
		{
			if (!header_is_locked(wait->fault.buffer))
				wait_forget(wait);
		}
		else if (wait->parked == PARKED && !wait->fault.system_call &&
				 (!closing_is_watch() || now - wait->fault.time >= WAIT_CHECK_US) &&
				 header_is_locked(wait->fault.buffer))
		{
			wait->parked = PARKED_UNDER_HEADER_LOCK;
			process_set_waiting(wait->fault.pid, wait->parked);
			fault_tell(&wait->fault, -1, WAITS_UNDER_HEADER_LOCK);
			found = true;
		}
	}
	return found && !mshare_debug_ignore_header_lock;
}

/*
 * Read what has come.  "pool_open" says that all of the pool was open when it was
 * looked at before: what had waited until then waits no more.  Returns whether the pool
 * must be reopened for the sake of a header lock.
 */
bool
denials_read(bool pool_open)
{
	uint64		start_ns;

	if (denials_fd() < 0)
		return false;
	start_ns = monotonic_ns();
	read_events();
	if (pool_open)
	{
		forget_before(start_ns);
		lost = false;
	}
	return look_at_header_locks() || lost;
}

/* Does anybody wait in the kernel? */
bool
denials_waiting(void)
{
	return nwaits > 0;
}

/* Were there denials of which we do not know?  They are forgotten then. */
bool
denials_lost(void)
{
	bool		were = lost;

	lost = false;
	return were;
}

/* The pool is open, and the worker ends. */
void
denials_finish(void)
{
	if (denials_fd() < 0)
		return;
	read_events();
	forget_before(monotonic_ns());
	while (nwaits > 0)
		wait_forget(&waits[nwaits - 1]);
}
