# SPDX-License-Identifier: PostgreSQL
# The pool is where it should be in every process, and stays there.
use strict;
use warnings;
use lib '.';
use MshareTest;
use PostgreSQL::Test::Utils;
use Test::More;

# Populated, so that a pool left behind would show in Shmem whole.
my $node = mshare_node('pool', conf => <<'END');
shared_buffers = 256MB
pg_mshare.populate = on
logging_collector = on
log_filename = 'server.log'
END
my $log = $node->data_dir . '/log/server.log';
my ($address, $bytes) = split /\|/, status($node, 'address, bytes');

# In place the logger has none with provider mprotect, as it detaches from the server's
# shared memory, which is made anew after a crash.
my $in_place = $provider eq 'mprotect' && status($node, 'in_place') eq 't';
my @without = $in_place ?
  $node->safe_psql('postgres', q{SELECT pid FROM pg_mshare_backends WHERE backend_type IN ('logger', 'syslogger')}) : ();

# 1. every child, the logger too, maps the pool at the same address
my $session = $node->background_psql('postgres');
cmp_ok(scalar server_pids($node), '>=', 8, 'postmaster, logger, auxiliary processes, worker and a session');
my (undef, $unattached) = pids_by_mapping($node, $address, $bytes, qr/./);
is_deeply($unattached, \@without, 'all of them map the pool at one address');
is( $node->safe_psql('postgres',
		"SELECT count(*) FROM pg_mshare_backends WHERE backend_type IN ('postmaster', 'logger', 'syslogger')"),
	2, 'pg_mshare_backends knows the postmaster and the logger');
is($node->safe_psql('postgres', 'SELECT coalesce(array_agg(pid) FILTER (WHERE NOT attached), $${}$$) FROM pg_mshare_backends'),
	"{@without}", 'and calls all processes attached that are');

# data really is in there
$node->safe_psql('postgres', 'CREATE TABLE t AS SELECT g AS i FROM generate_series(1, 100000) g');
is($node->safe_psql('postgres', 'SELECT sum(i) FROM t'), '5000050000', 'a table is read back');
my $forced = $node->pg_version >= 16 ? 'debug_parallel_query' : 'force_parallel_mode';
$node->safe_psql('postgres', qq{
	SET min_parallel_table_scan_size = 0; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0;
	SET $forced = on; CREATE TABLE p AS SELECT sum(i) AS s FROM t});
is($node->safe_psql('postgres', 'SELECT s FROM p'), '5000050000', 'by parallel workers too');

# What pg_mshare_status says of page tables is what /proc says, and what a session gets
# of its own by reading 60 MB shows what sharing is worth.
$node->safe_psql('postgres', q{CREATE TABLE large WITH (fillfactor = 10) AS SELECT g AS i, repeat('x', 400) FROM generate_series(1, 7800) g});
$node->safe_psql('postgres', 'VACUUM large');
cmp_ok($node->safe_psql('postgres', q{SELECT pg_relation_size('large')}), '>=', 60 << 20, 'a table of 60 MB');
my $own = "SELECT page_table_bytes FROM pg_mshare_backends WHERE pid = pg_backend_pid()";
my $all = 'SELECT private_page_table_bytes, page_table_bytes FROM pg_mshare_status';
$session->query_safe($_) for $own, $all;
# while no process came or went
my (@before, @pids, $summed);
do
{
	@pids = server_pids($node);
	@before = ($session->query_safe($own), split /\|/, $session->query_safe($all));
	$summed = 0;
	for my $pid (@pids)
	{
		$summed += 1024 * $1 if -e "/proc/$pid/status" && slurp_file("/proc/$pid/status") =~ /^VmPTE:\s+(\d+) kB/m;
	}
} until "@pids" eq join(' ', server_pids($node));
cmp_ok(abs($before[1] - $summed), '<=', 64 * 1024, "private page tables are those in /proc: $before[1], $summed bytes");
cmp_ok($before[1], '>', 0, '... and there are some');
$session->query_safe('SELECT count(*) FROM large');
my $grown = $session->query_safe($own) - $before[0];
if ($provider eq 'mshare')
{
	cmp_ok($grown, '<', 64 * 1024, "a session that has read them has no more page tables of its own: $grown bytes");
	cmp_ok($before[2], '>=', $bytes / 512, "there is one set for all: $before[2] bytes");
}
else
{
	cmp_ok($grown, '>=', 96 * 1024, "a session that has read them has page tables for them: $grown bytes");
	is($before[2], 0, 'and no set for all');
}

# 2. two crashes: the same address, read-write, and no memory lost
my @shmem;
for my $round (1, 2)
{
	my $victim = $session->query_safe('SELECT pg_backend_pid()');
	$node->safe_psql('postgres', 'SELECT pg_mshare_freeze()') if $round == 2;
	kill 'KILL', $victim;
	ok(wait_until(60, sub { (() = slurp_file($log) =~ /ready to accept connections/g) > $round }),
		"crash $round: the server restarts");
	if ($in_place)
	{
		$address = status($node, 'address');
		is(status($node, 'in_place'), 't', "crash $round: in place");
	}
	else
	{
		is(status($node, 'address'), $address, "crash $round: at the same address");
	}
	is(status($node, 'protection'), 'rw', "crash $round: read-write");
	my (undef, $closed) = pids_by_mapping($node, $address, $bytes, qr/w/);
	is_deeply($closed, \@without, "crash $round: every process maps it, writable");
	is($node->safe_psql('postgres', 'SELECT sum(i) FROM t'), '5000050000', "crash $round: the data is there");
	$session = $node->background_psql('postgres');
	push @shmem, shmem_kb();
}
cmp_ok($shmem[1] - $shmem[0], '<', 128 * 1024, 'no pool was left behind')
  or diag("Shmem: @shmem kB");
$session->quit;

# a restart is a new postmaster, with a new pool and the same data
$node->restart;
is($node->safe_psql('postgres', 'SELECT sum(i) FROM t'), '5000050000', 'the data survives a restart');

# 12. huge_pages = on reserves the place that the pool has left
$node->append_conf('postgresql.conf', 'huge_pages = on');
$node->stop;
my $offset = -s $node->logfile;
my $started = $node->start(fail_ok => 1);
my $said = slurp_file($node->logfile, $offset);
like($said, qr/HINT:  huge_pages = on has reserved/, 'huge_pages = on is told')
  if $started;
like($said, qr/could not map anonymous shared memory/, 'huge_pages = on finds none, before us')
  if !$started;

done_testing();
