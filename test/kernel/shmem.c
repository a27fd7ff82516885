// SPDX-License-Identifier: GPL-2.0
/*
 * Ordinary mappings of shmem that share their page tables without being asked:
 * what is paid once, what a process gets of its own as soon as it wants it, and
 * that all else is as it is with mshare.shmem_enabled=never.
 */
#include "mshare_test.h"
#include "mshare_mm.h"
#include "mshare_shmem.h"

#include <linux/futex.h>
#include <linux/mempolicy.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdarg.h>
#include <sys/ipc.h>
#include <sys/ptrace.h>
#include <sys/shm.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>

#define SIZE		(2 * CHUNK)
#define PAGES		64		/* one in a page table, all in a chunk */
#define HERE		((char *)(1UL << 40))

#define THP		"/sys/kernel/mm/transparent_hugepage/shmem_enabled"

/* Who joins a chunk pays no more than this for all that is in it. */
#define JOINING_FAULTS	1
#define JOINING_KB	4

static char *spot(char *p, int page)
{
	return p + page * PMD;
}

static long value_at(char *p)
{
	return *(volatile long *)p;
}

static void fill(char *p)
{
	for (int i = 0; i < PAGES; i++)
		*(volatile long *)spot(p, i) = i + 1;
}

static bool is_filled(char *p, int from, int to)
{
	for (int i = from; i < to; i++)
		if (value_at(spot(p, i)) != i + 1)
			return false;
	return true;
}

struct cost {
	long faults, kb;
};

/* Of reading all pages; what the measuring itself takes is warm by then. */
static struct cost cost_of_reading(char *p)
{
	struct cost cost;

	for (int pages = 0; pages <= PAGES; pages += PAGES) {
		cost.kb = figure("/proc/self/status", "VmPTE");
		cost.faults = minor_faults();
		for (int i = 0; i < pages; i++)
			value_at(spot(p, i));
		cost.faults = minor_faults() - cost.faults;
		cost.kb = figure("/proc/self/status", "VmPTE") - cost.kb;
	}
	return cost;
}

/* The same, in a process that is made for it */
static struct cost cost_in_child(char *p)
{
	struct cost *cost = shared_page(PAGE), seen;
	pid_t pid = fork_on(-1);

	if (pid == 0) {
		*cost = cost_of_reading(p);
		_exit(0);
	}
	child_status(pid);
	seen = *cost;
	munmap(cost, PAGE);
	return seen;
}

#define EXPECT_SHARED(of) do {						\
	struct cost cost_ = (of);					\
									\
	EXPECT_GE(JOINING_FAULTS, cost_.faults);			\
	EXPECT_GE(JOINING_KB, cost_.kb);				\
} while (0)

#define EXPECT_OWN(of) do {						\
	struct cost cost_ = (of);					\
									\
	EXPECT_LE(PAGES, cost_.faults);					\
	EXPECT_LE(PAGES * 4, cost_.kb);					\
} while (0)

/* What an access may do; it leaves the value that is there. */
static int may(char *p)
{
	int denied = touch(p, PROT_READ);

	if (denied)
		return -denied;
	denied = touch(p + 64, PROT_WRITE);
	return !denied ? RW : denied == SEGV_ACCERR ? PROT_READ : -denied;
}

static int store(char *p, long value)
{
	return touch(p, PROT_READ) ?: touch_store((long *)p, value);
}

/* A process that was there before, and is asked what it sees */
enum what { LOOK, STORE, MAY, COST };

struct order {
	enum what what;
	char *at;
	long value;
};

struct answer {
	int denied;
	long value;
	struct cost cost;
};

struct peer {
	pid_t pid;
	int orders, answers;
};

static void answer_orders(int orders, int answers)
{
	struct order order;

	while (read(orders, &order, sizeof(order)) == sizeof(order)) {
		struct answer answer = {};

		switch (order.what) {
		case LOOK:
			answer.denied = touch(order.at, PROT_READ);
			if (!answer.denied)
				answer.value = value_at(order.at);
			break;
		case STORE:
			answer.denied = store(order.at, order.value);
			break;
		case MAY:
			answer.value = may(order.at);
			break;
		case COST:
			answer.cost = cost_of_reading(order.at);
			break;
		}
		write(answers, &answer, sizeof(answer));
	}
	_exit(0);
}

static struct peer start_peer(void)
{
	int orders[2], answers[2];
	struct peer peer = { -1 };

	if (pipe(orders) || pipe(answers))
		return peer;
	peer.pid = fork_on(-1);
	if (peer.pid == 0) {
		close(orders[1]);
		answer_orders(orders[0], answers[1]);
	}
	close(orders[0]);
	close(answers[1]);
	peer.orders = orders[1];
	peer.answers = answers[0];
	return peer;
}

static struct answer ask(struct peer *peer, enum what what, char *at, long value)
{
	struct order order = { what, at, value };
	struct answer answer = { .denied = -1 };

	write(peer->orders, &order, sizeof(order));
	read(peer->answers, &answer, sizeof(answer));
	return answer;
}

static void stop_peer(struct peer *peer)
{
	if (peer->pid > 0) {
		kill(peer->pid, SIGKILL);
		child_status(peer->pid);
		close(peer->orders);
		close(peer->answers);
	}
	peer->pid = -1;
}

static char *map(int fd, int prot)
{
	return mmap(NULL, SIZE, prot, MAP_SHARED | MAP_NORESERVE, fd, 0);
}

/* A new memfd, the first chunk of which is filled */
static char *map_filled(int *fd)
{
	char *p;

	*fd = memfd(SIZE);
	p = map(*fd, RW);
	if (p != MAP_FAILED)
		fill(p);
	return p;
}

/*
 * What is paid, for each kind of memory
 */
enum kind { MEMFD, TMPFS, ANONYMOUS, SYSV };

FIXTURE(kinds)
{
	int fd;
	char *p;
};

FIXTURE_VARIANT(kinds)
{
	enum kind kind;
};

FIXTURE_VARIANT_ADD(kinds, memfd) { .kind = MEMFD };
FIXTURE_VARIANT_ADD(kinds, tmpfs) { .kind = TMPFS };
FIXTURE_VARIANT_ADD(kinds, anonymous) { .kind = ANONYMOUS };
FIXTURE_VARIANT_ADD(kinds, sysv) { .kind = SYSV };

static char *map_kind(enum kind kind, int *fd)
{
	char *p = MAP_FAILED;
	int id;

	*fd = -1;
	switch (kind) {
	case MEMFD:
		*fd = memfd(SIZE);
		break;
	case TMPFS:
		*fd = open("/dev/shm", O_TMPFILE | O_RDWR, 0600);
		if (*fd >= 0 && ftruncate(*fd, SIZE))
			return p;
		break;
	case ANONYMOUS:
		return mmap(NULL, SIZE, RW, MAP_SHARED | MAP_ANONYMOUS |
			    MAP_NORESERVE, -1, 0);
	case SYSV:
		id = shmget(IPC_PRIVATE, SIZE, IPC_CREAT | SHM_NORESERVE | 0600);
		p = shmat(id, NULL, 0);
		shmctl(id, IPC_RMID, NULL);
		return p;
	}
	return map(*fd, RW);
}

FIXTURE_SETUP(kinds)
{
	if (!shmem_can_share())
		SKIP(return, "a kernel whose ordinary mappings do not share");
	ASSERT_EQ(0, shmem_mode("always"));
	self->p = map_kind(variant->kind, &self->fd);
	ASSERT_NE(MAP_FAILED, self->p);
}

FIXTURE_TEARDOWN(kinds)
{
	shmem_mode("never");
	close(self->fd);
}

#define CHILDREN	64

TEST_F(kinds, children_pay_nothing)
{
	struct cost *costs = shared_page(PAGE);
	bool *right = shared_page(PAGE);
	pid_t pids[CHILDREN];

	fill(self->p);
	for (int i = 0; i < CHILDREN; i++) {
		pids[i] = fork_on(-1);
		if (pids[i] == 0) {
			costs[i] = cost_of_reading(self->p);
			right[i] = is_filled(self->p, 0, PAGES);
			_exit(0);
		}
	}
	for (int i = 0; i < CHILDREN; i++) {
		EXPECT_EQ(0, child_status(pids[i]));
		EXPECT_TRUE(right[i]);
		EXPECT_SHARED(costs[i]);
	}
}

/* The control: nobody shares, and each pays for all. */
TEST_F(kinds, never)
{
	ASSERT_EQ(0, shmem_mode("never"));
	ASSERT_EQ(0, munmap(self->p, SIZE));
	self->p = map_kind(variant->kind, &self->fd);
	ASSERT_NE(MAP_FAILED, self->p);
	fill(self->p);
	EXPECT_OWN(cost_in_child(self->p));
}

TEST_F(kinds, advised)
{
	ASSERT_EQ(0, shmem_mode("advise"));
	ASSERT_EQ(0, munmap(self->p, SIZE));
	self->p = map_kind(variant->kind, &self->fd);
	ASSERT_NE(MAP_FAILED, self->p);
	fill(self->p);
	EXPECT_OWN(cost_in_child(self->p));
	ASSERT_EQ(0, madvise(self->p, SIZE, MADV_SHARE_TABLES));
	fill(self->p);
	EXPECT_SHARED(cost_in_child(self->p));
	EXPECT_TRUE(is_filled(self->p, 0, PAGES));
	ASSERT_EQ(0, madvise(self->p, SIZE, MADV_UNSHARE_TABLES));
	EXPECT_TRUE(is_filled(self->p, 0, PAGES));
	EXPECT_OWN(cost_in_child(self->p));
}

/* What a child touches first, its parent has too. */
TEST_F(kinds, children_share_with_the_parent)
{
	pid_t pid = fork_on(-1);

	if (pid == 0) {
		fill(self->p);
		pause();
	}
	/* reading there would allocate what the child has not yet stored */
	ASSERT_TRUE(UNTIL(value_at(spot(self->p, PAGES - 1)) == PAGES));
	EXPECT_SHARED(cost_of_reading(self->p));
	EXPECT_TRUE(is_filled(self->p, 0, PAGES));
	kill(pid, SIGKILL);
	child_status(pid);
	EXPECT_TRUE(is_filled(self->p, 0, PAGES));
}

