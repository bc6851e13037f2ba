//go:build linux

package load_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"

	"srtrelay/internal/clocale"
)

// freePort asks the kernel for one.
func freePort(t *testing.T) int {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).Port
}

// startRelay builds and runs the relay before these backends.
func startRelay(t *testing.T, backends []string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "srtrelay")
	build := clocale.Command("go", "build", "-pgo=off", "-o", binary, "srtrelay/cmd/srtrelay")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		t.Fatalf("build srtrelay: %v", err)
	}
	listen := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	// Without a kernel path, which would attach itself to the devices of this host.
	args := []string{"--listen", listen, "--api", "127.0.0.1:0", "--shards", "1", "--log-level", "error", "--kernel-path", "off"}
	for _, b := range backends {
		args = append(args, "--backend", "srt://"+b)
	}
	relay := clocale.Command(binary, args...)
	relay.Stderr = os.Stderr
	if err := relay.Start(); err != nil {
		t.Fatalf("start srtrelay: %v", err)
	}
	t.Cleanup(func() {
		_ = relay.Process.Kill()
		_ = relay.Wait()
	})
	return listen
}

// Through the real relay nothing is lost at a low rate, either way; the load's
// repeated handshakes wait for the relay to open its port.
func TestThroughTheRelay(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the relay")
	}
	atSink, backends := startSink(t)
	relay := startRelay(t, backends)
	atLoad := startLoad(t, []string{relay}, "-sessions", "40", "-ports", "30", "-players", "0.5", "-rate", "2000", "-connect-timeout", "20s")
	if r := atLoad.answer(); r.Sessions != 40 || r.Handshakes.Failed != 0 {
		t.Fatalf("ready: %+v", r)
	}
	s, l := steady(t, atSink, atLoad)
	checkNothingLost(t, s, l)
	if s.Received.Data == 0 || l.Received.Data == 0 {
		t.Errorf("%d data to the backends, %d to the callers", s.Received.Data, l.Received.Data)
	}
	atLoad.quit()
	for s.Sessions > 0 {
		s = atSink.ask("look")
	}
	atSink.quit()
}
