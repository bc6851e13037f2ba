package client

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// CaptureQuery says what to capture. Zero bounds are left to the relay.
type CaptureQuery struct {
	Streams  []string // affinity keys, "" being the default route's
	Sessions []string
	Payload  bool
	Duration time.Duration // whole seconds
	Bytes    int64
	Rate     int // datagrams per second
}

// Capture starts a capture and returns the pcapng file as it grows. Whoever
// calls closes it; ctx ends the capture.
func (c *Client) Capture(ctx context.Context, q CaptureQuery) (*Recording, error) {
	ask := query{}.number("seconds", int(q.Duration/time.Second)).number("rate", q.Rate).values()
	if len(q.Streams) > 0 {
		ask["stream"] = q.Streams
	}
	if len(q.Sessions) > 0 {
		ask["session"] = q.Sessions
	}
	if q.Payload {
		ask.Set("payload", "true")
	}
	if q.Bytes > 0 {
		ask.Set("bytes", strconv.FormatInt(q.Bytes, 10))
	}
	response, err := c.open(ctx, "/api/v1/capture", ask, http.Header{},
		"application/x-pcapng", "application/vnd.tcpdump.pcap", "application/octet-stream")
	if err != nil {
		return nil, err
	}
	return &Recording{response, c.api}, nil
}

// Recording is a capture that runs. One goroutine reads and closes it.
type Recording struct {
	response *http.Response
	api      string
}

// Read implements io.Reader.
func (r *Recording) Read(p []byte) (int, error) {
	n, err := r.response.Body.Read(p)
	if err != nil && err != io.EOF {
		err = fmt.Errorf("read the capture of %s: %w", r.api, err)
	}
	return n, err
}

// Close ends the capture.
func (r *Recording) Close() error { return r.response.Body.Close() }

// End is what the relay says after the last byte: why the capture is over, ""
// before that or if it was cut off, and how many datagrams it left out.
func (r *Recording) End() (reason string, dropped uint64) {
	dropped, err := strconv.ParseUint(r.response.Trailer.Get("Capture-Dropped"), 10, 64)
	if err != nil {
		return "", 0
	}
	return r.response.Trailer.Get("Capture-Ended"), dropped
}
