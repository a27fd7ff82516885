/*-------------------------------------------------------------------------
 *
 * resize.c
 *	  How much of the buffer pool is in use.
 *
 * The pool is mapped, and has headers and a hash table, for shared_buffers at the start
 * of the server.  Buffers from the *target* on are retired: written if dirty, emptied,
 * and their pages given back to the kernel, for all processes at once.  Growing takes
 * them into use again.
 *
 * A retired buffer holds no block, and has a reference count of 1 that is ours.  So to
 * the server it is one that somebody is about to read a block into: the clock sweep and
 * the rings of large scans pass it over, the free list drops it, and without a tag
 * nobody finds it.  It gets there as any buffer does that the server empties: with the
 * lock of its hash partition held exclusively and its header locked, if nobody has it
 * pinned and it is clean.  A buffer that is pinned, or dirty again, is left and tried
 * again, then with the partition's lock held for a moment in which its users may go, and
 * no others come.
 *
 * Which buffers are retired is a bitmap in shared memory of our own.  It outlives a crash
 * restart, as the target does: before anything else starts, what was retired or is above
 * the target is so again.
 *
 * Work is done by the session that asks, or by the resize worker: a background worker
 * that follows pg_mshare.target_size when the configuration is read again, and goes on
 * with what a session could not have.  It is done in steps.  Each takes the lock of
 * closing.c, so that nothing is closed meanwhile, and looks whether its request is still
 * the last one, by "serial": a later one overtakes those before.  Between steps a
 * closing may come, and is waited for; what it closed has to stay what it is.  Dirty
 * buffers are written before the step, without the lock.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/mman.h>
#include <unistd.h>

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/bufmgr.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/spin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/wait_event.h"

#include "pg_mshare.h"

/* Buffers that are retired or taken into use at once: 8 MB, and whole huge pages */
#define STEP_BUFFERS		1024

/* How many buffers each process must be able to pin */
#define BUFFERS_PER_PROCESS	16

/* How often pinned buffers are tried, and for how long without having one */
#define PINNED_RETRY_MS		10
#define PINNED_RETRY_MAX_MS	200
#define PINNED_PATIENCE_US	INT64CONST(5000000)

/*
 * How long those who look for blocks in a hash partition may wait for a buffer's users,
 * and how long a step may wait for those of all its buffers
 */
#define INSIST_US			3000
#define INSIST_STEP_US		10000
#define INSIST_POLL_US		50

/* How often a step looks whether it may go on, and for how long it lets all others go first */
#define LOCK_RETRY_MS		10
#define YIELD_US			INT64CONST(1000000)

/* How often the worker tries what others hold pinned */
#define WORKER_RETRY_MS		5000

/* How many buffers an error names, and how many processes */
#define MAX_NAMED_BUFFERS	3
#define MAX_NAMED_PROCESSES	8

typedef struct ResizeShared
{
	slock_t		mutex;			/* guards what follows, up to the bitmap */
	uint64		serial;			/* of the last request */
	int			target;			/* buffers */
	int			setting;		/* pg_mshare.target_size, as it was last followed */
	int			session;		/* the process that does it; 0: the worker may */
	PGPROC	   *worker;

	/* Changed only with the lock in closing.c held */
	pg_atomic_uint32 nretired;
	uint64		retired[FLEXIBLE_ARRAY_MEMBER];
} ResizeShared;

static ResizeShared *shared = NULL;

typedef struct Request
{
	uint64		serial;
	int			target;
} Request;

typedef enum Outcome
{
	RESIZE_DONE,
	RESIZE_PINNED,				/* done, but for buffers that are pinned */
	RESIZE_OVERTAKEN			/* or the worker has something else to do */
} Outcome;

PGDLLEXPORT void pg_mshare_resize_worker_main(Datum arg);

/* ----------
 * Sizes
 * ----------
 */

/* Buffers that share a page, which are all in use or not */
static int
page_buffers(void)
{
	return Max(pool_page_size / BLCKSZ, 1);
}

static int
round_up(int buffer)
{
	return Min(TYPEALIGN(page_buffers(), buffer), NBuffers);
}

/* With less, processes would not find the buffers that they need at the same time. */
static int
least_target(void)
{
	return Min(BUFFERS_PER_PROCESS * (MaxBackends + NUM_AUXILIARY_PROCS), NBuffers);
}

