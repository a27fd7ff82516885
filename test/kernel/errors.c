// SPDX-License-Identifier: GPL-2.0
/*
 * Every error that is documented, call by call. The list of each test is what
 * the documentation of the call has: test/unit/test_errors.py compares the two.
 */
#include "mshare_test.h"
#include "mshare_mm.h"

#include <linux/fs.h>
#include <linux/mempolicy.h>
#include <sys/resource.h>

#ifndef PR_SET_MDWE
#define PR_SET_MDWE	65
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ	22
#define MADV_POPULATE_WRITE	23
#endif

#define NOBODY		65534
#define MAP_COUNT	"/proc/sys/vm/max_map_count"
#define MAX_FILES	"/proc/sys/fs/file-max"

/* One of the list: the call gets this error. */
#define EXPECT_ERROR(error, call) do {					\
	int _got = (call);						\
	EXPECT_EQ(-(error), _got)					\
		TH_LOG("%s: %s, not %s", #call,				\
		       _got < 0 ? strerror(-_got) : "done",		\
		       strerror(error));				\
} while (0)

/* One that cannot be provoked on this machine, or whose test is elsewhere. */
#define ELSEWHERE(error, why)	TH_LOG("%s: %s", #error, why)

static const unsigned int anon = MAP_SHARED | MAP_ANONYMOUS;

FIXTURE(errors)
{
	int region;
	int object;		/* a memfd, mapped at 0 */
	int reader;		/* the region's file, open for reading */
	char dir[32];		/* a small msharefs */
};

FIXTURE_SETUP(errors)
{
	char path[64];

	self->region = region(1);
	ASSERT_LE(0, self->region);
	self->object = memfd(4 * PAGE);
	ASSERT_EQ(0, create_file(self->region, 0, 4 * PAGE, RW, self->object, 0));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", self->region);
	self->reader = open(path, O_RDONLY);
	ASSERT_LE(0, self->reader);
	strcpy(self->dir, "/tmp/errorsXXXXXX");
	ASSERT_NE(NULL, mkdtemp(self->dir));
	ASSERT_EQ(0, mount("msharefs", self->dir, "msharefs", 0,
			   "size=4k,nr_regions=1"));
}

FIXTURE_TEARDOWN(errors)
{
	write_file(MAP_COUNT, "65530");
	umount2(self->dir, MNT_DETACH);
	rmdir(self->dir);
	close(self->reader);
	close(self->object);
	close(self->region);
}

static int size_by(int fd, unsigned long size)
{
	return result(ftruncate(fd, size));
}

static int window_of(int fd, size_t size, int prot, int flags)
{
	char *p = mmap(NULL, size, prot, flags, fd, 0);

	if (p == MAP_FAILED)
		return -errno;
	munmap(p, size);
	return 0;
}

/* The file behind a descriptor, opened once more */
static int reopen(int fd, int flags)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return result(open(path, flags));
}

/* In a child, as who has no rights */
#define AS_NOBODY(call) ({						\
	pid_t _pid = fork();						\
									\
	if (_pid == 0) {						\
		if (setgid(NOBODY) || setuid(NOBODY))			\
			_exit(255);					\
		_exit(-(call));						\
	}								\
	-WEXITSTATUS(child_status(_pid));				\
})

/* A file that can be swapped on, of 16 pages */
static int swap_file(char *path)
{
	static char page[PAGE];
	unsigned int *header = (unsigned int *)(page + 1024);
	int fd;

	strcpy(path, "/var/tmp/swapXXXXXX");
	fd = mkstemp(path);
	if (fd < 0)
		return -errno;
	header[0] = 1;			/* version, last page, bad pages */
	header[1] = 15;
	memcpy(page + PAGE - 10, "SWAPSPACE2", 10);
	for (int i = 0; i < 16; i++, memset(page, 0, PAGE))
		if (pwrite(fd, page, PAGE, i * PAGE) != PAGE)
			return -errno;
	fsync(fd);
	return fd;
}

TEST_F(errors, open)
{
	int fd = open(self->dir, O_TMPFILE | O_RDWR, 0600);

	ASSERT_LE(0, fd);
	EXPECT_ERROR(ENOSPC, result(open(self->dir, O_TMPFILE | O_RDWR, 0600)));
	close(fd);
}

