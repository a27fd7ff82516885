-- Copies every page of the data out of its buffer, both of its 4 KiB pages: a
-- scan of the tables would leave out the indexes. The block numbers are not in
-- FROM, where they would be kept in memory. Then waits, connected.
select sum(length(get_raw_page(relation, 'main', block)))
from (select oid::regclass::text relation,
             generate_series(0, pg_relation_size(oid) / current_setting('block_size')::bigint - 1) block
      from pg_class where relname like 'pgbench%' and relkind in ('r', 'i')) pages;
select pg_advisory_lock_shared(1);
