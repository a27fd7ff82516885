/*-------------------------------------------------------------------------
 *
 * provider_mshare.c
 *	  Keep the pool in an msharefs region and flip it with one ioctl().
 *
 * The region is unnamed, so that nothing is left behind however the server ends.
 * The pool is mapped at its start and the region holds nothing else, so a flip of
 * the whole pool covers all that is mapped in each of its chunks and is carried
 * out in the region's view tables: one store per GiB, for all processes at once.
 *
 * In place the region holds the server's own shared memory (MSHARE_FROM_MM), and the pool
 * is a window to it all the same.  What the region holds are whole pages: huge ones at the
 * ends of the blocks have others' data too, so instead of them the region has a little
 * memory of its own at its end.  Which buffer is where does not matter, as all are empty
 * when the server starts.  The server's own mapping of these pages is made read-only before
 * the first child is forked, so that no address leads around what the region denies.  The
 * region lets go of the memory when the server does, before it starts again after a crash,
 * and then takes what the server has made anew.
 *
 * The descriptor stays open in every process, as any of them may flip.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/msharefs.h>

#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/fd.h"

#include "pg_mshare.h"

#ifndef MAP_HUGE_2MB
#define MAP_HUGE_2MB		(21 << 26)
#endif

#define PAGE_TABLE_ENTRIES	512

/* A flag that no kernel knows */
#define MSHARE_UNKNOWN		0x8000000

int			region_fd = -1;

/* Does this kernel know the file system at all? */
static bool
kernel_has_msharefs(void)
{
	FILE	   *file = fopen("/proc/filesystems", "r");
	char		line[128];
	bool		found = false;

	if (file == NULL)
		return false;
	while (!found && fgets(line, sizeof(line), file) != NULL)
		found = strstr(line, "\tmsharefs\n") != NULL;
	fclose(file);
	return found;
}

/* The granule of sizes and alignment, or 0 after ereport(elevel). */
static Size
region_granule(int elevel)
{
	char		path[MAXPGPATH];
	FILE	   *file;
	unsigned long granule = 0;

	snprintf(path, sizeof(path), "%s/mshare_info", mshare_path);
	file = fopen(path, "r");
	if (file != NULL)
	{
		if (fscanf(file, "%lu", &granule) != 1)
			granule = 0;
		fclose(file);
		if (granule == 0)
			ereport(elevel,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("could not understand \"%s\"", path)));
	}
	else if (!kernel_has_msharefs())
		ereport(elevel,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("this kernel has no msharefs"),
				 errhint("Boot a kernel built with CONFIG_MSHARE=y, or set pg_mshare.provider to mprotect.")));
	else if (errno == EACCES)
		ereport(elevel,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("no permission to read \"%s\": %m", path),
				 errhint("Let the server's user into that directory.")));
	else
		ereport(elevel,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("msharefs is not mounted on \"%s\"", mshare_path),
				 errhint("Run \"mount -t msharefs -o mode=1777 msharefs %s\" as root, or set pg_mshare.path to where it is mounted.",
						 mshare_path)));
	return granule;
}

static int
region_create(int elevel)
{
	/* O_NONBLOCK is for its events (denials.c) */
	int			fd = open(mshare_path,
						  O_TMPFILE | O_RDWR | O_CLOEXEC | O_NONBLOCK, 0600);
	bool		no_space = fd < 0 && errno == ENOSPC;
	bool		read_only = fd < 0 && errno == EROFS;

	if (fd >= 0)
		return fd;

	if (errno == EACCES || errno == EPERM)
		ereport(elevel,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("no permission to create a region in \"%s\": %m", mshare_path),
				 errhint("Run \"mount -o remount,mode=1777 %s\" as root, or mount it with uid= the server's user.",
						 mshare_path)));
	else
		ereport(elevel,
				(errcode(no_space ? ERRCODE_CONFIGURATION_LIMIT_EXCEEDED :
						 ERRCODE_SYSTEM_ERROR),
				 errmsg("could not create a region in \"%s\": %m", mshare_path),
				 no_space ?
				 errhint("The mount's limit nr_regions= is reached.") :
				 read_only ?
				 errhint("The server sees that mount read-only. If its service manager makes it so (systemd: ProtectKernelTunables=, ProtectSystem=), add \"%s\" to ReadWritePaths=, or mount msharefs elsewhere, outside of /sys, and set pg_mshare.path.",
						 mshare_path) : 0));
	return -1;
}

/*
 * Is there room below the mount's limit for so much of the pool that is memory of the
 * region's own, and the page tables that all of it will have?  Those come later, page by
 * page, and whoever then finds no room dies.
 */
