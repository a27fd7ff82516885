// SPDX-License-Identifier: GPL-2.0
/*
 * MSHAREFS_GUARD: what a region denies for writing is denied to everybody who
 * reaches the object, whichever way. Each way in is tried three times: without
 * a guard, guarded and open, where it must get in, and guarded and closed.
 */
#include "mshare_test.h"
#include "mshare_uring.h"

#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/sendfile.h>
#include <sys/shm.h>
#include <sys/uio.h>
#include <sys/wait.h>

#define OBJECT	(4 * MIB)
#define OLD	((char)0x5a)
#define NEW	((char)0xa5)

FIXTURE(guard)
{
	int region;
	int object;
	char *p;
};

FIXTURE_SETUP(guard)
{
	if (is_module())
		SKIP(return, "the module has no guards");
	ASSERT_EQ(0, map_object(OBJECT, RW, &self->region, &self->object,
				&self->p));
	memset(self->p, OLD, OBJECT);
}

FIXTURE_TEARDOWN(guard)
{
	knob("skip_guard_close", false);
	close(self->region);
	close(self->object);
}

static char *map_outside(int object)
{
	return mmap(NULL, OBJECT, RW, MAP_SHARED, object, 0);
}

/* Closes all of it */
static int closed(FIXTURE_DATA(guard) *self)
{
	return protect(self->region, 0, OBJECT, PROT_READ);
}

static int opened(FIXTURE_DATA(guard) *self)
{
	return protect(self->region, 0, OBJECT, RW);
}

TEST_F(guard, refuses)
{
	static const struct { __u64 at, size; } ranges[] = {
		{ 0, 0 }, { 1, PAGE }, { 0, PAGE + 1 }, { SLOT, PAGE },
		{ -PAGE, 2 * PAGE }, { 0, SLOT + PAGE },
	};
	struct mshare_guard flags = { .size = PAGE, .flags = 1 };
	struct mshare_guard pad = { .size = PAGE, .__pad = 1 };
	char path[64];
	int reader;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", self->region);
	reader = open(path, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, reader);
	EXPECT_EQ(-EBADF, guard(reader, 0, PAGE));
	EXPECT_EQ(-EFAULT, result(ioctl(self->region, MSHAREFS_GUARD, 8)));
	EXPECT_EQ(-EINVAL, result(ioctl(self->region, MSHAREFS_GUARD, &flags)));
	EXPECT_EQ(-EINVAL, result(ioctl(self->region, MSHAREFS_GUARD, &pad)));
	for (int i = 0; i < ARRAY_SIZE(ranges); i++) {
		EXPECT_EQ(-EINVAL, guard(self->region, ranges[i].at,
					 ranges[i].size))
			TH_LOG("range %d", i);
	}
	EXPECT_EQ(-ENOMEM, guard(self->region, OBJECT, PAGE));
	EXPECT_EQ(0, guard(self->region, 0, PAGE));
	EXPECT_EQ(0, guard(self->region, 0, SLOT));
	close(reader);
}

/* An error has changed nothing: what came before it is not guarded either. */
TEST_F(guard, refuses_other_objects)
{
	int file = direct_file(OLD), reader, shm = shmget(IPC_PRIVATE, PMD, 0600);
	char path[64], *p;

	ASSERT_LE(0, file);
	ASSERT_EQ(0, create_file(self->region, OBJECT, PAGE, RW, file, 0));
	EXPECT_EQ(-EOPNOTSUPP, guard(self->region, 0, 2 * OBJECT));
	ASSERT_EQ(0, closed(self));
	EXPECT_EQ(1, pwrite(self->object, "x", 1, 0));
	ASSERT_EQ(0, unmap(self->region, OBJECT, PAGE));

	snprintf(path, sizeof(path), "/proc/self/fd/%d", self->object);
	reader = open(path, O_RDONLY | O_CLOEXEC);
	ASSERT_EQ(0, create_file(self->region, OBJECT, PAGE, PROT_READ, reader,
				 0));
	EXPECT_EQ(-EACCES, guard(self->region, OBJECT, PAGE));
	ASSERT_EQ(0, unmap(self->region, OBJECT, PAGE));

	ASSERT_LE(0, shm);
	p = shmat(shm, NULL, 0);
	ASSERT_NE((void *)-1, p);
	ASSERT_EQ(0, create_from(self->region, OBJECT, PMD, RW, p));
	ASSERT_EQ(0, shmdt(p));
	EXPECT_EQ(-EOPNOTSUPP, guard(self->region, OBJECT, PMD));
	shmctl(shm, IPC_RMID, NULL);
	close(reader);
	close(file);
}

TEST_F(guard, busy_while_mapped_writable)
{
	char *p = map_outside(self->object), *private, *copy;
	char path[64];
	int reader;

	ASSERT_NE(MAP_FAILED, p);
	EXPECT_EQ(-EBUSY, guard(self->region, 0, PAGE));
	/* what it may become counts */
	ASSERT_EQ(0, mprotect(p, OBJECT, PROT_READ));
	EXPECT_EQ(-EBUSY, guard(self->region, 0, PAGE));
	ASSERT_EQ(0, closed(self));
	EXPECT_EQ(1, pwrite(self->object, "x", 1, 0));
	munmap(p, OBJECT);

	snprintf(path, sizeof(path), "/proc/self/fd/%d", self->object);
	reader = open(path, O_RDONLY | O_CLOEXEC);
	p = mmap(NULL, OBJECT, PROT_READ, MAP_SHARED, reader, 0);
	private = mmap(NULL, OBJECT, RW, MAP_PRIVATE, self->object, 0);
	ASSERT_EQ(0, guard(self->region, 0, PAGE));
	EXPECT_EQ(OLD, p[1]);
	private[PAGE] = NEW;
	EXPECT_EQ(OLD, p[PAGE]);
	copy = mmap(NULL, OBJECT, RW, MAP_PRIVATE, self->object, 0);
	copy[PAGE] = NEW;
	EXPECT_EQ(OLD, self->p[PAGE]);
	close(reader);
}

