// SPDX-License-Identifier: GPL-2.0
/*
 * Whom a shootdown interrupts, how often, and what it costs: one round for a
 * flip whatever the number of processes, and no CPU that runs none of these.
 *
 * The test "costs" prints a table of what is cheaper, to walk over the
 * sharers or to flush all CPUs. MSHARE_TEST_SHARERS="1 64 256 1024" has it
 * measure with so many processes.
 */
#include "mshare_test.h"

#define OBJECT	MIB
#define FLIPS	200

FIXTURE(shootdown)
{
	int region;
	char *p;
	pid_t *pids;
	int nr;
};

FIXTURE_SETUP(shootdown)
{
	self->region = region(1);
	ASSERT_LE(0, self->region);
	ASSERT_EQ(0, create_anon(self->region, 0, OBJECT, RW));
	self->p = window(self->region, 1, RW);
	ASSERT_NE(MAP_FAILED, self->p);
	memset(self->p, 0, OBJECT);
	self->pids = calloc(8192, sizeof(*self->pids));
	pin_to(0);
}

static void stop_children(FIXTURE_DATA(shootdown) *self)
{
	for (int i = 0; i < self->nr; i++)
		kill(self->pids[i], SIGKILL);
	for (int i = 0; i < self->nr; i++)
		child_status(self->pids[i]);
	self->nr = 0;
}

FIXTURE_TEARDOWN(shootdown)
{
	knob("skip_flip_flush", false);
	stop_children(self);
	close(self->region);
}

static pid_t add_child(FIXTURE_DATA(shootdown) *self, int cpu)
{
	pid_t pid = fork_on(cpu);

	if (pid > 0)
		self->pids[self->nr++] = pid;
	return pid;
}

/* Interrupts that a CPU took to flush its TLB */
static long tlb_interrupts(int cpu)
{
	FILE *file = fopen("/proc/interrupts", "re");
	char line[1024], *at = line;
	long count = -1;

	while (file && fgets(line, sizeof(line), file)) {
		at = strstr(line, "TLB:");
		if (!at)
			continue;
		for (at += 4; cpu >= 0; cpu--)
			count = strtol(at, &at, 10);
		break;
	}
	if (file)
		fclose(file);
	return count;
}

/* Flips so many times; returns how many of them took a CPU's time. */
static long interrupts_of_flips(FIXTURE_DATA(shootdown) *self, int cpu, int flips)
{
	long before = tlb_interrupts(cpu);

	for (int i = 0; i < flips; i++)
		if (protect(self->region, 0, CHUNK, PROT_READ) ||
		    protect(self->region, 0, CHUNK, RW))
			return -1;
	return tlb_interrupts(cpu) - before;
}

/* Has a child that spins on the last CPU, as a sharer or not. */
static void start_spinning(FIXTURE_DATA(shootdown) *self, bool sharer)
{
	volatile long *turns = shared_page(PAGE);

	if (add_child(self, nr_cpus() - 1) == 0) {
		if (!sharer)
			munmap(self->p, SLOT);
		for (;;)
			++*turns;
	}
	while (*turns < 1000)
		sleep_us(100);
}

/* Others may interrupt it too, but not once for each flip. */
TEST_F(shootdown, spares_cpus_that_run_no_sharer)
{
	long taken;

	if (nr_cpus() < 2)
		SKIP(return, "one CPU");
	start_spinning(self, false);
	taken = interrupts_of_flips(self, nr_cpus() - 1, FLIPS);
	EXPECT_LE(0, taken);
	EXPECT_GT(FLIPS / 4, taken);
}

TEST_F(shootdown, control)
{
	if (nr_cpus() < 2)
		SKIP(return, "one CPU");
	start_spinning(self, true);
	EXPECT_LT(FLIPS / 4, interrupts_of_flips(self, nr_cpus() - 1, FLIPS))
		TH_LOG("no power: a CPU that runs a sharer is not seen either");
}

/*
 * A sharer that sleeps leaves its CPU idle with its tables loaded. Flips spare
 * that CPU; UNMAP, which may free tables, does not.
 */
