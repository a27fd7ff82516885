// SPDX-License-Identifier: GPL-2.0
/*
 * Objects in a region: anonymous memory, memfds and tmpfs files; cutting
 * them and filling holes while windows look on.
 */
#include "mshare_test.h"

#include <sys/resource.h>
#include <sys/shm.h>

FIXTURE(mapping)
{
	int region;
	char *p;
};

FIXTURE_SETUP(mapping)
{
	self->region = region(2);
	ASSERT_LE(0, self->region);
	self->p = window(self->region, 2, RWX);
	ASSERT_NE(MAP_FAILED, self->p);
}

FIXTURE_TEARDOWN(mapping)
{
	close(self->region);
}

TEST_F(mapping, anonymous_memory_is_zero_and_shared)
{
	pid_t pid;

	ASSERT_EQ(0, create_anon(self->region, 0, 64 * PAGE, RW));
	for (int i = 0; i < 64 * PAGE; i++) {
		ASSERT_EQ(0, self->p[i]);
	}
	self->p[0] = 1;
	pid = fork();
	if (pid == 0) {
		EXPECT_EQ(1, self->p[0]);
		self->p[PAGE] = 2;
		_exit(0);
	}
	EXPECT_EQ(0, child_status(pid));
	EXPECT_EQ(2, self->p[PAGE]);
	EXPECT_EQ(-SEGV_MAPERR, rights(self->p + 64 * PAGE));
}

TEST_F(mapping, child_sees_what_the_parent_maps_later)
{
	int go[2], done[2];
	pid_t pid;
	char c = 0;

	ASSERT_EQ(0, pipe(go));
	ASSERT_EQ(0, pipe(done));
	pid = fork();
	if (pid == 0) {
		EXPECT_EQ(-SEGV_MAPERR, rights(self->p + CHUNK));
		write(done[1], &c, 1);
		read(go[0], &c, 1);
		EXPECT_EQ(5, self->p[CHUNK]);
		self->p[CHUNK + PAGE] = 6;
		_exit(0);
	}
	read(done[0], &c, 1);
	ASSERT_EQ(0, create_anon(self->region, CHUNK, 2 * PAGE, RW));
	self->p[CHUNK] = 5;
	write(go[1], &c, 1);
	EXPECT_EQ(0, child_status(pid));
	EXPECT_EQ(6, self->p[CHUNK + PAGE]);
}

TEST_F(mapping, file_and_region_are_coherent)
{
	int object = memfd(16 * PAGE);
	char byte = 3, *q;

	ASSERT_LE(0, object);
	ASSERT_EQ(0, create_file(self->region, 8 * PAGE, 4 * PAGE, RW, object,
				 2 * PAGE));
	q = mmap(NULL, 16 * PAGE, RW, MAP_SHARED, object, 0);
	ASSERT_NE(MAP_FAILED, q);
	q[2 * PAGE] = 1;
	EXPECT_EQ(1, self->p[8 * PAGE]);
	self->p[11 * PAGE] = 2;
	EXPECT_EQ(2, q[5 * PAGE]);
	ASSERT_EQ(1, pwrite(object, &byte, 1, 3 * PAGE));
	EXPECT_EQ(3, self->p[9 * PAGE]);
	self->p[9 * PAGE] = 4;
	ASSERT_EQ(1, pread(object, &byte, 1, 3 * PAGE));
	EXPECT_EQ(4, byte);
	/* the descriptor is not needed any more, the object stays */
	close(object);
	munmap(q, 16 * PAGE);
	EXPECT_EQ(1, self->p[8 * PAGE]);
	EXPECT_EQ(RW, rights(self->p + 8 * PAGE));
}

TEST_F(mapping, tmpfs_file)
{
	int object = open("/dev/shm", O_TMPFILE | O_RDWR, 0600);
	char byte;

	if (object < 0)
		SKIP(return, "no tmpfs on /dev/shm: %m");
	ASSERT_EQ(0, ftruncate(object, 4 * PAGE));
	ASSERT_EQ(0, create_file(self->region, 0, 4 * PAGE, RW, object, 0));
	self->p[3 * PAGE] = 8;
	ASSERT_EQ(1, pread(object, &byte, 1, 3 * PAGE));
	EXPECT_EQ(8, byte);
	close(object);
}

