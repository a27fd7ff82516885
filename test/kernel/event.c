// SPDX-License-Identifier: GPL-2.0
/*
 * Events: what a region's file gives to be read about denied accesses, to
 * whom, and what becomes of those that nobody reads.
 */
#include "mshare_test.h"

#include <pthread.h>
#include <sys/wait.h>

#define PAGES		8
#define QUEUE		1024
#define MS		1000000UL	/* nanoseconds */
#define FOREVER		60000		/* milliseconds that a busy host may take */

FIXTURE(event)
{
	int region;
	char *p;
	char path[64];
};

FIXTURE_SETUP(event)
{
	self->region = region(1);
	ASSERT_LE(0, self->region);
	ASSERT_EQ(0, create_anon(self->region, CHUNK, PAGES * PAGE, RWX));
	self->p = window(self->region, 1, RWX);
	ASSERT_NE(MAP_FAILED, self->p);
	self->p += CHUNK;
	memset(self->p, RET, PAGES * PAGE);
	snprintf(self->path, sizeof(self->path), "/proc/self/fd/%d", self->region);
}

FIXTURE_TEARDOWN(event)
{
	close(self->region);
}

static __u64 now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

static bool none(int region)
{
	struct mshare_event event;

	return next_event(region, &event, 0) == -ETIMEDOUT;
}

static const struct {
	int access, closed;
} denials[] = {
	{ PROT_READ, PROT_NONE }, { PROT_WRITE, PROT_NONE },
	{ PROT_WRITE, PROT_READ }, { PROT_WRITE, RX },
	{ PROT_EXEC, PROT_NONE }, { PROT_EXEC, RW },
};

TEST_F(event, tells_each_denial)
{
	for (int i = 0; i < ARRAY_SIZE(denials); i++)
		for (int whole = 0; whole < 2; whole++) {
			__u64 begin = now_ns();
			struct mshare_event e;

			ASSERT_EQ(0, protect(self->region, CHUNK,
					     whole ? CHUNK : 4 * PAGE,
					     denials[i].closed));
			EXPECT_EQ(SEGV_ACCERR, touch(self->p + 3 * PAGE + 77,
						     denials[i].access));
			ASSERT_EQ(0, next_event(self->region, &e, 0))
				TH_LOG("denial %d", i);
			EXPECT_EQ(CHUNK + 3 * PAGE, e.region_offset);
			EXPECT_LE(begin, e.time_ns);
			EXPECT_GE(now_ns(), e.time_ns);
			EXPECT_EQ(0, e.waited_ns);
			EXPECT_EQ(getpid(), e.pid);
			EXPECT_EQ(gettid(), e.tid);
			EXPECT_EQ(denials[i].access, e.access);
			EXPECT_EQ(0, e.flags);
			EXPECT_TRUE(none(self->region));
			ASSERT_EQ(0, protect(self->region, CHUNK, CHUNK, RWX));
		}
	EXPECT_EQ(0, touch(self->p, PROT_WRITE));
	EXPECT_TRUE(none(self->region));
}

TEST_F(event, tells_system_calls)
{
	int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	struct mshare_event e;

	ASSERT_EQ(0, protect(self->region, CHUNK, CHUNK, PROT_READ));
	EXPECT_EQ(-EFAULT, result(read(zero, self->p, 1)));
	ASSERT_EQ(0, next_event(self->region, &e, 0));
	EXPECT_EQ(CHUNK, e.region_offset);
	EXPECT_EQ(getpid(), e.pid);
	EXPECT_EQ(MSHARE_ACCESS_WRITE, e.access);
	EXPECT_EQ(MSHARE_EVENT_KERNEL, e.flags);
	close(zero);
}

struct store {
	pthread_t thread;
	char *p;
	int denied;
	pid_t tid;
};

static void *do_store(void *arg)
{
	struct store *store = arg;

	store->tid = gettid();
	store->denied = touch(store->p, PROT_WRITE);
	return NULL;
}

