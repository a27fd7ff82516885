// SPDX-License-Identifier: PostgreSQL
/* What all CPUs did meanwhile, counted by perf_event_open(2). */
#define _GNU_SOURCE
#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "flip.h"

#define SYS_ENTER	"/sys/kernel/tracing/events/raw_syscalls/sys_enter/id"

/* False where this machine does not count them, or not for us. */
static bool open_all(struct event *e, uint32_t type, uint64_t config)
{
	struct perf_event_attr attr = { .size = sizeof(attr), .type = type, .config = config };
	int cpus = sysconf(_SC_NPROCESSORS_ONLN);

	for (e->cpus = 0; e->cpus < cpus && e->cpus < MAX_CPUS; e->cpus++) {
		e->fds[e->cpus] = syscall(SYS_perf_event_open, &attr, -1, e->cpus, -1, 0);
		if (e->fds[e->cpus] < 0) {
			event_close(e);
			return false;
		}
	}
	return true;
}

bool event_open_syscalls(struct event *e)
{
	uint64_t id = number_in(SYS_ENTER, "");

	return id && open_all(e, PERF_TYPE_TRACEPOINT, id);
}

bool event_open_instructions(struct event *e)
{
	return open_all(e, PERF_TYPE_HARDWARE, PERF_COUNT_HW_INSTRUCTIONS);
}

/*
 * The caller runs on CPU 0, which is read first: between two calls it counts
 * the reads of the other CPUs in the first call, and its own in the second.
 */
uint64_t event_read(const struct event *e)
{
	uint64_t sum = 0, value;

	for (int cpu = 0; cpu < e->cpus; cpu++)
		if (read(e->fds[cpu], &value, sizeof(value)) == sizeof(value))
			sum += value;
	return sum;
}

void event_close(struct event *e)
{
	while (e->cpus > 0)
		close(e->fds[--e->cpus]);
}
