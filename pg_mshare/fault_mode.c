/*-------------------------------------------------------------------------
 *
 * fault_mode.c
 *	  Let the kernel make accesses to closed buffers wait, where it can.
 *
 * Provider mshare's region has a fault mode.  With MSHARE_FAULT_WAIT a thread that
 * writes into a closed page sleeps in its page fault until the page is reopened,
 * instead of getting SIGSEGV; with MSHARE_WAIT_KERNEL so does a system call, that
 * is, a read from disk into a closed page waits instead of failing with EFAULT.
 * Only who is in the group vm.mshare_fault_group, or has CAP_SYS_PTRACE, may ask for
 * the latter.
 *
 * The mode is the region's: there is no way to have system calls wait in the kernel
 * and stores in our signal handler.  So whatever the handler did for its process
 * while that waits, somebody else has to do from outside: denials.c.
 *
 * A read from disk that does not wait fails, and one that is under way when its page is
 * closed has read a part of its block: PostgreSQL takes that for damage, and in recovery,
 * or with zero_damaged_pages, makes a page of zeros of it.  With provider mprotect it
 * cannot happen, as each process closes its own mapping, between system calls.  So with
 * provider mshare buffers are closed only where reads wait (closing.c), or with on_fault =
 * crash.
 *
 * That system calls wait is believed only after a real read from disk has waited for
 * a page to be opened, since closing a standby's pool depends on it: its startup
 * process does not survive an EFAULT.  It is a read as PostgreSQL makes them by default:
 * what reaches memory in other ways (direct I/O, io_uring) does not wait.
 *
 * The kernel knows a deadline after which it lets go of who waits.  A read from disk
 * that has written the first half of a block by then would make a short read, which
 * PostgreSQL takes for corruption, and in recovery for a block of zeros.  So where reads
 * wait the kernel is given no deadline: leases are the server's business, and end there
 * though its worker be stopped (overdue.c).  Should the postmaster be killed, and the worker
 * killed or stopped, any other process takes the mode back when it exits, in a pool that
 * stays closed: who waited goes to the signal handler, which exits.  Where only writes wait
 * there is a deadline, longer than any closing may last, and then the handler waits on.
 *
 * With on_fault = crash nothing waits.  The mode stays what it is at first,
 * MSHARE_FAULT_SIGNAL.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/msharefs.h>

#include "portability/instr_time.h"
#include "postmaster/postmaster.h"

#include "pg_mshare.h"

/* How long past the longest closing the kernel lets a write wait */
#define DEADLINE_MARGIN_MS	5000

/* How long the proof may take, and a read in it may wait */
#define PROOF_TIMEOUT_MS	10000

/* How long a worker that lives has to open the pool once the postmaster has died */
#define ORPHANED_MS			1000
#define ORPHANED_CHECK_MS	10

/* A file of the data directory that is there when the server starts */
#define PROOF_FILE			"PG_VERSION"

static bool has_events = false;

/* How reads could be had to wait, if they do not */
static char remedy[128] = "";
static uint64 proof_waits = 0;

/* Async-signal-safe */
static bool
set_mode(__u32 mode, __u32 flags, int timeout_ms)
{
	struct mshare_fault_mode fault_mode = {
		.mode = mode,
		.flags = flags,
		.timeout_ns = timeout_ms * UINT64CONST(1000000)
	};

	return ioctl(region_fd, MSHAREFS_FAULT_MODE, &fault_mode) == 0;
}

static bool
let_wait(KernelWaits waits, int timeout_ms)
{
	return set_mode(MSHARE_FAULT_WAIT,
					waits == KERNEL_WAITS_ALL ? MSHARE_WAIT_KERNEL : 0,
					timeout_ms);
}

/* A read from disk into the first page of the pool, in a thread of its own */
typedef struct ProofRead
{
	int			fd;
	ssize_t		got;
	int			sys_errno;
} ProofRead;

static void *
proof_read(void *arg)
{
	ProofRead  *read = arg;

	read->got = pread(read->fd, pool_base, 1, 0);
	read->sys_errno = errno;
	return NULL;
}

/* Forget events that are left from before a crash restart. */
static void
proof_prepare(void)
{
	struct mshare_event event;

	while (read(region_fd, &event, sizeof(event)) > 0)
		;
}

/* Has a system call been denied?  Waits for it, and takes it out of the events. */
static bool
proof_denied(void)
{
	struct pollfd region = {.fd = region_fd,.events = POLLIN};
	struct mshare_event event;

	while (poll(&region, 1, PROOF_TIMEOUT_MS) < 0)
	{
		if (errno != EINTR)
			return false;
	}
	return read(region_fd, &event, sizeof(event)) == sizeof(event) &&
		(event.flags & MSHARE_EVENT_KERNEL) && event.region_offset == 0;
}

