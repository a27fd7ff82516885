# SPDX-License-Identifier: PostgreSQL
# Shared buffers are taken out of use and into use again while the server works.
use strict;
use warnings;
use lib '.';
use MshareTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $MB = 1 << 20;
my $pool = 64 * $MB;

my $node = mshare_node('resize',
	init => { allows_streaming => 1, extra => ['--data-checksums'] },
	# fewer connections: those allow for 16 buffers each, and 24 MB are to be enough
	conf => "max_connections = 100\nmax_prepared_transactions = 5\nmax_wal_size = 4GB\npg_mshare.freeze_timeout = 30s\n");
$node->safe_psql('postgres', "CREATE EXTENSION $_") for qw(pg_prewarm pg_buffercache amcheck);

sub sizes
{
	my ($of) = @_;
	return status($of // $node, 'target, resident');
}

# What an attempt says, and how long it takes
sub resize
{
	my ($size, $settings) = @_;
	my $start = time;
	my ($rc, $out, $err) = $node->psql('postgres',
		($settings // '') . "SELECT target, resident FROM pg_mshare_resize('$size')");
	return ($rc == 0 ? $out : $err, time - $start);
}

# A statement in a session of its own, and that one's process
sub begin
{
	my ($statement) = @_;
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	my $pid = $session->query_safe('SELECT pg_backend_pid()');
	start_sql($session, $statement);
	return ($session, $pid);
}

# A buffer above the target that a cursor in a session keeps pinned, of a table.  The scan
# ends with its block: from 18 on those ahead are pinned too.
sub pin_buffer
{
	my ($session, $table, $above) = @_;
	my $block = $node->safe_psql('postgres', qq{SELECT relblocknumber FROM pg_buffercache
		WHERE relfilenode = pg_relation_filenode('$table') AND relforknumber = 0 AND bufferid > $above
		ORDER BY bufferid DESC LIMIT 1});
	$session->query_safe('BEGIN');
	$session->query_safe('SET LOCAL enable_seqscan = off');
	$session->query_safe("DECLARE c CURSOR FOR SELECT a FROM $table WHERE ctid BETWEEN '($block,1)' AND '($block,9)'");
	$session->query_safe('FETCH 1 FROM c');
	return $block;
}

# Nothing is in buffers that are not in use
sub held_above
{
	my ($buffers) = @_;
	return $node->safe_psql('postgres',
		"SELECT count(relfilenode) FROM pg_buffercache WHERE bufferid > $buffers");
}

# One row of the table is one page of the pool.
$node->safe_psql('postgres', q{CREATE TABLE t (a int, b text) WITH (fillfactor = 10);
	ALTER TABLE t ALTER b SET STORAGE plain;
	INSERT INTO t SELECT i, repeat('x', 900) FROM generate_series(1, 7400) i;
	VACUUM t; CHECKPOINT});

# --- the memory goes, for all processes, and comes back
is(sizes(), "$pool|$pool", 'all of shared buffers is in use at first');
my $reader = $node->background_psql('postgres', on_error_stop => 0);
my $reader_pid = $reader->query_safe('SELECT pg_backend_pid()');
$reader->query_safe("SELECT pg_prewarm('t')");
$reader->query_safe('SELECT sum(length(b)) FROM t');
my $memory = $provider eq 'mprotect' ? sub { mapped_mb($node, $reader_pid) } : sub { int(shmem_kb() / 1024) };
my $before = $memory->();
cmp_ok($before, '>=', 50, "$before MB hold pages") if $provider eq 'mprotect';
my ($said) = resize('64MB');
is($said, "$pool|$pool", 'a resize to what is in use does nothing');
cmp_ok(abs($memory->() - $before), '<=', 2, '... to the memory either');
($said) = resize('32 MB');
is($said, 32 * $MB . '|' . 32 * $MB, 'half of it is taken out of use');
is(sizes(), 32 * $MB . '|' . 32 * $MB, '... as pg_mshare_status says');
my $less = $before - $memory->();
cmp_ok($less, '>=', 22, "$less MB have gone from a process that did nothing for it");
is(held_above(4096), 0, 'the buffers hold nothing');
is($node->safe_psql('postgres', q{SELECT count(*), sum(length(b)) FROM t WHERE b = repeat('x', 900)}),
	'7400|6660000', 'and nothing is lost');
is(held_above(4096), 0, '... nor read into them');
($said) = resize('0');
is($said, "$pool|$pool", 'all is in use again');
$reader->query_safe("SELECT pg_prewarm('t')");
$reader->query_safe('SELECT sum(length(b)) FROM t');
cmp_ok(held_above(4096), '>', 3000, '... and used');
cmp_ok(abs($memory->() - $before), '<=', 8, '... with its memory');
my $evicted = $node->safe_psql('postgres', q{SELECT evicted FROM pg_mshare_resize('32MB')});
cmp_ok($evicted, '>', 3000, "$evicted blocks were evicted");
resize('0');

# --- who has a buffer pinned
$reader->query_safe("SELECT pg_prewarm('t')");
my $block = pin_buffer($reader, 't', 4096);
my ($error, $took) = resize('32MB');
like($error, qr/ERROR:  1 of the buffers above 32768 kB is in use all the time\nDETAIL:  Buffer \d+ holds block $block of relation "t", which is locked by process $reader_pid\. 32776 kB are in use\.\nHINT:  .*cursor/,
	'a pinned buffer is told, with who may have it');
cmp_ok($took, '>=', 4, sprintf 'after %.1f s', $took);
is(sizes(), 32 * $MB . '|' . (32 * $MB + 8192), '... and is all that remains in use');
$reader->query_safe('COMMIT');
ok(wait_until(20, sub { sizes() eq 32 * $MB . '|' . 32 * $MB }), '... until it is let go of, without another call');
resize('0');
$reader->query_safe("SELECT pg_prewarm('t')");
pin_buffer($reader, 't', 4096);
my $start = time;
($said, $error) = $reader->query(q{SELECT pg_mshare_resize('32MB')});
cmp_ok(time - $start, '<', 4, 'who waits for a cursor of its own does not wait long');
like($reader->{stderr}, qr/pinned by this session, perhaps by a cursor/, '... and is told so');
$reader->{stderr} = '';
$reader->query_safe('ROLLBACK');

# --- cancelled in the middle, terminated, overtaken
for my $how ('cancel', 'terminate', 'overtake')
{
	resize('0');
	$reader->query_safe("SELECT pg_prewarm('t')");
	pin_buffer($reader, 't', 6000);
	my ($session, $pid) = begin(q{SELECT pg_mshare_resize('32MB')});
	ok(wait_until(30, sub { sizes() eq 32 * $MB . '|' . (32 * $MB + 8192) }), "$how: in the middle");
	ok(wait_until(10, sub { $node->safe_psql('postgres', "SELECT wait_event FROM pg_stat_activity WHERE pid = $pid")
		eq ($node->pg_version >= 17 ? 'PgMsharePinned' : 'Extension') }), '... waits for a pin');
	if ($how eq 'overtake')
	{
		($said) = resize('48MB');
		like($said, qr/ERROR: .* above 49152 kB/, 'another session asks for another size');
	}
	else
	{
		$node->safe_psql('postgres', "SELECT pg_${how}_backend($pid)");
	}
	ok($how eq 'terminate' ? wait_until(5, sub { !kill 0, $pid }) : sql_ends($session, 4), "$how: it ends at once");
	is(sizes(), ($how eq 'overtake' ? 48 : 32) * $MB . '|' . (($how eq 'overtake' ? 48 : 32) * $MB + 8192), '... at a size that is told');
	my $expected = $how eq 'overtake' ? qr/ERROR:  another size was asked for meanwhile/ : qr/ERROR:  canceling statement/;
	like($session->{stderr}, $expected, '... with an error that says why') if $how ne 'terminate';
	$session->{stderr} = '';
	eval { $session->quit };
	$reader->query_safe('COMMIT');
}

# --- a block that somebody always has pinned, but nobody for long
resize('0');
$reader->query_safe("SELECT pg_prewarm('t')");
$node->safe_psql('postgres', 'CREATE TABLE one (a int); INSERT INTO one VALUES (1); VACUUM one');
my $one = $node->safe_psql('postgres', q{SELECT bufferid FROM pg_buffercache WHERE relfilenode = pg_relation_filenode('one') AND relforknumber = 0});
cmp_ok($one, '>', 3072, "buffer $one holds a block");
append_to_file($node->basedir . '/one.sql', "SELECT pg_sleep(0.001) FROM one;\n");
my @pgbench = ('-h', $node->host, '-p', $node->port, 'postgres');
my $readers = IPC::Run::start([qw(pgbench -n -c 48 -j 2 -T 12 -f), $node->basedir . '/one.sql', @pgbench], '>', \my $readers_out, '2>', \my $readers_err);
my $pinned = wait_until(10, sub { $node->safe_psql('postgres', "SELECT pinning_backends FROM pg_buffercache WHERE bufferid = $one") > 5 });
ok($pinned, '... that several have pinned');
($said) = resize('24MB');
is($said, 24 * $MB . '|' . 24 * $MB, '... and is had nevertheless');
ok($readers->finish, '... and they go on') or diag($readers_err);

# --- a block that cannot be written
resize('0');
$reader->query_safe("SELECT pg_prewarm('t')");
$node->safe_psql('postgres', 'CHECKPOINT');
my $dirtier = $node->background_psql('postgres', on_error_stop => 0);
$dirtier->query_safe('UPDATE t SET a = -a WHERE a > 7000');
my $path = $node->data_dir . '/' . $node->safe_psql('postgres', q{SELECT pg_relation_filepath('t')});
chmod 0400, $path;
($error) = resize('24MB');
like($error, qr/ERROR:  could not open file .*Permission denied/, 'a block cannot be written');
my ($target, $resident) = split /\|/, sizes();
ok($target > 24 * $MB && $target <= $resident, sprintf '... and the size is what was reached, %d of %d kB', $target >> 10, $resident >> 10);
chmod 0600, $path;
($said) = resize('24MB');
is($said, 24 * $MB . '|' . 24 * $MB, '... until it can be');
$dirtier->quit;
is($node->safe_psql('postgres', 'SELECT count(*), count(*) FILTER (WHERE a < 0) FROM t'), '7400|400', 'and nothing is lost');

# --- progress
resize('0');
$reader->query_safe("SELECT pg_prewarm('t')");
$node->safe_psql('postgres', 'UPDATE t SET a = abs(a)');
my ($watcher) = begin(sprintf q{DO $$ DECLARE seen bigint[]; now bigint; BEGIN
	LOOP
		SELECT s.resident INTO now FROM pg_mshare_size() s;
		seen := seen || CASE WHEN seen[cardinality(seen)] = now THEN NULL ELSE ARRAY[now] END;
		EXIT WHEN now = %d;
	END LOOP;
	RAISE NOTICE '%% sizes', cardinality(seen); END $$}, 24 * $MB);
resize('24MB');
ok(sql_ends($watcher, 30), 'resident gets there');
my ($seen) = $watcher->{stderr} =~ /NOTICE:  (\d+) sizes/;
cmp_ok($seen // 0, '>', 2, "... in steps: $seen sizes were seen");
$watcher->quit;

# --- what is refused
resize('0');
$node->safe_psql('postgres', 'CREATE ROLE nobody');
($error) = resize('32MB', 'SET ROLE nobody;');
like($error, qr/ERROR:  permission denied for function pg_mshare_resize/, 'not everybody may do that');
$node->safe_psql('postgres', 'GRANT EXECUTE ON FUNCTION pg_mshare_resize(text) TO nobody');
($said) = resize('48MB', 'SET ROLE nobody;');
is($said, 48 * $MB . '|' . 48 * $MB, '... but who was given the right');
for my $bad ('65MB', '1 TB', '-1', '8kB', '1', 'x', '', '32 X')
{
	($error) = resize($bad);
	like($error, $bad =~ /x|^$/i ? qr/ERROR:  invalid size: "$bad"/ :
		$bad =~ /65MB|TB/ ? qr/ERROR:  the size cannot be larger than shared_buffers, 65536 kB\nHINT: / :
		qr/ERROR:  the size must be at least \d+ kB\nDETAIL:  .* \d+ processes.*\nHINT: /, "size '$bad' is refused");
}
is(sizes(), 48 * $MB . '|' . 48 * $MB, '... and changes nothing');

# --- closings and a resize
resize('0');
$reader->query_safe("SELECT pg_prewarm('t')");
my $admin = $node->background_psql('postgres', on_error_stop => 0);
$admin->query_safe($_) for 'SELECT pg_mshare_thaw()', 'SELECT pg_mshare_freeze()', 'SELECT pg_mshare_thaw()',
	'SELECT target, resident FROM pg_mshare_status';
$admin->query(q{SELECT pg_mshare_resize('1')});
$admin->{stderr} = '';
$admin->query_safe('SELECT pg_mshare_freeze()');
$admin->query(q{SELECT pg_mshare_resize('48MB')});
like($admin->{stderr}, qr/ERROR:  the buffer pool is frozen\n.*HINT:  pg_mshare_thaw\(\)/s, 'while the pool is frozen it is not resized');
$admin->{stderr} = '';
$admin->query_safe('SELECT pg_mshare_thaw()');

pin_buffer($reader, 't', 6000);
my ($session) = begin(q{SELECT resident FROM pg_mshare_resize('32MB')});
my $all_but_one = 32 * $MB . '|' . (32 * $MB + 8192);
ok(wait_until(30, sub { $admin->query_safe('SELECT target, resident FROM pg_mshare_status') eq $all_but_one }), 'a resize is in the middle');
$start = time;
$admin->query_safe('SELECT pg_mshare_freeze()');
cmp_ok(time - $start, '<', 2, '... and the pool is frozen without waiting for its end');
$reader->query_safe('COMMIT');
sleep 1;
is($admin->query_safe('SELECT target, resident FROM pg_mshare_status'), $all_but_one, 'it waits while the pool is frozen');
$admin->query_safe('SELECT pg_mshare_thaw()');
ok(sql_ends($session, 10), '... and goes on after the thaw');
$session->quit;
is(sizes(), 32 * $MB . '|' . 32 * $MB, '... to its end');
($session) = begin(q{DO $$ DECLARE flips int := 0; ends CONSTANT timestamptz := clock_timestamp() + '8 s'; BEGIN
	WHILE clock_timestamp() < ends LOOP
		PERFORM pg_mshare_flip(), pg_sleep(0.005);
		flips := flips + 1;
	END LOOP;
	RAISE NOTICE '% flips', flips; END $$});
my $cycles = 0;
until (sql_ends($session, 0.01))
{
	resize($cycles++ % 2 ? '0' : '32MB');
}
my ($flips) = $session->{stderr} =~ /NOTICE:  (\d+) flips/;
cmp_ok($cycles, '>=', 2, "$flips flips and $cycles resizes get through");
unlike($session->{stderr}, qr/ERROR|WARNING:  (?!reads from disk)/, '... without an error');
$session->quit;
$admin->quit;
$reader->quit;

# --- under load, with a standby that does it too
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$node->command_ok([qw(pgbench -q -i -s 8 postgres)], 'pgbench is initialised');
$node->safe_psql('postgres', q{CREATE TABLE p (a int); INSERT INTO p VALUES (1); BEGIN; UPDATE p SET a = 2; PREPARE TRANSACTION 'x'});
resize('0');
my ($seconds, $enough) = ($ENV{PG_TEST_EXTRA} // '') =~ /\blong\b/ ? (300, 100) : (25, 3);
my $resizer = $node->background_psql('postgres', on_error_stop => 0);
my $pgbench = IPC::Run::start([qw(pgbench -n -c 8 -j 2 -T), $seconds, @pgbench],
	'>', \my $bench_out, '2>', \my $bench_err);
my ($ups, $failed, $moved, $worst) = (0, 0, 0, 0);
$start = time;
while (time - $start < $seconds)
{
	my $size = (24, 64, 32, 48)[$ups++ % 4];
	my $before = time;
	my $answer = $resizer->query("SELECT resident FROM pg_mshare_resize('${size}MB')");
	$took = time - $before;
	$worst = $took if $took > $worst;
	if ($answer eq $size * $MB) { $moved++ } else { $failed++ }
	$standby->psql('postgres', sprintf q{SELECT pg_mshare_resize('%dMB')}, (32, 64)[$ups / 4 % 2]) if $ups % 4 == 0;
}
note($resizer->{stderr});
$resizer->quit;
ok($pgbench->finish, 'pgbench ends') or diag($bench_err);
like($bench_out, qr/number of failed transactions: 0 /, '... with no failed transaction');
my ($tps) = $bench_out =~ /tps = ([\d.]+)/;
cmp_ok($moved, '>=', $enough, sprintf '%d resizes during %s transactions a second, %d more were in vain, %.1f s at most', $moved, $tps // '?', $failed, $worst);
my @sums = bench_sums($node);
is("@sums", join(' ', ($sums[3]) x 4), 'the sums are equal');
isnt($sums[3], 0, '... and not 0');
$node->safe_psql('postgres', q{COMMIT PREPARED 'x'});
is($node->safe_psql('postgres', 'SELECT a FROM p'), 2, 'a prepared transaction is committed');
$node->wait_for_catchup($standby);
is(join(' ', bench_sums($standby)), "@sums", 'the standby has them too');
unlike(slurp_file($standby->logfile), qr/PANIC|FATAL:  (?!the database system)/, '... and had no accident');
is($standby->safe_psql('postgres', q{SELECT resident FROM pg_mshare_resize('32MB')}), 32 * $MB, '... and is resized while it replays');
$standby->stop;

# --- a crash in the middle
resize('0');
$reader = $node->background_psql('postgres', on_error_stop => 0);
$reader->query_safe("SELECT pg_prewarm('t')");
pin_buffer($reader, 't', 6000);
my $pid;
($session, $pid) = begin(q{SELECT pg_mshare_resize('32MB')});
ok(wait_until(30, sub { sizes() eq $all_but_one }), 'a resize is in the middle');
kill 'KILL', $pid;
ok(restarted($node, 1), '... of which its backend is killed, and the server is back');
is(sizes(), 32 * $MB . '|' . 32 * $MB, '... with the target applied');
eval { $_->quit } for $session, $reader;
is(join(' ', bench_sums($node)), "@sums", '... and what was committed');
is(held_above(4096), 0, '... in buffers below it');

# --- the setting
sub set_target
{
	my ($size) = @_;
	$node->safe_psql('postgres', "ALTER SYSTEM SET pg_mshare.target_size = '$size'");
	$node->safe_psql('postgres', 'SELECT pg_reload_conf()');
	return;
}

set_target('40MB');
ok(wait_until(30, sub { sizes() eq 40 * $MB . '|' . 40 * $MB }), 'pg_mshare.target_size is followed when it is reloaded');
resize('48MB');
$node->safe_psql('postgres', 'ALTER SYSTEM SET work_mem = 4097');
$node->safe_psql('postgres', 'SELECT pg_reload_conf()');
sleep 1;
is(sizes(), 48 * $MB . '|' . 48 * $MB, 'another reload leaves what was asked for since');
$node->restart;
is(sizes(), 40 * $MB . '|' . 40 * $MB, 'it is applied at the start');
like(slurp_file($node->logfile), qr/pg_mshare: 40960 kB of 65536 kB of shared buffers are in use/, '... and logged');
is(held_above(5120), 0, '... before anything is read');
$node->safe_psql('postgres', "SELECT pg_prewarm('t')");
is(held_above(5120), 0, '... or later');
my $offset = -s $node->logfile;
set_target('1MB');
my $least = wait_until(30, sub { slurp_file($node->logfile, $offset) =~ /WARNING:  pg_mshare.target_size is too small\n.*DETAIL:  (\d+) kB are used instead\.\n.*HINT: / && $1 });
ok($least, 'too small a size is warned of');
ok(wait_until(30, sub { sizes() =~ /^(\d+)\|\1$/ && $1 < 32 * $MB }), '... and the least is used');
set_target('1GB');
ok(wait_until(30, sub { slurp_file($node->logfile, $offset) =~ /WARNING:  pg_mshare.target_size is larger than shared_buffers/ }), 'too large a size is warned of');
ok(wait_until(30, sub { sizes() eq "$pool|$pool" }), '... and is all');
set_target('0');
sleep 0.5;
is(sizes(), "$pool|$pool", '0 is all');

# --- populated up to the target
$node->append_conf('postgresql.conf', "pg_mshare.populate = on");
set_target('32MB');
$node->restart;
my $populated = $provider eq 'mprotect' ? mapped_mb($node, (server_pids($node))[0]) : 32;
ok($populated >= 30 && $populated <= 34, "at the start $populated MB are populated");
my $grower = $node->background_psql('postgres');
$grower->query_safe(q{SELECT pg_mshare_resize('64MB')});
cmp_ok(mapped_mb($node, $grower->query_safe('SELECT pg_backend_pid()')), '>=', 30, 'and the rest when it grows')
  if $provider eq 'mprotect';
$grower->quit;
set_target('0');
$node->append_conf('postgresql.conf', "pg_mshare.populate = off");

# --- nothing is damaged
is($node->safe_psql('postgres', q{SELECT count(bt_index_check(c.oid, true)) FROM pg_class c
	WHERE relam = 403 AND relkind = 'i' AND relnamespace = 'public'::regnamespace}), 3, 'the indexes are right');
$node->stop;
command_ok([ 'pg_checksums', '--check', '-D', $node->data_dir ], 'and so are the checksums');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|invalid page/, 'the log has no accident');

done_testing();
