// SPDX-License-Identifier: GPL-2.0
/*
 * mshare: flips, that is changing the protection of a range for every sharer.
 *
 * What a sharer may do is what the host VMA and the view both grant. Chunks
 * that the range covers are flipped through the view, one store each. A part
 * of a chunk is an mprotect() in the host, flags first, then entries: taking
 * R/W out of a leaf below a writable VMA would not last, as a read fault,
 * migration or swap-in makes leaves anew from vm_page_prot.
 *
 * All of it runs under region->lock, so flips are serialised, and who returns
 * has its own and all earlier ones in force.
 */
#include <linux/mman.h>
#include <linux/mmu_notifier.h>
#include <linux/security.h>
#include <asm/tlb.h>
#include <trace/events/mshare.h>

#include "../internal.h"
#include "internal.h"

/* Is @offset inside a huge page of hugetlbfs, where no VMA can be split? */
bool mshare_cuts_huge(struct mshare_region *region, unsigned long offset)
{
	struct vm_area_struct *vma = vma_lookup(region->host, offset);

	return vma && is_vm_hugetlb_page(vma) && offset & ~PMD_MASK;
}

/* Split the host VMA that spans @offset, if one does. */
int mshare_split(struct mshare_region *region, unsigned long offset)
{
	VMA_ITERATOR(vmi, region->host, offset);
	struct vm_area_struct *vma = vma_lookup(region->host, offset);

	if (!vma || vma->vm_start == offset)
		return 0;
	return split_vma(&vmi, vma, offset, 1);
}

/*
 * Merge again what a piece had split; best effort, nothing changes by it.
 */
static void mshare_merge(struct mshare_region *region, unsigned long start,
			 unsigned long end)
{
	VMA_ITERATOR(vmi, region->host, start);
	struct vm_area_struct *vma, *prev, *merged;

	vma = vma_find(&vmi, end);
	if (!vma)
		return;
	prev = vma_prev(&vmi);
	for_each_vma_range(vmi, vma, end) {
		merged = vma_modify_flags(&vmi, prev, vma, vma->vm_start,
					  vma->vm_end, vma->vm_flags);
		if (!IS_ERR(merged))
			vma = merged;
		prev = vma;
	}
}

/*
 * Let a host VMA grant @prot, no more and no less. @tlb gathers the flush, and
 * @entries counts what was written; both NULL where no page is mapped yet.
 */
void mshare_set_host_prot(struct mshare_region *region, struct mmu_gather *tlb,
			  struct vm_area_struct *vma, unsigned long prot,
			  u64 *entries)
{
	unsigned long flags = (vma->vm_flags & ~MSHARE_PROT_ALL) | prot;
	unsigned int cp_flags = 0;

	if (vma->vm_flags == flags)
		return;
	vm_stat_account(vma->vm_mm, vma->vm_flags, -vma_pages(vma));
	vm_stat_account(vma->vm_mm, flags, vma_pages(vma));

	/* Waits for faults that hold the VMA's lock; later ones see the flags */
	vma_start_write(vma);
	vm_flags_reset(vma, flags);
	if (vma_wants_manual_pte_write_upgrade(vma))
		cp_flags |= MM_CP_TRY_CHANGE_WRITABLE;
	vma_set_page_prot(vma);
	if (tlb)
		*entries += change_protection(tlb, vma, vma->vm_start,
					      vma->vm_end, cp_flags);
}

/*
 * Let the VMAs of a chunk grant no more than its view does, so that the view
 * can be opened; they have been split at its borders. The caller flushes
 * before it opens the view.
 */
void mshare_pushdown(struct mshare_region *region, unsigned long start,
		     struct mmu_gather *tlb, u64 *entries)
{
	VMA_ITERATOR(vmi, region->host, start);
	unsigned long prot = mshare_chunk(region, start)->prot;
	struct vm_area_struct *vma;

	if (mshare_skip_pushdown)
		return;
	for_each_vma_range(vmi, vma, start + PUD_SIZE)
		mshare_set_host_prot(region, tlb, vma,
				     vma->vm_flags & prot & MSHARE_PROT_ALL,
				     entries);
}

