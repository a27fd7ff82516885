// SPDX-License-Identifier: GPL-2.0
/*
 * Random operations on one region by several processes, checked against a
 * model of its contents and protections after each of them. Operations are
 * done one after the other, so that a seed repeats them; beside them run
 * processes that touch, fork, attach, and change chunks of their own, without
 * being looked at.
 *
 *	fuzz [-s SEED] [-n CHANGES] [-t SECONDS] [-o OPERATIONS] [-v]
 *
 * With -s: the sequence of that seed, otherwise one after another, for ten
 * stress loops, so many seconds or until so many operations are done. A
 * sequence is of so many changes; each is followed by accesses. The operations
 * told in the end are both.
 *
 * The second test is the control: knobs take out one protection each, and the
 * same sequences must find each of them missing.
 */
#include "mshare_test.h"
#include "mshare_mm.h"

#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sys/uio.h>

/*
 * The model. Only the pages at both ends of some chunks are ever mapped:
 * cells, in the order of their addresses. Runs of them are contiguous, and
 * some span two chunks or two slots. In a quarter of the sequences the cells of
 * one chunk are of 2 MiB, for objects of hugetlbfs, and others whose pages
 * become huge: clearing them takes most of the time.
 */
#define EDGE		12		/* cells at each end of a chunk */
#define CHUNKS		5
#define CELLS		(2 * EDGE * CHUNKS)
#define POOL		"96"		/* huge pages: what is there, and going */
#define POOL_FILE	"/proc/sys/vm/nr_hugepages"
#define SHMEM_ENABLED	"/sys/kernel/mm/transparent_hugepage/shmem_enabled"

#define HUGE_CHUNK	2

/* Whose chunks, behind the last of the model, are not in it; what they map */
#define NOISES		2
#define NOISE_CHUNK	(SLOT / CHUNK + 2)
#define NOISE_BYTES	(16 * PAGE)

static struct {
	unsigned long start;
	unsigned long cell;		/* size */
} chunks[CHUNKS] = {
	{ 0, PAGE }, { CHUNK, PAGE }, { 4 * CHUNK, PAGE },
	{ SLOT - CHUNK, PAGE }, { SLOT, PAGE },
};

struct object {
	int fd;				/* -1: anonymous memory */
	int ceiling;
	bool hugetlb;
	bool guarded;
	unsigned long size;		/* of a page, that is of its cells */
	int pages;
	unsigned int word[CELLS];	/* of each page, at WORD_AT */
	bool code[CELLS];		/* begins with RET: can be called */
};

#define WORD_AT		8
#define NOISE_AT	64

static struct cell {
	struct object *object;		/* NULL: a hole */
	int page;
	int prot;
} cells[CELLS];

static struct object *objects[4096];
static int nr_objects;
static int the_region;
static unsigned int seed;
static unsigned long step, operations_done;
static bool verbose, quiet, failed;

static unsigned int draw(unsigned int n)
{
	return rand_r(&seed) / 7 % n;
}

static unsigned long cell_size(int cell)
{
	return chunks[cell / (2 * EDGE)].cell;
}

static unsigned long cell_offset(int cell)
{
	int at = cell % (2 * EDGE);

	return chunks[cell / (2 * EDGE)].start +
		(at < EDGE ? at * cell_size(cell) :
		 CHUNK - (2 * EDGE - at) * cell_size(cell));
}

static bool contiguous(int cell)	/* with the one before */
{
	return cell && cell_offset(cell) == cell_offset(cell - 1) +
					    cell_size(cell - 1);
}

static const int prots[] = { PROT_NONE, PROT_READ, RW, RX, RWX };

static const char *prot_name(int prot)
{
	static const char *const names[] = {
		"---", "r--", "-w-", "rw-", "--x", "r-x", "-wx", "rwx"
	};

	return names[prot & 7];
}

/* The last operations, told when one went wrong */
static char history[24][160];

#define tell(...) do {							\
	snprintf(history[step % ARRAY_SIZE(history)],			\
		 sizeof(history[0]), __VA_ARGS__);			\
	if (verbose)							\
		printf("# %lu: %s\n", step,				\
		       history[step % ARRAY_SIZE(history)]);		\
} while (0)

#define wrong(...) do {							\
	if (!failed && !quiet) {					\
		printf("# operation %lu: ", step);			\
		printf(__VA_ARGS__);					\
		printf("\n");						\
	}								\
	failed = true;							\
} while (0)

/* Actors: processes with windows that do what they are told and answer */
#define ACTORS	4
#define WINDOWS	3

enum request {
	MAP,			/* a window, with rights */
	DROP,			/* it */
	TOUCH,			/* a load, a store, a call */
	TOUCH_IN_THREAD,
	TOUCH_IN_CHILD,
	COPY,			/* read(2) or write(2) of the word */
	POKE,			/* process_vm_readv or _writev of the word */
	PIN,			/* GUP-fast: futex(2), or a read with O_DIRECT */
	CALL,			/* an ioctl of the region */
};

static const char *const request_names[] = {
	[TOUCH] = "touch",
	[TOUCH_IN_THREAD] = "thread's touch",
	[TOUCH_IN_CHILD] = "child's touch",
	[COPY] = "copy",
	[POKE] = "poke",
	[PIN] = "pin",
};

