package shard

import (
	"sync"
	"testing"
)

func TestInboxIsBounded(t *testing.T) {
	woken := 0
	b := inbox{limit: 2, wake: func() { woken++ }}
	nop := func(*Shard) {}
	for i, want := range []bool{true, true, false} {
		if b.post(nop) != want {
			t.Errorf("task %d: taken %v, want %v", i, !want, want)
		}
	}
	if woken != 1 {
		t.Errorf("woken %d times, want once until the tasks are taken", woken)
	}
	if !b.postAlways(nop) {
		t.Error("a full inbox refused its owner")
	}
	if n := len(b.drain(nil)); n != 3 {
		t.Errorf("took %d tasks, want 3", n)
	}
	if b.drain(nil) != nil {
		t.Error("an empty inbox gave tasks")
	}
	if !b.post(nop) || woken != 2 {
		t.Error("not woken again after the tasks were taken")
	}
	if n := len(b.close()); n != 1 {
		t.Errorf("close returned %d tasks, want 1", n)
	}
	if b.post(nop) || b.postAlways(nop) {
		t.Error("a closed inbox took a task")
	}
}

// No task may be lost between the flag and the list.
func TestInboxLosesNothing(t *testing.T) {
	const posters, each = 4, 5000
	rung := make(chan struct{}, 1)
	b := inbox{limit: posters * each, wake: func() {
		select {
		case rung <- struct{}{}:
		default:
		}
	}}
	sum := 0
	var posting sync.WaitGroup
	for range posters {
		posting.Go(func() {
			for range each {
				b.post(func(*Shard) { sum++ })
			}
		})
	}
	var list []task
	for sum < posters*each {
		<-rung
		for list = b.drain(list); list != nil; list = b.drain(list) {
			for _, l := range list {
				l(nil)
			}
		}
	}
	posting.Wait()
}

// The bug: a flag raised late for a task that had been taken made the loop
// and the inbox share one array, and tasks were overwritten under the loop.
func TestLateFlagDoesNotShareTheList(t *testing.T) {
	b := inbox{limit: 8, wake: func() {}}
	var ran []int
	letterOf := func(n int) task { return func(*Shard) { ran = append(ran, n) } }
	b.post(letterOf(1))
	b.post(letterOf(2))
	list := b.drain(nil)
	b.hasTasks.Store(true) // late
	if b.drain(list) != nil {
		t.Fatal("tasks out of an empty inbox")
	}
	b.post(letterOf(3))
	list = b.drain(list)
	b.post(letterOf(4)) // while the loop reads
	for _, l := range list {
		l(nil)
	}
	clear(list)
	for _, l := range b.drain(list) {
		l(nil)
	}
	if len(ran) != 2 || ran[0] != 3 || ran[1] != 4 {
		t.Errorf("ran %v, want [3 4]", ran)
	}
}
