package udp

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"unsafe"

	"srtrelay/addr"
)

// destination i is an address of its own; i 0..9 differ in the port only.
func destination(i int) addr.AddrPort {
	ip := netip.AddrFrom4([4]byte{127, 0, 0, byte(1 + i/10)})
	return addr.From(netip.AddrPortFrom(ip, uint16(9000+i%10)))
}

func newPlan() *plan {
	p := &plan{}
	p.init()
	return p
}

// sizesOf lists the payload sizes of a run in order.
func (p *plan) sizesOf(r run) (sizes []int) {
	for e := r.first; e != none; e = p.entries[e].next {
		sizes = append(sizes, len(p.entries[e].payload))
	}
	return sizes
}

func TestPlan(t *testing.T) {
	type add struct{ to, from, size, flow int }
	times := func(n int, a add) []add { return slices.Repeat([]add{a}, n) }
	same := func(n, size int) []int { return slices.Repeat([]int{size}, n) }
	tests := []struct {
		name string
		adds []add
		off  bool
		want [][]int // sizes of each run
	}{
		{name: "nothing"},
		{name: "one", adds: []add{{size: 100}}, want: [][]int{{100}}},
		{name: "equal sizes are one run", adds: times(3, add{size: 100}), want: [][]int{{100, 100, 100}}},
		{
			name: "without GSO each is alone", off: true,
			adds: times(3, add{size: 100}), want: [][]int{{100}, {100}, {100}},
		},
		{
			name: "a shorter one ends the run",
			adds: []add{{size: 100}, {size: 100}, {size: 40}, {size: 40}, {size: 100}},
			want: [][]int{{100, 100, 40}, {40}, {100}},
		},
		{
			name: "a longer one begins another",
			adds: []add{{size: 40}, {size: 100}, {size: 100}},
			want: [][]int{{40}, {100, 100}},
		},
		{
			name: "interleaved destinations are gathered",
			adds: []add{{to: 1, size: 50}, {to: 2, size: 60}, {to: 1, size: 50}, {to: 2, size: 60}, {to: 1, size: 50}},
			want: [][]int{{50, 50, 50}, {60, 60}},
		},
		{
			name: "only the latest run of a destination grows",
			adds: []add{{to: 1, size: 50}, {to: 1, size: 80}, {to: 2, size: 9}, {to: 1, size: 50}, {to: 1, size: 50}},
			want: [][]int{{50}, {80, 50}, {9}, {50}},
		},
		{
			name: "another source is another run, and ends the first",
			adds: []add{{from: 1, size: 50}, {from: 2, size: 50}, {from: 2, size: 50}, {from: 1, size: 50}},
			want: [][]int{{50}, {50, 50}, {50}},
		},
		{
			name: "empty ones stay alone",
			adds: []add{{size: 0}, {size: 0}, {size: 50}, {size: 0}, {size: 50}},
			want: [][]int{{0}, {0}, {50}, {0}, {50}},
		},
		{name: "most segments", adds: times(maxSegments, add{size: 44}), want: [][]int{same(maxSegments, 44)}},
		{
			name: "one segment too many", adds: times(maxSegments+1, add{size: 44}),
			want: [][]int{same(maxSegments, 44), {44}},
		},
		{name: "full SRT packets: 49 fit", adds: times(49, add{size: 1332}), want: [][]int{same(49, 1332)}},
		{name: "full SRT packets: 50 do not", adds: times(50, add{size: 1332}), want: [][]int{same(49, 1332), {1332}}},
		{
			name: "a short one that fits the bytes left", adds: append(times(49, add{size: 1332}), add{size: maxPayload - 49*1332}),
			want: [][]int{append(same(49, 1332), maxPayload-49*1332)},
		},
		{
			name: "a short one that does not", adds: append(times(49, add{size: 1332}), add{size: maxPayload - 49*1332 + 1}),
			want: [][]int{same(49, 1332), {maxPayload - 49*1332 + 1}},
		},
		{
			name: "control packets of other flows do not cut a run, and share one",
			adds: []add{
				{size: 1332, flow: 1}, {size: 1332, flow: 2}, {size: 20, flow: 2}, {size: 1332, flow: 3}, {size: 20, flow: 1}, {size: 1332, flow: 4},
			},
			want: [][]int{{1332, 1332, 1332, 1332}, {20, 20}},
		},
		{
			name: "a flow does not overtake itself",
			adds: []add{{size: 1332, flow: 1}, {size: 1332, flow: 2}, {size: 20, flow: 2}, {size: 1332, flow: 2}, {size: 1332, flow: 1}},
			want: [][]int{{1332, 1332, 20}, {1332, 1332}},
		},
		{
			name: "a single control packet rides at the end of the run before it",
			adds: []add{{size: 1332, flow: 1}, {size: 1332, flow: 2}, {size: 20, flow: 1}, {size: 1332, flow: 3}},
			want: [][]int{{1332, 1332, 1332, 20}},
		},
		{
			name: "three sizes are three runs",
			adds: []add{
				{size: 1332, flow: 1}, {size: 20, flow: 2}, {size: 44, flow: 3}, {size: 1332, flow: 4}, {size: 20, flow: 5}, {size: 44, flow: 6},
			},
			want: [][]int{{1332, 1332}, {20, 20}, {44, 44}},
		},
		{
			name: "another source is passed over by another flow",
			adds: []add{{from: 1, size: 50, flow: 1}, {from: 2, size: 50, flow: 2}, {from: 1, size: 50, flow: 3}},
			want: [][]int{{50, 50}, {50}},
		},
		{name: "longer than a packet", adds: times(2, add{size: 70000}), want: [][]int{{70000}, {70000}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := newPlan()
			for _, a := range test.adds {
				to, from := destination(a.to), addr.IP{15: byte(a.from)}
				p.add(&to, &from, uint32(a.flow), make([]byte, a.size), !test.off)
			}
			p.fold()
			var got [][]int
			for _, r := range p.runs {
				if r.count == 0 {
					continue
				}
				sizes := p.sizesOf(r)
				if int(r.count) != len(sizes) {
					t.Errorf("run of %d entries counts %d", len(sizes), r.count)
				}
				got = append(got, sizes)
			}
			if !slices.EqualFunc(got, test.want, slices.Equal[[]int]) {
				t.Errorf("runs %v, want %v", got, test.want)
			}
		})
	}
}

