package api

import (
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"srtrelay/api/answer"
)

// Two answers are as far apart as their times say.
func TestCountersSayWhenTheyWereRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHandler("v1", (&relay{}).deps(), discard)
		for _, path := range []string{"/api/v1/shards", "/api/v1/backends"} {
			at := func() time.Time {
				var got answer.Reply[struct {
					TakenAt time.Time `json:"taken_at"`
				}]
				if err := json.Unmarshal(recordOf(h.mux(), "GET", path).Body.Bytes(), &got); err != nil {
					t.Fatal(err)
				}
				return got.Data.TakenAt
			}
			first := at()
			if !first.Equal(time.Now()) {
				t.Errorf("%s: taken at %v, want %v", path, first, time.Now())
			}
			time.Sleep(1234 * time.Millisecond) // the bubble's clock
			if passed := at().Sub(first); passed != 1234*time.Millisecond {
				t.Errorf("%s: %v later, want 1.234s", path, passed)
			}
		}
	})
}
