// SPDX-License-Identifier: GPL-2.0
/*
 * Windows: where they can be, what they cannot do, and how they come and go
 * with processes.
 */
#include "mshare_test.h"
#include "mshare_mm.h"

#include <linux/userfaultfd.h>
#include <sys/resource.h>
#include <sys/uio.h>

#ifndef __NR_mseal
#define __NR_mseal		462
#endif

#define OBJECT	(4 * MIB)	/* what the region of every test here holds */

FIXTURE(window)
{
	int region;
	char *p;		/* a window of both slots */
};

FIXTURE_SETUP(window)
{
	self->region = region(2);
	ASSERT_LE(0, self->region);
	ASSERT_EQ(0, create_anon(self->region, 0, OBJECT, RWX));
	self->p = window(self->region, 2, RWX);
	ASSERT_NE(MAP_FAILED, self->p);
	memset(self->p, RET, OBJECT);
}

FIXTURE_TEARDOWN(window)
{
	close(self->region);
}

/* The line of /proc/self/maps that an address is in, without its numbers. */
static bool mapped_as(void *addr, unsigned long *start, unsigned long *end,
		      char *perms)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512];
	bool found = false;

	while (!found && maps && fgets(line, sizeof(line), maps))
		found = sscanf(line, "%lx-%lx %4s", start, end, perms) == 3 &&
			*start <= (unsigned long)addr &&
			*end > (unsigned long)addr;
	if (maps)
		fclose(maps);
	return found;
}

/* Nothing happened to the window, nor to what is behind it. */
#define EXPECT_UNTOUCHED() do {						\
	unsigned long _start = 0, _end = 0;				\
	char _perms[8] = "";						\
									\
	EXPECT_TRUE(mapped_as(self->p, &_start, &_end, _perms));	\
	EXPECT_EQ((unsigned long)self->p, _start);			\
	EXPECT_EQ((unsigned long)self->p + 2 * SLOT, _end);		\
	EXPECT_STREQ("rwxs", _perms);					\
	EXPECT_EQ(RWX, rights(self->p));				\
	EXPECT_EQ(RET, self->p[OBJECT - 1]);				\
	EXPECT_EQ(1, region_stat(self->region).windows);		\
} while (0)

/* Legal and illegal places */

TEST_F(window, needs_a_size_first)
{
	int fd = region_open();

	ASSERT_LE(0, fd);
	EXPECT_EQ(MAP_FAILED, window(fd, 1, RW));
	EXPECT_EQ(EINVAL, errno);
	close(fd);
}

TEST_F(window, illegal_places)
{
	const struct {
		void *hint;
		size_t length;
		int flags;
		off_t offset;
	} cases[] = {
		{ NULL, SLOT, MAP_PRIVATE, 0 },
		{ NULL, PAGE, MAP_SHARED, 0 },
		{ NULL, OBJECT, MAP_SHARED, 0 },
		{ NULL, CHUNK, MAP_SHARED, 0 },
		{ NULL, SLOT - PAGE, MAP_SHARED, 0 },
		{ NULL, SLOT + PAGE, MAP_SHARED, 0 },
		{ NULL, 3 * SLOT, MAP_SHARED, 0 },
		{ NULL, SLOT, MAP_SHARED, PAGE },
		{ NULL, SLOT, MAP_SHARED, CHUNK },
		{ NULL, SLOT, MAP_SHARED, SLOT + CHUNK },
		{ NULL, SLOT, MAP_SHARED, 2 * SLOT },
		{ NULL, 2 * SLOT, MAP_SHARED, SLOT },
		{ NULL, SLOT, MAP_SHARED, (off_t)(-SLOT) },
		{ (void *)(20 * SLOT + PAGE), SLOT, MAP_SHARED | MAP_FIXED, 0 },
		{ (void *)(20 * SLOT + CHUNK), SLOT, MAP_SHARED | MAP_FIXED, 0 },
		{ (void *)(20 * SLOT + PAGE), SLOT,
		  MAP_SHARED | MAP_FIXED_NOREPLACE, 0 },
	};

	for (int i = 0; i < ARRAY_SIZE(cases); i++) {
		EXPECT_EQ(MAP_FAILED, mmap(cases[i].hint, cases[i].length, RW,
					   cases[i].flags, self->region,
					   cases[i].offset))
			TH_LOG("case %d was mapped", i);
		EXPECT_TRUE(errno == EINVAL ||
			    (errno == EOVERFLOW && cases[i].offset < 0))
			TH_LOG("case %d: %m", i);
	}
	EXPECT_UNTOUCHED();
}

