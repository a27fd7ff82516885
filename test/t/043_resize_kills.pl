# SPDX-License-Identifier: PostgreSQL
# The pool is resized up and down under a load that writes, with flips, and processes are
# killed: each time the target is in force again, and pg_amcheck finds nothing.
# PG_TEST_EXTRA=long has 40 rounds instead of 4; PG_MSHARE_TEST_SEED=N repeats the choices
# of a run.
use strict;
use warnings;
use lib '.';
use MshareTest;
use PostgreSQL::Test::Utils;
use IPC::Run;
use Test::More;

my $rounds = ($ENV{PG_TEST_EXTRA} || '') =~ /\blong\b/ ? 40 : 4;
my $seed = $ENV{PG_MSHARE_TEST_SEED} || time % 1_000_000;
srand $seed;
note("PG_MSHARE_TEST_SEED=$seed");

my $MB = 1 << 20;
my $node = mshare_node('resize_kills',
	init => { extra => ['--data-checksums'] },
	conf => "max_connections = 50\nmax_prepared_transactions = 5\n");
$node->safe_psql('postgres', 'CREATE EXTENSION amcheck');
$node->command_ok([qw(pgbench -i -q -s 4 postgres)], 'pgbench -i');

my @connection = ('-h', $node->host, '-p', $node->port, 'postgres');
my %victims = (
	'a writer' => q{SELECT pid FROM pg_stat_activity WHERE application_name = 'pgbench'},
	'who resizes' => q{SELECT pid FROM pg_stat_activity WHERE query LIKE '%pg_mshare_resize%' AND pid <> pg_backend_pid()},
	'the resize worker' => q{SELECT pid FROM pg_mshare_backends WHERE backend_type = 'pg_mshare resize worker'},
	'the checkpointer' => q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'});
my @kinds = sort keys %victims;
my ($resizes, $target) = (0, 64);

for my $n (1 .. $rounds)
{
	my $kind = $kinds[ $n % @kinds ];
	my $load = IPC::Run::start([ 'env', 'PGAPPNAME=pgbench', $node->installed_command('pgbench'),
			qw(-n -c 8 -j 2 -T 600), @connection ], '>', \my $out, '2>', \my $err);
	my $resizer = $node->background_psql('postgres', on_error_stop => 0);
	$node->safe_psql('postgres', "BEGIN; UPDATE pgbench_tellers SET tbalance = tbalance WHERE tid = 1; PREPARE TRANSACTION 'x$n'");
	for my $step (1 .. 3)
	{
		$target = (24, 32, 40, 48, 64)[ rand 5 ];
		# flips are in between, and so is what is pinned
		$resizer->query("SELECT pg_mshare_resize('${target}MB')");
		$resizer->query('SELECT pg_mshare_flip()');
		$resizes++;
	}
	unlike($resizer->{stderr}, qr/PANIC|FATAL|invalid page|could not write/, "round $n: the pool is resized three times");
	$target = $target == 64 ? 24 : 64;
	start_sql($resizer, "SELECT pg_mshare_resize('${target}MB')");
	sleep rand 0.05;
	my ($pid) = split /\n/, ($node->psql('postgres', $victims{$kind}))[1] // '';
	($kind, $pid) = ('a writer', split /\n/, $node->safe_psql('postgres', $victims{'a writer'})) if !$pid;
	kill 'KILL', $pid or die "process $pid: $!";
	ok(restarted($node, $n, 120), "... $kind is killed, and the server is back") or last;
	eval { $load->kill_kill };
	eval { $resizer->quit };

	my ($wanted, $resident) = split /\|/, status($node, 'target, resident');
	ok(wait_until(30, sub { ($wanted, $resident) = split /\|/, status($node, 'target, resident'); $wanted == $resident }),
		'... with the target applied, ' . ($wanted / $MB) . ' MB');
	$node->safe_psql('postgres', "COMMIT PREPARED 'x$n'");
	my @sums = bench_sums($node);
	is(scalar(grep { $_ == $sums[0] } @sums), 4, '... the sums agree') or diag("@sums");
	$node->command_ok([ 'pg_amcheck', '--heapallindexed', 'postgres' ], '... and pg_amcheck finds nothing');
}
note("$resizes resizes ended, $rounds were under way");
$node->stop;
command_ok([ 'pg_checksums', '--check', '-D', $node->data_dir ], 'the checksums are right');

done_testing();
