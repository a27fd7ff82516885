// SPDX-License-Identifier: GPL-2.0
/*
 * Out of memory at any allocation of any call: the errno is ENOMEM, the region
 * is what it was, and the same call works when there is memory again. Needs
 * the kernel's fault injection: the debug variant has it.
 *
 * /proc/thread-self/fail-nth lets the N-th allocation fail; each call is
 * repeated with growing N until it makes fewer than N.
 */
#include "mshare_test.h"

#include <sys/mount.h>
#include <sys/uio.h>

#define OBJECT		(8 * PAGE)
#define DEBUGFS		"/sys/kernel/debug/"

/*
 * The places that are looked at, and what each of them allows: w read and
 * write, r read only, n nothing, - a hole. Three chunks hold something, and
 * the view closes all but the first.
 */
static const unsigned long spots[] = {
	0, 4 * PAGE, 16 * PAGE,
	CHUNK, CHUNK + 4 * PAGE, CHUNK + 16 * PAGE,
	2 * CHUNK,
	3 * CHUNK, 3 * CHUNK + 16 * PAGE,
};

#define LAYOUT	"ww-" "rr-" "-" "-r"

enum { OPEN_4 = 1, OPEN_HOLE, CLOSED, CLOSED_4, CLOSED_HOLE, EMPTY, LAST_HOLE, LAST };

FIXTURE(nomem)
{
	int nth;		/* /proc/thread-self/fail-nth */
	int make;		/* /proc/thread-self/make-it-fail */
	int region;
	int object;
	char *p;
	char dir[32];		/* to mount on */
	struct mshare_stat start;
};

static void injectors_set(const char *name, const char *value)
{
	static const char *const injectors[] = { "failslab", "fail_page_alloc" };
	char path[128];

	for (int i = 0; i < ARRAY_SIZE(injectors); i++) {
		snprintf(path, sizeof(path), "/sys/kernel/debug/%s/%s",
			 injectors[i], name);
		write_file(path, value);
	}
}

/* Every kind of allocation can fail, but only where a task asks for it. */
static void injectors_reset(void)
{
	injectors_set("probability", "0");
	injectors_set("task-filter", "Y");
	injectors_set("times", "-1");
	injectors_set("verbose", "0");
	injectors_set("ignore-gfp-wait", "N");
	injectors_set("ignore-gfp-highmem", "N");
	injectors_set("min-order", "0");
}

FIXTURE_SETUP(nomem)
{
	self->nth = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	self->make = open("/proc/thread-self/make-it-fail", O_RDWR | O_CLOEXEC);
	if (self->nth < 0)
		SKIP(return, "no fault injection in this kernel: the debug variant has it");
	strcpy(self->dir, "/tmp/mshareXXXXXX");
	ASSERT_NE(NULL, mkdtemp(self->dir));
	injectors_reset();
}

FIXTURE_TEARDOWN(nomem)
{
	injectors_reset();
	close(self->nth);
	close(self->make);
	rmdir(self->dir);
}

static void fail_at(FIXTURE_DATA(nomem) *self, int n)
{
	char text[16];

	pwrite(self->nth, text, snprintf(text, sizeof(text), "%d", n), 0);
}

/* Has one failed? None fails from here on. */
static bool has_failed(FIXTURE_DATA(nomem) *self)
{
	char text[16] = "";

	pread(self->nth, text, sizeof(text) - 1, 0);
	fail_at(self, 0);
	return !atoi(text);
}

static int lay_out(FIXTURE_DATA(nomem) *self)
{
	int err;

	self->region = region(1);
	self->object = memfd(OBJECT);
	self->p = window(self->region, 1, RW);
	err = create_file(self->region, 0, OBJECT, RW, self->object, 0) ?:
		create_anon(self->region, CHUNK, OBJECT, RW) ?:
		create_anon(self->region, spots[LAST], PAGE, RW) ?:
		protect(self->region, CHUNK, 3 * CHUNK, PROT_READ);
	self->start = region_stat(self->region);
	return err;
}

static void clear(FIXTURE_DATA(nomem) *self)
{
	munmap(self->p, SLOT);
	close(self->region);
	close(self->object);
}