TEST_F(errors, ftruncate)
{
	int fd = region_open();

	EXPECT_ERROR(EINVAL, size_by(fd, 0));
	EXPECT_ERROR(EINVAL, size_by(fd, SLOT + PAGE));
	EXPECT_ERROR(EINVAL, size_by(fd, 1UL << 62));
	EXPECT_ERROR(EBUSY, size_by(self->region, SLOT));
	ELSEWHERE(ENOMEM, "nomem.at_each_allocation");
	close(fd);
}

TEST_F(errors, fallocate)
{
	EXPECT_ERROR(EOPNOTSUPP, result(fallocate(self->region,
						  FALLOC_FL_KEEP_SIZE, 0, SLOT)));
}

TEST_F(errors, mmap)
{
	int unsized = region_open(), small;

	EXPECT_ERROR(EACCES, window_of(self->reader, SLOT, RW, MAP_SHARED));
	ELSEWHERE(EBUSY, "notifier.no_window_beside_a_notifier");
	EXPECT_ERROR(EINVAL, window_of(unsized, SLOT, RW, MAP_SHARED));
	EXPECT_ERROR(EINVAL, window_of(self->region, SLOT, RW, MAP_PRIVATE));
	EXPECT_ERROR(EINVAL, window_of(self->region, PAGE, RW, MAP_SHARED));
	EXPECT_ERROR(EINVAL, window_of(self->region, 2 * SLOT, RW, MAP_SHARED));
	ELSEWHERE(ENOMEM, "window.address_space_limit_counts_windows");

	small = open(self->dir, O_TMPFILE | O_RDWR, 0600);
	ASSERT_LE(0, small);
	ASSERT_EQ(0, size_by(small, SLOT));
	EXPECT_ERROR(ENOSPC, window_of(small, SLOT, RW, MAP_SHARED));
	close(small);

	ASSERT_EQ(0, write_file(MAX_FILES, "0"));
	EXPECT_ERROR(ENFILE, AS_NOBODY(window_of(self->region, SLOT, RW,
						 MAP_SHARED)));
	ASSERT_EQ(0, write_file(MAX_FILES, "9223372036854775807"));
	close(unsized);
}

