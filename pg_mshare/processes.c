/*-------------------------------------------------------------------------
 *
 * processes.c
 *	  A registry of every process that maps the pool, and the way to reach it.
 *
 * The server's own lists do not do: ProcArray lacks the postmaster, the logger
 * and children that are just starting, and /proc/PID/task/PID/children may skip
 * entries while children exit.  So each fork() registers its child:
 *
 * - pthread_atfork's prepare handler reserves a slot before the fork, in the
 *	 parent;
 * - its child handler claims that slot and brings the mapping up to date before
 *	 any other code runs in the child;
 * - a claimed slot holds a robust mutex which the kernel marks when its owner is
 *	 gone, however it went (exit, exec or SIGKILL).  Only a process whose mutex
 *	 is held is ever sent a signal, so a recycled pid is not.
 *
 * A flip publishes a new generation, asks everybody whose slot shows an older
 * one to catch up, waits, and looks again until a whole pass finds nobody
 * behind.  The postmaster is slot 0 and so the first one that a pass looks at: if
 * it had already caught up then, children forked later inherit the new
 * protection, and those forked before had reserved their slots before.
 *
 * A reservation whose fork() failed is never claimed.  It is given up after a
 * moment.  Should its child come after all, it finds that the reservation is no
 * longer the one it was forked with, since each has a number, and takes another
 * slot; and it still catches up before it runs any other code.  So giving up is
 * never wrong: it only means that a flip does not wait for that child.
 *
 * Acknowledging: the flip puts the generation into slot->asked and counts a
 * ticket in "unacknowledged"; whoever resets slot->asked takes the ticket back,
 * so that each is counted once whether the process answers, turns out to be up
 * to date or dies.  The last ticket wakes the flip.
 *
 * Who does not answer is not waited for for ever (processes_flip), and is noted as
 * *silent* until it answers: it catches up when it runs again, before it does anything
 * else, so an opening need not wait for it, and nothing is closed again before.
 *
 * Locking: flips are serialised by the lock in closing.c, but one that is stuck
 * may be overtaken.  Slot states change by compare-and-exchange, and only who
 * holds "alive" makes a slot live or frees one that was.  Nobody waits for
 * "alive", as it may be held for life.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/backend_status.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "pg_mshare.h"

/* How long a flip believes in a child that has not shown up */
#define RESERVATION_US		(100 * 1000)
/* How often a flip looks whether somebody who owes an answer has died */
#define DEATH_CHECK_US		(10 * 1000)

/* How often a flip looks whether children that are starting have shown up */
#define RESERVATION_CHECK_US	500

/* The low bits of a slot's state; those above count its reservations. */
typedef enum SlotState
{
	SLOT_FREE,
	SLOT_RESERVED,				/* a fork is under way */
	SLOT_LIVE					/* "alive" is held by the process "pid" */
} SlotState;

#define SLOT_STATE(state)		((SlotState) ((state) & 3))
#define SLOT_RESERVATION		4

typedef struct ProcessSlot
{
	pthread_mutex_t alive;
	pg_atomic_uint32 state;
	int			pid;
	pg_atomic_uint32 generation;	/* applied by the process; 0: unknown */
	pg_atomic_uint32 asked;		/* generation to acknowledge; 0: none */
	pg_atomic_uint32 silent;	/* the generation it had when it was given up; 0:
								 * it was not */
	BackendType backend_type;	/* as it told when it last answered */
	pg_atomic_uint32 parked;	/* enum Parked: in the signal handler */
	pg_atomic_uint32 waiting;	/* the same in the kernel, as the worker knows */
	int			sys_errno;		/* why applying failed, 0: it did not */
	const void *handler;		/* EBUSY: of its SIGSEGV, which is not ours */
	TimestampTz reserved_at;
} ProcessSlot;

typedef struct Registry
{
	pg_atomic_uint32 unacknowledged;	/* futex the flip waits on */
	pg_atomic_uint32 unregistered;	/* children for whom there was no slot */
	pg_atomic_uint32 used;		/* slots from here on were never used */
	int			nslots;
	ProcessSlot slots[FLEXIBLE_ARRAY_MEMBER];
} Registry;

static Registry *registry = NULL;

