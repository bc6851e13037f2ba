package capture

import (
	"context"
	"slices"
	"testing"
	"time"

	"srtrelay/wire"
)

func dataPacket(size int) []byte {
	b := make([]byte, size)
	wire.Packet(b).SetDestID(7)
	return b
}

func TestWhatIsKept(t *testing.T) {
	control := make([]byte, 300)
	wire.PutControl(control, wire.TypeHandshake, 0, 7)
	for name, c := range map[string]struct {
		payload bool
		packet  []byte
		want    int
	}{
		"header of data":     {false, dataPacket(1332), 16},
		"control whole":      {false, control, 300},
		"data whole":         {true, dataPacket(1332), 1332},
		"jumbo data":         {true, dataPacket(9000), SnapLength},
		"jumbo data, header": {false, dataPacket(9000), 16},
		"empty data":         {false, dataPacket(16), 16},
	} {
		c2 := New(Filter{Streams: []string{"x"}}, Keep{Payload: c.payload}, 1)
		c2.Tap(0).Copy(5, ToBackend|Forwarded, &ends, c.packet)
		c2.Tap(0).Commit()
		var rec Record
		if !c2.Next(&rec) || len(rec.Data) != c.want || rec.Length != len(c.packet) {
			t.Errorf("%s: kept %d of %d, want %d", name, len(rec.Data), rec.Length, c.want)
		}
	}
}

func TestOnlyShardsThatAreConcernedAreTapped(t *testing.T) {
	tapped := func(f Filter) (ids []int) {
		c := New(f, Keep{}, 4)
		for id := range 4 {
			if c.Tap(id) != nil {
				ids = append(ids, id)
			}
		}
		return ids
	}
	if got := tapped(Filter{Sessions: []Session{{Shard: 2, Index: 5, Gen: 9}, {Shard: 3}}}); !slices.Equal(got, []int{2, 3}) {
		t.Errorf("sessions of shards 2 and 3: tapped %v", got)
	}
	if got := tapped(Filter{Streams: []string{""}}); len(got) != 4 {
		t.Errorf("a stream may have sessions on every shard: tapped %v", got)
	}
}

// The rings of all shards together stay within the budget, unless there are so
// many that each has the least.
func TestRingMemory(t *testing.T) {
	for _, shards := range []int{1, 2, 3, 5, 16, 64, 128, 200} {
		c := New(Filter{Streams: []string{"x"}}, Keep{}, shards)
		sum := 0
		for id := range shards {
			size := len(c.Tap(id).ring.buf)
			if size&(size-1) != 0 || size < minRing || size > maxRing {
				t.Errorf("%d shards: a ring of %d bytes", shards, size)
			}
			sum += size
		}
		if sum > max(ringBudget, shards*minRing) {
			t.Errorf("%d shards: %d bytes of rings", shards, sum)
		}
	}
}

func TestRecordsOfAllShardsComeByTime(t *testing.T) {
	c := New(Filter{Streams: []string{"x"}}, Keep{}, 3)
	for i := range 90 {
		c.Tap(i%3).Copy(time.Duration(i), ToCaller|Sent, &ends, dataPacket(20))
	}
	var rec Record
	if c.Next(&rec) {
		t.Fatal("a record before any shard has committed")
	}
	for id := range 3 {
		c.Tap(id).Commit()
	}
	for i := range 90 {
		if !c.Next(&rec) || rec.At != time.Duration(i) {
			t.Fatalf("record %d is of %d", i, rec.At)
		}
	}
}

// What does not fit is counted for every leg on which it was seen.
func TestDropsAreCounted(t *testing.T) {
	c := New(Filter{Streams: []string{"x"}}, Keep{}, 400) // minRing
	tap, sent := c.Tap(0), uint64(0)
	for range 4000 {
		tap.Copy(0, ToBackend|Forwarded, &ends, dataPacket(20))
		sent++
	}
	tap.Copy(0, ToCaller|Received, &ends, dataPacket(20))
	tap.Commit()
	var rec Record
	kept := uint64(0)
	for c.Next(&rec) {
		kept++
	}
	if kept == 0 || kept == sent {
		t.Fatalf("%d of %d kept: the ring was never full", kept, sent)
	}
	callers, _ := c.Dropped(LegCallers)
	backends, _ := c.Dropped(LegBackends)
	if callers != sent-kept || backends != sent-kept+1 {
		t.Errorf("dropped %d and %d, want %d and %d", callers, backends, sent-kept, sent-kept+1)
	}
}

