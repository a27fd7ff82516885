// SPDX-License-Identifier: PostgreSQL
/*
 * bench/flip's measure.c on a machine that is made up: a clock that only moves
 * by what is done, closings of a second each, and counters that tell who did
 * what. usage: series BOX SAMPLES LEAST TRACE [running]; rows go to standard output, and
 * what was done to the file TRACE, a letter each: c a closing, o a reopening, f a
 * flush of all CPUs.
 */
#include <stdlib.h>
#include <sys/mman.h>

#include "measure.h"

struct options options = {
	.nr_arms = 1, .nr_processes = 1, .processes = { 4 }, .repetitions = 1, .seed = 1,
};

static double seconds, lost;
static uint64_t calls;		/* interrupts: one a closing or reopening, 1,000 a flush */
static bool closed;
static int flips;
static FILE *trace;

double now(void)
{
	return seconds;
}

/* measure.c pauses by usleep(): -Dusleep=pause_us */
int pause_us(unsigned int us)
{
	seconds += us * 1e-6;
	return 0;
}

static bool setup(struct range *r)
{
	(void)r;
	return true;
}

/* The first closing is the slowest: the caches are cold. */
static bool protect(const struct range *r, int prot)
{
	(void)r;
	closed = !(prot & PROT_WRITE);
	fputc(closed ? 'c' : 'o', trace);
	seconds += closed ? flips++ ? 1 : 50 : 0.1;
	lost += 0.25;
	calls++;
	return true;
}

static const struct arm made_up = {
	.name = "made-up", .max_bytes = UINT64_MAX, .setup = setup, .protect = protect,
};

uint64_t interrupts(const char *name)
{
	return *name == 'C' ? calls : 0;
}

bool flush_all_cpus(double *us)
{
	fputc('f', trace);
	calls += 1000;
	seconds += 0.5;
	*us = 5e5;
	return true;
}

/* As long as a thousand files of /proc may take. */
uint64_t sharers_table_bytes(void)
{
	seconds += 100;
	return 0;
}

/* A million reads a second, but in a quarter of a second of each closing and reopening. */
uint64_t sharers_reads(void)
{
	return 1e6 * (seconds - lost);
}

bool sharers_probe_store(int number, bool *faulted)
{
	(void)number;
	*faulted = closed;
	return true;
}

bool sharers_store_waits(int number)
{
	(void)number;
	return closed;
}

bool sharers_start(const struct arm *arm, const struct range *r, int count)
{
	(void)arm;
	(void)r;
	return count > 0;
}

void sharers_set_running(bool running)	{ (void)running; }
void sharers_stop(void)			{ }
int sharers_count(void)			{ return 4; }
uint64_t sharers_faults(void)		{ return 0; }
double sharers_own_us(void)		{ return 0; }
uint64_t sharers_touch_faults(void)	{ return 0; }
uint64_t sharers_touch_table_bytes(void) { return 0; }
bool sharers_undisturbed(void)		{ return true; }
int64_t page_table_bytes(void)		{ return 0; }
bool event_open_syscalls(struct event *e)	{ (void)e; return false; }
bool event_open_instructions(struct event *e)	{ (void)e; return false; }
uint64_t event_read(const struct event *e)	{ (void)e; return 0; }
void event_close(struct event *e)	{ (void)e; }

int main(int argc, char **argv)
{
	if (argc < 5 || !(trace = fopen(argv[4], "w")))
		return 2;
	options.running = argc > 5;
	options.idle = !options.running;
	options.arms[0] = &made_up;
	options.box = atof(argv[1]);
	options.samples = atoi(argv[2]);
	options.least = atoi(argv[3]);
	return measure_bytes(PAGE);
}
