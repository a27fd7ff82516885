// SPDX-License-Identifier: GPL-2.0
/*
 * Pages that move or go while processes use them: migration, swap, hole
 * punching, truncation, huge pages put together and taken apart. Nobody sees
 * what was there before, nobody's store is lost.
 */
#include "mshare_test.h"
#include "mshare_mm.h"

#define OBJECT	(2 * PMD)
#define VICTIM	(PMD + 7 * PAGE)
#define GROUP	"moved"
#define READERS	16		/* at most; one to a CPU */

/* A process that reads one word without a pause, and tells what it saw */
struct reader {
	volatile long seen;
	volatile long rounds;
	volatile bool hold;	/* keeps its translation, but does not use it */
	volatile bool held;
} __attribute__((aligned(64)));

FIXTURE(moved)
{
	int region;
	int object;
	char *p, *q;		/* the window, an ordinary mapping */
	int kept[2];		/* a pipe that holds the page that goes */
	struct reader *readers;
	pid_t pids[READERS];
	int nr_readers;
	int went_in_use;	/* how often the page went while it was read */
};

/* An event does something to the page and says what a reader finds after it. */
FIXTURE_VARIANT(moved)
{
	long (*event)(FIXTURE_DATA(moved) *self, long value);
	const char *flushes[2];		/* what takes them out */
};

static int punch(int object, off_t at)
{
	return fallocate(object, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			 at, PAGE);
}

/*
 * Holds the page that is about to go, and lets go of the one before. A page
 * that is free may be what the next fault takes, zeroed, and who has a stale
 * translation would find in it what is expected.
 */
static int keep(FIXTURE_DATA(moved) *self)
{
	loff_t at = VICTIM;
	char page[PAGE];

	if (read(self->kept[0], page, PAGE) < 0 && errno != EAGAIN)
		return -1;
	return splice(self->object, &at, self->kept[1], NULL, PAGE, 0) == PAGE ?
		0 : -1;
}

static long hole(FIXTURE_DATA(moved) *self, long value)
{
	return keep(self) || punch(self->object, VICTIM) ? -errno : 0;
}

static long truncation(FIXTURE_DATA(moved) *self, long value)
{
	if (keep(self) || ftruncate(self->object, PMD) ||
	    ftruncate(self->object, OBJECT))
		return -errno;
	return 0;
}

static long migration(FIXTURE_DATA(moved) *self, long value)
{
	return migrate_page(self->q + VICTIM) ?: value;
}

/* Who waits for a page, or uses it, all the time keeps it from moving. */
static void hold_readers(FIXTURE_DATA(moved) *self)
{
	for (int i = 0; i < self->nr_readers; i++) {
		self->readers[i].hold = true;
		while (!self->readers[i].held)
			sleep_us(20);
	}
}

static void release_readers(FIXTURE_DATA(moved) *self)
{
	for (int i = 0; i < self->nr_readers; i++)
		self->readers[i].hold = false;
}

static long collapse(FIXTURE_DATA(moved) *self, long value)
{
	int err;

	/* apart again, so that there is something to put together */
	if (punch(self->object, PMD + 100 * PAGE))
		return -errno;
	hold_readers(self);
	err = collapse_pages(self->q, OBJECT);
	release_readers(self);
	return err ?: value;
}

