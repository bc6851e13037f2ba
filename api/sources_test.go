package api

import (
	"encoding/json"
	"net/netip"
	"testing"
	"time"

	"srtrelay/addr"
	"srtrelay/api/answer"
	"srtrelay/shard/limit"
)

// Usage implements Sources: two shards have published these.
func (r *relay) Usage() *limit.Totals {
	sums := limit.NewSums(2)
	prefix := func(ip string, l limit.Level) limit.Prefix {
		return limit.PrefixOf(addr.FromIP(netip.MustParseAddr(ip)), l)
	}
	for shard := range 2 {
		var l limit.Lister
		l.Source(prefix("192.0.2.1", limit.LevelSource), limit.SourceUsage{Sessions: 5, Connects: 1, Bitrate: 1_000_000})
		l.Source(prefix("2001:db8::9", limit.LevelSource), limit.SourceUsage{Sessions: 2, Handshakes: 1, Connects: 20, Refused: 7, Last: limit.SourceConnects})
		l.Source(prefix("192.0.2.1", limit.LevelSubnet), limit.SourceUsage{Sessions: 6})
		sums.Publish(shard, l.Report(), time.Second, time.Second)
	}
	sums.Sum()
	return sums.Totals()
}

// The sums of all shards, the heaviest first, by what was asked for.
func TestSources(t *testing.T) {
	a := answer.Source{Source: "192.0.2.1/32", Sessions: 10, Connects: 0.2, Bitrate: 2_000_000}
	b := answer.Source{Source: "2001:db8::/64", Sessions: 4, Handshakes: 2, Connects: 4, Refused: 14, Limit: "source connects"}
	for query, want := range map[string]answer.SourceList{
		"":                           {Sources: []answer.Source{a, b}, Total: 2},
		"?sort=connects":             {Sources: []answer.Source{b, a}, Total: 2},
		"?sort=refused&limit=1":      {Sources: []answer.Source{b}, Total: 2},
		"?sort=bitrate&level=source": {Sources: []answer.Source{a, b}, Total: 2},
		"?level=subnet":              {Sources: []answer.Source{{Source: "192.0.2.0/24", Sessions: 12}}, Total: 1},
	} {
		w := new(relay).ask("GET", "/api/v1/sources"+query)
		var got answer.Reply[answer.SourceList]
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 200 {
			t.Fatalf("%s: %d, %v", query, w.Code, err)
		}
		if text, wanted := asJSON(t, got.Data), asJSON(t, want); text != wanted {
			t.Errorf("%s: %s, want %s", query, text, wanted)
		}
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
