/* SPDX-License-Identifier: GPL-2.0 */
/*
 * mshare: what its files share. Documentation/mm/mshare.rst has the design.
 *
 * Lock order:
 *
 *	mmap_lock of a process, or the VMA lock of a window
 *	  region->lock
 *	    mmap_lock of the host mm (a lock class of its own)
 *	      VMA lock of a host VMA
 *	        page-table locks, mm->page_table_lock
 *	          region->links_lock
 *	        region->wait_lock
 *	    region->wait_walk
 *	      region->wait_lock
 *	    i_rwsem of an object
 *	      gate->lock
 *	        i_mmap of the object
 *
 * gate->lock is also taken under the mmap_lock or the VMA lock of an ordinary
 * mapping, in whose faults a folio is locked under it. A closing has let go of
 * it when it locks folios, under the mmap_lock of the host.
 *
 * Under the VMA lock of a window, that of a host VMA is only tried: the two
 * are one lock class. ioctls copy from and to user memory with no lock held.
 */
#ifndef _MM_MSHARE_INTERNAL_H
#define _MM_MSHARE_INTERNAL_H

#include <linux/delay.h>
#include <linux/hugetlb.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/msharefs.h>
#include <linux/mutex.h>
#include <linux/percpu_counter.h>
#include <linux/poll.h>
#include <linux/refcount.h>
#include <linux/shmem_fs.h>
#include <linux/wait.h>

#include "tlb.h"

struct mshare_record;
struct mshare_wait;

/* Slots: what a region's size and a window's place are counted in. */
#define MSHARE_SLOT_SIZE	P4D_SIZE
#define MSHARE_SLOT_MASK	P4D_MASK

#define MSHARE_PROT_ALL		(VM_READ | VM_WRITE | VM_EXEC)

/**
 * struct mshare_fs - a mounted msharefs; lives as long as its last region
 * @refs: the superblock's and one per region
 * @uid: owner of the root directory
 * @gid: its group
 * @mode: its mode
 * @max_bytes: most that anonymous objects and page tables may take
 * @max_regions: most regions
 * @bytes: what they take
 * @regions: how many there are
 * @mounted: it has been, and holds mshare_core_get()
 */
struct mshare_fs {
	refcount_t refs;
	kuid_t uid;
	kgid_t gid;
	umode_t mode;
	unsigned long max_bytes;
	unsigned long max_regions;
	atomic_long_t bytes;
	atomic_long_t regions;
	bool mounted;
};

/**
 * struct mshare_anon - what an anonymous object counts against size=
 * @mapped: bytes that are mapped still; under region->lock
 * @charged: bytes counted: all of it, or with MAP_NORESERVE what is allocated
 * @tables: bytes of page tables that it may need, if it is reserved
 * @reserved: the former
 * @gone: for the time of an UNMAP that removes the last of it
 *
 * It goes with the last host VMA of the object: see mshare_vma_anon().
 */
struct mshare_anon {
	unsigned long mapped;
	atomic_long_t charged;
	unsigned long tables;
	bool reserved;
	struct list_head gone;
};

/**
 * struct mshare_chunk - the protection of 1 GiB of a region
 * @prot: what the view grants; read without a lock by faults
 * @ceiling: rights that every object in the chunk can have
 * @mapped: something is mapped, and the view's entry is in use
 * @pieces: some host VMA in the chunk grants less than its ceiling
 *
 * What a process may do is what the host VMA, the view and the window all
 * grant. Written under region->lock.
 */
struct mshare_chunk {
	u8 prot;
	u8 ceiling : 3;
	bool mapped : 1;
	bool pieces : 1;
};

/**
 * struct mshare_view - what windows' P4D entries for a slot point to
 * @puds: a PUD page of the region's own; each entry points to the host's PMD
 *	table or is none
 * @mapped: chunks in which something is mapped; under region->lock
 * @chunks: the state that the entries follow
 */
struct mshare_view {
	pud_t *puds;
	unsigned int mapped;
	struct mshare_chunk chunks[PTRS_PER_PUD];
};

