# SPDX-License-Identifier: PostgreSQL
# Libraries in a server process that handle SIGSEGV themselves, or start threads. With
# provider mprotect, where signals do the work; where the kernel lets writes wait they do
# none.
use strict;
use warnings;
use lib '.';
use MshareTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = mshare_node('libraries');
my $library = $PostgreSQL::Test::Utils::tmp_check . '/library.so';
my $slow = $PostgreSQL::Test::Utils::tmp_check . '/slow.so';

# the server may be a private copy, without its headers
chomp(my $include = `pg_config --includedir-server`);
$include = '/usr/include/postgresql/' . int($node->pg_version) . '/server' if !-e "$include/postgres.h";

if ($provider ne 'mprotect'
	or system("cc -shared -fPIC -I$include -o $library library.c -lpthread") != 0
	or system("cc -shared -fPIC -o $slow slow.c -lpthread") != 0)
{
	plan skip_all => 'for provider mprotect, where there are a compiler and the server\'s headers';
}
{
	local $ENV{LD_PRELOAD} = $slow;
	$node->restart;
}
$node->safe_psql('postgres', qq{
	CREATE FUNCTION handle_segv(bool) RETURNS void LANGUAGE c AS '$library';
	CREATE FUNCTION start_thread() RETURNS bool LANGUAGE c AS '$library';
	CREATE FUNCTION thread_writes() RETURNS bool LANGUAGE c AS '$library';
	CREATE FUNCTION block_signals(int) RETURNS void LANGUAGE c AS '$library';
	CREATE TABLE t AS SELECT 1 AS id, 0 AS v});

my ($admin, $other) = map { $node->background_psql('postgres', on_error_stop => 0) } 1, 2;
my $pid = $other->query_safe('SELECT pg_backend_pid()');
my $restarts = sub { scalar(() = slurp_file($node->logfile) =~ /all server processes terminated/g) };

$other->query_safe($_) for 'UPDATE t SET v = v + 1', 'SELECT handle_segv(true)', 'SELECT handle_segv(false)';
$admin->query_safe($_) for 'VACUUM', 'SELECT pg_mshare_thaw()', 'SELECT pg_mshare_freeze()', 'SELECT pg_mshare_thaw()',
	'SELECT waiters FROM pg_mshare_status';

# A handler that is installed later: found at the closing, which is refused and names it
$other->query_safe('SELECT handle_segv(true)');
for my $call ('pg_mshare_flip()', 'pg_mshare_freeze()', q{pg_mshare_protect('r', 5, 1)})
{
	$admin->query("SELECT $call");
	like($admin->{stderr}, qr/ERROR:  process $pid \(client backend\) has another handler of SIGSEGV.*DETAIL:  It was installed by "\Q$library\E"/s,
		"$call is refused, and names process and library");
	$admin->{stderr} = '';
	is(status($node, 'protection'), 'rw', '... the pool is open');
}
$other->query_safe('UPDATE t SET v = v + 1');
$other->query('SELECT pg_mshare_flip()');
like($other->{stderr}, qr/ERROR:  process $pid \(client backend\) has another handler/, '... also by its own session');
$other->{stderr} = '';
$other->query_safe('SELECT handle_segv(false)');
is($admin->query_safe('SELECT processes > 0 FROM pg_mshare_flip()'), 't', 'when it is gone the pool is flipped again');

is($restarts->(), 0, 'no process has crashed');

# A thread that takes signals: those of flips are for the main thread.
my $trace = $node->data_dir . '/mprotect_by_thread';
is($other->query_safe('SELECT start_thread()'), 't', 'a thread of a library');
$other->query_until(qr/started/, "\\echo started\nSELECT block_signals(1500);\n\\echo finished\n");
sleep 0.5;
my $us = $admin->query_safe('SELECT (down_us + up_us)::int FROM pg_mshare_flip()');
cmp_ok($us, '>', 300_000, "a flip waits for the main thread, which blocks signals: $us us");
ok(!-e $trace, '... and no other thread changes protections');
$other->query_safe('SELECT 1');

# A thread with hardly any stack writes into closed buffers: it waits, on its other stack.
$admin->query_safe('SELECT pg_mshare_freeze()');
is($other->query_safe('SELECT thread_writes()'), 'f', 'a thread with a small stack writes');
ok(wait_until(10, sub { waiters($admin) == 1 }), '... and waits');
is($other->query_safe('SELECT thread_writes()'), 'f', '... while the main thread goes on');
$admin->query_safe('SELECT pg_mshare_thaw()');
ok(wait_until(10, sub { $other->query_safe('SELECT thread_writes()') eq 't' }), '... until the thaw');
is($restarts->(), 0, 'no process has crashed');

# control: it is the handler that makes the difference
$admin->query_safe('SELECT pg_mshare_freeze()');
$other->query_until(qr/started/, "\\echo started\nSELECT handle_segv(true); UPDATE t SET v = v + 1;\n");
ok(wait_until(30, sub { $restarts->() == 1 }), 'control: one that is installed while the pool is closed crashes the server at a write');
ok($node->poll_query_until('postgres', "SELECT protection = 'rw' FROM pg_mshare_status"), '... which starts again');

eval { $_->quit } for $admin, $other;
done_testing();
