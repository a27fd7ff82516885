// SPDX-License-Identifier: GPL-2.0
/*
 * mshare as a module: what kernel/patches do in the tree, on a kernel that has
 * not got them.
 *
 * A hook is an ftrace handler at a function's entry which lets the function's
 * caller come out in another one, as livepatch does, but only where a window is
 * concerned: it looks at one argument, and everybody else goes on into it. Each
 * names the patch that it stands for. The table is at the end, with the patches
 * that need no hook.
 *
 * Who comes in by a hook holds no reference of the module. What may sleep is
 * inside mshare_hook_srcu; the rest is over when no task is preempted in it.
 */
#include <linux/coredump.h>
#include <linux/ftrace.h>
#include <linux/kallsyms.h>
#include <linux/mempolicy.h>
#include <linux/mman.h>
#include <linux/mmu_notifier.h>
#include <linux/module.h>
#include <linux/mshare.h>
#include <linux/objtool.h>
#include <linux/pagewalk.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/srcu.h>
#include <asm/asm-offsets.h>
#include <asm/ibt.h>
#include <asm/nospec-branch.h>
#include <asm/tlb.h>
#include <asm/trap_pf.h>

#include "mm/internal.h"
#include "mm/mshare/internal.h"
#include "core.h"

DEFINE_STATIC_SRCU(mshare_hook_srcu);

#define ARGUMENT(n)	((void *)ftrace_regs_get_argument(fregs, n))

#define HANDLER(name)							\
	static void notrace name(unsigned long ip, unsigned long from,	\
				 struct ftrace_ops *ops,		\
				 struct ftrace_regs *fregs)

static __always_inline void go_to(struct ftrace_regs *fregs, void *function)
{
	ftrace_regs_set_instruction_pointer(fregs, (unsigned long)function);
}

/* A call by a hook, of the function that it stands in for. */
static __always_inline bool ours(unsigned long from)
{
	return within_module_core(from, THIS_MODULE);
}

/* 0003: handle_mm_fault() */
vm_fault_t mshare_hook_fault(struct vm_area_struct *vma, unsigned long address,
			     unsigned int flags, struct pt_regs *regs)
{
	int idx = srcu_read_lock(&mshare_hook_srcu);
	vm_fault_t ret;

	__set_current_state(TASK_RUNNING);
	ret = mshare_handle_fault(vma, address, flags, regs);
	srcu_read_unlock(&mshare_hook_srcu, idx);
	return ret & ~VM_FAULT_DENIED;		/* core code has no such bit */
}

HANDLER(on_handle_mm_fault)
{
	if (vma_is_mshare(ARGUMENT(0)))
		go_to(fregs, mshare_hook_fault);
}

/*
 * A direct call instead of a handler, for what ordinary processes do all the time:
 * they hardly notice it. In C it would be
 *
 *	if (wanted)
 *		return hook(...);	// to the caller of the function
 *	return;				// into the function
 *
 * At its entry (%rsp) is where to go on in the function, and 8(%rsp) its caller;
 * %rax, %r10 and %r11 are nobody's. @wanted leaves by `je 1f` or `jne 1f`.
 */
#define DIRECT(name, wanted, hook)					\
asm (									\
"	.pushsection	.text, \"ax\", @progbits\n"			\
"	.type		" #name ", @function\n"				\
"	.globl		" #name "\n"					\
#name ":\n"								\
	ASM_ENDBR							\
	CALL_DEPTH_ACCOUNT						\
	wanted								\
	ASM_RET								\
"1:	addq		$8, %rsp\n"					\
	UNWIND_HINT_FUNC						\
"	jmp		" #hook "\n"					\
"	.size		" #name ", .-" #name "\n"			\
"	.popsection\n"							\
)

