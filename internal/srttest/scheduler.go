package srttest

import (
	"container/heap"
	"sync"
	"time"
)

// schedulerLimit is three seconds of 20,000 packets/s.
const schedulerLimit = 1 << 16

// scheduler runs functions at a later time, one after the other on one goroutine. Those with
// equal times keep their order. It is bounded, and close discards what is not due yet.
type scheduler struct {
	mu     sync.Mutex
	items  schedule
	count  uint64
	closed bool
	wake   chan struct{}
	done   chan struct{}
}

type job struct {
	at  time.Time
	nth uint64
	run func()
}

func newScheduler() *scheduler {
	s := &scheduler{wake: make(chan struct{}, 1), done: make(chan struct{})}
	go s.loop()
	return s
}

// after schedules run. It is false if the scheduler is full or closed.
func (s *scheduler) after(d time.Duration, run func()) bool {
	s.mu.Lock()
	if s.closed || len(s.items) >= schedulerLimit {
		s.mu.Unlock()
		return false
	}
	s.count++
	mine := s.count
	heap.Push(&s.items, job{at: time.Now().Add(d), nth: mine, run: run})
	first := s.items[0].nth == mine
	s.mu.Unlock()
	if first {
		s.wakeLoop()
	}
	return true
}

func (s *scheduler) wakeLoop() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *scheduler) loop() {
	defer close(s.done)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		run, wait, open := s.due()
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
		case <-s.wake:
		}
	}
}

func (s *scheduler) due() (run func(), wait time.Duration, open bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, 0, false
	}
	if len(s.items) == 0 {
		return nil, time.Hour, true
	}
	if wait = time.Until(s.items[0].at); wait > 0 {
		return nil, wait, true
	}
	return heap.Pop(&s.items).(job).run, 0, true
}

// close returns when nothing runs any more.
func (s *scheduler) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.wakeLoop()
	<-s.done
}

// schedule is a heap by time, then by order of entry.
type schedule []job

func (s schedule) Len() int      { return len(s) }
func (s schedule) Swap(i, j int) { s[i], s[j] = s[j], s[i] }
func (s schedule) Less(i, j int) bool {
	if s[i].at.Equal(s[j].at) {
		return s[i].nth < s[j].nth
	}
	return s[i].at.Before(s[j].at)
}
func (s *schedule) Push(x any) { *s = append(*s, x.(job)) }
func (s *schedule) Pop() any {
	last := len(*s) - 1
	x := (*s)[last]
	(*s)[last] = job{} // let go of what run holds
	*s = (*s)[:last]
	return x
}
