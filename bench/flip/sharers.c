// SPDX-License-Identifier: PostgreSQL
/*
 * The processes that map the range: idle in a futex wait, or running, reading
 * their mapping page by page in random order. Each obeys a command word of its
 * own; a probe is a store whose outcome (done, or a signal) it reports.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "flip.h"

#define OWN_CLOSINGS	15
#define READS		64	/* between two looks at the command */
#define STORE_WAITS	0.05	/* seconds */

enum command { NONE, LOOK_AGAIN, PROBE };
enum outcome { PENDING, STORING, STORED, FAULTED };

struct seat {
	_Atomic uint32_t command;
	_Atomic uint32_t outcome;
	_Atomic uint32_t error;		/* errno of a failed attach */
	_Atomic uint64_t reads;		/* of its mapping, while running */
	uint64_t touch_faults, touch_table_bytes;
	double own_us;
	pid_t pid;
	bool waits;			/* its store, for the reopening */
} __attribute__((aligned(64)));

static struct {
	_Atomic uint32_t ready, running;
	struct seat seats[MAX_PROCESSES];
} *crew;
static int crew_size, crew_planned;

uint64_t touch_step = PAGE;

static volatile sig_atomic_t probing;
static sigjmp_buf after_fault;
static const struct arm *own_arm;	/* in a sharer */

static void on_fault(int signo)
{
	if (own_arm->repair && own_arm->repair())
		return;
	if (probing)
		siglongjmp(after_fault, 1);
	signal(signo, SIG_DFL);
}

static enum outcome store(volatile char *p)
{
	enum outcome outcome = FAULTED;

	if (sigsetjmp(after_fault, 1) == 0) {
		probing = 1;
		*p = *p;
		outcome = STORED;
	} else if (own_arm->resume) {
		own_arm->resume();
	}
	probing = 0;
	return outcome;
}

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* A page that is present in the page tables, at random. */
static char *pick(char *base, const struct range *r, uint64_t *random)
{
	uint64_t n = next_random(random);

	return base + n % (r->bytes / r->piece) * r->piece +
	       (n >> 32) % (r->dense / PAGE) * PAGE;
}

/* Read once in each `step` of the bytes from..to of each piece. */
void touch(const char *base, const struct range *r, uint64_t from, uint64_t to,
	   uint64_t step)
{
	for (uint64_t piece = 0; piece < r->bytes; piece += r->piece)
		for (uint64_t at = from; at < to; at += step)
			(void)*(volatile const char *)(base + piece + at);
}

/*
 * Fewer sharers than CPUs keep off the coordinator's: on it they would have
 * stopped running when a flip begins, and the flip would interrupt nobody.
 */
static void choose_cpu(int number, int count)
{
	int cpus = sysconf(_SC_NPROCESSORS_ONLN);
	cpu_set_t set;

	CPU_ZERO(&set);
	if (count < cpus)
		CPU_SET(1 + number, &set);
	else
		for (int cpu = 0; cpu < cpus; cpu++)
			CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static uint64_t own_faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_minflt + usage.ru_majflt;
}

/*
 * Read all of the range and tell what that took; not every page of it where
 * that would be more than 65,536 reads, or 4 Mi of all sharers together.
 */
static void touch_all(const char *base, const struct range *r, struct seat *seat,
		      uint64_t tables_before)
{
	uint64_t step = touch_step, faults;

	while (r->bytes / step > 65536 || r->bytes / step * crew_planned > 4 * MiB)
		step *= 2;
	/* The first time is for the code and the counters themselves. */
	for (int round = 0; round < 2; round++) {
		faults = own_faults();
		touch(base, r, 0, round ? r->dense : 0, step);
		seat->touch_faults = own_faults() - faults;
	}
	seat->touch_table_bytes = status_kib(0, "VmPTE:") * KiB - tables_before;
}

