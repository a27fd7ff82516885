// SPDX-License-Identifier: GPL-2.0
/*
 * The kernel's own accesses: copies, pins and page references (GUP), fast and
 * slow. What begins after a range was closed must not write to it, by any
 * path; what lies wholly inside open time must work. A pin that was taken
 * before may finish: operations are stamped at their begin and end.
 */
#include "mshare_test.h"
#include "mshare_uring.h"

#include <linux/futex.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/user.h>

#define NEW		0x5a		/* what every operation writes */
#define OLD		RET
#define PAGES		16

/* What operations need; each process that runs some makes its own. */
struct kit {
	int direct;		/* a file of NEW, read without the page cache */
	int cached;		/* the same, in memory */
	int pipe[2];
	int socket[2];
	int self;		/* /proc/self/mem */
	struct uring ring;
	pid_t tracee;		/* stopped, with the same windows */
};

static void kit_make(struct kit *kit)
{
	char page[PAGE];

	memset(page, NEW, PAGE);
	kit->direct = direct_file(NEW);
	kit->cached = memfd(PAGE);
	pwrite(kit->cached, page, PAGE, 0);
	if (pipe(kit->pipe) || socketpair(AF_UNIX, SOCK_STREAM, 0, kit->socket))
		_exit(KSFT_FAIL);
	kit->self = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	if (uring_make(&kit->ring))
		_exit(KSFT_FAIL);
	kit->tracee = fork();
	if (kit->tracee == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		for (;;)
			raise(SIGSTOP);
	}
	waitpid(kit->tracee, NULL, 0);
}

static void kit_drop(struct kit *kit)
{
	kill(kit->tracee, SIGKILL);
	waitpid(kit->tracee, NULL, 0);
	close(kit->direct);
	close(kit->cached);
	close(kit->pipe[0]);
	close(kit->pipe[1]);
	close(kit->socket[0]);
	close(kit->socket[1]);
	close(kit->self);
	close(kit->ring.fd);
}

/*
 * Operations that write NEW to one word or page at p and return what was
 * written, and operations that read from it; -errno if they were denied.
 */
static long o_direct_read(struct kit *kit, char *p)
{
	return result(pread(kit->direct, p, PAGE, 0));
}

static long cached_read(struct kit *kit, char *p)
{
	return result(pread(kit->cached, p, PAGE, 0));
}

static long readv_into(struct kit *kit, char *p)
{
	struct iovec vec[2] = { { p, 64 }, { p + 64, 64 } };

	return result(preadv(kit->cached, vec, 2, 0));
}

static long uring_read(struct kit *kit, char *p)
{
	return uring_do(&kit->ring, IORING_OP_READ, 0, kit->direct, p, PAGE);
}

/* A thread of the kernel's own does it, in the process's mm. */
static long uring_worker_read(struct kit *kit, char *p)
{
	return uring_do(&kit->ring, IORING_OP_READ, IOSQE_ASYNC, kit->direct, p,
			PAGE);
}

static long recv_into(struct kit *kit, char *p)
{
	char word[8], rest[8];
	long n;

	memset(word, NEW, sizeof(word));
	send(kit->socket[1], word, sizeof(word), 0);
	n = result(recv(kit->socket[0], p, sizeof(word), 0));
	if (n != sizeof(word))
		recv(kit->socket[0], rest, sizeof(rest), MSG_DONTWAIT);
	return n;
}

static long recvmsg_into(struct kit *kit, char *p)
{
	struct iovec vec[2] = { { p, 4 }, { p + 64, 4 } };
	struct msghdr message = { .msg_iov = vec, .msg_iovlen = 2 };
	char word[8], rest[8];
	long n;

	memset(word, NEW, sizeof(word));
	send(kit->socket[1], word, sizeof(word), 0);
	n = result(recvmsg(kit->socket[0], &message, 0));
	if (n != sizeof(word))
		recv(kit->socket[0], rest, sizeof(rest), MSG_DONTWAIT);
	return n;
}

static long vmsplice_into(struct kit *kit, char *p)
{
	struct iovec vec = { p, 8 };
	char word[8];
	long n;

	memset(word, NEW, sizeof(word));
	write(kit->pipe[1], word, sizeof(word));
	n = result(vmsplice(kit->pipe[0], &vec, 1, 0));
	if (n != sizeof(word))
		read(kit->pipe[0], word, sizeof(word));
	return n;
}

