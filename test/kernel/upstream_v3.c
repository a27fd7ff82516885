// SPDX-License-Identifier: GPL-2.0
/*
 * A program as one would have written it for the interface last posted to
 * linux-mm (mshare v3): it knows this header, /sys/fs/mshare and nothing else
 * of this project.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/msharefs.h>

#define OBJECT_SIZE	(2UL << 20)

static int test, failed;

static void ok(int good, const char *what)
{
	int err = errno;

	printf("%sok %d - %s\n", good ? "" : "not ", ++test, what);
	if (!good)
		printf("# errno %d: %s\n", err, strerror(err));
	failed += !good;
}

/* Whether a store to p in a child is killed by SIGSEGV */
static int store_is_killed(volatile char *p)
{
	int status = 0;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		*p = 1;
		_exit(0);
	}
	waitpid(pid, &status, 0);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV;
}

static unsigned long granule(void)
{
	char text[128] = "";
	int fd = open("/sys/fs/mshare/mshare_info", O_RDONLY);

	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
		return 0;
	close(fd);
	return strtoul(text, NULL, 10);
}

int main(void)
{
	struct mshare_create create;
	struct mshare_unmap unmap;
	unsigned long size;
	char path[64], *p, *q, *hint;
	int fd, status;
	pid_t pid;

	printf("TAP version 13\n1..17\n");
	size = granule();
	ok(size != 0 && (size & (size - 1)) == 0, "mshare_info gives a granule");
	if (!size)
		return 1;

	snprintf(path, sizeof(path), "/sys/fs/mshare/upstream-%d", getpid());
	fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
	ok(fd >= 0, "a file is created");
	ok(fallocate(fd, 0, 0, size) == 0, "its size is set to the granule");

	/* v3 programs fill the struct member by member on the stack */
	memset(&create, 0x55, sizeof(create));
	create.region_offset = 0;
	create.size = OBJECT_SIZE;
	create.offset = 0;
	create.prot = PROT_READ | PROT_WRITE;
	create.flags = MAP_ANONYMOUS | MAP_SHARED | MAP_FIXED;
	create.fd = -1;
	ok(ioctl(fd, MSHAREFS_CREATE_MAPPING, &create) == 0,
	   "memory is mapped into it");

	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ok(p != MAP_FAILED && (unsigned long)p % size == 0,
	   "it is mapped at an address of the kernel's choice");
	if (p == MAP_FAILED)
		return 1;
	memset(p, 'p', OBJECT_SIZE);
	ok(p[0] == 'p' && p[OBJECT_SIZE - 1] == 'p', "memory holds what was stored");

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		int good = p[OBJECT_SIZE / 2] == 'p';

		p[1] = 'c';
		_exit(!good);
	}
	waitpid(pid, &status, 0);
	ok(status == 0, "a child reads it");
	ok(p[1] == 'c', "the parent reads what the child stored");

	hint = p - 64 * size;
	q = mmap(hint, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ok(q == hint, "a second mapping is at the address hinted at");
	ok(q != MAP_FAILED && q[1] == 'c', "and shows the same");
	q[2] = 'q';
	ok(p[2] == 'q', "in both directions");
	ok(munmap(q, size) == 0, "it is unmapped");
	q = mmap(hint - 64 * size, size, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_FIXED, fd, 0);
	ok(q == hint - 64 * size && q[2] == 'q', "one with MAP_FIXED is exact");

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		/* another process finds the region by its name */
		int other = open(path, O_RDWR);
		char *r = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED,
			       other, 0);

		_exit(r == MAP_FAILED || r[2] != 'q');
	}
	waitpid(pid, &status, 0);
	ok(status == 0, "it is found by its name");

	unmap.region_offset = 0;
	unmap.size = OBJECT_SIZE;
	ok(ioctl(fd, MSHAREFS_UNMAP, &unmap) == 0, "memory is unmapped from it");
	ok(store_is_killed(p) && store_is_killed(q), "a store is killed then");
	munmap(p, size);
	munmap(q, size);
	close(fd);
	ok(unlink(path) == 0, "the file is removed");
	return failed != 0;
}
