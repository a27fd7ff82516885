// SPDX-License-Identifier: GPL-2.0
/*
 * The interface of msharefs: files, calls, limits, and every error that is
 * documented for them.
 */
#include "mshare_test.h"

#include <dirent.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>

#define NOBODY	65534

static const unsigned int anon = MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE;

FIXTURE(interface)
{
	int region;
	char path[64];
};

FIXTURE_SETUP(interface)
{
	snprintf(self->path, sizeof(self->path), "%s/interface-%d",
		 mshare_dir(), getpid());
	self->region = region(1);
	ASSERT_LE(0, self->region)
		TH_LOG("no region in %s", mshare_dir());
}

FIXTURE_TEARDOWN(interface)
{
	close(self->region);
	unlink(self->path);
}

/* Runs the rest as a user without capabilities. */
static void become_nobody(void)
{
	if (setgid(NOBODY) || setuid(NOBODY))
		_exit(KSFT_FAIL);
}

TEST_F(interface, info_tells_the_granule)
{
	char path[64], text[128] = "";
	int fd;

	snprintf(path, sizeof(path), "%s/mshare_info", mshare_dir());
	fd = open(path, O_RDONLY);
	ASSERT_LE(0, fd);
	ASSERT_LT(0, read(fd, text, sizeof(text) - 1));
	EXPECT_EQ(SLOT, strtoul(text, NULL, 10));
	EXPECT_EQ('\n', text[strlen(text) - 1]);
	close(fd);

	fd = open(path, O_RDWR);
	if (fd >= 0) {			/* root may open what nobody may write */
		EXPECT_EQ(-1, write(fd, "1", 1));
	}
	EXPECT_EQ(-1, unlink(path));
	become_nobody();
	EXPECT_EQ(-1, open(path, O_RDWR));
	EXPECT_EQ(EACCES, errno);
}

TEST_F(interface, named_region_lives_after_unlink)
{
	struct stat st;
	char *p;
	int fd;

	fd = open(self->path, O_CREAT | O_RDWR | O_EXCL, 0600);
	ASSERT_LE(0, fd);
	EXPECT_EQ(-1, open(self->path, O_CREAT | O_RDWR | O_EXCL, 0600));
	EXPECT_EQ(EEXIST, errno);
	ASSERT_EQ(0, ftruncate(fd, SLOT));
	ASSERT_EQ(0, create_anon(fd, 0, PAGE, RW));
	p = window(fd, 1, RW);
	ASSERT_NE(MAP_FAILED, p);

	ASSERT_EQ(0, unlink(self->path));
	EXPECT_EQ(-1, open(self->path, O_RDWR));
	EXPECT_EQ(ENOENT, errno);
	ASSERT_EQ(0, fstat(fd, &st));
	EXPECT_EQ(0, st.st_nlink);
	EXPECT_EQ(0, touch(p, PROT_WRITE));
	close(fd);
	EXPECT_EQ(RET, *p);		/* the window alone keeps it */
	EXPECT_EQ(RW, rights(p));
}

TEST_F(interface, unnamed_region_has_no_name)
{
	struct stat st;

	ASSERT_EQ(0, fstat(self->region, &st));
	EXPECT_EQ(0, st.st_nlink);
	EXPECT_TRUE(S_ISREG(st.st_mode));
	EXPECT_EQ(0600, st.st_mode & 0777);
}

TEST_F(interface, size_is_set_once)
{
	static const off_t bad[] = {
		0, 1, PAGE, CHUNK, SLOT - PAGE, SLOT + PAGE, SLOT + CHUNK,
		1L << 47, 1L << 55, 1L << 62, -PAGE, -SLOT,
	};
	struct stat st;
	int fd = region_open();

	ASSERT_LE(0, fd);
	for (int i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(-1, ftruncate(fd, bad[i]))
			TH_LOG("size %#lx was taken", bad[i]);
		EXPECT_EQ(EINVAL, errno)
			TH_LOG("size %#lx: %m", bad[i]);
	}
	ASSERT_EQ(0, fstat(fd, &st));
	EXPECT_EQ(0, st.st_size);

	ASSERT_EQ(0, ftruncate(fd, 3 * SLOT));
	ASSERT_EQ(0, fstat(fd, &st));
	EXPECT_EQ(3 * SLOT, st.st_size);
	EXPECT_EQ(-1, ftruncate(fd, 3 * SLOT));
	EXPECT_EQ(EBUSY, errno);
	EXPECT_EQ(-1, ftruncate(fd, SLOT));
	EXPECT_EQ(EBUSY, errno);
	ASSERT_EQ(0, fstat(fd, &st));
	EXPECT_EQ(3 * SLOT, st.st_size);
	close(fd);
}

TEST_F(interface, open_with_truncation_keeps_the_size)
{
	struct stat st;
	int fd = open(self->path, O_CREAT | O_RDWR | O_EXCL, 0600);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, SLOT));
	ASSERT_EQ(0, create_anon(fd, 0, PAGE, RW));
	open(self->path, O_RDWR | O_TRUNC);
	truncate(self->path, 0);
	ASSERT_EQ(0, fstat(fd, &st));
	EXPECT_EQ(SLOT, st.st_size);
	EXPECT_EQ(PAGE, region_stat(fd).mapped_bytes);
	close(fd);
}

TEST_F(interface, is_not_readable_as_a_file)
{
	char bytes[39] = "";		/* one less than an event */
	int pipes[2];

	ASSERT_EQ(0, create_anon(self->region, 0, PAGE, RW));
	EXPECT_EQ(-1, read(self->region, bytes, sizeof(bytes)));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, pread(self->region, bytes, sizeof(bytes), 0));
	EXPECT_EQ(-1, write(self->region, bytes, sizeof(bytes)));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, pwrite(self->region, bytes, sizeof(bytes), 0));
	ASSERT_EQ(0, pipe(pipes));
	EXPECT_EQ(-1, splice(self->region, NULL, pipes[1], NULL, 1, 0));
}

