//go:build linux

package rig

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
	"time"

	"srtrelay/bench/lab"
	"srtrelay/bench/live"
)

const (
	// FirstServer is the first server's port; the others follow it.
	FirstServer = 10001
	maxServers  = 64
	// answerPatience is enough for a busy machine.
	answerPatience = 20 * time.Second
)

// ServerAddr is where server n listens.
func ServerAddr(n int) netip.AddrPort {
	return netip.AddrPortFrom(lab.OriginAddr, uint16(FirstServer+n))
}

// Server is an SRT server in a process of its own, which can be stopped, killed
// and started again at its address.
type Server struct {
	Number int

	bench  string
	origin *lab.Namespace

	mu      sync.Mutex
	proc    *lab.Process // nil while dead
	answers chan live.Report
	stopped bool
	starts  int // to tell its lives apart
}

func (s *Server) start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	proc, err := s.origin.Start(lab.Program{
		Label: "server " + strconv.Itoa(s.Number), Stdin: true,
		Args: []string{s.bench, "server", "-listen", ServerAddr(s.Number).String(), "-number", strconv.Itoa(s.Number)},
	})
	if err != nil {
		return err
	}
	s.proc, s.answers, s.stopped = proc, make(chan live.Report, 1), false
	s.starts++
	go readReports(proc.Stdout, s.answers)
	_, err = s.await(ctx)
	return err
}

func readReports(in io.Reader, to chan<- live.Report) {
	defer close(to)
	for d := json.NewDecoder(bufio.NewReaderSize(in, 1<<16)); ; {
		var r live.Report
		if d.Decode(&r) != nil {
			return
		}
		to <- r
	}
}

func (s *Server) await(ctx context.Context) (live.Report, error) {
	timer := time.NewTimer(answerPatience)
	defer timer.Stop()
	select {
	case r, open := <-s.answers:
		if !open {
			return r, fmt.Errorf("server %d: %w", s.Number, s.proc.Failure())
		}
		if r.Error != "" {
			return r, fmt.Errorf("server %d: %s", s.Number, r.Error)
		}
		return r, nil
	case <-timer.C:
		return live.Report{}, fmt.Errorf("server %d gives no answer: %s", s.Number, s.proc.Said())
	case <-ctx.Done():
		return live.Report{}, ctx.Err()
	}
}

// errAway is the answer of a server that is stopped or dead.
var errAway = errors.New("the server is stopped or dead")

func (s *Server) ask(ctx context.Context, command string) (live.Report, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil || s.stopped {
		return live.Report{}, errAway
	}
	if _, err := io.WriteString(s.proc.Stdin, command+"\n"); err != nil {
		return live.Report{}, fmt.Errorf("server %d: %w: %s", s.Number, err, s.proc.Said())
	}
	return s.await(ctx)
}

func (s *Server) signal(sig syscall.Signal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil {
		return errAway
	}
	s.stopped = sig == syscall.SIGSTOP
	return s.proc.Signal(sig)
}

func (s *Server) kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil {
		return
	}
	s.proc.Kill()
	for range s.answers { // until its reader has ended
	}
	s.proc = nil
}

// alive reports whether the server runs.
func (s *Server) alive() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proc != nil && !s.stopped
}

// heartbeat returns what SRS posts with `ports on`. A restart changes service and pid.
func (s *Server) heartbeat() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprintf(`{"device_id":"origin1","ip":%q,"server":"vid-%04d","service":"start%02d","pid":"%d",`+
		`"rtmp":["19351"],"http":["8081"],"api":["19851"],"srt":["udp://0.0.0.0:%d"],"rtc":["udp://0.0.0.0:8001"]}`,
		lab.OriginAddr, s.Number, s.starts, 4000+100*s.Number+s.starts, ServerAddr(s.Number).Port())
}
