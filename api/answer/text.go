package answer

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Escape escapes text that a caller chose (a stream's key, a stream ID), reversibly: \xHH
// for each byte of a character that is not printable and of invalid UTF-8, and two
// backslashes for one. So terminals, web pages, labels and URLs have the same text, without
// control characters and without those that change the direction of writing.
func Escape(text string) string { return escape(text, true) }

// Printable is Escape without the doubling of backslashes, for text that is only read, such
// as an error or a cause. Applying it twice has no further effect.
func Printable(text string) string { return escape(text, false) }

func escape(text string, backslashes bool) string {
	clean := func(r rune) bool { return unicode.IsPrint(r) && (r != '\\' || !backslashes) }
	if utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool { return !clean(r) }) {
		return text
	}
	const digits = "0123456789abcdef"
	var b strings.Builder
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		switch bad := r == utf8.RuneError && size == 1; {
		case !bad && clean(r):
			b.WriteString(text[i : i+size])
		case r == '\\':
			b.WriteString(`\\`)
		default:
			for _, c := range []byte(text[i : i+size]) {
				b.WriteString(`\x`)
				b.WriteByte(digits[c>>4])
				b.WriteByte(digits[c&15])
			}
		}
		i += size
	}
	return b.String()
}

// Unescape reverses Escape. A backslash that begins no escape stands for itself, so that an
// unescaped key works too.
func Unescape(text string) string {
	if !strings.Contains(text, `\`) {
		return text
	}
	b := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		rest := text[i:]
		switch {
		case strings.HasPrefix(rest, `\\`):
			b = append(b, '\\')
			i++
		case len(rest) >= 4 && rest[0] == '\\' && rest[1] == 'x' && nibble(rest[2]) >= 0 && nibble(rest[3]) >= 0:
			b = append(b, byte(nibble(rest[2])<<4|nibble(rest[3])))
			i += 3
		default:
			b = append(b, text[i])
		}
	}
	return string(b)
}

// nibble returns the value of a hexadecimal digit, -1 for any other character.
func nibble(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// EscapeJSON replaces every character of a JSON text that is not printable by \uHHHH. The
// values stay the same, and a terminal gets no control characters. (Such characters are only
// inside of strings, and encoding/json escapes those below U+0020 itself.)
func EscapeJSON(text []byte) []byte {
	hidden := func(r rune) bool { return r >= 0x7f && r != utf8.RuneError && !unicode.IsPrint(r) }
	if !strings.ContainsFunc(string(text), hidden) {
		return text
	}
	const digits = "0123456789abcdef"
	out := make([]byte, 0, len(text)+64)
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		if !hidden(r) {
			out = append(out, text[:size]...)
			text = text[size:]
			continue
		}
		text = text[size:]
		units := []rune{r}
		if r > 0xffff {
			units = []rune{0xd800 + (r-0x10000)>>10, 0xdc00 + (r-0x10000)&0x3ff}
		}
		for _, u := range units {
			out = append(out, '\\', 'u', digits[u>>12&15], digits[u>>8&15], digits[u>>4&15], digits[u&15])
		}
	}
	return out
}