TEST_F(mapping, one_object_at_many_offsets)
{
	int object = memfd(4 * PAGE);

	ASSERT_LE(0, object);
	for (int i = 0; i < 64; i++) {
		ASSERT_EQ(0, create_file(self->region, i * CHUNK / 4 + i * PAGE,
					 4 * PAGE, RW, object, 0));
	}
	for (int i = 0; i < 64; i++)
		self->p[i * CHUNK / 4 + i * PAGE + i] = i;
	for (int i = 0; i < 64; i++) {
		ASSERT_EQ(i, self->p[7 * CHUNK / 4 + 7 * PAGE + i]);
	}
	EXPECT_EQ(64 * 4 * PAGE, region_stat(self->region).mapped_bytes);
	close(object);
}

TEST_F(mapping, beyond_the_end_of_the_object)
{
	int object = memfd(4 * PAGE);

	ASSERT_EQ(0, create_file(self->region, 0, 8 * PAGE, RW, object, 0));
	EXPECT_EQ(RW, rights(self->p + 3 * PAGE));
	EXPECT_EQ(-DENIED_BUS, rights(self->p + 4 * PAGE));
	ASSERT_EQ(0, ftruncate(object, 5 * PAGE));
	EXPECT_EQ(RW, rights(self->p + 4 * PAGE));
	ASSERT_EQ(0, ftruncate(object, PAGE));
	EXPECT_EQ(RW, rights(self->p));
	EXPECT_EQ(-DENIED_BUS, rights(self->p + 3 * PAGE));
	EXPECT_EQ(-DENIED_BUS, rights(self->p + 4 * PAGE));
	close(object);
}

TEST_F(mapping, across_chunks_and_slots)
{
	ASSERT_EQ(0, create_anon(self->region, CHUNK - MIB, 2 * MIB, RW));
	ASSERT_EQ(0, create_anon(self->region, SLOT - MIB, 2 * MIB, RW));
	for (long i = -MIB; i < (long)MIB; i += PAGE) {
		self->p[CHUNK + i] = i >> 12;
		self->p[SLOT + i] = i >> 12;
	}
	for (long i = -MIB; i < (long)MIB; i += PAGE) {
		ASSERT_EQ((char)(i >> 12), self->p[CHUNK + i]);
		ASSERT_EQ((char)(i >> 12), self->p[SLOT + i]);
	}
	EXPECT_EQ(-SEGV_MAPERR, rights(self->p + CHUNK - MIB - PAGE));
	EXPECT_EQ(-SEGV_MAPERR, rights(self->p + SLOT + MIB));
	ASSERT_EQ(0, unmap(self->region, SLOT - PAGE, 2 * PAGE));
	EXPECT_EQ(-SEGV_MAPERR, rights(self->p + SLOT - PAGE));
	EXPECT_EQ(-SEGV_MAPERR, rights(self->p + SLOT));
	EXPECT_EQ(RW, rights(self->p + SLOT - 2 * PAGE));
	EXPECT_EQ(RW, rights(self->p + SLOT + PAGE));
}

TEST_F(mapping, a_whole_slot)
{
	ASSERT_EQ(0, create_sparse(self->region, 0, 2 * SLOT, RW));
	for (unsigned long at = 0; at < 2 * SLOT; at += SLOT / 16)
		self->p[at] = at / (SLOT / 16) + 1;
	for (unsigned long at = 0; at < 2 * SLOT; at += SLOT / 16) {
		ASSERT_EQ((char)(at / (SLOT / 16) + 1), self->p[at]);
	}
	EXPECT_EQ(2 * SLOT, region_stat(self->region).mapped_bytes);
	ASSERT_EQ(0, unmap(self->region, 0, 2 * SLOT));
	EXPECT_EQ(0, region_stat(self->region).mapped_bytes);
	EXPECT_EQ(-SEGV_MAPERR, rights(self->p));
	EXPECT_EQ(-SEGV_MAPERR, rights(self->p + 2 * SLOT - PAGE));
}