/* Is it the kernel's access? It is denied, or not, and never runs code. */
static bool by_kernel(enum request request)
{
	return request >= COPY;
}

struct order {
	enum request request;
	int window;
	int cell;
	int access;
	unsigned int word;
	struct {
		unsigned long number;
		char argument[24];
	} call;
};

struct answer {
	int denied;
	unsigned int word;
};

static struct actor {
	pid_t pid;
	int orders, answers;
	bool mapped[WINDOWS];
	int prot[WINDOWS];
} actors[ACTORS];

static struct answer do_touch(char *p, const struct order *order)
{
	struct answer answer = { .denied = touch(p, order->access) };

	if (!answer.denied && order->access == PROT_WRITE)
		*(volatile unsigned int *)(p + WORD_AT) = order->word;
	if (!answer.denied && order->access == PROT_READ)
		answer.word = *(volatile unsigned int *)(p + WORD_AT);
	return answer;
}

struct thread_touch {
	char *p;
	const struct order *order;
	struct answer answer;
};

static void *touch_in_thread(void *arg)
{
	struct thread_touch *t = arg;

	t->answer = do_touch(t->p, t->order);
	return NULL;
}

static struct answer do_touch_in_thread(char *p, const struct order *order)
{
	struct thread_touch t = { p, order };
	pthread_t thread;

	if (pthread_create(&thread, NULL, touch_in_thread, &t))
		_exit(3);
	pthread_join(thread, NULL);
	return t.answer;
}

static struct answer do_copy(char *p, const struct order *order)
{
	unsigned int word = order->word;
	struct answer answer = {};
	int fds[2];
	long n;

	if (pipe(fds))
		_exit(3);
	if (order->access == PROT_WRITE) {
		write(fds[1], &word, sizeof(word));
		n = read(fds[0], p + WORD_AT, sizeof(word));
	} else {
		n = write(fds[1], p + WORD_AT, sizeof(word));
		if (n == sizeof(word))
			read(fds[0], &answer.word, sizeof(word));
	}
	answer.denied = n != sizeof(word);
	close(fds[0]);
	close(fds[1]);
	return answer;
}

static struct answer do_poke(char *p, const struct order *order)
{
	struct answer answer = { .word = order->word };
	struct iovec local = { &answer.word, sizeof(answer.word) };
	struct iovec remote = { p + WORD_AT, sizeof(answer.word) };
	long n;

	if (order->access == PROT_WRITE)
		n = process_vm_writev(getpid(), &local, 1, &remote, 1, 0);
	else
		n = process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
	answer.denied = n != sizeof(answer.word);
	return answer;
}

static struct answer do_pin(char *p, const struct order *order)
{
	static char page[PAGE] __attribute__((aligned(PAGE)));
	static int direct = -1;
	struct answer answer = {};

	if (order->access == PROT_READ) {
		/* the word is what it is: it wakes nobody, or may not look */
		answer.denied = syscall(SYS_futex, p + WORD_AT, FUTEX_WAKE, 1,
					NULL, NULL, 0) < 0;
		answer.word = answer.denied ? 0 :
			      *(volatile unsigned int *)(p + WORD_AT);
		return answer;
	}
	if (direct < 0)
		direct = direct_file(RET);
	page[0] = RET;
	memcpy(page + WORD_AT, &order->word, sizeof(order->word));
	if (pwrite(direct, page, PAGE, 0) != PAGE)
		_exit(3);
	answer.denied = pread(direct, p, PAGE, 0) != PAGE;
	return answer;
}

static void act(int orders, int answers)
{
	struct answer *child = shared_page(PAGE), answer;
	char *windows[WINDOWS] = {};
	struct order order;

	while (read(orders, &order, sizeof(order)) == sizeof(order)) {
		char *p = windows[order.window] + cell_offset(order.cell);

		memset(&answer, 0, sizeof(answer));
		switch (order.request) {
		case MAP:
			windows[order.window] = window(the_region, 2, order.access);
			answer.denied = windows[order.window] == MAP_FAILED;
			break;
		case DROP:
			answer.denied = munmap(windows[order.window], 2 * SLOT);
			break;
		case TOUCH:
			answer = do_touch(p, &order);
			break;
		case TOUCH_IN_THREAD:
			answer = do_touch_in_thread(p, &order);
			break;
		case TOUCH_IN_CHILD:
			child->denied = -1;
			if (fork() == 0) {
				*child = do_touch(p, &order);
				_exit(0);
			}
			wait(NULL);
			answer = *child;
			break;
		case COPY:
			answer = do_copy(p, &order);
			break;
		case POKE:
			answer = do_poke(p, &order);
			break;
		case PIN:
			answer = do_pin(p, &order);
			break;
		case CALL:
			answer.denied = result(ioctl(the_region, order.call.number,
						     order.call.argument));
			break;
		}
		write(answers, &answer, sizeof(answer));
	}
	_exit(0);
}

