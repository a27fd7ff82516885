# SPDX-License-Identifier: PostgreSQL
# What pg_mshare_ctl must leave alone: the server that a data directory was copied from,
# and whatever is asked for that is not understood.
use strict;
use warnings;
use lib '.';
use MshareTest;
use PostgreSQL::Test::Utils;
use IPC::Run;
use Test::More;

my $node = mshare_node('original', conf => "pg_mshare.freeze_timeout = 60s\nmax_wal_senders = 2\nwal_level = replica\n");
$node->safe_psql('postgres', 'VACUUM');
my $data = $node->data_dir;
my $worker = worker_pid($node);

sub ctl
{
	my @arguments = @_;
	IPC::Run::run([ $node->installed_command('pg_mshare_ctl'), @arguments ], '<', \undef, '>', \my $out, '2>', \my $err);
	return ($? >> 8, $out, $err);
}

sub freeze_again
{
	ctl('thaw', '-D', $data);
	(ctl('freeze', '-D', $data))[0] == 0 or die 'could not freeze';
}

# a copy of the live directory: the state names the original's worker, and so does
# postmaster.pid the original's postmaster
my $copy = PostgreSQL::Test::Utils::tempdir() . '/copy';
system_or_bail('cp', '-a', $data, $copy);
ok(-e "$copy/$_", "the copy holds $_") for 'pg_mshare.state', 'postmaster.pid';
freeze_again();
for my $word ('status', 'thaw', 'freeze')
{
	my ($status, $out, $err) = ctl($word, '-D', $copy, '-t', '1');
	is($status, 1, "$word of the copy is refused");
	like($err, qr/process $worker, is another data directory's\npg_mshare_ctl: hint: "\Q$copy\E" is a copy/, '... and that is said');
	like((ctl('status', '-D', $data))[1], qr/^protection r\nclosed frozen$/m, '... and the original stays as it was');
}
is((ctl('status', '-D', "$data/."))[0], 0, 'the directory by another name is the same');
symlink $data, "$copy.link" or die "symlink: $!";
is((ctl('status', '-D', "$copy.link"))[0], 0, 'by a symbolic link too');

# a base backup
ctl('thaw', '-D', $data);
my $backup = PostgreSQL::Test::Utils::tempdir() . '/backup';
$node->command_ok([ 'pg_basebackup', '-D', $backup, '-h', $node->host, '-p', $node->port, '--no-sync', '-c', 'fast' ], 'a base backup is made');
$node->command_ok([ 'pg_verifybackup', $backup ], '... and is whole');
freeze_again();
is((ctl('thaw', '-D', $backup, '-t', '1'))[0], 1, '... and a thaw of it is refused');
is(status($node, 'protection'), 'r', '... and the original stays frozen');
ctl('thaw', '-D', $data);

# the server of the backup has a worker of its own, whatever the file said
my $second = PostgreSQL::Test::Cluster->new('second');
rename $backup, $second->data_dir or system_or_bail('mv', $backup, $second->data_dir);
$second->append_conf('postgresql.conf', 'port = ' . $second->port);
chmod 0700, $second->data_dir;
$second->start;
my ($other) = (ctl('status', '-D', $second->data_dir))[1] =~ /^worker (\d+)/;
ok($other && $other != $worker, 'the server of the backup answers by a worker of its own');
$second->stop;

# not understood: nothing is done, and it is not in the way of what comes next
sub request
{
	my ($text) = @_;
	append_to_file("$data/pg_mshare.request.new", $text);
	rename "$data/pg_mshare.request.new", "$data/pg_mshare.request" or die "rename: $!";
	kill 'USR2', $worker;
	wait_until(5, sub { !-e "$data/pg_mshare.request" });
	sleep 0.2;
}

freeze_again();
for my $text ("melt 1\n", "thawing 2\n", "thaw\n", "thaw me\n", "thaw -1\n", ('x' x 5000) . "\n", "\0\0\0\n")
{
	request($text);
	is(status($node, 'protection'), 'r', 'not understood, nothing done: ' . substr($text =~ s/[^ -~]//gr, 0, 20));
	ok(!-e "$data/pg_mshare.request", '... and the request is gone');
}
request("melt $$\n");
like(slurp_file("$data/pg_mshare.state"), qr/^answer $$ failed the request is not understood$/m, 'who asked for it is told');
system_or_bail('sh', '-c', "kill -USR2 $worker");
ok(wait_until(10, sub { status($node, 'protection') eq 'rw' }), 'SIGUSR2 alone thaws still');

done_testing();
