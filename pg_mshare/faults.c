/*-------------------------------------------------------------------------
 *
 * faults.c
 *	  What a write into a closed range does to its process.
 *
 * A write to a page that is closed arrives as SIGSEGV, unless the kernel makes it
 * wait (fault_mode.c); but if nobody has reopened the page by the kernel's deadline
 * the signal comes, and what is said here applies.  It may come from anywhere,
 * critical sections included (even a SELECT writes: hint bits, pruning), so that
 * neither ereport() nor siglongjmp() is an answer.  There are two:
 *
 * - on_fault = wait: the handler sleeps until the page is open and returns, and
 *	 the processor repeats the store.  Other signals are handled meanwhile, but the
 *	 flip signal is blocked: the handler brings the mapping up to date itself, and
 *	 two of them at it would undo each other's work.
 *
 * - on_fault = crash: name the writer, and what it was about to write, and die of
 *	 the signal.
 *
 * One writer must not sleep.  With checksums or wal_log_hints on,
 * MarkBufferDirtyHint() sets the page's LSN under the buffer header's spinlock;
 * while it sleeps, others spin on that lock and after two minutes PANIC.  Whoever
 * finds the header of its buffer locked tells the freeze worker, which reopens the
 * pool at once and closes it again (freeze_worker.c).
 *
 * The handler uses the alternate stack of a thread that has one, as its own may be too
 * small.  In a thread that a library has started it waits for the main thread to bring
 * the mapping up to date.
 *
 * Everything here is async-signal-safe.  Addresses outside the pool, and causes
 * other than protection, go to whoever handled SIGSEGV before.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ucontext.h>
#include <unistd.h>

#include "common/relpath.h"
#include "storage/spin.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "pg_mshare.h"

/* A spinlock held for longer than this many looks is held by a sleeper. */
#define HEADER_LOCK_LOOKS	1000

/* How often a thread looks whether the main thread has caught up with the plan */
#define BEHIND_CHECK_US		10000

/* As many faults in a row at one address of an open page are not our doing. */
#define MAX_RETRIES			1000

static struct sigaction previous_action;

/* What pg_stat_activity shows of a parked process */

/* By somebody who sleeps?  Async-signal-safe */
bool
header_is_locked(int buffer)
{
	BufferDesc *header = GetBufferDescriptor(buffer);

	for (int i = 0; i < HEADER_LOCK_LOOKS; i++)
	{
		if (!(buffer_state(header) & BM_LOCKED))
			return false;
		pg_spin_delay();
	}
	return true;
}

/* What the processor says about the access */
static FaultAccess
fault_access(const ucontext_t *context)
{
#ifdef __x86_64__
	greg_t		error = context->uc_mcontext.gregs[REG_ERR];

	return error & 0x10 ? FAULT_EXEC : error & 0x02 ? FAULT_WRITE : FAULT_READ;
#else
	return FAULT_UNKNOWN;
#endif
}

/*
 * Note which block the buffer holds.  Whoever accesses a page as it should has
 * pinned it, so that its tag stays; of a stray access it may be a moment old, or be
 * cleared while we look.
 */
void
fault_name_block(Fault *fault)
{
	BufferDesc *header = GetBufferDescriptor(fault->buffer);

	fault->tag = header->tag;
	fault->holds_block = (buffer_state(header) & BM_TAG_VALID) &&
		fault->tag.forkNum >= 0 && fault->tag.forkNum <= MAX_FORKNUM;
}

/* Describe a fault of this process. */
static Fault
fault_describe(const char *address, FaultAccess access)
{
	Fault		fault = {
		.time = GetCurrentTimestamp(),
		.pid = getpid(),
		.backend_type = MyBackendType,
		.access = access,
		.buffer = (address - pool_base) / BLCKSZ,
	};

	fault_name_block(&fault);
	return fault;
}

/*
 * Sleep until the buffer is open.  False: it is, so that this fault has some other
 * cause.
 */
