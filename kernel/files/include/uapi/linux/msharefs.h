/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * msharefs: memory regions whose page tables are shared by all their users.
 *
 * A region is a file on msharefs. It is given a size with ftruncate(2), is
 * assembled from memory objects with MSHAREFS_CREATE_MAPPING and mapped with
 * mmap(2). Its contents and its protection are changed by ioctl(2), for every
 * process at once. See Documentation/userspace-api/mshare.rst.
 */
#ifndef _UAPI_LINUX_MSHAREFS_H
#define _UAPI_LINUX_MSHAREFS_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define MSHAREFS_CREATE_MAPPING	_IOW('x', 0, struct mshare_create)
#define MSHAREFS_UNMAP		_IOW('x', 1, struct mshare_unmap)
#define MSHAREFS_PROTECT	_IOW('x', 16, struct mshare_protect)
#define MSHAREFS_ADVISE		_IOW('x', 17, struct mshare_advise)
#define MSHAREFS_STAT		_IOWR('x', 18, struct mshare_stat)
#define MSHAREFS_FAULT_MODE	_IOW('x', 19, struct mshare_fault_mode)

/**
 * struct mshare_create - map an object into a region
 * @region_offset: where in the region, in bytes; page aligned and exact
 * @size: bytes to map; a multiple of the object's page size
 * @offset: where in the object, in bytes; ignored for MAP_ANONYMOUS
 * @prot: PROT_READ, PROT_WRITE, PROT_EXEC or PROT_NONE for the new bytes
 * @flags: MAP_SHARED or MAP_SHARED_VALIDATE, with MAP_ANONYMOUS,
 *	MAP_FIXED, MAP_FIXED_NOREPLACE (both without effect), MAP_POPULATE,
 *	MAP_NORESERVE, MAP_HUGETLB | MAP_HUGE_2MB
 * @fd: the object; (__u32)-1 with MAP_ANONYMOUS
 * @__pad: ignored
 */
struct mshare_create {
	__u64 region_offset;
	__u64 size;
	__u64 offset;
	__u32 prot;
	__u32 flags;
	__u32 fd;
	__u32 __pad;
};

/**
 * struct mshare_unmap - remove what is mapped in a range of a region
 * @region_offset: start of the range in bytes, page aligned
 * @size: bytes, a multiple of the page size
 */
struct mshare_unmap {
	__u64 region_offset;
	__u64 size;
};

/**
 * struct mshare_protect - set the protection of a range for every process
 * @region_offset: start of the range in bytes, page aligned
 * @size: bytes, a multiple of the page size
 * @prot: PROT_READ, PROT_WRITE, PROT_EXEC or PROT_NONE
 * @flags: 0
 */
struct mshare_protect {
	__u64 region_offset;
	__u64 size;
	__u32 prot;
	__u32 flags;
};

/**
 * struct mshare_advise - madvise(2) on the objects mapped in a range
 * @region_offset: start of the range in bytes, page aligned
 * @size: bytes, a multiple of the page size
 * @advice: MADV_POPULATE_READ, MADV_POPULATE_WRITE, MADV_HUGEPAGE,
 *	MADV_NOHUGEPAGE, MADV_PAGEOUT, MADV_COLD, MADV_REMOVE, MADV_DONTNEED
 * @flags: 0
 */
struct mshare_advise {
	__u64 region_offset;
	__u64 size;
	__u32 advice;
	__u32 flags;
};

/**
 * struct mshare_stat - what a region holds and what was done to it
 * @size: in: bytes the caller has room for, at least 88; out: bytes the
 *	kernel knows. The smaller of the two is written.
 * @flags: 0
 * @mapped_bytes: bytes of the region that have an object
 * @resident_bytes: bytes present in the region's page tables
 * @page_table_bytes: bytes of page tables, views included, counted once
 * @windows: VMAs that map the region
 * @processes: distinct address spaces among them
 * @faults: page faults taken in windows since creation
 * @flips: PROTECTs that changed something, since creation
 * @flip_entries: page-table entries written by them
 * @shootdowns: rounds of TLB flush interrupts
 * @waits: faults that waited for a protection to change
 */
struct mshare_stat {
	__u32 size;
	__u32 flags;
	__u64 mapped_bytes;
	__u64 resident_bytes;
	__u64 page_table_bytes;
	__u64 windows;
	__u64 processes;
	__u64 faults;
	__u64 flips;
	__u64 flip_entries;
	__u64 shootdowns;
	__u64 waits;
};

#define MSHARE_STAT_SIZE_VER0	88	/* size of the first published struct */

/* struct mshare_fault_mode.mode */
#define MSHARE_FAULT_SIGNAL	0	/* a denied access gets SIGSEGV */
#define MSHARE_FAULT_WAIT	1	/* it waits until the protection changes */
/* struct mshare_fault_mode.flags */
#define MSHARE_WAIT_KERNEL	1	/* system calls wait too (privileged) */

/**
 * struct mshare_fault_mode - what becomes of an access the region denies
 * @mode: MSHARE_FAULT_SIGNAL or MSHARE_FAULT_WAIT
 * @flags: 0 or MSHARE_WAIT_KERNEL
 * @timeout_ns: longest wait in nanoseconds from the first denial; 0: no limit
 *
 * The mode is the region's. It is MSHARE_FAULT_SIGNAL at first, and again when
 * the last fd that is open for writing is closed.
 */
struct mshare_fault_mode {
	__u32 mode;
	__u32 flags;
	__u64 timeout_ns;
};

/* struct mshare_event.access */
#define MSHARE_ACCESS_READ	1
#define MSHARE_ACCESS_WRITE	2
#define MSHARE_ACCESS_EXEC	4
/* struct mshare_event.flags */
#define MSHARE_EVENT_KERNEL	1	/* from a system call, not user mode */
#define MSHARE_EVENT_DONE	2	/* the record ends a wait */
#define MSHARE_EVENT_TIMEOUT	4	/* the wait ended by its deadline */
#define MSHARE_EVENT_LOST	8	/* older records were dropped */

/**
 * struct mshare_event - a denied access, as read(2) from a region's fd
 * @region_offset: the page that was touched, in bytes from the region's start
 * @time_ns: CLOCK_MONOTONIC time of the denial or of the wait's end
 * @waited_ns: length of the wait, in the record that ends it
 * @pid: thread group id in the reader's pid namespace, or 0
 * @tid: thread id in the reader's pid namespace, or 0
 * @access: MSHARE_ACCESS_*
 * @flags: MSHARE_EVENT_*
 */
struct mshare_event {
	__u64 region_offset;
	__u64 time_ns;
	__u64 waited_ns;
	__u32 pid;
	__u32 tid;
	__u32 access;
	__u32 flags;
};

#endif /* _UAPI_LINUX_MSHAREFS_H */
