# SPDX-License-Identifier: PostgreSQL
# The runbooks of pg_mshare/README.md, each block as it stands there.
use strict;
use warnings;
use lib '.';
use MshareTest;
use PostgreSQL::Test::Utils;
use IPC::Run;
use Test::More;

# heading => [ { language, text }, ... ]
my $readme = slurp_file('../../pg_mshare/README.md');
my ($section) = $readme =~ /^## Runbooks\n(.*?)^## /ms or die 'no runbooks';
my %runbooks;
for my $part (split /^### /m, $section)
{
	my ($heading, $body) = split /\n/, $part, 2;
	while (($body // '') =~ /^( *)```(\w+)\n(.*?)^\1```/msg)
	{
		my ($indent, $language, $text) = ($1, $2, $3);
		$text =~ s/^$indent//mg;
		push @{ $runbooks{$heading} }, { language => $language, text => $text };
	}
}

# time for slow machines, but for the runbook that the default has to do for
my $node = mshare_node('runbooks', conf => "pg_mshare.freeze_timeout = 60s\n");
my $data = $node->data_dir;
$ENV{PGHOST} = $node->host;
$ENV{PGPORT} = $node->port;
$ENV{PGDATABASE} = 'postgres';

# Run the next block of a runbook; what it prints. A server that it starts goes on
# writing to the same log, and no core is to fill the disk.
my @blocks;
sub run_block
{
	my ($name) = @_;
	my $block = shift @blocks or die "no block left: $name";
	my $text = $block->{text} =~ s/DATADIR/$data/gr;
	my ($offset, $out, $ok) = (-s $node->logfile);

	if ($block->{language} eq 'sql')
	{
		$ok = IPC::Run::run([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1' ], '<', \$text, '>', \$out, '2>&1');
	}
	else
	{
		my $log = $node->logfile;
		$ok = !system 'sh', '-c', "ulimit -c 0; { set -e; $text\n} >> '$log' 2>&1 < /dev/null";
		$out = slurp_file($log, $offset);
	}
	ok($ok, $name) or diag("$text\n$out");
	return $out;
}

sub start
{
	my ($session, $statement) = @_;
	$session->query_until(qr/started/, "\\echo started\n$statement;\n\\echo finished\n");
}

sub finished
{
	my ($session) = @_;
	return wait_until(30, sub { $session->{run}->pump_nb; $session->{stdout} =~ /finished/ });
}

sub closed
{
	my $file = "$data/pg_mshare.state";
	system 'sh', '-c', "pg_mshare_ctl status -D '$data' > /dev/null 2>&1";
	return -e $file && slurp_file($file) !~ /^closed nothing$/m;
}

$node->safe_psql('postgres', q{
	CREATE TABLE archive (id int PRIMARY KEY, v int, document text);
	INSERT INTO archive SELECT g, 0, CASE g WHEN 1 THEN repeat(md5(g::text), 1000) END FROM generate_series(1, 5000) g;
	ALTER TABLE archive ALTER document SET STORAGE EXTERNAL;
	UPDATE archive SET document = repeat('x', 20000) WHERE id = 2});
my $writer = $node->background_psql('postgres', on_error_stop => 0);
my $pid = $writer->query_safe('SELECT pg_backend_pid()');

my %scenarios = (
	'Who writes there? A stray writer' => sub {
		# what the writer needs, it has seen; and its INSERT has a new page to itself
		$writer->query_safe('INSERT INTO archive VALUES (0, 0, NULL)');
		my $before = run_block('the relation is protected');
		like($before, qr/^$provider\|/m, '... by the provider in use');
		my ($size) = $before =~ /^(\d{5,})$/m;
		my %covered = map { $_ => 1 } split /\n/, $node->safe_psql('postgres', q{
			SELECT c.relname FROM pg_class c WHERE c.oid IN ('archive'::regclass, 'archive_pkey'::regclass)
				OR c.oid = (SELECT reltoastrelid FROM pg_class WHERE oid = 'archive'::regclass)});
		is(scalar(keys %covered), 3, 'it has an index and TOAST');
		start($writer, q{INSERT INTO archive SELECT g, 0, NULL FROM generate_series(10001, 10500) g});
		ok(wait_until(10, sub { closed() && slurp_file("$data/pg_mshare.state") =~ /^waiters 1$/m }), 'an INSERT that extends it waits');
		run_block('thaw');
		ok(finished($writer), '... and goes on');
		my $faults = run_block('who it was');
		like($faults, qr/^[^|]+\|$pid\|client backend\|(archive|archive_pkey)\|/m, '... is told');
		my ($grown) = $faults =~ /^(\d{5,})$/m;
		cmp_ok($grown, '>', $size, '... and the table has grown');

		my $busy = $node->background_psql('postgres', on_error_stop => 0);
		$busy->query_safe('UPDATE archive SET v = v + 1 WHERE id = 7');
		start($busy, q{SELECT pg_sleep(2); INSERT INTO archive SELECT g, 0, NULL FROM generate_series(20001, 20500) g});
		like(run_block('a watch'), qr/^archive\|/m, '... sees the table grow too');
		ok(finished($busy), '... and lets it');
		eval { $_->quit } for $busy, $writer;

		run_block('settings for a core');
		run_block('restart');
		$node->_update_pid(1);
		is($node->safe_psql('postgres', 'SHOW pg_mshare.on_fault; SHOW pg_mshare.dump_pool'), "crash\non", '... with these settings');
		ok($node->log_contains(qr/pg_mshare: a core dump of any process of the server holds shared buffers, 64 MB/),
			'... and the log says that cores hold the pool');
		$node->safe_psql('postgres', q{VACUUM (FREEZE) archive; SELECT pg_prewarm('archive'); UPDATE archive SET v = v WHERE id = 3});
		$node->safe_psql('postgres', q{SELECT pg_mshare_protect_relation('archive', 'r')});
		$node->psql('postgres', 'UPDATE archive SET v = v + 1 WHERE id = 3');
		ok(wait_until(60, sub { $node->log_contains(qr/crashes: its write to byte .* of relation [0-9\/]+ \(\w+\), is denied/) && $node->psql('postgres', 'SELECT 1') == 0 }),
			'... and the writer crashes, and is named');
		$node->safe_psql('postgres', 'ALTER SYSTEM RESET pg_mshare.on_fault; ALTER SYSTEM RESET pg_mshare.dump_pool');
		$node->restart;
	},
	'Holding still for amcheck' => sub {
		$node->append_conf('postgresql.conf', 'pg_mshare.freeze_timeout = 10s');
		$node->reload;
		wait_until(10, sub { $node->safe_psql('postgres', 'SHOW pg_mshare.freeze_timeout') eq '10s' });
		$node->safe_psql('postgres', 'VACUUM FREEZE');
		my $start = time;
		run_block('a check in a freeze, with the default settings');
		ok(closed() || time - $start > 9, '... which it leaves frozen');
		run_block('thaw');
		ok(!closed(), '... opens it');
		run_block('a longer one is allowed');
		ok(wait_until(10, sub { $node->psql('postgres', q{SELECT pg_mshare_freeze('30 s')}) == 0 }), '... by these settings');
		system_or_bail('sh', '-c', "pg_mshare_ctl thaw -D '$data' > /dev/null");
	},
	'A read-only window before a failover, and why it is no fence' => sub {
		$writer = $node->background_psql('postgres', on_error_stop => 0);
		$writer->query_safe('UPDATE archive SET v = v + 1 WHERE id = 4');
		# the writer waits when the pool is frozen, and is there when the server stops
		start($writer, 'DO $$ BEGIN LOOP UPDATE archive SET v = v + 1 WHERE id = 4; COMMIT; END LOOP; END $$');
		my $start = time;
		run_block('freeze and stop');
		cmp_ok(time - $start, '<', 60, '... ends while writers wait');
		ok(!-e "$data/postmaster.pid", '... with the server stopped');
		$node->_update_pid(0);
		eval { $writer->quit };
		$node->start;
		is($node->safe_psql('postgres', 'SELECT v > 0 FROM archive WHERE id = 4'), 't', '... and nothing is lost');
	},
	'A freeze that is stuck' => sub {
		my $worker = worker_pid($node);
		my $freeze = sub {
			# the worker may be on its way
			wait_until(30, sub { !system 'sh', '-c', "pg_mshare_ctl freeze -D '$data' > /dev/null 2>&1" }) or die 'could not freeze';
		};
		my $opens = sub {
			my ($how) = @_;
			$freeze->();
			my $out = run_block($how);
			ok(wait_until(10, sub { !closed() }), '... opens the pool');
			return $out;
		};
		$node->safe_psql('postgres', 'SELECT pg_mshare_thaw()');
		like($opens->('status and thaw'), qr/^closed frozen\nby \d+\nsince .*\nuntil .*^the buffer pool is open$/ms, '... and says what held it');
		$opens->($_) for 'SQL', 'SIGUSR2', 'SIGTERM';
		ok(wait_until(30, sub { my $pid = worker_pid($node); $pid && $pid != $worker }), '... and there is another worker');
		$freeze->();
		run_block('a stop');
		ok(!-e "$data/postmaster.pid", '... stops it');
		$node->_update_pid(0);
	});

is_deeply([ sort keys %runbooks ], [ sort keys %scenarios ], 'each runbook is here');
for my $heading ('Who writes there? A stray writer', 'Holding still for amcheck',
	'A read-only window before a failover, and why it is no fence', 'A freeze that is stuck')
{
	note($heading);
	@blocks = @{ $runbooks{$heading} };
	$scenarios{$heading}->();
	is(scalar(@blocks), 0, "all of it was run: $heading");
}

done_testing();
