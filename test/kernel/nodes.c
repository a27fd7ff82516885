// SPDX-License-Identifier: GPL-2.0
/*
 * Memory nodes: policies and queries of windows answer as they do for a plain
 * mapping of the same object, which each test tries first. Needs two nodes.
 */
#include "mshare_test.h"

#include <linux/mempolicy.h>
#include <sys/mount.h>

#define PAGES		64
#define HUGE		(MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB | MAP_HUGE_2MB)
#define HUGE_POOL	"/sys/devices/system/node/node%d/hugepages/" \
			"hugepages-2048kB/nr_hugepages"
#define TRACING		"/sys/kernel/tracing/"

enum place { PLAIN, WINDOW, ANONYMOUS, PLAIN_HUGE, WINDOW_HUGE };

FIXTURE(nodes)
{
	unsigned long page;	/* bytes */
	unsigned long both;	/* the first two nodes that have memory */
	int node[2];
	int here;		/* that of the CPU that the test runs on */
	int there;		/* the other one */
	int object;
	int region;
	char *p;
};

FIXTURE_VARIANT(nodes)
{
	enum place place;
};

FIXTURE_VARIANT_ADD(nodes, plain) { .place = PLAIN };
FIXTURE_VARIANT_ADD(nodes, window) { .place = WINDOW };
FIXTURE_VARIANT_ADD(nodes, anonymous) { .place = ANONYMOUS };
FIXTURE_VARIANT_ADD(nodes, plain_huge) { .place = PLAIN_HUGE };
FIXTURE_VARIANT_ADD(nodes, window_huge) { .place = WINDOW_HUGE };

static int set_policy(void *p, unsigned long size, int mode, unsigned long mask,
		      unsigned int flags)
{
	return result(syscall(SYS_mbind, p, size, mode, mask ? &mask : NULL,
			      64UL, flags));
}

static int set_task_policy(int mode, unsigned long mask)
{
	return result(syscall(SYS_set_mempolicy, mode, mask ? &mask : NULL,
			      64UL));
}

/* The mode at an address, and its nodes in *mask; or -errno. */
static int policy_of(void *p, unsigned long *mask)
{
	int mode = -1;
	int err = result(syscall(SYS_get_mempolicy, &mode, mask, 64UL, p,
				 MPOL_F_ADDR));

	return err ?: mode;
}

/* The node of the page at an address, which is touched for it; or -errno. */
static int node_of(void *p)
{
	int node = -1;
	int err = result(syscall(SYS_get_mempolicy, &node, NULL, 0UL, p,
				 MPOL_F_ADDR | MPOL_F_NODE));

	return err ?: node;
}

/* What move_pages() answers for one page: its node, or -errno. */
static int where(void *p)
{
	int status = -EINVAL;
	int err = result(syscall(SYS_move_pages, 0, 1UL, &p, NULL, &status, 0));

	return err ?: status;
}

/* Has it moved; what it answers for the page. */
static int move_to(void *p, int node)
{
	int status = -EINVAL;
	int err = result(syscall(SYS_move_pages, 0, 1UL, &p, &node, &status,
				 MPOL_MF_MOVE));

	return err ?: status;
}

/* How many of the pages are on a node */
static int pages_on(char *p, unsigned long size, int nr, int node)
{
	int count = 0;

	for (int i = 0; i < nr; i++)
		count += where(p + i * size) == node;
	return count;
}

static void touch_pages(char *p, unsigned long size, int nr)
{
	for (int i = 0; i < nr; i++)
		p[i * size] = 1;
}

/* The policy in the line of numa_maps that begins with an address */
static void numa_maps(void *p, char policy[64])
{
	FILE *file = fopen("/proc/self/numa_maps", "re");
	char line[512];
	void *start;

	policy[0] = 0;
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "%p %63s", &start, policy) == 2 && start == p)
			break;
		else
			policy[0] = 0;
	if (file)
		fclose(file);
}

