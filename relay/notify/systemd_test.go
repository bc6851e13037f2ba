package notify

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"srtrelay/internal/clocale"
	"srtrelay/internal/need"
)

// The tests of this package play systemd's part; these are checked with its own code. What that
// passes on is found by name.
func TestTakeStoredOfSystemd(t *testing.T) {
	t.Parallel()
	tool := need.Tool(t, "systemd-socket-activate")
	socket := filepath.Join(t.TempDir(), "s")
	cmd := clocale.Command(tool, "--listen="+socket, "--listen="+socket+"2",
		"--fdname=front/0/0/127.0.0.1%3A1:checkpoint/0/0/1f", "--setenv="+asService+"=1", os.Args[0])
	cmd.Env = clocale.Environ(asService + "=1")
	var out strings.Builder
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	defer time.AfterFunc(patience, func() { _ = cmd.Process.Kill() }).Stop()
	for { // a connection has it start the service
		conn, err := net.Dial("unix", socket)
		if err == nil {
			defer conn.Close()
			break
		}
		select {
		case err := <-ended:
			t.Fatalf("%v: %s", err, out.String())
		case <-time.After(5 * time.Millisecond):
		}
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	want := "front/0/0/127.0.0.1%3A1 3 true <nil> \ncheckpoint/0/0/1f 4 true <nil> \n"
	if out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}

// The messages are those of systemd's own client, but for the order of the lines, by both kinds
// of names.
func TestMessagesOfSystemd(t *testing.T) {
	t.Parallel()
	tool := need.Tool(t, "systemd-notify")
	for _, name := range []string{socketName(t), "@srtrelay-notify-" + t.Name() + time.Now().Format(".000000000")} {
		conn := listen(t, name)
		read := func() string {
			t.Helper()
			b := make([]byte, 4096)
			if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
				t.Fatal(err)
			}
			n, err := conn.Read(b)
			if err != nil {
				t.Fatal(err)
			}
			return strings.TrimSuffix(string(b[:n]), "\n")
		}
		m := Open(func(key string) (string, bool) { return name, key == "NOTIFY_SOCKET" }, newRecord().log())
		for _, c := range []struct {
			args string
			send string
		}{{"--ready", "READY=1"}, {"--status=x y", "STATUS=x y"}, {"WATCHDOG=1", "WATCHDOG=1"}, {"MAINPID=42", "MAINPID=42"}} {
			cmd := clocale.Command(tool, "--no-block", c.args)
			cmd.Env = clocale.Environ("NOTIFY_SOCKET=" + name)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			theirs := read()
			if err := m.send(c.send); err != nil {
				t.Fatal(err)
			}
			if ours := read(); ours != theirs {
				t.Errorf("%s: %q, systemd sends %q", name, ours, theirs)
			}
		}
	}
}
