package relay

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"srtrelay/api/answer"
	"srtrelay/config"
	"srtrelay/internal/dnstest"
	"srtrelay/internal/srttest"
)

// patience bounds every wait for an event.
const patience = 40 * time.Second

// running is a relay in this process.
type running struct {
	t       *testing.T
	addr    netip.AddrPort
	api     string
	signals chan os.Signal
	ended   chan error

	mu   sync.Mutex
	log  bytes.Buffer
	rung chan struct{} // closed and replaced at every line
}

// startRelay runs a relay until the test ends. It has no kernel path, which would attach
// itself to the devices of this host.
func startRelay(t *testing.T, flags ...string) *running {
	t.Helper()
	flags = append([]string{"--listen=127.0.0.1:0", "--api=127.0.0.1:0", "--shards=1", "--pin=off", "--kernel-path=off", "--grace=0s", "--log-format=json"}, flags...)
	c, err := config.Load(flags, func(string) (string, bool) { return "", false }, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := &running{t: t, signals: make(chan os.Signal, 3), ended: make(chan error, 1), rung: make(chan struct{})}
	go func() {
		_, err := Serve(c, "test", r, r.signals, nil)
		r.ended <- err
	}()
	t.Cleanup(func() {
		r.signals <- syscall.SIGTERM
		if err := <-r.ended; err != nil {
			t.Error(err)
		}
	})
	var started struct {
		Listen []netip.AddrPort
		API    string
	}
	if err := json.Unmarshal([]byte(r.awaitLog(`"msg":"relaying"`)), &started); err != nil {
		t.Fatal(err)
	}
	r.addr, r.api = started.Listen[0], started.API
	return r
}

// Write takes lines of the log.
func (r *running) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.rung)
	r.rung = make(chan struct{})
	return r.log.Write(p)
}

// awaitLog waits for a line that holds a text.
func (r *running) awaitLog(text string) string {
	r.t.Helper()
	deadline := time.After(patience)
	for {
		r.mu.Lock()
		all, rung := r.log.String(), r.rung
		r.mu.Unlock()
		for line := range strings.Lines(all) {
			if strings.Contains(line, text) {
				return line
			}
		}
		select {
		case <-rung:
		case <-deadline:
			r.t.Fatalf("no %s in the log:\n%s", text, all)
		}
	}
}

// awaitBackends waits until the backends are these, each an ID and its state.
func (r *running) awaitBackends(want ...string) {
	r.t.Helper()
	var got []string
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) { // it has no event
		response, err := http.Get("http://" + r.api + "/api/v1/backends")
		if err != nil {
			r.t.Fatal(err)
		}
		var list answer.Reply[answer.BackendList]
		err = json.NewDecoder(response.Body).Decode(&list)
		_ = response.Body.Close()
		if err != nil {
			r.t.Fatal(err)
		}
		got = nil
		for _, b := range list.Data.Backends {
			state := map[bool]string{true: "alive", false: "down"}[b.Alive]
			if b.Left {
				state += ", left"
			}
			if b.Problem != "" {
				state += ", " + b.Problem
			}
			got = append(got, b.ID+" "+state)
		}
		if slices.Equal(got, want) {
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("backends %q, want %q", got, want)
		}
	}
}

// dial connects a caller.
func (r *running) dial(stream string) *srttest.Session {
	r.t.Helper()
	port, err := srttest.NewCallerPort(netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = port.Close() })
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	s, err := port.Dial(ctx, r.addr, srttest.CallerOptions{StreamID: "#!::r=live/" + stream + ",m=publish"})
	if err != nil {
		r.t.Fatalf("%s: %v", stream, err)
	}
	return s
}

// flow is a stream that goes on until it is finished.
type flow struct {
	t    *testing.T
	s    *srttest.Session
	stop context.CancelFunc
	sent chan error
}

func (r *running) flow(stream string) *flow {
	ctx, stop := context.WithCancel(context.Background())
	f := &flow{t: r.t, s: r.dial(stream), stop: stop, sent: make(chan error, 1)}
	go func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				f.sent <- nil
				return
			case <-tick.C:
				if err := f.s.SendData(make([]byte, 1316)); err != nil {
					f.sent <- err
					return
				}
			}
		}
	}()
	r.t.Cleanup(stop)
	return f
}

// finish checks that every packet came back, once and in order.
func (f *flow) finish() {
	f.t.Helper()
	f.stop()
	if err := <-f.sent; err != nil {
		f.t.Error(err)
	}
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	defer cancel()
	sent := f.s.Counters().Sent
	if err := f.s.Await(ctx, func() bool { return f.s.Counters().Received >= sent }); err != nil {
		f.t.Error(err)
	}
	if c := f.s.Counters(); c.Received != sent || c.Lost+c.Duplicated+c.Reordered+c.Stale != 0 {
		f.t.Errorf("of %d packets %+v", sent, c)
	}
}

