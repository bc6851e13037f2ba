package streamid

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestInject(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", "#!::r=live/livestream,m=publish,caller=192.0.2.1"},
		{"#!::r=live/x,m=publish", "#!::r=live/x,m=publish,caller=192.0.2.1"},
		{"#!::h=a.com,r=live/x?secret=k,m=request", "#!::h=a.com,r=live/x?secret=k,m=request,caller=192.0.2.1"},
		{"#!::h=v.com/live/x", "#!::h=v.com/live/x,caller=192.0.2.1"},
		{"#!::r=livestream", "#!::r=livestream,caller=192.0.2.1"},
		// Forged copies, in the ways in which a hook could take them for ours.
		{"#!::r=a/b,caller=6.6.6.6,m=publish", "#!::r=a/b,m=publish,caller=192.0.2.1"},
		{"#!::caller=6.6.6.6,r=a/b?caller=7.7.7.7", "#!::r=a/b,caller=192.0.2.1"},
		{"#!::r=a/b,Caller=6.6.6.6,x=1", "#!::r=a/b,x=1,caller=192.0.2.1"},
		{"#!::r=a/b,%63aller=6.6.6.6", "#!::r=a/b,caller=192.0.2.1"},
		{"#!::r=a/b, caller=6.6.6.6", "#!::r=a/b,caller=192.0.2.1"},
		{"#!::r=a/b,caller[]=6.6.6.6", "#!::r=a/b,caller=192.0.2.1"},
		{"#!::r=a/b,caller", "#!::r=a/b,caller=192.0.2.1"},
		{"#!::r=a/b&caller=1&&x=1", "#!::r=a/b,x=1,caller=192.0.2.1"},
		{"#!::r=a/b,caller2=1,xcaller=1", "#!::r=a/b,caller2=1,xcaller=1,caller=192.0.2.1"},
		// What SRS pairs up is paired up as before.
		{"#!::r=a/b,", "#!::r=a/b,caller=192.0.2.1"},
		{"#!::r=a/b,x", "#!::r=a/b,x=,caller=192.0.2.1"},
		{"#!::r=a/b,x=", "#!::r=a/b,x=,caller=192.0.2.1"},
		{"#!::r=a/b,,m=publish", "#!::r=a/b,,m=publish=,caller=192.0.2.1"},
		{"#!::r,a/b,m,publish", "#!::r,a/b,m,publish,caller=192.0.2.1"},
		{"#!::r=a/b?", "#!::r=a/b?caller=192.0.2.1"},
		// A bare path stays one: its names may hold what separates.
		{"livestream", "livestream?caller=192.0.2.1"},
		{"live/x,y;z=1", "live/x,y;z=1?caller=192.0.2.1"},
		{"live/x?secret=abc", "live/x?secret=abc&caller=192.0.2.1"},
		{"live/x?", "live/x?caller=192.0.2.1"},
		{"live/x?caller=6.6.6.6&a=1;caller=7.7.7.7&b=2", "live/x?a=1&b=2&caller=192.0.2.1"},
		{"live/x??caller=6.6.6.6", "live/x?caller=192.0.2.1"},
		{"x?k=a/b", "x?k=a/b?caller=192.0.2.1"},
	} {
		got, err := injectSRS(c.in, "caller", "192.0.2.1")
		if err != nil || got != c.want {
			t.Errorf("%q:\n got %q, %v\nwant %q", c.in, got, err, c.want)
		}
		checkInject(t, c.in)
	}
	for in, want := range map[string]error{
		"#!::r=a/b,m=x": errMode,
		"#!::":          errResource,
		// The address would become part of the app.
		"#!::r=x,k=a/b": errInject,
	} {
		if got, err := injectSRS(in, "caller", "192.0.2.1"); !errors.Is(err, want) {
			t.Errorf("%q: %q, %v; want %v", in, got, err, want)
		}
	}
}

// checkInject holds: the same stream, our parameter once, the caller's copies
// gone, all others as they were. A hook sees no more than this.
func checkInject(t *testing.T, in string) {
	t.Helper()
	out, err := injectSRS(in, "caller", "[2001:db8::1]:5")
	before, refused := parseSRS(in)
	if err != nil {
		if refused == nil && !errors.Is(err, errInject) {
			t.Fatalf("%q: %v", in, err)
		}
		return
	}
	after, err := parseSRS(out)
	if err != nil {
		t.Fatalf("%q became %q: %v", in, out, err)
	}
	want := slices.DeleteFunc(parameters(before), func(p string) bool {
		name, _, _ := strings.Cut(p, "=")
		return sameKey(name, "caller")
	})
	want = append(want, "caller=[2001:db8::1]:5")
	got := parameters(after)
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Fatalf("%q became %q: parameters %q, want %q", in, out, got, want)
	}
	before.Params, after.Params = "", ""
	if before != after {
		t.Fatalf("%q became %q: %+v, want %+v", in, out, after, before)
	}
}

func parameters(id StreamID) []string {
	return strings.FieldsFunc(id.Params, func(r rune) bool { return r == '&' || r == ';' })
}

// Texts of the pieces that matter, long before a fuzzer finds them.
func TestInjectIntoAnything(t *testing.T) {
	pieces := []string{
		"r", "h", "m", "caller", "caller", "Caller", "%63aller", "caller[0]", "=", "=", ",", ",", "&", "&&", ";", "?", "/", "/", ".",
		"live", "v.com", "publish", "", "\x00", " ", "%", "+", "é", "#!::",
	}
	random := rand.New(rand.NewPCG(3, 4))
	for range 50000 {
		var b strings.Builder
		switch random.IntN(4) {
		case 0:
			b.WriteString("live/x")
		case 1, 2:
			b.WriteString("#!::r=a/b,")
		}
		for range random.IntN(14) {
			b.WriteString(pieces[random.IntN(len(pieces))])
		}
		checkInject(t, b.String())
	}
}

func FuzzInject(f *testing.F) {
	for _, s := range []string{
		"", "livestream", "live/x?caller=1;a&&b", "#!::h=v.com/live/x,m=publish", "#!::r=live/x,,m=publish",
		"#!::r=x&&k=a/b;m=REQUEST", "#!::r=a/b&caller=1&&&x", "#!::=,r=a/b,caller", "x?caller=a/b?caller=c",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) { checkInject(t, s) })
}
