package srt

import "testing"

func TestACKsAreDueEvenly(t *testing.T) {
	for _, every := range []uint8{1, ACKEvery, 60} {
		for id := range 2 * uint32(every) {
			a := NewACKs(id, every)
			last := uint32(0)
			for packet := 1; packet <= 10*int(every); packet++ {
				number, due := a.Count()
				if want := (packet+int(id))%int(every) == 0; due != want {
					t.Fatalf("one per %d, session %d, packet %d: due %v", every, id, packet, due)
				}
				if due {
					if number != last+1 {
						t.Fatalf("one per %d, session %d: ACK %d after %d", every, id, number, last)
					}
					last = number
				}
			}
		}
	}
}
