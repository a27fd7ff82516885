/* SPDX-License-Identifier: PostgreSQL */

-- complain if script is sourced in psql, rather than via ALTER EXTENSION
\echo Use "ALTER EXTENSION pg_mshare UPDATE TO '1.2'" to load this file. \quit

CREATE FUNCTION pg_mshare_closings(
	OUT closed_by text,
	OUT pid integer,
	OUT until timestamptz,
	OUT closings_flip_total bigint,
	OUT closings_protect_total bigint,
	OUT closings_freeze_total bigint,
	OUT closings_watch_total bigint,
	OUT closings_given_up_total bigint,
	OUT closed_seconds_total double precision,
	OUT waits_total bigint,
	OUT failed_reads_total bigint)
RETURNS record
AS 'MODULE_PATHNAME' LANGUAGE C STRICT VOLATILE;

CREATE FUNCTION pg_mshare_size(
	OUT target bigint,
	OUT resident bigint,
	OUT in_place boolean)
RETURNS record
AS 'MODULE_PATHNAME' LANGUAGE C STRICT VOLATILE;

CREATE FUNCTION pg_mshare_resize(
	size text,
	OUT target bigint,
	OUT resident bigint,
	OUT evicted bigint,
	OUT waited bigint)
RETURNS record
AS 'MODULE_PATHNAME' LANGUAGE C STRICT VOLATILE;

REVOKE ALL ON FUNCTION pg_mshare_resize(text) FROM PUBLIC;

-- Columns are added at the end, so that the view keeps its rights and whatever is built
-- on it; a function cannot grow.
CREATE OR REPLACE VIEW pg_mshare_status AS
SELECT s.*, c.*, z.* FROM pg_mshare_status() s, pg_mshare_closings() c, pg_mshare_size() z;

COMMENT ON FUNCTION pg_mshare_status() IS 'the pool of shared buffers, for the view of that name';
COMMENT ON FUNCTION pg_mshare_closings() IS 'what is closed now and counters of closings, for pg_mshare_status';
COMMENT ON FUNCTION pg_mshare_size() IS 'how much of the pool is in use, and where it is, for pg_mshare_status';
COMMENT ON FUNCTION pg_mshare_resize(text) IS 'set how much of shared buffers is in use, and give back or take the memory';
COMMENT ON FUNCTION pg_mshare_flip(text, interval, integer, integer) IS 'close buffers, hold them closed and reopen them';
COMMENT ON FUNCTION pg_mshare_protect(text, integer, integer) IS 'set the protection of a range of buffers for every process';
COMMENT ON FUNCTION pg_mshare_ranges() IS 'ranges of buffers of the same protection, for the view of that name';
COMMENT ON FUNCTION pg_mshare_freeze(interval) IS 'make the whole pool read-only until it is thawed or the time is over';
COMMENT ON FUNCTION pg_mshare_thaw() IS 'reopen the pool, whoever closed it';
COMMENT ON FUNCTION pg_mshare_backends() IS 'the server''s processes and their page tables, for the view of that name';
COMMENT ON FUNCTION pg_mshare_faults() IS 'the last denied accesses, for the view of that name';
COMMENT ON FUNCTION pg_mshare_protect_relation(regclass, text) IS 'set the protection of the buffers that hold a relation, its indexes and TOAST now';
COMMENT ON FUNCTION pg_mshare_watch(interval, integer) IS 'which relations are written, seen by closing the pool';

