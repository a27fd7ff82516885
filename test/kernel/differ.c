// SPDX-License-Identifier: GPL-2.0
/*
 * The same random program twice, once with shared tables for ordinary mappings
 * of shmem and once without: all that system calls return, what memory holds,
 * which accesses are denied and how, must be the same.
 *
 *	differ [-s SEED] [-n OPERATIONS] [-t SECONDS] [-m MODE,MODE] [-v]
 *
 * With -s: the program of that seed, otherwise one after another, for five stress
 * loops or so many seconds. A program that differs is made as short as it goes
 * on differing, and told.
 *
 * The second test is that tables were shared. The third is the control: the second
 * run leaves out all operations of one kind, and that must be found.
 *
 * Not compared: counts of faults and what tables take, PAGEOUT but with every fourth
 * program, and what a page is in pagemap unless it was just read.
 */
#include "mshare_test.h"
#include "mshare_mm.h"
#include "mshare_shmem.h"

#include <linux/futex.h>
#include <linux/mempolicy.h>
#include <linux/userfaultfd.h>
#include <stdarg.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

/*
 * The arena: addresses that only the program uses. Mappings begin and end at its
 * cells, pages at both ends and in the middle of each gigabyte; only the pages
 * there are ever touched.
 */
#define ARENA		((char *)(1UL << 40))
#define GIBS		5
#define OBJECTS		3
#define OBJECT_GIBS	3

static const unsigned long places[] = {
	0, PAGE, 2 * PAGE, PMD - PAGE, PMD, PMD + PAGE, 100 * PMD,
	CHUNK - PMD, CHUNK - 2 * PAGE, CHUNK - PAGE,
};

#define PLACES		ARRAY_SIZE(places)
#define CELLS		(GIBS * PLACES)
#define ACTORS		4

enum kind {
	MAP, MAP_CHUNKS, UNMAP, PROTECT, PKEY, REMAP, ADVISE, LOCK, BIND,
	UFFD, UFFD_PAGE, FORK, EXIT, TRUNCATE, PUNCH, ALLOCATE, FILE_WRITE,
	FILE_READ, SEAL, LOAD, STORE, COPY, VM_COPY, PROC_MEM, TRACE, DIRECT,
	FUTEX, MINCORE, MAPS, PAGEMAP, POLICY, SYNC, CLEAR_REFS, LOOK,
	KINDS
};

static const struct {
	const char *name;
	int weight;
	bool changes;		/* what is found when it is left out */
} kinds[KINDS] = {
	[MAP] = { "map", 6 },
	[MAP_CHUNKS] = { "map chunks", 8, true },
	[UNMAP] = { "unmap", 6, true },
	[PROTECT] = { "protect", 8, true },
	[PKEY] = { "pkey", 2 },
	[REMAP] = { "remap", 4, true },
	[ADVISE] = { "advise", 8 },
	[LOCK] = { "lock", 3 },
	[BIND] = { "bind", 2 },
	[UFFD] = { "userfaultfd", 3 },
	[UFFD_PAGE] = { "userfaultfd page", 3 },
	[FORK] = { "fork", 2, true },
	[EXIT] = { "exit", 1 },
	[TRUNCATE] = { "truncate", 2 },
	[PUNCH] = { "punch", 3, true },
	[ALLOCATE] = { "allocate", 2 },
	[FILE_WRITE] = { "write", 4 },
	[FILE_READ] = { "read", 2 },
	[SEAL] = { "seal", 1 },
	[LOAD] = { "load", 20 },
	[STORE] = { "store", 20, true },
	[COPY] = { "copy", 4 },
	[VM_COPY] = { "process_vm", 4 },
	[PROC_MEM] = { "proc mem", 4 },
	[TRACE] = { "ptrace", 1 },
	[DIRECT] = { "direct", 2 },
	[FUTEX] = { "futex", 1 },
	[MINCORE] = { "mincore", 3 },
	[MAPS] = { "maps", 4 },
	[PAGEMAP] = { "pagemap", 3 },
	[POLICY] = { "policy", 1 },
	[SYNC] = { "sync", 1 },
	[CLEAR_REFS] = { "clear refs", 1 },
	[LOOK] = { "look", 3 },
};

