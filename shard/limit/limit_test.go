package limit

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"srtrelay/addr"
)

const second = time.Second

func prefix(ip string, l Level) Prefix { return PrefixOf(addr.FromIP(netip.MustParseAddr(ip)), l) }

func TestPrefixes(t *testing.T) {
	for _, c := range []struct{ ip, source, subnet string }{
		{"192.0.2.7", "192.0.2.7/32", "192.0.2.0/24"},
		{"::ffff:192.0.2.7", "192.0.2.7/32", "192.0.2.0/24"},
		{"2001:db8:1:2ff:3::4", "2001:db8:1:2ff::/64", "2001:db8:1:200::/56"},
	} {
		if a, b := prefix(c.ip, LevelSource), prefix(c.ip, LevelSubnet); a.Netip().String() != c.source || b.Netip().String() != c.subnet {
			t.Errorf("%s: %v, %v", c.ip, a.Netip(), b.Netip())
		}
	}
}

// ffmpeg retries eight times within seconds: one connect per second lets ten in at once.
func TestWindow(t *testing.T) {
	var w Window
	at := 25 * second
	for range 10 {
		w.Add(at)
	}
	for _, c := range []struct {
		at   time.Duration
		want uint32
	}{{25 * second, 10}, {29 * second, 10}, {30 * second, 10}, {35 * second, 5}, {39 * second, 1}, {40 * second, 0}, {time.Hour, 0}} {
		if n := w.Count(c.at); n != c.want {
			t.Errorf("%v: %d, want %d", c.at, n, c.want)
		}
	}
	w.Add(time.Hour)
	if n := w.Count(time.Hour); n != 1 {
		t.Errorf("%d, want 1", n)
	}
}

func TestMeter(t *testing.T) {
	var c Clock
	var m Meter
	m.Begin(1_000_000)
	bytes, now := uint64(1_000_000), 100*second
	c.Visit(now)
	visit := func(passed time.Duration, grown uint64) uint64 {
		now, bytes = now+passed, bytes+grown
		c.Visit(now)
		return m.Visit(&c, bytes)
	}
	// A burst counts for a fifth.
	if bits := visit(second, 625_000); bits != 1_000_000 {
		t.Errorf("after a second: %d", bits)
	}
	var bits uint64
	for range 4 {
		bits = visit(second, 625_000)
	}
	if bits != 5_000_000 {
		t.Errorf("after five: %d", bits)
	}
	for range 5 {
		bits = visit(second, 0)
	}
	if bits != 0 {
		t.Errorf("silent: %d", bits)
	}
	// Rarer visits.
	if bits = visit(10*second, 10*625_000); bits != 5_000_000 {
		t.Errorf("ten seconds: %d", bits)
	}
	// Counters that were less before, as after a wrong restore, are no rate.
	if bits = visit(second, ^uint64(0)-1_000_000); bits > 5_000_000 {
		t.Errorf("backwards: %d", bits)
	}
}

func TestRate(t *testing.T) {
	var r Rate
	r.Add(1, 10)
	r.Add(1, 20)
	if r.Read(1) != 0 || r.Read(2) != 30 || r.Read(3) != 0 {
		t.Errorf("%d, %d, %d", r.Read(1), r.Read(2), r.Read(3))
	}
	r.Max(2, 7)
	r.Max(2, 5)
	if r.Read(2) != 30 || r.Read(3) != 7 {
		t.Errorf("%d, %d", r.Read(2), r.Read(3))
	}
}

func TestSourceLimits(t *testing.T) {
	now := 100 * second
	own := Source{Sessions: 3, Handshakes: 1}
	for range 20 {
		own.Connects.Add(now)
	}
	own.Bitrate.Add(6, 5_000_000)
	for _, c := range []struct {
		limits   SourceLimits
		others   SourceUsage
		level    Level
		replaces bool
		want     Limit
	}{
		{want: NoLimit},
		{limits: SourceLimits{Sessions: 5}, want: NoLimit},
		{limits: SourceLimits{Sessions: 4}, want: SourceSessions},
		{limits: SourceLimits{Sessions: 4}, replaces: true, want: NoLimit},
		{limits: SourceLimits{Sessions: 5}, others: SourceUsage{Sessions: 1}, want: SourceSessions},
		{limits: SourceLimits{Sessions: 5}, others: SourceUsage{Handshakes: 1}, level: LevelSubnet, want: SubnetSessions},
		{limits: SourceLimits{Connects: 3}, want: NoLimit},
		{limits: SourceLimits{Connects: 2}, want: SourceConnects},
		{limits: SourceLimits{Connects: 3}, others: SourceUsage{Connects: 10}, level: LevelSubnet, want: SubnetConnects},
		{limits: SourceLimits{Bitrate: 5_000_001}, want: NoLimit},
		{limits: SourceLimits{Bitrate: 5_000_000}, want: SourceBitrate},
		{limits: SourceLimits{Bitrate: 8_000_000}, others: SourceUsage{Bitrate: 3_000_000}, level: LevelSubnet, want: SubnetBitrate},
	} {
		if got := c.limits.Check(&own, &c.others, c.level, now, 7, c.replaces); got != c.want {
			t.Errorf("%+v: %v, want %v", c, got, c.want)
		}
	}
	if got := (&SourceLimits{Sessions: 1}).Check(nil, &SourceUsage{}, LevelSource, now, 7, false); got != NoLimit {
		t.Errorf("an unknown source: %v", got)
	}
}

