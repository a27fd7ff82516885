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
use MshareTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $long = $ENV{PG_TEST_EXTRA} && $ENV{PG_TEST_EXTRA} =~ /\blong\b/;

my $node = mshare_node('header_lock',
	init => { extra => ['--data-checksums'] },
	conf => "pg_mshare.freeze_timeout = 60s\nfsync = off\n");
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

sub start
{
	$_[0]->query_until(qr/started/, "\\echo started\nSELECT count(*) FROM t;\n\\echo finished\n");
}

sub finished
{
	my ($session, $seconds) = @_;
	return wait_until($seconds, sub { $session->{run}->pump_nb; $session->{stdout} =~ /finished/ });
}

# many short freezes across storms of hint bits
my $admin = $node->background_psql('postgres', on_error_stop => 0);
my $freezes = $long ? 1000 : 60;
my $done = 0;
$admin->query_safe('SELECT pg_mshare_thaw()');
while ($done < $freezes)
{
	fresh_pages();
	my @readers = readers(4);
	start($_) for @readers;
	$done += $admin->query_safe(q{SELECT count(pg_mshare_flip('r', '20 ms')) FROM generate_series(1, 20)});
	ok(finished($_, 60), 'a reader that sets hint bits finishes') for @readers;
	$_->quit for @readers;
}
my $log = slurp_file($node->logfile);
my $reopened = () = $log =~ /reopened for a moment/g;
my $waited = 0;
$waited += $1 while $log =~ /, (\d+) writes waited/g;
cmp_ok($waited, '>', 0, "$done freezes, $waited parked writes");
cmp_ok($reopened, '>', 0, "reopened for the sake of a header lock: $reopened");
ok(!$node->log_contains(qr/PANIC/), 'no PANIC');

# A long freeze during a storm: the worker reopens up to ten times, then gives up
sub long_freeze
{
	my ($seconds) = @_;
	fresh_pages();
	my @readers = readers(4);
	$admin->query_safe("SELECT pg_mshare_freeze('$seconds s')");
	start($_) for @readers;
	my $all = grep { finished($_, $seconds + 150) } @readers;
	eval { $_->quit } for @readers;
	return $all;
}
my $seconds = $long ? 60 : 5;
is(long_freeze($seconds), 4, "readers get through a freeze of $seconds s");
ok(!$node->log_contains(qr/PANIC/), 'without a PANIC');
ok($node->log_contains(qr/\(10 of 10\)/) && $node->log_contains(qr/closing of the buffer pool is given up/),
	'after the tenth time the freeze is given up');
is($node->safe_psql('postgres', 'SELECT protection FROM pg_mshare_status'), 'rw', 'and the pool is open');
$admin->quit;

# control: without the rule they get stuck for as long as the freeze lasts
$node->append_conf('postgresql.conf', "pg_mshare.debug_ignore_header_lock = on\n");
$node->restart;
$admin = $node->background_psql('postgres', on_error_stop => 0);
$admin->query_safe($_) for 'SELECT pg_mshare_thaw()', 'SELECT waiters FROM pg_mshare_status';
fresh_pages();
my $reader = (readers(1))[0];
$admin->query_safe("SELECT pg_mshare_freeze('3 s')");
start($reader);
my $took = finished($reader, 30);
cmp_ok($took, '>', 2, sprintf 'control: without the rule a reader is stuck for the whole freeze, %.1f s', $took || 0);
$_->quit for $reader, $admin;

SKIP:
{
	skip 'the PANIC takes three minutes: PG_TEST_EXTRA=long', 1 unless $long;

	# A freeze is 60 s at most and a stuck spinlock 120 s: freeze again and again.
	fresh_pages();
	my @readers = readers(6);
	$admin = $node->background_psql('postgres', on_error_stop => 0);
	$admin->query_safe($_) for 'SELECT pg_mshare_thaw()';
	$admin->query_safe("SELECT pg_mshare_freeze('60 s')");
	start($_) for @readers;
	my $panic = wait_until(200, sub {
		slurp_file($node->logfile) =~ /PANIC:  stuck spinlock/ });
	ok($panic, 'control: without the rule the server PANICs on a stuck spinlock');
}

$node->stop('immediate');
done_testing();
