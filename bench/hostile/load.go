//go:build linux

package hostile

import (
	"fmt"
	"time"

	"srtrelay/bench/rig"
)

// load is what the relay has done until a moment.
type load struct {
	at    time.Time
	books rig.Books
	cpu   time.Duration
}

func (r *run) load() (l load, err error) {
	if l.books, err = r.rig.Relay.Books(); err != nil {
		return l, err
	}
	l.cpu, err = r.rig.Relay.CPU()
	l.at = time.Now()
	return l, err
}

// since says what the relay has done since a moment.
func (l load) since(before load) string {
	cpu, received := l.cpu-before.cpu, l.books.Received-before.books.Received
	return fmt.Sprintf("the relay used %.2f CPUs for %d datagrams, %.2f us each; %d dropped by decision, %d at its sockets",
		cpu.Seconds()/l.at.Sub(before.at).Seconds(), received, float64(cpu.Microseconds())/float64(max(received, 1)),
		l.books.Dropped-before.books.Dropped, l.books.KernelDrops-before.books.KernelDrops)
}