/**
 * struct mshare_denial - an access that the region's protection denied
 * @pid: of the thread group
 * @tid: of the thread
 * @offset: of the page in the region
 * @access: VM_READ, VM_WRITE or VM_EXEC, which are those of struct mshare_event
 * @flags: MSHARE_EVENT_KERNEL and MSHARE_EVENT_OUTSIDE, or 0
 * @guest: by a window of an fd that was open for reading only, or outside
 */
struct mshare_denial {
	struct pid *pid;
	struct pid *tid;
	unsigned long offset;
	u32 access;
	u32 flags;
	bool guest;
};

/**
 * struct mshare_events - denials to be read
 * @readers: who waits for one
 * @ring: the queue; NULL before the first
 * @first: the oldest record
 * @count: how many there are
 * @guests: how many of these are of who may only read
 * @lost: some were dropped since the last was read
 */
struct mshare_events {
	wait_queue_head_t readers;
	struct mshare_record *ring;
	unsigned int first;
	unsigned int count;
	unsigned int guests;
	bool lost;
};

/**
 * struct mshare_region - a file on msharefs
 * @refs: the inode's, and one per link
 * @pins: on the memory of this struct only: one for @refs and the notifier,
 *	and one per batch of reclaim that it is noted in
 * @rcu: frees it: who asks a host mm for its region may be late
 * @fs: the mount
 * @ino: the file's inode number
 * @inode: of a pool, the object's: see shmem.c; NULL of what is a file
 * @lock: serialises all that changes contents or protection
 * @host: the host mm; its addresses are offsets in the region. NULL before
 *	the size is set
 * @memcg: the creator's memory cgroup, charged for everything
 * @mn: tells of what the core mm takes out of the host's tables
 * @size: bytes; 0 before the size is set
 * @views: one per slot, NULL until needed; installed by cmpxchg, then constant
 * @nr_views: how many there are
 * @tables: bytes counted in @fs for page tables
 * @reserved: those that anonymous objects may need, of which some are there
 * @gates: the objects that are guarded, under @lock: see guard.c
 * @flusher: the task that will flush by itself what it is changing
 * @starved: @memcg had no memory left, and nobody whom the OOM killer could take
 * @writes_back: an object was mapped that is written back when it is closed
 * @links_lock: protects @sharers to @rss
 * @sharers: the mms that have windows
 * @room: how many the array has room for
 * @nr_links: their number
 * @rss: pages that each of these mms has been told to have of the region
 * @windows: VMAs that map the region
 * @wait_walk: who looks at all of @waiting, letting go of @wait_lock meanwhile
 * @wait_lock: protects the waits of all links, and @waiting to @writers
 * @waiting: accesses that wait for the protection to change
 * @nr_waiting: their number
 * @events: the denials
 * @fault_mode: what becomes of a denied access
 * @writers: struct files that are open for writing
 * @faults: taken in windows
 * @waits: faults that waited
 * @flips: PROTECTs that changed something
 * @flip_entries: page-table entries that they wrote
 * @shootdowns: rounds of interrupts
 * @tlb: what they go by
 */
struct mshare_region {
	refcount_t refs;
	refcount_t pins;
	struct rcu_head rcu;
	struct mshare_fs *fs;
	unsigned long ino;
	struct inode *inode;
	struct mutex lock;		/* contents and protection */
	struct mm_struct *host;
	struct mem_cgroup *memcg;
	struct mmu_notifier mn;
	unsigned long size;
	struct mshare_view **views;
	atomic_long_t nr_views;
	atomic_long_t tables;
	atomic_long_t reserved;
	struct list_head gates;
	struct task_struct *flusher;
	bool starved;
	bool writes_back;

	spinlock_t links_lock;		/* the four below; a leaf */
	struct mshare_sharer *sharers;
	unsigned long room;
	unsigned long nr_links;
	long rss;

	struct mutex wait_walk;		/* one walk at a time */
	spinlock_t wait_lock;		/* the five below, and links' waits */
	struct list_head waiting;
	unsigned long nr_waiting;
	struct mshare_events events;
	struct mshare_fault_mode fault_mode;
	unsigned int writers;

