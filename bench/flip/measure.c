// SPDX-License-Identifier: PostgreSQL
/*
 * The points: one range, one number of processes, one arm; running or asleep.
 *
 * A closing counts only when a sharer's store then faults, a reopening when it
 * succeeds: both are tried on a sample of the flips, in a different process
 * each time. Results are rows of results.csv on standard output, progress is on
 * standard error.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "measure.h"

#define PROBES		8	/* stores tried per point, at most */
#define PAUSE		1000	/* us after each flip: the sharers fill their TLBs again */
#define P99_SAMPLES	100	/* fewer than these have no 99th percentile */
#define WINDOW		0.1	/* seconds */
#define WINDOWS		3	/* with flips, and as many without */
#define FLUSHES		20	/* bare flushes of all CPUs, of every point the same number */

static int failed_points;

/* The point that is being measured, as it appears in the rows. */
static struct {
	const struct arm *arm;
	uint64_t processes, bytes;
	int repetition;
	bool running;
} point;

static const char *size_text(uint64_t bytes)
{
	static char text[32];

	snprintf(text, sizeof(text), "%llu %s", (unsigned long long)(bytes / (bytes < MiB ? KiB : MiB)),
		 bytes < MiB ? "KiB" : "MiB");
	return text;
}

static void row(const char *metric, double value, const char *unit, const char *note)
{
	printf("%s,%s-%llu-%llu,%llu,0,%d,%s,%.10g,%s,\"", point.arm->name,
	       point.running ? "flip" : "flip_idle",
	       (unsigned long long)point.processes, (unsigned long long)point.bytes,
	       (unsigned long long)point.processes, point.repetition, metric, value, unit);
	for (; *note; note++)
		printf(*note == '"' ? "\"\"" : "%c", *note);
	printf("\"\n");
	fflush(stdout);
}

static void row_failed(void)
{
	fprintf(stderr, "flip: %s, %llu processes, %llu bytes: %s\n", point.arm->name,
		(unsigned long long)point.processes, (unsigned long long)point.bytes, failure);
	row(lacking ? "unavailable" : "failed", 1, "count", failure);
	failed_points += !lacking;
}

/* The value that at least `share` of the sorted samples do not exceed. */
static double quantile(const double *sorted, int n, double share)
{
	int rank = (int)(share * n);

	return sorted[rank < share * n || rank == 0 ? rank : rank - 1];
}

/* Each sample, in the order of measurement. */
static void log_times(const char *what, const double *us, int n)
{
	for (int i = 0; options.log && i < n; i++)
		fprintf(options.log, "%s,%s-%llu-%llu,%s,%.3f\n", point.arm->name,
			point.running ? "flip" : "flip_idle",
			(unsigned long long)point.processes,
			(unsigned long long)point.bytes, what, us[i]);
}

static void rows_of_times(const char *what, double *us, int n)
{
	char metric[32];

	log_times(what, us, n);
	snprintf(metric, sizeof(metric), "%s_p50", what);
	row(metric, median(us, n), "us", "");
	if (n >= P99_SAMPLES) {
		snprintf(metric, sizeof(metric), "%s_p99", what);
		row(metric, quantile(us, n, 0.99), "us", "");
	}
	snprintf(metric, sizeof(metric), "%s_max", what);
	row(metric, us[n - 1], "us", "");
}

static bool timed_protect(const struct range *r, int prot, double *us)
{
	double start = now();

	if (!point.arm->protect(r, prot))
		return false;
	*us = (now() - start) * 1e6;
	return true;
}

/* A store into what is closed faults, waits, or is told of. */
static bool store_must(const struct range *r, bool fault, int sharer)
{
	bool faulted;

	if (fault && point.arm->waits)
		return sharers_store_waits(sharer) || fail("a store in sharer %d did not wait for the reopening", sharer);
	if (!sharers_probe_store(sharer, &faulted))
		return false;
	if (fault && !faulted && point.arm->caught)
		return point.arm->caught(r) || fail("a store in sharer %d was not seen", sharer);
	if (faulted != fault)
		return fail("a store in sharer %d %s after the range was %s", sharer,
			    faulted ? "faulted" : "succeeded", fault ? "closed" : "reopened");
	return true;
}

static uint64_t entries_written(const struct range *r)
{
	return point.arm->entries_written ? point.arm->entries_written(r) : 0;
}

/* What a series of flips found, besides the times. */
struct counts {
	int flips, probes;
	uint64_t entries;	/* written by closings */
};

