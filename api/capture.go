package api

import (
	"context"
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

// Defaults and bounds of a capture.
const (
	defaultCaptureTime  = 60
	maxCaptureTime      = 3600 // seconds
	defaultCaptureBytes = 64 << 20
	minCaptureBytes     = 4 << 10
	maxCaptureBytes     = 4 << 30
	// defaultCaptureRate (datagrams/s) is several hundred Mbit/s of media, and costs
	// a shard a few percent of its core.
	defaultCaptureRate = 50_000
	// maxCaptured is how many streams, and how many sessions, a capture may name.
	maxCaptured = 64
	// captureWriteTimeout bounds one write of 64 KiB or less. While a write waits
	// for the client, the rings fill; datagrams that do not fit are left out.
	captureWriteTimeout = 30 * time.Second
)

// CaptureHandler answers GET /api/v1/capture with a pcapng file that grows until the
// capture ends. The HTTP trailers hold the reason and the counts.
func CaptureHandler(recorder *pcapng.Recorder, streams Streams, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		job, wait, err := captureJob(r.URL.RawQuery)
		if err != nil {
			writeError(w, http.StatusBadRequest, err.Error())
			return
		}
		missing, err := findStreams(r.Context(), streams, &job, wait)
		switch {
		case err != nil:
			unavailable(w, err.Error())
			return
		case missing != nil:
			noStream(w, *missing)
			return
		}
		recording, err := recorder.Begin(r.Context(), job)
		switch {
		case err == nil:
		case errors.Is(err, shard.ErrNoSession):
			writeError(w, http.StatusNotFound, "session: "+err.Error())
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
	to := deadlineWriter{w, http.NewResponseController(w)}
	sum, err := recording.Write(r.Context(), to, to.flush)
	header.Set("Capture-Ended", sum.Ended)
	header.Set("Capture-Packets", strconv.FormatUint(sum.Packets, 10))
	header.Set("Capture-Dropped", strconv.FormatUint(sum.Dropped, 10))
	return sum, err
}

// deadlineWriter sets a new write deadline before each write.
type deadlineWriter struct {
	http.ResponseWriter
	control *http.ResponseController
}

// Write implements io.Writer.
func (p deadlineWriter) Write(b []byte) (int, error) {
	_ = p.control.SetWriteDeadline(time.Now().Add(captureWriteTimeout))
	return p.ResponseWriter.Write(b)
}

func (p deadlineWriter) flush() error {
	_ = p.control.SetWriteDeadline(time.Now().Add(captureWriteTimeout))
	return p.control.Flush()
}

// findStreams replaces the names in a job by the keys of the streams that they mean. A
// name without a stream is missing, or if the capture is to wait for it, becomes all
// that it may mean.
func findStreams(ctx context.Context, streams Streams, job *pcapng.Job, wait bool) (missing *string, err error) {
	limited, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	var keys []string
	for _, name := range job.Filter.Streams {
		key, found, err := findStream(limited, streams, name)
		switch {
		case err != nil:
			return nil, err
		case found:
			keys = append(keys, key)
		case !wait:
			return &name, nil
		default:
			keys = append(keys, streamNames(name)...)
		}
	}
	slices.Sort(keys)
	job.Filter.Streams = slices.Compact(keys)
	job.Title = titleOf(job.Filter)
	return nil, nil
}

// captureJob reads a query. wait says that streams may be named that are not there yet.
func captureJob(raw string) (job pcapng.Job, wait bool, err error) {
	p := parseQuery(raw, "stream", "session", "payload", "seconds", "bytes", "rate", "wait")
	wait = p.word("wait", []string{"true", "false"}) == "true"
	job = pcapng.Job{
		Filter: capture.Filter{Streams: p.list("stream")}, // "" is the stream of the default route
		Keep: capture.Keep{
			Payload: p.word("payload", []string{"true", "false"}) == "true",
			Rate:    p.number("rate", 1, capture.MaxRate, defaultCaptureRate),
		},
		Time:  time.Duration(p.number("seconds", 1, maxCaptureTime, defaultCaptureTime)) * time.Second,
		Bytes: p.bytes("bytes", minCaptureBytes, maxCaptureBytes, defaultCaptureBytes),
	}
	for i, name := range job.Filter.Streams {
		job.Filter.Streams[i] = answer.Unescape(name)
	}
	for _, text := range p.list("session") {
		id, err := shard.ParseSessionID(text)
		if err != nil {
			p.invalid("session", err.Error())
		}
		job.Filter.Sessions = append(job.Filter.Sessions, capture.Session(id))
	}
	if job.Title = titleOf(job.Filter); job.Title == "" {
		p.invalid("stream", "missing, name a stream or a session")
	}
	return job, wait, p.err
}

// titleOf names the streams and sessions that a filter selects.
func titleOf(f capture.Filter) string {
	var titles []string
	for _, key := range f.Streams {
		titles = append(titles, "stream "+strconv.Quote(key))
	}
	for _, id := range f.Sessions {
		titles = append(titles, "session "+strconv.Quote(shard.SessionID(id).String()))
	}
	return strings.Join(titles, ", ")
}

// list returns the values of a repeatable parameter, without duplicates.
func (p *parameters) list(name string) []string {
	all := slices.Clone(p.values[name])
	if len(all) > maxCaptured {
		p.invalid(name, fmt.Sprintf("given %d times, at most %d", len(all), maxCaptured))
		return nil
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// bytes returns a size within bounds, or byDefault if the parameter is missing.
func (p *parameters) bytes(name string, least, most, byDefault int64) int64 {
	t := p.text(name)
	if t == "" {
		return byDefault
	}
	digits, factor := strings.ToLower(t), int64(1)
	for suffix, unit := range map[string]int64{"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30} {
		if number, ok := strings.CutSuffix(digits, suffix); ok {
			digits, factor = number, unit
		}
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || n > math.MaxInt64/uint64(factor) || int64(n)*factor < least || int64(n)*factor > most {
		p.invalid(name, fmt.Sprintf("%q is not a size within %d and %d, write it like 64MiB or in bytes", t, least, most))
		return byDefault
	}
	return int64(n) * factor
}
