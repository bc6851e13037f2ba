package shard

import "srtrelay/addr"

// The three keys of a session; see role. hash mixes what they have in common:
// an endpoint, a socket ID, and which of our sockets it is about.
func (s *Shard) hash(r role, link uint8, a *addr.AddrPort, id uint32) uint32 {
	h := a.Hash(s.seed ^ uint64(id)<<16 ^ uint64(link)<<8 ^ uint64(r))
	return uint32(h ^ h>>32)
}

// byFront finds the session of a datagram from a caller.
func (s *Shard) byFront(front uint8, caller *addr.AddrPort, id uint32) (uint32, *Session) {
	for p := s.table.probe(s.hash(roleFront, front, caller, id)); s.table.next(&p); {
		if p.ref.role() != roleFront {
			continue
		}
		i := p.ref.index()
		if ss := s.sessions.at(i); ss.backendID == id && ss.front == front && ss.caller == *caller {
			return i, ss
		}
	}
	return 0, nil
}

// byBack finds the session of a datagram from a backend.
func (s *Shard) byBack(port uint8, from *addr.AddrPort, id uint32) (uint32, *Session) {
	for p := s.table.probe(s.hash(roleBack, port, from, id)); s.table.next(&p); {
		if p.ref.role() != roleBack {
			continue
		}
		i := p.ref.index()
		if ss := s.sessions.at(i); ss.callerID == id && ss.port == port && ss.backend == *from {
			return i, ss
		}
	}
	return 0, nil
}

// byCaller finds the session that a caller's handshake is about.
func (s *Shard) byCaller(front uint8, caller *addr.AddrPort, id uint32) (uint32, *Session) {
	for p := s.table.probe(s.hash(roleCaller, front, caller, id)); s.table.next(&p); {
		if p.ref.role() != roleCaller {
			continue
		}
		i := p.ref.index()
		if ss := s.sessions.at(i); ss.callerID == id && ss.front == front && ss.caller == *caller {
			return i, ss
		}
	}
	return 0, nil
}

// keyCaller, keyBack and keyFront enter a session under a key that is known to
// be free; unkey takes it out of the table.

func (s *Shard) keyCaller(i uint32, ss *Session) {
	ss.keyed = true
	s.table.insert(s.hash(roleCaller, ss.front, &ss.caller, ss.callerID), makeRef(i, roleCaller))
}

func (s *Shard) keyBack(i uint32, ss *Session) {
	s.table.insert(s.hash(roleBack, ss.port, &ss.backend, ss.callerID), makeRef(i, roleBack))
}

func (s *Shard) keyFront(i uint32, ss *Session) {
	s.table.insert(s.hash(roleFront, ss.front, &ss.caller, ss.backendID), makeRef(i, roleFront))
}

// unkeyCaller makes room for another session under the same caller's ID.
func (s *Shard) unkeyCaller(i uint32, ss *Session) {
	if ss.keyed {
		ss.keyed = false
		s.table.remove(s.hash(roleCaller, ss.front, &ss.caller, ss.callerID), makeRef(i, roleCaller))
	}
}

// unkeyBack takes a session from the backend it has been dialled to.
func (s *Shard) unkeyBack(i uint32, ss *Session) {
	if ss.backend.IsValid() {
		s.table.remove(s.hash(roleBack, ss.port, &ss.backend, ss.callerID), makeRef(i, roleBack))
		ss.backend = addr.AddrPort{}
	}
}

func (s *Shard) unkey(i uint32, ss *Session) {
	s.unkeyCaller(i, ss)
	s.unkeyBack(i, ss)
	if ss.backendID != 0 {
		s.table.remove(s.hash(roleFront, ss.front, &ss.caller, ss.backendID), makeRef(i, roleFront))
	}
}
