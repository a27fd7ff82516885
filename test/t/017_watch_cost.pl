# SPDX-License-Identifier: PostgreSQL
# What pg_mshare_watch() costs: a fault for each granule that is written, for the whole
# server, and none after that. The notes have the figures that the documentation quotes.
use strict;
use warnings;
use lib '.';
use MshareTest;
use PostgreSQL::Test::Utils;
use IPC::Run;
use Test::More;

my $node = mshare_node('cost');
my $clients = 8;
my $seconds = 5;
$node->safe_psql('postgres', 'CREATE EXTENSION pg_prewarm');
$node->command_ok([ 'pgbench', '-i', '-q', '-s', '2', 'postgres' ], 'pgbench -i');
# the map of free space of what grows, too: what is new on disk could not be read
$node->command_ok([ 'pgbench', '-n', '-c', $clients, '-t', '5', 'postgres' ], 'a first load');
$node->safe_psql('postgres', 'VACUUM');
prewarm($node);

# Transactions a second, all of the time under a watch if there is a granule
my ($granules, $waited, $named, $times);
sub run_load
{
	my ($granule) = @_;
	my $offset = -s $node->logfile;
	my $start = $node->safe_psql('postgres', 'SELECT clock_timestamp()');
	my $session;

	if ($granule)
	{
		$session = $node->background_psql('postgres', on_error_stop => 0);
		my $sum = q{SELECT coalesce(sum(granules), 0) || '/' || count(*) FROM pg_mshare_watch('%s', %d)};
		$session->query_safe(sprintf $sum, '10 ms', $granule);
		$session->query_until(qr/started/, "\\echo started\n" . sprintf("$sum;\n", ($seconds + 1) . ' s', $granule));
		wait_until(10, sub { slurp_file($node->logfile, $offset) =~ /are closed \(r\).*are closed \(r\)/s });
	}
	IPC::Run::run([ $node->installed_command('pgbench'), '-n', '-c', $clients, '-T', $seconds,
			'-h', $node->host, '-p', $node->port, 'postgres' ], '>', \my $out, '2>&1');
	my ($tps) = $out =~ /^tps = (\d+)/m;
	if ($session)
	{
		wait_until(30, sub { $session->{run}->pump_nb; $session->{stdout} =~ m{^\d+/\d+$}m });
		($granules, $named) = $session->{stdout} =~ m{^(\d+)/(\d+)$}m;
		$session->quit;
		$waited = (slurp_file($node->logfile, $offset) =~ /, (\d+) writes waited/g)[-1];
		$times = $node->safe_psql('postgres', qq{
			SELECT format('%s us, 95 %% of them at most %s us', percentile_disc(0.5) WITHIN GROUP (ORDER BY waited_us),
				percentile_disc(0.95) WITHIN GROUP (ORDER BY waited_us))
			FROM pg_mshare_faults WHERE time > '$start'});
	}
	return ($tps, scalar(() = $out =~ /error|aborted/g));
}

my %tps;
for my $granule (0, 64, 2048, 2048, 64, 0)
{
	my ($tps, $errors) = run_load($granule);
	my $name = $granule ? "granules of $granule kB" : 'no watch';
	is($errors, 0, "$name: no transaction fails");
	push @{ $tps{$granule} }, $tps;
	if ($granule)
	{
		note("$name: $waited faults, $granules granules of $named relations, the median wait $times, $tps transactions a second");
		cmp_ok($granules, '>', 0, '... writes are seen');
		cmp_ok($waited, '<=', $granules * $clients, '... at most one wait for each granule and session');
		cmp_ok($waited, '<', $tps * $seconds * 4, '... and not one for each of the four rows that a transaction writes');
	}
}
note(sprintf '%s kB: %s transactions a second', $_, join ', ', @{ $tps{$_} }) for sort { $a <=> $b } keys %tps;
my @sums = bench_sums($node);
is_deeply(\@sums, [ ($sums[0]) x 4 ], 'the sums agree');

done_testing();
