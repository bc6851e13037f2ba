//go:build linux

package e2e

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"srtrelay/bench/lab"
	"srtrelay/internal/need"
	"srtrelay/internal/srttest"
)

// farBackend is the port of a real SRT listener in a namespace of its own.
const farBackend = 9000

// realPath is a real SRT caller's way over a lossy path and through the kernel path of a
// relay to a real SRT listener on another host.
type realPath struct {
	*kernelLab
	far  *lab.Namespace
	r    *relay
	link *srttest.Link
}

// newRealPath starts what is between the two ends, of one address family. The listener
// must be there.
func newRealPath(k *kernelLab, far *lab.Namespace, v6 bool, args ...string) *realPath {
	k.t.Helper()
	p := &realPath{kernelLab: k, far: far}
	p.r = k.relay(append(args, backendAt(p.listener(v6)), "--shards=2")...)
	p.r.awaitLog("backend alive", func(logLine) bool { return true })
	target, local := p.r.all[0], loopback
	if v6 {
		target, local = p.r.all[1], netip.AddrPortFrom(netip.IPv6Loopback(), 0)
	}
	link, err := srttest.NewLink(srttest.LinkConfig{
		Listen: local, Target: target, Up: bad, Down: bad, Within: k.Callers.Do,
	})
	must(k.t, err)
	k.t.Cleanup(func() { _ = link.Close() })
	p.link = link
	return p
}

// listener is the address of the real SRT listener.
func (p *realPath) listener(v6 bool) netip.AddrPort {
	if v6 {
		return netip.MustParseAddrPort(fmt.Sprintf("[fd78::2]:%d", farBackend))
	}
	return netip.MustParseAddrPort(fmt.Sprintf("10.78.0.2:%d", farBackend))
}

// program starts a program in a namespace.
func (k *kernelLab) program(at *lab.Namespace, args ...string) *program {
	k.t.Helper()
	return startProgram(k.t, need.Tool(k.t, "ip"), append([]string{"netns", "exec", at.Name}, args...)...)
}

// carried fails the test unless the kernel carried datagrams both ways.
func (p *realPath) carried() {
	p.t.Helper()
	p.r.await("datagrams in the kernel", func(st stats) bool {
		return st["kernel_path_to_backend"] > 0 && st["kernel_path_to_caller"] > 0
	})
	for _, dir := range []srttest.Direction{srttest.Up, srttest.Down} {
		if c := p.link.Stats(dir); c.Lost == 0 || c.Duplicated == 0 || c.Reordered == 0 {
			p.t.Errorf("the path did not do its worst: %+v", c)
		}
	}
}

// Real libsrt's live streams arrive byte by byte over a lossy path on another host:
// encrypted, and with forward error correction.
func TestKernelPathRealLive(t *testing.T) {
	t.Parallel()
	stdbuf, tool := need.Tool(t, "stdbuf"), need.Tool(t, "srt-live-transmit")
	for name, c := range map[string]struct {
		v6      bool
		options string
	}{
		"AES-256, FEC, IPv4": {false, "&passphrase=" + passphrase + "&pbkeylen=32&packetfilter=fec,cols:8,rows:4,arq:always"},
		"AES-128, IPv6":      {true, "&passphrase=" + passphrase + "&pbkeylen=16"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := openKernelLab(t)
			far := k.behind(k.Origin, "far", 78)
			transmit := func(at *lab.Namespace, from, to string) *program {
				return k.program(at, stdbuf, "-i0", "-o0", tool, "-a:no", "-chunk:1316", "-buffering:1", from, to)
			}
			bound := map[bool]string{false: "10.78.0.2", true: "[fd78::2]"}[c.v6]
			sink := transmit(far, fmt.Sprintf("srt://%s:%d?mode=listener&transtype=live&%s%s", bound, farBackend, repairable, c.options), "file://con")
			p := newRealPath(k, far, c.v6)
			pub := transmit(k.Callers, "file://con", fmt.Sprintf("srt://%v?mode=caller&streamid=live/x&%s%s", p.link.Addr(), repairable, c.options))
			if !pub.stderr.await(patience, func(b []byte) bool { return bytes.Contains(b, []byte("SRT target connected")) }) {
				t.Fatalf("the publisher did not connect:\n%s", pub.stderr.bytes())
			}
			const lasting = 5 * time.Second
			s := &stream{pub: pub, relay: p.r, received: sink.stdout.size, content: sink.stdout.bytes}
			s.sent = noise(1, int(lasting.Seconds()*messagesPerSecond))
			must(t, s.flow(lasting))
			p.carried()
		})
	}
}

// Real libsrt's file mode brings a file over a lossy path to another host. Its datagrams of
// IPv6 are too long for a device and come in fragments, which are relayed in user space.
func TestKernelPathRealFile(t *testing.T) {
	t.Parallel()
	tool := need.Tool(t, "srt-file-transmit")
	for _, v6 := range []bool{false, true} {
		t.Run(fmt.Sprintf("IPv6=%v", v6), func(t *testing.T) {
			t.Parallel()
			k := openKernelLab(t)
			far := k.behind(k.Origin, "far", 78)
			// The receiver names the file after the stream ID. The sender changes that to the
			// file's name, unless the handshake is faster.
			received := t.TempDir()
			must(t, os.Mkdir(filepath.Join(received, "live"), 0o700))
			from, to := filepath.Join(t.TempDir(), "file"), filepath.Join(received, "file")
			sent := noise(2, 300)
			must(t, os.WriteFile(from, sent, 0o600))
			bound := map[bool]string{false: "10.78.0.2", true: "[fd78::2]"}[v6]
			sink := k.program(far, tool, fmt.Sprintf("srt://%s:%d?mode=listener", bound, farBackend), "file://"+to)
			p := newRealPath(k, far, v6)
			pub := k.program(k.Callers, tool, "file://"+from, fmt.Sprintf("srt://%v?mode=caller&streamid=live/x", p.link.Addr()))
			for _, one := range []*program{pub, sink} {
				select {
				case <-one.done:
				case <-time.After(3 * patience):
					t.Fatalf("%s does not end", one.name)
				}
			}
			got, err := os.ReadFile(to)
			if os.IsNotExist(err) {
				got, err = os.ReadFile(filepath.Join(received, "live", "x"))
			}
			must(t, err)
			if difference := differ(sent, got); difference != "" {
				t.Error(difference)
			}
			if v6 {
				p.r.logged("a session stays in user space")
				return
			}
			p.carried()
		})
	}
}