static long vm_writev(struct kit *kit, char *p)
{
	char page[PAGE];
	struct iovec local = { page, PAGE }, remote = { p, PAGE };

	memset(page, NEW, PAGE);
	return result(process_vm_writev(getpid(), &local, 1, &remote, 1, 0));
}

static long proc_mem_write(struct kit *kit, char *p)
{
	char page[PAGE];

	memset(page, NEW, PAGE);
	return result(pwrite(kit->self, page, PAGE, (off_t)p));
}

static long ptrace_poke(struct kit *kit, char *p)
{
	long word;

	memset(&word, NEW, sizeof(word));
	return result(ptrace(PTRACE_POKEDATA, kit->tracee, p, word)) ?: 8;
}

static long futex_wake_op(struct kit *kit, char *p)
{
	static __u32 *other;

	if (!other)
		other = shared_page(PAGE);
	return result(syscall(SYS_futex, other, FUTEX_WAKE_OP, 0, 0, p,
			      FUTEX_OP(FUTEX_OP_SET, NEW, FUTEX_OP_CMP_EQ, 0))) ?: 4;
}

static long o_direct_write(struct kit *kit, char *p)
{
	long n = result(pwrite(kit->direct, p, PAGE, 0));
	char page[PAGE];

	if (n > 0) {
		memset(page, NEW, PAGE);
		pwrite(kit->direct, page, PAGE, 0);
	}
	return n;
}

static long uring_write(struct kit *kit, char *p)
{
	return uring_do(&kit->ring, IORING_OP_WRITE, 0, kit->cached, p, PAGE);
}

static long write_from(struct kit *kit, char *p)
{
	return result(pwrite(kit->cached, p, PAGE, PAGE));
}

static long send_from(struct kit *kit, char *p)
{
	char word[8];
	long n = result(send(kit->socket[1], p, 8, 0));

	if (n > 0)
		recv(kit->socket[0], word, 8, MSG_DONTWAIT);
	return n;
}

static long vmsplice_from(struct kit *kit, char *p)
{
	struct iovec vec = { p, 8 };
	char word[8];
	long n = result(vmsplice(kit->pipe[1], &vec, 1, 0));

	if (n > 0)
		read(kit->pipe[0], word, 8);
	return n;
}

static long vm_readv(struct kit *kit, char *p)
{
	char page[PAGE];
	struct iovec local = { page, PAGE }, remote = { p, PAGE };

	return result(process_vm_readv(getpid(), &local, 1, &remote, 1, 0));
}

static long proc_mem_read(struct kit *kit, char *p)
{
	char page[PAGE];

	return result(pread(kit->self, page, PAGE, (off_t)p));
}

static long ptrace_peek(struct kit *kit, char *p)
{
	errno = 0;
	ptrace(PTRACE_PEEKDATA, kit->tracee, p, 0);
	return errno ? -errno : 8;
}

struct operation {
	const char *name;
	long (*run)(struct kit *kit, char *p);
	int access;
};

static const struct operation operations[] = {
	{ "O_DIRECT read", o_direct_read, PROT_WRITE },
	{ "read", cached_read, PROT_WRITE },
	{ "readv", readv_into, PROT_WRITE },
	{ "io_uring read", uring_read, PROT_WRITE },
	{ "io_uring read by a worker", uring_worker_read, PROT_WRITE },
	{ "recv", recv_into, PROT_WRITE },
	{ "recvmsg", recvmsg_into, PROT_WRITE },
	{ "vmsplice into", vmsplice_into, PROT_WRITE },
	{ "process_vm_writev", vm_writev, PROT_WRITE },
	{ "/proc/self/mem write", proc_mem_write, PROT_WRITE },
	{ "ptrace poke", ptrace_poke, PROT_WRITE },
	{ "futex wake-op", futex_wake_op, PROT_WRITE },
	{ "O_DIRECT write", o_direct_write, PROT_READ },
	{ "io_uring write", uring_write, PROT_READ },
	{ "write", write_from, PROT_READ },
	{ "send", send_from, PROT_READ },
	{ "vmsplice from", vmsplice_from, PROT_READ },
	{ "process_vm_readv", vm_readv, PROT_READ },
	{ "/proc/self/mem read", proc_mem_read, PROT_READ },
	{ "ptrace peek", ptrace_peek, PROT_READ },
};