/* What assembly takes for known */
#define MSHARE_VM_OPS		112
#define MSHARE_GOLDEN_RATIO	0x61C8864680B583EB
static_assert(GOLDEN_RATIO_64 == MSHARE_GOLDEN_RATIO);
static_assert(offsetof(struct vm_area_struct, vm_ops) == MSHARE_VM_OPS);
#define VMA_IS_MSHARE							\
"	leaq		mshare_window_ops(%rip), %rax\n"		\
"	cmpq		%rax, " __stringify(MSHARE_VM_OPS) "(%rdi)\n"	\
"	je		1f\n"

DIRECT(mshare_direct_fault, VMA_IS_MSHARE, mshare_hook_fault);

/* 0003: zaps. unmap_single_vma() and the OOM reaper call it. */
HANDLER(on_unmap_page_range)
{
	if (vma_is_mshare(ARGUMENT(1)))
		go_to(fregs, mshare_zap_window);
}

/* 0004: GUP's slow path, mlock() and MAP_POPULATE */
long mshare_hook_gup(struct mm_struct *mm, unsigned long start,
		     unsigned long nr_pages, unsigned int gup_flags,
		     struct page **pages, int *locked)
{
	int idx = srcu_read_lock(&mshare_hook_srcu);
	long ret = mshare_get_user_pages(mm, start, nr_pages, gup_flags, pages,
					 locked);

	srcu_read_unlock(&mshare_hook_srcu, idx);
	return ret;
}

/* An mm whose bucket is not empty: is it that mm's, and not our own call? */
bool notrace mshare_gup_wanted(const struct mm_struct *mm, unsigned long from)
{
	return mm_has_mshare(mm) && !ours(from);
}

HANDLER(on_get_user_pages)
{
	if (mshare_gup_wanted(ARGUMENT(0), from))
		go_to(fregs, mshare_hook_gup);
}

/* mm_has_mshare(): hash_ptr() of @mm, in %rdi, and a look at the bucket */
#define GUP_WANTED							\
"	movabsq		$" __stringify(MSHARE_GOLDEN_RATIO) ", %rax\n"	\
"	imulq		%rdi, %rax\n"					\
"	shrq		$64-" __stringify(MSHARE_HASH_BITS) ", %rax\n"	\
"	leaq		mshare_links(%rip), %r11\n"			\
"	cmpq		$0, (%r11,%rax,8)\n"				\
"	jne		2f\n"						\
	ASM_RET								\
"2:	pushq		%rdi\n"						\
"	pushq		%rsi\n"						\
"	pushq		%rdx\n"						\
"	pushq		%rcx\n"						\
"	pushq		%r8\n"						\
"	pushq		%r9\n"						\
"	movq		7*8(%rsp), %rsi\n"				\
"	call		mshare_gup_wanted\n"				\
"	popq		%r9\n"						\
"	popq		%r8\n"						\
"	popq		%rcx\n"						\
"	popq		%rdx\n"						\
"	popq		%rsi\n"						\
"	popq		%rdi\n"						\
"	testb		%al, %al\n"					\
"	jne		1f\n"

DIRECT(mshare_direct_gup, GUP_WANTED, mshare_hook_gup);

/* 0004: GUP-fast */
static int hook_gup_fast(unsigned long start, unsigned long nr_pages,
			 unsigned int gup_flags, struct page **pages)
{
	int idx = srcu_read_lock(&mshare_hook_srcu);
	int ret = mshare_gup_fast(start, nr_pages, gup_flags, pages);

	srcu_read_unlock(&mshare_hook_srcu, idx);
	return ret;
}

static int hook_gup_fast_only(void)
{
	return 0;	/* the caller knows that it may get nothing; NMIs do it */
}

/*
 * get_user_pages_fast() may jump to gup_fast_fallback(), so that whoever called
 * that is its caller here, and might be the self-test: only this function's calls
 * are ours.
 */
static unsigned long mshare_gup_ordinary_size;

