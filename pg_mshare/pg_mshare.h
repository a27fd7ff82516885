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
#include "port/atomics.h"

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
 * different.  "change" is the step that led here from the plan before.
 */
#define POOL_MAX_RANGES 1024

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
	int			sys_errno;		/* ETIMEDOUT: a process gave no answer */
	int			pid;			/* the process that failed, 0: none named */
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
	 * Map at least *bytes and store what was mapped and its page size.  If
	 * that cannot be done, ereport(elevel) why and return NULL.
	 */
	char	   *(*map) (Size *bytes, Size *page_size, int elevel);

	/* Publish the change and carry it out; false with the reason in result. */
	bool		(*protect) (const PoolRange *change, TimestampTz deadline,
							FlipResult *result);

	/*
	 * Bring this process's own mapping up to date.  Called with the flip
	 * signal blocked; async-signal-safe.  May be NULL.
	 */
	void		(*catch_up) (void);

	void		(*usage) (ProviderUsage *usage);
} Provider;

/* An arbitrary real-time signal; the first few are what others think of. */
#define FLIP_SIGNAL (SIGRTMIN + 5)

extern const Provider provider_mshare;
extern const Provider provider_mprotect;

/* The provider in use, NULL: off */
extern const Provider *provider;

/* ----------
 * GUCs (pg_mshare.c)
 * ----------
 */
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

extern char *mshare_path;
extern bool mshare_populate;
extern int	mshare_huge_pages;
extern int	mshare_on_fault;
extern int	mshare_freeze_timeout;	/* ms */
extern bool mshare_debug_ignore_header_lock;

extern void mshare_require_preload(void);
extern void mshare_require(void);

/* ----------
 * pool.c
 * ----------
 */
typedef struct PoolControl
{
	/* Counts published plans and is the futex that parked faults wait on. */
	pg_atomic_uint32 generation;
	/* plans[generation & 1] is in force, the other one is being written */
	PoolPlan	plans[2];

	pg_atomic_uint64 waits;		/* faults that were parked, ever */
	pg_atomic_uint64 flips;
	pg_atomic_uint64 last_flip_ns;
} PoolControl;

extern PoolControl *pool;
extern char *pool_base;
extern Size pool_mapped_bytes;
extern Size pool_page_size;

extern void pool_startup(const Provider *wanted, bool fallback);
extern bool pool_contains(const void *address);
extern void pool_range_bytes(const PoolRange *range, Size *offset, Size *size);
extern uint32 pool_publish(const PoolRange *change);
extern void pool_wake(void);
extern const PoolPlan *pool_plan(void);
extern void pool_copy_plan(PoolPlan *copy);
extern PoolProtection pool_buffer_protection(int buffer);
extern bool pool_protection(PoolProtection *protection);
extern bool pool_is_open(void);
extern int	pool_prot_flags(PoolProtection protection);
extern bool pool_protect(const PoolRange *change, TimestampTz deadline,
						 FlipResult *result);
extern const char *protection_name(PoolProtection protection);

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
extern void process_set_parked(Parked parked);
extern bool processes_flip(uint32 generation, TimestampTz deadline,
						   FlipResult *result);
extern int	processes_list(ProcessEntry **entries);
extern int	processes_parked(Parked at_least);
extern int	processes_unregistered(void);

/* ----------
 * faults.c
 * ----------
 */
extern void faults_startup(void);

/* ----------
 * freeze.c
 * ----------
 */
extern void freeze_request(void);
extern void freeze_startup(void);
extern void freeze_register_worker(void);
extern void freeze_urgent(void);
extern bool freeze_worker_alive(void);
extern TimestampTz freeze_frozen_since(void);

extern void closing_flip(const PoolRange *range, int64 hold_us,
						 FlipResult *down, FlipResult *up);
extern void closing_protect(const PoolRange *range, FlipResult *result);
extern void closing_freeze(int64 timeout_us);
extern bool closing_thaw(void);

/* ----------
 * Futexes in shared memory (pool.c)
 * ----------
 */
extern int	futex_wait(pg_atomic_uint32 *word, uint32 value, int64 timeout_us);
extern void futex_wake_all(pg_atomic_uint32 *word);

#endif							/* PG_MSHARE_H */
