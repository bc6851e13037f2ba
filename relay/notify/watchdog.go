package notify

import (
	"context"
	"time"
)

const (
	// minAsk is the least time between two questions, however short the watchdog's
	// period.
	minAsk = 10 * time.Millisecond
	// minStall is how much later than planned Watch must be awake to say that the
	// process was stopped, and not what it asks.
	minStall = 250 * time.Millisecond
)

// HasWatchdog reports whether the manager expects signs of life.
func (m *Manager) HasWatchdog() bool { return m != nil && m.watchdog > 0 }

// Watch sends a sign of life at half of the watchdog's period until ctx ends, each time
// after alive has returned nil. alive asks what must be alive, and waits for the answer
// while its context lasts. Without an answer there is no sign of life, and the question
// is asked again at once: what was stopped together with its host, and goes on, answers
// then.
func (m *Manager) Watch(ctx context.Context, alive func(context.Context) error) {
	if !m.HasWatchdog() {
		return
	}
	interval := max(m.watchdog/2, minAsk)
	for ctx.Err() == nil {
		began := time.Now()
		if !m.hasYielded() {
			m.ask(ctx, interval, alive)
		}
		if rest := interval - time.Since(began); rest > 0 {
			pause(ctx, rest)
		}
	}
}

// ask asks once, and sends the sign of life.
func (m *Manager) ask(ctx context.Context, atMost time.Duration, alive func(context.Context) error) {
	began := time.Now()
	limited, cancel := context.WithTimeout(ctx, atMost)
	defer cancel()
	err := alive(limited)
	switch {
	case m.hasYielded() || ctx.Err() != nil:
	case err == nil:
		m.post("WATCHDOG=1")
	case time.Since(began) > atMost+minStall: // everything was stopped
	default:
		m.log.Error("no sign of life for the service manager, which ends the relay unless this ends soon",
			"error", err, "watchdog", m.watchdog)
	}
}
