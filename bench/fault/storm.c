// SPDX-License-Identifier: PostgreSQL
/*
 * storm: what it costs to map memory that processes share: faults, attaching
 * and detaching, through mshare and as plain shared memory, in one boot and in
 * turn. The object is a memfd in both arms.
 *
 *   first-threads-N, first-processes-N: no page is there; N threads of one
 *     process, or N processes, together store once into each page
 *   again-N: one process has stored into every page, N more do the same
 *   attach: mmap() of all and its munmap(); a fork() with all mapped and the
 *     child's exit; the same where the child stores into `connection` bytes,
 *     and into all, with its exit by itself
 *
 * Rows of results.csv go to standard output, progress to standard error.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/msharefs.h>

#include "../flip/flip.h"

#define MSHAREFS	"/sys/fs/mshare"
#define SLOT		(512 * GiB)
#define MAX_LIST	16
#define MAX_WORKERS	64
#define CONNECTION	(4 * MiB)	/* what a short connection touches */

static uint64_t bytes = 64 * MiB;
static int repetitions = 6, rounds = 50, workers[MAX_LIST] = { 1, 2, 8 }, nr_workers = 3;

static bool mshare;		/* the arm, or else plain memfd */
static int repetition, object, region;

static const char *arm_name(void)
{
	return mshare ? "mshare" : "memfd";
}

static void must(bool done, const char *what)
{
	if (!done) {
		fprintf(stderr, "storm: %s: %s: %s\n", arm_name(), what, strerror(errno));
		exit(1);
	}
}

/*
 * A virtual machine gets its memory when it is first touched, which would be at
 * the cost of the arm that comes first.
 */
static void touch_memory(void)
{
	uint64_t size = memory_available() / 4 * 3;
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	must(p != MAP_FAILED, "mmap of the free memory");
	munmap(p, size);
}