struct op {
	enum kind kind;
	int actor;
	int from, to;		/* cells */
	int object, offset;	/* a cell of the object's */
	int other;		/* another actor, or cell */
	unsigned int word;	/* what is written, and which way of many */
	bool left_out;
};

#define MOST	2048
#define TEXT	4096		/* of an answer */
#define ANSWER_SECONDS	30
#define NO_ANSWER	"no answer in time"	/* never the same as anything */

static struct op program[MOST];
static int length = 300;
static unsigned int seed;
static bool verbose, swapping;

static unsigned int draw(unsigned int n)
{
	return rand_r(&seed) / 7 % n;
}

static unsigned long place(int cell)
{
	return cell / PLACES * CHUNK + places[cell % PLACES];
}

static char *cell_at(int cell)
{
	return ARENA + place(cell);
}

static void make_program(unsigned int the_seed)
{
	int total = 0;

	seed = the_seed;
	swapping = the_seed % 4 == 3;
	for (int k = 0; k < KINDS; k++)
		total += kinds[k].weight;
	for (int i = 0; i < length; i++) {
		struct op *op = &program[i];
		int at = draw(total), chunks = 1 + draw(3);

		memset(op, 0, sizeof(*op));
		while (at >= kinds[op->kind].weight)
			at -= kinds[op->kind++].weight;
		/* something is there to begin with */
		if (i < 6)
			op->kind = MAP_CHUNKS;
		op->actor = draw(draw(3) ? ACTORS : 1);
		op->from = draw(CELLS);
		op->to = op->from + 1 + draw(draw(3) ? PLACES : 2);
		if (op->kind == MAP_CHUNKS || draw(5) == 0) {
			op->from -= op->from % PLACES;
			op->to = op->from + chunks * PLACES;
		}
		if (op->to > CELLS)
			op->to = CELLS;
		op->object = draw(OBJECTS);
		op->offset = draw(OBJECT_GIBS) * PLACES;
		if (op->kind != MAP_CHUNKS && draw(2))
			op->offset += draw(PLACES);
		op->other = draw(CELLS);
		op->word = draw(1 << 28);
	}
}

/*
 * A run. Actors are processes that do what they are told, one after the other;
 * the first is made by who runs the program, the others by FORK.
 */
struct answer {
	long ret;
	char text[TEXT];
};

struct state {
	pid_t runner, pids[ACTORS];
	struct op op;
	struct answer answer;
	long faults, tables;
};

static struct state *state;
static int orders[ACTORS][2], answered[2];
static int objects[OBJECTS];
static int uffd, key;

static void say(const char *format, ...)
{
	size_t used = strlen(state->answer.text);
	va_list args;

	va_start(args, format);
	vsnprintf(state->answer.text + used, TEXT - used, format, args);
	va_end(args);
}

static size_t range_of(const struct op *op)
{
	return op->to >= CELLS ? GIBS * CHUNK - place(op->from) :
				 place(op->to) - place(op->from);
}

/* What would touch all pages of a range may have a small one only. */
static size_t small_range_of(const struct op *op)
{
	size_t size = range_of(op);

	return size > 4 * PAGE ? 4 * PAGE : size;
}

static const int prots[] = { RW, RW, RW, PROT_READ, PROT_NONE, RWX };

