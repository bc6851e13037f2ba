package udp

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// The bug: connections to the API could take the last descriptors, and then no
// further upstream socket opened.
func TestReservedFilesAreForUpstreamSockets(t *testing.T) {
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	few := unix.Rlimit{Cur: uint64(openFiles(t) + 20), Max: before.Max}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = ReserveFiles(0)
		_ = unix.Setrlimit(unix.RLIMIT_NOFILE, &before)
	})
	if err := ReserveFiles(4); err != nil {
		t.Fatal(err)
	}
	var taken []*os.File
	t.Cleanup(func() {
		for _, f := range taken {
			_ = f.Close()
		}
	})
	for {
		f, err := os.Open(os.DevNull)
		if errors.Is(err, unix.EMFILE) {
			break
		}
		if err != nil || len(taken) > 100 {
			t.Fatalf("%d files opened, %v", len(taken), err)
		}
		taken = append(taken, f)
	}
	for i := range 3 {
		s, err := OpenBack(loopbacks["IPv4"], Options{})
		if err != nil {
			t.Fatalf("socket %d: %v", i, err)
		}
		defer s.Close()
		if i > 0 {
			continue
		}
		fd, err := s.Dup()
		if err != nil {
			t.Fatalf("duplicate: %v", err)
		}
		ok(t, unix.Close(fd))
	}
	if f, err := os.Open(os.DevNull); err == nil {
		_ = f.Close()
		t.Error("a file took a reserved descriptor")
	}
}