/* As programs of v3 do it */
TEST_F(interface, fallocate_sets_the_size)
{
	static const struct { int mode; off_t offset, length; int err; } cases[] = {
		{ FALLOC_FL_KEEP_SIZE, 0, SLOT, -EOPNOTSUPP },
		{ FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, SLOT, -EOPNOTSUPP },
		{ FALLOC_FL_ZERO_RANGE, 0, SLOT, -EOPNOTSUPP },
		{ 0, PAGE, SLOT - PAGE, -EOPNOTSUPP },
		{ 0, SLOT, SLOT, -EOPNOTSUPP },
		{ 0, 0, PAGE, -EINVAL },
		{ 0, 0, SLOT + PAGE, -EINVAL },
		{ 0, 0, 1L << 62, -EINVAL },
		{ 0, 0, 2 * SLOT, 0 },
		{ 0, 0, 2 * SLOT, -EBUSY },
		{ FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE, -EOPNOTSUPP },
	};
	struct stat st;
	int fd = region_open(), reader;

	ASSERT_LE(0, fd);
	for (int i = 0; i < ARRAY_SIZE(cases); i++) {
		EXPECT_EQ(cases[i].err, result(fallocate(fd, cases[i].mode,
							 cases[i].offset,
							 cases[i].length)))
			TH_LOG("case %d", i);
	}
	ASSERT_EQ(0, fstat(fd, &st));
	EXPECT_EQ(2 * SLOT, st.st_size);
	EXPECT_EQ(0, create_anon(fd, SLOT, PAGE, RW));
	EXPECT_EQ(-EBUSY, result(ftruncate(fd, SLOT)));
	snprintf(self->path, sizeof(self->path), "/proc/self/fd/%d", fd);
	reader = open(self->path, O_RDONLY);
	EXPECT_EQ(-EBADF, result(fallocate(reader, 0, 0, SLOT)));
	close(reader);
	close(fd);
}

/* No file grows by it: it is address space that is counted. */
TEST_F(interface, file_size_limit_does_not_count)
{
	struct rlimit limit = { MIB, MIB };
	int fd = region_open(), other = region_open();

	ASSERT_LE(0, other);
	ASSERT_EQ(0, setrlimit(RLIMIT_FSIZE, &limit));
	EXPECT_EQ(0, result(ftruncate(fd, SLOT)));
	EXPECT_EQ(0, result(fallocate(other, 0, 0, SLOT)));
	close(other);
	close(fd);
}

TEST_F(interface, permissions_decide_who_opens)
{
	int fd = open(self->path, O_CREAT | O_RDWR | O_EXCL, 0600);
	pid_t pid;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, SLOT));
	pid = fork();
	if (pid == 0) {
		become_nobody();
		EXPECT_EQ(-1, open(self->path, O_RDONLY));
		EXPECT_EQ(EACCES, errno);
		_exit(0);
	}
	EXPECT_EQ(0, child_status(pid));

	ASSERT_EQ(0, fchmod(fd, 0644));
	pid = fork();
	if (pid == 0) {
		become_nobody();
		EXPECT_LE(0, open(self->path, O_RDONLY));
		EXPECT_EQ(-1, open(self->path, O_RDWR));
		EXPECT_EQ(EACCES, errno);
		_exit(0);
	}
	EXPECT_EQ(0, child_status(pid));
	close(fd);
}

/* Neither by what /proc shows of who has it open, nor through its memory. */
TEST_F(interface, another_user_has_no_way_in)
{
	int fd = open(self->path, O_CREAT | O_RDWR | O_EXCL, 0644), reader;
	char via_proc[64], reopened[64], word[8];
	pid_t owner = getpid(), pid;
	char *p;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, SLOT));
	ASSERT_EQ(0, create_anon(fd, 0, PAGE, RW));
	p = window(fd, 1, RW);
	ASSERT_NE(MAP_FAILED, p);
	reader = open(self->path, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, reader);
	ASSERT_EQ(0, fchmod(fd, 0600));
	snprintf(via_proc, sizeof(via_proc), "/proc/%d/fd/%d", owner, fd);
	snprintf(reopened, sizeof(reopened), "/proc/self/fd/%d", reader);
	pid = fork();
	if (pid == 0) {
		struct iovec local = { word, sizeof(word) };
		struct iovec remote = { p, sizeof(word) };

		munmap(p, SLOT);
		become_nobody();
		EXPECT_EQ(-EACCES, result(open(self->path, O_RDONLY)));
		EXPECT_EQ(-EACCES, result(open(via_proc, O_RDWR)));
		EXPECT_EQ(-EACCES, result(open(reopened, O_RDWR)));
		EXPECT_EQ(-EPERM, result(process_vm_readv(owner, &local, 1,
							  &remote, 1, 0)));
		EXPECT_EQ(-EPERM, result(process_vm_writev(owner, &local, 1,
							   &remote, 1, 0)));
		/* a descriptor that was handed over is what it is */
		EXPECT_EQ(-EBADF, protect(reader, 0, PAGE, PROT_NONE));
		EXPECT_EQ(MAP_FAILED, window(reader, 1, RW));
		EXPECT_NE(MAP_FAILED, window(reader, 1, PROT_READ));
		EXPECT_EQ(-EPERM, result(fchmod(reader, 0666)));
		_exit(0);
	}
	EXPECT_EQ(0, child_status(pid));
	EXPECT_EQ(RW, rights(p));
	close(reader);
	close(fd);
}

