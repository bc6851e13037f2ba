package redis

import (
	"strings"
	"testing"
)

// answers are what Redis answers.
var answers = map[string]string{
	"a status":       "+OK\r\n",
	"an error":       "-ERR no such thing\r\n",
	"a number":       ":-7\r\n",
	"a text":         "$6\r\na\r\n+*$\r\n",
	"an empty text":  "$0\r\n\r\n",
	"nothing":        "$-1\r\n",
	"no list":        "*-1\r\n",
	"an empty list":  "*0\r\n",
	"a page of keys": "*2\r\n$1\r\n0\r\n*3\r\n$1\r\na\r\n$-1\r\n*0\r\n",
	"a pipeline":     "+OK\r\n:1\r\n*1\r\n*1\r\n:1\r\n$1\r\na\r\n",
	"a map":          "%2\r\n+a\r\n:1\r\n+b\r\n~2\r\n#t\r\n,1.5\r\n",
	"a push":         ">2\r\n+message\r\n|1\r\n+k\r\n_\r\n=7\r\ntxt:abc\r\n",
	"an empty map":   "%0\r\n",
	"other errors":   "!3\r\nERR\r\n(123456789012345678901234567890\r\n",
	"many lists":     strings.Repeat("*1\r\n:1\r\n", 1000),
	"a long list":    "*20000\r\n" + strings.Repeat(":1\r\n", 20_000),
	"a long text":    "$100000\r\n" + strings.Repeat("x", 100_000) + "\r\n",
}

// feed gives a checker a text in parts.
func feed(c *replyChecker, text string, size int) error {
	for len(text) > 0 {
		n := min(size, len(text))
		if err := c.next([]byte(text[:n])); err != nil {
			return err
		}
		text = text[n:]
	}
	return nil
}

// However answers are cut, they pass, and the next one is expected behind them.
func TestAnswersPass(t *testing.T) {
	t.Parallel()
	for name, text := range answers {
		for _, size := range []int{1, 2, 3, 5, 1000, len(text)} {
			var c replyChecker
			if err := feed(&c, text, size); err != nil || c.text > 0 || len(c.open)+len(c.line)+c.elements > 0 {
				t.Errorf("%s in parts of %d: %v, left: a text of %d, lists %v of %d, %q", name, size, err, c.text, c.open, c.elements, c.line)
			}
		}
	}
}

// What no Redis answers is refused before anything is allocated for it.
func TestWhatIsNoAnswer(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"HTTP": "HTTP/1.1 400\r\n", "TLS": "\x16\x03\x01\n", "no head": "\r\n", "no number": "$x\r\n",
		"a length of -2": "*-2\r\n", "no length": "*\r\n", "more than an int has": "$99999999999999999999\r\n",
		"a huge text": "$999999999999\r\n", "a huge list": "*999999999999\r\n", "a line without end": "+" + strings.Repeat("x", maxReplyLine),
		"lists of lists": strings.Repeat("*600000\r\n", 2), "deep lists": strings.Repeat("*1\r\n", maxReplyDepth+1),
		"behind an answer": "+OK\r\n$1\r\na\r\n\x00\r\n",
	} {
		for _, size := range []int{1, len(text)} {
			if err := feed(new(replyChecker), text, size); err == nil {
				t.Errorf("%s in parts of %d passes", name, size)
			}
		}
	}
}

// It makes no difference how a text is cut.
func FuzzReplies(f *testing.F) {
	for _, all := range []map[string]string{answers, nonsense} {
		for _, text := range all {
			f.Add(text[:min(len(text), 1000)], 3)
		}
	}
	f.Fuzz(func(t *testing.T, text string, size int) {
		var whole, parts replyChecker
		one, other := feed(&whole, text, len(text)), feed(&parts, text, max(size, 1))
		if (one == nil) != (other == nil) {
			t.Errorf("%v, in parts %v", one, other)
		}
		if one == nil && (whole.text != parts.text || len(whole.open) != len(parts.open) || len(whole.open) > maxReplyDepth) {
			t.Errorf("%+v, in parts %+v", whole, parts)
		}
	})
}
