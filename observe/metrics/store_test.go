package metrics

import (
	"strings"
	"testing"
	"time"
)

type fixedStore bool

func (s fixedStore) State() (bool, time.Time, string) { return bool(s), time.Unix(1700000000, 0), "" }

func TestStoreIsShownOnlyWhereThereIsOne(t *testing.T) {
	with := scrape(t, Handler(Sources{Shards: twoShards{}, Store: fixedStore(false)}, discard))
	for _, want := range []string{"\nsrtrelay_store_up 0\n", "\nsrtrelay_store_change_timestamp_seconds 1.7e+09\n"} {
		if !strings.Contains(with, want) {
			t.Errorf("no line %q", strings.TrimSpace(want))
		}
	}
	if up := scrape(t, Handler(Sources{Shards: twoShards{}, Store: fixedStore(true)}, discard)); !strings.Contains(up, "\nsrtrelay_store_up 1\n") {
		t.Error("a store in use is not up")
	}
	if without := scrape(t, Handler(Sources{Shards: twoShards{}}, discard)); strings.Contains(without, "srtrelay_store") {
		t.Error("a store is shown where there is none")
	}
}
