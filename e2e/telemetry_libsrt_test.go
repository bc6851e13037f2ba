//go:build linux

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"srtrelay/api/answer"
	"srtrelay/internal/freeaddr"
	"srtrelay/internal/need"
	"srtrelay/internal/srttest"
)

// libsrtHeader is what libsrt's statistics add to the bytes of each packet: the
// headers of SRT, UDP and IPv4.
const libsrtHeader = 44

// libsrtStats is one report of srt-live-transmit: totals since the beginning.
type libsrtStats struct {
	Link struct {
		RTT float64 `json:"rtt"` // ms
	} `json:"link"`
	Send struct {
		Packets       float64 `json:"packets"`
		Retransmitted float64 `json:"packetsRetransmitted"`
		Bytes         float64 `json:"bytes"`
	} `json:"send"`
	Recv struct {
		Packets       float64 `json:"packets"`
		Lost          float64 `json:"packetsLost"`
		Retransmitted float64 `json:"packetsRetransmitted"`
		Bytes         float64 `json:"bytes"`
	} `json:"recv"`
}

// measuredTransmit is liveTransmit with a report for each message in a file.
func measuredTransmit(t *testing.T, file, from, to string) *program {
	t.Helper()
	tool := need.Tool(t, "srt-live-transmit")
	return startProgram(t, need.Tool(t, "stdbuf"), "-i0", "-o0", tool, "-a:no", "-chunk:1316", "-buffering:1",
		"-pf:json", "-s:1", "-f", "-statsout:"+file, from, to)
}

// reports reads what srt-live-transmit has reported: the last, and the median
// RTT of the second half. A peer that a busy machine stops for a moment reports
// a few round trips that are long for that alone.
func reports(t *testing.T, file string) (last libsrtStats, rtt float64) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	half := lines[len(lines)/2:]
	var rtts []float64
	for _, line := range half {
		var one libsrtStats
		if json.Unmarshal(line, &one) == nil { // the last may be half written
			last = one
			rtts = append(rtts, one.Link.RTT)
		}
	}
	return last, median(rtts)
}

// median is the middle of some numbers, which it sorts; 0 if there are none.
func median(of []float64) float64 {
	if len(of) == 0 {
		return 0
	}
	slices.Sort(of)
	return of[len(of)/2]
}

// observed is a stream between two libsrt peers through two networks.
type observed struct {
	t          *testing.T
	name       string
	relay      *relay
	sideBefore bool // loses on the caller's side, else on the backend's
	keyLen     int
	pub, sink  *program
	pubStats   string
	sinkStats  string

	caller, backend []float64 // RTTs of the two legs, in ms
}

// Both networks delay; a round trip takes 20 ms on the caller's side, 30 ms on
// the backend's.
const (
	callerDelay  = 10 * time.Millisecond
	backendDelay = 15 * time.Millisecond
)

// newObserved connects the two peers.
func newObserved(t *testing.T, sideBefore bool, keyLen int) *observed {
	dir := t.TempDir()
	o := &observed{
		t: t, sideBefore: sideBefore, keyLen: keyLen,
		pubStats: filepath.Join(dir, "pub.json"), sinkStats: filepath.Join(dir, "sink.json"),
	}
	at := freeaddr.New()
	// Enough for many tries at 50 ms each.
	options := "latency=1000"
	source := fmt.Sprintf("srt://%v?mode=listener&transtype=live&%s", at, options)
	if keyLen > 0 {
		secret := fmt.Sprintf("&passphrase=%s&pbkeylen=%d", passphrase, keyLen)
		source, options = source+secret, options+secret
	}
	o.sink = measuredTransmit(t, o.sinkStats, source, "file://con")
	behind := startLink(t, at, nil)
	o.relay = startRelay(t, "--shards", "1", backendAt(behind.Addr()))
	o.relay.awaitLog("backend alive", func(logLine) bool { return true })
	before := startLink(t, o.relay.addr, nil)
	o.name = "live/observed"
	o.pub = measuredTransmit(t, o.pubStats, "file://con", srtURL(before.Addr(), "#!::r="+o.name+",m=publish", options))
	if !o.pub.stderr.await(patience, func(b []byte) bool { return bytes.Contains(b, []byte("SRT target connected")) }) {
		t.Fatalf("the publisher did not connect:\n%s", o.pub.stderr.bytes())
	}
	for link, delay := range map[*srttest.Link]time.Duration{before: callerDelay, behind: backendDelay} {
		imp := srttest.Impairment{Delay: delay}
		if (link == before) == sideBefore {
			imp.Loss = 0.05
		}
		link.Impair(srttest.Up, imp)
		link.Impair(srttest.Down, imp)
	}
	return o
}

