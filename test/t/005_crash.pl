# SPDX-License-Identifier: PostgreSQL
# Crashes: on_fault = crash, and SIGSEGV that is none of our business.
use strict;
use warnings;
use lib '.';
use MshareTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = mshare_node('crash', conf => "pg_mshare.on_fault = crash\n");
$node->safe_psql('postgres', 'CREATE TABLE t AS SELECT 1 AS id, 0 AS v; VACUUM');

my $crashes = 0;

# a stray writer is named, crashes, and has written nothing
my $admin = $node->background_psql('postgres', on_error_stop => 0);
my $writer = $node->background_psql('postgres', on_error_stop => 0);
$admin->query_safe($_) for 'SELECT pg_mshare_thaw()', 'SELECT pg_mshare_freeze()', 'SELECT pg_mshare_thaw()';
$writer->query_safe('UPDATE t SET v = v + 1');
my $pid = $writer->query_safe('SELECT pg_backend_pid()');
$admin->query_safe('SELECT pg_mshare_freeze()');
$writer->query_until(qr/started/, "\\echo started\nUPDATE t SET v = v + 1;\n");
ok(restarted($node, ++$crashes), 'a write into a closed page crashes and the server restarts');
my $relation = $node->safe_psql('postgres', q{
	SELECT concat_ws('/', t.oid, d.oid, pg_relation_filenode('t'))
	FROM pg_database d, pg_tablespace t WHERE datname = 'postgres' AND spcname = 'pg_default'});
ok($node->log_contains(qr/pg_mshare: process $pid \(client backend\) crashes: its write to byte \d+ of buffer \d+, block 0 of relation $relation \(main\), is denied, the buffer's protection is r\n/),
	'the log names the writer, the buffer and the block');
is($node->safe_psql('postgres', 'SELECT pid, backend_type, relation, fork, block, access, waited_us IS NULL FROM pg_mshare_faults'),
	"$pid|client backend|t|main|0|write|t", 'and so does pg_mshare_faults, across the restart');
ok($node->log_contains(qr/\(PID $pid\) was terminated by signal 11/), 'it died of SIGSEGV');
is(status($node, 'protection'), 'rw', 'the pool is read-write again');
is($node->safe_psql('postgres', 'SELECT v FROM t'), 1, 'the write was not done');
eval { $_->quit } for $admin, $writer;

# ... though the pool is open again before it gets to die
my $died = 0;
for (1 .. 10)
{
	$writer = $node->background_psql('postgres', on_error_stop => 0);
	$pid = $writer->query_safe('SELECT pg_backend_pid()');
	$writer->query_until(qr/started/, "\\echo started\nDO 'BEGIN LOOP UPDATE t SET v = v + 1; COMMIT; END LOOP; END';\n");
	my $denied = wait_until(60, sub {
		$node->psql('postgres', 'SELECT pg_mshare_flip()');
		sleep 0.2;
		return $node->log_contains(qr/pg_mshare: process $pid \(client backend\) crashes/) });
	last unless $denied && restarted($node, ++$crashes) && $node->log_contains(qr/\(PID $pid\) was terminated by signal 11/);
	$died++;
	eval { $writer->quit };
}
is($died, 10, 'whoever is denied in a closing of a moment dies too');

# 'none' is allowed here, and denies reading; hint bits were lost in the crash
$node->safe_psql('postgres', 'VACUUM');
my ($rc, $out, $err) = $node->psql('postgres', "SELECT down_us > 0 FROM pg_mshare_flip('none')");
is($out, 't', "a flip to 'none'");
my $reader = $node->background_psql('postgres', on_error_stop => 0);
$admin = $node->background_psql('postgres', on_error_stop => 0);
$admin->query_safe("SELECT pg_mshare_protect('r', 1); SELECT pg_mshare_protect('rw')");
$reader->query_safe('SELECT v FROM t');
$admin->query_until(qr/started/, "\\echo started\nSELECT pg_mshare_protect('none');\n");
wait_until(5, sub { $node->log_contains(qr/are closed \(none\)/) });
$reader->query_until(qr/started/, "\\echo started\nSELECT v FROM t;\n");
ok(restarted($node, ++$crashes), "a read from a page closed with 'none' crashes");
ok($node->log_contains(qr/its read of byte \d+ of buffer \d+.* is denied, the buffer's protection is none/), 'and is named');
($rc, $out, $err) = $node->psql('postgres', "SELECT * FROM pg_mshare_watch('1 s')");
like($err, qr/writes can be watched only if pg_mshare.on_fault is wait/, 'a watch would crash writers: refused');
eval { $_->quit } for $admin, $reader;

# 10. SIGSEGV from elsewhere is handed on
for my $where ('crash', 'wait')
{
	if ($where eq 'wait')
	{
		$node->append_conf('postgresql.conf', "pg_mshare.on_fault = wait");
		$node->restart;
		($rc, $out, $err) = $node->psql('postgres', "SELECT pg_mshare_flip('none')");
		like($err, qr/cannot be closed to readers while pg_mshare.on_fault is wait/,
			"on_fault = wait refuses 'none'");
	}
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	$pid = $session->query_safe('SELECT pg_backend_pid()');
	kill 'SEGV', $pid;
	ok(restarted($node, ++$crashes), "on_fault = $where: SIGSEGV from elsewhere crashes as without us");
	ok($node->log_contains(qr/\(PID $pid\) was terminated by signal 11/), 'by the signal itself');
	ok(!$node->log_contains(qr/pg_mshare: process $pid /), 'and is not taken for a denied access');
	eval { $session->quit };
}

done_testing();
