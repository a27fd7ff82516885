/* SPDX-License-Identifier: PostgreSQL */
/* What main.c was asked for and measure.c does. */
#ifndef MEASURE_H
#define MEASURE_H

#include <stdio.h>

#include "flip.h"

#define MAX_LIST	16

struct options {
	const struct arm *arms[MAX_LIST];
	int nr_arms;
	uint64_t processes[MAX_LIST], bytes[MAX_LIST];
	int nr_processes, nr_bytes;
	int samples, least;	/* flips of a point: at most; and whatever time it takes */
	int repetitions;
	unsigned int seed;
	double box;		/* seconds for the flips of a point */
	bool running, idle;	/* the sharers: reading, asleep */
	FILE *log;
};

extern struct options options;

/* All points of one size, in all repetitions; returns how many failed. */
int measure_bytes(uint64_t bytes);

#endif