static long do_map(const struct op *op)
{
	static const int flags[] = {
		MAP_FIXED, MAP_FIXED, MAP_FIXED_NOREPLACE, MAP_FIXED
	};
	int way = op->word % 16, prot = prots[op->word / 16 % ARRAY_SIZE(prots)];
	int flag = flags[op->word / 256 % 4] | MAP_NORESERVE;
	char *p;

	if (op->kind == MAP_CHUNKS)
		prot = way % 4 ? RW : PROT_READ;
	if (op->kind == MAP && way == 0)
		p = mmap(cell_at(op->from), range_of(op), prot, flag |
			 MAP_PRIVATE, objects[op->object], place(op->offset));
	else if (op->kind == MAP && way == 1)
		p = mmap(cell_at(op->from), range_of(op), prot, flag |
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	else if (op->kind == MAP && way == 2)
		p = mmap(cell_at(op->from), range_of(op), prot, flag |
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	else
		p = mmap(cell_at(op->from), range_of(op), prot, flag |
			 MAP_SHARED, objects[op->object], place(op->offset));
	return p == MAP_FAILED ? -errno : p - ARENA;
}

static long do_remap(const struct op *op)
{
	size_t size = range_of(op);
	char *from = cell_at(op->from), *to = cell_at(op->other), *p;

	switch (op->word % 6) {
	case 0:
		p = mremap(from, size, PAGE, 0);
		break;
	case 1:
		p = mremap(from, PAGE, size, 0);
		break;
	case 2:
		p = mremap(from, 0, size, MREMAP_MAYMOVE | MREMAP_FIXED, to);
		break;
	case 3:
		p = mremap(from, size, size, MREMAP_MAYMOVE | MREMAP_FIXED |
			   MREMAP_DONTUNMAP, to);
		break;
	default:
		p = mremap(from, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, to);
		break;
	}
	return p == MAP_FAILED ? -errno : p - ARENA;
}

static const int advices[] = {
	MADV_DONTNEED, MADV_DONTNEED, MADV_REMOVE, MADV_COLD, MADV_PAGEOUT,
	MADV_WILLNEED, MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_DONTFORK,
	MADV_DOFORK, MADV_DONTDUMP, MADV_DODUMP, MADV_MERGEABLE,
	MADV_UNMERGEABLE, MADV_SEQUENTIAL, MADV_NORMAL,
	MADV_WIPEONFORK, MADV_KEEPONFORK, 21, MADV_POPULATE_READ,
	MADV_POPULATE_WRITE,
};

static long do_advise(const struct op *op)
{
	int advice = advices[op->word % ARRAY_SIZE(advices)];
	bool touches = advice == MADV_POPULATE_READ || advice == MADV_POPULATE_WRITE;

	/* mincore() tells what is in swap space */
	if (advice == MADV_PAGEOUT && !swapping)
		advice = MADV_COLD;
	say("%d ", advice);
	if (op->word / 64 % 8 == 0) {
		struct iovec range = { cell_at(op->from), range_of(op) };
		int pidfd = syscall(SYS_pidfd_open, getpid(), 0);
		long n = result(syscall(SYS_process_madvise, pidfd, &range, 1,
					MADV_COLD, 0));

		close(pidfd);
		return n;
	}
	return madvise(cell_at(op->from), touches ? small_range_of(op) :
		       range_of(op), advice);
}

static long do_lock(const struct op *op)
{
	char *p = cell_at(op->from);
	long ret;

	switch (op->word % 6) {
	case 0:
		/* not for longer: mremap() fills what is locked so */
		ret = result(mlock(p, small_range_of(op)));
		munlock(p, small_range_of(op));
		break;
	case 1:
	case 2:
		ret = result(mlock2(p, range_of(op), MLOCK_ONFAULT));
		break;
	case 3:
		ret = result(mlockall(MCL_CURRENT | MCL_ONFAULT));
		munlockall();
		break;
	default:
		ret = result(munlock(p, range_of(op)));
		break;
	}
	say("locked %ld ", figure("/proc/self/status", "VmLck"));
	return ret;
}

static long do_bind(const struct op *op)
{
	static const int modes[] = { MPOL_BIND, MPOL_PREFERRED, MPOL_DEFAULT };
	int mode = modes[op->word % 3];
	unsigned long node = 1;

	return syscall(SYS_mbind, cell_at(op->from), range_of(op), mode,
		       mode == MPOL_DEFAULT ? NULL : &node, 8,
		       op->word / 8 % 3 ? 0 : MPOL_MF_MOVE);
}

static void open_uffd(void)
{
	struct uffdio_api api = {
		UFFD_API, UFFD_FEATURE_SIGBUS | UFFD_FEATURE_MINOR_SHMEM |
		UFFD_FEATURE_WP_HUGETLBFS_SHMEM
	};

	uffd = syscall(SYS_userfaultfd, O_CLOEXEC);
	ioctl(uffd, UFFDIO_API, &api);
}

static long do_uffd(const struct op *op)
{
	struct uffdio_register range = {
		{ (unsigned long)cell_at(op->from), range_of(op) },
	};

	switch (op->word % 5) {
	case 0:
		range.mode = UFFDIO_REGISTER_MODE_MISSING;
		break;
	case 1:
		range.mode = UFFDIO_REGISTER_MODE_WP;
		break;
	case 2:
		/* that a page was mapped may be forgotten at any time */
		madvise(cell_at(op->from), range_of(op), MADV_DONTNEED);
		range.mode = UFFDIO_REGISTER_MODE_MINOR;
		break;
	default:
		return ioctl(uffd, UFFDIO_UNREGISTER, &range.range);
	}
	return result(ioctl(uffd, UFFDIO_REGISTER, &range)) ?: (long)range.ioctls;
}

static long do_uffd_page(const struct op *op)
{
	static char page[PAGE] __attribute__((aligned(PAGE)));
	unsigned long at = (unsigned long)cell_at(op->from);
	struct uffdio_copy copy = { at, (unsigned long)page, PAGE };
	struct uffdio_zeropage zero = { { at, PAGE } };
	struct uffdio_continue go_on = { { at, PAGE } };
	struct uffdio_writeprotect protect = { { at, range_of(op) } };

	switch (op->word % 5) {
	case 0:
		memcpy(page, &op->word, sizeof(op->word));
		return ioctl(uffd, UFFDIO_COPY, &copy);
	case 1:
		return ioctl(uffd, UFFDIO_ZEROPAGE, &zero);
	case 2:
		/* as above: EEXIST tells whether the page was mapped */
		madvise((void *)at, PAGE, MADV_DONTNEED);
		return ioctl(uffd, UFFDIO_CONTINUE, &go_on);
	default:
		protect.mode = op->word % 5 == 3 ? UFFDIO_WRITEPROTECT_MODE_WP : 0;
		return ioctl(uffd, UFFDIO_WRITEPROTECT, &protect);
	}
}

static int load(char *p, unsigned int *word)
{
	int denied = touch(p, PROT_READ);

	*word = denied ? 0 : *(volatile unsigned int *)p;
	return denied;
}

static int store(char *p, unsigned int word)
{
	int denied;

	touch_addr = NULL;
	touch(ARENA - PAGE, PROT_READ);		/* installs the handlers */
	denied = sigsetjmp(touch_env, 1);
	if (!denied) {
		touch_addr = p;
		*(volatile unsigned int *)p = word;
	}
	touch_addr = NULL;
	return denied;
}

static long do_copy(const struct op *op)
{
	char *p = cell_at(op->from);
	unsigned int word = op->word;
	int fds[2];
	long n;

	if (pipe(fds))
		return -errno;
	if (op->word & 1) {
		write(fds[1], &word, sizeof(word));
		n = result(read(fds[0], p, sizeof(word)));
	} else {
		n = result(write(fds[1], p, sizeof(word)));
		if (n == sizeof(word))
			read(fds[0], &word, sizeof(word));
		say("%x ", word);
	}
	close(fds[0]);
	close(fds[1]);
	return n;
}

static pid_t other_actor(const struct op *op)
{
	pid_t pid = state->pids[op->other % ACTORS];

	return pid > 0 ? pid : getpid();
}

static long do_vm_copy(const struct op *op)
{
	unsigned int word = op->word;
	struct iovec local = { &word, sizeof(word) };
	struct iovec remote = { cell_at(op->from), sizeof(word) };
	long n;

	if (op->word & 1)
		return result(process_vm_writev(other_actor(op), &local, 1,
						&remote, 1, 0));
	n = result(process_vm_readv(other_actor(op), &local, 1, &remote, 1, 0));
	say("%x ", word);
	return n;
}

static long do_proc_mem(const struct op *op)
{
	char path[32];
	unsigned int word = op->word;
	long n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", other_actor(op));
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (op->word & 1)
		n = result(pwrite(fd, &word, sizeof(word),
				  (unsigned long)cell_at(op->from)));
	else
		n = result(pread(fd, &word, sizeof(word),
				 (unsigned long)cell_at(op->from)));
	say("%x ", word);
	close(fd);
	return n;
}

static long do_trace(const struct op *op)
{
	pid_t pid = other_actor(op);
	int status;
	long n;

	if (pid == getpid())
		return 0;
	if (ptrace(PTRACE_ATTACH, pid, 0, 0))
		return -errno;
	while (waitpid(pid, &status, __WALL) < 0 && errno == EINTR)
		;
	errno = 0;
	if (op->word & 1) {
		n = result(ptrace(PTRACE_POKEDATA, pid, cell_at(op->from),
				  (unsigned long)op->word));
	} else {
		n = ptrace(PTRACE_PEEKDATA, pid, cell_at(op->from), 0);
		n = errno ? -errno : n;
	}
	ptrace(PTRACE_DETACH, pid, 0, 0);
	return n;
}

static long do_direct(const struct op *op)
{
	static int direct = -1;

	if (direct < 0)
		direct = direct_file('d');
	if (op->word & 1)
		return result(pread(direct, cell_at(op->from), PAGE, 0));
	return result(pwrite(direct, cell_at(op->from), PAGE, PAGE));
}

static long do_mincore(const struct op *op)
{
	static unsigned char there[GIBS * CHUNK / PAGE];
	size_t pages = range_of(op) / PAGE;
	long n = result(mincore(cell_at(op->from), range_of(op), there));

	if (n || swapping)
		return n;
	for (size_t i = 0; i < pages; i++)
		if (there[i] & 1)
			say("%zx ", i);
	return n;
}

static bool in_arena(const char *line, unsigned long *start)
{
	return sscanf(line, "%lx", start) == 1 && *start >= (unsigned long)ARENA &&
		*start < (unsigned long)ARENA + GIBS * CHUNK;
}

/* Mappings, and what is told of them that pages have no part in */
static long do_maps(const struct op *op)
{
	FILE *file = fopen(op->word & 1 ? "/proc/self/smaps" : "/proc/self/maps", "re");
	bool ours = false;
	char line[512];
	unsigned long start;

	while (fgets(line, sizeof(line), file)) {
		unsigned long end, offset;
		char rights[8];

		if (sscanf(line, "%lx-%lx %7s %lx", &start, &end, rights, &offset) == 4) {
			ours = in_arena(line, &start);
			if (ours)
				say("%lx-%lx %s %lx\n", start - (unsigned long)ARENA,
				    end - (unsigned long)ARENA, rights, offset);
		} else if (ours && (!strncmp(line, "VmFlags", 7) ||
				    !strncmp(line, "ProtectionKey", 13))) {
			say("%s", line);
		}
	}
	fclose(file);
	return 0;
}

/* A page that was just read is there. */
static long do_pagemap(const struct op *op)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	char *p = cell_at(op->from);
	unsigned int word;
	__u64 entry = 0;
	int denied = load(p, &word);

	if (!denied)
		pread(fd, &entry, 8, (unsigned long)p / PAGE * 8);
	close(fd);
	say("%d ", denied);
	return entry >> 61;
}

static long do_policy(const struct op *op)
{
	int mode = -1;
	long n = result(syscall(SYS_get_mempolicy, &mode, NULL, 0,
				cell_at(op->from), MPOL_F_ADDR));

	say("%d ", mode);
	return n;
}

/* All that is mapped */
static long do_look(const struct op *op)
{
	for (int i = 0; i < CELLS; i++) {
		unsigned int word;
		int denied = load(cell_at(i), &word);

		say(denied ? "-%x " : "%x ", denied ?: word);
	}
	state->tables += figure("/proc/self/status", "VmPTE");
	return 0;
}

static void act(int actor);

static long do_fork(const struct op *op)
{
	int actor = op->other % ACTORS;
	pid_t pid;

	if (state->pids[actor])
		return 0;
	/* a child of who runs the program, who waits for it, and dies with it */
	pid = syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
	if (pid == 0) {
		close(uffd);
		open_uffd();
		act(actor);
	}
	if (pid < 0)
		return -errno;
	state->pids[actor] = pid;
	return 1;
}

static long do_object(const struct op *op)
{
	int fd = objects[op->object];
	long at = place(op->offset), n;
	unsigned int word = op->word;
	static const int seals[] = {
		F_SEAL_WRITE, F_SEAL_FUTURE_WRITE, F_SEAL_GROW, F_SEAL_SHRINK
	};

	switch (op->kind) {
	case TRUNCATE:
		return ftruncate(fd, op->word % 3 ? OBJECT_GIBS * CHUNK :
				 at + op->word / 4 % 2 * 10);
	case PUNCH:
		return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				 at, op->word % 4 ? PAGE : range_of(op));
	case ALLOCATE:
		return fallocate(fd, 0, at, 2 * PAGE);
	case FILE_WRITE:
		return pwrite(fd, &word, sizeof(word), at);
	case FILE_READ:
		n = pread(fd, &word, sizeof(word), at);
		say("%x ", word);
		return n;
	case SEAL:
		/* one that stays refuses all that comes after it */
		return op->word % 8 > 3 ? fcntl(fd, F_GET_SEALS) :
			fcntl(fd, F_ADD_SEALS, seals[op->word % 8]);
	default:
		return 0;
	}
}