/* Memory and tables go with the last mapping, whoever lives on. */
TEST_F(kinds, goes_with_the_last_mapping)
{
	long shmem = meminfo_kb("Shmem"), tables;
	struct peer peer;

	close(self->fd);
	self->fd = -1;
	for (int i = 0; i < 32; i++)
		memset(spot(self->p, i), 1, MIB);
	peer = start_peer();
	ask(&peer, COST, self->p, 0);
	tables = meminfo_kb("PageTables");
	EXPECT_LE(shmem + 31 * 1024, meminfo_kb("Shmem"));
	ASSERT_EQ(0, munmap(self->p, SIZE));
	EXPECT_EQ(1, ask(&peer, LOOK, self->p, 0).value & 1);
	EXPECT_LE(shmem + 31 * 1024, meminfo_kb("Shmem"));
	stop_peer(&peer);
	EXPECT_TRUE(UNTIL(meminfo_kb("Shmem") < shmem + 1024));
	EXPECT_TRUE(UNTIL(meminfo_kb("PageTables") <= tables - 32 * 4));
}

/* The same when it has tables of its own for good. */
TEST_F(kinds, goes_unshared)
{
	long shmem = meminfo_kb("Shmem");

	close(self->fd);
	self->fd = -1;
	for (int i = 0; i < 32; i++)
		memset(spot(self->p, i), 1, MIB);
	ASSERT_EQ(0, madvise(self->p, SIZE, MADV_UNSHARE_TABLES));
	ASSERT_EQ(0, munmap(self->p, SIZE));
	EXPECT_TRUE(UNTIL(meminfo_kb("Shmem") < shmem + 1024));
}

FIXTURE(shmem)
{
	int fd;
	char *p;
	struct peer peer;
};

FIXTURE_SETUP(shmem)
{
	if (!shmem_can_share())
		SKIP(return, "a kernel whose ordinary mappings do not share");
	ASSERT_EQ(0, shmem_mode("always"));
	self->p = map_filled(&self->fd);
	ASSERT_NE(MAP_FAILED, self->p);
	self->peer = start_peer();
	ASSERT_LT(0, self->peer.pid);
	EXPECT_SHARED(ask(&self->peer, COST, self->p, 0).cost);
}

FIXTURE_TEARDOWN(shmem)
{
	knob("skip_notifier_flush", false);
	write_file(THP, "never");
	stop_peer(&self->peer);
	shmem_mode("never");
	close(self->fd);
}

static void mode_is(char *text, size_t size)
{
	int fd = open(SHMEM_MODE, O_RDONLY);
	ssize_t n = read(fd, text, size - 1);

	text[n < 0 ? 0 : n] = 0;
	close(fd);
}

TEST_F(shmem, parameter)
{
	char text[64];

	mode_is(text, sizeof(text));
	EXPECT_STREQ("never advise [always]\n", text);
	ASSERT_EQ(0, shmem_mode("advise"));
	mode_is(text, sizeof(text));
	EXPECT_STREQ("never [advise] always\n", text);
	EXPECT_EQ(-EINVAL, shmem_mode("sometimes"));
	EXPECT_EQ(-EINVAL, shmem_mode("neverever"));
	mode_is(text, sizeof(text));
	EXPECT_STREQ("never [advise] always\n", text);
	ASSERT_EQ(0, shmem_mode("never\n"));
	mode_is(text, sizeof(text));
	EXPECT_STREQ("[never] advise always\n", text);
}

static int advice_errno(void *p, size_t size, int advice)
{
	return result(madvise(p, size, advice));
}

TEST_F(shmem, which_memory_takes_the_advice)
{
	int advice[] = { MADV_SHARE_TABLES, MADV_UNSHARE_TABLES };
	char *private = mmap(NULL, SIZE, RW, MAP_PRIVATE | MAP_ANONYMOUS |
			     MAP_NORESERVE, -1, 0);
	char *copied = mmap(NULL, SIZE, RW, MAP_PRIVATE | MAP_NORESERVE,
			    self->fd, 0);
	int disk = open("/var/tmp", O_TMPFILE | O_RDWR, 0600);
	char *file = mmap(NULL, SIZE, RW, MAP_SHARED, disk, 0);
	int the_region = region(1);
	char *w = window(the_region, 1, RW);

	ASSERT_NE(MAP_FAILED, private);
	ASSERT_NE(MAP_FAILED, copied);
	ASSERT_NE(MAP_FAILED, file);
	for (int i = 0; i < 2; i++) {
		EXPECT_EQ(0, advice_errno(self->p, SIZE, advice[i]));
		EXPECT_EQ(0, advice_errno(self->p, PAGE, advice[i]));
		EXPECT_EQ(0, advice_errno(self->p + PAGE, 0, advice[i]));
		EXPECT_EQ(-EINVAL, advice_errno(self->p + 1, PAGE, advice[i]));
		EXPECT_EQ(-EINVAL, advice_errno(private, SIZE, advice[i]));
		EXPECT_EQ(-EINVAL, advice_errno(copied, SIZE, advice[i]));
		EXPECT_EQ(-EINVAL, advice_errno(file, SIZE, advice[i]));
		if (w != MAP_FAILED) {
			EXPECT_EQ(-EINVAL, advice_errno(w, SLOT, advice[i]));
		}
	}
	ASSERT_EQ(0, munmap(self->p + CHUNK, PMD));
	for (int i = 0; i < 2; i++) {
		EXPECT_EQ(-ENOMEM, advice_errno(self->p, SIZE, advice[i]));
	}
	EXPECT_TRUE(is_filled(self->p, 0, PAGES));
	close(the_region);
	close(disk);
}

TEST_F(shmem, addresses_are_congruent)
{
	for (unsigned long offset = 0; offset < CHUNK; offset += CHUNK / 4 + 3 * PAGE) {
		char *p = mmap(NULL, CHUNK + offset / 2 / PAGE * PAGE, RW,
			       MAP_SHARED, self->fd, offset);

		ASSERT_NE(MAP_FAILED, p);
		EXPECT_EQ(offset, (unsigned long)p % CHUNK);
	}
	/* a hint is a wish that is fulfilled, as without */
	EXPECT_EQ(HERE + PAGE, mmap(HERE + PAGE, CHUNK, RW, MAP_SHARED, self->fd, 0));
}

/* A process that maps the object for itself, where it likes to */
TEST_F(shmem, at_another_address)
{
	char *other = mmap(HERE, SIZE, RW, MAP_SHARED | MAP_FIXED_NOREPLACE,
			   self->fd, 0);

	ASSERT_EQ(HERE, other);
	EXPECT_SHARED(cost_of_reading(other));
	*(volatile long *)spot(other, 1) = 99;
	EXPECT_EQ(99, value_at(spot(self->p, 1)));
	EXPECT_EQ(99, ask(&self->peer, LOOK, spot(self->p, 1), 0).value);
	ASSERT_EQ(0, munmap(other, SIZE));
	EXPECT_EQ(SEGV_MAPERR, touch(other, PROT_READ));
	EXPECT_EQ(0, ask(&self->peer, COST, self->p, 0).cost.faults);
}

/* What lies in a part of a chunk only, or is not in step with it, does not. */
TEST_F(shmem, which_mappings_do_not)
{
	static const struct {
		const char *what;
		size_t at, offset, size;
		int prot, advice;
	} cases[] = {
		{ "not congruent", PAGE, 0, SIZE, RW, 0 },
		{ "less than a chunk", 0, 0, CHUNK - PAGE, RW, 0 },
		{ "from within a chunk", PAGE, PAGE, CHUNK, RW, 0 },
		{ "code", 0, 0, SIZE, RWX, 0 },
		{ "huge pages wanted", 0, 0, SIZE, RW, MADV_HUGEPAGE },
		{ "none wanted", 0, 0, SIZE, RW, MADV_NOHUGEPAGE },
		{ "no sharing wanted", 0, 0, SIZE, RW, MADV_UNSHARE_TABLES },
	};

	for (int i = 0; i < ARRAY_SIZE(cases); i++) {
		char *p = mmap(HERE + cases[i].at, cases[i].size, cases[i].prot,
			       MAP_SHARED | MAP_FIXED, self->fd, cases[i].offset);

		ASSERT_NE(MAP_FAILED, p);
		if (cases[i].advice) {
			ASSERT_EQ(0, madvise(p, cases[i].size, cases[i].advice));
		}
		EXPECT_LE(PAGES, cost_of_reading(p).faults)
			TH_LOG("%s", cases[i].what);
		ASSERT_EQ(0, munmap(p, cases[i].size));
	}
	ASSERT_EQ(HERE, mmap(HERE, SIZE, RW, MAP_SHARED | MAP_FIXED, self->fd, 0));
	ASSERT_EQ(0, mlock2(HERE, SIZE, MLOCK_ONFAULT));
	EXPECT_LE(PAGES, cost_of_reading(HERE).faults);
}

/* A chunk that is whole shares, the rest of the mapping does not. */
TEST_F(shmem, whole_chunks_of_a_mapping)
{
	char *p = mmap(HERE + CHUNK - PMD, CHUNK + 2 * PMD, RW,
		       MAP_SHARED | MAP_FIXED, self->fd, CHUNK - PMD);
	struct cost cost;

	ASSERT_NE(MAP_FAILED, p);
	for (int i = 0; i < PAGES; i++)
		*(volatile long *)spot(self->p + CHUNK, i) = i + 1;
	*(volatile long *)(self->p + CHUNK - PAGE) = 7;
	EXPECT_EQ(7, value_at(p + PMD - PAGE));
	cost = cost_of_reading(p + PMD);
	EXPECT_GE(JOINING_FAULTS, cost.faults);
	EXPECT_TRUE(is_filled(p + PMD, 0, PAGES));
	ASSERT_EQ(0, munmap(p, CHUNK + 2 * PMD));
	for (int i = 0; i < PAGES; i++) {
		EXPECT_EQ(SEGV_MAPERR, touch(spot(p + PMD, i), PROT_READ));
	}
}