// session is what the API says of the stream's session.
func (o *observed) session() answer.Session {
	o.t.Helper()
	var list answer.SessionList
	o.relay.get("/api/v1/sessions?state=established&stream="+url.QueryEscape("__defaultVhost__/"+o.name), &list)
	if len(list.Sessions) != 1 {
		o.t.Fatalf("%d sessions", len(list.Sessions))
	}
	return list.Sessions[0]
}

// poll notes the present RTTs.
func (o *observed) poll() {
	s := o.session()
	if s.CallerLeg.RTTMillis == nil || s.BackendLeg.RTTMillis == nil {
		o.t.Errorf("no RTT: %+v, %+v", s.CallerLeg, s.BackendLeg)
		return
	}
	o.caller = append(o.caller, *s.CallerLeg.RTTMillis)
	o.backend = append(o.backend, *s.BackendLeg.RTTMillis)
}

// run feeds the publisher. The RTTs of the second half count: in the first,
// the smoothed ones of both peers come down from libsrt's first guess.
func (o *observed) run(lasting time.Duration) {
	const perSecond = 250
	n := int(lasting.Seconds() * perSecond)
	data := noise(uint64(o.keyLen), n)
	if err := o.pub.feed(data[:len(data)/2/messageSize*messageSize], lasting/2); err != nil {
		o.t.Fatal(err)
	}
	rest := data[len(data)/2/messageSize*messageSize:]
	const parts = 20
	for i := range parts {
		size := len(rest) / messageSize / parts * messageSize
		if err := o.pub.feed(rest[i*size:(i+1)*size], lasting/2/parts); err != nil {
			o.t.Fatal(err)
		}
		o.poll()
	}
	// The last messages may be lost for good: nothing comes after them.
	if !o.sink.stdout.awaitSize(patience, len(data)*98/100) {
		o.t.Errorf("%d of %d bytes arrived", o.sink.stdout.size(), len(data))
	}
}

// agree compares a number of the relay's to one of libsrt's.
func (o *observed) agree(what string, got, want, share, least float64) {
	o.t.Helper()
	if off := math.Abs(got - want); off > max(share*want, least) {
		o.t.Errorf("%s: the relay says %.2f, libsrt %.2f", what, got, want)
	}
}

