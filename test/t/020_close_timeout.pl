# SPDX-License-Identifier: PostgreSQL
# A process that does not answer a flip: the closing is undone in time and names it,
# everybody else goes on, and nobody waits where he cannot be called off.
use strict;
use warnings;
use lib '.';
use MshareTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = mshare_node('close_timeout', conf => "pg_mshare.freeze_timeout = 60s\n");

sub session
{
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	return ($session, $session->query_safe('SELECT pg_backend_pid()'));
}

my ($idle, $idle_pid) = session();
my ($closer, $closer_pid) = session();
my ($writer) = session();
my ($other) = session();

if ($provider eq 'mshare')
{
	kill 'STOP', $idle_pid;
	is($closer->query_safe('SELECT processes > 0 FROM pg_mshare_flip()'), 't', 'a stopped process does not matter');
	kill 'CONT', $idle_pid;
	$_->quit for $idle, $closer, $writer, $other;
	done_testing();
	exit;
}

# The pool's protection and how often it was changed
my $state = 'SELECT protection, flips FROM pg_mshare_status';
my $worker = worker_pid($node);

# What these two need from the catalogs, they have seen before the pool is closed.
for my $session ($closer, $other)
{
	$session->query_safe($_) for 'VACUUM', 'SELECT pg_mshare_thaw()', 'SELECT pg_mshare_freeze()', 'SELECT pg_mshare_thaw()',
		$state, q{SET statement_timeout = 0};
}

sub set_close_timeout
{
	$node->append_conf('postgresql.conf', "pg_mshare.close_timeout = $_[0]");
	$node->reload;
	$node->poll_query_until('postgres', "SELECT setting = '$_[1]' FROM pg_settings WHERE name = 'pg_mshare.close_timeout'")
	  or die;
	$_->query_safe('SELECT 1') for $closer, $other;
}

# Let it answer, so that the next flip finds it awake, and stop it again.
sub stop_again
{
	kill 'CONT', $idle_pid;
	$closer->{stderr} = '';
	$idle->query_safe('SELECT 1');
	$closer->query_safe('SELECT pg_mshare_flip()');
	kill 'STOP', $idle_pid;
}

# With the default an INSERT elsewhere waits for as long as that, and not for much more.
set_close_timeout('250ms', 250);
$node->safe_psql('postgres', 'CREATE TABLE t (id int)');
start_sql($writer, q{DO $$
	DECLARE began timestamptz; longest interval := '0'; until timestamptz := clock_timestamp() + '4 s';
	BEGIN
		WHILE clock_timestamp() < until LOOP
			began := clock_timestamp();
			INSERT INTO t VALUES (1);
			COMMIT;
			longest := greatest(longest, clock_timestamp() - began);
		END LOOP;
		RAISE NOTICE 'longest % ms', (1000 * extract(epoch FROM longest))::int;
	END $$});
sleep 0.5;
kill 'STOP', $idle_pid;
my $offset = -s $node->logfile;
my $start = time;
$closer->query('SELECT pg_mshare_flip()');
my $took = time - $start;
like($closer->{stderr}, qr/ERROR:  process $idle_pid \(client backend\) did not change the protection.*DETAIL:  The pool is open again.*HINT:  See whether that process is stopped/s,
	'a process that is stopped is named');
