package streamid

import (
	"strings"
	"testing"
)

func TestShown(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", ""},
		{"live/a", "live/a"},
		{"#!::h=example.com,r=live/a,m=publish", "#!::h=example.com,r=live/a,m=publish"},
		{"#!::r=live/a,secret=abc,m=publish", "#!::r=live/a,secret=***,m=publish"},
		{"#!::secret=abc,r=live/a", "#!::secret=***,r=live/a"},
		{"#!::r=live/a?secret=abc,m=request", "#!::r=live/a?secret=***,m=request"},
		{"#!::u=joe,s=7f3a,r=live/a", "#!::u=joe,s=***,r=live/a"},
		{"#!::r=live/a?secret=", "#!::r=live/a?secret="},
		{"live/a?secret=abc", "live/a?secret=***"},
		{"live/a?vhost=v&token=a.b-c&x=1", "live/a?vhost=v&token=***&x=1"},
		{"live/a?txSecret=ab&txTime=6", "live/a?txSecret=***&txTime=6"},
		{"live/a?auth_key=1-0-0-ab;b=2", "live/a?auth_key=***;b=2"},
		{"live/a?X-Amz-Signature=ab&sig=cd", "live/a?X-Amz-Signature=***&sig=***"},
		{"live/a?PASSWORD=ab,Pwd=cd", "live/a?PASSWORD=***,Pwd=***"},
		{"live/a?%74oken=ab", "live/a?%74oken=***"},
		{"live/a?token = ab", "live/a?token =***"},
		{"live/a?token=ab==&x=1", "live/a?token=***&x=1"},
		{"live/a?token=a/b?c", "live/a?token=***"},
		{"x=token=ab", "x=token=***"},
		{"#!:{token=ab,r=live/a}", "#!:{token=***,r=live/a}"},
		{"vhost=v&secret=ab", "vhost=v&secret=***"},
		{"publish:live/a", "publish:live/a"},
		{"publish:live/a:token=ab", "publish:live/a:token=***"},
		{"read:live/a:joe:ab", "read:live/a:joe:***"},
		{"publish:a?jwt=ab:joe:cd:token=ef", "publish:a?jwt=***:joe:***:token=***"},
		{"publish:live/a:joe:a:b", "publish:live/a:joe:***:***"},
		{"publish:live/a:joe:a:b=c:d:e", "publish:live/a:joe:***"},
		{"read:live/a:ab", "read:live/a:***"},
		{"read:live/a:joe:ab:", "read:live/a:joe:***:"},
		{"publish::joe:ab", "publish::joe:ab"}, // a stream of SRS's
		{"live/design?tokens", "live/design?tokens"},
		{"\xff=\xfe,%zz=1", "\xff=\xfe,%zz=1"},
	} {
		if got := Redact(c.in); got != c.want {
			t.Errorf("%q is shown as %q, want %q", c.in, got, c.want)
		}
	}
}

// Whatever stands around it, the value of a secret is hidden, and what is
// hidden stays as it is.
func FuzzShown(f *testing.F) {
	for _, s := range []string{"", "#!::r=live/a", "live/a?x=1&y", "publish:a:b:c:d", "#!:{a=b}", "a=secret", "&&=,"} {
		f.Add(s)
	}
	const value = "T0pS3cr3t/+"
	f.Fuzz(func(t *testing.T, s string) {
		if strings.Contains(s, value) {
			t.Skip()
		}
		for _, in := range []string{s + "?secret=" + value, s + ",secret=" + value + ",x=y", "#!::secret=" + value + "&" + s} {
			got := Redact(in)
			if strings.Contains(got, value) {
				t.Fatalf("%q is shown as %q", in, got)
			}
			if again := Redact(got); again != got {
				t.Fatalf("%q is shown as %q, that as %q", in, got, again)
			}
		}
		if !strings.Contains(s, "=") && !strings.Contains(s, ":") && Redact(s) != s {
			t.Fatalf("%q is shown as %q", s, Redact(s))
		}
	})
}