static const char *layout(FIXTURE_DATA(nomem) *self)
{
	static char found[ARRAY_SIZE(spots) + 1];

	for (int i = 0; i < ARRAY_SIZE(spots); i++) {
		int have = rights(self->p + spots[i]);

		found[i] = have == RW ? 'w' : have == PROT_READ ? 'r' :
			   have == PROT_NONE ? 'n' : have == -SEGV_MAPERR ? '-' : '?';
	}
	return found;
}

/* What of a layout a PROTECT of it all must give */
static const char *all(const char *layout, char prot)
{
	static char changed[ARRAY_SIZE(spots) + 1];

	for (int i = 0; i < ARRAY_SIZE(spots); i++)
		changed[i] = layout[i] == '-' ? '-' : prot;
	return changed;
}

static int create_beside(FIXTURE_DATA(nomem) *self)
{
	return create_anon(self->region, spots[OPEN_HOLE], PAGE, RW);
}

static int create_populated(FIXTURE_DATA(nomem) *self)
{
	return create_flags(self->region, spots[OPEN_HOLE], 32 * PAGE, RW,
			    MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
}

static int create_from_file(FIXTURE_DATA(nomem) *self)
{
	return create_file(self->region, spots[EMPTY], PAGE, RW, self->object, 0);
}

static int create_in_closed(FIXTURE_DATA(nomem) *self)
{
	return create_anon(self->region, spots[CLOSED_HOLE], PAGE, RW);
}

static int create_across(FIXTURE_DATA(nomem) *self)
{
	return create_flags(self->region, spots[CLOSED_HOLE],
			    spots[LAST] - spots[CLOSED_HOLE], RW,
			    MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

static int close_page(FIXTURE_DATA(nomem) *self)
{
	return protect(self->region, spots[OPEN_4], PAGE, PROT_READ);
}

static int open_page(FIXTURE_DATA(nomem) *self)
{
	return protect(self->region, spots[CLOSED_4], PAGE, RW);
}

static int close_chunks(FIXTURE_DATA(nomem) *self)
{
	return protect(self->region, 0, 4 * CHUNK, PROT_NONE);
}

static int close_across(FIXTURE_DATA(nomem) *self)
{
	return protect(self->region, spots[OPEN_4],
		       spots[CLOSED_4] - spots[OPEN_4], PROT_NONE);
}

static int open_across(FIXTURE_DATA(nomem) *self)
{
	return protect(self->region, spots[CLOSED_4],
		       4 * CHUNK - spots[CLOSED_4], RW);
}

static int unmap_page(FIXTURE_DATA(nomem) *self)
{
	return unmap(self->region, spots[OPEN_4], PAGE);
}

static int unmap_chunk(FIXTURE_DATA(nomem) *self)
{
	return unmap(self->region, CHUNK, CHUNK);
}

static int unmap_across(FIXTURE_DATA(nomem) *self)
{
	return unmap(self->region, spots[OPEN_4],
		     spots[CLOSED_4] - spots[OPEN_4]);
}

/* What takes back what a call did must not be what fails. */
#define UNTIL_DONE(call) do { } while ((call) && errno == ENOMEM)

static int open_unnamed(FIXTURE_DATA(nomem) *self)
{
	int fd = region_open();

	return fd < 0 ? fd : result(close(fd));
}

static int open_named(FIXTURE_DATA(nomem) *self)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "%s/nomem-%d", mshare_dir(), getpid());
	fd = result(open(path, O_CREAT | O_RDWR | O_EXCL | O_CLOEXEC, 0600));
	if (fd < 0)
		return fd;
	UNTIL_DONE(unlink(path));
	return result(close(fd));
}

static int set_size(FIXTURE_DATA(nomem) *self)
{
	int err, fd = region(1);

	if (fd < 0)
		return fd;
	err = create_anon(fd, 0, PAGE, RW);
	close(fd);
	return err;
}

static int map_window(FIXTURE_DATA(nomem) *self)
{
	char *w = window(self->region, 1, RW);

	if (w == MAP_FAILED)
		return -errno;
	UNTIL_DONE(munmap(w, SLOT));
	return 0;
}

static int fork_with_windows(FIXTURE_DATA(nomem) *self)
{
	pid_t pid = result(fork());

	if (!pid)
		_exit(touch(self->p, PROT_READ));
	return pid < 0 ? pid : child_status(pid);
}

/* A fault that finds no memory is taken again, as any other. */
static int fault_in(FIXTURE_DATA(nomem) *self)
{
	return touch(self->p + 6 * PAGE, PROT_WRITE);
}

static int poke(FIXTURE_DATA(nomem) *self)
{
	long word = 0;
	struct iovec local = { &word, sizeof(word) };
	struct iovec remote = { self->p + 7 * PAGE, sizeof(word) };

	/* EFAULT tells of everything that went wrong with a page */
	return process_vm_writev(getpid(), &local, 1, &remote, 1, 0) < 0 ?
		-ENOMEM : 0;
}

/* A denial is one also if it cannot be told; and lost is what was not told. */
static int be_denied(FIXTURE_DATA(nomem) *self)
{
	struct mshare_event event = {};

	while (!next_event(self->region, &event, 0))
		;
	/* how it is denied may get lost with the signal's siginfo */
	if (!touch(self->p + spots[CLOSED], PROT_WRITE))
		return -EIO;
	if (next_event(self->region, &event, 0))
		return 0;		/* none was queued: the next is LOST */
	return event.region_offset == spots[CLOSED] ? 0 : -EIO;
}

/* A wait that finds no memory is tried again, as any fault. */
static int be_kept_waiting(FIXTURE_DATA(nomem) *self)
{
	int err = fault_mode(self->region, MSHARE_FAULT_WAIT, 0, 1000000);

	if (err)
		return err;
	err = touch(self->p + spots[CLOSED], PROT_WRITE) ? 0 : -EIO;
	return err ?: fault_mode(self->region, MSHARE_FAULT_SIGNAL, 0, 0);
}

static int advise_open(FIXTURE_DATA(nomem) *self, int advice)
{
	int err = advise(self->region, spots[OPEN_4], PAGE, advice);

	/* EAGAIN is what madvise() says when a mapping cannot be split */
	return err == -EAGAIN ? -ENOMEM : err;
}

static int advise_huge(FIXTURE_DATA(nomem) *self)
{
	return advise_open(self, MADV_HUGEPAGE);
}

static int advise_populate(FIXTURE_DATA(nomem) *self)
{
	return advise_open(self, MADV_POPULATE_WRITE);
}

static int mount_one(FIXTURE_DATA(nomem) *self)
{
	if (mount("msharefs", self->dir, "msharefs", 0, "size=1m"))
		return -errno;
	UNTIL_DONE(umount(self->dir));
	return 0;
}

static const struct call {
	const char *name;
	int (*run)(FIXTURE_DATA(nomem) *self);
	const char *then;
} calls[] = {
	{ "create beside another",	create_beside,		"www" "rr-" "-" "-r" },
	{ "create populated",		create_populated,	"www" "rr-" "-" "-r" },
	{ "create from a file",		create_from_file,	"ww-" "rr-" "w" "-r" },
	{ "create in a closed chunk",	create_in_closed,	"ww-" "rrw" "-" "-r" },
	{ "create across chunks",	create_across,		"ww-" "rrw" "w" "wr" },
	{ "close a page",		close_page,		"wr-" "rr-" "-" "-r" },
	{ "open a page",		open_page,		"ww-" "rw-" "-" "-r" },
	{ "close chunks",		close_chunks,		"nn-" "nn-" "-" "-n" },
	{ "close across chunks",	close_across,		"wn-" "nr-" "-" "-r" },
	{ "open across chunks",		open_across,		"ww-" "rw-" "-" "-w" },
	{ "unmap a page",		unmap_page,		"w--" "rr-" "-" "-r" },
	{ "unmap a chunk",		unmap_chunk,		"ww-" "---" "-" "-r" },
	{ "unmap across chunks",	unmap_across,		"w--" "-r-" "-" "-r" },
	{ "open an unnamed region",	open_unnamed,		LAYOUT },
	{ "open a named region",	open_named,		LAYOUT },
	{ "set a size",			set_size,		LAYOUT },
	{ "map a window",		map_window,		LAYOUT },
	{ "fork",			fork_with_windows,	LAYOUT },
	{ "fault",			fault_in,		LAYOUT },
	{ "write by process_vm_writev",	poke,			LAYOUT },
	{ "a denied access",		be_denied,		LAYOUT },
	{ "an access that waits",	be_kept_waiting,	LAYOUT },
	{ "advise huge pages",		advise_huge,		LAYOUT },
	{ "populate",			advise_populate,	LAYOUT },
	{ "mount",			mount_one,		LAYOUT },
};

/* Flips find all that a layout has, and nothing else. */
#define EXPECT_FLIPS(layout_, name, n) do {				\
	EXPECT_EQ(0, protect(self->region, 0, 4 * CHUNK, RW));		\
	EXPECT_STREQ(all(layout_, 'w'), layout(self))			\
		TH_LOG("%s, allocation %d: opened", name, n);		\
	EXPECT_EQ(0, protect(self->region, 0, 4 * CHUNK, PROT_READ));	\
	EXPECT_STREQ(all(layout_, 'r'), layout(self))			\
		TH_LOG("%s, allocation %d: closed", name, n);		\
} while (0)