cmp_ok($took, '>=', 0.25, sprintf 'after its time: %.2f s', $took);
cmp_ok($took, '<', 2, 'and not later');
ok(sql_ends($writer, 60), 'a session that writes goes on');
my ($waits) = slurp_file($node->logfile, $offset) =~ /reopened after \S+ ms \(closing failed\), (\d+) writes waited/;
cmp_ok($waits // 0, '>', 0, 'it had to wait: ' . ($waits // 0));
my ($longest) = $writer->{stderr} =~ /longest (\d+) ms/;
cmp_ok($longest // 99999, '<', 2000, "not for long: $longest ms");

# It is not closed to all others again and again for the sake of one.
my $before = $other->query_safe($state);
$closer->{stderr} = '';
$closer->query('SELECT pg_mshare_freeze()');
like($closer->{stderr}, qr/ERROR:  process $idle_pid \(client backend\).*nothing was closed now/s, 'while it is stopped nothing is closed');
is($other->query_safe($state), $before, '... at all');
kill 'CONT', $idle_pid;
$closer->{stderr} = '';
is($closer->query_safe('SELECT processes > 0 FROM pg_mshare_flip()'), 't', 'it is continued, and the next flip reaches it');
is($idle->query_safe('SELECT count(*) > 0 FROM t'), 't', '... and it works');

# A process that is stopped while the pool is closed: the thaw does not wait for it.
$closer->query_safe('SELECT pg_mshare_freeze()');
kill 'STOP', $idle_pid;
$start = time;
is($other->query('SELECT pg_mshare_thaw()'), 't', 'a thaw');
cmp_ok(time - $start, '<', 2, '... does not wait for a process that was stopped meanwhile');
like($other->{stderr}, qr/WARNING:  not every process has reopened.*No answer came from process $idle_pid/s, '... but tells');
$other->{stderr} = '';

# Whoever waits can be called off.
set_close_timeout('30s', 30000);
stop_again();
$closer->{stderr} = '';
$closer->query_safe(q{SET statement_timeout = '500 ms'});
for my $call ('pg_mshare_flip()', 'pg_mshare_freeze()', q{pg_mshare_protect('r')}, q{pg_mshare_watch('1 s')})
{
	stop_again();
	$start = time;
	$closer->query("SELECT * FROM $call");
	like($closer->{stderr}, qr/canceling statement due to statement timeout/, "$call: statement_timeout ends it");
	cmp_ok(time - $start, '<', 5, '... soon');
	is((split /\|/, $other->query_safe($state))[0], 'rw', '... and the pool is open');
	$closer->{stderr} = '';
}
$closer->query('SELECT pg_mshare_flip()');
like($closer->{stderr}, qr/canceling statement due to statement timeout/, 'also while it waits, with the pool open, for who was given up');
$closer->{stderr} = '';
$closer->query_safe('SET statement_timeout = 0');

stop_again();
start_sql($closer, 'SELECT pg_mshare_freeze()');
sleep 0.3;
$other->query_safe(q{SET statement_timeout = '500 ms'});
$start = time;
$other->query('SELECT pg_mshare_flip()');
like($other->{stderr}, qr/canceling statement due to statement timeout/, 'and who waits for another session');
cmp_ok(time - $start, '<', 5, '... soon');
$other->{stderr} = '';
$other->query_safe('SET statement_timeout = 0');
ok(!sql_ends($closer, 0.1), 'which still waits');
kill 'INT', $closer_pid;
ok(sql_ends($closer, 5), '... until it is cancelled');
like($closer->{stderr}, qr/canceling statement due to user request/, '... and says so');

# A thaw does not queue behind a closing that cannot end.
for my $how ('pg_mshare_thaw', 'SIGUSR2')
{
	stop_again();
	start_sql($closer, 'SELECT pg_mshare_freeze()');
	sleep 0.3;
	$start = time;
	if ($how eq 'SIGUSR2')
	{
		kill 'USR2', $worker;
	}
	else
	{
		is($other->query_safe('SELECT pg_mshare_thaw()'), 't', "$how: a thaw of a closing that is under way");
	}
	ok(sql_ends($closer, 5), "$how ends a closing that cannot end");
	cmp_ok(time - $start, '<', 5, '... soon');
	like($closer->{stderr}, qr/ERROR:  the closing was given up/, '... which is told');
	is((split /\|/, $other->query_safe($state))[0], 'rw', '... and the pool is open');
}

kill 'CONT', $idle_pid;
is($idle->query_safe('SELECT count(*) > 0 FROM t'), 't', 'who was stopped goes on');
eval { $_->quit } for $idle, $closer, $writer, $other;
done_testing();