/* Inherited by fork() together with the mapping that they describe */
static uint32 my_generation = 0;
static ProcessSlot *my_slot = NULL;

/* For the child of the fork that is under way; its slot may be given up. */
static ProcessSlot *reserved_slot = NULL;
static uint32 reserved_state;

static SlotState
slot_state(ProcessSlot *slot)
{
	return SLOT_STATE(pg_atomic_read_u32(&slot->state));
}

/*
 * Take back the ticket for a generation, if the slot has that; async-signal-safe.
 */
static bool
ticket_return(ProcessSlot *slot, uint32 generation)
{
	if (generation == 0 ||
		!pg_atomic_compare_exchange_u32(&slot->asked, &generation, 0))
		return false;
	if (pg_atomic_fetch_sub_u32(&registry->unacknowledged, 1) == 1)
		futex_wake_all(&registry->unacknowledged);
	return true;
}

/*
 * Lock a slot that no process holds, and free it if its process has died.  The
 * ticket comes last: a flip that asks the dead sees its ticket taken back here,
 * or sees that the slot is no longer live.
 */
static bool
slot_lock(ProcessSlot *slot)
{
	int			rc = pthread_mutex_trylock(&slot->alive);

	if (rc == EOWNERDEAD)
	{
		uint32		state = pg_atomic_read_u32(&slot->state);

		if (SLOT_STATE(state) == SLOT_LIVE)
		{
			slot->pid = 0;
			pg_atomic_exchange_u32(&slot->state, state - SLOT_LIVE + SLOT_FREE);
			ticket_return(slot, pg_atomic_read_u32(&slot->asked));
		}
		pthread_mutex_consistent(&slot->alive);
	}
	return rc == 0 || rc == EOWNERDEAD;
}

/* Free a live slot if its process has died, or find that somebody has. */
static bool
slot_reap(ProcessSlot *slot)
{
	if (!slot_lock(slot))
		return false;
	pthread_mutex_unlock(&slot->alive);
	return true;
}

/* Free a reserved slot if its child has not come for that long. */
static bool
slot_give_up(ProcessSlot *slot, uint32 state, int64 age_us)
{
	return GetCurrentTimestamp() - slot->reserved_at >= age_us &&
		pg_atomic_compare_exchange_u32(&slot->state, &state,
									   state - SLOT_RESERVED + SLOT_FREE);
}

static bool
slot_reserve_free(int nslots)
{
	for (int i = 0; i < nslots; i++)
	{
		ProcessSlot *slot = &registry->slots[i];
		uint32		state = pg_atomic_read_u32(&slot->state);

		if (SLOT_STATE(state) != SLOT_FREE)
			continue;
		reserved_slot = slot;
		reserved_state = state - SLOT_FREE + SLOT_RESERVED + SLOT_RESERVATION;
		if (pg_atomic_compare_exchange_u32(&slot->state, &state, reserved_state))
			return true;
	}
	reserved_slot = NULL;
	return false;
}

/* Sets reserved_slot, to NULL if there is none. */
static void
slot_reserve(void)
{
	int			used = pg_atomic_read_u32(&registry->used);

	if (!slot_reserve_free(used))
	{
		for (int i = 0; i < used; i++)
		{
			ProcessSlot *slot = &registry->slots[i];
			uint32		state = pg_atomic_read_u32(&slot->state);

			if (SLOT_STATE(state) == SLOT_LIVE)
				slot_reap(slot);
			else if (SLOT_STATE(state) == SLOT_RESERVED)
				slot_give_up(slot, state,
							 used < registry->nslots ? RESERVATION_US : 0);
		}
		if (!slot_reserve_free(registry->nslots))
			return;
	}

	reserved_slot->reserved_at = GetCurrentTimestamp();
	used = reserved_slot - registry->slots + 1;
	for (;;)
	{
		uint32		was = pg_atomic_read_u32(&registry->used);

		if (was >= used ||
			pg_atomic_compare_exchange_u32(&registry->used, &was, used))
			break;
	}
}

/*
 * Make the reserved slot this process's own; false: it was given up before, or
 * will be, as somebody has it locked.
 */
