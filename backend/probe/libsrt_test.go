package probe

import (
	"bytes"
	"context"
	"net/netip"
	"testing"
	"time"

	"srtrelay/internal/clocale"
	"srtrelay/internal/freeaddr"
	"srtrelay/internal/need"
)

// realListener starts libsrt's own tool as a listener.
func realListener(t *testing.T, query string) netip.AddrPort {
	t.Helper()
	path := need.Tool(t, "srt-live-transmit")
	free := freeaddr.New()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := clocale.CommandContext(ctx, path, "-q", "srt://"+free.String()+"?mode=listener"+query, "file://con")
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		cmd.Wait() // killed: the error says nothing
		if t.Failed() {
			t.Logf("srt-live-transmit:\n%s", log.String())
		}
	})
	return free
}

// The tool says nothing when it listens; asking it is the one way to learn.
func TestAskRealListener(t *testing.T) {
	for _, tt := range []struct {
		name, query string
		want        uint16
	}{
		{"clear", "", 0},
		{"AES-128", "&passphrase=0123456789abc&pbkeylen=16", 2},
		{"AES-256", "&passphrase=0123456789abc&pbkeylen=32", 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			to := realListener(t, tt.query)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			var got uint16
			err := context.DeadlineExceeded
			for err != nil && ctx.Err() == nil {
				if got, err = ask(ctx, to); err != nil {
					time.Sleep(20 * time.Millisecond) // refused until it listens
				}
			}
			if err != nil || got != tt.want {
				t.Fatalf("key length %d, %v; want %d", got, err, tt.want)
			}
			// Asked again and again it still keeps nothing and answers.
			for range 10 {
				if got, err := ask(ctx, to); err != nil || got != tt.want {
					t.Fatalf("key length %d, %v", got, err)
				}
			}
		})
	}
}