TEST_F(interface, reader_may_only_look)
{
	struct mshare_advise advise = { .size = PAGE, .advice = MADV_COLD };
	struct mshare_guard guard = { .size = PAGE };
	int fd, reader, err;
	char *p;

	fd = open(self->path, O_CREAT | O_RDWR | O_EXCL, 0600);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, SLOT));
	ASSERT_EQ(0, create_anon(fd, 0, PAGE, RW));
	reader = open(self->path, O_RDONLY);
	ASSERT_LE(0, reader);

	EXPECT_EQ(-EBADF, create_anon(reader, PAGE, PAGE, PROT_READ));
	EXPECT_EQ(-EBADF, protect(reader, 0, PAGE, PROT_READ));
	EXPECT_EQ(-EBADF, unmap(reader, 0, PAGE));
	err = result(ioctl(reader, MSHAREFS_ADVISE, &advise));
	EXPECT_TRUE(err == -EBADF || err == -EOPNOTSUPP);
	EXPECT_EQ(-EBADF, fault_mode(reader, MSHARE_FAULT_SIGNAL, 0, 0));
	EXPECT_EQ(-EBADF, result(ioctl(reader, MSHAREFS_GUARD, &guard)));
	EXPECT_EQ(PAGE, region_stat(reader).mapped_bytes);
	EXPECT_EQ(-1, ftruncate(reader, SLOT));

	EXPECT_EQ(MAP_FAILED, window(reader, 1, RW));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(MAP_FAILED, window(reader, 1, PROT_WRITE));
	EXPECT_EQ(EACCES, errno);
	p = window(reader, 1, PROT_READ);
	ASSERT_NE(MAP_FAILED, p);
	EXPECT_EQ(PROT_READ, rights(p));
	EXPECT_EQ(-1, mprotect(p, SLOT, RW));
	EXPECT_EQ(PROT_READ, rights(p));
	close(reader);
	close(fd);
}

