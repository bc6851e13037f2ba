package term

import (
	"testing"
	"time"
)

// The web page rounds by the same rule; what it shows for these is the same.
func TestFigures(t *testing.T) {
	f, exact := figures{}, figures{exact: true}
	number := func(v float64) *float64 { return &v }
	for _, c := range []struct{ got, want string }{
		{f.bitrate(0), "0 bit/s"},
		{f.bitrate(999.4), "999 bit/s"},
		{f.bitrate(999.5), "1.00 kbit/s"},
		{f.bitrate(9994.9), "9.99 kbit/s"},
		{f.bitrate(9995), "10.0 kbit/s"},
		{f.bitrate(99_950), "100 kbit/s"},
		{f.bitrate(999_499), "999 kbit/s"},
		{f.bitrate(999_500), "1.00 Mbit/s"},
		{f.bitrate(5_123_456.7), "5.12 Mbit/s"},
		{f.bitrate(1.5e15), "1500 Tbit/s"},
		{exact.bitrate(5_123_456.7), "5,123,457 bit/s"},
		{f.bytes(999), "999 B"},
		{f.bytes(1_234_567), "1.23 MB"},
		{exact.bytes(1_234_567), "1,234,567 B"},
		{f.rate(0.4), "0"},
		{f.rate(999.4), "999"},
		{f.rate(12_345), "12.3k"},
		{exact.rate(12_345.4), "12,345"},
		{f.count(0), "0"},
		{f.count(999), "999"},
		{f.count(1_000), "1,000"},
		{f.count(18_446_744_073_709_551_615), "18,446,744,073,709,551,615"},
		{f.millis(nil), "–"},
		{f.millis(number(0)), "0.00 ms"},
		{f.millis(number(24.0625)), "24.1 ms"},
		{f.millis(number(9.996)), "10.0 ms"},
		{f.millis(number(0.125)), "0.13 ms"},
		{exact.millis(number(24.0625)), "24.0625 ms"},
		{f.percent(nil), "–"},
		{f.percent(number(0)), "0 %"},
		{f.percent(number(0.0049)), "<0.01 %"},
		{f.percent(number(0.005)), "0.01 %"},
		{f.percent(number(4.826)), "4.83 %"},
		{f.percent(number(100)), "100 %"},
		{exact.percent(number(4.826)), "4.826 %"},
		{f.seconds(0.0124), "12 ms"},
		{f.seconds(59.9), "59 s"},
		{f.seconds(240.4), "4 min 0 s"},
		{f.seconds(86_399), "23 h 59 min"},
		{f.seconds(200_000), "2 d 7 h"},
		{group("-1234567"), "-1,234,567"},
		{group("-123"), "-123"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
	now := time.Unix(1e9, 0)
	for at, want := range map[time.Time]string{
		{}: "–", now: "0 s", now.Add(time.Second): "0 s", now.Add(-90 * time.Second): "1 min 30 s",
	} {
		if got := f.since(at, now); got != want {
			t.Errorf("since %v: %q, want %q", at, got, want)
		}
	}
}