TEST_F(event, tells_begin_and_end_of_a_wait)
{
	for (int timeout = 0; timeout < 2; timeout++) {
		struct store store = { .p = self->p + PAGE };
		struct mshare_event begin, end;

		ASSERT_EQ(0, fault_mode(self->region, MSHARE_FAULT_WAIT, 0,
					timeout ? 200 * MS : 0));
		ASSERT_EQ(0, protect(self->region, CHUNK, CHUNK, PROT_READ));
		ASSERT_EQ(0, pthread_create(&store.thread, NULL, do_store, &store));
		ASSERT_EQ(0, next_event(self->region, &begin, FOREVER));
		sleep_us(50000);
		if (!timeout) {
			EXPECT_TRUE(none(self->region));
			ASSERT_EQ(0, protect(self->region, CHUNK, CHUNK, RWX));
		}
		ASSERT_EQ(0, next_event(self->region, &end, FOREVER));
		pthread_join(store.thread, NULL);
		EXPECT_EQ(timeout ? SEGV_ACCERR : 0, store.denied);
		EXPECT_TRUE(none(self->region));

		EXPECT_EQ(0, begin.flags);
		EXPECT_EQ(0, begin.waited_ns);
		EXPECT_EQ(MSHARE_EVENT_DONE | (timeout ? MSHARE_EVENT_TIMEOUT : 0),
			  end.flags);
		EXPECT_EQ(end.time_ns - begin.time_ns, end.waited_ns);
		EXPECT_LE((timeout ? 200 : 50) * MS, end.waited_ns);
		EXPECT_EQ(CHUNK + PAGE, begin.region_offset);
		EXPECT_EQ(CHUNK + PAGE, end.region_offset);
		EXPECT_EQ(MSHARE_ACCESS_WRITE, begin.access);
		EXPECT_EQ(MSHARE_ACCESS_WRITE, end.access);
		EXPECT_EQ(getpid(), begin.pid);
		EXPECT_EQ(getpid(), end.pid);
		EXPECT_EQ(store.tid, begin.tid);
		EXPECT_EQ(store.tid, end.tid);
	}
}

TEST_F(event, tells_the_end_of_who_is_killed)
{
	struct mshare_event e;
	pid_t pid;

	ASSERT_EQ(0, fault_mode(self->region, MSHARE_FAULT_WAIT, 0, 0));
	ASSERT_EQ(0, protect(self->region, CHUNK, CHUNK, PROT_READ));
	pid = fork_on(-1);
	if (pid == 0) {
		*self->p = 0;
		_exit(0);
	}
	ASSERT_EQ(0, next_event(self->region, &e, FOREVER));
	kill(pid, SIGKILL);
	ASSERT_EQ(0, next_event(self->region, &e, FOREVER));
	EXPECT_EQ(MSHARE_EVENT_DONE, e.flags);
	EXPECT_EQ(pid, e.pid);
	EXPECT_EQ(SIGKILL, child_status(pid));
}

