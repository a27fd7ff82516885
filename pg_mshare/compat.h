/*-------------------------------------------------------------------------
 *
 * compat.h
 *	  Differences between the supported PostgreSQL versions.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef PG_MSHARE_COMPAT_H
#define PG_MSHARE_COMPAT_H

#if PG_VERSION_NUM < 150000 || PG_VERSION_NUM >= 200000
#error "pg_mshare supports PostgreSQL 15 to 19; build it with the pg_config of one of these, e.g. make PG_CONFIG=/usr/lib/postgresql/15/bin/pg_config"
#endif

#ifdef EXEC_BACKEND
#error "pg_mshare needs server processes that inherit the postmaster's memory by fork(); EXEC_BACKEND builds do not"
#endif

#ifndef __linux__
#error "pg_mshare needs Linux: futexes, memfd_create() and /proc"
#endif

/* The fields of a BufferTag and of what names a relation's files */
#if PG_VERSION_NUM < 160000
#define buftag_tablespace(tag) ((tag)->rnode.spcNode)
#define buftag_database(tag) ((tag)->rnode.dbNode)
#define buftag_relfilenode(tag) ((tag)->rnode.relNode)
#define buftag_set_relation(tag, rel) ((tag)->rnode = (rel)->rd_node)
#include "utils/relfilenodemap.h"
#define RelidByRelfilenumber RelidByRelfilenode
#else
#include "utils/relfilenumbermap.h"
#define buftag_tablespace(tag) ((tag)->spcOid)
#define buftag_database(tag) ((tag)->dbOid)
#define buftag_relfilenode(tag) ((tag)->relNumber)
#define buftag_set_relation(tag, rel) \
	InitBufferTag(tag, &(rel)->rd_locator, MAIN_FORKNUM, 0)
#endif

/* Buffer tags, and the buffer that held a block when it was looked at last */
#if PG_VERSION_NUM < 160000
#define ClearBufferTag(tag) CLEAR_BUFFERTAG(*(tag))
#define BufferTagsEqual(tag, other) BUFFERTAGS_EQUAL(*(tag), *(other))
#define buftag_pin(tag, buffer) \
	ReadRecentBuffer((tag)->rnode, (tag)->forkNum, (tag)->blockNum, buffer)
#else
#define buftag_pin(tag, buffer) \
	ReadRecentBuffer(BufTagGetRelFileLocator(tag), BufTagGetForkNum(tag), \
					 (tag)->blockNum, buffer)
#endif

/*
 * The state of a buffer.  From 19 on a pin may go while its header is locked, and
 * whoever unlocks it tells what changes; the content's lock is in the state, and whoever
 * writes a page holds one that lets no hint bits be set.  There is no list of free
 * buffers.
 */
#if PG_VERSION_NUM < 190000
typedef uint32 BufferState;
#define buffer_state(header) pg_atomic_read_u32(&(header)->state)
#define buffer_state_init(header, value) pg_atomic_write_u32(&(header)->state, value)
#define buffer_unlock_header(header, old_state) UnlockBufHdr(header, old_state)
#define buffer_unlock_header_with(header, old_state, unset_bits, refcount_change) \
	UnlockBufHdr(header, ((old_state) & ~(unset_bits)) + BUF_REFCOUNT_ONE * (refcount_change))
#define buffer_lock_for_flush(header) \
	LWLockConditionalAcquire(BufferDescriptorGetContentLock(header), LW_SHARED)
#define buffer_unlock_content(header) \
	LWLockRelease(BufferDescriptorGetContentLock(header))
#else
typedef uint64 BufferState;
#define buffer_state(header) pg_atomic_read_u64(&(header)->state)
#define buffer_state_init(header, value) pg_atomic_write_u64(&(header)->state, value)
#define buffer_unlock_header(header, old_state) UnlockBufHdr(header)
#define buffer_unlock_header_with(header, old_state, unset_bits, refcount_change) \
	UnlockBufHdrExt(header, old_state, 0, unset_bits, refcount_change)
#define buffer_lock_for_flush(header) \
	ConditionalLockBuffer(BufferDescriptorGetBuffer(header))
#define buffer_unlock_content(header) \
	LockBuffer(BufferDescriptorGetBuffer(header), BUFFER_LOCK_UNLOCK)
#define StrategyFreeBuffer(header) ((void) (header))
#endif

/* How far the hand that looks for a buffer to reuse has come when none is free any more */
#if PG_VERSION_NUM < 190000
#define free_buffers_passed() 0
#else
#define free_buffers_passed() ((uint64) NBuffers)
#endif

/* What a signal handler passes to another */
#if PG_VERSION_NUM < 190000
#define SIGNAL_PASSED postgres_signal_arg
#else
#define SIGNAL_PASSED postgres_signal_arg, pg_siginfo
#endif

/* The process of a virtual transaction, NULL: it has gone */
#if PG_VERSION_NUM < 170000
#include "storage/sinvaladt.h"
#define vxid_proc(vxid) BackendIdGetProc((vxid).backendId)
#else
#include "storage/procarray.h"
#define vxid_proc(vxid) ProcNumberGetProc((vxid).procNumber)
#endif

#if PG_VERSION_NUM < 160000
#define pgstat_get_local_beentry_by_index(index) \
	pgstat_fetch_stat_local_beentry(index)
#endif

/* Reads from disk that the kernel does not copy from its page cache */
#if PG_VERSION_NUM >= 160000
#include "storage/fd.h"
#define reads_are_direct() ((io_direct_flags & IO_DIRECT_DATA) != 0)
#else
#define reads_are_direct() false
#endif
#if PG_VERSION_NUM >= 180000
#include "storage/aio.h"
#endif
#ifdef IOMETHOD_IO_URING_ENABLED
#define reads_use_io_uring() (io_method == IOMETHOD_IO_URING)
#else
#define reads_use_io_uring() false
#endif

/* Do the blocks of shared buffers begin with a page?  With a cache line, before. */
#define BUFFER_BLOCKS_ARE_PAGES (PG_VERSION_NUM >= 160000)

/* Before 17 all extensions share one wait event. */
#if PG_VERSION_NUM < 170000
#define WaitEventExtensionNew(name) PG_WAIT_EXTENSION
#endif

#endif							/* PG_MSHARE_COMPAT_H */
