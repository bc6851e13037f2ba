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

// sample is everything on the screen, asked at one time. The fields that the
// screen did not need are empty until keep fills them.
type sample struct {
	number uint64 // of the question
	screen screen
	at     time.Time
	err    error // nothing else is set then, but number and at

	version  string
	shards   answer.ShardList
	backends answer.BackendList
	streams  answer.StreamList
	stream   answer.StreamDetail
	session  answer.Session
	// gone says that the stream or session shown is no more.
	gone bool
}

// page is how many streams are asked for beyond the cursor: the screen, and
// some to scroll into until the next answer.
const page = 100

// ask puts the questions of the present screen. Whatever was asked before and
// not yet answered will be ignored.
func (t *top) ask() tea.Cmd {
	t.asked++
	t.open = true
	ctx, c := t.ctx, t.client
	s := sample{number: t.asked, screen: t.screen}
	known, key, id := t.view.version, t.key, t.id
	if t.link.away() {
		known = "" // another one may come back
	}
	query := answer.StreamQuery{
		Backend: t.backend, Match: t.match, Sort: t.sort,
		Limit: min(t.cursor.at+t.height+page, answer.MaxLimit),
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
		v, err := client.GetVersions().Ask(ctx, c)
		if err != nil {
			return err
		}
		s.version = v.Version
	}
	if s.shards, err = client.Shards().Ask(ctx, c); err != nil {
		return err
	}
	if s.backends, err = client.Backends().Ask(ctx, c); err != nil {
		return err
	}
	switch s.screen {
	case streamScreen:
		s.streams, err = client.Streams(query).Ask(ctx, c)
	case detailScreen:
		s.stream, err = client.Stream(key).Ask(ctx, c)
	case sessionScreen:
		s.session, err = client.Session(id).Ask(ctx, c)
	}
	if s.screen != streamScreen && client.IsNotFound(err) {
		s.gone, err = true, nil
	}
	return err
}

// keep takes from the sample before what this one did not ask for, so that
// going back shows something at once, and what is gone stays readable.
func (s *sample) keep(before sample) {
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

// askIfShort asks again if a larger screen could show more streams than the
// last answer holds.
func (t *top) askIfShort() tea.Cmd {
	have := len(t.view.streams.Streams)
	if t.paused || t.screen != streamScreen || have == t.view.streams.Total || have >= t.cursor.at+t.height {
		return nil
	}
	return t.ask()
}

// ids name the rows of the present screen, so that the cursor can stay on one.
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

// speed is what happens per second, from two samples of the shards' counters.
type speed struct {
	known                              bool
	bits, packets, drops, send, kernel float64
	shardPackets                       []float64
}

func speedOf(before, after sample) speed {
	seconds := after.at.Sub(before.at).Seconds()
	a, b := before.shards, after.shards
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

// shown of the return of a relay is for so long.
const backFor = 10 * time.Second

// link is whether the relay answers.
type link struct {
	err      error
	since    time.Time // of the first failure, or of the return
	was      bool      // has been away
	restarts bool      // came back with counters that begin anew
}

func (l *link) away() bool { return l.err != nil }

func (l *link) failed(err error, at time.Time) {
	if l.err == nil {
		l.since = at
	}
	l.err = err
}

func (l *link) answered(at time.Time, restarted bool) {
	if l.err != nil || restarted {
		l.was, l.since, l.restarts = true, at, restarted
	}
	l.err = nil
}

// say is the state in few words, and how bad it is.
func (l *link) say(now time.Time) (string, alarm) {
	switch {
	case l.err != nil:
		return "relay away for " + figures{}.since(l.since, now) + " (" + inShort(l.err) + "), retrying", alarming
	case l.was && now.Sub(l.since) < backFor && l.restarts:
		return "relay restarted, connected again", warning
	case l.was && now.Sub(l.since) < backFor:
		return "connected again", warning
	}
	return "", calm
}

// inShort is an error without the address, which stands above it.
func inShort(err error) string {
	if r, ok := errors.AsType[*client.Refusal](err); ok {
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

// cursor is the selected row of a list. On the first row it stays first; once
// moved it stays with what it points at while the rows change places.
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

// window makes the cursor visible in so many rows and returns the first and
// the row behind the last.
func (c *cursor) window(rows, all int) (from, to int) {
	rows = max(rows, 1)
	c.first = max(min(c.first, all-rows, c.at), c.at-rows+1, 0)
	return c.first, min(c.first+rows, all)
}
