// SPDX-License-Identifier: GPL-2.0
/*
 * mshare: events, that is the denials of a region as records to be read.
 *
 * A bounded queue per region, under region->wait_lock. When it is full the
 * oldest record gives way, and the next to be read says that some were lost.
 */
#include <linux/kernel.h>
#include <linux/memcontrol.h>
#include <linux/pid.h>
#include <linux/pid_namespace.h>
#include <linux/poll.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "internal.h"

#define MSHARE_MAX_EVENTS	1024

/**
 * struct mshare_record - an event before its reader is known
 * @event: all but the ids, which depend on the reader's pid namespace
 * @pid: of the thread group; holds a reference
 * @tid: of the thread; holds a reference
 */
struct mshare_record {
	struct mshare_event event;
	struct pid *pid;
	struct pid *tid;
};

void mshare_event_init(struct mshare_region *region)
{
	init_waitqueue_head(&region->events.readers);
}

/*
 * The queue is there from the first denial on, at the cost of the region's
 * creator. Without memory for it the record is lost, and that is told.
 */
void mshare_event_prepare(struct mshare_region *region)
{
	struct mshare_record *ring;
	struct mem_cgroup *old;

	if (READ_ONCE(region->events.ring))
		return;
	old = set_active_memcg(region->memcg);
	ring = kvcalloc(MSHARE_MAX_EVENTS, sizeof(*ring), GFP_KERNEL_ACCOUNT);
	set_active_memcg(old);
	if (ring && cmpxchg(&region->events.ring, NULL, ring))
		kvfree(ring);
}

/* Take the oldest record, and its references, out of the queue. */
static struct mshare_record mshare_event_take(struct mshare_events *events)
{
	struct mshare_record *record = &events->ring[events->first];

	events->first = (events->first + 1) % MSHARE_MAX_EVENTS;
	WRITE_ONCE(events->count, events->count - 1);
	return *record;
}

static void mshare_record_put(struct mshare_record *record)
{
	put_pid(record->pid);
	put_pid(record->tid);
}

/**
 * mshare_event_add - queue a record of a denial
 * @region: the region; its wait_lock is held
 * @denial: who was denied what
 * @now: time of the denial, or of the end of the wait
 * @waited: nanoseconds, if it is the end of a wait
 * @flags: MSHARE_EVENT_DONE and MSHARE_EVENT_TIMEOUT
 */
void mshare_event_add(struct mshare_region *region,
		      const struct mshare_denial *denial, u64 now, u64 waited,
		      u32 flags)
{
	struct mshare_events *events = &region->events;
	struct mshare_record *record, oldest;

	lockdep_assert_held(&region->wait_lock);
	if (!events->ring) {
		events->lost = true;
		return;
	}
	if (events->count == MSHARE_MAX_EVENTS) {
		oldest = mshare_event_take(events);
		mshare_record_put(&oldest);
		events->lost = true;
	}
	record = &events->ring[(events->first + events->count) %
			       MSHARE_MAX_EVENTS];
	record->event = (struct mshare_event) {
		.region_offset	= denial->offset,
		.time_ns	= now,
		.waited_ns	= waited,
		.access		= denial->access,
		.flags		= denial->flags | flags,
	};
	record->pid = get_pid(denial->pid);
	record->tid = get_pid(denial->tid);
	WRITE_ONCE(events->count, events->count + 1);
	wake_up_interruptible_poll(&events->readers, EPOLLIN | EPOLLRDNORM);
}

/* Nobody sees the region any more. */
void mshare_event_exit(struct mshare_region *region)
{
	struct mshare_events *events = &region->events;
	struct mshare_record record;

	while (events->count) {
		record = mshare_event_take(events);
		mshare_record_put(&record);
	}
	kvfree(events->ring);
}

/* The oldest event as the caller may see it; false if there is none. */
static bool mshare_event_next(struct mshare_region *region,
			      struct mshare_event *event)
{
	struct pid_namespace *ns = task_active_pid_ns(current);
	struct mshare_events *events = &region->events;
	struct mshare_record record;

	spin_lock(&region->wait_lock);
	if (!events->count) {
		spin_unlock(&region->wait_lock);
		return false;
	}
	record = mshare_event_take(events);
	if (events->lost)
		record.event.flags |= MSHARE_EVENT_LOST;
	events->lost = false;
	spin_unlock(&region->wait_lock);

	*event = record.event;
	event->pid = pid_nr_ns(record.pid, ns);
	event->tid = pid_nr_ns(record.tid, ns);
	mshare_record_put(&record);
	return true;
}

/* As many as there are and fit; no lock is held while they are copied. */
static ssize_t mshare_event_copy(struct mshare_region *region,
				 char __user *buf, size_t count)
{
	struct mshare_event event;
	ssize_t done = 0;

	while (count - done >= sizeof(event) &&
	       mshare_event_next(region, &event)) {
		if (copy_to_user(buf + done, &event, sizeof(event))) {
			spin_lock(&region->wait_lock);
			region->events.lost = true;
			spin_unlock(&region->wait_lock);
			return done ?: -EFAULT;
		}
		done += sizeof(event);
	}
	return done;
}

/**
 * mshare_event_read - read() of a region's file: whole struct mshare_event
 * @file: the file
 * @buf: for at least one
 * @count: bytes
 * @pos: none, it is a stream
 *
 * Waits for the first, then returns as many as there are. A record is read
 * once, by whoever comes first.
 *
 * Possible returned errors are:
 *
 * - %EACCES: the fd is not open for writing.
 * - %EAGAIN: there is none, and O_NONBLOCK is set.
 * - %EBADF: the fd is not open for reading.
 * - %EFAULT: @buf is not writable; a record is lost by it.
 * - %EINTR: a signal came first.
 * - %EINVAL: @count is less than a record.
 */
ssize_t mshare_event_read(struct file *file, char __user *buf, size_t count,
			  loff_t *pos)
{
	struct mshare_region *region = mshare_file_region(file);
	struct mshare_events *events = &region->events;
	ssize_t done;

	if (!(file->f_mode & FMODE_WRITE))
		return -EACCES;
	if (count < sizeof(struct mshare_event))
		return -EINVAL;
	for (;;) {
		done = mshare_event_copy(region, buf, count);
		if (done)
			return done;
		if (file->f_flags & O_NONBLOCK)
			return -EAGAIN;
		if (wait_event_interruptible(events->readers,
					     READ_ONCE(events->count)))
			return -ERESTARTSYS;
	}
}

__poll_t mshare_event_poll(struct file *file, poll_table *wait)
{
	struct mshare_events *events = &mshare_file_region(file)->events;

	if (!(file->f_mode & FMODE_WRITE))
		return EPOLLERR;
	poll_wait(file, &events->readers, wait);
	return READ_ONCE(events->count) ? EPOLLIN | EPOLLRDNORM : 0;
}
