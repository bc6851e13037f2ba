package redis

import (
	"encoding/binary"
	"errors"
	"math"

	"srtrelay/balancer"
)

// Bounds of a notice, for who writes it and who reads it.
const (
	// noticeMost is how many bindings a notice names at most.
	noticeMost = 256
	// maxNotice is the longest notice that is read, in bytes: longer than 256
	// bindings of the longest keys to 256 servers.
	maxNotice = 512 << 10
	// maxHomeKey is the longest key of a stream that is taken, in bytes: a
	// stream ID has 512, and a vhost may be added to it.
	maxHomeKey = 1024

	noticeVersion = 1
)

// sighting says that a home has sessions at a server.
type sighting struct {
	home balancer.Home
	key  string // of the server
	// published says that a publisher is among them.
	published bool
}

var errNotice = errors.New("not a notice of bindings")

// The bits of a sighting's first number; the server's index is above them.
const (
	ofGroup     = 1 << 0
	isPublished = 1 << 1
	indexShift  = 2
)

// writeNotice appends the text of a notice: its version, the number of servers,
// their keys, and for each sighting the server's index with two flags and the
// stream's key or the group's ID. Numbers are uvarints, texts follow their
// length, since keys hold any byte.
func writeNotice(to []byte, all []sighting) []byte {
	index := make(map[string]uint64)
	var servers []string
	for _, s := range all {
		if _, has := index[s.key]; !has {
			index[s.key] = uint64(len(servers))
			servers = append(servers, s.key)
		}
	}
	to = binary.AppendUvarint(append(to, noticeVersion), uint64(len(servers)))
	for _, key := range servers {
		to = appendText(to, key)
	}
	for _, s := range all {
		first := index[s.key] << indexShift
		if s.published {
			first |= isPublished
		}
		if s.home.Group != 0 {
			to = binary.AppendUvarint(to, first|ofGroup)
			to = binary.AppendUvarint(to, uint64(s.home.Group))
			continue
		}
		to = appendText(binary.AppendUvarint(to, first), s.home.Key)
	}
	return to
}

func appendText(to []byte, text string) []byte {
	return append(binary.AppendUvarint(to, uint64(len(text))), text...)
}

// readNotice returns what a notice says. The texts are parts of the notice's.
func readNotice(text string) ([]sighting, error) {
	if len(text) > maxNotice || text == "" || text[0] != noticeVersion {
		return nil, errNotice
	}
	r := noticeReader{left: text[1:]}
	n := r.number(noticeMost)
	servers := make([]string, 0, n)
	for range n {
		servers = append(servers, r.text(maxKey))
	}
	var all []sighting
	for r.left != "" && !r.bad && len(all) < noticeMost {
		first := r.number(noticeMost << indexShift)
		s := sighting{published: first&isPublished != 0}
		if first&ofGroup != 0 {
			s.home.Group = uint32(r.number(math.MaxUint32))
		} else {
			s.home.Key = r.text(maxHomeKey)
		}
		at := first >> indexShift
		if r.bad || at >= uint64(len(servers)) || s.home == (balancer.Home{}) {
			return nil, errNotice
		}
		s.key = servers[at]
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
