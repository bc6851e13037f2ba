package streams

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"srtrelay/internal/message"
)

// snapshotVersion is the version of what Watch.AppendSnapshot writes.
const snapshotVersion = 1

// maxSnapshot bounds the histories that are handed on, in bytes, because the shards wait
// meanwhile: those of some 2,800 streams. Others begin anew.
const maxSnapshot = 8 << 20

// Fields of the snapshot of a Watch.
const (
	watchTicked message.Number = 2
	watchStream message.Number = 3
)

// Fields of a stream's history.
const (
	historyKey     message.Number = 1
	historyLast    message.Number = 2
	historySamples message.Number = 3 // the oldest first; each has its values as little-endian float32
)

const sampleSize = 4 * values

// AppendSnapshot appends the streams' histories. boot is when CLOCK_MONOTONIC was 0, by
// the clock of this process.
func (w *Watch) AppendSnapshot(b []byte, boot time.Time) []byte {
	w.mu.RLock()
	defer w.mu.RUnlock()
	from := len(b)
	b = message.AppendVersion(b, snapshotVersion)
	b = message.AppendInstant(b, watchTicked, w.ticked, boot)
	for _, s := range w.streams.list {
		if s.history == nil {
			continue
		}
		if len(b)-from > maxSnapshot {
			break
		}
		out, mark := message.Open(b, watchStream)
		out = message.AppendBytes(out, historyKey, s.key)
		out = message.AppendInstant(out, historyLast, s.history.last, boot)
		b = message.Close(message.AppendBytes(out, historySamples, s.history.bytes()), mark)
	}
	return b
}

// bytes returns the samples, the oldest first.
func (h *history) bytes() []byte {
	text := make([]byte, 0, sampleSize*historyLength)
	for i := range h.n {
		for _, x := range &h.ring[(h.at-h.n+i+historyLength)%historyLength] {
			text = binary.LittleEndian.AppendUint32(text, math.Float32bits(x))
		}
	}
	return text
}

// Restore goes on with the histories of another Watch, before Run begins. The samples of
// the take-over itself are those of the first second after it. After an error nothing has
// changed.
func (w *Watch) Restore(b []byte, boot time.Time) error {
	var streams streamSet
	ticked := time.Time{}
	r, err := message.ReadVersion(b, snapshotVersion, snapshotVersion)
	for err == nil && r.Next() {
		switch r.Number() {
		case watchTicked:
			ticked = r.Instant(boot)
		case watchStream:
			key, h := readHistory(&r, boot)
			if len(streams.list) >= maxHistories || streams.byKey[key] != nil {
				r.Refuse("a stream twice, or too many")
				continue
			}
			streams.add(key).history = h
		}
	}
	if err == nil {
		err = r.Err()
	}
	if err != nil {
		return fmt.Errorf("snapshot of the streams: %w", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.streams, w.histories = streams, len(streams.list)
	w.ticked, w.resuming = ticked, !ticked.IsZero()
	return nil
}

func readHistory(in *message.Reader, boot time.Time) (key string, h *history) {
	h = new(history)
	r := message.Read(in.Bytes())
	for r.Next() {
		switch r.Number() {
		case historyKey:
			key = r.String()
		case historyLast:
			h.last = r.Instant(boot)
		case historySamples:
			text := r.Bytes()
			if len(text)%sampleSize != 0 || len(text) > sampleSize*historyLength {
				r.Refuse("no samples")
				break
			}
			for ; len(text) > 0; text = text[sampleSize:] {
				h.put(readSample(text), 1)
			}
		}
	}
	in.Fail(r.Err())
	return key, h
}

// readSample returns the sample at the beginning of text. A value that is infinite is
// unknown.
func readSample(text []byte) *second {
	var s second
	for k := range s {
		s[k] = math.Float32frombits(binary.LittleEndian.Uint32(text[4*k:]))
		if math.IsInf(float64(s[k]), 0) {
			s[k] = nan
		}
	}
	return &s
}
