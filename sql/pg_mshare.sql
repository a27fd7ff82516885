-- SPDX-License-Identifier: PostgreSQL
-- Every object of the extension; booleans and counts only, so that the result is
-- the same for each provider and machine.
CREATE EXTENSION pg_mshare;

-- What an error says, without the numbers
CREATE FUNCTION error_of(statement text, OUT code text, OUT message text, OUT hint text)
LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE,
		message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
	message := regexp_replace(message, '\d+', 'N', 'g');
	hint := regexp_replace(hint, '\d+', 'N', 'g');
END $$;

-- status
SELECT current_setting('pg_mshare.provider') IN ('auto', provider) AS provider,
	address ~ '^0x[0-9a-f]+$' AS address,
	bytes = buffers * current_setting('block_size')::bigint AS bytes,
	buffers = setting::int AS buffers,
	protection,
	page_table_bytes >= 0 AS page_tables,
	private_page_table_bytes > 0 AS private_page_tables,
	processes >= 5 AS processes,
	flips >= 0 AS flips, last_flip_us >= 0 AS last_flip,
	frozen_since IS NULL AS not_frozen, waiters, ranges,
	closed_by, pid, until,
	target = bytes AND resident = bytes AS all_in_use
FROM pg_mshare_status, pg_settings WHERE name = 'shared_buffers';

CREATE TABLE counted AS SELECT * FROM pg_mshare_status;

-- flip
SELECT current_setting('pg_mshare.provider') IN ('auto', provider) AS provider,
	bytes = current_setting('block_size')::bigint * s.setting::bigint AS bytes,
	processes >= 5 AS processes, down_us > 0 AS down, up_us > 0 AS up
FROM pg_mshare_flip(), pg_settings s WHERE s.name = 'shared_buffers';
SELECT bytes / current_setting('block_size')::int AS buffers
FROM pg_mshare_flip('r', '0', 11, 5);
SELECT down_us > 0 AS down FROM pg_mshare_flip(hold => '20 ms');
SELECT protection, flips >= 6 AS flips, last_flip_us > 0 AS last_flip FROM pg_mshare_status;
SELECT * FROM error_of('SELECT pg_mshare_flip(''rw'')');
SELECT * FROM error_of('SELECT pg_mshare_flip(''x'')');
SELECT * FROM error_of('SELECT pg_mshare_flip(''none'')');
SELECT * FROM error_of('SELECT pg_mshare_flip(NULL)');
SELECT * FROM error_of('SELECT pg_mshare_flip(hold => NULL)');
SELECT * FROM error_of('SELECT pg_mshare_flip(hold => ''-1 s'')');
SELECT * FROM error_of('SELECT pg_mshare_flip(hold => ''1 hour'')');
SELECT * FROM error_of('SELECT pg_mshare_flip(hold => ''1 day'')');
SELECT * FROM error_of('SELECT pg_mshare_flip(first_buffer => 0)');
SELECT * FROM error_of('SELECT pg_mshare_flip(first_buffer => 2147483647)');
SELECT * FROM error_of('SELECT pg_mshare_flip(buffers => 0)');
SELECT * FROM error_of('SELECT pg_mshare_flip(first_buffer => 2, buffers => 2147483647)');

-- Set all hint bits now, so that nothing here has to write into what it closes.
VACUUM;

-- protect and ranges
SELECT * FROM pg_mshare_ranges WHERE first_buffer > 1 OR protection <> 'rw';
CREATE FUNCTION protect_tail(OUT closed text, OUT ranges text, OUT last_is_r boolean,
	OUT overlapping text, OUT half text, OUT opened text)
LANGUAGE plpgsql AS $$
DECLARE
	-- the end of a pool that this test does not fill
	n CONSTANT int := (SELECT buffers FROM pg_mshare_status);