static bool
slot_claim(void)
{
	ProcessSlot *slot = reserved_slot;
	uint32		state = reserved_state;

	if (!slot_lock(slot))
		return false;
	if (pg_atomic_read_u32(&slot->state) == state)
	{
		/* Left by who died while it freed the slot */
		ticket_return(slot, pg_atomic_read_u32(&slot->asked));

		slot->pid = getpid();
		slot->sys_errno = 0;
		slot->backend_type = B_INVALID;
		pg_atomic_write_u32(&slot->silent, 0);
		pg_atomic_write_u32(&slot->parked, PARKED_NOT);
		pg_atomic_write_u32(&slot->waiting, PARKED_NOT);
		pg_atomic_write_u32(&slot->generation, my_generation);
		if (pg_atomic_compare_exchange_u32(&slot->state, &state,
										   state - SLOT_RESERVED + SLOT_LIVE))
		{
			my_slot = slot;
			return true;
		}
	}
	pthread_mutex_unlock(&slot->alive);
	return false;
}

/*
 * What a backend forks must not use shared buffers, and mostly executes a program.
 * The flip signal, pending when it does, would kill that program.  So if flips go
 * by signals such a child has no pool instead of a slot.
 */
static bool
child_has_pool(void)
{
	return !IsUnderPostmaster || provider->catch_up == NULL;
}

static void
before_fork(void)
{
	if (child_has_pool())
		slot_reserve();
}

static void
after_fork_in_child(void)
{
	sigset_t	all;
	sigset_t	saved;

	if (!child_has_pool())
	{
		my_slot = NULL;
		if (pool_is_attached())
			munmap(pool_base, pool_mapped_bytes);
		return;
	}

	memory_offer_to_oom_killer();

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &saved);

	/* Do not answer in the parent's name. */
	my_slot = NULL;
	while (reserved_slot != NULL && !slot_claim())
		slot_reserve();
	if (reserved_slot == NULL && provider->catch_up)
		pg_atomic_fetch_add_u32(&registry->unregistered, 1);

	if (provider->catch_up)
		provider->catch_up();

	pthread_sigmask(SIG_SETMASK, &saved, NULL);
}

/* Once, in the postmaster. */
void
processes_startup(void)
{
	pthread_mutexattr_t attributes;
	Size		size;
	int			nslots;

	/*
	 * Twice MaxBackends is the postmaster's own limit of children, dead ends
	 * included; as many again leave room for what backends fork themselves.
	 */
	nslots = 4 * MaxBackends + 64;
	size = offsetof(Registry, slots) + nslots * sizeof(ProcessSlot);
	registry = mmap(NULL, size, PROT_READ | PROT_WRITE,
					MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (registry == MAP_FAILED)
		ereport(FATAL,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("could not map %zu bytes of shared memory for pg_mshare: %m",
						size)));

	registry->nslots = nslots;
	pg_atomic_init_u32(&registry->unacknowledged, 0);
	pg_atomic_init_u32(&registry->unregistered, 0);
	pg_atomic_init_u32(&registry->used, 0);

	pthread_mutexattr_init(&attributes);
	pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
	for (int i = 0; i < nslots; i++)
	{
		ProcessSlot *slot = &registry->slots[i];

		pthread_mutex_init(&slot->alive, &attributes);
		pg_atomic_init_u32(&slot->state, SLOT_FREE);
		pg_atomic_init_u32(&slot->generation, 0);
		pg_atomic_init_u32(&slot->asked, 0);
		pg_atomic_init_u32(&slot->silent, 0);
		pg_atomic_init_u32(&slot->parked, PARKED_NOT);
		pg_atomic_init_u32(&slot->waiting, PARKED_NOT);
	}
	pthread_mutexattr_destroy(&attributes);

	my_generation = pg_atomic_read_u32(&pool->generation);
	slot_reserve();
	if (!slot_claim())
		elog(FATAL, "could not register the postmaster");

	if (pthread_atfork(before_fork, NULL, after_fork_in_child) != 0)
		ereport(FATAL,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("could not register fork handlers: %m")));
}

/* Which generation this process's mapping has; 0: unknown. */
uint32
process_generation(void)
{
	return my_generation;
}

/*
 * Note that this process's mapping has a generation, or failed to get it, and
 * answer a flip that waits for that.  Async-signal-safe.
 */
