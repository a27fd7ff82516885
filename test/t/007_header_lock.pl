# SPDX-License-Identifier: PostgreSQL
# 13. With checksums, setting a hint bit sets the page's LSN under the buffer
# header's spinlock: whoever sleeps there makes others PANIC. A storm of hint bits
# through many freezes must not; without the rule it does.
#
# PG_TEST_EXTRA=long adds a freeze of 60 s and the control that PANICs, which takes
# the two minutes of a stuck spinlock.
use strict;
use warnings;
use lib '.';
use Test::More;

my $long;

BEGIN
{
	# background sessions count it from their start
	$long = ($ENV{PG_TEST_EXTRA} || '') =~ /\blong\b/;
	$ENV{PG_TEST_TIMEOUT_DEFAULT} = 1800 if $long;
}
use MshareTest;
use PostgreSQL::Test::Utils;

my $node = mshare_node('header_lock',
	init => { extra => ['--data-checksums'] },
	conf => "pg_mshare.freeze_timeout = 60s\nfsync = off\nlog_destination = 'stderr,csvlog'\n");
is($node->safe_psql('postgres', 'SHOW data_checksums'), 'on', 'checksums are on');
$node->safe_psql('postgres', 'CREATE TABLE t (id int, v int)');

# Pages whose tuples have no hint bits yet, all in the pool, and a checkpoint since,
# so that the first hint on each logs the page and sets its LSN.
sub fresh_pages
{
	$node->safe_psql('postgres', 'TRUNCATE t; INSERT INTO t SELECT g, 0 FROM generate_series(1, 300000) g');
	$node->safe_psql('postgres', 'CHECKPOINT');
}

# Sessions that read the table at the same time
sub readers
{
	my ($n) = @_;
	my @sessions = map { $node->background_psql('postgres', on_error_stop => 0) } 1 .. $n;
	# what planning needs from the catalogs, without reading the table
	$_->query_safe('EXPLAIN SELECT count(*) FROM t') for @sessions;
	return @sessions;
}

# Does not wait for the end: reads the table, or does something else.
sub start
{
	my ($session, $sql) = @_;
	$sql //= 'SELECT count(*) FROM t';
	$session->query_until(qr/started/, "\\echo started\n$sql;\n\\echo finished\n");
}

# What it printed until its end; nothing if that did not come
sub finished
{
	my ($session, $seconds) = @_;
	my $ended = wait_until($seconds, sub { $session->{run}->pump_nb; $session->{stdout} =~ /finished/ });
	my $output = $ended ? $session->{stdout} : '';
	$session->{stdout} = '';
	return $output;
}

# How many writes waited, and how often the pool was reopened for one under the lock
sub seen
{
	my $log = slurp_file($node->logfile);
	my $waited = 0;
	$waited += $1 while $log =~ /, (\d+) writes waited/g;
	my $reopened = () = $log =~ /reopened for a moment/g;
	return ($waited, $reopened);
}

# Many short freezes across storms of hint bits, more if none met a header lock.
# They start first: a storm may be over before one that is asked for in it.
my $admin = $node->background_psql('postgres', on_error_stop => 0);
my $freezes = $long ? 1000 : 60;
my ($done, $waited, $reopened) = (0, 0, 0);
$admin->query_safe('SELECT pg_mshare_thaw()');
while ($done < $freezes || !$reopened && $done < 20 * $freezes)
{
	fresh_pages();
	my @readers = readers(4);
	start($admin, q{SELECT count(pg_mshare_flip('r', '20 ms')) FROM generate_series(1, 20)});
	start($_) for @readers;
	ok(finished($_, 60), 'a reader that sets hint bits finishes') for @readers;
	like(finished($admin, 60), qr/^20$/m, '... and so do all freezes');
	$done += 20;
	$_->quit for @readers;
	($waited, $reopened) = seen();
}
cmp_ok($waited, '>', 0, "$done freezes, $waited parked writes");
cmp_ok($reopened, '>', 0, "reopened for the sake of a header lock: $reopened");
ok(!$node->log_contains(qr/PANIC/), 'no PANIC');

