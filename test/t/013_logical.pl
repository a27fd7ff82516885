# SPDX-License-Identifier: PostgreSQL
# Logical replication into, and prepared transactions in, a server whose pool is closed.
use strict;
use warnings;
use lib '.';
use MshareTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $publisher = PostgreSQL::Test::Cluster->new('publisher');
$publisher->init(allows_streaming => 'logical');
$publisher->start;
my $node = mshare_node('subscriber',
	conf => "max_prepared_transactions = 2\npg_mshare.freeze_timeout = 60s\n");

for my $server ($publisher, $node)
{
	$server->safe_psql('postgres', q{
		CREATE TABLE t (id int PRIMARY KEY, v int);
		CREATE TABLE cold (id int PRIMARY KEY, v int)});
}
$publisher->safe_psql('postgres', q{
	INSERT INTO t VALUES (1, 0); INSERT INTO cold VALUES (1, 0);
	CREATE PUBLICATION p FOR ALL TABLES});
my $source = $publisher->connstr . ' dbname=postgres';
$node->safe_psql('postgres',
	"CREATE SUBSCRIPTION s CONNECTION '$source' PUBLICATION p WITH (disable_on_error = true)");
$node->wait_for_subscription_sync($publisher, 's');
$publisher->safe_psql('postgres', 'UPDATE t SET v = 1');
$publisher->wait_for_catchup('s');

# a change to a page that is in the pool waits, and is applied at the thaw
my $protection = 'SELECT protection FROM pg_mshare_status';
my $admin;

# Freeze in a new session, which has read before what it reads then.
sub freeze
{
	$admin->quit if $admin;
	$admin = $node->background_psql('postgres', on_error_stop => 0);
	$admin->query_safe($_) for 'SELECT pg_mshare_thaw()', $protection, 'SELECT waiters FROM pg_mshare_status',
		'SELECT access FROM pg_mshare_faults() ORDER BY time DESC LIMIT 1', 'SELECT pg_mshare_freeze()';
}

my $kernel_waits = kernel_waits($node);
my $enabled = q{SELECT subenabled FROM pg_subscription WHERE subname = 's'};
freeze();
$publisher->safe_psql('postgres', 'UPDATE t SET v = 2');
ok(wait_until(60, sub { waiters($admin) > 0 }), 'an apply worker that writes waits');
$admin->query_safe('SELECT pg_mshare_thaw()');
$publisher->wait_for_catchup('s');
is($node->safe_psql('postgres', 'SELECT v FROM t'), 2, '... and goes on at the thaw');
is($node->safe_psql('postgres', $enabled), 't', '... its subscription is as it was');

# one that is not waits for its read, or cannot be read: disable_on_error does what it
# says then
$node->restart;
ok(wait_until(60, sub { $node->safe_psql('postgres',
	'SELECT count(*) FROM pg_stat_subscription WHERE pid IS NOT NULL') == 1 }), 'it runs again');
$publisher->safe_psql('postgres', 'UPDATE t SET v = 3');
$publisher->wait_for_catchup('s');
freeze();
my $log = -s $node->logfile;
$publisher->safe_psql('postgres', 'UPDATE cold SET v = 1');
if ($kernel_waits eq 'all')
{
	ok(wait_until(60, sub { waiters($admin) > 0 }), 'an apply worker that must read from disk waits');
	is($admin->query_safe(q{SELECT access FROM pg_mshare_faults() ORDER BY time DESC LIMIT 1}), 'kernel write',
		'... for its read');
	$admin->query_safe('SELECT pg_mshare_thaw()');
	$publisher->wait_for_catchup('s');
	is($node->safe_psql('postgres', $enabled), 't', '... its subscription is as it was');
	unlike(slurp_file($node->logfile, $log), qr/Bad address/, '... and nothing has failed');
}
else
{
	ok(wait_until(60, sub { slurp_file($node->logfile, $log) =~ /could not read blocks? .*: Bad address/ }),
		'an apply worker that must read from disk fails');
	$admin->query_safe('SELECT pg_mshare_thaw()');
	ok(wait_until(60, sub { $node->safe_psql('postgres', $enabled) eq 'f' }),
		'... which disables a subscription with disable_on_error');
	$node->safe_psql('postgres', 'ALTER SUBSCRIPTION s ENABLE');
	$publisher->wait_for_catchup('s');
}
is($node->safe_psql('postgres', 'SELECT v FROM cold'), 1, '... and nothing is lost');
$node->safe_psql('postgres', 'DROP SUBSCRIPTION s');

# a closing is no fence: what has written its pages commits, in two phases too
my $session = $node->background_psql('postgres', on_error_stop => 0);
$session->query_safe($_) for 'BEGIN', 'UPDATE t SET v = 4', q{PREPARE TRANSACTION 'first'},
  q{COMMIT PREPARED 'first'}, 'BEGIN', 'UPDATE t SET v = 5', q{PREPARE TRANSACTION 'second'},
  'BEGIN', 'UPDATE cold SET v = 5';
freeze();
$session->query_safe($_) for q{PREPARE TRANSACTION 'third'}, q{COMMIT PREPARED 'second'};
is($admin->query_safe($protection), 'r',
	'transactions are prepared and committed while the pool is closed');
$admin->query_safe('SELECT pg_mshare_thaw()');
$_->quit for $admin, $session;
$node->stop('immediate');
$node->start;
is($node->safe_psql('postgres', 'SELECT v FROM t'), 5, '... and survive a crash');
is($node->safe_psql('postgres', q{COMMIT PREPARED 'third'; SELECT v FROM cold}), 5, '... both of them');

done_testing();
