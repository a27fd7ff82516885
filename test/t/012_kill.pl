# SPDX-License-Identifier: PostgreSQL
# Random SIGKILLs under a load that writes, with flips: after each recovery the data
# are whole, the pool is open and nothing has leaked. PG_TEST_EXTRA=long kills 200
# times instead of 20; PG_MSHARE_TEST_SEED=N repeats the choices of a run.
use strict;
use warnings;
use lib '.';
use MshareTest;
use PostgreSQL::Test::Utils;
use IPC::Run;
use List::Util qw(sum);
use Test::More;

my $kills = ($ENV{PG_TEST_EXTRA} || '') =~ /\blong\b/ ? 200 : 20;
my $seed = $ENV{PG_MSHARE_TEST_SEED} || time % 1_000_000;
srand $seed;
note("PG_MSHARE_TEST_SEED=$seed");

# With checksums hint bits are logged, under the lock of the buffer's header. All of
# the pool is there from the start, so that what Shmem gains is a leak.
my $node = mshare_node('kill',
	init => { extra => ['--data-checksums'] },
	conf => "pg_mshare.populate = on\nautovacuum = on\nautovacuum_naptime = 1s\n");
$node->safe_psql('postgres', 'CREATE EXTENSION amcheck; CREATE EXTENSION pg_prewarm');
$node->command_ok([ 'pgbench', '-i', '-q', '-s', '2', 'postgres' ], 'pgbench -i');

# Who is killed; the owner of a freeze has a part of its own.
my $activity = 'SELECT pid FROM pg_stat_activity WHERE';
my %victims = (
	'a writer' => "$activity application_name = 'pgbench'",
	'who flips' => "$activity application_name = 'flipper'",
	'the freeze worker' => q{SELECT pid FROM pg_mshare_backends WHERE backend_type = 'pg_mshare freeze worker'},
	map { ("the $_" => "$activity backend_type = '$_'") }
	  'checkpointer', 'background writer', 'walwriter', 'autovacuum launcher');
my @kinds = ('the owner of a freeze', sort keys %victims);

sub start_client
{
	my ($name, @command) = @_;
	my $program = shift @command;

	local $ENV{PGAPPNAME} = $name;
	return IPC::Run::start(
		[ $node->installed_command($program), @command,
			'-h', $node->host, '-p', $node->port, 'postgres' ],
		'<', \undef, '>', $node->basedir . "/$name.out", '2>&1');
}

# A flip may find the pool frozen, or miss a page and not be able to read it.
my $flips = q{DO $$ BEGIN LOOP
	BEGIN
		PERFORM pg_mshare_flip('r', '20 ms');
	EXCEPTION WHEN OTHERS THEN NULL;
	END;
	PERFORM pg_sleep(0.02);
END LOOP; END $$};

sub restarts
{
	return scalar(() = slurp_file($node->logfile) =~ /all server processes terminated; reinitializing/g);
}

sub memory_kb
{
	my %kb = slurp_file('/proc/meminfo') =~ /^(Shmem|PageTables):\s+(\d+)/mg;
	return \%kb;
}

my $before = memory_kb();
my $frozen = 0;
my %killed;
for my $n (1 .. $kills)
{
	# each kind once, then any
	my $kind = $n <= @kinds ? $kinds[ $n - 1 ] : $kinds[ rand @kinds ];
	prewarm($node);
	my ($pid, $owner);
	if ($kind eq 'the owner of a freeze')
	{
		$owner = $node->background_psql('postgres', on_error_stop => 0);
		$pid = $owner->query_safe('SELECT pg_backend_pid()');
		$owner->query_safe('SELECT pg_mshare_thaw()');
	}
	my @load = (
		start_client('pgbench', 'pgbench', '-n', '-c', '4', '-T', '600'),
		start_client('flipper', 'psql', '-X', '-c', $flips));
	sleep rand 0.5;
	$frozen += $owner->query("SELECT 'frozen' FROM pg_mshare_freeze()") eq 'frozen' if $owner;
	sleep rand 0.5;
	# a query may fail in a closing, and who was found may have ended
	wait_until(60, sub {
		($pid) = split /\n/, ($node->psql('postgres', $victims{$kind}))[1] unless $owner;
		$pid and kill 'KILL', $pid }) and $killed{$kind}++;

	my $recovered = wait_until(120, sub {
		restarts() >= $n and $node->psql('postgres', 'SELECT 1') == 0 });
	ok($recovered, "kill $n, $kind: the server recovers") or last;
	eval { $_->kill_kill } for @load;
	eval { $owner->quit } if $owner;

	is(status($node, 'protection'), 'rw', '... the pool is open');
	my @sums = bench_sums($node);
	is(scalar(grep { $_ == $sums[0] } @sums), 4, '... the sums agree') or diag("@sums");
	$node->command_ok([ 'pg_amcheck', '--heapallindexed', 'postgres' ], '... pg_amcheck finds nothing');

	# other programs of the machine use memory too, but not every time
	my $now;
	ok(wait_until(60, sub {
		$now = memory_kb();
		$now->{Shmem} - $before->{Shmem} < 32 * 1024
		  and $now->{PageTables} - $before->{PageTables} < 16 * 1024 }),
		'... no memory and no page tables were left behind')
	  or diag(map { "$_: $before->{$_} kB, now $now->{$_} kB" } sort keys %$now);
}

is(sum(values %killed), $kills, 'each was a process that ran');
cmp_ok($frozen, '>', 0, 'a freeze was in effect when its owner was killed');
note(join ', ', map { "$killed{$_} x $_" } sort keys %killed);
is(restarts(), $kills, 'the server restarted for these only');
done_testing();
