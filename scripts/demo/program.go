//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"srtrelay/internal/clocale"
)

// program is one process of the demo.
type program struct {
	name  string
	at    string // where it listens, for a server
	dir   string // where an origin keeps its files
	id    string // as what an origin registers
	gone  bool   // it has ended as it should
	cmd   *exec.Cmd
	stdin io.WriteCloser
	log   journal
	done  chan struct{}
	err   error // valid after done
}

// journal is what a program has printed so far.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
	rung chan struct{} // closed and replaced at every write
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	close(j.rung)
	j.rung = make(chan struct{})
	return j.text.Write(b)
}

// lines are the complete lines so far, and a channel that closes at more.
func (j *journal) lines() (lines []string, more <-chan struct{}) {
	j.mu.Lock()
	defer j.mu.Unlock()
	text := j.text.String()
	end := strings.LastIndexByte(text, '\n') + 1
	return strings.Split(text[:end], "\n"), j.rung
}

// start runs a program whose both outputs go to its journal.
func (d *demo) start(name, path string, args ...string) (*program, error) {
	return d.startTo(nil, name, path, args...)
}

// startTo does the same, but standard output goes to out if it is not nil.
func (d *demo) startTo(out *os.File, name, path string, args ...string) (*program, error) {
	p := &program{name: name, cmd: clocale.Command(path, args...), done: make(chan struct{})}
	p.log.rung = make(chan struct{})
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	if out != nil {
		p.cmd.Stdout = out
	}
	// A group of its own: ^C is the demo's to pass on, in order.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	var err error
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	d.running = append(d.running, p)
	return p, nil
}

// ended reports whether the program has ended.
func (p *program) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// has reports whether a line with this beginning was printed.
func (p *program) has(prefix string) bool {
	lines, _ := p.log.lines()
	return slices.ContainsFunc(lines, func(line string) bool { return strings.HasPrefix(line, prefix) })
}

// await waits for a line with this beginning.
func (p *program) await(ctx context.Context, prefix string) (string, error) {
	var found string
	err := p.awaitAll(ctx, prefix, func(lines []string) bool {
		i := slices.IndexFunc(lines, func(line string) bool { return strings.HasPrefix(line, prefix) })
		if i >= 0 {
			found = lines[i]
		}
		return i >= 0
	})
	return found, err
}

// awaitAll waits until the lines so far satisfy cond.
func (p *program) awaitAll(ctx context.Context, what string, cond func([]string) bool) error {
	limit := time.After(startup)
	for {
		lines, more := p.log.lines()
		if cond(lines) {
			return nil
		}
		select {
		case <-more:
		case <-p.done:
			return fmt.Errorf("%s has ended (%v) instead of saying %q", p.name, p.err, what)
		case <-ctx.Done():
			return fmt.Errorf("%s has not said %q yet: %w", p.name, what, ctx.Err())
		case <-limit:
			return fmt.Errorf("%s did not say %q within %v", p.name, what, startup)
		}
	}
}

// event is one JSON log line of the relay.
type event map[string]any

func (e event) text(key string) string {
	s, _ := e[key].(string)
	return s
}

func (e event) number(key string) uint64 {
	f, _ := e[key].(float64)
	return uint64(f)
}

// at is when the relay wrote the event.
func (e event) at() time.Time {
	at, err := time.Parse(time.RFC3339Nano, e.text("time"))
	if err != nil {
		return time.Time{} // which shows
	}
	return at
}

// is reports whether the event has this message and attribute; key "" is none.
func (e event) is(msg, key, value string) bool {
	return e.text("msg") == msg && (key == "" || e.text(key) == value)
}

// awaitEvent waits for an event of the relay.
func (p *program) awaitEvent(ctx context.Context, msg, key, value string) (event, error) {
	return p.awaitNth(ctx, 1, msg, func(e event) bool { return e.is(msg, key, value) })
}

// awaitNth waits until n events satisfy cond, and returns the n-th.
func (p *program) awaitNth(ctx context.Context, n int, what string, cond func(event) bool) (found event, err error) {
	err = p.awaitAll(ctx, what, func(lines []string) bool {
		left := n
		return slices.ContainsFunc(lines, func(line string) bool {
			if found = parseEvent(line); cond(found) {
				left--
			}
			return left == 0
		})
	})
	return found, err
}

// events are all events so far with this message.
func (p *program) events(msg string) (found []event) {
	lines, _ := p.log.lines()
	for _, line := range lines {
		if e := parseEvent(line); e.is(msg, "", "") {
			found = append(found, e)
		}
	}
	return found
}

func parseEvent(line string) (e event) {
	if json.Unmarshal([]byte(line), &e) != nil {
		return nil // a line for people
	}
	return e
}

// stop ends a program politely, then by force; the error says that it was not
// clean.
func (p *program) stop(s os.Signal) error {
	_ = p.stdin.Close()
	_ = p.cmd.Process.Signal(s)
	select {
	case <-p.done:
	case <-time.After(startup):
		_ = p.cmd.Process.Kill()
		<-p.done
		return fmt.Errorf("%s did not stop within %v and was killed", p.name, startup)
	}
	if p.err != nil {
		return fmt.Errorf("%s: %w", p.name, p.err)
	}
	return nil
}

// stopAll ends what still runs, last started first.
func (d *demo) stopAll() {
	for i := len(d.running) - 1; i >= 0; i-- {
		if p := d.running[i]; !p.ended() {
			_ = p.cmd.Process.Kill()
			<-p.done
		}
	}
}

// tails prints the end of every log: it tells why.
func (d *demo) tails() {
	for _, p := range d.running {
		state := "running"
		if p.ended() {
			state = "ended"
			if failed := (*exec.ExitError)(nil); errors.As(p.err, &failed) {
				state += " with " + failed.String()
			}
		}
		lines, _ := p.log.lines()
		fmt.Fprintf(os.Stderr, "\n--- %s (%s), end of its log:\n", p.name, state)
		fmt.Fprintln(os.Stderr, strings.Join(lines[max(0, len(lines)-12):], "\n"))
	}
}
