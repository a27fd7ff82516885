# SPDX-License-Identifier: PostgreSQL
# No error of ours is an internal one (XX000) or says that data are corrupted (XX001): each
# names its SQLSTATE. An ereport() without one is XX000; so is an elog(), which is for what
# cannot happen.
use strict;
use warnings;
use lib '.';
use MshareTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $reports = 0;
for my $file (glob '../../pg_mshare/*.c')
{
	my $source = slurp_file($file);
	my $name = $file =~ s{.*/}{}r;

	unlike($source, qr/ERRCODE_(INTERNAL_ERROR|DATA_CORRUPTED|INDEX_CORRUPTED)/, "$name: none of those codes");

	my @without;
	while ($source =~ /\bereport(\((?:[^()"']|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|(?1))*\));/g)
	{
		my ($report) = $1;
		my ($level) = $report =~ /^\(([^,]+),/;
		next if $level =~ /^(LOG|WARNING|NOTICE|DEBUG\d|mshare_log_level|MyProcPid .* LOG : mshare_log_level)$/;
		$reports++;
		push @without, $report unless $report =~ /\berrcode\(/;
	}
	is(join("\n", @without), '', "$name: each error has a code");
}
cmp_ok($reports, '>', 40, "$reports reports were looked at");

# and what reaches a client
my $node = mshare_node('sqlstate');
for my $statement ('pg_mshare_flip(NULL)', q{pg_mshare_flip('x')}, q{pg_mshare_flip(hold => '1 day')}, 'pg_mshare_flip(first_buffer => 0)',
	q{pg_mshare_flip('none')}, q{pg_mshare_protect_relation('pg_mshare_status', 'r')}, q{pg_mshare_watch('1 s', 1)}, q{pg_mshare_freeze('1 h')})
{
	my ($rc, $out, $err) = $node->psql('postgres', "\\set VERBOSITY sqlstate\nSELECT $statement");
	like($err, qr/ERROR:  (?!XX)[0-9A-Z]{5}/, $statement);
}

done_testing();
