# SPDX-License-Identifier: PostgreSQL
# From PostgreSQL 16 on the pool stays in the server's own shared memory: its memory is
# counted once, and nothing but the pool is ever closed.
use strict;
use warnings;
no warnings 'portable';	# addresses have 48 bits
use lib '.';
use MshareTest;
use PostgreSQL::Test::Utils;
use Test::More;

# More than what else the machine does meanwhile
my $pool_mb = 768;

my $node = mshare_node('in_place', no_extension => 1, conf => <<'END');
logging_collector = on
log_filename = 'server.log'
END
plan skip_all => 'before PostgreSQL 16 the blocks of shared buffers are not page aligned'
  if $node->pg_version < 16;
$node->safe_psql('postgres', 'CREATE EXTENSION pg_mshare; CREATE TABLE t AS SELECT 1 AS a');
my $log = $node->data_dir . '/log/server.log';

# What a process has of shared memory: from, to, rights and inode of each mapping
sub shared_maps
{
	my ($pid) = @_;
	my @maps;

	for (split /\n/, slurp_file("/proc/$pid/maps"))
	{
		push @maps, { from => hex $1, to => hex $2, rights => $3, inode => $4 }
		  if m{^([0-9a-f]+)-([0-9a-f]+) (..)\Ss \S+ \S+ (\d+)};
	}
	return @maps;
}

# From where to where the server itself has the blocks.  With provider mshare the pool is
# a window, and there is a mapping that nobody writes, and is as large as the pool, but for
# what is not a whole page.
sub server_has_blocks
{
	my ($pid) = @_;
	my ($address, $bytes) = map { /^0x/ ? hex : $_ } split /\|/, status($node, 'address, bytes');

	return ($address, $address + $bytes) if $provider eq 'mprotect';
	my ($covered) = grep { $_->{rights} eq 'r-' && $_->{to} - $_->{from} > $bytes - (4 << 20) &&
		$_->{to} - $_->{from} <= $bytes } shared_maps($pid);
	return $covered ? ($covered->{from}, $covered->{to}) : (0, 0);
}

# The object in which the blocks are, and how many MB a process maps of it and of all;
# but a window is addresses only
sub pool_object
{
	my ($pid) = @_;
	my ($from) = server_has_blocks($pid);
	my @maps = grep { $_->{to} - $_->{from} < 512 << 30 } shared_maps($pid);
	my ($here) = grep { $_->{from} <= $from && $from < $_->{to} } @maps;
	my ($of_it, $all) = (0, 0);

	for (@maps)
	{
		my $mb = ($_->{to} - $_->{from}) / (1 << 20);
		$of_it += $mb if $here && $_->{inode} == $here->{inode};
		$all += $mb;
	}
	return ($here ? $here->{inode} : 0, $of_it, $all);
}

sub postmaster
{
	return (server_pids($node))[0];
}

# Which rights the pool and its neighbours in the same object have: "rw", or both
sub rights
{
	my ($pid) = @_;
	my ($from, $to) = server_has_blocks($pid);
	my ($inode) = pool_object($pid);
	my (%inside, %outside);

	for (grep { $_->{inode} == $inode } shared_maps($pid))
	{
		$inside{ $_->{rights} }++ if $_->{from} < $to && $_->{to} > $from;
		$outside{ $_->{rights} }++ if $_->{from} < $from || $_->{to} > $to;
	}
	return join(',', sort keys %inside) . ' ' . join(',', sort keys %outside);
}

my $logger = sub {
	return $node->safe_psql('postgres', q{SELECT pid FROM pg_mshare_backends WHERE backend_type IN ('logger', 'syslogger')});
};

# Processes of the wrong kind: a window the logger has too
my $wrongly_attached = q{SELECT count(*) FROM pg_mshare_backends WHERE }
  . ($provider eq 'mprotect' ? q{attached = (backend_type IN ('logger', 'syslogger'))} : 'NOT attached');
my $who = $provider eq 'mprotect' ? 'all but the logger' : 'all';

