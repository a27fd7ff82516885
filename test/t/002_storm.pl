# SPDX-License-Identifier: PostgreSQL
# A flip reaches every process, those that start meanwhile too, and keeps no
# transaction from being right.
use strict;
use warnings;
use lib '.';
use MshareTest;
use PostgreSQL::Test::Utils;
use IPC::Run;
use Test::More;

my $node = mshare_node('storm');
my ($address, $bytes) = split /\|/, status($node, 'address, bytes');
# Provider mshare runs in an emulated machine.
my $seconds = ($ENV{PG_TEST_EXTRA} || '') =~ /\blong\b/ ? 120 : $provider eq 'mshare' ? 60 : 12;
my $connecting = $provider eq 'mshare' ? 4 : 12;

$node->safe_psql('postgres', 'CREATE EXTENSION pg_prewarm');
$node->command_ok([ 'pgbench', '-i', '-q', '-s', '1', 'postgres' ], 'pgbench -i');

$node->safe_psql('postgres', 'VACUUM');
prewarm($node);

# New connections all the time, and writers
my @out;
sub start_load
{
	my @load;

	for my $arguments ([ '-C', '-S', '-c', $connecting, '-j', '2' ], [ '-c', '4' ])
	{
		push @out, '';
		push @load, IPC::Run::start(
			[ $node->installed_command('pgbench'), '-n', '-T', $seconds, @$arguments,
				'-h', $node->host, '-p', $node->port, 'postgres' ],
			'>', \$out[-1], '2>&1');
	}
	return @load;
}

my $flipper = $node->background_psql('postgres', on_error_stop => 0);
my $window = $flipper->query_safe('SELECT pg_backend_pid()');

# Whether the first buffers, which the load is in, change within a moment; undef if
# they may not be read.
sub changes
{
	my @digests = map { sleep 0.1 * $_; pool_digest($window, $address, 16 << 20) // return } 0, 1;
	return $digests[0] ne $digests[1];
}

# 3. after a closing no process is left writable, and not a byte changes
my ($compared, $changed, $changed_open) = (0, 0, 0);
my ($closings, $processes, $late, $waited) = (0, 0, 0, 0);
my $rounds = 0;

# A busy host does few closings in a round.
while ($closings < 3 and $rounds++ < 5)
{
	my $end = time + $seconds - 4;
	my @load = start_load();

	wait_until($seconds / 2, sub { $flipper->query_safe('SELECT count(*) > 10 FROM pgbench_history') eq 't' });
	while (time < $end)
	{
		$processes += $flipper->query_safe("SELECT processes FROM pg_mshare_protect('r')");
		if ($provider eq 'mprotect')
		{
			my ($writable) = pids_by_mapping($node, $address, $bytes, qr/w/);

			# A child that has not run since its fork is not waited for: it catches up first.
			if (@$writable)
			{
				sleep 0.5;
				my %before = map { $_ => 1 } @$writable;
				($writable) = pids_by_mapping($node, $address, $bytes, qr/w/);
				$writable = [ grep { $before{$_} } @$writable ];
			}
			$late += @$writable;
			diag("writable: @$writable") if @$writable;
		}
		if ($closings % 5 == 0)
		{
			my $differs = changes();
			my $still = $flipper->query_safe('SELECT protection FROM pg_mshare_status') eq 'r';
			$compared++ if $still and defined $differs;
			$changed++ if $still and $differs;
		}
		$waited += $flipper->query_safe('SELECT waiters FROM pg_mshare_status');
		$flipper->query_safe("SELECT pg_mshare_protect('rw')");
		$changed_open += changes() // 0 if $closings % 5 == 0;
		$closings++;

		# and short ones
		$flipper->query_safe('SELECT count(pg_mshare_flip()) FROM generate_series(1, 5)');
	}
	$_->finish for @load;
}
$flipper->quit;

cmp_ok($closings, '>=', 3, "closings: $closings of " . int($processes / ($closings || 1)) . ' processes, parked when looked at: ' . $waited);
cmp_ok($waited, '>', 0, 'writers were caught by them');
SKIP:
{
	skip "with provider $provider mappings stay as they are", 1 if $provider ne 'mprotect';
	is($late, 0, 'no process was left writable');
}
SKIP:
{
	skip 'the memory of a session may not be read', 2 if !$compared;
	is($changed, 0, "no byte of the pool changed while it was closed: looked $compared times");
	cmp_ok($changed_open, '>', 0, "control: it does while open: $changed_open times");
}
for my $out (@out)
{
	like($out, qr/number of transactions actually processed: [1-9]/, 'transactions: '
		. ($out =~ /actually processed: (\d+)/)[0]);
	unlike($out, qr/aborted|error/, 'none failed');
}
my @sums = bench_sums($node);
is_deeply(\@sums, [ ($sums[0]) x 4 ], "the sums agree: $sums[0]");
isnt($sums[0], 0, 'and are not trivial');

done_testing();