static long do_op(const struct op *op)
{
	char *p = cell_at(op->from);
	unsigned int word;
	long ret;

	switch (op->kind) {
	case MAP:
	case MAP_CHUNKS:
		return do_map(op);
	case UNMAP:
		return result(munmap(p, range_of(op)));
	case PROTECT:
		return result(mprotect(p, range_of(op), prots[op->word % ARRAY_SIZE(prots)]));
	case PKEY:
		return result(pkey_mprotect(p, range_of(op), RW, op->word & 1 ? key : 0));
	case REMAP:
		return do_remap(op);
	case ADVISE:
		return result(do_advise(op));
	case LOCK:
		return do_lock(op);
	case BIND:
		return result(do_bind(op));
	case UFFD:
		return result(do_uffd(op));
	case UFFD_PAGE:
		return result(do_uffd_page(op));
	case FORK:
		return do_fork(op);
	case LOAD:
		ret = load(p, &word);
		say("%x ", word);
		return ret;
	case STORE:
		return store(p, op->word);
	case COPY:
		return do_copy(op);
	case VM_COPY:
		return do_vm_copy(op);
	case PROC_MEM:
		return do_proc_mem(op);
	case TRACE:
		return do_trace(op);
	case DIRECT:
		return do_direct(op);
	case FUTEX:
		return result(syscall(SYS_futex, p, FUTEX_WAKE, 1, NULL, NULL, 0));
	case MINCORE:
		return do_mincore(op);
	case MAPS:
		return do_maps(op);
	case PAGEMAP:
		return do_pagemap(op);
	case POLICY:
		return do_policy(op);
	case SYNC:
		return result(msync(p, range_of(op), op->word & 1 ? MS_SYNC : MS_ASYNC));
	case CLEAR_REFS:
		return write_file("/proc/self/clear_refs", op->word & 1 ? "1" : "4");
	case LOOK:
		return do_look(op);
	default:
		return result(do_object(op));
	}
}

