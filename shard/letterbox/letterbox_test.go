package letterbox

import (
	"encoding/binary"
	"sync"
	"testing"
)

// put puts one letter, and reports whether it was taken.
func put(b *Box, l Letter, data []byte) bool {
	return len(b.Put([]Posting{{Letter: l, Data: data}})) == 0
}

func TestBoxIsBoundedAndInOrder(t *testing.T) {
	woken := 0
	b := New(func() { woken++ })
	data := make([]byte, 16)
	for k := range Limit {
		binary.BigEndian.PutUint32(data, uint32(k))
		if !put(b, Letter{Front: 3}, data) {
			t.Fatalf("letter %d was refused", k)
		}
	}
	if put(b, Letter{}, data) || b.PutFromRelay(Posting{Data: data}) {
		t.Error("a full box took a letter")
	}
	if woken != 1 {
		t.Errorf("woken %d times, want once", woken)
	}
	full, any := b.Drain(Batch{})
	if !any || full.Len() != Limit || full.Bytes() != Limit*len(data) {
		t.Fatalf("%d letters of %d bytes, want %d", full.Len(), full.Bytes(), Limit)
	}
	k := uint32(0)
	for l, b := range full.All() {
		if got := binary.BigEndian.Uint32(b); got != k || l.Front != 3 || len(b) != len(data) || cap(b) != len(data) {
			t.Fatalf("letter %d is %d, of %d bytes", k, got, len(b))
		}
		k++
	}
	if _, any := b.Drain(Batch{}); any {
		t.Error("letters twice")
	}
	big := make([]byte, BytesLimit/2+1)
	if b.PutFromRelay(Posting{Data: big}) || !put(b, Letter{}, big) || put(b, Letter{}, big) {
		t.Error("the bytes are not bounded")
	}
	if kept := full.Emptied(); len(kept.bytes) != 0 || cap(kept.bytes) > keptBytes {
		t.Errorf("%d bytes are kept", cap(kept.bytes))
	}
	if left := b.Close(); left.Len() != 1 || left.Bytes() != len(big) {
		t.Errorf("%d letters were left, want 1", left.Len())
	}
	if put(b, Letter{}, data) || b.PutFromRelay(Posting{Data: data}) {
		t.Error("a closed box took a letter")
	}
}

// What does not fit is returned; what fits is taken, also behind it.
func TestBoxReturnsWhatItRefuses(t *testing.T) {
	b := New(func() {})
	run := []Posting{{Data: make([]byte, 1)}, {Data: make([]byte, BytesLimit)}, {Data: make([]byte, 2)}, {Data: make([]byte, BytesLimit-3)}}
	refused := b.Put(run)
	if len(refused) != 1 || len(refused[0].Data) != BytesLimit {
		t.Errorf("%d letters were refused, want the second one", len(refused))
	}
	if full, _ := b.Drain(Batch{}); full.Len() != 3 || full.Bytes() != BytesLimit {
		t.Errorf("%d letters of %d bytes were taken", full.Len(), full.Bytes())
	}
}

// Other relays may use half of the space.
func TestBoxLeavesSpaceForOtherShards(t *testing.T) {
	b := New(func() {})
	data := make([]byte, 16)
	taken := 0
	for range Limit {
		if b.PutFromRelay(Posting{Data: data}) {
			taken++
		}
	}
	if taken != Limit/2 {
		t.Errorf("%d letters from other relays were taken, want %d", taken, Limit/2)
	}
	if !put(b, Letter{}, data) {
		t.Error("nothing is left for other shards")
	}
}

// No letter may be lost between the flag and the list, and those of a sender stay in order.
func TestBoxLosesNothing(t *testing.T) {
	const senders, each = 4, 20_000
	rung := make(chan struct{}, 1)
	b := New(func() {
		select {
		case rung <- struct{}{}:
		default:
		}
	})
	var sending sync.WaitGroup
	for id := range senders {
		sending.Go(func() {
			for k := uint32(0); k < each; {
				if put(b, Letter{Sender: int16(id)}, binary.BigEndian.AppendUint32(nil, k)) {
					k++
				}
			}
		})
	}
	var next [senders]uint32
	var empty Batch
	for sum := 0; sum < senders*each; {
		<-rung
		full, _ := b.Drain(empty)
		for l, data := range full.All() {
			if got := binary.BigEndian.Uint32(data); got != next[l.Sender] {
				t.Fatalf("letter %d of sender %d, want %d", got, l.Sender, next[l.Sender])
			}
			next[l.Sender]++
			sum++
		}
		empty = full.Emptied()
	}
	sending.Wait()
}
