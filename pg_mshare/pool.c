/*-------------------------------------------------------------------------
 *
 * pool.c
 *	  The buffer pool's mapping and the plan of its protection.
 *
 * The pool stays *in place* where the server's own blocks begin with a page, as they
 * do from PostgreSQL 16 on, so that its memory is counted once.  What is before it and
 * behind it in the server's shared memory shares no page with it, and keeps its rights.
 * The server makes its shared memory anew after a crash, perhaps at another address, and
 * the syslogger detaches from it.  With provider mprotect the pool is the server's own
 * mapping.  That takes pages of 4 KiB: huge ones would be shared with the neighbours; and
 * the logger has no pool.  With provider mshare it is a window, which all processes keep.
 *
 * Elsewhere the pool is *moved*: it is mapped once, by the postmaster, and lives as long
 * as it does: every child inherits it at the same address, across crash restarts too.  The
 * syslogger survives such a restart with the old mapping, so a fresh pool each
 * time would leak the whole old one.  Its pages are given back instead.
 *
 * Which buffers have which protection is written down in a *plan*, in shared
 * memory of our own, because the logger detaches from the server's and because
 * it has to outlive a crash restart.  There are two plans; the generation
 * counter says which one is in force, and the other one is written while nobody
 * needs it.  Readers take no lock, as they are signal handlers: they read the
 * counter, use the plan, and start again if the counter has moved.  Writers
 * hold the lock in closing.c.  A third plan, that all is open, never changes: who finds
 * that a closing does not end can put it into force without a lock, by moving the
 * counter on.  The counter is the futex that parked faults wait
 * on, so there is no moment between "still closed" and "asleep" to miss a
 * wakeup in.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "miscadmin.h"
#include "portability/instr_time.h"
#include "storage/bufmgr.h"
#include "storage/ipc.h"
#include "storage/pg_shmem.h"
#include "utils/timestamp.h"

#include "pg_mshare.h"

/* How long the restart of a crashed server waits for the logger's answer */
#define RESTART_TIMEOUT_MS 5000

#define PAGE_TABLE_ENTRY_BYTES 8

/* A generation: which plan, and above that a count that is never 0 */
#define PLAN_OF(generation)	((generation) & 3)
#define PLAN_OPEN			2
#define GENERATION_FIRST	4

const Provider *provider = NULL;
PoolControl *pool = NULL;
char	   *pool_base = NULL;
Size		pool_mapped_bytes = 0;
Size		pool_page_size = 0;
bool		pool_in_place = false;
Size		pool_populate_bytes = 0;

/* Has the postmaster detached from its shared memory? */
static volatile sig_atomic_t detached = false;

/* Can the blocks stay where the server has them? */
static bool
blocks_can_stay(const Provider *by)
{
	Size		bytes = (Size) NBuffers * BLCKSZ;
	Size		page_size = memory_page_size(BufferBlocks);
	bool		by_window = by == &provider_mshare;

	if (!BUFFER_BLOCKS_ARE_PAGES || (mshare_debug_move_pool && !by_window))
		return false;
	if (page_size == MEMORY_HUGE_PAGE_SIZE)
		return by_window && bytes >= 2 * page_size;
	return page_size == sysconf(_SC_PAGESIZE) && mshare_huge_pages == POOL_HUGE_OFF &&
		(uintptr_t) BufferBlocks % page_size == 0 && bytes % page_size == 0;
}

static char *
map_by(const Provider *by, int elevel)
{
	provider = by;
	pool_in_place = blocks_can_stay(by);
	pool_mapped_bytes = (Size) NBuffers * BLCKSZ;
	return by->map(&pool_mapped_bytes, &pool_page_size, elevel);
}

/* For ereport(): the server's own area is in huge pages, and most of them stay unused. */
static int
errhint_huge_pages(Size bytes)
{
	const char *setting = huge_pages == HUGE_PAGES_ON ? "on" : "try";

	if (pool_page_size == MEMORY_HUGE_PAGE_SIZE)
		return errhint("huge_pages = %s has reserved as many again for the server's own area, in which the pool's place stays unused. Set huge_pages to off.",
					   setting);
	return errhint("huge_pages = %s has reserved huge pages for the server's own area, in which the pool's place stays unused. Set huge_pages to off, and pg_mshare.huge_pages to on to have the pool in %zu huge pages of 2 MB.",
				   setting,
				   TYPEALIGN(MEMORY_HUGE_PAGE_SIZE, bytes) / MEMORY_HUGE_PAGE_SIZE);
}

