/*-------------------------------------------------------------------------
 *
 * fault_log.c
 *	  The last accesses to closed buffers: who, what, and how long it waited.
 *
 * A ring in shared memory of our own, so that it outlives a crash restart: with
 * on_fault = crash the last entry names who brought the server down.
 *
 * It is written by signal handlers, which take no lock and may die half way.
 * Faults are numbered; number n goes to entry n modulo the size.  A writer clears
 * the entry's number, fills it in, and sets the number; a reader that finds
 * the same number before and after has read a whole fault.  How long the fault
 * waited comes later, when the entry may have been taken by another: that word
 * carries the low bits of its fault's number, and changes by compare-and-exchange.
 *
 * What is to be told of a fault at once is written to standard error, by who has it:
 * that may be all that he gets to do.  Of the server's log that is the plain text
 * only.  So it is left here too, numbered as faults are, and the freeze worker tells
 * it to whatever else log_destination has; or the postmaster, when it restarts the
 * server after a crash, or ends.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/mman.h>

#include "storage/ipc.h"
#include "utils/elog.h"

#include "pg_mshare.h"

/* How many messages are kept until they are told */
#define MESSAGES			64

/* The word "waited": the low bits of the number above, microseconds below */
#define WAITED_BITS			40
#define WAITED_MASK			((UINT64CONST(1) << WAITED_BITS) - 1)
#define WAITED_NOT_ENDED	WAITED_MASK
#define WAITED(number, us)	((uint64) (number) << WAITED_BITS | (us))

typedef struct FaultEntry
{
	pg_atomic_uint32 number;	/* of the fault that is here; 0: none */
	pg_atomic_uint64 waited;
	Fault		fault;
} FaultEntry;

typedef struct FaultMessage
{
	pg_atomic_uint32 number;	/* of the message that is here; 0: none */
	char		text[FAULT_MESSAGE_SIZE];
} FaultMessage;

typedef struct FaultLog
{
	pg_atomic_uint32 last;		/* number of the last fault; a futex */
	FaultEntry	entries[FAULT_LOG_SIZE];
	pg_atomic_uint32 last_message;
	uint32		told;			/* the last that needs no more telling */
	FaultMessage messages[MESSAGES];
} FaultLog;

static FaultLog *fault_log = NULL;

/* In the postmaster, when it has no children */
static void
tell_all(int code, Datum arg)
{
	fault_log_tell(true);
}

/* In the postmaster, at each (re)start */
void
fault_log_startup(void)
{
	if (fault_log != NULL)
	{
		fault_log_tell(true);
		return;
	}

	fault_log = mmap(NULL, sizeof(FaultLog), PROT_READ | PROT_WRITE,
					 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (fault_log == MAP_FAILED)
		ereport(FATAL,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("could not map %zu bytes of shared memory for pg_mshare: %m",
						sizeof(FaultLog))));

	pg_atomic_init_u32(&fault_log->last, 0);
	for (int i = 0; i < FAULT_LOG_SIZE; i++)
	{
		pg_atomic_init_u32(&fault_log->entries[i].number, 0);
		pg_atomic_init_u64(&fault_log->entries[i].waited, 0);
	}
	pg_atomic_init_u32(&fault_log->last_message, 0);
	for (int i = 0; i < MESSAGES; i++)
		pg_atomic_init_u32(&fault_log->messages[i].number, 0);
	on_proc_exit(tell_all, 0);
}

/* Note a fault; returns its number.  Async-signal-safe */
uint32
fault_log_add(const Fault *fault)
{
	uint32		number = pg_atomic_add_fetch_u32(&fault_log->last, 1);
	FaultEntry *entry = &fault_log->entries[number % FAULT_LOG_SIZE];

	pg_atomic_exchange_u32(&entry->number, 0);
	entry->fault = *fault;
	pg_atomic_write_u64(&entry->waited, WAITED(number, WAITED_NOT_ENDED));
	pg_atomic_exchange_u32(&entry->number, number);
	futex_wake_all(&fault_log->last);
	return number;
}

/* Note that a fault's wait has ended.  Async-signal-safe */
void
fault_log_end(uint32 number, int64 waited_us)
{
	FaultEntry *entry = &fault_log->entries[number % FAULT_LOG_SIZE];
	uint64		expected = WAITED(number, WAITED_NOT_ENDED);

	pg_atomic_compare_exchange_u64(&entry->waited, &expected,
								   WAITED(number, Min(waited_us, WAITED_MASK - 1)));
}

/* The number of the last fault, 0 if there was none. */
uint32
fault_log_last(void)
{
	return pg_atomic_read_u32(&fault_log->last);
}

/* Sleep until there is one after "last". */
void
fault_log_wait(uint32 last, int64 timeout_us)
{
	futex_wait(&fault_log->last, last, timeout_us);
}

/*
 * Read a fault and how long it waited, -1: it has not ended.  False if its entry
 * is not written yet, or overwritten.
 */
bool
fault_log_read(uint32 number, Fault *fault, int64 *waited_us)
{
	FaultEntry *entry = &fault_log->entries[number % FAULT_LOG_SIZE];
	uint64		waited;

	if (number == 0 || pg_atomic_read_u32(&entry->number) != number)
		return false;
	pg_read_barrier();
	*fault = entry->fault;
	waited = pg_atomic_read_u64(&entry->waited);
	pg_read_barrier();
	if (pg_atomic_read_u32(&entry->number) != number)
		return false;

	waited &= WAITED_MASK;
	*waited_us = waited == WAITED_NOT_ENDED ? -1 : (int64) waited;
	return true;
}

/* Leave a message for the server's log.  Async-signal-safe */
void
fault_log_message(const char *text)
{
	uint32		number = pg_atomic_add_fetch_u32(&fault_log->last_message, 1);
	FaultMessage *message = &fault_log->messages[number % MESSAGES];

	pg_atomic_exchange_u32(&message->number, 0);
	strlcpy(message->text, text, sizeof(message->text));
	pg_atomic_exchange_u32(&message->number, number);
	freeze_wake_worker();
}

/*
 * Tell what was left, but not to standard error, which has it.  One that is still being
 * written is waited for, unless nobody is left to write it.
 */
void
fault_log_tell(bool alone)
{
	uint32		last = pg_atomic_read_u32(&fault_log->last_message);
	int			destinations = Log_destination;

	if (last - fault_log->told > MESSAGES)
		fault_log->told = last - MESSAGES;
	for (; fault_log->told != last; fault_log->told++)
	{
		uint32		number = fault_log->told + 1;
		FaultMessage *message = &fault_log->messages[number % MESSAGES];
		char		text[FAULT_MESSAGE_SIZE];

		strlcpy(text, message->text, sizeof(text));
		if (pg_atomic_read_u32(&message->number) != number)
		{
			if (!alone)
				break;
			continue;
		}
		Log_destination &= ~LOG_DESTINATION_STDERR;
		if (Log_destination != 0)
			ereport(LOG,
					(errmsg_internal("%s", text)));
		Log_destination = destinations;
	}
}