/* Nothing is left of a call that failed; flips, or the call itself, work. */
#define EXPECT_CONSISTENT(call, err, again, name, n) do {		\
	if (err) {							\
		EXPECT_EQ(-ENOMEM, err)					\
			TH_LOG("%s, allocation %d", name, n);		\
		EXPECT_STREQ(LAYOUT, layout(self))			\
			TH_LOG("%s, allocation %d: left", name, n);	\
		EXPECT_EQ(self->start.mapped_bytes,			\
			  region_stat(self->region).mapped_bytes)	\
			TH_LOG("%s, allocation %d", name, n);		\
	}								\
	if (err && (again)) {						\
		EXPECT_EQ(0, (call)->run(self))				\
			TH_LOG("%s, again after allocation %d", name, n); \
		EXPECT_STREQ((call)->then, layout(self))		\
			TH_LOG("%s, again after allocation %d", name, n); \
	}								\
	if (!err)							\
		EXPECT_STREQ((call)->then, layout(self))		\
			TH_LOG("%s, allocation %d: did", name, n);	\
	EXPECT_FLIPS(err && !(again) ? LAYOUT : (call)->then, name, n);	\
} while (0)

/* Each allocation of each call fails once, each time in a new layout */
TEST_F_TIMEOUT(nomem, at_each_allocation, 400)
{
	for (int i = 0; i < ARRAY_SIZE(calls); i++) {
		const struct call *call = &calls[i];
		int failures = 0, errors = 0;
		bool failed = true;

		for (int n = 1; failed; n++)
			for (int again = 0; again < 2; again++) {
				int err;

				ASSERT_EQ(0, lay_out(self));
				fail_at(self, n);
				err = call->run(self);
				failed = has_failed(self);
				EXPECT_CONSISTENT(call, err, again, call->name, n);
				clear(self);
				ASSERT_GT(2000, n);
				failures += failed && !again;
				errors += err && !again;
				if (!err)
					break;
			}
		TH_LOG("%s: %d allocations failed, %d calls", call->name,
		       failures, errors);
	}
}

/*
 * Whether an error tells of two allocations that failed: the fault's own, and
 * the one by which the region asks whether its group has room at all. That is
 * SIGBUS, or EFAULT.
 */
static bool starved(const struct call *call, int err)
{
	return (call->run == fault_in && err == DENIED_BUS) ||
	       (call->run == advise_populate && err == -EFAULT);
}

/* Several fail in one call, those too that clean up after the first. */
TEST_F_TIMEOUT(nomem, at_random, 300)
{
	double start = now();
	long errors = 0;

	injectors_set("probability", "20");
	for (int i = 0; errors <= 100 || now() - start < 2 * stress_seconds(); i++) {
		const struct call *call = &calls[i % ARRAY_SIZE(calls)];
		int err;

		ASSERT_EQ(0, lay_out(self));
		ASSERT_EQ(1, pwrite(self->make, "1", 1, 0));
		err = call->run(self);
		ASSERT_EQ(1, pwrite(self->make, "0", 1, 0));
		errors += !!err;
		if (starved(call, err))
			err = -ENOMEM;
		EXPECT_CONSISTENT(call, err, i & 1, call->name, i);
		clear(self);
	}
}

TEST_HARNESS_MAIN
