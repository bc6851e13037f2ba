package redis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"srtrelay/backend"
	"srtrelay/balancer"
)

// Relays announce to each other which bindings have living sessions, so that every relay
// finds the streams of the others while Redis is away. The announcements are in one
// capped stream of Redis, of which each entry is a notice of up to maxBindings bindings.
const (
	liveKey   = "srtrelay-live"
	liveField = "bindings"
	// liveKeyTTL is how long the stream of Redis outlives its last notice.
	liveKeyTTL = 5 * time.Minute
	// keptNotices is about how many notices it holds: more than twice what relays
	// write in announceRounds to announce maxLive bindings.
	keptNotices = 1024
	// maxAnnounced is how many bindings a round announces at most: more than maxLive
	// spread over announceRounds.
	maxAnnounced = 32 * maxBindings
	// maxQueued is how many bindings wait to be announced: those of five rounds.
	maxQueued = 5 * maxAnnounced
	// maxNoticesRead is how many notices a round reads at most, maxNoticeBytesRead
	// after how many bytes it stops.
	maxNoticesRead     = 64
	maxNoticeBytesRead = 1 << 20
	// maxWatched is how many bindings wait for their first established session,
	// watchRounds for how long. All others are announced when they are renewed.
	maxWatched  = 8192
	watchRounds = 10
	// refusedRounds is for how many rounds the exchange pauses after Redis has refused
	// it.
	refusedRounds = 60
)

// announcer is one relay's part in the exchange. Only run uses it, except for watched and
// live.
type announcer struct {
	live *liveBindings

	mu      sync.Mutex
	watched map[balancer.AffinityKey]watched

	queue   []announcement
	cursor  noticeID // of the last notice that was read
	pause   int      // rounds until the exchange is tried again
	refused bool     // Redis refuses it, and the log says so
	ignored ignored
}

// watched is a binding that was made a few rounds ago.
type watched struct {
	at     backend.ID
	rounds int
}

// ignored counts what was read and ignored since it was last logged.
type ignored struct {
	unreadable, unknownServer, beyondBound int

	logged time.Time
}

func newAnnouncer() *announcer {
	return &announcer{live: newLiveBindings(), watched: make(map[balancer.AffinityKey]watched)}
}

// watch has a new binding announced as soon as it has an established session.
func (a *announcer) watch(key balancer.AffinityKey, at backend.ID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, has := a.watched[key]; has || len(a.watched) < maxWatched {
		a.watched[key] = watched{at: at}
	}
}

// established removes the watched bindings that have an established publisher, or a
// player that has proven the backend, and returns those that are due.
func (a *announcer) established(m *balancer.Memory, names *names, snap *backend.Snapshot) (all []announcement) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for key, w := range a.watched {
		published := m.HasPublisher(key, w.at)
		at, known := snap.Find(w.at)
		switch {
		case !known:
			delete(a.watched, key)
		case published, m.IsProven(key) && m.HasSessions(key, w.at):
			delete(a.watched, key)
			if a.live.due(key, w.at, published) {
				all = append(all, announcement{key, names.keyOf(at), published})
			}
		case w.rounds == watchRounds:
			delete(a.watched, key)
		default:
			a.watched[key] = watched{w.at, w.rounds + 1}
		}
	}
	return all
}

// announce queues bindings that are due, in place of those that are still queued.
func (a *announcer) announce(all []announcement) { a.queue = all[:min(len(all), maxQueued)] }

// exchange announces this relay's bindings and reads what was announced.
func (b *Balancer) exchange(ctx context.Context) error {
	a := b.announcer
	a.live.advance()
	snap := b.registry.Snapshot()
	a.live.forgetGone(snap)
	a.queue = append(a.established(b.memory, &b.names, snap), a.queue...)
	if a.pause > 0 {
		a.pause--
		a.queue = nil
		return nil
	}
	n := min(len(a.queue), maxAnnounced)
	due := a.queue[:n]
	a.queue = a.queue[n:]
	err := b.writeNotices(ctx, due)
	if err == nil {
		err = b.readNotices(ctx, snap)
	}
	switch {
	case err == nil:
		if a.refused {
			a.refused = false
			b.log.Info("bindings are exchanged again")
		}
		a.ignored.log(b)
		return nil
	case !isRefusal(err):
		return err
	}
	a.pause = refusedRounds
	if !a.refused {
		a.refused = true
		b.log.Warn("redis refuses the exchange of bindings; without it relays place streams by hash while redis is away", "error", err)
	}
	return nil
}

// isRefusal reports whether Redis answers but cannot do this: it is older than 5.0, its
// ACL forbids the commands, or the key has another type.
func isRefusal(err error) bool {
	var answer goredis.Error
	if !errors.As(err, &answer) || errors.Is(err, goredis.Nil) {
		return false
	}
	text := answer.Error()
	return (strings.HasPrefix(text, "ERR") || strings.HasPrefix(text, "NOPERM") || strings.HasPrefix(text, "WRONGTYPE"))
}