static bool mshare_find_gup_ordinary(void)
{
	unsigned long offset;

	return kallsyms_lookup_size_offset((unsigned long)mshare_gup_ordinary,
					   &mshare_gup_ordinary_size, &offset);
}

HANDLER(on_gup_fast_fallback)
{
	unsigned long gup_flags = (unsigned long)ARGUMENT(2);

	if (!current->mm || !mm_has_mshare(current->mm) ||
	    from - (unsigned long)mshare_gup_ordinary < mshare_gup_ordinary_size ||
	    mshare_skip_gup_check)
		return;
	if (gup_flags & FOLL_FAST_ONLY)
		go_to(fregs, hook_gup_fast_only);
	else
		go_to(fregs, hook_gup_fast);
}

/* 0005: walks find a hole, and folio_walk_start() what the host has */
static int hook_walk(unsigned long start, unsigned long end,
		     struct mm_walk *walk)
{
	int idx = srcu_read_lock(&mshare_hook_srcu);
	const struct mm_walk_ops *ops = walk->ops;
	int err = 0;

	if (ops->pre_vma)
		err = ops->pre_vma(start, end, walk);
	if (!err) {
		if (ops->pte_hole)
			err = ops->pte_hole(start, end, -1, walk);
		if (ops->post_vma)
			ops->post_vma(walk);
	}
	srcu_read_unlock(&mshare_hook_srcu, idx);
	return err;
}

HANDLER(on_walk_page_range)
{
	struct mm_walk *walk = ARGUMENT(2);

	if (walk->vma && vma_is_mshare(walk->vma))
		go_to(fregs, hook_walk);
}

static struct folio *hook_folio_walk(struct folio_walk *fw,
				     struct vm_area_struct *vma,
				     unsigned long addr,
				     folio_walk_flags_t flags)
{
	int idx = srcu_read_lock(&mshare_hook_srcu);
	struct folio *folio = mshare_folio_walk_start(fw, vma, addr, flags);

	srcu_read_unlock(&mshare_hook_srcu, idx);
	return folio;
}

HANDLER(on_folio_walk_start)
{
	if (vma_is_mshare(ARGUMENT(1)))
		go_to(fregs, hook_folio_walk);
}

/* 0006: change_protection() changes none. 0017: vma_migratable() is false. */
static long hook_none(void)
{
	return 0;
}

HANDLER(on_change_protection)
{
	if (vma_is_mshare(ARGUMENT(1)))
		go_to(fregs, hook_none);
}

/* 0006: madvise() */
static int hook_madvise(struct mm_struct *mm, unsigned long start, size_t len,
			int behavior)
{
	int idx = srcu_read_lock(&mshare_hook_srcu);
	unsigned long end = start + PAGE_ALIGN(len);
	int err = 0;

	/* What it refuses, or has nothing to do for, do_madvise() tells itself */
	if (!offset_in_page(start) && end > start)
		err = mshare_madvise(mm, start, end, behavior);
	if (!err)
		err = do_madvise(mm, start, len, behavior);
	srcu_read_unlock(&mshare_hook_srcu, idx);
	return min(err, 0);
}

HANDLER(on_do_madvise)
{
	if (mm_has_mshare(ARGUMENT(0)) && !ours(from))
		go_to(fregs, hook_madvise);
}

/*
 * 0006: mremap() of a window, before anything is done. No 32-bit call can name
 * one: a slot begins at 512 GiB.
 */
static bool mshare_is_window(struct mm_struct *mm, unsigned long address)
{
	bool window;

	mmap_read_lock(mm);
	window = mshare_window_at(mm, untagged_addr_remote(mm, address));
	mmap_read_unlock(mm);
	return window;
}

static long hook_mremap(const struct pt_regs *regs)
{
	int idx = srcu_read_lock(&mshare_hook_srcu);
	long ret = -EINVAL;

	if (!mshare_is_window(current->mm, regs->di))
		ret = __x64_sys_mremap(regs);
	srcu_read_unlock(&mshare_hook_srcu, idx);
	return ret;
}

