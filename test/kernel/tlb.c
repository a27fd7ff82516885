// SPDX-License-Identifier: GPL-2.0
/*
 * Stale translations: processes and threads on every CPU store, load and call
 * without a pause while a range flips; once the call that closes it has
 * returned, none of them may get through. Each case has a control that takes
 * the flush out and must see accesses get through.
 */
#include "mshare_test.h"

#include <pthread.h>

#define OBJECT	(64 * PAGE)

/* One that uses the memory without a pause, and counts what got through */
struct user {
	volatile long done;
	volatile long denied;
} __attribute__((aligned(64)));

#define USERS	16

FIXTURE(tlb)
{
	int region;
	int object;
	char *p;
	struct user *users;
	pid_t pids[USERS];
	int nr_users;
};

FIXTURE_VARIANT(tlb)
{
	int access;		/* what the users do */
	int closed;		/* the protection that forbids it */
	size_t size;		/* of what is closed: a chunk (by the view) or a page */
	bool unmap;		/* closed by UNMAP instead */
	bool leaves;		/* a chunk, but by its leaves: see skip_views */
};

FIXTURE_VARIANT_ADD(tlb, store_to_chunk) {
	.access = PROT_WRITE, .closed = PROT_READ, .size = CHUNK };
FIXTURE_VARIANT_ADD(tlb, load_from_chunk) {
	.access = PROT_READ, .closed = PROT_NONE, .size = CHUNK };
FIXTURE_VARIANT_ADD(tlb, call_into_chunk) {
	.access = PROT_EXEC, .closed = PROT_READ, .size = CHUNK };
FIXTURE_VARIANT_ADD(tlb, store_to_chunk_by_leaves) {
	.access = PROT_WRITE, .closed = PROT_READ, .size = CHUNK,
	.leaves = true };
FIXTURE_VARIANT_ADD(tlb, store_to_page) {
	.access = PROT_WRITE, .closed = PROT_READ, .size = PAGE };
FIXTURE_VARIANT_ADD(tlb, load_from_page) {
	.access = PROT_READ, .closed = PROT_NONE, .size = PAGE };
FIXTURE_VARIANT_ADD(tlb, store_to_unmapped) {
	.access = PROT_WRITE, .size = OBJECT, .unmap = true };
FIXTURE_VARIANT_ADD(tlb, store_to_unmapped_chunk) {
	.access = PROT_WRITE, .size = CHUNK, .unmap = true };

FIXTURE_SETUP(tlb)
{
	ASSERT_EQ(0, map_object(OBJECT, RWX, &self->region, &self->object,
				&self->p));
	memset(self->p, RET, OBJECT);
	/* a neighbour keeps the tables, where UNMAP closes */
	ASSERT_EQ(0, create_anon(self->region, OBJECT, PAGE, RW));
	self->p[OBJECT] = RET;
	self->users = shared_page(USERS * sizeof(*self->users));
	ASSERT_EQ(0, knob("skip_views", variant->leaves));
}

static void restore_knobs(void)
{
	knob("skip_flip_flush", false);
	knob("skip_notifier_flush", false);
	knob("skip_unmap_flush", false);
	knob("skip_detach_flush", false);
	knob("skip_views", false);
}

/* What a closing flushes by; less than a chunk changes the host's mappings. */
static int take_out_flushes(const FIXTURE_VARIANT(tlb) *variant)
{
	return knob("skip_flip_flush", true) ?:
		knob("skip_unmap_flush", true) ?:
		knob("skip_notifier_flush",
		     variant->unmap || variant->leaves ||
		     variant->size != CHUNK);
}

FIXTURE_TEARDOWN(tlb)
{
	restore_knobs();
	for (int i = 0; i < self->nr_users; i++) {
		kill(self->pids[i], SIGKILL);
		child_status(self->pids[i]);
	}
	close(self->region);
	close(self->object);
}

static __thread sigjmp_buf retry;

static void on_denied(int sig)
{
	siglongjmp(retry, 1);
}