func TestStreamLimits(t *testing.T) {
	s := Stream{Players: 2, BlockedUntil: 10 * second, Limits: StreamLimits{Players: 3}}
	for _, c := range []struct {
		publish  bool
		others   int32
		now      time.Duration
		replaces bool
		want     Limit
	}{
		{want: NoLimit},
		{others: 1, want: StreamPlayers},
		{others: 1, replaces: true, want: NoLimit},
		{publish: true, now: 9 * second, want: StreamBlocked},
		{publish: true, now: 10 * second, others: 9, want: NoLimit},
	} {
		if got := s.Check(c.publish, c.others, c.now, c.replaces); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

// A shard adds its own present figures to those that the others had when they were summed up.
func TestSums(t *testing.T) {
	sums := NewSums(3)
	p := prefix("192.0.2.1", LevelSource)
	report := func(shard int, sessions, players int32, at time.Duration) bool {
		var l Lister
		l.Source(p, SourceUsage{Sessions: sessions, Connects: uint32(sessions)})
		l.Stream("v/live/x", StreamUsage{Players: players})
		return sums.Publish(shard, l.Report(), at, second)
	}
	if !report(0, 1, 10, 5*second) || report(1, 2, 20, 5*second+1) || report(2, 4, 40, 6*second-1) {
		t.Error("not summed up once per interval")
	}
	if u := sums.Totals().OtherSource(0, p); u != (SourceUsage{}) {
		t.Errorf("before the first sum: %+v", u)
	}
	sums.Sum()
	if !report(0, 100, 1000, 6*second) {
		t.Error("not due")
	}
	for shard, want := range []int32{6, 5, 3} {
		u := sums.Totals().OtherSource(shard, p)
		if n := sums.Totals().OtherPlayers(shard, "v/live/x"); u.Sessions != want || u.Connects != uint32(want) || n != 10*want {
			t.Errorf("shard %d: the others have %+v, %d players; want %d", shard, u, n, want)
		}
	}
	if u := sums.Totals().OtherSource(1, prefix("192.0.2.2", LevelSource)); u != (SourceUsage{}) {
		t.Errorf("nobody has %+v", u)
	}
}

// Of too many sources the heaviest are listed.
func TestHeaviest(t *testing.T) {
	var l Lister
	const all = 5 * mostListed
	for k := range all {
		ip := addr.FromIP(netip.AddrFrom4([4]byte{10, byte(k >> 16), byte(k >> 8), byte(k)}))
		// Each is heavier than the one before, which keeps the most of them longest.
		l.Source(PrefixOf(ip, LevelSource), SourceUsage{Sessions: int32(k + 1)})
		l.Stream(fmt.Sprint(k), StreamUsage{Players: int32(all - k)})
	}
	r := l.Report()
	if len(r.Sources) != mostListed || len(r.Streams) != mostListed {
		t.Fatalf("%d sources, %d streams", len(r.Sources), len(r.Streams))
	}
	for _, u := range r.Sources {
		if u.Sessions <= all-mostListed {
			t.Fatalf("listed: %+v", u)
		}
	}
	for _, u := range r.Streams {
		if u.Players <= all-mostListed {
			t.Fatalf("listed: %+v", u)
		}
	}
	if r := l.Report(); !r.Empty() {
		t.Error("not empty after a report")
	}
}

func TestNames(t *testing.T) {
	seen := map[string]bool{}
	for _, l := range All() {
		if name := l.String(); name == "" || seen[name] {
			t.Errorf("limit %d: %q", l, name)
		}
		seen[l.String()] = true
	}
	if Limit(200).String() != "unknown" || len(seen) != int(StreamBlocked) {
		t.Error(len(seen))
	}
}