static bool
wait_until_open(const char *address, FaultAccess access)
{
	static const char *last_address = NULL;
	static uint32 last_generation = 0;
	static int	retries = 0;

	int			buffer = (address - pool_base) / BLCKSZ;
	Parked		parked = PARKED_NOT;
	uint32		generation;
	Fault		fault;
	uint32		number = 0;
	uint32		wait_event_before = 0;
	int64		overdue_us;
	bool		behind;

	for (;;)
	{
		generation = pg_atomic_read_u32(&pool->generation);
		behind = false;
		if (provider->catch_up && gettid() == getpid())
			provider->catch_up();
		else if (provider->catch_up)
			behind = process_generation() != generation;
		if (pool_buffer_protection(buffer) == POOL_READWRITE && !behind)
			break;

		if (parked == PARKED_NOT)
		{
			parked = PARKED;
			process_set_parked(parked);
			pg_atomic_fetch_add_u64(&pool->waits, 1);
			fault = fault_describe(address, access);
			number = fault_log_add(&fault);
			wait_event_before = *my_wait_event_info;
			pgstat_report_wait_start(wait_event(WAIT_FOR_OPENING));
		}
		if (parked == PARKED && header_is_locked(buffer) &&
			(!closing_is_watch() ||
			 GetCurrentTimestamp() - fault.time >= WAIT_CHECK_US))
		{
			parked = PARKED_UNDER_HEADER_LOCK;
			process_set_parked(parked);
			if (!mshare_debug_ignore_header_lock)
				freeze_urgent();
			fault_tell(&fault, (address - pool_base) % BLCKSZ,
					   WAITS_UNDER_HEADER_LOCK);
		}

		overdue_us = overdue_open();
		if (futex_wait(&pool->generation, generation,
					   Min(overdue_us, behind ? BEHIND_CHECK_US : WAIT_CHECK_US)) == 0)
			continue;

		/*
		 * The worker outlives the postmaster until it has thawed the pool.  If both
		 * are gone, nobody will, and nothing that we could still do matters.
		 */
		if (getppid() != PostmasterPid && !freeze_worker_alive())
			_exit(2);
	}

	if (parked != PARKED_NOT)
	{
		pgstat_report_wait_start(wait_event_before);
		process_set_parked(PARKED_NOT);
		fault_log_end(number, GetCurrentTimestamp() - fault.time);
		return true;
	}

	/* It was opened before we came to look, so try again; not for ever. */
	if (address != last_address || generation != last_generation)
	{
		last_address = address;
		last_generation = generation;
		retries = 0;
	}
	return ++retries < MAX_RETRIES;
}

static void
hand_on(int signo, siginfo_t *info, void *context)
{
	if (previous_action.sa_flags & SA_SIGINFO)
		previous_action.sa_sigaction(signo, info, context);
	else if (previous_action.sa_handler == SIG_DFL ||
			 previous_action.sa_handler == SIG_IGN)
	{
		/* Return to the instruction, which then kills us as it would have. */
		struct sigaction action = {.sa_handler = SIG_DFL};

		sigaction(signo, &action, NULL);
		if (info->si_code <= 0)
			raise(signo);		/* was sent; no instruction will repeat it */
	}
	else
		previous_action.sa_handler(signo);
}

/*
 * Die of the signal, even if the page is opened meanwhile and nothing would stop the
 * instruction when it is repeated: the signal is blocked until we return, and comes
 * before that, with the registers as they were at the access.
 */
static void
crash(int signo, siginfo_t *info, void *context)
{
	struct sigaction action = {.sa_handler = SIG_DFL};

	hand_on(signo, info, context);
	sigaction(signo, &action, NULL);
	raise(signo);
}

static void
fault_handler(int signo, siginfo_t *info, void *context)
{
	int			save_errno = errno;

	if (info->si_code == SEGV_ACCERR && pool_contains(info->si_addr))
	{
		FaultAccess access = fault_access(context);

		if (mshare_on_fault == ON_FAULT_WAIT)
		{
			if (wait_until_open(info->si_addr, access))
			{
				errno = save_errno;
				return;
			}
		}
		else
		{
			Fault		fault = fault_describe(info->si_addr, access);

			fault_log_add(&fault);
			fault_tell(&fault, ((char *) info->si_addr - pool_base) % BLCKSZ,
					   " crashes");
			crash(signo, info, context);
			return;
		}
	}
	hand_on(signo, info, context);
	errno = save_errno;
}

/*
 * Would a fault of this process come to us?  Else tells to whom; NULL: to nobody.
 * Async-signal-safe
 */
bool
faults_are_handled(const void **handler)
{
	struct sigaction action;

	if (sigaction(SIGSEGV, NULL, &action) == 0 && action.sa_sigaction == fault_handler)
		return true;
	*handler = (const void *) action.sa_sigaction;
	return false;
}

/* Once, in the postmaster; children inherit the handler. */
void
faults_startup(void)
{
	struct sigaction action = {
		.sa_sigaction = fault_handler,
		.sa_flags = SA_SIGINFO | SA_ONSTACK
	};

	sigemptyset(&action.sa_mask);
	sigaddset(&action.sa_mask, FLIP_SIGNAL);
	if (sigaction(SIGSEGV, &action, &previous_action) < 0)
		ereport(FATAL,
				(errcode(ERRCODE_SYSTEM_ERROR),
				 errmsg("could not install a handler for SIGSEGV: %m")));
}
