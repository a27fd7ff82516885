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
#define MAX_PROCESSES	4096

/*
 * The range under test: an object of at most 1 GiB, mapped as often as it
 * takes to fill the range. In each of these pieces the first `dense` bytes are
 * present in the page tables.
 */
struct range {
	uint64_t bytes;
	uint64_t piece;
	uint64_t dense;
	int object;		/* memfd of `piece` bytes, all pages allocated */
};

static inline uint64_t range_pages_present(const struct range *r)
{
	return r->bytes / r->piece * (r->dense / PAGE);
}

/* One way to change the protection of the range for every sharer. */
struct arm {
	const char *name;
	uint64_t max_bytes;		/* largest range it can be asked for */

	/* In the coordinator, once for a range. False: `failure` says why. */
	bool (*setup)(struct range *r);
	void (*teardown)(void);

	/* In each new sharer: map the range; NULL with errno on failure. */
	char *(*attach)(const struct range *r);

	/* In the coordinator; returns when it is in force in every sharer. */
	bool (*protect)(int prot);

	/*
	 * Page-table entries written by closings and reopenings so far, and
	 * rounds of shootdown interrupts, where the arm can count them.
	 */
	uint64_t (*entries_written)(void);
	bool (*shootdowns)(uint64_t *count);
};

extern const struct arm arm_mshare, arm_mprotect;
extern char failure[256];
bool fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* sharers.c: the processes that map the range */
bool sharers_start(const struct arm *arm, const struct range *r, int count);
void sharers_set_running(bool running);
bool sharers_probe_store(int sharer, bool *faulted);
void sharers_stop(void);
int sharers_count(void);
pid_t sharers_group(void);
uint64_t sharers_pages_mapped(void);
void touch(const char *base, const struct range *r, uint64_t from, uint64_t to);

/* system.c: what the kernel tells and how it is called */
double now(void);
void futex_wait(_Atomic uint32_t *word, uint32_t value);
void futex_wake(_Atomic uint32_t *word, int count);
extern double populate_seconds;
void *shared_memory(size_t size);
uint64_t memory_available(void);
uint64_t resident_pages(pid_t pid);
uint64_t interrupts(const char *row);
uint64_t fault_around(uint64_t bytes);
bool flush_all_cpus(double *us);

#endif
