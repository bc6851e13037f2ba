package rules

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"srtrelay/internal/bitrate"
)

// Amount is a limit in the rules: a number, or none, or 0 for what the rules leave open.
type Amount int64

// Unlimited is the amount of a limit that is none.
const Unlimited Amount = -1

// Or returns the amount, 0 for none; otherwise if the rules leave it open.
func (a Amount) Or(otherwise int64) int64 {
	switch a {
	case 0:
		return otherwise
	case Unlimited:
		return 0
	}
	return int64(a)
}

// over returns a, or b if a is left open.
func (a Amount) over(b Amount) Amount {
	if a == 0 {
		return b
	}
	return a
}

// SourceLimits are what a caller's address, or its subnet, may have.
type SourceLimits struct {
	Sessions, Handshakes Amount
	Connects             Amount // per second
	Bitrate              Amount // bit/s
}

func (l SourceLimits) over(b SourceLimits) SourceLimits {
	return SourceLimits{l.Sessions.over(b.Sessions), l.Handshakes.over(b.Handshakes), l.Connects.over(b.Connects), l.Bitrate.over(b.Bitrate)}
}

// StreamLimits are what a stream may have.
type StreamLimits struct {
	Players Amount
	Bitrate Amount // bit/s of a publisher
}

func (l StreamLimits) over(b StreamLimits) StreamLimits {
	return StreamLimits{l.Players.over(b.Players), l.Bitrate.over(b.Bitrate)}
}

// limits are those of one file.
type limits struct {
	source, subnet SourceLimits
	stream         StreamLimits
	sources        networks[[2]SourceLimits] // of the source, of the subnet
	streams        []streamPattern
	forSources     bool // there is a limit of a source or a subnet
}

type streamPattern struct {
	pattern string
	StreamLimits
}

// mostPatterns limits the patterns: a new stream is compared with each.
const mostPatterns = 1000

// LimitsSources reports whether SourceLimits can return any.
func (s *Set) LimitsSources() bool { return s != nil && s.limits.forSources }

// SourceLimits returns the limits of a caller's address, and those of its subnet: of the
// narrowest network with the caller, else of all.
func (s *Set) SourceLimits(ip netip.Addr) (of [2]SourceLimits) {
	if s == nil {
		return of
	}
	if e, ok := s.limits.sources.find(ip); ok {
		of = e
	}
	return [2]SourceLimits{of[0].over(s.limits.source), of[1].over(s.limits.subnet)}
}

// StreamLimits returns the limits of a stream: of the first pattern that its affinity key
// matches, else of all.
func (s *Set) StreamLimits(key string) StreamLimits {
	if s == nil {
		return StreamLimits{}
	}
	for i := range s.limits.streams {
		if one := &s.limits.streams[i]; matches(one.pattern, key) {
			return one.over(s.limits.stream)
		}
	}
	return s.limits.stream
}

// matches reports whether a key matches a pattern, in which * stands for any characters.
func matches(pattern, key string) bool {
	first, rest, more := strings.Cut(pattern, "*")
	if !more {
		return pattern == key
	}
	key, ok := strings.CutPrefix(key, first)
	if !ok {
		return false
	}
	for {
		var part string
		part, rest, more = strings.Cut(rest, "*")
		if !more {
			return strings.HasSuffix(key, part)
		}
		at := strings.Index(key, part)
		if at < 0 {
			return false
		}
		key = key[at+len(part):]
	}
}

func (l *limits) parse(a position) error {
	return a.fields(map[string]func(position) error{
		"source": func(a position) error { return l.parseSource(&l.source, a) },
		"subnet": func(a position) error { return l.parseSource(&l.subnet, a) },
		"stream": func(a position) error { return l.stream.parse(a, nil) },
		"sources": func(a position) error {
			return a.items(l.addSource)
		},
		"streams": func(a position) error {
			return a.items(l.addStream)
		},
	})
}

func (l *limits) parseSource(to *SourceLimits, a position) error {
	l.forSources = true
	return a.fields(map[string]func(position) error{
		"sessions": to.Sessions.parseCount, "handshakes": to.Handshakes.parseCount,
		"connects": to.Connects.parseCount, "bitrate": to.Bitrate.parseBitrate,
	})
}

func (l *limits) addSource(a position) error {
	var of [2]SourceLimits
	var network position
	limited := false
	read := func(to *SourceLimits) func(position) error {
		return func(a position) error {
			limited = true
			return l.parseSource(to, a)
		}
	}
	if err := a.fields(map[string]func(position) error{
		"network": func(a position) error {
			network = a
			return nil
		},
		"source": read(&of[0]), "subnet": read(&of[1]),
	}); err != nil {
		return err
	}
	switch {
	case network.node == nil:
		return a.missing("network")
	case !limited:
		return a.missing("source and subnet")
	}
	return addNetwork(&l.sources, network, of)
}

func (l *limits) addStream(a position) error {
	var one streamPattern
	if err := one.parse(a, map[string]func(position) error{
		"stream": func(a position) (err error) {
			one.pattern, err = a.text()
			if err == nil && one.pattern == "" {
				err = a.refuse("", errors.New("empty"))
			}
			return err
		},
	}); err != nil {
		return err
	}
	switch {
	case one.pattern == "":
		return a.missing("stream")
	case one.StreamLimits == (StreamLimits{}):
		return a.missing("players and bitrate")
	case len(l.streams) == mostPatterns:
		return a.bad(fmt.Sprintf("more than %d patterns", mostPatterns))
	}
	l.streams = append(l.streams, one)
	return nil
}

// parse reads a mapping with the limits of a stream and the keys in more.
func (l *StreamLimits) parse(a position, more map[string]func(position) error) error {
	known := map[string]func(position) error{"players": l.Players.parseCount, "bitrate": l.Bitrate.parseBitrate}
	for key, fn := range more {
		known[key] = fn
	}
	return a.fields(known)
}

// maxCount is more than any relay has, and fits in an int everywhere.
const maxCount = 1_000_000_000

func (l *Amount) parseCount(a position) error {
	text, err := a.text()
	if err != nil {
		return err
	}
	if text == "none" {
		*l = Unlimited
		return nil
	}
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n == 0 || n > maxCount {
		return a.refuse(text, fmt.Errorf("not a number from 1 to %d, or none", maxCount))
	}
	*l = Amount(n)
	return nil
}

func (l *Amount) parseBitrate(a position) error {
	text, err := a.text()
	if err != nil {
		return err
	}
	if text == "none" {
		*l = Unlimited
		return nil
	}
	n, err := bitrate.Parse(text)
	if err != nil {
		return a.refuse(text, err)
	}
	*l = Amount(n)
	return nil
}
