package api

import (
	"cmp"
	"net/http"
	"time"

	"srtrelay/api/answer"
	"srtrelay/shard/limit"
)

// Sources returns the sums of what the shards have published of callers' sources.
type Sources interface {
	Usage() *limit.Totals
}

// sources answers with the heaviest sources.
func (h *handler) sources(w http.ResponseWriter, r *http.Request) {
	p := parseQuery(r.URL.RawQuery, "level", "sort", "limit")
	q := answer.SourceQuery{
		Level: cmp.Or(p.word("level", answer.Levels), answer.LevelSource),
		Sort:  cmp.Or(p.word("sort", answer.SourceOrders), answer.SourceOrders[0]),
		Limit: p.number("limit", 1, answer.MaxLimit, answer.DefaultLimit),
	}
	if p.err != nil {
		writeError(w, http.StatusBadRequest, p.err.Error())
		return
	}
	writeReply(w, http.StatusOK, reply{Data: sourceList(h.deps.Sources.Usage(), q)})
}

func sourceList(t *limit.Totals, q answer.SourceQuery) answer.SourceList {
	level := limit.LevelSource
	if q.Level == answer.LevelSubnet {
		level = limit.LevelSubnet
	}
	found := t.SortedSources(level, sourceOrder(q.Sort))
	list := answer.SourceList{Sources: []answer.Source{}, Total: len(found)}
	for _, one := range found[:min(len(found), q.Limit)] {
		u := t.Sources[one]
		list.Sources = append(list.Sources, answer.Source{
			Source: one.Netip().String(), Sessions: int(u.Sessions), Handshakes: int(u.Handshakes),
			Connects: float64(u.Connects) / (float64(limit.WindowLength) / float64(time.Second)),
			Bitrate:  float64(u.Bitrate), Refused: u.Refused, Limit: u.Last.String(),
		})
	}
	return list
}

// sourceOrder returns the comparison for a sort order: the greatest value first, and of equal
// ones that with the most sessions.
func sourceOrder(by string) func(a, b *limit.SourceUsage) int {
	value := func(u *limit.SourceUsage) uint64 {
		switch by {
		case answer.SortConnects:
			return uint64(u.Connects)
		case answer.SortBitrate:
			return u.Bitrate
		case answer.SortRefused:
			return u.Refused
		}
		return uint64(u.Sessions + u.Handshakes)
	}
	return func(a, b *limit.SourceUsage) int {
		return cmp.Or(cmp.Compare(value(b), value(a)), cmp.Compare(b.Sessions, a.Sessions))
	}
}
