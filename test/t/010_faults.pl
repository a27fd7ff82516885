# SPDX-License-Identifier: PostgreSQL
# Who writes what: pg_mshare_faults, and watching the pool.
use strict;
use warnings;
use lib '.';
use MshareTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = mshare_node('faults', conf => "pg_mshare.freeze_timeout = 30s\n");
$node->safe_psql('postgres', q{
	CREATE TABLE one (id int, v int); INSERT INTO one VALUES (1, 0);
	CREATE TABLE many (id int, v int) WITH (fillfactor = 50); INSERT INTO many SELECT g, 0 FROM generate_series(1, 20000) g;
	CREATE TABLE quiet AS SELECT g AS id FROM generate_series(1, 1000) g});
$node->safe_psql('postgres', 'VACUUM ANALYZE');

my $admin = $node->background_psql('postgres', on_error_stop => 0);
my $writer = $node->background_psql('postgres', on_error_stop => 0);
my $pid = $writer->query_safe('SELECT pg_backend_pid()');

sub start
{
	my ($session, $statement) = @_;
	$session->{stdout} = '';
	$session->query_until(qr/started/, "\\echo started\n$statement;\n\\echo finished\n");
}

sub finished
{
	my ($session, $seconds) = @_;
	return wait_until($seconds || 30, sub { $session->{run}->pump_nb; $session->{stdout} =~ /finished/ });
}

# what a session needs from the catalogs, it has seen once before
my $faults = q{SELECT relation, fork, block, access, backend_type, waited_us > 1000, waited_us IS NULL
	FROM pg_mshare_faults WHERE pid = %d ORDER BY time DESC LIMIT 1};
$admin->query_safe($_) for 'SELECT pg_mshare_freeze()', 'SELECT pg_mshare_thaw()', 'SELECT waiters FROM pg_mshare_status',
	'SELECT waited_us FROM pg_mshare_faults()', sprintf($faults, $pid), 'SELECT wait_event_type FROM pg_stat_activity';
$writer->query_safe($_) for 'UPDATE one SET v = v + 1', 'UPDATE many SET v = v + 1 WHERE id % 500 = 0';
$admin->query_safe('VACUUM');

# a parked writer is there, and how long it waited is added at the thaw
$admin->query_safe('SELECT pg_mshare_freeze()');
start($writer, 'UPDATE one SET v = v + 1');
ok(wait_until(10, sub { waiters($admin) == 1 }), 'a write is parked');
is($admin->query_safe("SELECT backend_type, access, block, waited_us IS NULL FROM pg_mshare_faults() WHERE pid = $pid"),
	'client backend|write|0|t', 'it is among the faults, and has not ended');
is($admin->query_safe("SELECT wait_event_type FROM pg_stat_activity WHERE pid = $pid"), 'Extension', 'and has a wait event');
$admin->query_safe('SELECT pg_mshare_thaw()');
ok(finished($writer), 'after the thaw it goes on');
is($admin->query_safe(sprintf($faults, $pid)), 'one|main|0|write|client backend|t|f', 'and has waited');
is($admin->query_safe("SELECT wait_event_type FROM pg_stat_activity WHERE pid = $pid"), 'Client', 'and waits for something else now');

# a watch names what is written, lets it go on, and leaves the pool open
sub watch
{
	my ($granule, $write) = @_;
	my $offset = -s $node->logfile;
	start($admin, "SELECT relation, granules, granule_kb_used FROM pg_mshare_watch('4 s', $granule) ORDER BY relation::text");
	ok(wait_until(10, sub { slurp_file($node->logfile, $offset) =~ /buffers 1 to 8192 are closed \(r\)/ }), 'the pool is closed');
	start($writer, $write);
	ok(finished($writer, 3.5), "$granule kB: the writer goes on during the watch");
	ok(finished($admin), 'the watch ends');
	return map { my ($relation, @figures) = split /\|/; ($relation => \@figures) } grep { /\|/ } split /\n/, $admin->{stdout};
}

