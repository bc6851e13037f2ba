package shard

import (
	"net"
	"testing"
	"time"

	"srtrelay/addr"
	"srtrelay/backend"
	"srtrelay/handshake"
	"srtrelay/shard/limit"
	"srtrelay/wire"
)

// knock sends a CONCLUSION of a caller that the shard has not seen.
func (r *rig) knock(c *net.UDPConn, id uint32) {
	r.t.Helper()
	r.send(c, conclusion(id, callerISN, r.cookie(c, id), 1))
}

// wantAtLimit wants a rejection at a limit.
func (r *rig) wantAtLimit(c *net.UDPConn, code handshake.Code, at limit.Limit) {
	r.t.Helper()
	r.expect(c, wire.HandshakeType(code))
	if e := r.lastEvent(EventCallerRejected); e.Limit != at || e.Code != code {
		r.t.Errorf("limit %q, code %v, want %q, %v", e.Limit, e.Code, at, code)
	}
}

// One connect per second lets ten in at once: ffmpeg retries eight times. What is refused does
// not count, so that a caller that goes on is let in again.
func TestConnectsPerSource(t *testing.T) {
	r := newRig(t, func(c *Config) { c.MaxConnectsPerSource, c.MaxHalfOpenPerSource = 1, 50 })
	r.balancer.hold = true
	r.elapse(limit.WindowLength - r.now%limit.WindowLength) // to the beginning of one
	r.settle()
	for id := range uint32(10) {
		r.knock(r.caller, callerID+id)
		r.expectNothing(r.caller)
	}
	r.knock(r.caller, callerID+10)
	r.wantAtLimit(r.caller, handshake.CodeOverload, limit.SourceConnects)
	if r.count(CountHandshakes) != 10 || r.count(CountAtSourceConnects) != 1 {
		t.Errorf("counters %v", r.nonzero())
	}
	r.pass(limit.WindowLength + limit.WindowLength/5)
	other := r.dialFront() // the first one has the rejections of those that got no answer
	r.knock(other, callerID+11)
	r.expectNothing(other)
	if r.count(CountHandshakes) != 11 {
		t.Errorf("counters %v", r.nonzero())
	}
}

// A source that goes on after so many rejections gets none any more. A caller that may come in
// is let in all the same.
func TestSilenceTowardsASource(t *testing.T) {
	r := newRig(t, func(c *Config) { c.MaxSessionsPerSource = 1 })
	r.establish(r.caller, callerID, callerISN, backendID)
	r.elapse(limit.WindowLength - r.now%limit.WindowLength)
	r.settle()
	cookie := r.cookie(r.caller, callerID+1)
	for id := range uint32(answeredRefusals) {
		r.send(r.caller, conclusion(callerID+1+id, callerISN, cookie, 1))
		r.expect(r.caller, wire.HandshakeType(handshake.CodeOverload))
	}
	for id := range uint32(1000) {
		r.send(r.caller, conclusion(callerID+1000+id, callerISN, cookie, 1))
	}
	r.expectNothing(r.caller)
	if r.count(DropSilenced) != 1000 || r.count(CountRejected) != answeredRefusals || r.count(CountAtSourceSessionCap) != 1000+answeredRefusals {
		t.Errorf("counters %v", r.nonzero())
	}
	if n := r.usage.sources.Find(limit.PrefixOf(fromConn(r.caller).IP, limit.LevelSource)); n.Refused != 1000+answeredRefusals || n.Last != limit.SourceSessions {
		t.Errorf("%+v", n)
	}
	l := r.limits
	l.MaxSessionsPerSource = 2
	r.setLimits(l)
	r.establish(r.caller, callerID+5000, callerISN, backendID+1)
}

