// Package notify reports to the service manager that has started the relay, as a rule
// systemd, over the datagram socket that NOTIFY_SOCKET names (sd_notify(3)): that the
// relay is ready, reloads or stops, which process is the main one, that it is alive.
//
// Nothing here waits for the manager: messages are queued, and Run sends them. The
// package must not know what a relay is. Its caller says what to report, and what
// proves that the relay is alive.
package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// sendTimeout is how long a send waits while the socket's buffer is full.
	sendTimeout = 250 * time.Millisecond
	// sendRetry is the pause after a send that failed.
	sendRetry = time.Second
	// assumedWatchdog stands for WATCHDOG_USEC where that is missing. systemd does not give
	// it to ExecReload=, which starts the process that takes over. Where there is no
	// watchdog, signs of life do no harm.
	assumedWatchdog = 10 * time.Second
	// maxQueued is more messages than a start, a take-over and a stop make together.
	maxQueued = 16
)

// Manager is the service manager. A nil Manager is none: its methods do nothing.
type Manager struct {
	socket   net.UnixAddr
	watchdog time.Duration // the period; 0 for no signs of life
	store    bool          // see HasStore
	log      *slog.Logger

	mu      sync.Mutex
	queue   []message // the oldest first
	status  string    // the last one queued
	yielded bool
	posted  chan struct{} // has a token when the queue may have messages
}

// message is one datagram.
type message struct {
	text string
	sent chan struct{} // closed when it has been sent; nil if nobody waits for it
}

// Open returns the service manager that the environment names, or nil. A value that
// cannot be used is logged.
//
// WATCHDOG_PID is not read. It names the process that the manager has started, which
// after a take-over is not this one; the manager itself knows whom it listens to
// (NotifyAccess=).
func Open(lookupEnv func(string) (string, bool), log *slog.Logger) *Manager {
	name, _ := lookupEnv("NOTIFY_SOCKET")
	switch {
	case name == "":
		return nil
	case name[0] != '/' && name[0] != '@': // @ begins an abstract name, for Go too
		log.Warn("the service manager is not notified", "NOTIFY_SOCKET", name, "reason", "not a path and not an abstract name")
		return nil
	}
	m := &Manager{
		socket:   net.UnixAddr{Name: name, Net: "unixgram"},
		watchdog: assumedWatchdog,
		store:    readStore(lookupEnv),
		log:      log,
		posted:   make(chan struct{}, 1),
	}
	if text, _ := lookupEnv("WATCHDOG_USEC"); text != "" {
		microseconds, err := strconv.ParseInt(text, 10, 64)
		if err != nil || microseconds < 0 || microseconds > math.MaxInt64/int64(time.Microsecond) {
			log.Warn("the period of the service manager's watchdog is not known", "WATCHDOG_USEC", text, "reason", "not a number of microseconds")
			return m
		}
		m.watchdog = time.Duration(microseconds) * time.Microsecond
	}
	return m
}

// Address returns the name of the socket (NOTIFY_SOCKET), "" without a manager.
func (m *Manager) Address() string {
	if m == nil {
		return ""
	}
	return m.socket.Name
}

// Ready reports that the relay answers callers, or that a reload is over.
func (m *Manager) Ready() { m.post("READY=1") }