	struct percpu_counter faults;
	atomic64_t waits;
	atomic64_t windows;
	atomic64_t flips;
	atomic64_t flip_entries;
	atomic64_t shootdowns;
	struct mshare_tlb tlb;
};

/**
 * struct mshare_link - an mm and a region that it has windows of
 * @refs: the mm's, and those of faults that have let go of the mm's locks
 * @region: the region, of which it holds a reference
 * @mm: the mm; valid while the link is in region->sharers
 * @windows: VMAs; under the mm's mmap_lock, as mshare_link_drop() says
 * @chunks: of a pool: what is attached, under the mm's page_table_lock; only with
 *	region->lock too it becomes more
 * @in_mm: the mm's links, likewise: see links.c
 * @nr: its place in region->sharers, under region->links_lock
 * @waiting: its threads' accesses that wait; under region->wait_lock
 * @nr_waiting: their number
 * @rcu: frees it: who asks by mm may be late
 */
struct mshare_link {
	refcount_t refs;
	struct mshare_region *region;
	struct mm_struct *mm;
	unsigned int windows;
	unsigned int chunks;
	struct hlist_node in_mm;
	unsigned long nr;
	struct list_head waiting;
	unsigned int nr_waiting;
	struct rcu_head rcu;
};

/**
 * struct mshare_sharer - one of the mms that have windows of a region
 * @mm: the mm
 * @link: its link
 */
struct mshare_sharer {
	struct mm_struct *mm;
	struct mshare_link *link;
};

/* msharefs.c */
extern const struct inode_operations mshare_file_inode_ops;
void mshare_fs_put(struct mshare_fs *fs);
int mshare_fs_charge(struct mshare_fs *fs, unsigned long bytes);
int mshare_fs_charge_region(struct mshare_fs *fs);
void mshare_fs_uncharge(struct mshare_fs *fs, unsigned long bytes);

/*
 * Would so many bytes fit? Tables are counted when they are there. Signed: while
 * one recounts, the sum may be short of what another has just counted.
 */
static inline bool mshare_fs_fits(struct mshare_fs *fs, long bytes)
{
	return atomic_long_read(&fs->bytes) <=
		(long)READ_ONCE(fs->max_bytes) - bytes;
}

/* region.c */
extern const struct file_operations mshare_file_ops;
struct mshare_region *mshare_region_alloc(struct mshare_fs *fs);
int mshare_region_set_size(struct mshare_region *region, loff_t size);
void mshare_region_put(struct mshare_region *region);
void mshare_region_unpin(struct mshare_region *region);

static inline struct mshare_region *mshare_file_region(struct file *file)
{
	return file_inode(file)->i_private;
}

/* Who sees a size sees the host and the views: they were there before it. */
static inline unsigned long mshare_region_size(struct mshare_region *region)
{
	/* pairs with smp_store_release() in mshare_region_set_size() */
	return smp_load_acquire(&region->size);
}

/*
 * Page aligned, not empty, and within the region? And within the addresses of
 * the caller, who may be a program of 32 bits: do_vmi_munmap() goes by these.
 */
static inline bool mshare_range_ok(struct mshare_region *region, u64 offset,
				   u64 size)
{
	u64 end;

	return size && !((offset | size) & ~PAGE_MASK) &&
		!check_add_overflow(offset, size, &end) &&
		end <= mshare_region_size(region) && end <= TASK_SIZE;
}

/* host.c */
int mshare_host_init(struct mshare_region *region);
void mshare_host_exit(struct mshare_region *region);
int mshare_host_create(struct mshare_region *region,
		       struct mshare_create *create);
void mshare_host_write_back(struct mshare_region *region, unsigned long start,
			    unsigned long end);
int mshare_host_unmap(struct mshare_region *region, unsigned long start,
		      unsigned long end);
void mshare_host_account(struct mshare_region *region);
void mshare_anon_account(struct mshare_region *region,
			 struct vm_area_struct *vma);
void mshare_host_stat(struct mshare_region *region, struct mshare_stat *stat);
void mshare_host_show(struct mshare_region *region, struct seq_file *seq);