TEST_F(guard, busy_while_another_guards)
{
	int other = region(1), third = region(1);

	ASSERT_EQ(0, create_file(other, 0, OBJECT, RW, self->object, 0));
	ASSERT_EQ(0, guard(self->region, 0, PAGE));
	EXPECT_EQ(-EBUSY, guard(other, 0, PAGE));
	ASSERT_EQ(0, create_file(third, 0, OBJECT, RW, self->object, 0));
	EXPECT_EQ(-EBUSY, guard(third, 0, PAGE));

	/* by parts: it ends with the last */
	ASSERT_EQ(0, unmap(self->region, 0, OBJECT - PAGE));
	EXPECT_EQ(-EBUSY, guard(other, 0, PAGE));
	ASSERT_EQ(0, unmap(self->region, 0, OBJECT));
	EXPECT_EQ(0, guard(other, 0, PAGE));
	close(other);
	EXPECT_EQ(0, guard(third, 0, PAGE));
	close(third);
}

/*
 * The ways in. Each changes the first byte of the object, or removes its first
 * page, and returns 0 or -errno; *p is an ordinary mapping.
 */
struct way {
	const char *name;
	int (*in)(int object, char *p);
	int denied;
};

static int all(long n, long want)
{
	return n == want ? 0 : n < 0 ? -errno : -EIO;
}

static int in_write(int object, char *p)
{
	char byte = NEW;

	lseek(object, 0, SEEK_SET);
	return all(write(object, &byte, 1), 1);
}

static int in_pwritev(int object, char *p)
{
	char byte = NEW;
	struct iovec vec = { &byte, 1 };

	return all(pwritev(object, &vec, 1, 0), 1);
}

/* A large one is done, as far as it is done, by folios */
static int in_large_write(int object, char *p)
{
	static char bytes[OBJECT];

	memset(bytes, NEW, OBJECT);
	return all(pwrite(object, bytes, OBJECT, 0), OBJECT);
}

static int in_direct_write(int object, char *p)
{
	char path[64], *page = shared_page(PAGE);
	int fd, err;

	memset(page, NEW, PAGE);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", object);
	fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
	err = all(pwrite(fd, page, PAGE, 0), PAGE);
	close(fd);
	munmap(page, PAGE);
	return err;
}

static int in_splice(int object, char *p)
{
	char byte = NEW;
	loff_t at = 0;
	int pipes[2], err;

	if (pipe(pipes) || write(pipes[1], &byte, 1) != 1)
		return -EIO;
	err = all(splice(pipes[0], NULL, object, &at, 1, 0), 1);
	close(pipes[0]);
	close(pipes[1]);
	return err;
}

static int new_file(void)
{
	int fd = memfd(PAGE);
	char byte = NEW;

	return pwrite(fd, &byte, 1, 0) == 1 ? fd : -1;
}

static int in_sendfile(int object, char *p)
{
	int from = new_file(), err;
	off_t at = 0;

	lseek(object, 0, SEEK_SET);
	err = all(sendfile(object, from, &at, 1), 1);
	close(from);
	return err;
}

static int in_copy_file_range(int object, char *p)
{
	loff_t at = 0, to = 0;
	int from = new_file(), err;

	err = all(copy_file_range(from, &at, object, &to, 1, 0), 1);
	close(from);
	return err;
}

static int in_uring(int object, char *p)
{
	char byte = NEW;
	struct uring ring;
	int err = uring_make(&ring);

	if (!err)
		err = uring_do(&ring, IORING_OP_WRITE, 0, object, &byte, 1);
	close(ring.fd);
	return err == 1 ? 0 : err;
}

static int in_punch(int object, char *p)
{
	return result(fallocate(object, FALLOC_FL_PUNCH_HOLE |
				FALLOC_FL_KEEP_SIZE, 0, PAGE));
}

/* Less than a page is overwritten with zeros */
static int in_punch_bytes(int object, char *p)
{
	return result(fallocate(object, FALLOC_FL_PUNCH_HOLE |
				FALLOC_FL_KEEP_SIZE, 0, 16));
}

static int in_remove(int object, char *p)
{
	return result(madvise(p, PAGE, MADV_REMOVE));
}

static int in_ftruncate(int object, char *p)
{
	int err = result(ftruncate(object, 0));

	return err ?: result(ftruncate(object, OBJECT));
}

static int in_truncate(int object, char *p)
{
	char path[64];
	int err;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", object);
	err = result(truncate(path, 0));
	return err ?: result(ftruncate(object, OBJECT));
}

static int in_open_trunc(int object, char *p)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", object);
	fd = result(open(path, O_RDWR | O_TRUNC | O_CLOEXEC));
	if (fd < 0)
		return fd;
	close(fd);
	return result(ftruncate(object, OBJECT));
}

static int stored(char *p)
{
	return touch(p, PROT_WRITE);
}

static int in_store(int object, char *p)
{
	return stored(p);
}

/* It was writable, and dirty, before it was closed */
static int in_mprotected(int object, char *p)
{
	if (mprotect(p, OBJECT, PROT_READ) || mprotect(p, OBJECT, RW))
		return -errno;
	return stored(p);
}