BEGIN
	PERFORM pg_mshare_protect('r', n - 99);
	closed := protection FROM pg_mshare_status;
	SELECT string_agg(protection, ',' ORDER BY first_buffer),
		max(buffers) FILTER (WHERE protection = 'r') = 100
		INTO ranges, last_is_r FROM pg_mshare_ranges;
	PERFORM pg_mshare_protect('r', n - 149, 100);
	overlapping := string_agg(n - first_buffer || '+' || CASE WHEN first_buffer > 1 THEN buffers END || protection, ' ' ORDER BY first_buffer)
		FROM pg_mshare_ranges;
	PERFORM pg_mshare_protect('rw', n - 119, 20);
	half := string_agg(n - first_buffer || '+' || buffers || protection, ' ' ORDER BY first_buffer)
		FROM pg_mshare_ranges WHERE first_buffer > 1;
	PERFORM pg_mshare_protect('rw');
	opened := protection FROM pg_mshare_status;
END $$;
SELECT protect_tail() IS NOT NULL AS warm;
SELECT * FROM protect_tail();
SELECT * FROM error_of('SELECT pg_mshare_protect(''w'')');
SELECT * FROM error_of('SELECT pg_mshare_protect(''none'')');
SELECT * FROM error_of('SELECT pg_mshare_protect(''r'', -1)');

-- the buffers of a relation
CREATE TABLE watched (id int PRIMARY KEY, v int, document text);
ALTER TABLE watched ALTER document SET STORAGE EXTERNAL;
INSERT INTO watched SELECT g, 0, CASE WHEN g = 1 THEN repeat('x', 20000) END FROM generate_series(1, 1000) g;
CREATE VIEW no_storage AS SELECT 1;
CREATE TEMP TABLE local_buffers (i int);
VACUUM watched;
CREATE FUNCTION protect_relation(OUT closed text, OUT ranges boolean, OUT buffers boolean, OUT opened text)
LANGUAGE plpgsql AS $$
DECLARE
	this record;
BEGIN
	this := pg_mshare_protect_relation('watched', 'r');
	closed := protection FROM pg_mshare_status;
	ranges := this.ranges >= 1 AND (SELECT count(*) = this.ranges FROM pg_mshare_ranges WHERE protection = 'r');
	-- its index and TOAST too, whose visibility map nobody has read
	buffers := this.buffers BETWEEN (pg_relation_size('watched') + pg_relation_size('watched_pkey') + 20000)
			/ current_setting('block_size')::int AND pg_total_relation_size('watched') / current_setting('block_size')::int
		AND this.bytes = this.buffers * current_setting('block_size')::bigint
		AND (SELECT sum(r.buffers) = this.buffers FROM pg_mshare_ranges r WHERE protection = 'r');
	PERFORM pg_mshare_protect_relation('watched', 'rw');
	opened := protection FROM pg_mshare_status;
END $$;
SELECT protect_relation() IS NOT NULL AS warm;
SELECT * FROM protect_relation();
SELECT * FROM error_of('SELECT pg_mshare_protect_relation(''no_storage'', ''r'')');
SELECT * FROM error_of('SELECT pg_mshare_protect_relation(''local_buffers'', ''r'')');
SELECT * FROM error_of('SELECT pg_mshare_protect_relation(''watched'', ''w'')');

-- a watch that sees nothing
SELECT * FROM pg_mshare_watch('20 ms');
SELECT * FROM error_of('SELECT pg_mshare_watch(''0'')');
SELECT * FROM error_of('SELECT pg_mshare_watch(''1 hour'')');
SELECT * FROM error_of('SELECT pg_mshare_watch(''1 s'', 32)');
SELECT * FROM error_of('SELECT pg_mshare_watch(''1 s'', 2049)');

-- faults
SELECT count(*) = 0 AS none FROM pg_mshare_faults WHERE pid = pg_backend_pid();

-- freeze and thaw
SELECT pg_mshare_thaw() AS thaw_of_nothing;
CREATE FUNCTION freeze_thaw(OUT frozen text, OUT since boolean, OUT closed_by text, OUT own boolean,
	OUT until boolean, OUT counts boolean, OUT again text,
	OUT flip text, OUT protect text, OUT thawed boolean, OUT open text, OUT thawed_again boolean)
