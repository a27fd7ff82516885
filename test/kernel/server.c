// SPDX-License-Identifier: GPL-2.0
/*
 * Objects of a filesystem whose server is a program: FUSE. A call of a region that
 * waits for the server keeps nobody out of the region, who may be that server.
 */
#include "mshare_test.h"
#include "mshare_mm.h"

#include <linux/falloc.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <sys/mount.h>
#include <sys/uio.h>

#ifndef FUSE_DIRECT_IO_ALLOW_MMAP
#define FUSE_DIRECT_IO_ALLOW_MMAP	(1ULL << 36)
#endif

#define OBJECT		(16 * PAGE)
#define BUFFER		(256 * 1024)
#define FILE_NODE	2
#define A_WHILE		300000		/* microseconds in which nothing shall happen */

FIXTURE(server)
{
	char dir[32];
	int fuse;
	pthread_t thread;
	volatile unsigned int hold;	/* the opcode that is not answered now */
	volatile bool held;		/* one was asked */
	unsigned int flags;		/* of FUSE_INIT, besides what all need */
	int file;
	int region;
	char *p;
};

static void fill_attr(struct fuse_attr *attr, unsigned long node)
{
	*attr = (struct fuse_attr){
		.ino = node, .nlink = 1, .blksize = PAGE,
		.mode = node == FILE_NODE ? S_IFREG | 0600 : S_IFDIR | 0700,
		.size = node == FILE_NODE ? OBJECT : 0,
	};
}

static void answer(int fuse, const struct fuse_in_header *in, int error,
		   const void *data, size_t size)
{
	struct fuse_out_header out = {
		.len = sizeof(out) + size, .error = error, .unique = in->unique,
	};
	struct iovec parts[] = {
		{ &out, sizeof(out) }, { (void *)data, size },
	};

	if (writev(fuse, parts, 2) < 0 && errno != ENOENT)
		perror("writev to /dev/fuse");
}

/* One file, of zeros; what is written is thrown away. */
static void serve(FIXTURE_DATA(server) *self, const struct fuse_in_header *in)
{
	static const char zeros[OBJECT];
	const struct fuse_read_in *read_in = (const void *)(in + 1);
	const struct fuse_write_in *write_in = (const void *)(in + 1);
	struct fuse_init_out init = {
		.major = FUSE_KERNEL_VERSION, .minor = FUSE_KERNEL_MINOR_VERSION,
		.max_write = OBJECT, .flags = FUSE_INIT_EXT | self->flags,
		.flags2 = FUSE_DIRECT_IO_ALLOW_MMAP >> 32,
	};
	struct fuse_entry_out entry = {
		.nodeid = FILE_NODE, .entry_valid = 3600, .attr_valid = 3600,
	};
	struct fuse_attr_out attr = { .attr_valid = 3600 };
	struct fuse_open_out open_out = {
		.open_flags = FOPEN_DIRECT_IO | FOPEN_NOFLUSH |
			      FOPEN_PARALLEL_DIRECT_WRITES,
	};
	struct fuse_write_out written = {};
	int fuse = self->fuse;

	switch (in->opcode) {
	case FUSE_INIT:
		return answer(fuse, in, 0, &init, sizeof(init));
	case FUSE_LOOKUP:
		fill_attr(&entry.attr, FILE_NODE);
		return answer(fuse, in, 0, &entry, sizeof(entry));
	case FUSE_GETATTR:
	case FUSE_SETATTR:
		fill_attr(&attr.attr, in->nodeid);
		return answer(fuse, in, 0, &attr, sizeof(attr));
	case FUSE_OPEN:
		return answer(fuse, in, 0, &open_out, sizeof(open_out));
	case FUSE_READ:
		return answer(fuse, in, 0, zeros,
			      read_in->size < OBJECT ? read_in->size : OBJECT);
	case FUSE_WRITE:
		written.size = write_in->size;
		return answer(fuse, in, 0, &written, sizeof(written));
	case FUSE_FALLOCATE:
	case FUSE_FLUSH:
	case FUSE_FSYNC:
	case FUSE_RELEASE:
		return answer(fuse, in, 0, NULL, 0);
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
		return;
	default:
		return answer(fuse, in, -ENOSYS, NULL, 0);
	}
}

