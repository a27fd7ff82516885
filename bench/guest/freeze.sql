-- A lease of 0.2 s, every half second. It ends by itself: SQL alone is no way out
-- of a frozen pool, whose pages a session may itself have to write.
do $$
declare
	start timestamptz := clock_timestamp();
begin
	perform pg_mshare_freeze('200 ms');
	raise info 'freeze %', 1e6 * extract(epoch from clock_timestamp() - start);
end
$$;
\sleep 500 ms
