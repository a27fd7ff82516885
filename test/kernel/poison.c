// SPDX-License-Identifier: GPL-2.0
/*
 * Pages whose memory is bad: every process that touches one in a window gets
 * SIGBUS with the address it touched, nobody else is troubled but who asked to be
 * told early, and a new page takes its place when the bad one is truncated. The fault is made by software,
 * in an ordinary mapping of the object.
 */
#include "mshare_test.h"
#include "mshare_mm.h"

#define OBJECT	(2 * PMD)
#define VICTIM	(PMD + 7 * PAGE)

FIXTURE(poison)
{
	int region;
	int object;
	char *p;		/* the window */
	char *q;		/* an ordinary mapping of the object */
	long pfn;
};

FIXTURE_VARIANT(poison)
{
	bool huge;		/* the page is part of a huge one */
};

FIXTURE_VARIANT_ADD(poison, page) { .huge = false };
FIXTURE_VARIANT_ADD(poison, huge_page) { .huge = true };

FIXTURE_SETUP(poison)
{
	ASSERT_EQ(0, map_object(OBJECT, RW, &self->region, &self->object,
				&self->p));
	self->q = map_aligned(self->object, OBJECT);
	ASSERT_NE(MAP_FAILED, self->q);
	memset(self->p, RET, OBJECT);
	memset(self->q, RET, OBJECT);
	if (variant->huge && collapse_pages(self->q, OBJECT))
		SKIP(return, "no huge pages in this kernel");
	self->pfn = pfn_of(self->q + VICTIM);
}

/*
 * The page is good after all, and may be used again; the kernel believes it of
 * one that nobody has.
 */
static void unpoison(FIXTURE_DATA(poison) *self)
{
	char text[32];

	ftruncate(self->object, 0);
	snprintf(text, sizeof(text), "%ld", self->pfn);
	write_file("/sys/kernel/debug/hwpoison/unpoison-pfn", text);
}

FIXTURE_TEARDOWN(poison)
{
	if (self->pfn)
		unpoison(self);
	close(self->region);
	close(self->object);
}

/* What a process gets that touches it: an si_code of SIGBUS, 0 for nothing */
static sigjmp_buf bad_env;
static void *volatile bad_addr;

static void on_bad(int sig, siginfo_t *info, void *context)
{
	bad_addr = info->si_addr;
	siglongjmp(bad_env, info->si_code);
}

static int touch_bad(char *p)
{
	struct sigaction action = {
		.sa_sigaction = on_bad, .sa_flags = SA_SIGINFO,
	};
	int code;

	sigaction(SIGBUS, &action, NULL);
	code = sigsetjmp(bad_env, 1);
	if (!code)
		(void)*(volatile char *)p;
	return code;
}

static void on_told(int sig)
{
	_exit(0);
}

/* Does it in a child, which may be told by a signal. */
static int make_bad(FIXTURE_DATA(poison) *self)
{
	pid_t pid = fork();

	if (!pid) {
		signal(SIGBUS, on_told);
		_exit(madvise(self->q + VICTIM, PAGE, MADV_HWPOISON) ? errno : 0);
	}
	return child_status(pid);
}

#define MAKE_BAD() do {							\
	int _status = make_bad(self);					\
									\
	if (WIFEXITED(_status) && WEXITSTATUS(_status) == EINVAL)	\
		SKIP(return, "no memory failure handling in this kernel"); \
	/* bad all the same, if somebody held it */			\
	ASSERT_TRUE(_status == 0 || WEXITSTATUS(_status) == EBUSY);	\
} while (0)

#define EXPECT_BAD(addr) do {						\
	char *_addr = (addr);						\
									\
	EXPECT_EQ(BUS_MCEERR_AR, touch_bad(_addr));			\
	EXPECT_EQ(_addr, bad_addr);					\
} while (0)

TEST_F(poison, is_a_sigbus_with_the_windows_address)
{
	char *w = window(self->region, 1, PROT_READ);
	pid_t pid;

	ASSERT_NE(MAP_FAILED, w);
	MAKE_BAD();
	EXPECT_BAD(self->p + VICTIM + 8);
	EXPECT_BAD(w + VICTIM + 16);
	pid = fork();
	if (pid == 0) {
		EXPECT_BAD(self->p + VICTIM);
		EXPECT_EQ(RW, rights(self->p + VICTIM - PAGE));
		_exit(0);
	}
	EXPECT_EQ(0, child_status(pid));
	EXPECT_EQ(RW, rights(self->p + VICTIM - PAGE));
	EXPECT_EQ(RW, rights(self->p + VICTIM + PAGE));
	EXPECT_EQ(RET, self->p[VICTIM + PAGE]);
}

/* To the kernel it is a page that cannot be had. */
TEST_F(poison, is_an_error_to_system_calls)
{
	int pipes[2];

	ASSERT_EQ(0, pipe(pipes));
	MAKE_BAD();
	EXPECT_EQ(-EFAULT, result(write(pipes[1], self->p + VICTIM, 8)));
	EXPECT_EQ(8, write(pipes[1], self->p + VICTIM + PAGE, 8));
}