TEST_F(mapping, unmap_is_seen_by_every_window)
{
	char *q = window(self->region, 1, RW);
	int go[2], done[2];
	pid_t pid;
	char c = 0;

	ASSERT_EQ(0, create_anon(self->region, 0, 8 * PAGE, RW));
	memset(self->p, 1, 8 * PAGE);
	ASSERT_EQ(0, pipe(go));
	ASSERT_EQ(0, pipe(done));
	pid = fork();
	if (pid == 0) {
		EXPECT_EQ(RW, rights(self->p));
		write(done[1], &c, 1);
		read(go[0], &c, 1);
		EXPECT_EQ(-SEGV_MAPERR, rights(self->p));
		EXPECT_EQ(-SEGV_MAPERR, rights(q + 7 * PAGE));
		_exit(0);
	}
	read(done[0], &c, 1);
	ASSERT_EQ(0, unmap(self->region, 0, 8 * PAGE));
	EXPECT_EQ(-SEGV_MAPERR, rights(self->p));
	EXPECT_EQ(-SEGV_MAPERR, rights(q + 7 * PAGE));
	write(go[1], &c, 1);
	EXPECT_EQ(0, child_status(pid));
}

TEST_F(mapping, unmap_cuts)
{
	int object = memfd(16 * PAGE);

	ASSERT_EQ(0, create_file(self->region, 0, 16 * PAGE, RW, object, 0));
	for (int i = 0; i < 16; i++)
		self->p[i * PAGE] = i;
	ASSERT_EQ(0, unmap(self->region, 0, PAGE));
	ASSERT_EQ(0, unmap(self->region, 5 * PAGE, 2 * PAGE));
	ASSERT_EQ(0, unmap(self->region, 15 * PAGE, PAGE));
	EXPECT_EQ(12 * PAGE, region_stat(self->region).mapped_bytes);
	for (int i = 0; i < 16; i++) {
		if (i == 0 || i == 5 || i == 6 || i == 15) {
			EXPECT_EQ(-SEGV_MAPERR, rights(self->p + i * PAGE));
		} else {
			EXPECT_EQ(i, self->p[i * PAGE]);
		}
	}

	/* a hole can be filled with the same or with another object */
	ASSERT_EQ(0, create_file(self->region, 5 * PAGE, PAGE, RW, object,
				 5 * PAGE));
	ASSERT_EQ(0, create_anon(self->region, 6 * PAGE, PAGE, RW));
	EXPECT_EQ(5, self->p[5 * PAGE]);
	EXPECT_EQ(0, self->p[6 * PAGE]);
	EXPECT_EQ(7, self->p[7 * PAGE]);
	close(object);
}

TEST_F(mapping, unmap_succeeds_on_holes)
{
	EXPECT_EQ(0, unmap(self->region, 0, 2 * SLOT));
	ASSERT_EQ(0, create_anon(self->region, 0, PAGE, RW));
	ASSERT_EQ(0, create_anon(self->region, CHUNK, PAGE, RW));
	ASSERT_EQ(0, create_anon(self->region, SLOT, PAGE, RW));
	EXPECT_EQ(0, unmap(self->region, PAGE, CHUNK - PAGE));
	EXPECT_EQ(3 * PAGE, region_stat(self->region).mapped_bytes);
	EXPECT_EQ(0, unmap(self->region, PAGE, SLOT));
	EXPECT_EQ(PAGE, region_stat(self->region).mapped_bytes);
	EXPECT_EQ(-SEGV_MAPERR, rights(self->p + CHUNK));
	EXPECT_EQ(-SEGV_MAPERR, rights(self->p + SLOT));
	EXPECT_EQ(RW, rights(self->p));
}

TEST_F(mapping, what_was_unmapped_does_not_come_back)
{
	double end = now() + stress_seconds();

	for (int i = 1; now() < end; i++) {
		ASSERT_EQ(0, create_anon(self->region, CHUNK - PMD, 2 * PMD, RW));
		for (long at = -PMD; at < (long)PMD; at += 64 * PAGE) {
			ASSERT_EQ(0, self->p[CHUNK + at])
				TH_LOG("round %d, %ld", i, at);
			self->p[CHUNK + at] = i | 1;
		}
		ASSERT_EQ(0, unmap(self->region, CHUNK - PMD, 2 * PMD));
		ASSERT_EQ(-SEGV_MAPERR, rights(self->p + CHUNK));
	}
}