static bool is_huge(enum place place)
{
	return place == PLAIN_HUGE || place == WINDOW_HUGE;
}

static int huge_pool(int node, const char *pages)
{
	char path[128];

	snprintf(path, sizeof(path), HUGE_POOL, node);
	return write_file(path, pages);
}

/* The first two nodes with memory; says whether there are two. */
static bool find_nodes(unsigned long *both, int node[2])
{
	unsigned long mask = 0;

	if (syscall(SYS_get_mempolicy, NULL, &mask, 64UL, NULL,
		    MPOL_F_MEMS_ALLOWED) || !(mask & (mask - 1)))
		return false;
	node[0] = __builtin_ctzl(mask);
	node[1] = __builtin_ctzl(mask & (mask - 1));
	*both = 1UL << node[0] | 1UL << node[1];
	return true;
}

FIXTURE_SETUP(nodes)
{
	unsigned int cpu, here;
	unsigned long size;

	self->region = -1;
	self->object = -1;
	self->p = MAP_FAILED;
	if (!find_nodes(&self->both, self->node))
		SKIP(return, "one memory node only");
	pin_to(0);
	ASSERT_EQ(0, syscall(SYS_getcpu, &cpu, &here, NULL));
	self->here = here;
	self->there = self->node[here == self->node[0]];
	self->page = is_huge(variant->place) ? PMD : PAGE;
	size = PAGES * self->page;
	if (is_huge(variant->place)) {
		/* what a test needs at most, on each */
		for (int i = 0; i < 2; i++)
			huge_pool(self->node[i], "64");
		if (figure("/proc/meminfo", "HugePages_Free") < 2 * PAGES)
			SKIP(return, "no huge pages to be had");
		self->object = memfd_create("nodes", MFD_CLOEXEC | MFD_HUGETLB |
					    MFD_HUGE_2MB);
		ASSERT_EQ(0, ftruncate(self->object, size));
	} else {
		self->object = memfd(size);
	}
	ASSERT_LE(0, self->object);
	if (variant->place == PLAIN || variant->place == PLAIN_HUGE) {
		self->p = mmap(NULL, size, RW, MAP_SHARED, self->object, 0);
		ASSERT_NE(MAP_FAILED, self->p);
		return;
	}
	self->region = region(1);
	ASSERT_LE(0, self->region);
	ASSERT_EQ(0, variant->place == ANONYMOUS ?
		  create_anon(self->region, 0, size, RW) :
		  create_file(self->region, 0, size, RW, self->object, 0));
	self->p = window(self->region, 1, RW);
	ASSERT_NE(MAP_FAILED, self->p);
}

FIXTURE_TEARDOWN(nodes)
{
	if (self->region >= 0) {
		munmap(self->p, SLOT);
		close(self->region);
	} else if (self->p != MAP_FAILED) {
		munmap(self->p, PAGES * self->page);
	}
	close(self->object);
	if (is_huge(variant->place))
		for (int i = 0; i < 2; i++)
			huge_pool(self->node[i], "0");
}

/* mbind() is for all of a range, and both queries tell it. */
TEST_F(nodes, interleave)
{
	unsigned long mask = 0;
	char text[64];

	EXPECT_EQ(MPOL_DEFAULT, policy_of(self->p, &mask));
	EXPECT_EQ(0, mask);
	ASSERT_EQ(0, set_policy(self->p, PAGES * self->page, MPOL_INTERLEAVE,
				self->both, 0));
	EXPECT_EQ(MPOL_INTERLEAVE, policy_of(self->p, &mask));
	EXPECT_EQ(self->both, mask);
	numa_maps(self->p, text);
	EXPECT_EQ(0, strncmp(text, "interleave:", 11))
		TH_LOG("numa_maps: %s", text);

	touch_pages(self->p, self->page, PAGES);
	for (int i = 0; i < 2; i++)
		EXPECT_EQ(PAGES / 2, pages_on(self->p, self->page, PAGES,
					      self->node[i]));
}