func TestRate(t *testing.T) {
	const shards, rate = 2, 100
	c := New(Filter{Streams: []string{"x"}}, Keep{Rate: rate}, shards)
	var rec Record
	taken := 0
	// 1000 datagrams/s per shard for ten seconds.
	for ms := range 10_000 {
		for id := range shards {
			c.Tap(id).Copy(time.Duration(ms)*time.Millisecond, ToBackend|Received, &ends, dataPacket(20))
			c.Tap(id).Commit()
		}
		for c.Next(&rec) {
			taken++
		}
	}
	// As many at once in the beginning, and then the rate.
	if want := rate * 11; taken < want-2 || taken > want {
		t.Errorf("%d taken in 10 s at %d/s, want %d", taken, rate, want)
	}
	full, limited := c.Dropped(LegCallers)
	if full != 0 || limited != uint64(shards*10_000-taken) {
		t.Errorf("dropped %d at full rings and %d by the rate, want all that was not taken (%d)", full, limited, shards*10_000-taken)
	}
}

// The reader sleeps until a shard commits, ends, or its context does; what
// came before it lay down does not make it sleep.
func TestWait(t *testing.T) {
	c := New(Filter{Streams: []string{"x"}}, Keep{}, 2)
	tap := c.Tap(1)
	woken := func(ctx context.Context) <-chan struct{} {
		done := make(chan struct{})
		go func() { defer close(done); c.Wait(ctx) }()
		return done
	}
	patience, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	must := func(done <-chan struct{}, what string) {
		t.Helper()
		select {
		case <-done:
			if patience.Err() != nil {
				t.Fatalf("%s did not wake the reader", what)
			}
		case <-patience.Done():
			t.Fatalf("%s did not wake the reader", what)
		}
	}
	tap.Copy(0, Forwarded, &ends, dataPacket(20))
	tap.Commit()
	must(woken(patience), "what was there before")
	var rec Record
	for c.Next(&rec) {
	}
	done := woken(patience)
	for !c.bell.armed.Load() { // until it sleeps, or is about to
		select {
		case <-done:
			t.Fatal("it woke for nothing")
		case <-patience.Done():
			t.Fatal("it does not sleep")
		default:
		}
	}
	tap.Copy(0, Forwarded, &ends, dataPacket(20))
	tap.Commit()
	must(done, "commit")
	for c.Next(&rec) {
	}
	ended, end := context.WithCancel(patience)
	done = woken(ended)
	end()
	must(done, "the end of its context")
	if c.Ended() {
		t.Fatal("ended though both taps go on")
	}
	c.Tap(0).End()
	tap.End()
	if !c.Ended() {
		t.Fatal("not ended though both taps have")
	}
	must(woken(patience), "the end of all taps")
}

func TestCopyDoesNotAllocate(t *testing.T) {
	c := New(Filter{Streams: []string{"x"}}, Keep{Payload: true, Rate: 1000}, 1)
	p := dataPacket(1332)
	var rec Record
	now := time.Duration(0)
	if n := testing.AllocsPerRun(5000, func() {
		now += 100 * time.Microsecond
		c.Tap(0).Copy(now, ToBackend|Forwarded, &ends, p)
		c.Tap(0).Commit()
		c.Next(&rec)
	}); n != 0 {
		t.Errorf("%v allocations per datagram", n)
	}
}

func BenchmarkCopy(b *testing.B) {
	for name, k := range map[string]Keep{"header": {}, "payload": {Payload: true}, "rate": {Rate: MaxRate}} {
		b.Run(name, func(b *testing.B) {
			c := New(Filter{Streams: []string{"x"}}, k, 1)
			p := dataPacket(1332)
			var rec Record
			b.ReportAllocs()
			for i := range b.N {
				c.Tap(0).Copy(time.Duration(i), ToBackend|Forwarded, &ends, p)
				if i%64 == 0 {
					b.StopTimer()
					c.Tap(0).Commit()
					for c.Next(&rec) {
					}
					b.StartTimer()
				}
			}
		})
	}
}