/* hostmm.c */
int mshare_hostmm_bind(struct mshare_region *region);
void mshare_hostmm_unbind(struct mshare_region *region);
struct mshare_region *mshare_host_region(const struct mm_struct *host);
int mshare_hostmm_unmap(struct mshare_region *region, unsigned long start,
			unsigned long end);
unsigned long mshare_hostmm_vm_flags(const struct vm_area_struct *vma);

/* links.c */
struct mshare_link *mshare_link_find(struct mm_struct *mm,
				     struct mshare_region *region);
void mshare_link_add(struct mshare_link *link);
void mshare_link_del(struct mshare_link *link);

/* sharers.c */
int mshare_sharer_add(struct mshare_link *link, gfp_t gfp);
void mshare_sharer_del(struct mshare_link *link);
void mshare_rss_update(struct mshare_region *region);

/* view.c */
struct mshare_view *mshare_view_get(struct mshare_region *region,
				    unsigned long offset,
				    struct mem_cgroup *payer);
void mshare_view_free(struct mshare_region *region, struct mshare_view *view);
void mshare_view_link(struct mshare_region *region, unsigned long offset,
		      unsigned long prot);
void mshare_view_unlink(struct mshare_region *region, unsigned long offset);
int mshare_window_map(struct file *file, struct vm_area_struct *vma);
vm_fault_t mshare_window_attach(struct mshare_region *region,
				struct vm_area_struct *vma,
				unsigned long address);
struct mshare_link *mshare_link_alloc(struct mshare_region *region,
				      struct mm_struct *mm, gfp_t gfp);
void mshare_link_leave(struct mshare_link *link);
void mshare_link_put(struct mshare_link *link);

static inline unsigned long mshare_window_offset(struct vm_area_struct *vma,
						 unsigned long address)
{
	return address - vma->vm_start + (vma->vm_pgoff << PAGE_SHIFT);
}

/* The state of the chunk at an offset that is, or was, mapped. */
static inline struct mshare_chunk *mshare_chunk(struct mshare_region *region,
						unsigned long offset)
{
	struct mshare_view *view;

	view = READ_ONCE(region->views[offset / MSHARE_SLOT_SIZE]);
	return view ? &view->chunks[pud_index(offset)] : NULL;
}

struct mshare_chunk *__mshare_next_chunk(struct mshare_region *region,
					 unsigned long *addr,
					 unsigned long end);

/* The next in which something is mapped, from *@addr on; @chunk may be it. */
static inline struct mshare_chunk *
mshare_next_chunk(struct mshare_region *region, struct mshare_chunk *chunk,
		  unsigned long *addr, unsigned long end)
{
	if (chunk && pud_index(*addr) && *addr < end && chunk->mapped)
		return chunk;
	return __mshare_next_chunk(region, addr, end);
}

/*
 * The chunks of a range in which something is mapped. A step for each, and one
 * for each slot: there may be 67 million chunks. Under region->lock.
 */
#define mshare_for_each_chunk(region, chunk, addr, start, end)		\
	for (addr = (start), chunk = NULL;				\
	     (chunk = mshare_next_chunk(region, chunk, &addr, end));	\
	     addr += PUD_SIZE, chunk++)

/* Is an access within these rights? As on x86, what has any can be read. */
static inline bool mshare_grants(unsigned long prot, unsigned long access)
{
	return prot & (access == VM_READ ? MSHARE_PROT_ALL : access);
}

static inline unsigned long mshare_fault_access(unsigned int flags)
{
	if (flags & FAULT_FLAG_WRITE)
		return VM_WRITE;
	if (flags & FAULT_FLAG_INSTRUCTION)
		return VM_EXEC;
	return VM_READ;
}

/*
 * Was the window's file open for reading only? Who has no more than that shall
 * neither cost the creator of the region anything, nor its writers their events.
 */
static inline bool mshare_window_is_guest(struct vm_area_struct *window)
{
	return !(window->vm_flags & VM_MAYWRITE);
}