TEST_F(window, kernel_chooses_aligned_addresses)
{
	for (int i = 0; i < 8; i++) {
		char *p = window(self->region, 1, RW);

		ASSERT_NE(MAP_FAILED, p);
		EXPECT_EQ(0, (unsigned long)p % SLOT);
		EXPECT_EQ(RW, rights(p));
	}
	EXPECT_EQ(9, region_stat(self->region).windows);
	EXPECT_EQ(1, region_stat(self->region).processes);
}

TEST_F(window, hints_and_fixed_addresses)
{
	char *hint = (char *)(20 * SLOT), *p;

	EXPECT_EQ(hint, mmap(hint, SLOT, RW, MAP_SHARED, self->region, 0));
	EXPECT_EQ(RW, rights(hint));

	/* neither taken nor unaligned hints are an error */
	p = mmap(hint, SLOT, RW, MAP_SHARED, self->region, 0);
	ASSERT_NE(MAP_FAILED, p);
	EXPECT_NE(hint, p);
	EXPECT_EQ(0, (unsigned long)p % SLOT);
	ASSERT_EQ(0, munmap(p, SLOT));
	p = mmap(hint + 5 * SLOT + CHUNK, SLOT, RW, MAP_SHARED, self->region, 0);
	ASSERT_NE(MAP_FAILED, p);
	EXPECT_EQ(0, (unsigned long)p % SLOT);
	ASSERT_EQ(0, munmap(p, SLOT));

	p = hint + 2 * SLOT;
	EXPECT_EQ(p, mmap(p, SLOT, RW, MAP_SHARED | MAP_FIXED, self->region, 0));
	EXPECT_EQ(RW, rights(p));
	EXPECT_EQ(MAP_FAILED, mmap(p, SLOT, RW, MAP_SHARED | MAP_FIXED_NOREPLACE,
				   self->region, 0));
	EXPECT_EQ(EEXIST, errno);

	/* over a whole window, ours or of another region, it replaces */
	EXPECT_EQ(p, mmap(p, SLOT, PROT_READ, MAP_SHARED | MAP_FIXED,
			  self->region, 0));
	EXPECT_EQ(PROT_READ, rights(p));
	EXPECT_EQ(p, mmap(p, SLOT, RW, MAP_SHARED | MAP_FIXED, self->region, SLOT));
	EXPECT_EQ(-SEGV_MAPERR, rights(p));
	p += 2 * SLOT;
	EXPECT_EQ(p, mmap(p, SLOT, RW, MAP_SHARED | MAP_FIXED_NOREPLACE,
			  self->region, 0));
	EXPECT_EQ(RW, rights(p));
}

TEST_F(window, second_slot_is_reached_by_offset)
{
	char *p = mmap(NULL, SLOT, RW, MAP_SHARED, self->region, SLOT);

	ASSERT_NE(MAP_FAILED, p);
	ASSERT_EQ(0, create_anon(self->region, SLOT + CHUNK, PAGE, RW));
	EXPECT_EQ(RW, rights(p + CHUNK));
	EXPECT_EQ(RW, rights(self->p + SLOT + CHUNK));
	p[CHUNK] = 42;
	EXPECT_EQ(42, self->p[SLOT + CHUNK]);
}

TEST_F(window, populate_and_locked_mean_nothing)
{
	char *p = mmap(NULL, SLOT, RW, MAP_SHARED | MAP_POPULATE, self->region, 0);

	ASSERT_NE(MAP_FAILED, p);
	p = mmap(NULL, SLOT, RW, MAP_SHARED | MAP_LOCKED, self->region, 0);
	ASSERT_NE(MAP_FAILED, p);
	EXPECT_GT(CHUNK >> 10, figure("/proc/self/status", "VmLck"));
	EXPECT_EQ(RW, rights(p));
}

