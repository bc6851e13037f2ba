package term

import (
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"time"

	tea "charm.land/bubbletea/v2"

	"srtrelay/api/answer"
	"srtrelay/cli/client"
)

// sample is the content of the screen at one time. Fields that the screen did not need are
// empty until carryOver fills them.
type sample struct {
	number uint64 // of the query
	screen screen
	at     time.Time
	err    error // if set, only number and at are valid

	version  string
	shards   answer.ShardList
	backends answer.BackendList
	streams  answer.StreamList
	stream   answer.StreamDetail
	session  answer.Session
	// gone is true if the stream or session on the screen has ended.
	gone bool
}

// page is how many streams a query reads beyond the screen, to scroll into.
const page = 100

// historySeconds is the history of each stream, if the screen has room for it.
const historySeconds = 60

// query makes the calls of the present screen. Answers to earlier queries are ignored.
func (t *top) query() tea.Cmd {
	t.asked++
	t.open = true
	ctx, c := t.ctx, t.client
	s := sample{number: t.asked, screen: t.screen}
	known, key, id := t.view.version, t.key, t.id
	if t.connection.away() {
		known = "" // another version may come back
	}
	query := answer.StreamQuery{
		Backend: t.backend, Match: t.match, Sort: t.sort,
		Limit: min(t.cursor.at+t.height+page, answer.MaxLimit),
	}
	if t.width >= minuteFrom {
		query.History = historySeconds
		query.Limit = min(t.cursor.at+t.height, answer.MaxLimit) // a history is most of an answer
	}
	return func() tea.Msg {
		s.err = s.fill(ctx, c, known, query, key, id)
		s.at = time.Now()
		return s
	}
}

func (s *sample) fill(ctx context.Context, c *client.Client, known string, query answer.StreamQuery, key, id string) (err error) {
	s.version = known
	if known == "" {
		v, err := client.Versions().Do(ctx, c)
		if err != nil {
			return err
		}
		s.version = v.Version
	}
	if s.shards, err = client.Shards().Do(ctx, c); err != nil {
		return err
	}
	if s.backends, err = client.Backends().Do(ctx, c); err != nil {
		return err
	}
	switch s.screen {
	case streamScreen:
		s.streams, err = client.Streams(query).Do(ctx, c)
	case detailScreen:
		s.stream, err = client.Stream(key).Do(ctx, c)
	case sessionScreen:
		s.session, err = client.Session(id).Do(ctx, c)
	}
	if s.screen != streamScreen && client.IsNotFound(err) {
		s.gone, err = true, nil
	}
	return err
}

// carryOver copies what this sample did not query from the one before, so that going back
// shows something at once, and a stream or session that has ended stays readable.
func (s *sample) carryOver(before sample) {
	if s.screen != streamScreen {
		s.streams = before.streams
	}
	if s.screen != detailScreen || s.gone {
		s.stream = before.stream
	}
	if s.screen != sessionScreen || s.gone {
		s.session = before.session
	}
}

// queryIfShort makes a query if the screen could show more streams than the last answer has.
func (t *top) queryIfShort() tea.Cmd {
	have := len(t.view.streams.Streams)
	if t.paused || t.screen != streamScreen || have == t.view.streams.Total || have >= t.cursor.at+t.height {
		return nil
	}
	return t.query()
}

// ids returns the IDs of the rows, so that the cursor can follow one.
func (t *top) ids() []string {
	var ids []string
	switch t.screen {
	case streamScreen:
		for _, s := range t.view.streams.Streams {
			ids = append(ids, s.Key)
		}
	case detailScreen:
		for _, s := range t.view.stream.SessionList {
			ids = append(ids, s.ID)
		}
	}
	return ids
}

// speed holds rates, computed from two samples of the shards' counters.
type speed struct {
	known                              bool
	bits, packets, drops, send, kernel float64
	shardPackets                       []float64
}

func speedOf(before, after sample) speed {
	a, b := before.shards, after.shards
	seconds := b.TakenAt.Sub(a.TakenAt).Seconds()
	// After a restart the counters begin anew.
	if before.at.IsZero() || seconds <= 0 || b.Total.Packets < a.Total.Packets || len(a.Shards) != len(b.Shards) {
		return speed{}
	}
	per := func(from, to uint64) float64 {
		if to < from {
			return 0
		}
		return float64(to-from) / seconds
	}
	s := speed{
		known: true, bits: 8 * per(a.Total.Bytes, b.Total.Bytes), packets: per(a.Total.Packets, b.Total.Packets),
		drops: per(sum(a.Total.Drops), sum(b.Total.Drops)), send: per(sum(a.Total.SendDrops), sum(b.Total.SendDrops)),
		kernel: per(a.Total.KernelDrops, b.Total.KernelDrops),
	}
	for i := range b.Shards {
		s.shardPackets = append(s.shardPackets, per(a.Shards[i].Packets, b.Shards[i].Packets))
	}
	return s
}

// backFor is how long the header shows that the relay is back.
const backFor = 10 * time.Second

// connection is the state of the connection to the relay.
type connection struct {
	err      error
	since    time.Time // of the first failure, or of the return
	was      bool      // has been away
	restarts bool      // came back with new counters
}

func (l *connection) away() bool { return l.err != nil }

func (l *connection) failed(err error, at time.Time) {
	if l.err == nil {
		l.since = at
	}
	l.err = err
}

func (l *connection) answered(at time.Time, restarted bool) {
	if l.err != nil || restarted {
		l.was, l.since, l.restarts = true, at, restarted
	}
	l.err = nil
}

// describe returns the state in a few words, and its severity.
func (l *connection) describe(now time.Time) (string, severity) {
	switch {
	case l.err != nil:
		return "relay away for " + figures{}.since(l.since, now) + " (" + shortError(l.err) + "), retrying", severityCritical
	case l.was && now.Sub(l.since) < backFor && l.restarts:
		return "relay restarted, connected again", severityWarning
	case l.was && now.Sub(l.since) < backFor:
		return "connected again", severityWarning
	}
	return "", severityNone
}

// shortError returns an error without the address, which the header has already.
func shortError(err error) string {
	if r, ok := errors.AsType[*client.APIError](err); ok {
		return answer.Printable(r.Text)
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err
		if call, ok := errors.AsType[*os.SyscallError](err); ok {
			err = call.Err
		}
	}
	return answer.Printable(err.Error())
}

// cursor is the selected row of a list. On the first row it stays there; on any other it
// follows the item when rows change places.
type cursor struct {
	at    int
	first int // row at the top of the window
	id    string
}

func (c *cursor) follow(ids []string) {
	if c.at > 0 {
		if i := slices.Index(ids, c.id); i >= 0 {
			c.at = i
		}
	}
	c.move(0, ids)
}

func (c *cursor) move(by int, ids []string) {
	c.at = max(min(c.at+by, len(ids)-1), 0)
	c.id = ""
	if c.at < len(ids) {
		c.id = ids[c.at]
	}
}

// window scrolls so that the cursor is visible in a number of rows, and returns the range of
// rows.
func (c *cursor) window(rows, all int) (from, to int) {
	rows = max(rows, 1)
	c.first = max(min(c.first, all-rows, c.at), c.at-rows+1, 0)
	return c.first, min(c.first+rows, all)
}