static void actor_start(struct actor *actor)
{
	int orders[2], answers[2];

	if (pipe2(orders, O_CLOEXEC) || pipe2(answers, O_CLOEXEC))
		exit(2);
	memset(actor, 0, sizeof(*actor));
	actor->pid = fork_on(-1);
	if (actor->pid == 0) {
		/* other actors' pipes would keep them alive */
		for (int i = 0; i < ACTORS; i++)
			if (&actors[i] != actor && actors[i].pid) {
				close(actors[i].orders);
				close(actors[i].answers);
			}
		close(orders[1]);
		close(answers[0]);
		act(orders[0], answers[1]);
	}
	close(orders[0]);
	close(answers[1]);
	actor->orders = orders[1];
	actor->answers = answers[0];
}

static void actor_stop(struct actor *actor)
{
	if (actor->pid > 0) {
		kill(actor->pid, SIGKILL);
		child_status(actor->pid);
		close(actor->orders);
		close(actor->answers);
	}
	actor->pid = 0;
}

static struct answer ask(struct actor *actor, struct order order)
{
	struct answer answer = { .denied = -1 };

	operations_done++;
	if (write(actor->orders, &order, sizeof(order)) != sizeof(order) ||
	    read(actor->answers, &answer, sizeof(answer)) != sizeof(answer))
		wrong("actor %td is gone", actor - actors);
	return answer;
}

/*
 * What an access must find. x86 asks a VMA for VM_EXEC only when something is
 * mapped: a call into a hole is one, unless the window grants nothing at all.
 */
static int expected_denial(const struct cell *cell, int window_prot, int access)
{
	bool window_denies = !(window_prot & access);

	if (!cell->object && window_prot && (access == PROT_EXEC || !window_denies))
		return SEGV_MAPERR;
	return window_denies || !(cell->prot & access) ? SEGV_ACCERR : 0;
}

/*
 * Probes of one actor are asked all at once, which takes two switches instead
 * of two each. The model goes on with what each must find; what it did find is
 * compared when all have answered.
 */
#define BATCH	64

static struct batch {
	struct actor *actor;
	int count;
	struct order orders[BATCH];
	struct answer expected[BATCH];
	struct cell cells[BATCH];
} batch;

static void check_answer(const struct batch *b, int i, struct answer answer)
{
	const struct order *order = &b->orders[i];
	struct answer expected = b->expected[i];
	const struct cell *c = &b->cells[i];

	if (answer.denied != expected.denied)
		wrong("%s %s of cell %d (%#lx, %s, window %s of actor %td): denied %d, expected %d",
		      request_names[order->request], prot_name(order->access),
		      order->cell, cell_offset(order->cell),
		      c->object ? prot_name(c->prot) : "hole",
		      prot_name(b->actor->prot[order->window]),
		      b->actor - actors, answer.denied, expected.denied);
	else if (!answer.denied && order->access == PROT_READ &&
		 answer.word != expected.word)
		wrong("%s of cell %d (%#lx) finds %#x, expected %#x (actor %td)",
		      request_names[order->request], order->cell,
		      cell_offset(order->cell), answer.word, expected.word,
		      b->actor - actors);
}

static void probes_done(void)
{
	struct batch *b = &batch;
	ssize_t size = b->count * sizeof(b->orders[0]);

	operations_done += b->count;
	if (b->count && write(b->actor->orders, b->orders, size) != size)
		wrong("actor %td is gone", b->actor - actors);
	for (int i = 0; i < b->count && !failed; i++) {
		struct answer answer;

		if (read(b->actor->answers, &answer, sizeof(answer)) !=
		    sizeof(answer))
			wrong("actor %td is gone", b->actor - actors);
		else
			check_answer(b, i, answer);
	}
	b->count = 0;
}

static void probe(struct actor *actor, int w, enum request request, int cell,
		  int access)
{
	struct cell *c = &cells[cell];
	int denial = expected_denial(c, actor->prot[w], access);
	unsigned int word = draw(1 << 30);
	struct batch *b = &batch;

	/* what was never made code must not be called where it can be */
	if (access == PROT_EXEC && !denial && !c->object->code[c->page])
		return;
	if (b->count == BATCH || b->actor != actor)
		probes_done();
	b->actor = actor;
	b->orders[b->count] = (struct order){ request, w, cell, access, word };
	b->cells[b->count] = *c;
	b->expected[b->count] = (struct answer){
		.denied = by_kernel(request) ? !!denial : denial,
		.word = denial ? 0 : c->object->word[c->page],
	};
	b->count++;
	if (denial || access != PROT_WRITE)
		return;
	c->object->word[c->page] = word;
	if (!by_kernel(request) || request == PIN)
		c->object->code[c->page] = true;
}

/* Forks, threads and direct I/O take their time: they are less often. */
static enum request pick_request(void)
{
	static const enum request often[] = { TOUCH, TOUCH, COPY, POKE, PIN };

	return draw(16) ? often[draw(ARRAY_SIZE(often))] :
			  TOUCH_IN_THREAD + draw(2);
}

static void probe_random(struct actor *actor)
{
	enum request request = pick_request();
	int access = 1 << draw(by_kernel(request) ? 2 : 3);
	int w = draw(WINDOWS);

	if (request == PIN && access == PROT_WRITE && draw(8))
		access = PROT_READ;
	if (actor->mapped[w])
		probe(actor, w, request, draw(CELLS), access);
}

