// SPDX-License-Identifier: GPL-2.0
/*
 * Lifetime: whatever order close, unlink, munmap, exit, SIGKILL, exec and fork
 * come in, a region goes with its last user, and all its memory with it.
 */
#include "mshare_test.h"

#include <pthread.h>
#include <sys/vfs.h>

#define PROCESSES	8
#define OBJECT		(4 * MIB)

/* What must be back where it was, in kB or in number */
struct footprint {
	long shmem, page_tables;
	long inodes;
};

static struct footprint footprint(void)
{
	struct footprint f = {
		.shmem = meminfo_kb("Shmem"),
		.page_tables = meminfo_kb("PageTables"),
	};
	unsigned long nr = 0;
	FILE *file = fopen("/proc/sys/fs/inode-nr", "re");

	if (file) {
		if (fscanf(file, "%lu", &nr) != 1)
			nr = 0;
		fclose(file);
	}
	f.inodes = nr;
	return f;
}

/* Tear-down ends in work queues and RCU; counters are kept per CPU. */
static bool is_back(const struct footprint *start, struct footprint *end)
{
	for (int i = 0; i < 150; i++) {
		*end = footprint();
		if (end->shmem < start->shmem + 1024 &&
		    end->page_tables < start->page_tables + 256)
			return true;
		sleep_us(20000);
	}
	return false;
}

#define EXPECT_BACK(start) do {						\
	struct footprint _end;						\
									\
	EXPECT_TRUE(is_back(start, &_end))				\
		TH_LOG("Shmem %ld -> %ld kB, PageTables %ld -> %ld kB",	\
		       (start)->shmem, _end.shmem,			\
		       (start)->page_tables, _end.page_tables);		\
} while (0)

FIXTURE(lifetime)
{
	struct footprint start;
	char path[64];
};

FIXTURE_SETUP(lifetime)
{
	snprintf(self->path, sizeof(self->path), "%s/lifetime-%d",
		 mshare_dir(), getpid());
	sync();
	self->start = footprint();
}

FIXTURE_TEARDOWN(lifetime)
{
	unlink(self->path);
}

static int filled_region(const char *path, size_t size)
{
	int fd = path ? open(path, O_CREAT | O_RDWR | O_EXCL, 0600) :
		region_open();
	char *p;

	if (fd < 0 || ftruncate(fd, SLOT) || create_anon(fd, 0, size, RW))
		return -1;
	p = window(fd, 1, RW);
	if (p == MAP_FAILED)
		return -1;
	for (size_t at = 0; at < size; at += PAGE)
		p[at] = 1;
	munmap(p, SLOT);
	return fd;
}

/* The detector has to see a leak before it may say that there is none. */
TEST_F(lifetime, a_leak_is_seen)
{
	struct footprint end;
	int fd = filled_region(NULL, 64 * MIB);

	ASSERT_LE(0, fd);
	EXPECT_FALSE(is_back(&self->start, &end));
	EXPECT_LE(self->start.shmem + (60 << 10), end.shmem);
	close(fd);
	EXPECT_BACK(&self->start);
}

TEST_F(lifetime, page_tables_alone_are_seen)
{
	struct footprint end;
	int fd = region(1);
	char *p;

	ASSERT_EQ(0, create_sparse(fd, 0, 64 * CHUNK, RW));
	p = window(fd, 1, RW);
	for (int i = 0; i < 64; i++)
		for (int j = 0; j < 4; j++)
			p[i * CHUNK + j * PMD] = 1;
	EXPECT_FALSE(is_back(&self->start, &end));
	close(fd);
	munmap(p, SLOT);
	EXPECT_BACK(&self->start);
}

TEST_F(lifetime, goes_with_the_last_descriptor)
{
	int fd = filled_region(self->path, 16 * MIB), other;

	ASSERT_LE(0, fd);
	other = dup(fd);
	ASSERT_EQ(0, unlink(self->path));
	close(fd);
	EXPECT_EQ(16 * MIB, region_stat(other).mapped_bytes);
	close(other);
	EXPECT_BACK(&self->start);
}

TEST_F(lifetime, goes_with_the_last_window)
{
	int fd = filled_region(NULL, 16 * MIB);
	char *p = window(fd, 1, RW);

	close(fd);
	EXPECT_EQ(1, p[15 * MIB]);
	munmap(p, SLOT);
	EXPECT_BACK(&self->start);
}

TEST_F(lifetime, goes_with_the_name_of_an_unused_one)
{
	int fd = filled_region(self->path, 16 * MIB);

	close(fd);
	/* a name keeps it, with what is in it */
	fd = open(self->path, O_RDWR);
	ASSERT_LE(0, fd);
	EXPECT_EQ(16 * MIB, region_stat(fd).mapped_bytes);
	EXPECT_EQ(16 * MIB, region_stat(fd).resident_bytes);
	close(fd);
	ASSERT_EQ(0, unlink(self->path));
	EXPECT_BACK(&self->start);
}

