/*-------------------------------------------------------------------------
 *
 * memory.c
 *	  What memory the server may have, and why it gets no more.
 *
 * The pool is had when the server starts, or the server does not start: whoever
 * touched a page that cannot be had would die of SIGBUS, again after each restart.
 * So all of it is charged when it is mapped, and a refusal says which limit it was.
 *
 * A memory cgroup cannot be charged before pages are there, and a server may do
 * with less of its pool than all: so it is told, and refused only if the pool is to
 * be populated.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <inttypes.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "storage/pg_shmem.h"

#include "pg_mshare.h"

#define CGROUP_ROOT		"/sys/fs/cgroup"

/* oom_score_adj counts thousandths of the memory that there is, or of memory.max. */
#define OOM_SCORE_NEVER			(-1000)
#define OOM_SCORE_MAX			1000
#define OOM_SCORE_OF_CHILDREN	100

/* Bits of /proc/PID/coredump_filter */
#define CORE_SHARED			(1 << 1)
#define CORE_SHARED_HUGE	(1 << 6)

/* The number in a file that holds nothing else, or after a name in one that does */
static bool
read_number(const char *path, const char *name, uint64 *number)
{
	FILE	   *file = fopen(path, "r");
	char		line[256];
	Size		length = name == NULL ? 0 : strlen(name);
	bool		found = false;

	if (file == NULL)
		return false;
	while (!found && fgets(line, sizeof(line), file) != NULL)
		found = (length == 0 || strncmp(line, name, length) == 0) &&
			sscanf(line + length, "%" SCNu64, number) == 1;
	fclose(file);
	return found;
}

/* In /proc/meminfo */
static uint64
meminfo_bytes(const char *name)
{
	uint64		kb = 0;

	read_number("/proc/meminfo", name, &kb);
	return kb * 1024;
}

/* The group of this process in the unified hierarchy, as a path; "" if there is none */
static void
cgroup_path(char path[MAXPGPATH])
{
	FILE	   *file = fopen("/proc/self/cgroup", "r");
	char		line[MAXPGPATH];

	path[0] = '\0';
	if (file == NULL)
		return;
	while (fgets(line, sizeof(line), file) != NULL)
	{
		if (strncmp(line, "0::/", 4) == 0)
		{
			line[strcspn(line, "\n")] = '\0';
			snprintf(path, MAXPGPATH, "%s%s", CGROUP_ROOT, line + 3);
		}
	}
	fclose(file);
}

/*
 * The least that a file says of the group and those above it, less what another file
 * says is used of it, if there is one; PG_UINT64_MAX: no limit.  "group" gets the group
 * that says so.
 */
static uint64
cgroup_limit(const char *name, const char *name_used, char group[MAXPGPATH])
{
	char		path[MAXPGPATH];
	char		file[MAXPGPATH + 64];
	uint64		least = PG_UINT64_MAX;
	uint64		limit;
	uint64		used;

	for (cgroup_path(path); strlen(path) >= strlen(CGROUP_ROOT);
		 *strrchr(path, '/') = '\0')
	{
		snprintf(file, sizeof(file), "%s/%s", path, name);
		if (!read_number(file, NULL, &limit))
			continue;
		if (name_used != NULL)
		{
			snprintf(file, sizeof(file), "%s/%s", path, name_used);
			if (read_number(file, NULL, &used))
				limit -= Min(limit, used);
		}
		if (limit < least)
		{
			least = limit;
			strlcpy(group, path, MAXPGPATH);
		}
	}
	return least;
}

/*
 * Is there room in the memory cgroup?  Reports at elevel and returns false if there
 * is not and all of it is wanted now.
 */
bool
memory_check_cgroup(Size bytes, int elevel)
{
	char		group[MAXPGPATH];
	char		unused[MAXPGPATH];
	uint64		limit = cgroup_limit("memory.max", NULL, group);
	uint64		swap;

	if (limit >= bytes)
		return true;
	swap = Min(cgroup_limit("memory.swap.max", NULL, unused), meminfo_bytes("SwapTotal:"));
	if (limit + swap >= bytes)
		return true;

	ereport(mshare_populate ? elevel : WARNING,
			(errcode(ERRCODE_OUT_OF_MEMORY),
			 errmsg("the memory cgroup has no room for %zu MB of shared buffers",
					bytes >> 20),
			 errdetail("memory.max of \"%s\" is %zu MB, and %zu MB of swap space may be used.",
					   group, (Size) limit >> 20,
					   (Size) swap >> 20),
			 mshare_populate ?
			 errhint("Raise memory.max (MemoryMax= under systemd), or reduce shared_buffers.") :
			 errhint("Processes will be killed when the buffers are used. Raise memory.max (MemoryMax= under systemd), or reduce shared_buffers.")));
	return !mshare_populate;
}