// Callers of one /24 count together, and what refuses one of them leaves others alone.
func TestSubnets(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Subnet.Sessions = 2 })
	r.establish(r.caller, callerID, callerISN, backendID)
	r.establish(r.dialFrontFrom("127.0.0.2"), callerID+1, callerISN, backendID+1)
	third := r.dialFrontFrom("127.0.0.3")
	r.knock(third, callerID+2)
	r.wantAtLimit(third, handshake.CodeOverload, limit.SubnetSessions)
	r.establish(r.dialFrontFrom("127.0.1.3"), callerID+2, callerISN, backendID+2)
	if r.count(CountAtSubnetSessions) != 1 || r.usage.sources.Held() != 3+2 {
		t.Errorf("%d sources, counters %v", r.usage.sources.Held(), r.nonzero())
	}
}

// asPlayer makes a conclusion's caller a player of a stream.
func asPlayer(stream string, id, cookie uint32) wire.Handshake {
	b := conclusion(id, callerISN, cookie, 1)
	b = b[:len(b)-len("#!::r=live/x,m=publish")-2-4] // its stream ID block, which is padded
	return wire.Handshake(wire.AppendString(b, wire.BlockSID, "#!::m=request,r=live/"+stream))
}

// The next player of a stream is refused, its publisher is not, and a tombstone does not count.
func TestPlayersPerStream(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Stream.Players = 1 })
	play := func(id, peer uint32, stream string) {
		t.Helper()
		r.send(r.caller, asPlayer(stream, id, r.cookie(r.caller, id)))
		h, upstream := r.answerInduction()
		r.reply(upstream, accept(h, peer))
		r.expect(r.caller, wire.HandshakeConclusion)
	}
	r.establish(r.caller, callerID, callerISN, backendID)
	play(callerID+1, backendID+1, "x")
	r.send(r.caller, asPlayer("x", callerID+2, r.cookie(r.caller, callerID+2)))
	r.wantAtLimit(r.caller, handshake.CodeOverload, limit.StreamPlayers)
	play(callerID+3, backendID+3, "y")
	r.send(r.caller, wire.AppendShutdown(nil, 0, backendID+1))
	r.expectShutdown(r.backend, backendID+1)
	play(callerID+4, backendID+4, "x")
	if st := r.usage.streams.Find("__defaultVhost__/live/x"); st.Players != 1 || st.Publishers != 1 || r.count(CountAtStreamPlayers) != 1 {
		t.Errorf("%+v, counters %v", st, r.nonzero())
	}
}

// stream sends media of some bit/s for some seconds, and has the backend read it.
func (r *rig) stream(bits, seconds int) {
	r.t.Helper()
	for range seconds {
		for range bits / 8 / 1000 {
			must(r.t, r.caller, packet(backendID, 1000))
			r.turn()
		}
		r.pass(time.Second)
	}
	for b, _ := r.receiveNow(r.backend, make([]byte, 2048)); b != nil; b, _ = r.receiveNow(r.backend, make([]byte, 2048)) {
		if wire.Packet(b).IsControl() {
			r.t.Fatalf("received %x among the media", b)
		}
	}
}

// A publisher above its bitrate gets an event and a grace. Then both sides get a SHUTDOWN, and
// its stream's publishers are refused for a while.
func TestBitrateOfAStream(t *testing.T) {
	r := newRig(t, func(c *Config) {
		c.Stream.Bitrate, c.LimitGrace, c.LimitBlock = 400_000, 6*time.Second, time.Minute
		c.BackendSilence = time.Hour
	})
	r.establish(r.caller, callerID, callerISN, backendID)
	id := r.lastEvent(EventSessionBegun).Session
	r.stream(200_000, 10)
	r.stream(1_200_000, 1) // a burst
	r.stream(200_000, 8)
	if r.count(CountStreamsOverLimit) != 0 {
		t.Fatalf("over its limit by a burst; counters %v", r.nonzero())
	}
	r.stream(800_000, 6)
	e := r.lastEvent(EventStreamOverLimit)
	if e.Session != id || e.MaxBitrate != 400_000 || e.Bitrate <= 400_000 || e.Bitrate > 850_000 || !e.Publish {
		t.Errorf("%+v", e)
	}
	for k := 0; r.count(CountTombstones) == 0 && k < 6; k++ { // the grace
		for range 100 {
			must(t, r.caller, packet(backendID, 1000))
			r.turn()
		}
		r.pass(time.Second)
	}
	if e := r.lastEvent(EventSessionEnded); e.Session != id || e.Cause != CauseOverLimit || e.Cause.String() != "over limit" {
		t.Fatalf("%+v", e)
	}
	r.expectShutdown(r.caller, callerID)
	if r.count(CountStreamsOverLimit) != 1 || r.count(CountStreamsBlocked) != 1 || len(r.usage.over) != 0 {
		t.Errorf("counters %v, %v above", r.nonzero(), r.usage.over)
	}
	r.knock(r.caller, callerID+1)
	r.wantAtLimit(r.caller, handshake.CodeForbidden, limit.StreamBlocked)
	r.pass(tombstoneTTL + time.Minute)
	r.drainBackend()
	r.establish(r.caller, callerID+2, callerISN, backendID+2)
	if st := r.usage.streams.Find("__defaultVhost__/live/x"); st == nil || st.BlockedUntil != 0 && st.BlockedUntil > r.now {
		t.Errorf("%+v", st)
	}
}

