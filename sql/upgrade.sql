-- SPDX-License-Identifier: PostgreSQL
-- From each version before to this one: the same objects as a new one has, with the
-- same rights.
CREATE FUNCTION extension_objects(OUT object text, OUT definition text)
RETURNS SETOF record LANGUAGE sql AS $$
	SELECT pg_describe_object(classid, objid, objsubid),
		CASE classid
			WHEN 'pg_proc'::regclass THEN
				(SELECT pg_get_functiondef(p.oid) || p.proacl::text FROM pg_proc p WHERE p.oid = objid)
			WHEN 'pg_class'::regclass THEN
				(SELECT pg_get_viewdef(c.oid) || c.relacl::text FROM pg_class c WHERE c.oid = objid)
		END
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
