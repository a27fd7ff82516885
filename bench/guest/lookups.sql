-- A thousand rows by their key, each by an index scan: the key stands in a variable,
-- because random() in the condition would have every row looked at.
do $$
declare
	last int := (select 100000 * count(*) from pgbench_branches);
	key int;
begin
	for i in 1 .. 1000 loop
		key := 1 + floor(random() * last);
		perform abalance from pgbench_accounts where aid = key;
	end loop;
end
$$;
