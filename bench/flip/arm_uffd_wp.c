// SPDX-License-Identifier: PostgreSQL
/*
 * userfaultfd write protection of shared memory: no process need take part. Each
 * sharer has a descriptor for its range, which the coordinator holds too.
 *
 * uffd-wp: to flip, it calls UFFDIO_WRITEPROTECT on each, with a thread for each
 * CPU. A store into a protected page raises SIGBUS here (UFFD_FEATURE_SIGBUS).
 *
 * pagemap: to watch writes, not to deny them. In the asynchronous mode the kernel
 * opens a page at its first write; PAGEMAP_SCAN of each process, by as many
 * threads, tells which were written and protects these again. That is a closing;
 * there is nothing to reopen.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "flip.h"

#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_UNPOPULATED	(1 << 13)
#define UFFD_FEATURE_WP_ASYNC		(1 << 15)
#endif
#ifndef PAGEMAP_SCAN
#define PAGEMAP_SCAN		_IOWR('f', 16, struct pm_scan_arg)
#define PAGE_IS_WRITTEN		(1 << 1)
#define PM_SCAN_WP_MATCHING	(1 << 0)
#define PM_SCAN_CHECK_WPASYNC	(1 << 1)
struct page_region {
	uint64_t start, end, categories;
};
struct pm_scan_arg {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
#endif

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

/* What is done to one sharer; 0, or -1 and errno. */
static int (*act)(int sharer);

#define DENY	UFFD_FEATURE_SIGBUS
#define WATCH	(UFFD_FEATURE_WP_UNPOPULATED | UFFD_FEATURE_WP_ASYNC)

static int open_uffd(uint64_t mode)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM | mode,
	};
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC);

	if (fd >= 0 && ioctl(fd, UFFDIO_API, &api) != 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static int write_protect(int sharer)
{
	struct uffdio_writeprotect request = {
		.range = { crew->sharers[sharer].start, job.bytes },
		.mode = job.prot & PROT_WRITE ? UFFDIO_WRITEPROTECT_MODE_DONTWAKE :
						UFFDIO_WRITEPROTECT_MODE_WP,
	};

	return ioctl(descriptors[sharer], UFFDIO_WRITEPROTECT, &request);
}

/* How many ranges of pages were written, `most` at most; and protects them. */
static int scan(int sharer, uint64_t bytes, uint64_t flags, struct page_region *found, int most)
{
	struct pm_scan_arg request = {
		.size = sizeof(request),
		.flags = flags | PM_SCAN_CHECK_WPASYNC,
		.start = crew->sharers[sharer].start,
		.end = crew->sharers[sharer].start + bytes,
		.vec = (uintptr_t)found,
		.vec_len = most,
		.category_mask = PAGE_IS_WRITTEN,
		.return_mask = PAGE_IS_WRITTEN,
	};

	return ioctl(descriptors[sharer], PAGEMAP_SCAN, &request);
}

static int scan_and_protect(int sharer)
{
	return scan(sharer, job.bytes, PM_SCAN_WP_MATCHING, NULL, 0);
}

static void act_on_some(void)
{
	uint32_t i;

	while ((i = job.next++) < (uint32_t)open_descriptors)
		if (act(i) < 0)
			job.error = errno;
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
		act_on_some();
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

static bool setup_for(uint64_t mode)
{
	int fd = open_uffd(mode);

	if (fd < 0)
		return lack("userfaultfd write protection of shared memory%s: %s",
			    mode == WATCH ? ", asynchronous" : "", strerror(errno));
	close(fd);
	if (!crew)
		crew = shared_memory(sizeof(*crew));
	crew->count = 0;
	workers();
	return true;
}

static bool setup(struct range *r)
{
	(void)r;
	return setup_for(DENY);
}

static bool setup_watch(struct range *r)
{
	(void)r;
	return setup_for(WATCH);
}

static char *attach_for(const struct range *r, uint64_t mode)
{
	char *base = mapping_attach(r);
	struct uffdio_register request = {
		.range = { (uintptr_t)base, r->bytes },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};
	int fd = open_uffd(mode);

	/* All pages first: a registered range has no fault-around. */
	if (!base || fd < 0 || madvise(base, r->bytes, MADV_POPULATE_READ) != 0 || ioctl(fd, UFFDIO_REGISTER, &request) != 0)
		return NULL;
	crew->sharers[crew->count++] = (struct descriptor) { getpid(), fd, request.range.start };
	return base;
}

static char *attach(const struct range *r)
{
	return attach_for(r, DENY);
}

static char *attach_watch(const struct range *r)
{
	return attach_for(r, WATCH);
}

/* A sharer's userfaultfd, here too. */
static int take_uffd(const struct descriptor *sharer)
{
	int pidfd = syscall(SYS_pidfd_open, sharer->pid, 0);
	int fd = syscall(SYS_pidfd_getfd, pidfd, sharer->fd, 0);

	close(pidfd);
	return fd;
}

static int open_pagemap(const struct descriptor *sharer)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/pagemap", sharer->pid);
	return open(path, O_RDONLY | O_CLOEXEC);
}

static bool open_each(int (*open_one)(const struct descriptor *sharer), const char *what)
{
	for (open_descriptors = 0; open_descriptors < sharers_count(); open_descriptors++) {
		descriptors[open_descriptors] = open_one(&crew->sharers[open_descriptors]);
		if (descriptors[open_descriptors] < 0)
			return fail("%s: %s", what, strerror(errno));
	}
	return true;
}

static bool started(const struct range *r)
{
	(void)r;
	act = write_protect;
	return open_each(take_uffd, "pidfd_getfd");
}

static bool started_watch(const struct range *r)
{
	(void)r;
	act = scan_and_protect;
	return open_each(open_pagemap, "pagemap");
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
	act_on_some();
	while ((pending = job.pending) != 0)
		futex_wait(&job.pending, pending);
	rounds++;
	if (job.error)
		return fail("%s: %s", act == write_protect ? "UFFDIO_WRITEPROTECT" : "PAGEMAP_SCAN", strerror(job.error));
	return true;
}

static bool protect_watch(const struct range *r, int prot)
{
	return prot & PROT_WRITE || protect(r, prot);
}

/* One store since the closing, and no more: does a scan see it? */
static bool caught(const struct range *r)
{
	struct page_region found[2];
	int written = 0;

	for (int i = 0; i < open_descriptors; i++) {
		int here = scan(i, r->bytes, 0, found, 2);

		if (here > 0 && found[0].end - found[0].start != PAGE)
			return false;
		written += here > 0 ? here : 0;
	}
	return written == 1;
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

const struct arm arm_pagemap = {
	.name = "pagemap",
	.max_bytes = 1 * GiB,
	.setup = setup_watch,
	.attach = attach_watch,
	.started = started_watch,
	.ending = ending,
	.protect = protect_watch,
	.caught = caught,
};
