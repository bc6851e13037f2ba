package balancer

import (
	"math"
	"time"

	"srtrelay/backend"
	"srtrelay/internal/message"
)

// snapshotVersion is the version of what Memory.AppendSnapshot writes.
const snapshotVersion = 1

// Fields of the snapshot of a Memory. Times within it count from its origin. A backend
// is the index of its ID, and a binding its own index, each plus 1.
const (
	memoryOrigin   message.Number = 2
	memorySalt     message.Number = 3
	memoryHashKey  message.Number = 4 // twice
	memoryBackend  message.Number = 5 // an ID; before all that refers to it
	memoryBinding  message.Number = 6
	memorySlots    message.Number = 7 // the number of leases and free slots that follow
	memoryLease    message.Number = 8
	memoryFree     message.Number = 9 // the last lease of a slot that is free
	memoryYoung    message.Number = 10
	memoryRecent   message.Number = 11
	memoryRecord   message.Number = 12
	memorySince    message.Number = 13
	memoryCaller   message.Number = 14
	memoryCohort   message.Number = 15
	memoryJudged   message.Number = 16
	memoryBindings message.Number = 17 // the number of bindings that follow
	memoryUnjudged message.Number = 18
)

// Fields of a binding, and of a placement beside its current one.
const (
	bindingAt      message.Number = 1
	bindingProven  message.Number = 2
	bindingStream  message.Number = 3
	bindingGroup   message.Number = 4
	bindingEmptied message.Number = 5
	bindingOther   message.Number = 6
)

// Fields of a lease.
const (
	leaseNumber      message.Number = 1
	leaseAt          message.Number = 2
	leaseGroup       message.Number = 3
	leaseStream      message.Number = 4
	leaseCaller      message.Number = 5
	leaseSource      message.Number = 6
	leaseRequest     message.Number = 7
	leasePublish     message.Number = 8
	leaseChosen      message.Number = 9
	leaseEstablished message.Number = 10
	leaseSurvived    message.Number = 11
	leaseProven      message.Number = 12
	leaseTrial       message.Number = 13
)

// Fields of a young session.
const (
	youngMilestone message.Number = 1
	youngLease     message.Number = 2
	youngBegun     message.Number = 3
)

// Fields of a backend's recent placements.
const (
	recentAt    message.Number = 1
	recentCount message.Number = 2
	recentSince message.Number = 3
)

// encoder writes the snapshot of a Memory, whose lock is held.
type encoder struct {
	*Memory
	backends map[backend.ID]uint32 // index plus 1
}

// AppendSnapshot appends all that another process needs to go on as this balancer: leases
// with their numbers, bindings, ejections and the evidence for them. boot is when
// CLOCK_MONOTONIC was 0, by the clock of this process.
func (m *Memory) AppendSnapshot(b []byte, boot time.Time) []byte {
	snap := m.registry.Snapshot()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.advance(snap)
	m.bindings.expire(m.clock() - m.Affinity)
	e := encoder{m, make(map[backend.ID]uint32)}
	b = message.AppendVersion(b, snapshotVersion)
	b = message.AppendInstant(b, memoryOrigin, m.origin, boot)
	b = message.AppendBytes(b, memorySalt, m.salt)
	b = message.AppendFixed64(b, memoryHashKey, m.evidence.key.k0)
	b = message.AppendFixed64(b, memoryHashKey, m.evidence.key.k1)
	b = e.appendBackends(b)
	b = e.appendBindings(b)
	b = e.appendLeases(b)
	for k, list := range m.young {
		for _, s := range list {
			b = appendYoung(b, k, s)
		}
	}
	for id, d := range m.recent {
		out, mark := message.Open(b, memoryRecent)
		out = message.AppendUint(out, recentAt, e.backends[id])
		out = message.AppendFixed64(out, recentCount, math.Float64bits(d.n))
		b = message.Close(appendAge(out, recentSince, d.at), mark)
	}
	b = e.appendRecords(b)
	b = e.appendEvidence(b)
	b = message.AppendBool(b, memoryUnjudged, m.unjudged)
	return appendAge(b, memoryJudged, m.judged)
}