/* May as many huge pages be used as have been reserved?  Else false, with errno set. */
bool
memory_check_huge_cgroup(Size bytes)
{
	char		group[MAXPGPATH];

	if (cgroup_limit("hugetlb.2MB.max", "hugetlb.2MB.current", group) >= bytes)
		return true;
	errno = EDQUOT;
	return false;
}

/* For ereport(): would so much more be above the limit on address space? */
static bool
errhint_address_space(Size bytes)
{
	struct rlimit limit;
	uint64		used = 0;

	read_number("/proc/self/statm", NULL, &used);
	used *= sysconf(_SC_PAGESIZE);
	if (getrlimit(RLIMIT_AS, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY ||
		used + bytes <= limit.rlim_cur)
		return false;
	errdetail("The limit on address space is %zu kB.",
			  (Size) limit.rlim_cur / 1024);
	errhint("Start the server with \"ulimit -v unlimited\" (LimitAS=infinity under systemd), or reduce shared_buffers.");
	return true;
}

/*
 * For ereport(): why that much memory was refused with ENOMEM.  "by_mmap": address
 * space was asked for too.
 */
int
memory_errhint(Size bytes, bool by_mmap)
{
	struct sysinfo system;
	uint64		mode = 0;

	if (by_mmap && errhint_address_space(bytes))
		return 0;

	if (read_number("/proc/sys/vm/overcommit_memory", NULL, &mode) && mode == 2)
	{
		uint64		allowed = meminfo_bytes("CommitLimit:");
		uint64		committed = meminfo_bytes("Committed_AS:");

		errdetail("vm.overcommit_memory is 2, and %zu MB of %zu MB are promised to others and to the server's own area.",
				  (Size) committed >> 20,
				  (Size) allowed >> 20);
		return errhint("Reduce shared_buffers, or raise vm.overcommit_ratio or vm.overcommit_kbytes: shared_buffers counts twice, as the server's own area keeps the place that the pool has left.");
	}

	if (sysinfo(&system) == 0)
		errdetail("The system has %zu MB of memory and swap space.",
				  (Size) (system.totalram + system.totalswap) * system.mem_unit >> 20);
	return errhint("Reduce shared_buffers.");
}

/* For ereport(): why huge pages were refused; "by_mmap" as above */
int
memory_errhint_huge(Size bytes, int sys_errno, bool by_mmap)
{
	const char *pool_2mb = "/sys/kernel/mm/hugepages/hugepages-2048kB";
	char		path[MAXPGPATH];
	char		group[MAXPGPATH];
	uint64		free = 0;
	uint64		reserved = 0;
	uint64		limit;

	if (sys_errno == EOPNOTSUPP || sys_errno == ENODEV)
		return errhint("This kernel has no huge pages of 2 MB for shared memory. Set huge_pages and pg_mshare.huge_pages to off.");

	if (by_mmap && sys_errno == ENOMEM && errhint_address_space(bytes))
		return 0;

	limit = Min(cgroup_limit("hugetlb.2MB.rsvd.max", "hugetlb.2MB.rsvd.current", path),
				cgroup_limit("hugetlb.2MB.max", "hugetlb.2MB.current", group));
	if (limit < bytes)
	{
		errdetail("The server's cgroup may have %zu MB more of huge pages.",
				  (Size) limit >> 20);
		return errhint("Raise hugetlb.2MB.max and hugetlb.2MB.rsvd.max of the cgroup, or set huge_pages and pg_mshare.huge_pages to off.");
	}

	snprintf(path, sizeof(path), "%s/free_hugepages", pool_2mb);
	read_number(path, NULL, &free);
	snprintf(path, sizeof(path), "%s/resv_hugepages", pool_2mb);
	read_number(path, NULL, &reserved);
	errdetail("Of huge pages of 2 MB %zu are free.",
			  (Size) (free - Min(free, reserved)));
	if (pool_in_place)
		return errhint("Reserve %zu huge pages of 2 MB with vm.nr_hugepages.",
					   TYPEALIGN(MEMORY_HUGE_PAGE_SIZE, bytes) / MEMORY_HUGE_PAGE_SIZE);
	if (huge_pages == HUGE_PAGES_OFF)
		return errhint("Reserve %zu huge pages of 2 MB with vm.nr_hugepages, or set pg_mshare.huge_pages to off.",
					   bytes / MEMORY_HUGE_PAGE_SIZE);
	return errhint("Reserve %zu huge pages of 2 MB with vm.nr_hugepages, and set huge_pages to off, as the server's own area takes them first. Or set pg_mshare.huge_pages to off.",
				   bytes / MEMORY_HUGE_PAGE_SIZE);
}

/* What is left of a file system of limited size; PG_UINT64_MAX: not known */
uint64
memory_left_on(const char *path)
{
	struct statfs stat;

	if (statfs(path, &stat) < 0)
		return PG_UINT64_MAX;
	return (uint64) stat.f_bavail * stat.f_bsize;
}

/*
 * The OOM killer counts little or nothing of a region for the processes that use it, or
 * the same for all.  What is left to tell them apart would make it kill the postmaster,
 * which has touched all of the server's own area, and with it the server, where a backend
 * ends in a restart.  So the others offer themselves: a process may do that.  Administrators
 * who have told PostgreSQL how to do it know better.
 */
static char child_oom_score[16] = "";

void
memory_prepare_oom(void)
{
	FILE	   *file;
	int			score;

	if (getenv("PG_OOM_ADJUST_FILE") != NULL ||
		(file = fopen("/proc/self/oom_score_adj", "r")) == NULL)
		return;
	if (fscanf(file, "%d", &score) == 1 && score > OOM_SCORE_NEVER)
		snprintf(child_oom_score, sizeof(child_oom_score), "%d",
				 Min(score + OOM_SCORE_OF_CHILDREN, OOM_SCORE_MAX));
	fclose(file);
}

/* In a child of the postmaster, before anything else; async-signal-safe */
void
memory_offer_to_oom_killer(void)
{
	int			fd;

	if (child_oom_score[0] == '\0' ||
		(fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC)) < 0)
		return;
	if (write(fd, child_oom_score, strlen(child_oom_score)) < 0)
		child_oom_score[0] = '\0';
	close(fd);
}

