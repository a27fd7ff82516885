# SPDX-License-Identifier: PostgreSQL
# pg_mshare_ctl: the way in without SQL.
use strict;
use warnings;
use lib '.';
use MshareTest;
use PostgreSQL::Test::Utils;
use IPC::Run;
use Test::More;

my $node = mshare_node('ctl', conf => "pg_mshare.freeze_timeout = 60s\n");
$node->safe_psql('postgres', 'CREATE TABLE t AS SELECT 1 AS id, 0 AS v; VACUUM');
my $writer = $node->background_psql('postgres', on_error_stop => 0);
$writer->query_safe('UPDATE t SET v = v + 1');
$node->safe_psql('postgres', 'VACUUM');

# exit status, output and errors
sub ctl
{
	my @arguments = @_;
	IPC::Run::run([ $node->installed_command('pg_mshare_ctl'), @arguments ], '<', \undef, '>', \my $out, '2>', \my $err);
	return ($? >> 8, $out, $err);
}
my @in = ('-D', $node->data_dir);

my ($status, $out, $err) = ctl('status', @in);
is($status, 0, 'status');
like($out, qr/^worker \d+\npostmaster \d+\nprovider $provider\nprotection rw\nclosed nothing\nwaiters 0\n$/, 'nothing is closed');
is((ctl('thaw', @in))[1], "nothing was closed\n", 'thaw of nothing');

# frozen, with a writer that waits
is_deeply([ ctl('freeze', @in) ], [ 0, "the buffer pool is frozen\n", '' ], 'freeze');
$writer->query_until(qr/started/, "\\echo started\nUPDATE t SET v = v + 1;\n\\echo finished\n");
ok(wait_until(10, sub { (ctl('status', @in))[1] =~ /^waiters 1$/m }), 'status counts who waits');
like((ctl('status', @in))[1], qr/^protection r\nclosed frozen\nby \d+\nsince .*\nuntil .*\n/m, 'and says until when');
($status, $out, $err) = ctl('freeze', @in);
is($status, 1, 'a second freeze is refused');
is($err, "pg_mshare_ctl: error: the buffer pool is frozen\n", 'and says why');
is_deeply([ ctl('thaw', @in) ], [ 0, "the buffer pool is open\n", '' ], 'thaw');
ok(wait_until(10, sub { $writer->{run}->pump_nb; $writer->{stdout} =~ /finished/ }), 'the writer goes on');
ok($node->log_contains(qr/buffer pool reopened after \S+ ms \(pg_mshare_ctl\), 1 writes waited/), 'the log names who thawed');

# what SQL closed, it opens
$node->safe_psql('postgres', 'SELECT pg_mshare_freeze()');
is((ctl('thaw', @in))[1], "the buffer pool is open\n", 'thaw of what SQL has frozen');
is(status($node, 'protection'), 'rw', 'it is open');

# the bare signal; a request that somebody left behind is not done again
my ($worker) = (ctl('status', @in))[1] =~ /^worker (\d+)/;
ctl('freeze', @in);
append_to_file($node->data_dir . '/pg_mshare.request', "");
kill 'USR2', $worker;
ok(wait_until(10, sub { status($node, 'protection') eq 'rw' }), 'SIGUSR2 alone thaws');
unlink $node->data_dir . '/pg_mshare.request';
my $left = IPC::Run::start([ 'true' ]);
my $dead = $left->{KIDS}[0]{PID};
$left->finish;
append_to_file($node->data_dir . '/pg_mshare.request', "freeze $dead\n");
is((ctl('status', @in))[0], 0, 'a request whose process has died is no obstacle');
is(status($node, 'protection'), 'rw', 'nor done');

# at the same time
my @many = map { IPC::Run::start([ $node->installed_command('pg_mshare_ctl'), 'status', @in ], '>', \my $o, '2>&1') } 1 .. 5;
is(scalar(grep { $_->finish } @many), 5, 'five at the same time are all answered');
is_deeply([ glob $node->data_dir . '/pg_mshare.request*' ], [], 'and leave nothing behind');

# a worker that does not answer
kill 'STOP', $worker;
($status, $out, $err) = ctl('thaw', @in, '-t', '1');
is($status, 1, 'a worker that is stopped gives no answer');
like($err, qr/no answer from the freeze worker, process $worker, in 1 s/, 'and that is said');
kill 'CONT', $worker;

# what it finds when it goes on: a thaw is done, a freeze is not, and a status thaws nothing
sub unanswered
{
	my ($word) = @_;
	kill 'STOP', $worker;
	is((ctl($word, @in, '-t', '1'))[0], 1, "no answer to $word");
	kill 'CONT', $worker;
	sleep 0.5;
	my $protection = status($node, 'protection');
	is((ctl('status', @in))[0], 0, '... but to the next one');
	return $protection;
}

is(unanswered('freeze'), 'rw', '... and the pool is not frozen');
$node->safe_psql('postgres', 'SELECT pg_mshare_freeze()');
is(unanswered('status'), 'r', '... and the pool stays frozen') for 1, 2;
is(unanswered('thaw'), 'rw', '... and the pool is open');
kill 'STOP', $worker;
ctl('status', @in, '-t', '1');
kill 'CONT', $worker;
sleep 0.5;
$node->safe_psql('postgres', 'SELECT pg_mshare_freeze()');
kill 'USR2', $worker;
ok(wait_until(10, sub { status($node, 'protection') eq 'rw' }), 'a request left behind does not keep SIGUSR2 from thawing');

# usage
is((ctl(@$_))[0], 2, "wrong usage: @$_") for [], ['melt'], [ 'status', 'thaw', @in ], [ 'status', '-D' ], [ 'thaw', @in, '-t', 'x' ];
like((ctl('--help'))[1], qr/^Usage:\n  pg_mshare_ctl status\|freeze\|thaw/m, '--help');
like((ctl('status', '-D', '/'))[2], qr{"/" is no data directory}, 'no data directory');

# without a server
$writer->quit;
$node->stop;
($status, $out, $err) = ctl('status', @in);
is($status, 1, 'a server that is not running');
like($err, qr/no freeze worker runs in .*\npg_mshare_ctl: hint: Is the server running/, 'and that is said');

# the state of a server that was killed: nobody else gets its worker's signal
for my $other ([ 'pg_mshare freeze worker', 1 ], [ 'another', $$ ])
{
	my ($title, $postmaster) = @$other;
	my $process = IPC::Run::start([ 'perl', '-e', '$0 = shift; $| = 1; print "ready"; sleep', $title ], '>', \my $ready);
	$process->pump until $ready;
	my $pid = $process->{KIDS}[0]{PID};
	unlink map { $node->data_dir . "/$_" } 'postmaster.pid', 'pg_mshare.state';
	append_to_file($node->data_dir . '/postmaster.pid', "$postmaster\n");
	append_to_file($node->data_dir . '/pg_mshare.state', "worker $pid\npostmaster $postmaster\n");
	($status, $out, $err) = ctl('thaw', @in);
	like($err, qr/the freeze worker, process $pid, is not there/, "a process that is called $title, of another server's");
	like(slurp_file("/proc/$pid/cmdline"), qr/^$title/, '... gets no signal');
	$process->kill_kill;
}
unlink map { $node->data_dir . "/$_" } 'postmaster.pid', 'pg_mshare.state';

done_testing();