// check holds the relay's numbers against those of whichever peer sees what the
// relay sees: the one behind the clean network.
func (o *observed) check() {
	s := o.session()
	for _, leg := range []answer.Leg{s.CallerLeg, s.BackendLeg} {
		if leg.RTTMillis == nil || leg.TotalLossPercent == nil {
			o.t.Fatalf("a leg without RTT or loss: %+v", leg)
		}
	}
	pub, pubRTT := reports(o.t, o.pubStats)
	sink, sinkRTT := reports(o.t, o.sinkStats)
	o.t.Logf("relay %+v\ncaller leg %v ms %v %%, backend leg %v ms %v %%\npublisher %+v rtt %.2f\nlistener %+v rtt %.2f", s.ToBackend,
		*s.CallerLeg.RTTMillis, *s.CallerLeg.TotalLossPercent,
		*s.BackendLeg.RTTMillis, *s.BackendLeg.TotalLossPercent, pub.Send, pubRTT, sink.Recv, sinkRTT)
	media := s.ToBackend
	packets, bytes, again := sink.Recv.Packets, sink.Recv.Bytes, sink.Recv.Retransmitted
	if !o.sideBefore {
		packets, bytes, again = pub.Send.Packets, pub.Send.Bytes, pub.Send.Retransmitted
	}
	// A report says what was before its message: a few packets are missing.
	const few = 6
	o.agree("packets", float64(media.DataPackets), packets, 0.02, few)
	o.agree("bytes", float64(media.DataBytes+libsrtHeader*media.DataPackets), bytes, 0.02, few*1360)
	o.agree("retransmissions", float64(media.Retransmitted), again, 0.02, few)

	lossy, clean := s.CallerLeg, s.BackendLeg
	if o.sideBefore {
		o.agree("lost before", float64(media.LostBefore), sink.Recv.Lost, 0.02, few)
	} else {
		// Some of what is sent again is not lost: the NAK crossed it.
		o.agree("lost behind", float64(media.LostBehind), packets-sink.Recv.Packets, 0.1, 2*few)
		lossy, clean = clean, lossy
	}
	if *lossy.TotalLossPercent < 3 || *lossy.TotalLossPercent > 7 {
		o.t.Errorf("%v %% lost on the lossy side, want 5", *lossy.TotalLossPercent)
	}
	if *clean.TotalLossPercent > 0.5 {
		o.t.Errorf("%v %% lost on the clean side", *clean.TotalLossPercent)
	}
	o.checkRTT(pubRTT, sinkRTT)
	o.checkTerms(s.SRT)
}

func (o *observed) checkRTT(pubRTT, sinkRTT float64) {
	caller, backend := median(o.caller), median(o.backend)
	o.agree("RTT, whole, by the publisher", caller+backend, pubRTT, 0.1, 2)
	o.agree("RTT, whole, by the listener", caller+backend, sinkRTT, 0.1, 2)
	// Which part is whose: the links know. A busy machine adds to both.
	if least := 2 * float64(callerDelay.Milliseconds()); caller < least-1 {
		o.t.Errorf("RTT %.2f ms on the caller's side, the link makes it %.0f", caller, least)
	}
	want := float64(callerDelay) / float64(callerDelay+backendDelay)
	if share := caller / (caller + backend); math.Abs(share-want) > 0.1 {
		o.t.Errorf("RTT %.2f and %.2f ms: %.2f of it on the caller's side, the links make it %.2f", caller, backend, share, want)
	}
}

func (o *observed) checkTerms(got answer.Negotiated) {
	want := answer.Negotiated{
		CallerVersion: got.CallerVersion, BackendVersion: got.BackendVersion,
		LatencyToBackendMillis: 1000, LatencyToCallerMillis: 1000,
		Encryption: "none", Congestion: got.Congestion,
	}
	if o.keyLen > 0 {
		want.Encryption, want.KeyLength = "aes-ctr", 8*o.keyLen
	}
	if got != want || got.CallerVersion == "" || got.CallerVersion != got.BackendVersion {
		o.t.Errorf("settled %+v, want %+v", got, want)
	}
}

// The telemetry of a relay that only looks on agrees with libsrt's own
// statistics, and says on which side the loss is.
func TestTelemetryAgreesWithLibsrt(t *testing.T) {
	t.Parallel()
	lasting, keys := 20*time.Second, []int{0, 16, 32}
	if testing.Short() {
		lasting, keys = 6*time.Second, []int{32}
	}
	for _, keyLen := range keys {
		for side, before := range map[string]bool{"caller": true, "backend": false} {
			t.Run(fmt.Sprintf("%s/aes=%d", side, 8*keyLen), func(t *testing.T) {
				t.Parallel()
				o := newObserved(t, before, keyLen)
				o.run(lasting)
				o.check()
			})
		}
	}
}
