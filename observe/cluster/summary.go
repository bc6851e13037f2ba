package cluster

import (
	"bytes"
	"cmp"
	"compress/flate"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"srtrelay/internal/message"
)

// summaryVersion begins a summary, before what is compressed.
const summaryVersion = 1

// Fields of a summary.
const (
	summaryRevision message.Number = 1
	summaryBackend  message.Number = 2 // before the streams that refer to it
	summaryStream   message.Number = 3
)

// Fields of a backend, and of a stream.
const (
	backendID      message.Number = 1
	backendAddress message.Number = 2

	streamKey        message.Number = 1
	streamBackend    message.Number = 2 // index of the backend plus 1
	streamSessions   message.Number = 3
	streamPublishers message.Number = 4
	streamPlayers    message.Number = 5
	streamIn         message.Number = 6
	streamOut        message.Number = 7
	streamAge        message.Number = 8 // in s
)

// Longest texts of a stream that are written and read, in bytes.
const (
	maxKey     = 1024
	maxBackend = 512
)

var errSummary = errors.New("not a summary of streams")

// summarize returns the summary of streams, and how many of them it has: as many as fit,
// those with most traffic first.
func summarize(revision uint64, list []Stream) (text []byte, listed int) {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b Stream) int {
		return cmp.Or(cmp.Compare(b.In+b.Out, a.In+a.Out), cmp.Compare(b.Sessions, a.Sessions), cmp.Compare(a.Key, b.Key))
	})
	list = list[:min(len(list), MaxStreams)]
	for {
		plain, n := appendSummary(nil, revision, list)
		if text = pack(plain); len(text) <= MaxSummary {
			return text, n
		}
		list = list[:n/2] // keys of random bytes
	}
}

// appendSummary appends the streams that fit into maxUnpacked, and returns how many.
func appendSummary(to []byte, revision uint64, list []Stream) (out []byte, listed int) {
	out = message.AppendUint(to, summaryRevision, revision)
	index := make(map[string]uint32)
	for i := range list {
		s := &list[i]
		if len(out) > maxUnpacked-2*(maxKey+2*maxBackend) {
			break
		}
		if len(s.Key) > maxKey || len(s.Backend) > maxBackend || len(s.Address) > maxBackend {
			continue
		}
		at := index[s.Backend]
		if at == 0 {
			at = uint32(len(index) + 1)
			index[s.Backend] = at
			b, mark := message.Open(out, summaryBackend)
			b = message.AppendBytes(b, backendID, s.Backend)
			out = message.Close(message.AppendBytes(b, backendAddress, s.Address), mark)
		}
		b, mark := message.Open(out, summaryStream)
		b = message.AppendBytes(b, streamKey, s.Key)
		b = message.AppendUint(b, streamBackend, at)
		b = message.AppendUint(b, streamSessions, s.Sessions)
		b = message.AppendUint(b, streamPublishers, s.Publishers)
		b = message.AppendUint(b, streamPlayers, s.Players)
		b = message.AppendUint(b, streamIn, s.In)
		b = message.AppendUint(b, streamOut, s.Out)
		out = message.Close(message.AppendUint(b, streamAge, uint64(max(s.Age, 0)/time.Second)), mark)
		listed++
	}
	return out, listed
}

func pack(plain []byte) []byte {
	var out bytes.Buffer
	out.WriteByte(summaryVersion)
	w, _ := flate.NewWriter(&out, flate.BestSpeed) // the level is valid
	_, _ = w.Write(plain)                          // a buffer does not fail
	_ = w.Close()
	return out.Bytes()
}

// readSummary returns the streams of a summary and its revision.
func readSummary(text []byte) (revision uint64, list []Stream, err error) {
	if len(text) == 0 || len(text) > MaxSummary || text[0] != summaryVersion {
		return 0, nil, errSummary
	}
	plain, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(text[1:])), maxUnpacked+1))
	if err != nil {
		return 0, nil, fmt.Errorf("%w: %w", errSummary, err)
	}
	if len(plain) > maxUnpacked {
		return 0, nil, fmt.Errorf("%w: longer than %d bytes", errSummary, maxUnpacked)
	}
	var backends [][2]string
	r := message.Read(plain)
	for r.Next() {
		switch r.Number() {
		case summaryRevision:
			revision = message.Uint[uint64](&r)
		case summaryBackend:
			if len(backends) == MaxStreams {
				r.Refuse("too many backends")
				break
			}
			backends = append(backends, readBackend(&r))
		case summaryStream:
			if len(list) == MaxStreams {
				r.Refuse("too many streams")
				break
			}
			list = append(list, readStream(&r, backends))
		}
	}
	if err := r.Err(); err != nil {
		return 0, nil, fmt.Errorf("%w: %w", errSummary, err)
	}
	return revision, list, nil
}

func readBackend(in *message.Reader) (b [2]string) {
	r := message.Read(in.Bytes())
	for r.Next() {
		switch r.Number() {
		case backendID:
			b[0] = textOf(&r, maxBackend)
		case backendAddress:
			b[1] = textOf(&r, maxBackend)
		}
	}
	in.Fail(r.Err())
	return b
}

func readStream(in *message.Reader, backends [][2]string) (s Stream) {
	r := message.Read(in.Bytes())
	for r.Next() {
		switch r.Number() {
		case streamKey:
			s.Key = textOf(&r, maxKey)
		case streamBackend:
			k := message.Uint[uint32](&r)
			if k == 0 || uint64(k) > uint64(len(backends)) {
				r.Refuse("no such backend")
				break
			}
			s.Backend, s.Address = backends[k-1][0], backends[k-1][1]
		case streamSessions:
			s.Sessions = message.Uint[uint32](&r)
		case streamPublishers:
			s.Publishers = message.Uint[uint32](&r)
		case streamPlayers:
			s.Players = message.Uint[uint32](&r)
		case streamIn:
			s.In = message.Uint[uint64](&r)
		case streamOut:
			s.Out = message.Uint[uint64](&r)
		case streamAge:
			s.Age = time.Duration(min(message.Uint[uint64](&r), math.MaxUint32)) * time.Second
		}
	}
	in.Fail(r.Err())
	return s
}

func textOf(r *message.Reader, longest int) string {
	b := r.Bytes()
	if len(b) > longest {
		r.Refuse("too long")
		return ""
	}
	return string(b)
}
