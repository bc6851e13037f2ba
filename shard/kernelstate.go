package shard

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"srtrelay/addr"
	"srtrelay/observe/telemetry"
	"srtrelay/shard/kernelpath"
)

// The kernel path across a take-over. Entries and counters stay in the kernel, and a session
// keeps its place and generation; what goes along is what this process has added up of them.

// Fields of a session's kernel state.
const (
	kernelFront     protowire.Number = 1
	kernelUpstream  protowire.Number = 2
	kernelRefreshed protowire.Number = 3 // CLOCK_MONOTONIC, ns
	kernelToBackend protowire.Number = 4 // a way
	kernelToCaller  protowire.Number = 5
)

// Fields of a way.
const (
	wayPackets    protowire.Number = 1
	wayBytes      protowire.Number = 2
	wayLost       protowire.Number = 3
	wayData       protowire.Number = 4
	wayExceptions protowire.Number = 5
	wayWaiting    protowire.Number = 6
)

// errKernelState says that a kernel state cannot be read.
var errKernelState = errors.New("kernel state of a session")

// appendKernelState appends the kernel state of a session. It is empty for a session that is
// not in the kernel path.
func (s *Shard) appendKernelState(b []byte, i uint32, ss *session) []byte {
	if !ss.inKernel {
		return b
	}
	st := s.kernel.state(i)
	b = appendEnd(b, kernelFront, st.entry.Front)
	b = appendEnd(b, kernelUpstream, st.entry.Upstream)
	b = protowire.AppendTag(b, kernelRefreshed, protowire.VarintType)
	b = protowire.AppendVarint(b, s.kernel.path.Monotonic(st.refreshed))
	for way, field := range [...]protowire.Number{telemetry.ToBackend: kernelToBackend, telemetry.ToCaller: kernelToCaller} {
		b = protowire.AppendTag(b, field, protowire.BytesType)
		b = protowire.AppendBytes(b, st.ways[way].append(nil))
	}
	return b
}

func (one *kernelWay) append(b []byte) []byte {
	for field, v := range [...]uint64{
		wayPackets: uint64(one.taken.Packets), wayBytes: one.taken.Bytes, wayLost: uint64(one.taken.Lost),
		wayData: one.data, wayExceptions: uint64(one.exceptions), wayWaiting: protowire.EncodeBool(one.waiting),
	} {
		if v != 0 {
			b = protowire.AppendTag(b, protowire.Number(field), protowire.VarintType)
			b = protowire.AppendVarint(b, v)
		}
	}
	return b
}

func appendEnd(b []byte, field protowire.Number, a addr.AddrPort) []byte {
	b = protowire.AppendTag(b, field, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(len(a.IP))+2)
	b = append(b, a.IP[:]...)
	return append(b, byte(a.Port>>8), byte(a.Port))
}

// restoreKernelState has a restored session, whose other fields are set, go on in the kernel
// path. If this process has not taken the path over, the session is in user space.
func (s *Shard) restoreKernelState(i uint32, ss *session, b []byte) error {
	k := &s.kernel
	if len(b) == 0 || k.path == nil || !k.path.Adopted() {
		return nil
	}
	if int(i) >= k.path.Places() || ss.state != StateEstablished || ss.inKernel {
		return fmt.Errorf("%w: a session in state %q at place %d", errKernelState, ss.state, i)
	}
	st := k.state(i)
	*st = kernelState{entry: kernelpath.Session{
		Place: i, Gen: ss.gen, Caller: ss.caller, Backend: ss.backend, CallerID: ss.callerID, BackendID: ss.backendID,
	}}
	if err := st.read(b, k.path); err != nil {
		return err
	}
	for way := range telemetry.Way(2) {
		one := &st.ways[way]
		if !k.path.Way(i, int(way)).Adopt(ss.gen, s.cfg.Telemetry, &one.handover) {
			return fmt.Errorf("%w: place %d in the kernel is another session's", errKernelState, i)
		}
		if one.waiting {
			one.since = s.now
			k.pending = append(k.pending, kernelRef{i, ss.gen, way})
		}
	}
	ss.inKernel = true
	k.sessions++
	return nil
}

// read reads what appendKernelState has written.
func (st *kernelState) read(b []byte, path *kernelpath.Shard) error {
	for len(b) > 0 {
		field, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return fmt.Errorf("%w: %w", errKernelState, protowire.ParseError(n))
		}
		b = b[n:]
		ok := true
		switch {
		case kind == protowire.VarintType && field == kernelRefreshed:
			var at uint64
			if at, n = protowire.ConsumeVarint(b); n >= 0 {
				st.refreshed = path.LoopTime(at)
			}
		case kind == protowire.BytesType:
			var v []byte
			if v, n = protowire.ConsumeBytes(b); n >= 0 {
				ok = st.readPart(field, v)
			}
		default:
			n = protowire.ConsumeFieldValue(field, kind, b)
		}
		if n < 0 {
			return fmt.Errorf("%w: %w", errKernelState, protowire.ParseError(n))
		}
		if !ok {
			return fmt.Errorf("%w: field %d cannot be read", errKernelState, field)
		}
		b = b[n:]
	}
	if st.entry.Front.Port == 0 || st.entry.Upstream.Port == 0 {
		return fmt.Errorf("%w: an address is missing", errKernelState)
	}
	return nil
}

// readPart reads a field that is an address or a way.
func (st *kernelState) readPart(field protowire.Number, v []byte) bool {
	switch field {
	case kernelFront:
		return readEnd(v, &st.entry.Front)
	case kernelUpstream:
		return readEnd(v, &st.entry.Upstream)
	case kernelToBackend:
		return st.ways[telemetry.ToBackend].read(v)
	case kernelToCaller:
		return st.ways[telemetry.ToCaller].read(v)
	}
	return true
}

func readEnd(v []byte, a *addr.AddrPort) bool {
	if len(v) != len(a.IP)+2 {
		return false
	}
	a.Port = uint16(v[len(a.IP)])<<8 | uint16(v[len(a.IP)+1])
	copy(a.IP[:], v)
	return true
}

func (one *kernelWay) read(b []byte) bool {
	for len(b) > 0 {
		field, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return false
		}
		b = b[n:]
		if kind != protowire.VarintType {
			if n = protowire.ConsumeFieldValue(field, kind, b); n < 0 {
				return false
			}
			b = b[n:]
			continue
		}
		v, n := protowire.ConsumeVarint(b)
		if n < 0 {
			return false
		}
		b = b[n:]
		switch field {
		case wayPackets:
			one.taken.Packets = uint32(v)
		case wayBytes:
			one.taken.Bytes = v
		case wayLost:
			one.taken.Lost = uint32(v)
		case wayData:
			one.data = v
		case wayExceptions:
			one.exceptions = uint32(v)
		case wayWaiting:
			one.waiting = protowire.DecodeBool(v)
		}
	}
	return true
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
		k.path.Leave(&st.entry)
		ss.inKernel = false
	})
	k.sessions, k.pending = 0, nil
}