// Reloading reports that a reload has begun, which Ready ends. now is the present
// CLOCK_MONOTONIC, which systemd asks for since version 253.
func (m *Manager) Reloading(now time.Duration) {
	m.post(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", now.Microseconds()))
}

// Stopping reports that the relay stops, which may take as long as within, also if the
// manager's own timeout is shorter (TimeoutStopSec=).
func (m *Manager) Stopping(within time.Duration) {
	m.post(fmt.Sprintf("STOPPING=1\nEXTEND_TIMEOUT_USEC=%d", within.Microseconds()))
}

// Yield begins a time in which another process answers callers: nothing that is sent at
// intervals is sent until Resume.
func (m *Manager) Yield() { m.setYielded(true) }

// Resume reports that this process answers callers: it has taken a relay over, or goes
// on because nobody has. It leaves the main process as it is.
func (m *Manager) Resume() {
	m.setYielded(false)
	m.post("READY=1\nWATCHDOG=1")
}

// SetMain reports that pid is the main process from now on, and waits until that is
// sent. The manager ends a service whose main process ends: a process that has been taken
// over from calls SetMain, and ends only when it has returned nil. It must not call it
// while it may have to go on in place of the other.
func (m *Manager) SetMain(ctx context.Context, pid int) error {
	if m == nil {
		return nil
	}
	sent := make(chan struct{})
	m.queueUp(message{fmt.Sprintf("MAINPID=%d", pid), sent})
	select {
	case <-sent:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("report the main process: %w", ctx.Err())
	}
}

// Status reports what the relay does in one line, for systemctl status. A text equal to
// the last one is not sent.
func (m *Manager) Status(text string) {
	text = strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' ' // a line break would end the message
		}
		return r
	}, text)
	if m == nil || m.hasYielded() || !m.changeStatus(text) {
		return
	}
	m.post("STATUS=" + text)
}

// changeStatus reports whether text is another status than the last one.
func (m *Manager) changeStatus(text string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	changed := m.status != text
	m.status = text
	return changed
}

func (m *Manager) setYielded(yielded bool) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.yielded = yielded
	m.status = "" // the manager may have that of another process
}

func (m *Manager) hasYielded() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.yielded
}

// post queues a message that nobody waits for.
func (m *Manager) post(text string) {
	if m != nil {
		m.queueUp(message{text: text})
	}
}

// queueUp queues a message. A status and a sign of life replace those that have not been
// sent. If the manager reads nothing, the oldest message is dropped.
func (m *Manager) queueUp(one message) {
	m.mu.Lock()
	if name, _, _ := strings.Cut(one.text, "="); name == "STATUS" || name == "WATCHDOG" {
		m.queue = slices.DeleteFunc(m.queue, func(old message) bool { return strings.HasPrefix(old.text, name+"=") })
	}
	if len(m.queue) == maxQueued {
		m.queue = slices.Delete(m.queue, 0, 1)
	}
	m.queue = append(m.queue, one)
	m.mu.Unlock()
	select {
	case m.posted <- struct{}{}:
	default:
	}
}

// Run sends what is posted, in order, until ctx ends and the queue is empty. A message
// that cannot be sent is tried again until ctx ends. The log has one line when the
// first fails.
func (m *Manager) Run(ctx context.Context) {
	if m == nil {
		return
	}
	failing := false
	for {
		one, ok := m.next(ctx)
		if !ok {
			return
		}
		for {
			err := m.send(one.text)
			if err == nil {
				failing = false
				if one.sent != nil {
					close(one.sent)
				}
				break
			}
			if !failing {
				m.log.Warn("the service manager cannot be notified, trying again", "error", err)
				failing = true
			}
			if ctx.Err() != nil {
				return
			}
			pause(ctx, sendRetry)
		}
	}
}

// next takes the oldest message. It waits for one; false if ctx has ended and there is
// none.
func (m *Manager) next(ctx context.Context) (one message, ok bool) {
	for {
		ended := ctx.Err() != nil // before the look: what was posted earlier is not lost
		m.mu.Lock()
		if len(m.queue) > 0 {
			one = m.queue[0]
			m.queue = slices.Delete(m.queue, 0, 1)
			m.mu.Unlock()
			return one, true
		}
		m.mu.Unlock()
		if ended {
			return message{}, false
		}
		select {
		case <-m.posted:
		case <-ctx.Done():
		}
	}
}

// send sends one message. It opens the socket each time, because a manager that is
// started anew has another one at the same name.
func (m *Manager) send(text string) (err error) {
	conn, err := net.DialUnix("unixgram", nil, &m.socket)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if err := conn.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		return fmt.Errorf("set deadline: %w", err)
	}
	if _, err := conn.Write([]byte(text)); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	return nil
}

// pause waits for a time, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