/* What pg_mshare.target_size comes to */
static int
target_of_setting(int setting)
{
	if (setting == 0 || setting > NBuffers)
		return NBuffers;
	return round_up(Max(setting, least_target()));
}

static Size
kilobytes(int buffers)
{
	return (Size) buffers * (BLCKSZ / 1024);
}

static void
complain_of_setting(int setting)
{
	int			least = least_target();

	if (setting > NBuffers || (setting > 0 && setting < least))
		ereport(WARNING,
				(errmsg("pg_mshare.target_size is %s",
						setting > NBuffers ? "larger than shared_buffers" : "too small"),
				 errdetail("%zu kB are used instead.",
						   kilobytes(target_of_setting(setting))),
				 setting > NBuffers ? 0 :
				 errhint("max_connections and the like allow for %d processes, each of which may need %d buffers at the same time.",
						 MaxBackends + NUM_AUXILIARY_PROCS, BUFFERS_PER_PROCESS)));
}

/* What of the pool is to be populated when it is mapped, or mapped anew */
Size
resize_populated_bytes(void)
{
	int			target = shared != NULL && shared->setting == mshare_target_size ?
		shared->target : target_of_setting(mshare_target_size);

	return (Size) target * BLCKSZ;
}

/* ----------
 * The bitmap
 * ----------
 */

static bool
is_retired(int buffer)
{
	return (shared->retired[buffer / 64] >> (buffer % 64)) & 1;
}

static void
note_retired(int buffer, bool retired)
{
	uint64		bit = UINT64CONST(1) << (buffer % 64);

	if (retired)
	{
		shared->retired[buffer / 64] |= bit;
		pg_atomic_fetch_add_u32(&shared->nretired, 1);
	}
	else
	{
		shared->retired[buffer / 64] &= ~bit;
		pg_atomic_fetch_sub_u32(&shared->nretired, 1);
	}
}

/* The first buffer from "first" on that is retired or not; end: there is none */
static int
find(bool retired, int first, int end)
{
	uint64		none = retired ? 0 : ~UINT64CONST(0);

	while (first < end)
	{
		if (first % 64 == 0 && shared->retired[first / 64] == none)
			first += 64;
		else if (is_retired(first) == retired)
			return first;
		else
			first++;
	}
	return end;
}

/* ----------
 * Pages
 * ----------
 */

static bool
advise_buffers(int first, int end, int advice)
{
	PoolRange	range = {first, end - first, POOL_READWRITE};
	Size		offset;
	Size		bytes;

	pool_range_bytes(&range, &offset, &bytes);
	return provider->advise(offset, bytes, advice);
}

/*
 * Give back the pages of buffers that have just been retired.  One that others are on is
 * given back with the last of them.  False with errno set
 */
static bool
give_back(int first, int end)
{
	int			unit = page_buffers();
	int			page = first - first % unit;

	first = find(false, page, first) == first ? page : round_up(first);
	page = end - end % unit;
	end = find(false, end, round_up(end)) == round_up(end) ? round_up(end) : page;

	return first >= end || advise_buffers(first, end, MADV_REMOVE);
}

/* ----------
 * Buffers
 * ----------
 */

/* The header is locked, and nobody has the buffer pinned. */
static void
take(BufferDesc *header, BufferState state)
{
	ClearBufferTag(&header->tag);
	buffer_unlock_header_with(header, state, BUF_FLAG_MASK | BUF_USAGECOUNT_MASK, 1);
}

static void
take_into_use(int buffer)
{
	BufferDesc *header = GetBufferDescriptor(buffer);
	BufferState state = LockBufHdr(header);

	Assert(BUF_STATE_GET_REFCOUNT(state) == 1 && !(state & BM_TAG_VALID));
	buffer_unlock_header_with(header, state, 0, -1);
	note_retired(buffer, false);
	StrategyFreeBuffer(header);
}

/*
 * Write a dirty buffer, unless somebody is changing it, and perhaps waits while he does.
 * Raises an error if it cannot be written.
 */
