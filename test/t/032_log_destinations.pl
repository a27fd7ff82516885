# SPDX-License-Identifier: PostgreSQL
# Who was denied is told to csvlog and jsonlog too, once each: over a crash restart, and at
# the end of a server that does not restart.
use strict;
use warnings;
use lib '.';
use MshareTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = mshare_node('destinations', conf => q{
pg_mshare.on_fault = crash
logging_collector = on
log_directory = 'log'
log_filename = 'server.log'
log_rotation_age = 0
log_destination = 'csvlog,jsonlog'
});
$node->safe_psql('postgres', 'CREATE TABLE t AS SELECT 1 AS id, 0 AS v; VACUUM');

sub logged
{
	my ($suffix) = @_;
	my $file = $node->data_dir . "/log/server.$suffix";
	return -e $file ? slurp_file($file) : '';
}

# How often each has told; the plain text has it from the process itself
sub told
{
	my ($what) = @_;
	return join ' ', map { my $n = () = logged($_) =~ /$what/g; "$_ $n" } qw(log csv json);
}

# a writer that crashes the server, or ends it
sub crash_writer
{
	my $writer = $node->background_psql('postgres', on_error_stop => 0);
	$writer->query_safe('UPDATE t SET v = v + 1');
	my $pid = $writer->query_safe('SELECT pg_backend_pid()');
	$node->psql('postgres', q{SELECT pg_mshare_freeze()});
	$writer->query_until(qr/started/, "\\echo started\nUPDATE t SET v = v + 1;\n");
	return ($writer, qr/pg_mshare: process $pid \(client backend\) crashes: its write to byte \d+ of buffer \d+, block 0 of relation [0-9\/]+ \(main\), is denied, the buffer's protection is r/);
}

# hint bits for all that is needed
$node->safe_psql('postgres', 'SELECT pg_mshare_thaw(); SELECT pg_mshare_flip(); VACUUM');
my ($writer, $what) = crash_writer();
ok(wait_until(60, sub { logged('csv') =~ /reinitializing/ && $node->psql('postgres', 'SELECT 1') == 0 }), 'a crash restart');
is(told($what), 'log 1 csv 1 json 1', 'each destination was told once');
eval { $writer->quit };

# the plain text has it once, too, where it is the server's log
$node->append_conf('postgresql.conf', "log_destination = 'stderr,csvlog'\nrestart_after_crash = off");
$node->restart;
$node->safe_psql('postgres', 'VACUUM');
($writer, $what) = crash_writer();
ok(wait_until(60, sub { !-e $node->data_dir . '/postmaster.pid' }), 'a server that does not restart ends');
ok(wait_until(10, sub { logged('csv') =~ $what }), '... and tells why');
is(told($what), 'log 1 csv 1 json 0', '... once');
eval { $writer->quit };
$node->_update_pid(0);

done_testing();
