package kernelpath

import (
	"errors"
	"log/slog"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"srtrelay/internal/need"
	"srtrelay/internal/supervise"
)

// The path opens with the two capabilities that the packages give it, and says which are
// missing otherwise. Root has CAP_PERFMON too, without which the verifier allows less.
func TestRights(t *testing.T) {
	need.Root(t, "capabilities that can be dropped")
	const both = 1<<unix.CAP_BPF | 1<<unix.CAP_NET_ADMIN
	for name, c := range map[string]struct {
		capabilities uint64
		opens        bool
	}{
		"CAP_BPF and CAP_NET_ADMIN": {both, true},
		"CAP_BPF":                   {1 << unix.CAP_BPF, false},
		"CAP_NET_ADMIN":             {1 << unix.CAP_NET_ADMIN, false},
		"none":                      {0, false},
	} {
		t.Run(name, func(t *testing.T) {
			err := openWith(c.capabilities)
			switch {
			case c.opens && err != nil:
				t.Errorf("does not open: %+v", err)
			case !c.opens && (!errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "it takes CAP_BPF and CAP_NET_ADMIN")):
				t.Errorf("error %v", err)
			}
		})
	}
}

// setCapabilities leaves the thread no capabilities that are not among these.
func setCapabilities(capabilities uint64) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := [2]unix.CapUserData{}
	if err := unix.Capget(&header, &data[0]); err != nil {
		return err
	}
	for i := range data {
		data[i].Permitted &= uint32(capabilities >> (32 * i))
		data[i].Effective = data[i].Permitted
	}
	return unix.Capset(&header, &data[0])
}

// openWith opens a path on a thread of these capabilities in a namespace of its own, which
// end with it.
func openWith(capabilities uint64) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		if err := setCapabilities(capabilities); err != nil {
			done <- err
			return
		}
		log := slog.New(slog.DiscardHandler)
		p, err := Open(Config{Shards: 1, Places: 4, Log: log, Supervisor: supervise.New(log)})
		if err == nil {
			p.Close()
		}
		done <- err
	}()
	return <-done
}
