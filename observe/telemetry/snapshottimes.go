package telemetry

import (
	"encoding/binary"
	"time"

	"srtrelay/internal/message"
)

// Times of 32 bits are of use for ackTimeout only. A snapshot has them as ages, with what
// they are the time of, in pairs of 4 bytes each; older ones are left out.

const pairSize = 8

func appendPair(b []byte, what, age uint32) []byte {
	return binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(b, what), age)
}

// pairs calls fn for each pair of a field, with the time in place of the age.
func pairs(m *message.Reader, now time.Duration, fn func(what, at uint32)) {
	b := m.Bytes()
	if len(b)%pairSize != 0 {
		m.Refuse("no pairs")
		return
	}
	for ; len(b) > 0; b = b[pairSize:] {
		fn(binary.LittleEndian.Uint32(b), (stamp(now)-binary.LittleEndian.Uint32(b[4:]))|1)
	}
}

// inUse reports whether a time of 32 bits is still of use, and how old it is.
func inUse(now time.Duration, at uint32) (age uint32, ok bool) {
	age = stamp(now) - at
	return age, at != 0 && age <= uint32(ackTimeout/time.Microsecond)
}

func (a *ackTimer) appendSnapshot(b []byte, now time.Duration) []byte {
	b = message.AppendUint(b, recordRTT, a.rtt)
	b = message.AppendUint(b, recordRTTVar, a.rttVar)
	b = message.AppendBool(b, recordTimed, a.timed)
	// From the oldest on.
	b = appendACKs(b, recordRecentACKs, now, a.recent[a.turn:], a.recent[:a.turn])
	return appendACKs(b, recordKeptACKs, now, a.kept[:], nil)
}

// appendACKs appends the ACKs of two lists that have no ACKACK yet.
func appendACKs(b []byte, n message.Number, now time.Duration, lists ...[]ackTime) []byte {
	var buf [len(ackTimer{}.recent) * pairSize]byte
	list := buf[:0]
	for _, acks := range lists {
		for _, w := range acks {
			if age, ok := inUse(now, w.at); ok {
				list = appendPair(list, w.number, age)
			}
		}
	}
	return message.AppendBytes(b, n, list)
}

func (a *ackTimer) restore(m *message.Reader, now time.Duration) {
	switch m.Number() {
	case recordRTT:
		a.rtt = message.Uint[uint32](m)
	case recordRTTVar:
		a.rttVar = message.Uint[uint32](m)
	case recordTimed:
		a.timed = m.Bool()
	case recordRecentACKs:
		pairs(m, now, func(number, at uint32) {
			a.recent[a.turn] = ackTime{number, at}
			a.turn = (a.turn + 1) % uint8(len(a.recent))
		})
	case recordKeptACKs:
		k := 0
		pairs(m, now, func(number, at uint32) {
			if k < len(a.kept) {
				a.kept[k] = ackTime{number, at}
				k++
			}
		})
	}
}

// appendNoted appends the notes, from the oldest on. After ackTimeout a note is as good as
// none: see roundTrip.
func (r *record) appendNoted(b []byte, now time.Duration) []byte {
	if r.noted[0].at == 0 {
		return b // the first note is stored there
	}
	var buf [len(r.noted) * pairSize]byte
	list := buf[:0]
	for k := range r.noted {
		o := &r.noted[(int(r.nextNote)+k)%len(r.noted)]
		if age, ok := inUse(now, o.at); ok {
			list = appendPair(list, o.packet, age)
		}
	}
	return message.AppendBytes(b, recordNoted, list)
}

func (r *record) restoreNoted(m *message.Reader, now time.Duration) {
	pairs(m, now, func(packet, at uint32) {
		r.noted[r.nextNote] = notedPacket{at: at, packet: packet}
		r.nextNote = (r.nextNote + 1) % uint8(len(r.noted))
	})
}

// Fields of Terms.
const (
	termsCallerVersion    message.Number = 1
	termsBackendVersion   message.Number = 2
	termsCallerFlags      message.Number = 3
	termsBackendFlags     message.Number = 4
	termsLatencyToBackend message.Number = 5
	termsLatencyToCaller  message.Number = 6
	termsGroupID          message.Number = 7
	termsGroupType        message.Number = 8
	termsCipher           message.Number = 9
	termsKeyLen           message.Number = 10
	termsFilter           message.Number = 11
	termsCongestion       message.Number = 12
)

// AppendSnapshot appends the terms.
func (t *Terms) AppendSnapshot(b []byte) []byte {
	b = message.AppendUint(b, termsCallerVersion, t.CallerVersion)
	b = message.AppendUint(b, termsBackendVersion, t.BackendVersion)
	b = message.AppendUint(b, termsCallerFlags, t.callerFlags)
	b = message.AppendUint(b, termsBackendFlags, t.backendFlags)
	b = message.AppendUint(b, termsLatencyToBackend, t.LatencyToBackend)
	b = message.AppendUint(b, termsLatencyToCaller, t.LatencyToCaller)
	b = message.AppendFixed32(b, termsGroupID, t.GroupID)
	b = message.AppendUint(b, termsGroupType, t.GroupType)
	b = message.AppendUint(b, termsCipher, t.Cipher)
	b = message.AppendUint(b, termsKeyLen, t.KeyLen)
	if t.Names != nil {
		b = message.AppendBytes(b, termsFilter, t.Names.Filter)
		b = message.AppendBytes(b, termsCongestion, t.Names.Congestion)
	}
	return b
}

// Restore reads what AppendSnapshot has appended.
func (t *Terms) Restore(b []byte) error {
	var names Names
	m := message.Read(b)
	for m.Next() {
		switch m.Number() {
		case termsCallerVersion:
			t.CallerVersion = message.Uint[uint32](&m)
		case termsBackendVersion:
			t.BackendVersion = message.Uint[uint32](&m)
		case termsCallerFlags:
			t.callerFlags = message.Uint[uint16](&m)
		case termsBackendFlags:
			t.backendFlags = message.Uint[uint16](&m)
		case termsLatencyToBackend:
			t.LatencyToBackend = message.Uint[uint16](&m)
		case termsLatencyToCaller:
			t.LatencyToCaller = message.Uint[uint16](&m)
		case termsGroupID:
			t.GroupID = message.Uint[uint32](&m)
		case termsGroupType:
			t.GroupType = message.Uint[uint8](&m)
		case termsCipher:
			t.Cipher = message.Uint[Cipher](&m)
		case termsKeyLen:
			t.KeyLen = message.Uint[uint8](&m)
		case termsFilter:
			names.Filter = m.String()
		case termsCongestion:
			names.Congestion = m.String()
		}
	}
	if names != (Names{}) {
		t.Names = &names
	}
	return m.Err()
}
