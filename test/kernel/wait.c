// SPDX-License-Identifier: GPL-2.0
/*
 * Accesses that wait for the protection to change: which do, what they must
 * not hold, and every way in which a wait ends.
 */
#include "mshare_test.h"
#include "mshare_mm.h"

#include <grp.h>
#include <linux/futex.h>
#include <linux/suspend_ioctls.h>
#include <pthread.h>
#include <sys/ptrace.h>
#include <sys/time.h>
#include <sys/uio.h>

#define PAGES		16
#define NOBODY		65534
#define MS		1000000UL	/* nanoseconds */
#define FOREVER		60000		/* milliseconds that a busy host may take */
#define A_WHILE		100000		/* microseconds in which nothing shall happen */

FIXTURE(wait)
{
	int region;
	char *p;
};

FIXTURE_SETUP(wait)
{
	self->region = region(1);
	ASSERT_LE(0, self->region);
	ASSERT_EQ(0, create_anon(self->region, 0, PAGES * PAGE, RWX));
	self->p = window(self->region, 1, RWX);
	ASSERT_NE(MAP_FAILED, self->p);
	memset(self->p, RET, PAGES * PAGE);
	ASSERT_EQ(0, fault_mode(self->region, MSHARE_FAULT_WAIT, 0, 0));
}

FIXTURE_TEARDOWN(wait)
{
	close(self->region);
}

/* A thread that does one access, or one read(2) into a place */
struct access {
	pthread_t thread;
	char *p;
	int access;		/* PROT_*, 0 for the system call */
	int result;		/* as touch() or read() */
	volatile pid_t tid;
	volatile bool done;
};

static void *do_access(void *arg)
{
	struct access *a = arg;

	a->tid = gettid();
	if (a->access) {
		a->result = touch(a->p, a->access);
	} else {
		int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);

		a->result = result(read(zero, a->p, PAGE));
		close(zero);
	}
	a->done = true;
	return NULL;
}

static void start(struct access *a, char *p, int access)
{
	*a = (struct access){ .p = p, .access = access };
	if (pthread_create(&a->thread, NULL, do_access, a))
		abort();
}

/* Starts one and returns when it waits; false if it does not. */
static bool start_waiting(int region, struct access *a, char *p, int access)
{
	__u64 waits = region_stat(region).waits;

	start(a, p, access);
	return UNTIL(a->done || region_stat(region).waits > waits) && !a->done;
}

/* Its result, or -ETIME if it has none; then the test cannot go on. */
static int end_of(struct access *a)
{
	if (!UNTIL(a->done))
		return -ETIME;
	pthread_join(a->thread, NULL);
	return a->result;
}

static bool still_waits(struct access *a)
{
	sleep_us(A_WHILE);
	return !a->done;
}

static const unsigned long sizes[] = { PAGE, CHUNK };	/* of what is closed */

static const struct {
	int access, closed, less, open;
} accesses[] = {
	{ PROT_READ, PROT_NONE, PROT_NONE, PROT_READ },
	{ PROT_WRITE, PROT_READ, PROT_NONE, RW },
	{ PROT_WRITE, PROT_NONE, PROT_READ, RW },
	{ PROT_WRITE, RX, RX, RWX },
	{ PROT_EXEC, RW, PROT_READ, RX },
	{ PROT_EXEC, PROT_NONE, RW, RWX },
};

TEST_F(wait, ends_when_the_access_is_allowed)
{
	for (int i = 0; i < ARRAY_SIZE(accesses); i++)
		for (int j = 0; j < ARRAY_SIZE(sizes); j++) {
			struct access a;

			ASSERT_EQ(0, protect(self->region, 0, CHUNK, RWX));
			ASSERT_EQ(0, protect(self->region, 0, sizes[j],
					     accesses[i].closed));
			ASSERT_TRUE(start_waiting(self->region, &a, self->p,
						  accesses[i].access))
				TH_LOG("access %d size %#lx: %d", i, sizes[j], a.result);
			ASSERT_EQ(0, protect(self->region, 0, sizes[j],
					     accesses[i].less));
			ASSERT_EQ(0, protect(self->region, PAGE, PAGE, RWX));
			EXPECT_TRUE(still_waits(&a))
				TH_LOG("access %d size %#lx", i, sizes[j]);
			ASSERT_EQ(0, protect(self->region, 0, sizes[j],
					     accesses[i].open));
			ASSERT_EQ(0, end_of(&a))
				TH_LOG("access %d size %#lx", i, sizes[j]);
		}
}

