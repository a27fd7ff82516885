// SPDX-License-Identifier: PostgreSQL
/*
 * Coordinated mprotect: every process changes its own mapping and answers.
 *
 * It does no more than it must: one kill() tells the whole process group; the
 * handler calls mprotect() at once; one atomic counter takes the answers and
 * only the last one wakes the coordinator; and whoever has answered stays out
 * of the way, asleep, until all have, so that processes that are done do not
 * take CPU from those that are not.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

#include "flip.h"

static struct {
	_Atomic uint32_t generation, finished, pending, error;
	int prot;
} *request;

static uint64_t size, flips;
static char *mapping;		/* in a sharer */

static void on_request(int signo)
{
	int saved_errno = errno;
	uint32_t generation = request->generation, finished;

	(void)signo;
	if (mprotect(mapping, size, request->prot) != 0)
		request->error = errno;
	if (atomic_fetch_sub(&request->pending, 1) == 1)
		futex_wake(&request->pending, 1);
	while ((finished = request->finished) != generation)
		futex_wait(&request->finished, finished);
	errno = saved_errno;
}

static bool setup(struct range *r)
{
	if (!request)
		request = shared_memory(sizeof(*request));
	size = r->bytes;
	flips = 0;
	return true;
}

static void teardown(void)
{
}

static char *attach(const struct range *r)
{
	struct sigaction action = { .sa_handler = on_request, .sa_flags = SA_RESTART };

	mapping = mmap(NULL, r->bytes, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_NORESERVE, r->object, 0);
	if (mapping == MAP_FAILED)
		return NULL;
	sigaction(SIGRTMIN, &action, NULL);
	return mapping;
}

static bool protect(int prot)
{
	uint32_t pending;

	request->prot = prot;
	request->error = 0;
	request->pending = sharers_count();
	request->generation++;
	if (kill(-sharers_group(), SIGRTMIN) != 0)
		return fail("kill: %s", strerror(errno));
	while ((pending = request->pending) != 0)
		futex_wait(&request->pending, pending);
	request->finished = request->generation;
	futex_wake(&request->finished, INT_MAX);
	flips++;
	if (request->error)
		return fail("mprotect: %s", strerror(request->error));
	return true;
}

static uint64_t entries_written(void)
{
	uint64_t pages = sharers_count() * (size / PAGE);
	uint64_t mapped = sharers_pages_mapped();

	/* The kernel's count is off by a few per process and CPU. */
	return flips * (mapped < pages - pages / 100 ? mapped : pages);
}

static bool shootdowns(uint64_t *count)
{
	(void)count;
	return false;
}

const struct arm arm_mprotect = {
	.name = "mprotect",
	.max_bytes = 1 * GiB,
	.setup = setup,
	.teardown = teardown,
	.attach = attach,
	.protect = protect,
	.entries_written = entries_written,
	.shootdowns = shootdowns,
};
