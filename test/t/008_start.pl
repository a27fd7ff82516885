# SPDX-License-Identifier: PostgreSQL
# Starting: what is said where something is missing, and the server without us.
use strict;
use warnings;
use lib '.';
use MshareTest;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = mshare_node('start');
my $in_place = status($node, 'in_place') eq 't';

# Restart with other settings; what the log says from then on.
sub restart_with
{
	my ($up, %settings) = @_;
	my $offset = -s $node->logfile;

	$node->stop('fast', fail_ok => 1);
	$node->append_conf('postgresql.conf', "$_ = $settings{$_}") for keys %settings;
	my $started = $node->start(fail_ok => 1);
	is($started ? 1 : 0, $up ? 1 : 0, (join(', ', map { "$_ = $settings{$_}" } sort keys %settings) || 'as it is')
		. ($up ? ': starts' : ': does not start'));
	return slurp_file($node->logfile, $offset);
}

my $has_msharefs = slurp_file('/proc/filesystems') =~ /\tmsharefs$/m;

# auto
my $log = restart_with(1, 'pg_mshare.provider' => 'auto');
if ($has_msharefs)
{
	like($log, qr/pg_mshare: provider mshare maps 64 MB/, 'auto takes mshare where the kernel has it');
}
else
{
	like($log, qr/this kernel has no msharefs.*pg_mshare: provider mprotect maps 64 MB/s,
		'auto takes mprotect elsewhere and says why');
}
is($node->safe_psql('postgres', 'SELECT up_us > 0 FROM pg_mshare_flip()'), 't', 'and it flips');
$log = restart_with(1, 'pg_mshare.path' => "'/tmp'");
like($log, $has_msharefs ?
	qr{msharefs is not mounted on "/tmp".*HINT:  Run "mount -t msharefs -o mode=1777 msharefs /tmp" as root.*provider mprotect}s :
	qr/no msharefs.*provider mprotect/s, 'auto where it is not mounted');

