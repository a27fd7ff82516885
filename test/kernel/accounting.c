// SPDX-License-Identifier: GPL-2.0
/*
 * Who pays: the memory cgroup of a region's creator, PageTables once for all,
 * nothing in the processes that look at it; and everything given back.
 */
#include "mshare_test.h"
#include "mshare_mm.h"

#include <sys/param.h>

#define OBJECT	(32 * MIB)

FIXTURE(accounting)
{
	int region;
	char path[64];
};

FIXTURE_SETUP(accounting)
{
	snprintf(self->path, sizeof(self->path), "%s/accounting-%d",
		 mshare_dir(), getpid());
	self->region = -1;
}

FIXTURE_TEARDOWN(accounting)
{
	close(self->region);
	unlink(self->path);
	write_file("/proc/sys/vm/overcommit_memory", "0");
	write_file("/proc/sys/vm/overcommit_ratio", "50");	/* unsets kbytes */
	write_file(group_path("creator", "memory.max"), "max");
	group_leave("creator");
	group_leave("user");
}

/* A region that was made in a group, by a process that is gone already */
static int region_of(const char *path, const char *group)
{
	pid_t pid = fork();

	if (pid == 0) {
		int fd;

		if (group_enter(group))
			_exit(1);
		fd = open(path, O_CREAT | O_RDWR | O_EXCL, 0600);
		_exit(fd < 0 || ftruncate(fd, SLOT) ||
		      create_anon(fd, 0, OBJECT, RW));
	}
	return child_status(pid) ? -1 : open(path, O_RDWR);
}

static void fill(char *p, size_t size)
{
	for (size_t at = 0; at < size; at += PAGE)
		p[at] = 1;
}

TEST_F(accounting, creators_group_pays)
{
	long creator, user;
	pid_t pid;

	if (group_create("creator") || group_create("user"))
		SKIP(return, "no memory cgroups: %m");
	self->region = region_of(self->path, "creator");
	ASSERT_LE(0, self->region);
	creator = group_bytes("creator");
	user = group_bytes("user");
	pid = fork();
	if (pid == 0) {
		group_enter("user");
		fill(window(self->region, 1, RW), OBJECT);
		EXPECT_LE(creator + OBJECT - MIB, group_bytes("creator"));
		EXPECT_GE(user + OBJECT / 4, group_bytes("user"));
		_exit(0);
	}
	EXPECT_EQ(0, child_status(pid));
	EXPECT_LE(creator + OBJECT - MIB, group_bytes("creator"));
	/* and is paid back */
	ASSERT_EQ(0, unmap(self->region, 0, SLOT));
	for (int i = 0; i < 100 &&
	     group_bytes("creator") > creator + 2 * MIB; i++)
		sleep_us(20000);
	EXPECT_GE(creator + 2 * MIB, group_bytes("creator"));
}

TEST_F(accounting, an_objects_pages_too)
{
	long creator;
	int object;
	char *p;

	if (group_create("creator"))
		SKIP(return, "no memory cgroups: %m");
	self->region = region_of(self->path, "creator");
	ASSERT_LE(0, self->region);
	creator = group_bytes("creator");
	object = memfd(OBJECT);
	ASSERT_EQ(0, create_file(self->region, CHUNK, OBJECT, RW, object, 0));
	p = window(self->region, 1, RW);
	fill(p + CHUNK, OBJECT);
	EXPECT_LE(creator + OBJECT - MIB, group_bytes("creator"));
	close(object);
}

