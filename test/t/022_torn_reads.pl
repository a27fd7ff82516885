# SPDX-License-Identifier: PostgreSQL
# A read from disk that a closing meets never ends in the middle of a block: PostgreSQL
# would take that for a damaged page. Where it could, nothing is closed.
use strict;
use warnings;
use lib '.';
use MshareTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = mshare_node('torn_reads', conf => "shared_buffers = 16MB\n");
my $gid = (split / /, $))[0];

# More than the pool holds, eight rows to a block
$node->safe_psql('postgres', q{CREATE TABLE big AS SELECT g AS id, repeat('x', 900) AS filler FROM generate_series(1, 48000) g});
$node->safe_psql('postgres', 'VACUUM FREEZE');

# Read single blocks while the pool is flipped; how many reads were right, looked like
# damage, failed otherwise, and gave a wrong answer without an error
sub storm
{
	my ($seconds) = @_;
	my ($flipper, @readers) = map { $node->background_psql('postgres', on_error_stop => 0) } 1 .. 3;
	my $pid = $flipper->query_safe('SELECT pg_backend_pid()');
	my %count;

	for my $reader (@readers)
	{
		# half of them as an administrator who is out of luck
		$reader->query_safe('SET zero_damaged_pages = on') if $reader == $readers[0];
		$reader->query_safe('SET client_min_messages = notice');
		$reader->query_until(qr/started/, "\\echo started\n" . qq{DO \$\$
			DECLARE n int; b int; good int := 0; torn int := 0; failed int := 0; wrong int := 0;
				until timestamptz := clock_timestamp() + '$seconds s';
			BEGIN
				WHILE clock_timestamp() < until LOOP
					BEGIN
						b := random() * 5900;
						SELECT count(*) INTO n FROM big WHERE ctid = format('(%s,1)', b)::tid;
						IF n = 1 THEN good := good + 1; ELSE wrong := wrong + 1; END IF;
					EXCEPTION WHEN data_corrupted THEN torn := torn + 1; WHEN query_canceled THEN RAISE;
						WHEN OTHERS THEN failed := failed + 1;
					END;
				END LOOP;
				RAISE NOTICE 'good % torn % failed % wrong %', good, torn, failed, wrong;
			END \$\$;\n\\echo finished\n});
	}
	# what they need from the catalogs, they have read by then
	sleep 1;
	$flipper->query_until(qr/started/, "\\echo started\n" . q{DO $$ BEGIN LOOP
		BEGIN
			PERFORM pg_mshare_flip();
		EXCEPTION WHEN query_canceled THEN RAISE; WHEN OTHERS THEN NULL;
		END;
		PERFORM pg_sleep(0.001);
	END LOOP; END $$;} . "\n");
	for my $reader (@readers)
	{
		wait_until($seconds + 120, sub { $reader->{run}->pump_nb; $reader->{stdout} =~ /finished/ });
		$count{$1} += $2 while $reader->{stderr} =~ /(good|torn|failed|wrong) (\d+)/g;
	}
	kill 'INT', $pid;
	eval { $_->quit } for $flipper, @readers;
	$count{flips} = status($node, 'flips');
	note(join ', ', map { "$_ $count{$_}" } sort keys %count);
	return \%count;
}

my $kernel_waits = kernel_waits($node);
if ($provider eq 'mprotect' or $kernel_waits eq 'all')
{
	my $count = storm(15);
	cmp_ok($count->{flips}, '>', 50, 'a pool that is flipped while it is read into');
	cmp_ok($count->{good}, '>', 50, '... reads are right');
	is($count->{torn}, 0, '... none looks like damage');
	is($count->{wrong}, 0, '... and none has a wrong answer');
	is($count->{failed}, 0, '... and none fails') if $provider eq 'mshare';
}