HANDLER(on_sys_mremap)
{
	if (mm_has_mshare(current->mm) && !ours(from))
		go_to(fregs, hook_mremap);
}

/* 0008: notifiers */
static long hook_refuse(void)
{
	return -EOPNOTSUPP;
}

HANDLER(on_mmu_notifier_register)
{
	if (mm_has_mshare(ARGUMENT(1)))
		go_to(fregs, hook_refuse);
}

/*
 * 0010: SIGSEGV of user mode. The fault's answer has come down to a bit that core
 * code knows, so what is there is asked again: denied where the region has
 * something mapped, else a hole.
 */
static void hook_bad_area(struct pt_regs *regs, unsigned long error_code,
			  unsigned long address)
{
	int idx = srcu_read_lock(&mshare_hook_srcu);
	struct mm_struct *mm = current->mm;
	struct vm_area_struct *vma;
	int si_code = SEGV_MAPERR;

	mmap_read_lock(mm);
	vma = vma_lookup(mm, address);
	if (vma && vma_is_mshare(vma)) {
		struct mshare_link *link = vma->vm_private_data;
		struct mm_struct *host = link->region->host;

		mmap_read_lock(host);
		if (vma_lookup(host, mshare_window_offset(vma, address)))
			si_code = SEGV_ACCERR;
		mmap_read_unlock(host);
	}
	mmap_read_unlock(mm);
	__bad_area_nosemaphore(regs, error_code, address, 0, si_code);
	srcu_read_unlock(&mshare_hook_srcu, idx);
}

HANDLER(on_bad_area_nosemaphore)
{
	struct pt_regs *regs = ARGUMENT(0);

	if (current->mm && user_mode(regs) &&
	    (unsigned long)ARGUMENT(2) < TASK_SIZE_MAX &&
	    mm_has_mshare(current->mm))
		go_to(fregs, hook_bad_area);
}

/*
 * 0012: an instruction fetch from a page that is present. x86 takes it for an
 * error before it asks handle_mm_fault(), from access_error(), which ftrace does
 * not reach; so this comes in where the signal would be sent. Returning without
 * one means that the instruction is tried again. @mm is NULL under the VMA's lock.
 */
static void mshare_fetch_error(struct pt_regs *regs, unsigned long error_code,
			       unsigned long address, vm_fault_t fault)
{
	void __user *where = (void __user *)address;

	if (fault & VM_FAULT_SIGSEGV)
		__bad_area_nosemaphore(regs, error_code, address, 0,
				       fault & VM_FAULT_DENIED ? SEGV_ACCERR :
								 SEGV_MAPERR);
	else if (fault & (VM_FAULT_HWPOISON | VM_FAULT_HWPOISON_LARGE))
		force_sig_mceerr(BUS_MCEERR_AR, where,
				 fault & VM_FAULT_HWPOISON ? PAGE_SHIFT :
							     PMD_SHIFT);
	else if (fault & VM_FAULT_SIGBUS)
		force_sig_fault(SIGBUS, BUS_ADRERR, where);
}

static void hook_bad_access(struct pt_regs *regs, unsigned long error_code,
			    unsigned long address, struct mm_struct *mm,
			    struct vm_area_struct *vma)
{
	int idx = srcu_read_lock(&mshare_hook_srcu);
	unsigned int flags = FAULT_FLAG_DEFAULT | FAULT_FLAG_USER |
			     FAULT_FLAG_INSTRUCTION;
	vm_fault_t fault;

