# SPDX-License-Identifier: PostgreSQL
# on_fault = wait: what waits during a freeze, what does not, and how it ends.
use strict;
use warnings;
use lib '.';
use MshareTest;
use PostgreSQL::Test::Utils;
use IPC::Run;
use Test::More;

my $node = mshare_node('wait', conf => "pg_mshare.freeze_timeout = 20s\n");

$node->safe_psql('postgres', q{
	CREATE EXTENSION pg_prewarm; CREATE EXTENSION pg_buffercache; CREATE EXTENSION pageinspect;
	CREATE TABLE t (id int PRIMARY KEY, v int) WITH (fillfactor = 50);
	INSERT INTO t SELECT g, 0 FROM generate_series(1, 1000) g;
	CREATE TABLE cold AS SELECT g AS i FROM generate_series(1, 1000) g});
$node->safe_psql('postgres', 'VACUUM');

# What sessions need from the catalogs, they have seen once before.
my $admin = $node->background_psql('postgres', on_error_stop => 0);
my $writer = $node->background_psql('postgres', on_error_stop => 0);
my $reader = $node->background_psql('postgres', on_error_stop => 0);

# The contents of the table but for its first page: a writer that is parked there
# holds the page's lock, so that nobody else gets to look at it.
my $pages = q{SELECT md5(string_agg(md5(get_raw_page('t', b::int)), '' ORDER BY b))
	FROM generate_series(1, pg_relation_size('t') / 8192 - 1) b};

sub warm
{
	$admin->query_safe($_) for 'SELECT pg_mshare_thaw()', 'SELECT pg_mshare_freeze()', 'SELECT pg_mshare_thaw()',
		'SELECT waiters FROM pg_mshare_status', $pages, 'SELECT pid FROM pg_stat_activity', 'CHECKPOINT';
	$writer->query_safe($_) for 'UPDATE t SET v = v + 1 WHERE id = 1', 'BEGIN', 'COMMIT', 'SELECT pg_backend_pid()';
	$reader->query_safe($_) for 'SELECT count(*) FROM t', 'SELECT v FROM t WHERE id = 1000';
	$admin->query_safe('VACUUM');
	$admin->query_safe($_) for 'CHECKPOINT', $pages;
}

# Start a statement without waiting for it, and until it is parked
sub park
{
	my ($session, $statement) = @_;
	$session->query_until(qr/started/, "\\echo started\n$statement;\n\\echo finished\n");
	return wait_until(10, sub { waiters($admin) > 0 });
}

sub finished
{
	my ($session) = @_;
	return wait_until(30, sub { $session->{run}->pump_nb; $session->{stdout} =~ /finished/ });
}

# 4. a write waits, reads do not, and nothing changes
warm();
my $before = $admin->query_safe($pages);
$admin->query_safe('SELECT pg_mshare_freeze()');
ok(park($writer, 'UPDATE t SET v = v + 1 WHERE id = 1'), 'a write is parked');
is(status($node, 'protection'), 'r', 'the pool is closed');
is($reader->query_safe('SELECT v FROM t WHERE id = 1000'), 0, 'another session reads');
is($admin->query_safe($pages), $before, 'no page has changed');
sleep 1;
unlike($writer->{stdout}, qr/finished/, 'the write still waits after a second');

# 6. a checkpoint waits for the parked writer, which holds its page's lock, and not longer
my $checkpoint = $node->background_psql('postgres', on_error_stop => 0);
is($admin->query_safe('SELECT pg_mshare_thaw()'), 't', 'thaw');
ok(finished($writer), 'the parked write goes on');
is($node->safe_psql('postgres', 'SELECT v FROM t WHERE id = 1'), 2, 'and was done once');
$node->safe_psql('postgres', 'UPDATE t SET v = v WHERE id = 1000');
isnt($admin->query_safe($pages), $before, 'control: a write shows in the pages');

warm();
my $v = $node->safe_psql('postgres', 'SELECT v FROM t WHERE id = 1');
$admin->query_safe('SELECT pg_mshare_freeze()');
my $start = time;
$admin->query_safe('CHECKPOINT');
is(waiters($admin), 0, 'nobody is parked');
cmp_ok(time - $start, '<', 10, 'a checkpoint finishes while the pool is frozen');
ok(park($writer, 'UPDATE t SET v = v + 1 WHERE id = 1'), 'a write is parked, and then a checkpoint asked for');
$checkpoint->query_until(qr/started/, "\\echo started\nCHECKPOINT;\n\\echo finished\n");
sleep 0.5;
$admin->query_safe('SELECT pg_mshare_thaw()');
$start = time;
ok(finished($checkpoint), 'the checkpoint finishes after the thaw');
cmp_ok(time - $start, '<', 5, 'soon');
ok(finished($writer), 'and so does the write');
is($node->safe_psql('postgres', 'SELECT v FROM t WHERE id = 1'), $v + 1, 'once');