TEST_F(interface, bad_pointers_fault)
{
	static const unsigned long calls[] = {
		MSHAREFS_CREATE_MAPPING, MSHAREFS_UNMAP, MSHAREFS_PROTECT,
		MSHAREFS_ADVISE, MSHAREFS_STAT, MSHAREFS_FAULT_MODE,
		MSHAREFS_GUARD,
	};
	void *half = mmap(NULL, 2 * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	void *bad[] = { NULL, (void *)-PAGE, (void *)0xffff888000000000UL,
			(void *)0x8000000000000000UL, half + PAGE - 4 };

	ASSERT_EQ(0, munmap(half + PAGE, PAGE));
	for (int i = 0; i < ARRAY_SIZE(calls); i++)
		for (int j = 0; j < ARRAY_SIZE(bad); j++) {
			int err;

			if (j == ARRAY_SIZE(bad) - 1)
				/* a STAT of this size would be well-formed */
				*(__u32 *)bad[j] = sizeof(struct mshare_stat);
			err = result(ioctl(self->region, calls[i], bad[j]));
			EXPECT_TRUE(err == -EFAULT || err == -EOPNOTSUPP)
				TH_LOG("call %#lx with %p: %d", calls[i],
				       bad[j], err);
		}
}

TEST_F(interface, unknown_call)
{
	struct mshare_protect p = { .size = PAGE };

	EXPECT_EQ(-1, ioctl(self->region, _IOW('x', 200, p), &p));
	EXPECT_EQ(ENOTTY, errno);
	EXPECT_EQ(-1, ioctl(self->region, _IOW('y', 16, p), &p));
	EXPECT_EQ(ENOTTY, errno);
}

TEST_F(interface, create_needs_a_size_first)
{
	int fd = region_open();

	ASSERT_LE(0, fd);
	EXPECT_EQ(-EINVAL, create_anon(fd, 0, PAGE, RW));
	EXPECT_EQ(-EINVAL, protect(fd, 0, PAGE, RW));
	EXPECT_EQ(-EINVAL, unmap(fd, 0, PAGE));
	close(fd);
}

TEST_F(interface, create_refuses)
{
	int object = memfd(4 * PAGE);
	const struct {
		__u64 at, size, offset;
		unsigned int prot, flags;
		int fd, err;
	} cases[] = {
		/* ranges */
		{ 0, 0, 0, RW, anon, -1, -EINVAL },
		{ 1, PAGE, 0, RW, anon, -1, -EINVAL },
		{ 0, PAGE + 1, 0, RW, anon, -1, -EINVAL },
		{ 0, 1, 0, RW, anon, -1, -EINVAL },
		{ SLOT, PAGE, 0, RW, anon, -1, -EINVAL },
		{ SLOT - PAGE, 2 * PAGE, 0, RW, anon, -1, -EINVAL },
		{ 0, SLOT + PAGE, 0, RW, anon, -1, -EINVAL },
		{ -PAGE, PAGE, 0, RW, anon, -1, -EINVAL },
		{ -PAGE, 2 * PAGE, 0, RW, anon, -1, -EINVAL },
		{ PAGE, -PAGE, 0, RW, anon, -1, -EINVAL },
		{ PAGE, -(__u64)1, 0, RW, anon, -1, -EINVAL },
		{ 1UL << 63, 1UL << 63, 0, RW, anon, -1, -EINVAL },
		/* offsets in the object */
		{ 0, PAGE, 1, RW, MAP_SHARED, object, -EINVAL },
		{ 0, PAGE, PAGE - 1, RW, MAP_SHARED, object, -EINVAL },
		/* protection */
		{ 0, PAGE, 0, 8, anon, -1, -EINVAL },
		{ 0, PAGE, 0, RW | PROT_GROWSDOWN, anon, -1, -EINVAL },
		{ 0, PAGE, 0, RW | PROT_GROWSUP, anon, -1, -EINVAL },
		{ 0, PAGE, 0, RW | 1U << 31, anon, -1, -EINVAL },
		/* flags */
		{ 0, PAGE, 0, RW, 0, -1, -EINVAL },
		{ 0, PAGE, 0, RW, MAP_ANONYMOUS, -1, -EINVAL },
		{ 0, PAGE, 0, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, -EINVAL },
		{ 0, PAGE, 0, RW, MAP_PRIVATE, object, -EINVAL },
		{ 0, PAGE, 0, RW, anon | MAP_GROWSDOWN, -1, -EINVAL },
		{ 0, PAGE, 0, RW, anon | MAP_LOCKED, -1, -EINVAL },
		{ 0, PAGE, 0, RW, anon | MAP_STACK, -1, -EINVAL },
		{ 0, PAGE, 0, RW, anon | MAP_NONBLOCK, -1, -EINVAL },
		{ 0, PAGE, 0, RW, anon | MAP_DENYWRITE, -1, -EINVAL },
		{ 0, PAGE, 0, RW, anon | MAP_SYNC, -1, -EINVAL },
		{ 0, PAGE, 0, RW, anon | MAP_32BIT, -1, -EINVAL },
		{ 0, PAGE, 0, RW, anon | 1U << 30, -1, -EINVAL },
		{ 0, CHUNK, 0, RW, anon | MAP_HUGETLB | 30U << 26, -1, -EINVAL },
		/* file descriptors */
		{ 0, PAGE, 0, RW, anon, object, -EINVAL },
		{ 0, PAGE, 0, RW, MAP_SHARED, -1, -EBADF },
		{ 0, PAGE, 0, RW, MAP_SHARED, 9999, -EBADF },
	};

	ASSERT_LE(0, object);
	for (int i = 0; i < ARRAY_SIZE(cases); i++) {
		int err = create_flags(self->region, cases[i].at, cases[i].size,
				       cases[i].prot, cases[i].flags,
				       cases[i].fd, cases[i].offset);

		if (err == -EOPNOTSUPP && cases[i].flags & MAP_HUGETLB)
			continue;
		EXPECT_EQ(cases[i].err, err)
			TH_LOG("case %d: at %#llx size %#llx prot %#x flags %#x",
			       i, cases[i].at, cases[i].size, cases[i].prot,
			       cases[i].flags);
	}
	EXPECT_EQ(0, region_stat(self->region).mapped_bytes);
}

TEST_F(interface, create_checks_offsets_for_overflow)
{
	static const __u64 offsets[] = { -PAGE, 1UL << 63, (1UL << 63) - PAGE };
	int object = memfd(4 * PAGE);

	for (int i = 0; i < ARRAY_SIZE(offsets); i++) {
		int err = create_file(self->region, 0, 4 * PAGE, RW, object,
				      offsets[i]);

		EXPECT_TRUE(err == -EINVAL || err == -EOVERFLOW)
			TH_LOG("offset %#llx: %d", offsets[i], err);
	}
	EXPECT_EQ(0, region_stat(self->region).mapped_bytes);
}

TEST_F(interface, create_accepts)
{
	static const unsigned int flags[] = {
		MAP_SHARED | MAP_ANONYMOUS,
		MAP_SHARED_VALIDATE | MAP_ANONYMOUS,
		MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED,
		MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
		MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE,
		MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE,
	};
	__u64 at = 0;

	for (int i = 0; i < ARRAY_SIZE(flags); i++, at += PAGE) {
		EXPECT_EQ(0, create_flags(self->region, at, PAGE, RW, flags[i],
					  -1, 0))
			TH_LOG("flags %#x", flags[i]);
		EXPECT_EQ(at + PAGE, region_stat(self->region).mapped_bytes);
	}
	/* the offset of an anonymous object means nothing */
	EXPECT_EQ(0, create_flags(self->region, at, PAGE, RW, flags[0], -1, 7));
	EXPECT_EQ(0, create_anon(self->region, SLOT - PAGE, PAGE, RW));
}

TEST_F(interface, overlap_is_refused)
{
	static const struct { __u64 at, size; } over[] = {
		{ 4, 4 }, { 3, 2 }, { 7, 2 }, { 5, 1 }, { 0, 16 },
	};

	ASSERT_EQ(0, create_anon(self->region, 4 * PAGE, 4 * PAGE, RW));
	for (int i = 0; i < ARRAY_SIZE(over); i++) {
		EXPECT_EQ(-EEXIST, create_anon(self->region, over[i].at * PAGE,
					       over[i].size * PAGE, RW));
		EXPECT_EQ(-EEXIST, create_flags(self->region, over[i].at * PAGE,
						over[i].size * PAGE, RW,
						anon | MAP_FIXED, -1, 0));
	}
	EXPECT_EQ(4 * PAGE, region_stat(self->region).mapped_bytes);
	EXPECT_EQ(0, create_anon(self->region, 3 * PAGE, PAGE, RW));
	EXPECT_EQ(0, create_anon(self->region, 8 * PAGE, PAGE, RW));
}

TEST_F(interface, object_limits_hold)
{
	int object = memfd(4 * PAGE), reader, writer, sealed;
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", object);
	reader = open(path, O_RDONLY);
	writer = open(path, O_WRONLY);
	ASSERT_LE(0, reader);
	ASSERT_LE(0, writer);
	EXPECT_EQ(-EACCES, create_file(self->region, 0, PAGE, RW, reader, 0));
	EXPECT_EQ(-EACCES, create_file(self->region, 0, PAGE, PROT_READ, writer, 0));
	EXPECT_EQ(0, create_file(self->region, 0, PAGE, PROT_READ, reader, 0));
	EXPECT_EQ(-EACCES, protect(self->region, 0, PAGE, RW));

	sealed = memfd(4 * PAGE);
	ASSERT_EQ(0, fcntl(sealed, F_ADD_SEALS, F_SEAL_WRITE));
	EXPECT_EQ(-EPERM, create_file(self->region, PAGE, PAGE, RW, sealed, 0));
	EXPECT_EQ(0, create_file(self->region, PAGE, PAGE, PROT_READ, sealed, 0));
	EXPECT_EQ(-EACCES, protect(self->region, PAGE, PAGE, RW));

	sealed = memfd(4 * PAGE);
	ASSERT_EQ(0, fcntl(sealed, F_ADD_SEALS, F_SEAL_FUTURE_WRITE));
	EXPECT_EQ(-EPERM, create_file(self->region, 2 * PAGE, PAGE, RW, sealed, 0));
	EXPECT_EQ(0, create_file(self->region, 2 * PAGE, PAGE, PROT_READ, sealed, 0));
	EXPECT_EQ(-EACCES, protect(self->region, 2 * PAGE, PAGE, RW));

	/* what is mapped writable, though closed now, keeps the seal away */
	EXPECT_EQ(0, create_file(self->region, 3 * PAGE, PAGE, PROT_READ, object, 0));
	EXPECT_EQ(-1, fcntl(object, F_ADD_SEALS, F_SEAL_WRITE));
	EXPECT_EQ(EBUSY, errno);
	EXPECT_EQ(0, protect(self->region, 3 * PAGE, PAGE, RW));
	ASSERT_EQ(0, unmap(self->region, 3 * PAGE, PAGE));
	EXPECT_EQ(0, fcntl(object, F_ADD_SEALS, F_SEAL_WRITE));
}

TEST_F(interface, noexec_holds)
{
	char dir[] = "/tmp/noexecXXXXXX";
	int object;

	ASSERT_NE(NULL, mkdtemp(dir));
	ASSERT_EQ(0, mount("tmpfs", dir, "tmpfs", MS_NOEXEC, NULL));
	object = open(dir, O_TMPFILE | O_RDWR, 0600);
	ASSERT_LE(0, object);
	ASSERT_EQ(0, ftruncate(object, PAGE));
	EXPECT_EQ(-EPERM, create_file(self->region, 0, PAGE, RX, object, 0));
	EXPECT_EQ(0, create_file(self->region, 0, PAGE, RW, object, 0));
	EXPECT_EQ(-EACCES, protect(self->region, 0, PAGE, RX));
	EXPECT_EQ(0, unmap(self->region, 0, PAGE));
	close(object);
	EXPECT_EQ(0, umount2(dir, MNT_DETACH));
	rmdir(dir);
}

TEST_F(interface, objects_refused)
{
	int other = region(1), pipes[2], fd;

	EXPECT_GT(0, create_file(self->region, 0, SLOT, RW, other, 0));
	EXPECT_GT(0, create_file(self->region, 0, SLOT, RW, self->region, 0));
	EXPECT_GT(0, create_file(self->region, 0, PAGE, RW, self->region, 0));
	ASSERT_EQ(0, pipe(pipes));
	EXPECT_GT(0, create_file(self->region, 0, PAGE, RW, pipes[1], 0));
	fd = open("/", O_RDONLY | O_DIRECTORY);
	EXPECT_GT(0, create_file(self->region, 0, PAGE, PROT_READ, fd, 0));
	close(fd);
	fd = open("/proc/self/exe", O_PATH);
	EXPECT_EQ(-EBADF, create_file(self->region, 0, PAGE, PROT_READ, fd, 0));
	close(fd);
	EXPECT_EQ(0, region_stat(self->region).mapped_bytes);
}

/* A memory BAR is VM_IO and VM_PFNMAP: the host cannot reclaim or migrate it. */
TEST_F(interface, device_memory_is_refused)
{
	DIR *dir = opendir("/sys/bus/pci/devices");
	struct dirent *entry;
	int tried = 0;

	while (dir && (entry = readdir(dir)))
		for (int bar = 0; bar < 6; bar++) {
			char path[400];
			void *p;
			int fd;

			snprintf(path, sizeof(path),
				 "/sys/bus/pci/devices/%s/resource%d",
				 entry->d_name, bar);
			fd = open(path, O_RDWR);
			if (fd < 0)
				continue;
			p = mmap(NULL, PAGE, RW, MAP_SHARED, fd, 0);
			if (p != MAP_FAILED) {
				munmap(p, PAGE);
				tried++;
				EXPECT_GT(0, create_file(self->region, 0, PAGE,
							 RW, fd, 0))
					TH_LOG("%s was mapped", path);
			}
			close(fd);
		}
	if (dir)
		closedir(dir);
	if (!tried)
		SKIP(return, "no PCI device with mappable memory");
	EXPECT_EQ(0, region_stat(self->region).mapped_bytes);
	EXPECT_EQ(0, create_anon(self->region, 0, PAGE, RW));
}

TEST_F(interface, protect_refuses)
{
	static const struct {
		__u64 at, size;
		unsigned int prot, flags;
		int err;
	} cases[] = {
		{ 0, 0, PROT_READ, 0, -EINVAL },
		{ 1, PAGE, PROT_READ, 0, -EINVAL },
		{ 0, PAGE + 1, PROT_READ, 0, -EINVAL },
		{ 0, PAGE - 1, PROT_READ, 0, -EINVAL },
		{ SLOT, PAGE, PROT_READ, 0, -EINVAL },
		{ 0, SLOT + PAGE, PROT_READ, 0, -EINVAL },
		{ SLOT - PAGE, 2 * PAGE, PROT_READ, 0, -EINVAL },
		{ -PAGE, 2 * PAGE, PROT_READ, 0, -EINVAL },
		{ -PAGE, PAGE, PROT_READ, 0, -EINVAL },
		{ PAGE, -PAGE, PROT_READ, 0, -EINVAL },
		{ 0, PAGE, 8, 0, -EINVAL },
		{ 0, PAGE, PROT_READ | PROT_GROWSDOWN, 0, -EINVAL },
		{ 0, PAGE, 1U << 31, 0, -EINVAL },
		{ 0, PAGE, PROT_READ, 1, -EINVAL },
		{ 0, PAGE, PROT_READ, 1U << 31, -EINVAL },
		{ 4 * PAGE, PAGE, PROT_READ, 0, -ENOMEM },
		{ CHUNK, SLOT - CHUNK, PROT_READ, 0, -ENOMEM },
	};
	char *p;

	ASSERT_EQ(0, create_anon(self->region, 0, 4 * PAGE, RW));
	p = window(self->region, 1, RW);
	ASSERT_NE(MAP_FAILED, p);
	for (int i = 0; i < ARRAY_SIZE(cases); i++) {
		struct mshare_protect protect = {
			cases[i].at, cases[i].size, cases[i].prot, cases[i].flags
		};

		EXPECT_EQ(cases[i].err, result(ioctl(self->region,
						     MSHAREFS_PROTECT,
						     &protect)))
			TH_LOG("case %d: at %#llx size %#llx prot %#x flags %#x",
			       i, cases[i].at, cases[i].size, cases[i].prot,
			       cases[i].flags);
		EXPECT_EQ(RW, rights(p));
	}
	EXPECT_EQ(0, region_stat(self->region).flips);
}

TEST_F(interface, unmap_refuses)
{
	static const struct { __u64 at, size; } cases[] = {
		{ 0, 0 }, { 1, PAGE }, { 0, 1 }, { 0, PAGE + 1 },
		{ SLOT, PAGE }, { 0, SLOT + PAGE }, { -PAGE, 2 * PAGE },
		{ -PAGE, PAGE }, { PAGE, -PAGE }, { SLOT - PAGE, 2 * PAGE },
	};

	ASSERT_EQ(0, create_anon(self->region, 0, 4 * PAGE, RW));
	for (int i = 0; i < ARRAY_SIZE(cases); i++) {
		EXPECT_EQ(-EINVAL, unmap(self->region, cases[i].at, cases[i].size))
			TH_LOG("case %d", i);
	}
	EXPECT_EQ(4 * PAGE, region_stat(self->region).mapped_bytes);
}

TEST_F(interface, stat_grows_at_its_end)
{
	struct {
		struct mshare_stat stat;
		unsigned char tail[512];
	} big;
	struct mshare_stat *stat = &big.stat;
	__u32 known;

	ASSERT_EQ(0, create_anon(self->region, 0, 4 * PAGE, RW));
	for (__u32 size = 0; size < MSHARE_STAT_SIZE_VER0; size += 29) {
		memset(&big, 0xa5, sizeof(big));
		stat->size = size;
		stat->flags = 0;
		EXPECT_EQ(-1, ioctl(self->region, MSHAREFS_STAT, stat));
		EXPECT_EQ(EINVAL, errno);
	}
	memset(&big, 0xa5, sizeof(big));
	stat->size = MSHARE_STAT_SIZE_VER0;
	stat->flags = 1;
	EXPECT_EQ(-1, ioctl(self->region, MSHAREFS_STAT, stat));
	EXPECT_EQ(EINVAL, errno);

	memset(&big, 0xa5, sizeof(big));
	stat->size = MSHARE_STAT_SIZE_VER0;
	stat->flags = 0;
	ASSERT_EQ(0, ioctl(self->region, MSHAREFS_STAT, stat));
	known = stat->size;
	EXPECT_LE(MSHARE_STAT_SIZE_VER0, known);
	EXPECT_EQ(4 * PAGE, stat->mapped_bytes);
	for (int i = MSHARE_STAT_SIZE_VER0; i < sizeof(big); i++) {
		ASSERT_EQ(0xa5, ((unsigned char *)&big)[i]);
	}

	/* a caller that knows more: another encoded size, a longer buffer */
	memset(&big, 0xa5, sizeof(big));
	stat->size = sizeof(big);
	stat->flags = 0;
	ASSERT_EQ(0, ioctl(self->region,
			   _IOC(_IOC_READ | _IOC_WRITE, 'x', 18, sizeof(big)),
			   stat));
	EXPECT_EQ(known, stat->size);
	EXPECT_EQ(4 * PAGE, stat->mapped_bytes);
	for (int i = known; i < sizeof(big); i++) {
		ASSERT_EQ(0xa5, ((unsigned char *)&big)[i]);
	}

	memset(&big, 0xa5, sizeof(big));
	stat->size = -1;
	stat->flags = 0;
	if (ioctl(self->region, MSHAREFS_STAT, stat) == 0) {
		EXPECT_EQ(known, stat->size);
	}
}

FIXTURE(mounted)
{
	char dir[32];
};

FIXTURE_SETUP(mounted)
{
	strcpy(self->dir, "/tmp/mshareXXXXXX");
	ASSERT_NE(NULL, mkdtemp(self->dir));
}

FIXTURE_TEARDOWN(mounted)
{
	umount2(self->dir, MNT_DETACH);
	rmdir(self->dir);
}

TEST_F(mounted, owner_and_mode)
{
	struct stat st;

	ASSERT_EQ(0, mount("msharefs", self->dir, "msharefs", 0, NULL));
	ASSERT_EQ(0, stat(self->dir, &st));
	EXPECT_EQ(0755, st.st_mode & 07777);
	EXPECT_EQ(0, st.st_uid);
	ASSERT_EQ(0, umount(self->dir));

	ASSERT_EQ(0, mount("msharefs", self->dir, "msharefs", 0,
			   "uid=12,gid=34,mode=1770"));
	ASSERT_EQ(0, stat(self->dir, &st));
	EXPECT_EQ(01770, st.st_mode & 07777);
	EXPECT_EQ(12, st.st_uid);
	EXPECT_EQ(34, st.st_gid);
}

TEST_F(mounted, unknown_option_is_refused)
{
	EXPECT_EQ(-1, mount("msharefs", self->dir, "msharefs", 0, "colour=red"));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, mount("msharefs", self->dir, "msharefs", 0, "nr_regions=-"));
}

