/*-------------------------------------------------------------------------
 *
 * pg_mshare.h
 *	  What the files of pg_mshare share.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef PG_MSHARE_H
#define PG_MSHARE_H

#include <signal.h>

#include "datatype/timestamp.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "postmaster/bgworker.h"
#include "storage/buf_internals.h"
#include "storage/proc.h"

#include "compat.h"

/* ----------
 * Protection of buffers, from least to most rights
 * ----------
 */
typedef enum PoolProtection
{
	POOL_NONE,					/* 'none' */
	POOL_READ,					/* 'r' */
	POOL_READWRITE				/* 'rw' */
} PoolProtection;

/* Buffers first .. first + count - 1, counted from 0. */
typedef struct PoolRange
{
	int			first;
	int			count;
	PoolProtection protection;
} PoolRange;

/*
 * The protection of the whole pool: ranges in order, without holes, neighbours
 * different.  "change" is the step that led here from the plan before; its count
 * is 0 if the step had several ranges.
 */
#define POOL_MAX_RANGES 8192

typedef struct PoolPlan
{
	PoolRange	change;
	int			nranges;
	PoolRange	ranges[POOL_MAX_RANGES];
} PoolPlan;

/* What a change of protection did, or why it failed. */
typedef struct FlipResult
{
	double		elapsed_us;
	int			processes;
	int			sys_errno;		/* ETIMEDOUT: processes gave no answer */
	int			pid;			/* a process that failed, 0: none named */
	BackendType backend_type;	/* its type, B_INVALID: not known */
	int			silent;			/* how many processes gave no answer */
	const void *handler;		/* EBUSY: what handles its SIGSEGV */
} FlipResult;

typedef struct ProviderUsage
{
	int			processes;
	int64		page_table_bytes;	/* shared tables, counted once */
} ProviderUsage;

/* ----------
 * A provider maps the pool and changes its protection for every process.
 * ----------
 */
typedef struct Provider
{
	const char *name;

	/*
	 * Map at least *bytes, or, if pool_in_place, which may be cleared, the server's own
	 * blocks, and store what was mapped and its page size.  If that cannot be done,
	 * ereport(elevel) why and return NULL.
	 */
	char	   *(*map) (Size *bytes, Size *page_size, int elevel);

	/*
	 * In place: take the blocks that the server has made anew, at the same address, and
	 * let go of those that it is about to leave.  Both NULL: the pool is mapped by the
	 * server's own mapping.
	 */
	void		(*adopt) (void);
	void		(*release) (void);

	/* madvise() a part of the pool; false with errno set */
	bool		(*advise) (Size offset, Size bytes, int advice);

	/*
	 * Publish the changes, ranges in order that do not overlap, and carry them
	 * out; false with the reason in result.
	 */
	bool		(*protect) (const PoolRange *changes, int nchanges,
							TimestampTz deadline, FlipResult *result);

	/*
	 * Bring this process's own mapping up to date.  Called with the flip
	 * signal blocked; async-signal-safe.  May be NULL.
	 */
	void		(*catch_up) (void);

	/*
	 * Open all of the pool, unless the generation has moved on; false: it has, or that
	 * failed.  Async-signal-safe.
	 */
	bool		(*open_all) (uint32 generation);

	void		(*usage) (ProviderUsage *usage);
} Provider;

/* An arbitrary real-time signal; the first few are what others think of. */
#define FLIP_SIGNAL (SIGRTMIN + 5)

extern bool flip_signal_install(void);

extern const Provider provider_mshare;
extern const Provider provider_mprotect;

/* The provider in use, NULL: off */
extern const Provider *provider;

/* provider_mshare.c; -1: no region is in use */
extern int	region_fd;
extern bool region_protect_bytes(Size offset, Size size, int prot);

/* ----------
 * settings.c
 * ----------
 */
typedef enum WantedProvider
{
	WANT_AUTO,
	WANT_MSHARE,
	WANT_MPROTECT,
	WANT_OFF
} WantedProvider;

typedef enum HugePages
{
	POOL_HUGE_OFF,
	POOL_HUGE_TRY,
	POOL_HUGE_ON
} HugePages;

typedef enum OnFault
{
	ON_FAULT_WAIT,
	ON_FAULT_CRASH
} OnFault;

