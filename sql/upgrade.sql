-- SPDX-License-Identifier: PostgreSQL
-- From each version before to this one: the same objects as a new one has, with the
-- same rights.
CREATE FUNCTION extension_objects(OUT object text, OUT definition text)
RETURNS SETOF record LANGUAGE sql AS $$
	SELECT pg_describe_object(classid, objid, objsubid),
		concat(CASE classid
			WHEN 'pg_proc'::regclass THEN
				(SELECT concat(pg_get_functiondef(p.oid), p.proacl) FROM pg_proc p WHERE p.oid = objid)
			WHEN 'pg_class'::regclass THEN
				(SELECT concat(pg_get_viewdef(c.oid), c.relacl) FROM pg_class c WHERE c.oid = objid)
		END, obj_description(objid, classid::regclass::name),
		(SELECT initprivs FROM pg_init_privs i WHERE (i.classoid, i.objoid) = (classid, objid)))
	FROM pg_depend, pg_extension e
	WHERE refclassid = 'pg_extension'::regclass AND refobjid = e.oid
		AND extname = 'pg_mshare' AND deptype = 'e'
$$;

CREATE EXTENSION pg_mshare;
CREATE TABLE fresh AS SELECT * FROM extension_objects();
DROP EXTENSION pg_mshare;

CREATE EXTENSION pg_mshare VERSION '1.0';
SELECT provider IS NOT NULL AS works FROM pg_mshare_status;
SELECT down_us > 0 AS works FROM pg_mshare_flip();
ALTER EXTENSION pg_mshare UPDATE;
SELECT extversion = default_version AS newest FROM pg_extension, pg_available_extensions
WHERE extname = 'pg_mshare' AND name = 'pg_mshare';
SELECT object, definition FROM fresh EXCEPT SELECT object, definition FROM extension_objects();
SELECT object, definition FROM extension_objects() EXCEPT SELECT object, definition FROM fresh;
SELECT count(*) > 10 AS many FROM fresh;

DROP EXTENSION pg_mshare;

-- What an administrator has changed is kept, and so is what was built on it
CREATE ROLE regress_mshare_scraper;
CREATE ROLE regress_mshare_other;
CREATE TABLE before (object text, acl text);
CREATE FUNCTION rights(OUT object text, OUT acl text)
RETURNS SETOF record LANGUAGE sql AS $$
	SELECT pg_describe_object('pg_proc'::regclass, oid, 0), proacl::text FROM pg_proc WHERE proname LIKE 'pg\_mshare\_%'
	UNION ALL
	SELECT pg_describe_object('pg_class'::regclass, oid, 0), relacl::text FROM pg_class WHERE relname LIKE 'pg\_mshare\_%'
$$;
CREATE PROCEDURE change_rights(version text) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('CREATE EXTENSION pg_mshare VERSION %L', version);
	REVOKE ALL ON pg_mshare_status, pg_mshare_ranges FROM PUBLIC;
	REVOKE ALL ON FUNCTION pg_mshare_status() FROM PUBLIC;
	GRANT SELECT ON pg_mshare_status, pg_mshare_backends TO regress_mshare_scraper WITH GRANT OPTION;
	GRANT EXECUTE ON FUNCTION pg_mshare_status() TO regress_mshare_scraper WITH GRANT OPTION;
	GRANT EXECUTE ON FUNCTION pg_mshare_thaw() TO regress_mshare_scraper;
	CREATE VIEW on_view AS SELECT * FROM pg_mshare_status;
	CREATE VIEW on_function AS SELECT * FROM pg_mshare_status();
	TRUNCATE before;
	INSERT INTO before SELECT * FROM rights();
END $$;
CREATE FUNCTION kept(OUT works boolean, OUT scraper boolean, OUT other boolean, OUT dumped boolean) LANGUAGE plpgsql AS $$
BEGIN
	SELECT (SELECT count(*) = 1 FROM on_view) AND (SELECT count(*) = 1 FROM on_function),
		has_table_privilege('regress_mshare_scraper', 'pg_mshare_status', 'SELECT WITH GRANT OPTION')
			AND has_function_privilege('regress_mshare_scraper', 'pg_mshare_status()', 'EXECUTE WITH GRANT OPTION'),
		has_table_privilege('regress_mshare_other', 'pg_mshare_status', 'SELECT')
			OR has_function_privilege('regress_mshare_other', 'pg_mshare_status()', 'EXECUTE'),
		NOT EXISTS (SELECT FROM pg_init_privs WHERE initprivs::text LIKE '%regress_mshare%')
	INTO works, scraper, other, dumped;
END $$;

CALL change_rights('1.0');
ALTER EXTENSION pg_mshare UPDATE TO '1.1';
SELECT object, acl IS NOT NULL AS changed FROM (SELECT * FROM before EXCEPT SELECT * FROM rights()) lost;
SELECT * FROM kept();
ALTER EXTENSION pg_mshare UPDATE;
SELECT object, acl IS NOT NULL AS changed FROM (SELECT * FROM before EXCEPT SELECT * FROM rights()) lost;
SELECT * FROM kept();
SET ROLE regress_mshare_scraper;
SELECT provider IS NOT NULL AS readable, address IS NULL AS no_address FROM pg_mshare_status;
RESET ROLE;
SELECT object FROM extension_objects() WHERE object LIKE '%1\_0%';
DROP VIEW on_view, on_function;
DROP FUNCTION pg_mshare_status_1_0();
DROP EXTENSION pg_mshare;

CALL change_rights('1.1');
ALTER EXTENSION pg_mshare UPDATE;
SELECT object, acl IS NOT NULL AS changed FROM (SELECT * FROM before EXCEPT SELECT * FROM rights()) lost;
SELECT * FROM kept();
DROP VIEW on_view, on_function;
DROP EXTENSION pg_mshare;

DROP PROCEDURE change_rights;
DROP FUNCTION rights, kept;
DROP TABLE before;
DROP ROLE regress_mshare_scraper, regress_mshare_other;

-- An operator that fits better than ours, where anybody may create one
CREATE SCHEMA writable;
CREATE FUNCTION writable.oid_is(oid, int) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE OPERATOR writable.= (FUNCTION = writable.oid_is, LEFTARG = oid, RIGHTARG = int);
CREATE EXTENSION pg_mshare SCHEMA writable;
-- ... is not used
DROP OPERATOR writable.= (oid, int);
DROP EXTENSION pg_mshare;
DROP FUNCTION writable.oid_is;
DROP SCHEMA writable;

DROP FUNCTION extension_objects;
DROP TABLE fresh;