TEST_F(mounted, sizes)
{
	static const struct { const char *option; long bytes; } good[] = {
		{ "size=0", 0 }, { "size=12345678", 12345678 & -PAGE },
		{ "size=4k", 4096 }, { "size=4K", 4096 }, { "size=3m", 3 * MIB },
		{ "size=2g", 2 * CHUNK }, { "size=1T", 1L << 40 },
		{ "size=1p", 1L << 50 }, { "size=7e", 7L << 60 },
		{ "size=0%", 0 },
	};
	static const char *const bad[] = {
		"size=", "size=%", "size=k", "size=x", "size=-1", "size=1x",
		"size=1kk", "size=1k%", "size=1%k", "size=101%", "size= 1",
		"size=8e", "size=16e", "size=17179869184g", "size=9223372036854775808",
		"size=18446744073709551616", "size=99999999999999999999",
		"size=99999999999999999999g", "size=184467440737095516%",
		"nr_regions=", "nr_regions=-1", "nr_regions=9223372036854775808",
		"nr_regions=99999999999999999999",
	};
	long half = figure("/proc/meminfo", "MemTotal") * 1024 / 2;
	struct statfs fs;

	for (int i = 0; i < ARRAY_SIZE(good); i++) {
		ASSERT_EQ(0, mount("msharefs", self->dir, "msharefs", 0,
				   good[i].option))
			TH_LOG("%s", good[i].option);
		ASSERT_EQ(0, statfs(self->dir, &fs));
		EXPECT_EQ(good[i].bytes & -PAGE, fs.f_blocks * fs.f_bsize)
			TH_LOG("%s", good[i].option);
		ASSERT_EQ(0, umount(self->dir));
	}
	for (int i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(-EINVAL, result(mount("msharefs", self->dir,
						"msharefs", 0, bad[i])))
			TH_LOG("%s was taken", bad[i]);
		umount(self->dir);
	}
	ASSERT_EQ(0, mount("msharefs", self->dir, "msharefs", 0, "size=50%"));
	ASSERT_EQ(0, statfs(self->dir, &fs));
	EXPECT_GT(PAGE, half - (long)(fs.f_blocks * fs.f_bsize));
}

