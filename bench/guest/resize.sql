-- Half of the pool is given back to the system, and taken into use again.
do $$
declare
	start timestamptz := clock_timestamp();
begin
	perform pg_mshare_resize((select setting::int8 / 2 * 8 || ' kB' from pg_settings where name = 'shared_buffers'));
	raise info 'shrink %', 1e6 * extract(epoch from clock_timestamp() - start);
end
$$;
\sleep 500 ms
do $$
declare
	start timestamptz := clock_timestamp();
begin
	perform pg_mshare_resize('0');
	raise info 'grow %', 1e6 * extract(epoch from clock_timestamp() - start);
end
$$;
\sleep 500 ms
