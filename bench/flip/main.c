// SPDX-License-Identifier: PostgreSQL
/*
 * flip: how long it takes to make one range of memory read-only in every
 * process that maps it, and writable again.
 *
 * For each size and number of processes each arm is measured in turn, with the
 * processes running (reading the range) and idle. A closing counts only when a
 * sharer's store then faults, a reopening when it succeeds: both are tried on a
 * sample of the flips, in a different process each time. Results are rows of
 * results.csv on standard output, progress is on standard error.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "flip.h"

#define MAX_LIST	16
#define PROBES		8	/* stores tried per point, at most */
#define PAUSE		1000	/* us after each flip: the sharers fill their TLBs again */
#define P99_SAMPLES	100	/* fewer than these have no 99th percentile */

static const struct arm *const all_arms[] = { &arm_mprotect, &arm_mshare };

static struct {
	const struct arm *arms[MAX_LIST];
	int nr_arms;
	uint64_t processes[MAX_LIST], bytes[MAX_LIST];
	int nr_processes, nr_bytes;
	int samples, repetition;
	double box;
	FILE *log;
} options = { .samples = 200, .repetition = 1, .box = 10 };

double populate_seconds = 60;
char failure[256];
static int failed_points;

bool fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(failure, sizeof(failure), format, args);
	va_end(args);
	return false;
}

/* The point that is being measured, as it appears in the rows. */
static struct {
	const struct arm *arm;
	uint64_t processes, bytes;
	bool running;
} point;

static void row(const char *metric, double value, const char *unit, const char *note)
{
	printf("%s,%s-%llu-%llu,%llu,0,%d,%s,%.10g,%s,\"", point.arm->name,
	       point.running ? "flip" : "flip_idle",
	       (unsigned long long)point.processes, (unsigned long long)point.bytes,
	       (unsigned long long)point.processes, options.repetition, metric, value, unit);
	for (; *note; note++)
		printf(*note == '"' ? "\"\"" : "%c", *note);
	printf("\"\n");
	fflush(stdout);
}