TEST_F(window, before_any_object)
{
	int fd = region(1);
	char *p = window(fd, 1, RW);

	ASSERT_NE(MAP_FAILED, p);
	EXPECT_EQ(-SEGV_MAPERR, rights(p));
	ASSERT_EQ(0, create_anon(fd, 0, PAGE, RW));
	EXPECT_EQ(RW, rights(p));
	EXPECT_EQ(-SEGV_MAPERR, rights(p + PAGE));
	close(fd);
}

TEST_F(window, ceilings)
{
	static const int prots[] = { PROT_NONE, PROT_READ, RW, RX, RWX };

	for (int i = 0; i < ARRAY_SIZE(prots); i++) {
		char *p = window(self->region, 1, prots[i]);

		ASSERT_NE(MAP_FAILED, p);
		EXPECT_EQ(prots[i], rights(p));
		EXPECT_EQ(prots[i], rights(p + OBJECT - PAGE));
		ASSERT_EQ(0, munmap(p, SLOT));
	}
	EXPECT_EQ(RWX, rights(self->p));
}

/*
 * With protection keys PROT_EXEC alone means a key that forbids reading. In a
 * window it means what it does without: leaves are everybody's, and have none.
 */
TEST_F(window, execute_only_can_be_read)
{
	char *x = window(self->region, 1, PROT_EXEC);

	ASSERT_NE(MAP_FAILED, x);
	ASSERT_EQ(0, create_anon(self->region, CHUNK, 2 * PAGE, RWX));
	/* before anybody has touched the page, and after */
	EXPECT_EQ(0, touch(x + CHUNK, PROT_READ));
	EXPECT_EQ(RWX, rights(self->p + CHUNK));
	EXPECT_EQ(RX, rights(x + CHUNK));
	EXPECT_EQ(0, touch(x + CHUNK + PAGE, PROT_READ));
	EXPECT_EQ(RX, rights(x));
}

/* A debugger may look into a window of PROT_NONE, but does not open it. */
TEST_F(window, prot_none_stays_closed)
{
	int fd, mem = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
	char *p = window(self->region, 1, PROT_NONE), c;

	ASSERT_NE(MAP_FAILED, p);
	ASSERT_LE(0, mem);
	fd = memfd(PAGE);
	ASSERT_EQ(0, create_file(self->region, CHUNK, PAGE, RWX, fd, 0));
	EXPECT_EQ(1, pread(mem, &c, 1, (unsigned long)p + CHUNK));
	EXPECT_EQ(0, rights(p + CHUNK));
	EXPECT_EQ(0, rights(p));
	close(fd);
	close(mem);
}

TEST_F(window, address_space_limit_counts_windows)
{
	struct rlimit limit = { 4 * SLOT + SLOT / 2, 4 * SLOT + SLOT / 2 };

	ASSERT_EQ(0, setrlimit(RLIMIT_AS, &limit));
	ASSERT_NE(MAP_FAILED, window(self->region, 2, RW));
	EXPECT_EQ(MAP_FAILED, window(self->region, 1, RW));
	EXPECT_EQ(ENOMEM, errno);
}

/* Refused on a window, with nothing touched */

TEST_F(window, mprotect_is_refused)
{
	static const int prots[] = { PROT_NONE, PROT_READ, RW, RWX };
	static const struct { size_t at, size; } ranges[] = {
		{ 0, 2 * SLOT }, { 0, SLOT }, { SLOT, SLOT }, { 0, PAGE },
		{ PAGE, PAGE }, { CHUNK, CHUNK }, { 2 * SLOT - PAGE, PAGE },
	};

	for (int i = 0; i < ARRAY_SIZE(prots); i++)
		for (int j = 0; j < ARRAY_SIZE(ranges); j++) {
			/* to what it has already is no change: either will do */
			if (prots[i] == RWX)
				continue;
			EXPECT_EQ(-EINVAL,
				  result(mprotect(self->p + ranges[j].at,
						  ranges[j].size, prots[i])))
				TH_LOG("prot %d range %d", prots[i], j);
			EXPECT_EQ(-EINVAL,
				  result(syscall(SYS_pkey_mprotect,
						 self->p + ranges[j].at,
						 ranges[j].size, prots[i], -1)))
				TH_LOG("pkey, prot %d range %d", prots[i], j);
		}
	EXPECT_UNTOUCHED();
}

