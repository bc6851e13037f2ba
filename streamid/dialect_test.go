package streamid

import (
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"

	"srtrelay/streamid/rules"
)

func TestRead(t *testing.T) {
	const P, L = true, false
	for _, c := range []struct {
		in      string
		dialect rules.Dialect
		as      rules.Dialect
		key     string
		publish bool
		params  string
		err     error
	}{
		// Auto: MediaMTX's form by its prefix, one key for both.
		{"publish:x", rules.DialectAuto, rules.DialectMediaMTX, "live/x", P, "", nil},
		{"read:x", rules.DialectAuto, rules.DialectMediaMTX, "live/x", L, "", nil},
		{"publish:live/x", "", rules.DialectMediaMTX, "live/x", P, "", nil},
		{"publish:live/x:joe:ab", rules.DialectAuto, rules.DialectMediaMTX, "live/x", P, "", nil},
		{"read:live/x:joe:ab:k=v", rules.DialectAuto, rules.DialectMediaMTX, "live/x", L, "k=v", nil},
		{"read:live/x:k=v", rules.DialectAuto, rules.DialectMediaMTX, "live/x", L, "k=v", nil},
		{"read:live/x:joe:a:b:c", rules.DialectAuto, rules.DialectMediaMTX, "live/x", L, "", nil},
		{"publish:/live/x?token=a", rules.DialectAuto, rules.DialectMediaMTX, "/live/x", P, "token=a", nil},
		{"publish:a/b/c.d", rules.DialectAuto, rules.DialectMediaMTX, "a/b/c", P, "", nil},
		// What is not of that form is SRS's.
		{"publish:", rules.DialectAuto, rules.DialectSRS, "live/publish:", L, "", nil},
		{"publish::a:b", rules.DialectAuto, rules.DialectSRS, "live/publish::a:b", L, "", nil},
		{"Publish:x", rules.DialectAuto, rules.DialectSRS, "live/Publish:x", L, "", nil},
		{"subscribe:x", rules.DialectAuto, rules.DialectSRS, "live/subscribe:x", L, "", nil},
		{"live/read:x", rules.DialectAuto, rules.DialectSRS, "live/read:x", L, "", nil},
		{"#!::r=x,m=publish", rules.DialectAuto, rules.DialectSRS, "live/x", P, "", nil},
		{"", rules.DialectAuto, rules.DialectSRS, "live/livestream", P, "", nil},
		{"publish:x", rules.DialectSRS, rules.DialectSRS, "live/publish:x", L, "", nil},

		// MediaMTX: names count to the last letter.
		{"publish:cam.01", rules.DialectMediaMTX, rules.DialectMediaMTX, "live/cam.01", P, "", nil},
		{"#!::m=publish,r=cam.01", rules.DialectMediaMTX, rules.DialectMediaMTX, "live/cam.01", P, "", nil},
		{"#!::r=a/b,u=joe,s=ab,h=v,t=stream", rules.DialectMediaMTX, rules.DialectMediaMTX, "a/b", L, "", nil},
		{"#!::r=a,r=b=c", rules.DialectMediaMTX, rules.DialectMediaMTX, "live/b=c", L, "", nil},
		{"#!::r=a,m=PUBLISH", rules.DialectMediaMTX, rules.DialectMediaMTX, "", L, "", errMode},
		{"#!::r=a,k=v", rules.DialectMediaMTX, rules.DialectMediaMTX, "", L, "", errItem},
		{"#!::r=a,", rules.DialectMediaMTX, rules.DialectMediaMTX, "", L, "", errItem},
		{"#!::m=publish", rules.DialectMediaMTX, rules.DialectMediaMTX, "", L, "", errResource},
		{"live/x", rules.DialectMediaMTX, rules.DialectMediaMTX, "", L, "", errForm},
		{"publish:", rules.DialectMediaMTX, rules.DialectMediaMTX, "", L, "", errForm},
		{"write:x", rules.DialectMediaMTX, rules.DialectMediaMTX, "", L, "", errForm},
		{"read:a:b:c:d:e", rules.DialectMediaMTX, rules.DialectMediaMTX, "", L, "", errForm},
		{"", rules.DialectMediaMTX, rules.DialectMediaMTX, "", L, "", errForm},

		// Plain: the text is the name.
		{"cam.01", rules.DialectPlain, rules.DialectPlain, "live/cam.01", L, "", nil},
		{"#!::r=a", rules.DialectPlain, rules.DialectPlain, "live/#!::r=a", L, "", nil},
		{"publish:/live/x?token=a", rules.DialectPlain, rules.DialectPlain, "/live/x", P, "token=a", nil},
		{"subscribe:/live/x?token=b", rules.DialectPlain, rules.DialectPlain, "/live/x", L, "token=b", nil},
		{"", rules.DialectPlain, rules.DialectPlain, "live/", L, "", nil},
	} {
		r, err := parse(c.in, c.dialect)
		key := ""
		if err == nil {
			key = r.KeyAmong(nil)
		}
		want := c.key
		if want != "" {
			want = DefaultVhost + "/" + want
		}
		if !errors.Is(err, c.err) || key != want || r.Dialect != c.as || r.Publish != c.publish || err == nil && r.Params != c.params {
			t.Errorf("%q as %q: %+v, key %q, %v; want %+v", c.in, c.dialect, r, key, err, c)
		}
	}
}

