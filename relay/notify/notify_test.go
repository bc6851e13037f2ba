package notify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// asService has the test binary print what it inherits.
const asService = "TEST_AS_SERVICE"

func TestMain(m *testing.M) {
	if os.Getenv(asService) != "" {
		for _, one := range TakeStored(os.LookupEnv) {
			at, err := syscall.Getsockname(one.FD)
			fmt.Println(one.Name, one.FD, at != nil, err, os.Getenv("LISTEN_FDS"))
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// patience bounds every wait for a message.
const patience = 20 * time.Second

// record is a log that tests read.
type record struct {
	mu   sync.Mutex
	text bytes.Buffer
	line chan struct{} // has a token when there is a line
}

func newRecord() *record { return &record{line: make(chan struct{}, 1)} }

func (r *record) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case r.line <- struct{}{}:
	default:
	}
	return r.text.Write(b)
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

func (r *record) log() *slog.Logger { return slog.New(slog.NewTextHandler(r, nil)) }

// listen is the service manager's end of the socket.
func listen(t *testing.T, name string) *net.UnixConn {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// socketName returns a path that is short enough for a socket.
func socketName(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "notify")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

func receive(t *testing.T, c *net.UnixConn) string {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	b := make([]byte, 4096)
	n, err := c.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n])
}

// open returns a manager at a socket, with further variables as NAME=value.
func open(t *testing.T, log *slog.Logger, name string, variables ...string) *Manager {
	t.Helper()
	env := map[string]string{"NOTIFY_SOCKET": name}
	for _, v := range variables {
		key, value, _ := strings.Cut(v, "=")
		env[key] = value
	}
	m := Open(func(key string) (string, bool) { v, ok := env[key]; return v, ok }, log)
	if m == nil {
		t.Fatal("no manager")
	}
	return m
}

// start runs m until the test ends, or the returned function is called.
func start(t *testing.T, m *Manager) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { m.Run(ctx); close(done) }()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return stop
}

func TestOpen(t *testing.T) {
	for _, c := range []struct {
		socket, watchdog string
		want             bool
		period           time.Duration
		warns            string
	}{
		{"", "30000000", false, 0, ""},
		{"/run/systemd/notify", "", true, assumedWatchdog, ""},
		{"/run/systemd/notify", "30000000", true, 30 * time.Second, ""},
		{"@abstract", "1", true, time.Microsecond, ""},
		{"/s", "0", true, 0, ""},
		{"vsock:2:1234", "", false, 0, "vsock:2:1234"},
		{"relative", "", false, 0, "relative"},
		{"/s", "30s", true, assumedWatchdog, "30s"},
		{"/s", "-1", true, assumedWatchdog, "WATCHDOG_USEC=-1"},
		{"/s", "9223372036854775807", true, assumedWatchdog, "9223372036854775807"},
	} {
		log := newRecord()
		env := map[string]string{"NOTIFY_SOCKET": c.socket, "WATCHDOG_USEC": c.watchdog, "WATCHDOG_PID": "1"}
		m := Open(func(key string) (string, bool) { v := env[key]; return v, v != "" }, log.log())
		if (m != nil) != c.want {
			t.Errorf("%q: manager %v", c.socket, m != nil)
		}
		if m != nil && m.watchdog != c.period || m.HasWatchdog() != (c.period > 0) {
			t.Errorf("%q, %q: period %v", c.socket, c.watchdog, m.watchdog)
		}
		if text := log.String(); (text != "") != (c.warns != "") || !strings.Contains(text, c.warns) {
			t.Errorf("%q, %q: log %q", c.socket, c.watchdog, text)
		}
	}
}

func TestNoManager(t *testing.T) {
	var m *Manager
	m.Ready()
	m.Reloading(0)
	m.Stopping(0)
	m.Yield()
	m.Resume()
	if err := m.SetMain(t.Context(), 1); err != nil {
		t.Error(err)
	}
	m.Status("x")
	m.Run(t.Context())
	m.Watch(t.Context(), func(context.Context) error { t.Error("asked"); return nil })
}

// What is said arrives as sd_notify(3) defines it, in order.
func TestMessages(t *testing.T) {
	name := socketName(t)
	c := listen(t, name)
	m := open(t, newRecord().log(), name)
	start(t, m)
	for _, step := range []struct {
		do   func()
		want string // "" for no message
	}{
		{m.Ready, "READY=1"},
		{func() { m.Status("sessions: 3") }, "STATUS=sessions: 3"},
		{func() { m.Status("sessions: 3") }, ""},
		{func() { m.Status("a\nREADY=1\x00") }, "STATUS=a READY=1 "},
		{func() { m.Reloading(12345678901 * time.Nanosecond) }, "RELOADING=1\nMONOTONIC_USEC=12345678"},
		{m.Ready, "READY=1"},
		{m.Yield, ""},
		{func() { m.Status("sessions: 4") }, ""},
		{m.Resume, "READY=1\nWATCHDOG=1"},
		{func() {
			if err := m.SetMain(t.Context(), 4711); err != nil {
				t.Error(err)
			}
		}, "MAINPID=4711"},
		{func() { m.Status("a\nREADY=1\x00") }, "STATUS=a READY=1 "}, // said again by the one that resumes
		{func() { m.Stopping(24 * time.Hour) }, "STOPPING=1\nEXTEND_TIMEOUT_USEC=86400000000"},
	} {
		step.do()
		if step.want == "" {
			continue // the next message would be another
		}
		if got := receive(t, c); got != step.want {
			t.Errorf("received %q, want %q", got, step.want)
		}
	}
}