// writeNotices appends notices of bindings to the stream.
func (b *Balancer) writeNotices(ctx context.Context, all []announcement) error {
	if len(all) == 0 {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, b.waits.sync)
	defer cancel()
	p := b.client.Pipeline()
	for len(all) > 0 {
		n := min(len(all), maxBindings)
		p.XAdd(limited, &goredis.XAddArgs{
			Stream: liveKey, MaxLen: keptNotices, Approx: true,
			Values: []any{liveField, writeNotice(nil, all[:n])},
		})
		all = all[n:]
	}
	p.PExpire(limited, liveKey, liveKeyTTL)
	_, err := p.Exec(limited)
	if err != nil && strings.Contains(err.Error(), "exhausted the last possible ID") {
		return b.client.Del(limited, liveKey).Err() // somebody has written an entry with the highest ID
	}
	return err
}

// noticeID is the ID of an entry of a stream: Redis's time in ms, and a number.
type noticeID struct{ ms, seq uint64 }

func parseNoticeID(text string) (id noticeID, err error) {
	ms, seq, _ := strings.Cut(text, "-")
	if id.ms, err = strconv.ParseUint(ms, 10, 64); err == nil {
		id.seq, err = strconv.ParseUint(seq, 10, 64)
	}
	if err != nil {
		return noticeID{}, fmt.Errorf("read the ID of a notice: %w", err)
	}
	return id, nil
}

func (id noticeID) String() string {
	return strconv.FormatUint(id.ms, 10) + "-" + strconv.FormatUint(id.seq, 10)
}

func (id noticeID) before(other noticeID) bool {
	return id.ms < other.ms || id.ms == other.ms && id.seq < other.seq
}

// readNotices reads the next notices. A relay that is behind reads more in the next
// round. What it misses because the stream is capped is announced again.
func (b *Balancer) readNotices(ctx context.Context, snap *backend.Snapshot) error {
	limited, cancel := context.WithTimeout(ctx, b.waits.sync)
	defer cancel()
	a := b.announcer
	all, err := readScript.Run(limited, b.client, []string{liveKey}, a.cursor.String(), maxNoticesRead, maxNoticeBytesRead, maxNotice, liveField).StringSlice()
	if err != nil {
		return err
	}
	if len(all) == 0 || all[0] == "" {
		a.cursor = noticeID{} // there is no stream
		return nil
	}
	last, err := parseNoticeID(all[0])
	if err != nil {
		return err
	}
	for i := 1; i+1 < len(all); i += 2 {
		id, err := parseNoticeID(all[i])
		if err != nil {
			return err
		}
		a.cursor = id
		b.noteAnnouncements(snap, all[i+1], (last.ms-min(id.ms, last.ms))/uint64(syncEvery.Milliseconds()))
	}
	if last.before(a.cursor) {
		a.cursor = noticeID{} // Redis was emptied, or lost its last writes
	}
	return nil
}

// noteAnnouncements notes what a notice says that is age rounds old.
func (b *Balancer) noteAnnouncements(snap *backend.Snapshot, text string, age uint64) {
	if age > liveRounds {
		return
	}
	a := b.announcer
	all, err := readNotice(text)
	if err != nil {
		a.ignored.unreadable++
	}
	for _, s := range all {
		at, known := b.names.find(snap, s.server)
		switch {
		case !known:
			a.ignored.unknownServer++
		case !a.live.note(s.key, at.ID, s.published, uint32(age)):
			a.ignored.beyondBound++
		}
	}
}

// log logs what was ignored, in one line per logInterval.
func (n *ignored) log(b *Balancer) {
	now := time.Now()
	if *n == (ignored{logged: n.logged}) || now.Sub(n.logged) < logInterval {
		return
	}
	b.log.Warn("shared state announces bindings that cannot be used",
		"unreadable_notices", n.unreadable, "of_unknown_servers", n.unknownServer, "beyond_the_bound", n.beyondBound, "kept", b.announcer.live.len())
	*n = ignored{logged: now}
}

// announced returns the backend where the relays have announced a key, unless that is certainly
// gone.
func (b *Balancer) announced(key balancer.AffinityKey) (at backend.Backend, ok bool) {
	id, ok := b.announcer.live.find(key)
	if !ok {
		return at, false
	}
	at, ok = b.registry.Snapshot().Find(id)
	return at, ok && !(at.Down && at.Gone)
}

// withPublisher returns the backend where the relays have lately announced a publisher of a
// query's group or stream, if the caller can go there.
func (b *Balancer) withPublisher(q backend.Query) (at backend.Backend, ok bool) {
	group, stream := balancer.AffinityKeys(q)
	for _, key := range []balancer.AffinityKey{group, stream} {
		if id, announced := b.announcer.live.findPublisher(key); announced {
			at, ok = b.registry.Snapshot().Find(id)
			return at, ok && serves(at, q) && !at.Draining && !b.memory.HasFailed(q, id)
		}
	}
	return at, false
}
