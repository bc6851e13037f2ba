package telemetry

const (
	chunkBits = 7
	chunkSize = 1 << chunkBits // records allocated at once: 160 KiB
	chunkMask = chunkSize - 1
)

// Slab is where a shard keeps the records of its sessions' media: in chunks
// without a pointer for the garbage collector to follow, given out again last
// in, first out. It belongs to one shard. The zero Slab is ready.
type Slab struct {
	chunks []*[chunkSize]record
	free   []uint32 // places, which count from 1
}

func (s *Slab) at(place uint32) *record {
	place--
	return &s.chunks[place>>chunkBits][place&chunkMask]
}

// enter gives a meter a fresh record for a way.
func (s *Slab) enter(m *Meter, way Way) {
	if len(s.free) == 0 {
		base := uint32(len(s.chunks)) << chunkBits
		s.chunks = append(s.chunks, new([chunkSize]record))
		for i := range uint32(chunkSize) {
			s.free = append(s.free, base+chunkSize-i)
		}
	}
	last := len(s.free) - 1
	m.place[way] = s.free[last]
	s.free = s.free[:last]
	r := s.at(m.place[way])
	*r = record{next: m.isn}
	r.setRexmit(m.rexmit[way])
}

// InUse returns how many records are given out.
func (s *Slab) InUse() int { return len(s.chunks)<<chunkBits - len(s.free) }
