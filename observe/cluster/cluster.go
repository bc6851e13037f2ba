// Package cluster is what the relays that share a store tell each other, so that one of
// them can show all: each relay's presence with its sums, and a summary of its streams.
//
// A relay writes its reports with Run, off the path of datagrams, and reads those of the
// others. What others have written is not trusted: sizes are bounded, and a report that
// cannot be read counts as such and harms nothing else. Ages are those of the store's
// clock, because the clocks of relays may differ.
//
// The package must not know what the store is (balancer/redis) nor where a relay's numbers
// come from (relay).
package cluster

import (
	"context"
	"errors"
	"time"
)

// Times of reports.
const (
	// Interval is the time between two reports of a relay.
	Interval = 2 * time.Second
	// AwayAfter is how old a relay's last report is when the relay counts as away: two
	// reports may be lost.
	AwayAfter = 3 * Interval
	// KnownFor is how long a relay that is away is listed.
	KnownFor = time.Hour
	// StreamsFor is how long the summary of a relay's streams outlives its last report.
	StreamsFor = 5 * time.Minute
)

// Bounds of reports, for the writer and the reader.
const (
	// MaxRelays is how many relays are shown.
	MaxRelays = 64
	// MaxInfo is the longest presence report, in bytes.
	MaxInfo = 4 << 10
	// MaxStreams is how many streams a summary has; those with most sessions and the
	// highest bitrates come first.
	MaxStreams = 10_000
	// MaxSummary is the longest summary, in bytes; maxUnpacked before it is compressed.
	MaxSummary  = 1 << 20
	maxUnpacked = 4 << 20
	// maxPlaces is how many streams of all relays together are kept, maxKeyBytes how many
	// bytes their keys may have.
	maxPlaces   = 100_000
	maxKeyBytes = 16 << 20
)

// ErrAway means that the store cannot be reached at present.
var ErrAway = errors.New("the shared state is away")

// Info is what a relay says of itself. Its JSON is a contract between relays of different
// versions: fields are only added.
type Info struct {
	Name    string `json:"name,omitempty"`
	Version string `json:"version,omitempty"`
	// API is the URL of the relay's API, "" if other hosts cannot reach it.
	API string `json:"api,omitempty"`
	// Forward is the address at which the relay takes datagrams that another relay has
	// received, "" for none.
	Forward string `json:"forward,omitempty"`
	// Place is the same for a relay and for the one that is started again in its place: its
	// host, network namespace and addresses, hashed.
	Place string `json:"place,omitempty"`
	// UptimeSeconds is how long the relay has run: unlike a time it needs no clock that
	// relays share.
	UptimeSeconds float64 `json:"uptime_seconds"`
	Shards        int     `json:"shards"`
	Sums
	// Draining is true while the relay takes no new callers because it is to stop.
	Draining bool `json:"draining,omitempty"`
	// Overload is the step of the overload ladder that is in force, "" for none.
	Overload string `json:"overload,omitempty"`
	// Revision is that of the summary of streams, Listed how many streams it has.
	Revision uint64 `json:"revision,omitempty"`
	Listed   int    `json:"listed,omitempty"`
}

// Sums are the sums over the streams of a relay.
type Sums struct {
	Sessions   int     `json:"sessions"`
	Streams    int     `json:"streams"`
	Publishers int     `json:"publishers"`
	Players    int     `json:"players"`
	BitrateIn  float64 `json:"bitrate_in_bps"`
	BitrateOut float64 `json:"bitrate_out_bps"`
}

// Stream is a stream of a relay's summary.
type Stream struct {
	Key string
	// Backend is the ID of its backend, Address the backend's address.
	Backend, Address              string
	Sessions, Publishers, Players uint32
	// In comes from publishers, Out goes to players, in bit/s.
	In, Out uint64
	// Age is how long its oldest session has run.
	Age time.Duration
}

// Report is what a relay reports at one time.
type Report struct {
	Info
	// List has the streams, in any order.
	List []Stream
}

// Add adds a stream to the list and the sums.
func (r *Report) Add(s Stream) {
	r.List = append(r.List, s)
	r.Streams++
	r.Sessions += int(s.Sessions)
	r.Publishers += int(s.Publishers)
	r.Players += int(s.Players)
	r.BitrateIn += float64(s.In)
	r.BitrateOut += float64(s.Out)
}

// Stored is a presence report as the store has it.
type Stored struct {
	ID   string
	Info []byte
	// Age is how long ago it was written, by the store's clock.
	Age time.Duration
}

// Store keeps the reports; see redis.Balancer. Every method returns soon, with ErrAway if
// the store cannot be reached. Any goroutine may call them.
type Store interface {
	// RelayID is the ID under which this relay reports.
	RelayID() string
	// State reports whether the store is in use, since when that is so, and why it is not.
	State() (inUse bool, since time.Time, detail string)
	// WriteReport writes this relay's presence and, unless it is nil, its summary.
	WriteReport(ctx context.Context, info, summary []byte) error
	// RemoveReport removes both: the relay has stopped in order.
	RemoveReport(ctx context.Context) error
	// ReadReports returns the presence of all relays seen within KnownFor, at most
	// MaxRelays, and how many were left out because they are too long or too many.
	ReadReports(ctx context.Context) (all []Stored, leftOut int, err error)
	// ReadSummaries returns the summaries of relays, nil for one that has none.
	ReadSummaries(ctx context.Context, ids []string) ([][]byte, error)
}