/* A lone sharer's own closings. */
static double own_times(const struct arm *arm, const struct range *r)
{
	double us[OWN_CLOSINGS];

	for (int i = 0; i < OWN_CLOSINGS; i++) {
		double start = now();
		bool closed = arm->own(r, PROT_READ);

		us[i] = (now() - start) * 1e6;
		if (!closed || !arm->own(r, PROT_READ | PROT_WRITE))
			return 0;
	}
	return median(us, OWN_CLOSINGS);
}

static void __attribute__((noreturn))
sharer(const struct arm *arm, const struct range *r, struct seat *seat)
{
	uint64_t random = getpid() * 0x9E3779B97F4A7C15ULL;
	struct sigaction on_denial = { .sa_handler = on_fault };
	uint64_t tables;
	char *base;

	own_arm = arm;
	sigaction(SIGSEGV, &on_denial, NULL);
	sigaction(SIGBUS, &on_denial, NULL);
	/* The seat and the first call may take tables for themselves. */
	seat->touch_table_bytes = 0;
	for (int i = 0; i < 2; i++)
		tables = status_kib(0, "VmPTE:") * KiB;
	base = arm->attach(r);
	if (base)
		touch_all(base, r, seat, tables);
	else
		seat->error = errno ? errno : EINVAL;
	if (base && arm->own && crew_planned == 1)
		seat->own_us = own_times(arm, r);
	crew->ready++;
	futex_wake(&crew->ready, 1);
	if (!base)
		_exit(1);

	for (;;) {
		uint32_t look_again = LOOK_AGAIN;

		/* A command is taken before it is answered: the next may follow at once. */
		if (seat->command == PROBE) {
			seat->command = NONE;
			seat->outcome = STORING;
			seat->outcome = store(pick(base, r, &random));
			futex_wake(&seat->outcome, 1);
			continue;
		}
		atomic_compare_exchange_strong(&seat->command, &look_again, NONE);
		if (crew->running) {
			for (int i = 0; i < READS; i++)
				(void)*(volatile char *)pick(base, r, &random);
			atomic_store_explicit(&seat->reads, seat->reads + READS, memory_order_relaxed);
		} else {
			futex_wait(&seat->command, NONE);
		}
	}
}

static void command(struct seat *seat, enum command what)
{
	seat->command = what;
	futex_wake(&seat->command, 1);
}

bool sharers_start(const struct arm *arm, const struct range *r, int count)
{
	pid_t parent = getpid();
	uint32_t ready;

	if (!crew)
		crew = shared_memory(sizeof(*crew));
	memset(crew, 0, sizeof(*crew));
	crew_planned = count;
	for (crew_size = 0; crew_size < count; crew_size++) {
		struct seat *seat = &crew->seats[crew_size];
		pid_t pid = fork();	/* crew is shared: only the parent stores it */

		if (pid < 0) {
			fail("fork of sharer %d: %s", crew_size, strerror(errno));
			sharers_stop();
			return false;
		}
		if (pid == 0) {
			struct sched_param normal = { 0 };

			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (getppid() != parent)
				_exit(1);
			sched_setscheduler(0, SCHED_OTHER, &normal);
			choose_cpu(crew_size, count);
			sharer(arm, r, seat);
		}
		/* One group, so that one kill() reaches them all. */
		seat->pid = pid;
		setpgid(seat->pid, sharers_group());
	}
	while ((ready = crew->ready) < (uint32_t)count)
		futex_wait(&crew->ready, ready);
	for (int i = 0; i < count; i++) {
		if (crew->seats[i].error) {
			fail("sharer %d cannot map the range: %s", i,
			     strerror(crew->seats[i].error));
			sharers_stop();
			return false;
		}
	}
	return true;
}

void sharers_set_running(bool running)
{
	crew->running = running;
	for (int i = 0; i < crew_size; i++)
		command(&crew->seats[i], LOOK_AGAIN);
	usleep(20000);
}

/* Unless a store that waited is to end first. */
static void probe_begin(struct seat *seat)
{
	if (seat->waits)
		return;
	seat->outcome = PENDING;
	command(seat, PROBE);
}