/* Bring ceiling, mapped and pieces up to date with the host VMAs. */
void mshare_chunk_refresh(struct mshare_region *region, unsigned long offset)
{
	VMA_ITERATOR(vmi, region->host, offset & PUD_MASK);
	struct mshare_chunk *chunk = mshare_chunk(region, offset);
	unsigned long end = (offset & PUD_MASK) + PUD_SIZE;
	struct vm_area_struct *vma;

	chunk->mapped = false;
	chunk->pieces = false;
	chunk->ceiling = MSHARE_PROT_ALL;
	for_each_vma_range(vmi, vma, end) {
		unsigned long ceiling = mshare_vma_ceiling(vma);

		chunk->mapped = true;
		chunk->ceiling &= ceiling;
		if ((vma->vm_flags & MSHARE_PROT_ALL) != ceiling)
			chunk->pieces = true;
	}
	if (!chunk->mapped)
		WRITE_ONCE(chunk->prot, MSHARE_PROT_ALL);
}

/* A part of a chunk in which something is mapped; empty if start is end. */
struct mshare_piece {
	unsigned long start, end;
};

/**
 * struct mshare_flip - one PROTECT under way
 * @region: the region
 * @prot: what shall be granted
 * @start: start of the range
 * @end: its end
 * @first: start of the chunks that are flipped whole
 * @last: their end; not above @first if there are none
 * @pieces: the rest of the range: head and tail
 * @entries: table entries written
 * @takes: rights that some whole chunk has and shall not have
 * @gives: rights that one has not and shall have
 * @host: host VMAs and leaves are concerned, not views only
 * @changed: something was
 * @flush: rights were taken
 */
struct mshare_flip {
	struct mshare_region *region;
	unsigned long prot;
	unsigned long start, end;
	unsigned long first, last;
	struct mshare_piece pieces[2];
	u64 entries;
	unsigned long takes, gives;
	bool host;
	bool changed;
	bool flush;
};

static bool mshare_mapped_in(struct mshare_region *region, unsigned long start,
			     unsigned long end)
{
	bool mapped;

	if (start == end)
		return false;
	mmap_read_lock(region->host);
	mapped = find_vma_intersection(region->host, start, end);
	mmap_read_unlock(region->host);
	return mapped;
}

static void mshare_flip_add_piece(struct mshare_flip *flip, int i,
				  unsigned long start, unsigned long end)
{
	if (start >= end || !mshare_mapped_in(flip->region, start, end))
		return;
	flip->pieces[i].start = start;
	flip->pieces[i].end = end;
}

/*
 * Which chunks are whole: nothing is mapped in them outside the range. What is
 * left of the range at its ends are pieces, each within a chunk.
 */
static void mshare_flip_plan(struct mshare_flip *flip)
{
	unsigned long first = flip->start & PUD_MASK;
	unsigned long last = ALIGN(flip->end, PUD_SIZE);
	unsigned long border = (flip->end - 1) & PUD_MASK;

	if (mshare_mapped_in(flip->region, first, flip->start))
		first += PUD_SIZE;
	if (mshare_mapped_in(flip->region, flip->end, last))
		last -= PUD_SIZE;
	flip->first = first;
	flip->last = last;

	if (first < last) {
		mshare_flip_add_piece(flip, 0, flip->start, first);
		mshare_flip_add_piece(flip, 1, last, flip->end);
	} else if (border > flip->start) {
		mshare_flip_add_piece(flip, 0, flip->start, border);
		mshare_flip_add_piece(flip, 1, border, flip->end);
	} else {
		mshare_flip_add_piece(flip, 0, flip->start, flip->end);
	}
}

static struct mshare_piece *mshare_pieces_end(struct mshare_flip *flip)
{
	return flip->pieces + ARRAY_SIZE(flip->pieces);
}

/* The chunk at @addr; @prev is the one before it, if the caller has had it. */
static struct mshare_chunk *mshare_next_chunk(struct mshare_flip *flip,
					      struct mshare_chunk *prev,
					      unsigned long addr)
{
	if (prev && pud_index(addr))
		return prev + 1;
	return mshare_chunk(flip->region, addr);
}

