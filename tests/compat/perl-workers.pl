# Perl's fcntl with a packed struct flock: workers exclude each other by one
# inherited handle, as in python-workers.py, and run commands meanwhile; and the
# parent's lock is its own.
use strict;
use warnings;
use Fcntl qw(:DEFAULT :seek);
use POSIX ();

my ($workers, $rounds) = (4, 25);
my ($folder) = @ARGV;

# struct flock of a 64-bit Linux: two shorts, two offsets, a pid.
sub record_lock {
	my ($handle, $command, $type) = @_;
	my $request = pack('s s x![q] q q i x![q]', $type, SEEK_SET, 0, 0, 0);
	return fcntl($handle, $command, $request);
}

sub verdict { print "$_[0]\n"; exit }

sub count_up {
	my ($lock, $counter) = @_;
	for (1 .. $rounds) {
		record_lock($lock, F_SETLKW, F_WRLCK) or POSIX::_exit(1);
		# A command takes its time: whoever else is let in reads the same now.
		my $value = `cat $folder/counter`;
		sysseek($counter, 0, SEEK_SET);
		syswrite($counter, $value + 1);
		record_lock($lock, F_SETLKW, F_UNLCK) or POSIX::_exit(1);
	}
	POSIX::_exit(0);
}

sysopen(my $lock, "$folder/lock", O_RDWR | O_CREAT) or die;
sysopen(my $zero, "$folder/counter", O_RDWR | O_CREAT) or die;
syswrite($zero, 0);
close $zero;
# All begin at once: when the pipe ends.
pipe(my $start, my $hold) or die;
my @children;
for (1 .. $workers) {
	# Each has an offset of its own in the counter, and the handle in common.
	my $pid = fork // die;
	if ($pid == 0) {
		sysopen(my $counter, "$folder/counter", O_RDWR) or POSIX::_exit(1);
		close $hold;
		<$start>;
		count_up($lock, $counter);
	}
	push @children, $pid;
}
close $hold;
for (@children) {
	waitpid($_, 0);
	verdict("a worker's exit status is $?") if $?;
}
open(my $counter, '<', "$folder/counter") or die;
my $count = <$counter>;
verdict('workers do not exclude each other') if $count != $workers * $rounds;

# The child inherits the handle, not the lock.
record_lock($lock, F_SETLK, F_WRLCK) or die;
my $pid = fork // die;
POSIX::_exit(record_lock($lock, F_SETLK, F_WRLCK) ? 1 : $!{EAGAIN} ? 0 : 2) if $pid == 0;
waitpid($pid, 0);
verdict("a forked child has its parent's lock") if $? >> 8 == 1;
verdict("a forked child: status $?") if $?;
verdict('ok');
