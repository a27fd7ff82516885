# SPDX-License-Identifier: PostgreSQL
# How a flip reaches processes whose start or answer comes at a bad moment: children that
# are late, forks that fail, changes of protection that are overtaken, system calls that
# a signal makes start again, programs that a backend starts.
use strict;
use warnings;
use lib '.';
use MshareTest;
use PostgreSQL::Test::Utils;
use IO::Socket::UNIX;
use Test::More;

sub pid
{
	my ($session) = @_;
	return $session->query_safe('SELECT pg_backend_pid()');
}

# Of the server's user; without a number as many as before
sub limit_processes
{
	my ($pid, $limit) = @_;
	my ($prlimit64, $RLIMIT_NPROC) = (302, 6);
	my $old = pack 'QQ', 0, 0;

	syscall($prlimit64, 0 + $pid, $RLIMIT_NPROC, 0, $old) == 0 or die "prlimit64: $!";
	my ($soft, $hard) = unpack 'QQ', $old;
	my $new = pack 'QQ', $limit // $hard, $hard;
	syscall($prlimit64, 0 + $pid, $RLIMIT_NPROC, $new, 0) == 0 or die "prlimit64: $!";
}

{
	my $node = mshare_node('forks',
		conf => "max_connections = 10\nmax_wal_senders = 0\nmax_worker_processes = 3\nautovacuum_max_workers = 1\n");
	my $postmaster = (server_pids($node))[0];
	my $attempts = 4 * (10 + 1 + 1 + 3 + 0) + 64 + 10;
	my $failed = 0;

	limit_processes($postmaster, 1);
	for (1 .. $attempts)
	{
		my $client = IO::Socket::UNIX->new($node->host . '/.s.PGSQL.' . $node->port) or next;
		$failed += (<$client> // '') =~ /could not fork/;
	}
	limit_processes($postmaster);
	is($failed, $attempts, "forks that failed: $failed, more than there are slots");

	my ($out, $err);
	$node->psql('postgres', 'SELECT pg_mshare_flip()',
		stdout => \$out, stderr => \$err);
	is($err, '', 'all the same each process has a slot');
	$node->stop;
}

my $library = $PostgreSQL::Test::Utils::tmp_check . '/slow.so';
if ($provider ne 'mprotect' or system("cc -shared -fPIC -o $library slow.c -lpthread") != 0)
{
	note('the rest is for provider mprotect, where there is a compiler');
	done_testing();
	exit;
}

my $node;
{
	$node = mshare_node('processes', conf => "pg_mshare.freeze_timeout = 1s\n");
	local $ENV{LD_PRELOAD} = $library;
	$node->restart;
}
my $data = $node->data_dir;
my ($flipper, $admin) = map { $node->background_psql('postgres', on_error_stop => 0) } 1, 2;
my $flipper_pid = pid($flipper);
$node->safe_psql('postgres', 'CREATE EXTENSION pg_prewarm');

sub slow
{
	my ($file, $ms) = @_;
	append_to_file("$data/$file.new", $ms);
	rename "$data/$file.new", "$data/$file" or die $!;
}

sub cpu_ms
{
	my ($pid) = @_;
	return (split / /, slurp_file("/proc/$pid/schedstat"))[0] / 1e6;
}

# The median of 50
sub flip_us
{
	return $flipper->query_safe(q{
		SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY down_us)::int
		FROM generate_series(1, 50) i, pg_mshare_flip('r', i * interval '0')});
}

sub start_flips
{
	start_sql($flipper, 'DO $$ BEGIN LOOP PERFORM pg_mshare_flip(); END LOOP; END $$');
}

sub stop_flips
{
	kill 'INT', $flipper_pid;
	ok(sql_ends($flipper, 60), 'flips are stopped');
	$flipper->{stderr} = '';
}

# A child that takes longer to come than a flip believes in it
{
	my ($late, @others);
	my $longest = 0;

	# Of flips one after the other one comes soon after the fork; on a busy host, perhaps
	# not the first time.
	for (my $attempts = 0; $longest < 50_000 and $attempts < 5; $attempts++)
	{
		slow('slow_fork', 300);
		start_sql($flipper, q{DO $$ DECLARE us float8; longest float8 := 0; until timestamptz := clock_timestamp() + '1 s';
			BEGIN
				WHILE clock_timestamp() < until LOOP
					SELECT down_us INTO us FROM pg_mshare_flip();
					longest := greatest(longest, us);
				END LOOP;
				PERFORM set_config('test.longest', longest::int::text, false);
			END $$});
		my $client = IO::Socket::UNIX->new($node->host . '/.s.PGSQL.' . $node->port) or die $!;
		ok(sql_ends($flipper, 60), 'a child is late while there are flips');
		$longest = $flipper->query_safe(q{SELECT current_setting('test.longest')});
	}
	cmp_ok($longest, '>=', 50_000, "a flip waits for it a moment: $longest us");

	slow('slow_fork', 2000);
	$late = $node->background_psql('postgres', wait => 0, on_error_stop => 0);
	$late->{stdin} .= "\\echo ready\n";
	ok(wait_until(60, sub { $late->{run}->pump_nb; !-e "$data/slow_fork" }), 'a child is late');

	my $cpu = cpu_ms($flipper_pid);
	$flipper->query_safe('SELECT pg_mshare_flip()');
	$cpu = cpu_ms($flipper_pid) - $cpu;
	cmp_ok($cpu, '<', 30, "a flip does not spin while it waits: $cpu ms");

	push @others, $node->background_psql('postgres') for 1 .. 3;
	my $came = wait_until(30, sub {
		$late->{run}->pump_nb;
		$late->{stdout} =~ /ready/ });
	ok($came, 'it comes, though another process has got its slot');
	is($flipper->query_safe('SELECT processes FROM pg_mshare_flip()'), scalar(server_pids($node)),
		'and both are reached by flips');
	$_->quit for @others, $late;
}

