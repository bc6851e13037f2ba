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

// Relays tell each other under which bindings sessions live, so that a stream
// that is known anywhere is found while Redis is away. What they tell stands in
// one capped stream of Redis, a notice of up to 256 bindings an entry.
const (
	liveKey   = "srtrelay-live"
	liveField = "bindings"
	// livesFor is how long the stream outlives the last notice.
	livesFor = 5 * time.Minute
	// keptNotices is about how many notices it holds: twice what 100,000
	// bindings and ten relays write between two announcements of one binding.
	keptNotices = 1024
	// maxAnnounced is how many bindings a round announces at most. 100,000 in
	// announceEvery rounds are fewer.
	maxAnnounced = 32 * maxBindings
	// maxQueued is how many bindings wait to be announced: five rounds.
	maxQueued = 5 * maxAnnounced
	// readNotices and readText are how many notices a round reads at most, and
	// after how many bytes it reads no more.
	readNotices = 64
	readText    = 1 << 20
	// maxWatched and watchedFor bound what waits for its first session to be
	// established, in bindings and in rounds. Of more the renewal takes care.
	maxWatched = 8192
	watchedFor = 10
	// refusedFor is how many rounds an exchange that Redis has refused pauses.
	refusedFor = 60
)

// exchange is one relay's part in it. All but watched and live belongs to the
// loop.
type exchange struct {
	live *liveBindings

	mu      sync.Mutex
	watched map[balancer.AffinityKey]watched

	queue   []announcement
	cursor  noticeID // of the last notice that was read
	pause   int      // rounds until Redis is asked again
	refused bool     // the log knows that it is
	bad     badNotices
}

// watched is a binding that was made a few rounds ago.
type watched struct {
	at     backend.ID
	rounds int
}

// badNotices counts what was read and refused since it was last logged.
type badNotices struct {
	notices, servers, places int
	logged                   time.Time
}

func newExchange() *exchange {
	return &exchange{live: newLiveBindings(), watched: make(map[balancer.AffinityKey]watched)}
}

// watch has a new binding announced as soon as a session lives under it.
func (x *exchange) watch(h balancer.AffinityKey, at backend.ID) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if _, has := x.watched[h]; has || len(x.watched) < maxWatched {
		x.watched[h] = watched{at: at}
	}
}

// established returns the watched bindings under which a session has begun to live,
// and forgets them.
func (x *exchange) established(m *balancer.Memory, names *names, snap *backend.Snapshot) (all []announcement) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for h, w := range x.watched {
		published := m.HasPublisher(h, w.at)
		at, known := snap.Find(w.at)
		switch {
		case !known:
			delete(x.watched, h)
		case published, m.IsProven(h) && m.HasSessions(h, w.at):
			delete(x.watched, h)
			if x.live.due(h, w.at, published) {
				all = append(all, announcement{h, names.of(at), published})
			}
		case w.rounds == watchedFor:
			delete(x.watched, h)
		default:
			x.watched[h] = watched{w.at, w.rounds + 1}
		}
	}
	return all
}

// announce has the bindings announced that are due, in the next rounds.
func (x *exchange) announce(all []announcement) { x.queue = all[:min(len(all), maxQueued)] }

// exchange announces this relay's bindings and reads what was announced.
func (b *Balancer) exchange(ctx context.Context) error {
	x := b.live
	x.live.advance()
	snap := b.registry.Snapshot()
	x.live.forgetGone(snap)
	x.queue = append(x.established(b.memory, &b.names, snap), x.queue...)
	if x.pause > 0 {
		x.pause--
		x.queue = nil
		return nil
	}
	n := min(len(x.queue), maxAnnounced)
	now := x.queue[:n]
	x.queue = x.queue[n:]
	err := b.writeNotices(ctx, now)
	if err == nil {
		err = b.readNotices(ctx, snap)
	}
	switch {
	case err == nil:
		if x.refused {
			x.refused = false
			b.log.Info("bindings are exchanged again")
		}
		x.bad.log(b)
		return nil
	case !refuses(err):
		return err
	}
	x.pause = refusedFor
	if !x.refused {
		x.refused = true
		b.log.Warn("redis refuses the exchange of bindings; without it relays place streams by hash while redis is away", "error", err)
	}
	return nil
}

