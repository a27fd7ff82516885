-- what backends.sql reads
select sum(pg_relation_size(oid)) from pg_class where relname like 'pgbench%' and relkind in ('r', 'i');
