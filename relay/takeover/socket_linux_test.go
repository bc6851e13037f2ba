package takeover

import (
	"context"
	"errors"
	"hash/crc32"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"srtrelay/internal/need"
)

func TestConnectToNobody(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	for _, stale := range []bool{false, true} {
		if stale {
			leave(t, s.socket())
		}
		if _, err := Connect(t.Context(), s.socket(), testHello, nil); !errors.Is(err, ErrNobody) {
			t.Errorf("stale %v: %v", stale, err)
		}
	}
}

// leave leaves a socket's file as a killed process does: nobody listens. No test forks
// meanwhile, as a child has a copy of the listener until it executes its program.
func leave(t *testing.T, path string) {
	t.Helper()
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	l, err := bind(path)
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
}

func TestListen(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	if err := os.WriteFile(s.socket(), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := publish(s.socket(), true); err == nil {
		t.Error("a file that is no socket was replaced")
	}
	if err := os.Remove(s.socket()); err != nil {
		t.Fatal(err)
	}
	leave(t, s.socket())
	leave(t, s.socket()+"~")
	first, err := publish(s.socket(), false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := publish(s.socket(), false); !errors.Is(err, ErrBusy) {
		t.Errorf("a second listener: %v", err)
	}
	second, err := publish(s.socket(), true)
	if err != nil {
		t.Fatal(err)
	}
	first.close() // leaves the other's name
	if !second.ours() || !answers(s.socket()) {
		t.Error("the name is lost")
	}
	second.close()
	if names, err := os.ReadDir(s.dir); err != nil || len(names) != 0 {
		t.Errorf("left: %v %v", names, err)
	}
}

// The socket's file is nobody else's from the moment that it exists, whatever the umask.
func TestSocketMode(t *testing.T) {
	path := filepath.Join(newScene(t).dir, "socket")
	defer unix.Umask(unix.Umask(0))
	l, err := bind(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if info, err := os.Lstat(path); err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
}

func TestOtherUserIsRefused(t *testing.T) {
	need.Root(t, "another user")
	t.Parallel()
	s := newScene(t)
	giver := s.start(t, "giver", "", nil)
	giver.await("listening")
	for _, path := range []string{s.dir, s.socket()} {
		if err := os.Chmod(path, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // without an Unlock: the thread ends
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, 65534, 65534, 65534); errno != 0 {
			result <- errno
			return
		}
		_, err := dial(s.socket())
		result <- err
	}()
	if err := <-result; err == nil || !strings.Contains(err.Error(), "it refuses: it runs as user 65534, and only 0 and root may take over") {
		t.Error(err)
	}
}

// dial connects on this thread, which net.Dial does too as connecting does not wait.
func dial(path string) (*message, error) {
	c, err := net.Dial(network, path)
	if err != nil {
		return nil, err
	}
	conn := newConn(c.(*net.UnixConn))
	defer conn.close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	m, _, err := conn.receive(ctx, kindWelcome)
	return m, err
}

// pair returns two connected conns.
func pair(t *testing.T) (a, b *conn) {
	t.Helper()
	l, err := bind(newScene(t).socket())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial(network, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	d, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	a, b = newConn(c.(*net.UnixConn)), newConn(d)
	t.Cleanup(a.close)
	t.Cleanup(b.close)
	return a, b
}

// What does not come as it must is refused, and its descriptors are closed.
func TestReceive(t *testing.T) {
	a, b := pair(t)
	null := files(1)
	defer CloseFiles(null)
	fd := null[0].FD
	before := openFiles()
	for name, c := range map[string]struct {
		text string
		fds  []int
		want string
	}{
		"too few":    {`{"kind":"FILES","files":[{},{}]}`, []int{fd}, "1 descriptors came with FILES in place of 2"},
		"too many":   {`{"kind":"FILES"}`, []int{fd}, "1 descriptors came with FILES in place of 0"},
		"other kind": {`{"kind":"READY"}`, []int{fd}, "READY came in place of FILES"},
		"garbage":    {`garbage`, []int{fd, fd}, "not a message"},
		"too long":   {strings.Repeat(" ", maxMessage+1), []int{fd}, "too long"},
		"refused":    {`{"kind":"REFUSED","reason":"why"}`, []int{fd}, "it refuses: why"},
	} {
		if _, _, err := a.unix.WriteMsgUnix([]byte(c.text), unix.UnixRights(c.fds...), nil); err != nil {
			t.Fatal(err)
		}
		if _, _, err := b.receive(t.Context(), kindFiles); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if after := openFiles(); after != before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
}

// What the other process said before it closed is heard, though it had not read everything.
func TestReasonAfterReset(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	if err := a.send(t.Context(), &message{Kind: kindReady}); err != nil {
		t.Fatal(err)
	}
	refuse(b, errors.New("why"))
	if _, _, err := a.receive(t.Context(), kindCommitted); err == nil || err.Error() != "it refuses: why" {
		t.Error(err)
	}
	a, b = pair(t)
	refuse(b, errors.New("why"))
	if err := a.send(t.Context(), &message{Kind: kindReady}); err == nil || err.Error() != "it refuses: why" {
		t.Error(err)
	}
}

func TestUnseal(t *testing.T) {
	t.Parallel()
	data := []byte("the state")
	good := partHeader{Name: "part", Size: int64(len(data)), Sum: crc32.Checksum(data, castagnoli)}
	sealed, err := seal("test", data)
	if err != nil {
		t.Fatal(err)
	}
	unsealed, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Fatal(err)
	}
	growing, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Fatal(err)
	}
	null := files(1)[0].FD
	defer closeAll([]int{sealed, unsealed, growing, null})
	for _, fd := range []int{unsealed, growing} {
		if _, err := unix.Write(fd, data); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := unix.FcntlInt(uintptr(growing), unix.F_ADD_SEALS, seals&^unix.F_SEAL_WRITE); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		fd   int
		h    partHeader
		want string
	}{
		"good":      {sealed, good, ""},
		"unsealed":  {unsealed, good, "is not sealed"},
		"writable":  {growing, good, "is not sealed"},
		"other":     {null, good, "is no memory file"},
		"truncated": {sealed, partHeader{"part", 0, good.Size + 1, good.Sum}, "has 9 bytes in place of 10"},
		"flipped":   {sealed, partHeader{"part", 0, good.Size, good.Sum ^ 1}, "has the checksum"},
	} {
		got, err := unseal(c.fd, c.h)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) || err == nil && string(got) != string(data) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if _, err := unix.Write(sealed, data); !errors.Is(err, unix.EPERM) {
		t.Errorf("writing to a sealed file: %v", err)
	}
}

// The kill switch kills only by a datagram.
func TestKillSwitchOutlivesItsTrigger(t *testing.T) {
	t.Parallel()
	k, err := armKillSwitch()
	if err != nil {
		t.Fatal(err)
	}
	k.closeTrigger()
	k.close()
	k.close()
}