	if (mm)
		mmap_read_unlock(mm);
	else
		vma_end_read(vma);
	mm = current->mm;
	do {
		fault = 0;
		if (signal_pending(current) || mmap_read_lock_killable(mm))
			break;
		vma = vma_lookup(mm, address);
		if (vma && vma_is_mshare(vma) && vma->vm_flags & VM_EXEC)
			fault = mshare_handle_fault(vma, address, flags, regs);
		if (!(fault & (VM_FAULT_RETRY | VM_FAULT_COMPLETED)))
			mmap_read_unlock(mm);
		flags |= FAULT_FLAG_TRIED;
	} while (fault & VM_FAULT_RETRY);
	if (fault & VM_FAULT_ERROR)
		mshare_fetch_error(regs, error_code, address, fault);
	srcu_read_unlock(&mshare_hook_srcu, idx);
}

HANDLER(on_bad_area_access_error)
{
	unsigned long error_code = (unsigned long)ARGUMENT(1);
	struct vm_area_struct *vma = ARGUMENT(4);

	if (vma && vma_is_mshare(vma) && vma->vm_flags & VM_EXEC &&
	    user_mode((struct pt_regs *)ARGUMENT(0)) &&
	    error_code & X86_PF_INSTR && error_code & X86_PF_PROT &&
	    !(error_code & (X86_PF_PK | X86_PF_SGX)))
		go_to(fregs, hook_bad_access);
}

/* 0014: smaps */
static int hook_show_smap(struct seq_file *m, void *v)
{
	int idx = srcu_read_lock(&mshare_hook_srcu);
	int err = show_smap(m, v);

	if (!err)
		mshare_show_smap(m, v);
	srcu_read_unlock(&mshare_hook_srcu, idx);
	return err;
}

HANDLER(on_show_smap)
{
	if (vma_is_mshare(ARGUMENT(1)) && !ours(from))
		go_to(fregs, hook_show_smap);
}

/*
 * 0015: a host's notifier is told of a flush by flush_tlb_mm_range(), which means
 * now, and by arch_tlbbatch_add_pending(), which means later. That is inline in
 * set_tlb_ubc_flush_pending(), and the return address tells.
 */
static unsigned long mshare_later, mshare_later_size;

static bool mshare_find_later(void)
{
	static const char * const names[] = {
		"set_tlb_ubc_flush_pending",
		"set_tlb_ubc_flush_pending.isra.0",
		"set_tlb_ubc_flush_pending.constprop.0",
	};
	unsigned long offset;
	int i;

	for (i = 0; i < ARRAY_SIZE(names); i++) {
		mshare_later = mshare_symbol(names[i]);
		if (mshare_later &&
		    kallsyms_lookup_size_offset(mshare_later,
						&mshare_later_size, &offset))
			return true;
	}
	return false;
}

static void hook_note(struct mm_struct *mm, unsigned long start,
		      unsigned long end)
{
	struct mshare_region *region;
	bool later = false;

	rcu_read_lock();
	region = mshare_host_region(mm);
	if (region)
		later = mshare_batch_note(region);
	rcu_read_unlock();
	if (!later)
		__mmu_notifier_arch_invalidate_secondary_tlbs(mm, start, end);
}

static void hook_mask(struct mm_struct *mm, unsigned long start,
		      unsigned long end)
{
	mshare_host_mask(mm);
	__mmu_notifier_arch_invalidate_secondary_tlbs(mm, start, end);
}

HANDLER(on_secondary_tlbs)
{
	struct mm_struct *mm = ARGUMENT(0);
	bool host;

	if (hlist_empty(&mshare_hosts[hash_ptr(mm, MSHARE_HASH_BITS)]) ||
	    ours(from))
		return;
	preempt_disable_notrace();
	host = mshare_host_region(mm);
	preempt_enable_notrace();
	if (!host)
		return;
	if (from - mshare_later < mshare_later_size && !mshare_skip_batching)
		go_to(fregs, hook_note);
	else
		go_to(fregs, hook_mask);
}

static void hook_tlbbatch_flush(struct arch_tlbflush_unmap_batch *batch)
{
	mshare_batch_flush();
	arch_tlbbatch_flush(batch);
}

HANDLER(on_tlbbatch_flush)
{
	if (atomic_read(&mshare_nr_batches) && !ours(from))
		go_to(fregs, hook_tlbbatch_flush);
}