TEST_F(window, pkey_is_refused)
{
	int pkey = syscall(SYS_pkey_alloc, 0, 0);

	if (pkey < 0)
		SKIP(return, "no protection keys: %m");
	EXPECT_EQ(-EINVAL, result(syscall(SYS_pkey_mprotect, self->p, 2 * SLOT,
					  RWX, pkey)));
	EXPECT_EQ(-EINVAL, result(syscall(SYS_pkey_mprotect, self->p, PAGE,
					  RWX, pkey)));
	EXPECT_UNTOUCHED();
}

TEST_F(window, mremap_is_refused)
{
	char *to = (char *)(40 * SLOT);
	const struct { size_t from, to; int flags; } cases[] = {
		{ 2 * SLOT, SLOT, 0 },
		{ 2 * SLOT, 2 * SLOT, 0 },	/* nothing would change */
		{ 2 * SLOT, 2 * SLOT, MREMAP_MAYMOVE },
		{ PAGE, PAGE, 0 },
		{ 2 * SLOT, 3 * SLOT, 0 },
		{ 2 * SLOT, 3 * SLOT, MREMAP_MAYMOVE },
		{ 2 * SLOT, 2 * SLOT, MREMAP_MAYMOVE | MREMAP_FIXED },
		{ SLOT, SLOT, MREMAP_MAYMOVE | MREMAP_FIXED },
		{ PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED },
		{ 2 * SLOT, 2 * SLOT, MREMAP_MAYMOVE | 4 /* DONTUNMAP */ },
		{ 0, SLOT, MREMAP_MAYMOVE },
		{ 0, 2 * SLOT, MREMAP_MAYMOVE | MREMAP_FIXED },
	};

	for (int i = 0; i < ARRAY_SIZE(cases); i++) {
		EXPECT_EQ(MAP_FAILED, mremap(self->p, cases[i].from, cases[i].to,
					     cases[i].flags, to))
			TH_LOG("case %d was done", i);
		EXPECT_EQ(EINVAL, errno)
			TH_LOG("case %d: %m", i);
	}
	EXPECT_UNTOUCHED();
	/* nor is what is there thrown away before it is refused */
	to = shared_page(2 * PAGE);
	EXPECT_EQ(MAP_FAILED, mremap(self->p, PAGE, PAGE,
				     MREMAP_MAYMOVE | MREMAP_FIXED, to));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(RW, rights(to));
	EXPECT_UNTOUCHED();
}

TEST_F(window, partial_munmap_is_refused)
{
	static const struct { size_t at, size; } parts[] = {
		{ 0, PAGE }, { PAGE, PAGE }, { 2 * SLOT - PAGE, PAGE },
		{ 0, CHUNK }, { CHUNK, CHUNK }, { 0, SLOT }, { SLOT, SLOT },
		{ 0, 2 * SLOT - PAGE }, { PAGE, 2 * SLOT - PAGE },
		{ SLOT, 2 * SLOT },
	};

	for (int i = 0; i < ARRAY_SIZE(parts); i++) {
		EXPECT_EQ(-EINVAL, result(munmap(self->p + parts[i].at,
						 parts[i].size)))
			TH_LOG("part %d", i);
	}
	EXPECT_UNTOUCHED();
}