void
process_set_generation(uint32 generation, int sys_errno)
{
	my_generation = generation;
	if (my_slot == NULL)
		return;

	my_slot->sys_errno = sys_errno;
	my_slot->backend_type = MyBackendType;
	pg_atomic_exchange_u32(&my_slot->generation, generation);
	ticket_return(my_slot, generation);
}

/* Note that this process has a handler of SIGSEGV that is not ours.  Async-signal-safe */
void
process_set_handler(const void *handler)
{
	if (my_slot != NULL)
		my_slot->handler = handler;
}

/*
 * Send the flip signal to a process's main thread: threads that its libraries have
 * started have nothing to do with it, and two threads that follow the plan would undo
 * each other's work.  Async-signal-safe
 */
void
process_send_flip(int pid)
{
	syscall(SYS_tgkill, pid, pid, FLIP_SIGNAL);
}

/* Async-signal-safe */
void
process_set_parked(Parked parked)
{
	if (my_slot != NULL)
		pg_atomic_write_u32(&my_slot->parked, parked);
}

/* Note for another process that it waits in the kernel, or no longer. */
void
process_set_waiting(int pid, Parked parked)
{
	int			used = pg_atomic_read_u32(&registry->used);

	for (int i = 0; i < used; i++)
	{
		ProcessSlot *slot = &registry->slots[i];

		if (slot->pid == pid && slot_state(slot) == SLOT_LIVE)
			pg_atomic_write_u32(&slot->waiting, parked);
	}
}

/* As badly as either says */
static Parked
slot_parked(ProcessSlot *slot)
{
	return Max(pg_atomic_read_u32(&slot->parked),
			   pg_atomic_read_u32(&slot->waiting));
}

/* Was the process given up by a flip, and has not answered since? */
static bool
slot_is_silent(ProcessSlot *slot)
{
	uint32		generation = pg_atomic_read_u32(&slot->silent);

	return generation != 0 && pg_atomic_read_u32(&slot->generation) == generation;
}

static void
name_process(ProcessSlot *slot, FlipResult *result)
{
	result->pid = slot->pid;
	result->backend_type = slot->backend_type;
	if (result->backend_type == B_INVALID)
		result->backend_type = proc_backend_type(process_find_proc(slot->pid));
}

/*
 * Ask the process of a slot that was seen live to catch up; false if there is
 * nothing to wait for.
 */
static bool
slot_ask(ProcessSlot *slot, uint32 state, uint32 generation)
{
	int			pid = slot->pid;

	if (pg_atomic_read_u32(&slot->asked) == generation)
		return true;

	/* The ticket of a flip that this one has overtaken becomes ours. */
	pg_atomic_fetch_add_u32(&registry->unacknowledged, 1);
	if (pg_atomic_exchange_u32(&slot->asked, generation) != 0)
		pg_atomic_fetch_sub_u32(&registry->unacknowledged, 1);

	if (pg_atomic_read_u32(&slot->state) != state)
	{
		ticket_return(slot, generation);
		return true;			/* it has been freed: look again */
	}
	if (pg_atomic_read_u32(&slot->generation) == generation)
	{
		ticket_return(slot, generation);
		return false;
	}
	if (pid > 0)				/* else it is being freed */
		process_send_flip(pid);
	return true;
}

/*
 * One pass over all processes; how many are behind, -1 if one has failed.  Those
 * that are starting cannot be asked, so there is no answer to wait for.
 */
static int
flip_pass(uint32 generation, bool closing, FlipResult *result, int *starting)
{
	int			used = pg_atomic_read_u32(&registry->used);
	int			behind = 0;

	result->processes = 0;
	*starting = 0;
	for (int i = 0; i < used; i++)
	{
		ProcessSlot *slot = &registry->slots[i];
		uint32		state = pg_atomic_read_u32(&slot->state);

		pg_read_barrier();
		if (SLOT_STATE(state) == SLOT_RESERVED)
		{
			if (!slot_give_up(slot, state, RESERVATION_US))
			{
				behind++;
				(*starting)++;
			}
		}
		else if (SLOT_STATE(state) == SLOT_LIVE)
		{
			if (pg_atomic_read_u32(&slot->generation) != generation)
			{
				if (slot_reap(slot))
					continue;
				if (!closing && slot_is_silent(slot))
					continue;	/* the signal that it has not handled yet will do */
				if (slot_ask(slot, state, generation))
				{
					behind++;
					continue;
				}
			}
			if (slot->sys_errno != 0)
			{
				result->sys_errno = slot->sys_errno;
				result->handler = slot->handler;
				name_process(slot, result);
				return -1;
			}
			result->processes++;
		}
	}
	return behind;
}

