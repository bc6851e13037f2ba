package balancer

import (
	"cmp"
	"container/heap"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"srtrelay/backend"
)

// world plays callers and backends around a balancer. Time is a list of what
// happens next, so that a minute takes a moment.
type world struct {
	*stand
	agenda agenda
	random *rand.Rand
	// does is how a backend meets a caller.
	does func(id backend.ID, c *client) conduct
	seq  int
}

// conduct is how a backend meets a caller.
type conduct uint8

const (
	serves  conduct = iota
	rejects         // for want of resources
	closes          // accepts, and closes as a hook makes it do
	hangs           // answers INDUCTIONs and never a CONCLUSION
)

// What the conducts take.
const (
	closesAfter = 20 * time.Millisecond
	hangsFor    = 750 * time.Millisecond // until the shard asks for another
	retryAfter  = 500 * time.Millisecond // a caller's own
)

// client is one caller, which tries until it is served.
type client struct {
	query  backend.Query
	denied bool // by every backend's hook, which takes a while
	hook   time.Duration
	tries  int // lost
	waits  int // backends that let it wait
	most   int // tries; 0 for no end
	served backend.ID
	met    []backend.ID
}

type appointment struct {
	at  time.Time
	seq int
	do  func()
}

type agenda []appointment

func (a agenda) Len() int { return len(a) }
func (a agenda) Less(i, j int) bool {
	return cmp.Or(a[i].at.Compare(a[j].at), cmp.Compare(a[i].seq, a[j].seq)) < 0
}
func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(x any)   { *a = append(*a, x.(appointment)) }
func (a *agenda) Pop() any {
	last := len(*a) - 1
	x := (*a)[last]
	*a = (*a)[:last]
	return x
}

func newWorld(t *testing.T, n int, p Policy, does func(backend.ID, *client) conduct) *world {
	w := &world{stand: newStand(t, n), random: rand.New(rand.NewPCG(1, 2)), does: does}
	w.Policy, w.salt, w.intN = p, "salt", w.random.IntN
	return w
}

// after has something done later.
func (w *world) after(d time.Duration, do func()) {
	w.seq++
	heap.Push(&w.agenda, appointment{w.at.Add(d), w.seq, do})
}

// run lets time pass.
func (w *world) run(d time.Duration) {
	end := w.at.Add(d)
	for len(w.agenda) > 0 && !w.agenda[0].at.After(end) {
		next := heap.Pop(&w.agenda).(appointment)
		w.at = next.at
		next.do()
	}
	w.at = end
}

// arrive spreads callers over a time, at random.
func (w *world) arrive(over time.Duration, clients []*client) {
	for _, c := range clients {
		w.after(time.Duration(w.random.Int64N(int64(over))), func() { w.try(c, [2]backend.ID{}) })
	}
}

// try is a caller's handshake with the backend that it is given, as a shard
// carries it.
func (w *world) try(c *client, tried [2]backend.ID) {
	q := c.query
	q.Tried = tried
	t, err := w.Pick(w.Context(), q)
	if err != nil {
		w.lost(c)
		return
	}
	c.met = append(c.met, t.ID)
	report := func(f backend.Fate, lasted time.Duration) {
		w.Report(backend.Outcome{Lease: t.Lease, Fate: f, Lasted: lasted})
	}
	next := func(f backend.Fate) {
		switch {
		case tried[0] == "":
			w.try(c, [2]backend.ID{t.ID})
		case tried[1] == "":
			w.try(c, [2]backend.ID{tried[0], t.ID})
		default:
			w.lost(c)
		}
		report(f, 0) // the shard lets go of the first when it has the next
	}
	does := w.does(t.ID, c)
	takes := closesAfter
	if c.denied {
		does = closes
		if takes = c.hook; takes == 0 {
			takes = time.Duration(5+w.random.IntN(400)) * time.Millisecond
		}
	}
	switch does {
	case rejects:
		next(backend.FateRefused)
	case hangs:
		c.waits++
		w.after(hangsFor, func() { next(backend.FateSilent) })
	case closes:
		report(backend.FateBegan, 0)
		w.after(takes, func() {
			report(backend.FateClosed, takes)
			w.lost(c)
		})
	default:
		report(backend.FateBegan, 0)
		c.served = t.ID
	}
}

func (w *world) lost(c *client) {
	c.tries++
	if c.most == 0 || c.tries < c.most {
		w.after(retryAfter, func() { w.try(c, [2]backend.ID{}) })
	}
}

// oneNetwork has all callers behind one address, as a carrier's NAT does;
// networks gives each its own.
func oneNetwork(int) netip.AddrPort { return netip.MustParseAddrPort("127.0.0.1:5000") }

func networks(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 7}), 5000)
}

