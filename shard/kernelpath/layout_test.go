package kernelpath

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// layouts are what the maps hold, by version. A process of one version hands its maps to one
// of the same version only, which reads them by its own structs.
var layouts = map[pathLayout]string{
	1: `pathControl Paused@0+4 Layout@4+4 Owner@8+4
pathHandover Ready@0+8 Up@8+4 Round@12+4 Marked@16+4 Mark@20+12
pathHop4 To@0+32 Saddr@32+4 Daddr@36+4 Nexthop@40+4
pathHop6 To@0+32 Saddr@32+16 Daddr@48+16 Nexthop@64+16
pathKey4 Peer@0+4 Local@4+4 PeerPort@8+2 LocalPort@10+2 Id@12+4
pathKey6 Peer@0+16 Local@16+16 PeerPort@32+2 LocalPort@34+2 Id@36+4
pathRecord At@0+8 Way@8+4 Gen@12+4 Next@16+4 Length@20+2 Head@22+2 Datagram@24+0
pathTarget Way@0+4 Gen@4+4 Ifindex@8+4 PseudoDelta@12+4 PortsDelta@16+4 Sport@20+2 Dport@22+2 Mtu@24+2 Ring@26+2 Action@28+1 Flags@29+1 Reserved@30+2
pathWay Bytes@0+8 DataBytes@8+8 Last@16+8 LastData@24+8 Packets@32+4 Gen@36+4 Next@40+4 Expect@44+4 Exceptions@48+4 Lost@52+4 Mode@56+4 Strays@60+1 Rexmit@61+1 Observed@62+1 Reserved@63+1`,
	2: `pathControl Paused@0+4 Layout@4+4 Owner@8+4 Shield@12+4
pathHandover Ready@0+8 Up@8+4 Round@12+4 Marked@16+4 Mark@20+12
pathHop4 To@0+32 Saddr@32+4 Daddr@36+4 Nexthop@40+4
pathHop6 To@0+32 Saddr@32+16 Daddr@48+16 Nexthop@64+16
pathKey4 Peer@0+4 Local@4+4 PeerPort@8+2 LocalPort@10+2 Id@12+4
pathKey6 Peer@0+16 Local@16+16 PeerPort@32+2 LocalPort@34+2 Id@36+4
pathRecord At@0+8 Way@8+4 Gen@12+4 Next@16+4 Length@20+2 Head@22+2 Datagram@24+0
pathTarget Way@0+4 Gen@4+4 Ifindex@8+4 PseudoDelta@12+4 PortsDelta@16+4 Sport@20+2 Dport@22+2 Mtu@24+2 Ring@26+2 Action@28+1 Flags@29+1 Reserved@30+2
pathWay Bytes@0+8 DataBytes@8+8 Last@16+8 LastData@24+8 Packets@32+4 Gen@36+4 Next@40+4 Expect@44+4 Exceptions@48+4 Lost@52+4 Mode@56+4 Strays@60+1 Rexmit@61+1 Observed@62+1 Reserved@63+1`,
	4: `pathControl Paused@0+4 Layout@4+4 Owner@8+4 Shield@12+4
pathHandover Ready@0+8 Up@8+4 Round@12+4 Marked@16+4 Mark@20+12
pathHop4 To@0+28 Saddr@28+4 Daddr@32+4 Next@36+20
pathHop6 To@0+28 Saddr@28+16 Daddr@44+16 Next@60+20
pathKey4 Peer@0+4 Local@4+4 PeerPort@8+2 LocalPort@10+2 Id@12+4
pathKey6 Peer@0+16 Local@16+16 PeerPort@32+2 LocalPort@34+2 Id@36+4
pathNeighbour Family@0+4 Address@4+16
pathRecord At@0+8 Way@8+4 Gen@12+4 Next@16+4 Length@20+2 Head@22+2 Datagram@24+0
pathTarget Way@0+4 Gen@4+4 Ifindex@8+4 PseudoDelta@12+2 PortsDelta@14+2 Sport@16+2 Dport@18+2 Mtu@20+2 Ring@22+2 Action@24+1 Flags@25+1 Reserved@26+2
pathWay Bytes@0+8 DataBytes@8+8 Last@16+8 LastData@24+8 Packets@32+4 Gen@36+4 Next@40+4 Expect@44+4 Exceptions@48+4 Lost@52+4 Mode@56+4 Strays@60+1 Rexmit@61+1 Observed@62+1 Lent@63+1`,
}

// A change of what the maps hold comes with another version of the layout.
func TestLayoutHasItsVersion(t *testing.T) {
	var got []string
	for _, one := range []any{
		pathControl{}, pathHandover{}, pathHop4{}, pathHop6{}, pathKey4{}, pathKey6{}, pathNeighbour{}, pathRecord{}, pathTarget{}, pathWay{},
	} {
		s := reflect.TypeOf(one)
		line := s.Name()
		for i := range s.NumField() {
			if f := s.Field(i); f.IsExported() {
				line += fmt.Sprintf(" %s@%d+%d", f.Name, f.Offset, f.Type.Size())
			}
		}
		got = append(got, line)
	}
	if text := strings.Join(got, "\n"); text != layouts[pathLayoutLAYOUT] {
		t.Errorf("version %d of the layout is another one: raise LAYOUT in bpf/shared.h.\n%s", pathLayoutLAYOUT, text)
	}
}