static bool probe_end(int number, bool *faulted)
{
	struct seat *seat = &crew->seats[number];
	uint32_t outcome;
	int status;

	while ((outcome = seat->outcome) < STORED) {
		if (waitpid(seat->pid, &status, WNOHANG) == seat->pid)
			return fail("sharer %d died with wait status 0x%x", number, status);
		futex_wait(&seat->outcome, outcome);
	}
	seat->waits = false;
	*faulted = seat->outcome == FAULTED;
	return true;
}

/* A probe goes before the others, which would have it wait for its turn. */
static void go_first(const struct seat *seat)
{
	struct sched_param first = { .sched_priority = 1 };

	sched_setscheduler(seat->pid, SCHED_FIFO, &first);
}

/* Does a store in this sharer fault? Nothing is timed meanwhile. */
bool sharers_probe_store(int number, bool *faulted)
{
	struct sched_param normal = { 0 };
	bool answered;

	go_first(&crew->seats[number]);
	probe_begin(&crew->seats[number]);
	answered = probe_end(number, faulted);
	sched_setscheduler(crew->seats[number].pid, SCHED_OTHER, &normal);
	return answered;
}

/*
 * Does a store in this sharer wait, for so long that it can be taken for it? It is left
 * to it; the next probe of this sharer tells how it ended.
 */
bool sharers_store_waits(int number)
{
	struct seat *seat = &crew->seats[number];
	double until;

	go_first(seat);
	probe_begin(seat);
	while (seat->outcome == PENDING)
		usleep(1000);
	until = now() + STORE_WAITS;
	while (seat->outcome == STORING && now() < until)
		futex_wait_until(&seat->outcome, STORING, until);
	seat->waits = seat->outcome == STORING;
	return seat->waits;
}

/* Have each sharer store once; returns when all have, false if one could not. */
bool sharers_store_everywhere(void)
{
	bool faulted;

	for (int i = 0; i < crew_size; i++)
		probe_begin(&crew->seats[i]);
	for (int i = 0; i < crew_size; i++) {
		if (!probe_end(i, &faulted))
			return false;
		if (faulted)
			return fail("a store in sharer %d faulted for good", i);
	}
	return true;
}

void sharers_stop(void)
{
	if (crew_size)
		kill(-sharers_group(), SIGKILL);
	for (int i = 0; i < crew_size; i++)
		waitpid(crew->seats[i].pid, NULL, 0);
	crew_size = 0;
}

int sharers_count(void)
{
	return crew_size;
}

pid_t sharers_group(void)
{
	return crew->seats[0].pid;
}

static uint64_t status_sum(const char *key)
{
	uint64_t kib = 0;

	for (int i = 0; i < crew_size; i++)
		kib += status_kib(crew->seats[i].pid, key);
	return kib * KiB;
}

uint64_t sharers_pages_mapped(void)
{
	return status_sum("RssShmem:") / PAGE;
}

uint64_t sharers_table_bytes(void)
{
	return status_sum("VmPTE:");
}

uint64_t sharers_faults(void)
{
	uint64_t faults = 0;

	for (int i = 0; i < crew_size; i++)
		faults += faults_of(crew->seats[i].pid);
	return faults;
}

/* Has each a CPU that is not the coordinator's? See choose_cpu(). */
bool sharers_undisturbed(void)
{
	return crew_size < sysconf(_SC_NPROCESSORS_ONLN);
}

uint64_t sharers_reads(void)
{
	uint64_t reads = 0;

	for (int i = 0; i < crew_size; i++)
		reads += crew->seats[i].reads;
	return reads;
}

double sharers_own_us(void)
{
	return crew_size == 1 ? crew->seats[0].own_us : 0;
}

uint64_t sharers_touch_faults(void)
{
	uint64_t most = 0;

	for (int i = 0; i < crew_size; i++)
		if (crew->seats[i].touch_faults > most)
			most = crew->seats[i].touch_faults;
	return most;
}

uint64_t sharers_touch_table_bytes(void)
{
	uint64_t most = 0;

	for (int i = 0; i < crew_size; i++)
		if (crew->seats[i].touch_table_bytes > most)
			most = crew->seats[i].touch_table_bytes;
	return most;
}
