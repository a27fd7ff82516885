-- Waits until pgbench's backends are gone: then they have told what they counted.
do $$
begin
	while exists (select from pg_stat_activity where application_name = 'pgbench') loop
		perform pg_sleep(0.02), pg_stat_clear_snapshot();
	end loop;
end
$$;