/* Where an access to closed buffers waits, if pg_mshare.on_fault is wait */
typedef enum KernelWaits
{
	KERNEL_WAITS_OFF,			/* writes in a signal handler; reads from disk fail */
	KERNEL_WAITS_WRITES,		/* writes in the kernel; reads from disk fail */
	KERNEL_WAITS_ALL			/* both in the kernel */
} KernelWaits;

#define MAX_FREEZE_TIMEOUT_MS 60000

/* How often one closing is reopened for the sake of a header lock */
#define MAX_RECLOSINGS		10

extern bool mshare_preloaded;
extern int	mshare_provider;
extern char *mshare_path;
extern bool mshare_populate;
extern int	mshare_huge_pages;
extern int	mshare_on_fault;
extern int	mshare_freeze_timeout;	/* ms */
extern bool mshare_dump_pool;
extern int	mshare_log_level;	/* of closings that end as they should */
extern int	mshare_close_timeout;	/* ms */
extern int	mshare_target_size; /* buffers */
extern int	mshare_kernel_waits;	/* what is in force */
extern int	mshare_debug_kernel_waits;	/* and what is allowed at most */
extern bool mshare_debug_move_pool;
extern bool mshare_debug_torn_reads;
extern bool mshare_debug_ignore_header_lock;
extern int	mshare_debug_max_reclosings;
extern int	mshare_debug_max_ranges;

extern void settings_define(void);
extern void settings_set_kernel_waits(KernelWaits waits);

/* ----------
 * pool.c
 * ----------
 */
typedef struct PoolControl
{
	/*
	 * Counts published plans above the bits that say which of them is in force, and is
	 * the futex that parked faults wait on.
	 */
	pg_atomic_uint32 generation;
	/* Of the first two one is being written; the last says that all is open. */
	PoolPlan	plans[3];
	/* How many open what is overdue, without the lock: see overdue_open() */
	pg_atomic_uint32 openers;

	pg_atomic_uint64 waits;		/* faults that the handler has parked, ever */
	pg_atomic_uint64 flips;
	pg_atomic_uint64 last_flip_ns;
} PoolControl;

extern PoolControl *pool;
extern char *pool_base;
extern Size pool_mapped_bytes;
extern Size pool_page_size;
extern bool pool_in_place;
extern Size pool_populate_bytes;	/* what is populated when it is mapped, or made anew */

extern void pool_startup(const Provider *wanted, bool fallback, Size populate_bytes);
extern bool pool_is_attached(void);
extern bool pool_contains(const void *address);
extern void pool_range_bytes(const PoolRange *range, Size *offset, Size *size);
extern uint32 pool_publish(const PoolRange *changes, int nchanges);
extern bool pool_publish_open(uint32 generation);
extern const PoolPlan *pool_plan_at(uint32 generation);
extern bool pool_is_next(uint32 generation, uint32 before);
extern void pool_wake(void);
extern const PoolPlan *pool_plan(void);
extern void pool_copy_plan(PoolPlan *copy);
extern PoolProtection pool_buffer_protection(int buffer);
extern bool pool_protection(PoolProtection *protection);
extern bool pool_is_open(void);
extern int	pool_prot_flags(PoolProtection protection);
extern bool pool_protect(const PoolRange *changes, int nchanges,
						 TimestampTz deadline, FlipResult *result);
extern int	pool_ranges_limit(void);
extern const char *protection_name(PoolProtection protection);

/* ----------
 * memory.c
 * ----------
 */
#define MEMORY_HUGE_PAGE_SIZE ((Size) 2 * 1024 * 1024)

extern bool memory_check_cgroup(Size bytes, int elevel);
extern bool memory_check_huge_cgroup(Size bytes);
extern int	memory_errhint(Size bytes, bool by_mmap);
extern int	memory_errhint_huge(Size bytes, int sys_errno, bool by_mmap);
extern uint64 memory_left_on(const char *path);
extern void memory_prepare_oom(void);
extern void memory_offer_to_oom_killer(void);
extern void memory_let_dump(Size bytes, bool huge);
extern Size memory_page_size(const void *address);

/* ----------
 * processes.c
 * ----------
 */
typedef enum Parked
{
	PARKED_NOT,
	PARKED,						/* a write waits for the pool to open */
	PARKED_UNDER_HEADER_LOCK	/* ... holding a buffer header's spinlock */
} Parked;

typedef struct ProcessEntry
{
	int			pid;
	Parked		parked;
} ProcessEntry;

