# SPDX-License-Identifier: PostgreSQL
# A closing ends though the freeze worker be stopped: a second after its deadline the
# postmaster opens the pool, or whoever waits in a signal handler. No read from disk fails
# of it where reads wait.
use strict;
use warnings;
use lib '.';
use MshareTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = mshare_node('lease', conf => "pg_mshare.freeze_timeout = 2s\npg_mshare.close_timeout = 1s\nshared_buffers = 16MB\n");
my $reads_wait = kernel_waits($node) eq 'all';

$node->safe_psql('postgres', q{
	CREATE TABLE t (id int, v int); INSERT INTO t VALUES (1, 0);
	CREATE TABLE big AS SELECT g AS id, repeat('x', 1000) AS filler FROM generate_series(1, 40000) g});
$node->safe_psql('postgres', 'VACUUM FREEZE');

my ($admin, $writer, $flipper) = map { $node->background_psql('postgres', on_error_stop => 0) } 1 .. 3;
my ($writer_pid, $flipper_pid) = map { $_->query_safe('SELECT pg_backend_pid()') } $writer, $flipper;
my $postmaster = (server_pids($node))[0];
my $worker = worker_pid($node);
my $update = 'UPDATE t SET v = v + 1';
my $protection = 'SELECT protection FROM pg_mshare_status';

# What sessions need from the catalogs, they have seen before the pool is closed.
sub warm
{
	$flipper->{stderr} = '';
	$admin->query_safe($_) for 'VACUUM t', 'SELECT pg_mshare_thaw()', q{SELECT pg_mshare_freeze('1 s')}, 'SELECT pg_mshare_thaw()',
		$protection, 'SELECT waiters FROM pg_mshare_status';
	$writer->query_safe($_) for $update, 'SELECT * FROM t';
	$flipper->query_safe(q{SELECT pg_mshare_flip('r', '1 ms')});
	$admin->query_safe('VACUUM t');
}

sub opens
{
	my ($seconds) = @_;
	return wait_until($seconds, sub { $admin->query_safe($protection) eq 'rw' });
}

# Close the pool, with the worker stopped. With mprotect it has to close its own first.
sub close_and_stop
{
	my ($close) = @_;
	kill 'STOP', $worker if $provider eq 'mshare';
	$close->();
	kill 'STOP', $worker;
}

# The worker goes on, and all is as it was.
sub continue_worker
{
	my ($offset) = @_;
	kill 'CONT', $worker;
	ok(wait_until(10, sub { slurp_file($node->logfile, $offset) =~ /buffer pool reopened after \S+ ms \((?:timeout|overdue|pg_mshare_thaw)\)/ }),
		'... the closing is forgotten');
	is($admin->query_safe('SELECT processes > 0 FROM pg_mshare_flip()'), 't', '... and the next one works');
}

my $opened = qr/process \d+ has opened the buffer pool, a second after the closing should have ended/;
my $offset;

# a write waits
warm();
$offset = -s $node->logfile;
my $start = time;
close_and_stop(sub { $admin->query_safe(q{SELECT pg_mshare_freeze('2 s')}) });
start_sql($writer, $update);
if ($provider eq 'mprotect')
{
	ok(wait_until(1, sub { waiters($admin) == 1 }), 'a write waits, and the worker is stopped');
}
else
{
	# it is the worker who counts those who wait in the kernel
	sleep 0.5;
	ok(!sql_ends($writer, 0.1), 'a write waits, and the worker is stopped');
}
ok(sql_ends($writer, 20), 'it goes on');
my $took = time - $start;
cmp_ok($took, '>', 2.9, sprintf 'a second after the deadline: %.1f s', $took);
cmp_ok($took, '<', 4.5, '... not later');
is($admin->query_safe($protection), 'rw', 'the pool is open');
like(slurp_file($node->logfile, $offset), $opened, '... and the log says by whom');
continue_worker($offset);

# nobody waits
warm();
$offset = -s $node->logfile;
close_and_stop(sub { $admin->query_safe(q{SELECT pg_mshare_freeze('500 ms')}) });
is($admin->query_safe($protection), 'r', 'nobody waits, and the worker is stopped');
ok(opens(10), 'the pool is opened all the same');
$admin->query('SELECT processes > 0 FROM pg_mshare_flip()');
if ($provider eq 'mprotect')
{
	like($admin->{stderr}, qr/ERROR:  process $worker \(background worker\) did not change/, 'a flip then names the worker');
	$admin->{stderr} = '';
}
else
{
	is($admin->{stderr}, '', 'and can be flipped, with the worker stopped');
}
like(slurp_file($node->logfile, $offset), qr/reopened after \S+ ms \(overdue\)/, '... when it has ended what was overdue');
continue_worker($offset);

