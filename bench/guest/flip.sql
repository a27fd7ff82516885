do $$
declare
	flip record;
begin
	select down_us, up_us into flip from pg_mshare_flip();
	raise info 'flip % %', flip.down_us, flip.up_us;
end
$$;
