/*-------------------------------------------------------------------------
 *
 * provider_mprotect.c
 *	  Flip the pool by having every process change its own mapping.
 *
 * Works on every kernel, and costs what it must: each process has page tables of
 * its own for the pool, and each has to be interrupted to rewrite them.
 *
 * The pool is anonymous shared memory, the server's own where the blocks can stay.
 * A flip publishes a plan and sends each process a real-time signal; the handler
 * calls mprotect() and acknowledges (processes.c).  All that the handler needs is mprotect(), atomics and futexes,
 * and it runs with all signals blocked, so that the mapping and the generation
 * that it is noted to have are never seen apart, by a fork() from another
 * handler least of all.
 *
 * PostgreSQL blocks signals while it forks and starts a child, which would keep
 * a flip waiting for a client that connects and says nothing.  Nothing that the
 * handler touches cares, so the flip signal is taken out of the masks that
 * PostgreSQL blocks; children inherit them.
 *
 * But PostgreSQL also blocks signals around posix_fallocate() of dynamic shared
 * memory, since before Linux 6.11 any signal makes tmpfs undo what it has done and
 * it has to start again: with frequent flips it would never end.  So the first flip
 * signal that comes while all signals are meant to be blocked is the last until
 * they no longer are.  What is interrupted cannot be told, but the other stretches
 * are short: a fork, the start of a child but for its client's first packet, the
 * second that some auxiliary processes sleep after an error.  Having the signal
 * blocked from their beginning would be worse, as closing would wait for them with
 * the pool closed to everybody else.  This way closing gets through and reopening
 * waits, while all others have their pool back.
 *
 * A process in which a library has installed another handler of SIGSEGV since, would
 * not wait at a write into closed buffers but crash, and the server with it.  So it
 * does not close its mapping, and the closing fails and names it.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/timestamp.h"

#include "pg_mshare.h"

#ifndef MAP_HUGE_2MB
#define MAP_HUGE_2MB		(21 << 26)
#endif

/* Async-signal-safe */
static int
apply(const PoolRange *range)
{
	Size		offset;
	Size		size;

	pool_range_bytes(range, &offset, &size);
	return mprotect(pool_base + offset, size,
					pool_prot_flags(range->protection)) < 0 ? errno : 0;
}

/* Async-signal-safe */
static int
apply_all(const PoolRange *ranges, int nranges)
{
	const void *handler;
	int			failed = 0;

	if (!pool_is_attached())
		return 0;
	for (int i = 0; i < nranges; i++)
	{
		if (ranges[i].protection != POOL_READWRITE && !faults_are_handled(&handler))
		{
			process_set_handler(handler);
			return EBUSY;
		}
	}
	for (int i = 0; i < nranges && failed == 0; i++)
		failed = apply(&ranges[i]);
	return failed;
}

/*
 * Bring this process's mapping to the plan in force.  If it is just one step
 * behind, and that step is of one range, it is one mprotect() call.
 */
static void
mprotect_catch_up(void)
{
	uint32		generation;

	while ((generation = pg_atomic_read_u32(&pool->generation)) !=
		   process_generation())
	{
		const PoolPlan *plan = pool_plan_at(generation);
		int			failed = 0;

		pg_read_barrier();
		if (pool_is_next(generation, process_generation()) && plan->change.count > 0)
			failed = apply_all(&plan->change, 1);
		else
			failed = apply_all(plan->ranges, Min(plan->nranges, POOL_MAX_RANGES));
		pg_read_barrier();

		/* Overtaken: the plan may have changed while we followed it. */
		if (pg_atomic_read_u32(&pool->generation) != generation)
			process_set_generation(0, 0);
		else
			process_set_generation(generation, failed);
	}
}

static void
flip_signal_handler(int signo, siginfo_t *info, void *context)
{
	sigset_t   *interrupted = &((ucontext_t *) context)->uc_sigmask;
	int			save_errno = errno;

	if (provider->catch_up)
		provider->catch_up();
	overdue_guard();

	/* BlockSig has SIGTERM, unlike StartupBlockSig, in which clients are awaited. */
	if (sigismember(interrupted, SIGTERM))
		sigaddset(interrupted, FLIP_SIGNAL);
	errno = save_errno;
}

/*
 * Once, in the postmaster; children inherit the handler.  With provider mshare only
 * the postmaster is ever sent the signal (overdue.c).  False: it is already in use.
 */
bool
flip_signal_install(void)
{
	struct sigaction action = {
		.sa_sigaction = flip_signal_handler,
		.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK
	};
	struct sigaction old;
	sigset_t	flip;

	if (sigaction(FLIP_SIGNAL, NULL, &old) == 0 && old.sa_handler != SIG_DFL)
		return false;

	sigfillset(&action.sa_mask);
	if (sigaction(FLIP_SIGNAL, &action, NULL) < 0)
		ereport(FATAL,
				(errcode(ERRCODE_SYSTEM_ERROR),
				 errmsg("could not install a handler for signal %d: %m",
						FLIP_SIGNAL)));

	sigdelset(&BlockSig, FLIP_SIGNAL);
	sigdelset(&StartupBlockSig, FLIP_SIGNAL);
	sigemptyset(&flip);
	sigaddset(&flip, FLIP_SIGNAL);
	pthread_sigmask(SIG_UNBLOCK, &flip, NULL);
	return true;
}

