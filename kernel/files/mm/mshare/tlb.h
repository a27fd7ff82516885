/* SPDX-License-Identifier: GPL-2.0 */
/*
 * mshare: what a region has for its flushes.
 */
#ifndef _MM_MSHARE_TLB_H
#define _MM_MSHARE_TLB_H

#include <linux/atomic.h>

struct mm_struct;

/**
 * struct mshare_tlb - the flushes of a region
 * @gen: the last one's number, of those of all regions
 */
struct mshare_tlb {
	atomic64_t gen;
};

void mshare_tlb_follow(struct mm_struct *mm);
void mshare_tlb_note(struct mm_struct *mm);

#endif /* _MM_MSHARE_TLB_H */