# 5. a read that has to go to disk waits where the kernel lets it; elsewhere it fails
# cleanly, and the session lives
warm();
my @cold = map { "evicted_$_" } 1 .. 3;
$node->safe_psql('postgres', "CREATE TABLE $_ AS SELECT g AS i FROM generate_series(1, 1000) g") for @cold;
$node->restart;
$_->reconnect_and_clear for $admin, $writer, $reader;
warm();
$reader->query_safe("EXPLAIN SELECT count(*) FROM $_") for @cold;
my $reader_pid = $reader->query_safe('SELECT pg_backend_pid()');
my $denied = "SELECT backend_type, access, waited_us IS NULL, waited_us > 0 FROM pg_mshare_faults() WHERE pid = $reader_pid ORDER BY time DESC LIMIT 1";
my $event = "SELECT wait_event_type FROM pg_stat_activity WHERE pid = $reader_pid";
$admin->query_safe($_) for $denied, $event;
my $kernel_waits = kernel_waits($node);
note("kernel_waits = $kernel_waits");
$admin->query_safe('SELECT pg_mshare_freeze()');
if ($kernel_waits eq 'all')
{
	# Its own pages were in the pool: it reads no page but the table's.
	my $offset = -s $node->logfile;
	ok(park($reader, "SELECT count(*) FROM $cold[0]"), 'a read from disk into the frozen pool waits');
	is($admin->query_safe($denied), 'client backend|kernel write|t|', 'it is among the faults');
	is($admin->query_safe($event), 'Extension', 'and has a wait event');
	$admin->query_safe('SELECT pg_mshare_thaw()');
	ok(finished($reader), 'until the thaw');
	like($reader->{stdout}, qr/^1000$/m, 'and has read');
	is($admin->query_safe($denied), 'client backend|kernel write|f|t', 'how long it waited is known');
	like(slurp_file($node->logfile, $offset), qr/\(pg_mshare_thaw\), [1-9]\d* writes waited/, 'it was counted');

	# cancel and terminate act at the thaw
	for my $signal ('INT', 'TERM')
	{
		my $table = $cold[$signal eq 'INT' ? 1 : 2];
		$reader->{stdout} = $reader->{stderr} = '';
		$admin->query_safe('SELECT pg_mshare_freeze()');
		ok(park($reader, "SELECT count(*) FROM $table"), 'a read from disk waits');
		kill $signal, $reader_pid;
		sleep 0.5;
		is(waiters($admin), 1, "after SIG$signal it still waits");
		$admin->query_safe('SELECT pg_mshare_thaw()');
		ok(wait_until(30, sub { eval { $reader->{run}->pump_nb };
			$reader->{stderr} =~ /canceling statement|terminating connection/ }), '... and is ended by it at the thaw');
	}
	eval { $reader->quit };
	$reader = $node->background_psql('postgres', on_error_stop => 0);
}
else
{
	my ($out, $failed) = $reader->query("SELECT count(*) FROM $cold[0]");
	is($failed, 1, 'a read from disk into the frozen pool fails');
	like($reader->{stderr}, qr/could not read|Bad address/, 'with an ERROR') if $reader->{stderr};
	is($reader->query('SELECT 1'), 1, 'and the session lives');
	$admin->query_safe('SELECT pg_mshare_thaw()');
	$reader->{stderr} = '';
}
is($reader->query_safe("SELECT count(*) FROM $_"), 1000, 'after the thaw it reads') for @cold;

# 7. the session that froze is killed: a crash restart, or a thaw at the deadline
warm();
$admin->query_safe(q{SELECT pg_mshare_freeze('3 s')});
my $owner = $admin;
ok(park($writer, 'UPDATE t SET v = v + 1 WHERE id = 1'), 'a write is parked');
$owner->quit;
ok(finished($writer), 'the session that froze has ended, and the worker thaws at the deadline');
ok(wait_until(10, sub { $node->log_contains(qr/buffer pool reopened after \S+ ms \(timeout\), [1-9]\d* writes waited/) }),
	'the log says so');

# 9. a transaction that wrote before the freeze commits during it: not a fence
$admin = $node->background_psql('postgres', on_error_stop => 0);
warm();
$writer->{stdout} = '';
$writer->query_safe('BEGIN');
$writer->query_safe('UPDATE t SET v = v + 1 WHERE id = 1');
$admin->query_safe('SELECT pg_mshare_freeze()');
$writer->query_safe('COMMIT');
is(waiters($admin), 0, 'COMMIT of what was written before does not wait');
is($admin->query_safe('SELECT pg_mshare_thaw()'), 't', 'it happened while the pool was frozen');

# cancelling a parked statement acts at the thaw
warm();
my $pid = $writer->query_safe('SELECT pg_backend_pid()');
$admin->query_safe('SELECT pg_mshare_freeze()');
ok(park($writer, 'UPDATE t SET v = v + 1 WHERE id = 1'), 'a write is parked');
kill 'INT', $pid;
sleep 0.5;
is(waiters($admin), 1, 'a cancelled one stays parked');
$admin->query_safe('SELECT pg_mshare_thaw()');
ok(finished($writer), 'until the thaw');

$_->quit for $admin, $writer, $reader, $checkpoint;
done_testing();
