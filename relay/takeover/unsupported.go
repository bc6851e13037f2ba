//go:build !linux

package takeover

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"srtrelay/internal/supervise"
)

// Off Linux this package only compiles, for editors and for tools that read code.

var errUnsupported = errors.New("a take-over needs Linux")

type (
	Giver struct{}
	Taker struct{}
)

func Listen(string, Offer, *slog.Logger, *supervise.Supervisor) (*Giver, error) {
	return nil, errUnsupported
}

func Connect(context.Context, string, Hello, *supervise.Supervisor) (*Taker, error) {
	return nil, errUnsupported
}

func CloseFiles([]File) {}

func (g *Giver) Run(context.Context)                        {}
func (t *Taker) Giver() Peer                                { return Peer{} }
func (t *Taker) Files() []File                              { return nil }
func (t *Taker) Snapshot(context.Context) (Snapshot, error) { return Snapshot{}, errUnsupported }
func (t *Taker) Commit(context.Context) error               { return errUnsupported }
func (t *Taker) Abandon(error)                              {}

func (t *Taker) Settle(context.Context, func() bool, Offer, *slog.Logger) (*Giver, error) {
	return nil, errUnsupported
}

func monotonic() time.Duration { return 0 }