// Every row of the table that is shared with other tools is read as SRS reads
// it where nothing else is set.
func TestAutoLeavesSRSItsOwn(t *testing.T) {
	table, err := os.ReadFile("testdata/streamids.tsv")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(table)) {
		text, _, ok := strings.Cut(line, "\t")
		if !ok {
			continue
		}
		if text == "(empty)" {
			text = ""
		}
		wantSRS(t, text)
	}
}

// wantSRS checks that s is read by SRS's rules alone.
func wantSRS(t *testing.T, s string) {
	t.Helper()
	want, wantErr := parseSRS(s)
	for _, d := range []rules.Dialect{rules.DialectAuto, rules.DialectSRS, ""} {
		got, err := parse(s, d)
		if got.StreamID != want || !errors.Is(err, wantErr) || got.Dialect != rules.DialectSRS {
			t.Errorf("%q as %q: %+v, %v; SRS reads %+v, %v", s, d, got, err, want, wantErr)
		}
		if err == nil && got.KeyAmong(nil) != want.Key() {
			t.Errorf("%q as %q: key %q, SRS's is %q", s, d, got.KeyAmong(nil), want.Key())
		}
	}
}

func TestInjectAction(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"publish:x", "publish:x:caller=192.0.2.1%3A5"},
		{"read:x:joe:ab", "read:x:joe:ab:caller=192.0.2.1%3A5"},
		{"read:x:k=v", "read:x:k=v&caller=192.0.2.1%3A5"},
		{"read:x:joe:ab:Caller=6.6.6.6&k=v", "read:x:joe:ab:k=v&caller=192.0.2.1%3A5"},
		{"publish:x?caller=6.6.6.6", "publish:x:caller=192.0.2.1%3A5"},
		{"publish:x?k=v&caller=6.6.6.6", "publish:x?k=v:caller=192.0.2.1%3A5"},
	} {
		r, err := parse(c.in, rules.DialectAuto)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := inject(r, c.in, "caller", "192.0.2.1:5"); err != nil || got != c.want {
			t.Errorf("%q becomes %q, %v; want %q", c.in, got, err, c.want)
		}
	}
	for in, d := range map[string]rules.Dialect{
		"#!::r=x": rules.DialectMediaMTX, "read:x:joe:a:b:c": rules.DialectAuto, "live/x": rules.DialectPlain,
	} {
		r, err := parse(in, d)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := inject(r, in, "caller", "192.0.2.1"); !errors.Is(err, errInject) {
			t.Errorf("%q as %s becomes %q, %v", in, d, got, err)
		}
	}
}

func TestRouteByDialect(t *testing.T) {
	set := ruleSet(t, "ports: [{port: 20081, dialect: mediamtx}, {port: 20082, dialect: plain}]\naccess: {publish: {deny: [192.0.2.1]}}")
	for _, c := range []struct {
		port    uint16
		in, key string
		dialect rules.Dialect
		err     error
	}{
		{20080, "read:cam.01", "__defaultVhost__/live/cam", rules.DialectMediaMTX, nil},
		{20081, "read:cam.01", "__defaultVhost__/live/cam.01", rules.DialectMediaMTX, nil},
		{20081, "publish:cam.01", "__defaultVhost__/live/cam.01", rules.DialectMediaMTX, errForbidden},
		{20081, "live/x", "", rules.DialectMediaMTX, errForm},
		{20082, "live/x.y", "__defaultVhost__/live/x.y", rules.DialectPlain, nil},
	} {
		r, err := Route(set, rules.Request{ListenPort: c.port, StreamID: c.in, Caller: netip.MustParseAddrPort("192.0.2.1:5")})
		if r.Key != c.key || r.Dialect != c.dialect || !errors.Is(err, c.err) {
			t.Errorf("%q at %d: key %q, %s, %v; want %+v", c.in, c.port, r.Key, r.Dialect, err, c)
		}
	}
}

// FuzzRead holds what is true of every text: Auto takes MediaMTX's form only,
// credentials come into nothing that is shown, and what is injected names the
// same stream.
func FuzzRead(f *testing.F) {
	for _, s := range []string{"publish:x", "read:live/x:joe:ab:k=v", "#!::m=publish,r=a/b", "publish::", "read:a?b=c:d", "", "live/x?y"} {
		f.Add(s, "joe", "ab")
	}
	f.Fuzz(func(t *testing.T, s, user, password string) {
		if !strings.HasPrefix(s, "publish:") && !strings.HasPrefix(s, "read:") {
			wantSRS(t, s)
		}
		for _, d := range []rules.Dialect{rules.DialectAuto, rules.DialectSRS, rules.DialectMediaMTX, rules.DialectPlain} {
			r, err := parse(s, d)
			if err != nil {
				continue
			}
			r.KeyAmong(nil)
			out, err := inject(r, s, "caller", "[2001:db8::1]:5")
			if err != nil {
				continue
			}
			again, err := parse(out, r.Dialect)
			if want := r.StreamID; err != nil || again.App != want.App || again.Stream != want.Stream || again.Publish != want.Publish {
				t.Errorf("%q as %s: %+v with the address %q: %+v, %v", s, d, r, out, again, err)
			}
		}
		const mark = "PASSWORD"
		text := "publish:live/x:" + strings.ReplaceAll(user, ":", "") + ":" + mark + ":" + password
		r, _ := parse(text, rules.DialectAuto)
		if strings.Contains(r.KeyAmong(nil)+r.Params, mark) && !strings.Contains(user+password, mark) {
			t.Errorf("%q: the password is in %+v", text, r)
		}
		if strings.Contains(Redact(text), mark) && !strings.Contains(user+password, mark) {
			t.Errorf("%q is shown as %q", text, Redact(text))
		}
	})
}
