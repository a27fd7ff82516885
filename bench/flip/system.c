// SPDX-License-Identifier: PostgreSQL
/* What flip asks of the kernel besides the flip itself. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "flip.h"

#define FAULT_AROUND	"/sys/kernel/debug/fault_around_bytes"
#define FLUSH_ALL	"/sys/kernel/debug/mshare/flush_all"

double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}

void futex_wait(_Atomic uint32_t *word, uint32_t value)
{
	syscall(SYS_futex, word, FUTEX_WAIT, value, NULL, NULL, 0);
}

/* Until now() is `until` at most. */
void futex_wait_until(_Atomic uint32_t *word, uint32_t value, double until)
{
	double left = until - now();
	struct timespec rest = { (time_t)left, (left - (time_t)left) * 1e9 };

	if (left > 0)
		syscall(SYS_futex, word, FUTEX_WAIT, value, &rest, NULL, 0);
}

void futex_wake(_Atomic uint32_t *word, int count)
{
	syscall(SYS_futex, word, FUTEX_WAKE, count, NULL, NULL, 0);
}

void *shared_memory(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (p == MAP_FAILED) {
		perror("flip: shared memory");
		exit(1);
	}
	return p;
}

/* The number after `key` at the start of a line of a file; 0 if none. */
uint64_t number_in(const char *path, const char *key)
{
	char line[256];
	unsigned long long value = 0;
	FILE *f = fopen(path, "r");

	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f)) {
		if (strncmp(line, key, strlen(key)) == 0) {
			value = strtoull(line + strlen(key), NULL, 10);
			break;
		}
	}
	fclose(f);
	return value;
}

uint64_t memory_available(void)
{
	return number_in("/proc/meminfo", "MemAvailable:") * KiB;
}

/*
 * Of all processes, the kernel's own tables not among them. Those of a process
 * that has ended may leave the count a grace period later: waits, a second at
 * most, until it has stood still for 50 ms.
 */
int64_t page_table_bytes(void)
{
	uint64_t kib = number_in("/proc/meminfo", "PageTables:"), then;
	int left = 20;

	do {
		then = kib;
		usleep(50000);
		kib = number_in("/proc/meminfo", "PageTables:");
	} while (kib != then && --left);
	return kib * KiB;
}

bool number_to(const char *path, uint64_t value)
{
	FILE *f = fopen(path, "w");

	if (!f)
		return false;
	fprintf(f, "%llu\n", (unsigned long long)value);
	return fclose(f) == 0;
}

/* The path of a process's file; pid 0 is the caller. */
static const char *proc_path(pid_t pid, const char *file)
{
	static char path[64];

	if (pid)
		snprintf(path, sizeof(path), "/proc/%d/%s", pid, file);
	else
		snprintf(path, sizeof(path), "/proc/self/%s", file);
	return path;
}

/* A line of a process's status, in KiB. */
uint64_t status_kib(pid_t pid, const char *key)
{
	return number_in(proc_path(pid, "status"), key);
}

/* Minor and major faults of a process. */
uint64_t faults_of(pid_t pid)
{
	unsigned long long minor = 0, major = 0;
	FILE *f = fopen(proc_path(pid, "stat"), "r");

	if (!f)
		return 0;
	/* pid (name) state ppid pgrp session tty tpgid flags minflt cminflt majflt */
	if (fscanf(f, "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %llu %*u %llu",
		   &minor, &major) != 2)
		minor = major = 0;
	fclose(f);
	return minor + major;
}

/* Sum over all CPUs of one row of /proc/interrupts, "TLB" or "CAL". */
uint64_t interrupts(const char *row)
{
	char line[16 * KiB];
	uint64_t sum = 0;
	FILE *f = fopen("/proc/interrupts", "r");

	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f)) {
		char *p = line + strspn(line, " "), *end;

		if (strncmp(p, row, strlen(row)) != 0 || p[strlen(row)] != ':')
			continue;
		for (p += strlen(row) + 1;; p = end) {
			uint64_t n = strtoull(p, &end, 10);

			if (end == p)
				break;
			sum += n;
		}
	}
	fclose(f);
	return sum;
}

/*
 * How many bytes of page cache one read fault maps. Sets it if bytes is not 0
 * (debugfs, root); returns what is in force, one page if that is unknown.
 */
uint64_t fault_around(uint64_t bytes)
{
	uint64_t value;

	if (bytes)
		number_to(FAULT_AROUND, bytes);
	value = number_in(FAULT_AROUND, "");
	return value ? value : PAGE;
}

/* Time of one bare flush of the TLBs of all CPUs; false: no such knob. */
bool flush_all_cpus(double *us)
{
	unsigned long long ns;
	bool read;
	FILE *f;

	if (!number_to(FLUSH_ALL, 1))
		return false;
	f = fopen(FLUSH_ALL, "r");
	if (!f)
		return false;
	read = fscanf(f, "%llu", &ns) == 1;
	fclose(f);
	*us = ns / 1e3;
	return read;
}