TEST_F(poison, stays_while_the_protection_flips)
{
	MAKE_BAD();
	ASSERT_EQ(0, protect(self->region, 0, CHUNK, PROT_READ));
	EXPECT_EQ(SEGV_ACCERR, touch(self->p + VICTIM, PROT_WRITE));
	EXPECT_BAD(self->p + VICTIM);
	ASSERT_EQ(0, protect(self->region, 0, CHUNK, RW));
	ASSERT_EQ(0, protect(self->region, VICTIM, PAGE, PROT_READ));
	EXPECT_BAD(self->p + VICTIM);
	ASSERT_EQ(0, protect(self->region, VICTIM, PAGE, PROT_NONE));
	EXPECT_EQ(SEGV_ACCERR, touch(self->p + VICTIM, PROT_READ));
	ASSERT_EQ(0, protect(self->region, 0, CHUNK, RW));
	EXPECT_BAD(self->p + VICTIM);
}

TEST_F(poison, a_new_page_takes_its_place)
{
	MAKE_BAD();
	EXPECT_BAD(self->p + VICTIM);
	ASSERT_EQ(0, ftruncate(self->object, VICTIM));
	ASSERT_EQ(0, ftruncate(self->object, OBJECT));
	EXPECT_EQ(0, touch(self->p + VICTIM, PROT_READ));
	EXPECT_EQ(0, self->p[VICTIM]);
	EXPECT_EQ(RW, rights(self->p + VICTIM));
}

/* What was bad when it was unmapped troubles nobody afterwards. */
TEST_F(poison, goes_with_its_mapping)
{
	MAKE_BAD();
	ASSERT_EQ(0, unmap(self->region, 0, OBJECT));
	EXPECT_EQ(-SEGV_MAPERR, rights(self->p + VICTIM));
	ASSERT_EQ(0, create_anon(self->region, 0, OBJECT, RW));
	EXPECT_EQ(RW, rights(self->p + VICTIM));
}

/* Readers on every CPU, one of whom may hold the page at that moment */
TEST_F(poison, reaches_every_reader)
{
	struct { volatile long reads; volatile int code; } *seen = shared_page(PAGE);
	pid_t pids[16];
	int n = nr_cpus() < 16 ? nr_cpus() : 16;

	for (int i = 0; i < n; i++) {
		pids[i] = fork_on(i);
		if (pids[i] == 0) {
			while (!seen[i].code) {
				seen[i].code = touch_bad(self->p + VICTIM);
				seen[i].reads++;
			}
			_exit(bad_addr != self->p + VICTIM);
		}
	}
	for (int i = 0; i < n; i++)
		while (!seen[i].reads)
			sleep_us(1000);
	MAKE_BAD();
	for (int i = 0; i < n; i++) {
		EXPECT_EQ(0, child_status(pids[i]));
		EXPECT_EQ(BUS_MCEERR_AR, seen[i].code);
	}
}

/*
 * Who is told early, that is without touching the page: a process that asked for
 * it, by prctl(), and has a mapping or a window of the page.
 */
enum { MAPPING, WINDOW, GONE, UNASKED, KINDS };

static struct told {
	volatile bool ready;
	volatile int code;
	void *volatile addr;
} *told;

static void on_early(int sig, siginfo_t *info, void *context)
{
	told->addr = info->si_addr;
	told->code = info->si_code;
}

static pid_t to_be_told(FIXTURE_DATA(poison) *self, int kind)
{
	struct sigaction action = {
		.sa_sigaction = on_early, .sa_flags = SA_SIGINFO,
	};
	pid_t pid = fork_on(-1);

	if (pid)
		return pid;
	told += kind;
	sigaction(SIGBUS, &action, NULL);
	if (kind != UNASKED &&
	    prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0))
		_exit(1);
	if (kind != WINDOW && kind != UNASKED)
		munmap(self->p, SLOT);
	if (kind != MAPPING)
		munmap(self->q, OBJECT);
	told->ready = true;
	for (;;)
		pause();
}

TEST_F(poison, is_told_early_to_who_asked)
{
	pid_t pids[KINDS];

	if (variant->huge)
		SKIP(return, "splitting a huge page of a file unmaps it: nobody is told");
	told = shared_page(PAGE);
	for (int kind = 0; kind < KINDS; kind++) {
		pids[kind] = to_be_told(self, kind);
		ASSERT_TRUE(UNTIL(told[kind].ready));
	}
	MAKE_BAD();
	EXPECT_TRUE(UNTIL(told[MAPPING].code))
		TH_LOG("no power: who has a mapping is not told");
	EXPECT_EQ(BUS_MCEERR_AO, told[MAPPING].code);
	EXPECT_EQ(self->q + VICTIM, told[MAPPING].addr);
	EXPECT_TRUE(UNTIL(told[WINDOW].code));
	EXPECT_EQ(BUS_MCEERR_AO, told[WINDOW].code);
	EXPECT_EQ(self->p + VICTIM, told[WINDOW].addr);
	EXPECT_EQ(0, told[GONE].code);
	EXPECT_EQ(0, told[UNASKED].code);
	for (int kind = 0; kind < KINDS; kind++) {
		kill(pids[kind], SIGKILL);
		child_status(pids[kind]);
	}
}

TEST_HARNESS_MAIN
