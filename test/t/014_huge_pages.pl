# SPDX-License-Identifier: PostgreSQL
# A pool of 2 MiB pages: it is made of them, flips, freezes, crashes and goes.
use strict;
use warnings;
use lib '.';
use MshareTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $free = free_huge_pages();
plan skip_all => "$free huge pages are free, 40 are needed: see vm.nr_hugepages" if $free < 40;

my $node = mshare_node('huge', conf => "pg_mshare.huge_pages = on\nhuge_pages = off\n");
my $pool = 64 / 2;

like(slurp_file($node->logfile), qr/pg_mshare: provider $provider maps 64 MB/, 'the server starts');
is($free - free_huge_pages(), $pool, 'the pool is made of huge pages');

$node->safe_psql('postgres', q{CREATE EXTENSION pg_prewarm;
	CREATE TABLE t AS SELECT g AS id, 0 AS v FROM generate_series(1, 10000) g});
$node->safe_psql('postgres', 'VACUUM');
prewarm($node);

# a flip
is($node->safe_psql('postgres', 'SELECT provider, bytes FROM pg_mshare_flip()'),
	"$provider|67108864", 'the pool flips');

# a freeze
my $admin = $node->background_psql('postgres', on_error_stop => 0);
my $writer = $node->background_psql('postgres', on_error_stop => 0);
my ($address, $bytes) = split /\|/, status($node, 'address, bytes');
$writer->query_safe('UPDATE t SET v = 1 WHERE id = 1');
$admin->query_safe($_) for 'SELECT pg_mshare_thaw()', 'SELECT pg_backend_pid()', 'SELECT waiters FROM pg_mshare_status';
$admin->query_safe('SELECT pg_mshare_freeze()');
$writer->query_until(qr/started/, "\\echo started\nUPDATE t SET v = 2 WHERE id = 2;\n\\echo finished\n");
ok(wait_until(10, sub { waiters($admin) == 1 }), 'a writer waits');
my $reader = $admin->query_safe('SELECT pg_backend_pid()');
my @digests = map { sleep 0.2; pool_digest($reader, $address, $bytes) // "cannot be read: $!" } 0, 1;
is($digests[0], $digests[1], 'and nothing changes');
like($digests[0], qr/^[0-9a-f]{32}$/, 'in what can be read');
$admin->query_safe('SELECT pg_mshare_thaw()');
ok(wait_until(30, sub { $writer->{run}->pump_nb; $writer->{stdout} =~ /finished/ }), 'it goes on after the thaw');
is($node->safe_psql('postgres', 'SELECT sum(v) FROM t'), 3, 'and has written');

# ranges
my ($status, $out, $error) = $node->psql('postgres', q{SELECT pg_mshare_protect('r', 2, 1)});
isnt($status, 0, 'a part of a huge page is refused');
like($error, qr/whole huge pages/, 'with an error that tells why');
($status, $out, $error) = $node->psql('postgres', q{SELECT pg_mshare_protect_relation('t', 'r')});
like($error, qr/ERROR:  with huge pages the buffers of one relation cannot be protected.*HINT:  Set pg_mshare.huge_pages/s,
	'and so are the buffers of a relation');
is($node->safe_psql('postgres', q{SELECT pg_mshare_protect('r', 257, 256) IS NOT NULL}), 't',
	'a whole one is closed');
is($admin->query_safe('SELECT first_buffer, buffers FROM pg_mshare_ranges WHERE protection = \'r\''),
	'257|256', 'and is what is closed');
$admin->query_safe('SELECT pg_mshare_thaw()');

# a crash, and the end
$writer->quit;
$admin->quit;
kill 'KILL', $node->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'});
ok($node->poll_query_until('postgres', 'SELECT true'), 'the server recovers');
is($node->safe_psql('postgres', 'SELECT sum(v) FROM t'), 3, 'with what was written');
is($free - free_huge_pages(), $pool, 'in as many huge pages');
$node->stop;
ok(wait_until(10, sub { free_huge_pages() == $free }), 'which are free after its end');

done_testing();