/* Operations on the region, called by one of the processes */

static int call(unsigned long number, const void *argument, size_t size)
{
	struct order order = { CALL };

	order.call.number = number;
	memcpy(order.call.argument, argument, size);
	if (draw(2))
		return result(ioctl(the_region, number, order.call.argument));
	return ask(&actors[draw(ACTORS)], order).denied;
}

static void pick_range(int *from, int *to)
{
	*from = draw(CELLS);
	*to = *from + 1 + draw(draw(3) ? EDGE : CELLS - *from);
	if (*to > CELLS)
		*to = CELLS;
	if (draw(6) == 0) {		/* whole chunks */
		*from -= *from % (2 * EDGE);
		*to = *from + 2 * EDGE * (1 + draw(CHUNKS));
		if (*to > CELLS)
			*to = CELLS;
	}
}

static unsigned long range_size(int from, int to)
{
	return cell_offset(to - 1) + cell_size(to - 1) - cell_offset(from);
}

/* A mapping of one page of an object, or MAP_FAILED */
static char *map_page(const struct object *object, int page, int prot)
{
	return mmap(NULL, object->size, prot, MAP_SHARED, object->fd,
		    page * object->size);
}

static void fill(struct object *object)
{
	for (int i = 0; i < object->pages; i++) {
		char *p = map_page(object, i, RW);

		object->word[i] = draw(1 << 30);
		object->code[i] = true;
		if (p == MAP_FAILED) {
			wrong("mapping an object: %m");
			break;
		}
		p[0] = RET;
		memcpy(p + WORD_AT, &object->word[i], sizeof(object->word[i]));
		munmap(p, object->size);
	}
}

static struct object *new_object(int pages, unsigned long size)
{
	struct object *object = calloc(1, sizeof(*object));
	char path[64];

	objects[nr_objects++] = object;
	object->fd = -1;
	object->ceiling = RWX;
	object->pages = pages;
	object->size = size;
	object->hugetlb = size == PMD && draw(2);
	if (draw(3) == 0)
		return object;
	object->fd = object->hugetlb ?
		memfd_create("fuzz", MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_2MB) :
		memfd(0);
	if (object->fd < 0 || ftruncate(object->fd, pages * size))
		wrong("making an object: %m");
	fill(object);
	if (draw(4) == 0) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", object->fd);
		int reader = open(path, O_RDONLY | O_CLOEXEC);

		close(object->fd);
		object->fd = reader;
		object->ceiling = RX;
	}
	return object;
}

static void op_create(void)
{
	int from = draw(CELLS), to, expected = 0, err;
	int prot = prots[draw(ARRAY_SIZE(prots))];
	struct object *object;

	if (nr_objects == ARRAY_SIZE(objects))
		return;
	/* mostly into a hole */
	for (int tries = draw(6); cells[from].object && tries; tries--)
		from = draw(CELLS);
	for (to = from + 1; to < CELLS && contiguous(to) &&
	     cell_size(to) == cell_size(from) && draw(8); to++)
		if (cells[to].object && draw(8))
			break;
	object = new_object(to - from, cell_size(from));
	for (int i = from; i < to; i++)
		if (cells[i].object)
			expected = -EEXIST;
	if (prot & ~object->ceiling)
		expected = -EACCES;
	tell("create %s%s cells %d-%d %s", object->hugetlb ? "huge " : "",
	     object->fd < 0 ? "anonymous" : object->ceiling == RWX ? "memfd" :
	     "read-only memfd", from, to - 1, prot_name(prot));
	if (object->fd < 0)
		err = create_flags(the_region, cell_offset(from),
				   range_size(from, to), prot, MAP_SHARED |
				   MAP_ANONYMOUS | (draw(4) ? 0 : MAP_POPULATE) |
				   (object->hugetlb ? MAP_HUGETLB | MAP_HUGE_2MB : 0),
				   -1, 0);
	else
		err = create_file(the_region, cell_offset(from),
				  range_size(from, to), prot, object->fd, 0);
	if (err != expected)
		wrong("create: %d, expected %d", err, expected);
	if (err)
		return;
	for (int i = from; i < to; i++)
		cells[i] = (struct cell){ object, i - from, prot };
}

static void op_protect(void)
{
	int prot = prots[draw(ARRAY_SIZE(prots))], from, to, expected = -ENOMEM;
	struct mshare_protect p = { .prot = prot };
	int err;

	pick_range(&from, &to);
	p.region_offset = cell_offset(from);
	p.size = range_size(from, to);
	for (int i = from; i < to; i++)
		if (cells[i].object) {
			if (prot & ~cells[i].object->ceiling)
				expected = -EACCES;
			else if (expected == -ENOMEM)
				expected = 0;
		}
	tell("protect cells %d-%d %s", from, to - 1, prot_name(prot));
	err = call(MSHAREFS_PROTECT, &p, sizeof(p));
	if (err != expected)
		wrong("protect: %d, expected %d", err, expected);
	for (int i = from; i < to && !err; i++)
		cells[i].prot = prot;
}