/* Who may only read */
TEST_F(shmem, reader)
{
	char *r = map(self->fd, PROT_READ), word[8] = "changed";
	struct iovec local = { word, 8 }, remote = { spot(r, 3), 8 };
	int fds[2], direct = direct_file(RET), mem;

	ASSERT_NE(MAP_FAILED, r);
	EXPECT_SHARED(cost_of_reading(r));
	EXPECT_TRUE(is_filled(r, 0, PAGES));
	for (int i = 0; i < PAGES; i++) {
		EXPECT_EQ(SEGV_ACCERR, touch(spot(r, i), PROT_WRITE));
	}
	EXPECT_EQ(SEGV_ACCERR, touch(spot(r, 3) + PAGE, PROT_WRITE))
		TH_LOG("a page that is not there");
	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(8, write(fds[1], word, 8));
	EXPECT_EQ(-EFAULT, result(read(fds[0], spot(r, 3), 8)));
	EXPECT_EQ(-EFAULT, result(process_vm_writev(getpid(), &local, 1,
						    &remote, 1, 0)));
	if (direct >= 0) {
		EXPECT_EQ(-EFAULT, result(pread(direct, spot(r, 3), PAGE, 0)));
	}
	mem = open("/proc/self/mem", O_RDWR);
	EXPECT_EQ(-EIO, result(pwrite(mem, word, 8, (unsigned long)spot(r, 3))));
	EXPECT_EQ(-EINVAL, result(madvise(spot(r, 3), PAGE, MADV_POPULATE_WRITE)));
	EXPECT_TRUE(is_filled(r, 0, PAGES));
	/* what others write, it sees; and it may become a writer */
	EXPECT_EQ(0, ask(&self->peer, STORE, spot(self->p, 3), 33).denied);
	EXPECT_EQ(33, value_at(spot(r, 3)));
	ASSERT_EQ(0, mprotect(r, SIZE, RW));
	EXPECT_EQ(0, store(spot(r, 3), 4));
	EXPECT_EQ(4, ask(&self->peer, LOOK, spot(self->p, 3), 0).value);
	ASSERT_EQ(0, mprotect(r, SIZE, PROT_READ));
	EXPECT_EQ(PROT_READ, may(spot(r, 3)));
	EXPECT_EQ(RW, may(spot(self->p, 3)));
	close(mem);
	close(direct);
}

/* The first one is a reader, what it has made must be writable for others. */
TEST_F(shmem, readers_first)
{
	int fd = memfd(SIZE);
	char *r = map(fd, PROT_READ), *w;

	ASSERT_NE(MAP_FAILED, r);
	for (int i = 0; i < PAGES; i++) {
		EXPECT_EQ(0, value_at(spot(r, i)));
	}
	w = map(fd, RW);
	fill(w);
	EXPECT_TRUE(is_filled(r, 0, PAGES));
	EXPECT_EQ(PROT_READ, may(spot(r, 0)));
	close(fd);
}

/* One who has it open for reading only neither writes nor becomes a writer. */
TEST_F(shmem, read_only_descriptor)
{
	char path[64], *r;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", self->fd);
	fd = open(path, O_RDONLY);
	ASSERT_LE(0, fd);
	r = map(fd, PROT_READ);
	ASSERT_NE(MAP_FAILED, r);
	EXPECT_SHARED(cost_of_reading(r));
	EXPECT_EQ(PROT_READ, may(spot(r, 0)));
	EXPECT_EQ(-EACCES, result(mprotect(r, SIZE, RW)));
	EXPECT_EQ(PROT_READ, may(spot(r, 0)));
	/* also when he alone is left */
	stop_peer(&self->peer);
	ASSERT_EQ(0, munmap(self->p, SIZE));
	EXPECT_EQ(PROT_READ, may(spot(r, 0)));
	EXPECT_EQ(SEGV_ACCERR, touch(spot(r, 0) + PAGE, PROT_WRITE));
	EXPECT_EQ(0, result(fcntl(self->fd, F_ADD_SEALS, F_SEAL_WRITE)));
	EXPECT_EQ(1, value_at(spot(r, 0)));
	EXPECT_EQ(0, value_at(spot(r, 0) + PAGE));
	close(fd);
}

/* A seal against writers is refused while there are some, and only then. */
TEST_F(shmem, seal)
{
	EXPECT_EQ(-EBUSY, result(fcntl(self->fd, F_ADD_SEALS, F_SEAL_WRITE)));
	stop_peer(&self->peer);
	EXPECT_EQ(-EBUSY, result(fcntl(self->fd, F_ADD_SEALS, F_SEAL_WRITE)));
	ASSERT_EQ(0, munmap(self->p, SIZE));
	EXPECT_EQ(0, result(fcntl(self->fd, F_ADD_SEALS, F_SEAL_WRITE)));
	EXPECT_EQ(-EPERM, result(pwrite(self->fd, "x", 1, 0)));
	EXPECT_EQ(MAP_FAILED, map(self->fd, RW));
	self->p = map(self->fd, PROT_READ);
	ASSERT_NE(MAP_FAILED, self->p);
	EXPECT_TRUE(is_filled(self->p, 0, PAGES));
	EXPECT_SHARED(cost_in_child(self->p));
	EXPECT_EQ(-EACCES, result(mprotect(self->p, SIZE, RW)));
	EXPECT_EQ(PROT_READ, may(self->p));
}

TEST_F(shmem, seal_of_the_future)
{
	ASSERT_EQ(0, result(fcntl(self->fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE)));
	EXPECT_EQ(MAP_FAILED, map(self->fd, RW));
	EXPECT_EQ(RW, may(self->p));
	EXPECT_EQ(RW, ask(&self->peer, MAY, self->p, 0).value);
	EXPECT_EQ(0, store(spot(self->p, 1) + PAGE, 5));
	EXPECT_EQ(5, ask(&self->peer, LOOK, spot(self->p, 1) + PAGE, 0).value);
}

/* Who came first goes first; what he made is still there. */
TEST_F(shmem, first_sharer_goes)
{
	int fd = memfd(SIZE);
	char *p = map(fd, RW);
	struct peer first, second;

	first = start_peer();
	for (int i = 0; i < PAGES; i++)
		ask(&first, STORE, spot(p, i), i + 1);
	second = start_peer();
	EXPECT_SHARED(ask(&second, COST, p, 0).cost);
	stop_peer(&first);
	EXPECT_EQ(0, ask(&second, COST, p, 0).cost.faults);
	EXPECT_SHARED(cost_of_reading(p));
	EXPECT_TRUE(is_filled(p, 0, PAGES));
	stop_peer(&second);
	ASSERT_EQ(0, munmap(p, SIZE));
	/* all have gone, and one comes again */
	p = map(fd, RW);
	EXPECT_TRUE(is_filled(p, 0, PAGES));
	EXPECT_SHARED(cost_in_child(p));
	close(fd);
}

TEST_F(shmem, exec)
{
	pid_t pid = fork_on(-1);

	if (pid == 0) {
		if (!is_filled(self->p, 0, PAGES))
			_exit(1);
		execl("/bin/sh", "sh", "-c", "exit 7", NULL);
		_exit(2);
	}
	EXPECT_EQ(7, WEXITSTATUS(child_status(pid)));
	EXPECT_TRUE(is_filled(self->p, 0, PAGES));
	EXPECT_EQ(0, ask(&self->peer, COST, self->p, 0).cost.faults);
}

TEST_F(shmem, generations)
{
	pid_t pid = fork_on(-1);

	if (pid == 0) {
		for (int i = 0; i < 8; i++) {
			pid = fork();
			if (pid) {
				int status = child_status(pid);

				_exit(WEXITSTATUS(status));
			}
			if (cost_of_reading(self->p).faults > JOINING_FAULTS ||
			    !is_filled(self->p, i, PAGES))
				_exit(1);
			*(volatile long *)spot(self->p, i) = 100 + i;
		}
		_exit(0);
	}
	EXPECT_EQ(0, child_status(pid));
	for (int i = 0; i < 8; i++) {
		EXPECT_EQ(100 + i, ask(&self->peer, LOOK, spot(self->p, i), 0).value);
	}
}

/* One that vfork()s runs on the same tables, until it executes. */
TEST_F(shmem, vfork)
{
	pid_t pid = vfork();

	if (pid == 0)
		_exit(value_at(spot(self->p, 1)) != 2);
	EXPECT_EQ(0, child_status(pid));
	EXPECT_EQ(0, cost_of_reading(self->p).faults);
}

TEST_F(shmem, truncation_is_seen_by_all)
{
	unsigned long size = 32 * PMD + PAGE;

	ASSERT_EQ(0, ftruncate(self->fd, size));
	for (int i = 0; i < PAGES; i++) {
		EXPECT_EQ(i <= 32 ? 0 : DENIED_BUS,
			  touch(spot(self->p, i), PROT_READ));
		EXPECT_EQ(i <= 32 ? 0 : DENIED_BUS,
			  ask(&self->peer, LOOK, spot(self->p, i), 0).denied);
	}
	EXPECT_EQ(DENIED_BUS, touch(self->p + CHUNK, PROT_READ));
	EXPECT_TRUE(is_filled(self->p, 0, 33));
	ASSERT_EQ(0, ftruncate(self->fd, SIZE));
	for (int i = 33; i < PAGES; i++) {
		EXPECT_EQ(0, ask(&self->peer, LOOK, spot(self->p, i), 0).value);
		EXPECT_EQ(0, store(spot(self->p, i), i + 1));
	}
	EXPECT_SHARED(cost_in_child(self->p));
	/* to nothing and back */
	ASSERT_EQ(0, ftruncate(self->fd, 0));
	EXPECT_EQ(DENIED_BUS, touch(self->p, PROT_READ));
	EXPECT_EQ(DENIED_BUS, ask(&self->peer, LOOK, self->p, 0).denied);
	ASSERT_EQ(0, ftruncate(self->fd, SIZE));
	EXPECT_EQ(0, value_at(self->p));
	EXPECT_EQ(RW, may(self->p));
}

/* A mapping that is longer than its object, which grows */
TEST_F(shmem, grows)
{
	int fd = memfd(PAGE);
	char *p = map(fd, RW);

	ASSERT_NE(MAP_FAILED, p);
	EXPECT_EQ(RW, may(p));
	EXPECT_EQ(DENIED_BUS, touch(p + PAGE, PROT_READ));
	EXPECT_EQ(DENIED_BUS, touch(p + CHUNK, PROT_READ));
	ASSERT_EQ(0, ftruncate(fd, SIZE));
	fill(p);
	fill(p + CHUNK);
	EXPECT_SHARED(cost_in_child(p));
	EXPECT_SHARED(cost_in_child(p + CHUNK));
	close(fd);
}

