// SPDX-License-Identifier: GPL-2.0
/*
 * mshare as a module: what the core mm knows of a host mm is what it knows of
 * any mm, so a host is made to look like one that has the properties needed.
 */
#include <linux/cpumask.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/kthread.h>
#include <linux/mshare.h>
#include <linux/rculist.h>
#include <linux/sched/mm.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include <linux/workqueue.h>

#include "../internal.h"
#include "internal.h"
#include "core.h"

/**
 * struct mshare_host - a region by its host mm
 * @by_mm: in mshare_hosts
 * @mm: the host
 * @region: the region
 * @owner: the mm's owner: by a task, even a dead one, it has a memory cgroup
 * @rcu: frees it
 */
struct mshare_host {
	struct hlist_node by_mm;
	struct mm_struct *mm;
	struct mshare_region *region;
	struct task_struct *owner;
	struct rcu_head rcu;
};

struct hlist_head mshare_hosts[1 << MSHARE_HASH_BITS];
static DEFINE_SPINLOCK(mshare_hosts_lock);

/* The caller holds rcu_read_lock() or has preemption off. Handlers ask. */
static notrace struct mshare_host *mshare_host_find(const struct mm_struct *mm)
{
	struct mshare_host *host;

	hlist_for_each_entry_rcu_notrace(host,
					 &mshare_hosts[hash_ptr(mm, MSHARE_HASH_BITS)],
					 by_mm)
		if (host->mm == mm)
			return host;
	return NULL;
}

/* Likewise. */
struct mshare_region *notrace mshare_host_region(const struct mm_struct *mm)
{
	struct mshare_host *host = mshare_host_find(mm);

	return host ? host->region : NULL;
}

/*
 * Reclaim puts off its flush of an mm that may be in the TLB of another CPU, as
 * every host is. Two CPUs are enough to say so; offline ones, if there are any,
 * are never interrupted for it. Flushes take CPUs out now and then.
 */
void mshare_host_mask(struct mm_struct *host)
{
	unsigned int last = cpumask_last(cpu_possible_mask);

	cpumask_set_cpu(last, mm_cpumask(host));
	if (last > cpumask_first(cpu_possible_mask))
		cpumask_set_cpu(cpumask_last(cpu_possible_mask) - 1,
				mm_cpumask(host));
}

int mshare_hostmm_bind(struct mshare_region *region)
{
	struct mshare_host *host = kzalloc(sizeof(*host), GFP_KERNEL_ACCOUNT);
	struct mm_struct *mm = region->host;

	if (!host)
		return -ENOMEM;
	host->mm = mm;
	host->region = region;
	host->owner = get_task_struct(current);
	rcu_assign_pointer(mm->owner, host->owner);
	mshare_host_mask(mm);

	spin_lock(&mshare_hosts_lock);
	hlist_add_head_rcu(&host->by_mm,
			   &mshare_hosts[hash_ptr(mm, MSHARE_HASH_BITS)]);
	spin_unlock(&mshare_hosts_lock);
	return 0;
}

static void mshare_host_free(struct rcu_head *rcu)
{
	struct mshare_host *host = container_of(rcu, struct mshare_host, rcu);

	put_task_struct(host->owner);
	kfree(host);
}

void mshare_hostmm_unbind(struct mshare_region *region)
{
	struct mshare_host *host;

	rcu_read_lock();
	host = mshare_host_find(region->host);
	rcu_read_unlock();	/* we are who frees it */

	RCU_INIT_POINTER(region->host->owner, NULL);
	spin_lock(&mshare_hosts_lock);
	hlist_del_rcu(&host->by_mm);
	spin_unlock(&mshare_hosts_lock);
	call_rcu(&host->rcu, mshare_host_free);
}

/**
 * struct mshare_unmap_work - do_vmi_munmap() of a host
 * @work: does it
 * @region: whose
 * @start: of the range
 * @end: its end
 * @err: what came of it
 *
 * do_vmi_munmap() settles accounts with current->mm: a kernel thread can let
 * that be the host.
 */
struct mshare_unmap_work {
	struct work_struct work;
	struct mshare_region *region;
	unsigned long start, end;
	int err;
};

static void mshare_do_unmap(struct work_struct *work)
{
	struct mshare_unmap_work *unmap;
	struct mm_struct *host;
	struct mem_cgroup *old;

	unmap = container_of(work, struct mshare_unmap_work, work);
	host = unmap->region->host;
	VMA_ITERATOR(vmi, host, unmap->start);

	/* The lock is our caller's, who waits: tell lockdep */
	rwsem_acquire(&host->mmap_lock.dep_map, 0, 1, _THIS_IP_);
	kthread_use_mm(host);
	old = set_active_memcg(unmap->region->memcg);
	unmap->err = do_vmi_munmap(&vmi, host, unmap->start,
				   unmap->end - unmap->start, NULL, false);
	set_active_memcg(old);
	kthread_unuse_mm(host);
	rwsem_release(&host->mmap_lock.dep_map, _THIS_IP_);
}

/*
 * What a kernel thread lets go of is closed some time later. Hold the files,
 * so that it is the caller who closes them, on its way back to user mode: huge
 * pages are free again when UNMAP returns. Without memory it is some time later.
 */
static struct file **mshare_hold_files(struct mshare_region *region,
				       unsigned long start, unsigned long end,
				       unsigned long *count)
{
	VMA_ITERATOR(vmi, region->host, start);
	struct vm_area_struct *vma;
	struct file **files;
	unsigned long n = 0;

	for_each_vma_range(vmi, vma, end)
		n++;
	files = kvmalloc_array(n, sizeof(*files), GFP_KERNEL | __GFP_NOWARN);
	if (!files)
		return NULL;
	vma_iter_set(&vmi, start);
	*count = 0;
	for_each_vma_range(vmi, vma, end)
		if (*count < n && vma->vm_file)
			files[(*count)++] = get_file(vma->vm_file);
	return files;
}

int mshare_hostmm_unmap(struct mshare_region *region, unsigned long start,
			unsigned long end)
{
	struct mshare_unmap_work unmap = {
		.region = region, .start = start, .end = end,
	};
	unsigned long count = 0;
	struct file **files;

	files = mshare_hold_files(region, start, end, &count);
	INIT_WORK_ONSTACK(&unmap.work, mshare_do_unmap);
	queue_work(system_unbound_wq, &unmap.work);
	flush_work(&unmap.work);
	destroy_work_on_stack(&unmap.work);
	while (count)
		fput(files[--count]);
	kvfree(files);
	return unmap.err;
}

/*
 * hugetlb compares flags before it lends or borrows a page table, and no user
 * can have this one on a shared mapping.
 */
unsigned long mshare_hostmm_vm_flags(const struct vm_area_struct *vma)
{
	return is_vm_hugetlb_page(vma) ? VM_WIPEONFORK : 0;
}
