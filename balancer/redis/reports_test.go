package redis

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"srtrelay/observe/cluster"
)

// Reports are read by all relays, for each kind of Redis, and one that has stopped is not
// listed any more.
func TestReports(t *testing.T) {
	t.Parallel()
	single, cluster1 := startRedis(t), startCluster(t)
	for name, servers := range map[string]Servers{"single": at(single.addr), "cluster": {Mode: "cluster", Addrs: []string{cluster1.addr}}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := open(t, servers).ready(), open(t, servers).ready()
			must(t, a.WriteReport(t.Context(), []byte(`{"name":"a"}`), []byte("streams of a")))
			must(t, b.WriteReport(t.Context(), []byte(`{"name":"b"}`), nil))
			all, left, err := b.ReadReports(t.Context())
			must(t, err)
			if len(all) != 2 || left != 0 {
				t.Fatalf("%d reports, %d left out", len(all), left)
			}
			for _, r := range all {
				want := map[string]string{a.RelayID(): `{"name":"a"}`, b.RelayID(): `{"name":"b"}`}[r.ID]
				if string(r.Info) != want || r.Age < 0 || r.Age > time.Minute {
					t.Errorf("%s: %s, %v old", r.ID, r.Info, r.Age)
				}
			}
			ids := []string{b.RelayID(), a.RelayID(), "x", "y", "z"}
			texts, err := b.ReadSummaries(t.Context(), ids)
			must(t, err)
			if len(texts) != 5 || len(texts[0]) != 0 || string(texts[1]) != "streams of a" {
				t.Errorf("%q", texts)
			}
			a.Close()
			if all, _, _ := b.ReadReports(t.Context()); len(all) != 1 {
				t.Errorf("%d reports after a has stopped", len(all))
			}
			b.Pause() // another process has taken over
			must(t, b.WriteReport(t.Context(), []byte("{}"), nil))
			must(t, b.RemoveReport(t.Context()))
			if all, _, _ := b.ReadReports(t.Context()); len(all) != 1 || string(all[0].Info) != `{"name":"b"}` {
				t.Errorf("a process that is parked has written: %q", all)
			}
		})
	}
}

func TestReportsWhileRedisIsAway(t *testing.T) {
	t.Parallel()
	a := open(t, at("127.0.0.1:1"))
	if err := a.WriteReport(t.Context(), nil, nil); !errors.Is(err, cluster.ErrAway) {
		t.Error(err)
	}
	if _, _, err := a.ReadReports(t.Context()); !errors.Is(err, cluster.ErrAway) {
		t.Error(err)
	}
	if _, err := a.ReadSummaries(t.Context(), []string{"x"}); !errors.Is(err, cluster.ErrAway) {
		t.Error(err)
	}
}

// What others have written costs a reader little, and nothing of the relays that are well.
func TestHostileReports(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	a := open(t, at(s.addr)).ready()
	must(t, a.WriteReport(t.Context(), []byte(`{"name":"a"}`), []byte("a")))
	now := time.Now().UnixMilli()
	must(t, s.HSet(t.Context(), relaysKey,
		"huge", fmt.Sprint(now, " ")+strings.Repeat("x", 1<<20), strings.Repeat("i", 100), "1 {}",
		"no-time", "{}", "future", fmt.Sprint(now+cluster.KnownFor.Milliseconds()*2, " {}"), "negative", "-5 {}",
		"old", fmt.Sprint(now-2*cluster.KnownFor.Milliseconds(), " {}"), "ahead", fmt.Sprint(now+1000, " {}"),
	).Err())
	all, left, err := a.ReadReports(t.Context())
	must(t, err)
	if len(all) != 2 || left != 5 {
		t.Errorf("%d reports, %d left out: %v", len(all), left, all)
	}
	for _, r := range all {
		if r.Age < 0 {
			t.Errorf("%s is %v old", r.ID, r.Age)
		}
	}
	if s.HExists(t.Context(), relaysKey, "old").Val() {
		t.Error("a report of long ago is still there")
	}
	must(t, s.Set(t.Context(), summaryPrefix+"huge", bytes.Repeat([]byte("x"), 2*cluster.MaxSummary), 0).Err())
	must(t, s.HSet(t.Context(), summaryPrefix+"hash", "a", "b").Err())
	texts, err := a.ReadSummaries(t.Context(), []string{"huge", "hash", a.RelayID()})
	must(t, err)
	if len(texts[0]) > cluster.MaxSummary+1 || len(texts[1]) != 0 || string(texts[2]) != "a" {
		t.Errorf("summaries of %d, %d and %d bytes", len(texts[0]), len(texts[1]), len(texts[2]))
	}
	for i := 0; i < maxRelayEntries+1; i += 100 {
		var many []any
		for k := range 100 {
			many = append(many, fmt.Sprint("liar-", i+k), fmt.Sprint(now, " {}"))
		}
		must(t, s.HSet(t.Context(), relaysKey, many...).Err())
	}
	all, left, err = a.ReadReports(t.Context())
	must(t, err)
	if len(all) > maxListedRelays || left < 100 {
		t.Errorf("%d reports, %d left out", len(all), left)
	}
	must(t, a.WriteReport(t.Context(), []byte(`{"name":"a"}`), nil))
	if all, _, _ := a.ReadReports(t.Context()); len(all) != 1 || all[0].ID != a.RelayID() {
		t.Errorf("%d reports after the hash was begun anew", len(all))
	}
	must(t, s.Del(t.Context(), relaysKey).Err())
	must(t, s.Set(t.Context(), relaysKey, "a string", 0).Err())
	if err := a.WriteReport(t.Context(), []byte("{}"), nil); err == nil {
		t.Error("a report was written over a string")
	}
	if ok, _, _ := a.State(); !ok {
		t.Error("a report that fails ends the use of Redis")
	}
}

// Whatever a hash of Redis has: a report that counts has an age that can be.
func FuzzReports(f *testing.F) {
	now := "1700000000000"
	f.Add(now, "0", "a", now+" {}")
	f.Add(now, "7", "b", "-5 {}")
	f.Add("x", "y", "", "99999999999999999999 {}")
	f.Add("-9223372036854775808", "0", "c", "9223372036854775807 {}")
	f.Fuzz(func(t *testing.T, now, left, id, text string) {
		all, old, leftOut := readReports([]string{now, left, id, text, id, text})
		if len(all)+len(old) > 1 {
			t.Errorf("one report counts %d times", len(all)+len(old))
		}
		if len(all)+len(old) == 0 && leftOut == 0 && left == "0" {
			t.Error("a report is neither listed nor counted")
		}
		for _, r := range all {
			if r.ID != id || r.Age < 0 || r.Age > cluster.KnownFor {
				t.Errorf("%s is %v old", r.ID, r.Age)
			}
		}
	})
}
