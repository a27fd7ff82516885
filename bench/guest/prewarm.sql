-- every fork of every relation into buffers
select pg_size_pretty(sum(pg_prewarm(c.oid, 'buffer', fork)) * current_setting('block_size')::bigint)
from pg_class c, unnest(array['main', 'fsm', 'vm']) fork
where c.relkind in ('r', 'i', 't', 'm', 'S') and pg_relation_size(c.oid, fork) > 0;
