package notify

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// storeSocket is a manager that receives descriptors.
func storeSocket(t *testing.T) (m *Manager, receive func() (text string, fds []int)) {
	t.Helper()
	dir, err := os.MkdirTemp("", "notify")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	name := filepath.Join(dir, "s")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	env := func(key string) (string, bool) { return name, key == "NOTIFY_SOCKET" }
	return Open(env, slog.New(slog.DiscardHandler)), func() (string, []int) {
		b, oob := make([]byte, 4096), make([]byte, 1024)
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, oobn, _, _, err := conn.ReadMsgUnix(b, oob)
		if err != nil {
			t.Error(err)
			return "", nil
		}
		var fds []int
		messages, _ := syscall.ParseSocketControlMessage(oob[:oobn])
		for k := range messages {
			some, _ := syscall.ParseUnixRights(&messages[k])
			fds = append(fds, some...)
		}
		return string(b[:n]), fds
	}
}

func TestStore(t *testing.T) {
	m, receive := storeSocket(t)
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if !m.HasStore() {
		t.Error("no store, though nobody says so")
	}
	if err := m.Store(t.Context(), "front/0/0/x", int(file.Fd())); err != nil {
		t.Fatal(err)
	}
	text, fds := receive()
	if text != "FDSTORE=1\nFDPOLL=0\nFDNAME=front/0/0/x" || len(fds) != 1 {
		t.Errorf("%q with %d descriptors", text, len(fds))
	}
	for _, fd := range fds {
		_ = syscall.Close(fd)
	}
	if err := m.Remove(t.Context(), "front/0/0/x"); err != nil {
		t.Fatal(err)
	}
	if text, fds := receive(); text != "FDSTOREREMOVE=1\nFDNAME=front/0/0/x" || len(fds) != 0 {
		t.Errorf("%q with %d descriptors", text, len(fds))
	}
	for _, name := range []string{"", "a:b", "a b", "a\nb", "ä", strings.Repeat("x", mostName+1)} {
		if m.Store(t.Context(), name, int(file.Fd())) == nil || m.Remove(t.Context(), name) == nil {
			t.Errorf("the name %q is taken", name)
		}
	}
}

// A barrier ends when the manager closes its descriptor, and with the deadline if it does not.
func TestBarrier(t *testing.T) {
	m, receive := storeSocket(t)
	done := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	go func() { done <- m.Barrier(ctx) }()
	text, fds := receive()
	if text != "BARRIER=1" || len(fds) != 1 {
		t.Fatalf("%q with %d descriptors", text, len(fds))
	}
	select {
	case err := <-done:
		t.Fatalf("before the manager has read it: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	_ = syscall.Close(fds[0])
	if err := <-done; err != nil {
		t.Error(err)
	}
	short, cancel := context.WithTimeout(t.Context(), time.Second) // also for what sends it
	defer cancel()
	go func() { done <- m.Barrier(short) }()
	_, fds = receive()
	if err := <-done; err == nil {
		t.Error("no error of a manager that does not answer")
	}
	_ = syscall.Close(fds[0])
}

func TestHasStore(t *testing.T) {
	for value, want := range map[string]bool{"-": true, "": true, "x": true, "0": false, "16": true} {
		got := readStore(func(string) (string, bool) { return value, value != "-" })
		if got != want {
			t.Errorf("FDSTORE %q: %v", value, got)
		}
	}
	var none *Manager
	if none.HasStore() {
		t.Error("no manager has a store")
	}
}

// Only descriptors for this process are taken, and no child is told of them.
func TestTakeStored(t *testing.T) {
	self, parent := strconv.Itoa(os.Getpid()), strconv.Itoa(os.Getppid())
	for name, c := range map[string]struct {
		pid, count, names string
		want              []string
	}{
		"of the parent":      {"parent " + parent, "1", "a", []string{"a 3"}},
		"another parent's":   {"parent " + self, "1", "a", nil},
		"none":               {"", "", "", nil},
		"another process'":   {self + "1", "1", "a", nil},
		"no number":          {self, "x", "a", nil},
		"too many":           {self, "65537", "a", nil},
		"negative":           {self, "-1", "a", nil},
		"two":                {self, "2", "a:b", []string{"a 3", "b 4"}},
		"fewer names":        {self, "2", "a", []string{"a 3", " 4"}},
		"more names":         {self, "1", "a:b:c", []string{"a 3"}},
		"names of no number": {self, "0", "a", nil},
	} {
		t.Setenv("LISTEN_FDS", c.count)
		var got []string
		env := map[string]string{"LISTEN_PID": c.pid, "LISTEN_FDS": c.count, "LISTEN_FDNAMES": c.names}
		if ppid, is := strings.CutPrefix(c.pid, "parent "); is {
			delete(env, "LISTEN_PID")
			env["LISTEN_PPID"] = ppid
		}
		for _, one := range TakeStored(func(key string) (string, bool) { v, ok := env[key]; return v, ok }) {
			got = append(got, one.Name+" "+strconv.Itoa(one.FD))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		if _, set := os.LookupEnv("LISTEN_FDS"); set {
			t.Errorf("%s: LISTEN_FDS is still set", name)
		}
	}
}

// systemd closes what does not fit into its store, and says nothing.
func TestFull(t *testing.T) {
	for _, full := range []bool{false, true} {
		m, receive := storeSocket(t)
		type answer struct {
			full bool
			err  error
		}
		done := make(chan answer, 1)
		go func() {
			got, err := m.Full(t.Context(), "probe")
			done <- answer{got, err}
		}()
		text, stored := receive()
		if text != "FDSTORE=1\nFDPOLL=0\nFDNAME=probe" || len(stored) != 1 {
			t.Fatalf("%q with %d descriptors", text, len(stored))
		}
		if full {
			_ = syscall.Close(stored[0])
		}
		_, barrier := receive()
		_ = syscall.Close(barrier[0])
		if got := <-done; got.full != full || got.err != nil {
			t.Errorf("full: %v, %v, want %v", got.full, got.err, full)
		}
		if !full {
			if text, _ := receive(); text != "FDSTOREREMOVE=1\nFDNAME=probe" {
				t.Errorf("%q", text)
			}
			_ = syscall.Close(stored[0])
		}
	}
}
