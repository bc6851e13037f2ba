package takeover

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// endpoint is a listening socket and its name in the file system. The name is in turn
// that of the giver and of its taker: only whose socket is there may remove it.
type endpoint struct {
	path     string
	listener *net.UnixListener
	file     os.FileInfo // of the socket's file
}

// lockTimeout bounds how long another process may hold the lock of the folder.
const lockTimeout = 2 * time.Second

// publish binds a new socket with the name path. It replaces what is there unless that is no
// socket, or, if it may not replace a running relay, somebody answers.
func publish(path string, replace bool) (*endpoint, error) {
	unlock, err := lockFolder(path)
	if err != nil {
		return nil, err
	}
	defer unlock()
	switch info, err := os.Lstat(path); {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return nil, err
	case info.Mode()&os.ModeSocket == 0:
		return nil, fmt.Errorf("%s: is no socket", path)
	case !replace && answers(path):
		return nil, fmt.Errorf("%s: %w", path, ErrBusy)
	}
	// With the lock no other process has the temporary name. A file of that name is what
	// a killed one has left.
	temporary := path + "~"
	if err := os.Remove(temporary); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	listener, err := bind(temporary)
	if err != nil {
		return nil, err
	}
	e := &endpoint{path: path, listener: listener}
	if e.file, err = os.Lstat(temporary); err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		_ = listener.Close()
		_ = os.Remove(temporary)
		return nil, err
	}
	return e, nil
}

// bind opens a listener whose file nobody else can open at any time: on Linux the file
// gets the mode of the unbound socket, less the umask.
func bind(path string) (*net.UnixListener, error) {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		if outer := c.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), 0o600) }); outer != nil {
			return outer
		}
		return err
	}}
	l, err := config.Listen(context.Background(), network, path)
	if err != nil {
		return nil, err
	}
	listener := l.(*net.UnixListener)
	listener.SetUnlinkOnClose(false)
	return listener, nil
}

const network = "unixpacket" // SOCK_SEQPACKET

// answers reports whether a process listens at path. Its error for a listener that may not
// be reached, or has a full queue, is not that for none.
func answers(path string) bool {
	c, err := net.Dial(network, path)
	if err == nil {
		_ = c.Close()
	}
	return !errors.Is(err, unix.ECONNREFUSED) && !errors.Is(err, os.ErrNotExist)
}

// lockFolder locks the folder of path, so that processes look at the name and replace it
// one after the other. The lock ends with the process at the latest.
func lockFolder(path string) (unlock func(), err error) {
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	for end := time.Now().Add(lockTimeout); ; time.Sleep(10 * time.Millisecond) {
		err := unix.Flock(int(folder.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = folder.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) || time.Now().After(end) {
			_ = folder.Close()
			return nil, fmt.Errorf("locking %s: %w", filepath.Dir(path), err)
		}
	}
}

// ours reports whether the socket still has its name.
func (e *endpoint) ours() bool {
	info, err := os.Lstat(e.path)
	return err == nil && os.SameFile(info, e.file)
}

// close ends the listening, and removes the name if it is still that of this socket.
func (e *endpoint) close() {
	if unlock, err := lockFolder(e.path); err == nil {
		defer unlock()
		if e.ours() {
			_ = os.Remove(e.path)
		}
	}
	_ = e.listener.Close()
}