/* The frame that the page was in is somebody else's before it comes back. */
static long swap(FIXTURE_DATA(moved) *self, long value)
{
	bool out;
	char *others;

	if (swap_setup())
		return -EINVAL;
	munmap(self->q, OBJECT);	/* would keep the page in use */
	out = !swap_out_of(GROUP, self->object, VICTIM, 10);
	if (out) {
		self->went_in_use++;
	} else {
		hold_readers(self);
		out = !swap_out_of(GROUP, self->object, VICTIM, 50);
		release_readers(self);
	}
	self->q = mmap(self->q, OBJECT, RW, MAP_SHARED | MAP_FIXED,
		       self->object, 0);
	if (!out)
		return -EBUSY;
	others = mmap(NULL, 4 * MIB, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memset(others, 0x55, 4 * MIB);
	value++;
	pwrite(self->object, &value, sizeof(value), VICTIM);
	munmap(others, 4 * MIB);
	return value;
}

FIXTURE_VARIANT_ADD(moved, hole) {
	.event = hole, .flushes = { "skip_notifier_flush" } };
FIXTURE_VARIANT_ADD(moved, truncation) {
	.event = truncation, .flushes = { "skip_notifier_flush" } };
FIXTURE_VARIANT_ADD(moved, migration) {
	.event = migration, .flushes = { "skip_batch_flush" } };
FIXTURE_VARIANT_ADD(moved, collapse) {
	.event = collapse,
	.flushes = { "skip_batch_flush", "skip_notifier_flush" } };
FIXTURE_VARIANT_ADD(moved, swap) {
	.event = swap, .flushes = { "skip_batch_flush" } };

FIXTURE_SETUP(moved)
{
	ASSERT_EQ(0, group_enter(GROUP));
	ASSERT_EQ(0, map_object(OBJECT, RW, &self->region, &self->object,
				&self->p));
	self->q = map_aligned(self->object, OBJECT);
	ASSERT_NE(MAP_FAILED, self->q);
	memset(self->q, 0, OBJECT);
	ASSERT_EQ(0, pipe2(self->kept, O_NONBLOCK));
	self->readers = shared_page(READERS * sizeof(*self->readers));
}

FIXTURE_TEARDOWN(moved)
{
	knob("skip_notifier_flush", false);
	knob("skip_batch_flush", false);
	for (int i = 0; i < self->nr_readers; i++) {
		kill(self->pids[i], SIGKILL);
		child_status(self->pids[i]);
	}
	close(self->kept[0]);
	close(self->kept[1]);
	close(self->region);
	close(self->object);
	group_leave(GROUP);
}

static sigjmp_buf retry;

static void on_denied(int sig)
{
	siglongjmp(retry, 1);
}

/* A denied access goes on at sigsetjmp(retry). */
static void retry_on(int sig)
{
	struct sigaction action = {
		.sa_handler = on_denied, .sa_flags = SA_NODEFER
	};

	sigaction(sig, &action, NULL);
}

static void read_on(struct reader *me, volatile long *word)
{
	retry_on(SIGBUS);
	if (sigsetjmp(retry, 0))
		sleep_us(50);
	for (;; me->rounds++) {
		me->seen = *word;
		while (me->hold)
			me->held = true;
		me->held = false;
	}
}

static void start_readers(FIXTURE_DATA(moved) *self)
{
	for (int i = 0; i < nr_cpus() && i < READERS; i++) {
		self->pids[i] = fork_on(i);
		if (self->pids[i] == 0)
			read_on(&self->readers[i],
				(volatile long *)(self->p + VICTIM));
		self->nr_readers++;
	}
}

/* How many readers find something else, once each has looked again */
static int astray(FIXTURE_DATA(moved) *self, long value)
{
	double end = now() + 5;
	long before[READERS];
	int wrong = 0;

	for (int i = 0; i < self->nr_readers; i++)
		before[i] = self->readers[i].rounds;
	for (int i = 0; i < self->nr_readers; i++) {
		while (self->readers[i].rounds < before[i] + 2 && now() < end)
			sleep_us(20);
		wrong += self->readers[i].rounds < before[i] + 2 ||
			self->readers[i].seen != value;
	}
	return wrong;
}

/* A page that for long has gone only while nobody used it tells nothing. */
static bool is_in_vain(FIXTURE_DATA(moved) *self,
		       const FIXTURE_VARIANT(moved) *variant, double start)
{
	return variant->event == swap && !self->went_in_use && now() > start + 20;
}

struct outcome {
	long rounds, stale, error;
};

static struct outcome move(FIXTURE_DATA(moved) *self,
			   const FIXTURE_VARIANT(moved) *variant, double seconds,
			   bool control)
{
	volatile long *word = (volatile long *)(self->q + VICTIM);
	struct outcome outcome = {};
	double start = now();

	pin_to(0);
	for (long value = 1; outcome.rounds < 200 &&
	     !(control && is_in_vain(self, variant, start)) &&
	     !stress_over(start, seconds, control ? outcome.stale :
			  outcome.rounds > 3); value++) {
		long expected;

		*word = value;
		outcome.stale += astray(self, value);
		expected = variant->event(self, value);
		if (expected < 0) {
			outcome.error = expected;
			break;
		}
		outcome.stale += astray(self, expected);
		outcome.rounds++;
	}
	return outcome;
}

TEST_F(moved, readers_follow)
{
	struct outcome outcome;

	start_readers(self);
	outcome = move(self, variant, stress_seconds(), false);
	if (outcome.error == -EINVAL)
		SKIP(return, "this kernel cannot do that to a page");
	EXPECT_EQ(0, outcome.error);
	EXPECT_EQ(0, outcome.stale)
		TH_LOG("%ld stale reads in %ld rounds", outcome.stale,
		       outcome.rounds);
	EXPECT_LT(3, outcome.rounds);
}

TEST_F(moved, control)
{
	struct outcome outcome;

	if (nr_cpus() < 2)
		SKIP(return, "no power: one CPU, every switch flushes");
	start_readers(self);
	for (int i = 0; i < 2 && variant->flushes[i]; i++) {
		ASSERT_EQ(0, knob(variant->flushes[i], true));
	}
	outcome = move(self, variant, stress_seconds() / 3, true);
	if (outcome.error == -EINVAL)
		SKIP(return, "this kernel cannot do that to a page");
	EXPECT_EQ(0, outcome.error);
	if (variant->event == swap && !outcome.stale && !self->went_in_use)
		SKIP(return, "no power: the page went only while nobody used it");
	EXPECT_POWER(outcome.stale, "the flush");
}

/*
 * A page goes elsewhere while a flip has closed it to everything and has not yet
 * flushed. Its entry grants nothing then, as if nobody could have it in a TLB.
 */
struct storer {
	volatile long last;		/* store that has been done */
	volatile bool denied;
	volatile int moves;		/* asked for */
	volatile int moved, failed;
};

FIXTURE(closing)
{
	int region;
	int object;
	char *p, *q;
	struct storer *storer;
	pid_t pid, mover;
};

FIXTURE_SETUP(closing)
{
	if (nr_cpus() < 2)
		SKIP(return, "no power: one CPU, every switch flushes");
	ASSERT_EQ(0, map_object(OBJECT, RW, &self->region, &self->object,
				&self->p));
	self->q = map_aligned(self->object, OBJECT);
	ASSERT_NE(MAP_FAILED, self->q);
	self->storer = shared_page(sizeof(*self->storer));
	if (write_file(KNOBS "flip_delay_us", "100000"))
		SKIP(return, "no power: no knob flip_delay_us holds the flush back");
}

FIXTURE_TEARDOWN(closing)
{
	write_file(KNOBS "flip_delay_us", "0");
	knob("skip_batch_flush", false);
	if (self->pid > 0) {
		kill(self->pid, SIGKILL);
		child_status(self->pid);
	}
	if (self->mover > 0) {
		kill(self->mover, SIGKILL);
		child_status(self->mover);
	}
	close(self->region);
	close(self->object);
}

static void store_on(struct storer *me, volatile long *word)
{
	retry_on(SIGSEGV);
	if (sigsetjmp(retry, 0)) {
		me->denied = true;
		while (me->denied)
			sleep_us(1000);
	}
	for (;;) {
		*word = me->last + 1;
		me->last++;
	}
}

static void move_on(struct storer *me, char *page)
{
	for (;;) {
		while (me->moves == me->moved + me->failed)
			sleep_us(1000);
		sleep_us(10000);	/* the leaf is closed */
		if (migrate_page(page))
			me->failed++;
		else
			me->moved++;
	}
}

/*
 * Returns how many times a store was lost, or -errno. On a busy host it may take
 * many rounds until the page has moved in time.
 */
static int close_and_move(FIXTURE_DATA(closing) *self, bool control)
{
	volatile long *word = (volatile long *)(self->q + VICTIM);
	struct storer *storer = self->storer;
	int lost = 0, moved = 0;

	pin_to(0);
	*word = 0;
	self->pid = fork_on(1);
	if (self->pid == 0)
		store_on(storer, (volatile long *)(self->p + VICTIM));
	self->mover = fork_on(0);
	if (self->mover == 0)
		move_on(storer, self->q + VICTIM);
	for (int i = 0; i < 5 || (i < 50 && !(control ? lost : moved)); i++) {
		long last = storer->last;
		int before = storer->moved, err;

		if (!UNTIL(storer->last > last + 1000))
			return -ETIMEDOUT;
		storer->moves++;
		err = protect(self->region, VICTIM, PAGE, PROT_NONE);
		moved += storer->moved - before;	/* before it returned */
		last = storer->last;
		lost += *word < last;
		if (err || !UNTIL(storer->denied) ||
		    !UNTIL(storer->moves == storer->moved + storer->failed))
			return err ?: -ETIMEDOUT;
		storer->last = *word;
		err = protect(self->region, VICTIM, PAGE, RW);
		if (err)
			return err;
		storer->denied = false;
	}
	return moved ? lost : -EBUSY;
}

TEST_F(closing, no_store_is_lost)
{
	EXPECT_EQ(0, close_and_move(self, false));
}

TEST_F(closing, control)
{
	int lost;

	ASSERT_EQ(0, knob("skip_batch_flush", true));
	lost = close_and_move(self, true);
	EXPECT_LE(0, lost);
	EXPECT_POWER(lost, "the flush");
}

/*
 * Writers own pages each, know what they wrote last, and check it before they
 * write again. They run while everything happens to these pages at once.
 */
#define WRITERS		4
#define OWN		128		/* pages of each */

struct writer {
	volatile bool stop;
	volatile long stores, lost;
	volatile long last[OWN];
};

FIXTURE(written)
{
	int region;
	int object;
	char *p;
	struct writer *writers;
	pid_t pids[WRITERS];
};

FIXTURE_SETUP(written)
{
	ASSERT_EQ(0, group_enter("written"));
	ASSERT_EQ(0, map_object(OBJECT, RW, &self->region, &self->object,
				&self->p));
	self->writers = shared_page(WRITERS * sizeof(*self->writers));
}

FIXTURE_TEARDOWN(written)
{
	for (int i = 0; i < WRITERS; i++)
		if (self->pids[i] > 0) {
			kill(self->pids[i], SIGKILL);
			child_status(self->pids[i]);
		}
	close(self->region);
	close(self->object);
	write_file(group_path("written", "memory.max"), "max");
	group_leave("written");
}

/* Pages of all writers lie side by side; the last half of a PMD is nobody's. */
static unsigned long own_page(int writer, int i)
{
	return (i / 64) * PMD + (i % 64 * WRITERS + writer) * PAGE;
}

/* A store that is denied has not happened: it is tried again elsewhere. */
static void write_on(struct writer *me, int number, char *p)
{
	static unsigned int seed;

	seed = number;
	retry_on(SIGSEGV);
	sigsetjmp(retry, 0);
	while (!me->stop) {
		int i = rand_r(&seed) % OWN;
		volatile long *word = (void *)(p + own_page(number, i));

		if (*word != me->last[i])
			me->lost++;
		*word = me->last[i] + 1;
		me->last[i]++;
		me->stores++;
	}
	_exit(0);
}

static long lost_stores(FIXTURE_DATA(written) *self)
{
	long lost = 0;

	for (int w = 0; w < WRITERS; w++) {
		struct writer *writer = &self->writers[w];

		writer->stop = true;
		child_status(self->pids[w]);
		self->pids[w] = 0;
		lost += writer->lost;
		for (int i = 0; i < OWN; i++) {
			long word = -1;

			pread(self->object, &word, sizeof(word), own_page(w, i));
			lost += word != writer->last[i];
		}
	}
	return lost;
}

static void start_writers(FIXTURE_DATA(written) *self)
{
	for (int w = 0; w < WRITERS; w++) {
		self->pids[w] = fork_on(w % nr_cpus());
		if (self->pids[w] == 0)
			write_on(&self->writers[w], w, self->p);
	}
}

static void signal_writers(FIXTURE_DATA(written) *self, int sig)
{
	for (int w = 0; w < WRITERS; w++)
		kill(self->pids[w], sig);
}

TEST_F(written, nothing_is_lost)
{
	double end = now() + 2 * stress_seconds();
	bool swaps = !swap_setup();
	char *q = map_aligned(self->object, OBJECT);
	long done[4] = {};
	unsigned int seed = 1;

	ASSERT_NE(MAP_FAILED, q);
	start_writers(self);
	for (int round = 0; now() < end; round++) {
		int victim = rand_r(&seed) % OWN;
		unsigned long at = own_page(rand_r(&seed) % WRITERS, victim);

		switch (round % 6) {
		case 0:
			done[0] += !migrate_page(q + at);
			break;
		case 1:		/* hardly ever succeeds under use */
			signal_writers(self, SIGSTOP);
			done[1] += !collapse_pages(q, OBJECT);
			signal_writers(self, SIGCONT);
			madvise(q, OBJECT, MADV_COLLAPSE);
			break;
		case 2:		/* splits a huge page */
			done[2] += !punch(self->object, PMD - PAGE);
			done[2] += !punch(self->object, OBJECT - PAGE);
			break;
		case 3:
			if (swaps)
				done[3] += !write_file(group_path("written",
								  "memory.reclaim"),
						       "256K");
			break;
		case 4:
			write_file("/proc/sys/vm/compact_memory", "1");
			break;
		case 5:
			EXPECT_EQ(0, protect(self->region, round & 8 ? 0 : at,
					     round & 8 ? CHUNK : PAGE, PROT_READ));
			EXPECT_EQ(0, protect(self->region, 0, CHUNK, RW));
			break;
		}
	}
	EXPECT_EQ(0, lost_stores(self));
	for (int w = 0; w < WRITERS; w++) {
		EXPECT_LT(OWN, self->writers[w].stores);
	}
	TH_LOG("migrated %ld, collapsed %ld, split %ld, reclaimed %ld times",
	       done[0], done[1], done[2], done[3]);
}

TEST_F(written, swapping_under_pressure)
{
	const char *why = swap_setup();
	long out = vmstat("pswpout"), in = vmstat("pswpin");
	double start = now();

	if (why)
		SKIP(return, "%s", why);
	start_writers(self);
	while (!stress_over(start, stress_seconds(), vmstat("pswpout") > out &&
			    vmstat("pswpin") > in))
		write_file(group_path("written", "memory.reclaim"), "8M");
	EXPECT_EQ(0, lost_stores(self));
	EXPECT_LT(out, vmstat("pswpout"))
		TH_LOG("no power: nothing was swapped out");
	EXPECT_LT(in, vmstat("pswpin"))
		TH_LOG("no power: nothing was swapped in");
}

TEST_HARNESS_MAIN
