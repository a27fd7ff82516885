// SPDX-License-Identifier: GPL-2.0
/*
 * Faults scale: none for what another process has mapped, one for a page that
 * nobody has, and no process-wide lock for it. Counts, not times; bench/fault
 * has the times.
 */
#include "mshare_test.h"

#include <pthread.h>
#include <sys/resource.h>

#define OBJECT		(8 * MIB)
#define PAGES		(OBJECT / PAGE)
#define CREW		4
#define TRACE		"/sys/kernel/tracing/instances/mshare_fault/"

FIXTURE(fault)
{
	int region, object;
	char *p;
};

FIXTURE_SETUP(fault)
{
	ASSERT_EQ(0, map_object(OBJECT, RW, &self->region, &self->object,
				&self->p));
}

FIXTURE_TEARDOWN(fault)
{
	munmap(self->p, SLOT);
	close(self->object);
	close(self->region);
}

static void store_pages(char *p, int from, int to)
{
	for (int i = from; i < to; i++)
		*(volatile char *)(p + i * PAGE) = RET;
}

static long minor_faults(int who)
{
	struct rusage usage;

	getrusage(who, &usage);
	return usage.ru_minflt;
}

/* What stores into pages take of the caller, whose own memory is warm. */
static long faults_of_stores(char *p, int from, int to)
{
	long before = minor_faults(RUSAGE_THREAD);

	store_pages(p, from, to);
	return minor_faults(RUSAGE_THREAD) - before;
}

static long table_kb(void)
{
	return figure("/proc/self/status", "VmPTE");
}

/* Plain shared memory, which shows that the figures count. */
static char *plain(int object)
{
	return mmap(NULL, OBJECT, RW, MAP_SHARED, object, 0);
}

TEST_F(fault, none_for_what_another_process_mapped)
{
	long before;
	pid_t pid;
	char *q;

	store_pages(self->p, 0, PAGES);
	pid = fork_on(-1);
	if (pid == 0) {
		q = plain(self->object);
		EXPECT_LE(PAGES / 16, faults_of_stores(q, 0, PAGES));
		/* inherited, and mapped by itself */
		EXPECT_EQ(0, faults_of_stores(self->p, 0, PAGES));
		q = window(self->region, 1, RW);
		before = table_kb();
		EXPECT_EQ(0, faults_of_stores(q, 0, PAGES));
		EXPECT_GE(before, table_kb());
		_exit(0);
	}
	EXPECT_EQ(0, child_status(pid));
}

/* Threads or processes that store into a share each, at the same time */

struct crew {
	pthread_barrier_t ready;
	char *p;
	long faults[CREW];
};

static struct crew *crew;

static void *crew_member(void *number)
{
	long i = (long)number;

	faults_of_stores(crew->p, 0, 0);
	pthread_barrier_wait(&crew->ready);
	crew->faults[i] = faults_of_stores(crew->p, i * PAGES / CREW,
					   (i + 1) * PAGES / CREW);
	return NULL;
}

static void crew_start(char *p)
{
	pthread_barrierattr_t attr;

	crew = shared_page(sizeof(*crew));
	pthread_barrierattr_init(&attr);
	pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(&crew->ready, &attr, CREW);
	crew->p = p;
}

static long crew_faults(void)
{
	long sum = 0;

	for (int i = 0; i < CREW; i++)
		sum += crew->faults[i];
	return sum;
}

/* A few more are signals of life: stacks, and faults that were tried again. */
#define EXPECT_ONE_A_PAGE(faults) do {		\
	long _n = (faults);			\
						\
	EXPECT_LE(PAGES, _n);			\
	EXPECT_GE(PAGES + PAGES / 32, _n);	\
} while (0)

TEST_F(fault, one_a_page_for_threads)
{
	pthread_t threads[CREW];

	crew_start(self->p);
	for (long i = 0; i < CREW; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, crew_member,
					    (void *)i));
	for (int i = 0; i < CREW; i++)
		pthread_join(threads[i], NULL);
	EXPECT_ONE_A_PAGE(crew_faults());
	EXPECT_EQ(OBJECT, region_stat(self->region).resident_bytes);
}

TEST_F(fault, one_a_page_for_processes)
{
	pid_t pids[CREW];

	crew_start(self->p);
	for (long i = 0; i < CREW; i++) {
		pids[i] = fork_on(-1);
		if (pids[i] == 0) {
			crew_member((void *)i);
			_exit(0);
		}
	}
	for (int i = 0; i < CREW; i++)
		EXPECT_EQ(0, child_status(pids[i]));
	EXPECT_ONE_A_PAGE(crew_faults());
	EXPECT_EQ(OBJECT, region_stat(self->region).resident_bytes);
}

/* How often the caller has taken an mmap_lock, of whichever mm */

static bool trace_start(void)
{
	char pid[16];

	snprintf(pid, sizeof(pid), "%d", getpid());
	mkdir(TRACE, 0700);
	return !write_file(TRACE "set_event_pid", pid) &&
		!write_file(TRACE "events/mmap_lock/mmap_lock_acquire_returned/enable", "1");
}

static long locks_taken(void)
{
	FILE *file = fopen(TRACE "trace", "re");
	char line[512];
	long n = 0;

	while (file && fgets(line, sizeof(line), file))
		n += strstr(line, "mmap_lock_acquire_returned:") != NULL;
	if (file)
		fclose(file);
	write_file(TRACE "trace", "");
	return n;
}

TEST_F(fault, takes_no_mmap_lock)
{
	char *anon = mmap(NULL, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (!trace_start()) {
		rmdir(TRACE);
		SKIP(return, "no tracepoints of mmap_lock");
	}
	store_pages(self->p, 0, 1);
	locks_taken();

	/* the first of a private mapping does, so the trace would tell */
	store_pages(anon, 0, 1);
	EXPECT_LE(1, locks_taken());

	EXPECT_LE(PAGES - 1, faults_of_stores(self->p, 1, PAGES));
	EXPECT_GE(PAGES / 256, locks_taken());
	write_file(TRACE "events/enable", "0");
	rmdir(TRACE);
}

TEST_HARNESS_MAIN