TEST_F(window, fixed_mapping_over_a_part_is_refused)
{
	static const struct { size_t at, size; } parts[] = {
		{ 0, PAGE }, { PAGE, PAGE }, { 2 * SLOT - PAGE, PAGE },
		{ 0, SLOT }, { SLOT, SLOT },
	};

	for (int i = 0; i < ARRAY_SIZE(parts); i++) {
		EXPECT_EQ(MAP_FAILED,
			  mmap(self->p + parts[i].at, parts[i].size, RW,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED |
			       MAP_NORESERVE, -1, 0))
			TH_LOG("part %d was replaced", i);
		EXPECT_EQ(EINVAL, errno)
			TH_LOG("part %d: %m", i);
	}
	EXPECT_EQ(MAP_FAILED, mmap(self->p, SLOT, RW, MAP_SHARED | MAP_FIXED,
				   self->region, 0));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_UNTOUCHED();
}

TEST_F(window, munmap_across_whole_windows)
{
	char *at = (char *)(60 * SLOT);

	ASSERT_EQ(at, mmap(at, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS |
			   MAP_FIXED_NOREPLACE, -1, 0));
	ASSERT_EQ(at + SLOT, mmap(at + SLOT, SLOT, RW,
				  MAP_SHARED | MAP_FIXED_NOREPLACE,
				  self->region, 0));
	ASSERT_EQ(at + 2 * SLOT, mmap(at + 2 * SLOT, PAGE, RW,
				      MAP_PRIVATE | MAP_ANONYMOUS |
				      MAP_FIXED_NOREPLACE, -1, 0));
	EXPECT_EQ(RW, rights(at + SLOT));
	EXPECT_EQ(0, munmap(at, 3 * SLOT));
	EXPECT_EQ(-SEGV_MAPERR, rights(at));
	EXPECT_EQ(-SEGV_MAPERR, rights(at + SLOT));
	EXPECT_EQ(-SEGV_MAPERR, rights(at + 2 * SLOT));
	EXPECT_UNTOUCHED();
}

TEST_F(window, userfaultfd_is_refused)
{
	static const __u64 modes[] = {
		UFFDIO_REGISTER_MODE_MISSING, UFFDIO_REGISTER_MODE_WP,
		UFFDIO_REGISTER_MODE_MINOR,
	};
	struct uffdio_api api = { .api = UFFD_API };
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		SKIP(return, "no userfaultfd: %m");
	ASSERT_EQ(0, ioctl(fd, UFFDIO_API, &api));
	for (int i = 0; i < ARRAY_SIZE(modes); i++) {
		struct uffdio_register reg = {
			.range = { (unsigned long)self->p, 2 * SLOT },
			.mode = modes[i],
		};

		EXPECT_EQ(-EINVAL, result(ioctl(fd, UFFDIO_REGISTER, &reg)));
		reg.range.len = PAGE;
		EXPECT_EQ(-EINVAL, result(ioctl(fd, UFFDIO_REGISTER, &reg)));
	}
	EXPECT_UNTOUCHED();
}

static const int advices[] = {
	MADV_WILLNEED, MADV_DONTNEED, MADV_FREE, MADV_REMOVE, MADV_COLD,
	MADV_PAGEOUT, MADV_POPULATE_READ, MADV_POPULATE_WRITE, MADV_HUGEPAGE,
	MADV_NOHUGEPAGE, MADV_COLLAPSE, MADV_MERGEABLE, 24 /* DONTNEED_LOCKED */,
	MADV_HWPOISON, MADV_SOFT_OFFLINE, MADV_WIPEONFORK,
	/* would have to be about the region's pages, and are about none */
	MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL,
};

TEST_F(window, madvise_is_refused)
{
	for (int i = 0; i < ARRAY_SIZE(advices); i++) {
		EXPECT_EQ(-EINVAL, result(madvise(self->p, 2 * SLOT, advices[i])))
			TH_LOG("advice %d, whole", advices[i]);
		EXPECT_EQ(-EINVAL, result(madvise(self->p, PMD, advices[i])))
			TH_LOG("advice %d, part", advices[i]);
		ASSERT_EQ(RET, self->p[PAGE]);
	}
	EXPECT_EQ(-EINVAL, result(madvise(self->p, PAGE, MADV_DONTFORK)));
	EXPECT_EQ(-EINVAL, result(madvise(self->p, PAGE, MADV_DODUMP)));
	EXPECT_EQ(-EINVAL, result(madvise(self->p, SLOT, MADV_DODUMP)));
	EXPECT_EQ(-EINVAL, result(msync(self->p, PAGE, MS_SYNC)));
	EXPECT_UNTOUCHED();
}