static void act(int actor)
{
	char c;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != state->runner)
		_exit(1);
	while (read(orders[actor][0], &c, 1) == 1) {
		long before = minor_faults();

		state->answer.ret = do_op(&state->op);
		state->faults += minor_faults() - before;
		write(answered[1], &c, 1);
	}
	_exit(0);
}

static void stop_actor(int actor)
{
	if (state->pids[actor] > 0) {
		kill(state->pids[actor], SIGKILL);
		child_status(state->pids[actor]);
	}
	state->pids[actor] = 0;
}

/* Tells one actor, and waits; one that does not answer is gone, or hangs. */
static bool order(int actor)
{
	struct pollfd answer = { .fd = answered[0], .events = POLLIN };
	char c = 0;

	write(orders[actor][1], &c, 1);
	for (double start = now(); now() < start + ANSWER_SECONDS; ) {
		int status;
		pid_t pid;

		if (poll(&answer, 1, 20) > 0) {
			read(answered[0], &c, 1);
			return true;
		}
		pid = waitpid(state->pids[actor], &status, WNOHANG);
		if (pid > 0) {
			state->answer.ret = status;
			snprintf(state->answer.text, TEXT, "the actor has died");
			state->pids[actor] = 0;
			return true;
		}
	}
	snprintf(state->answer.text, TEXT, NO_ANSWER);
	return false;
}

