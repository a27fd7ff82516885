select (select sum(abalance) from pgbench_accounts),
       (select sum(tbalance) from pgbench_tellers),
       (select sum(bbalance) from pgbench_branches),
       (select coalesce(sum(delta), 0) from pgbench_history);
