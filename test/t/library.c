// SPDX-License-Identifier: PostgreSQL
/*
 * What a library may do to a server process that 023_libraries.pl loads it into: handle
 * SIGSEGV, and start threads that take signals, have a small stack, or write into shared
 * buffers.
 */
#define _GNU_SOURCE
#include "postgres.h"

#include <alloca.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "fmgr.h"
#include "storage/bufmgr.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(handle_segv);
PG_FUNCTION_INFO_V1(start_thread);
PG_FUNCTION_INFO_V1(thread_writes);
PG_FUNCTION_INFO_V1(block_signals);

/* As a runtime does that checks for null pointers this way, but it is none */
static void
handler(int signo)
{
	_exit(3);
}

/* Handle SIGSEGV from now on, or as before */
Datum
handle_segv(PG_FUNCTION_ARGS)
{
	static struct sigaction before;
	struct sigaction action = {.sa_handler = handler};

	if (PG_GETARG_BOOL(0))
		sigaction(SIGSEGV, &action, &before);
	else
		sigaction(SIGSEGV, &before, NULL);
	PG_RETURN_VOID();
}

static void *
idle(void *arg)
{
	for (;;)
		pause();
	return NULL;
}

/* A thread that blocks no signal */
Datum
start_thread(PG_FUNCTION_ARGS)
{
	pthread_t	thread;

	PG_RETURN_BOOL(pthread_create(&thread, NULL, idle, NULL) == 0);
}

/* Use up all of the stack but so much, then write. */
static __attribute__((noinline)) void
write_with_stack(char *lowest, size_t left)
{
	char	   *here = __builtin_frame_address(0);
	volatile char *used = alloca(here - lowest - left);
	volatile char *page = (volatile char *) BufferGetBlock(1) + BLCKSZ - 1;

	used[0] = *page;
	*page = used[0];
}

static void *
write_page(void *arg)
{
	static char alternate[64 * 1024];
	stack_t		stack = {.ss_sp = alternate,.ss_size = sizeof(alternate)};
	pthread_attr_t attributes;
	void	   *lowest;
	size_t		size;

	sigaltstack(&stack, NULL);
	pthread_getattr_np(pthread_self(), &attributes);
	pthread_attr_getstack(&attributes, &lowest, &size);
	pthread_attr_destroy(&attributes);
	write_with_stack(lowest, 256);
	*(volatile bool *) arg = true;
	return NULL;
}

/*
 * Write into the first buffer, what is there, in a thread with hardly any stack but an
 * alternate one for signals, as a goroutine that has called C.  Returns at once with
 * false; asked again, whether it has written.
 */
Datum
thread_writes(PG_FUNCTION_ARGS)
{
	static bool started = false;
	static bool written = false;
	pthread_t	thread;

	if (!started)
		started = pthread_create(&thread, NULL, write_page, &written) == 0;
	else
		pg_usleep(1000);
	PG_RETURN_BOOL(*(volatile bool *) &written);
}

/* The main thread blocks all signals for so many milliseconds. */
Datum
block_signals(PG_FUNCTION_ARGS)
{
	sigset_t	all;
	sigset_t	before;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	pg_usleep(PG_GETARG_INT32(0) * 1000L);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	PG_RETURN_VOID();
}
