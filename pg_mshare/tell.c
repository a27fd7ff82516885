/*-------------------------------------------------------------------------
 *
 * tell.c
 *	  What goes to the server log from where ereport() is no answer.
 *
 * Signal handlers write to stderr, which the logger reads, and leave the text where the
 * freeze worker finds it (fault_log.c), for logs that are not of plain text.
 *
 * Everything here is async-signal-safe.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <unistd.h>

#include "common/relpath.h"

#include "pg_mshare.h"

/* Append to a message; printf() is not allowed here. */
static char *
append_string(char *to, const char *from)
{
	while (*from)
		*to++ = *from++;
	return to;
}

static char *
append_number(char *to, unsigned long number)
{
	char		digits[24];
	int			n = 0;

	do
		digits[n++] = '0' + number % 10;
	while ((number /= 10) != 0);
	while (n > 0)
		*to++ = digits[--n];
	return to;
}

const char *
fault_access_name(const Fault *fault)
{
	switch (fault->access)
	{
		case FAULT_READ:
			return fault->system_call ? "kernel read" : "read";
		case FAULT_WRITE:
			return fault->system_call ? "kernel write" : "write";
		case FAULT_EXEC:
			return "exec";
		case FAULT_UNKNOWN:
			break;
	}
	return "access";
}

/*
 * Tell the server log which access was denied and what comes of it; byte is -1 if
 * it is not known.
 */
void
fault_tell(const Fault *fault, int byte, const char *outcome)
{
	char		message[FAULT_MESSAGE_SIZE];
	char	   *end = message;

	end = append_string(end, "pg_mshare: process ");
	end = append_number(end, fault->pid);
	if (fault->backend_type != B_INVALID)
	{
		end = append_string(end, " (");
		end = append_string(end, GetBackendTypeDesc(fault->backend_type));
		end = append_string(end, ")");
	}
	end = append_string(end, outcome);
	end = append_string(end, ": its ");
	end = append_string(end, fault_access_name(fault));
	end = append_string(end, fault->access == FAULT_READ ? " of " : " to ");
	if (byte >= 0)
	{
		end = append_string(end, "byte ");
		end = append_number(end, byte);
		end = append_string(end, " of ");
	}
	end = append_string(end, "buffer ");
	end = append_number(end, fault->buffer + 1);
	if (fault->holds_block)
	{
		end = append_string(end, ", block ");
		end = append_number(end, fault->tag.blockNum);
		end = append_string(end, " of relation ");
		end = append_number(end, buftag_tablespace(&fault->tag));
		end = append_string(end, "/");
		end = append_number(end, buftag_database(&fault->tag));
		end = append_string(end, "/");
		end = append_number(end, buftag_relfilenode(&fault->tag));
		end = append_string(end, " (");
		end = append_string(end, forkNames[fault->tag.forkNum]);
		end = append_string(end, "),");
	}
	end = append_string(end, " is denied, the buffer's protection is ");
	end = append_string(end, protection_name(pool_buffer_protection(fault->buffer)));
	*end = '\n';
	if (write(STDERR_FILENO, message, end + 1 - message) < 0)
	{
		/* there is nobody left to tell */
	}
	*end = '\0';
	fault_log_message(message);
}

/* Tell the server log that this process has opened the pool in another's place. */
void
overdue_tell(void)
{
	char		message[128];
	char	   *end = message;

	end = append_string(end, "pg_mshare: process ");
	end = append_number(end, getpid());
	end = append_string(end, " has opened the buffer pool, a second after the closing should have ended\n");
	if (write(STDERR_FILENO, message, end - message) < 0)
	{
		/* there is nobody left to tell */
	}
}
