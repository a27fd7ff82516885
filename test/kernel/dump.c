// SPDX-License-Identifier: GPL-2.0
/*
 * Core dumps: a window is in them only if it was asked for, and then without
 * waiting for what is closed.
 */
#include "mshare_test.h"

#include <elf.h>
#include <sys/mman.h>
#include <sys/resource.h>

#define PATTERN		"/proc/sys/kernel/core_pattern"
#define PAGES		16

FIXTURE(dump)
{
	int region;
	int object;
	char *p;
	char *plain;
	char pattern[256];
	char core[64];
};

FIXTURE_SETUP(dump)
{
	struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };
	int fd = open(PATTERN, O_RDONLY | O_CLOEXEC);
	ssize_t len = read(fd, self->pattern, sizeof(self->pattern) - 1);

	close(fd);
	ASSERT_LT(0, len);
	self->pattern[len] = 0;
	if (setrlimit(RLIMIT_CORE, &all) ||
	    write_file(PATTERN, "/tmp/mshare-core.%p"))
		SKIP(return, "no core dumps to be had");
	ASSERT_EQ(0, map_object(PAGES * PAGE, RW, &self->region, &self->object,
				&self->p));
	for (int i = 0; i < PAGES; i++)
		memset(self->p + i * PAGE, 'a' + i, PAGE);
	self->plain = mmap(NULL, PAGES * PAGE, RW, MAP_SHARED, self->object, 0);
	ASSERT_NE(MAP_FAILED, self->plain);
}

FIXTURE_TEARDOWN(dump)
{
	write_file(PATTERN, self->pattern);
	if (self->core[0])
		unlink(self->core);
	munmap(self->p, SLOT);
	close(self->region);
	close(self->object);
}

/* Has a child dump core; returns an fd of that, or -errno. */
static int dump_core(char core[64])
{
	pid_t pid = fork_on(-1);
	int status;

	if (pid == 0) {
		signal(SIGABRT, SIG_DFL);
		abort();
	}
	snprintf(core, 64, "/tmp/mshare-core.%d", pid);
	status = child_status(pid);
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT ||
	    !WCOREDUMP(status))
		return -ECHILD;
	return result(open(core, O_RDONLY | O_CLOEXEC));
}

/* The segment of a core that begins at an address; says whether there is one. */
static bool segment(int fd, void *address, Elf64_Phdr *found)
{
	Elf64_Ehdr header;

	if (pread(fd, &header, sizeof(header), 0) != sizeof(header) ||
	    memcmp(header.e_ident, ELFMAG, SELFMAG))
		return false;
	for (int i = 0; i < header.e_phnum; i++)
		if (pread(fd, found, sizeof(*found), header.e_phoff +
			  i * sizeof(*found)) == sizeof(*found) &&
		    found->p_type == PT_LOAD &&
		    found->p_vaddr == (unsigned long)address)
			return true;
	return false;
}

/* How many of the object's pages a segment holds as they were written */
static int pages_held(int fd, const Elf64_Phdr *segment)
{
	char page[PAGE];
	int held = 0;

	for (int i = 0; i < PAGES && i * PAGE < segment->p_filesz; i++) {
		if (pread(fd, page, PAGE, segment->p_offset + i * PAGE) != PAGE)
			continue;
		held += page[0] == 'a' + i && !memcmp(page, page + 1, PAGE - 1);
	}
	return held;
}

TEST_F(dump, left_out)
{
	Elf64_Phdr window, plain;
	int fd = dump_core(self->core);

	ASSERT_LE(0, fd);
	ASSERT_TRUE(segment(fd, self->p, &window));
	EXPECT_EQ(0, window.p_filesz);
	EXPECT_EQ(SLOT, window.p_memsz);

	/* the control */
	ASSERT_TRUE(segment(fd, self->plain, &plain));
	EXPECT_EQ(PAGES, pages_held(fd, &plain));
	close(fd);
}

TEST_F(dump, held)
{
	struct stat st;
	Elf64_Phdr window;
	int fd;

	ASSERT_EQ(0, result(madvise(self->p, SLOT, MADV_DODUMP)));
	fd = dump_core(self->core);
	ASSERT_LE(0, fd);
	ASSERT_TRUE(segment(fd, self->p, &window));
	EXPECT_EQ(PAGES, pages_held(fd, &window));

	/* up to the last object, not all of the slot */
	EXPECT_EQ(PAGES * PAGE, window.p_filesz);
	EXPECT_EQ(SLOT, window.p_memsz);
	ASSERT_EQ(0, fstat(fd, &st));
	EXPECT_GT(256 * MIB, st.st_size);
	close(fd);
	unlink(self->core);

	EXPECT_EQ(-EINVAL, result(madvise(self->p, PAGE, MADV_DONTDUMP)));
	ASSERT_EQ(0, result(madvise(self->p, SLOT, MADV_DONTDUMP)));
	fd = dump_core(self->core);
	ASSERT_LE(0, fd);
	ASSERT_TRUE(segment(fd, self->p, &window));
	EXPECT_EQ(0, window.p_filesz);
	close(fd);
}