/* What a host VMA grants with the view of the chunk; faults take no lock. */
static inline unsigned long mshare_granted(struct mshare_chunk *chunk,
					   struct vm_area_struct *host_vma)
{
	return READ_ONCE(chunk->prot) & host_vma->vm_flags & MSHARE_PROT_ALL;
}

/* fault.c */
bool mshare_allowed(struct mshare_region *region,
		    struct vm_area_struct *host_vma, unsigned long offset,
		    unsigned long access);
bool mshare_fault_fits(struct mshare_region *region,
		       struct vm_area_struct *host_vma, unsigned long offset);
bool mshare_fault_starves(struct mshare_region *region,
			  struct vm_area_struct *host_vma, unsigned long offset);
bool mshare_out_of_memory(struct mshare_region *region);
struct vm_area_struct *mshare_lock_host(struct mm_struct *host,
					unsigned long offset,
					unsigned int flags);
void mshare_unlock_window(struct vm_area_struct *vma, unsigned int flags);
bool mshare_fault_begin(struct mshare_link *link, struct vm_area_struct *vma,
			unsigned int flags);
vm_fault_t mshare_fault_end(struct mshare_link *link,
			    struct vm_area_struct *vma,
			    struct vm_area_struct *host_vma,
			    unsigned int flags, vm_fault_t ret, bool release);

/* advise.c */
int mshare_populate(struct mshare_region *region, unsigned long start,
		    unsigned long end, unsigned long access);
int mshare_advise(struct mshare_region *region, unsigned long start,
		  unsigned long end, int advice);

/* guard.c */
long mshare_ioctl_guard(struct mshare_region *region, void __user *arg);
void mshare_guard_close(struct mshare_region *region, unsigned long start,
			unsigned long end);
int mshare_guard_check(struct mshare_region *region, unsigned long start,
		       unsigned long end);
void mshare_guard_unmapped(struct mshare_region *region);
void mshare_guard_exit(struct mshare_region *region);

/* protect.c */
int mshare_protect(struct mshare_region *region, unsigned long start,
		   unsigned long end, unsigned long prot);
void mshare_pushdown(struct mshare_region *region, unsigned long start,
		     struct mmu_gather *tlb, u64 *entries);
bool mshare_cuts_huge(struct mshare_region *region, unsigned long offset);
int mshare_split(struct mshare_region *region, unsigned long offset);
void mshare_set_host_prot(struct mshare_region *region, struct mmu_gather *tlb,
			  struct vm_area_struct *vma, unsigned long prot,
			  u64 *entries);
void mshare_chunk_refresh(struct mshare_region *region, unsigned long offset);
void mshare_merge(struct mshare_region *region, unsigned long start,
		  unsigned long end);

/* shmem.c */
#ifdef CONFIG_MSHARE_SHMEM
void mshare_pool_gone(struct mshare_region *pool);
bool mshare_is_pool(const struct vm_area_struct *vma);
int mshare_madvise_unshare(struct mm_struct *mm, unsigned long start,
			   unsigned long end, int behavior);
#else
static inline void mshare_pool_gone(struct mshare_region *pool)
{
}

static inline bool mshare_is_pool(const struct vm_area_struct *vma)
{
	return false;
}

static inline int mshare_madvise_unshare(struct mm_struct *mm,
					 unsigned long start,
					 unsigned long end, int behavior)
{
	return 0;
}
#endif

/* policy.c */
struct mempolicy *mshare_window_get_policy(struct vm_area_struct *window,
					   unsigned long address, pgoff_t *ilx);

/*
 * The anonymous object that a host VMA maps. A memfd has the same vm_ops as
 * one of small pages; hugetlbfs has a use for vm_private_data, but none for the
 * file's, which is NULL in what others made.
 */
static inline struct mshare_anon *mshare_vma_anon(struct vm_area_struct *vma)
{
	if (is_vm_hugetlb_page(vma))
		return vma->vm_file->private_data;
	return vma_is_anon_shmem(vma) ? vma->vm_private_data : NULL;
}

