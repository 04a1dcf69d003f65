#!/usr/bin/env perl
# A lock in Perl: a file in a folder where relockfs is mounted.
#
#   perl lock.pl DIR NAME acquire    wait for the lock, hold it until a line is read
#   perl lock.pl DIR NAME try        the same, but say "busy" instead of waiting
#   perl lock.pl DIR NAME look       who has it?
#
# To open DIR/NAME for writing is to acquire the lock NAME; to close it, or to
# end, even by kill -9, is to release it.
use strict;
use warnings;
use Fcntl;

my $usage = "usage: lock.pl DIR NAME acquire|try|look\n";
die $usage unless @ARGV == 3;
my ($dir, $name, $action) = @ARGV;
my $path = "$dir/$name";
$| = 1;

# $lock is closed, and the lock released, at the end of the block that has it.
sub hold {
	my ($lock) = @_;
	syswrite($lock, "from Perl\n") or die "$path: $!\n";    # what others read there
	print "held\n";
	<STDIN>;
	close $lock or die "$path: $!\n";
}

if ($action eq 'acquire') {
	# Waits for its turn.  A signal that %SIG handles ends the wait with EINTR, so
	# alarm() is a time limit.
	sysopen(my $lock, $path, O_WRONLY | O_CREAT) or die "$path: $!\n";
	hold($lock);
} elsif ($action eq 'try') {
	if (sysopen(my $lock, $path, O_WRONLY | O_CREAT | O_NONBLOCK)) {
		hold($lock);
	} elsif ($!{EAGAIN}) {
		print "busy\n";
	} else {
		die "$path: $!\n";
	}
} elsif ($action eq 'look') {
	if (open(my $state, '<', $path)) {
		print while <$state>;
	} elsif ($!{ENOENT} and -d $dir) {
		print "free\n";
	} else {
		die "$path: $!\n";
	}
} else {
	die $usage;
}
