package relay

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"srtrelay/relay/notify"
)

// An error that comes back is told again, but not with every turn.
func TestCheckpointerReportsAgain(t *testing.T) {
	var text bytes.Buffer
	c := &checkpointer{relay: &relay{process: process{log: slog.New(slog.NewTextHandler(&text, nil))}}}
	for range 10 {
		c.report("not kept", errors.New("full"))
	}
	c.report("not kept", nil)
	c.report("no state", errors.New("full"))
	c.reported["not kept"] = time.Now().Add(-reportEvery)
	c.report("not kept", errors.New("gone"))
	if n := strings.Count(text.String(), "not kept"); n != 2 || !strings.Contains(text.String(), "no state") {
		t.Errorf("told %d times: %s", n, &text)
	}
}

// A relay that has no memory for a checkpoint, or is to have none, leaves nothing with the
// service manager of the process that it has gone on from.
func TestNothingIsKeptWithoutAKeeper(t *testing.T) {
	name := filepath.Join(t.TempDir(), "s")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	log := slog.New(slog.DiscardHandler)
	manager := notify.Open(func(key string) (string, bool) { return name, key == "NOTIFY_SOCKET" }, log)
	r := &relay{process: process{log: log, manager: manager}}
	removed := make(chan string, 8)
	go func() {
		defer close(removed)
		b, oob := make([]byte, 4096), make([]byte, 1024)
		for {
			_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
			n, oobn, _, _, err := conn.ReadMsgUnix(b, oob)
			if err != nil {
				return
			}
			if text := string(b[:n]); strings.HasPrefix(text, "FDSTOREREMOVE=1") {
				removed <- text
				continue
			}
			messages, _ := syscall.ParseSocketControlMessage(oob[:oobn])
			for k := range messages {
				fds, _ := syscall.ParseUnixRights(&messages[k])
				for _, fd := range fds {
					_ = syscall.Close(fd) // the barrier
				}
			}
			return
		}
	}()
	r.startCheckpointer([]string{"front/0/0/x", "checkpoint/0/0/1"})
	var got []string
	for text := range removed {
		got = append(got, text)
	}
	if len(got) != 2 {
		t.Errorf("removed: %q", got)
	}
}