# What two addresses of a process hold is the same; the pool need not begin with its first
# page.
sub holds_the_same
{
	my ($pid, $one, $other, $bytes) = @_;
	my ($a, $b) = map { pool_digest($pid, sprintf('0x%x', $_), $bytes) // "$!" } $one, $other;
	return $a eq $b && $a =~ /^[0-9a-f]{32}$/;
}

# Where it is
is(status($node, 'in_place'), 't', 'the pool is in place');
like(slurp_file($node->logfile), qr/provider $provider maps 64 MB of shared buffers at 0x\w+, in pages of 4 kB, where the server has them/,
	'... and the log says so');
my ($inode, $of_it) = pool_object(postmaster());
cmp_ok($of_it, '>', 64, "... in a mapping that holds other things too: $of_it MB");
is($node->safe_psql('postgres', $wrongly_attached), 0, "$who have it");

# The neighbours
my $session = $node->background_psql('postgres', on_error_stop => 0);
my $pid = $session->query_safe('SELECT pg_backend_pid()');
my $open = $provider eq 'mprotect' ? 'rw rw' : 'r- rw';
is(rights($pid), $open, $provider eq 'mprotect' ? 'pool and neighbours are open' :
	'beside the window nobody writes into the pool');
my $maps_of_logger = join '|', map { "$_->{from} $_->{rights}" } shared_maps($logger->());
for my $closing ("pg_mshare_freeze()", "pg_mshare_protect('r', 1)", "pg_mshare_protect('r', 8192, 1)")
{
	$session->query_safe('SELECT pg_mshare_thaw()');
	my ($from, $to) = server_has_blocks($pid);
	my ($inode) = pool_object($pid);
	$session->query_safe("SELECT $closing");
	my (%closed, %wrong);
	for my $pid (server_pids($node))
	{
		for (eval { shared_maps($pid) })
		{
			next unless $_->{inode} == $inode && $_->{rights} eq 'r-';
			$closed{$pid} = 1;
			$wrong{$pid} = sprintf '%x-%x', $_->{from}, $_->{to}
			  if $_->{from} < $from || $_->{to} > $to;
		}
	}
	$session->query_safe('SELECT pg_mshare_thaw()');
	cmp_ok(scalar keys %closed, '>=', 6, "$closing: no process may write there");
	is(join(', ', values %wrong), '', '... nothing but the pool');
	is(rights($pid), $open, '... and it opens again');
}
if ($provider eq 'mshare')
{
	my ($from, $to) = server_has_blocks($pid);
	my $window = hex status($node, 'address');
	ok(holds_the_same($pid, $from, $window, $to - $from), 'the window shows what the server has there');
	for my $at ([ $from, 0 ], [ $to - 8192, 0 ], [ $window + $to - $from - 8192, 1 ])
	{
		open my $memory, '+<:raw', "/proc/$pid/mem" or die "/proc/$pid/mem: $!";
		sysseek $memory, $at->[0], 0 or die "seek: $!";
		sysread $memory, my $page, 8192;
		sysseek $memory, $at->[0], 0;
		is(defined(syswrite $memory, $page) ? 1 : 0, $at->[1],
			$at->[1] ? '... but by the window' : 'not even a debugger writes where the server has them');
	}
}
SKIP:
{
	skip 'before PostgreSQL 18 nothing tells of memory nodes', 1 if $node->pg_version < 18;
	my ($rc, $mb, $error) = $node->psql('postgres',
		q{SELECT sum(size)::bigint >> 20 FROM pg_shmem_allocations_numa WHERE name = 'Buffer Blocks'});
	skip "nothing tells of memory nodes: $error", 1 if $error =~ /libnuma|NUMA/;
	is($mb, 64, 'pg_shmem_allocations_numa counts the pool');
}
is(join('|', map { "$_->{from} $_->{rights}" } shared_maps($logger->())), $maps_of_logger,
	'the logger is left alone');

# Crashes: the server's shared memory is made anew, and its old one goes
sub crash
{
	my ($closed) = @_;
	my $restarts = () = slurp_file($log) =~ /all server processes terminated; reinitializing/g;
	my $session = $node->background_psql('postgres', on_error_stop => 0);

	my $pid = $session->query_safe('SELECT pg_backend_pid()');
	$session->query_safe('SELECT pg_mshare_freeze()') if $closed;
	kill 'KILL', $pid;
	my $took = restarted($node, $restarts + 1, 60, $log);
	eval { $session->quit };
	return $took;
}
$session->quit;
my $before = (pool_object(postmaster()))[2];
for my $closed (0, 1, 1)
{
	ok(crash($closed), 'the server comes back after a crash' . ($closed ? ' with the pool closed' : ''));
	is(status($node, 'in_place, protection'), 't|rw', '... with the pool in place and open');
	my @object = pool_object(postmaster());
	isnt($object[0], $inode, '... in new memory');
	is($object[2], $before, '... of the old size');
	$inode = $object[0];
	is($node->safe_psql('postgres', 'SELECT down_us > 0 FROM pg_mshare_flip()'), 't', '... and it flips');
	is($node->safe_psql('postgres', 'UPDATE t SET a = a + 1 RETURNING a > 1'), 't', '... and can be written');
	is($node->safe_psql('postgres', $wrongly_attached), 0, "... by $who");
	is(rights(postmaster()), $open, '... with the same rights');
}

# The postmaster has removed its file before its memory goes, and the logger, which ends
# last, may have a window.
sub stop
{
	my @pids = server_pids($node);
	$node->stop;
	wait_until(30, sub { !grep { -d "/proc/$_" } @pids }) or die "of @pids some are still there";
	sleep 0.5;
}

# What is counted: three starts each, as the machine does other things too
sub meminfo_mb
{
	return slurp_file('/proc/meminfo') =~ /^$_[0]:\s+(\d+)/m ? int $1 / 1024 : undef;
}

sub median
{
	return (sort { $a <=> $b } @_)[$#_ / 2];
}

sub measure
{
	my (@committed, @shmem, @mapped);
	for (1 .. 3)
	{
		my ($committed, $shmem) = map { meminfo_mb($_) } qw(Committed_AS Shmem);
		$node->start;
		push @mapped, (pool_object(postmaster()))[2];
		push @committed, meminfo_mb('Committed_AS') - $committed;
		push @shmem, meminfo_mb('Shmem') - $shmem;
		stop();
	}
	return map { int } median(@committed), median(@shmem), median(@mapped);
}
stop();
$node->append_conf('postgresql.conf', "shared_buffers = ${pool_mb}MB\npg_mshare.populate = on");
my %here;
@here{qw(committed shmem mapped)} = measure();
$node->start;
my ($blocks, $all) = split /\|/, $node->safe_psql('postgres', q{SELECT
	(sum(allocated_size) FILTER (WHERE name = 'Buffer Blocks'))::bigint >> 20, sum(allocated_size)::bigint >> 20
	FROM pg_shmem_allocations});
my ($of_pool) = (pool_object(postmaster()))[1];
stop();
$node->append_conf('postgresql.conf', 'pg_mshare.debug_move_pool = on');
my %moved;
@moved{qw(committed shmem mapped)} = measure();
note("shared_buffers = $pool_mb MB, populated, in place against moved, MB: "
	. join ', ', map { "$_ $here{$_} / $moved{$_}" } sort keys %here);
is($blocks, $pool_mb, 'pg_shmem_allocations counts the pool');
cmp_ok(abs($all - $of_pool), '<=', 4, "... in an area that it is in: of $all MB, mapped $of_pool MB");
cmp_ok($here{mapped}, '<', 1.3 * $pool_mb, 'address space has it once');
cmp_ok($moved{mapped}, '>', 1.9 * $pool_mb, '... and a moved one twice') if $provider eq 'mprotect';
cmp_ok($here{committed}, '<', 1.5 * $pool_mb, 'Committed_AS has it once');
cmp_ok($moved{committed}, '>', 1.7 * $pool_mb, '... and a moved one twice');
cmp_ok(abs($here{shmem} - $pool_mb), '<', $pool_mb / 3, 'Shmem has it once');

like(slurp_file($node->logfile), qr/shared buffers are moved out of the server's own area: Invalid argument.*MSHARE_FROM_MM/s,
	'what moves it is told') if $provider eq 'mshare';

# System V shared memory
$node->append_conf('postgresql.conf', "shared_buffers = 64MB\npg_mshare.populate = off\npg_mshare.debug_move_pool = off\nshared_memory_type = sysv");
my $segments = () = slurp_file('/proc/sysvipc/shm') =~ /\n/g;
$node->start;
is(status($node, 'in_place'), 't', 'System V shared memory: in place');
is(rights(postmaster()), $open, '... with the same rights');
is($node->safe_psql('postgres', 'SELECT down_us > 0 FROM pg_mshare_flip()'), 't', '... and it flips');
for my $closed (0, 1)
{
	ok(crash($closed), '... and comes back after a crash' . ($closed ? ' with the pool closed' : ''));
	is(status($node, 'in_place, protection'), 't|rw', '... in place and open');
	is(rights(postmaster()), $open, '... with the same rights');
	is($node->safe_psql('postgres', 'UPDATE t SET a = a + 1 RETURNING a > 1'), 't', '... and can be written');
}
stop();
ok(wait_until(10, sub { $segments == (() = slurp_file('/proc/sysvipc/shm') =~ /\n/g) }), '... and leaves nothing');
$node->append_conf('postgresql.conf', 'shared_memory_type = mmap');

# Huge pages of the server's own area: those that are whole are in place
SKIP:
{
	skip 'provider mprotect moves the pool then', 1 if $provider eq 'mprotect';
	my $before = free_huge_pages();
	$node->append_conf('postgresql.conf', "huge_pages = on\nmax_connections = 20");
	my ($stock) = run_command([ 'postgres', '-D', $node->data_dir, '-C', 'shared_memory_size_in_huge_pages' ]);
	skip "$before huge pages are free, $stock are needed: see vm.nr_hugepages", 1 if $before < $stock;
	for my $populate ('off', 'on')
	{
		$node->append_conf('postgresql.conf', "pg_mshare.populate = $populate");
		$node->start;
		is(status($node, 'in_place'), 't', "huge pages, populate $populate: in place");
		like(slurp_file($node->logfile), qr/in pages of 2048 kB, where the server has them\n(?!.*\n.*HINT)/, '... and the log says so');
		is($before - free_huge_pages(), $stock, '... in no more huge pages than the server without us');
		is(rights(postmaster()), $open, '... with the same rights');
		my ($from, $to) = server_has_blocks(postmaster());
		cmp_ok($to - $from, '>', 60 << 20, '... for all but two pages');
		is($node->safe_psql('postgres', 'SELECT down_us > 0 FROM pg_mshare_flip()'), 't', '... and it flips');
		is($node->safe_psql('postgres', "SELECT pg_mshare_protect('r', 7937), pg_mshare_protect('rw') IS NOT NULL") =~ /^\(mshare,2097152,.*\|t$/ ? 1 : 0, 1, '... its end too');
		$node->safe_psql('postgres', 'CREATE TABLE IF NOT EXISTS filled AS SELECT i, repeat($$x$$, 6000) FROM generate_series(1, 9000) i; SELECT sum(i) FROM filled');
		ok(holds_the_same(postmaster(), $from, hex status($node, 'address'), $to - $from), '... and the window shows what the server has');
		ok(crash(1), '... and comes back after a crash with the pool closed');
		is(status($node, 'in_place, protection'), 't|rw', '... in place and open');
		is($before - free_huge_pages(), $stock, '... in as many huge pages');
		is($node->safe_psql('postgres', 'SELECT sum(i) FROM filled'), 9000 * 9001 / 2, '... with what was committed');
		stop();
	}
	ok(wait_until(10, sub { free_huge_pages() == $before }), 'they are free after its end');

	# pages that come and go
	skip 'the machine has no pipe for settings: test/extension --vm makes it', 1 unless -p '/var/tmp/sysctl';
	$node->append_conf('postgresql.conf', "huge_pages = try\npg_mshare.populate = off");
	my $were = slurp_file('/proc/sys/vm/nr_hugepages') + 0;
	set_vm('nr_hugepages', 0);
	$node->start;
	for my $pages ($were, 0)
	{
		set_vm('nr_hugepages', $pages) if $pages;
		append_to_file('/var/tmp/sysctl', "nr_hugepages 0\n") if !$pages;
		ok(crash(1), $pages ? 'in small pages it crashes when there are huge ones' : '... and in huge ones when there are none');
		is(status($node, 'in_place, protection'), 't|rw', '... and is in place again, and open');
		is($node->safe_psql('postgres', 'SELECT down_us > 0 FROM pg_mshare_flip()'), 't', '... and it flips');
		is(rights(postmaster()), $open, '... with the same rights');
		is($node->safe_psql('postgres', 'SELECT sum(i) FROM filled'), 9000 * 9001 / 2, '... with what was committed');
	}
	stop();
	set_vm('nr_hugepages', $were);
}
$node->append_conf('postgresql.conf', 'huge_pages = off');

# Moved, with an area of huge pages
$node->append_conf('postgresql.conf', "pg_mshare.huge_pages = try");
$node->start;
is(status($node, 'in_place'), 'f', 'with pg_mshare.huge_pages it is moved');
stop();

done_testing();
