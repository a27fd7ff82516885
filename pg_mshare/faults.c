/*-------------------------------------------------------------------------
 *
 * faults.c
 *	  What a write into a closed range does to its process.
 *
 * A write to a page that is closed arrives as SIGSEGV.  It may come from anywhere,
 * critical sections included (even a SELECT writes: hint bits, pruning), so that
 * neither ereport() nor siglongjmp() is an answer.  There are two:
 *
 * - on_fault = wait: the handler sleeps until the page is open and returns, and
 *	 the processor repeats the store.  Other signals are handled meanwhile, but the
 *	 flip signal is blocked: the handler brings the mapping up to date itself, and
 *	 two of them at it would undo each other's work.
 *
 * - on_fault = crash: name the writer and let the signal take its course.
 *
 * One writer must not sleep.  With checksums or wal_log_hints on,
 * MarkBufferDirtyHint() sets the page's LSN under the buffer header's spinlock;
 * while it sleeps, others spin on that lock and after two minutes PANIC.  Whoever
 * finds the header of its buffer locked tells the freeze worker, which reopens the
 * pool at once and closes it again (freeze.c).
 *
 * Everything here is async-signal-safe.  Addresses outside the pool, and causes
 * other than protection, go to whoever handled SIGSEGV before.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <unistd.h>

#include "miscadmin.h"
#include "storage/buf_internals.h"
#include "storage/spin.h"

#include "pg_mshare.h"

/* How often a parked process looks whether the server is still there */
#define ORPHAN_CHECK_US		(1000 * 1000)

/* A spinlock held for longer than this many looks is held by a sleeper. */
#define HEADER_LOCK_LOOKS	1000

/* As many faults in a row at one address of an open page are not our doing. */
#define MAX_RETRIES			1000

static struct sigaction previous_action;

static bool
header_is_locked(int buffer)
{
	BufferDesc *header = GetBufferDescriptor(buffer);

	for (int i = 0; i < HEADER_LOCK_LOOKS; i++)
	{
		if (!(pg_atomic_read_u32(&header->state) & BM_LOCKED))
			return false;
		pg_spin_delay();
	}
	return true;
}

/* Append to a message; printf() is not allowed here. */
static char *
append_string(char *to, const char *from)
{
	while (*from)
		*to++ = *from++;
	return to;
}

static char *
append_number(char *to, unsigned long number)
{
	char		digits[24];
	int			n = 0;

	do
		digits[n++] = '0' + number % 10;
	while ((number /= 10) != 0);
	while (n > 0)
		*to++ = digits[--n];
	return to;
}

/* Tell the server log which access was denied and what comes of it. */
static void
tell_denied(const char *address, const char *outcome)
{
	char		message[256];
	char	   *end = message;
	int			buffer = (address - pool_base) / BLCKSZ;

	end = append_string(end, "pg_mshare: process ");
	end = append_number(end, getpid());
	end = append_string(end, outcome);
	end = append_string(end, ": its access to byte ");
	end = append_number(end, (address - pool_base) % BLCKSZ);
	end = append_string(end, " of buffer ");
	end = append_number(end, buffer + 1);
	end = append_string(end, " is denied, the buffer's protection is ");
	end = append_string(end, protection_name(pool_buffer_protection(buffer)));
	end = append_string(end, "\n");
	if (write(STDERR_FILENO, message, end - message) < 0)
	{
		/* there is nobody left to tell */
	}
}

/*
 * Sleep until the buffer is open.  False: it is, so that this fault has some other
 * cause.
 */
static bool
wait_until_open(const char *address)
{
	static const char *last_address = NULL;
	static uint32 last_generation = 0;
	static int	retries = 0;

	int			buffer = (address - pool_base) / BLCKSZ;
	Parked		parked = PARKED_NOT;
	uint32		generation;

	for (;;)
	{
		generation = pg_atomic_read_u32(&pool->generation);
		if (provider->catch_up)
			provider->catch_up();
		if (pool_buffer_protection(buffer) == POOL_READWRITE)
			break;

		if (parked == PARKED_NOT)
		{
			parked = PARKED;
			process_set_parked(parked);
			pg_atomic_fetch_add_u64(&pool->waits, 1);
		}
		if (parked == PARKED && header_is_locked(buffer))
		{
			parked = PARKED_UNDER_HEADER_LOCK;
			process_set_parked(parked);
			tell_denied(address, " waits under a buffer header's lock");
			if (!mshare_debug_ignore_header_lock)
				freeze_urgent();
		}

		futex_wait(&pool->generation, generation, ORPHAN_CHECK_US);

		/*
		 * The worker outlives the postmaster until it has thawed the pool.  If both
		 * are gone, nobody will, and nothing that we could still do matters.
		 */
		if (getppid() != PostmasterPid && !freeze_worker_alive())
			_exit(2);
	}

	if (parked != PARKED_NOT)
	{
		process_set_parked(PARKED_NOT);
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

static void
fault_handler(int signo, siginfo_t *info, void *context)
{
	int			save_errno = errno;

	if (info->si_code == SEGV_ACCERR && pool_contains(info->si_addr))
	{
		if (mshare_on_fault == ON_FAULT_WAIT)
		{
			if (wait_until_open(info->si_addr))
			{
				errno = save_errno;
				return;
			}
		}
		else
			tell_denied(info->si_addr, " crashes");
	}
	hand_on(signo, info, context);
	errno = save_errno;
}

/* Once, in the postmaster; children inherit the handler. */
void
faults_startup(void)
{
	struct sigaction action = {.sa_sigaction = fault_handler,.sa_flags = SA_SIGINFO};

	sigemptyset(&action.sa_mask);
	sigaddset(&action.sa_mask, FLIP_SIGNAL);
	if (sigaction(SIGSEGV, &action, &previous_action) < 0)
		ereport(FATAL,
				(errmsg("could not install a handler for SIGSEGV: %m")));
}
