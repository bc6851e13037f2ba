package redis

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// Which relay has which session, so that the others can pass its datagrams on. A relay has a
// hash of its sessions, named by its address for such datagrams, and an entry in the hash of
// relays. Its TTL is that of the relay's heartbeat: so sessions cost nothing while they run.
const (
	// sessionsPrefix begins the key of a relay's hash. It has by "port/id" the caller, or callers
	// with a space between, and by "port/caller" the caller of a handshake.
	sessionsPrefix = "srtrelay-sessions:"
	// forwardKey is that of the relays, by address: their last heartbeat in ms by Redis's clock.
	forwardKey = "srtrelay-forward"
)

const (
	// sessionsHeartbeat is the time between two renewals of a relay's sessions. The
	// others know a new relay after one.
	sessionsHeartbeat = 2 * time.Second
	sessionsTTL       = 5 * sessionsHeartbeat
	// sessionsEvery is how often sessions that have begun or ended are written.
	sessionsEvery = 100 * time.Millisecond
	// sessionsRetry is when they are written again after that has failed.
	sessionsRetry = time.Second
	// sessionsPerCommand and sessionsPerTrip are how many are written at once: a command
	// keeps Redis from other commands for 1 ms.
	sessionsPerCommand = 500
	sessionsPerTrip    = 10_000
	// maxForward is how many relays are asked for a session. There are fewer.
	maxForward = 64
	// maxCallers is how many callers of one listener and ID are published.
	maxCallers = 4
	// maxCallersText is how long their text is at most, in bytes.
	maxCallersText = maxCallers * 64
)

// SessionKey names sessions: the port that the caller dialled, and the backend's socket ID.
type SessionKey struct {
	Port uint16
	ID   uint32
	// caller is set for a handshake, which has no ID.
	caller netip.AddrPort
}

func (k SessionKey) field() string {
	if k.isHandshake() {
		return strconv.Itoa(int(k.Port)) + "/" + k.caller.String()
	}
	return strconv.Itoa(int(k.Port)) + "/" + strconv.FormatUint(uint64(k.ID), 16)
}

// Sessions publishes this relay's sessions and finds those of other relays.
type Sessions struct {
	b    *Balancer
	at   func() netip.AddrPort // where this relay takes datagrams that others pass on
	wake chan struct{}

	mu    sync.Mutex
	own   map[SessionKey][]netip.AddrPort // callers; hardly ever more than one
	dirty map[SessionKey]struct{}         // not written yet
	// handshakes are those of own, with the time when they are removed.
	handshakes map[SessionKey]time.Time
	// touched are those that have begun or ended during a Count, nil without one.
	touched map[SessionKey]struct{}
	all     bool     // everything is to be written again
	others  []string // addresses of other relays, as last read

	refused bool // Redis refuses them, and the log says so; used by run only
}

// Sessions begins to publish sessions, under the address that at returns, the zero value
// while there is none. It ends with the Balancer.
func (b *Balancer) Sessions(at func() netip.AddrPort) *Sessions {
	s := &Sessions{
		b: b, at: at, wake: make(chan struct{}, 1), all: true,
		own: make(map[SessionKey][]netip.AddrPort), dirty: make(map[SessionKey]struct{}),
		handshakes: make(map[SessionKey]time.Time),
	}
	b.loop.Loop(b.background, "redis sessions", s.run)
	return s
}

// Begun notes a session. Like all methods but Find, it does not wait.
func (s *Sessions) Begun(k SessionKey, caller netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun(k, caller)
}

// begun is Begun with the lock held.
func (s *Sessions) begun(k SessionKey, caller netip.AddrPort) {
	if callers := s.own[k]; !slices.Contains(callers, caller) {
		s.own[k] = append(callers, caller)
		s.touch(k)
	}
}

// Ended notes that a session has ended.
func (s *Sessions) Ended(k SessionKey, caller netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	callers := slices.DeleteFunc(s.own[k], func(c netip.AddrPort) bool { return c == caller })
	if s.own[k] = callers; len(callers) == 0 {
		delete(s.own, k)
	}
	s.touch(k)
}

// touch has a session written. While everything is to be written anyway, as when Redis is
// away, nothing is noted: the sessions of hours would need memory. The lock must be held.
func (s *Sessions) touch(k SessionKey) {
	if !s.all {
		s.dirty[k] = struct{}{}
	}
	if s.touched != nil {
		s.touched[k] = struct{}{}
	}
}