static void *run_server(void *arg)
{
	FIXTURE_DATA(server) *self = arg;
	char *buffer = malloc(BUFFER), *kept = malloc(BUFFER);
	bool keeps = false;

	for (;;) {
		struct pollfd readable = { .fd = self->fuse, .events = POLLIN };
		struct fuse_in_header *in = (void *)buffer;
		int n = poll(&readable, 1, 1);

		if (keeps && !self->hold) {
			serve(self, (void *)kept);
			keeps = false;
		}
		if (!n)
			continue;
		n = read(self->fuse, buffer, BUFFER);
		if (n <= 0)
			break;
		if (in->opcode == self->hold && !keeps) {
			memcpy(kept, buffer, n);
			keeps = self->held = true;
			continue;
		}
		serve(self, in);
	}
	free(kept);
	free(buffer);
	return NULL;
}

static void start_server(struct __test_metadata *_metadata,
			 FIXTURE_DATA(server) *self, unsigned int flags)
{
	char options[64];

	self->flags = flags;
	self->fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (self->fuse < 0)
		SKIP(return, "no FUSE in this kernel");
	snprintf(options, sizeof(options), "fd=%d,rootmode=40700,user_id=0,group_id=0",
		 self->fuse);
	ASSERT_EQ(0, mount("server", self->dir, "fuse", 0, options));
	ASSERT_EQ(0, pthread_create(&self->thread, NULL, run_server, self));

	snprintf(options, sizeof(options), "%s/file", self->dir);
	self->file = open(options, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->file);
}

static void stop_server(FIXTURE_DATA(server) *self)
{
	if (self->fuse < 0)
		return;
	close(self->file);
	umount2(self->dir, MNT_DETACH);
	pthread_join(self->thread, NULL);
	close(self->fuse);
}

FIXTURE_SETUP(server)
{
	strcpy(self->dir, "/tmp/serverXXXXXX");
	ASSERT_NE(NULL, mkdtemp(self->dir));
	start_server(_metadata, self, 0);
	self->region = region(1);
	ASSERT_LE(0, self->region);
	ASSERT_EQ(0, create_anon(self->region, CHUNK, PMD, RW));
	self->p = window(self->region, 1, RW);
	ASSERT_NE(MAP_FAILED, self->p);
}

FIXTURE_TEARDOWN(server)
{
	munmap(self->p, SLOT);
	close(self->region);
	stop_server(self);
	rmdir(self->dir);
}

/* The server keeps the next request of a kind until release(). */
static void hold(FIXTURE_DATA(server) *self, unsigned int opcode)
{
	self->held = false;
	self->hold = opcode;
}

static void release(FIXTURE_DATA(server) *self)
{
	self->hold = 0;
}

static bool ends(pid_t pid, int *status)
{
	pid_t ended = 0;

	return UNTIL(ended || (ended = waitpid(pid, status, WNOHANG)) != 0);
}

static pid_t write_elsewhere(FIXTURE_DATA(server) *self)
{
	pid_t pid = fork_on(-1);

	if (pid == 0)
		_exit(pwrite(self->file, "x", 1, 0) != 1);
	return pid;
}

static pid_t create_elsewhere(FIXTURE_DATA(server) *self)
{
	pid_t pid = fork_on(-1);

	if (pid == 0)
		_exit(-create_file(self->region, 0, OBJECT, RW, self->file, 0));
	return pid;
}

/* ->mmap() waits; nothing else does there that cannot be interrupted. */
static bool in_mmap(pid_t pid)
{
	return proc_state(pid) == 'D';
}

/* FUSE's ->mmap() waits for writes that are under way. */
static void create_behind_a_write(struct __test_metadata *_metadata,
				  FIXTURE_DATA(server) *self, pid_t *writer,
				  pid_t *creator)
{
	hold(self, FUSE_WRITE);
	*writer = write_elsewhere(self);
	ASSERT_TRUE(UNTIL(self->held));
	*creator = create_elsewhere(self);
	EXPECT_TRUE(UNTIL(in_mmap(*creator)));
}

TEST_F(server, a_creation_that_waits_keeps_nobody_out)
{
	pid_t writer, creator, other;
	int status = -1;

	create_behind_a_write(_metadata, self, &writer, &creator);

	/* what a server may do that has the region */
	other = fork_on(-1);
	if (other == 0) {
		EXPECT_EQ(0, create_anon(self->region, 2 * CHUNK, PMD, RW));
		EXPECT_EQ(RW, rights(self->p + 2 * CHUNK));
		EXPECT_EQ(0, protect(self->region, CHUNK, PMD, PROT_READ));
		EXPECT_EQ(PROT_READ, rights(self->p + CHUNK));
		EXPECT_EQ(-SEGV_MAPERR, rights(self->p));
		EXPECT_EQ(0, unmap(self->region, CHUNK, PMD));
		_exit(0);
	}
	EXPECT_TRUE(ends(other, &status));
	EXPECT_EQ(0, status);

	release(self);
	EXPECT_TRUE(ends(writer, &status));
	EXPECT_EQ(0, status);
	EXPECT_TRUE(ends(creator, &status));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, self->p[PAGE]);
	EXPECT_EQ(RW, rights(self->p + PAGE));
	EXPECT_EQ(0, unmap(self->region, 0, OBJECT));
}