# a long freeze, with a storm before it and one in it
fresh_pages();
my @readers = readers(4);
start($_) for @readers[0, 1];
my $seconds = $long ? 60 : 3;
$admin->query_safe("SELECT pg_mshare_freeze('$seconds s')");
start($_) for @readers[2, 3];
is(scalar(grep { finished($_, $seconds + 30) } @readers), 4, "readers get through a freeze of $seconds s");
$_->quit for @readers, $admin;
my $log = slurp_file($node->logfile);
unlike($log, qr/PANIC/, 'without a PANIC');
my $under_lock = () = $log =~ /waits under a buffer header's lock/g;
cmp_ok($under_lock, '>', 0, "writers that were parked under a header lock: $under_lock");
# once by themselves, and once for csvlog, which is here too where there is no logger
my $told = () = $log =~ /LOG:  pg_mshare: process \d+.* waits under a buffer header's lock/g;
is(2 * $told, $under_lock, 'the freeze worker has told of each too');

my ($offset, $worker);
sub restart_with
{
	$node->append_conf('postgresql.conf', "$_[0]\n");
	$node->restart;
	$admin = $node->background_psql('postgres', on_error_stop => 0);
	$admin->query_safe('SELECT pg_mshare_thaw()');
	$offset = -s $node->logfile;
	$worker = worker_pid($node);
}

# Close the pool at some moment of a storm, until that catches one under the lock.
sub catch_one
{
	my ($close, $give_up) = @_;
	for (1 .. 40)
	{
		fresh_pages();
		@readers = readers(6);
		start($_) for @readers;
		for (1 .. 10)
		{
			$admin->query_safe($close);
			return 1 if slurp_file($node->logfile, $offset) =~ /waits under a buffer header's lock/;
			$admin->query_safe($give_up) if $give_up;
		}
		finished($_, 60) for @readers;
		$_->quit for @readers;
	}
	return 0;
}

# a closing that would have to be reopened too often is given up, with an ERROR
restart_with('pg_mshare.debug_max_reclosings = 0');
ok(catch_one(q{DO $$ BEGIN
	PERFORM pg_mshare_flip('r', '50 ms');
EXCEPTION WHEN operator_intervention THEN
	RAISE LOG 'flip: %', SQLERRM;
END $$}), 'one waits under a header lock, and the closing may not be reopened');
ok(wait_until(60, sub { slurp_file($node->logfile, $offset) =~ /the closing of the buffer pool is given up/ }),
	'... so it is given up');
ok(wait_until(60, sub { slurp_file($node->logfile, $offset) =~ /flip: the freeze worker has ended the closing/ }),
	'... with an ERROR');
is(scalar(grep { finished($_, 60) } @readers), 6, '... and all go on');
$_->quit for @readers;
is(status($node, 'protection'), 'rw', '... as the pool is open');

# control: without the rule such writers stay where they are
restart_with('pg_mshare.debug_ignore_header_lock = on');
ok(catch_one(q{SELECT pg_mshare_flip('r', '50 ms')}), 'control: without the rule one is caught');
finished($_, 60) for @readers;
$_->quit for @readers;
unlike(slurp_file($node->logfile, $offset), qr/reopened for a moment/, 'and nobody relieves it');

SKIP:
{
	skip 'a stuck spinlock takes two minutes: PG_TEST_EXTRA=long', 1 unless $long;

	# A closing ends before that, unless the worker is kept from ending it.
	$offset = -s $node->logfile;
	my $caught = catch_one(q{SELECT pg_mshare_freeze('60 s'), pg_sleep(0.1)}, 'SELECT pg_mshare_thaw()');
	kill 'STOP', $worker;
	ok($caught && wait_until(300, sub { slurp_file($node->logfile, $offset) =~ /PANIC:  stuck spinlock/ }),
		'control: without rule and worker the server PANICs on a stuck spinlock');
	kill 'CONT', $worker;
}

$node->stop('immediate');
done_testing();