my $update = 'UPDATE one SET v = v + 1; UPDATE many SET v = v + 1 WHERE id % 500 = 0';
my %seen = watch(64, $update);
is(join(' ', sort grep { /^(one|many|quiet)$/ } keys %seen), 'many one', 'the watch saw what was written, and not what was not');
cmp_ok($seen{many}[0], '>', 5, "in many granules: $seen{many}[0]");
cmp_ok($seen{one}[0] // 99, '<=', 2, "or few: $seen{one}[0]");
is($seen{many}[1], 64, 'of the size that was asked for');
is($node->safe_psql('postgres', 'SELECT protection, ranges FROM pg_mshare_status'), 'rw|1', 'afterwards the pool is open');

# one fault for each granule
my $kb = 1024;
my $faults_before = $node->safe_psql('postgres', 'SELECT max(time) FROM pg_mshare_faults');
my %coarse = watch($kb, $update);
cmp_ok($coarse{many}[0], '<', $seen{many}[0], "larger granules are fewer: $coarse{many}[0]");
is($node->safe_psql('postgres', qq{SELECT count(*) FROM (
		SELECT 1 FROM pg_mshare_faults WHERE time > '$faults_before'
		GROUP BY (buffer - 1) / ($kb / 8) HAVING count(*) > 2) g}), 0, 'and cost a fault each');

# ended by a cancel, by a thaw and with its session
sub watching
{
	my ($session) = @_;
	start($session, "SELECT * FROM pg_mshare_watch('25 s')");
	return wait_until(10, sub { status($node, 'protection') ne 'rw' });
}

my $watcher = $node->background_psql('postgres', on_error_stop => 0);
my $watcher_pid = $watcher->query_safe('SELECT pg_backend_pid()');
ok(watching($watcher), 'a watch has begun');
my ($rc, $out, $err) = $node->psql('postgres', 'SELECT pg_mshare_freeze()');
like($err, qr/writes into the buffer pool are being watched/, 'meanwhile nothing else closes');
kill 'INT', $watcher_pid;
ok(finished($watcher, 5), 'a cancel ends it');
is(status($node, 'protection'), 'rw', 'and the pool is open');

ok(watching($watcher), 'a watch has begun');
is($node->safe_psql('postgres', 'SELECT pg_mshare_thaw()'), 't', 'a thaw');
ok(finished($watcher, 5), 'ends it');
like($watcher->{stderr}, qr/NOTICE:  the watch was ended early/, 'and it says so');

ok(watching($watcher), 'a watch has begun');
kill 'TERM', $watcher_pid;
ok(wait_until(5, sub { status($node, 'protection') eq 'rw' }), 'the pool is open when its session has been terminated');
eval { $watcher->quit };
eval { $_->quit } for $admin, $writer;

# more ranges than there may be: larger granules
$node->append_conf('postgresql.conf', 'pg_mshare.debug_max_ranges = 12');
$node->restart;
$_->reconnect_and_clear for $admin, $writer;
$node->safe_psql('postgres', 'SELECT sum(v) FROM many; SELECT sum(v) FROM one; VACUUM');
$admin->query_safe("SELECT * FROM pg_mshare_watch('10 ms')");
$writer->query_safe($update);
$admin->query_safe('VACUUM');
my %merged = watch(64, 'UPDATE many SET v = v + 1 WHERE id % 2000 = 0');
cmp_ok($merged{many}[1], '>', 64, "granules grow where there would be too many ranges: $merged{many}[1] kB");
is($node->safe_psql('postgres', 'SELECT protection, ranges FROM pg_mshare_status'), 'rw|1', 'and the pool is open');

# each second buffer at the end of the pool, which these tests do not fill
($rc, $out, $err) = $node->psql('postgres',
	join ';', 'SELECT pg_mshare_thaw()', map { 'SELECT pg_mshare_protect(\'r\', ' . (8192 - 2 * $_) . ', 1)' } 1 .. 10);
like($err, qr/ERROR:  too many ranges of different protection.*DETAIL:  The limit is 12: .*HINT:  Protect larger ranges/s,
	'without a watch they are an error');
is($node->safe_psql('postgres', q{SELECT pg_mshare_protect('rw'); SELECT protection FROM pg_mshare_status}) =~ /^rw$/m, 1,
	'and the whole can be opened still');

$_->quit for $admin, $writer;
done_testing();