/* Objects with a hole between them keep their places. */
TEST_F(dump, hole)
{
	Elf64_Phdr window;
	char byte = 0;
	int fd;

	ASSERT_EQ(0, create_anon(self->region, 8 * MIB, PAGE, RW));
	self->p[8 * MIB] = 'z';
	ASSERT_EQ(0, result(madvise(self->p, SLOT, MADV_DODUMP)));
	fd = dump_core(self->core);
	ASSERT_LE(0, fd);
	ASSERT_TRUE(segment(fd, self->p, &window));
	EXPECT_EQ(8 * MIB + PAGE, window.p_filesz);
	EXPECT_EQ(PAGES, pages_held(fd, &window));
	EXPECT_EQ(1, pread(fd, &byte, 1, window.p_offset + 8 * MIB));
	EXPECT_EQ('z', byte);
	EXPECT_EQ(1, pread(fd, &byte, 1, window.p_offset + 4 * MIB));
	EXPECT_EQ(0, byte);
	close(fd);
}

/* What may not be written is read; what may not be read is missing, at once. */
TEST_F(dump, closed)
{
	struct mshare_event event;
	double start = now();
	Elf64_Phdr window;
	int fd;

	if (fault_mode(self->region, MSHARE_FAULT_WAIT, MSHARE_WAIT_KERNEL, 0))
		SKIP(return, "may not let the kernel wait");
	ASSERT_EQ(0, result(madvise(self->p, SLOT, MADV_DODUMP)));
	ASSERT_EQ(0, protect(self->region, 0, PAGES * PAGE, PROT_READ));
	fd = dump_core(self->core);
	ASSERT_LE(0, fd);
	ASSERT_TRUE(segment(fd, self->p, &window));
	EXPECT_EQ(PAGES, pages_held(fd, &window));
	close(fd);
	unlink(self->core);

	ASSERT_EQ(0, protect(self->region, 0, PAGES * PAGE, PROT_NONE));
	fd = dump_core(self->core);
	ASSERT_LE(0, fd);
	ASSERT_TRUE(segment(fd, self->p, &window));
	EXPECT_EQ(PAGES * PAGE, window.p_filesz);
	EXPECT_EQ(0, pages_held(fd, &window));
	close(fd);
	EXPECT_GT(60, now() - start);
	EXPECT_EQ(0, region_stat(self->region).waits);
	EXPECT_EQ(-ETIMEDOUT, next_event(self->region, &event, 0));
}

/* A window is taken whole, alone or with its neighbours. */
TEST_F(dump, parts_are_refused)
{
	unsigned long size = 2 * SLOT + PAGE;
	Elf64_Phdr window;
	char *at, *p;
	int fd;

	EXPECT_EQ(-EINVAL, result(madvise(self->p, PAGE, MADV_DODUMP)));
	EXPECT_EQ(-EINVAL, result(madvise(self->p + PAGE, SLOT - PAGE,
					  MADV_DODUMP)));

	/* two windows and a page: the three, no; the two, yes */
	at = mmap(NULL, size + SLOT, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS |
		  MAP_NORESERVE, -1, 0);
	ASSERT_NE(MAP_FAILED, at);
	p = at + -(unsigned long)at % SLOT;
	for (int i = 0; i < 2; i++)
		ASSERT_EQ(p + i * SLOT, mmap(p + i * SLOT, SLOT, RW,
					     MAP_SHARED | MAP_FIXED,
					     self->region, 0));
	EXPECT_EQ(-EINVAL, result(madvise(p, size, MADV_DODUMP)));
	EXPECT_EQ(-EINVAL, result(madvise(p, SLOT + PAGE, MADV_DODUMP)));
	EXPECT_EQ(0, result(madvise(p + 2 * SLOT, PAGE, MADV_DODUMP)));
	ASSERT_EQ(0, result(madvise(p, 2 * SLOT, MADV_DODUMP)));
	fd = dump_core(self->core);
	ASSERT_LE(0, fd);
	for (int i = 0; i < 2; i++) {
		ASSERT_TRUE(segment(fd, p + i * SLOT, &window));
		EXPECT_EQ(PAGES, pages_held(fd, &window));
	}
	ASSERT_TRUE(segment(fd, self->p, &window));
	EXPECT_EQ(0, window.p_filesz);
	close(fd);
	munmap(at, size + SLOT);
}

TEST_HARNESS_MAIN