TEST_F(mapping, populate_fills_once_for_all)
{
	struct rusage before, after;
	struct mshare_stat stat;
	long faults;

	ASSERT_EQ(0, create_flags(self->region, 0, 8 * MIB, RW, MAP_SHARED |
				  MAP_ANONYMOUS | MAP_POPULATE, -1, 0));
	stat = region_stat(self->region);
	EXPECT_EQ(8 * MIB, stat.resident_bytes);
	faults = stat.faults;
	getrusage(RUSAGE_SELF, &before);
	for (unsigned long at = 0; at < 8 * MIB; at += PAGE)
		*(volatile char *)(self->p + at);
	getrusage(RUSAGE_SELF, &after);
	EXPECT_EQ(faults, region_stat(self->region).faults);
	EXPECT_GT(8, after.ru_minflt - before.ru_minflt);
}

/* What a load or MAP_POPULATE has mapped of shared memory can be stored to. */
TEST_F(mapping, a_store_behind_a_load_takes_no_fault)
{
	long faults;

	ASSERT_EQ(0, create_flags(self->region, 0, 8 * MIB, RW, MAP_SHARED |
				  MAP_ANONYMOUS | MAP_POPULATE, -1, 0));
	faults = region_stat(self->region).faults;
	for (unsigned long at = 0; at < 8 * MIB; at += PAGE)
		self->p[at] = 1;
	EXPECT_EQ(faults, region_stat(self->region).faults);

	ASSERT_EQ(0, create_sparse(self->region, CHUNK, 8 * MIB, RW));
	for (unsigned long at = 0; at < 8 * MIB; at += PAGE)
		(void)*(volatile char *)(self->p + CHUNK + at);
	faults = region_stat(self->region).faults;
	for (unsigned long at = 0; at < 8 * MIB; at += PAGE)
		self->p[CHUNK + at] = 1;
	EXPECT_EQ(faults, region_stat(self->region).faults);
}

TEST_F(mapping, second_process_takes_no_faults)
{
	struct rusage before, after;
	long faults;
	pid_t pid;

	ASSERT_EQ(0, create_anon(self->region, 0, 8 * MIB, RW));
	memset(self->p, 1, 8 * MIB);
	faults = region_stat(self->region).faults;
	EXPECT_LT(0, faults);
	pid = fork();
	if (pid == 0) {
		getrusage(RUSAGE_SELF, &before);
		for (unsigned long at = 0; at < 8 * MIB; at += PAGE)
			self->p[at] = 2;
		getrusage(RUSAGE_SELF, &after);
		EXPECT_GT(8, after.ru_minflt - before.ru_minflt);
		_exit(0);
	}
	EXPECT_EQ(0, child_status(pid));
	EXPECT_EQ(faults, region_stat(self->region).faults);
}

TEST_F(mapping, resident_is_what_was_touched)
{
	ASSERT_EQ(0, create_anon(self->region, 0, 64 * MIB, RW));
	EXPECT_EQ(0, region_stat(self->region).resident_bytes);
	for (int i = 0; i < 16; i++)
		self->p[i * PMD] = 1;
	/* neighbours may be faulted around, or be part of a huge page */
	EXPECT_LE(16 * PAGE, region_stat(self->region).resident_bytes);
	EXPECT_GE(32 * MIB, region_stat(self->region).resident_bytes);
	ASSERT_EQ(0, unmap(self->region, 0, 64 * MIB));
	EXPECT_EQ(0, region_stat(self->region).resident_bytes);
}

TEST_F(mapping, new_bytes_bring_their_own_protection)
{
	static const int prots[] = { PROT_NONE, PROT_READ, RW, RX, RWX };
	int object = memfd(4 * PAGE);
	char page[4 * PAGE];

	memset(page, RET, sizeof(page));
	ASSERT_EQ(sizeof(page), write(object, page, sizeof(page)));
	for (int i = 0; i < ARRAY_SIZE(prots); i++) {
		ASSERT_EQ(0, create_file(self->region, i * 4 * PAGE, 4 * PAGE,
					 prots[i], object, 0));
	}
	for (int i = 0; i < ARRAY_SIZE(prots); i++) {
		EXPECT_EQ(prots[i], rights(self->p + i * 4 * PAGE));
		EXPECT_EQ(prots[i], rights(self->p + i * 4 * PAGE + 3 * PAGE));
	}
	close(object);
}