static void
pool_map(const Provider *wanted, bool fallback)
{
	Size		bytes;
	Size		stock_page_size = memory_page_size(BufferBlocks);
	PoolControl *control;
	char	   *base;

	control = mmap(NULL, sizeof(PoolControl), PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (control == MAP_FAILED)
		ereport(FATAL,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("could not map %zu bytes of shared memory for pg_mshare: %m",
						sizeof(PoolControl))));

	/* Generation 0 means "unknown" in processes.c. */
	pg_atomic_init_u32(&control->generation, GENERATION_FIRST);
	pg_atomic_init_u32(&control->openers, 0);
	pg_atomic_init_u64(&control->waits, 0);
	pg_atomic_init_u64(&control->flips, 0);
	pg_atomic_init_u64(&control->last_flip_ns, 0);
	control->plans[0].nranges = 1;
	control->plans[0].ranges[0] = (PoolRange) {0, NBuffers, POOL_READWRITE};
	control->plans[0].change = control->plans[0].ranges[0];
	control->plans[PLAN_OPEN] = control->plans[0];
	pool = control;

	base = map_by(wanted, fallback ? LOG : FATAL);
	if (base == NULL)
		base = map_by(&provider_mprotect, FATAL);
	bytes = pool_mapped_bytes;
	pool_base = base;

	ereport(LOG,
			(errmsg("pg_mshare: provider %s maps %zu MB of shared buffers at %p, in pages of %zu kB, %s",
					provider->name, bytes / (1024 * 1024), base, pool_page_size / 1024,
					pool_in_place ? "where the server has them" : "moved out of the server's own area"),
			 errdetail(provider == &provider_mshare ?
					   "All processes share page tables of %zu kB, once all of it is touched." :
					   "Each process has page tables of its own, of %zu kB once it has touched all of it.",
					   bytes / pool_page_size * PAGE_TABLE_ENTRY_BYTES / 1024),
			 !pool_in_place && stock_page_size > sysconf(_SC_PAGESIZE) ?
			 errhint_huge_pages(bytes) : 0));
}

/* The server starts again after a crash: everything may be half closed. */
static void
pool_reopen(void)
{
	PoolRange	whole = {0, NBuffers, POOL_READWRITE};
	FlipResult	result;

	/* One may have been killed. */
	pg_atomic_write_u32(&pool->openers, 0);
	if (!pool_protect(&whole, 1,
					  GetCurrentTimestamp() + RESTART_TIMEOUT_MS * INT64CONST(1000),
					  &result))
	{
		errno = result.sys_errno;
		ereport(result.sys_errno == ETIMEDOUT ? WARNING : FATAL,
				(errcode(ERRCODE_SYSTEM_ERROR),
				 errmsg("could not reopen the buffer pool after a crash: %m"),
				 result.pid != 0 ?
				 errdetail("Process %d did not answer.", result.pid) : 0));
	}
}

/*
 * What the pool holds after a crash is worth nothing, and its pages may be what the
 * others were killed for: they go back to the system before anything else starts, as
 * they do without us, when the server's whole shared memory is made anew.  The memory
 * stays promised to the pool.
 *
 * Huge pages would go back without that: the reservation of one ends with the page, and
 * whoever is faster has it.  They stay, being of no use to others anyway.
 *
 * In place the pool is made anew with the server's shared memory.
 */
static void
pool_give_back(void)
{
	if (!pool_in_place && pool_page_size > sysconf(_SC_PAGESIZE))
		return;
	if (!pool_in_place && !provider->advise(0, pool_mapped_bytes, MADV_REMOVE))
		ereport(WARNING,
				(errmsg("could not give back the buffer pool's memory after a crash: %m")));
	if (pool_populate_bytes > 0 &&
		!provider->advise(0, pool_populate_bytes, MADV_POPULATE_WRITE))
		ereport(WARNING,
				(errmsg("could not populate the buffer pool after a crash: %m")));
}

/*
 * The postmaster is about to detach from its shared memory.  If it exits, it may have
 * children still, and the region ends with the last of them.
 */
static void
pool_detach(int code, Datum arg)
{
	detached = true;
	if (provider->release && !proc_exit_inprogress)
		provider->release();
}

/*
 * Does this process have the pool?  Where that is the server's own mapping, the logger
 * has not, nor the postmaster between a crash and the new start.  Async-signal-safe
 */
bool
pool_is_attached(void)
{
	return !pool_in_place || provider->adopt != NULL ||
		(UsedShmemSegAddr != NULL && !detached);
}