/* Start a thread that handles no signals. */
static bool
proof_start(pthread_t *thread, ProofRead *read)
{
	sigset_t	all;
	sigset_t	saved;
	int			rc;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &saved);
	rc = pthread_create(thread, NULL, proof_read, read);
	pthread_sigmask(SIG_SETMASK, &saved, NULL);
	errno = rc;
	return rc == 0;
}

/*
 * Close the pool, read into it from disk in another thread, wait until the kernel
 * says that this was denied, and open the pool: the read must succeed then.  Nobody
 * uses the pool now.  Returns NULL, or what was wrong.
 */
static const char *
prove_reads_wait(double *waited_ms)
{
	ProofRead	read = {.fd = open(PROOF_FILE, O_RDONLY | O_CLOEXEC)};
	const char *wrong = NULL;
	pthread_t	thread;
	bool		denied;
	instr_time	start;
	instr_time	elapsed;

	if (read.fd < 0)
		return psprintf("could not open file \"%s\": %m", PROOF_FILE);
	proof_prepare();
	if (!region_protect_bytes(0, pool_mapped_bytes, PROT_READ))
		wrong = psprintf("could not close the pool: %m");
	else if (!proof_start(&thread, &read))
		wrong = psprintf("could not start a thread: %m");
	else
	{
		INSTR_TIME_SET_CURRENT(start);
		denied = proof_denied();
		INSTR_TIME_SET_CURRENT(elapsed);
		INSTR_TIME_SUBTRACT(elapsed, start);
		*waited_ms = INSTR_TIME_GET_MILLISEC(elapsed);

		if (!region_protect_bytes(0, pool_mapped_bytes, PROT_READ | PROT_WRITE))
			wrong = psprintf("could not open the pool: %m");
		pthread_join(thread, NULL);
		errno = read.sys_errno;
		if (wrong == NULL && !denied)
			wrong = "a read into a closed page was not denied";
		else if (wrong == NULL && read.got != 1)
			wrong = psprintf("a read into a closed page failed: %m");
	}
	close(read.fd);
	if (!region_protect_bytes(0, pool_mapped_bytes, PROT_READ | PROT_WRITE))
		ereport(FATAL,
				(errcode(ERRCODE_SYSTEM_ERROR),
				 errmsg("could not open the buffer pool: %m")));
	pool_base[0] = 0;
	return wrong;
}

/* Find out what the kernel does for us, and tell the log. */
static KernelWaits
decide(void)
{
	KernelWaits most = mshare_debug_kernel_waits;
	const char *why = NULL;

	strlcpy(remedy, "The server log says at its start why reads do not wait.", sizeof(remedy));

	if (region_fd < 0)
		why = psprintf("Provider %s has no other way.", provider->name);
	else if (!set_mode(MSHARE_FAULT_SIGNAL, 0, 0))
		why = "This kernel's msharefs has no MSHAREFS_FAULT_MODE.";
	else
		has_events = true;

	if (mshare_on_fault == ON_FAULT_CRASH)
	{
		ereport(LOG,
				(errmsg("pg_mshare: a write into closed buffers crashes its process, a read from disk into them fails")));
		return KERNEL_WAITS_OFF;
	}

	if (has_events && most == KERNEL_WAITS_ALL &&
		(reads_are_direct() || reads_use_io_uring()))
	{
		most = KERNEL_WAITS_WRITES;
		why = "Reads by debug_io_direct or by io_uring do not wait.";
	}
	if (has_events && most == KERNEL_WAITS_ALL)
	{
		double		waited_ms = 0;

		if (let_wait(KERNEL_WAITS_ALL, PROOF_TIMEOUT_MS))
		{
			const char *wrong = prove_reads_wait(&waited_ms);

			if (wrong == NULL)
			{
				ereport(LOG,
						(errmsg("pg_mshare: writes into closed buffers and reads from disk into them wait in the kernel"),
						 errdetail("One that was made for a proof did, and succeeded when the page was opened after %.1f ms.",
								   waited_ms)));
				return KERNEL_WAITS_ALL;
			}
			why = psprintf("The proof that reads wait has failed: %s.", wrong);
		}
		else
		{
			if (errno == EPERM)
			{
				why = "The server may not let system calls wait.";
				snprintf(remedy, sizeof(remedy),
						 "Run \"sysctl vm.mshare_fault_group=%d\" as root and restart the server.",
						 (int) getegid());
			}
			else
				why = psprintf("The kernel refuses to let system calls wait: %m.");
		}
	}

	if (has_events && most != KERNEL_WAITS_OFF && let_wait(KERNEL_WAITS_WRITES, 0))
	{
		ereport(LOG,
				(errmsg("pg_mshare: writes into closed buffers wait in the kernel, reads from disk into them do not, so that none are closed"),
				 why ? errdetail_internal("%s", why) : 0,
				 why ? errhint("%s", remedy) : 0));
		return KERNEL_WAITS_WRITES;
	}

	ereport(LOG,
			(errmsg(region_fd < 0 ?
					"pg_mshare: writes into closed buffers wait in a signal handler, reads from disk into them fail" :
					"pg_mshare: reads from disk into closed buffers do not wait, so that none are closed"),
			 why ? errdetail_internal("%s", why) : 0));
	return KERNEL_WAITS_OFF;
}

