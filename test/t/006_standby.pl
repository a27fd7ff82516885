# SPDX-License-Identifier: PostgreSQL
# 11. A standby is closed while it replays only where reads from disk wait: one into a
# closed page that fails would end it for good. Where they do, it waits and catches up.
use strict;
use warnings;
use lib '.';
use MshareTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# Pages are not in the WAL: what replay changes, it has to read.
my $primary = mshare_node('primary', init => { allows_streaming => 1 }, conf => "full_page_writes = off\n");
$primary->backup('base');

my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', "shared_buffers = 16MB\npg_mshare.freeze_timeout = 60s\n");	# less than the data
$standby->start;
$primary->safe_psql('postgres',
	'CREATE TABLE t AS SELECT g AS id, repeat(g::text, 50) AS v FROM generate_series(1, 100000) g');
$primary->wait_for_catchup($standby);

my $waits = kernel_waits($standby) eq 'all';
for my $call ($waits ? () : ("pg_mshare_freeze()", "pg_mshare_flip()", "pg_mshare_protect('r')", "pg_mshare_protect('r', 10, 1)"))
{
	my ($rc, $out, $err) = $standby->psql('postgres', "SELECT $call");
	like($err, qr/ERROR:  recovery is in progress.*HINT:  Closing buffers is possible after promotion/s,
		"$call is refused in recovery");
}
is($standby->safe_psql('postgres', 'SELECT pg_mshare_thaw()'), 'f', 'a thaw of nothing is not');

sub replayed
{
	my ($session) = @_;
	return $session->query_safe('SELECT pg_last_wal_replay_lsn()');
}

SKIP:
{
	skip 'reads from disk do not wait', 9 unless $waits;

	my $admin = $standby->background_psql('postgres', on_error_stop => 0);
	my $startup = q{SELECT count(*), coalesce(max(waited_us), 0) > 5000000, coalesce(bool_or(access = 'kernel write'), false)
		FROM pg_mshare_faults() WHERE backend_type = 'startup'};
	$admin->query_safe($_) for $startup, 'SELECT pg_mshare_freeze()', 'SELECT pg_mshare_thaw()', 'SELECT waiters FROM pg_mshare_status';
	replayed($admin);

	my $offset = -s $standby->logfile;
	my $updater = $primary->background_psql('postgres');
	$admin->query_safe('SELECT pg_mshare_freeze()');
	my $start = time;
	$updater->query_until(qr/started/, "\\echo started\nUPDATE t SET v = v || id;\n\\echo finished\n");
	ok(wait_until(30, sub { waiters($admin) > 0 }), 'the startup process waits');
	my $stopped_at = replayed($admin);
	sleep 5;
	is(replayed($admin), $stopped_at, '... and replays nothing');
	is($admin->query_safe('SELECT pg_mshare_thaw()'), 't', sprintf '... until the thaw after %.1f s', time - $start);
	like(slurp_file($standby->logfile, $offset), qr/\(pg_mshare_thaw\), [1-9]\d* writes waited/, '... and is counted');
	ok(wait_until(180, sub { $updater->{run}->pump_nb; $updater->{stdout} =~ /finished/ }), 'meanwhile the primary goes on');
	$updater->quit;
	my $until = $primary->lsn('insert');
	$primary->wait_for_catchup($standby);
	is($admin->query_safe("SELECT pg_last_wal_replay_lsn() >= '$until'::pg_lsn"), 't', '... and catches up');

	# short closings while it replays, so that reads from disk are met too
	$updater = $primary->background_psql('postgres');
	$updater->query_until(qr/started/, "\\echo started\nUPDATE t SET id = -id;\n\\echo finished\n");
	my $flips = 0;
	while ($updater->{stdout} !~ /finished/ && $flips < 2000)
	{
		$flips += $admin->query_safe(q{SELECT count(pg_mshare_flip('r', '20 ms'))});
		$updater->{run}->pump_nb;
		sleep 0.05;
	}
	$updater->quit;
	$primary->wait_for_catchup($standby);
	my ($faults, $long, $read) = split /\|/, $admin->query_safe($startup);
	cmp_ok($faults, '>', 1, "the startup process has waited $faults times, through a freeze and $flips flips");
	is("$long$read", 'tt', '... for long, and for a read from disk');
	unlike(slurp_file($standby->logfile), qr/Bad address|FATAL/, '... and has not failed');
	$admin->quit;
	$primary->safe_psql('postgres', 'UPDATE t SET id = -id');
}

$primary->safe_psql('postgres', 'UPDATE t SET v = v || id');
$primary->wait_for_catchup($standby);
is($standby->safe_psql('postgres', 'SELECT count(*) FROM t WHERE v LIKE \'%\' || id'), 100000,
	'the standby replays on');

$standby->promote;
if ($waits or $provider eq 'mprotect')
{
	is($standby->safe_psql('postgres', 'SELECT down_us > 0 FROM pg_mshare_flip()'), 't', 'after promotion it flips');
}
else
{
	my ($rc, $out, $err) = $standby->psql('postgres', 'SELECT pg_mshare_flip()');
	like($err, qr/ERROR:  buffers cannot be closed while reads from disk do not wait/, 'after promotion the reason is another');
}

done_testing();
