// SPDX-License-Identifier: GPL-2.0
/*
 * mshare: debugfs knobs. Each takes out one flush, check or order, so that the
 * test which would notice can be seen to notice. Not for systems in use.
 */
#include <linux/debugfs.h>
#include <linux/init.h>
#include <linux/kernel.h>
#include <linux/mshare.h>
#include <linux/mutex.h>
#include <linux/seq_file.h>
#include <linux/timekeeping.h>
#include <linux/uaccess.h>
#include <asm/tlbflush.h>

#include "internal.h"

bool mshare_skip_flip_flush, mshare_skip_notifier_flush;
bool mshare_skip_unmap_flush, mshare_skip_batch_flush, mshare_skip_batching;
bool mshare_skip_gup_check, mshare_skip_gup_recheck;
bool mshare_skip_pushdown, mshare_skip_detach_flush;
bool mshare_skip_wait_recheck, mshare_skip_views;
bool mshare_skip_guard_close;
u32 mshare_gup_delay_us, mshare_wait_delay_us, mshare_flip_delay_us;

#define MSHARE_MAX_FLUSHES	10000

static DEFINE_MUTEX(mshare_flush_lock);
static u32 mshare_flush_ns[MSHARE_MAX_FLUSHES];
static unsigned int mshare_nr_flushes;

/* Write N: time N bare all-CPU flushes, the floor of what a flip can cost. */
static ssize_t mshare_flush_all_write(struct file *file,
				      const char __user *buf, size_t count,
				      loff_t *pos)
{
	unsigned int n, i;
	int err;

	err = kstrtouint_from_user(buf, count, 0, &n);
	if (err)
		return err;
	if (!n || n > MSHARE_MAX_FLUSHES)
		return -EINVAL;

	mutex_lock(&mshare_flush_lock);
	for (i = 0; i < n; i++) {
		u64 start = ktime_get_ns();

		flush_tlb_all();
		mshare_flush_ns[i] = min_t(u64, ktime_get_ns() - start,
					   U32_MAX);
		cond_resched();
	}
	mshare_nr_flushes = n;
	mutex_unlock(&mshare_flush_lock);
	return count;
}

static int mshare_flush_all_show(struct seq_file *seq, void *unused)
{
	unsigned int i;

	mutex_lock(&mshare_flush_lock);
	for (i = 0; i < mshare_nr_flushes; i++)
		seq_printf(seq, "%u\n", mshare_flush_ns[i]);
	mutex_unlock(&mshare_flush_lock);
	return 0;
}
DEFINE_SHOW_STORE_ATTRIBUTE(mshare_flush_all);

/* The reader's own: each flush of a region that it has a window of moves it. */
static int mshare_tlb_gen_show(struct seq_file *seq, void *unused)
{
	if (!current->mm)
		return -EINVAL;
	seq_printf(seq, "%llu\n", mshare_tlb_gen(current->mm));
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(mshare_tlb_gen);

static struct dentry *mshare_debug_dir;

void __init mshare_debug_init(void)
{
	struct dentry *dir = debugfs_create_dir("mshare", NULL);

	mshare_debug_dir = dir;
	debugfs_create_file("flush_all", 0600, dir, NULL,
			    &mshare_flush_all_fops);
	debugfs_create_file("tlb_gen", 0400, dir, NULL, &mshare_tlb_gen_fops);
	debugfs_create_bool("skip_flip_flush", 0600, dir,
			    &mshare_skip_flip_flush);
	debugfs_create_bool("skip_notifier_flush", 0600, dir,
			    &mshare_skip_notifier_flush);
	debugfs_create_bool("skip_unmap_flush", 0600, dir,
			    &mshare_skip_unmap_flush);
	debugfs_create_bool("skip_batch_flush", 0600, dir,
			    &mshare_skip_batch_flush);
	debugfs_create_bool("skip_batching", 0600, dir,
			    &mshare_skip_batching);
	debugfs_create_bool("skip_gup_check", 0600, dir,
			    &mshare_skip_gup_check);
	debugfs_create_bool("skip_gup_recheck", 0600, dir,
			    &mshare_skip_gup_recheck);
	debugfs_create_bool("skip_pushdown", 0600, dir,
			    &mshare_skip_pushdown);
	debugfs_create_bool("skip_detach_flush", 0600, dir,
			    &mshare_skip_detach_flush);
	debugfs_create_bool("skip_wait_recheck", 0600, dir,
			    &mshare_skip_wait_recheck);
	debugfs_create_bool("skip_guard_close", 0600, dir,
			    &mshare_skip_guard_close);
	/*
	 * Not a protection: while it is set, PROTECT of whole chunks changes
	 * the host's VMAs and leaves and no view, so that a benchmark can tell
	 * what views bring from what sharing brings. All promises hold.
	 */
	debugfs_create_bool("skip_views", 0600, dir, &mshare_skip_views);
	debugfs_create_u32("wait_delay_us", 0600, dir, &mshare_wait_delay_us);
	debugfs_create_u32("flip_delay_us", 0600, dir, &mshare_flip_delay_us);
	/* Slow GUP only: GUP-fast has interrupts off, a flip waits for it */
	debugfs_create_u32("gup_delay_us", 0600, dir, &mshare_gup_delay_us);
	mshare_tlb_debug_init(dir);
}

void mshare_debug_exit(void)
{
	debugfs_remove(mshare_debug_dir);
}
