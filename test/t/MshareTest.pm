# SPDX-License-Identifier: PostgreSQL
# What the TAP tests share. The provider under test comes from the environment.
package MshareTest;

use strict;
use warnings;
use Carp;
use Digest::MD5;
use Exporter 'import';
use IPC::Run;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Time::HiRes qw(time sleep);

our @EXPORT = qw($provider mshare_node status server_pids pids_by_mapping
  kernel_waits pool_digest worker_pid restarted set_vm start_limited
  wait_until start_sql sql_ends waiters prewarm mapped_mb shmem_kb free_huge_pages
  bench_sums sleep time);

# A psql that finds no server may be gone before its input is written. Its exit status
# and its messages tell that; without this IPC::Run would die of EPIPE, so that polling a
# server that restarts would fail where the machine is busy.
{
	no warnings 'redefine';
	*IPC::Run::_write = sub {
		my ($fd, $data) = @_;
		my $written = POSIX::write($fd, $data, length $data);
		return length $data if !defined $written and $!{EPIPE};
		return $written // croak "$!: write( $fd )";
	};

	# Keep what comes after the match: a statement may end as soon as it has started.
	*PostgreSQL::Test::BackgroundPsql::query_until = sub {
		my ($self, $until, $query) = @_;
		$self->{timeout}->start;
		$self->{stdin} .= $query;
		pump_until($self->{run}, $self->{timeout}, \$self->{stdout}, $until);
		die 'psql query timed out' if $self->{timeout}->is_expired;
		$self->{stdout} =~ s/^(.*?$until\n?)//s;
		return $1;
	};

	# That a pool is too small for what is read is no reason to fail: many are, here.
	my $query = \&PostgreSQL::Test::BackgroundPsql::query;
	*PostgreSQL::Test::BackgroundPsql::query = sub {
		my ($self) = @_;
		$self->{timeout}->start;	# of the statement, not of the session
		my @result = wantarray ? $query->(@_) : scalar $query->(@_);
		$self->{stderr} =~ s/^(?:\S+ )?WARNING:  reads from disk fail while .*\n(?:(?:DETAIL|HINT): .*\n?)*//mg;
		return wantarray ? @result : $result[0];
	};
}

our $provider = $ENV{PG_MSHARE_TEST_PROVIDER} || 'mprotect';

# A server with the extension preloaded and created; settings come last.
sub mshare_node
{
	my ($name, %params) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init(%{ $params{init} || {} });
	$node->append_conf('postgresql.conf', <<"END");
shared_preload_libraries = 'pg_mshare'
pg_mshare.provider = $provider
shared_buffers = 64MB
max_connections = 150
autovacuum = off
restart_after_crash = on
log_min_messages = info
log_statement = none
huge_pages = off
END
	# what is busy with other tests answers late
	$node->append_conf('postgresql.conf', 'pg_mshare.close_timeout = 10s');
	# as small a ring of buffers as 15 has: what a test evicts, VACUUM does not keep
	$node->append_conf('postgresql.conf', 'vacuum_buffer_usage_limit = 256kB')
	  if $node->pg_version >= 16;
	$node->append_conf('postgresql.conf', $params{conf}) if $params{conf};
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION pg_mshare')
	  unless $params{no_extension};
	return $node;
}

sub status
{
	my ($node, $column) = @_;
	return $node->safe_psql('postgres', "SELECT $column FROM pg_mshare_status");
}

# What waits in the kernel: off, writes or all
sub kernel_waits
{
	my ($node) = @_;
	return $node->safe_psql('postgres', 'SHOW pg_mshare.kernel_waits');
}

