# SPDX-License-Identifier: PostgreSQL
# PostgreSQL's own libraries and extensions that look at the pool or hook into the server
# as this one does, in every place of the order in which they are preloaded.
use strict;
use warnings;
use lib '.';
use MshareTest;
use PostgreSQL::Test::Utils;
use Test::More;

my @others = qw(pg_prewarm pg_stat_statements auto_explain);
my $node = mshare_node('contrib', conf => qq{
shared_preload_libraries = '@{[ join ', ', 'pg_mshare', @others ]}'
max_worker_processes = 20
pg_prewarm.autoprewarm_interval = 0
auto_explain.log_min_duration = 0
auto_explain.log_analyze = on
auto_explain.log_buffers = on
});
$node->safe_psql('postgres', "CREATE EXTENSION $_")
  for qw(pg_prewarm pg_stat_statements pg_buffercache pg_walinspect pageinspect);
$node->safe_psql('postgres', q{CREATE TABLE t AS SELECT i AS id, repeat('x', 500) AS v
	FROM generate_series(1, 10000) i});
$node->safe_psql('postgres', 'VACUUM (FREEZE, ANALYZE)');
my $buffers = $node->safe_psql('postgres', q{SELECT setting FROM pg_settings WHERE name = 'shared_buffers'});
my $of_table = q{FROM pg_buffercache WHERE relfilenode = pg_relation_filenode('t') AND
	relforknumber = 0 AND reldatabase = (SELECT oid FROM pg_database WHERE datname = current_database())};

# what reads the pool, and gives the same while it is closed
my %reads = (
	'a table' => 'SELECT sum(id) FROM t',
	'pg_buffercache' => "SELECT count(*) $of_table",
	'pageinspect' => q{SELECT md5(get_raw_page('t', 7)) || count(*) FROM heap_page_items(get_raw_page('t', 7))},
	'pg_prewarm' => q{SELECT pg_prewarm('t', 'buffer')});

for my $place (0 .. @others)
{
	my @order = @others;
	splice @order, $place, 0, 'pg_mshare';
	my $order = join ', ', @order;
	$node->append_conf('postgresql.conf', "shared_preload_libraries = '$order'");

	# Loaded by the worker of autoprewarm, whose list was made before the server stopped. How
	# many blocks there are: an UPDATE below may have added one.
	my $blocks = $node->safe_psql('postgres', q{SELECT pg_prewarm('t')});
	my $log = -s $node->logfile;
	$node->restart;
	is(status($node, 'provider'), $provider, "$order: the provider is in use");
	ok(wait_until(60, sub { $node->safe_psql('postgres', "SELECT count(*) $of_table") == $blocks }),
		'... autoprewarm loads the table');

	my $session = $node->background_psql('postgres');
	$session->query_safe($_) for q{SELECT pg_prewarm('t')}, 'SELECT pg_stat_statements_reset()',
	  'SELECT pg_mshare_thaw()';
	my %open = map { $_ => $session->query_safe($reads{$_}) } keys %reads;
	is($open{'pg_buffercache'}, $blocks, '... pg_buffercache finds all of it');
	is($session->query_safe('SELECT count(*) FROM pg_buffercache'), $buffers, '... and every buffer');
	$session->query_safe('SELECT pg_mshare_freeze()');
	is($session->query_safe($reads{$_}), $open{$_}, "... $_ gives the same while the pool is closed")
	  for sort keys %reads;
	$session->query_safe('SELECT pg_mshare_thaw()');

	is($session->query_safe(q{SELECT sum(calls) FROM pg_stat_statements WHERE query = 'SELECT sum(id) FROM t'}),
		2, '... pg_stat_statements counts both');
	like(slurp_file($node->logfile, $log), qr/Query Text: SELECT sum\(id\) FROM t\n.*?Buffers: shared hit/s,
		'... auto_explain sees the buffers');

	my $start = $session->query_safe('SELECT pg_current_wal_insert_lsn()');
	$session->query_safe('UPDATE t SET id = id WHERE id <= 5');
	my $end = $session->query_safe('SELECT pg_current_wal_flush_lsn()');
	is($session->query_safe(qq{SELECT count(*) FROM pg_get_wal_records_info('$start', '$end')
		WHERE resource_manager = 'Heap' AND record_type IN ('UPDATE', 'HOT_UPDATE', 'UPDATE+INIT')}),
		5, '... pg_walinspect reads what was written');

  SKIP: {
		skip 'pg_buffercache has no view of nodes before 18, or the machine has none', 1
		  if $node->pg_version < 18 or $session->query_safe('SELECT pg_numa_available()') ne 't';
		is($session->query_safe('SELECT count(DISTINCT bufferid) FROM pg_buffercache_numa'), $buffers,
			'... pg_buffercache_numa looks up every buffer');
	}
	$session->quit;
	is($node->safe_psql('postgres', 'SELECT sum(id) FROM t'), 50005000, '... the sum is right');
}

# A crash restart starts autoprewarm's worker and this extension's again, in the last order.
$node->safe_psql('postgres', 'SELECT autoprewarm_dump_now()');
my $victim = $node->background_psql('postgres', on_error_stop => 0);
my $pid = $victim->query_safe('SELECT pg_backend_pid()');
kill 'KILL', $pid;
ok(restarted($node, 1), 'a crash restart');
is(status($node, 'protection'), 'rw', '... after which the pool is open');
is($node->safe_psql('postgres', 'SELECT sum(id) FROM t'), 50005000, '... the sum is right');

done_testing();
