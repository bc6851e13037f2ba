package api

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"srtrelay/api/answer"
	"srtrelay/internal/supervise"
)

// broken is a part of the relay that cannot answer.
type broken struct{ abort bool }

func (b broken) Backends() []answer.Backend {
	if b.abort {
		panic(http.ErrAbortHandler)
	}
	panic("boom")
}

// A call that panics is cut off, logged by the relay's log and counted; the API
// goes on.
func TestPanicOfACall(t *testing.T) {
	for _, c := range []struct {
		name   string
		abort  bool
		counts uint64
	}{{"panic", false, 1}, {"abort", true, 0}} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			r := &relay{}
			deps := r.deps()
			deps.Backends = broken{c.abort}
			log := slog.New(slog.NewTextHandler(&out, nil))
			s := supervise.New(log)
			deps.Supervisor = s
			server := New("v", deps, log)
			if err := server.Listen(netip.MustParseAddrPort("127.0.0.1:0")); err != nil {
				t.Fatal(err)
			}
			served := make(chan error)
			go func() { served <- server.Serve() }()
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			url := "http://" + server.Addr().String()
			if res, err := client.Get(url + "/api/v1/backends"); err == nil {
				res.Body.Close()
				t.Errorf("answered: %s", res.Status)
			}
			res, err := client.Get(url + "/live")
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if err := server.Shutdown(t.Context()); err != nil || <-served != nil {
				t.Fatal(err)
			}
			var got uint64
			for _, n := range s.Counts() {
				got += n.Panics
			}
			if got != c.counts || strings.Count(out.String(), "level=") != int(c.counts) || (c.counts > 0) != strings.Contains(out.String(), "task=api") {
				t.Errorf("%d counted, log %s", got, &out)
			}
		})
	}
}
