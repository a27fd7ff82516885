// SPDX-License-Identifier: GPL-2.0
/*
 * An address space has either windows or MMU notifiers: a secondary MMU (a
 * virtual machine, a device) would keep pages that the region has given away.
 * The user of notifiers here is the kernel's own HMM test device.
 */
#include "mshare_test.h"

#include <pthread.h>
#include <sys/sysmacros.h>

FIXTURE(notifier)
{
	int region;
	char node[32];
};

/* The major number of a character device, or -1 */
static int device_major(const char *name)
{
	FILE *devices = fopen("/proc/devices", "re");
	char line[128], device[64];
	int major, found = -1;

	while (devices && found < 0 && fgets(line, sizeof(line), devices))
		if (sscanf(line, "%d %63s", &major, device) == 2 &&
		    !strcmp(device, name))
			found = major;
	if (devices)
		fclose(devices);
	return found;
}

/* Opening the device registers a notifier for the whole address space. */
static int notifier_open(const char *node)
{
	return result(open(node, O_RDWR | O_CLOEXEC));
}

FIXTURE_SETUP(notifier)
{
	int major;

	major = device_major("HMM_DMIRROR");
	if (major < 0) {
		system("insmod $(find /lib/modules -name test_hmm.ko) 2>/dev/null");
		major = device_major("HMM_DMIRROR");
	}
	if (major < 0)
		SKIP(return, "no HMM test device: CONFIG_TEST_HMM is off or its module is not installed");
	snprintf(self->node, sizeof(self->node), "/dev/mshare-hmm-%d", getpid());
	ASSERT_EQ(0, mknod(self->node, S_IFCHR | 0600, makedev(major, 0)));
	self->region = region(1);
	ASSERT_LE(0, self->region);
	ASSERT_EQ(0, create_anon(self->region, 0, PAGE, RW));
}

FIXTURE_TEARDOWN(notifier)
{
	unlink(self->node);
	close(self->region);
}

TEST_F(notifier, the_device_works_without_windows)
{
	int fd = notifier_open(self->node);

	EXPECT_LE(0, fd);
	close(fd);
}

TEST_F(notifier, no_window_beside_a_notifier)
{
	int fd = notifier_open(self->node);

	ASSERT_LE(0, fd);
	EXPECT_EQ(MAP_FAILED, window(self->region, 1, RW));
	EXPECT_EQ(EBUSY, errno);
	EXPECT_EQ(0, region_stat(self->region).windows);
	/* notifiers are not inherited */
	pid_t pid = fork();

	if (pid == 0) {
		char *p = window(self->region, 1, RW);

		EXPECT_NE(MAP_FAILED, p);
		EXPECT_EQ(RW, rights(p));
		_exit(0);
	}
	EXPECT_EQ(0, child_status(pid));
	close(fd);
}

TEST_F(notifier, no_notifier_beside_a_window)
{
	char *p = window(self->region, 1, RW);
	pid_t pid;
	int fd;

	ASSERT_NE(MAP_FAILED, p);
	EXPECT_EQ(-EOPNOTSUPP, notifier_open(self->node));
	/* windows are */
	pid = fork();
	if (pid == 0) {
		EXPECT_EQ(-EOPNOTSUPP, notifier_open(self->node));
		EXPECT_EQ(0, munmap(p, SLOT));
		EXPECT_LE(0, notifier_open(self->node));
		_exit(0);
	}
	EXPECT_EQ(0, child_status(pid));
	EXPECT_EQ(-EOPNOTSUPP, notifier_open(self->node));
	EXPECT_EQ(RW, rights(p));

	ASSERT_EQ(0, munmap(p, SLOT));
	fd = notifier_open(self->node);
	EXPECT_LE(0, fd);
	close(fd);
}

TEST_F(notifier, one_of_two_windows_is_enough)
{
	char *p = window(self->region, 1, RW), *q = window(self->region, 1, RW);

	ASSERT_NE(MAP_FAILED, p);
	ASSERT_NE(MAP_FAILED, q);
	ASSERT_EQ(0, munmap(p, SLOT));
	EXPECT_EQ(-EOPNOTSUPP, notifier_open(self->node));
	ASSERT_EQ(0, munmap(q, SLOT));
	EXPECT_LE(0, notifier_open(self->node));
}

/* One that had a notifier once may be refused a window, but never has both. */
TEST_F(notifier, never_both_one_after_the_other)
{
	int fd = notifier_open(self->node);

	ASSERT_LE(0, fd);
	close(fd);
	for (int i = 0; i < 10; i++) {
		char *p = window(self->region, 1, RW);

		if (p == MAP_FAILED) {
			EXPECT_EQ(EBUSY, errno);
		} else {
			EXPECT_EQ(-EOPNOTSUPP, notifier_open(self->node));
			munmap(p, SLOT);
		}
		fd = notifier_open(self->node);
		if (fd >= 0) {
			EXPECT_EQ(MAP_FAILED, window(self->region, 1, RW));
			close(fd);
		}
	}
}

struct rival {
	const char *node;
	pthread_barrier_t *start;
	int fd;
};

static void *open_at_once(void *arg)
{
	struct rival *rival = arg;

	pthread_barrier_wait(rival->start);
	rival->fd = notifier_open(rival->node);
	return NULL;
}

TEST_F(notifier, never_both_at_the_same_time)
{
	long *count = shared_page(PAGE);	/* neither, window, notifier, both */
	double start = now();

	while (!stress_over(start, stress_seconds(), count[1] + count[2] > 10)) {
		pid_t pid = fork();		/* each round a new address space */

		if (pid == 0) {
			pthread_barrier_t start;
			struct rival rival = { self->node, &start };
			pthread_t thread;
			char *p;

			pthread_barrier_init(&start, NULL, 2);
			pthread_create(&thread, NULL, open_at_once, &rival);
			pthread_barrier_wait(&start);
			p = window(self->region, 1, RW);
			pthread_join(thread, NULL);
			count[(p != MAP_FAILED) + 2 * (rival.fd >= 0)]++;
			_exit(0);
		}
		child_status(pid);
	}
	EXPECT_EQ(0, count[0]);
	EXPECT_EQ(0, count[3]);
	EXPECT_LT(10, count[1] + count[2]);
	TH_LOG("the window came first %ld times, the notifier %ld times",
	       count[1], count[2]);
}

TEST_HARNESS_MAIN
