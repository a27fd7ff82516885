# SPDX-License-Identifier: PostgreSQL
# A crash restart gives the dead pool's pages back before anything else starts.
use strict;
use warnings;
use lib '.';
use MshareTest;
use PostgreSQL::Test::Utils;
use Test::More;

# How many MB of the pool hold nothing, as anybody may see who may read a process
sub empty_mb
{
	my ($node) = @_;
	my ($address, $bytes) = split /\|/, status($node, 'address, bytes');
	my $pid = (server_pids($node))[0];
	my $block = 1 << 20;
	my $empty = 0;

	open my $memory, '<:raw', "/proc/$pid/mem" or die "/proc/$pid/mem: $!";
	sysseek $memory, hex $address, 0 or die "seek: $!";
	for (my $left = $bytes; $left > 0; $left -= $block)
	{
		sysread($memory, my $data, $block) == $block or die "read: $!";
		$empty++ if $data !~ /[^\0]/;
	}
	return $empty;
}

my $restarts = 0;
sub crash
{
	my ($node) = @_;
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	kill 'KILL', $session->query_safe('SELECT pg_backend_pid()');
	my $took = restarted($node, ++$restarts);
	eval { $session->quit };
	return $took;
}

# One row of the table is one page of the pool.
my $fill = q{INSERT INTO t SELECT i, repeat('x', 900) FROM generate_series(1, %d) i};
my $table = q{CREATE TABLE t (a int, b text) WITH (fillfactor = 10);
	ALTER TABLE t ALTER b SET STORAGE plain};

my $node = mshare_node('crash_memory', conf => "max_wal_size = 4GB\n");
$node->safe_psql('postgres', "CREATE EXTENSION pg_prewarm; $table");
$node->safe_psql('postgres', sprintf $fill, 6400);
$node->safe_psql('postgres', 'CHECKPOINT');
my $before = empty_mb($node);
cmp_ok($before, '<=', 20, "a pool of 64 MB, of which $before are empty");
my $address = status($node, 'address');
ok(crash($node), 'a crash, and the server is back');
my $after = empty_mb($node);
cmp_ok($after, '>=', 50, "in a pool of which $after MB are empty");
is(status($node, 'address'), $address, '... at its old address');
is($node->safe_psql('postgres', 'SELECT count(*) FROM t'), 6400, '... with what was committed');

# some of it closed at the crash
my $session = $node->background_psql('postgres', on_error_stop => 0);
$session->query_safe(q{SELECT pg_mshare_protect('r', 1025, 2048)});
ok(crash($node), 'a crash while a part is closed');
$after = empty_mb($node);
cmp_ok($after, '>=', 50, "all is opened and given back: $after MB are empty");
eval { $session->quit };
is($node->safe_psql('postgres', 'SELECT count(*) FROM t'), 6400, '... and can be used');

# populated, as at the start
$node->append_conf('postgresql.conf', 'pg_mshare.populate = on');
$node->restart;
$restarts = () = slurp_file($node->logfile) =~ /all server processes terminated; reinitializing/g;
prewarm($node);
my $shmem = shmem_kb();
ok(crash($node), 'a crash of a server whose pool is populated');
cmp_ok(mapped_mb($node, (server_pids($node))[0]), '>=', 64, '... which populates it again')
  if $provider eq 'mprotect';
my $lost = int(($shmem - shmem_kb()) / 1024);
cmp_ok($lost, '<', 32, "... with all of its memory: $lost MB less")
  if $provider eq 'mshare';
cmp_ok(empty_mb($node), '>=', 50, '... and empty');
$node->stop;

# The server in a group with room for nine tenths of the pool: the server without us
# loses a backend when these are used up, and comes back.
SKIP:
{
	my $group = '/sys/fs/cgroup/pg_mshare/small';
	skip 'no group of ours: test/extension --vm makes it', 3
	  unless -w '/sys/fs/cgroup/pg_mshare/cgroup.procs' and (-d $group or mkdir $group);

	append_to_file("$group/memory.max", '230M');
	$node->append_conf('postgresql.conf', "pg_mshare.populate = off\nshared_buffers = 256MB");
	start_limited($node, 'sh', '-c', 'echo 0 > "$0/cgroup.procs" && exec "$@"', $group) or die 'no start';
	$restarts = () = slurp_file($node->logfile) =~ /all server processes terminated; reinitializing/g;

	my $score = sub { slurp_file("/proc/$_[0]/oom_score_adj") + 0 };
	my $session = $node->background_psql('postgres');
	cmp_ok($score->($session->query_safe('SELECT pg_backend_pid()')), '>', $score->((server_pids($node))[0]),
		'the kernel rather kills a backend than the postmaster')
	  if $provider eq 'mshare';
	$session->quit;
	my $lost = 0;
	for (1 .. 8)
	{
		my ($status) = $node->psql('postgres', sprintf $fill, 10000);
		next if $status == 0;
		$lost++;
		last;
	}
	is($lost, 1, 'a backend is lost for want of memory');
	# what recovery reads may be too much again
	append_to_file("$group/memory.max", 'max');
	my $took = restarted($node, ++$restarts, 180);
	ok($took, 'and the server comes back') and note(sprintf 'after %.1f s', $took);
	cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM t'), '>=', 6400, '... with what was committed');
	$node->stop('immediate', fail_ok => 1);
}

done_testing();