TEST_F(mounted, instances_are_apart)
{
	char path[64];
	int fd;

	ASSERT_EQ(0, mount("msharefs", self->dir, "msharefs", 0, NULL));
	snprintf(path, sizeof(path), "%s/apart-%d", mshare_dir(), getpid());
	fd = open(path, O_CREAT | O_RDWR | O_EXCL, 0600);
	ASSERT_LE(0, fd);
	unlink(path);
	snprintf(path, sizeof(path), "%s/apart-%d", self->dir, getpid());
	EXPECT_EQ(-1, open(path, O_RDWR));
	EXPECT_EQ(ENOENT, errno);
}

TEST_F(mounted, number_of_regions_is_limited)
{
	int fd[4];

	ASSERT_EQ(0, mount("msharefs", self->dir, "msharefs", 0, "nr_regions=3"));
	for (int i = 0; i < 3; i++) {
		fd[i] = open(self->dir, O_TMPFILE | O_RDWR, 0600);
		ASSERT_LE(0, fd[i]);
	}
	EXPECT_EQ(-1, open(self->dir, O_TMPFILE | O_RDWR, 0600));
	EXPECT_EQ(ENOSPC, errno);
	close(fd[1]);
	for (int i = 0; i < 100; i++) {	/* the last put may be deferred */
		fd[1] = open(self->dir, O_TMPFILE | O_RDWR, 0600);
		if (fd[1] >= 0)
			break;
		sleep_us(10000);
	}
	EXPECT_LE(0, fd[1]);
}