/* Never returns. One that roams continues on the next CPU when denied. */
static void use(struct user *me, volatile char *p, int access, int cpu, bool roam)
{
	struct sigaction action = {
		.sa_handler = on_denied, .sa_flags = SA_NODEFER
	};

	sigaction(SIGSEGV, &action, NULL);
	if (sigsetjmp(retry, 0)) {
		me->denied++;
		if (roam)
			pin_to(cpu = (cpu + 1) % nr_cpus());
		sleep_us(50);
	}
	switch (access) {
	case PROT_READ:
		for (;; me->done++)
			(void)*p;
	case PROT_WRITE:
		for (;; me->done++)
			*p = RET;
	case PROT_EXEC:
		for (;; me->done++)
			((void (*)(void))p)();
	}
}

/* One user to a CPU, and one that roams */
static void start_users(FIXTURE_DATA(tlb) *self, int access)
{
	int cpus = nr_cpus();

	for (int i = 0; i <= cpus && i < USERS; i++) {
		pid_t pid = fork_on(i % cpus);

		if (pid == 0)
			use(&self->users[i], self->p, access, i % cpus, i == cpus);
		self->pids[i] = pid;
		self->nr_users++;
	}
}

/* Waits until every user has got through again, or for a while. */
static bool all_use(FIXTURE_DATA(tlb) *self)
{
	long before[USERS];
	double end = now() + 2;
	int i;

	for (i = 0; i < self->nr_users; i++)
		before[i] = self->users[i].done;
	for (i = 0; i < self->nr_users && now() < end; )
		if (self->users[i].done != before[i])
			i++;
		else
			sleep_us(20);
	return i == self->nr_users;
}

static int close_range_of(FIXTURE_DATA(tlb) *self,
			  const FIXTURE_VARIANT(tlb) *variant)
{
	if (variant->unmap)
		return unmap(self->region, 0, variant->size);
	return protect(self->region, 0, variant->size, variant->closed);
}

static int open_range_of(FIXTURE_DATA(tlb) *self,
			 const FIXTURE_VARIANT(tlb) *variant)
{
	if (variant->unmap)
		return create_file(self->region, 0, variant->size, RWX,
				   self->object, 0);
	return protect(self->region, 0, variant->size, RWX);
}

struct outcome {
	long flips;		/* closings that all users ran up against */
	long stale;		/* accesses that got through a closed range */
	long errors;
};

/*
 * An access that was done just before the call returned may still be counted
 * after it: one for each user is no evidence.
 */
static struct outcome flip(FIXTURE_DATA(tlb) *self,
			   const FIXTURE_VARIANT(tlb) *variant, double seconds,
			   bool control)
{
	struct outcome outcome = {};
	double start = now();

	pin_to(0);
	while (!stress_over(start, seconds,
			    control ? outcome.stale : outcome.flips > 10)) {
		long before[USERS], through;
		bool running = all_use(self);

		outcome.errors += !!close_range_of(self, variant);
		for (int i = 0; i < self->nr_users; i++)
			before[i] = self->users[i].done;
		sleep_us(1000);
		for (int i = 0; i < self->nr_users; i++) {
			through = self->users[i].done - before[i];
			if (through > 1)
				outcome.stale += through - 1;
		}
		outcome.flips += running;
		outcome.errors += !!open_range_of(self, variant);
	}
	return outcome;
}

TEST_F(tlb, nothing_gets_through)
{
	struct outcome outcome;

	start_users(self, variant->access);
	outcome = flip(self, variant, stress_seconds(), false);
	EXPECT_EQ(0, outcome.errors);
	EXPECT_EQ(0, outcome.stale);
	EXPECT_LT(10, outcome.flips);
	for (int i = 0; i < self->nr_users; i++) {
		EXPECT_LT(0, self->users[i].denied);
	}
	TH_LOG("%ld flips", outcome.flips);
}

TEST_F(tlb, control)
{
	struct outcome outcome;

	if (nr_cpus() < 2)
		SKIP(return, "no power: one CPU, every switch flushes");
	ASSERT_EQ(0, take_out_flushes(variant));
	start_users(self, variant->access);
	outcome = flip(self, variant, stress_seconds() / 3, true);
	EXPECT_POWER(outcome.stale, "the flush");
	TH_LOG("%ld stale accesses in %ld flips", outcome.stale, outcome.flips);
}

/*
 * One that sleeps leaves its CPU idle, with its translations in it; flips may
 * spare such a CPU, but its first access afterwards must be denied.
 */