/* An object without a page, in a region or not. */
static void create(void)
{
	struct mshare_create create = {
		.size = bytes, .prot = PROT_READ | PROT_WRITE, .flags = MAP_SHARED,
	};

	object = memfd_create("storm", MFD_CLOEXEC);
	must(object >= 0 && ftruncate(object, bytes) == 0, "memfd");
	if (!mshare)
		return;
	region = open(MSHAREFS, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	must(region >= 0, "open of a region in " MSHAREFS);
	must(ftruncate(region, SLOT) == 0, "ftruncate of the region");
	create.fd = object;
	must(ioctl(region, MSHAREFS_CREATE_MAPPING, &create) == 0, "MSHAREFS_CREATE_MAPPING");
}

static void destroy(void)
{
	close(object);
	if (mshare)
		close(region);
}

static uint64_t mapping_bytes(void)
{
	return mshare ? SLOT : bytes;
}

static char *map(void)
{
	char *p = mmap(NULL, mapping_bytes(), PROT_READ | PROT_WRITE, MAP_SHARED,
		       mshare ? region : object, 0);

	must(p != MAP_FAILED, "mmap");
	return p;
}

static void unmap(char *p)
{
	must(munmap(p, mapping_bytes()) == 0, "munmap");
}

static void store(char *p, uint64_t from, uint64_t to)
{
	for (; from < to; from += PAGE)
		((volatile char *)p)[from] = 1;
}

static uint64_t minor_faults(int who)
{
	struct rusage usage;

	getrusage(who, &usage);
	return usage.ru_minflt;
}

static void row(const char *workload, int clients, const char *metric, double value,
		const char *unit)
{
	printf("%s,%s-%llu,%d,0,%d,%s,%.10g,%s,\n", arm_name(), workload,
	       (unsigned long long)bytes, clients, repetition, metric, value, unit);
	fflush(stdout);
}

/* The workers: threads or processes that begin together. */

struct crew {
	pthread_barrier_t ready;
	int size;
	bool all;		/* each stores everywhere, not its share */
	double begin[MAX_WORKERS], end[MAX_WORKERS];
	uint64_t faults[MAX_WORKERS];
};

static struct crew *crew;
static char *threads_mapping;

static void work(int number, char *p, int who)
{
	uint64_t share = bytes / PAGE / crew->size * PAGE;
	uint64_t from = crew->all ? 0 : number * share;
	uint64_t to = crew->all || number == crew->size - 1 ? bytes : from + share;
	uint64_t faults;

	/* the caller's own memory is warm when it begins */
	crew->begin[number] = now();
	crew->end[number] = now();
	crew->faults[number] = minor_faults(who);
	store(p, 0, 0);
	pthread_barrier_wait(&crew->ready);
	faults = minor_faults(who);
	crew->begin[number] = now();
	store(p, from, to);
	crew->end[number] = now();
	crew->faults[number] = minor_faults(who) - faults;
}

static void *thread(void *number)
{
	work((intptr_t)number, threads_mapping, RUSAGE_THREAD);
	return NULL;
}

static void crew_start(int size, bool all)
{
	pthread_barrierattr_t attr;

	pthread_barrierattr_init(&attr);
	pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(&crew->ready, &attr, size);
	crew->size = size;
	crew->all = all;
}

static void run_threads(int size)
{
	pthread_t threads[MAX_WORKERS];

	crew_start(size, false);
	threads_mapping = map();
	for (intptr_t i = 0; i < size; i++)
		must(pthread_create(&threads[i], NULL, thread, (void *)i) == 0, "pthread_create");
	for (int i = 0; i < size; i++)
		pthread_join(threads[i], NULL);
	unmap(threads_mapping);
}

/* Each process maps for itself: nothing is inherited. */
static void run_processes(int size, bool all)
{
	crew_start(size, all);
	for (int i = 0; i < size; i++) {
		pid_t pid = fork();

		must(pid >= 0, "fork");
		if (pid == 0) {
			work(i, map(), RUSAGE_SELF);
			_exit(0);
		}
	}
	for (int i = 0; i < size; i++) {
		int status;

		must(wait(&status) > 0, "wait");
		must(status == 0, "a process failed");
	}
}

static void crew_rows(const char *kind)
{
	uint64_t pages = bytes / PAGE * (crew->all ? crew->size : 1), faults = 0, most = 0;
	double begin = crew->begin[0], end = crew->end[0];
	char workload[32];

	for (int i = 0; i < crew->size; i++) {
		begin = crew->begin[i] < begin ? crew->begin[i] : begin;
		end = crew->end[i] > end ? crew->end[i] : end;
		faults += crew->faults[i];
		most = crew->faults[i] > most ? crew->faults[i] : most;
	}
	snprintf(workload, sizeof(workload), "%s-%d", kind, crew->size);
	row(workload, crew->size, "page_us", (end - begin) * 1e6 / pages, "us");
	row(workload, crew->size, "page_faults", (double)faults / pages, "ratio");
	row(workload, crew->size, "most_faults", most, "count");
	fprintf(stderr, "storm: %-7s %-17s %7.3f us and %.3f faults per page\n", arm_name(),
		workload, (end - begin) * 1e6 / pages, (double)faults / pages);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void rows_of_times(const char *metric, double *us)
{
	qsort(us, rounds, sizeof(*us), by_value);
	row("attach", 1, metric, us[rounds / 2], "us");
	fprintf(stderr, "storm: %-7s %-17s %7.1f us\n", arm_name(), metric, us[rounds / 2]);
}

/* A child that stores so far and exits: all of it, and its exit. */
static void measure_children(const char *name, char *p, uint64_t to)
{
	double whole[rounds], leaving[rounds], *left = &crew->end[0];
	char metric[32];

	for (int i = 0; i < rounds; i++) {
		double start = now();
		pid_t pid = fork();

		must(pid >= 0, "fork");
		if (pid == 0) {
			store(p, 0, to);
			*left = now();
			_exit(0);
		}
		must(waitpid(pid, NULL, 0) == pid, "waitpid");
		whole[i] = (now() - start) * 1e6;
		leaving[i] = (now() - *left) * 1e6;
	}
	snprintf(metric, sizeof(metric), "%s_us", name);
	rows_of_times(metric, whole);
	snprintf(metric, sizeof(metric), "%s_exit_us", name);
	rows_of_times(metric, leaving);
}

static void measure_attach(void)
{
	double us[rounds];
	uint64_t tables = status_kib(0, "VmPTE:");
	char *p;

	for (int i = 0; i < rounds; i++) {
		double start = now();

		p = map();
		store(p, 0, PAGE);
		unmap(p);
		us[i] = (now() - start) * 1e6;
	}
	rows_of_times("mmap_munmap_us", us);

	p = map();
	store(p, 0, bytes);
	row("attach", 1, "touch_table_bytes", (status_kib(0, "VmPTE:") - tables) * KiB, "bytes");
	measure_children("fork", p, 0);
	measure_children("connection", p, CONNECTION);
	measure_children("reader", p, bytes);
	unmap(p);
}

static void measure_arm(void)
{
	for (int i = 0; i < nr_workers; i++) {
		create();
		run_threads(workers[i]);
		crew_rows("first-threads");
		destroy();

		create();
		run_processes(workers[i], false);
		crew_rows("first-processes");
		destroy();

		create();
		run_processes(1, true);
		run_processes(workers[i], true);
		crew_rows("again");
		destroy();
	}
	create();
	measure_attach();
	destroy();
}

static void usage(FILE *to)
{
	fputs("usage: storm [OPTION]...\n"
	      "Times faults, attaching and detaching, through mshare and as plain shared memory.\n"
	      "  --workers LIST     threads and processes (1,2,8)\n"
	      "  --mib N            size of the object (64)\n"
	      "  --repetitions N    of everything, in ABBA order (6)\n"
	      "  --rounds N         attachments of each kind per repetition (50)\n"
	      "Rows of results.csv go to standard output. Exit status: 1 failed, 2 wrong usage.\n", to);
}

static void parse_options(int argc, char **argv)
{
	static const struct option long_options[] = {
		{ "workers", required_argument, NULL, 'w' },
		{ "mib", required_argument, NULL, 'm' },
		{ "repetitions", required_argument, NULL, 'r' },
		{ "rounds", required_argument, NULL, 'n' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 }
	};
	int c;

	while ((c = getopt_long(argc, argv, "h", long_options, NULL)) != -1) {
		switch (c) {
		case 'w':
			nr_workers = 0;
			for (char *n = strtok(optarg, ","); n && nr_workers < MAX_LIST; n = strtok(NULL, ","))
				workers[nr_workers++] = atoi(n);
			break;
		case 'm': bytes = strtoull(optarg, NULL, 10) * MiB; break;
		case 'r': repetitions = atoi(optarg); break;
		case 'n': rounds = atoi(optarg); break;
		case 'h': usage(stdout); exit(0);
		default: usage(stderr); exit(2);
		}
	}
	for (int i = 0; i < nr_workers; i++) {
		if (workers[i] < 1 || workers[i] > MAX_WORKERS) {
			fprintf(stderr, "storm: 1 to %d workers\n", MAX_WORKERS);
			exit(2);
		}
	}
	if (optind < argc || bytes < CONNECTION || bytes > SLOT || repetitions < 1 || rounds < 1) {
		usage(stderr);
		exit(2);
	}
}

int main(int argc, char **argv)
{
	parse_options(argc, argv);
	crew = shared_memory(sizeof(*crew));
	touch_memory();
	for (repetition = 1; repetition <= repetitions; repetition++) {
		for (int i = 0; i < 2; i++) {
			mshare = (i + repetition) % 2;
			measure_arm();
		}
	}
	return 0;
}
