//go:build linux

package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"srtrelay/bench/lab"
)

// descriptorStore is a service manager with a store of descriptors, which does what systemd
// 252 does with them (src/core/service.c): a file that is there already is not taken again,
// whatever its name; the newest comes first; what a process gets stays in the store. It closes
// none that reports an error, as FDPOLL=0 asks.
type descriptorStore struct {
	t    *testing.T
	conn *net.UnixConn
	name string

	mu    sync.Mutex
	files []*os.File // the newest first; File.Name is FDNAME
	most  int
	lost  int    // of those that were to be stored: there is no room
	kept  string // the checkpoint that awaitKept has last seen
}

func newDescriptorStore(t *testing.T) *descriptorStore {
	t.Helper()
	dir, err := os.MkdirTemp("", "srtrelay") // a socket's path must be short
	must(t, err)
	m := &descriptorStore{t: t, name: filepath.Join(dir, "notify"), most: 4096}
	m.conn, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: m.name, Net: "unixgram"})
	must(t, err)
	var reading sync.WaitGroup
	reading.Go(m.read)
	t.Cleanup(func() {
		_ = m.conn.Close()
		reading.Wait()
		m.remove(func(string) bool { return true })
		_ = os.RemoveAll(dir)
	})
	return m
}

// read handles messages until the socket is closed.
func (m *descriptorStore) read() {
	b, oob := make([]byte, 4096), make([]byte, unix.CmsgSpace(4*253))
	for {
		n, oobn, _, _, err := m.conn.ReadMsgUnix(b, oob)
		if err != nil {
			return
		}
		var fds []int
		if messages, err := unix.ParseSocketControlMessage(oob[:oobn]); err == nil {
			for k := range messages {
				some, _ := unix.ParseUnixRights(&messages[k])
				fds = append(fds, some...)
			}
		}
		m.handle(strings.Split(string(b[:n]), "\n"), fds)
	}
}

func (m *descriptorStore) handle(lines []string, fds []int) {
	name := "stored"
	for _, line := range lines {
		if text, is := strings.CutPrefix(line, "FDNAME="); is {
			name = text
		}
	}
	switch {
	case slices.Contains(lines, "FDSTORE=1"):
		if !slices.Contains(lines, "FDPOLL=0") {
			m.t.Errorf("%q: systemd would close a socket that reports an error", lines)
		}
		for _, fd := range fds {
			m.add(os.NewFile(uintptr(fd), name))
		}
		return
	case slices.Contains(lines, "FDSTOREREMOVE=1"):
		m.remove(func(one string) bool { return one == name })
	}
	for _, fd := range fds { // also of BARRIER=1
		_ = unix.Close(fd)
	}
}

func (m *descriptorStore) add(f *os.File) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.files) >= m.most {
		m.lost++
		_ = f.Close()
		return
	}
	if slices.ContainsFunc(m.files, func(one *os.File) bool { return sameFile(one, f) }) {
		_ = f.Close()
		return
	}
	m.files = slices.Insert(m.files, 0, f)
}

// sameFile reports whether two descriptors are of one open file.
func sameFile(a, b *os.File) bool {
	const kcmpFile = 0
	pid := uintptr(os.Getpid())
	r, _, errno := unix.Syscall6(unix.SYS_KCMP, pid, pid, kcmpFile, a.Fd(), b.Fd(), 0)
	return errno == 0 && r == 0
}

func (m *descriptorStore) remove(which func(name string) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.files = slices.DeleteFunc(m.files, func(f *os.File) bool {
		if which(f.Name()) {
			_ = f.Close()
			return true
		}
		return false
	})
}

// names returns the names of all descriptors, sorted. The one by which a relay finds out whether
// there is room comes and goes.
func (m *descriptorStore) names() (all []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range m.files {
		if !strings.HasPrefix(f.Name(), "probe/") {
			all = append(all, f.Name())
		}
	}
	slices.Sort(all)
	return all
}

// await waits until the names are as they should be.
func (m *descriptorStore) await(what string, ok func(names []string) bool) {
	m.t.Helper()
	if !eventually(func() bool { return ok(m.names()) }) {
		m.t.Fatalf("%s: the store has %q", what, m.names())
	}
}

// awaitKept waits until the store has the checkpoint of a process that has not been awaited.
func (m *descriptorStore) awaitKept() {
	m.t.Helper()
	var found string
	m.await("everything kept", func(names []string) bool {
		for _, name := range names {
			if strings.HasPrefix(name, "checkpoint/") {
				found = name
			}
		}
		return countPrefix(names, "checkpoint/") == 1 && found != m.kept
	})
	m.kept = found
}

func countPrefix(names []string, prefix string) (n int) {
	for _, name := range names {
		if strings.HasPrefix(name, prefix) {
			n++
		}
	}
	return n
}

// start starts a relay as systemd would, with what is in the store.
func (m *descriptorStore) start(at *lab.Namespace, args ...string) *relay {
	m.t.Helper()
	r := m.startProcess(at, args...)
	r.awaitRelaying()
	return r
}

func (m *descriptorStore) startProcess(at *lab.Namespace, args ...string) *relay {
	m.t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	by := []string{"env", "NOTIFY_SOCKET=" + m.name}
	if len(m.files) > 0 {
		var names []string
		for _, f := range m.files {
			names = append(names, f.Name())
		}
		by = append(by, "LISTEN_FDS="+strconv.Itoa(len(m.files)), "LISTEN_FDNAMES="+strings.Join(names, ":"),
			"sh", "-c", `LISTEN_PID=$$ exec "$@"`, "sh")
	}
	for _, f := range m.files {
		// As systemd, which gives away what it has as it is.
		if err := syscall.SetNonblock(int(f.Fd()), true); err != nil && !strings.HasPrefix(f.Name(), "kernel/") {
			m.t.Error(fmt.Errorf("%s: %w", f.Name(), err))
		}
	}
	return newProcessWith(m.t, at, append(by, binary), m.files, args...)
}