my $before_us = flip_us();

# An answer that is counted wrongly costs each flip 10 ms more from then on.
sub flips_as_before
{
	my $us = flip_us();
	cmp_ok($us - $before_us, '<', 8_000, "flips are none the slower: $us us, $before_us us before");
}

# A change of protection that is overtaken while its session changes its own mapping,
# before the other one asks it to
{
	my $closer = $node->background_psql('postgres', on_error_stop => 0);
	my $pid = pid($closer);
	my $worker = worker_pid($node);
	my $offset = -s $node->logfile;

	slow("slow_mprotect.$pid", 4000);
	start_sql($closer, q{SELECT pg_mshare_protect('r')});
	ok(wait_until(60, sub { !-e "$data/slow_mprotect.$pid" }), 'a session is slow to close its pool');
	slow("slow_mprotect.$worker", 4000);
	ok(wait_until(60, sub { !-e "$data/slow_mprotect.$worker" }), 'the worker overtakes it, and is slow to open its own');
	ok(sql_ends($closer, 60), 'the session goes on');
	like($closer->{stderr}, qr/the freeze worker has ended the closing/, 'and hears of it');
	ok(wait_until(60, sub { slurp_file($node->logfile, $offset) =~ /buffer pool reopened .*\(timeout\)/ }), 'the worker goes on');
	$closer->quit;

	flips_as_before();
}

# One that is overtaken since its session is stopped while another one owes it the answer
{
	my ($owing, $stopped) = map { $node->background_psql('postgres', on_error_stop => 0) } 1, 2;
	my @pids = map { pid($_) } $owing, $stopped;
	my $offset = -s $node->logfile;

	kill 'STOP', $pids[0];
	start_sql($stopped, q{SELECT pg_mshare_protect('r')});
	sleep 0.5;
	kill 'STOP', $pids[1];
	ok(wait_until(60, sub {
		slurp_file($node->logfile, $offset) =~ /change of the buffer pool's protection does not end/ }),
		'the worker goes ahead without the session that closed');
	sleep 0.5;
	kill 'CONT', @pids;
	ok(sql_ends($stopped, 60), 'the session goes on');
	like($stopped->{stderr}, qr/the freeze worker has ended the closing/, 'and hears of it');
	$_->quit for $owing, $stopped;

	flips_as_before();
}

# Dynamic shared memory: before Linux 6.11, and here, allocating it starts again at each
# signal that is not blocked. The table claims to have so many rows that the hash table's
# buckets are 128 MB.
{
	my $joiner = $node->background_psql('postgres', on_error_stop => 0);
	my $join = 'SELECT count(*) FROM many a JOIN many b USING (id)';

	$node->safe_psql('postgres', q{
		CREATE TABLE many AS SELECT generate_series(1, 1000) AS id;
		ANALYZE many;
		UPDATE pg_class SET reltuples = 16e6 WHERE relname = 'many'});
	prewarm($node);
	$joiner->query_safe("SET $_") for
	  q{work_mem = '2000MB'}, 'enable_mergejoin = off', 'enable_nestloop = off', 'min_parallel_table_scan_size = 0',
	  'parallel_setup_cost = 0', 'parallel_tuple_cost = 0', 'max_parallel_workers_per_gather = 1', 'jit = off';
	like($joiner->query_safe("EXPLAIN (ANALYZE) $join"), qr/Parallel Hash.*Buckets: 16777216/s,
		'a hash table in dynamic shared memory');

	my $before = $admin->query_safe('SELECT flips FROM pg_mshare_status');
	start_flips();
	sleep 0.2;
	start_sql($joiner, $join);
	my $took = sql_ends($joiner, 30);
	my $count = $admin->query_safe('SELECT flips FROM pg_mshare_status') - $before;
	ok($took, 'is allocated while flips go on: ' . sprintf('%.1f s, %d flips', $took // 0, $count / 2));
	cmp_ok($count, '>=', 20, 'which they did');

	stop_flips();
	is($joiner->{stderr}, '', 'without an error');
	$joiner->quit;
}

# A program that a backend starts has no handler for the flips' signal.
{
	my $copier = $node->background_psql('postgres', on_error_stop => 0);
	my $copy = 'DO $$ BEGIN FOR i IN 1 .. %d LOOP COPY lines FROM PROGRAM \'echo line\'; END LOOP; END $$';

	prewarm($node);
	$copier->query_safe('CREATE TEMP TABLE lines (line text)');
	$copier->query_safe(sprintf $copy, 1);
	start_flips();
	$copier->query(sprintf $copy, 300);
	is($copier->{stderr}, '', 'flips kill no program that a backend starts');
	$copier->{stderr} = '';
	is($copier->query_safe('SELECT count(*) FROM lines'), 301, 'all of them ran');
	stop_flips();
	$copier->quit;
}

$_->quit for $flipper, $admin;
done_testing();