type way struct {
	to   addr.AddrPort
	flow uint32
}

type entryIdentity struct {
	from  addr.IP
	start *byte
	size  int
}

// The model keeps one list per destination and flow. Whatever the plan does, each list
// must come out of it in order and whole, and each run must be a legal one.
func TestPlanAgainstModel(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	p := newPlan()
	// Entries are told apart by where they lie: even empty ones are.
	blocks := make([][]byte, entryCapacity)
	for i := range blocks {
		blocks[i] = make([]byte, 20000)
	}
	identity := func(from addr.IP, b []byte) entryIdentity {
		return entryIdentity{from, unsafe.SliceData(b), len(b)}
	}
	for round := range 1000 {
		p.reset()
		model := map[way][]entryIdentity{}
		sizes := []int{0, 1, 44, 44, 1332, 1332, 1332, 20000}
		destinations, flows, segment := 1+random.IntN(40), 1+random.IntN(100), random.IntN(8) > 0
		for i := range 1 + random.IntN(entryCapacity) {
			to, from := destination(random.IntN(destinations)), addr.IP{15: byte(random.IntN(8) / 7)}
			b := blocks[i][:sizes[random.IntN(len(sizes))]]
			w := way{to, uint32(random.IntN(flows))}
			model[w] = append(model[w], identity(from, b))
			p.add(&to, &from, w.flow, b, segment)
		}
		p.fold()
		got := map[way][]entryIdentity{}
		for _, r := range p.runs {
			if r.count == 0 {
				continue
			}
			checkRun(t, p, r)
			for e := r.first; e != none; e = p.entries[e].next {
				w := way{r.to, p.entries[e].flow}
				got[w] = append(got[w], identity(r.from, p.entries[e].payload))
			}
		}
		for w, want := range model {
			if !slices.Equal(got[w], want) {
				t.Fatalf("round %d: datagrams of flow %d to %s left out of order or not at all", round, w.flow, w.to)
			}
		}
		if len(got) != len(model) {
			t.Fatalf("round %d: %d flows, want %d", round, len(got), len(model))
		}
	}
}

func checkRun(t *testing.T, p *plan, r run) {
	t.Helper()
	sizes, total := p.sizesOf(r), 0
	for i, size := range sizes {
		total += size
		if len(sizes) > 1 && (size == 0 || size > sizes[0] || (size < sizes[0] && i < len(sizes)-1)) {
			t.Fatalf("no superpacket can carry %v", sizes)
		}
	}
	if len(sizes) > maxSegments || (len(sizes) > 1 && total > maxPayload) || total != int(r.bytes) {
		t.Fatalf("run of %d entries, %d bytes, counted as %d", len(sizes), total, r.bytes)
	}
}

// Every datagram touches the plan and its table.
func TestPlanFitsTheCache(t *testing.T) {
	const limit = 192 << 10 // most of the smallest second-level cache, of 256 KiB
	p := newPlan()
	size := unsafe.Sizeof(*p) + uintptr(cap(p.entries))*unsafe.Sizeof(entry{}) + uintptr(cap(p.runs))*unsafe.Sizeof(run{})
	if size > limit {
		t.Errorf("a plan takes %d bytes, more than %d", size, limit)
	}
}

// After 2^32 plans the generation wraps: a slot of the first must not be taken
// for one of the current.
func TestPlanGenerationWraps(t *testing.T) {
	p := newPlan()
	to, from := destination(1), addr.IP{}
	p.add(&to, &from, 0, make([]byte, 10), true)
	p.generation = ^uint32(0)
	p.reset()
	p.add(&to, &from, 0, make([]byte, 10), true)
	if len(p.runs) != 1 || p.runs[0].to != to || p.runs[0].count != 1 {
		t.Errorf("runs after the wrap: %+v", p.runs)
	}
}

// Destinations whose hashes fall on one slot must still be told apart.
func TestPlanManyDestinations(t *testing.T) {
	p := newPlan()
	from := addr.IP{}
	for range 2 {
		for i := range entryCapacity / 2 {
			to := destination(i)
			p.add(&to, &from, 0, bytes.Repeat([]byte{1}, 30), true)
		}
	}
	if len(p.runs) != entryCapacity/2 || !p.full() {
		t.Fatalf("%d runs, want %d; full %v", len(p.runs), entryCapacity/2, p.full())
	}
	for _, r := range p.runs {
		if r.count != 2 {
			t.Fatalf("run to %s has %d entries, want 2", r.to, r.count)
		}
	}
}
