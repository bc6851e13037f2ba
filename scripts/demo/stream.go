package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
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
	name      string
	clip      []byte
	publisher *program
	player    *program
	playedTo  *os.File
}

// makeClip lets ffmpeg invent a film with sound.
func (s *stream) makeClip(ctx context.Context, dir, size string, tone int) error {
	path := filepath.Join(dir, s.fileName()+".ts")
	cmd := exec.CommandContext(ctx, "ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin",
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
	for _, s := range d.streams {
		if err := d.startPlayer(s); err != nil {
			return err
		}
	}
	for _, s := range d.streams {
		if err := d.startPublisher(s); err != nil {
			return err
		}
	}
	d.feeding = make(chan error, len(d.streams))
	for _, s := range d.streams {
		go func() {
			if err := s.feed(d.ctx); err != nil {
				d.feeding <- err
			}
		}()
	}
	return nil
}

// transmit runs srt-live-transmit without any buffers of its own, or the last
// kilobytes of a stream would wait in it.
func (d *demo) transmit(out *os.File, name, from, to string) (*program, error) {
	return d.startTo(out, name, "stdbuf", "-i0", "-o0", "srt-live-transmit", "-a:no", "-chunk:1316", "-buffering:1", from, to)
}

func (d *demo) startPlayer(s *stream) (err error) {
	if s.playedTo, err = os.Create(filepath.Join(d.dir, s.fileName()+".played")); err != nil {
		return fmt.Errorf("open the player's file: %w", err)
	}
	defer s.playedTo.Close() // the player has its own
	s.player, err = d.transmit(s.playedTo, "player of "+s.name, s.url(d.at, "request"), "file://con")
	if err != nil {
		return err
	}
	return d.announce(s, "player")
}

func (d *demo) startPublisher(s *stream) (err error) {
	s.publisher, err = d.transmit(nil, "publisher of "+s.name, "file://con", s.url(d.at, "publish"))
	if err != nil {
		return err
	}
	// Before that the tool throws its input away.
	if _, err := s.publisher.await(d.ctx, "SRT target connected"); err != nil {
		return err
	}
	return d.announce(s, "publisher")
}

// announce waits for the relay to say where a caller went.
func (d *demo) announce(s *stream, role string) error {
	var e event
	err := d.relay.awaitLine(d.ctx, "session begun: "+role+" of "+s.name, func(line string) bool {
		e = parseEvent(line)
		return e.is("session begun", "role", role) && strings.HasSuffix(e.text("stream"), "/"+s.name)
	})
	if err != nil {
		return err
	}
	d.say("%s of %s went to %s", role, s.name, d.originName(e.text("backend")))
	return nil
}

func (d *demo) originName(at string) string {
	for _, o := range d.origins {
		if o.at == at {
			return o.name
		}
	}
	return at
}

// feed gives the clip to the publisher at the pace of a live stream.
func (s *stream) feed(ctx context.Context) error {
	start, n := time.Now(), len(s.clip)/messageSize
	for i := range n {
		select {
		case <-time.After(time.Until(start.Add(clipSeconds * time.Second * time.Duration(i) / time.Duration(n)))):
		case <-ctx.Done():
			return ctx.Err()
		}
		if _, err := s.publisher.stdin.Write(s.clip[i*messageSize : (i+1)*messageSize]); err != nil {
			return fmt.Errorf("feed the %s: %w", s.publisher.name, err)
		}
	}
	return nil
}

// copies are the files that the stream has become so far.
func (d *demo) copies(s *stream) map[string]string {
	all := map[string]string{"player": s.playedTo.Name()}
	for _, o := range d.origins {
		path := filepath.Join(o.dir, s.fileName())
		if _, err := os.Stat(path); err == nil {
			all[o.name] = path
		}
	}
	return all
}

// arrived reports whether origin and player have as many bytes as were sent.
func (d *demo) arrived(s *stream) bool {
	copies := d.copies(s)
	for _, path := range copies {
		if st, err := os.Stat(path); err != nil || st.Size() < int64(len(s.clip)) {
			return false
		}
	}
	return len(copies) > 1
}

// finish stops everybody in the order in which a broadcast ends; each says
// goodbye with its numbers.
func (d *demo) finish() error {
	d.say("everything has arrived, stopping")
	var failed []error
	for _, s := range d.streams {
		failed = append(failed, s.publisher.stop(os.Interrupt))
	}
	for _, o := range d.origins {
		if _, err := o.await(d.ctx, "closed"); err != nil {
			failed = append(failed, err)
		}
	}
	for _, s := range d.streams {
		failed = append(failed, s.player.stop(os.Interrupt))
	}
	failed = append(failed, d.relay.stop(os.Interrupt))
	for _, o := range d.origins {
		failed = append(failed, o.stop(os.Interrupt))
	}
	return errors.Join(failed...)
}