static void row_failed(void)
{
	fprintf(stderr, "flip: %s, %llu processes, %llu bytes: %s\n", point.arm->name,
		(unsigned long long)point.processes, (unsigned long long)point.bytes, failure);
	row("failed", 1, "count", failure);
	failed_points++;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* The value that at least `share` of the sorted samples do not exceed. */
static double quantile(const double *sorted, int n, double share)
{
	int rank = (int)(share * n);

	return sorted[rank < share * n || rank == 0 ? rank : rank - 1];
}

static double median(double *us, int n)
{
	qsort(us, n, sizeof(*us), by_value);
	return n % 2 ? us[n / 2] : (us[n / 2 - 1] + us[n / 2]) / 2;
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
	snprintf(metric, sizeof(metric), n >= P99_SAMPLES ? "%s_p99" : "%s_max", what);
	row(metric, n >= P99_SAMPLES ? quantile(us, n, 0.99) : us[n - 1], "us", "");
}

static bool timed_protect(int prot, double *us)
{
	double start = now();

	if (!point.arm->protect(prot))
		return false;
	*us = (now() - start) * 1e6;
	return true;
}

static bool store_must(bool fault, int sharer)
{
	bool faulted;

	if (!sharers_probe_store(sharer, &faulted))
		return false;
	if (faulted != fault)
		return fail("a store in sharer %d %s after the range was %s", sharer,
			    faulted ? "faulted" : "succeeded", fault ? "closed" : "reopened");
	return true;
}

/* Flips until there are enough samples or the box is full; 0 on failure. */
static int flip_in_box(double *down, double *up, int *probes, uint64_t *entries)
{
	double end = now() + options.box;
	int n = 0;

	*probes = 0;
	*entries = 0;
	while (n < options.samples && (n == 0 || now() < end)) {
		bool probe = n % ((options.samples + PROBES - 1) / PROBES) == 0;
		int sharer = *probes % sharers_count();
		uint64_t before = point.arm->entries_written();

		if (!timed_protect(PROT_READ, &down[n]))
			return 0;
		*entries += point.arm->entries_written() - before;
		if (probe && !store_must(true, sharer))
			return 0;
		if (!timed_protect(PROT_READ | PROT_WRITE, &up[n]))
			return 0;
		if (probe && !store_must(false, sharer))
			return 0;
		*probes += probe;
		n++;
		usleep(PAUSE);
	}
	return n;
}

/* Bare flushes of all CPUs, at the pace of the flips. */
static bool floor_times(double *us, int n)
{
	for (int i = 0; i < n; i++) {
		if (!flush_all_cpus(&us[i]))
			return false;
		usleep(PAUSE);
	}
	return true;
}

static bool measure(const struct range *r, double attach_seconds)
{
	double down[options.samples], up[options.samples];
	uint64_t entries, rounds_before = 0, rounds_after = 0;
	uint64_t tlb, calls;
	int n, probes;

	sharers_set_running(point.running);
	tlb = interrupts("TLB");
	calls = interrupts("CAL");
	point.arm->shootdowns(&rounds_before);
	n = flip_in_box(down, up, &probes, &entries);
	if (n == 0)
		return false;
	tlb = interrupts("TLB") - tlb;
	calls = interrupts("CAL") - calls;

	rows_of_times("flip", down, n);
	rows_of_times("up", up, n);
	row("n", n, "count", n < options.samples ? "the time box was full" : "");
	row("probes", probes, "count", "closings and reopenings checked by a store in a sharer");
	row("entries_written", (double)entries / n, "count", "per closing");
	row("entries_mapped", range_pages_present(r), "count",
	    "pages present in the range, of each process or of the region");
	row("tlb_interrupts", (double)tlb / n, "count", "TLB row, per closing and reopening");
	row("call_interrupts", (double)calls / n, "count", "CAL row, per closing and reopening");
	if (point.arm->shootdowns(&rounds_after))
		row("shootdowns", (double)(rounds_after - rounds_before) / n, "count",
		    "per closing and reopening");
	row("attach_s", attach_seconds, "s", "all processes started, mapped and touched");

	fprintf(stderr, "flip: %-8s %3llu %s processes, %7llu MiB: closing %.1f us, reopening %.1f us, n %d\n",
		point.arm->name, (unsigned long long)point.processes,
		point.running ? "running" : "idle   ",
		(unsigned long long)(point.bytes / MiB), median(down, n), median(up, n), n);

	if (floor_times(down, n))
		rows_of_times("floor", down, n);
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

/* Both series of one arm with one number of processes. */
static void measure_processes(const struct range *r)
{
	double start = now(), attach_seconds;

	alarm(300 + 20 * options.box);
	point.running = true;
	if (!sharers_start(point.arm, r, point.processes)) {
		row_failed();
		return;
	}
	attach_seconds = now() - start;
	for (int series = 0; series < 2; series++) {
		point.running = series == 0;
		if (!measure(r, attach_seconds)) {
			row_failed();
			break;
		}
	}
	sharers_stop();
}

static int object_of(uint64_t bytes)
{
	int fd = memfd_create("flip", MFD_CLOEXEC);
	static char page[1 * MiB];

	memset(page, 1, sizeof(page));
	if (fd < 0)
		return -1;
	for (uint64_t at = 0; at < bytes; at += sizeof(page)) {
		if (pwrite(fd, page, sizeof(page), at) != sizeof(page)) {
			close(fd);
			return -1;
		}
	}
	return fd;
}

static void measure_bytes(uint64_t bytes, int turn)
{
	struct range ranges[MAX_LIST];
	bool usable[MAX_LIST] = { false };
	uint64_t piece = bytes < GiB ? bytes : GiB;
	int object = object_of(piece);
	double start;

	if (object < 0) {
		fprintf(stderr, "flip: cannot allocate an object of %llu MiB: %s\n",
			(unsigned long long)(piece / MiB), strerror(errno));
		failed_points++;
		return;
	}
	for (int a = 0; a < options.nr_arms; a++) {
		ranges[a] = (struct range) { bytes, piece, piece, object };
		if (bytes > options.arms[a]->max_bytes)
			continue;
		point.arm = options.arms[a];
		point.bytes = bytes;
		point.processes = options.processes[0];
		point.running = true;
		start = now();
		usable[a] = point.arm->setup(&ranges[a]);
		if (usable[a])
			fprintf(stderr, "flip: %-8s %llu MiB set up in %.1f s, %llu pages to be mapped\n",
				point.arm->name, (unsigned long long)(bytes / MiB), now() - start,
				(unsigned long long)range_pages_present(&ranges[a]));
		else
			row_failed();
	}
	for (int p = 0; p < options.nr_processes; p++) {
		for (int i = 0; i < options.nr_arms; i++) {
			/* ABBA: every second point takes the arms backwards */
			int a = (p + turn) % 2 ? options.nr_arms - 1 - i : i;

			if (!usable[a])
				continue;
			point.arm = options.arms[a];
			point.processes = options.processes[p];
			measure_processes(&ranges[a]);
		}
	}
	for (int a = 0; a < options.nr_arms; a++)
		if (usable[a])
			options.arms[a]->teardown();
	close(object);
}

static int parse_list(const char *text, uint64_t *list)
{
	int n = 0;

	while (*text && n < MAX_LIST) {
		char *end;
		uint64_t value = strtoull(text, &end, 10);

		if (*end == 'M')
			value *= MiB, end++;
		else if (*end == 'G')
			value *= GiB, end++;
		else if (*end == 'T')
			value *= 1024 * GiB, end++;
		if (end == text || (*end && *end != ',') || value == 0) {
			fprintf(stderr, "flip: not a list of positive numbers: %s\n", text);
			exit(2);
		}
		list[n++] = value;
		text = *end ? end + 1 : end;
	}
	return n;
}

static void parse_arms(char *text)
{
	options.nr_arms = 0;
	for (char *name = strtok(text, ","); name; name = strtok(NULL, ",")) {
		size_t i = 0;

		while (i < sizeof(all_arms) / sizeof(*all_arms) &&
		       strcmp(all_arms[i]->name, name) != 0)
			i++;
		if (i == sizeof(all_arms) / sizeof(*all_arms) || options.nr_arms == MAX_LIST) {
			fprintf(stderr, "flip: no arm %s; there are:", name);
			for (i = 0; i < sizeof(all_arms) / sizeof(*all_arms); i++)
				fprintf(stderr, " %s", all_arms[i]->name);
			fprintf(stderr, "\n");
			exit(2);
		}
		options.arms[options.nr_arms++] = all_arms[i];
	}
}

static void usage(void)
{
	puts("usage: flip [OPTION]...\n"
	     "Times the change of protection of a range in every process that maps it.\n"
	     "  --arms LIST        mprotect,mshare (default: both)\n"
	     "  --processes LIST   default 1,8,64,256\n"
	     "  --bytes LIST       default 64M,1G,64G,1T; mprotect stops at 1G\n"
	     "  --samples N        flips per point (default 200)\n"
	     "  --box SECONDS      time for the flips of a point (default 10)\n"
	     "  --populate SECONDS time to fill the page tables of a region (default 60)\n"
	     "  --log FILE         write every sample: arm,workload,flip or up,microseconds\n"
	     "  --repetition N     number of this repetition, for the rows (default 1)\n"
	     "Rows of results.csv go to standard output. Exit status 1: a point failed.");
}

static void parse_options(int argc, char **argv)
{
	static const struct option long_options[] = {
		{ "arms", required_argument, NULL, 'a' },
		{ "processes", required_argument, NULL, 'p' },
		{ "bytes", required_argument, NULL, 'b' },
		{ "samples", required_argument, NULL, 's' },
		{ "box", required_argument, NULL, 'x' },
		{ "populate", required_argument, NULL, 'f' },
		{ "log", required_argument, NULL, 'l' },
		{ "repetition", required_argument, NULL, 'r' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 }
	};
	char default_arms[] = "mprotect,mshare";
	int c;

	parse_arms(default_arms);
	options.nr_processes = parse_list("1,8,64,256", options.processes);
	options.nr_bytes = parse_list("64M,1G,64G,1T", options.bytes);
	while ((c = getopt_long(argc, argv, "h", long_options, NULL)) != -1) {
		switch (c) {
		case 'a': parse_arms(optarg); break;
		case 'p': options.nr_processes = parse_list(optarg, options.processes); break;
		case 'b': options.nr_bytes = parse_list(optarg, options.bytes); break;
		case 's': options.samples = atoi(optarg); break;
		case 'x': options.box = atof(optarg); break;
		case 'f': populate_seconds = atof(optarg); break;
		case 'l':
			options.log = fopen(optarg, "w");
			if (!options.log) {
				perror(optarg);
				exit(1);
			}
			break;
		case 'r': options.repetition = atoi(optarg); break;
		case 'h': usage(); exit(0);
		default: usage(); exit(2);
		}
	}
	for (int i = 0; i < options.nr_processes; i++) {
		if (options.processes[i] > MAX_PROCESSES) {
			fprintf(stderr, "flip: at most %d processes\n", MAX_PROCESSES);
			exit(2);
		}
	}
	for (int i = 0; i < options.nr_bytes; i++) {
		uint64_t bytes = options.bytes[i];

		if (bytes % (16 * MiB) || (bytes > GiB && bytes % GiB)) {
			fprintf(stderr, "flip: sizes are multiples of 16M, above 1G of 1G\n");
			exit(2);
		}
	}
	if (optind < argc || options.samples < 1 || options.box <= 0) {
		usage();
		exit(2);
	}
}

/*
 * The coordinator has CPU 0 whenever it wants it, in every arm: what is timed
 * is the flip, not the queue for a CPU.
 */
static void run_first(void)
{
	struct sched_param fifo = { .sched_priority = 1 };
	cpu_set_t first;

	CPU_ZERO(&first);
	CPU_SET(0, &first);
	sched_setaffinity(0, sizeof(first), &first);
	if (sched_setscheduler(0, SCHED_FIFO, &fifo) != 0)
		fprintf(stderr, "flip: no real-time priority (%s): times include waiting for a CPU\n",
			strerror(errno));
}

int main(int argc, char **argv)
{
	uint64_t around;

	parse_options(argc, argv);
	signal(SIGALRM, on_alarm);
	run_first();
	around = fault_around(0);
	fault_around(2 * MiB);	/* only makes filling page tables quicker */
	for (int b = 0; b < options.nr_bytes; b++)
		measure_bytes(options.bytes[b], b + options.repetition);
	fault_around(around);
	return failed_points ? 1 : 0;
}