/* Does whoever dumps core get no more than the limit? The one that a pipe leads to does. */
static bool
core_limited(Size bytes, Size *limit_kb)
{
	FILE	   *file = fopen("/proc/sys/kernel/core_pattern", "r");
	bool		piped = file != NULL && fgetc(file) == '|';
	struct rlimit limit;

	if (file != NULL)
		fclose(file);
	if (piped || getrlimit(RLIMIT_CORE, &limit) < 0 ||
		limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur >= bytes)
		return false;
	*limit_kb = limit.rlim_cur / 1024;
	return true;
}

/*
 * Have core dumps of the postmaster and its children hold shared memory, of that kind
 * of pages: what they hold is a matter of who started the server otherwise.
 */
void
memory_let_dump(Size bytes, bool huge)
{
	FILE	   *file = fopen("/proc/self/coredump_filter", "r+");
	unsigned int filter;
	Size		limit_kb = 0;
	bool		limited = core_limited(bytes, &limit_kb);
	bool		done = file != NULL && fscanf(file, "%x", &filter) == 1;

	if (done)
	{
		rewind(file);
		filter |= huge ? CORE_SHARED_HUGE : CORE_SHARED;
		done = fprintf(file, "0x%x", filter) > 0 && fflush(file) == 0;
	}
	if (done)
		ereport(LOG,
				(errmsg("pg_mshare: a core dump of any process of the server holds shared buffers, %zu MB",
						bytes >> 20),
				 limited ?
				 errhint("The limit on core files is %zu kB. Start the server with \"pg_ctl -c\" (LimitCORE=infinity under systemd).",
						 limit_kb) : 0));
	else
		ereport(LOG,
				(errmsg("pg_mshare: core dumps do not hold shared buffers: %m"),
				 errdetail("The server cannot set its coredump_filter.")));
	if (file != NULL)
		fclose(file);
}

/* The pages that what is mapped at an address is made of, huge or not; 0: not known */
Size
memory_page_size(const void *address)
{
	FILE	   *file = fopen("/proc/self/smaps", "r");
	char		line[1024];
	bool		here = false;
	unsigned long start;
	unsigned long end;
	Size		kb = 0;

	if (file == NULL)
		return 0;
	while (kb == 0 && fgets(line, sizeof(line), file) != NULL)
	{
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			here = start <= (unsigned long) address && (unsigned long) address < end;
		else if (here && sscanf(line, "KernelPageSize: %zu kB", &kb) != 1)
			kb = 0;
	}
	fclose(file);
	return kb * 1024;
}