FIXTURE(gup)
{
	int region;
	char *p;
	struct kit kit;
};

FIXTURE_SETUP(gup)
{
	self->region = region(1);
	ASSERT_LE(0, self->region);
	ASSERT_EQ(0, create_anon(self->region, 0, PAGES * PAGE, RW));
	self->p = window(self->region, 1, RW);
	ASSERT_NE(MAP_FAILED, self->p);
	memset(self->p, OLD, PAGES * PAGE);
	kit_make(&self->kit);
	ASSERT_LE(0, self->kit.direct)
		TH_LOG("no file system here that does direct I/O");
}

FIXTURE_TEARDOWN(gup)
{
	knob("skip_gup_check", false);
	knob("skip_gup_recheck", false);
	write_file(KNOBS "gup_delay_us", "0");
	kit_drop(&self->kit);
	close(self->region);
}

static bool is_old(const char *p, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (p[i] != OLD)
			return false;
	return true;
}

TEST_F(gup, works_on_open_memory)
{
	for (int i = 0; i < ARRAY_SIZE(operations); i++) {
		const struct operation *op = &operations[i];

		for (int n = 0; n < 3; n++) {
			memset(self->p, OLD, PAGE);
			EXPECT_LT(0, op->run(&self->kit, self->p))
				TH_LOG("%s: %m", op->name);
			EXPECT_EQ(op->access == PROT_READ, is_old(self->p, 4))
				TH_LOG("%s", op->name);
		}
	}
}

TEST_F(gup, brings_pages_in)
{
	for (int i = 0; i < ARRAY_SIZE(operations); i++) {
		ASSERT_EQ(0, unmap(self->region, 0, PAGES * PAGE));
		ASSERT_EQ(0, create_anon(self->region, 0, PAGES * PAGE, RW));
		EXPECT_LT(0, operations[i].run(&self->kit, self->p))
			TH_LOG("%s: %m", operations[i].name);
	}
}

static const struct closing {
	const char *name;
	size_t size;
	int prot;
} closings[] = {
	{ "page read-only", PAGE, PROT_READ },
	{ "chunk read-only", CHUNK, PROT_READ },
	{ "page inaccessible", PAGE, PROT_NONE },
	{ "chunk inaccessible", CHUNK, PROT_NONE },
};

TEST_F(gup, is_denied_what_is_closed)
{
	for (int c = 0; c < ARRAY_SIZE(closings); c++)
		for (int i = 0; i < ARRAY_SIZE(operations); i++) {
			const struct operation *op = &operations[i];
			long n;

			memset(self->p, OLD, PAGE);
			ASSERT_EQ(0, protect(self->region, 0, closings[c].size,
					     closings[c].prot));
			/* once with the entry as it was, once after that fault */
			for (int again = 0; again < 2; again++) {
				n = op->run(&self->kit, self->p);
				if (closings[c].prot & op->access) {
					EXPECT_LT(0, n)
						TH_LOG("%s of a %s: %ld", op->name,
						       closings[c].name, n);
				} else {
					EXPECT_GT(0, n)
						TH_LOG("%s into a %s: %ld", op->name,
						       closings[c].name, n);
				}
			}
			ASSERT_EQ(0, protect(self->region, 0, CHUNK, RW));
			EXPECT_TRUE(is_old(self->p, PAGE))
				TH_LOG("%s wrote to a %s", op->name,
				       closings[c].name);
		}
}

/* Never touched, or touched by reads alone, before it was closed */
TEST_F(gup, is_denied_what_is_not_there)
{
	for (int c = 0; c < ARRAY_SIZE(closings); c++)
		for (int i = 0; i < ARRAY_SIZE(operations); i++) {
			const struct operation *op = &operations[i];
			bool may = closings[c].prot & op->access;

			ASSERT_EQ(0, unmap(self->region, 0, PAGES * PAGE));
			ASSERT_EQ(0, create_anon(self->region, 0, PAGES * PAGE, RW));
			ASSERT_EQ(0, protect(self->region, 0, closings[c].size,
					     closings[c].prot));
			EXPECT_EQ(may, op->run(&self->kit, self->p) > 0)
				TH_LOG("%s, %s", op->name, closings[c].name);
			touch(self->p, PROT_READ);
			EXPECT_EQ(may, op->run(&self->kit, self->p) > 0)
				TH_LOG("%s, %s, read", op->name, closings[c].name);
		}
}