# the session is stopped too
warm();
$offset = -s $node->logfile;
close_and_stop(sub { start_sql($flipper, q{SELECT pg_mshare_flip('r', '1 s')}); sleep 0.5 });
kill 'STOP', $flipper_pid;
is($admin->query_safe($protection), 'r', 'a flip, and its session is stopped as well as the worker');
ok(opens(10), 'the pool is opened all the same');
is($admin->query('SELECT pg_mshare_thaw()'), 't', '... and a thaw does not wait for them');
$admin->{stderr} = '';	# mprotect warns of who has not answered
kill 'CONT', $flipper_pid;
ok(sql_ends($flipper, 10), 'the session goes on');
like($flipper->{stderr}, qr/has ended the closing/, '... and hears of it');
continue_worker($offset);

# the postmaster is stopped too
warm();
$offset = -s $node->logfile;
close_and_stop(sub { $admin->query_safe(q{SELECT pg_mshare_freeze('1 s')}) });
kill 'STOP', $postmaster;
start_sql($writer, $update);
if ($provider eq 'mshare' and $reads_wait)
{
	ok(!sql_ends($writer, 4), 'with worker and postmaster stopped a write waits in the kernel');
	kill 'CONT', $postmaster;
	ok(sql_ends($writer, 5), '... until one of them goes on');
}
else
{
	ok(sql_ends($writer, 5), 'with worker and postmaster stopped who is parked opens the pool');
	kill 'CONT', $postmaster;
}
is($admin->query_safe($protection), 'rw', '... for all');
like(slurp_file($node->logfile, $offset), $opened, '... and the log says so');
continue_worker($offset);

SKIP:
{
	skip 'reads from disk do not wait', 10 unless $reads_wait;

	# Reads that miss are met by closings in the middle of a block, too. None fails, as
	# no closing outlasts its deadline by more than that second.
	warm();
	my @readers = map { $node->background_psql('postgres', on_error_stop => 0) } 1 .. 3;
	start_sql($_, q{DO $$ DECLARE n int; until timestamptz := clock_timestamp() + '12 s';
		BEGIN
			WHILE clock_timestamp() < until LOOP
				SELECT count(*) INTO n FROM big;
				IF n <> 40000 THEN RAISE EXCEPTION '% rows', n; END IF;
			END LOOP;
		END $$}) for @readers;
	sleep 0.5;
	kill 'STOP', $worker;
	my $closings = 0;
	for (1 .. 6)
	{
		$admin->query_safe('SELECT pg_mshare_thaw()');
		$admin->query_safe(q{SELECT pg_mshare_freeze('100 ms')});
		$closings += opens(10) ? 1 : 0;
	}
	is($closings, 6, 'six closings of a pool that is read into, with the worker stopped');
	kill 'CONT', $worker;
	ok((grep { sql_ends($_, 60) } @readers) == @readers, '... and all who read go on');
	is(join('', map { $_->{stderr} } @readers), '', '... without an error');
	my $reads = $admin->query_safe(q{SELECT count(*) FROM pg_mshare_faults() WHERE access = 'kernel write' AND waited_us > 900000});
	cmp_ok($reads, '>', 0, "... $reads of their reads waited until the postmaster opened the pool");
	$_->quit for @readers;

	# Nobody is left who could open it: who waits in the kernel is let go, and exits. The
	# worker may live on for a moment, or stopped, and those who exit see it alive.
	for my $signal ('KILL', 'STOP')
	{
		my $is = $signal eq 'KILL' ? 'killed, too' : 'stopped';

		$node->restart;
		$_->reconnect_and_clear for $admin, $writer, $flipper;
		$worker = worker_pid($node);
		warm();
		my @pids = server_pids($node);
		start_sql($writer, q{SET synchronize_seqscans = off});
		sql_ends($writer, 10);
		$admin->query_safe(q{SELECT pg_mshare_freeze('2 s')});
		start_sql($writer, 'SELECT count(*) FROM big');
		ok(wait_until(2, sub { waiters($admin) > 0 }), 'a read from disk waits');
		kill 'STOP', $worker;
		kill 'KILL', $pids[0];
		kill $signal, $worker;
		my @others = grep { $_ != $worker } @pids;
		ok(wait_until(20, sub { !grep { kill 0, $_ } @others }), "the postmaster is killed and the worker $is: nobody else stays behind")
		  or diag(map { slurp_file("/proc/$_/cmdline") . "\n" } grep { kill 0, $_ } @others);
		kill 'KILL', $worker;
		wait_until(20, sub { !kill 0, $worker });
		$node->{_pid} = undef;
		unlink $node->data_dir . '/postmaster.pid';
		$node->start;
		is($node->safe_psql('postgres', 'SELECT count(*) FROM big'), 40000, '... and the server starts again');
	}
}

eval { $_->quit } for $admin, $writer, $flipper;
done_testing();