static inline unsigned long mshare_vma_ceiling(struct vm_area_struct *vma)
{
	return (vma->vm_flags >> 4) & MSHARE_PROT_ALL;
}

/* event.c */
void mshare_event_init(struct mshare_region *region);
void mshare_event_exit(struct mshare_region *region);
void mshare_event_prepare(struct mshare_region *region,
			  struct mem_cgroup *payer);
void mshare_event_add(struct mshare_region *region,
		      const struct mshare_denial *denial, u64 now, u64 waited,
		      u32 flags);
ssize_t mshare_event_read(struct file *file, char __user *buf, size_t count,
			  loff_t *pos);
__poll_t mshare_event_poll(struct file *file, poll_table *wait);

/* wait.c */
void mshare_wait_sysctls_init(void);
void mshare_wait_sysctls_exit(void);
void mshare_wait_init(struct mshare_region *region);
void mshare_wait_grant(struct mshare_region *region, unsigned long start,
		       unsigned long end, unsigned long prot);
void mshare_wait_leave(struct mshare_link *link, unsigned long start,
		       unsigned long end);
void mshare_wait_add_writer(struct mshare_region *region);
void mshare_wait_drop_writer(struct mshare_region *region);
long mshare_ioctl_fault_mode(struct mshare_region *region, void __user *arg);
vm_fault_t mshare_deny_prepare(struct mshare_region *region,
			       const struct mshare_denial *denial,
			       unsigned int flags, struct mshare_wait **new);
vm_fault_t mshare_deny_at(struct mshare_link *link,
			  const struct mshare_denial *denial,
			  unsigned long address,
			  struct vm_area_struct *host_vma, unsigned int flags,
			  struct mshare_wait **new, struct mshare_wait **sleep);
vm_fault_t mshare_deny(struct vm_area_struct *vma, unsigned long address,
		       struct vm_area_struct *host_vma, unsigned int flags,
		       struct mshare_wait **sleep);
void mshare_wait_free(struct mshare_wait *wait);
void mshare_wait_sleep(struct mshare_region *region, struct mshare_wait *wait,
		       unsigned int flags);

/* tlb.c */
void mshare_flush_region(struct mshare_region *region, bool lazy);

/* debug.c: each takes out what it names, so that a test can miss it */
#ifdef CONFIG_MSHARE_DEBUG
extern bool mshare_skip_flip_flush, mshare_skip_notifier_flush;
extern bool mshare_skip_unmap_flush, mshare_skip_batch_flush;
extern bool mshare_skip_pushdown, mshare_skip_detach_flush;
extern bool mshare_skip_wait_recheck, mshare_skip_views;
extern bool mshare_skip_guard_close;
extern u32 mshare_wait_delay_us, mshare_flip_delay_us;

void mshare_debug_init(void);
void mshare_debug_exit(void);
void mshare_tlb_debug_init(struct dentry *dir);
u64 mshare_tlb_gen(struct mm_struct *mm);

/* Between denial and wait: gives a test's flip the time to come between. */
static inline void mshare_wait_delay(void)
{
	if (unlikely(READ_ONCE(mshare_wait_delay_us)))
		udelay(min(READ_ONCE(mshare_wait_delay_us), 20000));
}

/* Between a flip's leaves and its flush: for what comes between there */
static inline void mshare_flip_delay(void)
{
	if (unlikely(READ_ONCE(mshare_flip_delay_us)))
		fsleep(min(READ_ONCE(mshare_flip_delay_us), 1000000));
}
#else
#define mshare_skip_flip_flush		false
#define mshare_skip_notifier_flush	false
#define mshare_skip_unmap_flush		false
#define mshare_skip_batch_flush		false
#define mshare_skip_pushdown		false
#define mshare_skip_detach_flush	false
#define mshare_skip_wait_recheck	false
#define mshare_skip_views		false
#define mshare_skip_guard_close		false

static inline void mshare_wait_delay(void)
{
}

static inline void mshare_flip_delay(void)
{
}

static inline void mshare_debug_init(void)
{
}

static inline void mshare_debug_exit(void)
{
}
#endif

#endif /* _MM_MSHARE_INTERNAL_H */