/*
 * Map shared memory, or return NULL with errno set.  Like the server's own, and unlike
 * a memfd, it is charged now and not page by page.
 */
static char *
map_shared(Size bytes, int flags)
{
	char	   *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
							MAP_SHARED | MAP_ANONYMOUS | flags, -1, 0);

	return base == MAP_FAILED ? NULL : base;
}

static char *
mprotect_map(Size *bytes, Size *page_size, int elevel)
{
	char	   *base = NULL;

	if (!pool_in_place && mshare_huge_pages != POOL_HUGE_OFF)
	{
		Size		size = TYPEALIGN(MEMORY_HUGE_PAGE_SIZE, *bytes);

		if (memory_check_huge_cgroup(size))
			base = map_shared(size, MAP_HUGETLB | MAP_HUGE_2MB);
		if (base != NULL)
		{
			*bytes = size;
			*page_size = MEMORY_HUGE_PAGE_SIZE;
		}
		else
		{
			int			sys_errno = errno;
			bool		on = mshare_huge_pages == POOL_HUGE_ON;

			ereport(on ? elevel : LOG,
					(errcode(ERRCODE_OUT_OF_MEMORY),
					 on ? errmsg("could not map %zu bytes of huge pages for shared buffers: %m",
								 size) :
					 errmsg("pg_mshare: no huge pages for shared buffers: %m"),
					 memory_errhint_huge(size, sys_errno, true)));
			if (on)
				return NULL;
		}
	}
	if (base == NULL)
	{
		if (!memory_check_cgroup(*bytes, elevel))
			return NULL;
		*page_size = sysconf(_SC_PAGESIZE);
		base = pool_in_place ? BufferBlocks : map_shared(*bytes, 0);
	}
	if (base == NULL)
	{
		ereport(elevel,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("could not map %zu bytes for shared buffers: %m", *bytes),
				 memory_errhint(*bytes, true)));
		return NULL;
	}

	if (pool_populate_bytes > 0 &&
		madvise(base, TYPEALIGN(*page_size, pool_populate_bytes), MADV_POPULATE_WRITE) < 0)
	{
		ereport(elevel,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("could not populate %zu bytes of shared buffers: %m", *bytes),
				 errhint("Reduce shared_buffers, or set pg_mshare.populate to off.")));
		if (!pool_in_place)
			munmap(base, *bytes);
		return NULL;
	}

	if (!flip_signal_install())
		ereport(FATAL,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("signal %d is already in use", FLIP_SIGNAL),
				 errhint("Remove the library that handles it from shared_preload_libraries, start the server where it is not ignored, or set pg_mshare.provider to mshare or off.")));
	if (mshare_dump_pool)
		memory_let_dump(*bytes, *page_size == MEMORY_HUGE_PAGE_SIZE);
	return base;
}

static bool
mprotect_advise(Size offset, Size bytes, int advice)
{
	return madvise(pool_base + offset, bytes, advice) == 0;
}

static bool
mprotect_protect(const PoolRange *changes, int nchanges, TimestampTz deadline,
				 FlipResult *result)
{
	sigset_t	flip;
	sigset_t	saved;
	uint32		generation = pool_publish(changes, nchanges);

	if (generation == 0)
	{
		result->sys_errno = ECANCELED;
		return false;
	}

	/* Wake the parked first: they have the furthest to go. */
	pool_wake();

	sigemptyset(&flip);
	sigaddset(&flip, FLIP_SIGNAL);
	pthread_sigmask(SIG_BLOCK, &flip, &saved);
	mprotect_catch_up();
	pthread_sigmask(SIG_SETMASK, &saved, NULL);

	return processes_flip(generation, changes->protection != POOL_READWRITE,
						  deadline, result);
}

/* The flip signal is blocked. */
static bool
mprotect_open_all(uint32 generation)
{
	if (!pool_publish_open(generation))
		return false;
	pool_wake();
	mprotect_catch_up();
	processes_signal(process_generation());
	return true;
}

static void
mprotect_usage(ProviderUsage *usage)
{
	ProcessEntry *entries;

	usage->processes = processes_list(&entries);
	usage->page_table_bytes = 0;	/* nothing is shared */
	pfree(entries);
}

const Provider provider_mprotect = {
	.name = "mprotect",
	.map = mprotect_map,
	.advise = mprotect_advise,
	.protect = mprotect_protect,
	.catch_up = mprotect_catch_up,
	.open_all = mprotect_open_all,
	.usage = mprotect_usage,
};
