# SPDX-License-Identifier: PostgreSQL
# What is in the pool is in core dumps, the kernel's and those of gcore, with
# pg_mshare.dump_pool; closed buffers too.
use strict;
use warnings;
use lib '.';
use MshareTest;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'core dumps go to a program here, see kernel.core_pattern'
  if slurp_file('/proc/sys/kernel/core_pattern') =~ /^\||\//;

# Each row is a page of the pool, and has its number in a place that only a page has.
# That is more than what of them is in WAL buffers too.
my $rows = 4000;
my $node = mshare_node('core', conf => "max_wal_size = 1GB\nwal_buffers = 1MB\nfull_page_writes = off\nhuge_pages = off\n");
$node->safe_psql('postgres', qq{CREATE EXTENSION pg_prewarm;
	CREATE TABLE t (a int, b text) WITH (fillfactor = 10);
	ALTER TABLE t ALTER b SET STORAGE plain;
	INSERT INTO t SELECT i, 'marker' || to_char(i, 'FM000000') || repeat('x', 900) FROM generate_series(1, $rows) i});
$node->stop;

# How many of them a file holds; it may be mostly hole
sub markers
{
	my ($file) = @_;
	my ($seek_data, $seek_hole) = (3, 4);
	my $position = 0;
	my %found;

	open my $core, '<:raw', $file or die "$file: $!";
	while (defined($position = sysseek $core, $position, $seek_data))
	{
		my $end = sysseek $core, $position, $seek_hole;
		my $rest = '';

		sysseek $core, $position, 0;
		while ($position < $end && sysread $core, my $data, 1 << 20)
		{
			my $text = $rest . $data;
			$found{$1} = 1 while $text =~ /marker(\d{6})xxx/g;
			$rest = substr $text, -20;
			$position += length $data;
		}
	}
	close $core;
	return scalar keys %found;
}

my $unlimited = 'ulimit -S -c $(ulimit -H -c) && exec "$@"';
# Kill a session, its buffers closed or not; the core that it leaves.
sub core_of
{
	my ($closed) = @_;
	my $victim = $node->background_psql('postgres', on_error_stop => 0);
	my $pid = $victim->query_safe('SELECT pg_backend_pid()');
	my @before = glob($node->data_dir . '/core*');
	my $restarts = () = slurp_file($node->logfile) =~ /all server processes terminated; reinitializing/g;

	unlink @before;
	$node->safe_psql('postgres', q{SELECT pg_prewarm('t')});
	$node->safe_psql('postgres', q{SELECT pg_mshare_freeze()}) if $closed;
	kill 'ABRT', $pid;
	restarted($node, $restarts + 1) or die 'the server does not come back';
	eval { $victim->quit };
	return (glob($node->data_dir . '/core*'))[0];
}

sub restart_with
{
	my ($limit, $setting) = @_;
	my $offset = -s $node->logfile;

	$node->stop if defined $node->{_pid};
	$node->append_conf('postgresql.conf', "pg_mshare.dump_pool = $setting");
	start_limited($node, 'sh', '-c', $limit, 'sh') or die 'no start';
	return slurp_file($node->logfile, $offset);
}

# the limit is told
my $log = restart_with('ulimit -S -c 0 && exec "$@"', 'on');
like($log, qr/a core dump of any process of the server holds shared buffers, 64 MB\n.*HINT:  The limit on core files is 0 kB. Start the server with "pg_ctl -c"/,
	'a limit that leaves no core is told');

# shared memory is asked out of cores by who starts the server
my $filtered = 'echo 0x1 > /proc/self/coredump_filter && ' . $unlimited;
$log = restart_with($filtered, 'on');
like($log, qr/a core dump of any process of the server holds shared buffers, 64 MB\n(?!.*HINT:  The limit)/, 'with dump_pool the log says so');
my $can = slurp_file('/proc/' . (server_pids($node))[0] . '/limits') =~ /^Max core file size\s+unlimited/m;
SKIP:
{
	skip 'the limit on core files cannot be raised', 3 unless $can;
	my $core = core_of(0);
	ok($core, 'a process that crashes dumps core') or skip 'no core', 2;
	is(markers($core), $rows, '... which holds the pool');
	is(markers(core_of(1)), $rows, '... closed too');
}

# gcore
SKIP:
{
	skip 'there is no gcore here', 2 if system('command -v gcore > /dev/null 2>&1');
	my $victim = $node->background_psql('postgres', on_error_stop => 0);
	my $pid = $victim->query_safe('SELECT pg_backend_pid()');
	my $file = "$PostgreSQL::Test::Utils::tmp_check/gcore";

	$node->safe_psql('postgres', q{SELECT pg_prewarm('t')});
	$node->safe_psql('postgres', q{SELECT pg_mshare_freeze()});
	my $start = time;
	my $said = `gcore -o $file $pid 2>&1`;
	note(sprintf 'gcore took %.1f s, and made %d MB: %s', time - $start, (-s "$file.$pid") >> 20, $said);
	system_or_bail($node->installed_command('pg_mshare_ctl'), 'thaw', '-D', $node->data_dir);
	skip "gcore may not look here: $said", 2 if $said =~ /Operation not permitted/;
	ok(-e "$file.$pid", 'gcore makes a core') or diag($said) or skip 'no core', 1;
	is(markers("$file.$pid"), $rows, '... which holds the pool, frozen as it is');
	unlink "$file.$pid";
	is($victim->query_safe('SELECT 1'), 1, '... and the session goes on');
	$victim->quit;
}

# in huge pages
SKIP:
{
	skip 'no huge pages are free: see vm.nr_hugepages', 1 if free_huge_pages() < 32;
	skip 'the limit on core files cannot be raised', 1 unless $can;
	$node->append_conf('postgresql.conf', 'pg_mshare.huge_pages = on');
	restart_with($filtered, 'on');
	my $core = core_of(0) or skip 'no core', 1;
	is(markers($core), $rows, 'so does a core of a server with huge pages');
	$node->append_conf('postgresql.conf', 'pg_mshare.huge_pages = off');
}

# without, it is as the server's own memory is (mprotect), or windows are (mshare)
restart_with($provider eq 'mprotect' ? $filtered : $unlimited, 'off');
SKIP:
{
	skip 'the limit on core files cannot be raised', 1 unless $can;
	my $core = core_of(0) or skip 'no core', 1;
	cmp_ok(markers($core), '<', $rows / 2, 'without dump_pool it does not');
}
unlink glob($node->data_dir . '/core*');

done_testing();