COMMENT ON VIEW pg_mshare_status IS 'the pool of shared buffers, what is closed, and counters since the server''s start';
COMMENT ON COLUMN pg_mshare_status.provider IS 'how protection is changed: mshare, mprotect or off';
COMMENT ON COLUMN pg_mshare_status.address IS 'where the pool is mapped; null without pg_monitor';
COMMENT ON COLUMN pg_mshare_status.bytes IS 'size of the pool';
COMMENT ON COLUMN pg_mshare_status.buffers IS 'size of the pool in buffers';
COMMENT ON COLUMN pg_mshare_status.protection IS 'rw, r or none, or mixed where ranges differ';
COMMENT ON COLUMN pg_mshare_status.page_table_bytes IS 'page tables that all processes share';
COMMENT ON COLUMN pg_mshare_status.private_page_table_bytes IS 'sum of the page tables that each process has for itself; null where unreadable';
COMMENT ON COLUMN pg_mshare_status.processes IS 'processes that map the pool';
COMMENT ON COLUMN pg_mshare_status.flips IS 'changes of protection (counter)';
COMMENT ON COLUMN pg_mshare_status.last_flip_us IS 'how long the last one took, in microseconds';
COMMENT ON COLUMN pg_mshare_status.frozen_since IS 'when the pool was frozen, if it is';
COMMENT ON COLUMN pg_mshare_status.waiters IS 'processes that wait for closed buffers now';
COMMENT ON COLUMN pg_mshare_status.ranges IS 'ranges of different protection';
COMMENT ON COLUMN pg_mshare_status.closed_by IS 'the function that closed buffers, or pg_mshare_ctl; null: all is open';
COMMENT ON COLUMN pg_mshare_status.pid IS 'the process that did, of pg_mshare_ctl''s the freeze worker';
COMMENT ON COLUMN pg_mshare_status.until IS 'when they open at the latest';
COMMENT ON COLUMN pg_mshare_status.closings_flip_total IS 'closings by pg_mshare_flip (counter)';
COMMENT ON COLUMN pg_mshare_status.closings_protect_total IS 'closings by pg_mshare_protect and pg_mshare_protect_relation (counter)';
COMMENT ON COLUMN pg_mshare_status.closings_freeze_total IS 'closings by pg_mshare_freeze and pg_mshare_ctl freeze (counter)';
COMMENT ON COLUMN pg_mshare_status.closings_watch_total IS 'closings by pg_mshare_watch (counter)';
COMMENT ON COLUMN pg_mshare_status.closings_given_up_total IS 'those of them that failed or were given up (counter)';
COMMENT ON COLUMN pg_mshare_status.closed_seconds_total IS 'how long any buffers were closed, in seconds (counter)';
COMMENT ON COLUMN pg_mshare_status.waits_total IS 'accesses to closed buffers that have waited (counter)';
COMMENT ON COLUMN pg_mshare_status.failed_reads_total IS 'reads from disk into closed buffers that have failed (counter)';
COMMENT ON COLUMN pg_mshare_status.target IS 'how much of the pool is to be in use, in bytes';
COMMENT ON COLUMN pg_mshare_status.resident IS 'how much of it is in use, in bytes';
COMMENT ON COLUMN pg_mshare_status.in_place IS 'is it in the server''s own shared memory, and not moved';

COMMENT ON VIEW pg_mshare_ranges IS 'ranges of buffers of the same protection';
COMMENT ON COLUMN pg_mshare_ranges.first_buffer IS 'as in pg_buffercache';
COMMENT ON COLUMN pg_mshare_ranges.buffers IS 'how many';
COMMENT ON COLUMN pg_mshare_ranges.protection IS 'rw, r or none';

COMMENT ON VIEW pg_mshare_backends IS 'the server''s processes and their page tables';
COMMENT ON COLUMN pg_mshare_backends.pid IS 'process';
COMMENT ON COLUMN pg_mshare_backends.backend_type IS 'as in pg_stat_activity';
COMMENT ON COLUMN pg_mshare_backends.page_table_bytes IS 'page tables that it has for itself; null where unreadable';
COMMENT ON COLUMN pg_mshare_backends.minor_faults IS 'page faults without I/O (counter); null where unreadable';
COMMENT ON COLUMN pg_mshare_backends.attached IS 'whether it maps the pool; null where unreadable';

COMMENT ON VIEW pg_mshare_faults IS 'the last 1,024 denied accesses to closed buffers';
COMMENT ON COLUMN pg_mshare_faults."time" IS 'when it was denied';
COMMENT ON COLUMN pg_mshare_faults.pid IS 'whose it was';
COMMENT ON COLUMN pg_mshare_faults.backend_type IS 'as in pg_stat_activity; null where not known';
COMMENT ON COLUMN pg_mshare_faults.buffer IS 'as in pg_buffercache';
COMMENT ON COLUMN pg_mshare_faults.relation IS 'what the buffer held, if it is of this database';
COMMENT ON COLUMN pg_mshare_faults.database IS 'its database';
COMMENT ON COLUMN pg_mshare_faults.tablespace IS 'its tablespace';
COMMENT ON COLUMN pg_mshare_faults.relfilenode IS 'its file';
COMMENT ON COLUMN pg_mshare_faults.fork IS 'its fork';
COMMENT ON COLUMN pg_mshare_faults.block IS 'its block';
COMMENT ON COLUMN pg_mshare_faults.access IS 'read, write or exec by an instruction, kernel read or kernel write by a system call';
COMMENT ON COLUMN pg_mshare_faults.waited_us IS 'how long it has waited, in microseconds; null: it still does; 0: it has failed at once';
