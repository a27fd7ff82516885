/*-------------------------------------------------------------------------
 *
 * wait_events.c
 *	  What pg_stat_activity calls our waits.
 *
 * Before PostgreSQL 17 an extension has no names of its own: all are "Extension".
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/wait_event.h"

#include "pg_mshare.h"

static const char *const names[] = {
	[WAIT_FOR_OPENING] = "PgMshareClosed",
	[WAIT_FOR_ANSWERS] = "PgMshareAnswers",
	[WAIT_FOR_CLOSING] = "PgMshareChange",
	[WAIT_FOR_END_OF_FLIP] = "PgMshareHold",
	[WAIT_FOR_WRITES] = "PgMshareWatch",
	[WAIT_FOR_PINS] = "PgMsharePinned",
	[WAIT_OF_FREEZE_WORKER] = "PgMshareFreezeMain",
	[WAIT_OF_RESIZE_WORKER] = "PgMshareResizeMain",
};

static uint32 events[lengthof(names)];

/* In the postmaster, at each (re)start, as the names are in shared memory */
void
wait_events_startup(void)
{
	for (int i = 0; i < lengthof(names); i++)
		events[i] = WaitEventExtensionNew(names[i]);
}

/* Async-signal-safe */
uint32
wait_event(WaitFor wait)
{
	return events[wait];
}

/* For what is looked at again and again */
void
wait_nap(WaitFor wait, long us)
{
	pgstat_report_wait_start(wait_event(wait));
	pg_usleep(us);
	pgstat_report_wait_end();
}
