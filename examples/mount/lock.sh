#!/bin/sh
# A lock in the shell: a file in a folder where relockfs is mounted.
#
#   sh lock.sh DIR NAME acquire    wait for the lock, hold it until a line is read
#   sh lock.sh DIR NAME try        the same, but say "busy" instead of waiting
#   sh lock.sh DIR NAME look       who has it?
#
# To open DIR/NAME for writing is to acquire the lock NAME; to close it, or to
# end, even by kill -9, is to release it.
set -eu
if [ $# -ne 3 ]; then
	echo 'usage: lock.sh DIR NAME acquire|try|look' >&2
	exit 2
fi
dir=$1 lock=$1/$2 action=$3

hold() {
	echo 'from sh' >&9 # what others read there
	echo held
	# A command inherits descriptor 9, and keeps the lock for as long as it
	# runs: one that stays in the background needs a 9>&- of its own.
	read -r _ 9>&- || : # the end of the input will do
	exec 9>&-
}

if [ ! -d "$dir" ]; then
	echo "lock.sh: $dir: no such folder" >&2
	exit 1
fi
case $action in
acquire)
	exec 9>"$lock" # waits for its turn
	hold
	;;
try)
	# With -C (noclobber), > opens with O_EXCL.  A redirection of exec that
	# fails ends the shell, one of `command exec` does not.
	set -C
	if { command exec 9>"$lock"; } 2>/dev/null; then
		hold
	elif [ -e "$lock" ]; then
		echo busy
	else
		exec 9>"$lock" # given back just now; or else this says why not
		hold
	fi
	;;
look)
	cat "$lock" 2>/dev/null || echo free # no lock is held, no file is there
	;;
*)
	echo "lock.sh: $action: no such action" >&2
	exit 2
	;;
esac