TEST_F(lifetime, creator_may_go_first)
{
	pid_t pid = fork();
	int fd;

	if (pid == 0) {
		filled_region(self->path, 16 * MIB);
		kill(getpid(), SIGKILL);
	}
	child_status(pid);
	fd = open(self->path, O_RDWR);
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, create_anon(fd, CHUNK, MIB, RW));
	EXPECT_EQ(0, protect(fd, 0, CHUNK, PROT_READ));
	char *p = window(fd, 1, RW);

	ASSERT_NE(MAP_FAILED, p);
	EXPECT_EQ(PROT_READ, rights(p));
	EXPECT_EQ(RW, rights(p + CHUNK));
	munmap(p, SLOT);
	close(fd);
	unlink(self->path);
	EXPECT_BACK(&self->start);
}

/* A region's object may be the last that holds a file, and nothing else. */
TEST_F(lifetime, object_is_released)
{
	int object = memfd(32 * MIB), fd = region(1);
	char *p = window(fd, 1, RW);

	ASSERT_EQ(0, create_file(fd, 0, 32 * MIB, RW, object, 0));
	close(object);
	memset(p, 1, 32 * MIB);
	ASSERT_EQ(0, unmap(fd, 0, 32 * MIB));
	EXPECT_BACK(&self->start);
	close(fd);
	munmap(p, SLOT);
}

/* One process of many that do anything to one region, told by a seed */
static void live(const char *path, unsigned int seed, double end)
{
	char *w[3] = {};
	int fd = -1;

	while (now() < end) {
		int i = rand_r(&seed) % 3;

		switch (rand_r(&seed) % 12) {
		case 0:
			if (fd < 0)
				fd = open(path, O_CREAT | O_RDWR, 0600);
			if (fd >= 0)
				ftruncate(fd, SLOT);
			break;
		case 1:
			if (fd >= 0)
				close(fd);
			fd = -1;
			break;
		case 2:
			unlink(path);
			break;
		case 3:
			if (fd >= 0 && !w[i]) {
				w[i] = window(fd, 1, RW);
				if (w[i] == MAP_FAILED)
					w[i] = NULL;
			}
			break;
		case 4:
			if (w[i])
				munmap(w[i], SLOT);
			w[i] = NULL;
			break;
		case 5:
			if (fd >= 0)
				create_anon(fd, i * CHUNK / 2, OBJECT, RW);
			break;
		case 6:
			if (fd >= 0)
				unmap(fd, i * CHUNK / 2, OBJECT / 2);
			break;
		case 7:
			if (fd >= 0)
				protect(fd, i * CHUNK / 2, OBJECT,
					i ? RW : PROT_READ);
			break;
		case 8:
			if (fork() == 0) {
				prctl(PR_SET_PDEATHSIG, SIGKILL);
				seed++;
				end = now() + 0.01;
			}
			break;
		case 9:
			if (rand_r(&seed) % 8 == 0)
				execl("/bin/true", "true", NULL);
			break;
		case 10:
			if (rand_r(&seed) % 8 == 0)
				raise(SIGKILL);
			break;
		case 11:
			if (rand_r(&seed) % 8 == 0)
				_exit(0);
			break;
		}
		for (int j = 0; j < 3; j++)
			if (w[j])
				for (int k = 0; k < 8; k++)
					touch(w[j] + j * CHUNK / 2 +
					      rand_r(&seed) % (OBJECT / PAGE) *
					      PAGE, PROT_WRITE);
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
	}
	_exit(0);
}

TEST_F(lifetime, any_order)
{
	double end = now() + 2 * stress_seconds();
	pid_t pids[PROCESSES] = {}, victim;
	unsigned int seed = 1;
	long born = 0;

	prctl(PR_SET_CHILD_SUBREAPER, 1);
	while (now() < end || born <= 2 * PROCESSES) {
		for (int i = 0; i < PROCESSES; i++)
			if (!pids[i]) {
				pids[i] = fork_on(-1);
				seed += 1000;
				born++;
				if (!pids[i])
					live(self->path, seed, end);
			}
		sleep_us(2000);
		victim = pids[rand_r(&seed) % PROCESSES];
		if (victim && rand_r(&seed) % 4 == 0)
			kill(victim, SIGKILL);
		for (pid_t pid; (pid = waitpid(-1, NULL, WNOHANG)) > 0; )
			for (int i = 0; i < PROCESSES; i++)
				if (pids[i] == pid)
					pids[i] = 0;
	}
	while (waitpid(-1, NULL, 0) > 0)
		;
	unlink(self->path);
	EXPECT_LT(PROCESSES, born);
	EXPECT_BACK(&self->start);
}