static int in_new_mapping(int object, char *p)
{
	char *mine = map_outside(object);
	int denied = stored(mine);

	munmap(mine, OBJECT);
	return denied;
}

/* Made for huge pages after all */
static int in_huge_mapping(int object, char *p)
{
	char *mine = map_outside(object);
	int denied;

	madvise(mine, OBJECT, MADV_HUGEPAGE);
	denied = stored(mine);
	munmap(mine, OBJECT);
	return denied;
}

static int in_moved_mapping(int object, char *p)
{
	char *mine = map_outside(object), *moved;
	int denied;

	(void)*(volatile char *)mine;
	moved = mremap(mine, OBJECT, 2 * OBJECT, MREMAP_MAYMOVE);
	denied = moved == MAP_FAILED ? -errno : stored(moved);
	munmap(moved, 2 * OBJECT);
	return denied;
}

static int in_child(int object, char *p)
{
	pid_t pid = fork_on(-1);

	if (!pid)
		_exit(stored(p));
	return WEXITSTATUS(child_status(pid));
}

static int in_read(int object, char *p)
{
	int from = new_file(), err;

	err = all(pread(from, p, 1, 0), 1);
	close(from);
	return err;
}

static int in_direct_read(int object, char *p)
{
	int from = direct_file(NEW), err;

	err = all(pread(from, p, PAGE, 0), PAGE);
	close(from);
	return err;
}

static int in_process_vm_writev(int object, char *p)
{
	char byte = NEW;
	struct iovec mine = { &byte, 1 }, its = { p, 1 };

	return all(process_vm_writev(getpid(), &mine, 1, &its, 1, 0), 1);
}

static int in_proc_mem(int object, char *p)
{
	int fd = open("/proc/self/mem", O_RDWR | O_CLOEXEC), err;
	char byte = NEW;

	err = all(pwrite(fd, &byte, 1, (unsigned long)p), 1);
	close(fd);
	return err;
}

static int in_ptrace(int object, char *p)
{
	long word = (unsigned char)NEW;
	pid_t pid = fork_on(-1);
	int status, err;

	if (!pid) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	err = result(ptrace(PTRACE_POKEDATA, pid, p, word));
	kill(pid, SIGKILL);
	child_status(pid);
	return err;
}

static const struct way ways[] = {
	{ "write", in_write, -EPERM },
	{ "pwritev", in_pwritev, -EPERM },
	{ "large write", in_large_write, -EPERM },
	{ "O_DIRECT write", in_direct_write, -EPERM },
	{ "splice", in_splice, -EPERM },
	{ "sendfile", in_sendfile, -EPERM },
	{ "copy_file_range", in_copy_file_range, -EPERM },
	{ "io_uring", in_uring, -EPERM },
	{ "punch", in_punch, -EPERM },
	{ "punch of bytes", in_punch_bytes, -EPERM },
	{ "MADV_REMOVE", in_remove, -EPERM },
	{ "ftruncate", in_ftruncate, -EPERM },
	{ "truncate", in_truncate, -EPERM },
	{ "O_TRUNC", in_open_trunc, -EPERM },
	{ "store", in_store, SEGV_ACCERR },
	{ "store after mprotect", in_mprotected, SEGV_ACCERR },
	{ "store by a new mapping", in_new_mapping, SEGV_ACCERR },
	{ "store by one for huge pages", in_huge_mapping, SEGV_ACCERR },
	{ "store by a moved mapping", in_moved_mapping, SEGV_ACCERR },
	{ "store of a child", in_child, SEGV_ACCERR },
	{ "read into the mapping", in_read, -EFAULT },
	{ "O_DIRECT read into it", in_direct_read, -EFAULT },
	{ "process_vm_writev", in_process_vm_writev, -EFAULT },
	{ "/proc/PID/mem", in_proc_mem, -EIO },
	{ "ptrace", in_ptrace, -EIO },
};

/* Tries one; *changed says whether the object is another. */
static int try_way(FIXTURE_DATA(guard) *self, const struct way *way, char *p,
		   bool *changed)
{
	char byte = OLD;
	int err;

	err = way->in(self->object, p);
	*changed = self->p[0] != OLD;
	if (*changed && !err) {
		opened(self);
		pwrite(self->object, &byte, 1, 0);
	}
	return err;
}

#define EXPECT_WAYS(p, want) do {					\
	for (int i = 0; i < ARRAY_SIZE(ways); i++) {			\
		int wanted = (want) ? 0 : ways[i].denied;		\
		bool changed;						\
									\
		EXPECT_EQ(wanted, try_way(self, &ways[i], p, &changed))	\
			TH_LOG("%s", ways[i].name);			\
		EXPECT_EQ(!wanted, changed)				\
			TH_LOG("%s", ways[i].name);			\
	}								\
} while (0)

TEST_F(guard, without_all_ways_are_open)
{
	char *p = map_outside(self->object);

	for (int i = 0; i < ARRAY_SIZE(ways); i++) {
		bool changed;

		ASSERT_EQ(0, closed(self));
		EXPECT_EQ(0, try_way(self, &ways[i], p, &changed))
			TH_LOG("%s", ways[i].name);
		EXPECT_TRUE(changed)
			TH_LOG("%s", ways[i].name);
	}
}

TEST_F(guard, open_all_ways_are_open)
{
	char *p;

	ASSERT_EQ(0, guard(self->region, 0, OBJECT));
	p = map_outside(self->object);
	EXPECT_WAYS(p, true);
}