// appendBackends appends the IDs of all backends that the state names, and sets their
// indices.
func (e *encoder) appendBackends(b []byte) []byte {
	note := func(id backend.ID) {
		if id != "" && e.backends[id] == 0 {
			e.backends[id] = uint32(len(e.backends) + 1)
			b = message.AppendBytes(b, memoryBackend, id)
		}
	}
	for bound := range e.bindings.all() {
		note(bound.current.at)
		for _, other := range bound.others() {
			note(other.at)
		}
	}
	for id := range e.load { // of all leases
		note(id)
	}
	for id := range e.recent {
		note(id)
	}
	for id := range e.records {
		note(id)
	}
	for _, callers := range e.evidence.callers {
		for _, c := range callers {
			for k := range c.failures {
				note(c.failures[k].at)
				note(c.failures[k].survivedAt)
			}
		}
	}
	return b
}

func (e *encoder) appendBindings(b []byte) []byte {
	b = message.AppendUint(b, memoryBindings, uint64(e.bindings.count))
	index := uint32(0)
	for bound := range e.bindings.all() {
		index++
		bound.index = index
		out, mark := message.Open(b, memoryBinding)
		out = e.appendPlacement(out, &bound.current)
		out = message.AppendBytes(out, bindingStream, bound.stream)
		out = message.AppendUint(out, bindingGroup, bound.group)
		out = appendAge(out, bindingEmptied, bound.emptied)
		for _, p := range bound.others() {
			other, at := message.Open(out, bindingOther)
			out = message.Close(e.appendPlacement(other, &p), at)
		}
		b = message.Close(out, mark)
	}
	return b
}

func (b *binding) indexOrZero() uint32 {
	if b == nil {
		return 0
	}
	return b.index
}

// appendPlacement appends a placement. Its counts are those of its leases.
func (e *encoder) appendPlacement(b []byte, p *placement) []byte {
	b = message.AppendUint(b, bindingAt, e.backends[p.at])
	return message.AppendBool(b, bindingProven, p.proven)
}

func (e *encoder) appendLeases(b []byte) []byte {
	b = message.AppendUint(b, memorySlots, uint64(e.leases.slots.Len()))
	for i := range uint32(e.leases.slots.Len()) {
		l := e.leases.slots.At(i)
		if l.at == "" {
			continue
		}
		out, mark := message.Open(b, memoryLease)
		out = message.AppendFixed64(out, leaseNumber, uint64(e.leases.number(i)))
		out = message.AppendUint(out, leaseAt, e.backends[l.at])
		out = message.AppendUint(out, leaseGroup, l.group.indexOrZero())
		out = message.AppendUint(out, leaseStream, l.stream.indexOrZero())
		out = message.AppendFixed64(out, leaseCaller, l.who.caller)
		out = message.AppendFixed64(out, leaseSource, l.who.source)
		out = message.AppendFixed64(out, leaseRequest, l.who.request)
		out = message.AppendBool(out, leasePublish, l.publish)
		out = message.AppendBool(out, leaseChosen, l.chosen)
		out = message.AppendBool(out, leaseEstablished, l.established)
		out = message.AppendBool(out, leaseSurvived, l.survived)
		out = message.AppendBool(out, leaseProven, l.proven)
		out = message.AppendBool(out, leaseTrial, l.trial)
		b = message.Close(out, mark)
	}
	for _, i := range e.leases.free {
		b = message.AppendFixed64(b, memoryFree, uint64(e.leases.number(i)))
	}
	return b
}

func appendYoung(b []byte, milestone int, s youngSession) []byte {
	out, mark := message.Open(b, memoryYoung)
	out = message.AppendUint(out, youngMilestone, uint64(milestone))
	out = message.AppendFixed64(out, youngLease, uint64(s.lease))
	return message.Close(appendAge(out, youngBegun, s.begun), mark)
}
