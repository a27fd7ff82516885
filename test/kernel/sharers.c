// SPDX-License-Identifier: GPL-2.0
/*
 * Whom a flip does not go to: those that sleep, and those that became sharers
 * while they ran. They have to know of it all the same. Each case has a control
 * that takes out what tells them.
 */
#include "mshare_test.h"

#include <pthread.h>

#define ROUNDS	50

/*
 * One that sleeps leaves its CPU idle, with its translations in it. When it is
 * back on that CPU, perhaps by way of another one, its first store is denied.
 */
FIXTURE(sleeper)
{
	int region;
	char *p;
	int go[2], back[2];
	pid_t pid;
};

FIXTURE_VARIANT(sleeper)
{
	bool migrates;
};

FIXTURE_VARIANT_ADD(sleeper, stays) { .migrates = false };
FIXTURE_VARIANT_ADD(sleeper, migrates) { .migrates = true };

FIXTURE_SETUP(sleeper)
{
	char c;

	self->region = region(1);
	ASSERT_LE(0, self->region);
	ASSERT_EQ(0, create_anon(self->region, 0, MIB, RW));
	self->p = window(self->region, 1, RW);
	ASSERT_NE(MAP_FAILED, self->p);
	ASSERT_EQ(0, pipe(self->go));
	ASSERT_EQ(0, pipe(self->back));
	self->pid = fork_on(nr_cpus() - 1);
	if (self->pid == 0)
		while (read(self->go[0], &c, 1) == 1) {
			c = touch(self->p, PROT_WRITE);
			write(self->back[1], &c, 1);
		}
	pin_to(0);
}

FIXTURE_TEARDOWN(sleeper)
{
	knob("skip_switch_flush", false);
	kill(self->pid, SIGKILL);
	child_status(self->pid);
	close(self->region);
}

static int stores_on(FIXTURE_DATA(sleeper) *self, int cpu)
{
	cpu_set_t set;
	char c = 0;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(self->pid, sizeof(set), &set);
	write(self->go[1], &c, 1);
	read(self->back[0], &c, 1);
	sleep_us(200);			/* it sleeps by now */
	return c;
}

struct seen {
	int through, refused, errors;
};

static struct seen wake_up(FIXTURE_DATA(sleeper) *self, bool migrates)
{
	struct seen seen = {};
	int cpu = nr_cpus() - 1;

	for (int i = 0; i < ROUNDS; i++) {
		seen.refused += !!stores_on(self, cpu);
		seen.errors += !!protect(self->region, 0, CHUNK, PROT_READ);
		if (migrates)
			seen.through += !stores_on(self, 0);
		seen.through += !stores_on(self, cpu);
		seen.errors += !!protect(self->region, 0, CHUNK, RW);
	}
	return seen;
}

TEST_F(sleeper, is_denied)
{
	struct seen seen = wake_up(self, variant->migrates);

	EXPECT_EQ(0, seen.through);
	EXPECT_EQ(0, seen.refused);
	EXPECT_EQ(0, seen.errors);
}

TEST_F(sleeper, control)
{
	struct seen seen;

	if (nr_cpus() < 2)
		SKIP(return, "no power: one CPU, every switch flushes");
	if (knob("skip_switch_flush", true))
		SKIP(return, "a kernel that goes to each sharer");
	seen = wake_up(self, variant->migrates);
	EXPECT_POWER(seen.through, "the flush when it is loaded");
}

/*
 * A thread runs on while another one makes windows: the CPU has loaded an mm
 * that was none of a sharer, or not one of that region.
 */
FIXTURE(runner)
{
	int regions[2];
	char *first;
	pthread_t thread;
};

FIXTURE_VARIANT(runner)
{
	bool has_window;	/* the mm has one of another region already */
	bool of_first;		/* and that region flips */
};

FIXTURE_VARIANT_ADD(runner, first_window) { .has_window = false };
FIXTURE_VARIANT_ADD(runner, second_region) { .has_window = true };
FIXTURE_VARIANT_ADD(runner, first_of_two_regions) {
	.has_window = true, .of_first = true };