static bool flip(const struct range *r, bool probe, double *down, double *up, struct counts *c)
{
	int sharer = c->probes % sharers_count();
	uint64_t before = entries_written(r);

	if (!timed_protect(r, PROT_READ, down))
		return false;
	c->entries += entries_written(r) - before;
	if (probe && !store_must(r, true, sharer))
		return false;
	if (!timed_protect(r, PROT_READ | PROT_WRITE, up))
		return false;
	if (probe && !store_must(r, false, sharer))
		return false;
	c->probes += probe;
	c->flips++;
	usleep(PAUSE);
	return true;
}

/*
 * The first flip after the processes came is a row of its own: it finds what no
 * later one does, cold caches and page tables that hugetlb still shares.
 */
static bool first_flip(const struct range *r)
{
	uint64_t tables = sharers_table_bytes();
	struct counts c = { 0 };
	double down, up;

	if (!flip(r, true, &down, &up, &c))
		return false;
	log_times("flip_first", &down, 1);
	log_times("up_first", &up, 1);
	row("flip_first", down, "us", "the first closing, not among the others");
	row("up_first", up, "us", "");
	row("tables_unshared", (tables - sharers_table_bytes()) / PAGE, "count",
	    "page tables that the first flip took from sharers");
	return true;
}

/* Bare flushes of all CPUs between the flips, and what has to be taken off these for them. */
struct flushes {
	double us[FLUSHES], seconds;
	int n;
	bool missing;		/* no such knob */
	uint64_t tlb, calls;	/* interrupts */
};

static void flush_once(struct flushes *f)
{
	uint64_t tlb = interrupts("TLB"), calls = interrupts("CAL");
	double start = now();

	f->missing = !flush_all_cpus(&f->us[f->n]);
	if (f->missing)
		return;
	f->n++;
	usleep(PAUSE);
	f->tlb += interrupts("TLB") - tlb;
	f->calls += interrupts("CAL") - calls;
	f->seconds += now() - start;
}

/* How much of the series is done, by flips and by time. */
static double progress(const struct counts *c, double seconds)
{
	double flips = (double)c->flips / options.samples, least = (double)c->flips / options.least;
	double time = seconds / options.box;

	if (time > least)
		time = least;
	if (time > flips)
		flips = time;
	return flips < 1 ? flips : 1;
}

/*
 * Flips until there are samples enough or the box is full, with the flushes
 * spread among them; false on failure. The box holds flips and nothing else.
 */
static bool flip_in_box(const struct range *r, double *down, double *up, struct counts *c,
			struct flushes *f)
{
	double start = now();

	memset(c, 0, sizeof(*c));
	memset(f, 0, sizeof(*f));
	while (c->flips < options.samples &&
	       (c->flips < options.least || now() - start - f->seconds < options.box)) {
		bool probe = c->flips % ((options.samples + PROBES - 1) / PROBES) == 0;

		if (!flip(r, probe, &down[c->flips], &up[c->flips], c))
			return false;
		while (!f->missing && f->n < (int)(FLUSHES * progress(c, now() - start - f->seconds)))
			flush_once(f);
	}
	while (!f->missing && f->n < FLUSHES)
		flush_once(f);
	return true;
}

/*
 * A row of what all CPUs did in one closing and reopening, of three the one with
 * least: the machine may have had other work too. Not among the flips that are
 * timed, because counting takes time.
 */
static bool row_of_event(const struct range *r, const char *metric, bool (*open)(struct event *),
			 uint64_t of_reading)
{
	uint64_t least = UINT64_MAX;
	struct event event;
	double us;

	if (!open(&event))
		return true;
	for (int i = 0; i < 3; i++) {
		uint64_t before = event_read(&event), count;

		if (!timed_protect(r, PROT_READ, &us) ||
		    !timed_protect(r, PROT_READ | PROT_WRITE, &us)) {
			event_close(&event);
			return false;
		}
		count = event_read(&event) - before - of_reading;
		if (count < least)
			least = count;
	}
	event_close(&event);
	row(metric, least, "count", "of all processes, per closing and reopening");
	return true;
}

/* A tenth of a second at least, with flips or without; adds what was read in it. */
static bool window(const struct range *r, bool flipping, double *seconds, uint64_t *reads, int *n)
{
	double start = now(), down, up;
	uint64_t before = sharers_reads();

	while (now() - start < WINDOW) {
		if (flipping && (!timed_protect(r, PROT_READ, &down) ||
				 !timed_protect(r, PROT_READ | PROT_WRITE, &up)))
			return false;
		*n += flipping;
		usleep(PAUSE);
	}
	*reads += sharers_reads() - before;
	*seconds += now() - start;
	return true;
}

