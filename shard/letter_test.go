package shard

import (
	"encoding/binary"
	"sync"
	"testing"

	"srtrelay/addr"
)

func TestLetterboxIsBoundedAndInOrder(t *testing.T) {
	woken := 0
	b := letterbox{wake: func() { woken++ }}
	put := func(data []byte, divisor int) bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.put(letter{front: 3}, data, divisor)
	}
	data := make([]byte, 16)
	for k := range letterLimit {
		binary.BigEndian.PutUint32(data, uint32(k))
		if !put(data, 1) {
			t.Fatalf("letter %d was refused", k)
		}
		b.raise()
	}
	if put(data, 1) || put(data, deliverLimit) {
		t.Error("a full letterbox took a letter")
	}
	if woken != 1 {
		t.Errorf("woken %d times, want once", woken)
	}
	full, any := b.drain(letterBatch{})
	if !any || len(full.letters) != letterLimit {
		t.Fatalf("%d letters, want %d", len(full.letters), letterLimit)
	}
	start := 0
	for k := range full.letters {
		l := &full.letters[k]
		if got := binary.BigEndian.Uint32(full.bytes[start:l.end]); got != uint32(k) || l.front != 3 {
			t.Fatalf("letter %d is %d", k, got)
		}
		start = l.end
	}
	if _, any := b.drain(letterBatch{}); any {
		t.Error("letters twice")
	}
	big := make([]byte, letterBytes/2+1)
	if put(big, deliverLimit) || !put(big, 1) || put(big, 1) {
		t.Error("the bytes are not bounded")
	}
	if kept := full.emptied(); len(kept.bytes) != 0 || cap(kept.bytes) > keptLetterBytes {
		t.Errorf("%d bytes are kept", cap(kept.bytes))
	}
	b.close()
	if put(data, 1) {
		t.Error("a closed letterbox took a letter")
	}
}

// No letter may be lost between the flag and the list, and those of a sender stay in order.
func TestLetterboxLosesNothing(t *testing.T) {
	const senders, each = 4, 20_000
	rung := make(chan struct{}, 1)
	b := letterbox{wake: func() {
		select {
		case rung <- struct{}{}:
		default:
		}
	}}
	var sending sync.WaitGroup
	for id := range senders {
		sending.Go(func() {
			for k := uint32(0); k < each; {
				data := binary.BigEndian.AppendUint32(nil, k)
				b.mu.Lock()
				if b.put(letter{sender: int16(id)}, data, 1) {
					k++
				}
				b.mu.Unlock()
				b.raise()
			}
		})
	}
	var next [senders]uint32
	var empty letterBatch
	for sum := 0; sum < senders*each; {
		<-rung
		full, _ := b.drain(empty)
		start := 0
		for k := range full.letters {
			l := &full.letters[k]
			if got := binary.BigEndian.Uint32(full.bytes[start:l.end]); got != next[l.sender] {
				t.Fatalf("letter %d of sender %d, want %d", got, l.sender, next[l.sender])
			}
			next[l.sender]++
			start = l.end
			sum++
		}
		empty = full.emptied()
	}
	sending.Wait()
}

// A datagram that another relay has received reaches its session, and is counted once.
func TestDeliver(t *testing.T) {
	r := newRig(t)
	r.establish(r.caller, callerID, callerISN, backendID)
	from := fromConn(r.caller)
	deliver := func(front int, caller addr.AddrPort, b []byte, want Delivery) {
		t.Helper()
		if got := r.owner.Deliver(front, caller, addr.IP{}, b); got != want {
			t.Errorf("Deliver: %v, want %v", got, want)
		}
		r.settle()
	}
	received, forwarded := r.count(CountReceivedFront), r.count(CountForwardedToBackend)
	deliver(0, from, packet(backendID, 1332), Delivered)
	if got, _ := r.receive(r.backend); len(got) != 1332 {
		t.Errorf("the backend got %d bytes", len(got))
	}
	deliver(0, from, packet(backendID+1, 100), NoSession)
	deliver(1, from, packet(backendID, 100), NotSession)
	deliver(0, from, packet(0, 100), NotSession)
	deliver(0, from, packet(backendID, 100)[:15], NotSession)
	if n, m := r.count(CountReceivedFront)-received, r.count(CountForwardedToBackend)-forwarded; n != 1 || m != 1 {
		t.Errorf("%d received and %d forwarded, want 1 and 1", n, m)
	}
	if !r.owner.Owns(0, backendID) || r.owner.Owns(0, backendID+1) {
		t.Error("Owns is wrong")
	}
}