static struct {
	char *volatile p;		/* where it stores; NULL: it rests */
	char *volatile at;		/* where it did */
	volatile long done, denied, rests;
	volatile bool stop;
} runner;

static __thread sigjmp_buf retry;

static void on_denied(int sig)
{
	siglongjmp(retry, 1);
}

static void *run(void *arg)
{
	struct sigaction action = {
		.sa_handler = on_denied, .sa_flags = SA_NODEFER
	};

	pin_to(nr_cpus() - 1);
	sigaction(SIGSEGV, &action, NULL);
	if (sigsetjmp(retry, 0)) {
		runner.denied++;
		while (runner.p == runner.at)
			;
	}
	while (!runner.stop) {
		char *p = runner.p;
		long rests = runner.rests;

		if (p) {
			runner.at = p;
			*(volatile char *)p = RET;
			runner.done++;
			continue;
		}
		sleep_us(100);
		runner.rests = rests + 1;
		while (!runner.p && !runner.stop)
			;
	}
	return NULL;
}

FIXTURE_SETUP(runner)
{
	for (int i = 0; i < 2; i++) {
		self->regions[i] = region(1);
		ASSERT_LE(0, self->regions[i]);
		ASSERT_EQ(0, create_anon(self->regions[i], 0, MIB, RW));
	}
	if (variant->has_window) {
		self->first = window(self->regions[1], 1, RW);
		ASSERT_NE(MAP_FAILED, self->first);
	}
	memset(&runner, 0, sizeof(runner));
	pin_to(0);
	ASSERT_EQ(0, pthread_create(&self->thread, NULL, run, NULL));
}

FIXTURE_TEARDOWN(runner)
{
	knob("skip_note", false);
	runner.stop = true;
	runner.p = NULL;
	pthread_join(self->thread, NULL);
	close(self->regions[0]);
	close(self->regions[1]);
}

/* Makes a window below the thread, and takes away what it stores to. */
static struct seen flip_below(FIXTURE_DATA(runner) *self,
			      const FIXTURE_VARIANT(runner) *variant)
{
	int region = self->regions[variant->of_first];
	struct seen seen = {};

	for (int i = 0; i < ROUNDS; i++) {
		long before = runner.done, denied = runner.denied;
		char *w;

		if (!UNTIL(runner.rests > i))
			return (struct seen){ .errors = ROUNDS };
		w = window(self->regions[0], 1, RW);
		if (w == MAP_FAILED)
			return (struct seen){ .errors = ROUNDS };
		runner.p = variant->of_first ? self->first : w;
		seen.refused += !UNTIL(runner.done > before + 1000);
		seen.errors += !!protect(region, 0, CHUNK, PROT_READ);
		before = runner.done;
		seen.errors += !UNTIL(runner.denied > denied ||
				      runner.done > before + 1);
		seen.through += runner.done > before + 1;
		seen.errors += !!protect(region, 0, CHUNK, RW);
		runner.p = NULL;
		seen.errors += !!munmap(w, SLOT);
	}
	return seen;
}

TEST_F(runner, is_denied)
{
	struct seen seen;

	if (nr_cpus() < 2)
		SKIP(return, "one CPU");
	seen = flip_below(self, variant);
	EXPECT_EQ(0, seen.through);
	EXPECT_EQ(0, seen.refused);
	EXPECT_EQ(0, seen.errors);
	EXPECT_EQ(ROUNDS, runner.denied);
}

TEST_F(runner, control)
{
	struct seen seen;

	if (nr_cpus() < 2)
		SKIP(return, "one CPU");
	if (variant->of_first)
		SKIP(return, "that it is a sharer of this one was known before");
	if (knob("skip_note", true))
		SKIP(return, "a kernel that goes to each sharer");
	seen = flip_below(self, variant);
	EXPECT_POWER(seen.through, "the note that it is a sharer");
}

TEST_HARNESS_MAIN