TEST_F(shootdown, only_freed_tables_wake_idle_cpus)
{
	long flips = 0, unmaps = 0, before;
	int go[2], back[2], cpu = nr_cpus() - 1;
	char c;

	if (nr_cpus() < 2)
		SKIP(return, "one CPU");
	ASSERT_EQ(0, pipe(go));
	ASSERT_EQ(0, pipe(back));
	if (add_child(self, cpu) == 0)
		for (;;) {
			c = self->p[PAGE];
			write(back[1], &c, 1);
			read(go[0], &c, 1);
		}
	for (int i = 0; i < FLIPS; i++) {
		read(back[0], &c, 1);
		sleep_us(1000);			/* it sleeps by now */
		flips += interrupts_of_flips(self, cpu, 1);
		before = tlb_interrupts(cpu);
		ASSERT_EQ(0, unmap(self->region, 0, PAGE));
		unmaps += tlb_interrupts(cpu) - before;
		ASSERT_EQ(0, create_anon(self->region, 0, PAGE, RW));
		self->p[0] = 1;			/* there is something to flush */
		write(go[1], &c, 1);
	}
	TH_LOG("of %d each: %ld for flips, %ld for UNMAPs", FLIPS, flips, unmaps);
	EXPECT_GT(FLIPS / 4, flips);
	EXPECT_LT(FLIPS / 2, unmaps);
}

static bool add_sharers(FIXTURE_DATA(shootdown) *self, int sharers)
{
	while (self->nr < sharers - 1) {
		pid_t pid = add_child(self, -1);

		if (pid == 0)
			for (;;)
				pause();
		if (pid < 0)
			return false;
	}
	return true;
}

TEST_F(shootdown, one_round_for_a_flip)
{
	struct mshare_stat before, after;

	ASSERT_TRUE(add_sharers(self, 100));
	before = region_stat(self->region);
	EXPECT_EQ(100, before.processes);
	ASSERT_LE(0, interrupts_of_flips(self, 0, FLIPS));
	after = region_stat(self->region);
	EXPECT_EQ(2 * FLIPS, after.flips - before.flips);
	EXPECT_EQ(FLIPS, after.shootdowns - before.shootdowns);
}

/*
 * What each sharer compares when it is loaded moves on, running or not: that is
 * what a CPU goes by which has its entries under an ASID that is not loaded.
 * Machines without PCID, as the emulated one, would not miss it otherwise.
 */
#define GENERATIONS	8		/* sharers, and one that is none */

static long generation_of(int go, int back)
{
	long generation = -1;
	char c = 0;

	write(go, &c, 1);
	read(back, &generation, sizeof(generation));
	return generation;
}

static void tell_generation(int go, int back)
{
	char text[32], c;
	long generation;

	while (read(go, &c, 1) == 1) {
		int fd = open(KNOBS "tlb_gen", O_RDONLY);
		ssize_t n = read(fd, text, sizeof(text) - 1);

		text[n < 0 ? 0 : n] = 0;
		generation = n < 0 ? -1 : atol(text);
		close(fd);
		write(back, &generation, sizeof(generation));
	}
	_exit(0);
}

/* How far the generations of all moved by so many closings */
static int moved_by_flips(FIXTURE_DATA(shootdown) *self, int flips,
			  long moved[GENERATIONS + 1])
{
	int go[GENERATIONS + 1][2], back[GENERATIONS + 1][2], err = 0;

	for (int i = 0; i <= GENERATIONS; i++) {
		if (pipe(go[i]) || pipe(back[i]))
			return -errno;
		if (add_child(self, i % nr_cpus()) == 0) {
			if (i == GENERATIONS)
				munmap(self->p, SLOT);
			else
				touch(self->p, PROT_WRITE);
			tell_generation(go[i][0], back[i][1]);
		}
		/* its first time copies pages, and flushes for that */
		generation_of(go[i][1], back[i][0]);
		moved[i] = -generation_of(go[i][1], back[i][0]);
		if (moved[i] >= 0)
			err = -EIO;
	}
	for (int i = 0; i < flips; i++)
		err = err ?: protect(self->region, 0, i & 1 ? CHUNK : PAGE,
				     PROT_READ) ?:
			protect(self->region, 0, CHUNK, RW);
	for (int i = 0; i <= GENERATIONS; i++)
		moved[i] += generation_of(go[i][1], back[i][0]);
	return err;
}