/*
 * Give up: name a process that owes an answer, take the tickets back and note who has
 * not answered.
 */
static void
flip_abandon(uint32 generation, FlipResult *result)
{
	int			used = pg_atomic_read_u32(&registry->used);

	for (int i = 0; i < used; i++)
	{
		ProcessSlot *slot = &registry->slots[i];
		uint32		has = pg_atomic_read_u32(&slot->generation);

		if (!ticket_return(slot, generation))
			continue;

		/* It may have gone on to what has overtaken this flip. */
		if (has == pg_atomic_read_u32(&pool->generation))
			continue;
		pg_atomic_write_u32(&slot->silent, has);
		if (result->silent++ == 0 && result->pid == 0)
			name_process(slot, result);
	}
}

/*
 * Have every process catch up with the generation, by sending each that is
 * behind a signal.  The caller has published it and caught up itself.
 *
 * While there are answers there is patience: many processes on few processors take
 * their time.  If none has come for pg_mshare.close_timeout, whoever is still behind is
 * stopped, or in a system call that does not end.
 */
bool
processes_flip(uint32 generation, bool closing, TimestampTz deadline,
			   FlipResult *result)
{
	int64		patience_ends = 0;
	int			were_silent = 0;

	for (;;)
	{
		int			starting;
		int			behind = flip_pass(generation, closing, result, &starting);
		int			silent = behind - starting;
		int64		now = monotonic_us();
		uint32		unacknowledged;

		if (behind == 0)
			return true;

		if (behind < 0)
			break;
		if (pg_atomic_read_u32(&pool->generation) != generation)
		{
			result->sys_errno = ECANCELED;
			break;
		}
		if (closing && closing_is_unwanted())
		{
			result->sys_errno = EINTR;
			break;
		}
		if (silent == 0 || silent != were_silent)
			patience_ends = now + mshare_close_timeout * INT64CONST(1000);
		were_silent = silent;
		if (now >= patience_ends || GetCurrentTimestamp() >= deadline)
		{
			result->sys_errno = ETIMEDOUT;
			break;
		}

		/*
		 * The last ticket taken back means a new look; a timeout one too, as the
		 * dead do not answer and a reservation has no ticket.
		 */
		pgstat_report_wait_start(wait_event(WAIT_FOR_ANSWERS));
		while ((unacknowledged = pg_atomic_read_u32(&registry->unacknowledged)) != 0)
		{
			if (futex_wait(&registry->unacknowledged, unacknowledged,
						   DEATH_CHECK_US) < 0 && errno == ETIMEDOUT)
				break;
		}
		pgstat_report_wait_end();
		if (behind == starting)
			pg_usleep(RESERVATION_CHECK_US);
	}

	flip_abandon(generation, result);
	return false;
}

/*
 * Is a live slot's process still the one that has claimed it?  In the postmaster this is
 * asked by a signal handler, which must not touch a mutex that it may have interrupted;
 * but no child's pid is used again before the postmaster has waited for it.
 */
