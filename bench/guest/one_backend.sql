-- What one backend takes for the pool: its page tables and faults before it
-- touches it, when it has pinned every buffer of table "wide" (which touches the
-- buffer headers), when it has read them, and how long the reading took.
create function pg_temp.self(what text) returns text language sql as
	$$ select what || ' ' || (regexp_match(pg_read_file('/proc/self/status'), 'VmPTE:\s+(\d+)'))[1]
	       || ' ' || (string_to_array(pg_read_file('/proc/self/stat'), ' '))[10] $$;
select pg_temp.self('warm') \g /dev/null
select pg_temp.self('new');
select pg_prewarm('wide', 'buffer', 'main') \g /dev/null
select pg_temp.self('pinned');
\timing on
select count(*) from wide \g /dev/null
select count(*) from wide \g /dev/null
\timing off
select pg_temp.self('read');
