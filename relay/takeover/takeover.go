// Package takeover is the protocol by which a new process of the relay takes everything
// over from a running one: the sockets, the state, and in the end the callers. Both run on
// one host. docs/adr/0023-take-over.md has the decisions.
//
// The running process is the Giver, the new one the Taker. They talk over a unix socket,
// one message per packet:
//
//	taker                giver
//	HELLO         -->           who it is, what it can read, what may not differ
//	              <--  WELCOME  or REFUSED, with the reason
//	              <--  FILES    descriptors, at most 253 per message
//	READY         -->           everything slow is done
//	              <--  SNAPSHOT frozen: the state in sealed memory files
//	TAKEN         -->           restored and checked
//	              <--  COMMITTED
//	ALIVE ...     -->           every AliveEvery for Probation
//	SETTLED       -->           the giver leaves
//
// COMMITTED is the only commit point: at any time at most one of the two processes runs.
// Before it the giver goes on as if nothing had been, and the taker gives up. After it the
// giver stays frozen, and goes on only when the taker is dead, as a pidfd proves.
//
// The package must not know what the files and the state are: it calls the functions that
// it gets.
package takeover

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// The times of a take-over.
const (
	// Probation is how long the taker proves that it works before the giver leaves.
	Probation = 5 * time.Second
	// AliveEvery is the time between two proofs.
	AliveEvery = 250 * time.Millisecond
	// aliveTimeout is how long the giver waits for a proof before it kills the taker.
	aliveTimeout = 2 * time.Second
	// probationTimeout is when the giver leaves though the taker has never settled. Its
	// proofs have come all that time, so callers are better off with it.
	probationTimeout = 6 * Probation
	// helloTimeout bounds the steps that need no work: HELLO, WELCOME, FILES.
	helloTimeout = 2 * time.Second
	// readyTimeout bounds what the taker does with the files. Callers do not wait
	// meanwhile.
	readyTimeout = 10 * time.Second
	// freezeTimeout bounds the freeze, and takenTimeout the restoring: callers' datagrams
	// wait in the sockets' buffers.
	freezeTimeout = time.Second
	takenTimeout  = time.Second
	// seeOffTimeout is how long a taker that has failed may take to end by itself.
	seeOffTimeout = 3 * time.Second
	// commitTimeout is how long the taker waits for a giver that does not answer. It is
	// longer than what the giver may take.
	commitTimeout = 5 * time.Second
)

var (
	// ErrNobody says that no process listens at the path.
	ErrNobody = errors.New("no running relay answers")
	// ErrBusy says that another process listens at the path.
	ErrBusy = errors.New("a running relay answers there")
)

// Offer is what a running process gives and does. Its functions are called by one goroutine
// at a time.
type Offer struct {
	// Version is the program's, for the log.
	Version string
	// Settings may not differ between the two. A key that only one of them has is not
	// compared; the taker learns the giver's (Peer).
	Settings map[string]string
	// Facts returns what else the taker learns (Peer.Settings), as it is when the taker
	// says HELLO. Nil has none.
	Facts func() map[string]string
	// Snapshots are the versions of the snapshot that Freeze can write.
	Snapshots []int
	// Files returns the descriptors. The package owns them, and closes them once they are
	// sent: pass duplicates.
	Files func() ([]File, error)
	// Freeze stops everything that serves callers and returns the state, in a version of
	// Snapshots. ctx ends when the time for it is over.
	Freeze func(ctx context.Context, version int) (Frozen, error)
	// Resume undoes Files, Freeze and Park, also those that failed. The reason says why the
	// take-over failed.
	Resume func(reason error)
	// Park is called after Freeze, right before the commit: the API accepts no more
	// connections. It returns at once. pid is the taker's, as for Leave.
	Park func(pid int)
	// Leave is called when the taker has settled. The process ends without telling
	// callers. pid is the taker's, 0 if it is in another PID namespace.
	Leave func(pid int)
}

// File is a descriptor with what it is. The names are the relay's.
type File struct {
	Kind  string `json:"kind"`
	Shard int    `json:"shard,omitempty"`
	Index int    `json:"index,omitempty"`
	Name  string `json:"name,omitempty"`
	FD    int    `json:"-"`
}

// Part is one part of a snapshot.
type Part struct {
	Name  string
	Shard int
	Data  []byte
}

// Frozen is the state of a frozen process.
type Frozen struct {
	Parts []Part
	// Files were opened after Offer.Files was called. The package owns them.
	Files []File
}

// Snapshot is a Frozen that has been read.
type Snapshot struct {
	Version  int
	FrozenAt time.Duration // CLOCK_MONOTONIC
	Frozen
}

// Hello is what a new process says of itself.
type Hello struct {
	Version   string
	Settings  map[string]string
	Snapshots []int // the versions that it can read
}

// Peer is the other process.
type Peer struct {
	PID      int // 0 if it is in another PID namespace
	Version  string
	Settings map[string]string
}

// String names the process in errors.
func (p Peer) String() string {
	if p.PID == 0 {
		return "the running relay (in another PID namespace)"
	}
	return fmt.Sprintf("the running relay (PID %d)", p.PID)
}