/* Huge pages are few: those of objects that are not mapped go. */
static void release_huge(void)
{
	for (int i = 0; i < nr_objects; i++) {
		bool used = false;

		if (objects[i]->fd < 0 || !objects[i]->hugetlb)
			continue;
		for (int c = 0; c < CELLS; c++)
			used |= cells[c].object == objects[i];
		if (!used) {
			close(objects[i]->fd);
			objects[i]->fd = -1;
		}
	}
}

static void op_unmap(void)
{
	struct mshare_unmap u;
	int from, to, err;

	pick_range(&from, &to);
	u.region_offset = cell_offset(from);
	u.size = range_size(from, to);
	tell("unmap cells %d-%d", from, to - 1);
	err = call(MSHAREFS_UNMAP, &u, sizeof(u));
	if (err)
		wrong("unmap: %d", err);
	for (int i = from; i < to; i++)
		cells[i].object = NULL;
	release_huge();
}

/* Who waits is denied in the end as who does not: the deadline is soon. */
static void op_fault_mode(void)
{
	struct mshare_fault_mode m = {
		draw(2), draw(2) ? MSHARE_WAIT_KERNEL : 0, 1 + draw(200000)
	};
	int err;

	tell("fault mode %u, flags %u, %llu ns", m.mode, m.flags, m.timeout_ns);
	err = call(MSHAREFS_FAULT_MODE, &m, sizeof(m));
	if (err)
		wrong("fault mode: %d", err);
}

static void empty_page(struct object *object, int page)
{
	object->word[page] = 0;
	object->code[page] = false;
}

static void op_guard(void)
{
	struct mshare_guard g = {};
	int from, to, err, expected = -ENOMEM;

	pick_range(&from, &to);
	for (int i = from; i < to; i++) {
		struct object *object = cells[i].object;

		if (!object)
			continue;
		expected = object->hugetlb ? -EOPNOTSUPP :
			   object->ceiling & PROT_WRITE ? 0 : -EACCES;
		if (expected)
			break;
	}
	tell("guard cells %d-%d", from, to - 1);
	g.region_offset = cell_offset(from);
	g.size = range_size(from, to);
	err = call(MSHAREFS_GUARD, &g, sizeof(g));
	if (err == -EOPNOTSUPP && is_module())	/* has none */
		return;
	if (err != expected)
		wrong("guard: %d, expected %d", err, expected);
	for (int i = from; i < to && !err; i++)
		if (cells[i].object)
			cells[i].object->guarded = true;
}

/* What the protection of a guarded object denies outside, from a page on */
static int expected_outside(const struct object *object, int page, int end)
{
	for (int i = 0; object->guarded && i < CELLS; i++)
		if (cells[i].object == object && cells[i].page >= page &&
		    cells[i].page < end && !(cells[i].prot & PROT_WRITE))
			return -EPERM;
	return 0;
}

static void check_outside(const struct object *object, int page, int end, int err)
{
	int expected = expected_outside(object, page, end);

	if (object->ceiling & PROT_WRITE && err != expected)
		wrong("outside: %d, expected %d", err, expected);
}

static int store_word(char *p, unsigned int word)
{
	int denied = touch(p, PROT_READ);

	if (denied)
		return denied;
	denied = touch_store((unsigned int *)p, word);
	return denied == SEGV_ACCERR ? -EPERM : denied;
}

/* By an ordinary mapping, which an object of hugetlbfs needs, or by write() */
static int write_word(const struct object *object, int page, unsigned int word)
{
	ssize_t n;
	char *q;
	int err;

	if (!object->hugetlb && draw(2)) {
		n = pwrite(object->fd, &word, sizeof(word),
			   page * object->size + WORD_AT);
		return n == sizeof(word) ? 0 : result(n);
	}
	q = map_page(object, page, RW);
	if (q == MAP_FAILED)
		return -errno;
	err = store_word(q + WORD_AT, word);
	munmap(q, object->size);
	return err;
}

/* Moves or empties pages of an object that has a file. */
static void op_object(void)
{
	struct cell *cell = &cells[draw(CELLS)];
	struct object *object = cell->object;
	unsigned int word = draw(1 << 30);
	int page = cell->page, err;
	unsigned long at;
	char *q;

	if (!object || object->fd < 0)
		return;
	at = cell->page * object->size;
	switch (draw(5)) {
	case 0:
		tell("write to the object of cell %td", cell - cells);
		err = write_word(object, page, word);
		check_outside(object, page, page + 1, err);
		if (!err)
			object->word[page] = word;
		break;
	case 1:
		tell("punch a hole into the object of cell %td", cell - cells);
		err = result(fallocate(object->fd, FALLOC_FL_PUNCH_HOLE |
				       FALLOC_FL_KEEP_SIZE, at, object->size));
		check_outside(object, page, page + 1, err);
		if (!err)
			empty_page(object, page);
		break;
	case 2:
		tell("truncate the object of cell %td there, and extend it",
		     cell - cells);
		err = result(ftruncate(object->fd, at));
		check_outside(object, page, object->pages, err);
		if (err)
			break;
		if (ftruncate(object->fd, object->pages * object->size))
			wrong("extending an object: %m");
		for (int i = cell->page; i < object->pages; i++)
			empty_page(object, i);
		break;
	case 3:
		if (draw(20) || object->hugetlb)	/* each costs a page frame */
			break;
		tell("migrate the page of cell %td", cell - cells);
		q = map_page(object, cell->page, PROT_READ);
		migrate_page(q);
		munmap(q, object->size);
		break;
	case 4:
		if (object->size == PAGE || object->hugetlb)
			break;
		if (draw(2)) {
			tell("put the pages of cell %td together", cell - cells);
			q = map_page(object, cell->page, PROT_READ);
			madvise(q, object->size, MADV_COLLAPSE);
			munmap(q, object->size);
		} else {
			tell("take the pages of cell %td apart", cell - cells);
			fallocate(object->fd, FALLOC_FL_PUNCH_HOLE |
				  FALLOC_FL_KEEP_SIZE, at + PMD / 2, PAGE);
		}
		break;
	}
}

