# SPDX-License-Identifier: PostgreSQL
# Ways to run a server that are not the usual one: postgres -C, single-user mode,
# initdb, without us again, parallel query in a closed pool, pg_upgrade.
use strict;
use warnings;
use lib '.';
use MshareTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Cwd qw(abs_path);
use IPC::Run;
use Test::More;

my $node = mshare_node('old');
my $postgres = $node->installed_command('postgres');

# initdb takes the setting where it takes settings, from 16 on
my $stock = PostgreSQL::Test::Cluster->new('stock');
$stock->init(extra => $node->pg_version >= 16 ?
	[ '-c', 'shared_preload_libraries=pg_mshare' ] : []);
$stock->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$stock->start;
is($stock->safe_psql('postgres', 'SELECT 1'), 1, 'initdb makes a server');

# what is left after DROP EXTENSION and without the preload is a stock server
sub dump_of
{
	my ($server) = @_;
	my $file = $server->basedir . '/dump';

	$server->command_ok([ 'pg_dumpall', '--no-sync', '-f', $file ], 'pg_dumpall');
	return slurp_file($file) =~ s/^\\(un)?restrict .*\n//mgr;
}

sub preload
{
	my ($libraries) = @_;
	$node->append_conf('postgresql.conf', "shared_preload_libraries = '$libraries'");
	my $offset = -s $node->logfile;
	$node->restart;
	return slurp_file($node->logfile, $offset);
}

my $dump = dump_of($stock);
isnt(dump_of($node), $dump, 'control: a dump differs while the extension is there');
$node->safe_psql('postgres', 'DROP EXTENSION pg_mshare');
my $log = preload('');
unlike($log =~ s/.*database system is shut down//sr, qr/mshare/, 'uninstalled: the log of the start has nothing of us');
is(dump_of($node), $dump, '... a dump is that of a stock server');
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_settings WHERE name LIKE 'pg_mshare%' AND sourcefile IS NULL}),
	0, '... it has no setting of ours');
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE '%mshare%'}),
	0, '... nor our worker');
is_deeply([ glob $node->data_dir . '/pg_mshare*' ], [], '... and no file of ours');
preload('pg_mshare');
$node->safe_psql('postgres', 'CREATE EXTENSION pg_mshare; CREATE TABLE t AS SELECT g AS i FROM generate_series(1, 10000) g');
$node->safe_psql('postgres', 'VACUUM');

# parallel workers read in a closed pool
my $session = $node->background_psql('postgres', on_error_stop => 0);
my $forced = $node->pg_version >= 16 ? 'debug_parallel_query' : 'force_parallel_mode';
$session->query_safe($_) for "SET $forced = on; SET min_parallel_table_scan_size = 0",
  'SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0';
my $parallel = 'SELECT sum(i) FROM t';
like($session->query_safe("EXPLAIN (COSTS OFF) $parallel"), qr/Workers Planned: [1-9]/, 'a query is parallel');
$session->query_safe($_) for $parallel, 'SELECT pg_mshare_freeze()', 'SELECT pg_mshare_thaw()',
  'SELECT protection FROM pg_mshare_status', 'SELECT pg_mshare_freeze()';
is($session->query_safe($parallel), 50005000, '... and reads in a frozen pool');
is($session->query_safe('SELECT protection FROM pg_mshare_status'), 'r', '... which it is still');
$session->query_safe('SELECT pg_mshare_thaw()');
$session->quit;
$node->stop;

# postgres -C starts nothing
for my $setting ([ 'pg_mshare.provider', $provider ], [ 'shared_buffers', 8192 ], [ 'shared_memory_size', qr/\d+/ ])
{
	IPC::Run::run([ $postgres, '-D', $node->data_dir, '-C', $setting->[0] ], '>', \my $out, '2>', \my $err);
	like($out, qr/^$setting->[1]$/, "postgres -C $setting->[0]");
}

# a single-user server is a plain one: nobody could end a closing
IPC::Run::run([ $postgres, '--single', '-D', $node->data_dir, 'postgres' ],
	'<', \"SELECT sum(i) FROM t;\nSELECT provider FROM pg_mshare_status;\nSELECT pg_mshare_freeze();\nDELETE FROM t WHERE i > 5000;\n",
	'>', \my $out, '2>', \my $err);
like($out, qr/sum = "50005000".*provider = "off"/s, 'single-user mode works, without us');
like($err, qr/ERROR:  pg_mshare is off.*HINT:  A single-user server has no process/s, '... which an error says');

# pg_upgrade, which leaves a script where it is run
my $new = PostgreSQL::Test::Cluster->new('new');
$new->init;
my @upgrade = ('pg_upgrade', '--no-sync', '-d', abs_path($node->data_dir), '-D', abs_path($new->data_dir),
	'-b', $node->config_data('--bindir'), '-B', $new->config_data('--bindir'),
	'-s', $new->host, '-p', $node->port, '-P', $new->port);
sub upgrade_ok
{
	my ($name, @options) = @_;
	my $here = abs_path('.');

	chdir $PostgreSQL::Test::Utils::tmp_check or die;
	command_ok([ @upgrade, @options ], $name);
	chdir $here;
}
upgrade_ok('pg_upgrade --check to a server without the preload', '--check');
$new->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_mshare'\npg_mshare.provider = $provider\n");
upgrade_ok('pg_upgrade to one with it');
$new->start;
is($new->safe_psql('postgres', 'SELECT sum(i) FROM t'), 12502500, '... the data are there');
is($new->safe_psql('postgres', 'SELECT provider FROM pg_mshare_status WHERE EXISTS (SELECT FROM pg_mshare_flip())'),
	$provider, '... and so is the extension');
is($new->safe_psql('postgres', q{SELECT extversion = default_version FROM pg_extension JOIN pg_available_extensions a ON a.name = extname
	WHERE extname = 'pg_mshare'}), 't', '... in its version');

done_testing();
