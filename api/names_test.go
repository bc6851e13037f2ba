package api

import (
	"slices"
	"testing"

	"srtrelay/observe/capture"
	"srtrelay/observe/capture/pcapng"
)

// live/x is the stream of that key, or if there is none, that of the default vhost.
func TestStreamsAsPeopleNameThem(t *testing.T) {
	const long = "__defaultVhost__/live/x"
	for _, c := range []struct {
		name   string
		absent []string
		want   string
		found  bool
	}{
		{name: "live/x", want: "live/x", found: true},
		{name: "live/x", absent: []string{"live/x"}, want: long, found: true},
		{name: "live/x", absent: []string{"live/x", long}, want: "live/x"},
		{name: long, want: long, found: true},
		{name: long, absent: []string{long}, want: long},
		{name: "", absent: []string{""}},
		{name: "", found: true},
	} {
		s := &spoken{absent: map[string]bool{}}
		for _, key := range c.absent {
			s.absent[key] = true
		}
		key, found, err := findStream(t.Context(), s, c.name)
		if key != c.want || found != c.found || err != nil {
			t.Errorf("%q without %q: %q, %v, %v, want %q, %v", c.name, c.absent, key, found, err, c.want, c.found)
		}
	}
}

func TestStreamFiltersTakeShortNames(t *testing.T) {
	r := &relay{}
	r.spoken.absent = map[string]bool{"live/b": true}
	if w := r.ask("GET", "/api/v1/streams/one?key=live/b"); w.Code != 200 {
		t.Errorf("one stream: %d %s", w.Code, w.Body)
	}
	if w := r.ask("GET", "/api/v1/streams/one?key=live/no"); w.Code != 404 {
		t.Errorf("no stream: %d %s", w.Code, w.Body)
	}
	if w := r.ask("GET", "/api/v1/sessions?stream=live/b"); w.Code != 200 || *r.spoken.sessions.Stream != "__defaultVhost__/live/b" {
		t.Errorf("sessions: %d, asked for %q", w.Code, *r.spoken.sessions.Stream)
	}
	h := newHandler("v1", r.deps(), discard)
	for name, want := range map[string][]string{"live/b": {"live/b", "__defaultVhost__/live/b"}, "live/a": {"live/a"}} {
		q := eventFilter{streams: streamNames(name)}
		if h.nameStream(t.Context(), &q); !slices.Equal(q.streams, want) {
			t.Errorf("events of %s: %q, want %q", name, q.streams, want)
		}
	}
}

// A capture that waits takes whichever of the names comes first.
func TestCaptureNamesStreams(t *testing.T) {
	s := &spoken{absent: map[string]bool{"live/b": true, "live/c": true, "__defaultVhost__/live/c": true}}
	for name, want := range map[string]string{
		"live/a": `stream "live/a"`,
		"live/b": `stream "__defaultVhost__/live/b"`,
		"live/c": `stream "__defaultVhost__/live/c", stream "live/c"`,
	} {
		job := pcapng.Job{Filter: capture.Filter{Streams: []string{name}}}
		missing, err := findStreams(t.Context(), s, &job, true)
		if missing != nil || err != nil || job.Title != want {
			t.Errorf("%s: %q, missing %v, %v, want %q", name, job.Title, missing, err, want)
		}
	}
}