TEST_F(shmem, holes_are_seen_by_all)
{
	long shmem = meminfo_kb("Shmem");

	ASSERT_EQ(0, fallocate(self->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			       8 * PMD, 4 * PMD));
	EXPECT_GE(shmem, meminfo_kb("Shmem"));
	for (int i = 0; i < PAGES; i++) {
		long expected = i >= 8 && i < 12 ? 0 : i + 1;

		EXPECT_EQ(expected, value_at(spot(self->p, i)));
		EXPECT_EQ(expected, ask(&self->peer, LOOK, spot(self->p, i), 0).value);
	}
	EXPECT_EQ(0, ask(&self->peer, STORE, spot(self->p, 9), 5).denied);
	EXPECT_EQ(5, value_at(spot(self->p, 9)));
}

TEST_F(shmem, write_and_read_of_the_file)
{
	long value = 1234;

	ASSERT_EQ(8, pwrite(self->fd, &value, 8, 3 * PMD));
	EXPECT_EQ(1234, value_at(spot(self->p, 3)));
	EXPECT_EQ(1234, ask(&self->peer, LOOK, spot(self->p, 3), 0).value);
	EXPECT_EQ(0, ask(&self->peer, STORE, spot(self->p, 3), 77).denied);
	ASSERT_EQ(8, pread(self->fd, &value, 8, 3 * PMD));
	EXPECT_EQ(77, value);
}

/* Out to swap space under all of them, and in again for all */
TEST_F(shmem, swap)
{
	const char *why = swap_setup();
	int fd = memfd(SIZE);
	long swapped;
	pid_t pid;
	char *p;

	if (why)
		SKIP(return, "%s", why);
	if (group_create("shmem"))
		SKIP(return, "no memory cgroups: %m");
	p = map(fd, RW);
	pid = fork_on(-1);
	if (pid == 0) {
		if (group_enter("shmem"))
			_exit(1);
		fill(p);
		_exit(0);
	}
	ASSERT_EQ(0, child_status(pid));
	EXPECT_TRUE(is_filled(p, 0, PAGES));
	EXPECT_EQ(0, swap_out_of("shmem", fd, 0, 100));
	swapped = group_swapped("shmem");
	EXPECT_LT(0, swapped);
	stop_peer(&self->peer);
	self->peer = start_peer();
	for (int i = 0; i < PAGES; i++) {
		EXPECT_EQ(i + 1, ask(&self->peer, LOOK, spot(p, i), 0).value);
	}
	EXPECT_TRUE(is_filled(p, 0, PAGES));
	munmap(p, SIZE);
	stop_peer(&self->peer);
	close(fd);
	group_leave("shmem");
}

/* Each page is charged to who touched it first, as ever. */
TEST_F(shmem, charged_to_who_touches)
{
	static const char *const groups[] = { "first", "second" };
	struct peer peers[2];
	long before[2];

	for (int g = 0; g < 2; g++) {
		if (group_enter(groups[g]))
			SKIP(return, "no memory cgroups: %m");
		peers[g] = start_peer();
		write_file(GROUPS "/cgroup.procs", "0");
	}
	for (int g = 0; g < 2; g++) {
		ask(&peers[g], COST, self->p, 0);
		before[g] = group_value(groups[g], "memory.current");
		for (int i = 0; i < 4096; i++)
			ask(&peers[g], STORE, self->p + CHUNK + g * 64 * MIB + i * PAGE, 1);
	}
	for (int g = 0; g < 2; g++) {
		long taken = group_value(groups[g], "memory.current") - before[g];

		EXPECT_LE(15 * MIB, taken)
			TH_LOG("%s pays for %ld", groups[g], taken);
		EXPECT_GE(18 * MIB, taken)
			TH_LOG("%s pays for %ld", groups[g], taken);
	}
	for (int g = 0; g < 2; g++) {
		stop_peer(&peers[g]);
		group_leave(groups[g]);
	}
}

/* Its limit holds for who is in it, the others do not feel it. */
TEST_F(shmem, limit_of_a_group)
{
	struct peer peer;
	int status;

	if (group_enter("small"))
		SKIP(return, "no memory cgroups: %m");
	write_file(group_path("small", "memory.swap.max"), "0");
	ASSERT_EQ(0, write_file(group_path("small", "memory.max"), "8M"));
	peer = start_peer();
	write_file(GROUPS "/cgroup.procs", "0");
	for (int i = 0; i < 4096; i++)
		if (ask(&peer, STORE, self->p + CHUNK + i * PAGE, 1).denied)
			break;
	status = child_status(peer.pid);
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_EQ(SIGKILL, WTERMSIG(status));
	EXPECT_EQ(0, store(self->p + CHUNK + 4095 * PAGE, 5));
	EXPECT_EQ(5, ask(&self->peer, LOOK, self->p + CHUNK + 4095 * PAGE, 0).value);
	group_leave("small");
}

/* Huge pages of shmem: mapped as such, once for all; taken apart under all */
TEST_F(shmem, huge_pages)
{
	int fd = memfd(SIZE);
	struct peer peer;
	long huge;
	char *p;

	if (write_file(THP, "always"))
		SKIP(return, "no huge pages of shmem");
	huge = meminfo_kb("ShmemHugePages");
	p = map(fd, RW);
	for (int i = 0; i < 8; i++)
		*(volatile long *)spot(p, i) = i + 1;
	EXPECT_LE(huge + 7 * 2048, meminfo_kb("ShmemHugePages"));
	peer = start_peer();
	for (int i = 0; i < 8; i++) {
		EXPECT_EQ(i + 1, ask(&peer, LOOK, spot(p, i), 0).value);
	}
	EXPECT_EQ(0, ask(&peer, STORE, spot(p, 2) + PMD / 2, 5).denied);
	EXPECT_EQ(5, value_at(spot(p, 2) + PMD / 2));
	/* a part of one goes */
	ASSERT_EQ(0, fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			       2 * PMD + PMD / 2, PAGE));
	EXPECT_EQ(0, ask(&peer, LOOK, spot(p, 2) + PMD / 2, 0).value);
	EXPECT_EQ(3, value_at(spot(p, 2)));
	/* and a part of one is closed for one of them */
	ASSERT_EQ(0, mprotect(spot(p, 3) + PMD / 2, PAGE, PROT_READ));
	EXPECT_EQ(PROT_READ, may(spot(p, 3) + PMD / 2));
	EXPECT_EQ(RW, may(spot(p, 3)));
	EXPECT_EQ(RW, ask(&peer, MAY, spot(p, 3) + PMD / 2, 0).value);
	stop_peer(&peer);
	write_file(THP, "never");
	close(fd);
}

TEST_F(shmem, collapse_and_migration)
{
	if (collapse_pages(spot(self->p, 4), PMD))
		TH_LOG("not collapsed: %m");
	migrate_page(spot(self->p, 5));
	EXPECT_TRUE(is_filled(self->p, 0, PAGES));
	for (int i = 0; i < PAGES; i++) {
		EXPECT_EQ(i + 1, ask(&self->peer, LOOK, spot(self->p, i), 0).value);
	}
	EXPECT_EQ(0, ask(&self->peer, STORE, spot(self->p, 4) + 9 * PAGE, 3).denied);
	EXPECT_EQ(3, value_at(spot(self->p, 4) + 9 * PAGE));
}

/* The address is another one in each, but it is one futex. */
TEST_F(shmem, futex)
{
	unsigned int *word = (unsigned int *)(spot(self->p, 1) + 8);
	char *other = map(self->fd, RW);
	pid_t pid = fork_on(-1);
	int woken = 0;

	ASSERT_NE(MAP_FAILED, other);
	if (pid == 0)
		_exit(syscall(SYS_futex, word, FUTEX_WAIT, 0, NULL, NULL, 0) != 0);
	EXPECT_TRUE(UNTIL((woken += syscall(SYS_futex, spot(other, 1) + 8,
					    FUTEX_WAKE, 1, NULL, NULL, 0))));
	EXPECT_EQ(0, child_status(pid));
}

/* A secondary MMU's user maps by tables of its own, and is told of all. */
TEST_F(shmem, notifier)
{
	struct { __u64 addr, ptr, npages, cpages, faults; } read_pages;
	char node[32], *copy = shared_page(PAGE);
	FILE *devices;
	int major = -1, fd;

	system("insmod $(find /lib/modules -name test_hmm.ko) 2>/dev/null");
	devices = fopen("/proc/devices", "re");
	for (char line[128]; fgets(line, sizeof(line), devices); )
		if (strstr(line, "HMM_DMIRROR") && major < 0)
			major = atoi(line);
	fclose(devices);
	if (major < 0)
		SKIP(return, "no HMM test device");
	snprintf(node, sizeof(node), "/dev/shmem-hmm-%d", getpid());
	ASSERT_EQ(0, mknod(node, S_IFCHR | 0600, makedev(major, 0)));
	fd = open(node, O_RDWR);
	unlink(node);
	ASSERT_LE(0, fd);
	EXPECT_TRUE(is_filled(self->p, 0, PAGES));
	for (long i = 1; i < 20; i++) {
		memset(&read_pages, 0, sizeof(read_pages));
		read_pages.addr = (unsigned long)spot(self->p, 5);
		read_pages.ptr = (unsigned long)copy;
		read_pages.npages = 1;
		ASSERT_EQ(0, ioctl(fd, _IOWR('H', 0x00, read_pages), &read_pages));
		EXPECT_EQ(i == 1 ? 6 : 100 + i - 1, value_at(copy));
		/* another page takes its place */
		ASSERT_EQ(0, fallocate(self->fd, FALLOC_FL_PUNCH_HOLE |
				       FALLOC_FL_KEEP_SIZE, 5 * PMD, PAGE));
		ask(&self->peer, STORE, spot(self->p, 5), 100 + i);
		value_at(spot(self->p, 5));
	}
	close(fd);
}

TEST_F(shmem, moves)
{
	char *to = HERE + PAGE;

	ASSERT_EQ(to, mremap(self->p, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, to));
	EXPECT_EQ(SEGV_MAPERR, touch(self->p, PROT_READ));
	EXPECT_TRUE(is_filled(to, 0, PAGES));
	EXPECT_EQ(0, ask(&self->peer, COST, self->p, 0).cost.faults);
	/* back to where it may share */
	ASSERT_EQ(self->p, mremap(to, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED,
				  self->p));
	EXPECT_TRUE(is_filled(self->p, 0, PAGES));
	EXPECT_EQ(SEGV_MAPERR, touch(to, PROT_READ));
	/* a second mapping of the same, which is what an old size of 0 means */
	ASSERT_EQ(HERE, mremap(self->p, 0, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, HERE));
	EXPECT_TRUE(is_filled(HERE, 0, PAGES));
	EXPECT_TRUE(is_filled(self->p, 0, PAGES));
	EXPECT_EQ(0, ask(&self->peer, STORE, spot(self->p, 2), 22).denied);
	EXPECT_EQ(22, value_at(spot(HERE, 2)));
}

