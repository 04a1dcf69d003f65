// A lock in Go: a file in a folder where relockfs is mounted.
//
//	go run lock.go DIR NAME acquire    wait for the lock, hold it until a line is read
//	go run lock.go DIR NAME try        the same, but say "busy" instead of waiting
//	go run lock.go DIR NAME look       who has it?
//
// To open DIR/NAME for writing is to acquire the lock NAME; to close it, or to
// end, even by kill -9, is to release it.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const usage = "usage: lock DIR NAME acquire|try|look"

// acquire waits for its turn, in a thread of its own: other goroutines go on.
// The runtime handles all signals (a child's end and a window's change of size
// are some), and os.OpenFile opens again when one interrupts it, which costs the
// waiter its place in the queue.
func acquire(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o666)
}

// try fails with fs.ErrExist if somebody has the lock.
func try(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
}

func hold(lock *os.File) error {
	// Not only for the errors' sake: a file that nothing refers to any more is
	// closed by the garbage collector, and the lock released.
	defer lock.Close()
	if _, err := fmt.Fprintln(lock, "from Go"); err != nil { // what others read there
		return err
	}
	fmt.Println("held")
	bufio.NewReader(os.Stdin).ReadString('\n') // the end of the input will do
	return nil
}

func look(dir, path string) error {
	state, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err = os.Stat(dir); err == nil {
			fmt.Println("free")
		}
		return err
	}
	fmt.Print(string(state))
	return err
}

func run(dir, name, action string) error {
	path := filepath.Join(dir, name)
	switch action {
	case "acquire":
		lock, err := acquire(path)
		if err != nil {
			return err
		}
		return hold(lock)
	case "try":
		lock, err := try(path)
		if errors.Is(err, fs.ErrExist) {
			fmt.Println("busy")
			return nil
		}
		if err != nil {
			return err
		}
		return hold(lock)
	case "look":
		return look(dir, path)
	}
	return errors.New(usage)
}

func main() {
	err := errors.New(usage)
	if len(os.Args) == 4 {
		err = run(os.Args[1], os.Args[2], os.Args[3])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
