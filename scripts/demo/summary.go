package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// summary tells what happened and whether it is what should have happened.
func (d *demo) summary() error {
	fmt.Println()
	err := errors.Join(d.paths(), d.copied(), d.decoded())
	if err == nil {
		fmt.Printf("\ndemo: passed in %.1f s, every byte arrived\n", time.Since(d.begun).Seconds())
	}
	return err
}

// paths prints a line per session: the relay's numbers and libsrt's.
func (d *demo) paths() error {
	var failed []error
	homes := map[string]string{}
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "stream\trole\tbackend\tkey\tto backend\t\tto caller\t\tlost\tresent\ttoo late\t")
	for _, s := range d.streams {
		for _, role := range []string{"publisher", "player"} {
			e, closed, err := d.ended(s, role)
			if err != nil {
				failed = append(failed, err)
				continue
			}
			at := e.text("backend")
			if home, known := homes[s.name]; known && home != at {
				failed = append(failed, fmt.Errorf("publisher and player of %s did not meet: %s, %s", s.name, home, at))
			}
			homes[s.name] = at
			if closed["keylen"] != keyLength {
				failed = append(failed, fmt.Errorf("%s of %s: key of %s bytes, want %s", role, s.name, closed["keylen"], keyLength))
			}
			fmt.Fprintf(table, "%s\t%s\t%s\tAES-256\t%d packets\t%s\t%d packets\t%s\t%s\t%s\t%s\t\n",
				s.name, role, d.originName(at),
				e.number("to_backend_packets"), bytesText(e.number("to_backend_bytes")),
				e.number("to_caller_packets"), bytesText(e.number("to_caller_bytes")),
				closed["lost"], closed["retransmitted"], closed["late"])
		}
	}
	_ = table.Flush()
	fmt.Println("(packets and bytes as the relay counts them; lost, resent, too late in packets as libsrt counts them)")
	if homes[d.streams[0].name] == homes[d.streams[1].name] {
		failed = append(failed, errors.New("both streams went to one origin"))
	}
	return errors.Join(failed...)
}

// ended is what the relay and the origin said at the end of a session.
func (d *demo) ended(s *stream, role string) (event, map[string]string, error) {
	events := d.relay.events("session ended")
	i := slices.IndexFunc(events, func(e event) bool {
		return e.text("role") == role && strings.HasSuffix(e.text("stream"), "/"+s.name)
	})
	if i < 0 {
		return nil, nil, fmt.Errorf("the relay did not log the end of the %s of %s", role, s.name)
	}
	for _, o := range d.origins {
		lines, _ := o.log.lines()
		for _, line := range lines {
			if pairs := parsePairs(line); strings.HasPrefix(line, "closed ") && pairs["role"] == role && pairs["resource"] == s.name {
				return events[i], pairs, nil
			}
		}
	}
	return nil, nil, fmt.Errorf("no origin had a %s of %s", role, s.name)
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

// copied compares what origin and player have with what was sent.
func (d *demo) copied() error {
	fmt.Println()
	var failed []error
	for _, s := range d.streams {
		want := sha256.Sum256(s.clip)
		fmt.Printf("%s: sent      %9d bytes, sha256 %x\n", s.name, len(s.clip), want[:8])
		copies := d.copies(s)
		for _, who := range slices.Sorted(maps.Keys(copies)) {
			got, err := os.ReadFile(copies[who])
			if err != nil {
				failed = append(failed, fmt.Errorf("read the copy of the %s: %w", who, err))
				continue
			}
			verdict := "equal"
			sum := sha256.Sum256(got)
			if sum != want {
				verdict = "DIFFERENT"
				failed = append(failed, fmt.Errorf("%s: the %s received %d bytes, %d were sent, and they differ", s.name, who, len(got), len(s.clip)))
			}
			fmt.Printf("%s: %-9s %9d bytes, sha256 %x  %s\n", s.name, who, len(got), sum[:8], verdict)
		}
	}
	return errors.Join(failed...)
}

// decoded lets ffmpeg watch what was played.
func (d *demo) decoded() error {
	for _, s := range d.streams {
		cmd := exec.CommandContext(d.ctx, "ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-xerror",
			"-i", s.playedTo.Name(), "-f", "null", "-")
		if text, err := cmd.CombinedOutput(); err != nil || len(bytes.TrimSpace(text)) > 0 {
			return fmt.Errorf("what was played of %s does not decode: %v\n%s", s.name, err, text)
		}
	}
	fmt.Println("ffmpeg decodes what was played without an error")
	return nil
}