func publishers(n int, name string, from func(int) netip.AddrPort) (all []*client) {
	for i := range n {
		key := fmt.Sprintf("live/%s%d", name, i)
		all = append(all, &client{query: backend.Query{
			Key: key, StreamID: "#!::r=" + key + ",m=publish", Publish: true, Caller: from(i),
		}})
	}
	return all
}

var policies = []Policy{PolicyLeastSessions, PolicyHash, PolicyRandom}

// Ten healthy backends and a bad one of each kind: at most 2 % of the callers
// lose a try, none loses a second, and few wait for the silent one.
func TestOneBadBackendLosesFewCallers(t *testing.T) {
	const callers = 400
	for _, p := range policies {
		for name, bad := range map[string]conduct{"rejects": rejects, "closes": closes, "hangs": hangs} {
			for network, from := range map[string]func(int) netip.AddrPort{"one": oneNetwork, "many": networks} {
				// In a network without other sessions, only the retry of each caller
				// shows whether the backend or the hook failed it.
				over := 4 * time.Second
				if network == "many" {
					over = 20 * time.Second
				}
				t.Run(fmt.Sprint(p, " ", name, " ", network), func(t *testing.T) {
					w := newWorld(t, 11, p, func(id backend.ID, _ *client) conduct {
						if id == "b4" {
							return bad
						}
						return serves
					})
					all := publishers(callers, "s", from)
					w.arrive(over, all)
					w.run(over + 2*time.Second)
					lost, waited := 0, 0
					for _, c := range all {
						if c.served == "" || c.served == "b4" || c.tries > 1 || c.waits > 1 {
							t.Errorf("%s: %d tries lost, %d waits, met %v, served by %q", c.query.Key, c.tries, c.waits, c.met, c.served)
						}
						lost += c.tries
						waited += c.waits
					}
					if lost > callers*2/100 || waited > callers*5/100 {
						t.Errorf("%d tries lost, %d waits, of %d callers", lost, waited, callers)
					}
					e := w.Ejections()["b4"]
					if !e.Ejected || e.Times != 1 || len(w.Ejections()) != 1 {
						t.Errorf("ejections %+v", w.Ejections())
					}
					t.Logf("%d tries lost, %d waits; %s", lost, waited, e.Why)
				})
			}
		}
	}
}

// Callers that a hook denies fail at every backend. They eject no backend and have none
// avoided, whether they come from one network, a few, or that of the honest callers, with
// keys that all rank one backend highest, and with or without retries.
func TestDeniedCallersEjectNobody(t *testing.T) {
	few := func(i int) netip.AddrPort { return networks(60000 + i%5) }
	for _, p := range policies {
		for network, from := range map[string]func(int) netip.AddrPort{"own": few, "theirs": oneNetwork} {
			for _, tries := range []int{1, 5} {
				for _, hook := range []time.Duration{20 * time.Millisecond, 0} {
					t.Run(fmt.Sprint(p, " ", network, " ", tries, " ", hook), func(t *testing.T) {
						t.Parallel()
						w := newWorld(t, 11, p, func(backend.ID, *client) conduct { return serves })
						before, during := publishers(100, "before", oneNetwork), publishers(300, "during", oneNetwork)
						attack := w.targeted(400, "denied-", "b4", from)
						for _, c := range attack {
							c.denied, c.most, c.hook = true, tries, hook
						}
						w.arrive(5*time.Second, before)
						w.run(10 * time.Second)
						w.arrive(90*time.Second, attack[:200]) // nobody else comes
						w.run(90 * time.Second)
						w.arrive(time.Minute, attack[200:])
						w.arrive(time.Minute, during)
						w.run(90 * time.Second)
						if got := w.Ejections(); len(got) != 0 {
							t.Errorf("ejections %+v", got)
						}
						there := 0
						for _, c := range append(before, during...) {
							if c.tries != 0 || c.served == "" {
								t.Errorf("%s: %d tries lost, served by %q", c.query.Key, c.tries, c.served)
							}
							if c.served == "b4" {
								there++
							}
						}
						if there < 400/11/2 {
							t.Errorf("%d of 400 streams at the backend that is attacked, a fair share is 36", there)
						}
					})
				}
			}
		}
	}
}

// targeted returns callers with keys that begin alike and rank one backend
// highest.
func (w *world) targeted(n int, name string, at backend.ID, from func(int) netip.AddrPort) (all []*client) {
	var backends []*backend.Backend
	snap := w.reg.Snapshot()
	for i := range snap.Backends {
		backends = append(backends, &snap.Backends[i])
	}
	for i := 0; len(all) < n; i++ {
		c := publishers(1, fmt.Sprint(name, i, "-"), func(int) netip.AddrPort { return from(i) })[0]
		if highestRank(c.query.Key, backends).ID == at {
			all = append(all, c)
		}
	}
	return all
}
