#!/usr/bin/env ruby
# A lock in Ruby: a file in a folder where relockfs is mounted.
#
#   ruby lock.rb DIR NAME acquire    wait for the lock, hold it until a line is read
#   ruby lock.rb DIR NAME try        the same, but say "busy" instead of waiting
#   ruby lock.rb DIR NAME look       who has it?
#
# To open DIR/NAME for writing is to acquire the lock NAME; to close it, or to
# end, even by kill -9, is to release it.

USAGE = 'usage: lock.rb DIR NAME acquire|try|look'

def hold(lock)
  lock.syswrite("from Ruby\n") # what others read there; not buffered
  puts 'held'
  $stdin.gets
end

abort USAGE unless ARGV.size == 3
dir, name, action = ARGV
path = File.join(dir, name)
$stdout.sync = true

# With a block, open closes the file at its end.  A file that is left to the
# garbage collector is closed, and its lock released, at any moment.
begin
  case action
  when 'acquire'
    # Waits for its turn; other threads go on.  Timeout.timeout works on it, and a
    # signal with a handler ends it with Errno::EINTR.
    File.open(path, 'w') { |lock| hold(lock) }
  when 'try'
    begin
      File.open(path, 'wx') { |lock| hold(lock) }
    rescue Errno::EEXIST
      puts 'busy'
    end
  when 'look'
    begin
      print File.read(path)
    rescue Errno::ENOENT
      File.stat(dir) # raises if it is the folder that is not there
      puts 'free'
    end
  else
    abort USAGE
  end
rescue SystemCallError => error
  abort "lock.rb: #{error.message}"
end
