//go:build linux

package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"srtrelay/internal/clocale"
)

// summary tells what happened and whether it is what should have happened.
func (d *demo) summary() error {
	fmt.Println()
	d.gap()
	fmt.Println()
	err := errors.Join(d.paths(), d.compare(), d.decoded())
	if err == nil {
		fmt.Printf("\ndemo: passed in %.1f s: every byte of %s arrived, and %s lost its origin and went on at another\n",
			time.Since(d.begun).Seconds(), d.streams[1].name, d.streams[0].name)
	}
	return err
}

// paths prints a line per session: the relay's numbers and libsrt's.
func (d *demo) paths() error {
	var failed []error
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "stream\trole\tbackend\tkey\tto backend\t\tto caller\t\tlost\tresent\ttoo late\tended by\t")
	used := map[string]string{}
	for _, s := range d.streams {
		for _, role := range []string{"publisher", "player"} {
			ended := slices.DeleteFunc(d.relay.events("session ended"), func(e event) bool { return !e.is(e.text("msg"), "role", role) || !s.is(e) })
			if want := d.sessionsOf(s); len(ended) != want {
				failed = append(failed, fmt.Errorf("the relay logged the end of %d sessions of the %s of %s, want %d", len(ended), role, s.name, want))
			}
			for _, e := range ended {
				failed = append(failed, d.path(table, s, role, e))
				used[e.text("backend")] = s.name
			}
		}
	}
	_ = table.Flush()
	fmt.Println("(packets and bytes as the relay counts them; lost, resent, too late in packets as libsrt counts them)")
	if len(used) != originCount {
		failed = append(failed, fmt.Errorf("%d origins had streams, want %d", len(used), originCount))
	}
	return errors.Join(failed...)
}

// sessionsOf is how many sessions each caller of a stream had.
func (d *demo) sessionsOf(s *stream) int {
	if s.hit.Load() {
		return 2
	}
	return 1
}

// path prints the line of one session.
func (d *demo) path(table *tabwriter.Writer, s *stream, role string, e event) error {
	o := d.origin(e.text("backend"))
	if o == nil {
		return fmt.Errorf("%s of %s was at %q, which is no origin", role, s.name, e.text("backend"))
	}
	said := d.farewell(o, s, role)
	var err error
	switch {
	case o == d.failure.from: // killed before it could say anything
	case said == nil:
		err = fmt.Errorf("%s had no %s of %s", o.name, role, s.name)
	case said["keylen"] != keyLength:
		err = fmt.Errorf("%s of %s: key of %s bytes, want %s", role, s.name, said["keylen"], keyLength)
	}
	number := func(key string) string { return cmp.Or(said[key], "-") }
	fmt.Fprintf(table, "%s\t%s\t%s\tAES-256\t%d packets\t%s\t%d packets\t%s\t%s\t%s\t%s\t%s\t\n",
		s.name, role, o.name,
		e.number("to_backend_packets"), bytesText(e.number("to_backend_bytes")),
		e.number("to_caller_packets"), bytesText(e.number("to_caller_bytes")),
		number("lost"), number("retransmitted"), number("late"), e.text("cause"))
	return err
}

// farewell is what an origin said at the end of a session, nil for nothing.
func (d *demo) farewell(o *program, s *stream, role string) map[string]string {
	lines, _ := o.log.lines()
	for _, line := range lines {
		if pairs := parsePairs(line); strings.HasPrefix(line, "closed ") && pairs["role"] == role && pairs["resource"] == s.name {
			return pairs
		}
	}
	return nil
}

// parsePairs reads key=value words.
func parsePairs(line string) map[string]string {
	pairs := map[string]string{}
	for word := range strings.FieldsSeq(line) {
		if key, value, ok := strings.Cut(word, "="); ok {
			pairs[key] = value
		}
	}
	return pairs
}

// decoded lets ffmpeg watch what was played: without an error where nothing is
// missing, else as far as pictures go.
func (d *demo) decoded() error {
	fmt.Println()
	for _, s := range d.streams {
		for _, c := range s.copies {
			if c.who != "player" {
				continue
			}
			pictures, err := d.pictures(c)
			if err != nil {
				return fmt.Errorf("what was played of %s: %w", s.name, err)
			}
			fmt.Printf("%s: ffmpeg decodes %d pictures of what was played%s\n", s.name, pictures, c.part)
		}
	}
	return nil
}

// pictures counts what can be seen of a copy.
func (d *demo) pictures(c *copied) (int, error) {
	if c.part == whole {
		cmd := clocale.CommandContext(d.ctx, "ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-xerror", "-i", c.path, "-f", "null", "-")
		if text, err := cmd.CombinedOutput(); err != nil || len(bytes.TrimSpace(text)) > 0 {
			return 0, fmt.Errorf("does not decode: %v\n%s", err, text)
		}
	}
	// A clip that begins in the middle cannot be decoded before its first key
	// frame, which ffprobe tells at length.
	text, err := clocale.CommandContext(d.ctx, "ffprobe", "-loglevel", "quiet", "-count_frames", "-select_streams", "v:0",
		"-show_entries", "stream=nb_read_frames", "-of", "default=nokey=1:noprint_wrappers=1", c.path).Output()
	if err != nil {
		return 0, fmt.Errorf("count pictures: %w", err)
	}
	words := strings.Fields(string(text))
	if len(words) == 0 {
		return 0, errors.New("holds no picture")
	}
	n, err := strconv.Atoi(words[0])
	if err != nil || n == 0 {
		return 0, fmt.Errorf("holds %s pictures", words[0])
	}
	return n, nil
}
