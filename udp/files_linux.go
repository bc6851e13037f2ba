package udp

import (
	"math"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// files says how many of the process's descriptors are kept for upstream sockets.
var files struct {
	// mu is held while a socket is opened at the full limit. Shards lock it
	// only when they open an upstream socket, never on the path of a packet.
	mu   sync.Mutex
	full unix.Rlimit // zero as long as nothing is reserved
}

// FileLimit returns how many descriptors the process may have (RLIMIT_NOFILE),
// after raising the soft limit to the hard one. 0 means unknown.
func FileLimit() int {
	var l unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &l) != nil {
		return 0
	}
	if l.Cur < l.Max {
		raised := unix.Rlimit{Cur: l.Max, Max: l.Max}
		if unix.Setrlimit(unix.RLIMIT_NOFILE, &raised) == nil {
			l = raised
		}
	}
	return int(min(l.Cur, math.MaxInt32))
}

// ReserveFiles keeps n descriptors for upstream sockets (OpenBack). It lowers the
// soft limit by n, which holds for connections, files and all else; OpenBack
// raises it while it opens a socket. 0 ends the reservation.
func ReserveFiles(n int) error {
	files.mu.Lock()
	defer files.mu.Unlock()
	if files.full == (unix.Rlimit{}) {
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files.full); err != nil {
			return os.NewSyscallError("getrlimit", err)
		}
	}
	lower := files.full
	lower.Cur -= min(uint64(n), lower.Cur)
	if n == 0 {
		files.full = unix.Rlimit{}
	}
	return os.NewSyscallError("setrlimit", unix.Setrlimit(unix.RLIMIT_NOFILE, &lower))
}

// openReserved calls open, which may take a reserved descriptor.
func openReserved(open func() (int, error)) (int, error) {
	files.mu.Lock()
	defer files.mu.Unlock()
	var now unix.Rlimit
	if files.full != (unix.Rlimit{}) && unix.Getrlimit(unix.RLIMIT_NOFILE, &now) == nil {
		if unix.Setrlimit(unix.RLIMIT_NOFILE, &files.full) == nil {
			defer func() { _ = unix.Setrlimit(unix.RLIMIT_NOFILE, &now) }()
		}
	}
	return open()
}
