// SPDX-License-Identifier: GPL-2.0
/*
 * What can be seen of regions from outside: maps, smaps, fdinfo, the figures of
 * STAT, tracepoints.
 */
#include "mshare_test.h"

#include <sys/mount.h>
#include <sys/sysmacros.h>

FIXTURE(observe)
{
	int region;
	char *p;
	char path[64];
};

FIXTURE_SETUP(observe)
{
	snprintf(self->path, sizeof(self->path), "%s/observe-%d", mshare_dir(),
		 getpid());
	self->region = open(self->path, O_CREAT | O_RDWR | O_EXCL, 0600);
	ASSERT_LE(0, self->region);
	ASSERT_EQ(0, ftruncate(self->region, SLOT));
	self->p = window(self->region, 1, RW);
	ASSERT_NE(MAP_FAILED, self->p);
}

FIXTURE_TEARDOWN(observe)
{
	munmap(self->p, SLOT);
	close(self->region);
	unlink(self->path);
}

/* The n-th line of a file that holds a text, without the newline. */
static bool find_line(const char *path, const char *text, int n, char line[512])
{
	FILE *file = fopen(path, "re");
	bool found = false;

	while (file && !found && fgets(line, 512, file))
		found = strstr(line, text) && n-- == 0;
	if (file)
		fclose(file);
	line[found ? strcspn(line, "\n") : 0] = 0;
	return found;
}

TEST_F(observe, maps_names_the_file)
{
	char line[512], start[32];

	snprintf(start, sizeof(start), "%lx-", (unsigned long)self->p);
	ASSERT_TRUE(find_line("/proc/self/maps", start, 0, line));
	EXPECT_NE(NULL, strstr(line, self->path))
		TH_LOG("%s", line);
	EXPECT_NE(NULL, strstr(line, "rw-s"));
}

/* As in linux/fs.h since 6.11 and 6.7; the headers here may be older. */
struct procmap {
	__u64 size, flags, address, start, end, vma_flags, page_size, offset;
	__u64 inode;
	__u32 major, minor, name_size, build_id_size;
	__u64 name, build_id;
};
#define PROCMAP_QUERY_		_IOWR('f', 17, struct procmap)
#define PROCMAP_READABLE	0x01
#define PROCMAP_WRITABLE	0x02
#define PROCMAP_SHARED		0x08

struct page_region_ {
	__u64 start, end, categories;
};
struct pagemap_scan {
	__u64 size, flags, start, end, walk_end, vec, vec_len, max_pages;
	__u64 inverted, all_of, any_of, returned;
};
#define PAGEMAP_SCAN_		_IOWR('f', 16, struct pagemap_scan)
#define SCAN_WRITTEN		(1 << 1)
#define SCAN_PRESENT		(1 << 3)
#define SCAN_PROTECT		(1 << 0)
#define SCAN_NEEDS_ASYNC	(1 << 1)

/* By ioctl what maps says as text */
TEST_F(observe, procmap_query_names_the_file)
{
	char name[128] = "";
	struct procmap query = {
		.size = sizeof(query), .address = (unsigned long)self->p + CHUNK,
		.name = (unsigned long)name, .name_size = sizeof(name),
	};
	int maps = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	struct stat st;

	ASSERT_EQ(0, ioctl(maps, PROCMAP_QUERY_, &query));
	ASSERT_EQ(0, fstat(self->region, &st));
	EXPECT_EQ((unsigned long)self->p, query.start);
	EXPECT_EQ((unsigned long)self->p + SLOT, query.end);
	EXPECT_EQ(PROCMAP_READABLE | PROCMAP_WRITABLE | PROCMAP_SHARED,
		  query.vma_flags);
	EXPECT_EQ(PAGE, query.page_size);
	EXPECT_EQ(0, query.offset);
	EXPECT_EQ(st.st_ino, query.inode);
	EXPECT_EQ(major(st.st_dev), query.major);
	EXPECT_EQ(minor(st.st_dev), query.minor);
	EXPECT_EQ(0, strcmp(name, self->path)) TH_LOG("%s", name);
	close(maps);
}

/* Ranges of a kind that a scan finds in so many bytes, or -errno */
static int scan(void *start, size_t bytes, __u64 flags, __u64 kind)
{
	struct page_region_ found[4];
	struct pagemap_scan scan = {
		.size = sizeof(scan), .flags = flags,
		.start = (unsigned long)start,
		.end = (unsigned long)start + bytes,
		.vec = (unsigned long)found, .vec_len = ARRAY_SIZE(found),
		.all_of = kind, .returned = kind,
	};
	int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	int ret = result(ioctl(pagemap, PAGEMAP_SCAN_, &scan));

	close(pagemap);
	return ret;
}

/*
 * pagemap sees no page of a region, as no table of the process has any; and
 * its write protection, which is the process's own, cannot reach one.
 */