/* May all of a piece have this protection, and has it not? */
static int mshare_flip_check_piece(struct mshare_flip *flip,
				   struct mshare_piece *piece)
{
	VMA_ITERATOR(vmi, flip->region->host, piece->start);
	struct mshare_chunk *chunk = mshare_chunk(flip->region, piece->start);
	struct vm_area_struct *vma;
	int err = 0;

	mmap_read_lock(flip->region->host);
	if (mshare_cuts_huge(flip->region, piece->start) ||
	    mshare_cuts_huge(flip->region, piece->end))
		err = -EINVAL;
	for_each_vma_range(vmi, vma, piece->end) {
		if (flip->prot & ~mshare_vma_ceiling(vma))
			err = -EACCES;
		if (flip->prot != mshare_granted(chunk, vma))
			flip->host = true;
	}
	mmap_read_unlock(flip->region->host);
	return err;
}

/* The same for the range; and is anything mapped in it? */
static int mshare_flip_check(struct mshare_flip *flip)
{
	struct mshare_chunk *chunk = NULL;
	struct mshare_piece *piece;
	bool mapped = false;
	unsigned long addr;
	int err;

	for (addr = flip->first; addr < flip->last; addr += PUD_SIZE) {
		chunk = mshare_next_chunk(flip, chunk, addr);
		if (!chunk || !chunk->mapped)
			continue;
		mapped = true;
		if (flip->prot & ~chunk->ceiling)
			return -EACCES;
		flip->takes |= chunk->prot & ~flip->prot;
		flip->gives |= flip->prot & ~chunk->prot;
		if (chunk->pieces)
			flip->host = true;
	}
	for (piece = flip->pieces; piece < mshare_pieces_end(flip); piece++) {
		if (piece->start == piece->end)
			continue;
		mapped = true;
		err = mshare_flip_check_piece(flip, piece);
		if (err)
			return err;
	}
	return mapped ? 0 : -ENOMEM;
}

/* Does a piece need more than the view grants in its chunk? */
static bool mshare_needs_pushdown(struct mshare_flip *flip,
				  struct mshare_piece *piece)
{
	return piece->start < piece->end &&
		flip->prot & ~mshare_chunk(flip->region, piece->start)->prot;
}

/* All that can fail: afterwards only flags and entries change. */
static int mshare_flip_split(struct mshare_flip *flip)
{
	struct mshare_region *region = flip->region;
	struct mshare_piece *piece;
	int err = 0;

	if (flip->first < flip->last)
		err = mshare_split(region, flip->first) ?:
			mshare_split(region, flip->last);
	for (piece = flip->pieces; piece < mshare_pieces_end(flip); piece++) {
		unsigned long chunk_start = piece->start & PUD_MASK;

		if (err || piece->start == piece->end)
			continue;
		err = mshare_split(region, piece->start) ?:
			mshare_split(region, piece->end);
		if (!err && mshare_needs_pushdown(flip, piece))
			err = mshare_split(region, chunk_start) ?:
				mshare_split(region, chunk_start + PUD_SIZE);
	}
	return err;
}

static void mshare_flip_view(struct mshare_flip *flip, unsigned long addr,
			     unsigned long prot)
{
	mshare_view_link(flip->region, addr, prot);
	flip->entries++;
	flip->changed = true;
}

/* Take from whole chunks what they shall not have. */
static void mshare_flip_close(struct mshare_flip *flip)
{
	struct mshare_chunk *chunk = NULL;
	unsigned long addr;

	for (addr = flip->first; addr < flip->last; addr += PUD_SIZE) {
		chunk = mshare_next_chunk(flip, chunk, addr);
		if (!chunk || !chunk->mapped || !(chunk->prot & ~flip->prot))
			continue;
		mshare_flip_view(flip, addr, chunk->prot & flip->prot);
		flip->flush = true;
	}
}

/*
 * Give a piece's VMAs their protection, and its neighbours the view's. Where
 * that is the view's, the VMA may grant all: it merges with its neighbours.
 */
static void mshare_flip_host(struct mshare_flip *flip, struct mmu_gather *tlb,
			     struct mshare_piece *piece)
{
	VMA_ITERATOR(vmi, flip->region->host, piece->start);
	struct mshare_region *region = flip->region;
	struct mshare_chunk *chunk = mshare_chunk(region, piece->start);
	struct vm_area_struct *vma;

