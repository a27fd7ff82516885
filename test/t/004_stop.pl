# SPDX-License-Identifier: PostgreSQL
# 8. The server stops while writers are parked, and readers that wait in the kernel, in
# every way.
use strict;
use warnings;
use lib '.';
use MshareTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = mshare_node('stop', conf => "pg_mshare.freeze_timeout = 60s\n");
$node->safe_psql('postgres', 'CREATE TABLE t AS SELECT 1 AS id, 0 AS v; CREATE TABLE cold AS SELECT 1 AS id; VACUUM');

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

# The same with one that waits in a system call. The server has just been started: what
# a session has not read yet, it waits for then.
sub freeze_and_read
{
	my $admin = $node->background_psql('postgres');
	my $reader = $node->background_psql('postgres', on_error_stop => 0);

	$admin->query_safe($_) for 'SELECT pg_mshare_freeze()', 'SELECT pg_mshare_thaw()',
		'SELECT waiters FROM pg_mshare_status';
	$reader->query_safe('EXPLAIN SELECT count(*) FROM cold');
	$admin->query_safe('SELECT pg_mshare_freeze()');
	$reader->query_until(qr/started/, "\\echo started\nSELECT count(*) FROM cold;\n");
	ok(wait_until(10, sub { waiters($admin) == 1 }), 'a read from disk waits');
	return ($admin, $reader);
}

# Start after a crash, whose postmaster the cluster's module does not know to be gone.
sub start_again
{
	$node->{_pid} = undef;
	unlink $node->data_dir . '/postmaster.pid';
	$node->start;
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

start_again();
is($node->safe_psql('postgres', 'SELECT count(*) FROM t'), 1, 'the server starts again');

SKIP:
{
	skip 'reads from disk do not wait', 14 if kernel_waits($node) ne 'all';

	for my $mode ('fast', 'immediate')
	{
		my @sessions = freeze_and_read();
		my $start = time;
		$node->stop($mode);
		my $took = time - $start;
		cmp_ok($took, '<', $mode eq 'fast' ? 20 : 3,
			sprintf '%s stop while a read from disk waits: %.1f s', $mode, $took);
		eval { $_->quit } for @sessions;
		$node->start;
	}

	# control: SIGQUIT does nothing to such a reader; it is the worker that lets it go
	my $worker = worker_pid($node);
	my @sessions = freeze_and_read();
	kill 'STOP', $worker;
	my $start = time;
	$node->stop('immediate');
	my $took = time - $start;
	cmp_ok($took, '>', 4, sprintf 'control: without the worker it takes SIGKILL: %.1f s', $took);
	cmp_ok($took, '<', 8, 'which comes after 5 s');
	eval { $_->quit } for @sessions;
	$node->start;

	@sessions = freeze_and_read();
	@pids = server_pids($node);
	kill 'KILL', $pids[0];
	ok(wait_until(20, sub { !grep { kill 0, $_ } @pids[1 .. $#pids] }),
		'when the postmaster dies no reader stays either');
	eval { $_->quit } for @sessions;
	start_again();

	# a crash: those who wait are gone, and in the server that follows they wait again
	my $walwriter = $node->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'});
	@sessions = freeze_and_read();
	my $offset = -s $node->logfile;
	kill 'KILL', $walwriter;
	ok(wait_until(10, sub { slurp_file($node->logfile, $offset) =~ /all server processes terminated; reinitializing/ }),
		'a crash restart while a read from disk waits');
	eval { $_->quit } for @sessions;
	ok($node->poll_query_until('postgres', "SELECT protection = 'rw' FROM pg_mshare_status"), '... opens the pool');
	@sessions = freeze_and_read();
	$sessions[0]->query_safe('SELECT pg_mshare_thaw()');
	ok(wait_until(10, sub { $sessions[1]->{run}->pump_nb; $sessions[1]->{stdout} =~ /^1$/m }), '... and afterwards they wait as before');
	eval { $_->quit } for @sessions;
}

done_testing();