static void
flush(int buffer)
{
	BufferDesc *header = GetBufferDescriptor(buffer);
	BufferState state = LockBufHdr(header);
	BufferTag	tag = header->tag;

	buffer_unlock_header(header, state);
	if ((state & (BM_TAG_VALID | BM_VALID | BM_DIRTY)) != (BM_TAG_VALID | BM_VALID | BM_DIRTY) ||
		!buftag_pin(&tag, buffer + 1))
		return;
	if (buffer_lock_for_flush(header))
	{
		FlushOneBuffer(buffer + 1);
		buffer_unlock_content(header);
	}
	ReleaseBuffer(buffer + 1);
}

/*
 * Retire a buffer, if nobody has it pinned and it is clean.  Until "patience_ends", by
 * monotonic_us(), let those go who use it, and come no others; 0: do not.
 */
static bool
retire(int buffer, int64 patience_ends, ResizeResult *result)
{
	BufferDesc *header = GetBufferDescriptor(buffer);
	BufferState state = LockBufHdr(header);
	BufferTag	tag = header->tag;
	int64		end;
	uint32		hash;
	LWLock	   *partition;
	bool		done = false;

	if (!(state & BM_TAG_VALID))
	{
		/* One that is pinned is about to hold a block. */
		if (BUF_STATE_GET_REFCOUNT(state) > 0)
		{
			buffer_unlock_header(header, state);
			return false;
		}
		take(header, state);
		note_retired(buffer, true);
		return true;
	}
	buffer_unlock_header(header, state);
	if (patience_ends == 0 && (BUF_STATE_GET_REFCOUNT(state) > 0 || (state & BM_DIRTY)))
		return false;

	hash = BufTableHashCode(&tag);
	partition = BufMappingPartitionLock(hash);
	end = Min(monotonic_us() + INSIST_US, patience_ends);
	LWLockAcquire(partition, LW_EXCLUSIVE);
	for (;;)
	{
		state = LockBufHdr(header);
		if (!(state & BM_TAG_VALID) || !BufferTagsEqual(&header->tag, &tag))
		{
			buffer_unlock_header(header, state);
			break;
		}
		if (BUF_STATE_GET_REFCOUNT(state) == 0 && !(state & BM_DIRTY))
		{
			take(header, state);
			BufTableDelete(&tag, hash);
			note_retired(buffer, true);
			result->evicted++;
			done = true;
			break;
		}
		buffer_unlock_header(header, state);
		if (monotonic_us() >= end)
			break;
		if (state & BM_DIRTY)
			flush(buffer);
		if (BUF_STATE_GET_REFCOUNT(state) > 0)
			wait_nap(WAIT_FOR_PINS, INSIST_POLL_US);
	}
	LWLockRelease(partition);
	return done;
}

/*
 * Is the buffer pinned by this process, and by nobody else?  Another pin of ours is not
 * counted in the header.
 */
static bool
is_pinned_by_us(int buffer)
{
	BufferDesc *header = GetBufferDescriptor(buffer);
	BufferState state = LockBufHdr(header);
	BufferTag	tag = header->tag;
	bool		by_us;

	buffer_unlock_header(header, state);
	if (!(state & BM_TAG_VALID) || BUF_STATE_GET_REFCOUNT(state) != 1 ||
		!buftag_pin(&tag, buffer + 1))
		return false;
	state = buffer_state(header);
	by_us = BUF_STATE_GET_REFCOUNT(state) == 1;
	ReleaseBuffer(buffer + 1);
	state = buffer_state(header);
	return by_us && BUF_STATE_GET_REFCOUNT(state) == 1;
}

/* ----------
 * Requests
 * ----------
 */

int
resize_target(void)
{
	return shared->target;
}

int
resize_in_use(void)
{
	return NBuffers - pg_atomic_read_u32(&shared->nretired);
}

/* A new target; session: the process that will see to it, 0: the worker */
static Request
request_begin(int target, int session)
{
	Request		request = {.target = target};

	SpinLockAcquire(&shared->mutex);
	request.serial = ++shared->serial;
	shared->target = target;
	shared->session = session;
	SpinLockRelease(&shared->mutex);
	return request;
}

static Request
request_read(int *session)
{
	Request		request;

	SpinLockAcquire(&shared->mutex);
	request.serial = shared->serial;
	request.target = shared->target;
	*session = shared->session;
	SpinLockRelease(&shared->mutex);
	return request;
}

