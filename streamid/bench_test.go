package streamid

import (
	"net/netip"
	"testing"

	"srtrelay/streamid/rules"
)

// What a stream ID costs, to choose a backend by it.
func BenchmarkRoute(b *testing.B) {
	b.ReportAllocs()
	in := rules.Request{
		Caller:   netip.MustParseAddrPort("192.0.2.7:40000"),
		StreamID: "#!::h=video.example,r=live/football,m=publish,token=b7c2",
	}
	for b.Loop() {
		if _, err := Route(nil, in); err != nil {
			b.Fatal(err)
		}
	}
}
