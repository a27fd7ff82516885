// SPDX-License-Identifier: PostgreSQL
/*
 * Preloaded into a server by 019_processes.pl and 023_libraries.pl: happens on demand what else a busy
 * machine does, seldom.  A file of the data directory holds for how many milliseconds
 * the next child, or the next mprotect() of a process, stops.  That another thread than
 * the main one has called mprotect() leaves a file there.
 *
 * popen() is that of older C libraries, which use fork(), and posix_fallocate() of much
 * memory that of Linux before 6.11, where a signal makes it fail.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static pid_t program;

static void
stop(const char *file)
{
	char		ms[16] = "";
	int			fd = open(file, O_RDONLY);

	if (fd < 0)
		return;
	if (read(fd, ms, sizeof(ms) - 1) > 0 && unlink(file) == 0)
		usleep(atoi(ms) * 1000);
	close(fd);
}

static void
child(void)
{
	stop("slow_fork");
}

/* Before the extension is loaded: handlers run in this order */
__attribute__((constructor))
static void
start(void)
{
	pthread_atfork(NULL, NULL, child);
}

int
mprotect(void *address, size_t size, int protection)
{
	char		file[32];
	int			save_errno = errno;

	snprintf(file, sizeof(file), "slow_mprotect.%d", getpid());
	stop(file);
	if (gettid() != getpid())
		close(open("mprotect_by_thread", O_CREAT | O_WRONLY, 0600));
	errno = save_errno;
	return syscall(SYS_mprotect, address, size, protection);
}

int
posix_fallocate(int fd, off_t offset, off_t size)
{
	struct timespec time = {.tv_nsec = 50 * 1000 * 1000};

	if (size > 16 * 1024 * 1024 && nanosleep(&time, NULL) < 0)
		return errno;
	return fallocate(fd, 0, offset, size) < 0 ? errno : 0;
}

FILE *
popen(const char *command, const char *type)
{
	int			ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return NULL;
	program = fork();
	if (program == 0)
	{
		dup2(ends[1], STDOUT_FILENO);
		execl("/bin/sh", "sh", "-c", command, NULL);
		_exit(127);
	}
	close(ends[1]);
	return fdopen(ends[0], type);
}

int
pclose(FILE *file)
{
	int			status;

	fclose(file);
	while (waitpid(program, &status, 0) < 0)
	{
		if (errno != EINTR)
			return -1;
	}
	return status;
}
