# SPDX-License-Identifier: PostgreSQL
# Who waits has a wait event, from PostgreSQL 17 on one of its own name.
use strict;
use warnings;
use lib '.';
use MshareTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = mshare_node('wait_events');
plan skip_all => 'nothing is closed here'
  if $provider eq 'mshare' and kernel_waits($node) ne 'all';
my $named = $node->pg_version >= 17;
$node->safe_psql('postgres', q{CREATE TABLE t AS SELECT 1 AS id, 0 AS v});

my ($one, $other, $admin) = map { $node->background_psql('postgres', on_error_stop => 0) } 1 .. 3;
my %pids = map { $_ => $_->query_safe('SELECT pg_backend_pid()') } $one, $other;
my $event = 'SELECT wait_event FROM pg_stat_activity WHERE wait_event_type = $$Extension$$ AND pid = ';

# Everything that is done with the pool closed has been done once before
$_->query_safe('SELECT pg_mshare_flip()') for $one, $other;
$_->query_safe('UPDATE t SET v = v + 1') for $one, $other;
$admin->query_safe($_) for 'SELECT pg_mshare_thaw()', "$event 1", 'SELECT count(*) FROM t';

sub waits
{
	my ($session, $name, $what) = @_;
	my $wanted = $named ? $name : 'Extension';
	my $seen = '';

	ok(wait_until(20, sub { ($seen = $admin->query_safe("$event $pids{$session}")) eq $wanted }), "$what: $wanted")
	  or diag("it is '$seen'");
}

start_sql($one, "SELECT pg_mshare_flip('r', '8 s')");
waits($one, 'PgMshareHold', 'a flip that holds the pool closed');
start_sql($other, 'SELECT pg_mshare_flip()');
waits($other, 'PgMshareChange', 'another one');
$admin->query_safe('SELECT pg_mshare_thaw()');
ok(sql_ends($_, 60), 'it ends') for $one, $other;

start_sql($one, "SELECT pg_mshare_watch('4 s')");
waits($one, 'PgMshareWatch', 'a watch');
ok(sql_ends($one, 60), 'it ends');

$admin->query_safe('SELECT pg_mshare_freeze()');
start_sql($one, 'UPDATE t SET v = v + 1');
waits($one, 'PgMshareClosed', 'a write into a frozen pool');
$admin->query_safe('SELECT pg_mshare_thaw()');
ok(sql_ends($one, 60), 'it ends');

if ($provider eq 'mprotect')
{
	kill 'STOP', $pids{$other};
	start_sql($one, 'SELECT pg_mshare_flip()');
	waits($one, 'PgMshareAnswers', 'a flip while a process is stopped');
	kill 'CONT', $pids{$other};
	ok(sql_ends($one, 60), 'it ends');
}
$_->quit for $one, $other, $admin;

done_testing();