TEST_F(guard, closed_no_way_is_open)
{
	char *p;

	ASSERT_EQ(0, guard(self->region, 0, OBJECT));
	p = map_outside(self->object);
	ASSERT_EQ(0, stored(p));
	p[0] = OLD;
	ASSERT_EQ(0, closed(self));
	EXPECT_WAYS(p, false);
	ASSERT_EQ(0, opened(self));
	EXPECT_WAYS(p, true);
	/* and by its host VMAs and leaves, as a piece of what is mapped */
	ASSERT_EQ(0, protect(self->region, 0, PAGE, PROT_NONE));
	ASSERT_EQ(0, protect(self->region, 0, PAGE, PROT_READ));
	EXPECT_WAYS(p, false);
}

/* Guarded when it is closed already, and closed by being mapped so */
TEST_F(guard, closed_before)
{
	char *p;

	ASSERT_EQ(0, closed(self));
	ASSERT_EQ(0, guard(self->region, 0, OBJECT));
	p = map_outside(self->object);
	EXPECT_WAYS(p, false);
	ASSERT_EQ(0, opened(self));
	ASSERT_EQ(0, stored(p + OBJECT - PAGE));
	ASSERT_EQ(0, create_file(self->region, CHUNK, PAGE, PROT_READ,
				 self->object, OBJECT - PAGE));
	EXPECT_EQ(SEGV_ACCERR, stored(p + OBJECT - PAGE));
	EXPECT_EQ(-1, pwrite(self->object, "x", 1, OBJECT - 1));
	EXPECT_EQ(0, stored(p));
}

TEST_F(guard, reads_go_on)
{
	char byte, *p;

	ASSERT_EQ(0, guard(self->region, 0, OBJECT));
	p = map_outside(self->object);
	ASSERT_EQ(0, protect(self->region, 0, OBJECT, PROT_NONE));
	EXPECT_EQ(OLD, p[0]);
	EXPECT_EQ(1, pread(self->object, &byte, 1, 0));
	EXPECT_EQ(OLD, byte);
	/* nothing that is there changes */
	EXPECT_EQ(0, fallocate(self->object, 0, 0, 2 * OBJECT));
	EXPECT_EQ(0, ftruncate(self->object, 3 * OBJECT));
	EXPECT_EQ(0, ftruncate(self->object, OBJECT));
	EXPECT_EQ(1, pwrite(self->object, "x", 1, OBJECT));
	EXPECT_EQ(-1, ftruncate(self->object, OBJECT - 1));
	EXPECT_EQ(EPERM, errno);
	EXPECT_EQ(SEGV_ACCERR, stored(p));
}

TEST_F(guard, what_is_open_beside)
{
	char bytes[2 * PAGE], *p;
	ssize_t n;

	memset(bytes, NEW, sizeof(bytes));
	ASSERT_EQ(0, guard(self->region, 0, OBJECT));
	p = map_outside(self->object);
	ASSERT_EQ(0, protect(self->region, PAGE, PAGE, PROT_READ));
	EXPECT_EQ(0, stored(p));
	EXPECT_EQ(SEGV_ACCERR, stored(p + PAGE));
	EXPECT_EQ(0, stored(p + 2 * PAGE));
	/* of several pages as many as can be, or none */
	n = pwrite(self->object, bytes, 2 * PAGE, 0);
	EXPECT_TRUE(n == PAGE || (n < 0 && errno == EPERM))
		TH_LOG("%zd: %m", n);
	EXPECT_EQ(n == PAGE ? NEW : RET, self->p[0]);
	EXPECT_EQ(OLD, self->p[PAGE]);
	EXPECT_EQ(PAGE, pwrite(self->object, bytes, PAGE, 0));
	EXPECT_EQ(NEW, self->p[0]);
	EXPECT_EQ(0, fallocate(self->object, FALLOC_FL_PUNCH_HOLE |
			       FALLOC_FL_KEEP_SIZE, 2 * PAGE, PAGE));
	EXPECT_EQ(-1, fallocate(self->object, FALLOC_FL_PUNCH_HOLE |
				FALLOC_FL_KEEP_SIZE, 0, PAGE + 1));
	EXPECT_EQ(EPERM, errno);
	EXPECT_EQ(NEW, self->p[0]);

	/* a chunk that is closed by its view, and opened by a piece */
	ASSERT_EQ(0, closed(self));
	ASSERT_EQ(0, protect(self->region, PAGE, PAGE, RW));
	EXPECT_EQ(SEGV_ACCERR, stored(p));
	EXPECT_EQ(0, stored(p + PAGE));
	EXPECT_EQ(SEGV_ACCERR, stored(p + 2 * PAGE));
}

/* The region's own writers, and what it removes, need no more than its rights */
TEST_F(guard, the_region_itself_writes)
{
	ASSERT_EQ(0, guard(self->region, 0, OBJECT));
	EXPECT_EQ(0, stored(self->p));
	EXPECT_EQ(0, advise(self->region, 0, PAGE, MADV_REMOVE));
	EXPECT_EQ(0, self->p[0]);
	ASSERT_EQ(0, closed(self));
	EXPECT_EQ(SEGV_ACCERR, stored(self->p));
	EXPECT_EQ(-EACCES, advise(self->region, PAGE, PAGE, MADV_REMOVE));
	EXPECT_EQ(OLD, self->p[PAGE]);
}