static bool
mount_has_room(Size own, Size bytes, Size page_size, Size *needed)
{
	/* a table for each 512 pages, for each 512 of these, and the region's own two */
	Size		tables = bytes / page_size / PAGE_TABLE_ENTRIES + 1;

	tables += tables / PAGE_TABLE_ENTRIES + 3;
	*needed = own + tables * sysconf(_SC_PAGESIZE);
	return *needed <= memory_left_on(mshare_path);
}

/* For ereport(): the mount's limit is reached */
static int
errhint_mount_size(Size needed)
{
	errdetail("The mount has %zu kB left, and %zu kB are needed, page tables included.",
			  (Size) memory_left_on(mshare_path) / 1024, needed / 1024);
	return errhint("Reduce shared_buffers, or raise the limit size= of the mount on \"%s\".",
				   mshare_path);
}

/* Put shared memory into the region: anonymous, or what is mapped at an address. */
static bool
region_create_mapping(int fd, Size offset, Size bytes, int flags, const char *from)
{
	struct mshare_create create = {
		.region_offset = offset,
		.size = bytes,
		.offset = (uintptr_t) from,
		.prot = PROT_READ | PROT_WRITE,
		.flags = MAP_SHARED | flags,
		.fd = (__u32) -1,
	};

	return ioctl(fd, MSHAREFS_CREATE_MAPPING, &create) == 0;
}

/* The whole pages among the server's blocks, and how many bytes they have */
static char *
whole_pages(Size page_size, Size *bytes)
{
	char	   *end = BufferBlocks + (Size) NBuffers * BLCKSZ;
	char	   *start = (char *) TYPEALIGN(page_size, BufferBlocks);

	end = (char *) TYPEALIGN_DOWN(page_size, end);
	*bytes = start < end ? end - start : 0;
	return start;
}

/* Put the server's own pages into the region, and memory for the rest of the pool. */
static bool
region_take_pages(int fd, Size bytes, Size page_size)
{
	Size		taken;
	char	   *pages = whole_pages(page_size, &taken);
	int			flags = MSHARE_FROM_MM | (mshare_debug_move_pool ? MSHARE_UNKNOWN : 0);

	return (taken == 0 || region_create_mapping(fd, 0, taken, flags, pages)) &&
		(taken == bytes ||
		 region_create_mapping(fd, taken, bytes - taken, MAP_ANONYMOUS, NULL));
}

static bool
region_unmap(int fd, Size bytes)
{
	struct mshare_unmap unmap = {.size = bytes};

	return ioctl(fd, MSHAREFS_UNMAP, &unmap) == 0;
}

/*
 * Let nobody write where the server has these pages itself, and core dumps not have them
 * twice.  Reading there is allowed, as pg_shmem_allocations_numa does it.
 */
static bool
cover_pages(Size page_size, int prot)
{
	Size		taken;
	char	   *pages = whole_pages(page_size, &taken);

	return mprotect(pages, taken, prot) == 0 &&
		madvise(pages, taken, prot == PROT_READ ? MADV_DONTDUMP : MADV_DODUMP) == 0;
}

/* Leave the pool in place, or say why it is moved. */
static bool
region_fill_in_place(int fd, Size bytes, Size *page_size)
{
	Size		taken;
	Size		needed;
	int			sys_errno = ENOSPC;

	*page_size = memory_page_size(BufferBlocks);
	whole_pages(*page_size, &taken);
	if (mount_has_room(bytes - taken, bytes, *page_size, &needed))
	{
		if (region_take_pages(fd, bytes, *page_size))
			return true;
		sys_errno = errno;
		region_unmap(fd, bytes);
	}
	errno = sys_errno;
	ereport(LOG,
			(errmsg("pg_mshare: shared buffers are moved out of the server's own area: %m"),
			 sys_errno == ENOSPC ? errhint_mount_size(needed) :
			 sys_errno == EINVAL ?
			 errdetail("This kernel's msharefs cannot share memory that a process has mapped (MSHARE_FROM_MM).") : 0));
	return false;
}