/* MSHAREFS_ADVISE: a hole is told at the end, a refusal ends it at once. */
static const struct advice {
	const char *name;
	int advice;
	int access;		/* for populating */
	bool not_huge;		/* refused by hugetlbfs */
} advices[] = {
	{ "populate-read", MADV_POPULATE_READ, PROT_READ },
	{ "populate-write", MADV_POPULATE_WRITE, PROT_WRITE },
	{ "hugepage", MADV_HUGEPAGE },
	{ "nohugepage", MADV_NOHUGEPAGE },
	{ "pageout", MADV_PAGEOUT, .not_huge = true },
	{ "cold", MADV_COLD, .not_huge = true },
	{ "dontneed", MADV_DONTNEED },
	{ "remove", MADV_REMOVE },
};

static int expected_advice(const struct advice *advice, int from, int to)
{
	bool hole = false;

	for (int i = from; i < to; i++) {
		struct cell *c = &cells[i];

		if (!c->object || (i > from && !contiguous(i))) {
			if (advice->access)
				return -ENOMEM;
			hole = true;
		}
		if (!c->object)
			continue;
		if (advice->access && !(c->prot & advice->access))
			return -EINVAL;
		if (advice->not_huge && c->object->hugetlb)
			return -EINVAL;
		if (advice->advice != MADV_REMOVE)
			continue;
		if (!(c->prot & PROT_WRITE))
			return -EACCES;
	}
	for (int i = from; i < to && advice->advice == MADV_REMOVE; i++)
		if (cells[i].object)
			empty_page(cells[i].object, cells[i].page);
	return hole ? -ENOMEM : 0;
}

static void op_advise(void)
{
	const struct advice *advice = &advices[draw(ARRAY_SIZE(advices))];
	struct mshare_advise a = { .advice = advice->advice };
	int from, to, err, expected;

	pick_range(&from, &to);
	tell("%s cells %d-%d", advice->name, from, to - 1);
	a.region_offset = cell_offset(from);
	a.size = range_size(from, to);
	expected = expected_advice(advice, from, to);
	err = call(MSHAREFS_ADVISE, &a, sizeof(a));
	if (err != expected)
		wrong("%s: %d, expected %d", advice->name, err, expected);
}

/* Reads what is queued; is one of them, or was one lost, of this denial? */
static bool drain_events(pid_t pid, unsigned long offset, int access)
{
	static const unsigned int known = MSHARE_EVENT_KERNEL | MSHARE_EVENT_DONE |
					  MSHARE_EVENT_TIMEOUT | MSHARE_EVENT_LOST |
					  MSHARE_EVENT_OUTSIDE;
	struct mshare_event event;
	bool found = false;
	__u64 last = 0;

	while (!next_event(the_region, &event, 0)) {
		if (event.region_offset % PAGE || event.region_offset >= 2 * SLOT ||
		    (event.access != PROT_READ && event.access != PROT_WRITE &&
		     event.access != PROT_EXEC) || event.flags & ~known ||
		    (event.waited_ns && !(event.flags & MSHARE_EVENT_DONE)) ||
		    event.time_ns < last)
			wrong("event at %#llx, access %u, flags %u, time %llu after %llu",
			      event.region_offset, event.access, event.flags,
			      event.time_ns, last);
		last = event.time_ns;
		found |= event.flags & MSHARE_EVENT_LOST ||
			(event.pid == pid && event.region_offset == offset &&
			 event.access == access);
	}
	return found;
}

/* A denial by the region, and by nothing else, is an event. */
static void op_events(void)
{
	int i = draw(ACTORS), w = draw(WINDOWS), cell = draw(CELLS);
	int access = 1 << draw(2);
	struct cell *c = &cells[cell];

	if (!actors[i].mapped[w] || !c->object)
		return;
	tell("events of actor %d, cell %d", i, cell);
	drain_events(0, 0, 0);
	probe(&actors[i], w, TOUCH, cell, access);
	probes_done();
	if (c->prot & access || !(actors[i].prot[w] & c->object->ceiling & access))
		return;
	if (!drain_events(actors[i].pid, cell_offset(cell), access) && !failed)
		wrong("no event of a denied %s of cell %d",
		      prot_name(access), cell);
}

