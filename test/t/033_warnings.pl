# SPDX-License-Identifier: PostgreSQL
# Where reads from disk fail, who closes a pool that is smaller than what is read is
# warned; who closes one that holds all of it is not.
use strict;
use warnings;
use lib '.';
use MshareTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = mshare_node('warnings', conf => "shared_buffers = 16MB\n");
my $fails = kernel_waits($node) ne 'all';
my $warning = qr/WARNING:  reads from disk fail while the buffer pool is closed, and there will be some\nDETAIL:  At least (\d+) blocks? (?:was|were) read since the last closing/;

# What a closing says; SQL may be no way out of it here
sub close_by
{
	my ($statement) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', $statement);
	system 'sh', '-c', 'pg_mshare_ctl thaw -D "$1" > /dev/null 2>&1', 'sh', $node->data_dir;
	return $err;
}

# as much as sessions have reported: they do so after a second, or when they end
sub read_table
{
	my ($table, $column) = @_;
	$node->psql('postgres', "SELECT count($column) FROM $table");
	sleep 1.5;
}

# all that is read is there, and what was read to get it there is no matter
$node->safe_psql('postgres', 'CREATE TABLE small AS SELECT g AS id FROM generate_series(1, 1000) g; VACUUM; CHECKPOINT');
$node->restart;
read_table('small', 'id');
unlike(close_by($_), $warning, "a pool that holds what is read: $_")
  for 'SELECT pg_mshare_flip()', q{SELECT pg_mshare_freeze('1 s')}, q{SELECT pg_mshare_watch('20 ms')};

# a table that is larger, read through a few buffers only, as large ones are
$node->safe_psql('postgres', q{CREATE TABLE large AS SELECT g AS id, repeat('x', 500) AS filler FROM generate_series(1, 50000) g});
$node->safe_psql('postgres', 'VACUUM; CHECKPOINT');
$node->restart;
# what was read before the server's start counts no more than what was before a closing
unlike(close_by('SELECT pg_mshare_flip()'), $warning, 'the first closing after a start');
for my $statement ('SELECT pg_mshare_flip()', q{SELECT pg_mshare_freeze('1 s')}, q{SELECT pg_mshare_watch('20 ms')})
{
	read_table('large', 'filler');
	my $err = close_by($statement);
	if ($fails)
	{
		like($err, $warning, "a pool that is smaller: $statement");
		cmp_ok($err =~ $warning ? $1 : 0, '>', 2048, '... by what was read');
	}
	else
	{
		unlike($err, $warning, "reads wait, so there is no warning: $statement");
	}
}
unlike(close_by('SELECT pg_mshare_flip()'), qr/DETAIL:  At least \d{4,} blocks/, 'what was read before the last closing counts no more');

done_testing();