static bool
region_fill(int fd, Size *bytes, Size *page_size, int elevel)
{
	Size		needed;
	int			sys_errno;

	if (pool_in_place)
	{
		pool_in_place = region_fill_in_place(fd, *bytes, page_size);
		if (pool_in_place)
			return *page_size == MEMORY_HUGE_PAGE_SIZE || memory_check_cgroup(*bytes, elevel);
	}

	if (mshare_huge_pages != POOL_HUGE_OFF)
	{
		Size		size = TYPEALIGN(MEMORY_HUGE_PAGE_SIZE, *bytes);
		bool		on = mshare_huge_pages == POOL_HUGE_ON;

		errno = ENOSPC;
		if (mount_has_room(size, size, MEMORY_HUGE_PAGE_SIZE, &needed) &&
			memory_check_huge_cgroup(size) &&
			region_create_mapping(fd, 0, size, MAP_ANONYMOUS | MAP_HUGETLB | MAP_HUGE_2MB, NULL))
		{
			*bytes = size;
			*page_size = MEMORY_HUGE_PAGE_SIZE;
			return true;
		}
		sys_errno = errno;
		ereport(on ? elevel : LOG,
				(errcode(sys_errno == EOPNOTSUPP ? ERRCODE_FEATURE_NOT_SUPPORTED :
						 ERRCODE_OUT_OF_MEMORY),
				 on ? errmsg("could not map %zu bytes of huge pages into the region: %m",
							 size) :
				 errmsg("pg_mshare: no huge pages for shared buffers: %m"),
				 sys_errno == ENOSPC ? errhint_mount_size(needed) :
				 memory_errhint_huge(size, sys_errno, false)));
		if (on)
			return false;
	}

	if (!memory_check_cgroup(*bytes, elevel))
		return false;
	*page_size = sysconf(_SC_PAGESIZE);
	errno = ENOSPC;
	if (mount_has_room(*bytes, *bytes, *page_size, &needed) &&
		region_create_mapping(fd, 0, *bytes, MAP_ANONYMOUS, NULL))
		return true;

	sys_errno = errno;
	ereport(elevel,
			(errcode(ERRCODE_OUT_OF_MEMORY),
			 errmsg("could not map %zu bytes of shared memory into the region: %m",
					*bytes),
			 sys_errno == ENOSPC ? errhint_mount_size(needed) :
			 memory_errhint(*bytes, false)));
	return false;
}

static bool
advise_bytes(int fd, Size offset, Size bytes, int advice)
{
	struct mshare_advise advise = {
		.region_offset = offset,
		.size = bytes,
		.advice = advice,
	};

	return ioctl(fd, MSHAREFS_ADVISE, &advise) == 0;
}

static bool
region_advise(Size offset, Size bytes, int advice)
{
	return advise_bytes(region_fd, offset, bytes, advice);
}

/* Allocate it all, with its page tables, or say why not. */
static bool
region_populate(int fd, Size bytes, int elevel)
{
	if (advise_bytes(fd, 0, bytes, MADV_POPULATE_WRITE))
		return true;
	ereport(elevel,
			(errcode(ERRCODE_OUT_OF_MEMORY),
			 errmsg("could not populate %zu bytes of shared memory in the region: %m",
					bytes),
			 errhint("Reduce shared_buffers, raise the limit size= of the mount on \"%s\", or set pg_mshare.populate to off.",
					 mshare_path)));
	return false;
}

/* A window is whole slots, however small the pool is. */
static char *
region_map(int fd, Size window, int elevel)
{
	struct rlimit limit;
	char	   *base = mmap(NULL, window, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	int			save_errno = errno;

	if (base != MAP_FAILED)
		return base;

	if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
	{
		errno = save_errno;
		ereport(elevel,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("could not map a window of %zu GB of address space: %m",
						window >> 30),
				 errdetail("The limit on address space is %llu kB.",
						   (unsigned long long) limit.rlim_cur / 1024),
				 errhint("Start the server with \"ulimit -v unlimited\" (LimitAS=infinity under systemd): a window takes address space, not memory.")));
	}
	else
	{
		errno = save_errno;
		ereport(elevel,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("could not map a window of %zu GB of address space: %m",
						window >> 30)));
	}
	return NULL;
}

/* Windows are left out of core dumps unless asked for, which not every kernel allows. */
static void
region_let_dump(char *base, Size window, Size bytes)
{
	if (madvise(base, window, MADV_DODUMP) == 0)
		memory_let_dump(bytes, false);
	else
		ereport(LOG,
				(errmsg("pg_mshare: core dumps do not hold shared buffers: %m"),
				 errdetail("This kernel's msharefs keeps windows out of them.")));
}

