//go:build linux

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"srtrelay/internal/clocale"
	"srtrelay/internal/need"
	"srtrelay/internal/srttest"
)

// messageSize is a live SRT payload: seven MPEG-TS packets.
const messageSize = 1316

// capture is what a process has written so far.
type capture struct {
	mu      sync.Mutex
	text    bytes.Buffer
	written srttest.Notifier
}

func (c *capture) Write(b []byte) (int, error) {
	defer c.written.Notify()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.Write(b)
}

func (c *capture) bytes() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bytes.Clone(c.text.Bytes())
}

// size is cheap enough to be asked for at every write.
func (c *capture) size() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.Len()
}

// await waits until cond holds, looking at every write.
func (c *capture) await(limit time.Duration, cond func([]byte) bool) bool {
	return c.awaitWrites(limit, func() bool { return cond(c.bytes()) })
}

// awaitSize waits for n bytes.
func (c *capture) awaitSize(limit time.Duration, n int) bool {
	return c.awaitWrites(limit, func() bool { return c.size() >= n })
}

func (c *capture) awaitWrites(limit time.Duration, cond func() bool) bool {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return c.written.Await(ctx, cond) == nil
}

// program is a real SRT peer that runs for the time of the test.
type program struct {
	name           string
	cmd            *exec.Cmd
	stdin          io.WriteCloser
	stdout, stderr *capture
	done           chan struct{}
	err            error // of the process; valid after done
}

// startProgram runs a program. The test's end stops it, and shows what it said
// if the test has failed.
func startProgram(t *testing.T, path string, args ...string) *program {
	t.Helper()
	p := &program{
		name: strings.Join(append([]string{path}, args...), " "), cmd: clocale.Command(path, args...),
		stdout: new(capture), stderr: new(capture), done: make(chan struct{}),
	}
	p.cmd.Stdout, p.cmd.Stderr = p.stdout, p.stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var err error
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			t.Logf("%s: %v\n%s", p.name, p.err, p.stderr.bytes())
		}
	})
	return p
}

// awaitEnd waits until the program has ended by itself.
func (p *program) awaitEnd(t *testing.T) {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		t.Fatalf("%s goes on", p.name)
	}
}

// stop ends the program as ^C does, and by force if that does not help.
func (p *program) stop() {
	_ = p.stdin.Close()
	_ = p.cmd.Process.Signal(os.Interrupt)
	select {
	case <-p.done:
	case <-time.After(patience / 4):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// liveTransmit runs srt-live-transmit, without buffers at its standard input and
// output, and without its habit of collecting ten messages before it sends:
// what sits in the tool would look lost.
func liveTransmit(t *testing.T, from, to string) *program {
	t.Helper()
	tool := need.Tool(t, "srt-live-transmit")
	return startProgram(t, need.Tool(t, "stdbuf"), "-i0", "-o0", tool, "-a:no", "-chunk:1316", "-buffering:1", from, to)
}

// srtURL is the address of an SRT listener for a caller.
func srtURL(to netip.AddrPort, streamID string, options ...string) string {
	return fmt.Sprintf("srt://%v?%s", to, strings.Join(append([]string{"mode=caller", "streamid=" + streamID}, options...), "&"))
}

// livePublish starts a publisher that is fed by its standard input, and waits
// until it has connected: before that the tool throws its input away.
func livePublish(t *testing.T, to netip.AddrPort, resource string, options ...string) *program {
	t.Helper()
	p := liveTransmit(t, "file://con", srtURL(to, "#!::r="+resource+",m=publish", options...))
	if !p.stderr.await(patience, func(b []byte) bool { return bytes.Contains(b, []byte("SRT target connected")) }) {
		t.Fatalf("the publisher of %s did not connect:\n%s", resource, p.stderr.bytes())
	}
	return p
}

// livePlay starts a player whose standard output is the stream.
func livePlay(t *testing.T, r *relay, resource string, options ...string) *program {
	t.Helper()
	// Not any session of the resource: the publisher's line may come after it knows that it
	// is connected.
	players := func() (n int) {
		for _, l := range r.begun(resource) {
			if l.text("role") == "player" {
				n++
			}
		}
		return n
	}
	before := players()
	p := liveTransmit(t, srtURL(r.addr, "#!::r="+resource+",m=request", options...), "file://con")
	r.awaitLog("session begun", func(logLine) bool { return players() > before })
	return p
}

// home is the backend of a resource's first session, whose log line may come
// after its caller knows that it is connected.
func (r *relay) home(resource string) string {
	r.t.Helper()
	return r.awaitLog("session begun", func(l logLine) bool {
		return strings.HasSuffix(l.text("stream"), "/"+resource)
	}).text("backend")
}

// begun are the sessions of a resource so far.
func (r *relay) begun(resource string) (found []logLine) {
	for _, l := range r.log("session begun") {
		if strings.HasSuffix(l.text("stream"), "/"+resource) {
			found = append(found, l)
		}
	}
	return found
}

// noise is n messages that no accident can repeat.
func noise(seed uint64, n int) []byte {
	b := make([]byte, n*messageSize)
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	_, _ = rand.NewChaCha8(key).Read(b) // never fails
	return b
}

// feed writes data message by message so that all of it takes the given time.
func (p *program) feed(data []byte, over time.Duration) error {
	start := time.Now()
	n := len(data) / messageSize
	for i := range n {
		time.Sleep(time.Until(start.Add(over * time.Duration(i) / time.Duration(n))))
		if _, err := p.stdin.Write(data[i*messageSize : (i+1)*messageSize]); err != nil {
			return fmt.Errorf("feed the publisher: %w", err)
		}
	}
	return nil
}

// differ says how what arrived differs from what was sent, or "".
func differ(sent, got []byte) string {
	if bytes.Equal(sent, got) {
		return ""
	}
	n := 0
	for n < min(len(sent), len(got)) && sent[n] == got[n] {
		n++
	}
	return fmt.Sprintf("sent %d bytes, received %d, equal up to byte %d (message %d)", len(sent), len(got), n, n/messageSize)
}
