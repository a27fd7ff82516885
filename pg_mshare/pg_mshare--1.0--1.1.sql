/* SPDX-License-Identifier: PostgreSQL */

-- complain if script is sourced in psql, rather than via ALTER EXTENSION
\echo Use "ALTER EXTENSION pg_mshare UPDATE TO '1.1'" to load this file. \quit

-- pg_mshare_status says how many ranges of different protection there are
DROP VIEW pg_mshare_status;
DROP FUNCTION pg_mshare_status();

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
	OUT waiters integer,
	OUT ranges integer)
RETURNS record
AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE;

CREATE VIEW pg_mshare_status AS SELECT * FROM pg_mshare_status();
GRANT SELECT ON pg_mshare_status TO PUBLIC;

CREATE FUNCTION pg_mshare_faults(
	OUT "time" timestamptz,
	OUT pid integer,
	OUT backend_type text,
	OUT buffer integer,
	OUT database oid,
	OUT tablespace oid,
	OUT relfilenode oid,
	OUT fork text,
	OUT block bigint,
	OUT access text,
	OUT waited_us bigint)
RETURNS SETOF record
AS 'MODULE_PATHNAME' LANGUAGE C STRICT VOLATILE;

-- The function needs no catalog, the view looks the relation up.  Its operators are
-- those of pg_catalog, whatever there is in the schema that it is created in.
CREATE VIEW pg_mshare_faults AS
SELECT f."time", f.pid, f.backend_type, f.buffer,
	CASE WHEN f.database OPERATOR(pg_catalog.=) 0::pg_catalog.oid
			OR f.database OPERATOR(pg_catalog.=) d.oid
		THEN pg_catalog.pg_filenode_relation(f.tablespace, f.relfilenode)
	END AS relation,
	f.database, f.tablespace, f.relfilenode, f.fork, f.block, f.access, f.waited_us
FROM pg_mshare_faults() f, pg_catalog.pg_database d
WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database();

CREATE FUNCTION pg_mshare_protect_relation(
	relation regclass,
	protection text,
	OUT provider text,
	OUT bytes bigint,
	OUT processes integer,
	OUT elapsed_us double precision,
	OUT buffers integer,
	OUT ranges integer)
RETURNS record
AS 'MODULE_PATHNAME' LANGUAGE C STRICT VOLATILE;

CREATE FUNCTION pg_mshare_watch(
	duration interval,
	granule_kb integer DEFAULT 2048,
	OUT relation regclass,
	OUT database oid,
	OUT tablespace oid,
	OUT relfilenode oid,
	OUT granules integer,
	OUT granule_kb_used integer)
RETURNS SETOF record
AS 'MODULE_PATHNAME' LANGUAGE C STRICT VOLATILE;

REVOKE ALL ON FUNCTION pg_mshare_protect_relation(regclass, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION pg_mshare_watch(interval, integer) FROM PUBLIC;

REVOKE ALL ON FUNCTION pg_mshare_faults() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pg_mshare_faults() TO pg_monitor;
REVOKE ALL ON pg_mshare_faults FROM PUBLIC;
GRANT SELECT ON pg_mshare_faults TO pg_monitor;