/* Stores at every step of a range, in a child; returns how many were done. */
static long fill_every(char *p, size_t step, long steps)
{
	volatile long *done = shared_page(PAGE);
	pid_t pid = fork();
	long n;

	if (pid == 0) {
		while (*done < steps && !touch(p + *done * step, PROT_WRITE))
			++*done;
		_exit(0);
	}
	child_status(pid);
	n = *done;
	munmap((void *)done, PAGE);
	return n;
}

TEST_F(mounted, memory_is_limited)
{
	const unsigned int reserved = MAP_SHARED | MAP_ANONYMOUS;
	int fd, err;
	char *p;

	ASSERT_EQ(0, mount("msharefs", self->dir, "msharefs", 0, "size=16m"));
	fd = open(self->dir, O_TMPFILE | O_RDWR, 0600);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, SLOT));
	p = window(fd, 1, RW);
	ASSERT_NE(MAP_FAILED, p);

	EXPECT_EQ(-ENOSPC, create_flags(fd, 0, 64 * MIB, RW, reserved, -1, 0));
	EXPECT_EQ(0, region_stat(fd).mapped_bytes);

	/* without a reservation it may be made, but not filled */
	err = create_anon(fd, 0, 64 * MIB, RW);
	if (err) {
		EXPECT_EQ(-ENOSPC, err);
	} else {
		EXPECT_GE(16 * MIB / PAGE, fill_every(p, PAGE, 64 * MIB / PAGE));
	}
	unmap(fd, 0, 64 * MIB);

	/* what was given back can be had again, as often as one likes */
	for (int i = 0; i < 8; i++) {
		ASSERT_EQ(0, create_flags(fd, 0, 8 * MIB, RW, reserved, -1, 0))
			TH_LOG("round %d", i);
		EXPECT_EQ(8 * MIB / PAGE, fill_every(p, PAGE, 8 * MIB / PAGE));
		ASSERT_EQ(0, unmap(fd, 0, 8 * MIB));
	}
}

