package cluster

import (
	"bytes"
	"compress/flate"
	"crypto/rand"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"srtrelay/internal/message"
)

func someStreams(n int) (all []Stream) {
	for i := range n {
		all = append(all, Stream{
			Key: fmt.Sprintf("__defaultVhost__/live/stream-%d", i), Backend: fmt.Sprintf("origin-%d", i%3), Address: fmt.Sprintf("10.0.0.%d:10080", i%3),
			Sessions: uint32(i%7 + 1), Publishers: 1, Players: uint32(i % 7), In: uint64(5_000_000 - i), Out: uint64(i % 7 * 4_000_000),
			Age: time.Duration(i) * time.Second,
		})
	}
	return all
}

func TestSummary(t *testing.T) {
	for name, want := range map[string][]Stream{
		"none": nil,
		"one":  someStreams(1),
		"odd":  {{Key: "", Backend: "", Sessions: 1}, {Key: "\x00\xff", Backend: "b", Age: 1000 * time.Hour}},
		"many": someStreams(3000),
	} {
		text, listed := summarize(7, want)
		revision, got, err := readSummary(text)
		if err != nil || revision != 7 || listed != len(want) || len(got) != len(want) {
			t.Errorf("%s: %d streams listed, %d read, revision %d, %v", name, listed, len(got), revision, err)
			continue
		}
		byKey := func(a, b Stream) int { return strings.Compare(a.Key, b.Key) }
		want = slices.Clone(want)
		slices.SortFunc(want, byKey)
		slices.SortFunc(got, byKey)
		if len(want) > 0 && !reflect.DeepEqual(got, want) {
			t.Errorf("%s: read back differently", name)
		}
	}
}

// What does not fit is left out, the streams with least traffic first.
func TestSummaryIsBounded(t *testing.T) {
	text, listed := summarize(1, someStreams(MaxStreams+500))
	_, got, err := readSummary(text)
	if err != nil || listed != MaxStreams || len(got) != MaxStreams || len(text) > MaxSummary {
		t.Errorf("%d listed, %d read of %d bytes, %v", listed, len(got), len(text), err)
	}
	for _, s := range got[:10] {
		if s.Out != 24_000_000 {
			t.Errorf("%+v comes before those with more traffic", s)
		}
	}
	random := make([]Stream, MaxStreams)
	for i := range random {
		key := make([]byte, maxKey)
		_, _ = rand.Read(key)
		random[i] = Stream{Key: string(key), Backend: "b", Sessions: 1}
	}
	text, listed = summarize(1, random)
	_, got, err = readSummary(text)
	if err != nil || listed == 0 || listed != len(got) || len(text) > MaxSummary {
		t.Errorf("random keys: %d listed, %d read of %d bytes, %v", listed, len(got), len(text), err)
	}
}

func TestWrongSummariesAreRefused(t *testing.T) {
	good, _ := summarize(1, someStreams(3))
	stream := func(fill func([]byte) []byte) []byte {
		b, mark := message.Open(nil, summaryStream)
		return pack(message.Close(fill(b), mark))
	}
	// 1 MiB, compressed once: behind a flush follow as many copies as one likes.
	var zeros bytes.Buffer
	w, _ := flate.NewWriter(&zeros, flate.BestCompression)
	_, _ = w.Write(make([]byte, 1<<20))
	_ = w.Flush()
	flushed := zeros.Len()
	_ = w.Close()
	one, end := zeros.Bytes()[:flushed], zeros.Bytes()[flushed:]
	for name, text := range map[string][]byte{
		"nothing":              {},
		"another version":      append([]byte{summaryVersion + 1}, good[1:]...),
		"cut":                  good[:len(good)/2],
		"not compressed":       append([]byte{summaryVersion}, "srt"...),
		"too long":             make([]byte, MaxSummary+1),
		"64 MiB of zeros":      slices.Concat([]byte{summaryVersion}, bytes.Repeat(one, 64), end),
		"garbage":              pack([]byte{0xff, 0xff, 0xff}),
		"a backend that lacks": stream(func(b []byte) []byte { return message.AppendUint(b, streamBackend, uint32(1)) }),
		"a long key":           stream(func(b []byte) []byte { return message.AppendBytes(b, streamKey, make([]byte, maxKey+1)) }),
		"a huge number":        stream(func(b []byte) []byte { return message.AppendUint(b, streamSessions, uint64(1)<<40) }),
		"too many streams":     pack(bytes.Repeat([]byte{byte(summaryStream)<<3 | 2, 0}, MaxStreams+1)),
		"too many backends":    pack(bytes.Repeat([]byte{byte(summaryBackend)<<3 | 2, 0}, MaxStreams+1)),
	} {
		if _, list, err := readSummary(text); err == nil || list != nil {
			t.Errorf("%s: %d streams, %v", name, len(list), err)
		}
	}
}

func FuzzSummary(f *testing.F) {
	good, _ := summarize(1, someStreams(3))
	f.Add(good)
	f.Add([]byte{summaryVersion})
	f.Fuzz(func(t *testing.T, text []byte) {
		_, list, err := readSummary(text)
		if err != nil && list != nil || len(list) > MaxStreams {
			t.Errorf("%d streams, %v", len(list), err)
		}
		// What is inside need not be found by the compression.
		if _, _, err := readSummary(pack(text)); err == nil && len(text) > maxUnpacked {
			t.Error("too long")
		}
	})
}