TEST_F(event, reading)
{
	int reader = open(self->path, O_RDONLY | O_CLOEXEC);
	int writer = open(self->path, O_WRONLY | O_CLOEXEC);
	int other = open(self->path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	struct pollfd poll_fd = { .fd = reader, .events = POLLIN };
	void *bad = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct mshare_event e[4];

	EXPECT_EQ(-EAGAIN, result(read(other, e, sizeof(e))));
	EXPECT_EQ(-EINVAL, result(read(other, e, 0)));
	EXPECT_EQ(-EINVAL, result(read(other, e, sizeof(*e) - 1)));
	EXPECT_EQ(-EACCES, result(read(reader, e, sizeof(e))));
	EXPECT_EQ(-EBADF, result(read(writer, e, sizeof(e))));
	EXPECT_EQ(1, poll(&poll_fd, 1, 0));
	EXPECT_EQ(POLLERR, poll_fd.revents);
	poll_fd.fd = other;
	EXPECT_EQ(0, poll(&poll_fd, 1, 0));

	ASSERT_EQ(0, protect(self->region, CHUNK, CHUNK, PROT_READ));
	for (int i = 0; i < 6; i++)
		touch(self->p + i * PAGE, PROT_WRITE);
	EXPECT_EQ(1, poll(&poll_fd, 1, 0));
	EXPECT_EQ(POLLIN, poll_fd.revents);
	/* short of the second */
	EXPECT_EQ(sizeof(*e), read(other, e, 2 * sizeof(*e) - 1));
	EXPECT_EQ(CHUNK, e[0].region_offset);
	/* a bad place costs a record, and the next one says so */
	EXPECT_EQ(-EFAULT, result(read(other, bad, sizeof(e))));
	EXPECT_EQ(2 * sizeof(*e), read(self->region, e, 2 * sizeof(*e)));
	EXPECT_EQ(CHUNK + 2 * PAGE, e[0].region_offset);
	EXPECT_EQ(MSHARE_EVENT_LOST, e[0].flags);
	EXPECT_EQ(CHUNK + 3 * PAGE, e[1].region_offset);
	EXPECT_EQ(0, e[1].flags);
	EXPECT_EQ(2 * sizeof(*e), read(other, e, sizeof(e)));
	EXPECT_EQ(CHUNK + 5 * PAGE, e[1].region_offset);
	EXPECT_EQ(-EAGAIN, result(read(other, e, sizeof(e))));
	close(reader);
	close(writer);
	close(other);
}

static void *read_one(void *arg)
{
	struct mshare_event *e = arg;
	int fd = e->tid;		/* in: the fd */

	if (read(fd, e, sizeof(*e)) != sizeof(*e))
		e->flags = ~0;
	return NULL;
}

static void ignore_signal(int sig)
{
}

TEST_F(event, readers_wait)
{
	struct sigaction action = { .sa_handler = ignore_signal };
	struct mshare_event e[2] = {
		{ .tid = self->region }, { .tid = self->region },
	}, more;
	pthread_t threads[2];
	pid_t pid;

	ASSERT_EQ(0, protect(self->region, CHUNK, CHUNK, PROT_READ));
	for (int i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, read_one, &e[i]));
	sleep_us(50000);
	/* one denial, one reader; who waits keeps the file from nobody */
	touch(self->p, PROT_WRITE);
	touch(self->p + PAGE, PROT_WRITE);
	for (int i = 0; i < 2; i++) {
		pthread_join(threads[i], NULL);
		EXPECT_EQ(0, e[i].flags);
	}
	EXPECT_EQ(2 * CHUNK + PAGE, e[0].region_offset + e[1].region_offset);
	EXPECT_TRUE(none(self->region));

	/* a signal interrupts, and kills */
	sigaction(SIGUSR1, &action, NULL);
	pid = fork_on(-1);
	if (pid == 0) {
		EXPECT_EQ(-EINTR, result(read(self->region, &more, sizeof(more))));
		_exit(0);
	}
	for (int i = 0; i < 6000 && !waitpid(pid, NULL, WNOHANG); i++) {
		kill(pid, SIGUSR1);
		sleep_us(10000);
	}
	EXPECT_EQ(-ECHILD, child_status(pid));
}

TEST_F(event, full_queue_loses_the_oldest)
{
	struct mshare_event e;
	__u64 last = 0;
	int more = 100;

	ASSERT_EQ(0, protect(self->region, CHUNK, CHUNK, PROT_NONE));
	for (int i = 0; i < QUEUE + more; i++)
		touch(self->p + i % PAGES * PAGE,
		      i < more ? PROT_READ : PROT_WRITE);
	for (int i = 0; i < QUEUE; i++) {
		ASSERT_EQ(0, next_event(self->region, &e, 0))
			TH_LOG("%d of %d", i, QUEUE);
		ASSERT_EQ(i ? 0 : MSHARE_EVENT_LOST, e.flags);
		ASSERT_EQ(MSHARE_ACCESS_WRITE, e.access);
		ASSERT_EQ(CHUNK + (i + more) % PAGES * PAGE, e.region_offset);
		ASSERT_LE(last, e.time_ns);
		last = e.time_ns;
	}
	EXPECT_TRUE(none(self->region));
	touch(self->p, PROT_WRITE);
	ASSERT_EQ(0, next_event(self->region, &e, 0));
	EXPECT_EQ(0, e.flags);			/* it was told */
}