/* 0017: mbind() of a range in which a window is: it moves nothing */
static long hook_mbind(const struct pt_regs *regs)
{
	int idx = srcu_read_lock(&mshare_hook_srcu);
	unsigned long start = untagged_addr(regs->di);
	unsigned long end = start + PAGE_ALIGN(regs->si);
	unsigned long flags = (unsigned int)regs->r9;
	long ret = 0;

	if ((regs->dx & ~MPOL_MODE_FLAGS) == MPOL_DEFAULT)
		flags &= ~MPOL_MF_STRICT;
	/* What is wrong with the rest, mbind() tells itself */
	rcu_read_lock();
	if (flags & MPOL_MF_VALID && !offset_in_page(start) && end > start &&
	    mshare_window_in(current->mm, start, end))
		ret = -EINVAL;
	rcu_read_unlock();
	if (!ret)
		ret = __x64_sys_mbind(regs);
	srcu_read_unlock(&mshare_hook_srcu, idx);
	return ret;
}

HANDLER(on_sys_mbind)
{
	if (mm_has_mshare(current->mm) && !ours(from))
		go_to(fregs, hook_mbind);
}

/* 0017: mbind() of what a window shows */
static int hook_mbind_range(struct vma_iterator *vmi,
			    struct vm_area_struct *vma,
			    struct vm_area_struct **prev, unsigned long start,
			    unsigned long end, struct mempolicy *policy)
{
	int idx = srcu_read_lock(&mshare_hook_srcu);
	int err;

	*prev = vma;
	err = mshare_window_set_policy(vma, max(start, vma->vm_start),
				       min(end, vma->vm_end), policy);
	srcu_read_unlock(&mshare_hook_srcu, idx);
	return err;
}

HANDLER(on_mbind_range)
{
	if (vma_is_mshare(ARGUMENT(1)))
		go_to(fregs, hook_mbind_range);
}

HANDLER(on_vma_migratable)
{
	if (vma_is_mshare(ARGUMENT(0)))
		go_to(fregs, hook_none);
}

/* 0018: a core dump, before its first byte is written */
static int hook_core_dump(struct coredump_params *cprm)
{
	int idx = srcu_read_lock(&mshare_hook_srcu);
	struct mm_struct *mm = current->mm;
	int i, ret;

	mmap_read_lock(mm);
	for (i = 0; i < cprm->vma_count; i++) {
		struct core_vma_metadata *m = &cprm->vma_meta[i];
		struct vm_area_struct *vma = vma_lookup(mm, m->start);
		unsigned long size = m->dump_size;

		if (size && vma && vma_is_mshare(vma)) {
			m->dump_size = min(size, mshare_dump_size(vma));
			cprm->vma_data_size -= size - m->dump_size;
		}
	}
	mmap_read_unlock(mm);
	ret = elf_core_dump(cprm);
	srcu_read_unlock(&mshare_hook_srcu, idx);
	return ret;
}

HANDLER(on_elf_core_dump)
{
	if (mm_has_mshare(current->mm) && !ours(from))
		go_to(fregs, hook_core_dump);
}

/* 0019: who is told of memory that fails: those with a window of it, too */
static void hook_collect_procs(struct folio *folio, struct page *page,
			       struct list_head *to_kill, int force_early)
{
	int idx = srcu_read_lock(&mshare_hook_srcu);
	struct address_space *mapping = folio->mapping;
	pgoff_t pgoff = page_to_pgoff(page);
	struct vm_area_struct *vma;
	struct task_struct *task;

