/*-------------------------------------------------------------------------
 *
 * counters.c
 *	  What pg_mshare_status counts, for those who scrape it.
 *
 * Counters begin at 0 when the server starts and never go back: they are in shared
 * memory of our own, so that they outlive a crash restart.
 *
 * Reads from disk into closed buffers that failed are known from the region's events
 * (denials.c).  Where there are none, nobody tells but the error that PostgreSQL raises,
 * so those are counted that go to the server log.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/mman.h>

#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_database.h"
#include "fmgr.h"
#include "utils/fmgrprotos.h"

#include "pg_mshare.h"

Counters   *counters = NULL;

static emit_log_hook_type prev_emit_log_hook = NULL;

static void
count_failed_read(ErrorData *edata)
{
	if (edata->elevel >= ERROR && edata->saved_errno == EFAULT &&
		!fault_mode_has_events())
		pg_atomic_fetch_add_u64(&counters->failed_reads, 1);
	if (prev_emit_log_hook)
		prev_emit_log_hook(edata);
}

/* In the postmaster, at each (re)start */
void
counters_startup(void)
{
	if (counters != NULL)
	{
		/* A closing may have been cut short. */
		counters_opened();
		return;
	}

	/* It is zeroed, and that is what the counters begin with. */
	counters = mmap(NULL, sizeof(Counters), PROT_READ | PROT_WRITE,
					MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (counters == MAP_FAILED)
		ereport(FATAL,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("could not map %zu bytes of shared memory for pg_mshare: %m",
						sizeof(Counters))));
	for (ClosingKind kind = CLOSING_NONE; kind <= CLOSING_WATCH; kind++)
		pg_atomic_init_u64(&counters->closings[kind], 0);
	pg_atomic_init_u64(&counters->given_up, 0);
	pg_atomic_init_u64(&counters->failed_reads, 0);
	pg_atomic_init_u64(&counters->reads_before, 0);
	pg_atomic_init_u64(&counters->hand_before, 0);

	prev_emit_log_hook = emit_log_hook;
	emit_log_hook = count_failed_read;
}

/*
 * A closing begins, or ends, or how long all of them have lasted: each under the
 * spinlock that guards what is closed (closing.h).
 */
void
counters_closed(ClosingKind kind)
{
	pg_atomic_fetch_add_u64(&counters->closings[kind], 1);
	counters->closed_since_us = monotonic_us();
}

void
counters_opened(void)
{
	counters->closed_us = counters_closed_us();
	counters->closed_since_us = 0;
}

int64
counters_closed_us(void)
{
	return counters->closed_us +
		(counters->closed_since_us ? monotonic_us() - counters->closed_since_us : 0);
}

/* Blocks of a database that were read from disk, ever; 0: what databases share */
static int64
database_reads(Oid database)
{
	return DatumGetInt64(DirectFunctionCall1(pg_stat_get_db_blocks_fetched, database)) -
		DatumGetInt64(DirectFunctionCall1(pg_stat_get_db_blocks_hit, database));
}

/* Those of all databases, as far as sessions have reported them */
static int64
all_reads(void)
{
	Relation	relation = table_open(DatabaseRelationId, AccessShareLock);
	TableScanDesc scan = table_beginscan_catalog(relation, 0, NULL);
	int64		reads = database_reads(InvalidOid);
	HeapTuple	tuple;

	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
		reads += database_reads(((Form_pg_database) GETSTRUCT(tuple))->oid);
	table_endscan(scan);
	table_close(relation, AccessShareLock);
	return reads;
}

/*
 * Is the pool smaller than what is read?  Then blocks are read while it is open, and will
 * have to be while it is closed.  It is if buffers were taken from other blocks since
 * this was asked before, so that the hand has moved that looks for them, or if more
 * blocks were read than there are buffers: large scans use a few buffers only.  How many
 * were read before the server's start is known when this is asked first.  Returns how
 * many blocks, at least; 0: it is not.
 */
int64
counters_reads_since(void)
{
	uint32		passes;
	uint64		hand = StrategySyncStart(&passes, NULL);
	uint64		reads = all_reads();
	uint64		reads_before = pg_atomic_exchange_u64(&counters->reads_before, reads);
	uint64		hand_before;
	int64		since = reads_before > 0 ? reads - reads_before : 1;

	hand += (uint64) passes * NBuffers;
	hand_before = pg_atomic_exchange_u64(&counters->hand_before, hand);
	if ((hand == hand_before || hand <= free_buffers_passed()) && since <= NBuffers)
		return 0;
	return Max(since, 0);
}