TEST_F(mapping, new_bytes_in_a_closed_chunk)
{
	static const int closed[] = { PROT_READ, PROT_NONE, RX };

	for (int i = 0; i < ARRAY_SIZE(closed); i++) {
		char *p = self->p + i * CHUNK;

		ASSERT_EQ(0, create_anon(self->region, i * CHUNK, 4 * PAGE, RWX));
		memset(p, RET, 4 * PAGE);
		ASSERT_EQ(0, protect(self->region, i * CHUNK, CHUNK, closed[i]));
		ASSERT_EQ(0, create_anon(self->region, i * CHUNK + 4 * PAGE,
					 4 * PAGE, RW));
		ASSERT_EQ(0, create_anon(self->region, i * CHUNK + CHUNK - PAGE,
					 PAGE, PROT_READ));
		EXPECT_EQ(RW, rights(p + 4 * PAGE));
		EXPECT_EQ(RW, rights(p + 7 * PAGE));
		EXPECT_EQ(PROT_READ, rights(p + CHUNK - PAGE));
		EXPECT_EQ(closed[i], rights(p));
		EXPECT_EQ(closed[i], rights(p + 3 * PAGE));
		/* the whole overrides its pieces */
		ASSERT_EQ(0, protect(self->region, i * CHUNK, CHUNK, RWX));
		EXPECT_EQ(RWX, rights(p + PAGE));
		EXPECT_EQ(RWX, rights(p + 5 * PAGE));
		EXPECT_EQ(RWX, rights(p + CHUNK - PAGE));
	}
}

TEST_F(mapping, failed_create_changes_nothing)
{
	int writer;
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", memfd(PAGE));
	writer = open(path, O_WRONLY);
	ASSERT_LE(0, writer);
	ASSERT_EQ(0, create_anon(self->region, 0, 4 * PAGE, RW));
	memset(self->p, 1, 4 * PAGE);
	ASSERT_EQ(0, protect(self->region, 0, CHUNK, PROT_READ));
	EXPECT_EQ(-EACCES, create_file(self->region, 4 * PAGE, PAGE, RW, writer, 0));
	EXPECT_EQ(-EEXIST, create_anon(self->region, 3 * PAGE, 2 * PAGE, RW));
	EXPECT_EQ(PROT_READ, rights(self->p));
	EXPECT_EQ(-SEGV_MAPERR, rights(self->p + 4 * PAGE));
	EXPECT_EQ(4 * PAGE, region_stat(self->region).mapped_bytes);
}

/*
 * The caller's own memory is the object: what is counted for it is counted once,
 * and what the region denies, its own mapping still may.
 */
