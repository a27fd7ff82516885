// SPDX-License-Identifier: GPL-2.0
/*
 * Regions between containers: a descriptor that is handed to another user, in
 * namespaces of its own, and a mount that is bound elsewhere.
 */
#include "mshare_test.h"

#include <sys/mount.h>
#include <sys/socket.h>

FIXTURE(container)
{
	int region;
	char *p;
	char path[64];
	char dir[32];
};

FIXTURE_SETUP(container)
{
	snprintf(self->path, sizeof(self->path), "%s/container-%d",
		 mshare_dir(), getpid());
	strcpy(self->dir, "/tmp/mshareXXXXXX");
	ASSERT_NE(NULL, mkdtemp(self->dir));
	self->region = open(self->path, O_CREAT | O_RDWR | O_EXCL, 0600);
	ASSERT_LE(0, self->region);
	ASSERT_EQ(0, ftruncate(self->region, SLOT));
	ASSERT_EQ(0, create_anon(self->region, 0, MIB, RW));
	self->p = window(self->region, 1, RW);
	ASSERT_NE(MAP_FAILED, self->p);
}

FIXTURE_TEARDOWN(container)
{
	munmap(self->p, SLOT);
	close(self->region);
	unlink(self->path);
	rmdir(self->dir);
}

static int send_fd(int socket, int fd)
{
	char control[CMSG_SPACE(sizeof(int))] = "", byte = 0;
	struct iovec iov = { &byte, 1 };
	struct msghdr message = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &fd, sizeof(int));
	return result(sendmsg(socket, &message, 0));
}

static int receive_fd(int socket)
{
	char control[CMSG_SPACE(sizeof(int))], byte;
	struct iovec iov = { &byte, 1 };
	struct msghdr message = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	int fd = -1;

	if (recvmsg(socket, &message, 0) == 1 && CMSG_FIRSTHDR(&message))
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(int));
	return fd;
}

/*
 * In the other container: another user, who is root of a user namespace and
 * process 1 of a pid namespace. Returns 0 or what went wrong first.
 */
static int use_from_elsewhere(int socket, const char *path)
{
	int fd;
	char *p;

	if (open(path, O_RDWR) >= 0 || errno != EACCES)
		return 1;
	fd = receive_fd(socket);
	p = window(fd, 1, RW);
	if (p == MAP_FAILED)
		return 2;
	if (p[0] != 7)
		return 3;
	p[PAGE] = 8;
	if (protect(fd, 2 * PAGE, PAGE, PROT_READ) ||
	    touch(p + 2 * PAGE, PROT_WRITE) != SEGV_ACCERR)
		return 4;
	/* a filesystem of its own it cannot have */
	if (!mount("msharefs", "/tmp", "msharefs", 0, NULL) || errno != EPERM)
		return 5;
	return 0;
}

TEST_F(container, a_descriptor_crosses_users_and_namespaces)
{
	int pair[2];
	pid_t pid;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair));
	self->p[0] = 7;
	self->p[2 * PAGE] = 7;
	pid = fork_on(-1);
	if (pid == 0) {
		close(self->region);
		munmap(self->p, SLOT);
		if (setresgid(65534, 65534, 65534) ||
		    setresuid(65534, 65534, 65534))
			_exit(100);
		if (unshare(CLONE_NEWUSER | CLONE_NEWPID))
			_exit(errno == EPERM || errno == ENOSPC ? 101 : 100);
		pid = fork_on(-1);
		if (pid == 0)
			_exit(use_from_elsewhere(pair[1], self->path));
		_exit(WEXITSTATUS(child_status(pid)));
	}
	ASSERT_LT(0, send_fd(pair[0], self->region));
	int status = WEXITSTATUS(child_status(pid));

	if (status == 101)
		SKIP(return, "no user namespaces for users here");
	EXPECT_EQ(0, status);
	EXPECT_EQ(8, self->p[PAGE]);
	EXPECT_EQ(PROT_READ, rights(self->p + 2 * PAGE));
	close(pair[0]);
	close(pair[1]);
}

/* In a mount namespace of its own: a bind mount of it, then one for reading. */
static int use_bound(const char *dir, const char *name)
{
	char path[128];
	int fd;
	char *p;

	if (unshare(CLONE_NEWNS) ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount(mshare_dir(), dir, NULL, MS_BIND, NULL))
		return 1;
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_RDWR);
	p = window(fd, 1, RW);
	if (p == MAP_FAILED || p[0] != 7)
		return 2;
	p[PAGE] = 8;
	munmap(p, SLOT);
	close(fd);

	if (mount(NULL, dir, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL))
		return 3;
	if (open(path, O_RDWR) >= 0 || errno != EROFS)
		return 4;
	fd = open(path, O_RDONLY);
	if (fd < 0 || window(fd, 1, RW) != MAP_FAILED)
		return 5;
	p = window(fd, 1, PROT_READ);
	if (p == MAP_FAILED || p[PAGE] != 8)
		return 6;
	if (protect(fd, 0, PAGE, PROT_READ) != -EBADF)
		return 7;
	return 0;
}

TEST_F(container, a_bind_mount_is_the_same_filesystem)
{
	pid_t pid;

	self->p[0] = 7;
	pid = fork_on(-1);
	if (pid == 0)
		_exit(use_bound(self->dir, strrchr(self->path, '/') + 1));
	EXPECT_EQ(0, child_status(pid));
	EXPECT_EQ(8, self->p[PAGE]);
	EXPECT_EQ(RW, rights(self->p));
}

/* A process may have windows of regions of two mounts, and each is its own. */
TEST_F(container, two_mounts_in_one_process)
{
	int other;
	char *q;

	ASSERT_EQ(0, mount("msharefs", self->dir, "msharefs", 0, NULL));
	other = open(self->dir, O_TMPFILE | O_RDWR, 0600);
	ASSERT_LE(0, other);
	ASSERT_EQ(0, ftruncate(other, SLOT));
	ASSERT_EQ(0, create_anon(other, 0, MIB, RW));
	q = window(other, 1, RW);
	ASSERT_NE(MAP_FAILED, q);
	self->p[0] = 7;
	q[0] = 9;
	ASSERT_EQ(0, protect(other, 0, CHUNK, PROT_READ));
	EXPECT_EQ(PROT_READ, rights(q));
	EXPECT_EQ(7, self->p[0]);
	EXPECT_EQ(9, q[0]);
	EXPECT_EQ(RW, rights(self->p));
	EXPECT_EQ(-EBUSY, result(umount(self->dir)));
	munmap(q, SLOT);
	close(other);
	/* the second time it is none any more */
	EXPECT_TRUE(UNTIL(umount(self->dir) == 0 || errno == EINVAL));
	EXPECT_EQ(RW, rights(self->p));
}

TEST_HARNESS_MAIN