/*
 * Who has the file open for reading only may flood the queue, but not with more
 * than a part of it: what others were denied is told nevertheless.
 */
TEST_F(event, who_may_only_read_drives_out_no_other)
{
	struct mshare_event e;
	int kept = 0, told = 0, lost = 0, reader, pipes[2];
	char *p;

	reader = open(self->path, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, reader);
	p = window(reader, 1, PROT_READ);
	ASSERT_NE(MAP_FAILED, p);
	ASSERT_EQ(0, pipe(pipes));
	ASSERT_EQ(0, protect(self->region, CHUNK, CHUNK, PROT_NONE));
	touch(self->p, PROT_WRITE);
	for (int i = 0; i < 2 * QUEUE; i++)
		result(write(pipes[1], p + CHUNK, 1));
	touch(self->p, PROT_WRITE);
	while (!next_event(self->region, &e, 0)) {
		if (e.access == MSHARE_ACCESS_WRITE)
			kept++;
		else
			told++;
		lost += !!(e.flags & MSHARE_EVENT_LOST);
	}
	EXPECT_EQ(2, kept);
	EXPECT_LT(0, told);
	EXPECT_GE(QUEUE / 2, told);
	EXPECT_EQ(1, lost);

	/* what was read makes room for theirs again */
	result(write(pipes[1], p + CHUNK, 1));
	ASSERT_EQ(0, next_event(self->region, &e, 0));
	EXPECT_EQ(MSHARE_ACCESS_READ, e.access);
	EXPECT_EQ(MSHARE_EVENT_KERNEL, e.flags);
	munmap(p, SLOT);
	close(reader);
	close(pipes[0]);
	close(pipes[1]);
}

static pid_t deny_in_child(char *p)
{
	pid_t pid = fork_on(-1);

	if (pid == 0) {
		touch(p, PROT_WRITE);
		_exit(0);
	}
	child_status(pid);
	return pid;
}

TEST_F(event, ids_are_the_reader_s)
{
	struct mshare_event e;
	pid_t pid;

	ASSERT_EQ(0, protect(self->region, CHUNK, CHUNK, PROT_READ));
	/* of who is gone, as we knew it */
	pid = deny_in_child(self->p);
	ASSERT_EQ(0, next_event(self->region, &e, 0));
	EXPECT_EQ(pid, e.pid);
	EXPECT_EQ(pid, e.tid);

	/* who is in a namespace below ours has ids here, and knows none of us */
	touch(self->p, PROT_WRITE);
	ASSERT_EQ(0, unshare(CLONE_NEWPID));
	pid = fork_on(-1);
	if (pid == 0) {
		EXPECT_EQ(1, getpid());
		touch(self->p, PROT_WRITE);
		EXPECT_EQ(0, next_event(self->region, &e, 0));
		EXPECT_EQ(0, e.pid);
		EXPECT_EQ(0, e.tid);
		_exit(0);
	}
	EXPECT_EQ(0, child_status(pid));
	ASSERT_EQ(0, next_event(self->region, &e, 0));
	EXPECT_EQ(pid, e.pid);
	EXPECT_EQ(pid, e.tid);
}

/* Records of the dead hold nothing once their region is gone: see kmemleak. */
TEST_F(event, goes_with_the_region)
{
	ASSERT_EQ(0, protect(self->region, CHUNK, CHUNK, PROT_READ));
	for (int i = 0; i < 100; i++)
		deny_in_child(self->p);
	close(self->region);
	munmap(self->p - CHUNK, SLOT);
}

TEST_HARNESS_MAIN