	collect_procs(folio, page, to_kill, force_early);
	i_mmap_lock_read(mapping);
	rcu_read_lock();
	for_each_process(task) {
		struct task_struct *t = task_early_kill(task, force_early);

		if (!t)
			continue;
		vma_interval_tree_foreach(vma, &mapping->i_mmap, pgoff, pgoff) {
			unsigned long addr = page_address_in_vma(page, vma);

			addr = mshare_task_address(t, vma->vm_mm, addr);
			/* unless it is in the list */
			if (addr != -EFAULT)
				add_to_kill_ksm(t, page, vma, to_kill, addr);
		}
	}
	rcu_read_unlock();
	i_mmap_unlock_read(mapping);
	srcu_read_unlock(&mshare_hook_srcu, idx);
}

HANDLER(on_collect_procs)
{
	struct folio *folio = ARGUMENT(0);

	if (folio->mapping && !folio_test_anon(folio) && !ours(from))
		go_to(fregs, hook_collect_procs);
}

/* 0019: who has read what had failed before */
static int hook_kill_accessing(struct task_struct *task, unsigned long pfn,
			       int flags)
{
	int idx = srcu_read_lock(&mshare_hook_srcu);
	int ret = kill_accessing_process(task, pfn, flags);
	struct hwpoison_walk walk = { .tk.tsk = task, .pfn = pfn };

	if (!ret) {
		mmap_read_lock(task->mm);
		ret = mshare_walk_windows(task->mm, &hwpoison_walk_ops, &walk,
					  &walk.tk.addr);
		if (ret > 0)
			kill_proc(&walk.tk, pfn, flags);
		mmap_read_unlock(task->mm);
		ret = ret > 0 ? -EHWPOISON : 0;
	}
	srcu_read_unlock(&mshare_hook_srcu, idx);
	return ret;
}

HANDLER(on_kill_accessing)
{
	struct task_struct *task = ARGUMENT(0);

	if (task->mm && mm_has_mshare(task->mm) && !ours(from))
		go_to(fregs, hook_kill_accessing);
}

struct mshare_hook {
	const char *function;
	const char *patch;
	ftrace_func_t handler;
	void *direct;		/* tried first */
	struct ftrace_ops ops;
	enum { HOOK_OFF, HOOK_HANDLER, HOOK_DIRECT } state;
};

/*
 * No hook stands for: 0001 (what it gives is in compat.h), 0002 (links.c and
 * hostmm.c), 0007, 0009 and 0016 (hostmm.c), 0011 (batch.c), 0013
 * and 0020 (documentation), 0021 (guard.c), 0022, 0023 and 0024 (shmem.c is not built).
 */
#define HOOK(number, name, by, ...) {					\
	.patch = number,						\
	.function = #name,						\
	.handler = by,							\
	__VA_ARGS__							\
}

static struct mshare_hook mshare_hooks[] = {
	HOOK("0003", handle_mm_fault, on_handle_mm_fault,
	     .direct = mshare_direct_fault),
	HOOK("0003", unmap_page_range, on_unmap_page_range),
	HOOK("0004", __get_user_pages, on_get_user_pages,
	     .direct = mshare_direct_gup),
	HOOK("0004", gup_fast_fallback, on_gup_fast_fallback),
	HOOK("0005", __walk_page_range, on_walk_page_range),
	HOOK("0005", folio_walk_start, on_folio_walk_start),
	HOOK("0006", change_protection, on_change_protection),
	HOOK("0006", do_madvise, on_do_madvise),
	HOOK("0006", __x64_sys_mremap, on_sys_mremap),
	HOOK("0008", __mmu_notifier_register, on_mmu_notifier_register),
	HOOK("0010", bad_area_nosemaphore, on_bad_area_nosemaphore),
	HOOK("0012", bad_area_access_error, on_bad_area_access_error),
	HOOK("0014", show_smap, on_show_smap),
	HOOK("0015", __mmu_notifier_arch_invalidate_secondary_tlbs,
	     on_secondary_tlbs),
	HOOK("0015", arch_tlbbatch_flush, on_tlbbatch_flush),
	HOOK("0017", __x64_sys_mbind, on_sys_mbind),
	HOOK("0017", mbind_range, on_mbind_range),
	HOOK("0017", vma_migratable, on_vma_migratable),
	HOOK("0018", elf_core_dump, on_elf_core_dump),
	HOOK("0019", collect_procs, on_collect_procs),
	HOOK("0019", kill_accessing_process, on_kill_accessing),
};