// Moved notes that a session has another caller address, and has it written at once.
func (s *Sessions) Moved(k SessionKey, from, to netip.AddrPort) {
	s.Ended(k, from)
	s.Begun(k, to)
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Count is a count of all sessions that there are, for when events were lost.
type Count struct {
	s   *Sessions
	all map[SessionKey][]netip.AddrPort
}

// Count begins a count. Sessions that begin or end while it lasts are as their methods said.
func (s *Sessions) Count() *Count {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.touched = make(map[SessionKey]struct{})
	return &Count{s: s, all: make(map[SessionKey][]netip.AddrPort)}
}

// Add adds a session.
func (c *Count) Add(k SessionKey, caller netip.AddrPort) {
	if !slices.Contains(c.all[k], caller) {
		c.all[k] = append(c.all[k], caller)
	}
}

// Done puts the count in force.
func (c *Count) Done() {
	s := c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range s.touched {
		if callers, has := s.own[k]; has {
			c.all[k] = callers
		} else {
			delete(c.all, k)
		}
	}
	s.touched = nil
	for k := range s.handshakes {
		c.all[k] = s.own[k]
	}
	for k, callers := range s.own {
		if !slices.Equal(c.all[k], callers) {
			s.touch(k)
		}
	}
	for k := range c.all {
		if _, had := s.own[k]; !had {
			s.touch(k)
		}
	}
	s.own = c.all
}

// run writes sessions until ctx ends. After a failure everything is written again.
func (s *Sessions) run(ctx context.Context) {
	var beat time.Time
	wait := sessionsEvery
	for ctx.Err() == nil {
		pause(ctx, s.wake, nil, wait)
		wait = sessionsEvery
		s.expireHandshakes(time.Now())
		at := s.at()
		if !at.IsValid() || !s.b.circuit.closed() || s.b.handover.isPaused() || ctx.Err() != nil {
			s.rewrite()
			beat = time.Time{}
			continue
		}
		key := sessionsPrefix + at.String()
		err := s.write(ctx, key)
		if err == nil && time.Since(beat) >= sessionsHeartbeat {
			beat = time.Now()
			err = s.renew(ctx, key, at.String())
		}
		if err != nil {
			s.rewrite()
			beat, wait = time.Time{}, sessionsRetry
		}
		s.report(err)
	}
}

// report logs once that Redis refuses sessions, as with an ACL that lacks their keys. Outages are
// logged by the circuit.
func (s *Sessions) report(err error) {
	if err != nil && isRefusal(err) && !s.refused {
		s.refused = true
		s.b.log.Warn("redis refuses the list of sessions; other relays do not find this one's", "error", err)
	}
}

// rewrite has everything written again.
func (s *Sessions) rewrite() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = true
	clear(s.dirty)
}

// sessionEntry is a field of the hash with its value, "" to remove it.
type sessionEntry struct{ field, value string }

// take returns what is to be written; fresh means that the hash is to be begun anew.
func (s *Sessions) take() (entries []sessionEntry, fresh bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if fresh = s.all; fresh {
		clear(s.dirty)
		for k := range s.own {
			s.dirty[k] = struct{}{}
		}
	}
	for k := range s.dirty {
		entries = append(entries, sessionEntry{k.field(), callersText(s.own[k])})
	}
	clear(s.dirty)
	s.all = false
	return entries, fresh
}

func callersText(all []netip.AddrPort) string {
	texts := make([]string, min(len(all), maxCallers))
	for i := range texts {
		texts[i] = all[i].String()
	}
	return strings.Join(texts, " ")
}

// write writes what has changed.
func (s *Sessions) write(ctx context.Context, key string) error {
	entries, fresh := s.take()
	if fresh {
		if err := s.b.client.Unlink(ctx, key).Err(); err != nil {
			return fmt.Errorf("begin the list of sessions: %w", err)
		}
	}
	for trip := range slices.Chunk(entries, sessionsPerTrip) {
		limited, cancel := context.WithTimeout(ctx, s.b.waits.sync)
		p := s.b.client.Pipeline()
		for part := range slices.Chunk(trip, sessionsPerCommand) {
			var set []any
			var gone []string
			for _, e := range part {
				if e.value == "" {
					gone = append(gone, e.field)
				} else {
					set = append(set, e.field, e.value)
				}
			}
			if len(set) > 0 {
				p.HSet(limited, key, set...)
			}
			if len(gone) > 0 {
				p.HDel(limited, key, gone...)
			}
		}
		p.PExpire(limited, key, sessionsTTL)
		_, err := p.Exec(limited)
		cancel()
		if err != nil {
			return fmt.Errorf("write sessions: %w", err)
		}
	}
	return nil
}

// renew renews the TTL of the sessions, checks that Redis has all of them, and learns the
// other relays.
func (s *Sessions) renew(ctx context.Context, key, at string) error {
	limited, cancel := context.WithTimeout(ctx, s.b.waits.sync)
	defer cancel()
	p := s.b.client.Pipeline()
	has := p.HLen(limited, key)
	p.PExpire(limited, key, sessionsTTL)
	if _, err := p.Exec(limited); err != nil {
		return fmt.Errorf("renew sessions: %w", err)
	}
	s.mu.Lock()
	if has.Val() != int64(len(s.own)) && len(s.dirty) == 0 {
		s.all = true // Redis was emptied, or lost its last writes; dirty is empty
	}
	s.mu.Unlock()
	all, err := forwardScript.Run(limited, s.b.client, []string{forwardKey}, at, sessionsTTL.Milliseconds(), maxForward).StringSlice()
	switch {
	case err != nil && isRefusal(err):
		s.report(err)
		return nil // the key is something else: those that are known stay
	case err != nil:
		return fmt.Errorf("read the relays that take datagrams: %w", err)
	}
	others := slices.DeleteFunc(all, func(a string) bool {
		to, err := netip.ParseAddrPort(a)
		return a == at || err != nil || !to.IsValid()
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.others = others
	return nil
}

// forwardScript notes a relay's heartbeat, and returns the addresses of all relays whose
// heartbeat is not too old.
//
// KEYS[1] is the hash, ARGV[1] the relay's address, ARGV[2] how old a heartbeat may be in
// ms, ARGV[3] the most addresses.
var forwardScript = goredis.NewScript(`
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
if redis.call('HLEN', KEYS[1]) > 4 * tonumber(ARGV[3]) then redis.call('DEL', KEYS[1]) end
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[1], 6 * tonumber(ARGV[2]))
local all, found = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #all, 2 do
  local beat = tonumber(all[i + 1]) or 0
  if math.abs(now - beat) > tonumber(ARGV[2]) then
    redis.call('HDEL', KEYS[1], all[i])
  elseif #found < tonumber(ARGV[3]) and #all[i] < 64 then
    found[#found + 1] = all[i]
  end
end
return found
`)