	if (mshare_needs_pushdown(flip, piece)) {
		/* leaves close where the view opens: flush before it does */
		mshare_pushdown(region, piece->start & PUD_MASK, tlb,
				&flip->entries);
		flip->flush = true;
	}
	for_each_vma_range(vmi, vma, piece->end) {
		unsigned long old = mshare_granted(chunk, vma);
		unsigned long prot = flip->prot;

		if (old == prot)
			continue;
		flip->changed = true;
		if (old & ~prot)
			flip->flush = true;
		if (prot == chunk->prot)
			prot = mshare_vma_ceiling(vma);
		mshare_set_host_prot(region, tlb, vma, prot, &flip->entries);
	}
}

/*
 * Pieces of earlier flips that grant less than the chunk shall have get back
 * all they may. The view is still closed, so nothing opens by it.
 */
static void mshare_flip_restore(struct mshare_flip *flip,
				struct mmu_gather *tlb, unsigned long addr)
{
	VMA_ITERATOR(vmi, flip->region->host, addr);
	struct vm_area_struct *vma;

	for_each_vma_range(vmi, vma, addr + PUD_SIZE) {
		if (!(flip->prot & ~vma->vm_flags))
			continue;
		flip->changed = true;
		mshare_set_host_prot(flip->region, tlb, vma,
				     mshare_vma_ceiling(vma), &flip->entries);
	}
}

/* Give what is to be given; rights taken are gone from every TLB. */
static void mshare_flip_open(struct mshare_flip *flip, struct mmu_gather *tlb)
{
	struct mshare_chunk *chunk = NULL;
	struct mshare_piece *piece;
	unsigned long addr;

	for (addr = flip->first; addr < flip->last; addr += PUD_SIZE) {
		chunk = mshare_next_chunk(flip, chunk, addr);
		if (!chunk || !chunk->mapped)
			continue;
		if (chunk->pieces)
			mshare_flip_restore(flip, tlb, addr);
		if (chunk->prot != flip->prot)
			mshare_flip_view(flip, addr, flip->prot);
	}
	for (piece = flip->pieces; piece < mshare_pieces_end(flip); piece++)
		if (mshare_needs_pushdown(flip, piece))
			mshare_flip_view(flip, piece->start & PUD_MASK,
					 MSHARE_PROT_ALL);
}

static void mshare_flip_flush(struct mshare_flip *flip)
{
	if (flip->flush && !mshare_skip_flip_flush)
		mshare_flush_region(flip->region, false);
}

/*
 * tlb_finish_mmu() would flush through the notifier; here it is one flush for
 * views and leaves together, or none where rights are only given: a stale
 * entry then costs a fault that finds nothing to do.
 *
 * The flush comes first. A leaf that grants nothing any more is taken for one
 * that is in no TLB, unless a gather is pending (pte_accessible()): reclaim and
 * migration would take its page away, and flush nobody.
 */
static void mshare_flip_gathered(struct mshare_flip *flip,
				 struct mmu_gather *tlb)
{
	mshare_flip_delay();
	mshare_flip_flush(flip);
	WRITE_ONCE(flip->region->flusher, current);
	tlb_finish_mmu(tlb);
	WRITE_ONCE(flip->region->flusher, NULL);
}

/* Host VMAs were split, and their flags have changed: tidy up behind it. */
static void mshare_flip_finish(struct mshare_flip *flip)
{
	unsigned long start = flip->start & PUD_MASK, addr;
	unsigned long end = ALIGN(flip->end, PUD_SIZE);

	mshare_merge(flip->region, start, end);
	for (addr = start; addr < end; addr += PUD_SIZE)
		if (mshare_chunk(flip->region, addr))
			mshare_chunk_refresh(flip->region, addr);
}

