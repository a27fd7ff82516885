/* SPDX-License-Identifier: GPL-2.0 */
/*
 * mshare as a module: what a region has for its flushes, which is its links.
 */
#ifndef _MM_MSHARE_TLB_H
#define _MM_MSHARE_TLB_H

struct mshare_tlb {
};

#endif /* _MM_MSHARE_TLB_H */
