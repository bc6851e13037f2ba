//go:build linux

// Demo shows srtrelay at work: it starts three SRT origins, which register
// themselves at the relay by heartbeat, publishes a generated clip under each
// of two stream IDs with AES-256, and plays both back through the relay at the
// same time. On the way it kills the origin of one stream: publisher and player
// connect again, the stream goes on at another origin, and the demo tells how
// long that took. The other stream must not notice. `make demo` builds what it
// needs and runs it.
//
// All peers are real: libsrt's srt-live-transmit on the callers' side, and an
// origin on libsrt behind the relay. The exit code is 0 only if every byte of
// the stream that was not hit arrived, nothing but the gap is missing of the
// other, and everybody stopped cleanly.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"srtrelay/internal/clocale"
)

const (
	// clipSeconds is long enough to watch and short enough to wait for.
	clipSeconds = 10
	// killAfter is how many seconds into the clip an origin is killed.
	killAfter = 4
	// passphrase encrypts; its key length is the origins' choice.
	passphrase = "srtrelay-demo-passphrase"
	keyLength  = "32"
	// latency in ms is what SRT waits for a lost datagram.
	latency = "800"
	// tooLong ends a demo that hangs.
	tooLong = 50 * time.Second
	// startup bounds each wait for a program to come up.
	startup = 8 * time.Second
	relay   = "bin/srtrelay"
)

// demo is all that runs.
type demo struct {
	ctx     context.Context
	dir     string
	begun   time.Time
	running []*program
	relay   *program
	at      string // where the relay listens
	api     string
	origins []*program
	streams []*stream
	wrong   chan error // what goes wrong beside the steps
	beating context.CancelFunc
	token   string // what a heartbeat must bring
	failure failover
}

func main() {
	// A child dies with the thread that started it: let that be the process.
	runtime.LockOSThread()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, tooLong)
	defer cancel()
	if err := show(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "\ndemo: FAILED: %v\n", err)
		os.Exit(1)
	}
}

// show runs the demo and leaves nothing behind.
func show(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "srtrelay-demo")
	if err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	defer os.RemoveAll(dir)
	d := &demo{ctx: ctx, dir: dir, begun: time.Now(), token: rand.Text(), wrong: make(chan error, 1)}
	defer func() {
		if err != nil && !errors.Is(ctx.Err(), context.Canceled) {
			d.tails()
		}
		d.stopAll()
	}()
	fmt.Println("srtrelay demo: two encrypted streams, one relay, three origins, one of which will be killed; every peer is a real libsrt")
	for _, step := range []func() error{d.needs, d.prepare, d.startOrigins, d.startRelay, d.register, d.connect, d.watch, d.finish, d.summary} {
		if err := step(); err != nil {
			switch {
			case errors.Is(ctx.Err(), context.Canceled):
				return errors.New("interrupted")
			case ctx.Err() != nil:
				return fmt.Errorf("%w (the demo may take %v in all)", err, tooLong)
			}
			return err
		}
	}
	return nil
}

// say prints one step with the time since the start.
func (d *demo) say(format string, args ...any) {
	fmt.Printf("%5.1f s  %s\n", time.Since(d.begun).Seconds(), fmt.Sprintf(format, args...))
}

// needs checks what `make demo` should have brought.
func (d *demo) needs() error {
	var missing []string
	for _, tool := range []string{"ffmpeg", "ffprobe", "srt-live-transmit", "stdbuf", "cc", relay} {
		if _, err := exec.LookPath(tool); err != nil {
			missing = append(missing, tool)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("missing %s: `make demo` brings them", strings.Join(missing, ", "))
	}
	return nil
}

// prepare builds the origin and makes the clips.
func (d *demo) prepare() error {
	d.say("building the origin, making two test clips of %d s with ffmpeg", clipSeconds)
	origin := filepath.Join(d.dir, "origin")
	build := clocale.CommandContext(d.ctx, "internal/origin/build.sh", origin)
	if text, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the origin (`make demo` brings libsrt's headers): %w\n%s", err, text)
	}
	for _, c := range []struct {
		name, size string
		tone       int
	}{{"live/one", "640x360", 440}, {"live/two", "320x180", 880}} {
		s := &stream{name: c.name}
		if err := s.makeClip(d.ctx, d.dir, c.size, c.tone); err != nil {
			return err
		}
		d.streams = append(d.streams, s)
		d.say("clip for %s: %s, %s", s.name, c.size, bytesText(uint64(len(s.clip))))
	}
	return nil
}

// startRelay starts the relay, which knows no backend yet.
func (d *demo) startRelay() (err error) {
	d.relay, err = d.start("relay", relay, "--listen", "127.0.0.1:0", "--api", "127.0.0.1:0",
		"--register-token", d.token, "--log-format", "json", "--grace", "1s", "--kernel-path", "auto")
	if err != nil {
		return err
	}
	e, err := d.relay.awaitEvent(d.ctx, "relaying", "", "")
	if err != nil {
		return err
	}
	d.at, d.api = strings.Trim(fmt.Sprint(e["listen"]), "[]"), "http://"+e.text("api")
	d.say("the relay listens on %s with %v shards and no backend, its API is %s", d.at, e["shards"], d.api)
	return nil
}