/* Each place has its own protection; outside is denied what either denies. */
TEST_F(guard, mapped_twice)
{
	char *p;

	ASSERT_EQ(0, create_file(self->region, CHUNK, OBJECT, RW, self->object,
				 0));
	ASSERT_EQ(0, guard(self->region, CHUNK, PAGE));
	p = map_outside(self->object);
	ASSERT_EQ(0, fault_mode(self->region, MSHARE_FAULT_WAIT, 0, 1));
	ASSERT_EQ(0, closed(self));
	EXPECT_EQ(SEGV_ACCERR, stored(p));
	EXPECT_EQ(SEGV_ACCERR, stored(self->p));
	EXPECT_EQ(-EPERM, advise(self->region, CHUNK, PAGE, MADV_REMOVE));
	EXPECT_EQ(OLD, self->p[0]);
	EXPECT_EQ(0, stored(self->p + CHUNK));
	ASSERT_EQ(0, unmap(self->region, 0, OBJECT));
	EXPECT_EQ(0, stored(p));
	EXPECT_EQ(0, advise(self->region, CHUNK, PAGE, MADV_REMOVE));
	ASSERT_EQ(0, protect(self->region, CHUNK, OBJECT, PROT_READ));
	EXPECT_EQ(SEGV_ACCERR, stored(p));
}

TEST_F(guard, windows_of_other_regions)
{
	int before = region(1), after = region(1);
	char *p, *q;

	ASSERT_EQ(0, create_file(before, 0, OBJECT, RW, self->object, 0));
	p = window(before, 1, RW);
	EXPECT_EQ(0, stored(p));
	ASSERT_EQ(0, guard(self->region, 0, OBJECT));
	ASSERT_EQ(0, create_file(after, 0, OBJECT, RW, self->object, 0));
	q = window(after, 1, RW);
	EXPECT_EQ(0, stored(p));
	EXPECT_EQ(0, stored(q));
	p[0] = OLD;
	ASSERT_EQ(0, closed(self));
	EXPECT_EQ(SEGV_ACCERR, stored(p));
	EXPECT_EQ(SEGV_ACCERR, stored(q));
	EXPECT_EQ(SEGV_ACCERR, stored(q + PAGE));
	EXPECT_EQ(-EFAULT, in_read(-1, p));
	EXPECT_EQ(-EFAULT, in_process_vm_writev(-1, q));
	EXPECT_EQ(-EPERM, advise(before, 0, PAGE, MADV_REMOVE));
	/* what they do with their own protection gives nothing back */
	ASSERT_EQ(0, protect(before, 0, PAGE, PROT_READ));
	ASSERT_EQ(0, protect(before, 0, PAGE, RW));
	EXPECT_EQ(SEGV_ACCERR, stored(p));
	EXPECT_EQ(OLD, p[0]);
	EXPECT_EQ(OLD, q[0]);
	ASSERT_EQ(0, opened(self));
	EXPECT_EQ(0, stored(p));
	EXPECT_EQ(0, stored(q));
	close(before);
	close(after);
}

TEST_F(guard, ends_with_the_mapping)
{
	char *p;

	ASSERT_EQ(0, guard(self->region, 0, OBJECT));
	p = map_outside(self->object);
	ASSERT_EQ(0, closed(self));
	EXPECT_EQ(-EPERM, in_write(self->object, p));
	ASSERT_EQ(0, unmap(self->region, PAGE, OBJECT - PAGE));
	EXPECT_EQ(-EPERM, in_write(self->object, p));
	EXPECT_EQ(0, stored(p + PAGE));
	ASSERT_EQ(0, unmap(self->region, 0, PAGE));
	EXPECT_EQ(0, in_write(self->object, p));
	EXPECT_EQ(0, stored(p));
}

TEST_F(guard, ends_with_the_region)
{
	char *p;

	ASSERT_EQ(0, guard(self->region, 0, OBJECT));
	p = map_outside(self->object);
	ASSERT_EQ(0, closed(self));
	close(self->region);
	EXPECT_EQ(SEGV_ACCERR, stored(p));
	munmap(self->p, SLOT);
	EXPECT_TRUE(UNTIL(!in_write(self->object, p)));
	EXPECT_EQ(0, stored(p));
	self->region = -1;
}

