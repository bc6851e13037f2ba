//go:build linux

package sink

import (
	"testing"

	"srtrelay/bench/srt"
)

// A socket ID that has ended names nobody for a long time, though its place is
// used again.
func TestSocketIDsRest(t *testing.T) {
	table := newTable(turns-1, srt.ACKEvery) // the last turn, so that they begin anew
	seen := map[uint32]bool{}
	for i := range uint32(5 * maxClosed) {
		s := table.add(attempt{peer: i})
		if seen[s.id] || s.id == 0 || s.id >= 1<<30 {
			t.Fatalf("session %d has ID %#x", i, s.id)
		}
		seen[s.id] = true
		if table.find(s.id) != s || table.known(attempt{peer: i}) != s {
			t.Fatalf("session %d is not found", i)
		}
		table.remove(s)
		if table.find(s.id) != nil || table.known(attempt{peer: i}) != nil {
			t.Fatalf("session %d is still found", i)
		}
	}
	if table.used > maxClosed+2 || table.open != 0 {
		t.Errorf("%d places used, %d open", table.used, table.open)
	}
	for id := range seen {
		if table.find(id) != nil {
			t.Fatalf("ID %#x lives", id)
		}
	}
}

func TestTableEnds(t *testing.T) {
	table := newTable(0, srt.ACKEvery)
	for i := range uint32(1 << placeBits) {
		if table.add(attempt{peer: i}) == nil {
			t.Fatalf("no place for session %d", i)
		}
	}
	if table.add(attempt{peer: 1 << placeBits}) != nil {
		t.Error("a place beyond the last")
	}
	table.remove(table.at(77))
	if s := table.add(attempt{peer: 1 << placeBits}); s == nil || s.id != 2<<placeBits|77 {
		t.Errorf("the free place: %+v", s)
	}
}
