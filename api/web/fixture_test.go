package web

import (
	"fmt"
	"math"
	"time"

	"srtrelay/api/answer"
)

// noon is when the fixtures happen.
var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

func ptr(v float64) *float64 { return &v }

var apps = []string{"live/stage", "live/studio", "sport/court", "news/van", "church/hall", "radio/booth", "conf/room", "race/car"}

// wave is a number that differs by stream and second, and is the same each run.
func wave(i, second int) float64 {
	return math.Sin(float64(second)*0.21+float64(i)) + 0.5*math.Sin(float64(second)*0.53+float64(i)*2.3) + 0.3*math.Sin(float64(second)*1.7+float64(i*i))
}

// streamAt is the i-th stream at a second.
func streamAt(i, second, history int) answer.Stream {
	bitrate := 9e6 / (1 + float64(i)*0.06)
	s := answer.Stream{
		Key:     fmt.Sprintf("__defaultVhost__/%s-%02d", apps[i%len(apps)], i/len(apps)+1),
		Backend: backendRef(i % 3), Publishers: 1, Players: (i * 7) % 12, Encrypted: i%3 == 1,
		Since:   noon.Add(-time.Duration(i+5) * 7 * time.Minute),
		BytesIn: uint64(4.2e9 / (1 + float64(i))), BytesOut: uint64(2.9e10 / (1 + float64(i))),
		Retransmitted: uint64(i * 37), Dropped: uint64(i % 4),
	}
	s.Sessions = s.Publishers + s.Players
	now := quality(i, second, bitrate)
	s.BitrateIn, s.BitrateOut = now[0], now[0]*float64(s.Players)
	s.CallerRTT, s.BackendRTT, s.CallerLoss, s.BackendLoss = &now[1], &now[2], &now[3], &now[4]
	s.Rated = s.Sessions
	if now[3] >= answer.NoticedLoss {
		s.CallerLossy = 1
	}
	if now[4] >= answer.NoticedLoss {
		s.BackendLossy = s.Sessions
	}
	if i%17 == 13 { // a session without media yet
		s.CallerRTT, s.BackendRTT, s.CallerLoss, s.BackendLoss = nil, nil, nil, nil
	}
	if history > 0 {
		s.History = historyOf(i, second, history, bitrate, s.Players)
	}
	return s
}

// quality is bitrate, RTTs and losses.
func quality(i, second int, bitrate float64) [5]float64 {
	w := wave(i, second)
	callerLoss, backendLoss := 0.0, 0.0
	switch {
	case i%11 == 2:
		callerLoss = math.Max(0.2, 4.6+1.3*w)
	case i%13 == 6:
		backendLoss = math.Max(0.1, 2.1+0.8*w)
	case i%7 == 3:
		callerLoss = math.Max(0, 0.12+0.2*w)
	}
	return [5]float64{bitrate * (1 + 0.06*w), 12 + float64(i*13%90) + 2.2*w, 0.6 + float64(i%3)*1.1 + 0.08*w, callerLoss, backendLoss}
}

func historyOf(i, second, length int, bitrate float64, players int) *answer.History {
	h := &answer.History{StepSeconds: 1, End: noon.Add(time.Duration(second) * time.Second)}
	for t := second - length + 1; t <= second; t++ {
		if i%9 == 8 && (t+1000)%60 < 5 { // a break in the stream
			for _, list := range []*[]*float64{&h.BitrateIn, &h.BitrateOut, &h.CallerRTT, &h.BackendRTT, &h.CallerLoss, &h.BackendLoss} {
				*list = append(*list, nil)
			}
			continue
		}
		q := quality(i, t, bitrate)
		h.BitrateIn = append(h.BitrateIn, ptr(q[0]))
		h.BitrateOut = append(h.BitrateOut, ptr(q[0]*float64(players)))
		h.CallerRTT = append(h.CallerRTT, ptr(q[1]))
		h.BackendRTT = append(h.BackendRTT, ptr(q[2]))
		h.CallerLoss = append(h.CallerLoss, ptr(q[3]))
		h.BackendLoss = append(h.BackendLoss, ptr(q[4]))
	}
	return h
}

func backendRef(i int) answer.BackendRef {
	return answer.BackendRef{ID: []string{"origin-a", "origin-b", "origin-c", "origin-d"}[i], Address: fmt.Sprintf("10.0.3.%d:10080", 11+i)}
}

func backendsAt(second int) answer.BackendList {
	l := answer.BackendList{Total: 4, Alive: 3}
	for i := range 4 {
		ref := backendRef(i)
		l.Backends = append(l.Backends, answer.Backend{
			ID: ref.ID, Address: ref.Address, Alive: i != 3, Late: false, Draining: i == 2, Source: []string{"registered", "registered", "static", "static"}[i],
			RegisteredAt: noon.Add(-50 * time.Hour), UpdatedAt: noon, Sessions: 118 - 31*i, Streams: 17 - 4*i, Weight: 1,
			Bitrate: (412e6 - 110e6*float64(i)) * (1 + 0.02*wave(i, second)),
		})
	}
	l.Backends[3].Bitrate, l.Backends[3].Sessions, l.Backends[3].Streams = 0, 0, 0
	return l
}