TEST_F(wait, in_every_process)
{
	pid_t pids[8];

	ASSERT_EQ(0, protect(self->region, 0, CHUNK, PROT_READ));
	for (int i = 0; i < ARRAY_SIZE(pids); i++) {
		pids[i] = fork_on(-1);
		if (pids[i] == 0) {
			self->p[i] = i;
			_exit(0);
		}
	}
	EXPECT_TRUE(UNTIL(region_stat(self->region).waits == ARRAY_SIZE(pids)));
	for (int i = 0; i < ARRAY_SIZE(pids); i++)
		EXPECT_EQ(RET, self->p[i]);
	ASSERT_EQ(0, protect(self->region, 0, CHUNK, RWX));
	for (int i = 0; i < ARRAY_SIZE(pids); i++) {
		EXPECT_EQ(0, child_status(pids[i]));
		EXPECT_EQ(i, self->p[i]);
	}
}

TEST_F(wait, unmapping_ends_it)
{
	struct access a;

	ASSERT_EQ(0, protect(self->region, 0, CHUNK, PROT_READ));
	ASSERT_TRUE(start_waiting(self->region, &a, self->p + PAGE, PROT_WRITE));
	ASSERT_EQ(0, unmap(self->region, 0, PAGE));
	EXPECT_TRUE(still_waits(&a));
	ASSERT_EQ(0, unmap(self->region, PAGE, PAGE));
	EXPECT_EQ(SEGV_MAPERR, end_of(&a));
}

TEST_F(wait, munmap_ends_it)
{
	char *q = window(self->region, 1, RW);
	struct access a, b;

	ASSERT_EQ(0, protect(self->region, 0, CHUNK, PROT_READ));
	ASSERT_TRUE(start_waiting(self->region, &a, self->p, PROT_WRITE));
	ASSERT_TRUE(start_waiting(self->region, &b, q, PROT_WRITE));
	ASSERT_EQ(0, munmap(self->p, SLOT));
	EXPECT_EQ(SEGV_MAPERR, end_of(&a));
	EXPECT_TRUE(still_waits(&b));
	ASSERT_EQ(0, munmap(q, SLOT));
	EXPECT_EQ(SEGV_MAPERR, end_of(&b));
}

TEST_F(wait, signal_mode_ends_it)
{
	struct access a, b;

	ASSERT_EQ(0, fault_mode(self->region, MSHARE_FAULT_WAIT,
				MSHARE_WAIT_KERNEL, 0));
	ASSERT_EQ(0, protect(self->region, 0, CHUNK, PROT_READ));
	ASSERT_TRUE(start_waiting(self->region, &a, self->p, PROT_WRITE));
	ASSERT_TRUE(start_waiting(self->region, &b, self->p, 0));
	/* the same again changes nothing, less privilege ends some */
	ASSERT_EQ(0, fault_mode(self->region, MSHARE_FAULT_WAIT,
				MSHARE_WAIT_KERNEL, 0));
	EXPECT_TRUE(still_waits(&a));
	EXPECT_TRUE(still_waits(&b));
	ASSERT_EQ(0, fault_mode(self->region, MSHARE_FAULT_WAIT, 0, 0));
	EXPECT_EQ(-EFAULT, end_of(&b));
	EXPECT_TRUE(still_waits(&a));
	ASSERT_EQ(0, fault_mode(self->region, MSHARE_FAULT_SIGNAL, 0, 0));
	EXPECT_EQ(SEGV_ACCERR, end_of(&a));
	EXPECT_EQ(SEGV_ACCERR, touch(self->p, PROT_WRITE));
	EXPECT_EQ(2, region_stat(self->region).waits);
}

/* Whoever has the window keeps no fd by it; a copy of an fd is the same fd. */
TEST_F(wait, last_writable_close_ends_it)
{
	int copy = dup(self->region), reader, other;
	struct access a;
	char path[64];
	int hold[2];
	pid_t pid;
	char c;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", self->region);
	reader = open(path, O_RDONLY | O_CLOEXEC);
	other = open(path, O_WRONLY | O_CLOEXEC);
	ASSERT_LE(0, reader);
	ASSERT_LE(0, other);
	ASSERT_EQ(0, protect(self->region, 0, CHUNK, PROT_READ));
	ASSERT_EQ(0, pipe(hold));
	pid = fork_on(-1);
	if (pid == 0) {
		close(hold[1]);
		read(hold[0], &c, 1);
		_exit(0);
	}
	ASSERT_TRUE(start_waiting(self->region, &a, self->p, PROT_WRITE));
	close(self->region);
	EXPECT_TRUE(still_waits(&a));
	close(copy);
	EXPECT_TRUE(still_waits(&a));
	close(other);
	EXPECT_TRUE(still_waits(&a));		/* the child has them */
	close(hold[1]);
	EXPECT_EQ(0, child_status(pid));
	EXPECT_EQ(SEGV_ACCERR, end_of(&a));
	EXPECT_EQ(SEGV_ACCERR, touch(self->p, PROT_WRITE));

	/* opened again it starts anew */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", reader);
	self->region = open(path, O_RDWR);
	ASSERT_LE(0, self->region);
	EXPECT_EQ(SEGV_ACCERR, touch(self->p, PROT_WRITE));
	ASSERT_EQ(0, fault_mode(self->region, MSHARE_FAULT_WAIT, 0, 0));
	ASSERT_TRUE(start_waiting(self->region, &a, self->p, PROT_WRITE));
	close(self->region);
	EXPECT_EQ(SEGV_ACCERR, end_of(&a));
	close(reader);
}

