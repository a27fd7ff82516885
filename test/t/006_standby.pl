# SPDX-License-Identifier: PostgreSQL
# 11. A standby is never closed while it replays: a read into a closed page would
# end it for good.
use strict;
use warnings;
use lib '.';
use MshareTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $primary = mshare_node('primary', init => { allows_streaming => 1 });
$primary->backup('base');

my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', "shared_buffers = 16MB\n");	# less than the data
$standby->start;
$primary->safe_psql('postgres',
	'CREATE TABLE t AS SELECT g AS id, repeat(g::text, 50) AS v FROM generate_series(1, 100000) g');
$primary->wait_for_catchup($standby);

for my $call ("pg_mshare_freeze()", "pg_mshare_flip()", "pg_mshare_protect('r')", "pg_mshare_protect('r', 10, 1)")
{
	my ($rc, $out, $err) = $standby->psql('postgres', "SELECT $call");
	like($err, qr/ERROR:  recovery is in progress.*HINT:  Closing buffers is possible after promotion/s,
		"$call is refused in recovery");
}
is($standby->safe_psql('postgres', 'SELECT pg_mshare_thaw()'), 'f', 'a thaw is not');
$primary->safe_psql('postgres', 'UPDATE t SET v = v || id');
$primary->wait_for_catchup($standby);
is($standby->safe_psql('postgres', 'SELECT count(*) FROM t WHERE v LIKE \'%\' || id'), 100000,
	'the standby replays on');

$standby->promote;
is($standby->safe_psql('postgres', 'SELECT down_us > 0 FROM pg_mshare_flip()'), 't',
	'after promotion it flips');

done_testing();