static bool
slot_is_alive(ProcessSlot *slot)
{
	siginfo_t	info;

	if (getpid() != PostmasterPid)
		return !slot_reap(slot);
	return waitid(P_PID, slot->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

/*
 * Send all others that are behind a signal and wait for nothing.  Async-signal-safe,
 * where no mutex is being locked.
 */
void
processes_signal(uint32 generation)
{
	int			used = pg_atomic_read_u32(&registry->used);

	for (int i = 0; i < used; i++)
	{
		ProcessSlot *slot = &registry->slots[i];

		if (slot != my_slot && slot_state(slot) == SLOT_LIVE &&
			pg_atomic_read_u32(&slot->generation) != generation &&
			slot_is_alive(slot))
			process_send_flip(slot->pid);
	}
}

/*
 * Is there a process that a flip has given up and that has not answered since?  It is
 * named.
 */
bool
processes_silent(FlipResult *result)
{
	int			used = pg_atomic_read_u32(&registry->used);

	memset(result, 0, sizeof(*result));
	for (int i = 0; i < used; i++)
	{
		ProcessSlot *slot = &registry->slots[i];

		if (slot_state(slot) == SLOT_LIVE && slot_is_silent(slot) &&
			!slot_reap(slot) && result->silent++ == 0)
			name_process(slot, result);
	}
	return result->silent > 0;
}

/* The live processes, in palloc'd memory. */
int
processes_list(ProcessEntry **entries)
{
	int			used = pg_atomic_read_u32(&registry->used);
	int			n = 0;

	*entries = palloc(Max(used, 1) * sizeof(ProcessEntry));
	for (int i = 0; i < used; i++)
	{
		ProcessSlot *slot = &registry->slots[i];

		if (slot_state(slot) != SLOT_LIVE || slot_reap(slot))
			continue;
		(*entries)[n].pid = slot->pid;
		(*entries)[n].parked = slot_parked(slot);
		n++;
	}
	return n;
}

/* How many live processes are parked, at least as badly as asked for. */
int
processes_parked(Parked at_least)
{
	int			used = pg_atomic_read_u32(&registry->used);
	int			n = 0;

	for (int i = 0; i < used; i++)
	{
		ProcessSlot *slot = &registry->slots[i];

		if (slot_state(slot) == SLOT_LIVE &&
			slot_parked(slot) >= at_least &&
			!slot_reap(slot))
			n++;
	}
	return n;
}

/*
 * The type of a server process, B_INVALID if it has no entry among the backends, as
 * seen when the caller's activity snapshot was taken
 */
BackendType
process_backend_type(int pid)
{
	int			nbackends = pgstat_fetch_stat_numbackends();

	for (int i = 1; i <= nbackends; i++)
	{
		PgBackendStatus *backend =
			&pgstat_get_local_beentry_by_index(i)->backendStatus;

		if (backend->st_procpid == pid)
			return backend->st_backendType;
	}
	return B_INVALID;
}

/* ProcArrayLock is not for us: its holder might be stopped. */
PGPROC *
process_find_proc(int pid)
{
	for (int i = 0; i < ProcGlobal->allProcCount; i++)
	{
		if (ProcGlobal->allProcs[i].pid == pid)
			return &ProcGlobal->allProcs[i];
	}
	return NULL;
}

/*
 * What can be seen without a lock: the server's lists of backends take one, and wait
 * for who is about to change his entry.
 */
BackendType
proc_backend_type(const PGPROC *proc)
{
	if (proc == NULL)
		return B_INVALID;
	if (proc->procgloballist == &ProcGlobal->freeProcs)
		return B_BACKEND;
	if (proc->procgloballist == &ProcGlobal->walsenderFreeProcs)
		return B_WAL_SENDER;
	if (proc->procgloballist == &ProcGlobal->bgworkerFreeProcs)
		return B_BG_WORKER;
	return B_INVALID;
}

/* "process 42 (client backend)", in palloc'd memory */
const char *
process_name(int pid, BackendType type)
{
	if (pid == PostmasterPid)
		return psprintf("process %d (postmaster)", pid);
	if (type == B_INVALID)
		return psprintf("process %d", pid);
	return psprintf("process %d (%s)", pid, GetBackendTypeDesc(type));
}

/* Which file a process maps at an address, in palloc'd memory */
const char *
process_file_at(int pid, const void *address)
{
	FILE	   *maps = fopen(psprintf("/proc/%d/maps", pid), "r");
	char		line[MAXPGPATH + 128];
	const char *name = "an unknown library";

	while (maps != NULL && fgets(line, sizeof(line), maps) != NULL)
	{
		unsigned long from;
		unsigned long to;
		int			path = 0;

		line[strcspn(line, "\n")] = '\0';
		if (sscanf(line, "%lx-%lx %*s %*s %*s %*s %n", &from, &to, &path) >= 2 &&
			(uintptr_t) address >= from && (uintptr_t) address < to &&
			path > 0 && line[path] != '\0')
			name = pstrdup(line + path);
	}
	if (maps != NULL)
		fclose(maps);
	return name;
}

/* Children that no flip can reach. */
int
processes_unregistered(void)
{
	return pg_atomic_read_u32(&registry->unregistered);
}
