// SPDX-License-Identifier: GPL-2.0
/*
 * neighbours: processes beside which test/module-load loads and unloads the module.
 *
 *   load     ordinary processes that go through every function that the module
 *            hooks, and look at what comes of it, until SIGTERM. Exit status 1:
 *            something came out wrong
 *   window   a window with somebody who waits in a store, until standard input
 *            ends; prints "waiting" when that is so
 */
#include "mshare_test.h"

#include <sys/uio.h>

#define PAGES	64
#define BYTES	(PAGES * PAGE)

static volatile sig_atomic_t stop;

static void on_term(int sig)
{
	stop = 1;
}

static void fail(const char *what)
{
	fprintf(stderr, "neighbours: %s: %s\n", what, strerror(errno));
	_exit(1);
}

#define MUST(condition) do {						\
	if (!(condition))						\
		fail(#condition);					\
} while (0)

static char *anonymous(void)
{
	char *p = mmap(NULL, BYTES, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	MUST(p != MAP_FAILED);
	return p;
}

static void fill(char *p, int with)
{
	for (int i = 0; i < PAGES; i++)
		p[i * PAGE] = with + i;
}

static bool holds(const char *p, int with)
{
	for (int i = 0; i < PAGES; i++)
		if (p[i * PAGE] != (char)(with + i))
			return false;
	return true;
}

/* handle_mm_fault, unmap_page_range */
static void do_faults(void)
{
	char *p = anonymous();

	fill(p, 1);
	MUST(holds(p, 1));
	MUST(!munmap(p, BYTES));
}

static void do_fork(void)
{
	char *p = anonymous();
	pid_t pid;

	fill(p, 2);
	pid = fork();
	MUST(pid >= 0);
	if (!pid) {
		fill(p, 3);
		_exit(!holds(p, 3));
	}
	MUST(child_status(pid) == 0);
	MUST(holds(p, 2));
	MUST(!munmap(p, BYTES));
}

/* change_protection; bad_area_access_error and bad_area_nosemaphore */
static void do_protect(void)
{
	char *p = anonymous();

	fill(p, 4);
	MUST(!mprotect(p, BYTES, PROT_READ));
	MUST(touch(p, PROT_WRITE) == SEGV_ACCERR);
	MUST(touch(p, PROT_EXEC) == SEGV_ACCERR);
	MUST(holds(p, 4));
	MUST(!mprotect(p, BYTES, RW));
	MUST(touch(p, PROT_WRITE) == 0);
	MUST(!munmap(p, BYTES));
	MUST(touch((char *)PAGE, PROT_READ) == SEGV_MAPERR);
}

/* do_madvise, and a batch of reclaim with arch_tlbbatch_flush where there is swap space */
static void do_advise(void)
{
	char *p = anonymous();

	fill(p, 5);
	MUST(!madvise(p, BYTES, MADV_PAGEOUT));
	MUST(holds(p, 5));
	MUST(!madvise(p, BYTES, MADV_DONTNEED));
	MUST(p[0] == 0 && p[BYTES - PAGE] == 0);
	MUST(!munmap(p, BYTES));
}

/* __x64_sys_mremap */
static void do_mremap(void)
{
	char *p = anonymous(), *moved;

	fill(p, 6);
	moved = mremap(p, BYTES, 2 * BYTES, MREMAP_MAYMOVE);
	MUST(moved != MAP_FAILED);
	MUST(holds(moved, 6));
	MUST(!munmap(moved, 2 * BYTES));
}

/* __get_user_pages; gup_fast_fallback */
static void do_gup(void)
{
	char *from = anonymous(), *to = anonymous(), byte;
	struct iovec there = { from, BYTES }, here = { to, BYTES };
	struct iovec one = { from, 1 };
	int ends[2];

	fill(from, 7);
	MUST(process_vm_readv(getpid(), &here, 1, &there, 1, 0) == BYTES);
	MUST(holds(to, 7));
	MUST(!pipe(ends));
	MUST(vmsplice(ends[1], &one, 1, 0) == 1);
	MUST(read(ends[0], &byte, 1) == 1 && byte == 7);
	close(ends[0]);
	close(ends[1]);
	MUST(!munmap(from, BYTES));
	MUST(!munmap(to, BYTES));
}

/* __walk_page_range; folio_walk_start */
static void do_walks(void)
{
	char *p = anonymous();
	unsigned char in[PAGES];
	void *page = p;
	int node = -1;

	p[0] = 8;
	MUST(!mincore(p, BYTES, in));
	MUST(in[0] == 1);
	MUST(!syscall(SYS_move_pages, 0, 1UL, &page, NULL, &node, 0));
	MUST(node == 0);
	MUST(!munmap(p, BYTES));
}

/* show_smap */
static void do_smaps(void)
{
	char *p = anonymous(), line[512];
	unsigned long from, to;
	bool here = false;
	long rss = -1;
	FILE *file;

	fill(p, 9);
	MUST(!madvise(p, BYTES, MADV_NOHUGEPAGE));	/* a mapping of its own */
	file = fopen("/proc/self/smaps", "re");
	MUST(file);
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			here = from <= (unsigned long)p && (unsigned long)p < to;
		else if (here)
			sscanf(line, "Rss: %ld", &rss);
	}
	fclose(file);
	MUST(rss > 0);
	MUST(!munmap(p, BYTES));
}

static void (*const operations[])(void) = {
	do_faults, do_fork, do_protect, do_advise, do_mremap, do_gup, do_walks, do_smaps,
};

static int load(void)
{
	unsigned long *rounds = shared_page(PAGE);
	pid_t pids[ARRAY_SIZE(operations)];
	int failed = 0;

	for (int i = 0; i < ARRAY_SIZE(operations); i++) {
		pids[i] = fork_on(-1);
		MUST(pids[i] >= 0);
		if (pids[i])
			continue;
		signal(SIGTERM, on_term);
		while (!stop) {
			operations[i]();
			rounds[i]++;
		}
		_exit(0);
	}
	signal(SIGTERM, on_term);
	while (!stop)
		sleep_us(10000);
	for (int i = 0; i < ARRAY_SIZE(operations); i++) {
		kill(pids[i], SIGTERM);
		failed |= child_status(pids[i]) != 0;
		printf("%s%lu", i ? " " : "", rounds[i]);
		failed |= !rounds[i];
	}
	puts(" rounds");
	return failed;
}

static int hold(void)
{
	struct mshare_event event;
	char *p = NULL, byte;
	int fd, object;
	pid_t pid;

	errno = -map_object(MIB, RW, &fd, &object, &p);
	MUST(!errno);
	MUST(!fault_mode(fd, MSHARE_FAULT_WAIT, 0, 0));
	MUST(!protect(fd, 0, MIB, PROT_READ));
	pid = fork_on(-1);
	MUST(pid >= 0);
	if (!pid) {
		p[PAGE] = 1;
		_exit(0);
	}
	MUST(!next_event(fd, &event, 60000));	/* of the denial */
	puts("waiting");
	fflush(stdout);
	while (read(0, &byte, 1) > 0)
		;
	MUST(p[PAGE] == 0);
	MUST(!protect(fd, 0, MIB, RW));
	MUST(child_status(pid) == 0);
	MUST(p[PAGE] == 1);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "load"))
		return load();
	if (argc == 2 && !strcmp(argv[1], "window"))
		return hold();
	fputs("usage: neighbours load|window\n", stderr);
	return 2;
}