TEST_F(window, process_madvise_is_refused)
{
	static const int remote[] = {
		MADV_COLD, MADV_PAGEOUT, MADV_WILLNEED, MADV_COLLAPSE,
	};
	struct iovec vec = { self->p, PMD };
	int pidfd = syscall(SYS_pidfd_open, getpid(), 0);

	ASSERT_LE(0, pidfd);
	for (int i = 0; i < ARRAY_SIZE(remote); i++) {
		EXPECT_EQ(-EINVAL, result(syscall(SYS_process_madvise, pidfd,
						  &vec, 1, remote[i], 0)))
			TH_LOG("advice %d", remote[i]);
	}
	EXPECT_UNTOUCHED();
}

/* Without effect, or working on the whole */

TEST_F(window, locking_skips_it)
{
	EXPECT_EQ(0, mlock(self->p, OBJECT));
	EXPECT_EQ(0, munlock(self->p, OBJECT));
	EXPECT_EQ(0, mlock(self->p, 2 * SLOT));
	EXPECT_EQ(0, munlock(self->p, 2 * SLOT));
	EXPECT_EQ(0, mlockall(MCL_CURRENT));
	EXPECT_GT(CHUNK >> 10, figure("/proc/self/status", "VmLck"));
	EXPECT_EQ(0, mlockall(MCL_CURRENT | MCL_FUTURE));
	EXPECT_NE(MAP_FAILED, window(self->region, 1, RW));
	EXPECT_GT(CHUNK >> 10, figure("/proc/self/status", "VmLck"));
	EXPECT_EQ(0, munlockall());
	EXPECT_EQ(RWX, rights(self->p));
}

TEST_F(window, mincore_says_no)
{
	unsigned char resident[16];

	memset(resident, 0xff, sizeof(resident));
	ASSERT_EQ(0, mincore(self->p, sizeof(resident) * PAGE, resident));
	for (int i = 0; i < sizeof(resident); i++) {
		EXPECT_EQ(0, resident[i]);
	}
}

/* None of these has a meaning for a window; none may do it harm. */
TEST_F(window, other_walkers_do_no_harm)
{
	static const char *const files[] = {
		"/proc/self/smaps", "/proc/self/smaps_rollup",
		"/proc/self/numa_maps", "/proc/self/maps",
	};
	void *pages[1] = { self->p };
	int nodes[1] = { 0 }, status[1];
	unsigned long mask = 1;
	char buffer[4096];
	__u64 entries[16];
	int fd;

	for (int i = 0; i < ARRAY_SIZE(files); i++) {
		fd = open(files[i], O_RDONLY);
		while (fd >= 0 && read(fd, buffer, sizeof(buffer)) > 0)
			;
		close(fd);
	}
	fd = open("/proc/self/pagemap", O_RDONLY);
	if (fd >= 0)
		pread(fd, entries, sizeof(entries), (unsigned long)self->p / PAGE * 8);
	close(fd);
	for (const char *word = "1\0" "3\0" "4\0" "5\0"; *word; word += 2)
		write_file("/proc/self/clear_refs", word);
	syscall(SYS_mbind, self->p, 2 * SLOT, 2 /* BIND */, &mask, 8, 2 /* MOVE */);
	syscall(SYS_mbind, self->p, PMD, 2, &mask, 8, 2);
	syscall(SYS_move_pages, 0, 1, pages, nodes, status, 2);
	syscall(SYS_move_pages, 0, 1, pages, NULL, status, 0);
	syscall(SYS_migrate_pages, 0, 8, &mask, &mask);
	msync(self->p, OBJECT, MS_SYNC | MS_INVALIDATE);
	EXPECT_EQ(-1, syscall(SYS_remap_file_pages, self->p, PAGE, 0, 1, 0));
	EXPECT_UNTOUCHED();
}