/* Who asks for too much takes no room from others, not even for a moment. */
TEST_F(mounted, a_creation_that_fails_takes_no_room)
{
	const unsigned int reserved = MAP_SHARED | MAP_ANONYMOUS;
	double start = now();
	long rounds = 0;
	int fd, other;
	pid_t pid;

	ASSERT_EQ(0, mount("msharefs", self->dir, "msharefs", 0, "size=64m"));
	fd = open(self->dir, O_TMPFILE | O_RDWR, 0600);
	other = open(self->dir, O_TMPFILE | O_RDWR, 0600);
	ASSERT_LE(0, fd);
	ASSERT_LE(0, other);
	ASSERT_EQ(0, ftruncate(fd, SLOT));
	ASSERT_EQ(0, ftruncate(other, SLOT));
	ASSERT_EQ(0, create_flags(fd, CHUNK, 4 * MIB, RW, reserved, -1, 0));
	pid = fork_on(nr_cpus() - 1);
	if (pid == 0)
		while (create_flags(other, 0, 62 * MIB, RW, reserved, -1, 0) ==
		       -ENOSPC)
			;
	for (; !stress_over(start, stress_seconds(), rounds > 3); rounds++) {
		char *p = window(fd, 1, RW);

		ASSERT_NE(MAP_FAILED, p);
		ASSERT_EQ(0, create_anon(fd, 0, 32 * MIB, RW));
		EXPECT_EQ(32 * MIB / PAGE, fill_every(p, PAGE, 32 * MIB / PAGE));
		ASSERT_EQ(0, unmap(fd, 0, 32 * MIB));
		munmap(p, SLOT);
	}
	EXPECT_EQ(0, waitpid(pid, NULL, WNOHANG))
		TH_LOG("the other creation did not fail");
	kill(pid, SIGKILL);
	child_status(pid);
	close(other);
	close(fd);
}

/* Maps anonymous memory until not even a page is left of what a mount may have */
static __u64 reserve_all(int fd)
{
	__u64 at = 0;

	for (__u64 size = 64 * MIB; size >= PAGE; size /= 2)
		while (!create_flags(fd, at, size, RW,
				     MAP_SHARED | MAP_ANONYMOUS, -1, 0))
			at += size;
	return at;
}

/*
 * What was reserved can be touched to its last page, whatever others have taken
 * since: its page tables are reserved with it, also across a chunk's border and
 * beside an object of which nothing is reserved.
 */
TEST_F(mounted, a_reservation_is_kept)
{
	const unsigned int reserved = MAP_SHARED | MAP_ANONYMOUS;
	const __u64 size = 16 * MIB;
	struct statfs free;
	int fd, other;
	char *p;

	ASSERT_EQ(0, mount("msharefs", self->dir, "msharefs", 0, "size=64m"));
	fd = open(self->dir, O_TMPFILE | O_RDWR, 0600);
	other = open(self->dir, O_TMPFILE | O_RDWR, 0600);
	ASSERT_LE(0, fd);
	ASSERT_LE(0, other);
	ASSERT_EQ(0, ftruncate(fd, SLOT));
	ASSERT_EQ(0, ftruncate(other, SLOT));
	p = window(fd, 1, RW);
	ASSERT_NE(MAP_FAILED, p);
	for (int beside = 0; beside < 2; beside++) {
		if (beside) {
			ASSERT_EQ(0, create_anon(fd, 4 * CHUNK, size, RW));
			EXPECT_EQ(size / PMD, fill_every(p + 4 * CHUNK, PMD,
							 size / PMD));
		}
		ASSERT_EQ(0, create_flags(fd, CHUNK - size / 2, size, RW,
					  reserved, -1, 0));
		EXPECT_EQ(1, fill_every(p + CHUNK - size / 2, PAGE, 1));
		EXPECT_LT(0, reserve_all(other));
		EXPECT_EQ(size / PAGE, fill_every(p + CHUNK - size / 2, PAGE,
						  size / PAGE));
		ASSERT_EQ(0, unmap(other, 0, SLOT));
		ASSERT_EQ(0, unmap(fd, 0, SLOT));
	}
	/* all of it is given back */
	ASSERT_EQ(0, statfs(self->dir, &free));
	EXPECT_LE(64 * MIB / PAGE - 8, free.f_bfree);
	close(other);
	close(fd);
}

/* Beside its page a view has a state for each of 512 chunks: two bytes at least. */
TEST_F(mounted, views_count_with_all_they_take)
{
	static const unsigned int slots = 100;
	struct statfs before, after;
	char *p;
	int fd;

	ASSERT_EQ(0, mount("msharefs", self->dir, "msharefs", 0, "size=100m"));
	fd = open(self->dir, O_TMPFILE | O_RDWR, 0600);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, slots * SLOT));
	ASSERT_EQ(0, statfs(self->dir, &before));
	p = window(fd, slots, RW);
	ASSERT_NE(MAP_FAILED, p);
	ASSERT_EQ(0, statfs(self->dir, &after));
	EXPECT_LE(slots * (PAGE + 2 * SLOT / CHUNK),
		  (before.f_bfree - after.f_bfree) * PAGE);
	EXPECT_EQ(slots * PAGE, region_stat(fd).page_table_bytes);
	munmap(p, slots * SLOT);
	close(fd);
	ASSERT_EQ(0, statfs(self->dir, &after));
	EXPECT_EQ(before.f_blocks, after.f_bfree);
}

/* A sparse terabyte needs 4 MiB of tables for its chunks alone. */
TEST_F(mounted, page_tables_are_limited)
{
	int fd;

	ASSERT_EQ(0, mount("msharefs", self->dir, "msharefs", 0, "size=1m"));
	fd = open(self->dir, O_TMPFILE | O_RDWR, 0600);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, 2 * SLOT));
	EXPECT_EQ(-ENOSPC, create_sparse(fd, 0, 2 * SLOT, RW));
	EXPECT_EQ(0, region_stat(fd).mapped_bytes);
	EXPECT_EQ(0, create_sparse(fd, 0, MIB, RW));
	/* nor do faults get more than is left */
	ASSERT_EQ(0, create_sparse(fd, CHUNK, CHUNK, RW));
	EXPECT_GT(MIB / PAGE, fill_every(window(fd, 2, RW) + CHUNK, PMD,
					 CHUNK / PMD));
	EXPECT_GE(MIB + 8 * PAGE, region_stat(fd).page_table_bytes);
}

TEST_F(mounted, not_in_a_user_namespace)
{
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS))
		SKIP(return, "no user namespaces in this kernel");
	EXPECT_EQ(-1, mount("msharefs", self->dir, "msharefs", 0, NULL));
	EXPECT_EQ(EPERM, errno);
}

TEST_HARNESS_MAIN