/*
 * A session does no more for its request.  "reached": the target is what it got to; what
 * is above that and was pinned, or what it has been asked for, is the worker's.
 */
static void
request_end(const Request *request, bool reached)
{
	PGPROC	   *worker = NULL;
	int			target = reached ? find(true, 0, NBuffers) : request->target;

	SpinLockAcquire(&shared->mutex);
	if (shared->serial == request->serial)
	{
		shared->session = 0;
		shared->target = target;
		worker = shared->worker;
	}
	SpinLockRelease(&shared->mutex);
	if (worker != NULL)
		SetLatch(&worker->procLatch);
}

static void
request_give_up(int code, Datum arg)
{
	request_end((Request *) DatumGetPointer(arg), true);
}

/* Is the worker to do something else?  A session that is cancelled does not return. */
static bool
told_to_stop(void)
{
	CHECK_FOR_INTERRUPTS();
	return MyProc == shared->worker && (ShutdownRequestPending || ConfigReloadPending);
}

static void
nap(int ms, WaitFor wait)
{
	WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms,
			  wait_event(wait));
	ResetLatch(MyLatch);
}

/* Begin a step: take the lock when nothing is closed.  False: the request is no more. */
static bool
step_begin(const Request *request)
{
	int64		end = monotonic_us() + YIELD_US;

	while (!told_to_stop())
	{
		if (closing_try_lock_open(monotonic_us() < end))
		{
			int			session;

			if (request_read(&session).serial == request->serial)
				return true;
			closing_unlock();
			return false;
		}
		nap(LOCK_RETRY_MS, WAIT_FOR_CLOSING);
	}
	return false;
}

/* ----------
 * Steps
 * ----------
 */

/* Take what is retired below the target into use again. */
static bool
grow(const Request *request)
{
	bool		populate = mshare_populate || pool_page_size > sysconf(_SC_PAGESIZE);
	int			first;

	while ((first = find(true, 0, request->target)) < request->target)
	{
		int			end = Min(first - first % STEP_BUFFERS + STEP_BUFFERS, request->target);
		int			page = first - first % page_buffers();
		int			sys_errno = 0;

		if (!step_begin(request))
			return false;

		/* A huge page that was given back has no reservation any more. */
		if (populate && !advise_buffers(page, end, MADV_POPULATE_WRITE))
			sys_errno = errno;
		for (int i = first; i < end && sys_errno == 0; i++)
		{
			if (is_retired(i))
				take_into_use(i);
		}
		closing_unlock();
		if (sys_errno != 0)
		{
			errno = sys_errno;
			ereport(ERROR,
					(errcode(ERRCODE_OUT_OF_MEMORY),
					 errmsg("could not get memory for more shared buffers: %m"),
					 errdetail("%zu kB are in use.", kilobytes(resize_in_use())),
					 pool_page_size > sysconf(_SC_PAGESIZE) ?
					 memory_errhint_huge((Size) (request->target - first) * BLCKSZ, sys_errno, false) : 0));
		}
	}
	return true;
}

/* Retire first .. end - 1, as far as that is possible; the lock is held. */
static void
retire_step(int first, int end, bool insist, ResizeResult *result)
{
	int64		patience_ends = insist ? monotonic_us() + INSIST_STEP_US : 0;
	int			sys_errno = 0;

	for (int i = first; i < end && sys_errno == 0;)
	{
		int			next = i;

		if (is_retired(i))
		{
			i++;
			continue;
		}
		while (next < end && !is_retired(next) && retire(next, patience_ends, result))
		{
			next++;
			if (insist)
				break;			/* the next one may have to be written, and fail */
		}
		if (next > i && !give_back(i, next))
		{
			sys_errno = errno;
			while (next > i)
				take_into_use(--next);
		}
		i = insist ? Max(next, i + 1) : next + 1;
	}
	if (sys_errno != 0)
	{
		closing_unlock();
		errno = sys_errno;
		ereport(ERROR,
				(errcode(ERRCODE_SYSTEM_ERROR),
				 errmsg("could not give back the memory of shared buffers: %m"),
				 errdetail("%zu kB are in use.", kilobytes(resize_in_use()))));
	}
}

/*
 * Retire what is above the target, from the end.  Returns how many buffers remain, or -1
 * if the request is no more.
 */