/* With pieces: the host's VMAs and leaves change too. */
static int mshare_flip_slow(struct mshare_flip *flip)
{
	struct mshare_region *region = flip->region;
	struct mm_struct *host = region->host;
	struct mshare_piece *piece;
	struct mmu_gather tlb;
	int err;

	if (mmap_write_lock_killable(host))
		return -EINTR;
	err = mshare_flip_split(flip);
	if (err)
		goto out;

	mshare_flip_close(flip);
	tlb_gather_mmu(&tlb, host);
	for (piece = flip->pieces; piece < mshare_pieces_end(flip); piece++)
		if (piece->start < piece->end)
			mshare_flip_host(flip, &tlb, piece);
	mshare_flip_gathered(flip, &tlb);

	flip->flush = false;
	tlb_gather_mmu(&tlb, host);
	mshare_flip_open(flip, &tlb);
	mshare_flip_gathered(flip, &tlb);
out:
	mshare_flip_finish(flip);
	mmap_write_unlock(host);
	return err;
}

/*
 * Only whole chunks, none with pieces: stores and one flush. A fault that asked
 * before a store may still install a leaf, below an entry that is closed.
 */
static void mshare_flip_fast(struct mshare_flip *flip)
{
	if (flip->takes) {
		mshare_flip_close(flip);
		mshare_flip_flush(flip);
	}
	if (flip->gives)
		mshare_flip_open(flip, NULL);
}

/*
 * With the debugfs knob skip_views, all by host VMAs and leaves, as if pieces
 * were everything: what a flip would cost with shared tables, but no views.
 * Views that are closed are opened once, by pushdown, and stay open.
 */
static int mshare_flip_leaves(struct mshare_flip *flip)
{
	VMA_ITERATOR(vmi, flip->region->host, flip->start);
	unsigned long start = flip->start & PUD_MASK;
	unsigned long end = ALIGN(flip->end, PUD_SIZE), addr;
	struct mshare_region *region = flip->region;
	struct mshare_chunk *chunk = NULL;
	struct vm_area_struct *vma;
	struct mmu_gather tlb;
	int err;

	if (mmap_write_lock_killable(region->host))
		return -EINTR;
	err = mshare_split(region, flip->start) ?:
		mshare_split(region, flip->end);
	for (addr = start; !err && addr < end; addr += PUD_SIZE) {
		chunk = mshare_next_chunk(flip, chunk, addr);
		if (chunk && chunk->mapped && chunk->prot != MSHARE_PROT_ALL)
			err = mshare_split(region, addr) ?:
				mshare_split(region, addr + PUD_SIZE);
	}
	if (err)
		goto out;

	tlb_gather_mmu(&tlb, region->host);
	for (addr = start; addr < end; addr += PUD_SIZE) {
		chunk = mshare_next_chunk(flip, chunk, addr);
		if (!chunk || !chunk->mapped || chunk->prot == MSHARE_PROT_ALL)
			continue;
		mshare_pushdown(region, addr, &tlb, &flip->entries);
		flip->flush = true;
	}
	for_each_vma_range(vmi, vma, flip->end) {
		unsigned long old = vma->vm_flags & MSHARE_PROT_ALL;

		if (old == flip->prot)
			continue;
		flip->changed = true;
		if (old & ~flip->prot)
			flip->flush = true;
		mshare_set_host_prot(region, &tlb, vma, flip->prot,
				     &flip->entries);
	}
	mshare_flip_gathered(flip, &tlb);

	for (addr = start; addr < end; addr += PUD_SIZE) {
		chunk = mshare_next_chunk(flip, chunk, addr);
		if (chunk && chunk->mapped && chunk->prot != MSHARE_PROT_ALL)
			mshare_view_link(region, addr, MSHARE_PROT_ALL);
	}
out:
	mshare_flip_finish(flip);
	mmap_write_unlock(region->host);
	return err;
}

int mshare_protect(struct mshare_region *region, unsigned long start,
		   unsigned long end, unsigned long prot)
{
	struct mshare_flip flip = {
		.region	= region,
		.prot	= prot,
		.start	= start,
		.end	= end,
	};
	int err;

	lockdep_assert_held(&region->lock);
	mshare_flip_plan(&flip);
	err = mshare_flip_check(&flip);
	if (err)
		return err;
	if (mshare_skip_views)
		err = mshare_flip_leaves(&flip);
	else if (flip.host)
		err = mshare_flip_slow(&flip);
	else
		mshare_flip_fast(&flip);
	if (flip.changed) {
		atomic64_inc(&region->flips);
		atomic64_add(flip.entries, &region->flip_entries);
		trace_mshare_flip(region->ino, start, end, prot, flip.entries);
	}
	return err;
}
