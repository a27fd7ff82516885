/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What all selftests of mshare share: regions and windows in one call, an
 * oracle that says what an address allows, the debugfs knobs that take a
 * protection out, and figures from /proc.
 *
 * Calls that can fail return 0 or a positive value, or -errno.
 */
#ifndef MSHARE_TEST_H
#define MSHARE_TEST_H

#include "kselftest_harness.h"

#include <fcntl.h>
#include <linux/memfd.h>
#include <linux/mman.h>
#include <linux/msharefs.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <time.h>

/* Emulation is slow, a debug kernel slower; loops have their own deadline. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT	180

#define PAGE	4096UL
#define MIB	(1UL << 20)
#define PMD	(2 * MIB)
#define CHUNK	(1UL << 30)		/* unit of the constant-time flip */
#define SLOT	(1UL << 39)		/* unit of size and alignment */

#define RW	(PROT_READ | PROT_WRITE)
#define RX	(PROT_READ | PROT_EXEC)
#define RWX	(PROT_READ | PROT_WRITE | PROT_EXEC)

#define TMPFS_MAGIC	0x01021994

#define KNOBS	"/sys/kernel/debug/mshare/"

static inline const char *mshare_dir(void)
{
	return getenv("MSHARE_DIR") ?: "/sys/fs/mshare";
}

/* What its mshare lacks kernel/module/README.md says: guards, for one. */
static inline bool is_module(void)
{
	return !access("/sys/module/mshare/initstate", F_OK);
}

/* How long one stress loop runs; a debug kernel is given fewer seconds. */
static inline double stress_seconds(void)
{
	const char *s = getenv("MSHARE_TEST_SECONDS");

	return s ? atof(s) : 3;
}

static inline double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/*
 * Whether a stress loop is over: its time is up and it has seen enough. On a
 * busy host that may take longer, but not for ever.
 */
static inline bool stress_over(double start, double seconds, bool enough)
{
	double passed = now() - start;

	return passed > seconds + 120 || (passed > seconds && enough);
}

static inline void sleep_us(long us)
{
	struct timespec t = { us / 1000000, us % 1000000 * 1000 };

	nanosleep(&t, NULL);
}

/* Waits for a condition, long enough for a busy host; says whether it came. */
#define UNTIL(condition) ({						\
	double until_start = now();					\
									\
	while (!(condition) && now() < until_start + 60)		\
		sleep_us(1000);						\
	!!(condition);							\
})

/* Regions, by ioctl */

static inline int result(long ret)
{
	return ret < 0 ? -errno : ret;
}