TEST_F(mapping, memory_of_the_caller)
{
	const size_t size = 32 * MIB;
	long shmem = meminfo_kb("Shmem"), committed = meminfo_kb("Committed_AS");
	char *own = mmap(NULL, size, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid;

	ASSERT_NE(MAP_FAILED, own);
	memset(own, 1, size);
	committed = meminfo_kb("Committed_AS") - committed;
	EXPECT_LE(31 << 10, committed);
	committed = meminfo_kb("Committed_AS");
	ASSERT_EQ(0, create_from(self->region, CHUNK, size - 2 * PAGE, RW, own + PAGE));
	EXPECT_EQ(size - 2 * PAGE, region_stat(self->region).mapped_bytes);
	EXPECT_GT(8 << 10, meminfo_kb("Committed_AS") - committed);
	for (size_t i = 0; i < size - 2 * PAGE; i += PAGE)
		ASSERT_EQ(1, self->p[CHUNK + i]);
	EXPECT_EQ(-SEGV_MAPERR, rights(self->p + CHUNK + size - 2 * PAGE));
	EXPECT_GT(shmem + (40 << 10), meminfo_kb("Shmem"));

	pid = fork();
	if (pid == 0) {
		self->p[CHUNK] = 2;
		own[2 * PAGE] = 3;
		_exit(0);
	}
	EXPECT_EQ(0, child_status(pid));
	EXPECT_EQ(2, own[PAGE]);
	EXPECT_EQ(3, self->p[CHUNK + PAGE]);
	EXPECT_EQ(1, own[0]);

	ASSERT_EQ(0, protect(self->region, CHUNK, size - 2 * PAGE, PROT_READ));
	EXPECT_EQ(PROT_READ, rights(self->p + CHUNK));
	EXPECT_EQ(RW, rights(own + PAGE));

	/* The memory is where it is mapped, be it there or here */
	ASSERT_EQ(0, madvise(own + PAGE, PAGE, MADV_REMOVE));
	EXPECT_EQ(0, self->p[CHUNK]);
	ASSERT_EQ(0, munmap(own, size));
	EXPECT_EQ(3, self->p[CHUNK + PAGE]);
	EXPECT_LE(shmem + (31 << 10), meminfo_kb("Shmem"));
	ASSERT_EQ(0, unmap(self->region, CHUNK, size));
}

TEST_F(mapping, system_v_memory_of_the_caller)
{
	int id = shmget(IPC_PRIVATE, 4 * PAGE, IPC_CREAT | 0600);
	struct shmid_ds ds;
	char *own;

	ASSERT_LE(0, id);
	own = shmat(id, NULL, 0);
	ASSERT_NE(MAP_FAILED, own);
	ASSERT_EQ(0, create_from(self->region, 0, 4 * PAGE, RW, own));
	own[PAGE] = 1;
	EXPECT_EQ(1, self->p[PAGE]);
	ASSERT_EQ(0, shmctl(id, IPC_RMID, NULL));
	ASSERT_EQ(0, shmdt(own));
	/* the region is attached, too */
	ASSERT_EQ(0, shmctl(id, IPC_STAT, &ds));
	EXPECT_EQ(1, ds.shm_nattch);
	EXPECT_EQ(1, self->p[PAGE]);
	ASSERT_EQ(0, unmap(self->region, 0, 4 * PAGE));
	EXPECT_EQ(-1, shmctl(id, IPC_STAT, &ds));
}

TEST_F(mapping, rights_of_the_caller)
{
	char path[64];
	int object = memfd(4 * PAGE), reader;
	char *own;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", object);
	reader = open(path, O_RDONLY);
	ASSERT_LE(0, reader);
	own = mmap(NULL, 4 * PAGE, PROT_READ, MAP_SHARED, reader, 0);
	ASSERT_NE(MAP_FAILED, own);
	EXPECT_EQ(-EACCES, create_from(self->region, 0, 4 * PAGE, RW, own));
	ASSERT_EQ(0, create_from(self->region, 0, 4 * PAGE, PROT_READ, own));
	EXPECT_EQ(-EACCES, protect(self->region, 0, 4 * PAGE, RW));
	EXPECT_EQ(PROT_READ, rights(self->p));
	ASSERT_EQ(0, munmap(own, 4 * PAGE));

	/* Its protection now is not its ceiling, as to mprotect() */
	own = mmap(NULL, 4 * PAGE, PROT_NONE, MAP_SHARED, object, 0);
	ASSERT_NE(MAP_FAILED, own);
	ASSERT_EQ(0, create_from(self->region, CHUNK, PAGE, RW, own + 3 * PAGE));
	self->p[CHUNK] = 7;
	EXPECT_EQ(1, pread(object, path, 1, 3 * PAGE));
	EXPECT_EQ(7, path[0]);
	ASSERT_EQ(0, munmap(own, 4 * PAGE));
	close(reader);
	close(object);
}

TEST_F(mapping, memory_goes_with_its_mapping)
{
	long before = meminfo_kb("Shmem"), after;

	ASSERT_EQ(0, create_anon(self->region, 0, 32 * MIB, RW));
	memset(self->p, 1, 32 * MIB);
	EXPECT_LE(before + (31 << 10), meminfo_kb("Shmem"));
	ASSERT_EQ(0, unmap(self->region, 0, 32 * MIB));
	for (int i = 0; i < 100; i++) {		/* the last fput may be deferred */
		after = meminfo_kb("Shmem");
		if (after < before + 1024)
			break;
		sleep_us(20000);
	}
	EXPECT_GT(before + 1024, after);
}

TEST_F(mapping, code_runs)
{
	static const unsigned char forty_two[] = { 0xb8, 42, 0, 0, 0, 0xc3 };

	ASSERT_EQ(0, create_anon(self->region, 0, PAGE, RW));
	memcpy(self->p, forty_two, sizeof(forty_two));
	ASSERT_EQ(0, protect(self->region, 0, PAGE, RX));
	EXPECT_EQ(42, ((int (*)(void))self->p)());
	EXPECT_EQ(SEGV_ACCERR, touch(self->p, PROT_WRITE));
}

TEST_HARNESS_MAIN
