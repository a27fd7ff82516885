// SPDX-License-Identifier: PostgreSQL
/*
 * userfaultfd write protection of shared memory: no process need take part. Each
 * sharer has a descriptor for its range, which the coordinator holds too; to
 * flip, it calls UFFDIO_WRITEPROTECT on each, with a thread for each CPU.
 * A store into a protected page raises SIGBUS here (UFFD_FEATURE_SIGBUS).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "flip.h"

/* What sharers tell of themselves. */
static struct {
	_Atomic uint32_t count;
	struct descriptor {
		pid_t pid;
		int fd;
		uint64_t start;
	} sharers[MAX_PROCESSES];
} *crew;

/* The coordinator's. */
static int descriptors[MAX_PROCESSES];
static int open_descriptors;
static uint64_t rounds;

/* The flip that the threads work at. */
static struct {
	_Atomic uint32_t generation, next, pending, error;
	uint64_t bytes;
	int prot;
} job;

static int open_uffd(void)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_PAGEFAULT_FLAG_WP |
			    UFFD_FEATURE_WP_HUGETLBFS_SHMEM | UFFD_FEATURE_SIGBUS,
	};
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC);

	if (fd >= 0 && ioctl(fd, UFFDIO_API, &api) != 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static void protect_some(void)
{
	uint32_t i;

	while ((i = job.next++) < (uint32_t)open_descriptors) {
		struct uffdio_writeprotect request = {
			.range = { crew->sharers[i].start, job.bytes },
			.mode = job.prot & PROT_WRITE ? UFFDIO_WRITEPROTECT_MODE_DONTWAKE :
							UFFDIO_WRITEPROTECT_MODE_WP,
		};

		if (ioctl(descriptors[i], UFFDIO_WRITEPROTECT, &request) != 0)
			job.error = errno;
	}
}

static void *work(void *cpu)
{
	uint32_t seen = 0, generation;
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((intptr_t)cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
	for (;;) {
		while ((generation = job.generation) == seen)
			futex_wait(&job.generation, seen);
		seen = generation;
		protect_some();
		if (atomic_fetch_sub(&job.pending, 1) == 1)
			futex_wake(&job.pending, 1);
	}
	return NULL;
}

/* Threads on all CPUs but the coordinator's. */
static int workers(void)
{
	static int running = -1;
	pthread_t thread;

	if (running < 0) {
		int cpus = sysconf(_SC_NPROCESSORS_ONLN);

		for (running = 0; running < cpus - 1; running++)
			if (pthread_create(&thread, NULL, work, (void *)(intptr_t)(running + 1)) != 0)
				break;
	}
	return running;
}

static bool setup(struct range *r)
{
	int fd = open_uffd();

	(void)r;
	if (fd < 0)
		return lack("userfaultfd write protection of shared memory: %s", strerror(errno));
	close(fd);
	if (!crew)
		crew = shared_memory(sizeof(*crew));
	crew->count = 0;
	workers();
	return true;
}

static char *attach(const struct range *r)
{
	char *base = mapping_attach(r);
	struct uffdio_register request = {
		.range = { (uintptr_t)base, r->bytes },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};
	int fd = open_uffd();

	/* All pages first: a registered range has no fault-around. */
	if (!base || fd < 0 || madvise(base, r->bytes, MADV_POPULATE_READ) != 0 || ioctl(fd, UFFDIO_REGISTER, &request) != 0)
		return NULL;
	crew->sharers[crew->count++] = (struct descriptor) { getpid(), fd, request.range.start };
	return base;
}

static bool started(const struct range *r)
{
	(void)r;
	for (open_descriptors = 0; open_descriptors < sharers_count(); open_descriptors++) {
		struct descriptor *sharer = &crew->sharers[open_descriptors];
		int pidfd = syscall(SYS_pidfd_open, sharer->pid, 0);

		descriptors[open_descriptors] = syscall(SYS_pidfd_getfd, pidfd, sharer->fd, 0);
		close(pidfd);
		if (descriptors[open_descriptors] < 0)
			return fail("pidfd_getfd: %s", strerror(errno));
	}
	return true;
}

static void ending(void)
{
	while (open_descriptors > 0)
		close(descriptors[--open_descriptors]);
	crew->count = 0;
}

static bool protect(const struct range *r, int prot)
{
	uint32_t pending;

	job.bytes = r->bytes;
	job.prot = prot;
	job.next = 0;
	job.error = 0;
	job.pending = workers();
	job.generation++;
	futex_wake(&job.generation, INT_MAX);
	protect_some();
	while ((pending = job.pending) != 0)
		futex_wait(&job.pending, pending);
	rounds++;
	if (job.error)
		return fail("UFFDIO_WRITEPROTECT: %s", strerror(job.error));
	return true;
}

static uint64_t entries_written(const struct range *r)
{
	return mapping_entries(r, rounds);
}

const struct arm arm_uffd_wp = {
	.name = "uffd-wp",
	.max_bytes = 1 * GiB,
	.setup = setup,
	.attach = attach,
	.started = started,
	.ending = ending,
	.protect = protect,
	.entries_written = entries_written,
};
