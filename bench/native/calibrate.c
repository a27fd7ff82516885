// SPDX-License-Identifier: PostgreSQL
/*
 * calibrate: what a machine takes for the steps that a change of protection
 * consists of, each by itself, without a server and without msharefs. From
 * these bench/native computes what larger machines would take.
 *
 * usage: calibrate
 * Prints name,median,low,high,n: nanoseconds; low and high are the quartiles of n
 * rounds. Needs two CPUs at least, and 700 MiB.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../flip/flip.h"

#define LARGE		(256 * MiB)
#define FAULT_AROUND	(64UL << 10)	/* bytes that one fault maps */
#define ROUNDS		15
#define CALLS		200		/* in a round, of what is short */

static double now_ns(void)
{
	return now() * 1e9;
}

static void die(const char *what)
{
	fprintf(stderr, "calibrate: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* ROUNDS values, in ns. */
static double tell(const char *name, double *values)
{
	double middle = median(values, ROUNDS);

	printf("%s,%.2f,%.2f,%.2f,%d\n", name, middle, values[ROUNDS / 4], values[ROUNDS - 1 - ROUNDS / 4], ROUNDS);
	fflush(stdout);
	return middle;
}

static void run_on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) != 0)
		die("sched_setaffinity");
}

/* Shared memory whose pages all exist, and its mapping, in which none is present yet. */
static char *map(int fd, size_t size)
{
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED)
		die("mmap");
	return p;
}

static int object(size_t size)
{
	int fd = memfd_create("calibrate", MFD_CLOEXEC);
	char *p;

	if (fd < 0 || ftruncate(fd, size) != 0)
		die("memfd");
	p = map(fd, size);
	if (madvise(p, size, MADV_POPULATE_WRITE) != 0)
		die("MADV_POPULATE_WRITE");
	munmap(p, size);
	return fd;
}

static void system_call(void)
{
	double ns[ROUNDS];

	for (int round = 0; round < ROUNDS; round++) {
		double start = now_ns();

		for (int i = 0; i < CALLS; i++)
			syscall(SYS_getppid);
		ns[round] = (now_ns() - start) / CALLS;
	}
	tell("system_call", ns);
}

/* One closing of what is open; it is opened again outside the time. */
static double closing(char *p, size_t size)
{
	double start = now_ns(), end;

	if (mprotect(p, size, PROT_READ) != 0)
		die("mprotect");
	end = now_ns();
	mprotect(p, size, PROT_READ | PROT_WRITE);
	return end - start;
}

static double closings(char *p, size_t size, int n)
{
	double ns[CALLS];

	for (int i = 0; i < n; i++) {
		*(volatile char *)p = 1;	/* in the TLB, for writing */
		ns[i] = closing(p, size);
	}
	return median(ns, n);
}

/* mprotect() of one page, and what each further present one adds. */
static double protection(int fd)
{
	char *one = map(fd, PAGE), *p = map(fd, LARGE);
	double page[ROUNDS], entry[ROUNDS], fixed;

	if (madvise(p, LARGE, MADV_POPULATE_WRITE) != 0)
		die("MADV_POPULATE_WRITE");
	for (int round = 0; round < ROUNDS; round++)
		page[round] = closings(one, PAGE, CALLS);
	fixed = tell("mprotect_page", page);
	for (int round = 0; round < ROUNDS; round++)
		entry[round] = (closings(p, LARGE, 1) - fixed) / (LARGE / PAGE);
	tell("mprotect_entry", entry);
	munmap(p, LARGE);
	munmap(one, PAGE);
	return fixed;
}

/* A fault that maps what is around it; and what going away takes of each mapped page. */
static void coming_and_going(int fd)
{
	double fault[ROUNDS], gone[ROUNDS];

	for (int round = 0; round < ROUNDS; round++) {
		char *p = map(fd, LARGE);
		double start = now_ns(), touched;

		for (size_t at = 0; at < LARGE; at += FAULT_AROUND)
			(void)*(volatile char *)(p + at);
		touched = now_ns();
		munmap(p, LARGE);
		gone[round] = (now_ns() - touched) / (LARGE / PAGE);
		fault[round] = (touched - start) / (LARGE / FAULT_AROUND);
	}
	tell("fault", fault);
	tell("unmap_entry", gone);
}

static char *read_by_all;
static atomic_int readers;
static atomic_bool reading;

static void *reader(void *cpu)
{
	run_on((intptr_t)cpu);
	readers++;
	while (reading)
		(void)*(volatile char *)read_by_all;
	return NULL;
}

/* What mprotect() of a page takes more where that process runs on `others` CPUs more. */
static void interrupting(int fd, int cpus, double alone)
{
	pthread_t threads[MAX_CPUS];
	char name[32];

	read_by_all = map(fd, PAGE);
	for (int others = 1; others < cpus; others = others * 2 < cpus || others == cpus - 1 ? others * 2 : cpus - 1) {
		double ns[ROUNDS];

		reading = true;
		readers = 0;
		for (int i = 0; i < others; i++)
			if (pthread_create(&threads[i], NULL, reader, (void *)(intptr_t)(i + 1)) != 0)
				die("pthread_create");
		while (readers < others)
			usleep(100);
		for (int round = 0; round < ROUNDS; round++)
			ns[round] = closings(read_by_all, PAGE, CALLS) - alone;
		snprintf(name, sizeof(name), "interrupt_%d", others);
		tell(name, ns);
		reading = false;
		for (int i = 0; i < others; i++)
			pthread_join(threads[i], NULL);
	}
	munmap(read_by_all, PAGE);
}

