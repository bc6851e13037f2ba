package shard

import (
	"sync"
	"testing"
)

func TestInboxIsBounded(t *testing.T) {
	woken := 0
	b := inbox{max: 2, wake: func() { woken++ }}
	nop := func(*Shard) {}
	for i, want := range []bool{true, true, false} {
		if b.post(nop) != want {
			t.Errorf("letter %d: taken %v, want %v", i, !want, want)
		}
	}
	if woken != 1 {
		t.Errorf("woken %d times, want once until the letters are taken", woken)
	}
	if !b.insist(nop) {
		t.Error("a full inbox refused its owner")
	}
	if n := len(b.take(nil)); n != 3 {
		t.Errorf("took %d letters, want 3", n)
	}
	if b.take(nil) != nil {
		t.Error("an empty inbox gave letters")
	}
	if !b.post(nop) || woken != 2 {
		t.Error("not woken again after the letters were taken")
	}
	if n := len(b.close()); n != 1 {
		t.Errorf("close returned %d letters, want 1", n)
	}
	if b.post(nop) || b.insist(nop) {
		t.Error("a closed inbox took a letter")
	}
}

// No letter may be lost between the flag and the list.
func TestInboxLosesNothing(t *testing.T) {
	const posters, each = 4, 5000
	rung := make(chan struct{}, 1)
	b := inbox{max: posters * each, wake: func() {
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
	var list []letter
	for sum < posters*each {
		<-rung
		for list = b.take(list); list != nil; list = b.take(list) {
			for _, l := range list {
				l(nil)
			}
		}
	}
	posting.Wait()
}
