package web

import (
	"fmt"

	"srtrelay/api/answer"
)

// The longest figures and names that there are: three figures and a unit of eight
// letters, an IPv6 address without zeros.
const (
	longAddress = "[2001:db8:85a3:8d3:1319:8a2e:370:7348]:40000"
	longRate    = 999.4e6
	longRTT     = 1234.5
	longLoss    = 99.94
)

func enlargeStream(s *answer.Stream) {
	s.Backend = answer.BackendRef{ID: longAddress, Address: longAddress}
	s.BitrateIn, s.BitrateOut, s.Sessions, s.Encrypted = longRate, longRate, 99_999, true
	s.CallerRTT, s.BackendRTT, s.CallerLoss, s.BackendLoss = ptr(longRTT), ptr(longRTT), ptr(longLoss), ptr(longLoss)
	s.BytesIn, s.BytesOut, s.Retransmitted = 999.4e12, 999.4e12, 12_345_678_901
}

func enlargeSession(s *answer.Session) {
	s.Caller, s.Backend = longAddress, answer.BackendRef{ID: longAddress, Address: longAddress}
	s.AgeSeconds = 86_399
	for _, w := range []*answer.Way{&s.ToBackend, &s.ToCaller} {
		w.Bitrate, w.PacketRate, w.Packets, w.Bytes, w.Retransmitted, w.Dropped = longRate, longRate/8/1344, 12_345_678_901, 999.4e12, 12_345_678, 1_234_567
	}
	for _, l := range []*answer.Leg{&s.CallerLeg, &s.BackendLeg} {
		l.RTTMillis, l.RTTVarianceMillis, l.LossPercent, l.TotalLossPercent = ptr(longRTT), ptr(longRTT), ptr(longLoss), ptr(longLoss)
	}
}

func enlargeBackends(l *answer.BackendList) {
	for i := range l.Backends {
		b := &l.Backends[i]
		b.ID, b.Address, b.Bitrate, b.Sessions, b.Streams = fmt.Sprintf("[2001:db8:85a3:8d3:1319:8a2e:370:734%d]:40000", i), longAddress, longRate, 99_999, 99_999
	}
}

func enlargeShards(l *answer.ShardList) {
	for i := range l.Shards {
		s := &l.Shards[i]
		s.Sessions, s.Packets, s.Bytes, s.KernelDrops = 100_000, s.Packets*7, s.Packets*7*1344, 12_345_678_901+s.KernelDrops*1000
	}
	l.Total.Sessions, l.Total.Packets, l.Total.Bytes = 12_345_678, l.Total.Packets*70, l.Total.Packets*70*1344
	l.Total.KernelDrops = 12_345_678_901 + l.Total.KernelDrops*1000
}