static inline int region_open(void)
{
	return result(open(mshare_dir(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
}

static inline int region(unsigned int slots)
{
	int fd = region_open();

	if (fd >= 0 && ftruncate(fd, slots * SLOT)) {
		int err = -errno;

		close(fd);
		return err;
	}
	return fd;
}

static inline int create_flags(int region, __u64 at, __u64 size, int prot,
			       unsigned int flags, int fd, __u64 offset)
{
	struct mshare_create create = {
		.region_offset = at,
		.size = size,
		.offset = offset,
		.prot = prot,
		.flags = flags,
		.fd = fd,
		.__pad = 0xdeadbeef,	/* programs of v3 do not clear it */
	};

	return result(ioctl(region, MSHAREFS_CREATE_MAPPING, &create));
}

static inline int create_anon(int region, __u64 at, __u64 size, int prot)
{
	return create_flags(region, at, size, prot,
			    MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

static inline int create_file(int region, __u64 at, __u64 size, int prot,
			      int fd, __u64 offset)
{
	return create_flags(region, at, size, prot, MAP_SHARED, fd, offset);
}

/* What this process has mapped */
static inline int create_from(int region, __u64 at, __u64 size, int prot,
			      const void *address)
{
	return create_flags(region, at, size, prot, MAP_SHARED | MSHARE_FROM_MM,
			    -1, (unsigned long)address);
}

static inline int memfd(size_t size)
{
	int fd = memfd_create("mshare_test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd >= 0 && ftruncate(fd, size)) {
		close(fd);
		return -1;
	}
	return fd;
}

/* An object that takes memory only where it is touched, of any size */
static inline int create_sparse(int region, __u64 at, __u64 size, int prot)
{
	int fd = memfd(size), err = create_file(region, at, size, prot, fd, 0);

	close(fd);
	return err;
}

static inline int protect(int region, __u64 at, __u64 size, int prot)
{
	struct mshare_protect p = {
		.region_offset = at, .size = size, .prot = prot,
	};

	return result(ioctl(region, MSHAREFS_PROTECT, &p));
}

static inline int unmap(int region, __u64 at, __u64 size)
{
	struct mshare_unmap u = { .region_offset = at, .size = size };

	return result(ioctl(region, MSHAREFS_UNMAP, &u));
}

static inline int advise(int region, __u64 at, __u64 size, int advice)
{
	struct mshare_advise a = {
		.region_offset = at, .size = size, .advice = advice,
	};

	return result(ioctl(region, MSHAREFS_ADVISE, &a));
}

static inline int guard(int region, __u64 at, __u64 size)
{
	struct mshare_guard g = { .region_offset = at, .size = size };

	return result(ioctl(region, MSHAREFS_GUARD, &g));
}

static inline int fault_mode(int region, unsigned int mode, unsigned int flags,
			     __u64 timeout_ns)
{
	struct mshare_fault_mode m = {
		.mode = mode, .flags = flags, .timeout_ns = timeout_ns,
	};

	return result(ioctl(region, MSHAREFS_FAULT_MODE, &m));
}

/* Reads one event, waiting for it so long; -ETIMEDOUT if there is none. */
static inline int next_event(int region, struct mshare_event *event, int ms)
{
	struct pollfd poll_fd = { .fd = region, .events = POLLIN };
	int n = result(poll(&poll_fd, 1, ms));

	if (n <= 0)
		return n ?: -ETIMEDOUT;
	n = result(read(region, event, sizeof(*event)));
	return n == sizeof(*event) ? 0 : n < 0 ? n : -EIO;
}

static inline struct mshare_stat region_stat(int region)
{
	struct mshare_stat stat = { .size = sizeof(stat) };

	if (ioctl(region, MSHAREFS_STAT, &stat))
		memset(&stat, 0xff, sizeof(stat));
	return stat;
}

/* Maps slots from the start of a region; MAP_FAILED as mmap(). */
static inline char *window(int region, unsigned int slots, int prot)
{
	return mmap(NULL, slots * SLOT, prot, MAP_SHARED, region, 0);
}

/*
 * A region of one slot with a memfd at its start, and a window of it: what
 * most tests look at. Returns 0 or -errno.
 */
static inline int map_object(size_t size, int prot, int *region_fd,
			     int *object, char **p)
{
	int err;

	*region_fd = region(1);
	*object = memfd(size);
	if (*region_fd < 0 || *object < 0)
		return -errno;
	err = create_file(*region_fd, 0, size, prot, *object, 0);
	*p = window(*region_fd, 1, prot);
	return err ?: *p == MAP_FAILED ? -errno : 0;
}

/*
 * The oracle. touch() does one access and returns 0 or how it was denied:
 * SEGV_MAPERR, SEGV_ACCERR, DENIED_BUS, or DENIED_ELSEWHERE if si_addr is not
 * the address touched. Every byte touched is a RET instruction, so that a
 * store, a load and a call can follow each other in any order.
 */
#define RET			((char)0xc3)
#define DENIED_BUS		64
#define DENIED_ELSEWHERE	65

static __thread sigjmp_buf touch_env;
static __thread void *volatile touch_addr;

static inline void touch_denied(int sig, siginfo_t *info, void *context)
{
	if (!touch_addr) {		/* not an access of touch(): die of it */
		signal(sig, SIG_DFL);
		return;
	}
	siglongjmp(touch_env, info->si_addr != touch_addr ? DENIED_ELSEWHERE :
		   sig == SIGBUS ? DENIED_BUS : info->si_code);
}

static inline int touch(void *addr, int access)
{
	struct sigaction action = {
		.sa_sigaction = touch_denied, .sa_flags = SA_SIGINFO,
	};
	int denied;

	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
	denied = sigsetjmp(touch_env, 1);
	if (!denied) {
		touch_addr = addr;
		if (access == PROT_READ)
			(void)*(volatile char *)addr;
		else if (access == PROT_WRITE)
			*(volatile char *)addr = RET;
		else
			((void (*)(void))addr)();
	}
	touch_addr = NULL;
	return denied;
}

/* Stores a value where touch() has been; returns as that does. */
#define touch_store(p, value) ({					\
	typeof(p) at_ = (p);						\
	int denied_ = sigsetjmp(touch_env, 1);				\
									\
	if (!denied_) {							\
		touch_addr = at_;					\
		*(volatile typeof(*at_) *)at_ = (value);		\
	}								\
	touch_addr = NULL;						\
	denied_;							\
})

/* The rights that an address has: PROT_* bits, or -1 if it is not mapped. */
static inline int rights(void *addr)
{
	int have = 0;

	for (int access = PROT_READ; access <= PROT_EXEC; access <<= 1) {
		int denied = touch(addr, access);

		if (denied && denied != SEGV_ACCERR)
			return -denied;
		if (!denied)
			have |= access;
	}
	return have;
}

/* Processes */

static inline int child_status(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return status;
}

/* A child that goes when its parent goes, pinned to a CPU unless cpu < 0. */
static inline pid_t fork_on(int cpu)
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (cpu >= 0) {
			cpu_set_t set;

			CPU_ZERO(&set);
			CPU_SET(cpu, &set);
			sched_setaffinity(0, sizeof(set), &set);
		}
	}
	return pid;
}

/* The state of a process or thread, as in /proc/PID/stat */
static inline char proc_state(pid_t pid)
{
	char path[64], line[256] = "", *p;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	file = fopen(path, "re");
	if (!file)
		return 0;
	p = fgets(line, sizeof(line), file) ? strrchr(line, ')') : NULL;
	fclose(file);
	return p ? p[2] : 0;
}

static inline int nr_cpus(void)
{
	return sysconf(_SC_NPROCESSORS_ONLN);
}

static inline void pin_to(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static inline void *shared_page(size_t size)
{
	return mmap(NULL, size, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

/* A file of one page, full of a byte, that is read without the page cache */
static inline int direct_file(char byte)
{
	static const char *const dirs[] = { "/var/tmp", "/root", "/", "/tmp" };
	char *page = mmap(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	memset(page, byte, PAGE);
	for (int i = 0; i < ARRAY_SIZE(dirs); i++) {
		struct statfs fs;
		int fd;

		/* tmpfs takes O_DIRECT but copies */
		if (statfs(dirs[i], &fs) || fs.f_type == TMPFS_MAGIC)
			continue;
		fd = open(dirs[i], O_TMPFILE | O_RDWR | O_DIRECT | O_CLOEXEC, 0600);
		if (fd < 0)
			continue;
		if (pwrite(fd, page, PAGE, 0) == PAGE && !fsync(fd) &&
		    pread(fd, page, PAGE, 0) == PAGE) {
			munmap(page, PAGE);
			return fd;
		}
		close(fd);
	}
	munmap(page, PAGE);
	return -1;
}

/* Files that hold a figure or take a word */

static inline int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), err = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		err = -errno;
	close(fd);
	return err;
}

/* The number behind a key at the start of a line, -1 if there is none. */
static inline long figure(const char *path, const char *key)
{
	char line[512];
	long value = -1;
	FILE *file = fopen(path, "re");

	if (!file)
		return -1;
	while (fgets(line, sizeof(line), file))
		if (!strncmp(line, key, strlen(key)) &&
		    sscanf(line + strlen(key), "%*[: \t]%ld", &value) == 1)
			break;
	fclose(file);
	return value;
}

static inline long meminfo_kb(const char *key)
{
	write_file("/proc/sys/vm/stat_refresh", "1");	/* folds in all CPUs' */
	return figure("/proc/meminfo", key);
}

static inline long vmstat(const char *key)
{
	return figure("/proc/vmstat", key);
}

/*
 * Knobs take out one protection each, so that the test of it can be seen to
 * fail. The runner restores them all, whatever became of the test.
 */
static inline int knob(const char *name, bool on)
{
	char path[128];

	snprintf(path, sizeof(path), KNOBS "%s", name);
	return write_file(path, on ? "1" : "0");
}

/*
 * With page-table isolation and no PCID every system call flushes the TLB:
 * what a control takes out is not missed.
 */
static inline bool every_switch_flushes(void)
{
	return !system("grep -qw pti /proc/cpuinfo");
}

/* A control that sees nothing means that the test beside it says nothing. */
#define EXPECT_POWER(seen, without) do {				\
	if (!(seen) && every_switch_flushes())				\
		SKIP(return, "no power: page-table isolation flushes anyway"); \
	EXPECT_LT(0, seen)						\
		TH_LOG("no power: nothing got through without " without); \
} while (0)

#endif /* MSHARE_TEST_H */
