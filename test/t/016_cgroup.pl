# SPDX-License-Identifier: PostgreSQL
# A server in a memory cgroup: the pool is charged to the group, for the server's life,
# and one that is to be populated is refused in a group that is too small.
use strict;
use warnings;
use lib '.';
use MshareTest;
use PostgreSQL::Test::Utils;
use Test::More;

# test/extension makes this group for the tests, as only root can.
my $parent = '/sys/fs/cgroup/pg_mshare';
my $group = "$parent/server";
plan skip_all => "no group of ours at $parent: test/extension --vm makes it"
  unless -w "$parent/cgroup.procs" and (-d $group or mkdir $group);

sub set
{
	my ($file, $value) = @_;
	open my $handle, '>', $file or die "$file: $!";
	syswrite $handle, $value or die "$file: $!";
}

# The shared memory that the group is charged for, in MB
sub charged
{
	return (slurp_file("$group/memory.stat") =~ /^shmem (\d+)$/m)[0] >> 20;
}

my $node = mshare_node('cgroup', no_extension => 1, conf => "pg_mshare.populate = on\n");
$node->safe_psql('postgres', 'CREATE EXTENSION pg_mshare; CREATE EXTENSION pg_prewarm');
$node->stop;

# The server alone: who starts it is not to be killed with it.
sub start_in_group
{
	my ($limit) = @_;
	set("$group/memory.max", $limit);
	return start_limited($node, 'sh', '-c', 'echo 0 > "$0/cgroup.procs" && exec "$@"', $group);
}

ok(start_in_group('400M'), 'a server starts in a group that is large enough');
my $shmem = charged();
cmp_ok($shmem, '>=', 64, "the group is charged for the pool: $shmem MB");
cmp_ok($shmem, '<', 128, '... once');
$node->command_ok([ 'pgbench', '-i', '-q', '-s', '1', 'postgres' ], 'pgbench -i');
$node->command_ok([ 'pgbench', '-n', '-c', '4', '-t', '50', 'postgres' ], 'pgbench');
is($node->safe_psql('postgres', 'SELECT down_us > 0 FROM pg_mshare_flip()'), 't', 'a flip');
cmp_ok(charged(), '<', 128, '... and still once after that');
$node->stop;
ok(wait_until(20, sub { charged() <= 1 }), 'when the server has ended nothing is charged')
  or diag(charged() . ' MB of shared memory');

# less than the pool: refused if it is to be populated
my $offset = -s $node->logfile;
ok(!start_in_group('40M'), 'in one that is too small it does not start');
like(slurp_file($node->logfile, $offset),
	qr{FATAL:  the memory cgroup has no room for 64 MB of shared buffers.*DETAIL:  memory.max of "\Q$group\E" is 40 MB, .*HINT:  Raise memory.max}s,
	'... and says why');
set("$group/memory.max", 'max');
ok(wait_until(20, sub { charged() <= 1 }), '... and nothing is left charged')
  or diag(charged() . ' MB of shared memory');
ok(start_in_group('400M'), 'and in a larger one it starts again');
is($node->safe_psql('postgres', 'SELECT count(*) FROM pgbench_history'), 200, '... with its data');
$node->stop;

# if it is not, it may never be used: told, and not refused
$node->append_conf('postgresql.conf', "pg_mshare.populate = off\nshared_buffers = 1GB");
$offset = -s $node->logfile;
ok(start_in_group('400M'), 'a pool larger than the group, not populated, starts');
like(slurp_file($node->logfile, $offset),
	qr{WARNING:  the memory cgroup has no room for 1024 MB of shared buffers.*DETAIL:  memory.max of "\Q$group\E" is 400 MB, .*HINT:  Processes will be killed when the buffers are used. Raise memory.max}s,
	'... with a warning');
$node->stop;

# Huge pages have limits of their own in a group: of what is reserved, and of what is
# touched, at which a process would get SIGBUS. Both are met at the start.
SKIP:
{
	skip 'no controller of huge pages', 22 unless -e "$group/hugetlb.2MB.max";
	skip 'no huge pages are free: see vm.nr_hugepages', 22 if free_huge_pages() < 48;
	$node->append_conf('postgresql.conf', "shared_buffers = 64MB\nhuge_pages = off");
	for my $limit ('hugetlb.2MB.max', 'hugetlb.2MB.rsvd.max')
	{
		set("$group/$limit", '62M');
		$node->append_conf('postgresql.conf', 'pg_mshare.huge_pages = on');
		$offset = -s $node->logfile;
		ok(!start_in_group('400M'), "$limit: a pool in huge pages that is larger does not start");
		like(slurp_file($node->logfile, $offset),
			qr{FATAL:  could not map 67108864 bytes of huge pages.*DETAIL:  The server's cgroup may have 62 MB more of huge pages.*HINT:  Raise hugetlb.2MB.max and hugetlb.2MB.rsvd.max}s,
			'... and says why');
		$node->_update_pid(0);
		$node->append_conf('postgresql.conf', 'pg_mshare.huge_pages = try');
		$offset = -s $node->logfile;
		ok(start_in_group('400M'), '... with try it does');
		like(slurp_file($node->logfile, $offset), qr/HINT:  Raise hugetlb.*in pages of 4 kB/s, '... in small pages, with the hint');
		$node->stop;

		# the limit is not met by what fits
		set("$group/$limit", '64M');
		$node->append_conf('postgresql.conf', "pg_mshare.huge_pages = on\npg_mshare.populate = on");
		ok(start_in_group('400M'), '... and one that fits does');
		my $current = $limit =~ s/max$/current/r;
		is(slurp_file("$group/$current") + 0, 64 << 20, '... and has all its pages');
		is($node->safe_psql('postgres', q{SELECT count(*) FROM pgbench_accounts}), 100_000, '... and works');
		is($node->safe_psql('postgres', 'SELECT down_us > 0 FROM pg_mshare_flip()'), 't', '... and flips');
		$node->stop;
		is(slurp_file("$group/$current") + 0, 0, '... and leaves none behind');
		$node->append_conf('postgresql.conf', 'pg_mshare.populate = off');
		set("$group/$limit", 'max');
	}

	# others have used some of it
	my $other = mshare_node('other', no_extension => 1, conf => "huge_pages = off\npg_mshare.huge_pages = on\npg_mshare.populate = on\nshared_buffers = 32MB\n");
	$other->stop;
	set("$group/hugetlb.2MB.max", '94M');
	ok(start_limited($other, 'sh', '-c', 'echo 0 > "$0/cgroup.procs" && exec "$@"', $group), 'another server has 32 MB');
	$node->append_conf('postgresql.conf', 'pg_mshare.huge_pages = on');
	$offset = -s $node->logfile;
	ok(!start_in_group('400M'), '... so that a limit of 94 MB is too small');
	like(slurp_file($node->logfile, $offset), qr{DETAIL:  The server's cgroup may have 62 MB more of huge pages}, '... and says so');
	$node->_update_pid(0);
	$other->stop;
	ok(start_in_group('400M'), '... until that server has gone');
	$node->stop;
	set("$group/hugetlb.2MB.max", 'max');
}

done_testing();
