package notify

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// signs empties the queue and returns how many signs of life were in it, one at most.
func (m *Manager) signs() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, one := range m.queue {
		n += strings.Count(one.text, "WATCHDOG=1")
	}
	m.queue = nil
	return n
}

// watched is a Watch in a bubble, of a watchdog of 30 s.
func watched(t *testing.T, alive func(context.Context) error) (m *Manager, log *record) {
	t.Helper()
	log = newRecord()
	m = open(t, log.log(), "/s", "WATCHDOG_USEC=30000000")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { m.Watch(ctx, alive); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
	synctest.Wait()
	return m, log
}

func TestWatchdogIsFedAtHalfItsPeriod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, log := watched(t, func(context.Context) error { return nil })
		for i := range 20 {
			if n := m.signs(); n != 1 {
				t.Errorf("after %d half periods: %d signs of life", i, n)
			}
			time.Sleep(15*time.Second - time.Millisecond)
			if n := m.signs(); n != 0 {
				t.Error("a sign of life too early")
			}
			time.Sleep(time.Millisecond)
			synctest.Wait()
		}
		if log.String() != "" {
			t.Errorf("log %s", log)
		}
	})
}

// Who hangs gets no sign of life, and one as soon as it answers again.
func TestWatchdogStarves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answers := make(chan struct{})
		m, log := watched(t, func(ctx context.Context) error {
			select {
			case <-answers:
				return nil
			case <-ctx.Done():
				return errors.New("shards [1] do not turn")
			}
		})
		time.Sleep(50 * time.Second)
		synctest.Wait()
		if n := m.signs(); n != 0 {
			t.Errorf("%d signs of life of what hangs", n)
		}
		if text := log.String(); strings.Count(text, "level=ERROR") != 3 || !strings.Contains(text, "shards [1] do not turn") {
			t.Errorf("log %s", text)
		}
		answers <- struct{}{}
		synctest.Wait()
		if n := m.signs(); n != 1 {
			t.Errorf("%d signs of life when it goes on", n)
		}
	})
}

// After a stop of the whole process nobody is to blame, and the question is asked again
// at once.
func TestWatchdogAfterAStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		m, log := watched(t, func(ctx context.Context) error {
			asked++
			if asked == 2 {
				time.Sleep(20 * time.Second) // longer than its context
				return ctx.Err()
			}
			return nil
		})
		m.signs()
		time.Sleep(35*time.Second - time.Millisecond)
		synctest.Wait()
		if n := m.signs(); n != 0 {
			t.Errorf("%d signs of life during the stall", n)
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if n := m.signs(); n != 1 || log.String() != "" {
			t.Errorf("%d signs of life after the stall, log %s", n, log)
		}
	})
}

// While another process answers callers there is no sign of life and no complaint; who
// goes on gives one at once.
func TestWatchdogYields(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parked := false
		m, log := watched(t, func(ctx context.Context) error {
			if !parked {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		})
		m.signs()
		m.Yield()
		parked = true
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if n := m.signs(); n != 0 || log.String() != "" {
			t.Errorf("%d signs of life of a parked process, log %s", n, log)
		}
		parked = false
		m.Resume()
		if n := m.signs(); n != 1 {
			t.Errorf("%d signs of life when it goes on", n)
		}
		time.Sleep(15 * time.Second)
		synctest.Wait()
		if n := m.signs(); n != 1 {
			t.Errorf("%d signs of life half a period later", n)
		}
	})
}