TEST_F(errors, mshare_host_create)
{
	int fd, reader = reopen(self->object, O_RDONLY);
	int writer = reopen(self->object, O_WRONLY), pipes[2];
	char path[64], *own;
	pid_t pid;

	EXPECT_ERROR(EACCES, create_file(self->region, CHUNK, PAGE, PROT_READ, writer, 0));
	EXPECT_ERROR(EACCES, create_file(self->region, CHUNK, PAGE, RW, reader, 0));
	pid = fork();
	if (pid == 0) {
		if (prctl(PR_SET_MDWE, 1, 0, 0, 0))
			_exit(0);
		_exit(create_anon(self->region, CHUNK, PAGE, RWX) != -EACCES);
	}
	EXPECT_EQ(0, child_status(pid));
	strcpy(path, "/var/tmp/appendXXXXXX");
	fd = mkstemp(path);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, result(ftruncate(fd, PAGE)));
	if (!ioctl(fd, FS_IOC_SETFLAGS, &(long){ FS_APPEND_FL })) {
		EXPECT_ERROR(EACCES, create_file(self->region, CHUNK, PAGE, RW, fd, 0));
		ioctl(fd, FS_IOC_SETFLAGS, &(long){ 0 });
	}
	close(fd);
	unlink(path);

	EXPECT_ERROR(EBADF, create_anon(self->reader, CHUNK, PAGE, RW));
	EXPECT_ERROR(EBADF, create_file(self->region, CHUNK, PAGE, RW, 9999, 0));
	EXPECT_ERROR(EEXIST, create_anon(self->region, PAGE, PAGE, RW));
	EXPECT_ERROR(EFAULT, result(ioctl(self->region, MSHAREFS_CREATE_MAPPING, NULL)));
	ELSEWHERE(EINTR, "errors.killed");
	EXPECT_ERROR(EINVAL, create_flags(self->region, CHUNK, PAGE, 8, anon, -1, 0));
	EXPECT_ERROR(EINVAL, create_flags(self->region, CHUNK, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	EXPECT_ERROR(EINVAL, create_flags(self->region, CHUNK, PMD, RW, MAP_SHARED | MAP_HUGETLB, self->object, 0));
	EXPECT_ERROR(EINVAL, create_file(self->region, CHUNK, PAGE, RW, self->region, 0));

	own = mmap(NULL, 4 * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, own);
	EXPECT_ERROR(EFAULT, create_from(self->region, CHUNK, 4 * PAGE, RW, own + PAGE));
	ASSERT_EQ(0, mprotect(own, PAGE, PROT_READ));
	EXPECT_ERROR(EFAULT, create_from(self->region, CHUNK, 4 * PAGE, RW, own));
	EXPECT_ERROR(EFAULT, create_from(self->region, CHUNK, PAGE, RW, NULL));
	EXPECT_ERROR(EINVAL, create_from(self->region, CHUNK, PAGE, RW, own + 1));
	EXPECT_ERROR(EINVAL, create_flags(self->region, CHUNK, PAGE, RW, MAP_SHARED | MSHARE_FROM_MM, self->object, (unsigned long)own));
	EXPECT_ERROR(EINVAL, create_flags(self->region, CHUNK, PAGE, RW, anon | MSHARE_FROM_MM, -1, (unsigned long)own));
	munmap(own, 4 * PAGE);
	own = mmap(NULL, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	EXPECT_ERROR(EINVAL, create_from(self->region, CHUNK, PAGE, RW, own));
	munmap(own, PAGE);
	own = mmap(NULL, PAGE, RW, MAP_PRIVATE, self->object, 0);
	EXPECT_ERROR(EINVAL, create_from(self->region, CHUNK, PAGE, RW, own));
	munmap(own, PAGE);
	own = window(self->region, 1, RW);
	EXPECT_ERROR(EINVAL, create_from(self->region, CHUNK, PAGE, RW, own));
	munmap(own, SLOT);
	strcpy(path, "/var/tmp/fileXXXXXX");
	fd = mkstemp(path);
	ASSERT_EQ(0, result(ftruncate(fd, PAGE)));
	own = mmap(NULL, PAGE, RW, MAP_SHARED, fd, 0);
	EXPECT_ERROR(EINVAL, create_from(self->region, CHUNK, PAGE, RW, own));
	munmap(own, PAGE);
	close(fd);
	unlink(path);

	ASSERT_EQ(0, pipe(pipes));
	EXPECT_ERROR(ENODEV, create_file(self->region, CHUNK, PAGE, RW, pipes[1], 0));
	fd = open("/proc/self/status", O_RDONLY);
	EXPECT_ERROR(ENODEV, create_file(self->region, CHUNK, PAGE, PROT_READ, fd, 0));
	close(fd);
	ASSERT_EQ(0, write_file(MAP_COUNT, "1"));
	EXPECT_ERROR(ENOMEM, create_anon(self->region, CHUNK, PAGE, RW));
	ASSERT_EQ(0, write_file(MAP_COUNT, "65530"));
	EXPECT_ERROR(ENOMEM, create_flags(self->region, CHUNK, 64 * PMD, RW, anon | MAP_HUGETLB | MAP_HUGE_2MB, -1, 0));

	fd = open(self->dir, O_TMPFILE | O_RDWR, 0600);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, size_by(fd, SLOT));
	EXPECT_ERROR(ENOSPC, create_flags(fd, 0, MIB, RW, anon, -1, 0));
	close(fd);

	fd = syscall(SYS_memfd_secret, O_CLOEXEC);
	if (fd >= 0) {
		ASSERT_EQ(0, ftruncate(fd, PAGE));
		EXPECT_ERROR(EOPNOTSUPP, create_file(self->region, CHUNK, PAGE, RW, fd, 0));
		close(fd);
	} else {
		ELSEWHERE(EOPNOTSUPP, "there is no secretmem here");
	}
	EXPECT_ERROR(EOVERFLOW, create_file(self->region, CHUNK, 4 * PAGE, RW, self->object, (1UL << 63) - 2 * PAGE));
	fd = memfd(PAGE);
	ASSERT_EQ(0, fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
	EXPECT_ERROR(EPERM, create_file(self->region, CHUNK, PAGE, RW, fd, 0));
	close(fd);

	fd = swap_file(path);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, result(swapon(path, 0)));
	EXPECT_ERROR(ETXTBSY, create_file(self->region, CHUNK, PAGE, RW, fd, 0));
	EXPECT_EQ(0, swapoff(path));
	unlink(path);
	close(fd);
	close(reader);
	close(writer);
}

TEST_F(errors, mshare_ioctl_unmap)
{
	EXPECT_ERROR(EBADF, unmap(self->reader, 0, PAGE));
	EXPECT_ERROR(EFAULT, result(ioctl(self->region, MSHAREFS_UNMAP, NULL)));
	ELSEWHERE(EINTR, "errors.killed");
	EXPECT_ERROR(EINVAL, unmap(self->region, 0, 0));
	EXPECT_ERROR(EINVAL, unmap(self->region, 1, PAGE));
	EXPECT_ERROR(EINVAL, unmap(self->region, SLOT, PAGE));
	ASSERT_EQ(0, write_file(MAP_COUNT, "1"));
	EXPECT_ERROR(ENOMEM, unmap(self->region, PAGE, PAGE));
	EXPECT_EQ(4 * PAGE, region_stat(self->region).mapped_bytes);
}

TEST_F(errors, mshare_ioctl_protect)
{
	int reader = reopen(self->object, O_RDONLY);

	ASSERT_EQ(0, create_file(self->region, CHUNK, PAGE, PROT_READ, reader, 0));
	EXPECT_ERROR(EACCES, protect(self->region, CHUNK, PAGE, RW));
	EXPECT_ERROR(EBADF, protect(self->reader, 0, PAGE, PROT_READ));
	EXPECT_ERROR(EFAULT, result(ioctl(self->region, MSHAREFS_PROTECT, NULL)));
	ELSEWHERE(EINTR, "errors.killed");
	EXPECT_ERROR(EINVAL, protect(self->region, 0, PAGE, 8));
	EXPECT_ERROR(EINVAL, protect(self->region, 0, PAGE + 1, PROT_READ));
	EXPECT_ERROR(EINVAL, protect(self->region, SLOT, PAGE, PROT_READ));
	EXPECT_ERROR(ENOMEM, protect(self->region, 2 * CHUNK, PAGE, PROT_READ));
	ASSERT_EQ(0, write_file(MAP_COUNT, "1"));
	EXPECT_ERROR(ENOMEM, protect(self->region, PAGE, PAGE, PROT_READ));
	EXPECT_EQ(0, region_stat(self->region).flips);
	close(reader);
}

TEST_F(errors, mshare_ioctl_advise)
{
	struct mshare_advise flags = { .size = PAGE, .advice = MADV_COLD, .flags = 1 };
	char path[64];
	pid_t pid;
	int fd;

	EXPECT_ERROR(EBADF, advise(self->reader, 0, PAGE, MADV_COLD));
	EXPECT_ERROR(EFAULT, result(ioctl(self->region, MSHAREFS_ADVISE, NULL)));
	ASSERT_EQ(0, create_file(self->region, CHUNK, 8 * PAGE, RW, self->object, 0));
	EXPECT_ERROR(EFAULT, advise(self->region, CHUNK + 4 * PAGE, PAGE, MADV_POPULATE_READ));
	ELSEWHERE(EINTR, "errors.killed");
	EXPECT_ERROR(EINVAL, advise(self->region, 0, PAGE, 999));
	EXPECT_ERROR(EINVAL, advise(self->region, 0, 0, MADV_COLD));
	EXPECT_ERROR(EINVAL, result(ioctl(self->region, MSHAREFS_ADVISE, &flags)));
	EXPECT_ERROR(ENOMEM, advise(self->region, 4 * PAGE, PAGE, MADV_COLD));

	/* what PROTECT has closed, by the view and by its own mapping */
	ASSERT_EQ(0, protect(self->region, 0, 4 * PAGE, PROT_READ));
	EXPECT_ERROR(EACCES, advise(self->region, 0, PAGE, MADV_REMOVE));
	EXPECT_ERROR(EINVAL, advise(self->region, 0, PAGE, MADV_POPULATE_WRITE));
	ASSERT_EQ(0, protect(self->region, 0, 2 * PAGE, RW));
	EXPECT_ERROR(EACCES, advise(self->region, PAGE, 2 * PAGE, MADV_REMOVE));
	EXPECT_EQ(0, advise(self->region, 0, 2 * PAGE, MADV_REMOVE));
	ASSERT_EQ(0, protect(self->region, 0, 4 * PAGE, RW));

	ASSERT_EQ(0, write_file(MAP_COUNT, "1"));
	EXPECT_ERROR(EAGAIN, advise(self->region, PAGE, PAGE, MADV_HUGEPAGE));
	ASSERT_EQ(0, write_file(MAP_COUNT, "65530"));

	pid = fork();
	if (pid == 0) {		/* gets SIGBUS, if there is such advice */
		char *q = mmap(NULL, PAGE, RW, MAP_SHARED, self->object, 3 * PAGE);

		*q = 1;
		_exit(madvise(q, PAGE, MADV_HWPOISON) ? 1 : 0);
	}
	if (WEXITSTATUS(child_status(pid))) {
		ELSEWHERE(EHWPOISON, "memory failure cannot be injected here");
	} else {
		EXPECT_ERROR(EHWPOISON, advise(self->region, 3 * PAGE, PAGE, MADV_POPULATE_READ));
	}
	ELSEWHERE(EOPNOTSUPP, "no filesystem without holes is here");

	fd = memfd(PAGE);
	ASSERT_EQ(0, create_file(self->region, 2 * CHUNK, PAGE, RW, fd, 0));
	ASSERT_EQ(0, fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE));
	EXPECT_ERROR(EPERM, advise(self->region, 2 * CHUNK, PAGE, MADV_REMOVE));
	close(fd);

	fd = swap_file(path);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, create_file(self->region, 3 * CHUNK, PAGE, RW, fd, 0));
	ASSERT_EQ(0, result(swapon(path, 0)));
	EXPECT_ERROR(ETXTBSY, advise(self->region, 3 * CHUNK, PAGE, MADV_REMOVE));
	EXPECT_EQ(0, swapoff(path));
	unlink(path);
	close(fd);
}