TEST_F(wait, deadline_ends_it)
{
	struct access a, b;
	double begin;

	ASSERT_EQ(0, protect(self->region, 0, CHUNK, PROT_READ));
	ASSERT_EQ(0, fault_mode(self->region, MSHARE_FAULT_WAIT,
				MSHARE_WAIT_KERNEL, 300 * MS));
	begin = now();
	start(&a, self->p, PROT_WRITE);
	start(&b, self->p, 0);
	EXPECT_EQ(SEGV_ACCERR, end_of(&a));
	EXPECT_LE(0.3, now() - begin);
	EXPECT_EQ(-EFAULT, end_of(&b));

	/* a new deadline counts for who waits already, from its first denial */
	ASSERT_EQ(0, fault_mode(self->region, MSHARE_FAULT_WAIT, 0, ~0ULL));
	ASSERT_TRUE(start_waiting(self->region, &a, self->p, PROT_WRITE));
	EXPECT_TRUE(still_waits(&a));
	ASSERT_EQ(0, fault_mode(self->region, MSHARE_FAULT_WAIT, 0, 1));
	EXPECT_EQ(SEGV_ACCERR, end_of(&a));
}

static volatile int signals;

static void count_signal(int sig)
{
	signals++;
}

TEST_F(wait, signals_do_not_stop_the_clock)
{
	struct access a;
	int sent = 0;

	signal(SIGUSR1, count_signal);
	ASSERT_EQ(0, protect(self->region, 0, CHUNK, PROT_READ));
	ASSERT_EQ(0, fault_mode(self->region, MSHARE_FAULT_WAIT, 0, 500 * MS));
	ASSERT_TRUE(start_waiting(self->region, &a, self->p, PROT_WRITE));
	for (double begin = now(); !a.done && now() < begin + 60; sent++) {
		pthread_kill(a.thread, SIGUSR1);
		sleep_us(20000);
	}
	EXPECT_EQ(SEGV_ACCERR, end_of(&a));
	EXPECT_LT(0, signals);
	EXPECT_EQ(1, region_stat(self->region).waits)
		TH_LOG("%d signals of %d were handled", signals, sent);
}

TEST_F(wait, user_mode_handles_signals)
{
	struct access a;

	signals = 0;
	signal(SIGUSR1, count_signal);
	ASSERT_EQ(0, protect(self->region, 0, CHUNK, PROT_READ));
	ASSERT_TRUE(start_waiting(self->region, &a, self->p, PROT_WRITE));
	for (int i = 1; i <= 5; i++) {
		pthread_kill(a.thread, SIGUSR1);
		EXPECT_TRUE(UNTIL(signals == i));
	}
	EXPECT_TRUE(still_waits(&a));
	EXPECT_EQ(1, region_stat(self->region).waits);
	ASSERT_EQ(0, protect(self->region, 0, CHUNK, RWX));
	EXPECT_EQ(0, end_of(&a));		/* the store was made after all */
}

/*
 * A handler's system call on the page has no share in the wait of the store
 * that it interrupted: that is one denial, and ends when its time is up. Nor
 * has a system call that may wait there more time than the store has left.
 */
static char *handler_page;
static int handler_pipe;

static void write_from_page(int sig)
{
	result(write(handler_pipe, handler_page, 1));
	signals++;
}