TEST_F(lifetime, many_regions)
{
	struct footprint end;

	for (int i = 0; i < 500; i++) {
		int fd = filled_region(NULL, 64 * PAGE);

		ASSERT_LE(0, fd)
			TH_LOG("region %d: %m", i);
		close(fd);
	}
	EXPECT_BACK(&self->start);
	is_back(&self->start, &end);
	EXPECT_GT(self->start.inodes + 250, end.inodes);
}

/* A thread that wants its CPU a hundred times a second, before all others */
struct watch {
	int cpu;
	volatile bool stop;
	double worst;		/* seconds that it did not get it */
};

static void *watch_cpu(void *arg)
{
	struct sched_param first = { .sched_priority = 1 };
	struct watch *watch = arg;

	pin_to(watch->cpu);
	sched_setscheduler(0, SCHED_FIFO, &first);
	while (!watch->stop) {
		double late, before = now();

		sleep_us(10000);
		late = now() - before - 0.01;
		if (late > watch->worst)
			watch->worst = late;
	}
	return NULL;
}

/* A terabyte with a quarter of a million page tables: a region, and a window */
static void make_terabyte(struct __test_metadata *_metadata, int *fd, char **p)
{
	int object = memfd(CHUNK);

	*fd = region(2);
	ASSERT_LE(0, *fd);
	for (unsigned long at = 0; at < 2 * SLOT; at += CHUNK) {
		ASSERT_EQ(0, create_file(*fd, at, CHUNK, RW, object, 0));
	}
	close(object);
	*p = window(*fd, 2, RW);
	ASSERT_NE(MAP_FAILED, *p);
	for (unsigned long at = 0; at < 2 * SLOT; at += 2 * PMD)
		(*p)[at] = 1;
	EXPECT_LT(SLOT / PMD * PAGE, region_stat(*fd).page_table_bytes);
}

/* It takes its time to go, but not all of a CPU's: nobody waits for it long. */
static void expect_no_stall(struct __test_metadata *_metadata, bool by_unmap)
{
	struct watch watch = { .cpu = nr_cpus() - 1 };
	double start, took;
	pthread_t thread;
	char *p;
	int fd;

	if (meminfo_kb("MemAvailable") < 2 << 20)
		SKIP(return, "less than 2 GiB of memory for page tables");
	make_terabyte(_metadata, &fd, &p);

	pthread_create(&thread, NULL, watch_cpu, &watch);
	pin_to(watch.cpu);
	sleep_us(200000);
	watch.worst = 0;
	start = now();
	if (by_unmap) {
		EXPECT_EQ(0, unmap(fd, 0, 2 * SLOT));
	} else {
		munmap(p, 2 * SLOT);
	}
	close(fd);
	took = now() - start;
	watch.stop = true;
	pthread_join(thread, NULL);
	EXPECT_GT(took / 4 + 0.5, watch.worst);
	TH_LOG("gone in %.2f s, nobody waited longer than %.3f s", took,
	       watch.worst);
}

TEST_F_TIMEOUT(lifetime, a_terabyte_goes_without_a_stall, 600)
{
	expect_no_stall(_metadata, false);
	EXPECT_BACK(&self->start);
}

TEST_F_TIMEOUT(lifetime, a_terabyte_is_unmapped_without_a_stall, 600)
{
	expect_no_stall(_metadata, true);
}

static void *unmap_terabyte(void *arg)
{
	return (void *)(long)unmap(*(int *)arg, 0, 2 * SLOT);
}

/* A fault in what is being unmapped waits for that, but not beyond SIGKILL. */
TEST_F_TIMEOUT(lifetime, who_faults_in_a_terabyte_that_goes_can_be_killed, 600)
{
	double start, died, took;
	pthread_t thread;
	void *err;
	pid_t pid;
	int fd;
	char *p;

	if (meminfo_kb("MemAvailable") < 2 << 20)
		SKIP(return, "less than 2 GiB of memory for page tables");
	make_terabyte(_metadata, &fd, &p);

	start = now();
	ASSERT_EQ(0, pthread_create(&thread, NULL, unmap_terabyte, &fd));
	sleep_us(200000);
	pid = fork_on(-1);
	if (!pid) {
		p[0] = 1;
		_exit(0);	/* not denied: the unmapping was over */
	}
	sleep_us(200000);
	kill(pid, SIGKILL);
	EXPECT_EQ(SIGKILL, child_status(pid));
	died = now() - start;
	pthread_join(thread, &err);
	took = now() - start;
	EXPECT_EQ(NULL, err);
	EXPECT_GT(took / 2, died);
	TH_LOG("died after %.2f s, gone after %.2f s", died, took);
}

TEST_HARNESS_MAIN
