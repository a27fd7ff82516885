// SPDX-License-Identifier: GPL-2.0
/*
 * mshare as a module: the first mount tries it before it is made.
 *
 * A scratch address space, which no user program sees, maps a region: accesses,
 * a flip, GUP, a notifier, munmap() and exit must do what they do in the tree.
 * A hook that is not where it is thought to be shows here, and nothing is mounted.
 */
#include <linux/anon_inodes.h>
#include <linux/completion.h>
#include <linux/file.h>
#include <linux/kthread.h>
#include <linux/mman.h>
#include <linux/mmu_notifier.h>
#include <linux/mshare.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "mm/internal.h"
#include "mm/mshare/internal.h"
#include "core.h"

#define SELFTEST_BYTES	(16 * PAGE_SIZE)
#define SELFTEST_WORD	0x4d534852

struct mshare_selftest {
	struct mshare_region *region;
	struct file *file;
	struct mm_struct *mm;
	const char *failed;
	struct completion done;
};

static void selftest_expect(struct mshare_selftest *test, bool holds,
			    const char *condition)
{
	if (!test->failed && !holds)
		test->failed = condition;
}

#define EXPECT(test, condition) selftest_expect(test, condition, #condition)

static int selftest_flip(struct mshare_selftest *test, unsigned long prot)
{
	int err;

	mutex_lock(&test->region->lock);
	err = mshare_protect(test->region, 0, SELFTEST_BYTES, prot);
	mutex_unlock(&test->region->lock);
	return err;
}

static int selftest_map(struct mshare_selftest *test)
{
	unsigned long at = vm_mmap(test->file, MSHARE_SLOT_SIZE,
				   MSHARE_SLOT_SIZE, PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_FIXED, 0);

	return at == MSHARE_SLOT_SIZE ? 0 : -EINVAL;
}

static long selftest_gup(unsigned long at, unsigned int flags)
{
	struct page *page;
	long got = get_user_pages_fast(at, 1, flags, &page);

	if (got == 1)
		put_page(page);
	return got;
}

static long selftest_longterm(unsigned long at)
{
	struct page *page;
	long got = pin_user_pages_fast(at, 1, FOLL_LONGTERM, &page);

	if (got == 1)
		unpin_user_page(page);
	return got;
}

/* Does a machine check at what @at shows lead to @at? The layout is not public. */
static bool selftest_failure(struct mshare_selftest *test, unsigned long at)
{
	struct hwpoison_walk walk = {};
	struct page *page;
	int ret;

	if (get_user_pages_fast(at, 1, 0, &page) != 1)
		return false;
	walk.pfn = page_to_pfn(page);
	mmap_read_lock(test->mm);
	ret = mshare_walk_windows(test->mm, &hwpoison_walk_ops, &walk,
				  &walk.tk.addr);
	mmap_read_unlock(test->mm);
	put_page(page);
	return ret == 1 && walk.tk.addr == at &&
		walk.tk.size_shift == PAGE_SHIFT;
}

static int selftest_unmap(struct mshare_selftest *test, unsigned long start)
{
	int err;

	mutex_lock(&test->region->lock);
	err = mshare_host_unmap(test->region, start, SELFTEST_BYTES);
	mutex_unlock(&test->region->lock);
	return err;
}

static int selftest_notifier(struct mshare_selftest *test)
{
	static const struct mmu_notifier_ops ops = {};
	struct mmu_notifier notifier = { .ops = &ops };
	int err = mmu_notifier_register(&notifier, test->mm);

	if (!err)
		mmu_notifier_unregister(&notifier, test->mm);
	return err;
}