LANGUAGE plpgsql AS $$
DECLARE
	seconds CONSTANT double precision := (SELECT closed_seconds_total FROM pg_mshare_status);
BEGIN
	PERFORM pg_mshare_freeze();
	SELECT protection, frozen_since <= clock_timestamp(), s.closed_by, pid = pg_backend_pid(),
		s.until = frozen_since + current_setting('pg_mshare.freeze_timeout')::interval, closed_seconds_total > seconds
		INTO frozen, since, closed_by, own, until, counts FROM pg_mshare_status s;
	again := (error_of('SELECT pg_mshare_freeze()')).code;
	flip := (error_of('SELECT pg_mshare_flip()')).code;
	protect := (error_of('SELECT pg_mshare_protect(''rw'')')).code;
	thawed := pg_mshare_thaw();
	open := protection FROM pg_mshare_status;
	thawed_again := pg_mshare_thaw();
END $$;
SELECT freeze_thaw() IS NOT NULL AS warm;
SELECT * FROM freeze_thaw();
SELECT * FROM error_of('SELECT pg_mshare_freeze(''0'')');
SELECT * FROM error_of('SELECT pg_mshare_freeze(''1 hour'')');

-- a freeze ends by itself
SELECT pg_mshare_freeze('150 ms');
SELECT pg_sleep(0.4);
SELECT protection, frozen_since IS NULL AS not_frozen, closed_by IS NULL AND pid IS NULL AND until IS NULL AS nobody
FROM pg_mshare_status;

-- what has been counted
SELECT s.closings_flip_total - c.closings_flip_total AS flip, s.closings_protect_total - c.closings_protect_total AS protect,
	s.closings_freeze_total - c.closings_freeze_total AS freeze, s.closings_watch_total - c.closings_watch_total AS watch,
	s.closings_given_up_total - c.closings_given_up_total AS given_up,
	s.closed_seconds_total - c.closed_seconds_total BETWEEN 0.15 AND 30 AS closed_seconds,
	s.waits_total >= c.waits_total AS waits, s.failed_reads_total - c.failed_reads_total AS failed_reads
FROM pg_mshare_status s, counted c;

-- resize
CREATE FUNCTION resize_half(OUT target boolean, OUT resident boolean, OUT evicted boolean, OUT waited boolean,
	OUT seen boolean, OUT frozen text, OUT again boolean)
LANGUAGE plpgsql AS $$
DECLARE
	half CONSTANT bigint := (SELECT bytes / 2 FROM pg_mshare_status);
	this record;
BEGIN
	this := pg_mshare_resize(half::text);
	target := this.target = half;
	resident := this.resident = half;
	evicted := this.evicted >= 0;
	waited := this.waited >= 0;
	seen := s.target = half AND s.resident = half FROM pg_mshare_status s;
	PERFORM pg_mshare_freeze();
	frozen := (error_of('SELECT pg_mshare_resize(''0'')')).code;
	PERFORM pg_mshare_thaw();
	this := pg_mshare_resize('0');
	again := this.target = s.bytes AND this.resident = s.bytes FROM pg_mshare_status s;
END $$;
SELECT resize_half() IS NOT NULL AS warm;
SELECT * FROM resize_half();
SELECT * FROM error_of('SELECT pg_mshare_resize(''1000 TB'')');
SELECT * FROM error_of('SELECT pg_mshare_resize(''8kB'')');
SELECT * FROM error_of('SELECT pg_mshare_resize(''-1'')');
SELECT code, message FROM error_of('SELECT pg_mshare_resize(''1 x'')');
SELECT pg_mshare_resize(NULL) IS NULL AS nothing;

-- backends
SELECT bool_and(attached) AS attached, bool_and(minor_faults > 0) AS faults,
	bool_and(page_table_bytes > 0) AS page_tables, count(DISTINCT pid) = count(*) AS once