/*
 * Undone for who wants tables of its own, before it happens, and for nobody
 * else. Each does something to four of the pages, and returns 0 if it did what
 * it does; or NOT_HERE.
 */
#define FIRST		8
#define NR		4
#define NOT_HERE	77

static int own_pkey(char *at, size_t size)
{
	int key = pkey_alloc(0, PKEY_DISABLE_ACCESS);

	return key < 0 ? NOT_HERE : pkey_mprotect(at, size, RW, key);
}

static int own_read_only(char *at, size_t size)
{
	return mprotect(at, size, PROT_READ);
}

static int own_none(char *at, size_t size)
{
	return mprotect(at, size, PROT_NONE);
}

static int own_code(char *at, size_t size)
{
	return mprotect(at, size, RWX) ?: touch(at + 128, PROT_WRITE) ?:
		touch(at + 128, PROT_EXEC);
}

static int own_and_back(char *at, size_t size)
{
	return mprotect(at, size, PROT_NONE) ?:
		(touch(at, PROT_READ) != SEGV_ACCERR) + mprotect(at, size, RW);
}

static int own_chunk(char *at, size_t size)
{
	char *p = at - FIRST * PMD;

	return mprotect(p, CHUNK, PROT_READ) ?:
		(touch(p, PROT_WRITE) != SEGV_ACCERR) + mprotect(p, CHUNK, RW);
}

static int own_munmap(char *at, size_t size)
{
	return munmap(at, size);
}

static int own_other(char *at, size_t size)
{
	return mmap(at, size, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != at;
}

static int own_move(char *at, size_t size)
{
	char *to = mremap(at, size, size, MREMAP_MAYMOVE | MREMAP_FIXED,
			  HERE + CHUNK);
	char *other = mremap(at + size, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
			     HERE);

	if (to == MAP_FAILED || other != HERE)
		return -1;
	for (int i = 0; i < NR; i++)
		if (value_at(spot(to, i)) != FIRST + i + 1)
			return -2;
	if (value_at(other) != FIRST + NR + 1)
		return -3;
	return mremap(HERE, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
		      at + size) != at + size;
}

static int own_shrink(char *at, size_t size)
{
	return mremap(at, size, PAGE, 0) != at;
}

static int own_keep(char *at, size_t size)
{
	char *to = mremap(at, size, size, MREMAP_MAYMOVE | MREMAP_DONTUNMAP);

	if (to == MAP_FAILED)
		return -1;
	for (int i = 0; i < NR; i++)
		if (value_at(spot(to, i)) != FIRST + i + 1)
			return -2;
	return 0;
}

#define OWN_ADVICE(name, advice, error)					\
static int own_##name(char *at, size_t size)				\
{									\
	return result(madvise(at, size, advice)) != (error);		\
}

OWN_ADVICE(dontneed, MADV_DONTNEED, 0)
OWN_ADVICE(remove, MADV_REMOVE, 0)
OWN_ADVICE(cold, MADV_COLD, 0)
OWN_ADVICE(pageout, MADV_PAGEOUT, 0)
OWN_ADVICE(hugepage, MADV_HUGEPAGE, 0)
OWN_ADVICE(nohugepage, MADV_NOHUGEPAGE, 0)
OWN_ADVICE(populate_read, MADV_POPULATE_READ, 0)
OWN_ADVICE(populate_write, MADV_POPULATE_WRITE, 0)
OWN_ADVICE(mergeable, MADV_MERGEABLE, 0)
OWN_ADVICE(dontdump, MADV_DONTDUMP, 0)
OWN_ADVICE(sequential, MADV_SEQUENTIAL, 0)
OWN_ADVICE(free, MADV_FREE, -EINVAL)
OWN_ADVICE(wipeonfork, MADV_WIPEONFORK, -EINVAL)
OWN_ADVICE(unshare, MADV_UNSHARE_TABLES, 0)
OWN_ADVICE(share, MADV_SHARE_TABLES, 0)

static int own_collapse(char *at, size_t size)
{
	return collapse_pages(at, size);
}

static int own_dontfork(char *at, size_t size)
{
	int err = madvise(at, size, MADV_DONTFORK);
	pid_t pid = fork_on(-1);

	if (pid == 0)
		_exit(touch(at, PROT_READ) != SEGV_MAPERR ||
		      !is_filled(at - FIRST * PMD, 0, FIRST) ||
		      value_at(at + size) != FIRST + NR + 1);
	return err ?: child_status(pid);
}

static int own_process_madvise(char *at, size_t size)
{
	int pidfd = syscall(SYS_pidfd_open, getpid(), 0);
	struct iovec range = { at, size };
	long n = syscall(SYS_process_madvise, pidfd, &range, 1, MADV_COLD, 0);

	n = n == size ? syscall(SYS_process_madvise, pidfd, &range, 1,
				MADV_PAGEOUT, 0) : 0;
	close(pidfd);
	return n != size;
}

static int own_mlock(char *at, size_t size)
{
	return mlock(at, size) ?:
		(figure("/proc/self/status", "VmLck") != size / 1024 ||
		 value_at(at + 2 * PMD + PAGE));
}

static int own_mlock_and_back(char *at, size_t size)
{
	return own_mlock(at, size) ?: munlock(at, size) ?:
		figure("/proc/self/status", "VmLck");
}

static int own_mlock_onfault(char *at, size_t size)
{
	return mlock2(at, size, MLOCK_ONFAULT);
}

static int own_mlockall(char *at, size_t size)
{
	return mlockall(MCL_CURRENT | MCL_ONFAULT);
}

static int own_mbind(char *at, size_t size)
{
	unsigned long node = 1;
	int mode = -1;

	return syscall(SYS_mbind, at, size, MPOL_BIND, &node, 8, 0) ?:
		syscall(SYS_get_mempolicy, &mode, NULL, 0, at, MPOL_F_ADDR) ?:
		(mode != MPOL_BIND);
}

static int own_mbind_move(char *at, size_t size)
{
	unsigned long node = 1;

	return syscall(SYS_mbind, at, size, MPOL_BIND, &node, 8,
		       MPOL_MF_MOVE | MPOL_MF_STRICT);
}

static int own_policy_home(char *at, size_t size)
{
	unsigned long node = 1;

	return syscall(SYS_mbind, at, size, MPOL_BIND, &node, 8, 0) ?:
		syscall(450 /* set_mempolicy_home_node */, at, size, 0, 0);
}

static int own_msync(char *at, size_t size)
{
	return msync(at, size, MS_SYNC);
}

static int own_mseal(char *at, size_t size)
{
	return syscall(462 /* mseal */, at, size, 0) ?:
		(result(munmap(at - PMD, size)) != -EPERM ||
		 result(mprotect(at, size, PROT_READ)) != -EPERM);
}

/* The order of the file's pages changes, in what has become a mapping of its own. */
static int own_remap(char *at, size_t size)
{
	return remap_file_pages(at, PMD, 0, FIRST * PMD / PAGE, 0);
}

static int own_clear_refs(char *at, size_t size)
{
	return write_file("/proc/self/clear_refs", "1") ?:
		write_file("/proc/self/clear_refs", "4");
}

/* Userfaultfd: touches of what is missing are SIGBUS, which needs nobody else. */
static int userfault(char *at, size_t size, unsigned int mode)
{
	struct uffdio_api api = { UFFD_API, UFFD_FEATURE_SIGBUS };
	struct uffdio_register range = {
		{ (unsigned long)at, size }, .mode = mode
	};
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC);

	if (mode & UFFDIO_REGISTER_MODE_WP)
		api.features |= UFFD_FEATURE_WP_HUGETLBFS_SHMEM;
	if (mode & UFFDIO_REGISTER_MODE_MINOR)
		api.features |= UFFD_FEATURE_MINOR_SHMEM;
	if (fd < 0 || ioctl(fd, UFFDIO_API, &api))
		return -NOT_HERE;
	return ioctl(fd, UFFDIO_REGISTER, &range) ? -1 : fd;
}

static int own_userfault_missing(char *at, size_t size)
{
	int fd = userfault(at, size, UFFDIO_REGISTER_MODE_MISSING);
	long value[PAGE / 8] = { 12 };
	struct uffdio_copy copy = {
		(unsigned long)at + PMD + PAGE, (unsigned long)value, PAGE
	};

	if (fd < 0)
		return -fd;
	return touch(at + PMD + PAGE, PROT_READ) != DENIED_BUS ||
		ioctl(fd, UFFDIO_COPY, &copy) || value_at(at + PMD + PAGE) != 12;
}

static int own_userfault_wp(char *at, size_t size)
{
	int fd = userfault(at, size, UFFDIO_REGISTER_MODE_WP);
	struct uffdio_writeprotect wp = {
		{ (unsigned long)at, size }, UFFDIO_WRITEPROTECT_MODE_WP
	};

	if (fd < 0)
		return -fd;
	if (ioctl(fd, UFFDIO_WRITEPROTECT, &wp) ||
	    touch(at + 64, PROT_WRITE) != DENIED_BUS ||
	    touch(at, PROT_READ) ||
	    touch(at + 2 * PMD + PAGE, PROT_WRITE) != DENIED_BUS)
		return 1;
	wp.mode = 0;
	return ioctl(fd, UFFDIO_WRITEPROTECT, &wp);
}

static int own_userfault_minor(char *at, size_t size)
{
	int fd;
	struct uffdio_continue go_on = { { (unsigned long)at, size } };

	madvise(at, size, MADV_DONTNEED);
	fd = userfault(at, size, UFFDIO_REGISTER_MODE_MINOR);
	if (fd < 0)
		return -fd;
	if (touch(at, PROT_READ) != DENIED_BUS)
		return 1;
	for (int i = 0; i < NR; i++) {
		go_on.range.start = (unsigned long)spot(at, i);
		go_on.range.len = PAGE;
		if (ioctl(fd, UFFDIO_CONTINUE, &go_on))
			return 2;
	}
	return 0;
}

FIXTURE(own)
{
	int fd;
	char *p;
	struct peer peer;
};

