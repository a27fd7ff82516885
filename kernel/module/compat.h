/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Comes before every header: what kernel/patches give to headers of the kernel,
 * and names of functions that are not exported, which symbols.c finds.
 */
#ifndef _MSHARE_MODULE_COMPAT_H
#define _MSHARE_MODULE_COMPAT_H

#define pr_fmt(fmt)	KBUILD_MODNAME ": " fmt

#include <linux/kconfig.h>

#if !IS_ENABLED(CONFIG_X86_64) || IS_ENABLED(CONFIG_PREEMPT_RT)
#error "mshare needs X86_64 without PREEMPT_RT"
#endif
#if !IS_ENABLED(CONFIG_SHMEM) || !IS_ENABLED(CONFIG_SECURITY) || \
	!IS_ENABLED(CONFIG_PER_VMA_LOCK) || !IS_ENABLED(CONFIG_MMU_NOTIFIER) || \
	!IS_ENABLED(CONFIG_SPLIT_PMD_PTLOCKS)
#error "mshare needs SHMEM, SECURITY, PER_VMA_LOCK, MMU_NOTIFIER, SPLIT_PMD_PTLOCKS"
#endif
#if !IS_ENABLED(CONFIG_DYNAMIC_FTRACE_WITH_ARGS) || \
	!IS_ENABLED(CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS) || \
	!IS_ENABLED(CONFIG_KPROBES) || !IS_ENABLED(CONFIG_KALLSYMS)
#error "mshare's hooks need DYNAMIC_FTRACE_WITH_ARGS, _WITH_DIRECT_CALLS, KPROBES and KALLSYMS"
#endif
#if IS_ENABLED(CONFIG_RANDSTRUCT)
#error "with RANDSTRUCT a module cannot know the layout of what it uses"
#endif

#include "names.h"

/* 0001 */
#define MSHARE_MAGIC		0x4d534852	/* "MSHR" */
/* 0002 */
#define VM_FAULT_DENIED		((__force vm_fault_t)0x008000)
/* 0015 */
#define MSHARE_BATCH_REGIONS	4

/* asm/tlbflush.h hides from modules most of what it has */
#include <linux/cpufeature.h>
#include <linux/mm_types.h>
#include <linux/mmu_notifier.h>
#include <linux/pgtable.h>
#include <linux/processor.h>
#include <linux/pti.h>
#include <linux/sched.h>
#include <linux/smp.h>
#include <asm/invpcid.h>
#include <asm/special_insns.h>
#ifdef _ASM_X86_TLBFLUSH_H
#error "asm/tlbflush.h came too early"
#endif
#pragma push_macro("MODULE")
#undef MODULE
#include <asm/tlbflush.h>
#pragma pop_macro("MODULE")

#endif /* _MSHARE_MODULE_COMPAT_H */