/* Of a part: the rest keeps the policy that it had. */
TEST_F(nodes, part)
{
	unsigned long mask, page = self->page;
	char *part = self->p + 16 * page;

	ASSERT_EQ(0, set_policy(part, 16 * page, MPOL_BIND, 1UL << self->there,
				0));
	for (int i = 0; i < PAGES; i++) {
		bool in = i >= 16 && i < 32;
		int want = in ? self->there : self->here;

		EXPECT_EQ(in ? MPOL_BIND : MPOL_DEFAULT,
			  policy_of(self->p + i * page, &mask));
		EXPECT_EQ(in ? 1UL << self->there : 0, mask);
		self->p[i * page] = 1;
		EXPECT_EQ(want, where(self->p + i * page));
		EXPECT_EQ(want, node_of(self->p + i * page));
	}
}

/* A second one takes the first one's place, and MPOL_DEFAULT both back. */
TEST_F(nodes, replaced)
{
	unsigned long mask, page = self->page;

	ASSERT_EQ(0, set_policy(self->p, PAGES * page, MPOL_BIND,
				1UL << self->there, 0));
	ASSERT_EQ(0, set_policy(self->p + 8 * page, 8 * page, MPOL_INTERLEAVE,
				self->both, 0));
	EXPECT_EQ(MPOL_BIND, policy_of(self->p, &mask));
	EXPECT_EQ(MPOL_INTERLEAVE, policy_of(self->p + 8 * page, &mask));
	EXPECT_EQ(MPOL_BIND, policy_of(self->p + 16 * page, &mask));

	ASSERT_EQ(0, set_policy(self->p, PAGES * page, MPOL_DEFAULT, 0, 0));
	for (int i = 0; i < PAGES; i++)
		EXPECT_EQ(MPOL_DEFAULT, policy_of(self->p + i * page, &mask));
	touch_pages(self->p, page, PAGES);
	EXPECT_EQ(PAGES, pages_on(self->p, page, PAGES, self->here));
}

/* Another process's faults go by it, too, whatever its own policy. */
TEST_F(nodes, other_process)
{
	unsigned long page = self->page;
	pid_t pid;

	ASSERT_EQ(0, set_policy(self->p, PAGES * page, MPOL_BIND,
				1UL << self->there, 0));
	pid = fork_on(0);
	if (pid == 0) {
		if (set_task_policy(MPOL_BIND, 1UL << self->here))
			_exit(1);
		touch_pages(self->p, page, PAGES);
		_exit(0);
	}
	ASSERT_EQ(0, child_status(pid));
	touch_pages(self->p, page, PAGES);
	EXPECT_EQ(PAGES, pages_on(self->p, page, PAGES, self->there));
}

/* Where the object has none it is that of the task that faults. */
TEST_F(nodes, task_policy)
{
	unsigned long page = self->page, mask;

	ASSERT_EQ(0, set_task_policy(MPOL_BIND, 1UL << self->there));
	touch_pages(self->p, page, PAGES / 2);
	ASSERT_EQ(0, set_task_policy(MPOL_INTERLEAVE, self->both));
	touch_pages(self->p, page, PAGES);
	EXPECT_EQ(MPOL_DEFAULT, policy_of(self->p, &mask));
	EXPECT_EQ(PAGES / 2, pages_on(self->p, page, PAGES / 2, self->there));
	for (int i = 0; i < 2; i++)
		EXPECT_EQ(PAGES / 4, pages_on(self->p + PAGES / 2 * page, page,
					      PAGES / 2, self->node[i]));
	set_task_policy(MPOL_DEFAULT, 0);
}

