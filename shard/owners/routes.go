package owners

import (
	"time"

	"srtrelay/addr"
)

// Routes are the callers whose datagrams a shard hands to the shard that owns their session,
// without a limit, because the owner has announced them. An entry lapses, and the owner repeats
// it while letters come, so that nobody has to remove one.
type Routes struct {
	seed  uint64
	table []route // of routeLimit, from the first announcement on
}

// route has the hash of a caller, its listener and socket ID by a secret seed.
type route struct {
	hash  uint64
	until time.Duration
}

const (
	// RouteEvery is how often the owner repeats an announcement while letters come.
	RouteEvery = 10 * time.Second

	// routeLimit is how many callers there can be. Datagrams of others are limited.
	routeLimit = 1 << 14
	// routePlaces is how many places an entry may be in.
	routePlaces = 8
	// routeLife is how long an entry is good.
	routeLife = 30 * time.Second
)

// NewRoutes returns no routes. seed is secret: nobody outside may choose places.
func NewRoutes(seed uint64) Routes { return Routes{seed: seed} }

func (r *Routes) hash(front uint8, caller *addr.AddrPort, id uint32) uint64 {
	return caller.Hash(r.seed^uint64(id)<<8^uint64(front)) | 1
}

func (r *Routes) places(hash uint64) []route {
	at := int(hash>>8) & (routeLimit - 1) &^ (routePlaces - 1)
	return r.table[at : at+routePlaces]
}

// Has reports whether a caller with a socket ID has an entry that is still good.
func (r *Routes) Has(now time.Duration, front uint8, caller *addr.AddrPort, id uint32) bool {
	if r.table == nil {
		return false
	}
	hash := r.hash(front, caller, id)
	for _, one := range r.places(hash) {
		if one.hash == hash {
			return now < one.until
		}
	}
	return false
}

// Add adds an entry, in place of the one that lapses first.
func (r *Routes) Add(now time.Duration, front uint8, caller *addr.AddrPort, id uint32) {
	if r.table == nil {
		r.table = make([]route, routeLimit)
	}
	hash := r.hash(front, caller, id)
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
