# SPDX-License-Identifier: PostgreSQL
# A pool that fits nowhere is refused at the start, with the limit that it met; one that
# starts has its memory.
use strict;
use warnings;
use lib '.';
use MshareTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = mshare_node('limits');
$node->stop;

# What the log says of a start by a command.
my $offset;
sub said { return slurp_file($node->logfile, $offset) }
sub start_by
{
	my (@command) = @_;
	$offset = -s $node->logfile;
	return start_limited($node, @command);
}

# ulimit -f: no file grows with the pool
my $up = start_by('prlimit', '--fsize=' . (32 << 20));
SKIP:
{
	if (!$up && $provider eq 'mshare')
	{
		like(said(), qr/FATAL:  could not set the size of the region.*HINT:  Start the server with "ulimit -f unlimited"/s,
			'ulimit -f: a kernel that counts a region as a file refuses, and says so');
		skip 'and it does not start', 1;
	}
	ok($up, 'ulimit -f is no limit of the pool') or diag(said());
	is($node->safe_psql('postgres', 'SELECT up_us > 0 FROM pg_mshare_flip()'), 't', 'and it flips');
	$node->stop;
}

# ulimit -v, which is met before anything is asked of the huge pages (008_start.pl has the
# pool in small ones)
if ($provider eq 'mprotect')
{
	$node->start;
	my ($size) = slurp_file('/proc/' . (server_pids($node))[0] . '/status') =~ /^VmSize:\s+(\d+)/m;
	$node->stop;
	$node->append_conf('postgresql.conf', "huge_pages = off\npg_mshare.huge_pages = on");
	ok(!start_by('prlimit', '--as=' . (($size << 10) - (32 << 20))), 'ulimit -v: a pool in huge pages without addresses does not start');
	like(said(), qr/FATAL:  could not map \d+ bytes of huge pages for shared buffers: Cannot allocate memory.*DETAIL:  The limit on address space is \d+ kB.*HINT:  Start the server with "ulimit -v unlimited"/s,
		'... and says why');
	$node->_update_pid(0);
	$node->append_conf('postgresql.conf', 'pg_mshare.huge_pages = off');
}

# strict overcommit
SKIP:
{
	skip 'the machine has no pipe for settings: test/extension --vm makes it', 5 unless -p '/var/tmp/sysctl';
	my %were = map { $_ => slurp_file("/proc/sys/vm/$_") + 0 } qw(overcommit_memory overcommit_ratio overcommit_kbytes);
	my ($committed) = slurp_file('/proc/meminfo') =~ /^Committed_AS:\s+(\d+)/m;
	my $pool = 512 << 10;

	# room for the server's own area, with the place that the pool has left, and for processes,
	# but for no pool
	my $room = 2 * $pool - (64 << 10);
	$node->append_conf('postgresql.conf', "shared_buffers = 512MB\npg_mshare.debug_move_pool = on");
	set_vm('overcommit_kbytes', $committed + $room);
	set_vm('overcommit_memory', 2);
	ok(!start_by(), 'overcommit: a pool without room does not start');
	like(said(), qr/FATAL:  could not map \d+ bytes (?:for shared buffers|of shared memory into the region): Cannot allocate memory.*DETAIL:  vm.overcommit_memory is 2.*HINT:  Reduce shared_buffers, or raise vm.overcommit_ratio/s,
		'... and says why');
	$node->stop('immediate', fail_ok => 1);

	# room for both: every page can be had
	set_vm('overcommit_kbytes', $committed + 3 * $pool);
	ok(start_by(), '... and one with room does');
	$node->safe_psql('postgres', q{CREATE TABLE t (a int, b text) WITH (fillfactor = 10);
		ALTER TABLE t ALTER b SET STORAGE plain;
		INSERT INTO t SELECT i, repeat('x', 900) FROM generate_series(1, 60000) i});
	is($node->safe_psql('postgres', 'SELECT count(*) FROM t'), 60000, '... and can be filled');
	ok(!$node->log_contains(qr/terminated by signal/), '... without a death');
	$node->stop;

	# in place no more is needed than the server's own area
	if ($node->pg_version >= 16)
	{
		$node->append_conf('postgresql.conf', "pg_mshare.debug_move_pool = off");
		set_vm('overcommit_kbytes', $committed + $room);
		ok(start_by(), 'overcommit: in place it needs no second room');
		is(status($node, 'in_place'), 't', '... and is there');
		is($node->safe_psql('postgres', q{SELECT count(*), sum(length(b)) FROM t}), '60000|54000000', '... and can be filled');
		ok(!$node->log_contains(qr/terminated by signal/), '... without a death');
		$node->stop;
	}

	set_vm('overcommit_memory', $were{overcommit_memory});
	set_vm('overcommit_ratio', $were{overcommit_ratio});
}

done_testing();