TEST_F(wait, a_handlers_system_call_does_not_stop_the_clock)
{
	struct mshare_event event;
	int pipes[2];

	ASSERT_EQ(0, pipe(pipes));
	handler_pipe = pipes[1];
	handler_page = self->p;
	signal(SIGUSR1, write_from_page);
	for (int flags = 0; flags <= MSHARE_WAIT_KERNEL; flags++) {
		int denials = 0, ends = 0;
		struct access a;

		signals = 0;
		ASSERT_EQ(0, protect(self->region, 0, CHUNK, PROT_NONE));
		ASSERT_EQ(0, fault_mode(self->region, MSHARE_FAULT_WAIT, flags,
					500 * MS));
		ASSERT_TRUE(start_waiting(self->region, &a, self->p, PROT_WRITE));
		for (double begin = now(); !a.done && now() < begin + 10;) {
			pthread_kill(a.thread, SIGUSR1);
			sleep_us(20000);
		}
		ASSERT_EQ(0, protect(self->region, 0, CHUNK, RWX));
		EXPECT_EQ(SEGV_ACCERR, end_of(&a));
		EXPECT_LT(0, signals);
		while (!next_event(self->region, &event, 0)) {
			if (event.flags & MSHARE_EVENT_KERNEL)
				continue;
			EXPECT_EQ(MSHARE_ACCESS_WRITE, event.access);
			if (!(event.flags & MSHARE_EVENT_DONE))
				denials++;
			else if (event.flags & MSHARE_EVENT_TIMEOUT)
				ends++;
		}
		EXPECT_EQ(1, denials);
		EXPECT_EQ(1, ends);
	}
	close(pipes[0]);
	close(pipes[1]);
}

/* A handler that waits for another page: both have their own clock. */
static void store_elsewhere(int sig)
{
	*(volatile char *)handler_page = 1;
	signals++;
}

TEST_F(wait, within_a_handler)
{
	struct access a;

	signals = 0;
	signal(SIGUSR1, store_elsewhere);
	handler_page = self->p + PAGE;
	ASSERT_EQ(0, protect(self->region, 0, CHUNK, PROT_READ));
	ASSERT_TRUE(start_waiting(self->region, &a, self->p, PROT_WRITE));
	pthread_kill(a.thread, SIGUSR1);
	EXPECT_TRUE(UNTIL(region_stat(self->region).waits == 2));
	EXPECT_EQ(0, signals);
	ASSERT_EQ(0, protect(self->region, PAGE, PAGE, RW));
	EXPECT_TRUE(UNTIL(signals == 1));
	EXPECT_TRUE(still_waits(&a));
	ASSERT_EQ(0, protect(self->region, 0, CHUNK, RWX));
	EXPECT_EQ(0, end_of(&a));
	EXPECT_EQ(2, region_stat(self->region).waits);
}

static sigjmp_buf elsewhere;

static void go_elsewhere(int sig)
{
	siglongjmp(elsewhere, 1);
}

/* Who never comes back leaves a wait, and no more of them than are kept. */
TEST_F(wait, leaves_few_behind)
{
	struct itimerval timer = { .it_value.tv_usec = 10000 };
	struct mshare_event event;
	int done = 0, rounds = 40;

	ASSERT_EQ(0, create_anon(self->region, PAGES * PAGE, rounds * PAGE, RW));
	ASSERT_EQ(0, protect(self->region, 0, CHUNK, PROT_READ));
	signal(SIGALRM, go_elsewhere);
	for (volatile int i = 0; i < rounds; i++)
		if (!sigsetjmp(elsewhere, 1)) {
			setitimer(ITIMER_REAL, &timer, NULL);
			*(volatile char *)(self->p + i * PAGE) = 1;
			ASSERT_TRUE(false);
		}
	EXPECT_EQ(rounds, region_stat(self->region).waits);
	while (!next_event(self->region, &event, 0))
		done += !!(event.flags & MSHARE_EVENT_DONE);
	EXPECT_EQ(rounds - 16, done);
	/* the rest ends with the protection, whether somebody comes or not */
	ASSERT_EQ(0, protect(self->region, 0, CHUNK, RW));
	while (!next_event(self->region, &event, 0))
		done += !!(event.flags & MSHARE_EVENT_DONE);
	EXPECT_EQ(rounds, done);
}

/* More than are ended under one hold of a lock, and some of them not at all */
#define MANY		200

static bool start_many(FIXTURE_DATA(wait) *self, struct access *many)
{
	__u64 waits = region_stat(self->region).waits;

	for (int i = 0; i < MANY; i++)
		start(&many[i], self->p + i % PAGES * PAGE, PROT_WRITE);
	return UNTIL(region_stat(self->region).waits == waits + MANY);
}