TEST_F(observe, pagemap_scan_sees_a_hole)
{
	int object = memfd(MIB);
	char *plain = mmap(NULL, MIB, RW, MAP_SHARED, object, 0);

	ASSERT_NE(MAP_FAILED, plain);
	ASSERT_EQ(0, create_file(self->region, 0, MIB, RW, object, 0));
	memset(plain, 1, MIB);
	memset(self->p, 2, MIB);
	EXPECT_EQ(1, scan(plain, MIB, 0, SCAN_PRESENT));
	EXPECT_EQ(0, scan(self->p, MIB, 0, SCAN_PRESENT));
	EXPECT_EQ(0, scan(self->p, SLOT, 0, SCAN_PRESENT));
	EXPECT_EQ(-EPERM, scan(self->p, MIB, SCAN_PROTECT | SCAN_NEEDS_ASYNC,
			       SCAN_WRITTEN));
	EXPECT_EQ(RW, rights(self->p));
	self->p[0] = 3;
	EXPECT_EQ(3, plain[0]);
	munmap(plain, MIB);
	close(object);
}

#define DAMON	"/sys/kernel/mm/damon/admin/kdamonds/"

/* Monitoring of a process that has a window sees the window as idle memory. */
TEST_F(observe, damon_looks_over_a_window)
{
	char pid[16], state[8] = "";
	double start = now();
	int fd;

	if (access(DAMON "nr_kdamonds", F_OK))
		SKIP(return, "no DAMON in this kernel");
	ASSERT_EQ(0, create_anon(self->region, 0, MIB, RW));
	snprintf(pid, sizeof(pid), "%d", getpid());
	ASSERT_EQ(0, write_file(DAMON "nr_kdamonds", "1"));
	ASSERT_EQ(0, write_file(DAMON "0/contexts/nr_contexts", "1"));
	ASSERT_EQ(0, write_file(DAMON "0/contexts/0/operations", "vaddr"));
	ASSERT_EQ(0, write_file(DAMON "0/contexts/0/targets/nr_targets", "1"));
	ASSERT_EQ(0, write_file(DAMON "0/contexts/0/targets/0/pid_target", pid));
	ASSERT_EQ(0, write_file(DAMON "0/state", "on"));
	while (now() - start < stress_seconds()) {
		for (int i = 0; i < MIB; i += PAGE)
			self->p[i]++;
		ASSERT_EQ(0, protect(self->region, 0, CHUNK, PROT_READ));
		EXPECT_EQ(PROT_READ, rights(self->p));
		ASSERT_EQ(0, protect(self->region, 0, CHUNK, RW));
	}
	fd = open(DAMON "0/state", O_RDONLY);
	EXPECT_LT(0, read(fd, state, sizeof(state) - 1));
	EXPECT_EQ(0, strcmp(state, "on\n")) TH_LOG("%s", state);
	close(fd);
	EXPECT_EQ(0, write_file(DAMON "0/state", "off"));
	EXPECT_EQ(0, write_file(DAMON "nr_kdamonds", "0"));
	for (int i = PAGE; i < MIB; i += PAGE) {
		ASSERT_EQ(self->p[0], self->p[i]);
	}
}

/* The figure behind a key, in the part of smaps that is about an address */
static long smaps_kb(void *address, const char *key)
{
	char line[512], start[32];
	bool there = false;
	long value = -1;
	FILE *file = fopen("/proc/self/smaps", "re");

	snprintf(start, sizeof(start), "%lx-", (unsigned long)address);
	while (file && fgets(line, sizeof(line), file)) {
		if (!strncmp(line, start, strlen(start)))
			there = true;
		else if (there && !strncmp(line, key, strlen(key)) &&
			 sscanf(line + strlen(key), ": %ld", &value) == 1)
			break;
	}
	if (file)
		fclose(file);
	return value;
}

TEST_F(observe, smaps_tells_of_the_region)
{
	ASSERT_EQ(0, create_anon(self->region, 0, MIB, RW));
	memset(self->p, 1, MIB);
	EXPECT_EQ(SLOT / 1024, smaps_kb(self->p, "Size"));
	EXPECT_EQ(0, smaps_kb(self->p, "Rss"));
	EXPECT_EQ(1024, smaps_kb(self->p, "Region_Rss"));
	EXPECT_EQ(region_stat(self->region).page_table_bytes / 1024,
		  smaps_kb(self->p, "Region_Tables"));
}

