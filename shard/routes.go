package shard

import (
	"time"

	"srtrelay/addr"
)

// routes are the callers whose datagrams this shard receives and hands to the shard that owns
// their session, without a budget: that one has announced them. An entry lapses, and the owner
// repeats it while letters come, so that nobody has to remove one.
type routes struct {
	seed  uint64
	table []route // of routeLimit, from the first announcement on
}

// route has the hash of a caller, its listener and socket ID by a secret seed.
type route struct {
	hash  uint64
	until time.Duration
}

const (
	// routeLimit is how many callers there can be. Others share the budget of strangers.
	routeLimit = 1 << 14
	// routePlaces is how many places an entry may be in.
	routePlaces = 8
	// routeLife is how long an entry is good, routeEvery when it is announced again.
	routeLife  = 30 * time.Second
	routeEvery = 10 * time.Second
)

func (r *routes) key(front uint8, caller *addr.AddrPort, id uint32) uint64 {
	return caller.Hash(r.seed^uint64(id)<<8^uint64(front)) | 1
}

func (r *routes) places(hash uint64) []route {
	at := int(hash>>8) & (routeLimit - 1) &^ (routePlaces - 1)
	return r.table[at : at+routePlaces]
}

func (r *routes) has(now time.Duration, hash uint64) bool {
	if r.table == nil {
		return false
	}
	for _, one := range r.places(hash) {
		if one.hash == hash {
			return now < one.until
		}
	}
	return false
}

// add adds an entry, in place of the one that lapses first.
func (r *routes) add(now time.Duration, hash uint64) {
	if r.table == nil {
		r.table = make([]route, routeLimit)
	}
	places := r.places(hash)
	at := &places[0]
	for k := range places {
		one := &places[k]
		if one.hash == hash {
			at = one
			break
		}
		if one.until < at.until {
			at = one
		}
	}
	*at = route{hash, now + routeLife}
}

// announced is what a session's owner has told another shard.
type announced struct {
	shard int16
	at    time.Duration
}

// announce tells the shard that a letter came from that its sender is the caller of a session.
func (s *Shard) announce(i uint32, ss *session, l *letter) {
	if l.sender < 0 || int(l.sender) == s.id || ss.state != StateEstablished {
		return
	}
	if a, told := s.announced[i]; told && a.shard == l.sender && s.now-a.at < routeEvery {
		return
	}
	front, caller, id := ss.front, ss.caller, ss.backendID
	told := s.group[l.sender].inbox.post(func(s *Shard) {
		s.routes.add(s.now, s.routes.key(front, &caller, id))
	})
	if told {
		s.announced[i] = announced{l.sender, s.now}
	}
}