func (r *rig) drainBackend() {
	for b, _ := r.receive(r.backend); b != nil; b, _ = r.receive(r.backend) {
	}
}

// Another shard refuses the stream's publishers, too, and so does the next process.
func TestBlocksAreShared(t *testing.T) {
	r := newRig(t)
	r.blockStream("__defaultVhost__/live/x", r.now+time.Minute)
	r.blockStream("__defaultVhost__/live/y", r.now-1)
	if r.usage.streams.Len() != 1 {
		t.Fatalf("%d blocked", r.usage.streams.Len())
	}
	r.takeOver()
	r.knock(r.caller, callerID)
	r.wantAtLimit(r.caller, handshake.CodeForbidden, limit.StreamBlocked)
	r.send(r.caller, asPlayer("x", callerID+1, r.cookie(r.caller, callerID+1)))
	if r.count(CountHandshakes) != 1 {
		t.Errorf("a player is refused: %v", r.nonzero())
	}
}

// The bitrate of a source's sessions keeps further ones out.
func TestBitrateOfASource(t *testing.T) {
	r := newRig(t, func(c *Config) {
		c.MaxBitratePerSource, c.Stream.Bitrate, c.BackendSilence = 300_000, 1_000_000, time.Hour
	})
	r.establish(r.caller, callerID, callerISN, backendID)
	r.stream(400_000, 7)
	other := r.dialFront()
	r.knock(other, callerID+1)
	r.wantAtLimit(other, handshake.CodeOverload, limit.SourceBitrate)
	// Another goroutine sums up what is published.
	var u limit.SourceUsage
	for k := 0; u.Bitrate < 300_000 && k < 5000; k++ {
		time.Sleep(time.Millisecond)
		u = r.owner.Usage().Sources[limit.PrefixOf(fromConn(r.caller).IP, limit.LevelSource)]
	}
	if u.Sessions != 1 || u.Bitrate < 300_000 || u.Bitrate > 450_000 {
		t.Errorf("published %+v", u)
	}
	if e := r.owner.Usage().Streams["__defaultVhost__/live/x"]; e.Publishers != 1 || e.Bitrate < 300_000 {
		t.Errorf("published %+v", e)
	}
	r.stream(100_000, 7)
	r.establish(other, callerID+2, callerISN, backendID+2)
}