FIXTURE_VARIANT(own)
{
	int (*what)(char *at, size_t size);
	int may;		/* the rights inside, or how one is denied */
	bool others;		/* it is another memory there, full of zeroes */
	bool gone;		/* the pages are, for all */
};

#define OWN(name, rights, ...)						\
FIXTURE_VARIANT_ADD(own, name) {					\
	.what = own_##name, .may = (rights), ##__VA_ARGS__ }

OWN(read_only, PROT_READ);
OWN(none, -SEGV_ACCERR);
OWN(code, RW);
OWN(and_back, RW);
OWN(chunk, RW);
OWN(pkey, -SEGV_PKUERR);
OWN(munmap, -SEGV_MAPERR);
OWN(other, RW, .others = true);
OWN(move, -SEGV_MAPERR);
OWN(shrink, -SEGV_MAPERR);
OWN(keep, RW);
OWN(dontneed, RW);
OWN(remove, RW, .gone = true);
OWN(cold, RW);
OWN(pageout, RW);
OWN(hugepage, RW);
OWN(nohugepage, RW);
OWN(populate_read, RW);
OWN(populate_write, RW);
OWN(mergeable, RW);
OWN(dontdump, RW);
OWN(sequential, RW);
OWN(free, RW);
OWN(wipeonfork, RW);
OWN(unshare, RW);
OWN(share, RW);
OWN(collapse, RW);
OWN(dontfork, RW);
OWN(process_madvise, RW);
OWN(mlock, RW);
OWN(mlock_and_back, RW);
OWN(mlock_onfault, RW);
OWN(mlockall, RW);
OWN(mbind, RW);
OWN(mbind_move, RW);
OWN(policy_home, RW);
OWN(msync, RW);
OWN(mseal, RW);
OWN(remap, RW);
OWN(clear_refs, RW);
OWN(userfault_missing, RW);
OWN(userfault_wp, RW);
OWN(userfault_minor, RW);

FIXTURE_SETUP(own)
{
	if (!shmem_can_share())
		SKIP(return, "a kernel whose ordinary mappings do not share");
	ASSERT_EQ(0, shmem_mode("always"));
	self->p = map_filled(&self->fd);
	ASSERT_NE(MAP_FAILED, self->p);
	fill(self->p + CHUNK);
	self->peer = start_peer();
	EXPECT_SHARED(ask(&self->peer, COST, self->p, 0).cost);
	EXPECT_SHARED(ask(&self->peer, COST, self->p + CHUNK, 0).cost);
}

FIXTURE_TEARDOWN(own)
{
	stop_peer(&self->peer);
	shmem_mode("never");
	close(self->fd);
}

TEST_F(own, and_nobody_elses)
{
	bool moved = variant->what == own_collapse || variant->what == own_pageout ||
		     variant->what == own_mbind_move ||
		     variant->what == own_process_madvise;
	char *at = spot(self->p, FIRST), *inside = at + PMD;
	int what = variant->what(at, NR * PMD);
	long value = FIRST + 2;

	if (what == NOT_HERE)
		SKIP(return, "not on this machine");
	ASSERT_EQ(0, what);

	/* the peer first, what it has must not come from another's fault */
	if (variant->gone)
		value = 0;
	else if (!moved) {
		EXPECT_EQ(0, ask(&self->peer, COST, self->p, 0).cost.faults);
	}
	EXPECT_EQ(RW, ask(&self->peer, MAY, inside, 0).value);
	EXPECT_EQ(value, ask(&self->peer, LOOK, inside, 0).value);
	EXPECT_EQ(0, ask(&self->peer, STORE, inside, 1000).denied);

	EXPECT_EQ(variant->may, may(inside));
	if (variant->may >= 0) {
		EXPECT_EQ(variant->others ? 0 : 1000, value_at(inside));
	}
	if (variant->may == RW) {
		EXPECT_EQ(0, store(inside, 1001));
		EXPECT_EQ(variant->others ? 1000 : 1001,
			  ask(&self->peer, LOOK, inside, 0).value);
	}

	/* around it all is as it was, and shared memory */
	EXPECT_EQ(RW, may(self->p));
	EXPECT_EQ(RW, may(at - PAGE));
	EXPECT_EQ(RW, may(at + NR * PMD));
	EXPECT_TRUE(is_filled(self->p, 0, FIRST));
	EXPECT_TRUE(is_filled(self->p, FIRST + NR, PAGES));
	EXPECT_TRUE(is_filled(self->p + CHUNK, 0, PAGES));
	EXPECT_EQ(0, ask(&self->peer, STORE, spot(self->p, PAGES), 5).denied);
	EXPECT_EQ(5, value_at(spot(self->p, PAGES)));
	EXPECT_EQ(0, store(spot(self->p, PAGES), 6));
	EXPECT_EQ(6, ask(&self->peer, LOOK, spot(self->p, PAGES), 0).value);
	EXPECT_EQ(0, ask(&self->peer, COST, self->p + CHUNK, 0).cost.faults);

	/* a child has what its parent has; and all ends */
	if (variant->what != own_dontfork && variant->what != own_userfault_missing &&
	    variant->what != own_userfault_minor) {
		pid_t pid = fork_on(-1);

		if (pid == 0)
			_exit(may(inside) != variant->may ||
			      !is_filled(self->p, 0, FIRST));
		EXPECT_EQ(0, child_status(pid));
	}
	if (variant->what != own_mseal) {
		EXPECT_EQ(0, munmap(self->p, SIZE));
	}
	EXPECT_EQ(0, ask(&self->peer, COST, self->p + CHUNK, 0).cost.faults);
	EXPECT_EQ(1, ask(&self->peer, LOOK, self->p, 0).value);
	EXPECT_EQ(RW, ask(&self->peer, MAY, inside, 0).value);
}

/* The other way round: what a sharer does to its tables is not its parent's. */
TEST_F(own, and_not_the_parents)
{
	pid_t pid = fork_on(-1);
	int status;

	if (pid == 0) {
		char *at = spot(self->p, FIRST);
		int err = value_at(at) != FIRST + 1 ? 99 :
			variant->what(at, NR * PMD);

		_exit(err);
	}
	status = child_status(pid);
	if (WEXITSTATUS(status) == NOT_HERE)
		SKIP(return, "not on this machine");
	EXPECT_EQ(0, status);
	EXPECT_TRUE(is_filled(self->p, 0, FIRST));
	if (!variant->gone) {
		EXPECT_TRUE(is_filled(self->p, FIRST, FIRST + NR));
	}
	EXPECT_TRUE(is_filled(self->p, FIRST + NR, PAGES));
	EXPECT_EQ(RW, may(spot(self->p, FIRST + 1)));
	EXPECT_EQ(RW, ask(&self->peer, MAY, spot(self->p, FIRST + 1), 0).value);
}

/*
 * The same answers, to the letter. Each report is written by a process whose
 * mapping two others have too, once with sharing and once without.
 */
static char *said;

static void say(const char *format, ...)
{
	size_t length = strlen(said);
	va_list args;

	va_start(args, format);
	vsnprintf(said + length, 16 * PAGE - length, format, args);
	va_end(args);
}

#define SAY(call) say("%s: %d\n", #call, result(call))

/* Lines of a file in /proc that are of the mapping */
static void say_lines(const char *path, const char *const *keys)
{
	FILE *file = fopen(path, "re");
	bool ours = false;
	char line[4096];

	while (fgets(line, sizeof(line), file)) {
		unsigned long start, end, offset;
		char rights[8];

		if (sscanf(line, "%lx-%lx %7s %lx", &start, &end, rights, &offset) == 4) {
			ours = start >= (unsigned long)HERE &&
				end <= (unsigned long)HERE + SIZE;
			if (ours)
				say("%lx-%lx %s %lx\n", start, end, rights, offset);
			continue;
		}
		if (!ours || !keys)
			continue;
		for (const char *const *key = keys; *key; key++)
			if (!strncmp(line, *key, strlen(*key)) &&
			    line[strlen(*key)] == ':')
				say("%s", line);
	}
	fclose(file);
}

static void report_smaps(char *p, int fd)
{
	static const char *const keys[] = {
		"Size", "KernelPageSize", "MMUPageSize", "Rss", "Pss", "Swap",
		"Locked", "THPeligible", "ShmemPmdMapped", "ProtectionKey",
		"VmFlags", NULL
	};

	say_lines("/proc/self/smaps", keys);
}

static void report_smaps_shared(char *p, int fd)
{
	static const char *const keys[] = {
		"Pss_Dirty", "Shared_Clean", "Shared_Dirty", "Private_Clean",
		"Private_Dirty", "Referenced", NULL
	};

	say_lines("/proc/self/smaps", keys);
}

static void report_maps(char *p, int fd)
{
	say_lines("/proc/self/maps", NULL);
	SAY(mprotect(spot(p, 3), PMD, PROT_READ));
	say_lines("/proc/self/maps", NULL);
	SAY(mprotect(spot(p, 3), PMD, RW));
	say_lines("/proc/self/maps", NULL);
	SAY(munmap(spot(p, 5), PMD));
	say_lines("/proc/self/maps", NULL);
	SAY(mmap(spot(p, 5), PMD, RW, MAP_SHARED | MAP_FIXED | MAP_NORESERVE,
		 fd, 5 * PMD) == MAP_FAILED);
	say_lines("/proc/self/maps", NULL);
	SAY(munmap(p + CHUNK, CHUNK));
	SAY(mmap(p + CHUNK, CHUNK, RW, MAP_SHARED | MAP_FIXED | MAP_NORESERVE,
		 fd, CHUNK) == MAP_FAILED);
	say_lines("/proc/self/maps", NULL);
}

static void report_numa_maps(char *p, int fd)
{
	FILE *file = fopen("/proc/self/numa_maps", "re");
	char line[4096], word[64];

	while (fgets(line, sizeof(line), file)) {
		if (strtoul(line, NULL, 16) != (unsigned long)HERE)
			continue;
		for (char *at = line; sscanf(at, " %63s", word) == 1;
		     at = strstr(at, word) + strlen(word))
			if (strncmp(word, "file=", 5) && strncmp(word, "mapmax=", 7))
				say("%s ", word);
	}
	fclose(file);
}

static void report_mincore(char *p, int fd)
{
	unsigned char there[1024];

	SAY(mincore(spot(p, 3), 2 * PMD, there));
	for (int i = 0; i < 1024; i++)
		if (there[i])
			say("%d ", i);
	SAY(mincore(p + SIZE - PMD, 2 * PMD, there));
}

static __u64 pagemap_entry(char *p)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	__u64 entry = 0;

	pread(fd, &entry, 8, (unsigned long)p / PAGE * 8);
	close(fd);
	return entry;
}

