package shard

import (
	"errors"
	"fmt"

	"srtrelay/addr"
	"srtrelay/internal/message"
	"srtrelay/observe/telemetry"
	"srtrelay/shard/kernelpath"
)

// The kernel path across a take-over. Entries and counters stay in the kernel, and a session
// keeps its place and generation; what goes along is what this process has added up of them.

// Fields of a session's kernel state.
const (
	kernelFront     message.Number = 1
	kernelUpstream  message.Number = 2
	kernelRefreshed message.Number = 3
	kernelToBackend message.Number = 4 // a way
	kernelToCaller  message.Number = 5
)

// Fields of a way.
const (
	wayPackets    message.Number = 1
	wayBytes      message.Number = 2
	wayLost       message.Number = 3
	wayData       message.Number = 4
	wayExceptions message.Number = 5
	wayWaiting    message.Number = 6
)

// kernelWayFields are the fields of the ways.
var kernelWayFields = [...]message.Number{telemetry.ToBackend: kernelToBackend, telemetry.ToCaller: kernelToCaller}

// errKernelState says that a session cannot go on in the kernel path.
var errKernelState = errors.New("the kernel path has something else")

// appendKernelState appends the kernel state of a session in the kernel path.
func (s *Shard) appendKernelState(b []byte, i uint32, ss *session) []byte {
	if !ss.inKernel {
		return b
	}
	st, entry := s.kernel.state(i), s.kernelEntry(i, ss)
	b = appendAddress(b, kernelFront, entry.Front)
	b = appendAddress(b, kernelUpstream, entry.Upstream)
	b = message.AppendTime(b, kernelRefreshed, s.clock(), st.refreshed)
	for way, field := range kernelWayFields {
		one, mark := &st.ways[way], 0
		b, mark = message.Open(b, field)
		b = message.AppendUint(b, wayPackets, one.taken.Packets)
		b = message.AppendUint(b, wayBytes, one.taken.Bytes)
		b = message.AppendUint(b, wayLost, one.taken.Lost)
		b = message.AppendUint(b, wayData, one.data)
		b = message.AppendUint(b, wayExceptions, one.exceptions)
		b = message.Close(message.AppendBool(b, wayWaiting, one.waiting), mark)
	}
	return b
}

// restoreKernelState has a restored session, whose other fields are set, go on in the kernel
// path. If this process has not taken the path over, the session is in user space.
func (s *Shard) restoreKernelState(i uint32, ss *session, b []byte) error {
	k := &s.kernel
	if len(b) == 0 || k.path == nil || !k.path.Adopted() {
		return nil
	}
	if int(i) >= k.path.Places() || ss.state != StateEstablished || ss.inKernel {
		return fmt.Errorf("%w than a session in state %q at place %d", errKernelState, ss.state, i)
	}
	st := k.state(i)
	*st = kernelState{}
	if err := st.read(message.Read(b), s.clock()); err != nil {
		return fmt.Errorf("kernel state: %w", err)
	}
	for way := range telemetry.Way(2) {
		one := &st.ways[way]
		if !k.path.Way(i, int(way)).Adopt(ss.gen, s.cfg.Telemetry, &one.handover) {
			// Datagrams of another generation go up. The session enters the path
			// again with the next Reroute.
			s.counters.inc(CountKernelNotEntered)
			return nil
		}
	}
	ss.inKernel = true
	k.sessions++
	return nil
}

// read reads what appendKernelState has written.
func (st *kernelState) read(m message.Reader, clock message.Clock) error {
	var upstream addr.AddrPort
	for m.Next() {
		switch m.Number() {
		case kernelUpstream:
			upstream = readAddress(&m)
		case kernelRefreshed:
			st.refreshed = m.Time(clock)
		case kernelToBackend:
			m.Fail(st.ways[telemetry.ToBackend].read(message.Read(m.Bytes())))
		case kernelToCaller:
			m.Fail(st.ways[telemetry.ToCaller].read(message.Read(m.Bytes())))
		}
	}
	if err := m.Err(); err != nil {
		return err
	}
	if upstream.Port == 0 {
		return fmt.Errorf("%w: an address is missing", message.ErrDamaged)
	}
	st.source = upstream.IP
	return nil
}

func (one *kernelWay) read(m message.Reader) error {
	for m.Next() {
		switch m.Number() {
		case wayPackets:
			one.taken.Packets = message.Uint[uint32](&m)
		case wayBytes:
			one.taken.Bytes = message.Uint[uint64](&m)
		case wayLost:
			one.taken.Lost = message.Uint[uint32](&m)
		case wayData:
			one.data = message.Uint[uint64](&m)
		case wayExceptions:
			one.exceptions = message.Uint[uint32](&m)
		case wayWaiting:
			one.waiting = m.Bool()
		}
	}
	return m.Err()
}

// addUpKernel adds what has passed in the kernel to all sessions. A process that takes the
// sessions over without the path has their sums then.
func (s *Shard) addUpKernel() {
	if s.kernel.sessions == 0 {
		return
	}
	s.readAllRecords()
	s.sessions.each(s.refresh)
}

func (s *Shard) readAllRecords() {
	for s.readRecords() == recordsPerTurn {
	}
}

// resumeKernel has the shard go on after another process may have used the path. Then all
// sessions have left it, and enter it again with the next Reroute.
func (s *Shard) resumeKernel() {
	k := &s.kernel
	if k.path == nil || k.reclaims == k.path.Reclaims() {
		return
	}
	k.reclaims = k.path.Reclaims()
	s.readAllRecords()
	s.sessions.each(func(i uint32, ss *session) {
		if !ss.inKernel {
			return
		}
		st := k.state(i)
		if k.path.Way(i, 0).Gen() == ss.gen {
			for way := range st.ways {
				w, one := k.path.Way(i, way), &st.ways[way]
				if w.Passed().Bytes < one.taken.Bytes {
					// The session has left the path meanwhile, and entered it again.
					one.taken, one.data = kernelpath.Passed{}, 0
				}
				// The other process has read records too.
				_, _, _, one.exceptions = w.Data()
			}
			s.refresh(i, ss)
		}
		entry := s.kernelEntry(i, ss)
		k.path.Leave(&entry)
		ss.inKernel = false
	})
	k.sessions, k.pending = 0, nil
}