static int
shrink(const Request *request, bool insist, ResizeResult *result)
{
	int			left = 0;
	int			end = NBuffers;

	while (end > request->target)
	{
		int			first = Max((end - 1) / STEP_BUFFERS * STEP_BUFFERS, request->target);

		if (find(false, first, end) < end)
		{
			for (int i = find(false, first, end); i < end; i = find(false, i + 1, end))
			{
				CHECK_FOR_INTERRUPTS();
				if (buffer_state(GetBufferDescriptor(i)) & BM_DIRTY)
					flush(i);
			}
			if (!step_begin(request))
				return -1;
			retire_step(first, end, insist, result);
			for (int i = find(false, first, end); i < end; i = find(false, i + 1, end))
				left++;
			closing_unlock();
		}
		end = first;
	}
	return left;
}

/* Are all buffers that remain pinned by this session itself? */
static bool
only_we_pin(const Request *request)
{
	for (int i = find(false, request->target, NBuffers); i < NBuffers;
		 i = find(false, i + 1, NBuffers))
	{
		if (!is_pinned_by_us(i))
			return false;
	}
	return true;
}

static Outcome
follow(const Request *request, int64 patience_us, ResizeResult *result)
{
	int			least_left = 0;
	int64		end = 0;

	if (!grow(request))
		return RESIZE_OVERTAKEN;
	for (int pass = 0;; pass++)
	{
		int			left = shrink(request, pass > 0, result);

		if (left < 0)
			return RESIZE_OVERTAKEN;
		if (left == 0)
			return RESIZE_DONE;
		if (pass == 0)
			result->waited = left;
		else if (only_we_pin(request))
			return RESIZE_PINNED;
		if (pass == 0 || left < least_left)
		{
			least_left = left;
			end = monotonic_us() + patience_us;
		}
		else if (monotonic_us() >= end)
			return RESIZE_PINNED;
		nap(Min(PINNED_RETRY_MS << Min(pass, 10), PINNED_RETRY_MAX_MS), WAIT_FOR_PINS);
	}
}

/* ----------
 * What is in the way
 * ----------
 */

/* The sessions that have a relation locked, and so may have its blocks pinned */
static void
append_holders(StringInfo text, Oid database, Oid relation)
{
	LOCKTAG		tag;
	VirtualTransactionId *holders;
	int			nholders;
	int			named = 0;

	SET_LOCKTAG_RELATION(tag, database, relation);
	holders = GetLockConflicts(&tag, AccessExclusiveLock, &nholders);
	for (int i = 0; i < nholders && named < MAX_NAMED_PROCESSES; i++)
	{
		PGPROC	   *proc = vxid_proc(holders[i]);

		if (proc != NULL && proc->pid != 0)
			appendStringInfo(text, "%s%d",
							 named++ == 0 ? ", which is locked by process " : ", ", proc->pid);
	}
	if (nholders > MAX_NAMED_PROCESSES)
		appendStringInfo(text, " and %d others", nholders - MAX_NAMED_PROCESSES);
}

static void
append_buffer(StringInfo text, int buffer)
{
	BufferDesc *header = GetBufferDescriptor(buffer);
	BufferState state = LockBufHdr(header);
	BufferTag	tag = header->tag;
	Oid			relation = InvalidOid;

	buffer_unlock_header(header, state);
	if (!(state & BM_TAG_VALID))
	{
		appendStringInfo(text, "Buffer %d is being filled. ", buffer + 1);
		return;
	}
	appendStringInfo(text, "Buffer %d holds block %u of ", buffer + 1, tag.blockNum);

	/* The worker has no catalogs, and ours are not those of other databases. */
	if (IsTransactionState() &&
		(buftag_database(&tag) == MyDatabaseId || buftag_database(&tag) == InvalidOid))
		relation = RelidByRelfilenumber(buftag_tablespace(&tag), buftag_relfilenode(&tag));
	if (OidIsValid(relation))
	{
		char	   *name = get_rel_name(relation);

		appendStringInfo(text, "relation \"%s\"", name != NULL ? name : "?");
		append_holders(text, buftag_database(&tag), relation);
		if (is_pinned_by_us(buffer))
			appendStringInfoString(text, ", and pinned by this session, perhaps by a cursor");
	}
	else
		appendStringInfo(text, "file %u of database %u",
						 buftag_relfilenode(&tag), buftag_database(&tag));
	appendStringInfoString(text, ". ");
}