/*
 * Called from the shared-memory startup hook, at the start of the postmaster
 * and at each crash restart.  No page is read or written before it returns, so
 * there is nothing to copy.
 */
void
pool_startup(const Provider *wanted, bool fallback, Size populate_bytes)
{
	pool_populate_bytes = populate_bytes;
	if (pool_base == NULL)
		pool_map(wanted, fallback);
	else
	{
		if (pool_in_place)
		{
			detached = false;
			if (provider->adopt)
				provider->adopt();
			else
				pool_base = BufferBlocks;
		}
		pool_reopen();
		pool_give_back();
	}
	if (pool_in_place)
		on_shmem_exit(pool_detach, 0);

	/* InitBufferPool() has just pointed it at the server's own area. */
	BufferBlocks = pool_base;
}

/* Async-signal-safe */
bool
pool_contains(const void *address)
{
	return pool_is_attached() && (const char *) address >= pool_base &&
		(const char *) address < pool_base + (Size) NBuffers * BLCKSZ;
}

/* The bytes of a range; the last buffer's range ends with the mapping. */
void
pool_range_bytes(const PoolRange *range, Size *offset, Size *size)
{
	int			end = range->first + range->count;

	*offset = (Size) range->first * BLCKSZ;
	*size = (end == NBuffers ? pool_mapped_bytes : (Size) end * BLCKSZ) - *offset;
}

static void
plan_append(PoolPlan *plan, int first, int end, PoolProtection protection)
{
	PoolRange  *last = plan->nranges > 0 ? &plan->ranges[plan->nranges - 1] : NULL;

	if (last != NULL && last->protection == protection)
		last->count += end - first;
	else if (plan->nranges < POOL_MAX_RANGES)
		plan->ranges[plan->nranges++] = (PoolRange) {first, end - first, protection};
	else
		elog(ERROR, "too many ranges of different protection");
}

static uint32
next_generation(uint32 generation, int plan)
{
	generation = (generation - PLAN_OF(generation)) + GENERATION_FIRST;
	return (generation == 0 ? GENERATION_FIRST : generation) + plan;
}

/* Is a generation the one that follows another? */
bool
pool_is_next(uint32 generation, uint32 before)
{
	return before != 0 && generation == next_generation(before, PLAN_OF(generation));
}

const PoolPlan *
pool_plan_at(uint32 generation)
{
	return &pool->plans[PLAN_OF(generation)];
}

/* Write down in a plan what changes make of another. */
static void
plan_change(PoolPlan *new, const PoolPlan *old, const PoolRange *changes, int nchanges)
{
	const PoolRange *range = old->ranges;
	const PoolRange *change = changes;

	if (nchanges == 1)
		new->change = *changes;
	else
		new->change.count = 0;

	new->nranges = 0;
	for (int first = 0; first < NBuffers;)
	{
		bool		pending = change < changes + nchanges;
		int			end;

		if (pending && change->first == first)
		{
			end = first + change->count;
			plan_append(new, first, end, change->protection);
			change++;
		}
		else
		{
			while (range->first + range->count <= first)
				range++;
			end = Min(range->first + range->count,
					  pending ? change->first : NBuffers);
			plan_append(new, first, end, range->protection);
		}
		first = end;
	}

}

/*
 * Put changes into force on paper and return the new generation.  The caller has
 * made sure that there is room: each adds two ranges at most.  Returns 0 if the changes
 * close and all has been opened meanwhile, as they were overdue.
 */
uint32
pool_publish(const PoolRange *changes, int nchanges)
{
	uint32		generation = pg_atomic_read_u32(&pool->generation);

	for (;;)
	{
		int			plan = PLAN_OF(generation) == 0 ? 1 : 0;
		uint32		next = next_generation(generation, plan);

		plan_change(&pool->plans[plan], pool_plan_at(generation), changes, nchanges);

		/* A full barrier: the plan is complete before it is in force. */
		if (pg_atomic_compare_exchange_u32(&pool->generation, &generation, next))
			return next;
		if (changes->protection != POOL_READWRITE)
			return 0;
	}
}

/*
 * Put into force on paper that all is open, if the generation is still that one.
 * Async-signal-safe
 */
bool
pool_publish_open(uint32 generation)
{
	return pg_atomic_compare_exchange_u32(&pool->generation, &generation,
										  next_generation(generation, PLAN_OPEN));
}

/* Let every parked fault look again. */
void
pool_wake(void)
{
	futex_wake_all(&pool->generation);
}