/* A file of a disk, with a hole or with bytes that are not in the page cache */
static int disk_file(size_t size, bool hole)
{
	int fd = open("/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	char page[PAGE];
	struct statfs fs;

	if (fd < 0 || fstatfs(fd, &fs) || fs.f_type == TMPFS_MAGIC)
		return -1;
	if (hole)
		return ftruncate(fd, size) ? -1 : fd;
	memset(page, RET, sizeof(page));
	for (size_t at = 0; at < size; at += PAGE)
		if (write(fd, page, PAGE) != PAGE)
			return -1;
	fsync(fd);
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	return fd;
}

/*
 * Who has the file open for reading only, and is in another group, pays for what
 * his reading brings in, as with tmpfs: holes of the three kinds of objects.
 */
TEST_F(accounting, who_may_only_read_pays)
{
	int memory = memfd(OBJECT), disk = disk_file(OBJECT, true);

	if (group_create("creator") || group_create("user"))
		SKIP(return, "no memory cgroups: %m");
	ASSERT_LE(0, disk);
	self->region = region_of(self->path, "creator");
	ASSERT_LE(0, self->region);
	ASSERT_EQ(0, create_file(self->region, CHUNK, OBJECT, RW, memory, 0));
	ASSERT_EQ(0, create_file(self->region, 2 * CHUNK, OBJECT, RW, disk, 0));
	for (int kind = 0; kind < 3; kind++) {
		long creator = group_bytes("creator");
		long user = group_bytes("user");
		pid_t pid = fork();

		if (pid == 0) {
			int fd = open(self->path, O_RDONLY);
			char *p, any = 0;

			group_enter("user");
			p = window(fd, 1, PROT_READ) + kind * CHUNK;
			for (size_t at = 0; at < OBJECT; at += PAGE)
				any |= p[at];
			EXPECT_EQ(0, any);
			EXPECT_LE(user + OBJECT - MIB, group_bytes("user"))
				TH_LOG("kind %d", kind);
			_exit(0);
		}
		EXPECT_EQ(0, child_status(pid));
		EXPECT_GE(creator + MIB, group_bytes("creator"))
			TH_LOG("kind %d", kind);
	}
	/* they are pages like any other */
	pid_t pid = fork();

	if (pid == 0) {
		char *p = window(self->region, 1, RW);

		for (int kind = 0; kind < 3; kind++)
			fill(p + kind * CHUNK, OBJECT);
		_exit(0);
	}
	EXPECT_EQ(0, child_status(pid));
	EXPECT_EQ(3 * OBJECT, region_stat(self->region).resident_bytes);
	close(memory);
	close(disk);
}

/* Faults count where they count with plain shared memory: with who takes them. */
TEST_F(accounting, faults_are_in_the_groups_statistics)
{
	static const char *const keys[] = { "pgfault", "pgmajfault" };
	long counts[2][2];			/* [plain, window][key] */

	if (group_create("creator") || group_create("user"))
		SKIP(return, "no memory cgroups: %m");
	self->region = region_of(self->path, "creator");
	ASSERT_LE(0, self->region);
	for (int in_window = 0; in_window < 2; in_window++) {
		int memory = memfd(OBJECT), disk = disk_file(OBJECT, false);
		long before[2];
		pid_t pid;

		ASSERT_LE(0, disk);
		ASSERT_EQ(0, create_file(self->region, CHUNK, OBJECT, RW, memory, 0));
		ASSERT_EQ(0, create_file(self->region, 2 * CHUNK, OBJECT, RW, disk, 0));
		sleep_us(2500000);		/* what is late is counted by then */
		for (int i = 0; i < 2; i++)
			before[i] = figure(group_path("user", "memory.stat"), keys[i]);
		pid = fork();
		if (pid == 0) {
			char *p, *q;

			group_enter("user");
			if (in_window) {
				p = window(self->region, 1, RW) + CHUNK;
				q = p + CHUNK;
			} else {
				p = mmap(NULL, OBJECT, RW, MAP_SHARED, memory, 0);
				q = mmap(NULL, OBJECT, RW, MAP_SHARED, disk, 0);
			}
			fill(p, OBJECT);
			fill(q, OBJECT);
			_exit(0);
		}
		EXPECT_EQ(0, child_status(pid));
		sleep_us(2500000);
		for (int i = 0; i < 2; i++)
			counts[in_window][i] = figure(group_path("user", "memory.stat"),
						      keys[i]) - before[i];
		close(memory);
		close(disk);
		ASSERT_EQ(0, unmap(self->region, CHUNK, 3 * CHUNK));
	}
	EXPECT_LE(OBJECT / PAGE, counts[0][0]);
	EXPECT_LT(0, counts[0][1]);
	for (int i = 0; i < 2; i++) {
		TH_LOG("%s: plain %ld, window %ld", keys[i], counts[0][i], counts[1][i]);
		EXPECT_LE(counts[0][i] - counts[0][i] / 8, counts[1][i]);
		EXPECT_GE(counts[0][i] + counts[0][i] / 8 + 64, counts[1][i]);
		/* as a module, mshare has a host mm whose owner's group counts too */
		if (!is_module()) {
			EXPECT_GE(64, figure(group_path("creator", "memory.stat"),
					     keys[i]));
		}
	}
}

/* Committed_AS, in KiB, while a test's other memory hardly changes */
static bool committed_since(long before, long bytes)
{
	long kb = meminfo_kb("Committed_AS") - before - bytes / 1024;

	return kb > -1024 && kb < 1024;
}

#define OVERCOMMIT	"/proc/sys/vm/overcommit_"

TEST_F(accounting, overcommit_is_that_of_shared_memory)
{
	const unsigned int reserved = MAP_SHARED | MAP_ANONYMOUS;
	const unsigned int not_reserved = reserved | MAP_NORESERVE;
	char kilobytes[32];
	long before;

	swapoff("/dev/vdb");		/* would count for the limit */
	self->region = region(1);
	ASSERT_LE(0, self->region);
	before = meminfo_kb("Committed_AS");
	ASSERT_EQ(0, create_flags(self->region, 0, OBJECT, RW, reserved, -1, 0));
	EXPECT_TRUE(committed_since(before, OBJECT));
	ASSERT_EQ(0, create_flags(self->region, CHUNK, OBJECT, RW, not_reserved,
				  -1, 0));
	EXPECT_TRUE(committed_since(before, OBJECT));
	ASSERT_EQ(0, unmap(self->region, 0, SLOT));
	EXPECT_TRUE(committed_since(before, 0));

	/* where nothing is overcommitted MAP_NORESERVE means nothing */
	snprintf(kilobytes, sizeof(kilobytes), "%ld",
		 before + (long)(OBJECT + OBJECT / 2) / 1024);
	ASSERT_EQ(0, write_file(OVERCOMMIT "kbytes", kilobytes));
	ASSERT_EQ(0, write_file(OVERCOMMIT "memory", "2"));
	EXPECT_EQ(0, create_flags(self->region, 0, OBJECT, RW, not_reserved,
				  -1, 0));
	EXPECT_TRUE(committed_since(before, OBJECT));
	EXPECT_EQ(-ENOMEM, create_flags(self->region, CHUNK, OBJECT, RW,
					not_reserved, -1, 0));
	EXPECT_EQ(OBJECT, region_stat(self->region).mapped_bytes);
	EXPECT_TRUE(committed_since(before, OBJECT));
	write_file(OVERCOMMIT "memory", "0");
	EXPECT_EQ(0, create_flags(self->region, CHUNK, OBJECT, RW, not_reserved,
				  -1, 0));
}

/* More than the group may have goes to swap, by whoever touches it. */
TEST_F(accounting, group_limit_bounds_the_region)
{
	const char *why = swap_setup();
	char *p;

	if (why)
		SKIP(return, "%s", why);
	if (group_create("creator"))
		SKIP(return, "no memory cgroups: %m");
	ASSERT_EQ(0, write_file(group_path("creator", "memory.max"), "16M"));
	self->region = region_of(self->path, "creator");
	ASSERT_LE(0, self->region);
	p = window(self->region, 1, RW);
	for (size_t at = 0; at < OBJECT; at += PAGE) {
		*(size_t *)(p + at) = at;
		if (at % MIB == 0) {
			EXPECT_GE(17 * MIB, group_bytes("creator"));
		}
	}
	for (size_t at = 0; at < OBJECT; at += PAGE) {
		ASSERT_EQ(at, *(size_t *)(p + at));
	}
	EXPECT_GE(17 * MIB, group_bytes("creator"));
	EXPECT_EQ(0, protect(self->region, 0, CHUNK, PROT_READ));
	EXPECT_EQ(PROT_READ, rights(p));
	ASSERT_EQ(0, write_file(group_path("creator", "memory.max"), "max"));
}

/* How often the OOM killer came to a group */
static long group_oom_kills(const char *name)
{
	return figure(group_path(name, "memory.events"), "oom_kill");
}

/* How many records of the kernel's log hold a text, from where @log is read on */
static int log_records(int log, const char *text)
{
	char record[8192];
	int found = 0;
	ssize_t n;

	while ((n = read(log, record, sizeof(record) - 1)) > 0 ||
	       (n < 0 && errno == EPIPE)) {
		record[MAX(n, 0)] = '\0';
		found += strstr(record, text) != NULL;
	}
	return found;
}

/* The pages of an object that a store reaches before one is SIGBUS */
static size_t fill_until_denied(char *p, size_t size)
{
	size_t at = 0;

	while (at < size && !touch(p + at, PROT_WRITE))
		at += PAGE;
	return at;
}

/*
 * Without swap, a group whose region has taken all it may is out of memory,
 * whoever touches the region: who is killed is in the group, not outside. The
 * region's memory is not freed by that; with nobody left to kill, who asks for
 * more of it gets SIGBUS, a system call EFAULT, and the log tells it once, however
 * often that is tried. What is there can be used all the while, and with more memory
 * so can the rest.
 */
TEST_F(accounting, oom_is_inside_the_group)
{
	int log = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	int held[2], zero;
	struct mshare_advise populate = {
		.region_offset = 0, .size = OBJECT, .advice = MADV_POPULATE_WRITE,
	};
	struct {
		volatile size_t got;
		volatile int denied, called;
		volatile bool done;
	} *seen = shared_page(PAGE);
	pid_t member, toucher;
	char c;

	if (group_create("creator") || group_create("user"))
		SKIP(return, "no memory cgroups: %m");
	ASSERT_EQ(0, write_file(group_path("creator", "memory.max"), "16M"));
	write_file(group_path("creator", "memory.swap.max"), "0");
	self->region = region_of(self->path, "creator");
	ASSERT_LE(0, self->region);
	ASSERT_EQ(0, pipe(held));
	member = fork();
	if (member == 0) {
		group_enter("creator");
		write(held[1], "", 1);
		for (;;)
			pause();
	}
	ASSERT_EQ(1, read(held[0], &c, 1));
	ASSERT_EQ(0, lseek(log, 0, SEEK_END));
	toucher = fork_on(-1);
	if (toucher == 0) {
		char *p = window(self->region, 1, RW);

		group_enter("user");
		zero = open("/dev/zero", O_RDONLY);
		seen->got = fill_until_denied(p, OBJECT);
		/* a program may take a SIGBUS for a reason to try again */
		for (int i = 0; i < 200; i++) {
			seen->denied += touch(p + seen->got, PROT_WRITE) == DENIED_BUS;
			seen->called += result(read(zero, p + seen->got, 1)) == -EFAULT;
			ioctl(self->region, MSHAREFS_ADVISE, &populate);
		}
		for (size_t at = 0; at < seen->got; at += PAGE)
			p[at]++;
		seen->done = true;
		read(held[0], &c, 1);
		fill(p, OBJECT);
		_exit(0);
	}
	EXPECT_EQ(SIGKILL, WTERMSIG(child_status(member)));
	EXPECT_LE(1, group_oom_kills("creator"));
	/* a flip does not wait for the toucher */
	for (int i = 0; i < 100; i++) {
		EXPECT_EQ(0, protect(self->region, OBJECT - PAGE, PAGE, PROT_READ));
		EXPECT_EQ(0, protect(self->region, OBJECT - PAGE, PAGE, RW));
	}
	EXPECT_TRUE(UNTIL(seen->done));
	EXPECT_EQ(0, group_oom_kills("user"));
	EXPECT_GE(17 * MIB, group_bytes("creator"));
	EXPECT_LT(8 * MIB, seen->got);
	EXPECT_GT(16 * MIB, seen->got);
	EXPECT_EQ(200, seen->denied);
	EXPECT_EQ(200, seen->called);
	EXPECT_EQ(1, log_records(log, "no killable processes"));
	close(log);

	ASSERT_EQ(0, write_file(group_path("creator", "memory.max"), "max"));
	write(held[1], "", 1);
	EXPECT_EQ(0, child_status(toucher));
	EXPECT_EQ(OBJECT, region_stat(self->region).resident_bytes);
	munmap(seen, PAGE);
}

/*
 * Whose region it is that has a group's memory is killed for it, not another
 * that has less: what is mapped in a region counts as if it were mapped from
 * tmpfs.
 */
TEST_F(accounting, the_oom_killer_finds_who_has_the_region)
{
	pid_t innocent, hog;
	int ready[2];
	char c;

	if (group_create("creator"))
		SKIP(return, "no memory cgroups: %m");
	ASSERT_EQ(0, write_file(group_path("creator", "memory.max"), "64M"));
	write_file(group_path("creator", "memory.swap.max"), "0");
	ASSERT_EQ(0, pipe(ready));
	innocent = fork_on(-1);
	if (innocent == 0) {
		group_enter("creator");
		fill(mmap(NULL, 8 * MIB, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
		     8 * MIB);
		write(ready[1], "", 1);
		for (;;)
			pause();
	}
	ASSERT_EQ(1, read(ready[0], &c, 1));
	hog = fork_on(-1);
	if (hog == 0) {
		group_enter("creator");
		self->region = region(1);
		create_anon(self->region, 0, 128 * MIB, RW);
		fill(window(self->region, 1, RW), 128 * MIB);
		_exit(0);
	}
	EXPECT_EQ(SIGKILL, WTERMSIG(child_status(hog)));
	EXPECT_EQ(0, waitpid(innocent, NULL, WNOHANG));
	kill(innocent, SIGKILL);
	child_status(innocent);
}

static long rss_shmem(pid_t pid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	return figure(path, "RssShmem") * 1024;
}

/* About all of it, as the processes are told by steps */
static bool rss_is(pid_t pid, long before, long bytes)
{
	long rss = rss_shmem(pid) - before;

	return rss >= bytes - bytes / 8 - 2 * (long)MIB &&
		rss <= bytes + bytes / 8 + 2 * (long)MIB;
}

/* Each process that has a window has the region's pages, and once only. */
TEST_F(accounting, resident_pages_are_each_sharers)
{
	long before = rss_shmem(getpid());
	int disk = disk_file(OBJECT, true);
	pid_t child;
	char *p, *q;

	self->region = region(1);
	ASSERT_LE(0, self->region);
	ASSERT_LE(0, disk);
	ASSERT_EQ(0, create_anon(self->region, 0, OBJECT, RW));
	ASSERT_EQ(0, create_file(self->region, CHUNK, OBJECT, RW, disk, 0));
	p = window(self->region, 1, RW);
	child = fork_on(-1);
	if (child == 0) {
		pause();
		_exit(0);
	}
	EXPECT_TRUE(rss_is(getpid(), before, 0));
	fill(p, OBJECT);
	EXPECT_TRUE(rss_is(getpid(), before, OBJECT));
	EXPECT_TRUE(rss_is(child, 0, OBJECT));
	fill(p + CHUNK, OBJECT);
	q = window(self->region, 1, PROT_READ);
	EXPECT_TRUE(rss_is(getpid(), before, 2 * OBJECT));
	EXPECT_TRUE(rss_is(child, 0, 2 * OBJECT));
	kill(child, SIGKILL);
	child_status(child);
	child = fork_on(-1);
	if (child == 0)
		_exit(!rss_is(getpid(), 0, 2 * OBJECT));
	EXPECT_EQ(0, child_status(child));
	ASSERT_EQ(0, unmap(self->region, 0, CHUNK));
	EXPECT_TRUE(rss_is(getpid(), before, OBJECT));
	munmap(p, SLOT);
	EXPECT_TRUE(rss_is(getpid(), before, OBJECT));
	munmap(q, SLOT);
	EXPECT_TRUE(rss_is(getpid(), before, 0));
	close(disk);
}

TEST_F(accounting, page_tables_are_counted_once)
{
	long start = meminfo_kb("PageTables"), one, idle, users;
	struct mshare_stat stat;
	pid_t pids[16];
	int ready[2];
	char c;
	char *p;

	self->region = region(1);
	ASSERT_LE(0, self->region);
	ASSERT_EQ(0, create_anon(self->region, 0, OBJECT, RW));
	p = window(self->region, 1, RW);
	fill(p, OBJECT);
	one = meminfo_kb("PageTables");
	stat = region_stat(self->region);
	/* 16 tables of entries, one or two above them, the view */
	EXPECT_LE(17 * PAGE, stat.page_table_bytes);
	EXPECT_GE(24 * PAGE, stat.page_table_bytes);
	EXPECT_LE(start + 17 * 4, one);
	EXPECT_GE(start + 24 * 4 + 128, one);
	EXPECT_EQ(OBJECT, stat.resident_bytes);

	/* processes that touch nothing, and processes that touch it all */
	for (int round = 0; round < 2; round++) {
		ASSERT_EQ(0, pipe(ready));
		for (int i = 0; i < ARRAY_SIZE(pids); i++) {
			pids[i] = fork();
			if (pids[i] == 0) {
				if (round)
					fill(p, OBJECT);
				write(ready[1], "", 1);
				pause();
			}
		}
		for (int i = 0; i < ARRAY_SIZE(pids); i++)
			read(ready[0], &c, 1);
		*(round ? &users : &idle) = meminfo_kb("PageTables");
		for (int i = 0; i < ARRAY_SIZE(pids); i++) {
			kill(pids[i], SIGKILL);
			child_status(pids[i]);
		}
		sleep_us(100000);
	}
	/* less than one page for each; private tables would be 64 kB each */
	EXPECT_GT(idle + 4 * (long)ARRAY_SIZE(pids), users);
	EXPECT_EQ(stat.page_table_bytes, region_stat(self->region).page_table_bytes);
}

TEST_F(accounting, users_own_no_tables)
{
	long before, after;
	pid_t pid;
	char *p;

	self->region = region(2);
	ASSERT_LE(0, self->region);
	ASSERT_EQ(0, create_anon(self->region, SLOT - OBJECT / 2, OBJECT, RW));
	p = window(self->region, 2, RW);
	pid = fork();
	if (pid == 0) {
		before = figure("/proc/self/status", "VmPTE");
		fill(p + SLOT - OBJECT / 2, OBJECT);
		after = figure("/proc/self/status", "VmPTE");
		EXPECT_GE(before + 8, after);
		_exit(0);
	}
	EXPECT_EQ(0, child_status(pid));
}

TEST_F(accounting, tables_are_given_back)
{
	long start = meminfo_kb("PageTables"), end = 0;
	char *p;

	self->region = region(2);
	ASSERT_LE(0, self->region);
	ASSERT_EQ(0, create_sparse(self->region, 0, 2 * SLOT, RW));
	p = window(self->region, 2, RW);
	for (unsigned long at = 0; at < 2 * SLOT; at += 8 * CHUNK)
		p[at] = 1;
	EXPECT_LT(start + 128 * 4, meminfo_kb("PageTables"));
	close(self->region);
	self->region = -1;
	munmap(p, 2 * SLOT);
	for (int i = 0; i < 100; i++) {
		end = meminfo_kb("PageTables");
		if (end < start + 64)
			break;
		sleep_us(20000);
	}
	EXPECT_GT(start + 64, end);
}

TEST_F(accounting, faults_are_counted)
{
	long before;
	char *p;

	self->region = region(1);
	ASSERT_LE(0, self->region);
	ASSERT_EQ(0, create_anon(self->region, 0, MIB, RW));
	p = window(self->region, 1, RW);
	before = region_stat(self->region).faults;
	fill(p, MIB);
	EXPECT_LE(before + 1, region_stat(self->region).faults);
	EXPECT_GE(before + MIB / PAGE + 16, region_stat(self->region).faults);
}

TEST_HARNESS_MAIN
