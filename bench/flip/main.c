// SPDX-License-Identifier: PostgreSQL
/*
 * flip: how long it takes to make one range of memory read-only in every
 * process that maps it, and writable again.
 *
 * For each size and number of processes each arm is measured in turn, with the
 * processes running (reading the range) and idle: measure.c.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "measure.h"

static const struct arm *const all_arms[] = {
	&arm_mprotect, &arm_repair, &arm_uffd_wp, &arm_pagemap, &arm_pkeys, &arm_hugetlb, &arm_hugetlb_1g, &arm_thp, &arm_fifreeze, &arm_piece,
	&arm_leaf, &arm_mshare, &arm_mshare_again,
};
#define ALL_ARMS "mprotect,repair,uffd-wp,pagemap,pkeys,hugetlb,hugetlb-1g,thp,fifreeze,piece,leaf,mshare,mshare-again"

struct options options = {
	.samples = 200, .least = 3, .repetitions = 1, .seed = 1, .box = 10, .running = true, .idle = true,
};
double populate_seconds = 60;

static int parse_list(const char *text, uint64_t *list)
{
	int n = 0;

	while (*text && n < MAX_LIST) {
		char *end;
		uint64_t value = strtoull(text, &end, 10);

		if (*end == 'K')
			value *= KiB, end++;
		else if (*end == 'M')
			value *= MiB, end++;
		else if (*end == 'G')
			value *= GiB, end++;
		else if (*end == 'T')
			value *= 1024 * GiB, end++;
		if (end == text || (*end && *end != ',') || value == 0) {
			fprintf(stderr, "flip: not a list of positive numbers: %s\n", text);
			exit(2);
		}
		list[n++] = value;
		text = *end ? end + 1 : end;
	}
	return n;
}

static void parse_arms(char *text)
{
	options.nr_arms = 0;
	for (char *name = strtok(text, ","); name; name = strtok(NULL, ",")) {
		size_t i = 0;

		while (i < sizeof(all_arms) / sizeof(*all_arms) &&
		       strcmp(all_arms[i]->name, name) != 0)
			i++;
		if (i == sizeof(all_arms) / sizeof(*all_arms) || options.nr_arms == MAX_LIST) {
			fprintf(stderr, "flip: no arm %s; there are:", name);
			for (i = 0; i < sizeof(all_arms) / sizeof(*all_arms); i++)
				fprintf(stderr, " %s", all_arms[i]->name);
			fprintf(stderr, "\n");
			exit(2);
		}
		options.arms[options.nr_arms++] = all_arms[i];
	}
}

static void usage(void)
{
	puts("usage: flip [OPTION]...\n"
	     "Times the change of protection of a range in every process that maps it.\n"
	     "  --arms LIST        " ALL_ARMS "\n"
	     "                     (default: all)\n"
	     "  --processes LIST   default 1,8,64,256\n"
	     "  --bytes LIST       default 64M,1G,64G,1T; all but mshare stop at 1G\n"
	     "  --samples N        flips per point (default 200), after the first one\n"
	     "  --box SECONDS      time for the flips of a point (default 10)\n"
	     "  --least N          flips per point, however long they take (default 3)\n"
	     "  --populate SECONDS time to fill the page tables of a region (default 60)\n"
	     "  --running, --idle  only with the processes running, or only with them asleep\n"
	     "  --seed N           of the order of the arms (default 1)\n"
	     "  --log FILE         write every sample: arm,workload,flip or up,microseconds\n"
	     "  --repetitions N    of all points of a size, on one set-up (default 1)\n"
	     "Rows of results.csv go to standard output. Exit status 1: a point failed.");
}

static void parse_options(int argc, char **argv)
{
	static const struct option long_options[] = {
		{ "arms", required_argument, NULL, 'a' },
		{ "processes", required_argument, NULL, 'p' },
		{ "bytes", required_argument, NULL, 'b' },
		{ "samples", required_argument, NULL, 's' },
		{ "box", required_argument, NULL, 'x' },
		{ "populate", required_argument, NULL, 'f' },
		{ "least", required_argument, NULL, 'L' },
		{ "log", required_argument, NULL, 'l' },
		{ "repetitions", required_argument, NULL, 'r' },
		{ "running", no_argument, NULL, 'R' },
		{ "idle", no_argument, NULL, 'I' },
		{ "seed", required_argument, NULL, 'S' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 }
	};
	char default_arms[] = ALL_ARMS;
	int c;

	parse_arms(default_arms);
	options.nr_processes = parse_list("1,8,64,256", options.processes);
	options.nr_bytes = parse_list("64M,1G,64G,1T", options.bytes);
	while ((c = getopt_long(argc, argv, "h", long_options, NULL)) != -1) {
		switch (c) {
		case 'a': parse_arms(optarg); break;
		case 'p': options.nr_processes = parse_list(optarg, options.processes); break;
		case 'b': options.nr_bytes = parse_list(optarg, options.bytes); break;
		case 's': options.samples = atoi(optarg); break;
		case 'x': options.box = atof(optarg); break;
		case 'f': populate_seconds = atof(optarg); break;
		case 'l':
			options.log = fopen(optarg, "w");
			if (!options.log) {
				perror(optarg);
				exit(1);
			}
			break;
		case 'L': options.least = atoi(optarg); break;
		case 'r': options.repetitions = atoi(optarg); break;
		case 'R': options.idle = false; break;
		case 'I': options.running = false; break;
		case 'S': options.seed = strtoul(optarg, NULL, 10); break;
		case 'h': usage(); exit(0);
		default: usage(); exit(2);
		}
	}
	for (int i = 0; i < options.nr_processes; i++) {
		if (options.processes[i] > MAX_PROCESSES) {
			fprintf(stderr, "flip: at most %d processes\n", MAX_PROCESSES);
			exit(2);
		}
	}
	for (int i = 0; i < options.nr_bytes; i++) {
		uint64_t bytes = options.bytes[i];

		if (bytes % PAGE || (bytes > MiB && bytes % MiB) || (bytes > GiB && bytes % GiB)) {
			fprintf(stderr, "flip: sizes are multiples of 4K, above 1M of 1M, above 1G of 1G\n");
			exit(2);
		}
	}
	if (optind < argc || options.samples < 1 || options.least < 1 || options.repetitions < 1 ||
	    options.box <= 0 || !(options.running || options.idle)) {
		usage();
		exit(2);
	}
}

/*
 * The coordinator has CPU 0 whenever it wants it, in every arm: what is timed
 * is the flip, not the queue for a CPU.
 */