if ($provider eq 'mshare')
{
	$node->append_conf('postgresql.conf', 'pg_mshare.debug_kernel_waits = writes');
	$node->restart;
	my $hint = $kernel_waits eq 'all' ? 'The server log says at its start' :
		quotemeta qq{Run "sysctl vm.mshare_fault_group=$gid" as root and restart the server.};
	if ($kernel_waits ne 'all')
	{
		# as an administrator finds it
		$node->append_conf('postgresql.conf', 'pg_mshare.debug_kernel_waits = all');
		$node->restart;
	}
	for my $call ('pg_mshare_flip()', q{pg_mshare_protect('r')}, 'pg_mshare_freeze()', q{pg_mshare_watch('1 s')})
	{
		my ($rc, $out, $err) = $node->psql('postgres', "SELECT $call");
		like($err, qr/ERROR:  buffers cannot be closed while reads from disk do not wait.*DETAIL:  .*damaged page.*HINT:  $hint/s,
			"where reads do not wait $call is refused, with a hint");
	}
	command_fails_like([ $node->installed_command('pg_mshare_ctl'), 'freeze', '-D', $node->data_dir ],
		qr/buffers cannot be closed while reads from disk do not wait/, '... and pg_mshare_ctl freeze');
	is($node->safe_psql('postgres', q{SELECT buffers > 0 FROM pg_mshare_protect('rw'), pg_mshare_status}), 't', '... but not opening');

	# the control: without the rule reads are torn
	$node->append_conf('postgresql.conf', "pg_mshare.debug_kernel_waits = writes\npg_mshare.debug_torn_reads = on");
	$node->restart;
	my $count;
	for (1 .. 4)
	{
		$count = storm(10);
		last if $count->{torn} and ($count->{wrong} or $node->pg_version >= 18);
	}
	cmp_ok($count->{torn}, '>', 0, "control: else reads look like damage: $count->{torn}");
	# from 18 on that setting makes no zeros of what was not read
	cmp_ok($count->{wrong}, '>', 0, "control: and with zero_damaged_pages rows are missing: $count->{wrong}")
	  if $node->pg_version < 18;
}

# Reads that reach memory in other ways than through the page cache: they are seen by no
# wait, so that with provider mshare nothing is closed. With mprotect a process closes its
# own buffers between its own system calls, which io_uring's reads outlive.
for my $way ([ 16, "debug_io_direct = 'data'" ], [ 18, "io_method = 'io_uring'" ])
{
	my ($since, $setting) = @$way;
	next if $node->pg_version < $since;
	my ($name) = $setting =~ /(\w+)/;
	my $allowed = $provider eq 'mprotect' && $name ne 'io_method';

	$node->append_conf('postgresql.conf', "pg_mshare.debug_kernel_waits = all\npg_mshare.debug_torn_reads = off\n$setting");
	$node->stop;
	SKIP:
	{
		skip "no server with $setting here", 1 unless $node->start(fail_ok => 1);
		isnt(kernel_waits($node), 'all', "$setting: reads do not wait");
		my ($rc, $out, $err) = $node->psql('postgres', 'SELECT pg_mshare_flip()');
		if (!$allowed)
		{
			like($err, qr/ERROR:  buffers cannot be closed while reads from disk do not wait/, '... so that nothing is closed');
			$node->append_conf('postgresql.conf', 'pg_mshare.debug_torn_reads = on');
			$node->restart;
		}
		my $count = storm(10);
		cmp_ok($count->{good}, '>', 50, '... reads go on');
		if ($allowed)
		{
			is($count->{torn} + $count->{wrong}, 0, '... none looks like damage, or has a wrong answer');
		}
		else
		{
			my $bad = $count->{torn} + $count->{failed} + $count->{wrong};
			cmp_ok($bad, '>', 0, "control: else they fail, or look like damage: $bad");
		}
		$node->stop;
	}
	$node->append_conf('postgresql.conf', "$name = " . ($name eq 'io_method' ? 'worker' : "''"));
	$node->start unless defined $node->{_pid};
}

done_testing();
