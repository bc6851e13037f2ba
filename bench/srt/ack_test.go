package srt

import "testing"

func TestACKsAreDueEvenly(t *testing.T) {
	for id := range uint32(2 * ACKEvery) {
		a := NewACKs(id)
		last := uint32(0)
		for packet := 1; packet <= 10*ACKEvery; packet++ {
			number, due := a.Count()
			if want := (packet+int(id))%ACKEvery == 0; due != want {
				t.Fatalf("session %d, packet %d: due %v", id, packet, due)
			}
			if due {
				if number != last+1 {
					t.Fatalf("session %d: ACK %d after %d", id, number, last)
				}
				last = number
			}
		}
	}
}