TEST_F(errors, mshare_ioctl_stat)
{
	struct mshare_stat stat = { .size = MSHARE_STAT_SIZE_VER0 - 1 };

	EXPECT_ERROR(EFAULT, result(ioctl(self->region, MSHAREFS_STAT, NULL)));
	EXPECT_ERROR(EINVAL, result(ioctl(self->region, MSHAREFS_STAT, &stat)));
	stat.size = sizeof(stat);
	stat.flags = 1;
	EXPECT_ERROR(EINVAL, result(ioctl(self->region, MSHAREFS_STAT, &stat)));
}

TEST_F(errors, mshare_ioctl_fault_mode)
{
	EXPECT_ERROR(EBADF, fault_mode(self->reader, MSHARE_FAULT_WAIT, 0, 0));
	EXPECT_ERROR(EFAULT, result(ioctl(self->region, MSHAREFS_FAULT_MODE, NULL)));
	EXPECT_ERROR(EINVAL, fault_mode(self->region, 2, 0, 0));
	EXPECT_ERROR(EINVAL, fault_mode(self->region, MSHARE_FAULT_WAIT, 2, 0));
	EXPECT_ERROR(EPERM, AS_NOBODY(fault_mode(self->region, MSHARE_FAULT_WAIT,
						 MSHARE_WAIT_KERNEL, 0)));
}

