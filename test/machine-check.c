// SPDX-License-Identifier: GPL-2.0
/*
 * What test/machine-check runs in the guest: processes that have read a page, by a
 * mapping or by a window, when the memory fails. Prints TAP, and "inject ADDRESS"
 * when the host is to say that the CPU met bad memory there and that the program
 * which it interrupted cannot go on.
 *
 * Such a program must get SIGBUS even if it never touches the page again. The
 * second consumer of a page is found in another way, as the page is known to be bad.
 */
#include "mshare_test.h"
#include "mshare_mm.h"

#define OBJECT	(16 * PAGE)
#define VICTIM	(3 * PAGE)

static volatile sig_atomic_t code;
static void *volatile address;

static void on_bus(int sig, siginfo_t *info, void *context)
{
	address = info->si_addr;
	code = info->si_code;
}

/* It has read the page, and computes; 0 if it gets to know what it has read. */
static int consume(char *p, long pfn)
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
	if (code == BUS_MCEERR_AR && address == p + VICTIM)
		return 0;
	printf("# %p: SIGBUS code %d, address %p\n", p + VICTIM, (int)code, address);
	return 1;
}

int main(void)
{
	static const char *const kinds[] = { "a mapping", "a window" };
	static const char *const order[] = { "first", "second" };
	int failed = 0, number = 0;

	setvbuf(stdout, NULL, _IONBF, 0);
	for (int kind = 0; kind < ARRAY_SIZE(kinds); kind++) {
		int object = memfd(OBJECT), r = region(1);
		char *p = mmap(NULL, OBJECT, RW, MAP_SHARED, object, 0);
		struct { pid_t pid; int go[2]; } consumers[2];
		volatile int *ready = shared_page(PAGE);
		long pfn;

		memset(p, 1, OBJECT);
		pfn = pfn_of(p + VICTIM);
		if (kind == 1) {
			munmap(p, OBJECT);
			if (create_file(r, 0, OBJECT, RW, object, 0))
				return 1;
			p = window(r, 1, RW);
		}
		/* both have read it before it fails */
		for (int i = 0; i < 2; i++) {
			char go;

			if (pipe(consumers[i].go))
				return 1;
			consumers[i].pid = fork_on(-1);
			if (consumers[i].pid)
				continue;
			(void)*(volatile char *)(p + VICTIM);
			ready[i] = 1;
			if (read(consumers[i].go[0], &go, 1) != 1)
				_exit(1);
			_exit(consume(p, pfn));
		}
		for (int i = 0; i < 2; i++) {
			int status;

			if (!UNTIL(ready[0] && ready[1]) ||
			    write(consumers[i].go[1], "", 1) != 1)
				return 1;
			status = child_status(consumers[i].pid);
			failed |= status;
			printf("%sok %d - %s: the %s consumer gets SIGBUS with its address\n",
			       status ? "not " : "", ++number, kinds[kind], order[i]);
		}
	}
	printf("1..%d\n", number);
	return !!failed;
}
