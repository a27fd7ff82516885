// SPDX-License-Identifier: PostgreSQL
/*
 * Asking every sharer to change something in itself, and waiting until all
 * have.
 *
 * It does no more than it must: one kill() tells the whole process group; the
 * handler acts at once; one atomic counter takes the answers and only the last
 * one wakes the coordinator; and whoever has answered stays out of the way,
 * asleep, until all have, so that processes that are done do not take CPU from
 * those that are not.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <string.h>

#include "flip.h"

static struct {
	_Atomic uint32_t generation, finished, pending, error;
	int prot;
} *request;

static uint64_t rounds;
static int (*action)(int prot, void *context);	/* in a sharer */

static void on_request(int signo, siginfo_t *info, void *context)
{
	int saved_errno = errno;
	uint32_t generation = request->generation, finished;

	(void)signo;
	(void)info;
	if (action(request->prot, context) != 0)
		request->error = errno;
	if (atomic_fetch_sub(&request->pending, 1) == 1)
		futex_wake(&request->pending, 1);
	while ((finished = request->finished) != generation)
		futex_wait(&request->finished, finished);
	errno = saved_errno;
}

bool coordinated_setup(struct range *r)
{
	(void)r;
	if (!request)
		request = shared_memory(sizeof(*request));
	return true;
}

/* In a sharer: `act` gets what the signal handler gets; 0, or -1 and errno. */
void coordinated_listen(int (*act)(int prot, void *context))
{
	struct sigaction sa = {
		.sa_sigaction = on_request,
		.sa_flags = SA_RESTART | SA_SIGINFO,
	};

	action = act;
	sigaction(SIGRTMIN, &sa, NULL);
}

/* Returns when every sharer has acted. */
bool coordinated_protect(const struct range *r, int prot)
{
	uint32_t pending;

	(void)r;
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
	rounds++;
	if (request->error)
		return fail("in a sharer: %s", strerror(request->error));
	return true;
}

uint64_t coordinated_rounds(void)
{
	return rounds;
}