TEST_F(wait, many_end_at_once)
{
	struct access *many = calloc(MANY, sizeof(*many));

	ASSERT_EQ(0, protect(self->region, 0, CHUNK, PROT_READ));
	ASSERT_TRUE(start_many(self, many));
	ASSERT_EQ(0, protect(self->region, 0, PAGES / 2 * PAGE, RW));
	for (int i = 0; i < MANY; i++)
		if (i % PAGES < PAGES / 2)
			EXPECT_EQ(0, end_of(&many[i]));
	sleep_us(A_WHILE);
	for (int i = 0; i < MANY; i++)
		EXPECT_EQ(i % PAGES < PAGES / 2, many[i].done);
	ASSERT_EQ(0, fault_mode(self->region, MSHARE_FAULT_SIGNAL, 0, 0));
	for (int i = 0; i < MANY; i++)
		if (i % PAGES >= PAGES / 2)
			EXPECT_EQ(SEGV_ACCERR, end_of(&many[i]));

	ASSERT_EQ(0, fault_mode(self->region, MSHARE_FAULT_WAIT, 0, 0));
	ASSERT_EQ(0, protect(self->region, 0, CHUNK, PROT_READ));
	ASSERT_TRUE(start_many(self, many));
	ASSERT_EQ(0, munmap(self->p, SLOT));
	for (int i = 0; i < MANY; i++)
		EXPECT_EQ(SEGV_MAPERR, end_of(&many[i]));
	free(many);
}

TEST_F(wait, kill_ends_it)
{
	for (int kernel = 0; kernel < 2; kernel++) {
		pid_t pid;

		ASSERT_EQ(0, fault_mode(self->region, MSHARE_FAULT_WAIT,
					MSHARE_WAIT_KERNEL, 0));
		ASSERT_EQ(0, protect(self->region, 0, CHUNK, PROT_READ));
		pid = fork_on(-1);
		if (pid == 0) {
			struct access a;

			start(&a, self->p + PAGE, PROT_WRITE);
			start(&a, self->p, kernel ? 0 : PROT_WRITE);
			end_of(&a);
			_exit(0);
		}
		EXPECT_TRUE(UNTIL(region_stat(self->region).waits ==
				  2 * kernel + 2));
		kill(pid, SIGKILL);
		EXPECT_EQ(SIGKILL, child_status(pid));
	}
}

TEST_F(wait, exit_and_exec_end_it)
{
	for (int exec = 0; exec < 2; exec++) {
		pid_t pid;

		ASSERT_EQ(0, protect(self->region, 0, CHUNK, PROT_READ));
		pid = fork_on(-1);
		if (pid == 0) {
			struct access a;

			start_waiting(self->region, &a, self->p, PROT_WRITE);
			if (exec)
				execl("/bin/sh", "sh", "-c", "exit 7", NULL);
			_exit(7);
		}
		EXPECT_EQ(7 << 8, child_status(pid));
	}
	EXPECT_EQ(2, region_stat(self->region).waits);
}

TEST_F(wait, system_calls_only_with_leave)
{
	struct access a;

	for (int j = 0; j < ARRAY_SIZE(sizes); j++) {
		ASSERT_EQ(0, protect(self->region, 0, sizes[j], PROT_READ));
		start(&a, self->p, 0);
		EXPECT_EQ(-EFAULT, end_of(&a));
		ASSERT_EQ(0, protect(self->region, 0, sizes[j], RWX));
	}
	EXPECT_EQ(0, region_stat(self->region).waits);

	signals = 0;
	signal(SIGUSR1, count_signal);
	ASSERT_EQ(0, fault_mode(self->region, MSHARE_FAULT_WAIT,
				MSHARE_WAIT_KERNEL, 0));
	for (int j = 0; j < ARRAY_SIZE(sizes); j++) {
		ASSERT_EQ(0, protect(self->region, 0, sizes[j], PROT_READ));
		ASSERT_TRUE(start_waiting(self->region, &a, self->p, 0));
		EXPECT_TRUE(UNTIL(proc_state(a.tid) == 'D'));
		pthread_kill(a.thread, SIGUSR1);
		EXPECT_TRUE(still_waits(&a));
		EXPECT_EQ(j, signals);		/* handled when it returns */
		ASSERT_EQ(0, protect(self->region, 0, sizes[j], RWX));
		EXPECT_EQ(PAGE, end_of(&a));
		EXPECT_EQ(j + 1, signals);
		EXPECT_EQ(0, self->p[PAGE - 1]);
	}
}

/*
 * Who waits is frozen with its group, in user mode and in a system call, stays
 * so when the page is opened, and can be killed.
 */
