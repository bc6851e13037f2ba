package srttest

import (
	"container/heap"
	"sync"
	"time"
)

// agendaLimit is three seconds of 20,000 packets/s.
const agendaLimit = 1 << 16

// agenda runs functions later, one after the other on one goroutine; equal
// times keep their order. It is bounded, and closing it discards what is due
// later.
type agenda struct {
	mu     sync.Mutex
	items  schedule
	count  uint64
	closed bool
	wake   chan struct{}
	done   chan struct{}
}

type appointment struct {
	at  time.Time
	nth uint64
	run func()
}

func newAgenda() *agenda {
	a := &agenda{wake: make(chan struct{}, 1), done: make(chan struct{})}
	go a.loop()
	return a
}

// after reports false when the agenda is full or closed: run is not kept.
func (a *agenda) after(d time.Duration, run func()) bool {
	a.mu.Lock()
	if a.closed || len(a.items) >= agendaLimit {
		a.mu.Unlock()
		return false
	}
	a.count++
	mine := a.count
	heap.Push(&a.items, appointment{at: time.Now().Add(d), nth: mine, run: run})
	first := a.items[0].nth == mine
	a.mu.Unlock()
	if first {
		a.nudge()
	}
	return true
}

func (a *agenda) nudge() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

func (a *agenda) loop() {
	defer close(a.done)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		run, wait, open := a.due()
		if !open {
			return
		}
		if run != nil {
			run()
			continue
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-a.wake:
		}
	}
}

func (a *agenda) due() (run func(), wait time.Duration, open bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil, 0, false
	}
	if len(a.items) == 0 {
		return nil, time.Hour, true
	}
	if wait = time.Until(a.items[0].at); wait > 0 {
		return nil, wait, true
	}
	return heap.Pop(&a.items).(appointment).run, 0, true
}

// close returns when nothing runs any more.
func (a *agenda) close() {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.nudge()
	<-a.done
}

// schedule is a heap by time, then by order of entry.
type schedule []appointment

func (s schedule) Len() int      { return len(s) }
func (s schedule) Swap(i, j int) { s[i], s[j] = s[j], s[i] }
func (s schedule) Less(i, j int) bool {
	if s[i].at.Equal(s[j].at) {
		return s[i].nth < s[j].nth
	}
	return s[i].at.Before(s[j].at)
}
func (s *schedule) Push(x any) { *s = append(*s, x.(appointment)) }
func (s *schedule) Pop() any {
	last := len(*s) - 1
	x := (*s)[last]
	(*s)[last] = appointment{} // let go of what run holds
	*s = (*s)[:last]
	return x
}