struct outcome {
	long ret[MOST];
	char *text[MOST];
	int done;
	long faults, tables;
};

static void run_here(int out)
{
	bool alive = true;
	pid_t pid;

	for (int i = 0; i < OBJECTS; i++)
		objects[i] = memfd(OBJECT_GIBS * CHUNK);
	key = pkey_alloc(0, PKEY_DISABLE_WRITE);
	for (int i = 0; i < ACTORS; i++)
		if (pipe(orders[i]))
			_exit(1);
	if (pipe(answered))
		_exit(1);
	memset(state, 0, sizeof(*state));
	state->runner = getpid();
	pid = fork();		/* the child must not write to what is shared */
	if (pid == 0) {
		open_uffd();
		act(0);
	}
	state->pids[0] = pid;
	for (int i = 0; i < length && alive; i++) {
		struct op op = program[i];
		short size;

		memset(&state->answer, 0, sizeof(state->answer));
		while (!state->pids[op.actor] && op.actor)
			op.actor--;
		state->op = op;
		if (!op.left_out && op.kind == EXIT) {
			if (op.actor)
				stop_actor(op.actor);
		} else if (!op.left_out && state->pids[op.actor]) {
			alive = order(op.actor);
		}
		size = strlen(state->answer.text);
		write(out, &state->answer.ret, sizeof(long));
		write(out, &size, sizeof(size));
		write(out, state->answer.text, size);
	}
	for (int i = 0; i < ACTORS; i++)
		stop_actor(i);
	_exit(0);
}