/* A page that is not there has no node; one that is there has, also closed. */
TEST_F(nodes, query)
{
	unsigned long page = self->page;

	EXPECT_EQ(-ENOENT, where(self->p));
	self->p[0] = 1;
	EXPECT_EQ(self->here, where(self->p));
	EXPECT_EQ(self->here, where(self->p + page - PAGE));
	EXPECT_EQ(-ENOENT, where(self->p + page));
	if (self->region >= 0) {
		EXPECT_EQ(0, protect(self->region, 0, page, PROT_NONE));
		EXPECT_EQ(self->here, where(self->p));
		EXPECT_EQ(0, protect(self->region, 0, PAGES * page, PROT_NONE));
	} else {
		EXPECT_EQ(0, mprotect(self->p, PAGES * page, PROT_NONE));
	}
	EXPECT_EQ(self->here, where(self->p));
	EXPECT_EQ(-EFAULT, node_of(self->p));
}

/* One object's policy is one, by whichever mapping it is set or asked. */
TEST_F(nodes, by_another_mapping)
{
	unsigned long size = PAGES * self->page, mask;
	char *q = mmap(NULL, size, RW, MAP_SHARED, self->object, 0);

	ASSERT_NE(MAP_FAILED, q);
	if (is_huge(variant->place) || variant->place == ANONYMOUS)
		SKIP(return, "no policy, or no object, that is shared so");
	ASSERT_EQ(0, set_policy(q, size, MPOL_BIND, 1UL << self->there, 0));
	EXPECT_EQ(MPOL_BIND, policy_of(self->p, &mask));
	touch_pages(self->p, self->page, PAGES / 2);
	EXPECT_EQ(PAGES / 2, pages_on(self->p, self->page, PAGES, self->there));

	ASSERT_EQ(0, set_policy(self->p, size, MPOL_PREFERRED,
				1UL << self->here, 0));
	EXPECT_EQ(MPOL_PREFERRED, policy_of(q, &mask));
	touch_pages(q, self->page, PAGES);
	EXPECT_EQ(PAGES / 2, pages_on(q, self->page, PAGES, self->here));
	munmap(q, size);
}

/* A policy of its VMA's cuts one of hugetlb at whole pages only. */
TEST_F(nodes, part_of_a_huge_page)
{
	if (!is_huge(variant->place))
		SKIP(return, "of small pages");
	EXPECT_EQ(-EINVAL, set_policy(self->p + PAGE, self->page, MPOL_BIND,
				      1UL << self->there, 0));
}

/* Pieces that a policy made are one again without it. */
TEST_F(nodes, pieces_merge)
{
	unsigned long page = self->page;

	if (self->region < 0)
		SKIP(return, "of regions");
	for (int i = 0; i < PAGES; i += 2)
		ASSERT_EQ(0, set_policy(self->p + i * page, page, MPOL_BIND,
					1UL << self->there, 0));
	EXPECT_EQ(is_huge(variant->place) ? PAGES : 1,
		  region_stat(self->region).host_vmas);
	EXPECT_EQ(0, protect(self->region, page, page, PROT_READ));
	EXPECT_EQ(0, protect(self->region, page, page, RW));
	ASSERT_EQ(0, set_policy(self->p, PAGES * page, MPOL_DEFAULT, 0, 0));
	EXPECT_EQ(1, region_stat(self->region).host_vmas);
	touch_pages(self->p, page, PAGES);
	EXPECT_EQ(PAGES, pages_on(self->p, page, PAGES, self->here));
}

FIXTURE(window)
{
	unsigned long both;
	int node[2];
	int region;
	int object;
	char *p;
};

FIXTURE_SETUP(window)
{
	self->region = -1;
	if (!find_nodes(&self->both, self->node))
		SKIP(return, "one memory node only");
	ASSERT_EQ(0, map_object(PAGES * PAGE, RW, &self->region, &self->object,
				&self->p));
}

FIXTURE_TEARDOWN(window)
{
	if (self->region < 0)
		return;
	munmap(self->p, SLOT);
	close(self->region);
	close(self->object);
}