static void run_first(void)
{
	struct sched_param fifo = { .sched_priority = 2 };	/* a probed sharer has 1 */
	cpu_set_t first;

	CPU_ZERO(&first);
	CPU_SET(0, &first);
	sched_setaffinity(0, sizeof(first), &first);
	if (sched_setscheduler(0, SCHED_FIFO, &fifo) != 0)
		fprintf(stderr, "flip: no real-time priority (%s): times include waiting for a CPU\n",
			strerror(errno));
}

static int measure_all(void)
{
	int failed = 0;

	run_first();
	touch_step = fault_around(2 * MiB);	/* only makes filling page tables quicker */
	for (int b = 0; b < options.nr_bytes; b++)
		failed += measure_bytes(options.bytes[b]);
	return failed ? 1 : 0;
}

static pid_t measuring;

static void on_end(int signo)
{
	(void)signo;
	kill(measuring, SIGKILL);
}

/* Measures in a child; however that ends, this gives back what it changed. */
int main(int argc, char **argv)
{
	struct sigaction end = { .sa_handler = on_end };
	uint64_t around, huge_pages, gigantic_pages;
	int status;

	parse_options(argc, argv);
	around = fault_around(0);
	huge_pages = number_in(NR_HUGE_PAGES, "");
	gigantic_pages = number_in(NR_GIGANTIC_PAGES, "");
	thp_policy_keep();
	fifreeze_keep();
	measuring = fork();
	if (measuring == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		exit(measure_all());
	}
	sigaction(SIGINT, &end, NULL);
	sigaction(SIGTERM, &end, NULL);
	while (waitpid(measuring, &status, 0) < 0)
		;
	fault_around(around);
	number_to(SKIP_VIEWS, 0);
	if (number_in(NR_HUGE_PAGES, "") != huge_pages)
		number_to(NR_HUGE_PAGES, huge_pages);
	if (number_in(NR_GIGANTIC_PAGES, "") != gigantic_pages)
		number_to(NR_GIGANTIC_PAGES, gigantic_pages);
	thp_policy_restore();
	fifreeze_restore();
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