/* The plan in force; stable only while the lock in closing.c is held. */
const PoolPlan *
pool_plan(void)
{
	return pool_plan_at(pg_atomic_read_u32(&pool->generation));
}

/* A copy of the plan in force, for those without the lock */
void
pool_copy_plan(PoolPlan *copy)
{
	uint32		generation;

	do
	{
		generation = pg_atomic_read_u32(&pool->generation);
		pg_read_barrier();
		*copy = *pool_plan_at(generation);
		pg_read_barrier();
	} while (generation != pg_atomic_read_u32(&pool->generation));
}

/* Async-signal-safe */
PoolProtection
pool_buffer_protection(int buffer)
{
	uint32		generation;
	PoolProtection protection;

	do
	{
		const PoolPlan *plan;
		int			low = 0;
		int			high;

		generation = pg_atomic_read_u32(&pool->generation);
		pg_read_barrier();
		plan = pool_plan_at(generation);
		high = Min(plan->nranges, POOL_MAX_RANGES) - 1;
		while (low < high)
		{
			int			middle = (low + high + 1) / 2;

			if (plan->ranges[middle].first <= buffer)
				low = middle;
			else
				high = middle - 1;
		}
		protection = plan->ranges[low].protection;
		pg_read_barrier();
	} while (generation != pg_atomic_read_u32(&pool->generation));

	return protection;
}

/* The one protection that all buffers have, or false if it is mixed. */
bool
pool_protection(PoolProtection *protection)
{
	const PoolPlan *plan = pool_plan();

	*protection = plan->ranges[0].protection;
	return plan->nranges == 1;
}

bool
pool_is_open(void)
{
	PoolProtection protection;

	return pool_protection(&protection) && protection == POOL_READWRITE;
}

int
pool_prot_flags(PoolProtection protection)
{
	switch (protection)
	{
		case POOL_NONE:
			return PROT_NONE;
		case POOL_READ:
			return PROT_READ;
		case POOL_READWRITE:
			return PROT_READ | PROT_WRITE;
	}
	return PROT_NONE;
}

/*
 * How many ranges the plan may have.  Each is a mapping to the kernel, in every
 * process or in the region, and it must have room for others.
 */
int
pool_ranges_limit(void)
{
	FILE	   *file = fopen("/proc/sys/vm/max_map_count", "r");
	int			mappings;

	if (file == NULL)
		return mshare_debug_max_ranges;
	if (fscanf(file, "%d", &mappings) != 1)
		mappings = 2 * POOL_MAX_RANGES;
	fclose(file);
	return Min(mshare_debug_max_ranges, mappings / 2);
}

/* Change the protection of ranges for every process, and time it. */
bool
pool_protect(const PoolRange *changes, int nchanges, TimestampTz deadline,
			 FlipResult *result)
{
	instr_time	start;
	instr_time	elapsed;
	bool		done;

	memset(result, 0, sizeof(*result));
	INSTR_TIME_SET_CURRENT(start);
	done = provider->protect(changes, nchanges, deadline, result);
	INSTR_TIME_SET_CURRENT(elapsed);
	INSTR_TIME_SUBTRACT(elapsed, start);

	result->elapsed_us = INSTR_TIME_GET_DOUBLE(elapsed) * 1e6;
	pg_atomic_fetch_add_u64(&pool->flips, 1);
	pg_atomic_write_u64(&pool->last_flip_ns,
						(uint64) (result->elapsed_us * 1000));
	return done;
}

const char *
protection_name(PoolProtection protection)
{
	switch (protection)
	{
		case POOL_NONE:
			return "none";
		case POOL_READ:
			return "r";
		case POOL_READWRITE:
			return "rw";
	}
	return "unknown";
}

/* Async-signal-safe */
uint64
monotonic_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * UINT64CONST(1000000000) + now.tv_nsec;
}

/* glibc wraps no futex call; timeout_us < 0 waits for ever. */
int
futex_wait(pg_atomic_uint32 *word, uint32 value, int64 timeout_us)
{
	struct timespec timeout = {
		.tv_sec = timeout_us / 1000000,
		.tv_nsec = timeout_us % 1000000 * 1000
	};

	return syscall(SYS_futex, &word->value, FUTEX_WAIT, value,
				   timeout_us < 0 ? NULL : &timeout, NULL, 0);
}

void
futex_wake_all(pg_atomic_uint32 *word)
{
	syscall(SYS_futex, &word->value, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}
