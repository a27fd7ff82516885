/* SPDX-License-Identifier: PostgreSQL */

-- complain if script is sourced in psql, rather than via ALTER EXTENSION
\echo Use "ALTER EXTENSION pg_mshare UPDATE TO '1.1'" to load this file. \quit

-- pg_mshare_status says how many ranges of different protection there are.  The view
-- stays what it is, with its rights and whatever is built on it.
ALTER FUNCTION pg_mshare_status() RENAME TO pg_mshare_status_1_0;

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

CREATE OR REPLACE VIEW pg_mshare_status AS SELECT * FROM pg_mshare_status();

DO $$
DECLARE
	old CONSTANT pg_catalog.oid := 'pg_mshare_status_1_0()'::pg_catalog.regprocedure;
	granted record;
BEGIN
	-- Whoever may call the old function may call the new one.
	IF (SELECT p.proacl IS NOT NULL FROM pg_catalog.pg_proc p WHERE p.oid OPERATOR(pg_catalog.=) old) THEN
		REVOKE ALL ON FUNCTION pg_mshare_status() FROM PUBLIC;
		FOR granted IN
			SELECT CASE WHEN a.grantee OPERATOR(pg_catalog.=) 0::pg_catalog.oid THEN 'PUBLIC'
					ELSE a.grantee::pg_catalog.regrole::pg_catalog.text END AS role,
				CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END AS option
			FROM pg_catalog.pg_proc p, pg_catalog.aclexplode(p.proacl) a
			WHERE p.oid OPERATOR(pg_catalog.=) old AND a.grantee OPERATOR(pg_catalog.<>) p.proowner
		LOOP
			EXECUTE pg_catalog.format('GRANT EXECUTE ON FUNCTION pg_mshare_status() TO %s%s',
				granted.role, granted.option);
		END LOOP;
		-- These are not rights that the extension gives: pg_dump has to dump them.
		DELETE FROM pg_catalog.pg_init_privs i
		WHERE i.classoid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass::pg_catalog.oid
			AND i.objoid OPERATOR(pg_catalog.=) 'pg_mshare_status()'::pg_catalog.regprocedure::pg_catalog.oid;
	END IF;

	-- What is built on the old function itself keeps it.
	BEGIN
		DROP FUNCTION pg_mshare_status_1_0();
	EXCEPTION WHEN dependent_objects_still_exist THEN
		ALTER EXTENSION pg_mshare DROP FUNCTION pg_mshare_status_1_0();
	END;
END $$;

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