/*
 * What a flip takes of a process that runs meanwhile, on a CPU that the
 * coordinator leaves to it: by how many reads it does less, in turns with flips
 * and without. Interrupt, the TLB filled again, and what it is asked to do.
 */
static bool row_of_lost_time(const struct range *r)
{
	double quiet = 0, flipping = 0;
	uint64_t quiet_reads = 0, flipping_reads = 0;
	int n = 0;

	for (int i = 0; i < WINDOWS; i++)
		if (!window(r, false, &quiet, &quiet_reads, &n) ||
		    !window(r, true, &flipping, &flipping_reads, &n))
			return false;
	if (quiet_reads)
		row("lost_us", (flipping - flipping_reads * (quiet / quiet_reads)) / n * 1e6, "us",
		    "of each running process, per closing and reopening");
	return true;
}

/* Machine-wide counters whose difference over a series is of interest. */
struct machine {
	uint64_t tlb, calls, faults, rounds;
};

static struct machine machine_now(const struct range *r)
{
	return (struct machine) {
		.tlb = interrupts("TLB"),
		.calls = interrupts("CAL"),
		.faults = sharers_faults(),
		.rounds = point.arm->shootdowns ? point.arm->shootdowns(r) : 0,
	};
}

/* A count for each closing and reopening together. */
static void row_per_cycle(const char *metric, uint64_t before, uint64_t after, int n,
			  const char *note)
{
	row(metric, (double)(after - before) / n, "count", note);
}

/* What each of the processes took before anything flipped. */
struct crew_cost {
	double attach_seconds;
	int64_t page_table_bytes;	/* below 0: others gave some back */
};

static bool measure(const struct range *r, const struct crew_cost *cost)
{
	double down[options.samples], up[options.samples];
	struct machine before, after;
	struct flushes flushes;
	struct counts counts;
	int n;

	sharers_set_running(point.running);
	if (!first_flip(r))
		return false;
	before = machine_now(r);
	if (!flip_in_box(r, down, up, &counts, &flushes))
		return false;
	after = machine_now(r);
	after.tlb -= flushes.tlb;
	after.calls -= flushes.calls;
	n = counts.flips;

	rows_of_times("flip", down, n);
	rows_of_times("up", up, n);
	row("n", n, "count", n < options.samples ? "the time box was full" : "");
	row("probes", counts.probes, "count", "closings and reopenings checked by a store in a sharer");
	if (point.arm->entries_written)
		row("entries_written", (double)counts.entries / n, "count", "per closing");
	row("entries_mapped", range_pages_present(r), "count",
	    "pages present in the range, of each process or of the region");
	row_per_cycle("tlb_interrupts", before.tlb, after.tlb, n, "TLB row, per closing and reopening");
	row_per_cycle("call_interrupts", before.calls, after.calls, n, "CAL row, per closing and reopening");
	row_per_cycle("flip_faults", before.faults, after.faults, n, "of all sharers, per closing and reopening");
	if (point.arm->shootdowns)
		row_per_cycle("shootdowns", before.rounds, after.rounds, n, "per closing and reopening");
	if (point.repetition == 1 &&
	    !row_of_event(r, "syscalls", event_open_syscalls, sysconf(_SC_NPROCESSORS_ONLN)))
		return false;
	/* Of processes that run there are as many as time lets them read. */
	if (point.repetition == 1 && !point.running &&
	    !row_of_event(r, "instructions", event_open_instructions, 0))
		return false;
	if (point.running && sharers_undisturbed() && !row_of_lost_time(r))
		return false;
	if (sharers_own_us() > 0)
		row("own_p50", sharers_own_us(), "us", "the process's own closings, with nobody to ask");
	row("attach_s", cost->attach_seconds, "s", "all processes started, mapped and touched");
	row("page_table_bytes", cost->page_table_bytes, "bytes", "PageTables with all processes, less those before");
	row("touch_faults", sharers_touch_faults(), "count", "of touching the range, the process with most");
	row("touch_table_bytes", sharers_touch_table_bytes(), "bytes",
	    "VmPTE for mapping and touching the range, the process with most");

	fprintf(stderr, "flip: %-8s %4llu %s processes, %8s: closing %.1f us, reopening %.1f us, n %d\n",
		point.arm->name, (unsigned long long)point.processes,
		point.running ? "running" : "idle   ",
		size_text(point.bytes), median(down, n), median(up, n), n);

	if (!flushes.missing)
		rows_of_times("flush_all", flushes.us, FLUSHES);
	return true;
}

