//go:build linux

package soak

import (
	"bytes"
	"context"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"srtrelay/bench/peers"
	"srtrelay/bench/rig"
)

// readers play operators and their tools, which call the relay's API all the time.
type readers struct {
	api                                    *peers.API
	answered, unanswered, events, captured atomic.Uint64
	loops                                  sync.WaitGroup
	stop                                   context.CancelFunc
}

// askEvery is the interval of each kind of request.
const askEvery = time.Second

// capturePath captures three of the streams that stay, 5 s at a time.
const capturePath = "/api/v1/capture?seconds=5&payload=true&wait=true" +
	"&stream=__defaultVhost__/live/s0&stream=__defaultVhost__/live/s1&stream=__defaultVhost__/live/s2"

func startReaders(ctx context.Context, api *peers.API) *readers {
	ctx, cancel := context.WithCancel(ctx)
	r := &readers{api: api, stop: cancel}
	for _, path := range []string{"/metrics", "/api/v1/streams?limit=50", "/api/v1/sessions?limit=100", "/api/v1/backends"} {
		r.loops.Go(func() {
			for rig.Pause(ctx, askEvery) == nil {
				r.count(r.api.Get(path))
			}
		})
	}
	r.loops.Go(func() { r.follow(ctx, "/api/v1/events", &r.events, []byte("\n\n")) })
	r.loops.Go(func() { r.follow(ctx, capturePath, &r.captured, nil) })
	return r
}

func (r *readers) count(_ []byte, err error) {
	if err != nil {
		r.unanswered.Add(1)
		return
	}
	r.answered.Add(1)
}

// follow reads an endless answer, and calls again when it ends. It counts a word in the
// answer, or bytes.
func (r *readers) follow(ctx context.Context, path string, count *atomic.Uint64, word []byte) {
	piece := make([]byte, 32<<10)
	for rig.Pause(ctx, askEvery) == nil {
		body, err := r.api.Open(ctx, path)
		if ctx.Err() != nil {
			return
		}
		r.count(nil, err)
		if err != nil {
			continue
		}
		for {
			n, err := body.Read(piece)
			if word == nil {
				count.Add(uint64(n))
			} else {
				count.Add(uint64(bytes.Count(piece[:n], word)))
			}
			if err != nil {
				break
			}
		}
		_, _ = io.Copy(io.Discard, body)
		_ = body.Close()
	}
}

func (r *readers) end() {
	r.stop()
	r.loops.Wait()
}
