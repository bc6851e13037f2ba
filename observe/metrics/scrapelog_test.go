package metrics

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

// Clients that leave during a scrape, as often as they please, do not fill the log.
func TestScrapesThatFailAreFewLines(t *testing.T) {
	var out bytes.Buffer
	l := scrapeLog{log: slog.New(slog.NewTextHandler(&out, nil))}
	for range 100 {
		l.Println("error encoding and sending metric family:", "context canceled")
	}
	if n := strings.Count(out.String(), "\n"); n != 1 {
		t.Errorf("%d lines:\n%s", n, &out)
	}
}
