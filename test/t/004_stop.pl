# SPDX-License-Identifier: PostgreSQL
# 8. The server stops while writers are parked, in every way.
use strict;
use warnings;
use lib '.';
use MshareTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = mshare_node('stop', conf => "pg_mshare.freeze_timeout = 60s\n");
$node->safe_psql('postgres', 'CREATE TABLE t AS SELECT 1 AS id, 0 AS v; VACUUM');

# A session that froze the pool and one that is parked in a write
sub freeze_and_park
{
	my $admin = $node->background_psql('postgres');
	my $writer = $node->background_psql('postgres', on_error_stop => 0);

	$admin->query_safe($_) for 'SELECT pg_mshare_thaw()', 'SELECT pg_mshare_freeze()',
		'SELECT pg_mshare_thaw()', 'SELECT waiters FROM pg_mshare_status';
	$writer->query_safe('UPDATE t SET v = v + 1');
	$writer->query_safe('SELECT v FROM t');
	$admin->query_safe('VACUUM');
	$admin->query_safe('SELECT pg_mshare_freeze()');
	$writer->query_until(qr/started/, "\\echo started\nUPDATE t SET v = v + 1;\n");
	ok(wait_until(10, sub { waiters($admin) == 1 }), 'a write is parked');
	return ($admin, $writer);
}

for my $mode ('fast', 'immediate')
{
	my $within = $mode eq 'fast' ? 20 : 3;
	my @sessions = freeze_and_park();
	my $start = time;
	$node->stop($mode);
	my $took = time - $start;
	cmp_ok($took, '<', $within, sprintf '%s stop while a write is parked: %.1f s', $mode, $took);
	eval { $_->quit } for @sessions;
	$node->start;
	is(status($node, 'protection'), 'rw', 'the next server starts read-write');
}
ok($node->log_contains(qr/reopened after \S+ ms \(freeze worker exits\), 1 writes waited/),
	'the freeze worker thawed before the fast stop');

# the postmaster is killed: the worker thaws, and everybody goes
my @sessions = freeze_and_park();
my @pids = server_pids($node);
kill 'KILL', $pids[0];
ok(wait_until(20, sub { !grep { kill 0, $_ } @pids[1 .. $#pids] }),
	'when the postmaster dies no process stays parked');
ok($node->log_contains(qr/\(freeze worker exits\), 1 writes waited.*\(freeze worker exits\), 1 writes waited/s),
	'as the worker thawed');
eval { $_->quit } for @sessions;

# The cluster's module does not know that its postmaster is gone.
$node->{_pid} = undef;
unlink $node->data_dir . '/postmaster.pid';
$node->start;
is($node->safe_psql('postgres', 'SELECT count(*) FROM t'), 1, 'the server starts again');

done_testing();