// echoes opens servers that echo, all at one port.
func echoes(t *testing.T, ips ...string) (port uint16) {
	t.Helper()
	for range 100 {
		port = 0
		var all []*srttest.Listener
		for _, ip := range ips {
			l, err := srttest.NewListener(srttest.ListenerConfig{Mode: srttest.Echo, Local: netip.AddrPortFrom(netip.MustParseAddr(ip), port)})
			if err != nil {
				break
			}
			l.EchoKeepalives(true)
			all, port = append(all, l), l.Addr().Port()
		}
		closeAll := func() {
			for _, l := range all {
				_ = l.Close()
			}
		}
		if len(all) == len(ips) {
			t.Cleanup(closeAll)
			return port
		}
		closeAll() // the port is taken at one of the addresses
	}
	t.Fatal("no port is free at all addresses")
	return 0
}

// A name server that stalls, lies, dies and comes back disturbs no stream, running or
// new.
func TestStreamsDoNotNoticeTheNameServer(t *testing.T) {
	if testing.Short() {
		t.Skip("looks names up every 10 s, for a minute")
	}
	dns := dnstest.Open(t)
	before := net.DefaultResolver
	net.DefaultResolver = dns.Resolver()
	defer func() { net.DefaultResolver = before }()
	port := echoes(t, "127.0.0.2", "127.0.0.3", "127.0.0.4")
	at := func(last int, state string) string { return fmt.Sprintf("127.0.0.%d:%d %s", last, port, state) }
	dns.Set("srs.test", "127.0.0.2", "127.0.0.3")
	r := startRelay(t, fmt.Sprintf("--backend=srt://srs.test:%d", port))
	r.awaitBackends(at(2, "alive"), at(3, "alive"))
	flows := []*flow{r.flow("one"), r.flow("two"), r.flow("three")}
	more := func(stream string) { flows = append(flows, r.flow(stream)) }

	dns.SetMode(dnstest.Stalling)
	const stalls = "name does not resolve: the name server does not answer"
	r.awaitBackends(at(2, "alive, "+stalls), at(3, "alive, "+stalls))
	more("while it stalls")

	dns.SetMode(dnstest.Answering)
	dns.Set("srs.test", "127.0.0.9") // where nobody is
	r.awaitBackends(at(2, "alive, left"), at(3, "alive, left"), at(9, "down"))
	more("while it lies")

	dns.SetMode(dnstest.Failing)
	const fails = "name does not resolve: server misbehaving"
	r.awaitBackends(at(2, "alive, left, "+fails), at(3, "alive, left, "+fails), at(9, "down, "+fails))
	more("while it fails")

	dns.SetMode(dnstest.Answering)
	dns.Set("srs.test", "127.0.0.4", "127.0.0.2", "127.0.0.3")
	r.awaitBackends(at(2, "alive"), at(3, "alive"), at(4, "alive")) // the lie, down and without sessions, is forgotten
	more("after it is back")

	dns.Close()
	r.awaitLog("connection refused")
	more("after it has died")
	for _, f := range flows {
		f.finish()
	}
}

// A backup of SRV records gets streams when all before it are gone, and only then.
func TestBackupStepsIn(t *testing.T) {
	dns := dnstest.Open(t)
	before := net.DefaultResolver
	net.DefaultResolver = dns.Resolver()
	defer func() { net.DefaultResolver = before }()
	open := func(ip string) *srttest.Listener {
		l, err := srttest.NewListener(srttest.ListenerConfig{Mode: srttest.Echo, Local: netip.AddrPortFrom(netip.MustParseAddr(ip), 0)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		return l
	}
	first, second := open("127.0.0.2"), open("127.0.0.3")
	dns.Set("a.test", "127.0.0.2")
	dns.Set("b.test", "127.0.0.3")
	dns.SetSRV("_srt._udp.media.test",
		net.SRV{Priority: 10, Port: first.Addr().Port(), Target: "a.test."}, net.SRV{Priority: 20, Port: second.Addr().Port(), Target: "b.test."})
	r := startRelay(t, "--backend=srv://media.test")
	r.awaitBackends(first.Addr().String()+" alive", second.Addr().String()+" alive")
	for i := range 5 {
		r.dial(fmt.Sprint("first", i))
	}
	if n := second.Count(); n != 0 {
		t.Errorf("the backup has %d connections", n)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	r.awaitBackends(first.Addr().String()+" down", second.Addr().String()+" alive")
	r.dial("second")
	if n := second.Count(); n != 1 {
		t.Errorf("the backup has %d connections, want 1", n)
	}
}