// A manager that reads nothing stops nobody, and gets the last state when it reads
// again.
func TestStalledManager(t *testing.T) {
	name := socketName(t)
	c := listen(t, name)
	fill, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = fill.Close() }()
	raw, err := fill.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var full error
	err = raw.Write(func(fd uintptr) bool {
		for full == nil {
			_, full = syscall.Write(int(fd), []byte("full"))
		}
		return true
	})
	if err != nil || !errors.Is(full, syscall.EAGAIN) {
		t.Fatal(err, full)
	}
	log := newRecord()
	m := open(t, log.log(), name)
	start(t, m)
	m.Ready()
	<-log.line // the socket is full
	began := time.Now()
	for i := range 1000 {
		m.Status(fmt.Sprint("status ", i))
		m.post("WATCHDOG=1")
	}
	m.Stopping(time.Second)
	if took := time.Since(began); took > 20*sendTimeout { // one call in fifty
		t.Errorf("a stalled manager held up its caller for %v", took)
	}
	var got []string
	for {
		message := receive(t, c)
		if message != "full" {
			got = append(got, message)
		}
		if strings.HasPrefix(message, "STOPPING=1") {
			break
		}
	}
	want := []string{"READY=1", "STATUS=status 999", "WATCHDOG=1", "STOPPING=1\nEXTEND_TIMEOUT_USEC=1000000"}
	if !slices.Equal(got, want) {
		t.Errorf("received %q, want %q", got, want)
	}
	if n := strings.Count(log.String(), "cannot be notified"); n != 1 {
		t.Errorf("%d lines for one failure:\n%s", n, log)
	}
}

// A manager that is started anew opens its socket again.
func TestManagerComesBack(t *testing.T) {
	name := fmt.Sprintf("@srtrelay-test-notify-%d", os.Getpid())
	log := newRecord()
	m := open(t, log.log(), name)
	start(t, m)
	m.Ready()
	<-log.line
	if got := receive(t, listen(t, name)); got != "READY=1" {
		t.Errorf("received %q", got)
	}
}

// What is posted before the end is sent, and a manager that is away delays the end by
// one attempt.
func TestRunSendsTheLastMessages(t *testing.T) {
	name := socketName(t)
	c := listen(t, name)
	m := open(t, newRecord().log(), name)
	m.Ready()
	m.Stopping(time.Second)
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	m.Run(ended)
	for _, want := range []string{"READY=1", "STOPPING=1\nEXTEND_TIMEOUT_USEC=1000000"} {
		if got := receive(t, c); got != want {
			t.Errorf("received %q, want %q", got, want)
		}
	}
	_ = c.Close()
	m.Ready()
	m.Stopping(time.Second)
	m.Run(ended) // returns
}

// Who must know that the manager has been told, waits for that, and not for ever.
func TestSetMainWaits(t *testing.T) {
	name := socketName(t)
	m := open(t, newRecord().log(), name)
	start(t, m)
	limited, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := m.SetMain(limited, 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("nobody listens: %v", err)
	}
	c := listen(t, name)
	if err := m.SetMain(t.Context(), 2); err != nil {
		t.Error(err)
	}
	for _, want := range []string{"MAINPID=1", "MAINPID=2"} {
		if got := receive(t, c); got != want {
			t.Errorf("received %q, want %q", got, want)
		}
	}
}

func TestQueueIsBounded(t *testing.T) {
	m := open(t, newRecord().log(), "/s")
	for i := range 100 {
		m.Reloading(time.Duration(i) * time.Microsecond)
		m.Ready()
	}
	m.Stopping(0)
	if n := len(m.queue); n != maxQueued {
		t.Errorf("%d messages queued", n)
	}
	var last []string
	for _, one := range m.queue[maxQueued-3:] {
		last = append(last, one.text)
	}
	if want := []string{"RELOADING=1\nMONOTONIC_USEC=99", "READY=1", "STOPPING=1\nEXTEND_TIMEOUT_USEC=0"}; !slices.Equal(last, want) {
		t.Errorf("the last are %q", last)
	}
}
