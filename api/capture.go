package api

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"srtrelay/api/answer"
	"srtrelay/observe/capture"
	"srtrelay/observe/capture/pcapng"
	"srtrelay/shard"
)

// Bounds of a capture, and what it is unless told.
const (
	captureTime     = 60
	maxCaptureTime  = 3600 // seconds
	captureBytes    = 64 << 20
	minCaptureBytes = 4 << 10
	maxCaptureBytes = 4 << 30
	// captureRate is several hundred Mbit/s of media, and costs a shard a few
	// percent of its core.
	captureRate = 50_000
	// maxCaptured is how many streams, and sessions, one capture may name.
	maxCaptured = 64
	// captureStall is how long a client may take over one write, 64 KiB or
	// less. Meanwhile the rings fill, and what does not fit is left out.
	captureStall = 30 * time.Second
)

// Captures answers GET /api/v1/capture with a pcapng file that grows until the
// capture is over. How it went is in the trailers.
func Captures(recorder *pcapng.Recorder, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		job, err := captureJob(r.URL.RawQuery)
		if err != nil {
			fail(w, http.StatusBadRequest, err.Error())
			return
		}
		recording, err := recorder.Begin(r.Context(), job)
		switch {
		case err == nil:
		case errors.Is(err, shard.ErrNoSession):
			fail(w, http.StatusNotFound, "session: "+err.Error())
			return
		default:
			unavailable(w, err.Error())
			return
		}
		defer recording.Close()
		log.Info("capture begins", "client", r.RemoteAddr, "of", job.Title, "payload", job.Keep.Payload)
		sum, err := sendCapture(w, r, recording)
		attrs := []any{
			"client", r.RemoteAddr, "of", job.Title, "reason", sum.Ended,
			"packets", sum.Packets, "dropped", sum.Dropped, "bytes", sum.Bytes,
		}
		if err != nil {
			attrs = append(attrs, "error", err)
		}
		log.Info("capture ends", attrs...)
	})
}

func sendCapture(w http.ResponseWriter, r *http.Request, recording *pcapng.Recording) (pcapng.Summary, error) {
	header := w.Header()
	header.Set("Content-Type", "application/x-pcapng")
	header.Set("Content-Disposition", "attachment; filename=srtrelay-"+time.Now().UTC().Format("20060102-150405")+".pcapng")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Trailer", "Capture-Ended, Capture-Packets, Capture-Dropped")
	to := patient{w, http.NewResponseController(w)}
	sum, err := recording.Write(r.Context(), to, to.flush)
	header.Set("Capture-Ended", sum.Ended)
	header.Set("Capture-Packets", strconv.FormatUint(sum.Packets, 10))
	header.Set("Capture-Dropped", strconv.FormatUint(sum.Dropped, 10))
	return sum, err
}

// patient gives the client its time for each write anew.
type patient struct {
	http.ResponseWriter
	control *http.ResponseController
}

// Write implements io.Writer.
func (p patient) Write(b []byte) (int, error) {
	_ = p.control.SetWriteDeadline(time.Now().Add(captureStall))
	return p.ResponseWriter.Write(b)
}

func (p patient) flush() error {
	_ = p.control.SetWriteDeadline(time.Now().Add(captureStall))
	return p.control.Flush()
}

func captureJob(raw string) (pcapng.Job, error) {
	p := parseQuery(raw, "stream", "session", "payload", "seconds", "bytes", "rate")
	job := pcapng.Job{
		Filter: capture.Filter{Streams: p.list("stream")}, // "" is a stream too, the default route's
		Keep: capture.Keep{
			Payload: p.word("payload", []string{"true", "false"}) == "true",
			Rate:    p.number("rate", 1, capture.MaxRate, captureRate),
		},
		Time:  time.Duration(p.number("seconds", 1, maxCaptureTime, captureTime)) * time.Second,
		Bytes: p.bytes("bytes", minCaptureBytes, maxCaptureBytes, captureBytes),
	}
	var titles []string
	for i, key := range job.Filter.Streams {
		key = answer.Unescape(key)
		job.Filter.Streams[i] = key
		titles = append(titles, "stream "+strconv.Quote(key))
	}
	for _, text := range p.list("session") {
		id, err := shard.ParseSessionID(text)
		if err != nil {
			p.blame("session", err.Error())
		}
		job.Filter.Sessions = append(job.Filter.Sessions, capture.Session(id))
		titles = append(titles, "session "+strconv.Quote(text))
	}
	if len(titles) == 0 {
		p.blame("stream", "missing, name a stream or a session")
	}
	job.Title = strings.Join(titles, ", ")
	return job, p.err
}

// list returns a parameter that may be given several times, each value once.
func (p *parameters) list(name string) []string {
	all := slices.Clone(p.values[name])
	if len(all) > maxCaptured {
		p.blame(name, fmt.Sprintf("given %d times, at most %d", len(all), maxCaptured))
		return nil
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// bytes returns a size within bounds, or what it is unless told.
func (p *parameters) bytes(name string, least, most, unlessTold int64) int64 {
	t := p.text(name)
	if t == "" {
		return unlessTold
	}
	digits, factor := strings.ToLower(t), int64(1)
	for suffix, unit := range map[string]int64{"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30} {
		if number, ok := strings.CutSuffix(digits, suffix); ok {
			digits, factor = number, unit
		}
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || n > math.MaxInt64/uint64(factor) || int64(n)*factor < least || int64(n)*factor > most {
		p.blame(name, fmt.Sprintf("%q is not a size within %d and %d, write it like 64MiB or in bytes", t, least, most))
		return unlessTold
	}
	return int64(n) * factor
}