static bool read_all(int fd, void *to, size_t size)
{
	for (size_t n = 0; n < size; ) {
		ssize_t got = read(fd, to + n, size - n);

		if (got <= 0)
			return false;
		n += got;
	}
	return true;
}

static struct outcome *run(const char *mode)
{
	struct outcome *outcome = calloc(1, sizeof(*outcome));
	int out[2];
	pid_t pid;

	if (shmem_can_share() && shmem_mode(mode))
		exit(KSFT_FAIL);
	if (pipe(out))
		exit(KSFT_FAIL);
	pid = fork_on(-1);
	if (pid == 0) {
		close(out[0]);
		run_here(out[1]);
	}
	close(out[1]);
	for (int i = 0; i < length; i++) {
		short size;

		if (!read_all(out[0], &outcome->ret[i], sizeof(long)) ||
		    !read_all(out[0], &size, sizeof(size)))
			break;
		outcome->text[i] = calloc(1, size + 1);
		read_all(out[0], outcome->text[i], size);
		outcome->done++;
	}
	close(out[0]);
	child_status(pid);
	outcome->faults = state->faults;
	outcome->tables = state->tables;
	return outcome;
}

static void forget(struct outcome *outcome)
{
	for (int i = 0; i < outcome->done; i++)
		free(outcome->text[i]);
	free(outcome);
}

static const char *modes[2] = { "never", "always" };
static long faults[2], tables[2], operations;

/* The first operation that came to something else, or -1 */
static int differs(bool control, enum kind without, bool told)
{
	struct outcome *a, *b;
	int at = -1;

	a = run(modes[0]);
	for (int i = 0; control && i < length; i++)
		program[i].left_out = program[i].kind == without;
	b = run(control ? modes[0] : modes[1]);
	for (int i = 0; control && i < length; i++)
		program[i].left_out = false;
	faults[0] += a->faults;
	faults[1] += b->faults;
	tables[0] += a->tables;
	tables[1] += b->tables;
	operations += length;
	for (int i = 0; i < length && at < 0; i++) {
		if (control && program[i].kind == without)
			continue;
		if (i >= a->done || i >= b->done) {
			if (a->done != b->done)
				at = i;
			break;
		}
		if (a->ret[i] != b->ret[i] || strcmp(a->text[i], b->text[i]) ||
		    !strcmp(a->text[i], NO_ANSWER))
			at = i;
	}
	if (told && at >= 0) {
		printf("# %s: %ld %s\n", modes[0], at < a->done ? a->ret[at] : -1,
		       at < a->done ? a->text[at] : "did not come to this");
		printf("# %s: %ld %s\n", modes[1], at < b->done ? b->ret[at] : -1,
		       at < b->done ? b->text[at] : "did not come to this");
	}
	for (int i = 0; verbose && i < a->done; i++)
		printf("# %d %s %ld %.100s\n", i, kinds[program[i].kind].name,
		       a->ret[i], a->text[i]);
	forget(a);
	forget(b);
	return at;
}