static void on_alarm(int signo)
{
	static const char message[] = "flip: a point hangs: a sharer does not answer\n";

	(void)signo;
	if (write(STDERR_FILENO, message, sizeof(message) - 1) < 0)
		_exit(2);
	_exit(1);
}

static bool measure_series(const struct range *r, const struct crew_cost *cost)
{
	point.running = true;
	if (options.running && !measure(r, cost))
		return false;
	point.running = false;
	return !options.idle || measure(r, cost);
}

/* All series of one arm with one number of processes. */
static void measure_processes(const struct range *r)
{
	const struct arm *arm = point.arm;
	struct crew_cost cost = { .page_table_bytes = page_table_bytes() };
	double start;

	signal(SIGALRM, on_alarm);
	alarm(180 + 20 * options.box);
	point.running = true;
	start = now();
	if (!sharers_start(arm, r, point.processes)) {
		row_failed();
		return;
	}
	cost.attach_seconds = now() - start;
	cost.page_table_bytes = page_table_bytes() - cost.page_table_bytes;
	if ((arm->started && !arm->started(r)) || !measure_series(r, &cost))
		row_failed();
	if (arm->ending)
		arm->ending();
	sharers_stop();
	alarm(0);
}

static int object_of(uint64_t bytes)
{
	int fd = memfd_create("flip", MFD_CLOEXEC);
	static char page[1 * MiB];
	size_t some = bytes < sizeof(page) ? bytes : sizeof(page);

	memset(page, 1, sizeof(page));
	if (fd < 0)
		return -1;
	for (uint64_t at = 0; at < bytes; at += some) {
		if (pwrite(fd, page, some, at) != (ssize_t)some) {
			close(fd);
			return -1;
		}
	}
	return fd;
}

static bool set_up(struct range *r)
{
	double start = now();

	if (!point.arm->setup(r)) {
		row_failed();
		return false;
	}
	fprintf(stderr, "flip: %-8s %s set up in %.1f s, %llu pages to be mapped\n",
		point.arm->name, size_text(r->bytes), now() - start,
		(unsigned long long)range_pages_present(r));
	return true;
}

/* A random order of the arms, the same for both repetitions of a pair. */
static void shuffle(int *order, int n, uint64_t bytes)
{
	unsigned int random = options.seed + (point.repetition + 1) / 2 * 7919 + bytes / PAGE;

	for (int i = 0; i < n; i++) {
		int j = rand_r(&random) % (i + 1);

		order[i] = order[j];
		order[j] = i;
	}
}

/* One repetition of all points; ABBA: every second point, and repetition, goes backwards. */
static void measure_repetition(const struct range *ranges, const bool *usable)
{
	int order[MAX_LIST];

	shuffle(order, options.nr_arms, ranges[0].bytes);
	for (int p = 0; p < options.nr_processes; p++) {
		for (int i = 0; i < options.nr_arms; i++) {
			bool forwards = (p + point.repetition) % 2;
			int a = order[forwards ? i : options.nr_arms - 1 - i];

			if (!usable[a])
				continue;
			point.arm = options.arms[a];
			point.processes = options.processes[p];
			measure_processes(&ranges[a]);
		}
	}
}

int measure_bytes(uint64_t bytes)
{
	struct range ranges[MAX_LIST];
	bool usable[MAX_LIST] = { false };
	uint64_t piece = bytes < GiB ? bytes : GiB;
	int object = object_of(piece);

	failed_points = 0;
	if (object < 0) {
		fprintf(stderr, "flip: cannot allocate an object of %llu KiB: %s\n",
			(unsigned long long)(piece / KiB), strerror(errno));
		return 1;
	}
	point.bytes = bytes;
	point.processes = options.processes[0];
	point.repetition = 1;
	point.running = true;
	for (int a = 0; a < options.nr_arms; a++) {
		ranges[a] = (struct range) { .bytes = bytes, .piece = piece, .dense = piece, .object = object };
		point.arm = options.arms[a];
		if (bytes <= options.arms[a]->max_bytes)
			usable[a] = set_up(&ranges[a]);
	}
	for (; point.repetition <= options.repetitions; point.repetition++)
		measure_repetition(ranges, usable);
	for (int a = 0; a < options.nr_arms; a++)
		if (usable[a] && options.arms[a]->teardown)
			options.arms[a]->teardown(&ranges[a]);
	close(object);
	return failed_points;
}