static void selftest_accesses(struct mshare_selftest *test)
{
	u32 __user *word = (void __user *)MSHARE_SLOT_SIZE;
	unsigned long at = MSHARE_SLOT_SIZE;
	u32 value = 0;

	EXPECT(test, !selftest_map(test));
	if (test->failed)
		return;
	/* 0003 and the rest of the way in */
	EXPECT(test, !put_user(SELFTEST_WORD, word));
	EXPECT(test, percpu_counter_sum(&test->region->faults) > 0);
	EXPECT(test, !get_user(value, word) && value == SELFTEST_WORD);
	/* a hole of the region */
	EXPECT(test, put_user(0, word + SELFTEST_BYTES / sizeof(*word)) == -EFAULT);
	/* 0011 */
	EXPECT(test, !selftest_flip(test, VM_READ));
	EXPECT(test, put_user(0, word) == -EFAULT);
	EXPECT(test, !get_user(value, word) && value == SELFTEST_WORD);
	/* 0004 */
	EXPECT(test, selftest_gup(at, FOLL_WRITE) == -EFAULT);
	EXPECT(test, selftest_gup(at, 0) == 1);
	EXPECT(test, selftest_longterm(at) == -EOPNOTSUPP);
	EXPECT(test, !selftest_flip(test, VM_READ | VM_WRITE));
	EXPECT(test, selftest_gup(at, FOLL_WRITE) == 1);
	/* 0008 */
	EXPECT(test, selftest_notifier(test) == -EOPNOTSUPP);
	/* 0019 */
	EXPECT(test, selftest_failure(test, at));
	/* the notifier of the host: what is taken out there is gone here */
	EXPECT(test, !mshare_advise(test->region, 0, SELFTEST_BYTES, MADV_REMOVE));
	EXPECT(test, !get_user(value, word) && value == 0);
	/* 0003: zaps; 0007 */
	EXPECT(test, !vm_munmap(at, MSHARE_SLOT_SIZE));
	EXPECT(test, put_user(0, word) == -EFAULT);
	EXPECT(test, !READ_ONCE(test->region->nr_links));
	EXPECT(test, !selftest_unmap(test, PAGE_SIZE));
	/* and exit, with a window */
	EXPECT(test, !selftest_map(test));
	EXPECT(test, !put_user(SELFTEST_WORD, word));
}

static int selftest_thread(void *data)
{
	struct mshare_selftest *test = data;

	kthread_use_mm(test->mm);
	selftest_accesses(test);
	kthread_unuse_mm(test->mm);
	mmput(test->mm);
	EXPECT(test, !READ_ONCE(test->region->nr_links));
	complete(&test->done);
	return 0;
}

static int selftest_run(struct mshare_selftest *test)
{
	struct mshare_create create = {
		.size	= SELFTEST_BYTES,
		.offset	= 0,
		.prot	= PROT_READ | PROT_WRITE,
		.flags	= MAP_SHARED | MAP_ANONYMOUS,
		.fd	= -1,
	};
	struct task_struct *thread;
	int err;

	err = mshare_region_set_size(test->region, MSHARE_SLOT_SIZE) ?:
		mshare_host_create(test->region, &create);
	if (err)
		return err;
	test->mm = mm_alloc();
	if (!test->mm)
		return -ENOMEM;
	test->mm->task_size = TASK_SIZE_MAX;
	thread = kthread_run(selftest_thread, test, "mshare_selftest");
	if (IS_ERR(thread)) {
		mmput(test->mm);
		return PTR_ERR(thread);
	}
	wait_for_completion(&test->done);
	return test->failed ? -ENODEV : 0;
}

/* The hooks stand. 0, or -ENODEV: they do not do what they should. */
int mshare_selftest(void)
{
	struct mshare_selftest test = {
		.done = COMPLETION_INITIALIZER_ONSTACK(test.done),
	};
	struct mshare_fs *fs = kzalloc(sizeof(*fs), GFP_KERNEL);
	int err = -ENOMEM;

	if (!fs)
		return err;
	refcount_set(&fs->refs, 1);
	fs->max_bytes = LONG_MAX;
	fs->max_regions = 1;
	test.region = mshare_region_alloc(fs);
	if (IS_ERR(test.region)) {
		err = PTR_ERR(test.region);
		goto out;
	}
	test.file = anon_inode_create_getfile("[mshare]", &mshare_file_ops,
					      NULL, O_RDWR, NULL);
	if (IS_ERR(test.file)) {
		err = PTR_ERR(test.file);
	} else {
		file_inode(test.file)->i_private = test.region;
		mshare_wait_add_writer(test.region);
		err = selftest_run(&test);
		__fput_sync(test.file);
	}
	mshare_region_put(test.region);
out:
	mshare_fs_put(fs);
	if (test.failed)
		pr_err("this kernel does otherwise than expected: %s\n",
		       test.failed);
	else if (err)
		pr_err("no self-test: %pe\n", ERR_PTR(err));
	return err;
}
