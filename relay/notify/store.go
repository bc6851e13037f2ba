package notify

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The service manager's descriptor store (FileDescriptorStoreMax= of systemd): descriptors
// that outlive the process. The next process of the service gets them, and they stay in the
// store until they are removed by name.

const (
	// firstStored is the first descriptor that a process inherits (SD_LISTEN_FDS_START).
	firstStored = 3
	// mostStored bounds how many: systemd's own limit of a message is far lower.
	mostStored = 1 << 16
	// mostName is the longest name of a descriptor (FDNAME_MAX of systemd).
	mostName = 255
	// storeTimeout is how long the manager may take for one message: it reads them one by
	// one, while it does other things.
	storeTimeout = time.Second
)

// Stored is a descriptor of the store.
type Stored struct {
	Name string
	FD   int
}

// HasStore reports whether the manager may keep descriptors. systemd says so from version 254
// on; before it nobody knows, and those that are given are closed if there is no store.
func (m *Manager) HasStore() bool { return m != nil && m.store }

// readStore reads whether there is a store.
func readStore(lookupEnv func(string) (string, bool)) bool {
	text, set := lookupEnv("FDSTORE")
	n, err := strconv.Atoi(text)
	return !set || err != nil || n > 0
}

// TakeStored returns the descriptors that the manager has kept of the service's last process,
// and that the caller owns from then on. It must be called once, before the process starts
// others: it removes the variables that would tell them of the descriptors. systemd names this
// process (LISTEN_PID), srtrelay keep names itself (LISTEN_PPID).
func TakeStored(lookupEnv func(string) (string, bool)) (all []Stored) {
	pid, _ := lookupEnv("LISTEN_PID")
	parent, _ := lookupEnv("LISTEN_PPID")
	count, _ := lookupEnv("LISTEN_FDS")
	names, _ := lookupEnv("LISTEN_FDNAMES")
	for _, name := range []string{"LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_PPID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		_ = os.Unsetenv(name)
	}
	n, err := strconv.Atoi(count)
	ours := pid == strconv.Itoa(os.Getpid()) || pid == "" && parent == strconv.Itoa(os.Getppid())
	if err != nil || n <= 0 || n > mostStored || !ours {
		return nil
	}
	each := strings.Split(names, ":")
	for k := range n {
		one := Stored{FD: firstStored + k}
		if k < len(each) {
			one.Name = each[k]
		}
		syscall.CloseOnExec(one.FD)
		all = append(all, one)
	}
	return all
}

// errName says that systemd would give a descriptor another name.
var errName = errors.New("a name must be of printable ASCII without colons, and not too long")

func checkName(name string) error {
	bad := func(c rune) bool { return c <= ' ' || c >= 127 || c == ':' }
	if name == "" || len(name) > mostName || strings.ContainsFunc(name, bad) {
		return fmt.Errorf("name %q: %w", name, errName)
	}
	return nil
}

// Store has the manager keep a descriptor under a name. One that it has already stays as it
// is. The manager does not look whether the descriptor reports an error (FDPOLL=0, systemd
// 246): a socket does as soon as a host is unreachable.
func (m *Manager) Store(ctx context.Context, name string, fd int) error {
	if err := checkName(name); err != nil {
		return err
	}
	return m.sendFD(ctx, "FDSTORE=1\nFDPOLL=0\nFDNAME="+name, fd)
}

// Remove has the manager close all descriptors of a name.
func (m *Manager) Remove(ctx context.Context, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	return m.sendFD(ctx, "FDSTOREREMOVE=1\nFDNAME="+name)
}

// Barrier waits until the manager has read all messages that were sent before (systemd 246), or
// until the deadline of ctx.
func (m *Manager) Barrier(ctx context.Context) error {
	if m == nil {
		return nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("barrier: %w", err)
	}
	defer r.Close()
	err = m.sendFD(ctx, "BARRIER=1", int(w.Fd()))
	_ = w.Close() // the manager has the other one
	if err != nil {
		return err
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = r.SetReadDeadline(deadline)
	}
	if _, err = r.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("barrier: the service manager does not answer: %w", err)
	}
	return nil // the end of the file
}

// sendFD sends a message with descriptors at once, past the queue.
func (m *Manager) sendFD(ctx context.Context, text string, fds ...int) (err error) {
	if m == nil {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &m.socket)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	deadline := time.Now().Add(storeTimeout)
	if end, ok := ctx.Deadline(); ok && end.Before(deadline) {
		deadline = end
	}
	if err := conn.SetWriteDeadline(deadline); err != nil {
		return fmt.Errorf("set deadline: %w", err)
	}
	var rights []byte
	if len(fds) > 0 {
		rights = syscall.UnixRights(fds...)
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return fmt.Errorf("send: %w", err)
	}
	// WriteMsgUnix refuses a connected datagram socket.
	var failed error
	if err := raw.Write(func(to uintptr) bool {
		failed = syscall.Sendmsg(int(to), []byte(text), rights, nil, 0)
		return !errors.Is(failed, syscall.EAGAIN)
	}); err != nil {
		failed = err
	}
	if failed != nil {
		return fmt.Errorf("send: %w", failed)
	}
	return nil
}
