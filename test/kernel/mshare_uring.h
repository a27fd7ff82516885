/* SPDX-License-Identifier: GPL-2.0 */
/*
 * An io_uring that does one operation at a time, without a library.
 */
#ifndef MSHARE_URING_H
#define MSHARE_URING_H

#include "mshare_test.h"

#include <linux/io_uring.h>

struct uring {
	int fd;
	char *rings;
	struct io_uring_params params;
	struct io_uring_sqe *sqe;
};

/* Returns 0 or -errno: -ENOSYS without CONFIG_IO_URING. */
static inline int uring_make(struct uring *ring)
{
	struct io_uring_params *p = &ring->params;
	size_t size;

	memset(ring, 0, sizeof(*ring));
	ring->fd = result(syscall(__NR_io_uring_setup, 1, p));
	if (ring->fd < 0)
		return ring->fd;
	fcntl(ring->fd, F_SETFD, FD_CLOEXEC);
	/* since 5.4 both rings are one mapping */
	size = p->cq_off.cqes + p->cq_entries * sizeof(struct io_uring_cqe);
	ring->rings = mmap(NULL, size, RW, MAP_SHARED, ring->fd,
			   IORING_OFF_SQ_RING);
	ring->sqe = mmap(NULL, sizeof(*ring->sqe), RW, MAP_SHARED, ring->fd,
			 IORING_OFF_SQES);
	return ring->rings == MAP_FAILED || (void *)ring->sqe == MAP_FAILED ?
		-errno : 0;
}

/* Submits one operation, waits for it and returns its result. */
static inline long uring_do(struct uring *ring, int opcode, int flags, int fd,
			    void *buffer, size_t size)
{
	struct io_uring_params *p = &ring->params;
	unsigned int *tail = (void *)(ring->rings + p->sq_off.tail);
	unsigned int *array = (void *)(ring->rings + p->sq_off.array);
	unsigned int *head = (void *)(ring->rings + p->cq_off.head);
	unsigned int *mask = (void *)(ring->rings + p->cq_off.ring_mask);
	struct io_uring_cqe *cqes = (void *)(ring->rings + p->cq_off.cqes);
	long done;

	*ring->sqe = (struct io_uring_sqe){
		.opcode = opcode,
		.flags = flags,
		.fd = fd,
		.addr = (unsigned long)buffer,
		.len = size,
	};
	array[0] = 0;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	do
		done = result(syscall(__NR_io_uring_enter, ring->fd, 1, 1,
				      IORING_ENTER_GETEVENTS, NULL, 0));
	while (done == -EINTR);
	if (done < 0)
		return done;
	done = cqes[*head & *mask].res;
	__atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
	return done;
}

/* A long-term pin of a buffer; 0 or -errno */
static inline int uring_register(struct uring *ring, void *buffer, size_t size)
{
	struct iovec vec = { buffer, size };

	return result(syscall(__NR_io_uring_register, ring->fd,
			      IORING_REGISTER_BUFFERS, &vec, 1));
}

#endif /* MSHARE_URING_H */
