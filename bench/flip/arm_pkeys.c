// SPDX-License-Identifier: PostgreSQL
/*
 * Protection keys: the range has a key of its own in every process, and each
 * thread's PKRU register says what it may do with it. No page table is written
 * and no TLB flushed, but every thread has to be told, and one that is not, or
 * that writes the register by itself, keeps its rights; so does the kernel
 * where it reaches the memory for another process.
 *
 * A signal handler has a PKRU of its own. What holds after it is in the frame.
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "flip.h"

#define XSTATE_MAGIC		0x46505853U	/* FP_XSTATE_MAGIC1 */
#define XSTATE_MAGIC_OFFSET	464
#define XSTATE_HEADER_OFFSET	512
#define XFEATURE_PKRU		9

/* In a sharer. */
static int key;
static unsigned int rights;
static unsigned int pkru_offset;

/* 0, or what this machine lacks. */
static const char *find_pkru(void)
{
	unsigned int size, offset, ecx, edx;

	if (!__get_cpuid_count(0xd, XFEATURE_PKRU, &size, &offset, &ecx, &edx) ||
	    size < sizeof(uint32_t))
		return "the processor has no protection keys";
	pkru_offset = offset;
	return NULL;
}

static int set_rights(int prot, void *context)
{
	char *frame = (char *)((ucontext_t *)context)->uc_mcontext.fpregs;
	uint32_t magic, pkru;
	uint64_t features;

	memcpy(&magic, frame + XSTATE_MAGIC_OFFSET, sizeof(magic));
	if (magic != XSTATE_MAGIC) {
		errno = ENOSYS;
		return -1;
	}
	rights = 0;
	if (!(prot & PROT_READ))
		rights = PKEY_DISABLE_ACCESS;
	else if (!(prot & PROT_WRITE))
		rights = PKEY_DISABLE_WRITE;

	/* A component that the header leaves out has its initial value, 0. */
	memcpy(&features, frame + XSTATE_HEADER_OFFSET, sizeof(features));
	memcpy(&pkru, frame + pkru_offset, sizeof(pkru));
	if (!(features & 1ULL << XFEATURE_PKRU))
		pkru = 0;
	features |= 1ULL << XFEATURE_PKRU;
	pkru = (pkru & ~(3U << 2 * key)) | rights << 2 * key;
	memcpy(frame + XSTATE_HEADER_OFFSET, &features, sizeof(features));
	memcpy(frame + pkru_offset, &pkru, sizeof(pkru));
	return 0;
}

/* The handler's PKRU denies the key altogether. */
static void resume(void)
{
	pkey_set(key, rights);
}

static bool setup(struct range *r)
{
	const char *missing = find_pkru();
	int probe;

	if (missing)
		return lack("%s", missing);
	probe = pkey_alloc(0, 0);
	if (probe < 0)
		return lack("pkey_alloc: %s", strerror(errno));
	pkey_free(probe);
	return coordinated_setup(r);
}

static char *attach(const struct range *r)
{
	char *base = mapping_attach(r);

	if (!base)
		return NULL;
	key = pkey_alloc(0, 0);
	if (key < 0 || pkey_mprotect(base, r->bytes, PROT_READ | PROT_WRITE, key) != 0)
		return NULL;
	coordinated_listen(set_rights);
	return base;
}

static uint64_t entries_written(const struct range *r)
{
	(void)r;
	return 0;
}

const struct arm arm_pkeys = {
	.name = "pkeys",
	.max_bytes = 1 * GiB,
	.setup = setup,
	.attach = attach,
	.protect = coordinated_protect,
	.resume = resume,
	.entries_written = entries_written,
};
