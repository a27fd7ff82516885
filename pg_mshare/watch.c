/*-------------------------------------------------------------------------
 *
 * watch.c
 *	  Which relations are written, seen by closing the pool.
 *
 * The pool is closed and cut into granules.  The first write into each granule
 * parks its process and enters the fault log; the watching session reads the log,
 * notes what the buffer holds, and opens the granule for everybody.  So a granule
 * costs one fault, however many processes write to it, and what is written
 * to it later is not seen.
 *
 * Neighbours that are open merge into one range.  Where the ranges would become too
 * many, granules become larger.
 *
 * While it is closed the session touches no page, and answers a cancel by ending
 * the watch.  Should it die or be stopped, the freeze worker opens the pool.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "storage/bufmgr.h"
#include "utils/wait_event.h"

#include "pg_mshare.h"

/* How often the session looks for a cancel, and for a fault not yet written */
#define CANCEL_CHECK_US		(100 * 1000)
#define RETRY_US			1000
/* A fault that is not there after so many looks has died while it was written */
#define MAX_RETRIES			100

static void
watch_note(Watch *watch, int *room, const Fault *fault)
{
	if (watch->nwrites == *room)
	{
		*room *= 2;
		watch->writes = repalloc_huge(watch->writes, *room * sizeof(Fault));
	}
	watch->writes[watch->nwrites++] = *fault;
}

static int
compare_ints(const void *a, const void *b)
{
	int			x = *(const int *) a;
	int			y = *(const int *) b;

	return x < y ? -1 : x > y;
}

/* The granules of the writes from "from" on as ranges to open, in palloc'd memory */
static PoolRange *
watch_ranges(const Watch *watch, int from, int *nranges)
{
	int			n = watch->nwrites - from;
	int		   *granules = palloc(n * sizeof(int));
	PoolRange  *ranges = palloc(n * sizeof(PoolRange));
	PoolRange  *last = NULL;

	for (int i = 0; i < n; i++)
		granules[i] = watch->writes[from + i].buffer / watch->granule;
	qsort(granules, n, sizeof(int), compare_ints);

	*nranges = 0;
	for (int i = 0; i < n; i++)
	{
		int			first = granules[i] * watch->granule;
		int			end = Min(first + watch->granule, NBuffers);

		if (last != NULL && first <= last->first + last->count)
			last->count = end - last->first;
		else
		{
			last = &ranges[(*nranges)++];
			*last = (PoolRange) {first, end - first, POOL_READWRITE};
		}
	}
	pfree(granules);
	return ranges;
}

/* Open what the writes from "from" on are about; false: the watch is over. */
static bool
watch_open(Watch *watch, uint64 serial, int from)
{
	int			nranges;
	PoolRange  *ranges = watch_ranges(watch, from, &nranges);
	int			limit = pool_ranges_limit();
	WatchOpening opening = closing_watch_open(serial, ranges, nranges, false);

	if (opening == WATCH_TOO_MANY_RANGES)
	{
		/* The larger granules swallow those that are open, and leave room. */
		do
		{
			watch->granule = Min(watch->granule, NBuffers / 2 + 1) * 2;
			pfree(ranges);
			ranges = watch_ranges(watch, 0, &nranges);
		} while (4 * nranges > limit && watch->granule < NBuffers);
		opening = closing_watch_open(serial, ranges, nranges, true);
	}
	pfree(ranges);
	return opening == WATCH_OPENED;
}

/* Reads from disk were let in as writes are, but are none. */
static void
watch_drop_reads(Watch *watch)
{
	int			kept = 0;

	for (int i = 0; i < watch->nwrites; i++)
	{
		if (!watch->writes[i].system_call)
			watch->writes[kept++] = watch->writes[i];
	}
	watch->nwrites = kept;
}

/* By relation, then granule */
static int
compare_writes(const void *a, const void *b, void *arg)
{
	const Fault *x = a;
	const Fault *y = b;
	int			granule = *(int *) arg;
	int			order = watch_compare_relations(x, y);

	if (order == 0)
		order = x->buffer / granule - y->buffer / granule;
	return order;
}

int
watch_compare_relations(const Fault *x, const Fault *y)
{
	if (x->holds_block != y->holds_block)
		return x->holds_block ? -1 : 1;
	if (!x->holds_block)
		return 0;

#define COMPARE(field) \
	if (field(&x->tag) != field(&y->tag)) \
		return field(&x->tag) < field(&y->tag) ? -1 : 1
	COMPARE(buftag_database);
	COMPARE(buftag_tablespace);
	COMPARE(buftag_relfilenode);
#undef COMPARE
	return 0;
}

/*
 * Read the faults after "next" that are there and note them.  Returns the number of
 * the last one that was read.
 */
static uint32
watch_read(Watch *watch, int *room, uint32 next)
{
	static int	retries = 0;
	uint32		last = fault_log_last();
	Fault		fault;
	int64		waited_us;

	while (next != last)
	{
		if (fault_log_read(next + 1, &fault, &waited_us))
			watch_note(watch, room, &fault);
		else if (last - next < FAULT_LOG_SIZE && ++retries < MAX_RETRIES)
			break;
		retries = 0;
		next++;
	}
	return next;
}

/*
 * Close the pool for that long and see which granules are written first by what.
 * The result is palloc'd.
 */
Watch *
watch_writes(int64 duration_us, int granule)
{
	Watch	   *watch = palloc0(sizeof(Watch));
	int			room = 1024;
	uint32		next;
	uint64		serial;
	int64		end;

	watch->granule = granule;
	watch->writes = palloc(room * sizeof(Fault));

	next = fault_log_last();
	serial = closing_watch(duration_us, &end);
	PG_TRY();
	{
		while (!QueryCancelPending && !ProcDiePending)
		{
			int64		left = end - monotonic_us();
			int			from = watch->nwrites;
			uint32		last = fault_log_last();

			if (left <= 0)
				break;
			if (!closing_is(serial))
			{
				watch->ended_early = true;
				break;
			}
			if (last == next)
			{
				pgstat_report_wait_start(wait_event(WAIT_FOR_WRITES));
				fault_log_wait(last, Min(left, CANCEL_CHECK_US));
				pgstat_report_wait_end();
				continue;
			}
			next = watch_read(watch, &room, next);
			if (watch->nwrites == from)
				pg_usleep(RETRY_US);
			else if (!watch_open(watch, serial, from))
				watch->ended_early = true;
		}
	}
	PG_FINALLY();
	{
		closing_watch_end(serial);
	}
	PG_END_TRY();
	RESUME_INTERRUPTS();
	CHECK_FOR_INTERRUPTS();

	watch_drop_reads(watch);
	qsort_arg(watch->writes, watch->nwrites, sizeof(Fault), compare_writes,
			  &watch->granule);
	return watch;
}
