package config

import (
	"net/netip"
	"strconv"
	"strings"
	"testing"
)

// Whatever a file holds, Load answers with a Config within bounds or with one
// line.
func FuzzFile(f *testing.F) {
	for _, text := range []string{
		"listen: [':20080', '[::1]:20081']\nbackend: srt://origin:10080\nshards: 4\n",
		"pin: 0,2-5\nrcvbuf: 512KiB\ngro: off\ngrace: 5s\n",
		"shard: 4\n", "---\n---\n", "&a [*a]", "\t", "{", "? {a: b}\n: c\n", "listen: !!binary AA==\n", "a: &x 1\nshards: *x\n",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := (source{args: "--config relay.yaml", file: string(text)}).load()
		if err != nil {
			if line := err.Error(); strings.ContainsAny(line, "\n\r") || !strings.HasPrefix(line, "config: ") {
				t.Fatalf("not one clear line: %q", line)
			}
			return
		}
		if len(c.Listen) == 0 || c.Shards < 1 || c.Shards > maxShards || c.Rcvbuf < minBuffer || c.IdleTimeout > maxTimeout {
			t.Fatalf("out of bounds: %+v", c)
		}
	})
}

// A size that is read is never negative and reads back the same in bytes.
func FuzzSize(f *testing.F) {
	for _, text := range []string{"16MiB", "512KiB", "4MB", "1 GB", "65536", "9223372036854775807", "8589934592GiB", "-1", "1e3", "b", ""} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := parseSize(text)
		if err != nil {
			return
		}
		if again, err := parseSize(strconv.FormatInt(n, 10)); err != nil || again != n || n < 0 {
			t.Fatalf("%q: %d, then %d, %v", text, n, again, err)
		}
	})
}

// The normal form of an address that is read reads back as the same address.
func FuzzEndpoint(f *testing.F) {
	for _, text := range []string{
		"20080", ":20080", "udp://:20080", "[::1]:20080", "0.0.0.0:20080", "srt://origin:10080/", "[fe80::1%2]:1",
		"[::ffff:10.0.0.1]:1", "abc:99999", "::1:1", "[]:1", "1.2.3:4", "a.:1", "localhost:1", "[", "]:1", "[a]:1",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, parse := range []func(string) (netip.AddrPort, error){parseListen, parseAPI} {
			a, err := parse(text)
			if err != nil {
				continue
			}
			if again, err := parse(a.String()); err != nil || again != a {
				t.Fatalf("%q: %v, then %v, %v", text, a, again, err)
			}
		}
		b, err := parseBackend(text)
		if err != nil {
			return
		}
		if again, err := parseBackend(b); err != nil || again != b {
			t.Fatalf("%q: %q, then %q, %v", text, b, again, err)
		}
	})
}
