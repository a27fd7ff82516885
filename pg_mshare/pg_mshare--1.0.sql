/* SPDX-License-Identifier: PostgreSQL */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION pg_mshare" to load this file. \quit

CREATE FUNCTION pg_mshare_status(
	OUT provider text,
	OUT address text,
	OUT bytes bigint,
	OUT buffers integer,
	OUT protection text,
	OUT page_table_bytes bigint,
	OUT private_page_table_bytes bigint,
	OUT processes integer,
	OUT flips bigint,
	OUT last_flip_us double precision,
	OUT frozen_since timestamptz,
	OUT waiters integer)
RETURNS record
AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE;

CREATE VIEW pg_mshare_status AS SELECT * FROM pg_mshare_status();
GRANT SELECT ON pg_mshare_status TO PUBLIC;

CREATE FUNCTION pg_mshare_flip(
	protection text DEFAULT 'r',
	hold interval DEFAULT '0',
	first_buffer integer DEFAULT 1,
	buffers integer DEFAULT NULL,
	OUT provider text,
	OUT bytes bigint,
	OUT processes integer,
	OUT down_us double precision,
	OUT up_us double precision)
RETURNS record
AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE;

CREATE FUNCTION pg_mshare_protect(
	protection text,
	first_buffer integer DEFAULT 1,
	buffers integer DEFAULT NULL,
	OUT provider text,
	OUT bytes bigint,
	OUT processes integer,
	OUT elapsed_us double precision)
RETURNS record
AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE;

CREATE FUNCTION pg_mshare_ranges(
	OUT first_buffer integer,
	OUT buffers integer,
	OUT protection text)
RETURNS SETOF record
AS 'MODULE_PATHNAME' LANGUAGE C STRICT VOLATILE;

CREATE VIEW pg_mshare_ranges AS SELECT * FROM pg_mshare_ranges();
GRANT SELECT ON pg_mshare_ranges TO PUBLIC;

CREATE FUNCTION pg_mshare_freeze(timeout interval DEFAULT NULL)
RETURNS void
AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE;

CREATE FUNCTION pg_mshare_thaw()
RETURNS boolean
AS 'MODULE_PATHNAME' LANGUAGE C STRICT VOLATILE;

CREATE FUNCTION pg_mshare_backends(
	OUT pid integer,
	OUT backend_type text,
	OUT page_table_bytes bigint,
	OUT minor_faults bigint,
	OUT attached boolean)
RETURNS SETOF record
AS 'MODULE_PATHNAME' LANGUAGE C STRICT VOLATILE;

CREATE VIEW pg_mshare_backends AS SELECT * FROM pg_mshare_backends();

-- What changes anything is the superuser's.
REVOKE ALL ON FUNCTION pg_mshare_flip(text, interval, integer, integer) FROM PUBLIC;
REVOKE ALL ON FUNCTION pg_mshare_protect(text, integer, integer) FROM PUBLIC;
REVOKE ALL ON FUNCTION pg_mshare_freeze(interval) FROM PUBLIC;
REVOKE ALL ON FUNCTION pg_mshare_thaw() FROM PUBLIC;

-- What shows other backends needs pg_monitor.
REVOKE ALL ON FUNCTION pg_mshare_backends() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pg_mshare_backends() TO pg_monitor;
REVOKE ALL ON pg_mshare_backends FROM PUBLIC;
GRANT SELECT ON pg_mshare_backends TO pg_monitor;
