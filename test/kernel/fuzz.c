// SPDX-License-Identifier: GPL-2.0
/*
 * Random operations on one region by several processes, checked against a
 * model of its contents and protections after each of them. Operations are
 * done one after the other, so that a seed repeats them; beside them run
 * processes that touch, fork and attach without being looked at.
 *
 *	fuzz [-s SEED] [-n CHANGES] [-t SECONDS] [-v]
 *
 * With -s: the sequence of that seed, otherwise one after another, for ten
 * stress loops or so many seconds. A sequence is of so many changes; each is
 * followed by accesses. The operations told in the end are both.
 */
#include "mshare_test.h"
#include "mshare_mm.h"

#include <pthread.h>
#include <sys/uio.h>

/*
 * The model. Only the pages at both ends of some chunks are ever mapped:
 * cells, in the order of their addresses. Runs of them are contiguous, and
 * some span two chunks or two slots.
 */
#define EDGE		12		/* cells at each end of a chunk */
#define CHUNKS		4
#define CELLS		(2 * EDGE * CHUNKS)

static const unsigned long chunks[CHUNKS] = {
	0, CHUNK, SLOT - CHUNK, SLOT
};

struct object {
	int fd;				/* -1: anonymous memory */
	int ceiling;
	int pages;
	unsigned int word[EDGE * 2];	/* of each page, at WORD_AT */
	bool code[EDGE * 2];		/* begins with RET: can be called */
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
static bool verbose, failed;

static unsigned int draw(unsigned int n)
{
	return rand_r(&seed) / 7 % n;
}

static unsigned long cell_offset(int cell)
{
	int chunk = cell / (2 * EDGE), at = cell % (2 * EDGE);

	return chunks[chunk] + (at < EDGE ? at * PAGE :
				CHUNK - (2 * EDGE - at) * PAGE);
}

static bool contiguous(int cell)	/* with the one before */
{
	return cell && cell_offset(cell) == cell_offset(cell - 1) + PAGE;
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
	if (!failed) {							\
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
};

struct order {
	enum request request;
	int window;
	int cell;
	int access;
	unsigned int word;
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

static void probe(struct actor *actor, int w, enum request request, int cell,
		  int access)
{
	struct cell *c = &cells[cell];
	int denial = expected_denial(c, actor->prot[w], access);
	struct answer answer;
	unsigned int word = draw(1 << 30);

	/* what was never made code must not be called where it can be */
	if (access == PROT_EXEC && !denial && !c->object->code[c->page])
		return;
	answer = ask(actor, (struct order){ request, w, cell, access, word });
	if (request == COPY || request == POKE)
		denial = !!denial;
	if (answer.denied != denial)
		wrong("%s %s of cell %d (%#lx, %s, window %s of actor %td): denied %d, expected %d",
		      request == COPY ? "copy" : request == POKE ? "poke" :
		      request == TOUCH ? "touch" :
		      request == TOUCH_IN_THREAD ? "thread's touch" :
		      "child's touch",
		      prot_name(access), cell, cell_offset(cell),
		      c->object ? prot_name(c->prot) : "hole",
		      prot_name(actor->prot[w]), actor - actors, answer.denied,
		      denial);
	if (denial || failed)
		return;
	if (access == PROT_WRITE) {
		c->object->word[c->page] = word;
		if (request != COPY && request != POKE)
			c->object->code[c->page] = true;
	} else if (access == PROT_READ && answer.word != c->object->word[c->page]) {
		wrong("cell %d (%#lx) holds %#x, expected %#x (actor %td)", cell,
		      cell_offset(cell), answer.word, c->object->word[c->page],
		      actor - actors);
	}
}

static void probe_random(void)
{
	struct actor *actor = &actors[draw(ACTORS)];
	int w = draw(WINDOWS);
	enum request request = TOUCH + draw(POKE - TOUCH + 1);
	int access = 1 << draw(request == COPY || request == POKE ? 2 : 3);

	if (actor->mapped[w])
		probe(actor, w, request, draw(CELLS), access);
}

/* Operations on the region */

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
	return cell_offset(to - 1) + PAGE - cell_offset(from);
}

static struct object *new_object(int pages)
{
	struct object *object = calloc(1, sizeof(*object));
	char path[64], ret = RET;

	objects[nr_objects++] = object;
	object->fd = -1;
	object->ceiling = RWX;
	object->pages = pages;
	if (draw(3) == 0)
		return object;
	object->fd = memfd(pages * PAGE);
	for (int i = 0; i < pages; i++) {
		object->word[i] = draw(1 << 30);
		object->code[i] = true;
		pwrite(object->fd, &ret, 1, i * PAGE);
		pwrite(object->fd, &object->word[i], 4, i * PAGE + WORD_AT);
	}
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
	int from = draw(CELLS), to = from + 1, expected = 0, err;
	int prot = prots[draw(ARRAY_SIZE(prots))];
	struct object *object;

	if (nr_objects == ARRAY_SIZE(objects))
		return;
	while (to < CELLS && contiguous(to) && draw(5))
		to++;
	object = new_object(to - from);
	for (int i = from; i < to; i++)
		if (cells[i].object)
			expected = -EEXIST;
	if (prot & ~object->ceiling)
		expected = -EACCES;
	tell("create %s cells %d-%d %s", object->fd < 0 ? "anonymous" :
	     object->ceiling == RWX ? "memfd" : "read-only memfd", from, to - 1,
	     prot_name(prot));
	if (object->fd < 0)
		err = create_flags(the_region, cell_offset(from),
				   range_size(from, to), prot, MAP_SHARED |
				   MAP_ANONYMOUS | (draw(4) ? 0 : MAP_POPULATE),
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
	int err;

	pick_range(&from, &to);
	for (int i = from; i < to; i++)
		if (cells[i].object) {
			if (prot & ~cells[i].object->ceiling)
				expected = -EACCES;
			else if (expected == -ENOMEM)
				expected = 0;
		}
	tell("protect cells %d-%d %s", from, to - 1, prot_name(prot));
	err = protect(the_region, cell_offset(from), range_size(from, to), prot);
	if (err != expected)
		wrong("protect: %d, expected %d", err, expected);
	for (int i = from; i < to && !err; i++)
		cells[i].prot = prot;
}

static void op_unmap(void)
{
	int from, to, err;

	pick_range(&from, &to);
	tell("unmap cells %d-%d", from, to - 1);
	err = unmap(the_region, cell_offset(from), range_size(from, to));
	if (err)
		wrong("unmap: %d", err);
	for (int i = from; i < to; i++)
		cells[i].object = NULL;
}

/* Who waits is denied in the end as who does not: the deadline is soon. */
static void op_fault_mode(void)
{
	unsigned int mode = draw(2), flags = draw(2) ? MSHARE_WAIT_KERNEL : 0;
	unsigned int timeout = 1 + draw(200000);
	int err;

	tell("fault mode %u, flags %u, %u ns", mode, flags, timeout);
	err = fault_mode(the_region, mode, flags, timeout);
	if (err)
		wrong("fault mode: %d", err);
}

static void empty_page(struct object *object, int page)
{
	object->word[page] = 0;
	object->code[page] = false;
}

/* Moves or empties pages of an object that has a file. */
static void op_object(void)
{
	struct cell *cell = &cells[draw(CELLS)];
	struct object *object = cell->object;
	unsigned int word = draw(1 << 30);
	char *q;

	if (!object || object->fd < 0)
		return;
	switch (draw(4)) {
	case 0:
		tell("write to the object of cell %td", cell - cells);
		if (pwrite(object->fd, &word, 4, cell->page * PAGE + WORD_AT) == 4)
			object->word[cell->page] = word;
		break;
	case 1:
		tell("punch a hole into the object of cell %td", cell - cells);
		if (!fallocate(object->fd, FALLOC_FL_PUNCH_HOLE |
			       FALLOC_FL_KEEP_SIZE, cell->page * PAGE, PAGE))
			empty_page(object, cell->page);
		break;
	case 2:
		tell("truncate the object of cell %td there, and extend it",
		     cell - cells);
		if (ftruncate(object->fd, cell->page * PAGE))
			break;		/* it is open for reading only */
		if (ftruncate(object->fd, object->pages * PAGE))
			wrong("extending an object: %m");
		for (int i = cell->page; i < object->pages; i++)
			empty_page(object, i);
		break;
	case 3:
		if (draw(20))		/* each costs a page frame */
			break;
		tell("migrate the page of cell %td", cell - cells);
		q = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, object->fd,
			 cell->page * PAGE);
		migrate_page(q);
		munmap(q, PAGE);
		break;
	}
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
		actor->prot[w] = prots[draw(ARRAY_SIZE(prots))];
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
	tell("reclaim");
	write_file(group_path("fuzz", "memory.reclaim"), "128K");
}

static void check_stat(void)
{
	struct mshare_stat stat = region_stat(the_region);
	__u64 mapped = 0;

	for (int i = 0; i < CELLS; i++)
		mapped += cells[i].object ? PAGE : 0;
	if (stat.mapped_bytes != mapped)
		wrong("%llu bytes are mapped, expected %llu",
		      stat.mapped_bytes, mapped);
	/* read one CPU after the other, while noise faults pages in */
	if (stat.resident_bytes > stat.mapped_bytes + 16 * PAGE)
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
}

/* Beside all this: attaches, touches, forks, and is not looked at. */
static void make_noise(unsigned int noise_seed)
{
	for (;;) {
		char *w = window(the_region, 2, RW);

		if (w == MAP_FAILED)
			continue;
		for (int i = 0; i < 200; i++) {
			int access = 1 << rand_r(&noise_seed) / 7 % 2;
			char *p = w + cell_offset(rand_r(&noise_seed) / 7 % CELLS);

			touch(p + NOISE_AT, access);
			if (i % 10 == 0)
				sleep_us(2000);
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

/* One sequence */
static void run(unsigned int the_seed, unsigned long changes)
{
	pid_t noise[2];

	seed = the_seed;
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
	for (int i = 0; i < 2; i++) {
		noise[i] = fork_on(i % nr_cpus());
		if (noise[i] == 0)
			make_noise(the_seed + i);
	}

	for (step = 0; step < changes && !failed; step++) {
		operations_done++;
		switch (draw(21)) {
		case 0 ... 3:
			op_create();
			break;
		case 4 ... 9:
			op_protect();
			break;
		case 10 ... 11:
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
		}
		check_stat();
		for (int i = 0; i < 12 && !failed; i++)
			probe_random();
		if (step % 64 == 63)
			check_all();
	}

	for (int i = 0; i < 2; i++) {
		kill(noise[i], SIGKILL);
		child_status(noise[i]);
	}
	for (int i = 0; i < ACTORS; i++)
		actor_stop(&actors[i]);
	if (failed) {
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

int main(int argc, char **argv)
{
	unsigned int first = time(NULL), sequences = 0;
	double start = now(), seconds = 10 * stress_seconds();
	unsigned long changes = 500;
	bool once = false;
	int option;

	while ((option = getopt(argc, argv, "s:n:t:v")) != -1)
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
		case 'v':
			verbose = true;
			break;
		default:
			fprintf(stderr, "usage: fuzz [-s SEED] [-n CHANGES] [-t SECONDS] [-v]\n");
			return KSFT_FAIL;
		}

	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("TAP version 13\n1..1\n");
	signal(SIGPIPE, SIG_IGN);
	swap_setup();			/* without it, reclaim does nothing */
	do
		run(first + sequences++, changes);
	while (!once && !failed && now() < start + seconds);
	group_leave("fuzz");

	printf("# %lu operations in %.0f s, seeds %u to %u\n", operations_done,
	       now() - start, first, first + sequences - 1);
	printf("%sok 1 - region and model agree\n", failed ? "not " : "");
	return failed ? KSFT_FAIL : KSFT_PASS;
}