/* No page of hugetlbfs is cut. */
static void op_cut(void)
{
	int cell = draw(CELLS), err;
	struct object *object = cells[cell].object;

	if (!object || !object->hugetlb)
		return;
	tell("cut the page of cell %d", cell);
	err = draw(2) ? protect(the_region, cell_offset(cell) + PAGE, PAGE, PROT_READ) :
		unmap(the_region, cell_offset(cell), PMD - PAGE);
	if (err != -EINVAL)
		wrong("cutting a huge page: %d", err);
}

static void op_actor(void)
{
	int i = draw(ACTORS), w = draw(WINDOWS);
	struct actor *actor = &actors[i];
	struct answer answer;

	if (draw(6) == 0) {
		tell("kill actor %d", i);
		actor_stop(actor);
		actor_start(actor);
		return;
	}
	if (actor->mapped[w]) {
		tell("actor %d drops window %d", i, w);
		answer = ask(actor, (struct order){ DROP, w });
	} else {
		actor->prot[w] = draw(2) ? RWX : prots[draw(ARRAY_SIZE(prots))];
		tell("actor %d maps window %d %s", i, w,
		     prot_name(actor->prot[w]));
		answer = ask(actor, (struct order){ MAP, w, 0, actor->prot[w] });
	}
	if (answer.denied)
		wrong("window of actor %d: %d", i, answer.denied);
	actor->mapped[w] = !actor->mapped[w];
}

static void op_reclaim(void)
{
	if (draw(3))			/* swapping is slow */
		return;
	tell("reclaim");
	write_file(group_path("fuzz", "memory.reclaim"), "128K");
}

static void check_stat(void)
{
	struct mshare_stat stat = region_stat(the_region);
	__u64 mapped = 0, slack = PAGE;

	for (int i = 0; i < CELLS; i++) {
		if (!cells[i].object)
			continue;
		mapped += cell_size(i);
		if (slack < cell_size(i))
			slack = cell_size(i);
	}
	if (stat.mapped_bytes < mapped ||
	    stat.mapped_bytes > mapped + NOISES * NOISE_BYTES)
		wrong("%llu bytes are mapped, expected %llu",
		      stat.mapped_bytes, mapped);
	/* read one CPU after the other, while noise faults pages in */
	if (stat.resident_bytes > stat.mapped_bytes + 16 * slack)
		wrong("%llu bytes are resident of %llu", stat.resident_bytes,
		      stat.mapped_bytes);
}

static void check_all(void)
{
	for (int i = 0; i < ACTORS; i++)
		for (int w = 0; w < WINDOWS; w++)
			for (int c = 0; actors[i].mapped[w] && c < CELLS; c++) {
				probe(&actors[i], w, TOUCH, c, PROT_READ);
				if (draw(4) == 0)
					probe(&actors[i], w, TOUCH, c, PROT_WRITE);
			}
	probes_done();
}

/* Beside all this: in a chunk of its own, what others do elsewhere. */
static void change_own_chunk(char *w, unsigned long at, unsigned int *noise_seed)
{
	int prot = prots[rand_r(noise_seed) / 7 % ARRAY_SIZE(prots)];
	unsigned long page = rand_r(noise_seed) / 7 % (NOISE_BYTES / PAGE) * PAGE;
	struct mshare_advise a = { at, NOISE_BYTES, MADV_POPULATE_READ };

	switch (rand_r(noise_seed) / 7 % 6) {
	case 0:
		create_anon(the_region, at, NOISE_BYTES, prot);
		break;
	case 1:
		unmap(the_region, at + page, NOISE_BYTES - page);
		break;
	case 2:
		protect(the_region, at + page, PAGE, prot);
		break;
	case 3:
		protect(the_region, at, CHUNK, prot);
		break;
	case 4:
		ioctl(the_region, MSHAREFS_ADVISE, &a);
		break;
	case 5:
		for (page = 0; page < NOISE_BYTES; page += PAGE)
			touch(w + at + page, PROT_WRITE);
		break;
	}
}

/* Attaches, touches, forks, and is not looked at. */
static void make_noise(unsigned int noise_seed, unsigned long own)
{
	nice(19);			/* the actors shall not wait for it */
	for (;;) {
		char *w = window(the_region, 2, RW);

		if (w == MAP_FAILED)
			continue;
		for (int i = 0; i < 200; i++) {
			int access = 1 << rand_r(&noise_seed) / 7 % 2;
			char *p = w + cell_offset(rand_r(&noise_seed) / 7 % CELLS);

			touch(p + NOISE_AT, access);
			if (i % 10 == 0) {
				sleep_us(2000);
				change_own_chunk(w, own, &noise_seed);
			}
			if (i % 50 == 0) {
				if (fork() == 0) {
					touch(p + NOISE_AT, access);
					_exit(0);
				}
				wait(NULL);
			}
		}
		munmap(w, 2 * SLOT);
	}
}

#define PROBES	48		/* after each change, by one of the actors */

