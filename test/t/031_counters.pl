# SPDX-License-Identifier: PostgreSQL
# What pg_mshare_status counts, over a crash restart too; who has closed; and how loud
# that is in the server log.
use strict;
use warnings;
use lib '.';
use MshareTest;
use PostgreSQL::Test::Utils;
use IPC::Run;
use Test::More;

my $node = mshare_node('counters', conf => "pg_mshare.freeze_timeout = 60s\n");
$node->safe_psql('postgres', q{
	CREATE EXTENSION pg_buffercache;
	CREATE TABLE t AS SELECT 1 AS id, 0 AS v;
	CREATE TABLE large AS SELECT g AS id, repeat('x', 500) AS filler FROM generate_series(1, 200000) g;
	VACUUM});

my @counters = map { "${_}_total" } qw(closings_flip closings_protect closings_freeze closings_watch closings_given_up
  closed_seconds waits failed_reads);
sub counted
{
	my %counted;
	@counted{@counters} = split /\|/, status($node, join ',', @counters);
	return \%counted;
}

sub ctl
{
	IPC::Run::run([ $node->installed_command('pg_mshare_ctl'), @_, '-D', $node->data_dir ], '<', \undef, '>', \my $out, '2>&1');
	return $out;
}

# nothing yet: what is done to prove that reads wait is not counted
is_deeply(counted(), { map { $_ => 0 } @counters }, 'all begin at 0');

# by whom, and until when
my $admin = $node->background_psql('postgres', on_error_stop => 0);
my $state = q{SELECT closed_by, pid, until - frozen_since FROM pg_mshare_status};
$admin->query_safe($_) for $state, 'SELECT waiters, waits_total FROM pg_mshare_status', 'SELECT pg_mshare_freeze()', 'SELECT pg_mshare_thaw()';
my $pid = $admin->query_safe('SELECT pg_backend_pid()');
$admin->query_safe(q{SELECT pg_mshare_freeze('3 s')});
is($admin->query_safe($state), "pg_mshare_freeze|$pid|00:00:03", 'a freeze says whose it is, and until when');
my $seconds = $admin->query_safe('SELECT closed_seconds_total FROM pg_mshare_status');
sleep 0.5;
cmp_ok($admin->query_safe('SELECT closed_seconds_total FROM pg_mshare_status'), '>=', $seconds + 0.4, 'its seconds count while it lasts');
$admin->query_safe('SELECT pg_mshare_thaw()');
is($admin->query_safe($state), '||', 'then nobody does');
my $worker = worker_pid($node);
ctl('freeze');
is($admin->query_safe($state), "pg_mshare_ctl|$worker|00:01:00", 'pg_mshare_ctl does by the freeze worker');
like(ctl('status'), qr/^closed frozen\nby $worker\nsince /m, 'and says so itself');
ctl('thaw');
my $now = counted();
is($now->{closings_freeze_total}, 3, 'three freezes');
cmp_ok($now->{closed_seconds_total}, '>=', 0.5, "$now->{closed_seconds_total} s closed");
cmp_ok($now->{closed_seconds_total}, '<', 60, '... not more');

# a write that waits
my $writer = $node->background_psql('postgres', on_error_stop => 0);
$writer->query_safe('UPDATE t SET v = v + 1');
$node->safe_psql('postgres', 'VACUUM');
my $before = counted()->{waits_total};
$admin->query_safe('SELECT pg_mshare_freeze()');
$writer->query_until(qr/started/, "\\echo started\nUPDATE t SET v = v + 1;\n\\echo finished\n");
ok(wait_until(10, sub { waiters($admin) == 1 }), 'a write waits');
$admin->query_safe('SELECT pg_mshare_thaw()');
ok(wait_until(10, sub { $writer->{run}->pump_nb; $writer->{stdout} =~ /finished/ }), '... and goes on');
cmp_ok(counted()->{waits_total}, '>', $before, 'it is counted');

# a read from disk that fails, where reads do
my $reader = $node->background_psql('postgres', on_error_stop => 0);
$reader->query_safe('SELECT max(id) FROM large');
SKIP:
{
	skip 'reads from disk wait here', 2 if kernel_waits($node) eq 'all';
	my $failed = counted()->{failed_reads_total};
	$admin->query_safe('SELECT pg_mshare_freeze()');
	$reader->query('SELECT count(filler) FROM large');
	$admin->query_safe('SELECT pg_mshare_thaw()');
	like($reader->{stderr}, qr/could not read block/, 'a read from disk fails');
	ok(wait_until(5, sub { counted()->{failed_reads_total} > $failed }), '... and is counted');
}
$_->quit for $admin, $reader, $writer;

# monotonic: a crash restart in the middle of a closing takes nothing away
$node->safe_psql('postgres', 'SELECT pg_mshare_flip(); SELECT pg_mshare_thaw()');
$before = counted();
ctl('freeze');
sleep 0.5;
my $victim = $node->background_psql('postgres', on_error_stop => 0);
my $victim_pid = $victim->query_safe('SELECT pg_backend_pid()');
kill 'KILL', $victim_pid;
ok(restarted($node, 1),
	'a crash restart');
$now = counted();
for my $counter (@counters)
{
	cmp_ok($now->{$counter}, '>=', $before->{$counter}, "$counter did not go back");
}
is($now->{closings_freeze_total}, $before->{closings_freeze_total} + 1, 'the freeze before it counts');
cmp_ok($now->{closed_seconds_total}, '>=', $before->{closed_seconds_total} + 0.5, '... and its seconds');
$seconds = $now->{closed_seconds_total};
is(counted()->{closed_seconds_total}, $seconds, '... which go on no more');
eval { $victim->quit };

# what is routine may be quiet, what is not is told
my $offset = -s $node->logfile;
$node->safe_psql('postgres', q{SET pg_mshare.log_level = debug1; SELECT pg_mshare_flip();
	SELECT pg_mshare_protect('r', 8000); SELECT pg_mshare_protect('rw')});
unlike(slurp_file($node->logfile, $offset), qr/pg_mshare: buffer/, 'routine closings can be kept out of the log');
$node->safe_psql('postgres', q{SET pg_mshare.log_level = debug1; SELECT pg_mshare_protect('r', 8000)});
ctl('thaw');
like(slurp_file($node->logfile, $offset), qr/pg_mshare: buffer pool reopened after .* \(pg_mshare_ctl\)/, 'what the worker ends is told');
$node->safe_psql('postgres', 'SELECT pg_mshare_flip()');
like(slurp_file($node->logfile, $offset), qr/pg_mshare: buffers 1 to 8192 were closed/, 'by default all are');

done_testing();