extern void processes_startup(void);
extern uint32 process_generation(void);
extern void process_set_generation(uint32 generation, int sys_errno);
extern void process_set_handler(const void *handler);
extern void process_send_flip(int pid);
extern void process_set_parked(Parked parked);
extern void process_set_waiting(int pid, Parked parked);
extern bool processes_flip(uint32 generation, bool closing,
						   TimestampTz deadline, FlipResult *result);
extern bool processes_silent(FlipResult *result);
extern void processes_signal(uint32 generation);
extern int	processes_list(ProcessEntry **entries);
extern int	processes_parked(Parked at_least);
extern int	processes_unregistered(void);
extern BackendType process_backend_type(int pid);
extern PGPROC *process_find_proc(int pid);
extern BackendType proc_backend_type(const PGPROC *proc);
extern const char *process_name(int pid, BackendType type);
extern const char *process_file_at(int pid, const void *address);

/* ----------
 * faults.c
 * ----------
 */
typedef enum FaultAccess
{
	FAULT_UNKNOWN,
	FAULT_READ,
	FAULT_WRITE,
	FAULT_EXEC
} FaultAccess;

/* An access to a closed buffer */
typedef struct Fault
{
	TimestampTz time;
	int			pid;
	BackendType backend_type;	/* B_INVALID: not known */
	FaultAccess access;
	bool		system_call;	/* by the kernel for it: a read from disk writes */
	int			buffer;			/* counted from 0 */
	bool		holds_block;	/* the tag says which */
	BufferTag	tag;
} Fault;

/* How long a wait may last before it is looked at again */
#define WAIT_CHECK_US (1000 * 1000)

#define WAITS_UNDER_HEADER_LOCK " waits under a buffer header's lock"

extern void faults_startup(void);
extern bool faults_are_handled(const void **handler);
extern void fault_name_block(Fault *fault);
extern bool header_is_locked(int buffer);

/* ----------
 * wait_events.c
 * ----------
 */
typedef enum WaitFor
{
	WAIT_FOR_OPENING,			/* an access to closed buffers */
	WAIT_FOR_ANSWERS,			/* provider mprotect: a flip, for other processes */
	WAIT_FOR_CLOSING,			/* for another session's change, or for its end */
	WAIT_FOR_END_OF_FLIP,		/* a flip that holds the pool closed */
	WAIT_FOR_WRITES,			/* a watch */
	WAIT_FOR_PINS,				/* a resize, for buffers that are in use */
	WAIT_OF_FREEZE_WORKER,		/* for work */
	WAIT_OF_RESIZE_WORKER
} WaitFor;

extern void wait_events_startup(void);
extern uint32 wait_event(WaitFor wait);
extern void wait_nap(WaitFor wait, long us);

/* ----------
 * fault_mode.c
 * ----------
 */
extern void fault_mode_startup(void);
extern void fault_mode_stop(void);
extern const char *fault_mode_tears_reads(void);
extern bool fault_mode_has_events(void);
extern uint64 fault_mode_waits(void);

/* ----------
 * denials.c
 * ----------
 */
extern int	denials_fd(void);
extern bool denials_read(bool pool_open);
extern bool denials_waiting(void);
extern bool denials_lost(void);
extern void denials_finish(void);

/* ----------
 * fault_log.c
 * ----------
 */
#define FAULT_LOG_SIZE 1024

extern void fault_log_startup(void);
extern uint32 fault_log_add(const Fault *fault);
extern void fault_log_end(uint32 number, int64 waited_us);
extern uint32 fault_log_last(void);
extern void fault_log_wait(uint32 last, int64 timeout_us);
extern bool fault_log_read(uint32 number, Fault *fault, int64 *waited_us);

/* The longest text of fault_tell() */
#define FAULT_MESSAGE_SIZE 384

extern void fault_log_message(const char *text);
extern void fault_log_tell(bool alone);

/* ----------
 * tell.c
 * ----------
 */
extern const char *fault_access_name(const Fault *fault);
extern void fault_tell(const Fault *fault, int byte, const char *outcome);
extern void overdue_tell(void);

/* ----------
 * counters.c
 * ----------
 */
typedef enum ClosingKind
{
	CLOSING_NONE,
	CLOSING_FLIP,
	CLOSING_PROTECT,
	CLOSING_FREEZE,
	CLOSING_WATCH
} ClosingKind;