static void tell(const struct op *op, int i)
{
	printf("#   %d: %s actor %d cells %d-%d (%#lx+%#lx) object %d at %#lx other %d word %#x\n",
	       i, kinds[op->kind].name, op->actor, op->from, op->to - 1,
	       place(op->from), range_of(op), op->object, place(op->offset),
	       op->other, op->word);
}

/* Leaves out what is not needed to differ. */
static void shorten(int at)
{
	int was = length;

	length = at + 1;
	for (int step = length / 2; step; step /= 2)
		for (int from = 0; from < at; from += step) {
			bool before[MOST];

			for (int i = from; i < from + step && i < at; i++) {
				before[i] = program[i].left_out;
				program[i].left_out = true;
			}
			if (differs(false, 0, false) == at)
				continue;
			for (int i = from; i < from + step && i < at; i++)
				program[i].left_out = before[i];
		}
	for (int i = 0; i <= at; i++)
		if (!program[i].left_out)
			tell(&program[i], i);
	differs(false, 0, true);
	length = was;
}

static bool finds(enum kind without, unsigned int first)
{
	double start = now();

	for (unsigned int s = first; now() < start + 60; s++) {
		make_program(s);
		if (differs(true, without, false) >= 0)
			return true;
	}
	printf("# no power: without %s all seems the same\n", kinds[without].name);
	return false;
}

static void usage(void)
{
	fprintf(stderr,
		"usage: differ [-s SEED] [-n OPERATIONS] [-t SECONDS] [-m MODE,MODE] [-v]\n");
	exit(KSFT_FAIL);
}

int main(int argc, char **argv)
{
	unsigned int first = time(NULL), programs = 0;
	double start = now(), seconds = 5 * stress_seconds();
	bool once = false, same = true, shared = true, found = true;
	int option, at;

	while ((option = getopt(argc, argv, "s:n:t:m:v")) != -1)
		switch (option) {
		case 's':
			first = strtoul(optarg, NULL, 0);
			once = true;
			break;
		case 'n':
			length = strtoul(optarg, NULL, 0);
			break;
		case 't':
			seconds = atof(optarg);
			break;
		case 'm':
			modes[0] = strtok(optarg, ",");
			modes[1] = strtok(NULL, ",") ?: modes[0];
			break;
		case 'v':
			verbose = true;
			break;
		default:
			usage();
		}
	if (length > MOST)
		length = MOST;

	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGPIPE, SIG_IGN);
	if (!shmem_can_share() && strcmp(modes[1], modes[0])) {
		printf("TAP version 13\n");
		printf("1..0 # SKIP a kernel whose ordinary mappings do not share\n");
		return KSFT_SKIP;
	}
	printf("TAP version 13\n1..3\n");
	swap_setup();
	state = shared_page(sizeof(*state));
	do {
		make_program(first + programs++);
		for (int i = 0; verbose && i < length; i++)
			tell(&program[i], i);
		at = differs(false, 0, true);
		if (at >= 0) {
			printf("# differs at operation %d; again with: differ -s %u -n %d\n",
			       at, first + programs - 1, length);
			tell(&program[at], at);
			shorten(at);
			same = false;
		}
	} while (!once && same && now() < start + seconds);
	printf("# %ld operations in %.0f s, seeds %u to %u\n", operations, now() - start,
	       first, first + programs - 1);
	for (int i = 0; i < 2; i++)
		printf("# %s: %ld faults, %ld kB of page tables in all looks\n", modes[i],
		       faults[i], tables[i]);
	printf("%sok 1 - %s and %s are the same\n", same ? "" : "not ", modes[0], modes[1]);

	/* what shares nothing would be the same, too */
	if (!strcmp(modes[0], modes[1]) || once) {
		printf("ok 2 - tables are shared # SKIP nothing to compare\n");
	} else {
		shared = tables[1] < tables[0];
		printf("%sok 2 - tables are shared\n", shared ? "" : "not ");
	}
	if (once)
		printf("ok 3 - what is left out is found # SKIP one program only\n");
	for (int k = 0; k < KINDS && !once; k++)
		if (kinds[k].changes)
			found &= finds(k, first);
	if (!once)
		printf("%sok 3 - what is left out is found\n", found ? "" : "not ");
	shmem_mode("never");
	return same && shared && found ? KSFT_PASS : KSFT_FAIL;
}
