// SPDX-License-Identifier: GPL-2.0
/*
 * mshare as a module: functions of the kernel that are not exported.
 *
 * names.h renames each, in all headers, to mshare_call_NAME; here that is the
 * trampoline of a static call. So calls are direct: no retpoline, and nothing
 * for IBT to object to. All are found before anything is done, or none is used.
 */
#include <linux/binfmts.h>
#include <linux/fs.h>
#include <linux/hugetlb.h>
#include <linux/khugepaged.h>
#include <linux/kprobes.h>
#include <linux/memfd.h>
#include <linux/mempolicy.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pagewalk.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/security.h>
#include <linux/shmem_fs.h>
#include <linux/static_call.h>
#include <asm/tlb.h>

#include "mm/internal.h"
#include "core.h"

#define CALL(name)							\
	DEFINE_STATIC_CALL_RET0(mshare_##name, name);			\
	asm(".globl mshare_call_" #name "\n"				\
	    ".set mshare_call_" #name ", "				\
	    __stringify(__SCT__mshare_##name));
/* The header's "extern int x;" has become that of a pointer. */
#define DATA(name) typeof(&(name)) mshare_data_##name;
#include "lists.h"
#undef CALL
#undef DATA

static const struct {
	const char *name;
	struct static_call_key *key;
	void *trampoline;
	void *data;
} mshare_symbols[] = {
#define CALL(sym) {							\
	.name = #sym,							\
	.key = &STATIC_CALL_KEY(mshare_##sym),				\
	.trampoline = STATIC_CALL_TRAMP_ADDR(mshare_##sym),		\
},
#define DATA(sym) { .name = #sym, .data = &mshare_data_##sym },
#include "lists.h"
#undef CALL
#undef DATA
};

static unsigned long mshare_no_lookup(const char *name)
{
	return 0;
}

DEFINE_STATIC_CALL(mshare_lookup, mshare_no_lookup);

/*
 * The address of any symbol of the kernel, or 0. Programs of 32 bits have an
 * elf_core_dump() of the same name: the format tells which is that of 64.
 */
unsigned long mshare_symbol(const char *name)
{
	struct linux_binfmt *elf;

	if (strcmp(name, "elf_core_dump"))
		return static_call(mshare_lookup)(name);
	elf = (void *)static_call(mshare_lookup)("elf_format");
	return elf ? (unsigned long)elf->core_dump : 0;
}

/* kallsyms_lookup_name() is not exported either, but a kprobe tells where it is. */
int mshare_symbols_init(void)
{
	struct kprobe probe = { .symbol_name = "kallsyms_lookup_name" };
	int err = register_kprobe(&probe), i;

	if (err) {
		pr_err("no kprobe on %s(): %pe\n", probe.symbol_name,
		       ERR_PTR(err));
		return err;
	}
	static_call_update(mshare_lookup, (void *)probe.addr);
	unregister_kprobe(&probe);

	for (i = 0; i < ARRAY_SIZE(mshare_symbols); i++) {
		if (mshare_symbol(mshare_symbols[i].name))
			continue;
		pr_err("this kernel has no %s\n", mshare_symbols[i].name);
		err = -ENOENT;
	}
	for (i = 0; !err && i < ARRAY_SIZE(mshare_symbols); i++) {
		void *found = (void *)mshare_symbol(mshare_symbols[i].name);

		if (mshare_symbols[i].data)
			*(void **)mshare_symbols[i].data = found;
		else
			__static_call_update(mshare_symbols[i].key,
					     mshare_symbols[i].trampoline,
					     found);
	}
	return err;
}
