package redis

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"srtrelay/balancer"
)

func TestNotice(t *testing.T) {
	var long, many []announcement
	for i := range maxBindings {
		server := fmt.Sprintf("%s%0*d", serverPrefix, maxKey-len(serverPrefix), i)
		long = append(long, announcement{balancer.AffinityKey{Stream: fmt.Sprintf("%0*d", maxStreamKey, i)}, server, i%2 == 0})
		many = append(many, announcement{key: balancer.AffinityKey{Stream: key(i)}, server: serverPrefix + "a"})
	}
	for name, all := range map[string][]announcement{
		"none":      nil,
		"a stream":  {{balancer.AffinityKey{Stream: "\x00\xff\n"}, "s", false}},
		"published": {{balancer.AffinityKey{Stream: "k"}, "s", true}},
		"a group":   {{balancer.AffinityKey{Group: math.MaxUint32}, "s", true}, {balancer.AffinityKey{Group: 1}, "t", false}},
		"long":      long, "many": many,
	} {
		text := string(writeNotice(nil, all))
		got, err := readNotice(text)
		if err != nil || !reflect.DeepEqual(got, all) {
			t.Errorf("%s: %d bytes, %v, %d of %d", name, len(text), err, len(got), len(all))
		}
	}
}

func TestNoticeThatIsNone(t *testing.T) {
	good := string(writeNotice(nil, []announcement{{balancer.AffinityKey{Stream: "k"}, "s", true}}))
	over := make([]announcement, 0, maxBindings+1)
	for range maxBindings + 1 {
		over = append(over, announcement{key: balancer.AffinityKey{Stream: "k"}, server: "s"})
	}
	for name, text := range map[string]string{
		"empty": "", "another version": "\x02" + good[1:], "cut": good[:len(good)-1], "more": good + "\x00",
		"no such server": "\x01\x00\x00\x01k", "no home": "\x01\x01\x01s\x00\x00", "group 0": "\x01\x01\x01s\x01\x00",
		"too many servers": "\x01\xff\xff\xff\xff\x0f", "a number without end": "\x01" + strings.Repeat("\xff", 20),
		"too many bindings": string(writeNotice(nil, over)),
		"a long key":        string(writeNotice(nil, []announcement{{key: balancer.AffinityKey{Stream: strings.Repeat("k", maxStreamKey+1)}, server: "s"}})),
		"too long":          good + strings.Repeat("\x00", maxNotice),
	} {
		if got, err := readNotice(text); err == nil {
			t.Errorf("%s: %d bindings", name, len(got))
		}
	}
}

func FuzzReadNotice(f *testing.F) {
	f.Add(string(writeNotice(nil, []announcement{{balancer.AffinityKey{Stream: "k"}, "s", true}, {balancer.AffinityKey{Group: 7}, "t", false}})))
	f.Add("\x01\x01\x01s\x00\x00")
	f.Add("\x01\xff\xff\xff\xff\x0f")
	f.Fuzz(func(t *testing.T, text string) {
		all, err := readNotice(text)
		if err != nil {
			return
		}
		if len(all) > maxBindings {
			t.Errorf("%d bindings", len(all))
		}
		again, err := readNotice(string(writeNotice(nil, all)))
		if err != nil || !reflect.DeepEqual(all, again) {
			t.Errorf("%v, %+v, %+v", err, all, again)
		}
	})
}

func TestNoticeID(t *testing.T) {
	id, err := parseNoticeID("1700000000000-5")
	if err != nil || id.String() != "1700000000000-5" || id.before(id) ||
		!id.before(noticeID{id.ms, 6}) || !id.before(noticeID{id.ms + 1, 0}) {
		t.Errorf("%v, %v", id, err)
	}
	for _, text := range []string{"", "x-1", "1", "1-x", "-1-1"} {
		if _, err := parseNoticeID(text); err == nil {
			t.Errorf("%q was read", text)
		}
	}
}