/* Present, swapped out, of a file; which page */
static void report_pagemap(char *p, int fd)
{
	for (int i = 0; i < PAGES; i++) {
		char *other = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, i * PMD);

		say("%llx %llx %d\n", pagemap_entry(spot(p, i)) >> 61,
		    pagemap_entry(spot(p, i) + PAGE) >> 61,
		    pfn_of(spot(p, i)) == pfn_of(other));
		munmap(other, PAGE);
	}
	say("%llx\n", pagemap_entry(p + CHUNK + PMD) >> 61);
}

/* Written to since then, by this process */
static void report_soft_dirty(char *p, int fd)
{
	SAY(write_file("/proc/self/clear_refs", "4"));
	for (int i = 0; i < PAGES; i++)
		value_at(spot(p, i));
	*(volatile long *)spot(p, 3) = 4;
	pwrite(fd, "x", 1, 4 * PMD);
	for (int i = 0; i < PAGES; i++)
		say("%llx ", pagemap_entry(spot(p, i)) >> 55 & 1);
}

/* A child that does something to its parent, and tells what came of it */
static void by_child(void (*what)(char *p, pid_t parent), char *p)
{
	pid_t parent = getpid(), pid;

	prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
	pid = fork_on(-1);
	if (pid == 0) {
		what(p, parent);
		_exit(0);
	}
	say("%d\n", child_status(pid));
	for (int i = 0; i < 5; i++)
		say("%ld ", value_at(spot(p, i)));
}

static void process_vm(char *p, pid_t parent)
{
	long value = 0;
	struct iovec local = { &value, 8 }, remote = { spot(p, 3), 8 };

	SAY(process_vm_readv(parent, &local, 1, &remote, 1, 0));
	say("%ld\n", value);
	value = 33;
	SAY(process_vm_writev(parent, &local, 1, &remote, 1, 0));
	remote.iov_base = p + CHUNK + PMD;
	SAY(process_vm_readv(parent, &local, 1, &remote, 1, 0));
	remote.iov_base = p + SIZE;
	SAY(process_vm_readv(parent, &local, 1, &remote, 1, 0));
}

static void report_process_vm(char *p, int fd)
{
	by_child(process_vm, p);
}

static void trace(char *p, pid_t parent)
{
	int status;

	SAY(ptrace(PTRACE_ATTACH, parent, 0, 0));
	waitpid(parent, &status, __WALL);
	errno = 0;
	say("%ld\n", ptrace(PTRACE_PEEKDATA, parent, spot(p, 3), 0));
	SAY(ptrace(PTRACE_POKEDATA, parent, spot(p, 3), 33));
	SAY(ptrace(PTRACE_POKEDATA, parent, p + CHUNK + PMD, 34));
	SAY(ptrace(PTRACE_POKEDATA, parent, p + SIZE, 35));
	SAY(ptrace(PTRACE_DETACH, parent, 0, 0));
}

static void report_ptrace(char *p, int fd)
{
	by_child(trace, p);
}

static void report_proc_mem(char *p, int fd)
{
	int mem = open("/proc/self/mem", O_RDWR);
	long value = 0;

	SAY(pread(mem, &value, 8, (unsigned long)spot(p, 3)));
	say("%ld\n", value);
	SAY(pwrite(mem, &value, 8, (unsigned long)spot(p, 4)));
	say("%ld\n", value_at(spot(p, 4)));
	SAY(mprotect(p, SIZE, PROT_READ));
	SAY(pwrite(mem, &value, 8, (unsigned long)spot(p, 5)));
	say("%ld\n", value_at(spot(p, 5)));
	SAY(mprotect(p, SIZE, PROT_NONE));
	SAY(pread(mem, &value, 8, (unsigned long)spot(p, 3)));
	close(mem);
}

static void report_direct(char *p, int fd)
{
	int direct = direct_file(RET);

	SAY(pread(direct, spot(p, 3), PAGE, 0));
	SAY(pread(direct, p + CHUNK + 5 * PAGE, PAGE, 0));
	say("%lx %lx\n", value_at(spot(p, 3)), value_at(p + CHUNK + 5 * PAGE));
	SAY(pwrite(direct, spot(p, 4), PAGE, 0));
	SAY(pwrite(direct, p + SIZE, PAGE, 0));
	SAY(pread(direct, spot(p, 6), PAGE, 0));
	say("%ld\n", value_at(spot(p, 6)));
	SAY(mprotect(p, SIZE, PROT_READ));
	SAY(pread(direct, spot(p, 3), PAGE, 0));
	SAY(pwrite(direct, spot(p, 5), PAGE, 0));
	close(direct);
}

static void report_policy(char *p, int fd)
{
	void *pages[] = { spot(p, 3), spot(p, 3) + PAGE, p + SIZE };
	unsigned long node = 1;
	int mode = -1, status[3] = { -99, -99, -99 };

	SAY(syscall(SYS_get_mempolicy, &mode, NULL, 0, spot(p, 3), MPOL_F_ADDR));
	say("%d\n", mode);
	SAY(syscall(SYS_get_mempolicy, &mode, NULL, 0, spot(p, 3),
		    MPOL_F_ADDR | MPOL_F_NODE));
	say("%d\n", mode);
	SAY(syscall(SYS_move_pages, 0, 3UL, pages, NULL, status, 0));
	say("%d %d %d\n", status[0], status[1], status[2]);
	SAY(syscall(SYS_mbind, spot(p, 3), PMD, MPOL_BIND, &node, 8, MPOL_MF_MOVE));
	SAY(syscall(SYS_get_mempolicy, &mode, NULL, 0, spot(p, 3), MPOL_F_ADDR));
	say("%d\n", mode);
	SAY(syscall(SYS_migrate_pages, 0, 8, &node, &node));
	say("%d\n", is_filled(p, 0, PAGES));
	say_lines("/proc/self/maps", NULL);
}

static void report_advice(char *p, int fd)
{
	for (int advice = 0; advice < 128; advice++) {
		if (advice == MADV_HWPOISON || advice == MADV_SOFT_OFFLINE ||
		    advice == MADV_COLLAPSE)
			continue;
		say("%d: %d", advice, result(madvise(spot(p, 8), PMD, advice)));
		say(" %d", result(madvise(p + SIZE - PMD, 2 * PMD, advice)));
		say(" %d\n", may(spot(p, 8)));
	}
	say_lines("/proc/self/maps", NULL);
	say("%d %d\n", is_filled(p, 0, 8), is_filled(p, 9, PAGES));
}

static void report_locks(char *p, int fd)
{
	/* not Locked, a Pss: the sharers count as one for who has tables of its own */
	static const char *const keys[] = { "Rss", "VmFlags", NULL };

	for (int i = 0; i < PAGES; i++)
		SAY(mlock(spot(p, i), PAGE));
	say("%ld\n", figure("/proc/self/status", "VmLck"));
	say_lines("/proc/self/smaps", keys);
	SAY(munlock(p, SIZE));
	say("%ld\n", figure("/proc/self/status", "VmLck"));
	say_lines("/proc/self/maps", NULL);
	SAY(mlock2(p, SIZE, MLOCK_ONFAULT));
	say("%ld\n", figure("/proc/self/status", "VmLck"));
	SAY(mlock(p + SIZE - PAGE, 2 * PAGE));
	SAY(munlockall());
	say("%d\n", is_filled(p, 0, PAGES));
}

static void report_seals(char *p, int fd)
{
	SAY(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
	SAY(mprotect(p, SIZE, PROT_READ));
	SAY(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
	SAY(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW));
	SAY(ftruncate(fd, SIZE + PAGE));
	SAY(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK));
	SAY(ftruncate(fd, PAGE));
	SAY(fcntl(fd, F_GET_SEALS));
}

static void report_lengths(char *p, int fd)
{
	SAY(ftruncate(fd, CHUNK + 5 * PMD + 17));
	for (char *at = p + CHUNK + 4 * PMD; at < p + CHUNK + 7 * PMD; at += PMD / 2)
		say("%d ", may(at));
	SAY(munmap(p + CHUNK, CHUNK));
	say("%d %d\n", may(p + CHUNK), may(p + CHUNK - PAGE));
	SAY(mremap(p, CHUNK, SIZE, 0) == MAP_FAILED);
	say("%d %d\n", may(p + CHUNK), may(p + CHUNK + 6 * PMD));
	SAY(msync(p, SIZE, MS_SYNC));
	SAY(msync(p, SIZE, MS_SYNC | MS_INVALIDATE));
	SAY(msync(p, SIZE + PAGE, MS_ASYNC));
	say_lines("/proc/self/maps", NULL);
}

FIXTURE(same) { };

FIXTURE_VARIANT(same)
{
	void (*report)(char *p, int fd);
};