TEST_F(wait, can_be_frozen)
{
	int pipes[2];

	if (group_create("waiters"))
		SKIP(return, "no cgroups: %m");
	ASSERT_EQ(0, pipe(pipes));
	ASSERT_EQ(0, fault_mode(self->region, MSHARE_FAULT_WAIT,
				MSHARE_WAIT_KERNEL, 0));
	for (int kernel = 0; kernel < 2; kernel++) {
		for (int killed = 0; killed < 2; killed++) {
			__u64 waits = region_stat(self->region).waits;
			pid_t pid;

			ASSERT_EQ(0, protect(self->region, 0, CHUNK, PROT_NONE));
			pid = fork_on(-1);
			if (pid == 0) {
				group_enter("waiters");
				if (kernel)
					_exit(write(pipes[1], self->p, PAGE) != PAGE);
				_exit(*(volatile char *)self->p != RET);
			}
			EXPECT_TRUE(UNTIL(region_stat(self->region).waits > waits));
			ASSERT_EQ(0, write_file(group_path("waiters", "cgroup.freeze"), "1"));
			EXPECT_TRUE(UNTIL(figure(group_path("waiters", "cgroup.events"),
						 "frozen") == 1))
				TH_LOG("kernel %d", kernel);
			if (killed) {
				kill(pid, SIGKILL);
				EXPECT_EQ(SIGKILL, child_status(pid));
			}
			ASSERT_EQ(0, protect(self->region, 0, CHUNK, RWX));
			if (!killed) {
				sleep_us(A_WHILE);
				EXPECT_EQ(0, waitpid(pid, NULL, WNOHANG));
			}
			write_file(group_path("waiters", "cgroup.freeze"), "0");
			if (!killed) {
				EXPECT_EQ(0, child_status(pid));
			}
			EXPECT_TRUE(UNTIL(figure(group_path("waiters", "cgroup.events"),
						 "frozen") == 0));
		}
	}
	close(pipes[0]);
	close(pipes[1]);
	group_leave("waiters");
}

/*
 * Suspend and hibernation freeze all processes, and give up where one cannot be
 * frozen. Who waits, in user mode or in a system call, goes on when it is thawed.
 */
TEST_F(wait, keeps_no_system_awake)
{
	int snapshot = open("/dev/snapshot", O_RDONLY | O_CLOEXEC);

	if (snapshot < 0)
		SKIP(return, "no /dev/snapshot, by which all others are frozen: %m");
	ASSERT_EQ(0, fault_mode(self->region, MSHARE_FAULT_WAIT,
				MSHARE_WAIT_KERNEL, 0));
	for (int i = 0; i < 2 * ARRAY_SIZE(sizes); i++) {
		int access = i % 2 ? PROT_WRITE : 0;
		struct access a;

		ASSERT_EQ(0, protect(self->region, 0, sizes[i / 2], PROT_READ));
		ASSERT_TRUE(start_waiting(self->region, &a, self->p, access));
		EXPECT_EQ(0, result(ioctl(snapshot, SNAPSHOT_FREEZE, 0)));
		ASSERT_EQ(0, protect(self->region, 0, sizes[i / 2], RWX));
		EXPECT_TRUE(still_waits(&a));
		EXPECT_EQ(0, result(ioctl(snapshot, SNAPSHOT_UNFREEZE, 0)));
		EXPECT_EQ(access ? 0 : PAGE, end_of(&a));
	}
	close(snapshot);
}

/* A write to a file reads the page first, then copies with faults disabled. */
TEST_F(wait, system_calls_that_write_files)
{
	int file = memfd(PAGE), pipes[2];
	char byte = 0;
	pid_t pid;

	ASSERT_EQ(0, fault_mode(self->region, MSHARE_FAULT_WAIT,
				MSHARE_WAIT_KERNEL, 0));
	ASSERT_EQ(0, pipe(pipes));
	for (int to_pipe = 0; to_pipe < 2; to_pipe++) {
		__u64 waits = region_stat(self->region).waits;

		ASSERT_EQ(0, protect(self->region, 0, CHUNK, PROT_NONE));
		pid = fork_on(-1);
		if (pid == 0)
			_exit(write(to_pipe ? pipes[1] : file, self->p, PAGE) !=
			      PAGE);
		EXPECT_TRUE(UNTIL(region_stat(self->region).waits > waits));
		EXPECT_EQ(0, waitpid(pid, NULL, WNOHANG));
		ASSERT_EQ(0, protect(self->region, 0, CHUNK, PROT_READ));
		EXPECT_EQ(0, child_status(pid));
	}
	EXPECT_EQ(1, pread(file, &byte, 1, PAGE - 1));
	EXPECT_EQ(RET, byte);
	close(file);
}

