package api

import (
	"context"
	"net/http"

	"srtrelay/api/answer"
)

// Cluster lists what the relays that share the state have told each other; see
// cluster.View. The lists are those of the last time that Redis was there.
type Cluster interface {
	Relays(ctx context.Context) answer.RelayList
	Streams(ctx context.Context, q answer.ClusterStreamQuery) answer.ClusterStreamList
}

// alone is the error of a relay that shares nothing.
const alone = "this relay shares no state with others: it runs without --state redis"

// relays lists the relays that share the state.
func (h *handler) relays(w http.ResponseWriter, r *http.Request) {
	if h.deps.Cluster == nil {
		writeError(w, http.StatusConflict, alone)
		return
	}
	list := h.deps.Cluster.Relays(r.Context())
	for i := range list.Relays {
		one := &list.Relays[i]
		for _, text := range []*string{&one.ID, &one.Name, &one.Version, &one.API, &one.Forward, &one.Overload, &one.Problem} {
			*text = answer.Printable(*text)
		}
	}
	writeReply(w, http.StatusOK, reply{Data: list})
}

// clusterStreams answers one page of the streams of all relays.
func (h *handler) clusterStreams(w http.ResponseWriter, r *http.Request) {
	if h.deps.Cluster == nil {
		writeError(w, http.StatusConflict, alone)
		return
	}
	q, err := clusterStreamQuery(r.URL.RawQuery)
	if err != nil {
		writeError(w, http.StatusBadRequest, err.Error())
		return
	}
	var list answer.ClusterStreamList
	names := []string{""}
	if q.Key != nil {
		names = streamNames(*q.Key)
	}
	for _, name := range names {
		if q.Key != nil {
			q.Key = &name
		}
		if list = h.deps.Cluster.Streams(r.Context(), q); list.Total > 0 {
			break
		}
	}
	for i := range list.Streams {
		s := &list.Streams[i]
		s.Key = answer.Escape(s.Key)
		for k := range s.Places {
			p := &s.Places[k]
			for _, text := range []*string{&p.Relay, &p.Name, &p.Backend.ID, &p.Backend.Address} {
				*text = answer.Printable(*text)
			}
		}
	}
	writeReply(w, http.StatusOK, reply{Data: list})
}

func clusterStreamQuery(raw string) (answer.ClusterStreamQuery, error) {
	p := parseQuery(raw, "key", "q", "relay", "backend", "sort", "limit", "offset")
	q := answer.ClusterStreamQuery{
		Match: answer.Unescape(p.text("q")), Relay: p.text("relay"), Backend: p.text("backend"),
		Sort:   p.word("sort", answer.ClusterSortOrders),
		Limit:  p.number("limit", 1, answer.MaxLimit, answer.DefaultLimit),
		Offset: p.number("offset", 0, maxOffset, 0),
	}
	if p.values.Has("key") { // "" is the stream of the default route
		key := answer.Unescape(p.text("key"))
		q.Key = &key
	}
	return q, p.err
}