/* Files on tmpfs and anonymous objects are shmem as memfds are */
TEST_F(guard, other_shmem)
{
	int file;

	ASSERT_EQ(0, create_anon(self->region, OBJECT, PAGE, RW));
	EXPECT_EQ(0, guard(self->region, OBJECT, PAGE));

	mkdir("/tmp/guard", 0700);
	ASSERT_EQ(0, mount("guard", "/tmp/guard", "tmpfs", 0, NULL));
	file = open("/tmp/guard/file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	ASSERT_EQ(0, ftruncate(file, PAGE));
	ASSERT_EQ(0, create_file(self->region, CHUNK, PAGE, PROT_READ, file, 0));
	EXPECT_EQ(1, pwrite(file, "x", 1, 0));
	EXPECT_EQ(0, guard(self->region, CHUNK, PAGE));
	EXPECT_EQ(-1, pwrite(file, "x", 1, 0));
	EXPECT_EQ(EPERM, errno);
	EXPECT_EQ(-1, truncate("/tmp/guard/file", 0));
	EXPECT_EQ(0, unlink("/tmp/guard/file"));
	close(file);
	ASSERT_EQ(0, unmap(self->region, CHUNK, PAGE));
	EXPECT_EQ(0, umount("/tmp/guard"));
	rmdir("/tmp/guard");
}

/* What nobody else maps costs a closing no entries, what others map theirs. */
TEST_F(guard, costs_who_maps_it)
{
	unsigned long entries;
	char *p;

	ASSERT_EQ(0, guard(self->region, 0, OBJECT));
	entries = region_stat(self->region).flip_entries;
	ASSERT_EQ(0, closed(self));
	EXPECT_EQ(1, region_stat(self->region).flip_entries - entries);
	ASSERT_EQ(0, opened(self));
	p = map_outside(self->object);
	for (int page = 0; page < 10; page++)
		p[page * PAGE] = NEW;
	entries = region_stat(self->region).flip_entries;
	ASSERT_EQ(0, closed(self));
	EXPECT_EQ(11, region_stat(self->region).flip_entries - entries);
}

/* Events and waits */

static bool no_event(int region)
{
	struct mshare_event event;

	return next_event(region, &event, 0) == -ETIMEDOUT;
}

TEST_F(guard, denials_are_events)
{
	struct mshare_event event;
	char *p;

	ASSERT_EQ(0, guard(self->region, 0, OBJECT));
	p = map_outside(self->object);
	ASSERT_EQ(0, closed(self));

	EXPECT_EQ(SEGV_ACCERR, stored(p + 3 * PAGE + 7));
	ASSERT_EQ(0, next_event(self->region, &event, 1000));
	EXPECT_EQ(3 * PAGE, event.region_offset);
	EXPECT_EQ(MSHARE_ACCESS_WRITE, event.access);
	EXPECT_EQ(MSHARE_EVENT_OUTSIDE, event.flags);
	EXPECT_EQ(getpid(), event.pid);
	EXPECT_TRUE(no_event(self->region));

	EXPECT_EQ(-1, pwrite(self->object, "x", 1, 5 * PAGE));
	ASSERT_EQ(0, next_event(self->region, &event, 1000));
	EXPECT_EQ(5 * PAGE, event.region_offset);
	EXPECT_EQ(MSHARE_EVENT_OUTSIDE | MSHARE_EVENT_KERNEL, event.flags);
	EXPECT_TRUE(no_event(self->region));

	EXPECT_EQ(-EPERM, in_ftruncate(self->object, p));
	ASSERT_EQ(0, next_event(self->region, &event, 1000));
	EXPECT_EQ(0, event.region_offset);
	EXPECT_TRUE(no_event(self->region));

	/* GUP raises none */
	EXPECT_EQ(-EFAULT, in_process_vm_writev(-1, p));
	EXPECT_TRUE(no_event(self->region));
}

/* Does one of the ways in a child, which exits with 0 if it got in. */
static pid_t start_way(FIXTURE_DATA(guard) *self, const struct way *way, char *p)
{
	pid_t pid = fork_on(-1);

	if (!pid)
		_exit(!!way->in(self->object, p));
	return pid;
}

/* Those that wait: what GUP is denied does not */
static bool way_waits(const struct way *way)
{
	return way->denied == -EPERM ||
		(way->denied == SEGV_ACCERR && way->in != in_child);
}

static long waits(FIXTURE_DATA(guard) *self)
{
	return region_stat(self->region).waits;
}

TEST_F(guard, waits_until_it_is_open)
{
	char *p;

	ASSERT_EQ(0, guard(self->region, 0, OBJECT));
	p = map_outside(self->object);
	for (int i = 0; i < ARRAY_SIZE(ways); i++) {
		struct mshare_event event;
		long before = waits(self);
		pid_t pid;

		if (!way_waits(&ways[i]))
			continue;
		ASSERT_EQ(0, opened(self));
		memset(self->p, OLD, OBJECT);
		ASSERT_EQ(0, closed(self));
		ASSERT_EQ(0, fault_mode(self->region, MSHARE_FAULT_WAIT, 0, 0));
		pid = start_way(self, &ways[i], p);
		EXPECT_TRUE(UNTIL(waits(self) > before))
			TH_LOG("%s", ways[i].name);
		EXPECT_TRUE(UNTIL(proc_state(pid) != 'R'))
			TH_LOG("%s", ways[i].name);
		EXPECT_EQ(OLD, self->p[0]);
		ASSERT_EQ(0, opened(self));
		EXPECT_EQ(0, child_status(pid))
			TH_LOG("%s", ways[i].name);
		EXPECT_NE(OLD, self->p[0])
			TH_LOG("%s", ways[i].name);

		ASSERT_EQ(0, next_event(self->region, &event, 1000));
		EXPECT_EQ(0, event.flags & MSHARE_EVENT_DONE);
		ASSERT_EQ(0, next_event(self->region, &event, 1000));
		EXPECT_EQ(MSHARE_EVENT_DONE | MSHARE_EVENT_OUTSIDE,
			  event.flags & ~MSHARE_EVENT_KERNEL)
			TH_LOG("%s", ways[i].name);
		EXPECT_LT(0, event.waited_ns);
		EXPECT_EQ(pid, event.pid);
		while (!next_event(self->region, &event, 0))
			;
	}
}

static void end_by_signal_mode(FIXTURE_DATA(guard) *self)
{
	fault_mode(self->region, MSHARE_FAULT_SIGNAL, 0, 0);
}

static void end_by_close(FIXTURE_DATA(guard) *self)
{
	close(self->region);
	self->region = -1;
}

static void end_by_nothing(FIXTURE_DATA(guard) *self)
{
}

/* A wait ends denied by the mode, the last close and the deadline. */
TEST(waits_end_denied)
{
	static void (*const ends[])(FIXTURE_DATA(guard) *) = {
		end_by_signal_mode, end_by_close, end_by_nothing,
	};
	static const struct way way[] = {
		{ "write", in_write, -EPERM }, { "store", in_store },
		{ "punch", in_punch }, { "truncate", in_ftruncate },
	};

	if (is_module())
		SKIP(return, "the module has no guards");
	for (int i = 0; i < ARRAY_SIZE(ends); i++) {
		bool deadline = ends[i] == end_by_nothing;

		for (int j = 0; j < ARRAY_SIZE(way); j++) {
			FIXTURE_DATA(guard) it;
			struct mshare_event event;
			pid_t pid;
			char *p;

			ASSERT_EQ(0, map_object(OBJECT, RW, &it.region,
						&it.object, &it.p));
			memset(it.p, OLD, OBJECT);
			ASSERT_EQ(0, guard(it.region, 0, OBJECT));
			p = map_outside(it.object);
			ASSERT_EQ(0, closed(&it));
			ASSERT_EQ(0, fault_mode(it.region, MSHARE_FAULT_WAIT, 0,
						deadline ? 200000000 : 0));
			pid = fork_on(-1);
			if (!pid) {
				close(it.region);
				_exit(!way[j].in(it.object, p));
			}
			EXPECT_TRUE(UNTIL(waits(&it) > 0));
			ends[i](&it);
			EXPECT_EQ(0, child_status(pid))
				TH_LOG("end %d, %s", i, way[j].name);
			EXPECT_EQ(OLD, it.p[0]);
			if (deadline) {
				EXPECT_EQ(0, next_event(it.region, &event, 0));
				EXPECT_EQ(0, next_event(it.region, &event, 0));
				EXPECT_TRUE(event.flags & MSHARE_EVENT_TIMEOUT);
				EXPECT_TRUE(no_event(it.region));
			}
			munmap(p, OBJECT);
			munmap(it.p, SLOT);
			close(it.region);
			close(it.object);
		}
	}
}

/* UNMAP and the region's end let in who waits. */
TEST_F(guard, waits_end_with_the_guard)
{
	char *p;
	pid_t writer, mapper;

	ASSERT_EQ(0, guard(self->region, 0, OBJECT));
	p = map_outside(self->object);
	ASSERT_EQ(0, closed(self));
	ASSERT_EQ(0, fault_mode(self->region, MSHARE_FAULT_WAIT, 0, 0));
	writer = start_way(self, &(struct way){ .in = in_write }, p);
	mapper = start_way(self, &(struct way){ .in = in_store }, p + PAGE);
	EXPECT_TRUE(UNTIL(waits(self) == 2));
	ASSERT_EQ(0, unmap(self->region, 0, OBJECT));
	EXPECT_EQ(0, child_status(writer));
	EXPECT_EQ(0, child_status(mapper));
}

/* Who waits is killed, or handles a signal and waits on; a write() restarts. */
static void ignore_signal(int sig)
{
}

TEST_F(guard, waits_are_interruptible)
{
	static const struct way way[] = {
		{ "write", in_write }, { "store", in_store },
		{ "punch", in_punch }, { "truncate", in_ftruncate },
	};
	char *p;

	ASSERT_EQ(0, guard(self->region, 0, OBJECT));
	p = map_outside(self->object);
	ASSERT_EQ(0, closed(self));
	ASSERT_EQ(0, fault_mode(self->region, MSHARE_FAULT_WAIT, 0, 0));
	for (int i = 0; i < ARRAY_SIZE(way); i++) {
		long before = waits(self);
		pid_t pid = start_way(self, &way[i], p);

		EXPECT_TRUE(UNTIL(waits(self) > before));
		kill(pid, SIGKILL);
		EXPECT_EQ(SIGKILL, child_status(pid))
			TH_LOG("%s", way[i].name);
	}
	for (int i = 0; i < ARRAY_SIZE(way); i++) {
		struct sigaction action = {
			.sa_handler = ignore_signal, .sa_flags = SA_RESTART,
		};
		long before = waits(self);
		pid_t pid;

		sigaction(SIGUSR1, &action, NULL);
		pid = start_way(self, &way[i], p);
		EXPECT_TRUE(UNTIL(waits(self) > before));
		for (int n = 0; n < 5; n++) {
			kill(pid, SIGUSR1);
			sleep_us(20000);
		}
		EXPECT_EQ(0, waitpid(pid, NULL, WNOHANG))
			TH_LOG("%s", way[i].name);
		ASSERT_EQ(0, opened(self));
		EXPECT_EQ(0, child_status(pid))
			TH_LOG("%s", way[i].name);
		ASSERT_EQ(0, closed(self));
	}
}

/*
 * System calls that touch the mapping wait only with MSHARE_WAIT_KERNEL, as
 * those that touch a window.
 */
TEST_F(guard, system_calls_into_a_mapping)
{
	char *p;
	pid_t pid;

	ASSERT_EQ(0, guard(self->region, 0, OBJECT));
	p = map_outside(self->object);
	ASSERT_EQ(0, closed(self));
	ASSERT_EQ(0, fault_mode(self->region, MSHARE_FAULT_WAIT, 0, 0));
	EXPECT_EQ(-EFAULT, in_read(-1, p));
	ASSERT_EQ(0, fault_mode(self->region, MSHARE_FAULT_WAIT,
				MSHARE_WAIT_KERNEL, 0));
	pid = start_way(self, &(struct way){ .in = in_read }, p);
	EXPECT_TRUE(UNTIL(waits(self) == 1));
	ASSERT_EQ(0, opened(self));
	EXPECT_EQ(0, child_status(pid));
	EXPECT_EQ(NEW, self->p[0]);
}

/*
 * Writers that change the pages all the time, each in its way, against flips.
 * What they have written when a closing has returned stays until it opens.
 */
#define COUNTERS	64	/* pages, each with a number at its start */

static int refusal;	/* errno that a system call may come to; 0: none */

static void write_loop(int object, char *p)
{
	for (unsigned long n = 1; ; n++)
		for (int page = 0; page < COUNTERS; page++)
			if (pwrite(object, &n, sizeof(n), page * PAGE) < 0 &&
			    errno != refusal)
				_exit(1);
}

static void store_loop(int object, char *p)
{
	static unsigned long n;

	for (;;) {
		int page = ++n % COUNTERS;

		touch_addr = p + page * PAGE + 8;
		if (!sigsetjmp(touch_env, 1))
			*(volatile unsigned long *)touch_addr = n;
		touch_addr = NULL;
	}
}

/* By the kernel's copy; what GUP has taken before a closing is its exception */
static void read_loop(int object, char *p)
{
	int from = memfd(PAGE);
	unsigned long n = 1;

	for (; ; n++) {
		pwrite(from, &n, sizeof(n), 0);
		for (int page = 0; page < COUNTERS; page++)
			pread(from, p + page * PAGE + 16, sizeof(n), 0);
	}
}

static void punch_loop(int object, char *p)
{
	for (;;)
		for (int page = 0; page < COUNTERS; page += 7)
			if (fallocate(object, FALLOC_FL_PUNCH_HOLE |
				      FALLOC_FL_KEEP_SIZE, page * PAGE, PAGE) &&
			    errno != refusal)
				_exit(1);
}

/* Returns closings after which something changed; *flips how many there were. */
static long race(FIXTURE_DATA(guard) *self, void (*const loops[])(int, char *),
		 int nr, unsigned int mode, long *flips, long *changes)
{
	static char seen[COUNTERS * PAGE], before[COUNTERS * PAGE];
	char *p = map_outside(self->object);
	double start = now();
	pid_t pids[8];
	long bad = 0;

	touch(p, PROT_READ);	/* sets the handler */
	fault_mode(self->region, mode, 0, 0);
	refusal = mode == MSHARE_FAULT_WAIT ? 0 : EPERM;
	for (int i = 0; i < nr; i++) {
		pids[i] = fork_on(-1);
		if (!pids[i])
			loops[i](self->object, p);
	}
	*flips = *changes = 0;
	while (!stress_over(start, stress_seconds(), *changes > 10)) {
		if (closed(self))
			break;
		memcpy(seen, self->p, sizeof(seen));
		*changes += !!memcmp(seen, before, sizeof(seen));
		sleep_us(*flips % 3 * 500);
		bad += !!memcmp(seen, self->p, sizeof(seen));
		if (opened(self))
			break;
		for (int page = 0; page < COUNTERS; page += 7)
			self->p[page * PAGE + 24] = NEW;	/* to be punched */
		memcpy(before, self->p, sizeof(before));
		sleep_us(*flips % 5 * 200);
		++*flips;
	}
	for (int i = 0; i < nr; i++) {
		kill(pids[i], SIGKILL);
		bad += child_status(pids[i]) != SIGKILL;
	}
	munmap(p, OBJECT);
	return bad;
}

static void (*const loops[])(int, char *) = {
	write_loop, store_loop, read_loop, punch_loop,
};

TEST_F(guard, nothing_changes_after_a_closing)
{
	long flips, changes;

	ASSERT_EQ(0, guard(self->region, 0, OBJECT));
	for (int i = 0; i < ARRAY_SIZE(loops); i++) {
		long bad = race(self, loops + i, 1, MSHARE_FAULT_SIGNAL, &flips,
				&changes);

		EXPECT_EQ(0, bad)
			TH_LOG("loop %d: %ld of %ld flips", i, bad, flips);
		EXPECT_LT(10, changes)
			TH_LOG("loop %d", i);
	}
	EXPECT_EQ(0, race(self, loops, ARRAY_SIZE(loops), MSHARE_FAULT_SIGNAL,
			  &flips, &changes));
	EXPECT_LT(10, changes);
}

TEST_F(guard, nothing_changes_while_writers_wait)
{
	long flips, changes;

	ASSERT_EQ(0, guard(self->region, 0, OBJECT));
	EXPECT_EQ(0, race(self, loops, ARRAY_SIZE(loops), MSHARE_FAULT_WAIT,
			  &flips, &changes));
	EXPECT_LT(10, changes);
}

/* The control: without what a closing does outside, mappings go on writing. */
TEST_F(guard, control_closing)
{
	long flips, changes;

	if (knob("skip_guard_close", true))
		SKIP(return, "no knobs: CONFIG_MSHARE_DEBUG is off");
	ASSERT_EQ(0, guard(self->region, 0, OBJECT));
	EXPECT_LT(0, race(self, loops + 1, 1, MSHARE_FAULT_SIGNAL, &flips,
			  &changes));
}

/* Guards that come and go while others write */
TEST_F(guard, comes_and_goes)
{
	double start = now();
	pid_t pids[2];
	long rounds = 0;
	bool enough = false;

	for (int i = 0; i < 2; i++) {
		pids[i] = fork_on(-1);
		if (!pids[i]) {
			if (i)
				for (;;)
					in_new_mapping(self->object, NULL);
			refusal = EPERM;
			write_loop(self->object, NULL);
		}
	}
	while (!stress_over(start, stress_seconds(), enough)) {
		int err = guard(self->region, 0, OBJECT);

		ASSERT_TRUE(!err || err == -EBUSY);
		ASSERT_EQ(0, closed(self));
		if (!err) {
			unsigned long seen = *(unsigned long *)self->p;

			sleep_us(300);
			EXPECT_EQ(seen, *(volatile unsigned long *)self->p);
			rounds++;
		}
		ASSERT_EQ(0, unmap(self->region, 0, OBJECT));
		ASSERT_EQ(0, create_file(self->region, 0, OBJECT, RW,
					 self->object, 0));
		enough = rounds > 10;
	}
	EXPECT_LT(10, rounds);
	for (int i = 0; i < 2; i++) {
		kill(pids[i], SIGKILL);
		EXPECT_EQ(SIGKILL, child_status(pids[i]));
	}
}

TEST_HARNESS_MAIN