typedef struct Counters
{
	pg_atomic_uint64 closings[CLOSING_WATCH + 1];
	pg_atomic_uint64 given_up;	/* closings that had to be */
	pg_atomic_uint64 failed_reads;
	pg_atomic_uint64 reads_before;	/* when counters_reads_since() was asked */
	pg_atomic_uint64 hand_before;
	int64		closed_us;		/* closings that have ended */
	int64		closed_since_us;	/* the present one; 0: there is none */
} Counters;

extern Counters *counters;

extern void counters_startup(void);
extern void counters_closed(ClosingKind kind);
extern void counters_opened(void);
extern int64 counters_closed_us(void);
extern int64 counters_reads_since(void);

/* ----------
 * closing_state.c
 * ----------
 */
extern void closing_request(void);
extern void closing_startup(void);
extern bool closing_is(uint64 serial);
extern bool closing_is_noted(void);
extern bool closing_is_watch(void);
extern bool closing_is_unwanted(void);
extern TimestampTz closing_frozen_since(void);
extern bool freeze_worker_alive(void);
extern void freeze_wake_worker(void);
extern void freeze_urgent(void);

/* ----------
 * overdue.c
 * ----------
 */
extern int64 overdue_open(void);
extern void overdue_await_openers(void);
extern void overdue_guard_startup(bool has_signal);
extern void overdue_guard(void);

/* ----------
 * closing.c
 * ----------
 */
typedef struct ClosingState
{
	const char *by;				/* NULL: nothing is closed */
	int			pid;
	TimestampTz until;
	int64		closed_us;		/* all closings, ever */
} ClosingState;

extern void closing_describe(ClosingState *state);

extern void closing_flip(const PoolRange *range, int64 hold_us,
						 FlipResult *down, FlipResult *up);
extern void closing_protect(const PoolRange *ranges, int nranges, FlipResult *result);
extern void closing_freeze(int64 timeout_us);
extern bool closing_thaw(void);

typedef enum WatchOpening
{
	WATCH_OPENED,
	WATCH_ENDED,
	WATCH_TOO_MANY_RANGES		/* nothing was opened */
} WatchOpening;

extern uint64 closing_watch(int64 duration_us, int64 *end);
extern WatchOpening closing_watch_open(uint64 serial, const PoolRange *ranges,
									   int nranges, bool all);
extern void closing_watch_end(uint64 serial);

extern void closing_refuse(void);
extern bool closing_try_lock_open(bool yield);
extern void closing_unlock(void);

/* ----------
 * resize.c
 * ----------
 */
typedef struct ResizeResult
{
	int			target;			/* buffers */
	int			in_use;
	int			evicted;		/* blocks that were in buffers which are no longer in use */
	int			waited;			/* buffers that could not be had at once */
} ResizeResult;

extern void resize_startup(void);
extern Size resize_populated_bytes(void);
extern int	resize_target(void);
extern int	resize_in_use(void);
extern void resize(int64 bytes, ResizeResult *result);

/* ----------
 * control.c
 * ----------
 */
typedef enum ControlRequest
{
	CONTROL_STATUS,
	CONTROL_FREEZE,
	CONTROL_THAW,
	CONTROL_UNKNOWN
} ControlRequest;

extern void control_startup(void);
extern bool control_pending(void);
extern bool control_request(ControlRequest *request);
extern void control_write_state(const char *state, bool done, const char *answer);
extern void control_shutdown(void);

/* ----------
 * watch.c
 * ----------
 */

/* The first writes into granules of a pool that was closed for that */
typedef struct Watch
{
	int			granule;		/* buffers */
	int			nwrites;
	Fault	   *writes;			/* by relation and granule */
	bool		ended_early;
} Watch;

extern Watch *watch_writes(int64 duration_us, int granule);
extern int	watch_compare_relations(const Fault *x, const Fault *y);

/* ----------
 * A clock that nobody sets, and futexes in shared memory (pool.c)
 * ----------
 */
extern uint64 monotonic_ns(void);

#define monotonic_us() ((int64) (monotonic_ns() / 1000))

extern int	futex_wait(pg_atomic_uint32 *word, uint32 value, int64 timeout_us);
extern void futex_wake_all(pg_atomic_uint32 *word);

#endif							/* PG_MSHARE_H */
