package srt

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"srtrelay/wire"
)

// Wish is what a caller of the load asks of a sink, told in its stream ID.
type Wish struct {
	Stream    string // vhost-less resource, like bench/s17
	Play      bool
	Rate      float64       // data packets per second that the caller wants
	Count     uint64        // of them in all, 0 for no end; sinks do not count
	Keepalive time.Duration // both sides'; 0 for the sink's own
}

// StreamID is the wish in the form that the relay and SRS read.
func (w Wish) StreamID() string {
	var b strings.Builder
	b.WriteString("#!::r=" + w.Stream)
	if w.Play {
		b.WriteString(",m=request")
	} else {
		b.WriteString(",m=publish")
	}
	if w.Play || w.Rate > 0 {
		b.WriteString(",pps=" + strconv.FormatFloat(w.Rate, 'g', -1, 64))
	}
	if w.Count > 0 {
		b.WriteString(",count=" + strconv.FormatUint(w.Count, 10))
	}
	if w.Keepalive > 0 {
		b.WriteString(",ka=" + strconv.FormatInt(w.Keepalive.Milliseconds(), 10))
	}
	return b.String()
}

// maxRate is more than one thread sends; a wish for more is a mistake.
const maxRate = 10e6

// ReadWish reads a stream ID; one of other callers is a wish for nothing.
func ReadWish(streamID string) (w Wish, err error) {
	list, ok := strings.CutPrefix(streamID, "#!::")
	if !ok {
		return Wish{Stream: streamID}, nil
	}
	for pair := range strings.SplitSeq(list, ",") {
		key, value, _ := strings.Cut(pair, "=")
		switch key {
		case "r":
			w.Stream = value
		case "m":
			w.Play = value == "request"
		case "pps":
			w.Rate, err = strconv.ParseFloat(value, 64)
			if err != nil || !(w.Rate >= 0 && w.Rate <= maxRate) {
				return w, fmt.Errorf("stream ID: pps: %q is not a rate", value)
			}
		case "count":
			if w.Count, err = strconv.ParseUint(value, 10, 62); err != nil {
				return w, fmt.Errorf("stream ID: count: %q is not a number of packets", value)
			}
		case "ka":
			ms, err := strconv.ParseUint(value, 10, 31)
			if err != nil || ms == 0 {
				return w, fmt.Errorf("stream ID: ka: %q is not a time in ms", value)
			}
			w.Keepalive = time.Duration(ms) * time.Millisecond
		}
	}
	return w, nil
}

// StreamIDOf finds the stream ID of a CONCLUSION; libsrt lets the last win.
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