/* Report buffers above the target that are pinned. */
static void
report_pinned(const Request *request, int elevel)
{
	StringInfoData text;
	int			left = 0;

	initStringInfo(&text);
	for (int i = find(false, request->target, NBuffers); i < NBuffers;
		 i = find(false, i + 1, NBuffers))
	{
		if (left++ < MAX_NAMED_BUFFERS)
			append_buffer(&text, i);
	}
	if (left == 0)
		return;					/* the worker was faster */
	ereport(elevel,
			(errcode(ERRCODE_OBJECT_IN_USE),
			 errmsg_plural("%d of the buffers above %zu kB is in use all the time",
						   "%d of the buffers above %zu kB are in use all the time",
						   left, left, kilobytes(request->target)),
			 errdetail("%s%zu kB are in use.", text.data, kilobytes(resize_in_use())),
			 errhint("An open cursor or a query that does not go on keeps its buffers pinned. The resize worker goes on trying; pg_mshare_resize('0') takes all into use again.")));
}

static void
report_done(const Request *request, int before, int64 start, const ResizeResult *result)
{
	if (before == resize_in_use())
		return;
	ereport(LOG,
			(errmsg("pg_mshare: shared buffers in use went from %zu kB to %zu kB in %.3f ms, %d blocks were evicted",
					kilobytes(before), kilobytes(resize_in_use()),
					(monotonic_us() - start) / 1000.0, result->evicted),
			 errhidestmt(true)));
}

/* ----------
 * The session that asks
 * ----------
 */

static int
target_of_bytes(int64 bytes)
{
	int64		buffers = bytes / BLCKSZ + (bytes % BLCKSZ > 0);
	int			least = least_target();

	if (bytes == 0)
		return NBuffers;
	if (buffers > NBuffers)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the size cannot be larger than shared_buffers, %zu kB",
						kilobytes(NBuffers)),
				 errhint("For more raise shared_buffers and restart the server. '0' is all of it.")));
	if (bytes < 0 || buffers < least)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the size must be at least %zu kB", kilobytes(least)),
				 errdetail("max_connections and the like allow for %d processes, each of which may need %d buffers at the same time.",
						   MaxBackends + NUM_AUXILIARY_PROCS, BUFFERS_PER_PROCESS),
				 errhint("'0' is all of shared_buffers.")));
	return round_up(buffers);
}

void
resize(int64 bytes, ResizeResult *result)
{
	int			target = target_of_bytes(bytes);
	int			before = resize_in_use();
	int64		start = monotonic_us();
	Outcome		outcome;
	Request		request;

	memset(result, 0, sizeof(*result));
	closing_refuse();
	request = request_begin(target, MyProcPid);
	PG_ENSURE_ERROR_CLEANUP(request_give_up, PointerGetDatum(&request));
	{
		outcome = follow(&request, PINNED_PATIENCE_US, result);
	}
	PG_END_ENSURE_ERROR_CLEANUP(request_give_up, PointerGetDatum(&request));
	request_end(&request, false);

	switch (outcome)
	{
		case RESIZE_DONE:
			report_done(&request, before, start, result);
			break;
		case RESIZE_PINNED:
			report_pinned(&request, ERROR);
			break;
		case RESIZE_OVERTAKEN:
			ereport(ERROR,
					(errcode(ERRCODE_OPERATOR_INTERVENTION),
					 errmsg("another size was asked for meanwhile"),
					 errdetail("%zu kB are in use.", kilobytes(resize_in_use()))));
	}
	result->target = target;
	result->in_use = resize_in_use();
}

/* ----------
 * Start
 * ----------
 */

static void
map_shared(void)
{
	Size		bytes = offsetof(ResizeShared, retired) + (NBuffers / 64 + 1) * sizeof(uint64);

	/* It is zeroed. */
	shared = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		ereport(FATAL,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("could not map %zu bytes of shared memory for pg_mshare: %m", bytes)));
	pg_atomic_init_u32(&shared->nretired, 0);
	shared->setting = -1;
}

/*
 * In the postmaster, at each (re)start, after the pool is mapped and before anything else
 * starts: nobody has a buffer, and the free list will drop what is retired.
 */