TEST_F(window, dontfork)
{
	pid_t pid;

	ASSERT_EQ(0, madvise(self->p, 2 * SLOT, MADV_DONTFORK));
	pid = fork();
	if (pid == 0) {
		EXPECT_EQ(-SEGV_MAPERR, rights(self->p));
		_exit(0);
	}
	EXPECT_EQ(0, child_status(pid));
	ASSERT_EQ(0, madvise(self->p, 2 * SLOT, MADV_DOFORK));
	pid = fork();
	if (pid == 0) {
		EXPECT_EQ(RWX, rights(self->p));
		_exit(0);
	}
	EXPECT_EQ(0, child_status(pid));
	EXPECT_UNTOUCHED();
}

TEST_F(window, sealing)
{
	int err = result(syscall(__NR_mseal, self->p, 2 * SLOT, 0));

	if (err == -ENOSYS)
		SKIP(return, "no mseal");
	ASSERT_EQ(0, err);
	EXPECT_EQ(-EPERM, result(munmap(self->p, 2 * SLOT)));
	EXPECT_EQ(0, protect(self->region, 0, OBJECT, PROT_READ));
	EXPECT_EQ(PROT_READ, rights(self->p));
	EXPECT_EQ(0, protect(self->region, 0, OBJECT, RWX));
	EXPECT_UNTOUCHED();
}

TEST_F(window, is_not_dumped)
{
	char dir[] = "/tmp/coreXXXXXX", path[64];
	struct rlimit limit = { 256 * MIB, 256 * MIB };
	struct stat st;
	pid_t pid;

	ASSERT_NE(NULL, mkdtemp(dir));
	pid = fork();
	if (pid == 0) {
		chdir(dir);
		setrlimit(RLIMIT_CORE, &limit);
		signal(SIGABRT, SIG_DFL);
		abort();
	}
	EXPECT_TRUE(WIFSIGNALED(child_status(pid)));
	snprintf(path, sizeof(path), "%s/core", dir);
	if (stat(path, &st)) {
		snprintf(path, sizeof(path), "%s/core.%d", dir, pid);
		if (stat(path, &st)) {
			rmdir(dir);
			SKIP(return, "the system keeps no core files here");
		}
	}
	EXPECT_GT(OBJECT, st.st_size);
	unlink(path);
	rmdir(dir);
	EXPECT_UNTOUCHED();
}

/* Coming and going with processes */

TEST_F(window, windows_are_coherent)
{
	char *q = window(self->region, 1, RW);
	pid_t pid;

	ASSERT_NE(MAP_FAILED, q);
	self->p[PAGE] = 1;
	EXPECT_EQ(1, q[PAGE]);
	q[2 * PAGE] = 2;
	EXPECT_EQ(2, self->p[2 * PAGE]);
	pid = fork();
	if (pid == 0) {
		EXPECT_EQ(1, q[PAGE]);
		q[3 * PAGE] = 3;
		EXPECT_EQ(4, region_stat(self->region).windows);
		EXPECT_EQ(2, region_stat(self->region).processes);
		_exit(0);
	}
	EXPECT_EQ(0, child_status(pid));
	EXPECT_EQ(3, self->p[3 * PAGE]);
	ASSERT_EQ(0, munmap(q, SLOT));
	EXPECT_UNTOUCHED();
}

TEST_F(window, child_outlives_parents_window)
{
	int go[2];
	pid_t pid;
	char c;

	ASSERT_EQ(0, pipe(go));
	pid = fork();
	if (pid == 0) {
		close(go[1]);
		read(go[0], &c, 1);
		EXPECT_EQ(RWX, rights(self->p));
		self->p[PAGE] = 7;
		_exit(0);
	}
	ASSERT_EQ(0, munmap(self->p, 2 * SLOT));
	EXPECT_EQ(-SEGV_MAPERR, rights(self->p));
	close(go[0]);
	close(go[1]);
	EXPECT_EQ(0, child_status(pid));
	self->p = window(self->region, 2, RWX);
	ASSERT_NE(MAP_FAILED, self->p);
	EXPECT_EQ(7, self->p[PAGE]);
}