static long wake_after_flip(FIXTURE_DATA(tlb) *self,
			    const FIXTURE_VARIANT(tlb) *variant, double seconds,
			    bool control, long *rounds)
{
	double start = now();
	int go[2], back[2];
	long through = 0;
	pid_t pid;
	char c;

	if (pipe(go) || pipe(back))
		return -1;
	pid = fork_on(nr_cpus() - 1);
	if (pid == 0)
		for (;;) {
			c = touch(self->p, variant->access);
			write(back[1], &c, 1);
			read(go[0], &c, 1);
		}
	pin_to(0);
	read(back[0], &c, 1);
	for (*rounds = 0; !stress_over(start, seconds, control ? through :
				       *rounds > 10); ++*rounds) {
		sleep_us(200);		/* it sleeps by now */
		close_range_of(self, variant);
		write(go[1], &c, 1);
		read(back[0], &c, 1);
		through += !c;
		open_range_of(self, variant);
		write(go[1], &c, 1);
		read(back[0], &c, 1);
	}
	kill(pid, SIGKILL);
	child_status(pid);
	return through;
}

TEST_F(tlb, sleeper_is_denied)
{
	long rounds;

	EXPECT_EQ(0, wake_after_flip(self, variant, stress_seconds() / 2,
				     false, &rounds));
	EXPECT_LT(10, rounds);
}

TEST_F(tlb, sleeper_control)
{
	long rounds, through;

	if (nr_cpus() < 2)
		SKIP(return, "no power: one CPU, every switch flushes");
	ASSERT_EQ(0, take_out_flushes(variant));
	through = wake_after_flip(self, variant, stress_seconds() / 3,
				  true, &rounds);
	EXPECT_POWER(through, "the flush");
}

FIXTURE(attached)
{
	int region;
	char *p;
};

FIXTURE_SETUP(attached)
{
	self->region = region(1);
	ASSERT_LE(0, self->region);
	ASSERT_EQ(0, create_anon(self->region, 0, OBJECT, RW));
	self->p = window(self->region, 1, RW);
	ASSERT_NE(MAP_FAILED, self->p);
	memset(self->p, RET, OBJECT);
}

FIXTURE_TEARDOWN(attached)
{
	restore_knobs();
	close(self->region);
}

/*
 * Processes that are born, attach, detach and die while the range flips. What
 * lies wholly inside one closed time must be denied, what lies wholly inside
 * one open time must not.
 */
struct clock {
	volatile long phase;	/* % 4: open, closing, closed, opening */
	volatile long through, denied, refused, worked;
	volatile bool stop;
} __attribute__((aligned(64)));

static void stamped_store(struct clock *clock, char *p)
{
	long begin = clock->phase, end;
	int denied = touch(p, PROT_WRITE);

	end = clock->phase;
	if (begin != end)
		return;
	if (begin % 4 == 2)
		__sync_fetch_and_add(denied ? &clock->denied : &clock->through, 1);
	if (begin % 4 == 0)
		__sync_fetch_and_add(denied ? &clock->refused : &clock->worked, 1);
}

TEST_F(attached, born_while_flipping)
{
	struct clock *clock = shared_page(PAGE);
	double start = now();
	pid_t pids[2];

	for (int i = 0; i < 2; i++) {
		pids[i] = fork_on(i % nr_cpus());
		if (pids[i] == 0) {
			while (!clock->stop) {
				char *w;

				if (fork() == 0) {
					stamped_store(clock, self->p);
					stamped_store(clock, self->p + PAGE);
					_exit(0);
				}
				w = window(self->region, 1, RW);
				stamped_store(clock, w);
				stamped_store(clock, w + 2 * PAGE);
				munmap(w, SLOT);
				wait(NULL);
			}
			_exit(0);
		}
	}
	while (!stress_over(start, stress_seconds(),
			    clock->denied > 10 && clock->worked > 10)) {
		clock->phase++;
		EXPECT_EQ(0, protect(self->region, 0, CHUNK, PROT_READ));
		clock->phase++;
		sleep_us(2000);
		clock->phase++;
		EXPECT_EQ(0, protect(self->region, 0, CHUNK, RW));
		clock->phase++;
		sleep_us(2000);
	}
	clock->stop = true;
	for (int i = 0; i < 2; i++) {
		EXPECT_EQ(0, child_status(pids[i]));
	}
	EXPECT_EQ(0, clock->through);
	EXPECT_EQ(0, clock->refused);
	EXPECT_LT(10, clock->denied);
	EXPECT_LT(10, clock->worked);
	EXPECT_EQ(1, region_stat(self->region).windows);
}