/* What came in its place meanwhile is left as it is. */
TEST_F(server, a_creation_that_waited_looks_again)
{
	pid_t writer, creator;
	int status = -1;

	create_behind_a_write(_metadata, self, &writer, &creator);
	EXPECT_EQ(0, create_anon(self->region, PAGE, PAGE, RW));
	EXPECT_EQ(0, touch(self->p + PAGE, PROT_WRITE));
	release(self);
	EXPECT_TRUE(ends(writer, &status));
	EXPECT_TRUE(ends(creator, &status));
	EXPECT_EQ(EEXIST, WEXITSTATUS(status));
	EXPECT_EQ(RET, self->p[PAGE]);
	EXPECT_EQ(-SEGV_MAPERR, rights(self->p));
}

/* MADV_REMOVE empties nothing that a PROTECT has closed. */
TEST_F(server, a_flip_waits_for_a_removal)
{
	pid_t remover, closer;
	int status = -1;

	ASSERT_EQ(0, create_file(self->region, 0, OBJECT, RW, self->file, 0));
	hold(self, FUSE_FALLOCATE);
	remover = fork_on(-1);
	if (remover == 0)
		_exit(-advise(self->region, 0, OBJECT, MADV_REMOVE));
	ASSERT_TRUE(UNTIL(self->held));
	closer = fork_on(-1);
	if (closer == 0)
		_exit(-protect(self->region, 0, OBJECT, PROT_READ));
	sleep_us(A_WHILE);
	EXPECT_EQ(0, waitpid(closer, &status, WNOHANG));
	release(self);
	EXPECT_TRUE(ends(remover, &status));
	EXPECT_EQ(0, status);
	EXPECT_TRUE(ends(closer, &status));
	EXPECT_EQ(0, status);
	EXPECT_EQ(-EACCES, advise(self->region, 0, OBJECT, MADV_REMOVE));
}

/*
 * UNMAP, and a flip of a piece that is merged, end mappings, which writes back what
 * is dirty of an object here; of FUSE's it is the times that the server is waited
 * for. Who calls waits, nobody else.
 */
TEST_F(server, writing_back_keeps_nobody_out)
{
	stop_server(self);
	start_server(_metadata, self, FUSE_WRITEBACK_CACHE);
	ASSERT_EQ(0, create_file(self->region, 0, OBJECT, RW, self->file, 0));
	close(self->file);		/* children would write back at exit */
	self->file = -1;
	for (int unmapping = 0; unmapping < 2; unmapping++) {
		pid_t caller, other;
		int status = -1;

		if (!unmapping)
			ASSERT_EQ(0, protect(self->region, PAGE, PAGE, PROT_READ));
		hold(self, FUSE_SETATTR);	/* of who is first, be it a flusher */
		ASSERT_EQ(0, touch(self->p, PROT_WRITE));
		caller = fork_on(-1);
		if (caller == 0)
			_exit(-(unmapping ? unmap(self->region, 0, OBJECT) :
				protect(self->region, PAGE, PAGE, RW)));
		ASSERT_TRUE(UNTIL(self->held));

		other = fork_on(-1);
		if (other == 0) {
			EXPECT_EQ(0, protect(self->region, CHUNK, PMD, PROT_READ));
			EXPECT_EQ(PROT_READ, rights(self->p + CHUNK));
			EXPECT_EQ(0, protect(self->region, CHUNK, PMD, RW));
			EXPECT_EQ(0, create_anon(self->region, 2 * CHUNK, PMD, RW));
			memset(self->p + 2 * CHUNK, 1, PMD);
			EXPECT_EQ(0, unmap(self->region, 2 * CHUNK, PMD));
			_exit(0);
		}
		EXPECT_TRUE(ends(other, &status));
		EXPECT_EQ(0, status);
		EXPECT_EQ(0, waitpid(caller, &status, WNOHANG));

		release(self);
		EXPECT_TRUE(ends(caller, &status));
		EXPECT_EQ(0, status);
	}
	EXPECT_EQ(-SEGV_MAPERR, rights(self->p));
}

TEST_HARNESS_MAIN