/* Others' and pinned accesses neither wait nor are they told. */
TEST_F(wait, gup_does_not)
{
	char word[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };
	struct iovec local = { word, sizeof(word) };
	struct iovec remote = { self->p, sizeof(word) };
	struct mshare_event event;
	int mem = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	int direct = direct_file(RET);
	pid_t tracee = fork_on(-1);

	if (tracee == 0) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		for (;;)
			raise(SIGSTOP);
	}
	waitpid(tracee, NULL, 0);
	ASSERT_LE(0, mem);
	ASSERT_LE(0, direct);
	ASSERT_EQ(0, fault_mode(self->region, MSHARE_FAULT_WAIT,
				MSHARE_WAIT_KERNEL, 0));
	for (int j = 0; j < ARRAY_SIZE(sizes); j++) {
		ASSERT_EQ(0, protect(self->region, 0, sizes[j], PROT_READ));
		EXPECT_EQ(-EFAULT, result(process_vm_writev(getpid(), &local, 1,
							    &remote, 1, 0)));
		EXPECT_GT(0, pwrite(mem, word, sizeof(word), (off_t)self->p));
		EXPECT_EQ(-EFAULT, result(pread(direct, self->p, PAGE, 0)));
		EXPECT_GT(0, ptrace(PTRACE_POKEDATA, tracee, self->p, 1UL));
		/* a futex is looked for with write access first */
		EXPECT_EQ(0, result(syscall(SYS_futex, self->p, FUTEX_WAKE, 1)));
		EXPECT_EQ(-EAGAIN, result(syscall(SYS_futex, self->p, FUTEX_WAIT,
						  0, NULL)));
		EXPECT_EQ(-EFAULT, result(syscall(SYS_futex, self->p + PAGE / 2,
						  FUTEX_WAKE_OP, 0, 0, self->p,
						  FUTEX_OP(FUTEX_OP_SET, 1,
							   FUTEX_OP_CMP_EQ, 0))));
		EXPECT_EQ(RET, self->p[0]);
	}
	EXPECT_EQ(-ETIMEDOUT, next_event(self->region, &event, 0));
	EXPECT_EQ(0, region_stat(self->region).waits);
	kill(tracee, SIGKILL);
	child_status(tracee);
	close(direct);
	close(mem);
}

/* What no flip would ever allow is denied at once, and is no event. */
TEST_F(wait, ceilings_and_holes_do_not)
{
	struct mshare_event event;
	int object = memfd(PAGE), reader;
	char *look, *run, path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", object);
	reader = open(path, O_RDONLY | O_CLOEXEC);
	ASSERT_EQ(0, create_file(self->region, CHUNK, PAGE, PROT_READ, reader, 0));
	look = window(self->region, 1, PROT_READ);
	run = window(self->region, 1, RW);
	ASSERT_NE(MAP_FAILED, look);
	ASSERT_NE(MAP_FAILED, run);
	/* open, closed a little, closed: the window still says no */
	for (int i = 0; i < 3; i++) {
		static const int prots[] = { RWX, PROT_READ, PROT_NONE };

		ASSERT_EQ(0, protect(self->region, 0, PAGE, prots[i]));
		EXPECT_EQ(SEGV_ACCERR, touch(look, PROT_WRITE));
		EXPECT_EQ(SEGV_ACCERR, touch(run, PROT_EXEC));
	}
	EXPECT_EQ(SEGV_ACCERR, touch(self->p + CHUNK, PROT_WRITE));
	EXPECT_EQ(SEGV_MAPERR, touch(self->p + CHUNK + PAGE, PROT_WRITE));
	EXPECT_EQ(SEGV_MAPERR, touch(self->p + 2 * CHUNK, PROT_READ));
	EXPECT_EQ(-ETIMEDOUT, next_event(self->region, &event, 0));
	EXPECT_EQ(0, region_stat(self->region).waits);
	close(object);
	close(reader);
}

TEST_F(wait, modes_and_flags)
{
	struct access a;

	EXPECT_EQ(-EINVAL, fault_mode(self->region, 2, 0, 0));
	EXPECT_EQ(-EINVAL, fault_mode(self->region, ~0U, 0, 0));
	EXPECT_EQ(-EINVAL, fault_mode(self->region, MSHARE_FAULT_WAIT, 2, 0));
	EXPECT_EQ(-EINVAL, fault_mode(self->region, MSHARE_FAULT_WAIT,
				      1U << 31 | MSHARE_WAIT_KERNEL, 0));
	EXPECT_EQ(-EINVAL, fault_mode(self->region, MSHARE_FAULT_SIGNAL, 4, 0));
	/* nothing has changed by these */
	ASSERT_EQ(0, protect(self->region, 0, CHUNK, PROT_READ));
	ASSERT_TRUE(start_waiting(self->region, &a, self->p, PROT_WRITE));
	ASSERT_EQ(0, protect(self->region, 0, CHUNK, RWX));
	EXPECT_EQ(0, end_of(&a));
}

#define FAULT_GROUP	"/proc/sys/vm/mshare_fault_group"