TEST_F(errors, mshare_ioctl_guard)
{
	struct mshare_guard flags = { .size = PAGE, .flags = 1 };
	char *p;

	if (is_module()) {	/* has no guards, and leaves the object as it was */
		EXPECT_ERROR(EOPNOTSUPP, guard(self->region, 0, PAGE));
		EXPECT_EQ(0, protect(self->region, 0, PAGE, PROT_READ));
		EXPECT_EQ(1, pwrite(self->object, "x", 1, 0));
		return;
	}
	EXPECT_ERROR(EBADF, guard(self->reader, 0, PAGE));
	EXPECT_ERROR(EFAULT, result(ioctl(self->region, MSHAREFS_GUARD, NULL)));
	ELSEWHERE(EINTR, "errors.killed");
	EXPECT_ERROR(EINVAL, guard(self->region, 0, 0));
	EXPECT_ERROR(EINVAL, result(ioctl(self->region, MSHAREFS_GUARD, &flags)));
	EXPECT_ERROR(ENOMEM, guard(self->region, 4 * PAGE, PAGE));
	ELSEWHERE(EACCES, "guard.refuses_other_objects");
	ELSEWHERE(EOPNOTSUPP, "guard.refuses_other_objects");
	p = mmap(NULL, PAGE, RW, MAP_SHARED, self->object, 0);
	ASSERT_NE(MAP_FAILED, p);
	EXPECT_ERROR(EBUSY, guard(self->region, 0, PAGE));
	munmap(p, PAGE);
	EXPECT_EQ(0, guard(self->region, 0, PAGE));
}

static void on_alarm(int sig)
{
}