TEST_F(observe, fdinfo_lists_what_is_mapped)
{
	char path[64], line[512];
	int object = memfd(2 * CHUNK);
	const char *expected[] = {
		"mapping:\t000000000000-000000100000 rw- 00000000 [anonymous]",
		"mapping:\t000080000000-0000c0000000 r-- 00000000 /memfd:mshare_test",
		"mapping:\t0000c0000000-0000c0001000 rw- 40000000 /memfd:mshare_test",
		"mapping:\t0000c0001000-0000c0002000 --- 40001000 /memfd:mshare_test",
		"mapping:\t0000c0002000-000100000000 rw- 40002000 /memfd:mshare_test",
	};

	ASSERT_EQ(0, create_anon(self->region, 0, MIB, RW));
	ASSERT_EQ(0, create_file(self->region, 2 * CHUNK, 2 * CHUNK, RW,
				 object, 0));
	ASSERT_EQ(0, protect(self->region, 2 * CHUNK, CHUNK, PROT_READ));
	ASSERT_EQ(0, protect(self->region, 3 * CHUNK + PAGE, PAGE, PROT_NONE));
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", self->region);
	for (int i = 0; i < ARRAY_SIZE(expected); i++) {
		ASSERT_TRUE(find_line(path, "mapping:", i, line));
		EXPECT_EQ(0, strncmp(expected[i], line, strlen(expected[i])))
			TH_LOG("line %d: '%s', not '%s'", i, line, expected[i]);
	}
	EXPECT_FALSE(find_line(path, "mapping:", ARRAY_SIZE(expected), line));

	ASSERT_EQ(0, unmap(self->region, 0, SLOT));
	EXPECT_FALSE(find_line(path, "mapping:", 0, line));
}

TEST_F(observe, fdinfo_of_many_mappings)
{
	char path[64], line[512];

	for (int i = 0; i < 3000; i++) {
		ASSERT_EQ(0, create_anon(self->region, 2 * i * PAGE, PAGE, RW));
	}
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", self->region);
	EXPECT_TRUE(find_line(path, "mapping:", 2999, line));
	EXPECT_FALSE(find_line(path, "mapping:", 3000, line));
}

TEST_F(observe, stat_counts_host_mappings)
{
	EXPECT_EQ(0, region_stat(self->region).host_vmas);
	ASSERT_EQ(0, create_anon(self->region, 0, MIB, RW));
	EXPECT_EQ(1, region_stat(self->region).host_vmas);
	ASSERT_EQ(0, protect(self->region, 4 * PAGE, PAGE, PROT_READ));
	EXPECT_EQ(3, region_stat(self->region).host_vmas);
	ASSERT_EQ(0, protect(self->region, 0, CHUNK, RW));
	EXPECT_EQ(1, region_stat(self->region).host_vmas);
	ASSERT_EQ(0, unmap(self->region, 4 * PAGE, PAGE));
	EXPECT_EQ(2, region_stat(self->region).host_vmas);
}

#define TRACING	"/sys/kernel/tracing"
#define EVENTS	TRACING "/events/mshare/enable"

TEST_F(observe, tracepoints)
{
	char line[512], ino[32];
	struct stat st;

	if (access(EVENTS, F_OK))
		mount("tracefs", TRACING, "tracefs", 0, NULL);
	if (access(EVENTS, F_OK))
		SKIP(return, "no tracing in this kernel");
	ASSERT_EQ(0, fstat(self->region, &st));
	snprintf(ino, sizeof(ino), "ino=%lu ", (unsigned long)st.st_ino);
	ASSERT_EQ(0, create_anon(self->region, 0, MIB, RW));

	ASSERT_EQ(0, write_file(EVENTS, "1"));
	close(open(TRACING "/trace", O_WRONLY | O_TRUNC));
	munmap(self->p, SLOT);
	self->p = window(self->region, 1, RW);
	self->p[5 * PAGE] = 1;
	ASSERT_EQ(0, protect(self->region, 0, MIB, PROT_READ));
	ASSERT_EQ(0, fault_mode(self->region, MSHARE_FAULT_WAIT, 0, 1000000));
	EXPECT_EQ(SEGV_ACCERR, touch(self->p, PROT_WRITE));
	ASSERT_EQ(0, write_file(EVENTS, "0"));

	EXPECT_TRUE(find_line(TRACING "/trace", "mshare_attach: ", 0, line));
	EXPECT_NE(NULL, strstr(line, ino)) TH_LOG("%s", line);
	EXPECT_TRUE(find_line(TRACING "/trace", "mshare_fault: ", 0, line));
	EXPECT_NE(NULL, strstr(line, "offset=0x5000 ")) TH_LOG("%s", line);
	EXPECT_NE(NULL, strstr(line, "WRITE")) TH_LOG("%s", line);
	EXPECT_TRUE(find_line(TRACING "/trace", "mshare_flip: ", 0, line));
	EXPECT_NE(NULL, strstr(line, "range=0x0-0x100000 prot=1 entries=1"))
		TH_LOG("%s", line);
	EXPECT_TRUE(find_line(TRACING "/trace", "mshare_shootdown: ", 0, line));
	EXPECT_NE(NULL, strstr(line, "sharers=1 ")) TH_LOG("%s", line);
	EXPECT_TRUE(find_line(TRACING "/trace", "DENIED", 0, line));
	EXPECT_TRUE(find_line(TRACING "/trace", "mshare_wait: ", 0, line));
	EXPECT_NE(NULL, strstr(line, "offset=0x0 access=2 ")) TH_LOG("%s", line);
}

TEST_HARNESS_MAIN
