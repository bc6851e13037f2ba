package owners

import (
	"net/netip"
	"testing"
	"time"

	"srtrelay/addr"
)

func TestRoutesLapse(t *testing.T) {
	r := NewRoutes(1)
	caller := addr.From(netip.MustParseAddrPort("192.0.2.1:4000"))
	if r.Has(0, 0, &caller, 7) {
		t.Error("a route before any was added")
	}
	r.Add(0, 0, &caller, 7)
	if !r.Has(routeLife-1, 0, &caller, 7) || r.Has(routeLife-1, 1, &caller, 7) || r.Has(routeLife-1, 0, &caller, 8) {
		t.Error("the route is not that of its listener and ID")
	}
	if r.Has(routeLife, 0, &caller, 7) {
		t.Error("the route has not lapsed")
	}
	r.Add(routeLife, 0, &caller, 7)
	if !r.Has(2*routeLife-1, 0, &caller, 7) {
		t.Error("the route was not renewed")
	}
}

// A new entry takes the place of the one that lapses first.
func TestRoutesAreBounded(t *testing.T) {
	r := NewRoutes(1)
	caller := addr.From(netip.MustParseAddrPort("192.0.2.1:4000"))
	for id := range uint32(4 * routeLimit) {
		r.Add(time.Duration(id), 0, &caller, id)
	}
	if len(r.table) != routeLimit {
		t.Errorf("%d entries, want %d", len(r.table), routeLimit)
	}
	for id := uint32(4*routeLimit - 8); id < 4*routeLimit; id++ {
		if !r.Has(time.Duration(4*routeLimit), 0, &caller, id) {
			t.Errorf("entry %d of the last is gone", id)
		}
	}
}