// What other shards have counts, as of the last sum.
func TestLimitsOfAllShards(t *testing.T) {
	r := newRig(t, func(c *Config) { c.MaxSessionsPerSource, c.Stream.Players = 3, 3 })
	r.usage.sums = limit.NewSums(2)
	source := limit.PrefixOf(fromConn(r.caller).IP, limit.LevelSource)
	others := func(sessions int32) {
		var l limit.Lister
		l.Source(source, limit.SourceUsage{Sessions: sessions})
		l.Stream("__defaultVhost__/live/x", limit.StreamUsage{Players: sessions})
		r.usage.sums.Publish(1, l.Report(), r.now, listEvery)
		r.usage.sums.Sum()
	}
	others(2)
	r.establish(r.caller, callerID, callerISN, backendID)
	r.knock(r.caller, callerID+1)
	r.wantAtLimit(r.caller, handshake.CodeOverload, limit.SourceSessions)
	r.pass(listEvery + listGap)
	r.pass(listGap)
	others(1) // the sum has the shard's own session as well
	r.establish(r.caller, callerID+2, callerISN, backendID+2)
	r.knock(r.caller, callerID+3)
	r.wantAtLimit(r.caller, handshake.CodeOverload, limit.SourceSessions)
	l := r.limits
	l.MaxSessionsPerSource = 0
	r.setLimits(l)
	others(3)
	r.send(r.caller, asPlayer("x", callerID+4, r.cookie(r.caller, callerID+4)))
	r.wantAtLimit(r.caller, handshake.CodeOverload, limit.StreamPlayers)
}

// Rules come before the settings, for a network and for a pattern of streams, and a change of
// them counts at once.
func TestLimitsOfRules(t *testing.T) {
	r := newRuled(t, `
limits:
  source: {sessions: 1}
  stream: {bitrate: 1Mbps}
  sources:
    - network: 127.0.0.2
      source: {sessions: none}
  streams:
    - stream: "*/live/x"
      bitrate: 2Mbps
`)
	r.establish(r.caller, callerID, callerISN, backendID)
	r.knock(r.caller, callerID+1)
	r.wantAtLimit(r.caller, handshake.CodeOverload, limit.SourceSessions)
	free := r.dialFrontFrom("127.0.0.2")
	r.establish(free, callerID, callerISN, backendID+1)
	r.establish(free, callerID+1, callerISN, backendID+2)
	st := r.usage.streams.Find("__defaultVhost__/live/x")
	if l := r.limitsOfStream(st, "__defaultVhost__/live/x"); l.Bitrate != 2_000_000 {
		t.Errorf("%+v", l)
	}
	r.lay(`limits: {source: {sessions: 2}}`)
	r.establish(r.caller, callerID+2, callerISN, backendID+3)
	if l := r.limitsOfStream(st, "__defaultVhost__/live/x"); l.Bitrate != 0 {
		t.Errorf("%+v", l)
	}
}

// A stream has an entry only while it has limits, so that others take no memory. When it gets
// limits, by the rules or the settings, those that are there count; a tombstone does not. So it is
// in the next process, which has limits of its own.
func TestStreamsWithoutLimitsHaveNoEntry(t *testing.T) {
	const key = "__defaultVhost__/live/x"
	r := newRuled(t, "")
	r.establish(r.caller, callerID, callerISN, backendID)
	r.establish(r.caller, callerID+1, callerISN, backendID+1)
	r.establish(r.caller, callerID+2, callerISN, backendID+2)
	r.send(r.caller, wire.AppendShutdown(nil, 0, backendID+2))
	caller := fromConn(r.caller)
	_, player := r.sessions.byCaller(0, &caller, callerID+1)
	player.publisher = false
	want := func(when string, players, publishers int32) {
		t.Helper()
		r.pass(sweepEvery)
		st := r.usage.streams.Find(key)
		switch {
		case players+publishers == 0:
			if st != nil || r.usage.streams.Len() != 0 {
				t.Errorf("%s: %+v", when, st)
			}
		case st == nil || st.Players != players || st.Publishers != publishers || r.usage.streams.Held() != 1:
			t.Errorf("%s: %+v", when, st)
		}
	}
	want("without limits", 0, 0)
	r.lay(`limits: {streams: [{stream: "*/live/x", players: 1}]}`)
	want("limits of the rules", 1, 1)
	r.send(r.caller, asPlayer("x", callerID+3, r.cookie(r.caller, callerID+3)))
	r.wantAtLimit(r.caller, handshake.CodeOverload, limit.StreamPlayers)
	r.lay(`limits: {streams: [{stream: "*/live/y", players: 1}]}`)
	want("limits of another stream", 0, 0)
	l := r.limits
	l.Stream.Bitrate = 1_000_000
	r.setLimits(l)
	want("limits of the settings", 1, 1)
	r.send(r.caller, wire.AppendShutdown(nil, 0, backendID+1))
	want("without the player", 0, 1)
	r.takeOver(func(c *Config) { c.Stream.Bitrate = 1_000_000 })
	want("in the next process", 0, 1)
	r.lay("")
	l.Stream = limit.StreamLimits{}
	r.setLimits(l)
	want("without limits again", 0, 0)
}

