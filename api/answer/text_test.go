package answer

import (
	"encoding/json"
	"testing"
	"unicode"
	"unicode/utf8"
)

// hostileTexts are what a caller may put into a stream ID, with how answers
// write them.
var hostileTexts = map[string]string{
	"":                              "",
	"__defaultVhost__/live/cam 1":   "__defaultVhost__/live/cam 1",
	"live/käse/漢字":                  "live/käse/漢字",
	"live/\x1b[2J":                  `live/\x1b[2J`,
	"live/\u009b31m":                `live/\xc2\x9b31m`,
	"live/\u202egpj.exe":            `live/\xe2\x80\xaegpj.exe`,
	"live/\u2066x\u2069":            `live/\xe2\x81\xa6x\xe2\x81\xa9`,
	"live/\xff\xfe":                 `live/\xff\xfe`,
	"live/a\\b":                     `live/a\\b`,
	`live/\xff`:                     `live/\\xff`,
	"live/\r\n\t\x00\x7f":           `live/\x0d\x0a\x09\x00\x7f`,
	"live/\U000e0001\u200b\ufeff\\": `live/\xf3\xa0\x80\x81\xe2\x80\x8b\xef\xbb\xbf\\`,
	"live/\xe2\x80":                 `live/\xe2\x80`,
	"live/\ufffd":                   "live/\ufffd",
}

func TestHostileTextIsEscapedAndReadBack(t *testing.T) {
	for text, want := range hostileTexts {
		got := Escape(text)
		if got != want {
			t.Errorf("%q is written %q, want %q", text, got, want)
		}
		if back := Unescape(got); back != text {
			t.Errorf("%q is read back as %q", text, back)
		}
		if again := Printable(got); again != got {
			t.Errorf("%q is not printable: %q", got, again)
		}
	}
	for text, want := range map[string]string{
		`a\b`: `a\b`, `a\x4`: `a\x4`, `a\xg0`: `a\xg0`, `\`: `\`, `\xFF`: "\xff", "\xff": "\xff", `\\xff`: `\xff`,
	} {
		if got := Unescape(text); got != want {
			t.Errorf("%q is read as %q, want %q", text, got, want)
		}
	}
}

func FuzzEscape(f *testing.F) {
	for text := range hostileTexts {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := Escape(text)
		if Unescape(got) != text {
			t.Fatalf("%q is read back as %q", text, Unescape(got))
		}
		for _, r := range got + Printable(text) {
			if !unicode.IsPrint(r) {
				t.Fatalf("%q leaves %U", text, r)
			}
		}
		plain, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		escaped := EscapeJSON(plain)
		var a, b string
		if json.Unmarshal(plain, &a) != nil || json.Unmarshal(escaped, &b) != nil || a != b {
			t.Fatalf("%q is another value in JSON: %s", text, escaped)
		}
		for _, r := range string(escaped) {
			if r != utf8.RuneError && !unicode.IsPrint(r) {
				t.Fatalf("%s leaves %U", escaped, r)
			}
		}
	})
}