// refuses reports whether Redis is of use, but not for this: it is older than
// 5.0, its ACL forbids the commands, or the key is something else.
func refuses(err error) bool {
	var answer goredis.Error
	text := err.Error()
	return errors.As(err, &answer) && !errors.Is(err, goredis.Nil) &&
		(strings.HasPrefix(text, "ERR") || strings.HasPrefix(text, "NOPERM") || strings.HasPrefix(text, "WRONGTYPE"))
}

// writeNotices appends notices of bindings to the stream.
func (b *Balancer) writeNotices(ctx context.Context, all []announcement) error {
	if len(all) == 0 {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, syncWait)
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
	p.PExpire(limited, liveKey, livesFor)
	_, err := p.Exec(limited)
	if err != nil && strings.Contains(err.Error(), "exhausted the last possible ID") {
		return b.client.Del(limited, liveKey).Err() // somebody wrote the highest one
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

// readNotices reads the next notices. One that is behind reads on in the next
// round; what was cut off meanwhile is announced again.
func (b *Balancer) readNotices(ctx context.Context, snap *backend.Snapshot) error {
	limited, cancel := context.WithTimeout(ctx, syncWait)
	defer cancel()
	x := b.live
	all, err := readScript.Run(limited, b.client, []string{liveKey}, x.cursor.String(), readNotices, readText, maxNotice, liveField).StringSlice()
	if err != nil {
		return err
	}
	if len(all) == 0 || all[0] == "" {
		x.cursor = noticeID{} // there is no stream
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
		x.cursor = id
		b.noteSightings(snap, all[i+1], (last.ms-min(id.ms, last.ms))/uint64(syncEvery.Milliseconds()))
	}
	if last.before(x.cursor) {
		x.cursor = noticeID{} // it is another stream: Redis was emptied, or lost its last second
	}
	return nil
}

// noteSightings takes what a notice says that is so many rounds old.
func (b *Balancer) noteSightings(snap *backend.Snapshot, text string, age uint64) {
	if age > liveFor {
		return
	}
	x := b.live
	all, err := readNotice(text)
	if err != nil {
		x.bad.notices++
	}
	for _, s := range all {
		at, known := b.names.find(snap, s.server)
		switch {
		case !known:
			x.bad.servers++
		case !x.live.note(s.key, at.ID, s.published, uint32(age)):
			x.bad.places++
		}
	}
}

// log logs what was refused, in one line and not often.
func (n *badNotices) log(b *Balancer) {
	now := time.Now()
	if *n == (badNotices{logged: n.logged}) || now.Sub(n.logged) < logInterval {
		return
	}
	b.log.Warn("shared state tells of bindings that are not taken",
		"unreadable_notices", n.notices, "of_unknown_servers", n.servers, "beyond_the_bound", n.places, "kept", b.live.live.len())
	*n = badNotices{logged: now}
}

// announced returns where a query's group or stream lived when Redis was last in
// use, if the caller can go there.
func (b *Balancer) announced(q backend.Query) (backend.Backend, bool) {
	snap := b.registry.Snapshot()
	group, stream := balancer.AffinityKeys(q)
	for _, h := range []balancer.AffinityKey{group, stream} {
		id, ok := b.live.live.find(h)
		if !ok || h == (balancer.AffinityKey{}) {
			continue
		}
		at, ok := snap.Find(id)
		if ok && serves(at, q) && !b.memory.HasFailed(q, id) {
			return at, true
		}
	}
	return backend.Backend{}, false
}
