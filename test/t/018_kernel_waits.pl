# SPDX-License-Identifier: PostgreSQL
# Where an access to closed buffers waits: what the server finds out at its start, and
# says; and that each of the ways works. 003 to 013 go by what is found. Where reads do not
# wait a closing would be refused (022_torn_reads.pl), but for a setting for tests.
use strict;
use warnings;
use lib '.';
use MshareTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = mshare_node('kernel_waits', conf => 'pg_mshare.debug_torn_reads = on');
my $group = eval { slurp_file('/proc/sys/vm/mshare_fault_group') } // -1;
my $gid = (split / /, $))[0];

# The server log since the last start
my $offset = 0;

sub log_says
{
	my ($pattern, $what) = @_;
	like(slurp_file($node->logfile, $offset), $pattern, $what);
}

if ($provider eq 'mprotect')
{
	is(kernel_waits($node), 'off', 'nothing waits in the kernel');
	log_says(qr/writes into closed buffers wait in a signal handler, reads from disk into them fail\n.*DETAIL:  Provider mprotect has no other way/,
		'and the log says why');
	done_testing();
	exit;
}

my $allowed = $group == $gid;
if ($allowed)
{
	is(kernel_waits($node), 'all', "the group $gid is in vm.mshare_fault_group: all waits");
	log_says(qr/reads from disk into them wait in the kernel\n.*DETAIL:  One that was made for a proof did/, 'as was proved');
}
else
{
	is(kernel_waits($node), 'writes', "vm.mshare_fault_group is not the group $gid: writes wait");
	log_says(qr/reads from disk into them do not, so that none are closed\n.*DETAIL:  The server may not.*\n.*HINT:  .*"sysctl vm\.mshare_fault_group=$gid"/,
		'and the log says how to allow more');
}
is($node->safe_psql('postgres', 'SELECT waits FROM (SELECT count(*) AS waits FROM pg_mshare_faults) f'), 0,
	'the proof is not among the faults');

# A write that is parked, and a read from disk, with as much of it as is allowed
$node->safe_psql('postgres', q{CREATE TABLE t AS SELECT 1 AS id, 0 AS v; CREATE TABLE cold AS SELECT 1 AS id});
for my $most ('off', 'writes', $allowed ? 'all' : ())
{
	$node->append_conf('postgresql.conf', "pg_mshare.debug_kernel_waits = $most");
	$offset = -s $node->logfile;
	$node->restart;
	is(kernel_waits($node), $most, "no more than $most");

	my ($admin, $writer, $reader) = map { $node->background_psql('postgres', on_error_stop => 0) } 1 .. 3;
	my $write = 'UPDATE t SET v = v + 1';
	my $wait_event = 'SELECT wait_event_type FROM pg_stat_activity WHERE pid = ';
	my ($pid) = map { $_->query_safe('SELECT pg_backend_pid()') } $writer;
	$writer->query_safe($_) for $write, 'VACUUM t';
	$admin->query_safe($_) for 'SELECT pg_mshare_thaw()', 'SELECT pg_mshare_freeze()', 'SELECT pg_mshare_thaw()',
		'SELECT waiters FROM pg_mshare_status', "$wait_event $pid";
	$reader->query_safe('EXPLAIN SELECT id FROM cold');
	my $v = $node->safe_psql('postgres', 'SELECT v FROM t');

	$admin->query_safe('SELECT pg_mshare_freeze()');
	$writer->query_until(qr/started/, "\\echo started\n$write;\n\\echo finished\n");
	ok(wait_until(10, sub { waiters($admin) == 1 }), "$most: a write waits");
	is($admin->query_safe("$wait_event $pid"), 'Extension', "$most: with a wait event");

	# signals are handled, and the write still waits: a sleep would have ended
	kill 'INT', $pid for 1 .. 3;
	sleep 0.3;
	is(waiters($admin), 1, "$most: after signals too");

	$reader->query_until(qr/started/, "\\echo started\nSELECT id AS read FROM cold;\n\\echo finished\n");
	my $failed = wait_until(2, sub { $reader->{run}->pump_nb; $reader->{stdout} =~ /finished/ });
	is($most eq 'all' ? waiters($admin) : !!$failed, $most eq 'all' ? 2 : 1,
		"$most: a read from disk " . ($most eq 'all' ? 'waits' : 'fails'));
	like($reader->{stderr}, qr/could not read block/, '... with an ERROR') if $most ne 'all';

	$admin->query_safe('SELECT pg_mshare_thaw()');
	ok(wait_until(10, sub { $reader->{run}->pump_nb; $reader->{stdout} =~ /finished/ }), "$most: the reader goes on");
	ok(wait_until(10, sub { $writer->{run}->pump_nb; $writer->{stdout} =~ /finished/ }), "$most: and the writer");
	ok(wait_until(10, sub { waiters($admin) == 0 }), "$most: nobody waits any more");
	isnt($admin->query_safe("$wait_event $pid"), 'Extension', "$most: the wait event is gone");
	is($node->safe_psql('postgres', 'SELECT v FROM t'), $v, "$most: the cancelled write is not there");
	eval { $_->quit } for $admin, $writer, $reader;
}

# The worker has been stopped while more happened than the kernel keeps events: it cannot
# know who waits then, and opens the pool for a moment.
my ($admin, $writer, $reader) = map { $node->background_psql('postgres', on_error_stop => 0) } 1 .. 3;
$admin->query_safe($_) for 'SELECT pg_mshare_thaw()', 'SELECT pg_mshare_freeze()', 'SELECT pg_mshare_thaw()', 'SELECT waiters FROM pg_mshare_status';
$writer->query_safe($_) for 'UPDATE t SET v = v + 1', 'VACUUM t';
my $pid = $writer->query_safe('SELECT pg_backend_pid()');
my $worker = worker_pid($node);
my $waits = 0;
$offset = -s $node->logfile;
kill 'STOP', $worker;
$writer->query_until(qr/started/, "\\echo started\nDO 'BEGIN FOR i IN 1 .. 1000000 LOOP UPDATE t SET v = v + 1; COMMIT; END LOOP; END';\n");
for (1 .. 100)
{
	$admin->query_safe(q{SELECT count(pg_mshare_flip('r', '1 ms')) FROM generate_series(1, 20)});
	$waits = 0;
	my $log = slurp_file($node->logfile, $offset);
	$waits += $1 while $log =~ /, (\d+) writes waited/g;
	last if $waits > 600;
}
cmp_ok($waits, '>', 512, "waits while the worker is stopped: $waits");
$admin->query_safe('SELECT pg_mshare_freeze()');
kill 'CONT', $worker;
ok(wait_until(10, sub { slurp_file($node->logfile, $offset) =~ /reopened for a moment, as the kernel dropped events/ }),
	'events are lost, and the worker opens the pool for a moment');
ok(wait_until(10, sub { waiters($admin) == 1 }), '... and the writer waits again');
$admin->query_safe('SELECT pg_mshare_thaw()');
ok(wait_until(10, sub { waiters($admin) == 0 }), '... until the thaw');
kill 'TERM', $pid;
eval { $writer->quit };

eval { $_->quit } for $admin, $writer, $reader;
done_testing();
