/* SPDX-License-Identifier: PostgreSQL */
/*
 * flip: how long it takes to change the protection of one range of memory in
 * every process that maps it. See main.c.
 */
#ifndef FLIP_H
#define FLIP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define KiB		(1ULL << 10)
#define MiB		(1ULL << 20)
#define GiB		(1ULL << 30)
#define PAGE		(4 * KiB)
#define HUGE_PAGE	(2 * MiB)
#define NR_HUGE_PAGES	"/proc/sys/vm/nr_hugepages"
#define NR_GIGANTIC_PAGES	"/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages"
#define SKIP_VIEWS	"/sys/kernel/debug/mshare/skip_views"
#define MAX_PROCESSES	4096
#define MAX_CPUS	1024

/*
 * The range under test, of one arm: an object of at most 1 GiB, mapped as often
 * as it takes to fill the range. In each of these pieces the first `dense`
 * bytes are present in the page tables.
 */
struct range {
	uint64_t bytes;
	uint64_t piece;
	uint64_t dense;
	int object;		/* of `piece` bytes, all pages allocated */
	int region;		/* msharefs file, in the arms that have one */
	uint64_t region_offset;	/* of the range in it */
};

static inline uint64_t range_pages_present(const struct range *r)
{
	return r->bytes / r->piece * (r->dense / PAGE);
}

/*
 * One way to change the protection of the range for every sharer. What is
 * optional may be NULL.
 */
struct arm {
	const char *name;
	uint64_t max_bytes;		/* largest range it can be asked for */

	/*
	 * In the coordinator, once for a range. False: it failed, or this
	 * machine lacks what the arm needs; `failure` says why.
	 */
	bool (*setup)(struct range *r);
	void (*teardown)(struct range *r);			/* optional */

	/* In each new sharer: map the range; NULL with errno on failure. */
	char *(*attach)(const struct range *r);

	/* In the coordinator, around a crew of sharers; optional. */
	bool (*started)(const struct range *r);
	void (*ending)(void);

	/* In the coordinator; returns when it is in force in every sharer. */
	bool (*protect)(const struct range *r, int prot);

	/* In a lone sharer: change it for itself, with nobody to ask. Optional. */
	bool (*own)(const struct range *r, int prot);

	/* In a sharer whose store faulted: may it be tried again? Optional. */
	bool (*repair)(void);

	/*
	 * In the coordinator, of an arm that lets a store into a closed range
	 * pass but tells of it: does it? Optional.
	 */
	bool (*caught)(const struct range *r);

	/* A store into a closed range waits for the reopening, and faults never. */
	bool waits;

	/* In a sharer that left the handler of such a fault by a jump; optional. */
	void (*resume)(void);

	/*
	 * Page-table entries written by closings and reopenings so far, and
	 * rounds of shootdown interrupts, where the arm can count them.
	 */
	uint64_t (*entries_written)(const struct range *r);	/* optional */
	uint64_t (*shootdowns)(const struct range *r);		/* optional */
};

extern const struct arm arm_fifreeze, arm_hugetlb, arm_hugetlb_1g, arm_leaf, arm_mprotect, arm_mshare, arm_mshare_again;
extern const struct arm arm_pagemap;
extern const struct arm arm_piece, arm_pkeys, arm_repair, arm_thp, arm_uffd_wp;

/* failure.c: why a point could not be measured; both return false */
extern char failure[256];
extern bool lacking;		/* the last failure is this machine's lack */
bool fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
bool lack(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* mapping.c: a range as a plain mapping of its object, and its mprotect() */
char *mapping_attach(const struct range *r);
char *mapping_attach_listening(const struct range *r);
char *mapping_attach_aligned(const struct range *r, uint64_t alignment);
int mapping_protect(int prot, void *context);
bool mapping_own(const struct range *r, int prot);
uint64_t mapping_entries(const struct range *r, uint64_t rounds);

/* coordinated.c: asking every sharer; setup and protect as an arm has them */
bool coordinated_setup(struct range *r);
void coordinated_listen(int (*act)(int prot, void *context));
bool coordinated_protect(const struct range *r, int prot);
uint64_t coordinated_rounds(void);

/* arm_thp.c: the policy that was in force before it, which main.c puts back */
void thp_policy_keep(void);
void thp_policy_restore(void);

/* arm_fifreeze.c: the file system that it freezes, which main.c thaws and unmounts at the end */
void fifreeze_keep(void);
void fifreeze_restore(void);

/* sharers.c: the processes that map the range */
bool sharers_start(const struct arm *arm, const struct range *r, int count);
void sharers_set_running(bool running);
bool sharers_probe_store(int sharer, bool *faulted);
bool sharers_store_waits(int sharer);
bool sharers_store_everywhere(void);
void sharers_stop(void);
int sharers_count(void);
pid_t sharers_group(void);

/* Of all sharers: shared pages mapped, bytes of page tables, faults so far. */
uint64_t sharers_pages_mapped(void);
uint64_t sharers_table_bytes(void);
uint64_t sharers_faults(void);

/* Do they run where the coordinator does not; and how often have they read so far? */
bool sharers_undisturbed(void);
uint64_t sharers_reads(void);

/* Median time of a lone sharer's own closings; 0 where there were none. */
double sharers_own_us(void);

/* What touching the whole range took of the sharer that it took most of. */
uint64_t sharers_touch_faults(void);
uint64_t sharers_touch_table_bytes(void);

extern uint64_t touch_step;	/* bytes that one fault maps */
void touch(const char *base, const struct range *r, uint64_t from, uint64_t to,
	   uint64_t step);

/* events.c: counts of all CPUs; a count of system calls holds `cpus` of our own */
struct event {
	int fds[MAX_CPUS];
	int cpus;
};
bool event_open_syscalls(struct event *e);
bool event_open_instructions(struct event *e);
uint64_t event_read(const struct event *e);
void event_close(struct event *e);

/* median.c: it sorts them */
double median(double *values, int n);

/* system.c: what the kernel tells and how it is called */
double now(void);
void futex_wait(_Atomic uint32_t *word, uint32_t value);
void futex_wait_until(_Atomic uint32_t *word, uint32_t value, double until);
void futex_wake(_Atomic uint32_t *word, int count);
extern double populate_seconds;
void *shared_memory(size_t size);
uint64_t memory_available(void);
int64_t page_table_bytes(void);
uint64_t number_in(const char *path, const char *key);
bool number_to(const char *path, uint64_t value);
uint64_t status_kib(pid_t pid, const char *key);
uint64_t faults_of(pid_t pid);
uint64_t interrupts(const char *row);
uint64_t fault_around(uint64_t bytes);
bool flush_all_cpus(double *us);

#endif