// A session whose caller moves counts at its new address, and every account ends with its
// session.
func TestMovedSessionsCountElsewhere(t *testing.T) {
	r := newRig(t)
	r.establish(r.caller, callerID, callerISN, backendID)
	r.establish(r.caller, callerID+1, callerISN, backendID+1)
	there := addr.From(addrOf(r.dialFrontFrom("127.0.9.9"))).IP
	r.usage.moved(0, there)
	here := r.usage.sources.Find(limit.PrefixOf(fromConn(r.caller).IP, limit.LevelSource))
	if n := r.usage.sources.Find(limit.PrefixOf(there, limit.LevelSubnet)); here.Sessions != 1 || n.Sessions != 1 {
		t.Errorf("%+v, %+v", here, n)
	}
	for _, id := range []uint32{backendID, backendID + 1} {
		r.send(r.caller, wire.AppendShutdown(nil, 0, id))
	}
	r.pass(tombstoneTTL + wheelTick)
	r.wantEmpty()
	r.pass(2 * limit.WindowLength)
	for range 4 {
		r.pass(listEvery)
	}
	if r.usage.sources.Len() != 0 || r.usage.listed {
		t.Errorf("%d sources left, listed %v", r.usage.sources.Len(), r.usage.listed)
	}
	if _, due := r.usageDue(); due {
		t.Error("something is due in a shard that has nothing")
	}
}

// Forged INDUCTIONs leave time for callers that have proven their address.
func TestForgedInductionsLeaveTime(t *testing.T) {
	r := newRig(t)
	b := &r.admission.budget
	b.media = true
	b.at = r.now
	b.begin(r.now+time.Second, b.bytes, b.opened)
	b.media = true
	flood := 0
	for k := range 1_000_000 {
		ip := fromConn(r.caller).IP
		ip[12], ip[13], ip[14], ip[15] = 10, byte(k>>16), byte(k>>8), byte(k)
		if r.admission.affordsInduction(ip) {
			flood++
		}
	}
	if flood == 0 || flood > int(handshakeBurst*inductionPart/4/inductionCost) {
		t.Errorf("%d INDUCTIONs", flood)
	}
	honest := 0
	for r.admission.affords(fromConn(r.caller).IP, conclusionCost) {
		honest++
	}
	if want := int(handshakeBurst / 4 / conclusionCost / 2); honest < want {
		t.Errorf("%d CONCLUSIONs, want %d or more", honest, want)
	}
}

// A carrier's NAT with a thousand callers works with the default limits.
func TestThousandCallersOfOneAddress(t *testing.T) {
	const callers = 1000
	r := newRig(t, func(c *Config) {
		c.MaxSessions, c.MaxHalfOpen, c.MaxHalfOpenPerSource = 100_000, 8192, 4096
		c.MaxSessionsPerSource, c.Subnet.Sessions, c.MaxConnectsPerSource, c.Subnet.Connects = 20_000, 50_000, 2000, 5000
		c.Resolver = &quietBalancer{c.Resolver.(*fakeBalancer)}
	})
	cookie := r.cookie(r.caller, callerID)
	for again := range uint32(3) { // and again, after the first have ended
		for id := range uint32(callers) {
			r.send(r.caller, conclusion(callerID+again*callers+id, callerISN, cookie, 1))
		}
	}
	if r.count(CountHandshakes) != 3*callers || r.count(CountRejected) != 0 {
		t.Errorf("counters %v", r.nonzero())
	}
}

// quietBalancer never answers.
type quietBalancer struct{ *fakeBalancer }

func (quietBalancer) Resolve(backend.Query, func(backend.Target, error) bool) bool { return true }
