-- Finds and pins every buffer, and touches no page: what a backend pays for
-- buffer headers and all else that is not the pool.
select sum(pg_prewarm(c.oid, 'buffer', 'main'))
from pg_class c where c.relname like 'pgbench%' and c.relkind in ('r', 'i') and pg_relation_size(c.oid) > 0;
select pg_advisory_lock_shared(1);