#define SAME(name) \
FIXTURE_VARIANT_ADD(same, name) { .report = report_##name }

SAME(smaps);
SAME(smaps_shared);
SAME(maps);
SAME(numa_maps);
SAME(mincore);
SAME(pagemap);
SAME(soft_dirty);
SAME(process_vm);
SAME(ptrace);
SAME(proc_mem);
SAME(direct);
SAME(policy);
SAME(advice);
SAME(locks);
SAME(seals);
SAME(lengths);

FIXTURE_SETUP(same)
{
	if (!shmem_can_share())
		SKIP(return, "a kernel whose ordinary mappings do not share");
}

FIXTURE_TEARDOWN(same)
{
	shmem_mode("never");
}

static char *report_in(const char *mode, void (*report)(char *p, int fd))
{
	volatile int *ready = shared_page(PAGE);
	pid_t pid;

	said = shared_page(16 * PAGE);
	if (shmem_mode(mode))
		return NULL;
	pid = fork_on(-1);
	if (pid == 0) {
		int fd = memfd(SIZE);
		char *p = mmap(HERE, SIZE, RW, MAP_SHARED | MAP_NORESERVE |
			       MAP_FIXED_NOREPLACE, fd, 0);
		pid_t others[2];

		if (p != HERE)
			_exit(1);
		for (int i = 0; i < 2; i++) {
			others[i] = fork_on(-1);
			if (others[i])
				continue;
			fill(p);
			(*ready)++;
			for (;;)
				pause();
		}
		if (!UNTIL(*ready == 2))
			_exit(2);
		fill(p);
		report(p, fd);
		for (int i = 0; i < 2; i++) {
			kill(others[i], SIGKILL);
			child_status(others[i]);
		}
		_exit(0);
	}
	if (child_status(pid))
		say("did not end well");
	return said;
}

TEST_F(same, as_without)
{
	char *with = report_in("always", variant->report);
	char *without = report_in("never", variant->report);

	ASSERT_NE(NULL, with);
	ASSERT_NE(NULL, without);
	EXPECT_LT(10, strlen(without));
	EXPECT_EQ(NULL, strstr(without, "did not end well"));
	EXPECT_STREQ(without, with);
}

/*
 * Stale translations: one reads without a pause what another takes away. As
 * soon as a call has returned, the reader must see what is there now.
 */
struct spin {
	volatile long turns;
	volatile long seen;
} __attribute__((aligned(64)));

FIXTURE(spinning)
{
	int fd, spare;
	char *p;
	pid_t pid;
	struct spin *spin;
};

FIXTURE_SETUP(spinning)
{
	if (!shmem_can_share())
		SKIP(return, "a kernel whose ordinary mappings do not share");
	if (nr_cpus() < 2)
		SKIP(return, "one CPU");
	ASSERT_EQ(0, shmem_mode("always"));
	self->p = map_filled(&self->fd);
	ASSERT_NE(MAP_FAILED, self->p);
	self->spare = memfd(SIZE);
	self->spin = shared_page(PAGE);
	self->pid = fork_on(nr_cpus() - 1);
	if (self->pid == 0)
		for (;; self->spin->turns++)
			self->spin->seen = value_at(spot(self->p, 3));
	pin_to(0);
}

FIXTURE_TEARDOWN(spinning)
{
	knob("skip_notifier_flush", false);
	if (self->pid > 0) {
		kill(self->pid, SIGKILL);
		child_status(self->pid);
	}
	shmem_mode("never");
	close(self->spare);
	close(self->fd);
}

/* Lets the reader read for a while, but not lose its CPU. */
static void let_read(struct spin *spin)
{
	long turns = spin->turns;
	double end = now() + 2;

	while (spin->turns < turns + 1000 && now() < end)
		;
}

/*
 * How often the reader saw the page that was there before. That is given away
 * first, or it would be taken again and show what it should.
 */
static long stale_reads(FIXTURE_DATA(spinning) *self, double seconds, bool control,
			long *rounds)
{
	double start = now();
	long stale = 0;

	for (*rounds = 0; !stress_over(start, seconds, control ? stale : *rounds > 10);
	     ++*rounds) {
		long value = 1000 + *rounds, other = -1;

		let_read(self->spin);
		if (fallocate(self->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			      3 * PMD, PAGE) ||
		    pwrite(self->spare, &other, sizeof(other),
			   *rounds % (SIZE / PAGE) * PAGE) != sizeof(other) ||
		    pwrite(self->fd, &value, sizeof(value), 3 * PMD) != sizeof(value))
			return -1;
		let_read(self->spin);
		stale += self->spin->seen != value;
	}
	return stale;
}

TEST_F(spinning, sees_what_is_there)
{
	long rounds;

	EXPECT_EQ(0, stale_reads(self, stress_seconds(), false, &rounds));
	EXPECT_LT(10, rounds);
}

TEST_F(spinning, control)
{
	long rounds;

	ASSERT_EQ(0, knob("skip_notifier_flush", true));
	EXPECT_POWER(stale_reads(self, stress_seconds(), true, &rounds), "the flush");
}

/* A thread that reads, while another one has the tables for itself */
static struct {
	char *volatile p;
	volatile long turns, denied;
	volatile bool stop;
} reader;

static __thread sigjmp_buf retry;

static void on_denied(int sig)
{
	siglongjmp(retry, 1);
}

static void *read_in_thread(void *arg)
{
	struct sigaction action = {
		.sa_handler = on_denied, .sa_flags = SA_NODEFER
	};

	pin_to(nr_cpus() - 1);
	sigaction(SIGSEGV, &action, NULL);
	if (sigsetjmp(retry, 0)) {
		reader.denied++;
		sleep_us(20);
	}
	while (!reader.stop) {
		value_at(reader.p);
		reader.turns++;
	}
	return NULL;
}

TEST_F(spinning, thread_is_denied)
{
	long through = 0, rounds;
	double start = now();
	pthread_t thread;

	kill(self->pid, SIGKILL);
	child_status(self->pid);
	self->pid = -1;
	memset(&reader, 0, sizeof(reader));
	reader.p = spot(self->p, 3);
	ASSERT_EQ(0, pthread_create(&thread, NULL, read_in_thread, NULL));
	for (rounds = 0; !stress_over(start, stress_seconds(), rounds > 10); rounds++) {
		long turns = reader.turns;

		while (reader.turns < turns + 1000)
			;
		if (rounds & 1) {
			ASSERT_EQ(0, munmap(self->p, CHUNK));
		}
		else
			ASSERT_EQ(0, mprotect(self->p, CHUNK, PROT_NONE));
		turns = reader.turns;
		sleep_us(500);
		through += reader.turns > turns + 1;
		ASSERT_EQ(self->p, mmap(self->p, CHUNK, RW, MAP_SHARED | MAP_FIXED |
					MAP_NORESERVE, self->fd, 0));
	}
	EXPECT_EQ(0, through);
	EXPECT_LT(10, reader.denied);
	reader.stop = true;
	pthread_join(thread, NULL);
}

/*
 * All at once, on all CPUs: who shares, has its own, comes and goes; contents
 * are those of the page, or nothing where holes are punched.
 */
FIXTURE(stress)
{
	int fd;
	char *p;
};

FIXTURE_SETUP(stress)
{
	if (!shmem_can_share())
		SKIP(return, "a kernel whose ordinary mappings do not share");
	ASSERT_EQ(0, shmem_mode("always"));
	self->p = map_filled(&self->fd);
	ASSERT_NE(MAP_FAILED, self->p);
	fill(self->p + CHUNK);
}

FIXTURE_TEARDOWN(stress)
{
	shmem_mode("never");
	write_file(THP, "never");
	close(self->fd);
}

struct counts {
	volatile long done, wrong;
	volatile bool stop;
};

static void do_something(char *p, int fd, int chunk, unsigned int draw)
{
	char *c = p + chunk * CHUNK, *at = spot(c, draw % PAGES);
	unsigned long node = 1;

	switch (draw / PAGES % 12) {
	case 0:
		mprotect(at, PMD, PROT_READ);
		mprotect(at, PMD, RW);
		break;
	case 1:
		munmap(at, PMD);
		mmap(at, PMD, RW, MAP_SHARED | MAP_FIXED, fd, at - p);
		break;
	case 2:
		munmap(c, CHUNK);
		mmap(c, CHUNK, RW, MAP_SHARED | MAP_FIXED, fd, c - p);
		break;
	case 3:
		madvise(at, PMD, MADV_DONTNEED);
		break;
	case 4:
		madvise(at, 4 * PMD, MADV_COLD);
		break;
	case 5:
		mlock(at, PAGE);
		munlock(at, PAGE);
		break;
	case 6:
		madvise(c, CHUNK, MADV_UNSHARE_TABLES);
		madvise(c, CHUNK, MADV_SHARE_TABLES);
		break;
	case 7:
		syscall(SYS_mbind, at, PMD, MPOL_BIND, &node, 8, 0);
		break;
	case 8:
		madvise(at, PMD, MADV_PAGEOUT);
		break;
	case 9:
		figure("/proc/self/smaps_rollup", "Rss");
		break;
	case 10:
		mremap(c, CHUNK, CHUNK, MREMAP_MAYMOVE | MREMAP_FIXED, HERE);
		mremap(HERE, CHUNK, CHUNK, MREMAP_MAYMOVE | MREMAP_FIXED, c);
		break;
	case 11:
		mprotect(c, CHUNK, PROT_READ);
		mprotect(c, CHUNK, RW);
		break;
	}
}

/* Pages of the second chunk are punched by one of them. */
static void run_stress(struct counts *counts, char *p, int fd, unsigned int seed)
{
	bool child = false;

	while (!counts->stop) {
		unsigned int draw = rand_r(&seed) / 7;
		int page = draw % PAGES, chunk = draw / PAGES & 1;
		char *at = spot(p + chunk * CHUNK, page);
		long seen = value_at(at);

		if (seen != page + 1 && (!chunk || seen))
			counts->wrong++;
		if (seen)
			*(volatile long *)at = seen;
		if (draw % 8 == 0)
			do_something(p, fd, chunk, rand_r(&seed) / 7);
		if (draw % 16 == 1)
			fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				  CHUNK + page * PMD, PAGE);
		if (draw % 16 == 2)
			*(volatile long *)spot(p + CHUNK, page) = page + 1;
		if (draw % 64 == 3 && !child) {
			pid_t pid = fork();

			if (pid == 0) {
				child = true;
				continue;
			}
			child_status(pid);
		}
		if (child && draw % 32 == 4)
			_exit(0);
		__sync_fetch_and_add(&counts->done, 1);
	}
	_exit(0);
}

static void stress(struct __test_metadata *_metadata, FIXTURE_DATA(stress) *self)
{
	struct counts *counts = shared_page(PAGE);
	double start = now();
	pid_t pids[6];

	for (int i = 0; i < ARRAY_SIZE(pids); i++) {
		pids[i] = fork_on(i % nr_cpus());
		if (pids[i] == 0)
			run_stress(counts, self->p, self->fd, i + 1);
	}
	while (!stress_over(start, 3 * stress_seconds(), counts->done > 1000))
		sleep_us(10000);
	counts->stop = true;
	for (int i = 0; i < ARRAY_SIZE(pids); i++) {
		EXPECT_EQ(0, child_status(pids[i]));
	}
	EXPECT_EQ(0, counts->wrong);
	EXPECT_LT(1000, counts->done);
	EXPECT_TRUE(is_filled(self->p, 0, PAGES));
}

TEST_F(stress, all_at_once)
{
	stress(_metadata, self);
}

TEST_F(stress, with_huge_pages)
{
	if (write_file(THP, "always"))
		SKIP(return, "no huge pages of shmem");
	stress(_metadata, self);
}

TEST_F(stress, with_swap)
{
	const char *why = swap_setup();

	if (why)
		SKIP(return, "%s", why);
	stress(_metadata, self);
}

TEST_HARNESS_MAIN
