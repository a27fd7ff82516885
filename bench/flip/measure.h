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
	int samples, repetition;
	unsigned int seed;
	double box;		/* seconds for the flips of a point */
	bool idle;		/* with the sharers asleep too */
	FILE *log;
};

extern struct options options;

/* All points of one size; returns how many failed. */
int measure_bytes(uint64_t bytes);

#endif
