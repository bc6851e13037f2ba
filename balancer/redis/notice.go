package redis

import (
	"encoding/binary"
	"errors"
	"math"

	"srtrelay/balancer"
)

// Bounds of a notice, for the writer and the reader.
const (
	// maxBindings is how many bindings a notice names at most.
	maxBindings = 256
	// maxNotice is the longest notice that is read, in bytes: more than maxBindings of
	// the longest keys to as many servers have.
	maxNotice = 512 << 10
	// maxStreamKey is the longest key of a stream that is read, in bytes: twice the
	// longest stream ID, because a vhost may be added to it.
	maxStreamKey = 1024

	noticeVersion = 1
)

// announcement says that a key has sessions at a server.
type announcement struct {
	key    balancer.AffinityKey
	server string // its key
	// published means that one of the sessions is a publisher.
	published bool
}

var errNotice = errors.New("not a notice of bindings")

// The bits of an announcement's first number; the server's index is above them.
const (
	ofGroup     = 1 << 0
	isPublished = 1 << 1
	indexShift  = 2
)

// writeNotice appends the text of a notice: its version, the number of servers,
// their keys, and for each announcement the server's index with two flags and the
// stream's key or the group's ID. Numbers are uvarints. A text follows its length,
// because keys can contain any byte.
func writeNotice(to []byte, all []announcement) []byte {
	index := make(map[string]uint64)
	var servers []string
	for _, s := range all {
		if _, has := index[s.server]; !has {
			index[s.server] = uint64(len(servers))
			servers = append(servers, s.server)
		}
	}
	to = binary.AppendUvarint(append(to, noticeVersion), uint64(len(servers)))
	for _, key := range servers {
		to = appendText(to, key)
	}
	for _, s := range all {
		first := index[s.server] << indexShift
		if s.published {
			first |= isPublished
		}
		if s.key.Group != 0 {
			to = binary.AppendUvarint(to, first|ofGroup)
			to = binary.AppendUvarint(to, uint64(s.key.Group))
			continue
		}
		to = appendText(binary.AppendUvarint(to, first), s.key.Stream)
	}
	return to
}

func appendText(to []byte, text string) []byte {
	return append(binary.AppendUvarint(to, uint64(len(text))), text...)
}

// readNotice returns what a notice says. Its texts are substrings of the notice.
func readNotice(text string) ([]announcement, error) {
	if len(text) > maxNotice || text == "" || text[0] != noticeVersion {
		return nil, errNotice
	}
	r := noticeReader{left: text[1:]}
	n := r.number(maxBindings)
	servers := make([]string, 0, n)
	for range n {
		servers = append(servers, r.text(maxKey))
	}
	var all []announcement
	for r.left != "" && !r.bad && len(all) < maxBindings {
		first := r.number(maxBindings << indexShift)
		s := announcement{published: first&isPublished != 0}
		if first&ofGroup != 0 {
			s.key.Group = uint32(r.number(math.MaxUint32))
		} else {
			s.key.Stream = r.text(maxStreamKey)
		}
		at := first >> indexShift
		if r.bad || at >= uint64(len(servers)) || s.key == (balancer.AffinityKey{}) {
			return nil, errNotice
		}
		s.server = servers[at]
		all = append(all, s)
	}
	if r.bad || r.left != "" {
		return nil, errNotice
	}
	return all, nil
}

type noticeReader struct {
	left string
	bad  bool
}

// number reads a number of at most most; 0 if there is none.
func (r *noticeReader) number(most uint64) uint64 {
	var n uint64
	for i := 0; i < len(r.left) && i < binary.MaxVarintLen64; i++ {
		c := r.left[i]
		n |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			r.left = r.left[i+1:]
			if n <= most {
				return n
			}
			break
		}
	}
	r.bad = true
	return 0
}

func (r *noticeReader) text(most uint64) string {
	n := r.number(most)
	if r.bad || n > uint64(len(r.left)) {
		r.bad = true
		return ""
	}
	text := r.left[:n]
	r.left = r.left[n:]
	return text
}