TEST_F(gup, keeps_to_the_window)
{
	char *reader = window(self->region, 1, PROT_READ);
	struct kit kit;

	ASSERT_NE(MAP_FAILED, reader);
	kit_make(&kit);		/* its tracee has this window too */
	for (int i = 0; i < ARRAY_SIZE(operations); i++) {
		const struct operation *op = &operations[i];

		EXPECT_EQ(op->access == PROT_READ, op->run(&kit, reader) > 0)
			TH_LOG("%s", op->name);
		EXPECT_TRUE(is_old(self->p, PAGE))
			TH_LOG("%s wrote through a read-only window", op->name);
	}
	kit_drop(&kit);
}

TEST_F(gup, finds_nothing_in_holes)
{
	for (int i = 0; i < ARRAY_SIZE(operations); i++) {
		EXPECT_GT(0, operations[i].run(&self->kit, self->p + PAGES * PAGE))
			TH_LOG("%s", operations[i].name);
		EXPECT_GT(0, operations[i].run(&self->kit, self->p + CHUNK))
			TH_LOG("%s", operations[i].name);
	}
}

/* A pin without an end would outlast any flip. */
TEST_F(gup, long_term_pins_are_refused)
{
	char *own = mmap(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct uring *ring = &self->kit.ring;

	EXPECT_EQ(-EOPNOTSUPP, uring_register(ring, self->p, PAGE));
	/* there already, or never touched */
	EXPECT_EQ(0, touch(self->p + PAGE, PROT_WRITE));
	EXPECT_EQ(-EOPNOTSUPP, uring_register(ring, self->p + PAGE, PAGE));
	EXPECT_EQ(-EOPNOTSUPP, uring_register(ring, self->p, PAGES * PAGE));
	EXPECT_EQ(0, uring_register(ring, own, PAGE));
	EXPECT_EQ(PAGE, o_direct_read(&self->kit, self->p));
	munmap(own, PAGE);
}

/* Opens, closes, open again: nothing is left over from one state to the next. */
TEST_F(gup, follows_every_flip)
{
	for (int round = 0; round < 20; round++)
		for (int i = 0; i < ARRAY_SIZE(operations); i++) {
			size_t size = round & 1 ? CHUNK : PAGE;

			ASSERT_EQ(0, protect(self->region, 0, size, PROT_NONE));
			EXPECT_GT(0, operations[i].run(&self->kit, self->p));
			ASSERT_EQ(0, protect(self->region, 0, size, RW));
			EXPECT_LT(0, operations[i].run(&self->kit, self->p));
		}
}

/* Without the check fast GUP writes through a closed view. */
TEST_F(gup, check_control)
{
	ASSERT_EQ(0, knob("skip_gup_check", true));
	ASSERT_EQ(0, protect(self->region, 0, CHUNK, PROT_READ));
	o_direct_read(&self->kit, self->p);
	EXPECT_EQ(NEW, self->p[0])
		TH_LOG("no power: nothing got through without the check");
}

/* And through a window that may only read, whose own entry says so. */
TEST_F(gup, window_control)
{
	char *reader = window(self->region, 1, PROT_READ);

	ASSERT_NE(MAP_FAILED, reader);
	ASSERT_EQ(0, knob("skip_gup_check", true));
	o_direct_read(&self->kit, reader);
	EXPECT_EQ(NEW, self->p[0])
		TH_LOG("no power: nothing got through without the check");
}

/*
 * Operations race with flips. The phase says where the flipper is; what began
 * and ended in one phase has to go by it.
 */
struct race {
	volatile long phase;	/* % 4: open, closing, closed, opening */
	volatile long through, denied, refused, worked;
	volatile bool stop;
};

static void run_stamped(struct race *race, const struct operation *op,
			struct kit *kit, char *p)
{
	while (!race->stop) {
		long begin = race->phase;
		bool done = op->run(kit, p) > 0;

		if (begin != race->phase)
			continue;
		if (begin % 4 == 2)
			__sync_fetch_and_add(done ? &race->through : &race->denied, 1);
		if (begin % 4 == 0)
			__sync_fetch_and_add(done ? &race->worked : &race->refused, 1);
	}
}

TEST_F(gup, races_with_flips)
{
	struct race *race = shared_page(PAGE);

	for (int i = 0; i < ARRAY_SIZE(operations); i++) {
		const struct operation *op = &operations[i];
		int closed = op->access == PROT_READ ? PROT_NONE : PROT_READ;
		double start = now();
		pid_t pids[2];

		memset(race, 0, sizeof(*race));
		for (int w = 0; w < 2; w++) {
			pids[w] = fork_on((w + 1) % nr_cpus());
			if (pids[w] == 0) {
				struct kit kit;

				kit_make(&kit);
				run_stamped(race, op, &kit, self->p + w * PAGE);
				kit_drop(&kit);
				_exit(0);
			}
		}
		while (!stress_over(start, stress_seconds() / 4,
				    race->denied > 5 && race->worked > 5)) {
			size_t size = race->phase & 4 ? CHUNK : 2 * PAGE;

			race->phase++;
			ASSERT_EQ(0, protect(self->region, 0, size, closed));
			race->phase++;
			sleep_us(1000);
			race->phase++;
			ASSERT_EQ(0, protect(self->region, 0, size, RW));
			race->phase++;
			sleep_us(1000);
		}
		race->stop = true;
		for (int w = 0; w < 2; w++) {
			EXPECT_EQ(0, child_status(pids[w]));
		}
		EXPECT_EQ(0, race->through)
			TH_LOG("%s got through %ld times", op->name, race->through);
		EXPECT_EQ(0, race->refused)
			TH_LOG("%s was refused %ld times", op->name, race->refused);
		EXPECT_LE(5, race->denied)
			TH_LOG("%s: too few in closed time", op->name);
		EXPECT_LE(5, race->worked)
			TH_LOG("%s: too few in open time", op->name);
	}
}

/*
 * An operation that looked at the entry before a flip and takes the page after
 * it must look again. A knob holds it in between; returns how often the page
 * changed after PROTECT had returned, of those that overtook it. This is slow GUP: the fast one runs with
 * interrupts off, and the flip's interrupt waits for it.
 */
static int late_grabs(FIXTURE_DATA(gup) *self, int *overtaken, bool control)
{
	struct race *race = shared_page(PAGE);
	double start = now();
	int late = 0;
	pid_t pid;

	pid = fork_on(nr_cpus() - 1);
	if (pid == 0) {
		struct kit kit;

		kit_make(&kit);
		while (!race->stop) {
			while (!(race->phase & 1) && !race->stop)
				;
			vm_writev(&kit, self->p);
			race->phase++;
		}
		kit_drop(&kit);
		_exit(0);
	}
	pin_to(0);
	while (!stress_over(start, stress_seconds() / 4,
			    control ? late : *overtaken > 3)) {
		double begun;
		char seen;

		self->p[0] = OLD;
		race->phase++;			/* go */
		begun = now();
		while (now() < begun + 0.002)	/* it is in the delay by now */
			;
		if (protect(self->region, 0, CHUNK, PROT_READ))
			break;
		seen = self->p[0];
		*overtaken += race->phase & 1 && seen == OLD;
		while (race->phase & 1)
			sleep_us(100);
		late += self->p[0] != seen;
		protect(self->region, 0, CHUNK, RW);
	}
	race->stop = true;
	kill(pid, SIGKILL);
	child_status(pid);
	munmap(race, PAGE);
	return late;
}

#define HOLD_GUP() do {							\
	if (write_file(KNOBS "gup_delay_us", "20000"))			\
		SKIP(return, "no power: no knob gup_delay_us holds GUP in between"); \
	if (nr_cpus() < 2)						\
		SKIP(return, "no power: one CPU, nothing runs in between"); \
} while (0)

TEST_F(gup, takes_no_page_after_a_flip)
{
	int overtaken = 0;

	HOLD_GUP();
	EXPECT_EQ(0, late_grabs(self, &overtaken, false));
	if (!overtaken)
		SKIP(return, "no power: the host is busy, no flip overtook GUP");
}

TEST_F(gup, recheck_control)
{
	int overtaken = 0;

	HOLD_GUP();
	ASSERT_EQ(0, knob("skip_gup_recheck", true));
	EXPECT_LT(0, late_grabs(self, &overtaken, true))
		TH_LOG("no power: %d flips overtook GUP, no page was taken late",
		       overtaken);
}

TEST_HARNESS_MAIN
