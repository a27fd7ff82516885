-- Copies every page of the data out of its buffer, both of its 4 KiB pages: a
-- scan of the tables would leave out the indexes. Then waits, connected.
select sum(length(get_raw_page(c.oid::regclass::text, 'main', block)))
from pg_class c, generate_series(0, pg_relation_size(c.oid) / current_setting('block_size')::bigint - 1) block
where c.relname like 'pgbench%' and c.relkind in ('r', 'i');
select pg_advisory_lock_shared(1);
