# SPDX-License-Identifier: PostgreSQL
# A pool of huge pages is resized: they are given back to the system, and taken again if
# nobody else has them.
use strict;
use warnings;
use lib '.';
use MshareTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $MB = 1 << 20;
my $free = free_huge_pages();
plan skip_all => "$free huge pages are free, 46 are needed: see vm.nr_hugepages" if $free < 46;

# In place the server's own area is in huge pages, and the pool in those
my $node = mshare_node('resize_huge', init => { extra => ['--data-checksums'] },
	conf => "max_connections = 20\nmax_wal_size = 4GB\nhuge_pages = off\npg_mshare.huge_pages = on\n");
my $in_place = $provider eq 'mshare' && $node->pg_version >= 16;
if ($in_place)
{
	$node->append_conf('postgresql.conf', "huge_pages = on\npg_mshare.huge_pages = off");
	$node->restart;
}
is(status($node, 'in_place'), $in_place ? 't' : 'f', 'the pool is ' . ($in_place ? 'in place' : 'moved'));
$node->safe_psql('postgres', 'CREATE EXTENSION pg_prewarm; CREATE EXTENSION pg_buffercache');
my $all = $free - free_huge_pages();
cmp_ok($all, '>=', 32, "the server has $all huge pages");

# One row of the table is one page of the pool.
$node->safe_psql('postgres', q{CREATE TABLE t (a int, b text) WITH (fillfactor = 10);
	ALTER TABLE t ALTER b SET STORAGE plain;
	INSERT INTO t SELECT i, repeat('x', 900) FROM generate_series(1, 8500) i; VACUUM t; CHECKPOINT});
my $content = q{SELECT count(*), sum(length(b)) FROM t WHERE b = repeat('x', 900)};

sub resize
{
	my ($size) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', "SELECT target, resident FROM pg_mshare_resize('$size')");
	return $rc == 0 ? $out : $err;
}

# How many huge pages the server has less than at first
sub given_back
{
	return $all - ($free - free_huge_pages());
}

# All buffers are used, so that there are no pages that are only promised
sub use_all
{
	$node->safe_psql('postgres', q{SELECT pg_prewarm('t')});
	$node->safe_psql('postgres', $content);
	return $node->safe_psql('postgres', 'SELECT count(relfilenode) FROM pg_buffercache');
}

cmp_ok(use_all(), '>', 8000, 'all of the pool is used');
is(resize('32MB'), 32 * $MB . '|' . 32 * $MB, 'half of it is taken out of use');
my $back = given_back();
cmp_ok($back, '>=', $in_place ? 14 : 16, "$back huge pages have gone back to the system");
cmp_ok($back, '<=', 16, '... and no more');
is($node->safe_psql('postgres', $content), '8500|7650000', 'nothing is lost');
is(resize('33MB'), 34 * $MB . '|' . 34 * $MB, 'a size is one of whole huge pages');
is(given_back(), $back - 1, '... of which one is taken again');
is(resize('0'), 64 * $MB . '|' . 64 * $MB, 'all is in use again');
is(given_back(), 0, '... with its pages');
cmp_ok(use_all(), '>', 8000, '... and used');
is($node->safe_psql('postgres', 'SELECT down_us > 0 FROM pg_mshare_flip()'), 't', '... and it flips');

# Pages that others have taken meanwhile
resize('32MB');
my ($mmap, $munmap, $shared_anonymous_huge) = (9, 11, 0x40021);
my $bytes = free_huge_pages() * 2 * $MB;
my $address = syscall($mmap, 0, $bytes, 3, $shared_anonymous_huge, -1, 0);
isnt($address, -1, 'another program takes the pages');
like(resize('0'), qr/ERROR:  could not get memory for more shared buffers: .*\nDETAIL:  Of huge pages of 2 MB 0 are free\.\nHINT:  Reserve 16 huge pages of 2 MB with vm.nr_hugepages(, or set pg_mshare.huge_pages to off)?\.$/,
	'the pool cannot grow, and says why');
my ($target, $resident) = split /\|/, status($node, 'target, resident');
is($resident, 32 * $MB, '... and is what it was');
is($node->safe_psql('postgres', $content), '8500|7650000', '... and works');
is(syscall($munmap, $address, $bytes), 0, 'the pages are there again');
is(resize('0'), 64 * $MB . '|' . 64 * $MB, '... and so it grows');

# A crash while it is small, and closed in part
resize('32MB');
my $session = $node->background_psql('postgres', on_error_stop => 0);
my $pid = $session->query_safe('SELECT pg_backend_pid()');
$session->query_safe(q{SELECT pg_mshare_protect('r', 257, 512)});
kill 'KILL', $pid;
ok(restarted($node, 1), 'the server comes back after a crash');
eval { $session->quit };
is(status($node, 'resident, protection'), 32 * $MB . '|rw', '... as small as it was, and open');
is($node->safe_psql('postgres', $content), '8500|7650000', '... with what was committed');
is(resize('0'), 64 * $MB . '|' . 64 * $MB, '... and grows');
cmp_ok(use_all(), '>', 8000, '... and is used');
is(given_back(), 0, '... with all its pages');
$node->stop;
ok(wait_until(10, sub { free_huge_pages() == $free }), 'which are free after its end');
command_ok([ 'pg_checksums', '--check', '-D', $node->data_dir ], 'the checksums are right');

done_testing();