TEST_F(shootdown, moves_the_generation_of_every_sharer)
{
	long moved[GENERATIONS + 1];

	ASSERT_EQ(0, moved_by_flips(self, FLIPS, moved));
	for (int i = 0; i < GENERATIONS; i++) {
		EXPECT_LE(FLIPS, moved[i]);
	}
	EXPECT_GT(FLIPS, moved[GENERATIONS]);
}

/*
 * More than are visited at a time where a flip goes to each; who leaves from the
 * middle has another one take the place.
 */
static void come_and_go(void)
{
	pid_t pids[32] = {}, me = getpid();

	for (int i = 0;; i = (i + 7) % ARRAY_SIZE(pids)) {
		if (pids[i] > 0) {
			kill(pids[i], SIGKILL);
			child_status(pids[i]);
		}
		pids[i] = fork_on(-1);
		if (pids[i] == 0)
			while (getppid() == me)
				pause();
		if (pids[i] == 0)	/* killed before it was told to go along */
			_exit(0);
	}
}

TEST_F(shootdown, misses_none_where_others_come_and_go)
{
	long moved[GENERATIONS + 1];

	ASSERT_TRUE(add_sharers(self, 300));
	if (add_child(self, nr_cpus() - 1) == 0)
		come_and_go();
	ASSERT_TRUE(add_sharers(self, 600));
	ASSERT_EQ(0, moved_by_flips(self, FLIPS, moved));
	for (int i = 0; i < GENERATIONS; i++) {
		EXPECT_LE(FLIPS, moved[i]);
	}
}

TEST_F(shootdown, generation_control)
{
	long moved[GENERATIONS + 1];

	ASSERT_EQ(0, knob("skip_flip_flush", true));
	ASSERT_EQ(0, moved_by_flips(self, FLIPS, moved));
	for (int i = 0; i < GENERATIONS; i++) {
		EXPECT_GT(FLIPS, moved[i])
			TH_LOG("no power: something else moves it");
	}
}

static int read_file(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length = fd < 0 ? -1 : read(fd, text, size - 1);

	if (fd >= 0)
		close(fd);
	if (length <= 0)
		return -1;
	text[length] = 0;
	return 0;
}

static int by_value(const void *a, const void *b)
{
	double d = *(const double *)a - *(const double *)b;

	return (d > 0) - (d < 0);
}

#define WALK	KNOBS "walk_per_cpu"

static double closing_us(FIXTURE_DATA(shootdown) *self, const char *sharers)
{
	double start, us;

	write_file(WALK, sharers);
	start = now();
	protect(self->region, 0, CHUNK, PROT_READ);
	us = (now() - start) * 1e6;
	protect(self->region, 0, CHUNK, RW);
	return us;
}

/*
 * Medians of the microseconds that closing a chunk takes, by turns, so that
 * what else the machine does falls on both.
 */
static void closings_us(FIXTURE_DATA(shootdown) *self, double *walk, double *all)
{
	double walks[FLIPS], alls[FLIPS];

	for (int i = 0; i < FLIPS; i++) {
		walks[i] = closing_us(self, "1000000");
		alls[i] = closing_us(self, "0");
	}
	qsort(walks, FLIPS, sizeof(*walks), by_value);
	qsort(alls, FLIPS, sizeof(*alls), by_value);
	*walk = walks[FLIPS / 2];
	*all = alls[FLIPS / 2];
}

TEST_F(shootdown, costs)
{
	const char *list = getenv("MSHARE_TEST_SHARERS") ?: "1 64";
	char normal[16], *at;

	if (read_file(WALK, normal, sizeof(normal)))
		SKIP(return, "a kernel that goes to no sharer");
	for (long sharers = strtol(list, &at, 10); sharers > 0;
	     sharers = strtol(at, &at, 10)) {
		double walk, all;

		if (sharers > 8192 || !add_sharers(self, sharers)) {
			TH_LOG("%ld sharers do not fit in memory", sharers);
			break;
		}
		closings_us(self, &walk, &all);
		EXPECT_LT(0, walk);
		EXPECT_LT(0, all);
		TH_LOG("%5ld sharers: walk %7.1f us, all CPUs %7.1f us",
		       sharers, walk, all);
	}
	write_file(WALK, normal);
}

TEST_HARNESS_MAIN