/* Holes have no policy: a range may have some, but not be one. */
TEST_F(window, holes)
{
	unsigned long mask;

	ASSERT_EQ(0, create_anon(self->region, CHUNK, PAGES * PAGE, RW));
	EXPECT_EQ(-EFAULT, set_policy(self->p + CHUNK / 2, PAGE, MPOL_BIND,
				      self->both, 0));
	EXPECT_EQ(-EFAULT, set_policy(self->p + CHUNK / 2, PAGE, MPOL_DEFAULT,
				      0, 0));
	EXPECT_EQ(0, set_policy(self->p, SLOT, MPOL_INTERLEAVE, self->both, 0));
	EXPECT_EQ(MPOL_INTERLEAVE, policy_of(self->p, &mask));
	EXPECT_EQ(MPOL_INTERLEAVE, policy_of(self->p + CHUNK, &mask));
	EXPECT_EQ(MPOL_DEFAULT, policy_of(self->p + CHUNK / 2, &mask));
	EXPECT_EQ(-ENOENT, where(self->p + CHUNK / 2));

	/* what is mapped later has none */
	ASSERT_EQ(0, create_anon(self->region, 2 * CHUNK, PAGES * PAGE, RW));
	EXPECT_EQ(MPOL_DEFAULT, policy_of(self->p + 2 * CHUNK, &mask));
}

/* What is behind a window is never moved by it, and that is said. */
TEST_F(window, moving_is_refused)
{
	static const unsigned int flags[] = {
		MPOL_MF_MOVE, MPOL_MF_MOVE_ALL, MPOL_MF_STRICT,
		MPOL_MF_STRICT | MPOL_MF_MOVE,
	};
	unsigned long mask;
	int on;

	touch_pages(self->p, PAGE, PAGES);
	on = where(self->p);
	ASSERT_LE(0, on);
	for (int i = 0; i < ARRAY_SIZE(flags); i++) {
		EXPECT_EQ(-EINVAL, set_policy(self->p, PAGES * PAGE, MPOL_BIND,
					      self->both & ~(1UL << on),
					      flags[i]));
		EXPECT_EQ(MPOL_DEFAULT, policy_of(self->p, &mask));
	}
	EXPECT_EQ(-EFAULT, move_to(self->p, self->node[on == self->node[0]]));
	EXPECT_EQ(on, where(self->p));
	EXPECT_EQ(PAGES, pages_on(self->p, PAGE, PAGES, on));

	/* migrate_pages() passes over it */
	EXPECT_EQ(0, syscall(SYS_migrate_pages, 0, 64UL,
			     &(unsigned long){ 1UL << on },
			     &(unsigned long){ self->both & ~(1UL << on) }));
	EXPECT_EQ(PAGES, pages_on(self->p, PAGE, PAGES, on));
}

/* It is for all, so it needs what PROTECT needs. */
TEST_F(window, read_only)
{
	char path[64];
	unsigned long mask;
	int fd;
	char *q;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", self->region);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, fd);
	q = window(fd, 1, PROT_READ);
	ASSERT_NE(MAP_FAILED, q);
	EXPECT_EQ(-EACCES, set_policy(q, PAGE, MPOL_BIND, self->both, 0));
	EXPECT_EQ(MPOL_DEFAULT, policy_of(self->p, &mask));
	ASSERT_EQ(0, set_policy(self->p, PAGE, MPOL_BIND, self->both, 0));
	EXPECT_EQ(MPOL_BIND, policy_of(q, &mask));
	munmap(q, SLOT);
	close(fd);
}

/* Windows stay whole, and the same for who inherits them. */
TEST_F(window, stays_whole)
{
	unsigned long mask;
	char text[64];
	pid_t pid;

	for (int i = 0; i < 8; i++)
		ASSERT_EQ(0, set_policy(self->p + 2 * i * PAGE, PAGE, MPOL_BIND,
					1UL << self->node[i & 1], 0));
	EXPECT_EQ(-ENOENT, result(syscall(SYS_set_mempolicy_home_node, self->p,
					  PAGE, self->node[1], 0)));
	EXPECT_EQ(1, region_stat(self->region).windows);
	numa_maps(self->p, text);
	EXPECT_EQ(0, strncmp(text, "bind:", 5))
		TH_LOG("numa_maps: %s", text);
	pid = fork_on(-1);
	if (pid == 0)
		_exit(policy_of(self->p, &mask) != MPOL_BIND ||
		      mask != 1UL << self->node[0] ||
		      policy_of(self->p + PAGE, &mask) != MPOL_DEFAULT);
	EXPECT_EQ(0, child_status(pid));
	EXPECT_EQ(0, munmap(self->p, SLOT));
	self->p = window(self->region, 1, RW);
	EXPECT_EQ(MPOL_BIND, policy_of(self->p, &mask));
}

