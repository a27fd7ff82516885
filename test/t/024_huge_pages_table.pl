# SPDX-License-Identifier: PostgreSQL
# PostgreSQL's huge_pages and ours: what either part of the server gets, in each row of
# the table, with enough huge pages reserved for both, for one, and for none. Whoever does
# what a hint says has the pool in huge pages.
use strict;
use warnings;
use lib '.';
use MshareTest;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'the machine has no pipe for settings: test/extension --vm makes it'
  unless -p '/var/tmp/sysctl';

my $were = slurp_file('/proc/sys/vm/nr_hugepages') + 0;
my $node = mshare_node('huge_table', no_extension => 1);
$node->stop;
$node->append_conf('postgresql.conf', 'max_connections = 20');
my $pool = 64 / 2;
my ($stock) = run_command([ 'postgres', '-D', $node->data_dir, '-C', 'shared_memory_size_in_huge_pages' ]);
my $stays_there = $provider eq 'mshare' && $node->pg_version >= 16;
cmp_ok($stock, '>', $pool, "the pool takes $pool huge pages, the server's own area $stock");

# Start with these settings; is it up, what says the log, and how many pages has it got?
sub start_with
{
	my ($reserved, $stock_setting, $setting) = @_;
	my $offset = -s $node->logfile;

	set_vm('nr_hugepages', $reserved);
	$node->append_conf('postgresql.conf', "huge_pages = $stock_setting\npg_mshare.huge_pages = $setting");
	my $up = start_limited($node, 'env');
	my $pages = $reserved - free_huge_pages();
	$node->stop if $up;
	$node->_update_pid(0) unless $up;
	wait_until(10, sub { free_huge_pages() == $reserved }) or die 'huge pages stay in use';
	return ($up ? 1 : 0, slurp_file($node->logfile, $offset), $pages);
}

my %followed;
sub follow
{
	my ($row, $hint, $reserved) = @_;
	my $key = "$hint, $reserved";

	return if $followed{$key}++;
	my $pages = $hint =~ /Reserve (\d+) huge pages/ ? $1 : $reserved;
	my $stock_setting = $hint =~ /[Ss]et huge_pages to off/ ? 'off' : $row->[0];
	my $setting = $hint =~ /pg_mshare.huge_pages to on/ ? 'on' : $row->[1];
	my ($up, $log) = start_with($pages, $stock_setting, $setting);
	ok($up && $log =~ /maps 64 MB of shared buffers at \S+, in pages of 2048 kB/, "... and is right: $hint") or diag($log);
	unlike($log, qr/HINT:  .*huge/, '... and has said all');
}

my %levels = (both => $stock + $pool, 'the server\'s area' => $stock, 'the pool' => $pool, none => 0);
for my $stock_setting ('off', 'try', 'on')
{
	for my $setting ('off', 'try', 'on')
	{
		for my $level (sort keys %levels)
		{
			my $reserved = $levels{$level};
			my $name = "huge_pages = $stock_setting, pg_mshare.huge_pages = $setting, enough for $level";
			my $stock_huge = $stock_setting ne 'off' && $reserved >= $stock;
			# in place the pool is in the area's pages, and has none of its own
			my $stays = $stays_there && $stock_huge;
			my $pool_huge = $stays || ($setting ne 'off' && $reserved - ($stock_huge ? $stock : 0) >= $pool);
			my $refused = $stock_setting eq 'on' && !$stock_huge;
			my $starts = !$refused && !($setting eq 'on' && !$pool_huge);
			my ($up, $log, $pages) = start_with($reserved, $stock_setting, $setting);

			is($up, $starts ? 1 : 0, "$name: " . ($starts ? 'starts' : 'does not start')) or diag($log);
			is($pages, $starts ? ($stock_huge ? $stock : 0) + ($pool_huge && !$stays ? $pool : 0) : 0, '... with as many huge pages');
			next if $refused;
			like($log, $pool_huge ? qr/in pages of 2048 kB/ : qr/in pages of 4 kB/, '... of which the log tells') if $starts;

			my @hints = grep { /huge/ } $log =~ /HINT:  (.*)/g;
			my @expected;
			push @expected, $stock_setting eq 'off' ?
				qr/^Reserve $pool huge pages of 2 MB with vm.nr_hugepages, or set pg_mshare.huge_pages to off\.$/ :
				qr/^Reserve $pool huge pages of 2 MB with vm.nr_hugepages, and set huge_pages to off, as .*\. Or set pg_mshare.huge_pages to off\.$/
			  if $setting ne 'off' && !$pool_huge;
			push @expected, $pool_huge ?
				qr/^huge_pages = $stock_setting has reserved as many again .* Set huge_pages to off\.$/ :
				qr/^huge_pages = $stock_setting has reserved huge pages for the server's own area.*Set huge_pages to off, and pg_mshare.huge_pages to on to have the pool in $pool huge pages of 2 MB\.$/
			  if $starts && $stock_huge && !$stays;
			is(scalar(@hints), scalar(@expected), '... and ' . (@expected ? 'the log has the hint' : 'no hint')) or diag($log);
			for my $i (0 .. $#expected)
			{
				like($hints[$i], $expected[$i], '... which names the way');
				follow([ $stock_setting, $setting ], $hints[$i], $reserved);
			}
		}
	}
}
set_vm('nr_hugepages', $were);

done_testing();
