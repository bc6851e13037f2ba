package srt

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"srtrelay/wire"
)

// Request is what a caller of the load asks of a sink by its stream ID.
type Request struct {
	Stream    string // vhost-less resource, like bench/s17
	Play      bool
	Rate      float64       // data packets per second that the caller wants
	Count     uint64        // of them in all, 0 for no end; sinks do not count
	Keepalive time.Duration // both sides'; 0 for the sink's own
}

// StreamID is the request in the form that the relay and SRS read.
func (r Request) StreamID() string {
	var b strings.Builder
	b.WriteString("#!::r=" + r.Stream)
	if r.Play {
		b.WriteString(",m=request")
	} else {
		b.WriteString(",m=publish")
	}
	if r.Play || r.Rate > 0 {
		b.WriteString(",pps=" + strconv.FormatFloat(r.Rate, 'g', -1, 64))
	}
	if r.Count > 0 {
		b.WriteString(",count=" + strconv.FormatUint(r.Count, 10))
	}
	if r.Keepalive > 0 {
		b.WriteString(",ka=" + strconv.FormatInt(r.Keepalive.Milliseconds(), 10))
	}
	return b.String()
}

// maxRate is more than one thread sends; a request for more is a mistake.
const maxRate = 10e6

// ReadRequest reads a stream ID. That of another caller is a request for its stream alone.
func ReadRequest(streamID string) (r Request, err error) {
	list, ok := strings.CutPrefix(streamID, "#!::")
	if !ok {
		return Request{Stream: streamID}, nil
	}
	for pair := range strings.SplitSeq(list, ",") {
		key, value, _ := strings.Cut(pair, "=")
		switch key {
		case "r":
			r.Stream = value
		case "m":
			r.Play = value == "request"
		case "pps":
			r.Rate, err = strconv.ParseFloat(value, 64)
			if err != nil || !(r.Rate >= 0 && r.Rate <= maxRate) {
				return r, fmt.Errorf("stream ID: pps: %q is not a rate", value)
			}
		case "count":
			if r.Count, err = strconv.ParseUint(value, 10, 62); err != nil {
				return r, fmt.Errorf("stream ID: count: %q is not a number of packets", value)
			}
		case "ka":
			ms, err := strconv.ParseUint(value, 10, 31)
			if err != nil || ms == 0 {
				return r, fmt.Errorf("stream ID: ka: %q is not a time in ms", value)
			}
			r.Keepalive = time.Duration(ms) * time.Millisecond
		}
	}
	return r, nil
}

// StreamIDOf returns the stream ID of a CONCLUSION, the last one as libsrt does.
func StreamIDOf(h wire.Handshake) (id string) {
	if h.Extension()&wire.FlagConfig == 0 {
		return ""
	}
	for b := range h.Blocks {
		if b.Type == wire.BlockSID && !b.Cut {
			id = b.String()
		}
	}
	return id
}
