// Package throttle bounds how many lines the log gets about what outsiders do, as often as they
// please. It must not know what the lines are about.
package throttle

import (
	"sync"
	"time"
)

// Every is the least time between two lines of one kind.
const Every = 10 * time.Second

// Throttle lets one line pass per Every and counts the others. The zero value lets the first one
// pass. Its methods may be called by any goroutine.
type Throttle struct {
	mu   sync.Mutex
	next time.Time // earliest time of the next line
	held int       // lines held back since the last one
}

// Pass reports whether a line may be written now, and how many were held back before.
func (t *Throttle) Pass(now time.Time) (held int, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Before(t.next) {
		t.held++
		return 0, false
	}
	held, t.next, t.held = t.held, now.Add(Every), 0
	return held, true
}
