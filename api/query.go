package api

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"srtrelay/api/answer"
	"srtrelay/shard"
)

// states are the values of the filter state.
var states = shard.StateNames()

// parameters reads a query. err is the first error, one line that begins with the name
// of the parameter.
type parameters struct {
	values url.Values
	err    error
}

// parseQuery accepts the parameters that a call knows and refuses all others: a
// misspelt filter must not list everything.
func parseQuery(raw string, known ...string) *parameters {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return &parameters{err: fmt.Errorf("query: %w", err)}
	}
	p := &parameters{values: values}
	for name := range values {
		if name != "token" && !slices.Contains(known, name) {
			p.invalid(name, "unknown parameter, there are "+strings.Join(known, ", "))
			break
		}
	}
	return p
}

func (p *parameters) invalid(name, why string) {
	if p.err == nil {
		p.err = errors.New(name + ": " + why)
	}
}

// text returns a parameter that may be given once; "" if it is missing.
func (p *parameters) text(name string) string {
	all := p.values[name]
	if len(all) > 1 {
		p.invalid(name, "given more than once")
	}
	if len(all) == 0 {
		return ""
	}
	return all[0]
}

// word returns a parameter that is one of words; "" if it is missing.
func (p *parameters) word(name string, words []string) string {
	w := p.text(name)
	if w != "" && !slices.Contains(words, w) {
		p.invalid(name, fmt.Sprintf("%q is none of %s", w, strings.Join(words, ", ")))
	}
	return w
}

// number returns a number within bounds, or byDefault if the parameter is missing.
func (p *parameters) number(name string, least, most, byDefault int) int {
	t := p.text(name)
	if t == "" {
		return byDefault
	}
	n, err := strconv.Atoi(t)
	if err != nil || n < least || n > most {
		p.invalid(name, fmt.Sprintf("%q is not within %d to %d", t, least, most))
	}
	return n
}

// caller returns an IP address with or without a port; invalid if it is missing.
func (p *parameters) caller(name string) netip.AddrPort {
	t := p.text(name)
	if t == "" {
		return netip.AddrPort{}
	}
	at, err := parseCaller(t)
	if err != nil {
		p.invalid(name, fmt.Sprintf("%q is neither an IP address nor one with a port", t))
	}
	return at
}

func sessionQuery(raw string) (answer.SessionQuery, error) {
	p := parseQuery(raw, "stream", "backend", "caller", "role", "state", "limit", "cursor")
	q := answer.SessionQuery{
		Backend: p.text("backend"), Caller: p.caller("caller"),
		Role: p.word("role", answer.Roles), State: p.word("state", states),
		Limit:  p.number("limit", 1, answer.MaxLimit, answer.DefaultLimit),
		Cursor: p.text("cursor"),
	}
	if p.values.Has("stream") { // "" is the stream of the default route
		key := answer.Unescape(p.text("stream"))
		q.Stream = &key
	}
	return q, p.err
}

// maxOffset is more streams than a relay can have.
const maxOffset = 100_000_000

func streamQuery(raw string) (answer.StreamQuery, error) {
	p := parseQuery(raw, "backend", "q", "sort", "limit", "offset", "history")
	q := answer.StreamQuery{
		Backend: p.text("backend"), Match: answer.Unescape(p.text("q")), Sort: p.word("sort", answer.SortOrders),
		Limit:   p.number("limit", 1, answer.MaxLimit, answer.DefaultLimit),
		Offset:  p.number("offset", 0, maxOffset, 0),
		History: p.number("history", 0, answer.MaxHistory, 0),
	}
	if q.Sort == "" {
		q.Sort = answer.SortBitrate
	}
	return q, p.err
}