TEST_F(wait, leave_is_root_s_or_a_group_s)
{
	static const struct {
		const char *group;
		int err;
	} settings[] = {
		{ "-1", -EPERM }, { "4321", -EPERM }, { "1234", 0 },
		{ "65534", 0 }, { "-1", -EPERM },
	};

	for (int i = 0; i < ARRAY_SIZE(settings); i++) {
		pid_t pid;

		ASSERT_EQ(0, write_file(FAULT_GROUP, settings[i].group));
		EXPECT_EQ(0, fault_mode(self->region, MSHARE_FAULT_WAIT,
					MSHARE_WAIT_KERNEL, 0));
		pid = fork_on(-1);
		if (pid == 0) {
			gid_t group = 1234;

			ASSERT_EQ(0, setgroups(1, &group));
			ASSERT_EQ(0, setgid(NOBODY));
			ASSERT_EQ(0, setuid(NOBODY));
			EXPECT_EQ(0, fault_mode(self->region, MSHARE_FAULT_WAIT,
						0, 0));
			EXPECT_EQ(settings[i].err,
				  fault_mode(self->region, MSHARE_FAULT_WAIT,
					     MSHARE_WAIT_KERNEL, 0))
				TH_LOG("group %s", settings[i].group);
			_exit(0);
		}
		EXPECT_EQ(0, child_status(pid));
	}
}

/*
 * Flips against writers, on all CPUs: after each opening every writer must get
 * on. One that does not has slept through it.
 */
struct storm {
	volatile unsigned long stores[8];
	volatile bool stop;
};

static void writer(struct storm *storm, char *p, int i)
{
	volatile unsigned long *word = (void *)(p + i * PAGE);

	while (!storm->stop) {
		*word = storm->stores[i] + 1;
		storm->stores[i]++;
	}
	_exit(0);
}

static bool all_advance(struct storm *storm, int writers, double seconds)
{
	unsigned long before[8];
	double begin = now();
	int i = 0;

	memcpy(before, (void *)storm->stores, sizeof(before));
	while (i < writers) {
		if (storm->stores[i] > before[i] + 1) {
			i++;
			continue;
		}
		if (now() > begin + seconds)
			return false;
		sleep_us(50);
	}
	return true;
}

/* Returns the number of flips, or of those after which one did not wake. */
static long flip_storm(int region, char *p, double patience, long enough,
		       bool until_lost)
{
	struct storm *storm = shared_page(PAGE);
	int writers = nr_cpus() + 1 < 8 ? nr_cpus() + 1 : 8;
	long flips = 0, lost = 0;
	double begin = now();
	pid_t pids[8];

	for (int i = 0; i < writers; i++) {
		pids[i] = fork_on(i % nr_cpus());
		if (pids[i] == 0)
			writer(storm, p, i);
	}
	all_advance(storm, writers, 60);
	while (!stress_over(begin, stress_seconds(),
			    until_lost ? lost : flips >= enough)) {
		unsigned long size = flips & 1 ? PAGES * PAGE / 2 : CHUNK;

		protect(region, 0, size, PROT_READ);
		sleep_us(rand() % 200);
		/* who is woken to look again must survive being released */
		if (flips & 2)
			fault_mode(region, MSHARE_FAULT_WAIT, 0, 0);
		protect(region, 0, size, RW);
		flips++;
		if (!all_advance(storm, writers, patience)) {
			lost++;
			if (until_lost)
				break;
		}
	}
	storm->stop = true;
	protect(region, 0, CHUNK, RW);	/* wakes who has slept */
	for (int i = 0; i < writers; i++) {
		bool gone = false;

		if (!UNTIL(gone || (gone = waitpid(pids[i], NULL, WNOHANG) == pids[i]))) {
			kill(pids[i], SIGKILL);
			child_status(pids[i]);
			lost++;
		}
	}
	munmap(storm, PAGE);
	return until_lost || lost ? -lost : flips;
}

TEST_F(wait, no_wakeup_is_lost)
{
	EXPECT_LT(0, flip_storm(self->region, self->p, 30, 50, false));
	EXPECT_LT(0, region_stat(self->region).waits);
}

/* The same with flips that come between the denial and the wait */
TEST_F(wait, no_wakeup_is_lost_in_between)
{
	if (write_file(KNOBS "wait_delay_us", "300"))
		SKIP(return, "no debugfs knobs: %m");
	EXPECT_LT(0, flip_storm(self->region, self->p, 30, 50, false));
	EXPECT_LT(0, region_stat(self->region).waits);
	write_file(KNOBS "wait_delay_us", "0");
}

TEST_F(wait, control_lost_wakeup)
{
	long lost;

	if (knob("skip_wait_recheck", true))
		SKIP(return, "no debugfs knobs: %m");
	write_file(KNOBS "wait_delay_us", "300");
	lost = -flip_storm(self->region, self->p, 3, 0, true);
	write_file(KNOBS "wait_delay_us", "0");
	knob("skip_wait_recheck", false);
	EXPECT_LT(0, lost)
		TH_LOG("no power: every writer woke without looking again");
}

TEST_HARNESS_MAIN
