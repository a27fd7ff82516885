// SPDX-License-Identifier: GPL-2.0
/*
 * What test/machine-check runs in the guest, with a kind of object: processes that
 * have read a page of it, by a mapping or by a window, when the memory fails. Prints
 * results as TAP has them, and "inject ADDRESS" when the host is to say that the CPU
 * met bad memory there and that the program which it interrupted cannot go on.
 *
 * Such a program must get SIGBUS even if it never touches the page again, and by a
 * window the same as by a mapping. The second consumer of a page is found in another
 * way, as the page is known to be bad.
 */
#include "mshare_test.h"
#include "mshare_mm.h"

#define OBJECT	PMD
#define VICTIM	(3 * PAGE)

/* What a consumer got: si_code, and where the page is said to be in the object */
struct told {
	int code;
	long offset;
};

static volatile sig_atomic_t code;
static void *volatile address;

static void on_bus(int sig, siginfo_t *info, void *context)
{
	address = info->si_addr;
	code = info->si_code;
}

/* It has read the page, and computes, until it gets to know what it has read. */
static void consume(char *p, long pfn, struct told *told)
{
	struct sigaction action = {
		.sa_sigaction = on_bus, .sa_flags = SA_SIGINFO,
	};
	double start = now();
	volatile unsigned long n;

	sigaction(SIGBUS, &action, NULL);
	printf("inject %#lx\n", pfn * PAGE);
	while (!code && now() < start + 30)
		for (n = 0; n < 10000000 && !code; n++)
			;
	told->code = code;
	told->offset = address ? (char *)address - p : -1;
}

static int object_of(const char *kind)
{
	int fd;

	if (!strcmp(kind, "memfd"))
		return memfd(OBJECT);
	if (!strcmp(kind, "hugetlb")) {
		write_file("/proc/sys/vm/nr_hugepages", "8");
		fd = memfd_create("huge", MFD_HUGETLB | MFD_HUGE_2MB);
	} else {
		fd = open("/var/tmp", O_TMPFILE | O_RDWR, 0600);
	}
	return fd < 0 || ftruncate(fd, OBJECT) ? -1 : fd;
}

/* What two consumers get, one after the other, that have read it before it fails */
static int consumers(const char *kind, bool by_window, struct told *told)
{
	struct { pid_t pid; int go[2]; } consumers[2];
	volatile int *ready = shared_page(PAGE);
	int object = object_of(kind), r = region(1);
	char *p = mmap(NULL, OBJECT, RW, MAP_SHARED, object, 0);
	long pfn;

	if (object < 0 || p == MAP_FAILED)
		return -1;
	memset(p, 1, OBJECT);
	fsync(object);			/* of a file the page is clean */
	pfn = pfn_of(p + VICTIM);
	if (by_window) {
		munmap(p, OBJECT);
		if (create_file(r, 0, OBJECT, RW, object, 0))
			return -1;
		p = window(r, 1, RW);
	}
	for (int i = 0; i < 2; i++) {
		char go;

		if (pipe(consumers[i].go))
			return -1;
		consumers[i].pid = fork_on(-1);
		if (consumers[i].pid)
			continue;
		(void)*(volatile char *)(p + VICTIM);
		ready[i] = 1;
		if (read(consumers[i].go[0], &go, 1) == 1)
			consume(p, pfn, &told[i]);
		_exit(0);
	}
	for (int i = 0; i < 2; i++) {
		if (!UNTIL(ready[0] && ready[1]) ||
		    write(consumers[i].go[1], "", 1) != 1)
			return -1;
		child_status(consumers[i].pid);
	}
	if (by_window)
		munmap(p, SLOT);
	else
		munmap(p, OBJECT);
	close(object);
	close(r);
	return 0;
}

int main(int argc, char **argv)
{
	static const char *const order[] = { "first", "second" };
	const char *kind = argc > 1 ? argv[1] : "memfd";
	struct told *mapping = shared_page(PAGE), *window = mapping + 2;
	int failed;

	setvbuf(stdout, NULL, _IONBF, 0);
	failed = consumers(kind, false, mapping) || consumers(kind, true, window);
	for (int i = 0; i < 2; i++) {
		bool told = mapping[i].code, same = window[i].code == mapping[i].code &&
			window[i].offset == mapping[i].offset;

		printf("# %s, the %s: code %d at %#lx by a mapping, code %d at %#lx by a window\n",
		       kind, order[i], mapping[i].code, mapping[i].offset,
		       window[i].code, window[i].offset);
		printf("%sok - %s: the %s consumer by a mapping gets SIGBUS\n",
		       told ? "" : "not ", kind, order[i]);
		printf("%sok - %s: the %s consumer by a window gets the same\n",
		       told && same ? "" : "not ", kind, order[i]);
		failed |= !told || !same;
	}
	return !!failed;
}