static struct {
	_Atomic uint32_t answers;
	uint32_t wanted;
} *asked;

static void answer(int signo)
{
	(void)signo;
	if (++asked->answers == asked->wanted)
		futex_wake(&asked->answers, 1);
}

/* A round: all of a process group are told by a signal, and the last to answer wakes who asked. */
static double ask_all(pid_t group, uint32_t count)
{
	double start = now_ns();
	uint32_t so_far;

	asked->wanted = count;
	asked->answers = 0;
	if (kill(-group, SIGUSR1) != 0)
		die("kill");
	while ((so_far = asked->answers) < count)
		futex_wait(&asked->answers, so_far);
	return now_ns() - start;
}

static double ask_round(int count)
{
	pid_t group = 0, pids[256];
	double ns[CALLS];

	for (int i = 0; i < count; i++) {
		pid_t pid = fork();

		if (pid < 0)
			die("fork");
		if (pid == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			for (;;)
				pause();
		}
		pids[i] = pid;
		if (!group)
			group = pid;
		setpgid(pid, group);
	}
	usleep(50000);
	for (int i = 0; i < CALLS; i++)
		ns[i] = ask_all(group, count);
	kill(-group, SIGKILL);
	for (int i = 0; i < count; i++)
		waitpid(pids[i], NULL, 0);
	return median(ns, CALLS);
}

/* For each process that is asked, on all CPUs together. */
static void asking(int cpus)
{
	struct sigaction on_usr1 = { .sa_handler = answer };
	const int few = 8, many = 64;
	double ns[ROUNDS];
	cpu_set_t all;

	asked = shared_memory(PAGE);
	sigaction(SIGUSR1, &on_usr1, NULL);
	CPU_ZERO(&all);
	for (int cpu = 0; cpu < cpus; cpu++)
		CPU_SET(cpu, &all);
	sched_setaffinity(0, sizeof(all), &all);
	for (int round = 0; round < ROUNDS; round++)
		ns[round] = (ask_round(many) - ask_round(few)) / (many - few) * cpus;
	tell("ask_process", ns);
	run_on(0);
}

/* As large as a kernel's struct mm with its cpumask; what a flip touches of it. */
struct sharer {
	struct sharer *next;
	char before[1016];
	_Atomic uint64_t generation;
	char between[120];
	uint64_t cpumask[2];
	char after[880];
};
#define SHARERS	4096

static uint64_t visit(struct sharer *s)
{
	s->generation++;
	return s->cpumask[0] | s->cpumask[1];
}

static uint64_t walk_list(struct sharer *const *order)
{
	uint64_t cpus = 0;

	for (struct sharer *s = order[0]; s; s = s->next)
		cpus |= visit(s);
	return cpus;
}

static uint64_t walk_array(struct sharer *const *order)
{
	uint64_t cpus = 0;

	for (int i = 0; i < SHARERS; i++) {
		if (i + 8 < SHARERS) {
			__builtin_prefetch((void *)&order[i + 8]->generation, 1);
			__builtin_prefetch(order[i + 8]->cpumask);
		}
		cpus |= visit(order[i]);
	}
	return cpus;
}

/* The visit of each sharer, when no cache holds it. */
static void walks(void)
{
	static struct sharer *order[SHARERS];
	struct sharer *all = aligned_alloc(PAGE, SHARERS * sizeof(*all));
	char *others = malloc(LARGE);
	volatile uint64_t sink = 0;

	if (!all || !others)
		die("memory");
	memset(all, 0, SHARERS * sizeof(*all));
	srand(1);
	for (int i = 0; i < SHARERS; i++) {
		int j = rand() % (i + 1);

		order[i] = order[j];
		order[j] = &all[i];
	}
	for (int i = 0; i < SHARERS; i++)
		order[i]->next = i + 1 < SHARERS ? order[i + 1] : NULL;
	for (int way = 0; way < 2; way++) {
		double ns[ROUNDS];

		for (int round = 0; round < ROUNDS; round++) {
			double start;

			memset(others, round, LARGE);
			start = now_ns();
			sink += way ? walk_array(order) : walk_list(order);
			ns[round] = (now_ns() - start) / SHARERS;
		}
		tell(way ? "walk_array" : "walk_list", ns);
	}
	free(others);
	free(all);
}

int main(int argc, char **argv)
{
	int cpus = sysconf(_SC_NPROCESSORS_ONLN), fd;
	double page;

	(void)argv;
	if (argc > 1 || cpus < 2) {
		fputs(argc > 1 ? "usage: calibrate\n" : "calibrate: needs two CPUs\n", stderr);
		return 2;
	}
	if (cpus > MAX_CPUS)
		cpus = MAX_CPUS;
	run_on(0);
	printf("name,median,low,high,n\n");
	printf("cpus,%d,%d,%d,1\n", cpus, cpus, cpus);
	fd = object(LARGE);
	system_call();
	page = protection(fd);
	coming_and_going(fd);
	interrupting(fd, cpus, page);
	asking(cpus);
	walks();
	return 0;
}