/* Policies of one range, set and asked by two processes without an end */
TEST_F(window, races)
{
	int *stop = shared_page(PAGE);
	unsigned long mask, page = PAGE;
	double start = now();
	pid_t pid[2];
	long rounds = 0;

	for (int i = 0; i < 2; i++) {
		pid[i] = fork_on(i);
		for (int n = 0; pid[i] == 0; n++) {
			if (*(volatile int *)stop)
				_exit(0);
			if (set_policy(self->p + n % 8 * page, 8 * page,
				       n % 3 ? MPOL_BIND : MPOL_DEFAULT,
				       n % 3 ? 1UL << self->node[n & 1] : 0, 0))
				_exit(1);
		}
	}
	while (!stress_over(start, stress_seconds(), rounds > 1000)) {
		int mode = policy_of(self->p + rounds % 16 * page, &mask);
		char text[64];

		ASSERT_TRUE(mode == MPOL_BIND || mode == MPOL_DEFAULT);
		if (rounds % 64 == 0)
			numa_maps(self->p, text);
		self->p[rounds % 16 * page] = 1;
		ASSERT_LE(0, where(self->p + rounds % 16 * page));
		if (rounds % 16 == 15)
			ASSERT_EQ(0, result(fallocate(self->object,
					FALLOC_FL_PUNCH_HOLE |
					FALLOC_FL_KEEP_SIZE, 0, 16 * page)));
		rounds++;
	}
	*stop = 1;
	for (int i = 0; i < 2; i++)
		EXPECT_EQ(0, child_status(pid[i]));
}

/* Lines of the trace that name an address and a reason */
static int skipped(void *p, const char *reason)
{
	FILE *file = fopen(TRACING "trace", "re");
	char line[512], at[32];
	int count = 0;

	snprintf(at, sizeof(at), "vm_start=%lX ", (unsigned long)p);
	while (file && fgets(line, sizeof(line), file))
		count += strstr(line, "sched_skip_vma_numa") &&
			 strstr(line, at) && strstr(line, reason);
	if (file)
		fclose(file);
	return count;
}

/* NUMA balancing scans address space to mark entries, which a window has not. */
TEST_F(window, not_scanned)
{
	static const char event[] = TRACING "events/sched/sched_skip_vma_numa/";
	static const char balancing[] = "/proc/sys/kernel/numa_balancing";
	double start = now();
	char path[128], *q;

	if (access(TRACING "trace", F_OK))
		mount("tracefs", TRACING, "tracefs", 0, NULL);
	snprintf(path, sizeof(path), "%senable", event);
	if (access(path, W_OK) || write_file(balancing, "1"))
		SKIP(return, "no NUMA balancing, or no tracing of it");
	/* one that is scanned: the control */
	q = mmap(NULL, 64 * MIB, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, q);
	write_file(TRACING "trace", "");
	ASSERT_EQ(0, write_file(path, "1"));
	while (now() < start + 60 && !skipped(self->p, "unsuitable"))
		for (double t = now(); now() < t + 0.5; ) {
			touch_pages(q, PAGE, 64 * MIB / PAGE);
			touch_pages(self->p, PAGE, PAGES);
		}
	write_file(path, "0");
	EXPECT_LT(0, skipped(self->p, "unsuitable"));
	EXPECT_EQ(0, skipped(q, "unsuitable"));
	write_file(TRACING "trace", "");
	munmap(q, 64 * MIB);
}

TEST_HARNESS_MAIN
