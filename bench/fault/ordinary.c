// SPDX-License-Identifier: PostgreSQL
/*
 * ordinary: what memory management costs a process that has nothing to do with
 * mshare: faults, mmap and munmap, mprotect, fork, GUP, page walks, and switches
 * to another process. Run on two kernels, it tells what one costs more than the other: test/kernel-cost.
 *
 * Each operation is done in batches. With `instructions` a batch is measured by
 * the time stamp counter, which under QEMU's -icount shift=0 counts the
 * instructions executed; that it does so is checked first. With `ns` it is
 * measured by the clock. Prints one line for each operation: its name, the
 * median of the batches, the smallest and the largest, each per operation.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#define PAGE	4096
#define PAGES	256		/* touched in a batch */
#define BYTES	(PAGES * PAGE)
#define CALLS	64		/* system calls in a batch */
#define WARM	3		/* batches that are not counted */
#define MAX	1000

static bool instructions;

static uint64_t ticks(void)
{
	struct timespec t;

	if (instructions)
		return __rdtsc();
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

static void must(bool done, const char *what)
{
	if (!done) {
		fprintf(stderr, "ordinary: ");
		perror(what);
		exit(1);
	}
}

static char *map(int flags, int fd)
{
	char *p = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, flags, fd, 0);

	must(p != MAP_FAILED, "mmap");
	return p;
}

static void unmap(char *p)
{
	must(munmap(p, BYTES) == 0, "munmap");
}

static void store(char *p)
{
	for (int i = 0; i < PAGES; i++)
		((volatile char *)p)[i * PAGE] = 1;
}

static void load(char *p)
{
	for (int i = 0; i < PAGES; i++)
		(void)((const volatile char *)p)[i * PAGE];
}

static int file;		/* shared memory, all its pages allocated */
static int tube[2], null;

/* What touching all of a new mapping takes */
static inline uint64_t touch(int flags, int fd, void (*access)(char *))
{
	char *p = map(flags, fd);
	uint64_t start = ticks();

	access(p);
	start = ticks() - start;
	unmap(p);
	return start;
}

/* Each runs one batch and returns its ticks. */

static uint64_t anon_store(void)
{
	return touch(MAP_PRIVATE | MAP_ANONYMOUS, -1, store);
}

static uint64_t anon_load(void)
{
	return touch(MAP_PRIVATE | MAP_ANONYMOUS, -1, load);
}

static uint64_t shared_store(void)
{
	return touch(MAP_SHARED, file, store);
}

static uint64_t private_store(void)
{
	return touch(MAP_PRIVATE, file, store);
}

/* What munmap() of touched memory takes, per page */
static uint64_t zap(void)
{
	char *p = map(MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1);
	uint64_t start = ticks();

	unmap(p);
	return ticks() - start;
}

static uint64_t mmap_munmap(void)
{
	uint64_t start = ticks();

	for (int i = 0; i < CALLS; i++)
		unmap(map(MAP_PRIVATE | MAP_ANONYMOUS, -1));
	return ticks() - start;
}

/* Closing and opening, per page */
static uint64_t protect(void)
{
	char *p = map(MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1);
	uint64_t start = ticks();

	must(mprotect(p, BYTES, PROT_READ) == 0, "mprotect");
	must(mprotect(p, BYTES, PROT_READ | PROT_WRITE) == 0, "mprotect");
	start = ticks() - start;
	unmap(p);
	return start;
}

/* The fork() of a process with touched memory, its exit and its burial */
static uint64_t fork_exit(void)
{
	char *p = map(MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1);
	uint64_t start = ticks();
	pid_t pid = fork();

	must(pid >= 0, "fork");
	if (pid == 0)
		_exit(0);
	must(waitpid(pid, NULL, 0) == pid, "waitpid");
	start = ticks() - start;
	unmap(p);
	return start;
}

/* vmsplice() takes pages by GUP-fast, process_vm_readv() by GUP's slow path. */
static uint64_t gup_fast(void)
{
	char *p = map(MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1);
	struct iovec vec = { p, 16 * PAGE };
	uint64_t start = ticks();

	for (int i = 0; i < CALLS; i++) {
		must(vmsplice(tube[1], &vec, 1, 0) == 16 * PAGE, "vmsplice");
		must(splice(tube[0], NULL, null, NULL, 16 * PAGE, 0) == 16 * PAGE, "splice");
	}
	start = ticks() - start;
	unmap(p);
	return start;
}