FROM pg_mshare_backends;
SELECT backend_type FROM pg_mshare_backends
WHERE backend_type IN ('postmaster', 'checkpointer', 'background writer', 'pg_mshare freeze worker',
	'pg_mshare resize worker')
ORDER BY 1;
SELECT backend_type FROM pg_mshare_backends WHERE pid = pg_backend_pid();

-- who may do what
CREATE ROLE regress_mshare_user;
CREATE ROLE regress_mshare_monitor IN ROLE pg_monitor;
SET ROLE regress_mshare_user;
SELECT provider IS NOT NULL AS readable, address IS NULL AS no_address, address FROM pg_mshare_status;
SELECT address FROM pg_mshare_status();
SELECT count(*) > 0 AS readable FROM pg_mshare_ranges;
SELECT pg_mshare_flip();
SELECT pg_mshare_protect('rw');
SELECT pg_mshare_freeze();
SELECT pg_mshare_thaw();
SELECT pg_mshare_protect_relation('pg_class', 'rw');
SELECT pg_mshare_watch('1 s');
SELECT pg_mshare_resize('0');
SELECT count(*) FROM pg_mshare_backends;
SELECT count(*) FROM pg_mshare_faults;
SET ROLE regress_mshare_monitor;
SELECT address ~ '^0x' AS address FROM pg_mshare_status;
SELECT count(*) >= 0 AS readable FROM pg_mshare_faults;
SELECT count(*) > 0 AS readable FROM pg_mshare_backends;
SELECT pg_mshare_freeze();
RESET ROLE;
-- what a role is granted it may do, without being a superuser
GRANT EXECUTE ON FUNCTION pg_mshare_flip(text, interval, integer, integer), pg_mshare_thaw() TO regress_mshare_user;
SET ROLE regress_mshare_user;
SELECT down_us > 0 AS down FROM pg_mshare_flip();
SELECT pg_mshare_thaw();
RESET ROLE;
REVOKE ALL ON FUNCTION pg_mshare_flip(text, interval, integer, integer), pg_mshare_thaw() FROM regress_mshare_user;
DROP ROLE regress_mshare_user, regress_mshare_monitor;

-- settings
SELECT name, boot_val, unit, context, min_val, max_val, enumvals FROM pg_settings
WHERE name LIKE 'pg\_mshare.%' AND name NOT IN ('pg_mshare.provider', 'pg_mshare.kernel_waits')
ORDER BY name COLLATE "C";
SELECT setting IN ('off', 'writes', 'all') AS known, context FROM pg_settings WHERE name = 'pg_mshare.kernel_waits';
SET pg_mshare.freeze_timeout = '1s';

-- every object says what it is
SELECT pg_describe_object(classid, objid, objsubid) AS without_comment
FROM pg_depend d, pg_extension e
WHERE refclassid = 'pg_extension'::regclass AND refobjid = e.oid AND extname = 'pg_mshare' AND deptype = 'e'
	AND classid <> 'pg_type'::regclass	-- 17 lists the row types of views
	AND obj_description(objid, classid::regclass::name) IS NULL;
SELECT c.relname, a.attname AS without_comment
FROM pg_depend d, pg_extension e, pg_class c, pg_attribute a
WHERE refclassid = 'pg_extension'::regclass AND refobjid = e.oid AND extname = 'pg_mshare' AND deptype = 'e'
	AND classid = 'pg_class'::regclass AND objid = c.oid AND a.attrelid = c.oid AND attnum > 0
	AND col_description(c.oid, attnum) IS NULL;
SELECT obj_description(oid, 'pg_extension') IS NULL AS without_comment FROM pg_extension WHERE extname = 'pg_mshare';
SELECT name AS without_comment FROM pg_settings WHERE name LIKE 'pg\_mshare.%' AND short_desc = '';

DROP FUNCTION error_of, protect_tail, protect_relation, freeze_thaw, resize_half;
DROP VIEW no_storage;
DROP TABLE watched, local_buffers, counted;
DROP EXTENSION pg_mshare;
