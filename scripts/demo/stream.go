//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"srtrelay/internal/clocale"
)

const (
	// messageSize is what one SRT data packet carries: seven MPEG-TS packets.
	messageSize = 7 * tsPacketSize
	// An MPEG-TS packet, and the header of one that carries nothing.
	tsPacketSize = 188
	tsNull       = "\x47\x1f\xff\x10"
)

// stream is one clip on its way: publisher, relay, origin, relay, player.
type stream struct {
	name   string
	clip   []byte
	copies []*copied
	// publisher is fed; player follows it to another origin.
	publisher atomic.Pointer[program]
	player    *program
	// hit is set before the stream's origin is killed: from then on what
	// finds no publisher is lost, as in a live encoder.
	hit atomic.Bool
}

// makeClip lets ffmpeg invent a film with sound.
func (s *stream) makeClip(ctx context.Context, dir, size string, tone int) error {
	path := filepath.Join(dir, s.fileName()+".ts")
	cmd := clocale.CommandContext(ctx, "ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin",
		"-f", "lavfi", "-i", "testsrc2=rate=25:size="+size,
		"-f", "lavfi", "-i", fmt.Sprintf("sine=sample_rate=48000:frequency=%d", tone),
		"-t", fmt.Sprint(clipSeconds), "-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-b:v", "1500k",
		"-c:a", "aac", "-f", "mpegts", path)
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make a clip with ffmpeg: %w\n%s", err, text)
	}
	clip, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the clip: %w", err)
	}
	// srt-live-transmit waits for a whole message: fill up the last one.
	for len(clip)%messageSize != 0 {
		clip = append(clip, tsNull...)
		clip = append(clip, bytes.Repeat([]byte{0xff}, tsPacketSize-len(tsNull))...)
	}
	s.clip = clip
	return nil
}

func (s *stream) fileName() string { return strings.ReplaceAll(s.name, "/", "_") }

// url is the relay as a caller dials it. The caller names no key length: it
// learns the origin's through the relay.
func (s *stream) url(to, mode string) string {
	return fmt.Sprintf("srt://%s?mode=caller&latency=%s&passphrase=%s&streamid=#!::r=%s,m=%s", to, latency, passphrase, s.name, mode)
}

// connect starts all players, and then all publishers: who is there first
// misses nothing.
func (d *demo) connect() error {
	for _, role := range []string{"player", "publisher"} {
		for _, s := range d.streams {
			if err := d.startCaller(s, role); err != nil {
				return err
			}
			o, _, err := d.settled(s, role, 1)
			if err != nil {
				return err
			}
			d.say("%s of %s went to %s", role, s.name, o.name)
			if role == "publisher" {
				s.keep(o.name, d.fileAt(o, s), whole)
			}
		}
	}
	for _, s := range d.streams {
		go func() {
			if err := s.feed(d.ctx); err != nil {
				d.tell(err)
			}
		}()
	}
	return nil
}

// tell ends the demo with what has gone wrong beside its steps.
func (d *demo) tell(err error) {
	select {
	case d.wrong <- err:
	default: // it ends already
	}
}

// transmit runs srt-live-transmit without any buffers of its own, or the last
// kilobytes of a stream would wait in it. It connects once: its own way of
// connecting again keeps what it read for the connection that is gone.
func (d *demo) transmit(out *os.File, name, from, to string) (*program, error) {
	return d.startTo(out, name, "stdbuf", "-i0", "-o0", "srt-live-transmit", "-a:no", "-chunk:1316", "-buffering:1", from, to)
}

// startCaller starts a stream's player or publisher.
func (d *demo) startCaller(s *stream, role string) (err error) {
	if role == "publisher" {
		p, err := d.transmit(nil, "publisher of "+s.name, "file://con", s.url(d.at, "publish"))
		if err != nil {
			return err
		}
		// Before that the tool throws its input away.
		if _, err := p.await(d.ctx, "SRT target connected"); err != nil {
			return err
		}
		s.publisher.Store(p)
		return nil
	}
	file, err := os.CreateTemp(d.dir, s.fileName()+".played*")
	if err != nil {
		return fmt.Errorf("open the player's file: %w", err)
	}
	defer file.Close() // the player has its own
	s.keep("player", file.Name(), whole)
	s.player, err = d.transmit(file, "player of "+s.name, s.url(d.at, "request"), "file://con")
	return err
}

// settled waits for the relay to say where the n-th caller of a role went.
func (d *demo) settled(s *stream, role string, n int) (*program, event, error) {
	e, err := d.relay.awaitNth(d.ctx, n, "session begun: "+role+" of "+s.name, func(e event) bool {
		return e.is("session begun", "role", role) && s.is(e)
	})
	if err != nil {
		return nil, nil, err
	}
	o := d.origin(e.text("backend"))
	if o == nil {
		return nil, nil, fmt.Errorf("%s of %s went to %s, which is no origin", role, s.name, e.text("backend"))
	}
	return o, e, nil
}

// is reports whether an event of the relay's tells of the stream.
func (s *stream) is(e event) bool { return strings.HasSuffix(e.text("stream"), "/"+s.name) }

// feed gives the clip to the publisher at the pace of a live stream.
func (s *stream) feed(ctx context.Context) error {
	start, n := time.Now(), len(s.clip)/messageSize
	for i := range n {
		select {
		case <-time.After(time.Until(start.Add(clipSeconds * time.Second * time.Duration(i) / time.Duration(n)))):
		case <-ctx.Done():
			return ctx.Err()
		}
		p := s.publisher.Load()
		if _, err := p.stdin.Write(s.clip[i*messageSize : (i+1)*messageSize]); err != nil && !s.hit.Load() {
			return fmt.Errorf("feed the %s: %w", p.name, err)
		}
	}
	return nil
}

// finish stops everybody in the order in which a broadcast ends; each says
// goodbye with its numbers.
func (d *demo) finish() error {
	d.say("everything has arrived, stopping")
	d.beating()
	var failed []error
	for _, s := range d.streams {
		failed = append(failed, s.publisher.Load().stop(os.Interrupt))
	}
	for _, o := range d.origins {
		if o.gone || !o.has("accepted ") {
			continue
		}
		if _, err := o.await(d.ctx, "closed "); err != nil {
			failed = append(failed, err)
		}
	}
	for _, s := range d.streams {
		failed = append(failed, s.player.stop(os.Interrupt))
	}
	failed = append(failed, d.relay.stop(os.Interrupt))
	for _, o := range d.origins {
		if !o.gone {
			failed = append(failed, o.stop(os.Interrupt))
		}
	}
	return errors.Join(failed...)
}