static char *
region_provide(Size *bytes, Size *page_size, int elevel)
{
	Size		granule = region_granule(elevel);
	Size		window;
	char	   *base = NULL;
	int			fd;

	if (granule == 0 || (fd = region_create(elevel)) < 0)
		return NULL;

	window = TYPEALIGN(granule, *bytes);
	if (ftruncate(fd, window) < 0)
	{
		bool		limited = errno == EFBIG;

		ereport(elevel,
				(errcode(ERRCODE_SYSTEM_ERROR),
				 errmsg("could not set the size of the region to %zu GB: %m",
						window >> 30),
				 limited ?
				 errhint("Start the server with \"ulimit -f unlimited\" (LimitFSIZE=infinity under systemd): to this kernel a region's size is a file's, though no file grows.") : 0));
	}
	else if (region_fill(fd, bytes, page_size, elevel) &&
			 (pool_populate_bytes == 0 || region_populate(fd, TYPEALIGN(*page_size, pool_populate_bytes), elevel)))
		base = region_map(fd, window, elevel);
	if (base != NULL && pool_in_place && !cover_pages(*page_size, PROT_READ))
	{
		ereport(elevel,
				(errcode(ERRCODE_SYSTEM_ERROR),
				 errmsg("could not make the server's own mapping of shared buffers read-only: %m")));
		cover_pages(*page_size, PROT_READ | PROT_WRITE);
		munmap(base, window);
		base = NULL;
	}

	if (base == NULL)
		close(fd);
	else
	{
		if (mshare_dump_pool)
			region_let_dump(base, window, *bytes);
		region_fd = fd;
		ReserveExternalFD();
		memory_prepare_oom();
	}
	return base;
}

/* With huge_pages = try the pages may be others than those before the crash. */
static void
region_adopt(void)
{
	pool_page_size = memory_page_size(BufferBlocks);
	if (!region_take_pages(region_fd, pool_mapped_bytes, pool_page_size) ||
		!cover_pages(pool_page_size, PROT_READ))
		ereport(FATAL,
				(errcode(ERRCODE_SYSTEM_ERROR),
				 errmsg("could not map the server's own shared memory into the region: %m")));
}

static void
region_release(void)
{
	if (!region_unmap(region_fd, pool_mapped_bytes))
		ereport(WARNING,
				(errcode(ERRCODE_SYSTEM_ERROR),
				 errmsg("could not remove the server's own shared memory from the region: %m")));
}

bool
region_protect_bytes(Size offset, Size size, int prot)
{
	struct mshare_protect protect = {
		.region_offset = offset,
		.size = size,
		.prot = prot
	};

	return ioctl(region_fd, MSHAREFS_PROTECT, &protect) == 0;
}

static bool
region_protect(const PoolRange *changes, int nchanges, TimestampTz deadline,
			   FlipResult *result)
{
	bool		opening = changes->protection == POOL_READWRITE;
	uint32		published = 0;

	/*
	 * Parked faults act on the plan: it closes before the region does and opens
	 * after it, or they would retry against a region that is still closed.
	 * Several changes at once are all of one kind.
	 */
	if (!opening)
	{
		published = pool_publish(changes, nchanges);
		if (published == 0)
		{
			result->sys_errno = ECANCELED;
			return false;
		}
		overdue_await_openers();
	}
	for (int i = 0; i < nchanges; i++)
	{
		Size		offset;
		Size		size;

		pool_range_bytes(&changes[i], &offset, &size);
		if (!region_protect_bytes(offset, size,
								  pool_prot_flags(changes[i].protection)))
		{
			result->sys_errno = errno;
			return false;
		}
	}
	if (opening)
		pool_publish(changes, nchanges);
	else if (pg_atomic_read_u32(&pool->generation) != published)
	{
		/* opened meanwhile, as it was overdue, perhaps before the region was closed */
		region_protect_bytes(0, pool_mapped_bytes, PROT_READ | PROT_WRITE);
		result->sys_errno = ECANCELED;
	}
	pool_wake();
	return result->sys_errno == 0;
}

static bool
region_open_all(uint32 generation)
{
	if (!region_protect_bytes(0, pool_mapped_bytes, PROT_READ | PROT_WRITE) ||
		!pool_publish_open(generation))
		return false;
	pool_wake();
	return true;
}

static void
region_usage(ProviderUsage *usage)
{
	struct mshare_stat stat = {.size = sizeof(stat)};

	if (ioctl(region_fd, MSHAREFS_STAT, &stat) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_SYSTEM_ERROR),
				 errmsg("could not read the region's statistics: %m")));
	usage->processes = stat.processes;
	usage->page_table_bytes = stat.page_table_bytes;
}

const Provider provider_mshare = {
	.name = "mshare",
	.map = region_provide,
	.adopt = region_adopt,
	.release = region_release,
	.advise = region_advise,
	.protect = region_protect,
	.open_all = region_open_all,
	.usage = region_usage,
};
