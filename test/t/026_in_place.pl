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
plan skip_all => 'provider mshare moves the pool' if $provider eq 'mshare';
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

# The object in which the pool is, and how many MB a process maps of it and of all
sub pool_object
{
	my ($pid) = @_;
	my $address = hex status($node, 'address');
	my @maps = shared_maps($pid);
	my ($here) = grep { $_->{from} <= $address && $address < $_->{to} } @maps;
	my ($of_it, $all) = (0, 0);

	for (@maps)
	{
		my $mb = ($_->{to} - $_->{from}) / (1 << 20);
		$of_it += $mb if $here && $_->{inode} == $here->{inode};
		$all += $mb;
	}
	return ($here ? $here->{inode} : undef, $of_it, $all);
}

sub postmaster
{
	return (server_pids($node))[0];
}

# Which rights the pool and its neighbours in the same object have: "rw", or both
sub rights
{
	my ($pid) = @_;
	my ($address, $bytes) = map { /^0x/ ? hex : $_ } split /\|/, status($node, 'address, bytes');
	my ($inode) = pool_object($pid);
	my (%inside, %outside);

	for (grep { $_->{inode} == $inode } shared_maps($pid))
	{
		$inside{ $_->{rights} }++ if $_->{from} < $address + $bytes && $_->{to} > $address;
		$outside{ $_->{rights} }++ if $_->{from} < $address || $_->{to} > $address + $bytes;
	}
	return join(',', sort keys %inside) . ' ' . join(',', sort keys %outside);
}

my $logger = sub {
	return $node->safe_psql('postgres', q{SELECT pid FROM pg_mshare_backends WHERE backend_type IN ('logger', 'syslogger')});
};

# Where it is
is(status($node, 'in_place'), 't', 'the pool is in place');
like(slurp_file($node->logfile), qr/provider mprotect maps 64 MB of shared buffers at 0x\w+, in pages of 4 kB, where the server has them/,
	'... and the log says so');
my ($inode, $of_it) = pool_object(postmaster());
cmp_ok($of_it, '>', 64, "... in a mapping that holds other things too: $of_it MB");
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_mshare_backends
	WHERE attached = (backend_type IN ('logger', 'syslogger'))}), 0, 'all but the logger have it');

# The neighbours
my $session = $node->background_psql('postgres', on_error_stop => 0);
my $pid = $session->query_safe('SELECT pg_backend_pid()');
is(rights($pid), 'rw rw', 'pool and neighbours are open');
my $maps_of_logger = join '|', map { "$_->{from} $_->{rights}" } shared_maps($logger->());
for my $closing ("pg_mshare_freeze()", "pg_mshare_protect('r', 1)", "pg_mshare_protect('r', 8192, 1)")
{
	$session->query_safe('SELECT pg_mshare_thaw()');
	my ($address, $bytes) = map { /^0x/ ? hex : $_ } split /\|/, status($node, 'address, bytes');
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
			  if $_->{from} < $address || $_->{to} > $address + $bytes;
		}
	}
	$session->query_safe('SELECT pg_mshare_thaw()');
	cmp_ok(scalar keys %closed, '>=', 6, "$closing closes in every process");
	is(join(', ', values %wrong), '', '... nothing but the pool');
	is(rights($pid), 'rw rw', '... and it opens again');
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
	is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_mshare_backends
		WHERE attached = (backend_type IN ('logger', 'syslogger'))}), 0, '... by all but the logger');
}

# The postmaster has removed its file before its memory goes.
sub stop
{
	my $pid = postmaster();
	$node->stop;
	wait_until(30, sub { !-d "/proc/$pid" }) or die "process $pid is still there";
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
cmp_ok($moved{mapped}, '>', 1.9 * $pool_mb, '... and a moved one twice');
cmp_ok($here{committed}, '<', 1.5 * $pool_mb, 'Committed_AS has it once');
cmp_ok($moved{committed}, '>', 1.7 * $pool_mb, '... and a moved one twice');
cmp_ok(abs($here{shmem} - $pool_mb), '<', $pool_mb / 3, 'Shmem has it once');

# Moved, with an area of huge pages
$node->append_conf('postgresql.conf', "shared_buffers = 64MB\npg_mshare.huge_pages = try\npg_mshare.debug_move_pool = off");
$node->start;
is(status($node, 'in_place'), 'f', 'with pg_mshare.huge_pages it is moved');
stop();

done_testing();