/*
 * Its children learn of the postmaster's death by a pipe that is closed while it dies,
 * and may be gone before they have another parent.  The pipe does not block.
 */
static bool
postmaster_has_died(void)
{
	char		c;

	return getppid() != PostmasterPid ||
		read(postmaster_alive_fds[POSTMASTER_FD_WATCH], &c, 1) == 0;
}

/*
 * A process of the server exits, perhaps since the postmaster has died.  Then the worker
 * opens what is closed and exits; one that is stopped, or is itself about to die, does
 * not, and who waits in the kernel must not do so for ever.  The logger has left shared
 * memory.
 */
static void
stop_if_orphaned(void)
{
	if (!IsUnderPostmaster || MyBackendType == B_LOGGER || !postmaster_has_died())
		return;

	for (int waited_ms = 0;
		 freeze_worker_alive() && waited_ms < ORPHANED_MS;
		 waited_ms += ORPHANED_CHECK_MS)
	{
		if (!closing_is_noted())
			return;
		pg_usleep(ORPHANED_CHECK_MS * 1000L);
	}
	fault_mode_stop();
}

/*
 * In the postmaster, at each (re)start: before a crash restart fault_mode_stop() may
 * have ended what was in force, and an administrator what was allowed.
 */
void
fault_mode_startup(void)
{
	static bool registered = false;
	uint64		waits = fault_mode_waits();
	int			timeout_ms;

	settings_set_kernel_waits(decide());
	proof_waits += fault_mode_waits() - waits;
	timeout_ms = mshare_kernel_waits == KERNEL_WAITS_ALL ? 0 :
		MAX_FREEZE_TIMEOUT_MS + DEADLINE_MARGIN_MS;
	if (mshare_kernel_waits != KERNEL_WAITS_OFF && !let_wait(mshare_kernel_waits, timeout_ms))
		ereport(FATAL,
				(errcode(ERRCODE_SYSTEM_ERROR),
				 errmsg("could not let accesses to closed buffers wait in the kernel: %m")));
	if (!registered && atexit(stop_if_orphaned) != 0)
		elog(FATAL, "could not register a function to call at exit");
	registered = true;
}

/*
 * Let nobody wait in the kernel any more, and leave closed what is: in a system call
 * SIGQUIT does not end a wait.  Async-signal-safe
 */
void
fault_mode_stop(void)
{
	int			save_errno = errno;

	if (mshare_kernel_waits != KERNEL_WAITS_OFF)
		set_mode(MSHARE_FAULT_SIGNAL, 0, 0);
	errno = save_errno;
}

/*
 * May a read that is under way when its page is closed end in the middle of a block?
 * Returns what to do about it, NULL: it may not.
 */
const char *
fault_mode_tears_reads(void)
{
	if (mshare_on_fault == ON_FAULT_CRASH || mshare_debug_torn_reads)
		return NULL;
	if (region_fd < 0)
		return reads_use_io_uring() ? "Set io_method to worker or sync." : NULL;
	return mshare_kernel_waits == KERNEL_WAITS_ALL ? NULL : remedy;
}

/* Does the region tell of denied accesses? */
bool
fault_mode_has_events(void)
{
	return has_events;
}

/* How many accesses have waited in the kernel, ever, but for those of the proofs */
uint64
fault_mode_waits(void)
{
	struct mshare_stat stat = {.size = sizeof(stat)};

	if (region_fd < 0 || ioctl(region_fd, MSHAREFS_STAT, &stat) < 0)
		return 0;
	return stat.waits - proof_waits;
}