/* A thread that stores through a window which another thread takes away */
struct thread_user {
	struct user user;
	char *volatile p;
	volatile bool stop;
};

static void *use_in_thread(void *arg)
{
	struct thread_user *t = arg;
	struct sigaction action = {
		.sa_handler = on_denied, .sa_flags = SA_NODEFER
	};

	pin_to(nr_cpus() - 1);
	sigaction(SIGSEGV, &action, NULL);
	if (sigsetjmp(retry, 0)) {
		t->user.denied++;
		sleep_us(20);
	}
	while (!t->stop) {
		char *p = t->p;

		for (int i = 0; i < 1000; i++, t->user.done++)
			*(volatile char *)p = RET;
	}
	return NULL;
}

static struct outcome detach(FIXTURE_DATA(attached) *self, double seconds)
{
	static struct thread_user t;
	struct outcome outcome = {};
	double start = now();
	pthread_t thread;

	t.p = self->p;
	pthread_create(&thread, NULL, use_in_thread, &t);
	pin_to(0);
	while (!stress_over(start, seconds, outcome.flips > 10)) {
		char *w = mmap((char *)(30 * SLOT), SLOT, RW,
			       MAP_SHARED | MAP_FIXED, self->region, 0);
		double until = now() + 0.1;
		long before;

		if (w == MAP_FAILED) {
			outcome.errors++;
			break;
		}
		/* Not the first page: freeing tables flushes an address. */
		t.p = w + PAGE;
		before = t.user.done;
		while (t.user.done < before + 3000 && now() < until)
			;
		outcome.errors += !!munmap(w, SLOT);
		before = t.user.done;
		sleep_us(300);
		if (t.user.done > before + 1)
			outcome.stale += t.user.done - before - 1;
		outcome.flips++;
		t.p = self->p;
	}
	t.stop = true;
	pthread_join(thread, NULL);
	return outcome;
}

TEST_F(attached, munmap_ends_all_access)
{
	struct outcome outcome = detach(self, stress_seconds() / 2);

	EXPECT_EQ(0, outcome.errors);
	EXPECT_EQ(0, outcome.stale);
	EXPECT_LT(10, outcome.flips);
}

TEST_F(attached, munmap_control)
{
	struct outcome outcome;

	if (nr_cpus() < 2)
		SKIP(return, "no power: one CPU, every switch flushes");
	ASSERT_EQ(0, knob("skip_detach_flush", true));
	outcome = detach(self, stress_seconds() / 3);
	EXPECT_POWER(outcome.stale, "the flush");
}

/*
 * Window after window at one address, each of a region of its own. The pages of
 * the one before that are still seen.
 */
static long pages_of_the_region_before(long windows)
{
	long stale = 0;

	for (long i = 1; i <= windows; i++) {
		int object = memfd(MIB), next = region(1);
		volatile long *p;

		if (next < 0 || create_file(next, 0, MIB, RW, object, 0))
			return -1;
		p = mmap((char *)(30 * SLOT), SLOT, RW, MAP_SHARED | MAP_FIXED,
			 next, 0);
		if (p == MAP_FAILED)
			return -1;
		for (long at = 0; at < MIB; at += PAGE) {
			if (pwrite(object, &i, sizeof(i), at) != sizeof(i))
				return -1;
			stale += p[at / sizeof(long)] != i;
		}
		if (munmap((void *)p, SLOT))
			return -1;
		close(next);
		close(object);
	}
	return stale;
}

/* A flush of a slot's length was one of no pages: 512 GiB as an unsigned int. */
TEST_F(attached, next_region_is_seen)
{
	pin_to(0);
	EXPECT_EQ(0, pages_of_the_region_before(100));
}

TEST_F(attached, next_region_control)
{
	pin_to(0);
	ASSERT_EQ(0, knob("skip_detach_flush", true));
	EXPECT_POWER(pages_of_the_region_before(100), "the flush");
}

/*
 * Rule 3.3.1 at length: processes and threads on every CPU store while chunks
 * and pages flip as often as 10,000 times, most of them under somebody's store.
 */
#define MANY		10000

FIXTURE(many)
{
	int region;
	char *p;
	struct user *users;
	pid_t pids[USERS];
	int nr_users, nr_pids;
};