TEST_F(errors, mshare_event_read)
{
	struct sigaction action = { .sa_handler = on_alarm };
	struct mshare_event event;
	int writer = reopen(self->region, O_WRONLY);
	char *p = window(self->region, 1, RW);

	EXPECT_ERROR(EACCES, result(read(self->reader, &event, sizeof(event))));
	EXPECT_ERROR(EBADF, result(read(writer, &event, sizeof(event))));
	EXPECT_ERROR(EINVAL, result(read(self->region, &event, sizeof(event) - 1)));
	sigaction(SIGALRM, &action, NULL);
	alarm(1);
	EXPECT_ERROR(EINTR, result(read(self->region, &event, sizeof(event))));
	ASSERT_EQ(0, protect(self->region, 0, PAGE, PROT_READ));
	EXPECT_EQ(SEGV_ACCERR, touch(p, PROT_WRITE));
	EXPECT_ERROR(EFAULT, result(read(self->region, (void *)PAGE, sizeof(event))));
	fcntl(self->region, F_SETFL, O_NONBLOCK);
	EXPECT_ERROR(EAGAIN, result(read(self->region, &event, sizeof(event))));
	close(writer);
}

static int bind_to_node_0(char *p, size_t size)
{
	return result(syscall(SYS_mbind, p, size, MPOL_BIND, &(unsigned long){ 1 },
			      64UL, 0U));
}

TEST_F(errors, mshare_set_policy)
{
	char *p = window(self->region, 1, RW), path[32];
	int file;

	ASSERT_NE(MAP_FAILED, p);
	ASSERT_EQ(0, bind_to_node_0(p, PAGE));
	EXPECT_ERROR(EFAULT, bind_to_node_0(p + CHUNK, PAGE));
	ELSEWHERE(EINTR, "errors.killed");
	ELSEWHERE(EINVAL, "nodes.part_of_a_huge_page");
	/* A file has no policy of its own: that of a part is of a VMA of its own */
	strcpy(path, "/var/tmp/policyXXXXXX");
	file = mkstemp(path);
	ASSERT_LE(0, file);
	unlink(path);
	ASSERT_EQ(0, size_by(file, 2 * PAGE));
	ASSERT_EQ(0, create_file(self->region, CHUNK, 2 * PAGE, RW, file, 0));
	ASSERT_EQ(0, write_file(MAP_COUNT, "1"));
	EXPECT_ERROR(ENOMEM, bind_to_node_0(p + CHUNK, PAGE));
	ASSERT_EQ(0, write_file(MAP_COUNT, "65530"));
	EXPECT_EQ(0, bind_to_node_0(p + CHUNK, PAGE));
	close(file);
	munmap(p, SLOT);
}

/* Is who makes a call killed while it waits for another's? */
static bool killed_waiting(int region, int call)
{
	pid_t flipper, caller;
	bool killed, waiting;

	flipper = fork_on(-1);
	if (flipper == 0)
		_exit(-protect(region, PAGE, PAGE, PROT_READ));
	sleep_us(300000);
	caller = fork_on(-1);
	if (caller == 0) {
		switch (call) {
		case 0:
			create_anon(region, CHUNK, PAGE, RW);
			break;
		case 1:
			unmap(region, 2 * CHUNK, PAGE);
			break;
		case 2:
			protect(region, 0, PAGE, PROT_READ);
			break;
		case 3:
			advise(region, 0, PAGE, MADV_NOHUGEPAGE);
			break;
		case 4:
			bind_to_node_0(window(region, 1, RW), PAGE);
			break;
		case 5:
			guard(region, 0, PAGE);
			break;
		}
		_exit(0);
	}
	sleep_us(100000);
	kill(caller, SIGKILL);
	killed = child_status(caller) == SIGKILL;
	waiting = waitpid(flipper, NULL, WNOHANG) == 0;
	if (waiting)
		child_status(flipper);
	return killed && waiting;
}

/*
 * EINTR is what a call has for who is killed while it waits for another. Who
 * gets it tells nobody, but is gone before the other is done. On a busy host
 * the three may miss each other, so it is tried again.
 */
TEST_F(errors, killed)
{
	char *p = window(self->region, 1, RW);

	if (access(KNOBS "flip_delay_us", W_OK))
		SKIP(return, "no debugfs, or no CONFIG_MSHARE_DEBUG");
	ASSERT_NE(MAP_FAILED, p);
	memset(p, RET, 4 * PAGE);
	for (int call = 0; call < (is_module() ? 5 : 6); call++) {
		bool killed = false;

		for (int i = 0; !killed && i < 5; i++) {
			ASSERT_EQ(0, write_file(KNOBS "flip_delay_us", "1000000"));
			killed = killed_waiting(self->region, call);
			ASSERT_EQ(0, write_file(KNOBS "flip_delay_us", "0"));
			ASSERT_EQ(0, protect(self->region, 0, 4 * PAGE, RW));
		}
		EXPECT_TRUE(killed)
			TH_LOG("call %d: does not wait, or cannot be killed", call);
	}
}

TEST_HARNESS_MAIN
