# SPDX-License-Identifier: PostgreSQL
# No worker, no freeze; and a process that does not answer keeps nothing closed.
use strict;
use warnings;
use lib '.';
use MshareTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = mshare_node('worker', conf => "pg_mshare.freeze_timeout = 2s\npg_mshare.close_timeout = 1s\n");
my $admin = $node->background_psql('postgres', on_error_stop => 0);
$admin->query_safe($_) for 'VACUUM', 'SELECT pg_mshare_thaw()', 'SELECT pg_mshare_freeze()',
	'SELECT pg_mshare_thaw()', 'SELECT protection FROM pg_mshare_status';

# terminated: it thaws before it goes, is back soon, and meanwhile nothing closes
my $worker = worker_pid($node);
$admin->query_safe('SELECT pg_mshare_freeze()');
is($admin->query_safe('SELECT protection FROM pg_mshare_status'), 'r', 'frozen');
kill 'TERM', $worker;
ok(wait_until(1, sub { $node->log_contains(qr/\(freeze worker exits\)/) }), 'a terminated worker thaws first');
my ($out, $failed) = $admin->query('SELECT pg_mshare_freeze()');
is($failed, 1, 'without it nothing is closed');
ok($node->log_contains(qr/ERROR:  the freeze worker is not running/), 'and the error says why');
$admin->{stderr} = '';
ok(wait_until(10, sub { (worker_pid($node) || $worker) != $worker }), 'another one starts');
is($node->safe_psql('postgres', 'SELECT up_us > 0 FROM pg_mshare_flip()'), 't', 'and it can flip again');

# what may be asked for at most ends in time, without the worker
my ($rc, $stdout, $stderr) = $node->psql('postgres', q{SELECT up_us > 0 FROM pg_mshare_flip('r', '2 s')});
is($stdout, 't', 'a flip may be held for freeze_timeout');
($rc, $stdout, $stderr) = $node->psql('postgres', q{SELECT granule_kb_used FROM pg_mshare_watch('2 s')});
is("$rc$stderr", 0, '... and a watch may last as long');

# killed: a crash restart, and the pool is open
$admin->query_safe('SELECT pg_mshare_freeze()');
kill 'KILL', $node->safe_psql('postgres', q{SELECT pid FROM pg_mshare_backends WHERE backend_type = 'pg_mshare freeze worker'});
ok(wait_until(30, sub { slurp_file($node->logfile) =~ /all server processes terminated; reinitializing/ }),
	'a killed worker restarts the server');
ok($node->poll_query_until('postgres', "SELECT protection = 'rw' FROM pg_mshare_status"), 'with an open pool');
eval { $admin->quit };

# A stopped session: mprotect cannot reach it and gives up; the rest is open again.
my $stopped = $node->background_psql('postgres', on_error_stop => 0);
my $pid = $stopped->query_safe('SELECT pg_backend_pid()');
kill 'STOP', $pid;
($rc, $stdout, $stderr) = $node->psql('postgres', 'SELECT down_us > 0 FROM pg_mshare_flip()');
if ($provider eq 'mprotect')
{
	like($stderr, qr/ERROR:  process $pid \(client backend\) did not change the protection.*HINT:  See whether that process is stopped/s,
		'a stopped process is named');
}
else
{
	is($stdout, 't', 'a stopped process does not matter');
}
is(status($node, 'protection'), 'rw', 'and the pool is open');
kill 'CONT', $pid;
is($stopped->query_safe('SELECT 1'), 1, 'it goes on');
is($node->safe_psql('postgres', 'SELECT up_us > 0 FROM pg_mshare_flip()'), 't', 'and the next flip reaches it');

# The session that flips is stopped while the pool is closed: the worker ends it.
my $offset = -s $node->logfile;
$stopped->query_until(qr/started/, "\\echo started\nSELECT pg_mshare_flip('r', '1 s');\n\\echo finished\n");
sleep 0.5;
kill 'STOP', $pid;
ok(wait_until(20, sub { slurp_file($node->logfile, $offset) =~ /reopened after \S+ ms \(timeout\)/ }),
	'a flip whose session is stopped is ended at its deadline');
kill 'CONT', $pid;
ok(wait_until(10, sub { $node->log_contains(qr/ERROR:  the freeze worker has ended the closing/) }),
	'which it is told when it goes on');
is(status($node, 'protection'), 'rw', 'and the pool is open');
$stopped->quit;

done_testing();