void
resize_startup(void)
{
	if (shared == NULL)
		map_shared();
	SpinLockInit(&shared->mutex);
	shared->serial++;
	shared->session = 0;
	shared->worker = NULL;
	if (shared->setting != mshare_target_size)
	{
		complain_of_setting(mshare_target_size);
		shared->setting = mshare_target_size;
		shared->target = target_of_setting(mshare_target_size);
	}

	/* Whoever did it may have been killed halfway. */
	pg_atomic_write_u32(&shared->nretired, 0);
	for (int i = find(true, 0, NBuffers); i < NBuffers; i = find(true, i + 1, NBuffers))
		pg_atomic_fetch_add_u32(&shared->nretired, 1);

	/* What was retired stays so; the worker takes it into use if the target is larger. */
	for (int i = find(false, shared->target, NBuffers); i < NBuffers;
		 i = find(false, i + 1, NBuffers))
		note_retired(i, true);
	for (int i = find(true, 0, NBuffers); i < NBuffers; i = find(true, i + 1, NBuffers))
		buffer_state_init(GetBufferDescriptor(i), BUF_REFCOUNT_ONE);

	if (shared->target == NBuffers)
		return;
	if (!give_back(shared->target, NBuffers))
		ereport(WARNING,
				(errmsg("could not give back the memory of shared buffers: %m")));
	ereport(LOG,
			(errmsg("pg_mshare: %zu kB of %zu kB of shared buffers are in use",
					kilobytes(shared->target), kilobytes(NBuffers))));
}

/* ----------
 * The worker
 * ----------
 */

static void
worker_exit(int code, Datum arg)
{
	SpinLockAcquire(&shared->mutex);
	shared->worker = NULL;
	SpinLockRelease(&shared->mutex);
}

/* Follow pg_mshare.target_size if it has changed. */
static void
worker_follow_setting(void)
{
	if (shared->setting == mshare_target_size)
		return;
	complain_of_setting(mshare_target_size);
	SpinLockAcquire(&shared->mutex);
	shared->setting = mshare_target_size;
	SpinLockRelease(&shared->mutex);
	request_begin(target_of_setting(mshare_target_size), 0);
}

/* Do what is left to do; returns how long to sleep, in ms, -1: for ever. */
static long
worker_resize(void)
{
	static uint64 told = 0;		/* the request of which we said what is in the way */
	int			session;
	Request		request = request_read(&session);
	int			before = resize_in_use();
	int64		start = monotonic_us();
	ResizeResult result = {0};

	if (session != 0 ||
		(find(true, 0, request.target) == request.target &&
		 find(false, request.target, NBuffers) == NBuffers))
		return -1;
	switch (follow(&request, told == request.serial ? 0 : PINNED_PATIENCE_US, &result))
	{
		case RESIZE_DONE:
			report_done(&request, before, start, &result);
			return -1;
		case RESIZE_PINNED:
			if (told != request.serial)
				report_pinned(&request, LOG);
			told = request.serial;
			return WORKER_RETRY_MS;
		case RESIZE_OVERTAKEN:
			return 0;
	}
	return 0;
}

/*
 * An error, for instance a block that cannot be written, ends the worker, and the
 * postmaster starts it again.
 */
void
pg_mshare_resize_worker_main(Datum arg)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	BackgroundWorkerUnblockSignals();
	CreateAuxProcessResourceOwner();
	CurrentMemoryContext = AllocSetContextCreate(TopMemoryContext, "pg_mshare resize worker",
												 ALLOCSET_DEFAULT_SIZES);

	before_shmem_exit(worker_exit, 0);
	SpinLockAcquire(&shared->mutex);
	shared->worker = MyProc;
	SpinLockRelease(&shared->mutex);

	for (;;)
	{
		long		sleep_ms;

		ResetLatch(MyLatch);
		if (ShutdownRequestPending)
			proc_exit(1);		/* not 0, or the postmaster would not start us again */
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		worker_follow_setting();
		sleep_ms = worker_resize();
		MemoryContextReset(CurrentMemoryContext);
		if (sleep_ms != 0)
			WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH |
					  (sleep_ms > 0 ? WL_TIMEOUT : 0), sleep_ms,
					  wait_event(WAIT_OF_RESIZE_WORKER));
	}
}