/* One sequence */
static void run(unsigned int the_seed, unsigned long changes)
{
	pid_t noise[NOISES];

	seed = the_seed;
	chunks[HUGE_CHUNK].cell = the_seed % 4 ? PAGE : PMD;
	failed = false;
	nr_objects = 0;
	memset(cells, 0, sizeof(cells));
	memset(history, 0, sizeof(history));
	/* what the region takes is charged to a group that can be reclaimed */
	group_enter("fuzz");
	the_region = region(2);
	write_file(GROUPS "/cgroup.procs", "0");
	if (the_region < 0) {
		wrong("no region in %s", mshare_dir());
		return;
	}
	for (int i = 0; i < ACTORS; i++)
		actor_start(&actors[i]);
	for (int i = 0; i < NOISES; i++) {
		noise[i] = fork_on(i % nr_cpus());
		if (noise[i] == 0)
			make_noise(the_seed + i, (NOISE_CHUNK + i) * CHUNK);
	}

	for (step = 0; step < changes && !failed; step++) {
		operations_done++;
		switch (draw(27)) {
		case 0 ... 4:
			op_create();
			break;
		case 5 ... 10:
			op_protect();
			break;
		case 11:
			op_unmap();
			break;
		case 12 ... 14:
			op_object();
			break;
		case 15 ... 18:
			op_actor();
			break;
		case 19:
			op_reclaim();
			break;
		case 20:
			op_fault_mode();
			break;
		case 21 ... 23:
			op_advise();
			break;
		case 24:
			op_events();
			break;
		case 25:
			op_cut();
			break;
		case 26:
			op_guard();
			break;
		}
		check_stat();
		for (int a = draw(ACTORS), i = 0; i < PROBES && !failed; i++)
			probe_random(&actors[a]);
		probes_done();
		if (step % 64 == 63)
			check_all();
	}

	for (int i = 0; i < NOISES; i++) {
		kill(noise[i], SIGKILL);
		child_status(noise[i]);
	}
	for (int i = 0; i < ACTORS; i++)
		actor_stop(&actors[i]);
	if (failed && !quiet) {
		unsigned long n = ARRAY_SIZE(history);

		for (unsigned long i = step > n ? step - n : 0; i < step; i++)
			printf("#   %lu: %s\n", i, history[i % n]);
		printf("# again with: fuzz -s %u -n %lu\n", the_seed, step);
	}
	for (int i = 0; i < nr_objects; i++) {
		close(objects[i]->fd);
		free(objects[i]);
	}
	close(the_region);
}

/*
 * What must be found when it is planted. A stale translation is not among them:
 * with each answer the actor's CPU switches, and has forgotten it. tlb.c looks
 * for these.
 */
static const char *const planted[] = { "skip_pushdown", "skip_gup_check" };

static bool finds(const char *name, unsigned int first, unsigned long changes)
{
	unsigned long before = operations_done;
	double start = now();

	if (knob(name, true))
		return false;
	quiet = true;
	do
		run(first++, changes);
	while (!failed && now() < start + 60);
	quiet = false;
	knob(name, false);
	if (failed)
		printf("# without it, %s: found after %lu operations\n", name,
		       operations_done - before);
	else
		printf("# no power: without it, %s, all seems well\n", name);
	return failed;
}

static void usage(void)
{
	fprintf(stderr,
		"usage: fuzz [-s SEED] [-n CHANGES] [-t SECONDS] [-o OPERATIONS] [-v]\n");
	exit(KSFT_FAIL);
}

int main(int argc, char **argv)
{
	unsigned int first = time(NULL), sequences = 0;
	double start = now(), seconds = 10 * stress_seconds();
	unsigned long changes = 500, most = ULONG_MAX;
	bool once = false, agree, found = true;
	int option;

	while ((option = getopt(argc, argv, "s:n:t:o:v")) != -1)
		switch (option) {
		case 's':
			first = strtoul(optarg, NULL, 0);
			once = true;
			break;
		case 'n':
			changes = strtoul(optarg, NULL, 0);
			break;
		case 't':
			seconds = atof(optarg);
			break;
		case 'o':
			most = strtoul(optarg, NULL, 0);
			seconds = 1e9;
			break;
		case 'v':
			verbose = true;
			break;
		default:
			usage();
		}

	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("TAP version 13\n1..2\n");
	signal(SIGPIPE, SIG_IGN);
	swap_setup();			/* without it, reclaim does nothing */
	write_file(POOL_FILE, POOL);
	write_file(SHMEM_ENABLED, "advise");
	do {
		run(first + sequences++, changes);
		if (sequences % 100 == 0)
			printf("# %lu operations in %.0f s\n", operations_done,
			       now() - start);
	} while (!once && !failed && now() < start + seconds &&
		 operations_done < most);
	agree = !failed;
	printf("# %lu operations in %.0f s, seeds %u to %u\n", operations_done,
	       now() - start, first, first + sequences - 1);
	printf("%sok 1 - region and model agree\n", agree ? "" : "not ");

	if (once)
		printf("ok 2 - what is missing is found # SKIP one sequence only\n");
	for (int i = 0; i < ARRAY_SIZE(planted) && !once; i++)
		found &= finds(planted[i], first, changes);
	if (!once)
		printf("%sok 2 - what is missing is found\n",
		       found ? "" : "not ");
	group_leave("fuzz");
	write_file(POOL_FILE, "0");
	write_file(SHMEM_ENABLED, "never");
	return agree && found ? KSFT_PASS : KSFT_FAIL;
}