FIXTURE_SETUP(many)
{
	self->region = region(1);
	ASSERT_LE(0, self->region);
	ASSERT_EQ(0, create_anon(self->region, 0, OBJECT, RW));
	self->p = window(self->region, 1, RW);
	ASSERT_NE(MAP_FAILED, self->p);
	memset(self->p, RET, OBJECT);
	self->users = shared_page(2 * USERS * sizeof(*self->users));
}

FIXTURE_TEARDOWN(many)
{
	restore_knobs();
	for (int i = 0; i < self->nr_pids; i++) {
		kill(self->pids[i], SIGKILL);
		child_status(self->pids[i]);
	}
	close(self->region);
}

struct storer {
	struct user *me;
	char *p;
	int cpu;
};

static void *store_in_thread(void *arg)
{
	struct storer *storer = arg;

	pin_to(storer->cpu);
	use(storer->me, storer->p, PROT_WRITE, storer->cpu, false);
	return NULL;
}

/* To each CPU a process, and a thread of one more process */
static void start_many(FIXTURE_DATA(many) *self)
{
	int cpus = nr_cpus() < USERS ? nr_cpus() : USERS - 1;
	struct user *users = self->users;

	for (int i = 0; i <= cpus; i++) {
		pid_t pid = fork_on(i < cpus ? i : -1);

		if (pid == 0 && i < cpus)
			use(&users[i], self->p, PROT_WRITE, i, false);
		if (pid == 0) {
			struct storer threads[USERS];
			pthread_t thread;

			for (int t = 0; t < cpus; t++) {
				threads[t] = (struct storer){
					&users[cpus + t], self->p, t
				};
				pthread_create(&thread, NULL, store_in_thread,
					       &threads[t]);
			}
			for (;;)
				pause();
		}
		self->pids[self->nr_pids++] = pid;
	}
	self->nr_users = 2 * cpus;
}

static long stores(FIXTURE_DATA(many) *self)
{
	long sum = 0;

	for (int i = 0; i < self->nr_users; i++)
		sum += self->users[i].done;
	return sum;
}

/* Flips until enough of them, or enough time; counts those under stores. */
static long flip_many(FIXTURE_DATA(many) *self, double seconds, bool control,
		      long *stale)
{
	double start = now();
	long flips = 0;

	pin_to(0);
	nice(-20);			/* comes back at once from its sleeps */
	for (int round = 0; flips < MANY && now() < start + seconds &&
	     !(control && *stale); round++) {
		size_t size = round & 1 ? CHUNK : PAGE;
		long before[2 * USERS], last = stores(self);
		double open = now();

		do
			sleep_us(50);
		while (stores(self) == last && now() < open + 0.01);
		flips += stores(self) != last;
		if (protect(self->region, 0, size, PROT_READ))
			return -1;
		for (int i = 0; i < self->nr_users; i++)
			before[i] = self->users[i].done;
		sleep_us(50);
		for (int i = 0; i < self->nr_users; i++) {
			long through = self->users[i].done - before[i];

			if (through > 1)
				*stale += through - 1;
		}
		if (protect(self->region, 0, size, RW))
			return -1;
	}
	return flips;
}

TEST_F_TIMEOUT(many, nothing_gets_through, 1500)
{
	bool soak = stress_seconds() >= 20;	/* not one flip less */
	double start = now();
	long stale = 0, flips;

	start_many(self);
	flips = flip_many(self, soak ? 1200 : 10 * stress_seconds(), false,
			  &stale);
	EXPECT_EQ(0, stale);
	EXPECT_LE(soak ? MANY : MANY / 100, flips);
	for (int i = 0; i < self->nr_users; i++) {
		EXPECT_LT(0, self->users[i].denied);
	}
	TH_LOG("%ld flips under stores in %.1f s", flips, now() - start);
}

TEST_F(many, control)
{
	long stale = 0;

	if (nr_cpus() < 2)
		SKIP(return, "no power: one CPU, every switch flushes");
	ASSERT_EQ(0, knob("skip_flip_flush", true));
	ASSERT_EQ(0, knob("skip_notifier_flush", true));
	start_many(self);
	EXPECT_LE(0, flip_many(self, 30, true, &stale));
	EXPECT_POWER(stale, "the flush");
}

TEST_HARNESS_MAIN
