/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What shmem asks before an object changes whose protection a region holds
 * (MSHAREFS_GUARD): see mm/mshare/guard.c. Without a gate it is a comparison.
 */
#ifndef _LINUX_MSHARE_GATE_H
#define _LINUX_MSHARE_GATE_H

#include <linux/mm.h>
#include <linux/shmem_fs.h>

/*
 * Denied, and the caller has locks: it lets go of them and asks
 * mshare_gate_wait(). Not an errno, and never returned to user mode.
 */
#define MSHARE_GATE_DENIED	(-MAX_ERRNO)

#ifdef CONFIG_MSHARE

int __mshare_gate_enter(struct inode *inode, loff_t start, loff_t end,
			void **gate);
void mshare_gate_leave(void *gate);
int mshare_gate_wait(struct inode *inode, loff_t start, loff_t end);
int mshare_gate_wait_truncate(struct inode *inode, loff_t size);
int __mshare_gate_mmap(struct file *file, struct vm_area_struct *vma);
vm_fault_t mshare_gate_mkwrite(struct vm_fault *vmf);
vm_fault_t mshare_gate_fault(struct vm_area_struct *vma, unsigned long address,
			     unsigned int flags, struct pt_regs *regs);

/*
 * May bytes from @start to before @end be changed? Then *@gate, which may be
 * NULL, is for mshare_gate_leave() when they have been.
 */
static inline int mshare_gate_enter(struct inode *inode, loff_t start,
				    loff_t end, void **gate)
{
	*gate = NULL;
	if (likely(!rcu_access_pointer(SHMEM_I(inode)->gate)) || start >= end)
		return 0;
	return __mshare_gate_enter(inode, start, end, gate);
}

/* Is this what mshare_gate_enter() said, and to be waited for? */
static inline bool mshare_gate_denied(long err)
{
	return unlikely(err == MSHARE_GATE_DENIED);
}

/* Let a mapping be one that can be denied; after mapping_map_writable() */
static inline int mshare_gate_mmap(struct file *file,
				   struct vm_area_struct *vma)
{
	if (likely(!rcu_access_pointer(SHMEM_I(file_inode(file))->gate)))
		return 0;
	return __mshare_gate_mmap(file, vma);
}

#else /* !CONFIG_MSHARE */

/* Macros: even empty functions would sway the code around them */
#define mshare_gate_enter(inode, start, end, gate)	((void)(gate), 0)
#define mshare_gate_leave(gate)				do { } while (0)
#define mshare_gate_denied(err)				false
#define mshare_gate_wait(inode, start, end)		0
#define mshare_gate_wait_truncate(inode, size)		-EPERM
#define mshare_gate_mmap(file, vma)			0
#define mshare_gate_fault(vma, address, flags, regs)	0

#endif /* CONFIG_MSHARE */

#endif /* _LINUX_MSHARE_GATE_H */