// shardsAt has counters that grow from second to second.
func shardsAt(n, second int) answer.ShardList {
	var l answer.ShardList
	l.Total = answer.Numbers{Drops: map[string]uint64{}, SendDrops: map[string]uint64{}, Counters: map[string]uint64{}}
	for i := range n {
		rate := uint64(9000 + 5200*(i*5%8))
		packets := rate * uint64(3600+second)
		s := answer.Shard{Shard: i, Numbers: answer.Numbers{
			Sessions: uint64(40 + i*3), HalfOpen: uint64(i % 2), Packets: packets, Bytes: packets * 1344, BatchFill: 11.4 + float64(i),
			Drops:     map[string]uint64{"foreign_caller": uint64(120 * i), "cookie": uint64(i), "closed": uint64(40 + i), "busy": 0, "short": 0, "duplicate": uint64(7 * i)},
			SendDrops: map[string]uint64{"send_buffer_full": 0, "send_too_big": 0}, Counters: map[string]uint64{"established": 12, "tombstones": uint64(i)},
		}}
		if i == 3 {
			s.KernelDrops = uint64(3600+second) / 4
		}
		l.Shards = append(l.Shards, s)
		add(&l.Total, s.Numbers)
	}
	l.KernelPath = answer.KernelPath{On: true, Sessions: 397, Devices: []answer.KernelDevice{
		{Name: "lo", Up: map[string]uint64{"pending": 412, "paused": 0}},
		{Name: "eth0", Up: map[string]uint64{"type": 12_391, "mtu": 3}},
		{Name: "wg0", Problem: "its packets have no Ethernet header", Up: map[string]uint64{}},
	}}
	l.Overload = answer.Overload{
		On: true, Step: "telemetry", Pressure: 0.825, Input: "memory",
		Inputs: []answer.OverloadInput{
			{Name: "sessions", Pressure: ptr(0.31), Detail: "248000 of 800000 sessions"},
			{Name: "memory", Pressure: ptr(0.825), Detail: "935 of 1024 MiB of cgroup /"},
			{Name: "drops"},
		},
		Steps: []answer.OverloadStep{{Name: "telemetry", Effect: "sessions are not measured", Active: true}, {Name: "players"}},
	}
	return l
}

func add(total *answer.Numbers, n answer.Numbers) {
	total.Sessions += n.Sessions
	total.HalfOpen += n.HalfOpen
	total.Packets += n.Packets
	total.Bytes += n.Bytes
	total.KernelDrops += n.KernelDrops
	for name, v := range n.Drops {
		total.Drops[name] += v
	}
	for name, v := range n.SendDrops {
		total.SendDrops[name] += v
	}
	for name, v := range n.Counters {
		total.Counters[name] += v
	}
}

// sessionsOf are the sessions of the i-th stream: a publisher and its players.
func sessionsOf(i, second int) []answer.Session {
	s := streamAt(i, second, 0)
	list := make([]answer.Session, 0, s.Sessions)
	for n := range s.Sessions {
		role := "player"
		if n == 0 {
			role = "publisher"
		}
		one := answer.Session{
			ID: fmt.Sprintf("%d-%d-1", i%8, i*100+n), Shard: i % 8, State: "established", Stream: s.Key,
			StreamID: "#!::r=" + s.Key[len("__defaultVhost__/"):] + ",m=" + map[string]string{"player": "request", "publisher": "publish"}[role],
			Role:     role, Caller: fmt.Sprintf("198.51.100.%d:%d", 10+n, 40000+i*31+n), Backend: s.Backend,
			CallerSocketID: uint32(0x2f000000 + i*100 + n), BackendSocketID: uint32(0x11000000 + i*100 + n),
			OpenedAt: s.Since, HandshakeMillis: 31.4 + float64(n), AgeSeconds: float64(300 + 61*n), IdleSeconds: 0.012,
			SRT: answer.Negotiated{
				CallerVersion: []string{"1.5.3", "1.4.4", "1.5.0"}[n%3], BackendVersion: "1.5.3", LatencyToBackendMillis: 200, LatencyToCallerMillis: 120 + 80*(n%2),
				Encryption: "none", Congestion: "live",
			},
			CallerLeg:  answer.Leg{RTTMillis: s.CallerRTT, RTTVarianceMillis: ptr(2.31), Measured: role == "publisher", LossPercent: s.CallerLoss, TotalLossPercent: ptr(3.07)},
			BackendLeg: answer.Leg{RTTMillis: s.BackendRTT, RTTVarianceMillis: ptr(0.11), Measured: role != "publisher", LossPercent: s.BackendLoss, TotalLossPercent: ptr(0)},
		}
		if s.Encrypted {
			one.SRT.Encryption, one.SRT.KeyLength, one.SRT.KeyRefreshes = "aes-ctr", 256, 2
		}
		media := answer.Way{
			Packets: 182344 + uint64(second), Bytes: 245_000_000, Bitrate: s.BitrateIn, PacketRate: s.BitrateIn / 8 / 1344, DataPackets: 180_001, DataBytes: 236_881_316,
			Retransmitted: 8123, LostBefore: 7999, LostBehind: 3, LostReported: 9011, Duplicated: 12, Reordered: 44, Dropped: 2, ACKs: 8800, NAKs: 512, ACKACKs: 8790,
			Receiver: &answer.Receiver{RTTMillis: 41.2, RTTVarianceMillis: 3.02, BufferPackets: 8054, PacketRate: 420, CapacityPackets: 91000, Bitrate: s.BitrateIn * 0.98},
		}
		back := answer.Way{Packets: 18102, Bytes: 1_020_400, Bitrate: 41_000, PacketRate: 99}
		one.ToBackend, one.ToCaller = media, back
		if role == "player" {
			one.ToBackend, one.ToCaller = back, media
		}
		list = append(list, one)
	}
	return list
}
