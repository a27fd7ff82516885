/*-------------------------------------------------------------------------
 *
 * control.c
 *	  The way in without SQL: pg_mshare_ctl asks the freeze worker.
 *
 * Both talk through two files in the data directory.  pg_mshare_ctl writes what it
 * wants, and who it is, into pg_mshare.request and sends the worker SIGUSR2.  The
 * worker answers in pg_mshare.state, which it writes at its start too: it says
 * which process to signal.  pg_mshare_ctl removes its request when it has read
 * the answer, so that there is one request at a time.
 *
 * SIGUSR2 without a new request means "thaw": kill is enough in an emergency.
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

/* The last request: its word and the process that asked */
static char request_word[16];
static int	request_pid = 0;

/* The worker's handler of SIGUSR2 */
void
control_signal_handler(int signo)
{
	int			save_errno = errno;

	request_pending = true;
	SetLatch(MyLatch);
	errno = save_errno;
}

bool
control_pending(void)
{
	return request_pending;
}

/* What is asked for */
ControlRequest
control_request(void)
{
	FILE	   *file;
	char		word[sizeof(request_word)] = "";
	int			pid = 0;
	bool		read;

	request_pending = false;

	file = AllocateFile(REQUEST_FILE, PG_BINARY_R);
	if (file == NULL)
		return CONTROL_THAW;
	read = fscanf(file, "%15s %d", word, &pid) == 2;
	FreeFile(file);

	/* One that was answered, and left behind, is not asked again. */
	if (!read || (pid == request_pid && strcmp(word, request_word) == 0))
		return CONTROL_THAW;
	request_pid = pid;
	strlcpy(request_word, word, sizeof(request_word));

	if (strcmp(word, "freeze") == 0)
		return CONTROL_FREEZE;
	if (strcmp(word, "thaw") == 0)
		return CONTROL_THAW;
	return CONTROL_STATUS;
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
control_remove_state(void)
{
	unlink(STATE_FILE);
}