# mshare, insisted on
$log = restart_with(0, 'pg_mshare.provider' => 'mshare');
like($log, $has_msharefs ?
	qr{FATAL:  msharefs is not mounted on "/tmp".*HINT:  Run "mount -t msharefs}s :
	qr/FATAL:  this kernel has no msharefs.*HINT:  Boot a kernel/s, 'and says why');
$node->append_conf('postgresql.conf', "pg_mshare.path = '/sys/fs/mshare'");

SKIP:
{
	my %refusals = (
		'mode=0700' => qr{FATAL:  no permission to read "[^"]*/mshare_info".*HINT:  Let the server's user into}s,
		'mode=0755' => qr{FATAL:  no permission to create a region in .*HINT:  Run "mount -o remount,mode=1777}s,
		'mode=1777,size=1m' => qr{FATAL:  could not map \d+ bytes of shared memory into the region.*DETAIL:  The mount has \d+ kB left, and 65\d\d\d kB are needed, page tables.*HINT:  Reduce shared_buffers, or raise the limit size=}s,
		'mode=1777,ro' => qr{FATAL:  could not create a region in .*: Read-only file system.*HINT:  The server sees that mount read-only.*add "[^"]*mode=1777,ro" to ReadWritePaths=}s,
		'mode=1777,nr_regions=1' => qr{FATAL:  could not create a region in .*HINT:  The mount's limit nr_regions= is reached}s);

	skip 'the machine has no mounts to be kept out of: test/extension --vm makes them', 2 * keys(%refusals) + 4
	  unless $has_msharefs && -d '/var/tmp/mshare-mode=0700';
	# in place a mount's size= counts page tables only
	my $can_stay = $node->pg_version >= 16;
	if ($can_stay)
	{
		restart_with(1, 'pg_mshare.path' => "'/var/tmp/mshare-mode=1777,size=1m'");
		is(status($node, 'in_place'), 't', 'in place: a mount with room for page tables will do');
		$log = restart_with(0, 'pg_mshare.path' => "'/var/tmp/mshare-mode=1777,size=64k'");
		like($log, qr{LOG: .*shared buffers are moved out of the server's own area: No space left.*HINT:  Reduce shared_buffers, or raise the limit size=.*FATAL:  could not map \d+ bytes}s,
			'... and one without does not, and says why');
		$node->append_conf('postgresql.conf', 'pg_mshare.debug_move_pool = on');
	}
	for my $options (sort keys %refusals)
	{
		$log = restart_with(0, 'pg_mshare.path' => "'/var/tmp/mshare-$options'");
		like($log, $refusals{$options}, 'and says why');
	}
	# room for the pool, but not for its page tables
	$log = restart_with(0, 'pg_mshare.path' => "'/var/tmp/mshare-mode=1777,size=65600k'");
	like($log, $refusals{'mode=1777,size=1m'}, 'and says why');
	# huge pages count too
	$log = restart_with(0, 'pg_mshare.path' => "'/var/tmp/mshare-mode=1777,size=1m'", 'pg_mshare.huge_pages' => 'on');
	like($log, qr{FATAL:  could not map 67108864 bytes of huge pages into the region.*DETAIL:  The mount has \d+ kB left, and 65\d\d\d kB are needed, page tables.*HINT:  Reduce shared_buffers, or raise the limit size=}s,
		'and says why');
	$node->append_conf('postgresql.conf', "pg_mshare.path = '/sys/fs/mshare'\npg_mshare.huge_pages = off\npg_mshare.debug_move_pool = off");
}

# settings of the tested provider
restart_with(1, 'pg_mshare.provider' => $provider, 'pg_mshare.populate' => 'on');
is($node->safe_psql('postgres', 'SELECT up_us > 0 FROM pg_mshare_flip()'), 't', 'it flips when populated');
$log = restart_with(1, 'pg_mshare.huge_pages' => 'try');
like($log, qr/pg_mshare: provider $provider maps 64 MB/, 'with huge pages or without');
my $has_huge_pages = $log !~ /no huge pages for shared buffers/;
$log = restart_with($has_huge_pages, 'pg_mshare.huge_pages' => 'on');
like($log, $has_huge_pages ? qr/provider $provider maps 64 MB/ :
	qr/FATAL:  could not map \d+ bytes of huge pages.*HINT:/s, 'and says so');
$node->append_conf('postgresql.conf', "pg_mshare.huge_pages = off");

# a limit on address space: mshare needs a window of 512 GiB, mprotect the pool's size,
# once, where the pool is in place, and twice where it is moved
my ($limit, $refusal) = $provider eq 'mshare' ?
	(64 << 30, qr/FATAL:  could not map a window.*HINT:  Start the server with "ulimit -v unlimited"/s) :
	(900 << 20, qr/FATAL:  could not map \d+ bytes for shared buffers.*DETAIL:  The limit on address space is 921600 kB.*HINT:  Start the server with "ulimit -v unlimited"/s);
$node->stop('fast', fail_ok => 1);
$node->append_conf('postgresql.conf', "shared_buffers = 512MB\npg_mshare.populate = off");
if ($in_place && $provider eq 'mprotect')
{
	ok(start_limited($node, 'prlimit', "--as=$limit"), 'with a limit on address space a pool in place starts');
	is(status($node, 'in_place'), 't', '... and is there');
	$node->stop;
	$node->append_conf('postgresql.conf', 'pg_mshare.debug_move_pool = on');
}
my $offset = -s $node->logfile;
isnt(system('prlimit', "--as=$limit", $node->installed_command('pg_ctl'),
		'-D', $node->data_dir, '-l', $node->logfile, '-w', 'start'), 0, 'with a limit on address space it does not start');
like(slurp_file($node->logfile, $offset), $refusal, 'and says what to do');
$node->append_conf('postgresql.conf', "shared_buffers = 64MB\npg_mshare.debug_move_pool = off");

# a signal that somebody else has
SKIP:
{
	skip 'provider mshare needs no signal', 2 unless $provider eq 'mprotect';
	my $signal = POSIX::SIGRTMIN() + 5;

	POSIX::sigaction($signal, POSIX::SigAction->new('IGNORE'));
	$log = restart_with(0);
	like($log, qr/FATAL:  signal $signal is already in use.*HINT:  Remove the library/s, 'with the signal ignored, and says why');
	POSIX::sigaction($signal, POSIX::SigAction->new('DEFAULT'));
}

# no room for the freeze worker: the server runs, and closes nothing
restart_with(1, max_worker_processes => 0);
my ($status, $said, $error) = $node->psql('postgres', 'SELECT pg_mshare_flip()');
like($error, qr/ERROR:  the freeze worker is not running.*HINT:  .*max_worker_processes is too small/s,
	'without the freeze worker nothing is closed');
$node->append_conf('postgresql.conf', 'max_worker_processes = 8');

# off
restart_with(1, 'pg_mshare.provider' => 'off');
is($node->safe_psql('postgres', 'SELECT provider, buffers, address IS NULL FROM pg_mshare_status'), 'off|8192|t', 'status says off');
for my $call ('pg_mshare_flip()', 'pg_mshare_freeze()', 'pg_mshare_thaw()', "pg_mshare_protect('r')")
{
	my ($rc, $out, $err) = $node->psql('postgres', "SELECT $call");
	like($err, qr/ERROR:  pg_mshare is off.*HINT:  Set pg_mshare.provider/s, "$call says so too");
}
restart_with(1, 'pg_mshare.provider' => $provider);

# not preloaded
$node->stop;
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->start;
for my $call ('pg_mshare_flip()', '* FROM pg_mshare_status', '* FROM pg_mshare_ranges', '* FROM pg_mshare_backends')
{
	my ($rc, $out, $err) = $node->psql('postgres', "SELECT $call");
	like($err, qr/ERROR:  pg_mshare must be loaded via shared_preload_libraries.*HINT:  Add pg_mshare/s,
		"not preloaded: $call");
}

done_testing();