# The postmaster and its children, the logger too
sub server_pids
{
	my ($node) = @_;
	my $postmaster = (split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[0];
	my @pids = ($postmaster);

	for my $path (glob '/proc/[0-9]*/stat')
	{
		open my $stat, '<', $path or next;
		my $line = <$stat>;
		next unless defined $line and $line =~ /^(\d+) \(.*\) (\S) (\d+)/;
		push @pids, $1 if $3 == $postmaster and $2 ne 'Z';
	}
	return @pids;
}

# The processes of the server that map the pool, or part of it, so that it matches
# ("w"), or that do not. One that has gone meanwhile maps nothing and is neither.
sub pids_by_mapping
{
	my ($node, $address, $bytes, $match) = @_;
	my $base = hex $address;
	my (@matching, @others);

	for my $pid (server_pids($node))
	{
		open my $maps, '<', "/proc/$pid/maps" or next;
		my @lines = <$maps>;
		next unless @lines;
		my $found = grep {
			my ($from, $to, $prot) = /^([0-9a-f]+)-([0-9a-f]+) (\S+)/;
			hex($from) < $base + $bytes and hex($to) > $base and $prot =~ $match
		} @lines;
		push @{ $found ? \@matching : \@others }, $pid;
	}
	return (\@matching, \@others);
}

# A digest of all bytes of the pool, by no page's lock but through /proc/PID/mem, or
# undef where that may not be read.
sub pool_digest
{
	my ($pid, $address, $bytes) = @_;
	my $digest = Digest::MD5->new;
	my $chunk = 1024 * 1024;

	open my $memory, '<:raw', "/proc/$pid/mem" or return;
	sysseek $memory, hex $address, 0 or return;
	for (my $left = $bytes; $left > 0; $left -= $chunk)
	{
		(sysread($memory, my $data, $chunk) // 0) == $chunk or return;
		$digest->add($data);
	}
	return $digest->hexdigest;
}

sub worker_pid
{
	my ($node) = @_;
	return $node->safe_psql('postgres',
		"SELECT pid FROM pg_mshare_backends WHERE backend_type = 'pg_mshare freeze worker'");
}

# Set what is below /proc/sys/vm; only the guest has a pipe for that, see test/extension.
sub set_vm
{
	my ($name, $value) = @_;

	append_to_file('/var/tmp/sysctl', "$name $value\n");
	wait_until(10, sub { slurp_file("/proc/sys/vm/$name") == $value })
	  or die "vm.$name is not $value";
}

# Start a server by a command that takes pg_ctl's as its arguments; is it up?
sub start_limited
{
	my ($node, @command) = @_;
	my $up = system(@command, $node->installed_command('pg_ctl'), '-s', '-w',
		'-D', $node->data_dir, '-l', $node->logfile, 'start') == 0;

	$node->_update_pid(1) if $up;
	return $up;
}

# Poll a condition; the number of seconds it took, or undef.
sub wait_until
{
	my ($seconds, $condition) = @_;
	my $start = time;

	while (time - $start < $seconds)
	{
		return time - $start || 1e-6 if $condition->();
		sleep 0.02;
	}
	return;
}

# Wait for the server to be up again after so many crash restarts, of which its log tells, or
# the one named; as wait_until().
sub restarted
{
	my ($node, $times, $seconds, $log) = @_;
	return wait_until($seconds // 60, sub {
		(() = slurp_file($log // $node->logfile) =~ /all server processes terminated; reinitializing/g) >= $times
		  and $node->psql('postgres', 'SELECT 1') == 0 });
}

# Begin a statement in a background psql, without waiting for its end.
sub start_sql
{
	my ($session, $sql) = @_;
	$session->{stdout} = $session->{stderr} = '';
	$session->query_until(qr/started/, "\\echo started\n$sql;\n\\echo finished\n");
}

# How long it takes until what was begun ends, or undef
sub sql_ends
{
	my ($session, $seconds) = @_;
	$session->{timeout}->start;
	return wait_until($seconds, sub {
		$session->{run}->pump_nb;
		$session->{stdout} =~ s/finished\n// });
}

sub waiters
{
	my ($session) = @_;
	return $session->query_safe('SELECT waiters FROM pg_mshare_status');
}

# Read everything into the pool, where it fits: reads that miss would fail while the
# pool is closed, see the limits in the documentation. Needs extension pg_prewarm.
sub prewarm
{
	my ($node) = @_;
	$node->safe_psql('postgres', q{
		SELECT sum(pg_prewarm(c.oid, 'buffer', f)) FROM pg_class c,
			unnest(ARRAY['main', 'fsm', 'vm']) f
		WHERE relkind IN ('r', 'i', 't', 'm') AND pg_relation_size(c.oid, f) > 0});
}

# What is mapped of the pool by the process, in MB; provider mprotect only
sub mapped_mb
{
	my ($node, $pid) = @_;
	my ($address, $bytes) = split /\|/, status($node, 'address, bytes');
	my $page = POSIX::sysconf(POSIX::_SC_PAGESIZE());
	my $wanted = $bytes / $page * 8;

	no warnings 'portable';
	open my $pagemap, '<:raw', "/proc/$pid/pagemap" or die "/proc/$pid/pagemap: $!";
	sysseek $pagemap, hex($address) / $page * 8, 0 or die "seek: $!";
	(sysread $pagemap, my $entries, $wanted) == $wanted or die "read: $!";
	return (grep { $_ >> 63 } unpack 'Q*', $entries) * $page >> 20;
}

sub shmem_kb
{
	return slurp_file('/proc/meminfo') =~ /^Shmem:\s+(\d+)/m ? $1 : undef;
}

# Huge pages of 2 MB that nobody has or is promised
sub free_huge_pages
{
	my %pages = slurp_file('/proc/meminfo') =~ /^HugePages_(Free|Rsvd):\s+(\d+)/mg;
	return $pages{Free} - $pages{Rsvd};
}

# pgbench's invariant: all four are the same
sub bench_sums
{
	my ($node) = @_;
	return split /\|/, $node->safe_psql('postgres', q{
		SELECT (SELECT sum(abalance) FROM pgbench_accounts),
			(SELECT sum(tbalance) FROM pgbench_tellers),
			(SELECT sum(bbalance) FROM pgbench_branches),
			(SELECT coalesce(sum(delta), 0) FROM pgbench_history)});
}

1;
