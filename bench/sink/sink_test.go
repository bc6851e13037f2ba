//go:build linux

package sink_test

import (
	"context"
	"encoding/json"
	"flag"
	"io"
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"srtrelay/bench/sink"
	"srtrelay/bench/srt"
	"srtrelay/bench/tally"
	"srtrelay/internal/srttest"
	"srtrelay/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// driven is a sink in this process.
type driven struct {
	t        *testing.T
	in       io.Writer
	decoder  *json.Decoder
	addr     netip.AddrPort
	announce tally.Report
}

func start(t *testing.T, change func(*sink.Config)) *driven {
	t.Helper()
	c := sink.Flags(flag.NewFlagSet("sink", flag.ContinueOnError))
	c.Listen, c.Count = "127.0.0.1:0", 1
	if change != nil {
		change(c)
	}
	in, commands := io.Pipe()
	lines, out := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- sink.Run(context.Background(), *c, in, out)
		_ = out.Close()
	}()
	d := &driven{t: t, in: commands, decoder: json.NewDecoder(lines)}
	d.announce = d.answer()
	d.addr = netip.MustParseAddrPort(d.announce.Listen[0])
	t.Cleanup(func() {
		_ = commands.Close()
		_, _ = io.Copy(io.Discard, lines)
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return d
}

func (d *driven) answer() (r tally.Report) {
	d.t.Helper()
	if err := d.decoder.Decode(&r); err != nil {
		d.t.Fatal(err)
	}
	return r
}

func (d *driven) ask(command string) tally.Report {
	d.t.Helper()
	if _, err := io.WriteString(d.in, command+"\n"); err != nil {
		d.t.Fatal(err)
	}
	return d.answer()
}

// await looks until the report is as wanted.
func (d *driven) await(what string, cond func(tally.Report) bool) tally.Report {
	d.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if r := d.ask("look"); cond(r) {
			return r
		}
	}
	d.t.Fatalf("never: %s; %+v", what, d.ask("look"))
	return tally.Report{}
}

func dial(t *testing.T, to netip.AddrPort, o srttest.CallerOptions) *srttest.Session {
	t.Helper()
	port, err := srttest.NewCallerPort(netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = port.Close() })
	o.Timeout = 10 * time.Second
	s, err := port.Dial(t.Context(), to, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A strict caller connects, is acknowledged, told of its losses and let go.
func TestPublisher(t *testing.T) {
	d := start(t, nil)
	s := dial(t, d.addr, srttest.CallerOptions{StreamID: "#!::r=live/x,m=publish"})
	payload := make([]byte, srt.PayloadSize)
	for range 12 {
		if err := s.SendData(payload); err != nil {
			t.Fatal(err)
		}
	}
	s.SkipSequence(3)
	if err := s.SendData(payload); err != nil {
		t.Fatal(err)
	}
	if err := s.Await(t.Context(), func() bool { c := s.Counters(); return c.Acks >= 2 && c.Naks >= 1 }); err != nil {
		t.Fatalf("%v: %+v", err, s.Counters())
	}
	r := d.await("13 data", func(r tally.Report) bool { return r.Received.Data == 13 })
	if r.Lost != 3 || r.Sent.NAK != 1 || r.Sent.ACK != 2 || r.Sessions != 1 || r.Latency.Count != 0 {
		t.Errorf("%+v", r)
	}
	if err := s.SendShutdown(); err != nil {
		t.Fatal(err)
	}
	d.await("the session's end", func(r tally.Report) bool { return r.Sessions == 0 })
}

// A player gets what it asks for, from start to stop, in order.
func TestPlayer(t *testing.T) {
	d := start(t, nil)
	var mu sync.Mutex
	var forms []wire.Packet
	s := dial(t, d.addr, srttest.CallerOptions{
		StreamID: "#!::r=live/x,m=request,pps=2000",
		OnPacket: func(_ *srttest.Session, b []byte) {
			mu.Lock()
			defer mu.Unlock()
			if len(forms) < 10 && !wire.Packet(b).IsControl() {
				forms = append(forms, append(wire.Packet(nil), b...))
			}
		},
	})
	if n := s.Counters().Received; n != 0 {
		t.Errorf("%d data before the start", n)
	}
	d.ask("start")
	if err := s.Await(t.Context(), func() bool { return s.Counters().Received >= 100 }); err != nil {
		t.Fatal(err)
	}
	r := d.ask("stop")
	if err := s.Await(t.Context(), func() bool { return s.Counters().Received >= r.Sent.Data }); err != nil {
		t.Fatal(err)
	}
	if c := s.Counters(); c.Lost+c.Duplicated+c.Reordered+c.Stale != 0 || c.Received != r.Sent.Data {
		t.Errorf("sent %d, %+v", r.Sent.Data, c)
	}
	mu.Lock()
	defer mu.Unlock()
	for i, p := range forms {
		stamp, ok := srt.ReadStamp(p)
		if len(p) != srt.DataSize || !ok || stamp.Index != uint64(i) || stamp.Sent < stamp.Due || stamp.Due == 0 {
			t.Errorf("packet %d: %d bytes, %+v", i, len(p), stamp)
		}
	}
}

// One who comes while it runs is served as well.
func TestPlayerComesLate(t *testing.T) {
	d := start(t, nil)
	d.ask("start")
	s := dial(t, d.addr, srttest.CallerOptions{StreamID: "#!::r=live/x,m=request,pps=500"})
	if err := s.Await(t.Context(), func() bool { return s.Counters().Received >= 20 }); err != nil {
		t.Fatal(err)
	}
	d.ask("stop")
}

// A CONCLUSION that comes again leads to the same session; a wrong cookie, a
// strange datagram and one from a stranger lead to none.
func TestStrangers(t *testing.T) {
	d := start(t, nil)
	s := dial(t, d.addr, srttest.CallerOptions{StreamID: "a"})
	port, err := srttest.NewCallerPort(netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	defer port.Close()
	bogus := srt.AppendConclusion(nil, 7, 8, 9, d.addr.Addr(), "a")
	theirs := srt.PutKeepalive(make([]byte, srt.MaxControl), s.PeerID(), 0)
	nobodys := srt.PutKeepalive(make([]byte, srt.MaxControl), s.PeerID()+1, 0)
	for _, b := range [][]byte{bogus, theirs, nobodys, []byte("short")} {
		if err := port.SendRaw(d.addr, b); err != nil {
			t.Fatal(err)
		}
	}
	r := d.await("four strange datagrams", func(r tally.Report) bool {
		return r.Handshakes.Failed == 1 && r.Foreign == 1 && r.Unknown == 2
	})
	if r.Sessions != 1 || r.Handshakes.Completed != 1 {
		t.Errorf("%+v", r.Handshakes)
	}
}

func TestSilentSessionIsForgotten(t *testing.T) {
	d := start(t, func(c *sink.Config) { c.Keepalive, c.Idle = 5*time.Millisecond, 50*time.Millisecond })
	s := dial(t, d.addr, srttest.CallerOptions{StreamID: "a"})
	if err := s.Await(t.Context(), func() bool { return s.Counters().Keepalives >= 2 }); err != nil {
		t.Fatal(err)
	}
	d.await("forgotten", func(r tally.Report) bool { return r.Sessions == 0 })
}