static int mshare_hook_direct(struct mshare_hook *hook, unsigned long address)
{
	int err = ftrace_set_filter_ip(&hook->ops, address, 0, 0);

	return err ?: register_ftrace_direct(&hook->ops,
					     (unsigned long)hook->direct);
}

static int mshare_hook_handler(struct mshare_hook *hook, unsigned long address)
{
	int err;

	hook->ops.func = hook->handler;
	hook->ops.flags = FTRACE_OPS_FL_IPMODIFY | FTRACE_OPS_FL_PERMANENT;
	err = ftrace_set_filter_ip(&hook->ops, address, 0, 0);
	return err ?: register_ftrace_function(&hook->ops);
}

static void mshare_hook_free(struct mshare_hook *hook)
{
	ftrace_free_filter(&hook->ops);
	memset(&hook->ops, 0, sizeof(hook->ops));
	hook->state = HOOK_OFF;
}

/* A direct call is refused if somebody else has the function's. */
static int mshare_hook_set(struct mshare_hook *hook)
{
	unsigned long address = mshare_symbol(hook->function);
	int err = address ? 0 : -ENOENT;

	if (!err && hook->direct) {
		hook->state = HOOK_DIRECT;
		if (!mshare_hook_direct(hook, address))
			return 0;
		mshare_hook_free(hook);
	}
	hook->state = HOOK_HANDLER;
	err = err ?: mshare_hook_handler(hook, address);
	if (err) {
		pr_err("cannot hook %s(): %pe\n", hook->function, ERR_PTR(err));
		mshare_hook_free(hook);
	}
	return err;
}

static void mshare_hook_clear(struct mshare_hook *hook)
{
	if (hook->state == HOOK_DIRECT)
		unregister_ftrace_direct(&hook->ops,
					 (unsigned long)hook->direct, false);
	else
		unregister_ftrace_function(&hook->ops);
	mshare_hook_free(hook);
}

/* Take all back, and wait for whoever is in one. */
void mshare_hooks_clear(void)
{
	int i;

	for (i = ARRAY_SIZE(mshare_hooks) - 1; i >= 0; i--)
		if (mshare_hooks[i].state != HOOK_OFF)
			mshare_hook_clear(&mshare_hooks[i]);
	/* past a handler; in a hook that sleeps; past the end of it */
	synchronize_rcu_tasks();
	synchronize_srcu(&mshare_hook_srcu);
	synchronize_rcu_tasks();
	mshare_batch_drop_all();
}

/* All or none. */
int mshare_hooks_set(void)
{
	int i, err = 0;

	if (!mshare_find_gup_ordinary())
		return -ENOENT;
	if (!mshare_find_later())
		pr_notice("flushes of reclaim are not batched\n");
	for (i = 0; !err && i < ARRAY_SIZE(mshare_hooks); i++)
		err = mshare_hook_set(&mshare_hooks[i]);
	if (err)
		mshare_hooks_clear();
	else
		synchronize_rcu_tasks();	/* nobody is past one, unhooked */
	return err;
}

/* What is in force, for /sys/module/mshare/hooks. */
int mshare_hooks_show(char *buf, size_t size)
{
	int i, length = 0;

	for (i = 0; i < ARRAY_SIZE(mshare_hooks); i++) {
		struct mshare_hook *hook = &mshare_hooks[i];

		if (hook->state != HOOK_OFF)
			length += scnprintf(buf + length, size - length,
					    "%s %s %s\n", hook->patch,
					    hook->function,
					    hook->state == HOOK_DIRECT ?
					    "direct" : "handler");
	}
	return length;
}