static uint64_t gup_slow(void)
{
	static char buffer[16 * 8];
	char *p = map(MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1);
	struct iovec to = { buffer, sizeof(buffer) }, from[16];
	uint64_t start;

	for (int i = 0; i < 16; i++)
		from[i] = (struct iovec) { p + i * PAGE, 8 };
	start = ticks();
	for (int i = 0; i < CALLS; i++)
		must(process_vm_readv(getpid(), &to, 1, from, 16, 0) == sizeof(buffer),
		     "process_vm_readv");
	start = ticks() - start;
	unmap(p);
	return start;
}

static uint64_t walk(void)
{
	unsigned char resident[PAGES];
	char *p = map(MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1);
	uint64_t start = ticks();

	for (int i = 0; i < CALLS; i++)
		must(mincore(p, BYTES, resident) == 0, "mincore");
	start = ticks() - start;
	unmap(p);
	return start;
}

/* On one processor each byte that comes or goes is a switch. */
static uint64_t context_switch(void)
{
	int to[2], from[2];
	uint64_t start = 0;
	pid_t pid;
	char c = 0;

	must(pipe(to) == 0 && pipe(from) == 0, "pipe");
	pid = fork();
	must(pid >= 0, "fork");
	if (pid == 0) {
		close(to[1]);
		while (read(to[0], &c, 1) == 1)
			must(write(from[1], &c, 1) == 1, "write");
		_exit(0);
	}
	close(to[0]);
	for (int i = 0; i <= CALLS; i++) {
		if (i == 1)		/* the first copies pages */
			start = ticks();
		must(write(to[1], &c, 1) == 1 && read(from[0], &c, 1) == 1, "a byte");
	}
	start = ticks() - start;
	close(to[1]);
	close(from[0]);
	close(from[1]);
	must(waitpid(pid, NULL, 0) == pid, "waitpid");
	return start;
}

static const struct operation {
	const char *name;
	uint64_t (*batch)(void);
	int per_batch;
} operations[] = {
	{ "anon_store_fault", anon_store, PAGES },
	{ "anon_load_fault", anon_load, PAGES },
	{ "shared_store_fault", shared_store, PAGES },
	{ "private_store_fault", private_store, PAGES },
	{ "munmap_page", zap, PAGES },
	{ "mmap_munmap", mmap_munmap, CALLS },
	{ "mprotect_page", protect, 2 * PAGES },
	{ "fork_exit", fork_exit, 1 },
	{ "gup_fast_16_pages", gup_fast, CALLS },
	{ "gup_slow_16_pages", gup_slow, CALLS },
	{ "mincore_256_pages", walk, CALLS },
	{ "context_switch", context_switch, 2 * CALLS },
};

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void measure(const struct operation *o, int batches)
{
	uint64_t samples[MAX];

	for (int i = 0; i < WARM; i++)
		o->batch();
	for (int i = 0; i < batches; i++)
		samples[i] = o->batch();
	qsort(samples, batches, sizeof(*samples), by_value);
	printf("%s %.3f %.3f %.3f\n", o->name,
	       (double)samples[batches / 2] / o->per_batch,
	       (double)samples[0] / o->per_batch,
	       (double)samples[batches - 1] / o->per_batch);
	fflush(stdout);
}

/* 200,000 instructions must be so many ticks, but for an interrupt or two. */
static bool counts_instructions(void)
{
	uint64_t start = ticks(), n;
	long i = 100000;

	asm volatile("1: dec %0; jnz 1b" : "+r" (i) : : "cc");
	n = ticks() - start;
	if (n >= 200000 && n < 220000)
		return true;
	fprintf(stderr, "ordinary: 200000 instructions are %llu ticks: not on QEMU with -icount shift=0\n",
		(unsigned long long)n);
	return false;
}

int main(int argc, char **argv)
{
	int batches = argc == 3 ? atoi(argv[2]) : 20;
	char *p;

	instructions = argc >= 2 && !strcmp(argv[1], "instructions");
	if (argc < 2 || argc > 3 || (!instructions && strcmp(argv[1], "ns")) ||
	    batches < 1 || batches > MAX) {
		fprintf(stderr, "usage: ordinary ns|instructions [BATCHES, at most %d]\n", MAX);
		return 2;
	}
	if (instructions && !counts_instructions())
		return 1;
	file = memfd_create("ordinary", MFD_CLOEXEC);
	must(file >= 0 && ftruncate(file, BYTES) == 0, "memfd");
	p = map(MAP_SHARED, file);
	store(p);
	unmap(p);
	null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	must(null >= 0 && pipe2(tube, O_CLOEXEC) == 0, "pipe");
	for (size_t i = 0; i < sizeof(operations) / sizeof(*operations); i++)
		measure(&operations[i], batches);
	return 0;
}
