package api

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"srtrelay/api/answer"
	"srtrelay/backend"
)

// twoRelays is a view of two relays, one of them away.
type twoRelays struct{}

func (twoRelays) Relays(context.Context) answer.RelayList {
	return answer.RelayList{
		SharedState: answer.SharedState{Since: time.Unix(1, 0).UTC(), Problem: "redis: gone", ReadAt: time.Unix(2, 0).UTC()},
		Relays: []answer.Relay{
			{
				ID: "1", Name: "edge-1", Self: true, State: answer.RelayAlive, Version: "v1", API: "http://edge-1:12025", SeenAt: time.Unix(3, 0).UTC(), Shards: 2,
				RelaySums: answer.RelaySums{Sessions: 1, Streams: 1, BitrateIn: 1e6}, Listed: 1,
			},
			{ID: "2", Name: "edge\x1b[31m-2", State: answer.RelayAway, SeenAt: time.Unix(3, 0).UTC(), Problem: "its report cannot be read", Overload: "players", Draining: true},
		},
		Alive: 1, Away: 1, LeftOut: 1, Sum: answer.RelaySums{Sessions: 1, Streams: 1, BitrateIn: 1e6},
	}
}

func (twoRelays) Streams(_ context.Context, q answer.ClusterStreamQuery) answer.ClusterStreamList {
	list := answer.ClusterStreamList{SharedState: answer.SharedState{InUse: true, Since: time.Unix(1, 0).UTC()}, Streams: []answer.ClusterStream{}, LeftOut: 3}
	if q.Key == nil || *q.Key == "__defaultVhost__/live/a" {
		list.Total = 1
		list.Streams = append(list.Streams, answer.ClusterStream{
			Key: "__defaultVhost__/live/a", Sessions: 1, Publishers: 1, BitrateIn: 1e6,
			Places: []answer.StreamPlace{
				{Relay: "1", Name: "edge-1", State: answer.RelayAlive, Backend: answer.BackendRef{ID: "b", Address: "10.0.0.1:1"}, Sessions: 1, Publishers: 1, BitrateIn: 1e6, AgeSeconds: 7},
				{Relay: "2", Name: "edge\u202e-2", State: answer.RelayAway},
			},
		})
	}
	return list
}

// What other relays have written is escaped, and a stream's short name finds it.
func TestCluster(t *testing.T) {
	d := everything(t, nil)
	if body := d.call("GET", "/api/v1/cluster", "").Body.String(); !strings.Contains(body, `"edge\\x1b[31m-2"`) {
		t.Errorf("a name is not escaped: %s", body)
	}
	if body := d.call("GET", "/api/v1/cluster/streams?key=live/a", "").Body.String(); !strings.Contains(body, `"total":1`) || !strings.Contains(body, `"edge\\xe2\\x80\\xae-2"`) {
		t.Errorf("the answer for a stream: %s", body)
	}
	if body := d.call("GET", "/api/v1/cluster/streams?key=other", "").Body.String(); !strings.Contains(body, `"streams":[],"total":0`) {
		t.Errorf("the answer for another stream: %s", body)
	}
	if body := d.call("GET", "/api/v1/versions", "").Body.String(); !strings.Contains(body, `"shared_state":true`) {
		t.Errorf("the version does not say that the state is shared: %s", body)
	}
}

// An order has effect, and its answer says whether other relays follow.
func TestOrders(t *testing.T) {
	token := []string{"Authorization", "Bearer secret-token"}
	for shared, text := range map[answer.Sharing]string{answer.SharedNot: "", answer.SharedNow: `,"shared":"now"`, answer.SharedPending: `,"shared":"pending"`} {
		d := everything(t, nil)
		d.shared = shared
		d.expect(http.StatusOK, `{"code":0,"data":{"id":"static","draining":true`+text+`}}`, d.call("POST", "/api/v1/backends/static/drain", "", token...))
		d.expect(http.StatusOK, `{"code":0,"data":{"id":"static","weight":7`+text+`}}`, d.call("POST", "/api/v1/backends/static/weight?weight=7", "", token...))
		if b, _ := d.Snapshot().Find("static"); !b.Draining || b.Share() != 7 {
			t.Errorf("%+v", b)
		}
		d.expect(http.StatusOK, `{"code":0,"data":{"id":"static","weight":0`+text+`}}`, d.call("POST", "/api/v1/backends/static/weight?weight=0", "", token...))
		if b, _ := d.Snapshot().Find("static"); b.Share() != 1 {
			t.Errorf("%+v", b)
		}
	}
	d := everything(t, nil)
	d.expect(http.StatusBadRequest, `{"code":400,"error":"weight: missing; 0 is the configured one"}`, d.call("POST", "/api/v1/backends/static/weight", "", token...))
	for _, query := range []string{"?weight=-1", "?weight=1.5", "?weight=x", "?weight=1&n=2"} {
		if w := d.call("POST", "/api/v1/backends/static/weight"+query, "", token...); w.Code != http.StatusBadRequest {
			t.Errorf("%s: %d", query, w.Code)
		}
	}
	if w := d.call("POST", "/api/v1/backends/static/weight?weight=2", ""); w.Code != http.StatusUnauthorized {
		t.Errorf("without a token: %d", w.Code)
	}
}

func TestOrderedBackendIsDescribed(t *testing.T) {
	list := DescribeBackends(BackendStates{Snapshot: &backend.Snapshot{Backends: []backend.Backend{
		{ID: "a", Weight: 2, OrderedWeight: 5, OrderedBy: "edge-2"}, {ID: "b", Weight: 2},
	}}})
	if a := list[0]; a.Weight != 5 || a.ConfiguredWeight != 2 || a.OrderedBy != "edge-2" {
		t.Errorf("%+v", a)
	}
	if b := list[1]; b.Weight != 2 || b.ConfiguredWeight != 0 {
		t.Errorf("%+v", b)
	}
}
