// SPDX-License-Identifier: PostgreSQL
/*
 * A pool in a file, and its file system frozen: what LVM and fsfreeze(8) do for a
 * snapshot. The kernel write-protects the pages when it has written them to disk,
 * and who stores into one meanwhile waits in its page fault for FITHAW. It says no to
 * every writer of that file system, of any file, and needs what is dirty to be
 * written first; no process has to take part.
 *
 * The file system is ext4 on a loop device in memory. Nothing of the file is dirty
 * but what the tried stores made so: the least that a closing can find to do.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "flip.h"

#define ROOM	(128 * MiB)	/* for the file system's own */

/* Where it is mounted; "" if it is not. main.c's process looks after a crash of ours. */
static char *mounted;

void fifreeze_keep(void)
{
	mounted = shared_memory(PAGE);
}

/* A sharer that waits for the thaw takes no signal, not even SIGKILL. */
static void thaw(void)
{
	int fd = open(mounted, O_RDONLY | O_CLOEXEC);

	ioctl(fd, FITHAW, 0);
	close(fd);
}

void fifreeze_restore(void)
{
	if (!*mounted)
		return;
	thaw();
	umount2(mounted, MNT_DETACH);
	rmdir(mounted);
	*mounted = 0;
}

static bool make_file_system(int image)
{
	char path[64];
	pid_t pid;
	int status;

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", getpid(), image);
	pid = fork();
	if (pid == 0) {
		execlp("mke2fs", "mke2fs", "-q", "-F", "-t", "ext4", path, NULL);
		_exit(127);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

/* A loop device on the image; false: errno says why. */
static bool loop_device(int image, char *path, size_t size)
{
	struct loop_config config = { .fd = image };
	bool done;
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	int number = ioctl(control, LOOP_CTL_GET_FREE), fd;

	close(control);
	if (number < 0)
		return false;
	snprintf(path, size, "/dev/loop%d", number);
	fd = open(path, O_RDWR | O_CLOEXEC);
	done = fd >= 0 && ioctl(fd, LOOP_CONFIGURE, &config) == 0;
	close(fd);
	return done;
}

/* Have it go when nobody has it open. A kernel may mount no device that is open for writing. */
static void loop_release(const char *path)
{
	struct loop_info64 info = { .lo_flags = LO_FLAGS_AUTOCLEAR };
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	ioctl(fd, LOOP_SET_STATUS64, &info);
	close(fd);
}

static bool mount_image(int image)
{
	char device[64], folder[] = "/tmp/flip.XXXXXX";

	if (!loop_device(image, device, sizeof(device)))
		return lack("no loop device: %s", strerror(errno));
	if (!mkdtemp(folder) || mount(device, folder, "ext4", 0, NULL) != 0) {
		lack("cannot mount ext4: %s", strerror(errno));
		rmdir(folder);
	} else {
		strcpy(mounted, folder);
	}
	loop_release(device);
	return *mounted != 0;
}

static void teardown(struct range *r)
{
	close(r->object);
	fifreeze_restore();
}

static bool setup(struct range *r)
{
	char file[64];
	bool made;
	int image = memfd_create("flip-image", MFD_CLOEXEC);

	if (image < 0 || ftruncate(image, r->piece + ROOM) != 0)
		return fail("memfd: %s", strerror(errno));
	made = make_file_system(image);
	if (!made)
		lack("mke2fs (e2fsprogs) does not make an ext4");
	made = made && mount_image(image);
	close(image);
	if (!made)
		return false;
	snprintf(file, sizeof(file), "%s/pool", mounted);
	r->object = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (r->object < 0 || posix_fallocate(r->object, 0, r->piece) != 0 || fsync(r->object) != 0) {
		fail("a file of %llu MiB on ext4: %s", (unsigned long long)(r->piece / MiB), strerror(errno));
		teardown(r);
		return false;
	}
	return true;
}

static bool protect(const struct range *r, int prot)
{
	if (ioctl(r->object, prot & PROT_WRITE ? FITHAW : FIFREEZE, 0) != 0)
		return fail("%s: %s", prot & PROT_WRITE ? "FITHAW" : "FIFREEZE", strerror(errno));
	return true;
}

const struct arm arm_fifreeze = {
	.name = "fifreeze",
	.max_bytes = 1 * GiB,
	.setup = setup,
	.teardown = teardown,
	.attach = mapping_attach,
	.ending = thaw,
	.protect = protect,
	.waits = true,
};