TEST_F(window, exec_drops_windows)
{
	int out[2];
	pid_t pid;
	char c;

	ASSERT_EQ(0, pipe(out));
	pid = fork();
	if (pid == 0) {
		/* sleeps without windows and without our descriptors */
		dup2(out[1], 1);
		close(out[0]);
		close(out[1]);
		execl("/bin/sh", "sh", "-c", "echo; read x", NULL);
		_exit(127);
	}
	ASSERT_EQ(1, read(out[0], &c, 1));
	EXPECT_EQ(1, region_stat(self->region).windows);
	EXPECT_EQ(1, region_stat(self->region).processes);
	kill(pid, SIGKILL);
	child_status(pid);
	EXPECT_UNTOUCHED();
}

TEST_F(window, exit_and_kill_drop_windows)
{
	for (int i = 0; i < 20; i++) {
		pid_t pid = fork();

		if (pid == 0) {
			self->p[i * PAGE] = i;
			if (i & 1)
				pause();
			_exit(0);
		}
		if (i & 1) {
			EXPECT_EQ(2, region_stat(self->region).processes);
			kill(pid, SIGKILL);
		}
		child_status(pid);
		EXPECT_EQ(1, region_stat(self->region).windows);
		EXPECT_EQ(1, region_stat(self->region).processes);
	}
	memset(self->p, RET, OBJECT);
	EXPECT_UNTOUCHED();
}

TEST_F(window, vfork_and_threads_are_one_process)
{
	pid_t pid = vfork();

	if (pid == 0) {
		self->p[PAGE] = 9;
		_exit(0);
	}
	child_status(pid);
	EXPECT_EQ(9, self->p[PAGE]);
	self->p[PAGE] = RET;
	EXPECT_EQ(1, region_stat(self->region).processes);
	EXPECT_UNTOUCHED();
}

/* close, munmap, fork and exit in every order that a seed gives */
TEST_F(window, any_order)
{
	double end = now() + stress_seconds();
	unsigned int seed = 1;

	for (; now() < end; seed++) {
		int fd = region(1);
		char *w[4] = {};
		pid_t pids[4] = {};

		ASSERT_LE(0, fd);
		for (int step = 0; step < 24; step++) {
			int i = rand_r(&seed) % 4;

			switch (rand_r(&seed) % 6) {
			case 0:
				if (fd >= 0 && !w[i]) {
					w[i] = window(fd, 1, RW);
					ASSERT_NE(MAP_FAILED, w[i]);
				}
				break;
			case 1:
				if (w[i]) {
					ASSERT_EQ(0, munmap(w[i], SLOT));
					w[i] = NULL;
				}
				break;
			case 2:
				if (pids[i]) {
					kill(pids[i], SIGKILL);
					child_status(pids[i]);
					pids[i] = 0;
				} else {
					pids[i] = fork();
					if (!pids[i]) {
						for (;;)
							for (int j = 0; j < 4; j++)
								if (w[j])
									touch(w[j] + j * PAGE, PROT_WRITE);
					}
				}
				break;
			case 3:
				if (fd >= 0)
					create_anon(fd, 0, MIB, RW);
				break;
			case 4:
				if (fd >= 0)
					unmap(fd, 0, PAGE * (1 + i));
				break;
			case 5:
				if (step > 16 && fd >= 0) {
					close(fd);
					fd = -1;
				}
				break;
			}
			for (int j = 0; j < 4; j++)
				if (w[j])
					touch(w[j] + 8 * PAGE, PROT_WRITE);
		}
		for (int i = 0; i < 4; i++) {
			if (pids[i]) {
				kill(pids[i], SIGKILL);
				child_status(pids[i]);
			}
			if (w[i])
				munmap(w[i], SLOT);
		}
		if (fd >= 0) {
			EXPECT_EQ(0, region_stat(fd).windows);
			close(fd);
		}
	}
	EXPECT_UNTOUCHED();
}

TEST_HARNESS_MAIN
