//go:build linux

package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/netip"
	"testing"
	"time"

	srt "github.com/datarhei/gosrt"

	"srtrelay/internal/freeaddr"
	"srtrelay/internal/srttest"
	"srtrelay/wire"
)

// gosrtOrigin is a real gosrt listener that hashes what publishers send.
type gosrtOrigin struct {
	addr   netip.AddrPort
	result chan string // one hash per publisher
}

// gosrtLatency leaves a busy machine time: what comes later than it, SRT drops.
const gosrtLatency = time.Second

func gosrtConfig(passphrase string) srt.Config {
	config := srt.DefaultConfig()
	config.Passphrase = passphrase
	config.ReceiverLatency, config.PeerLatency = gosrtLatency, gosrtLatency
	return config
}

func startGosrtOrigin(t *testing.T, passphrase string) *gosrtOrigin {
	t.Helper()
	at := freeaddr.New() // gosrt cannot say which port it took
	config := gosrtConfig(passphrase)
	ln, err := srt.Listen("srt", at.String(), config)
	if err != nil {
		t.Fatal(err)
	}
	o := &gosrtOrigin{addr: at, result: make(chan string, 8)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			req, err := ln.Accept2()
			if err != nil {
				return
			}
			if req.IsEncrypted() && req.SetPassphrase(passphrase) != nil {
				req.Reject(srt.REJ_BADSECRET)
				continue
			}
			if conn, err := req.Accept(); err == nil {
				go o.hash(conn)
			}
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		<-done
	})
	return o
}

func (o *gosrtOrigin) hash(conn srt.Conn) {
	h := sha256.New()
	n, _ := io.Copy(h, readOnly{conn})
	o.result <- fmt.Sprintf("%d %x", n, h.Sum(nil))
	_ = conn.Close()
}

// readOnly hides gosrt's other methods from io.Copy.
type readOnly struct{ io.Reader }

// A real gosrt caller and a real gosrt listener, with encryption. gosrt never
// repeats a handshake, and one response too many kills its connection 5 s
// later; the link duplicates every handshake datagram, so the stream must
// outlive that.
func TestRealGosrtThroughDuplicatingLink(t *testing.T) {
	t.Parallel()
	for _, passphrase := range []string{"", "0123456789abcdef"} {
		t.Run(fmt.Sprintf("passphrase %d", len(passphrase)), func(t *testing.T) {
			t.Parallel()
			origin := startGosrtOrigin(t, passphrase)
			r := startRelay(t, "--backend", "srt://"+origin.addr.String())
			link, err := srttest.NewLink(srttest.LinkConfig{
				Listen: loopback, Target: r.addr,
				Hook: func(dir srttest.Direction, b []byte) srttest.Action {
					if dir == srttest.Up && len(b) >= wire.HeaderSize && wire.Packet(b).Is(wire.TypeHandshake) {
						return srttest.Duplicate
					}
					return srttest.Pass
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			defer link.Close()
			config := gosrtConfig(passphrase)
			config.StreamId = "#!::r=live/gosrt,m=publish"
			conn, err := srt.Dial("srt", link.Addr().String(), config)
			if err != nil {
				t.Fatalf("%v\n%s", err, r.tail())
			}
			sent := publishFor(t, conn, 8*time.Second)
			_ = conn.Close()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			select {
			case got := <-origin.result:
				if got != sent {
					t.Errorf("received %s, sent %s\n%s", got, sent, r.tail())
				}
			case <-ctx.Done():
				t.Fatalf("the origin still waits for the end\n%s", r.tail())
			}
			r.awaitEmpty()
		})
	}
}

// publishFor writes numbered messages at a live pace, waits until gosrt has
// delivered them, and returns their number of bytes and hash.
func publishFor(t *testing.T, conn srt.Conn, d time.Duration) string {
	t.Helper()
	h := sha256.New()
	total := 0
	pace := time.NewTicker(5 * time.Millisecond)
	defer pace.Stop()
	for end := time.Now().Add(d); time.Now().Before(end); <-pace.C {
		message := bytes.Repeat([]byte{byte(total)}, 1316)
		n, err := conn.Write(message)
		if err != nil {
			t.Fatalf("write after %d bytes: %v", total, err)
		}
		h.Write(message[:n])
		total += n
	}
	// The receiver plays out its latency before it would notice the end.
	var st srt.Statistics
	if !eventually(func() bool { conn.Stats(&st); return st.Instantaneous.PktSendBuf == 0 }) {
		t.Fatal("the send buffer does not drain")
	}
	time.Sleep(2 * gosrtLatency) // gosrt has no event for it
	return fmt.Sprintf("%d %x", total, h.Sum(nil))
}
