/*-------------------------------------------------------------------------
 *
 * control.c
 *	  The way in without SQL: pg_mshare_ctl asks the freeze worker.
 *
 * Both talk through two files in the data directory.  pg_mshare_ctl writes what it
 * wants, and who it is, into pg_mshare.request and sends the worker SIGUSR2.  The
 * worker answers in pg_mshare.state, which it writes at its start too: it says
 * which process to signal.  pg_mshare_ctl removes its request when it has read
 * the answer, so that there is one request at a time.  If it has to go without an
 * answer it leaves a request for the signal that we are still to get.
 *
 * SIGUSR2 without a new request means "thaw": kill is enough in an emergency.  Only
 * if it comes from who asked last it means nothing: that request has been found
 * at the signal of another, who had gone, and is done.  A request that is not
 * understood is none, but no emergency either: it is removed, and nothing is done.
 *
 * The files are in every copy of the data directory, base backups included, and mean
 * nothing there: pg_mshare_ctl looks whether the worker runs in its directory, and a
 * worker that starts removes the request and writes a state of its own.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <unistd.h>

#include "storage/fd.h"
#include "storage/latch.h"

#include "pg_mshare.h"

#define REQUEST_FILE		"pg_mshare.request"
#define STATE_FILE			"pg_mshare.state"
#define STATE_FILE_NEW		"pg_mshare.state.new"

static volatile sig_atomic_t request_pending = false;
static volatile sig_atomic_t sender_pid = 0;

static const char *const request_words[] = {
	[CONTROL_STATUS] = "status",
	[CONTROL_FREEZE] = "freeze",
	[CONTROL_THAW] = "thaw",
};

/* The process that asked last, -1: none did; each asks once */
static int	request_pid = -1;

static void
signal_handler(int signo, siginfo_t *info, void *context)
{
	int			save_errno = errno;

	sender_pid = info->si_pid;
	request_pending = true;
	SetLatch(MyLatch);
	errno = save_errno;
}

/*
 * In the worker, at its start, before it writes its state: who asks this worker has
 * read that, so what is there already was asked of another.
 */
void
control_startup(void)
{
	struct sigaction action = {
		.sa_sigaction = signal_handler,
		.sa_flags = SA_SIGINFO | SA_RESTART
	};

	unlink(REQUEST_FILE);
	sigemptyset(&action.sa_mask);
	if (sigaction(SIGUSR2, &action, NULL) < 0)
		ereport(FATAL,
				(errcode(ERRCODE_SYSTEM_ERROR),
				 errmsg("could not install a handler for SIGUSR2: %m")));
}

bool
control_pending(void)
{
	return request_pending;
}

/* What is asked for; false: nothing that is not done already, or can be answered */
bool
control_request(ControlRequest *request)
{
	FILE	   *file;
	char		text[64] = "";
	size_t		length = 0;
	char		word[16];
	int			pid;
	bool		understood;

	request_pending = false;

	file = AllocateFile(REQUEST_FILE, PG_BINARY_R);
	if (file != NULL)
	{
		length = fread(text, 1, sizeof(text) - 1, file);
		FreeFile(file);
	}

	/* One that was answered, and left behind, is not asked again. */
	understood = sscanf(text, "%15[a-z] %d", word, &pid) == 2 && pid > 0;
	if (length == 0 || (understood && pid == request_pid))
	{
		*request = CONTROL_THAW;
		return sender_pid != request_pid;
	}

	*request = CONTROL_UNKNOWN;
	for (ControlRequest known = CONTROL_STATUS; understood && known <= CONTROL_THAW; known++)
	{
		if (strcmp(word, request_words[known]) == 0)
			*request = known;
	}
	if (*request == CONTROL_UNKNOWN)
	{
		unlink(REQUEST_FILE);
		ereport(LOG,
				(errmsg("pg_mshare: the request in file \"%s\" is not understood, nothing is done",
						REQUEST_FILE)));
	}
	if (understood)
		request_pid = pid;
	return understood;
}

/*
 * Write the state, and what came of the last request; answer is NULL if there was
 * none.
 */
void
control_write_state(const char *state, bool done, const char *answer)
{
	FILE	   *file = AllocateFile(STATE_FILE_NEW, PG_BINARY_W);
	bool		written;

	if (file != NULL)
	{
		fprintf(file, "worker %d\n%s", MyProcPid, state);
		if (answer != NULL)
			fprintf(file, "answer %d %s %s\n", request_pid,
					done ? "done" : "failed", answer);
		written = !ferror(file);
		if (FreeFile(file) == 0 && written &&
			rename(STATE_FILE_NEW, STATE_FILE) == 0)
			return;
	}
	ereport(LOG,
			(errcode_for_file_access(),
			 errmsg("could not write file \"%s\": %m", STATE_FILE)));
}

/* Nobody is there any more to be asked. */
void
control_shutdown(void)
{
	unlink(STATE_FILE);
	unlink(REQUEST_FILE);
}
