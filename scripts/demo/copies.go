//go:build linux

package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
)

// part says how much of a clip a copy should hold.
type part int

const (
	whole part = iota
	head       // from the first byte until the origin was killed
	tail       // from some time after that to the last byte
)

// String implements fmt.Stringer for the end of a sentence.
func (p part) String() string {
	return [...]string{whole: ", without an error", head: " before the kill", tail: " after it"}[p]
}

// copied is a file that a stream has become.
type copied struct {
	who, path string
	part      part
}

// keep notes where a copy of the stream arises.
func (s *stream) keep(who, path string, part part) {
	s.copies = append(s.copies, &copied{who, path, part})
}

// lastWords is how many messages at a clip's end tell that all has arrived.
const lastWords = 16

// arrived reports whether all has arrived that is to come.
func (c *copied) arrived(clip []byte) bool {
	switch c.part {
	case whole:
		st, err := os.Stat(c.path)
		return err == nil && st.Size() >= int64(len(clip))
	case tail:
		got, err := os.ReadFile(c.path)
		return err == nil && bytes.HasSuffix(got, clip[len(clip)-lastWords*messageSize:])
	}
	return true
}

func (d *demo) allArrived() bool {
	for _, s := range d.streams {
		for _, c := range s.copies {
			if !c.arrived(s.clip) {
				return false
			}
		}
	}
	return true
}

// missing says how far each copy of a stream has come.
func (d *demo) missing() string {
	var all []string
	for _, s := range d.streams {
		for _, c := range s.copies {
			if c.arrived(s.clip) {
				continue
			}
			got, _ := os.ReadFile(c.path) // none is nothing
			equal := 0
			for equal < min(len(got), len(s.clip)) && got[equal] == s.clip[equal] {
				equal++
			}
			all = append(all, fmt.Sprintf("%s of %s has %d of %d bytes, right up to byte %d", c.who, s.name, len(got), len(s.clip), equal))
		}
	}
	return fmt.Sprint(all)
}

// compare holds what origins and players have against what was sent.
func (d *demo) compare() error {
	var failed []error
	for _, s := range d.streams {
		sum := sha256.Sum256(s.clip)
		fmt.Printf("\n%s: sent      %9d bytes, sha256 %x\n", s.name, len(s.clip), sum[:8])
		for _, c := range s.copies {
			failed = append(failed, s.compare(c))
		}
		if s.hit.Load() {
			s.holes()
		}
	}
	return errors.Join(failed...)
}

// compare prints a line for one copy.
func (s *stream) compare(c *copied) error {
	got, err := os.ReadFile(c.path)
	if err != nil {
		return fmt.Errorf("read the copy of the %s: %w", c.who, err)
	}
	sum := sha256.Sum256(got)
	what, right := "equal", bytes.Equal(got, s.clip)
	switch c.part {
	case head:
		what, right = "equal to the clip's beginning", len(got) > 0 && bytes.HasPrefix(s.clip, got)
	case tail:
		what, right = "equal to the clip's end", len(got) > 0 && bytes.HasSuffix(s.clip, got)
	case whole:
	}
	if !right {
		what = "DIFFERENT"
		err = fmt.Errorf("%s: the %s received %d bytes, %d were sent, and they differ", s.name, c.who, len(got), len(s.clip))
	}
	fmt.Printf("%s: %-9s %9d bytes, sha256 %x  %s\n", s.name, c.who, len(got), sum[:8], what)
	return err
}

// holes tells what a stream has lost with its origin.
func (s *stream) holes() {
	size := map[part]map[string]int{head: {}, tail: {}}
	for _, c := range s.copies {
		at := "origins"
		if c.who == "player" {
			at = "player"
		}
		if st, err := os.Stat(c.path); err == nil && c.part != whole {
			size[c.part][at] = int(st.Size())
		}
	}
	for _, at := range []string{"origins", "player"} {
		before, after := size[head][at], size[tail][at]
		gap := len(s.clip) - before - after
		fmt.Printf("%s: %-9s %9d bytes before, %d after, %d missing between: %d ms of the clip\n", s.name, at,
			before, after, gap, gap*clipSeconds*1000/len(s.clip))
	}
	fmt.Printf("(what SRT held back for its latency of %s ms, at the killed origin and at the player, went with the old connections)\n", latency)
}
