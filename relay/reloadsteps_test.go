package relay

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"srtrelay/api/answer"
	"srtrelay/balancer/redis"
	"srtrelay/config"
)

// A reload applies each setting that config says it applies, by one step, and no other.
func TestEveryReloadableSettingHasAStep(t *testing.T) {
	var applied []string
	for _, s := range reloadSteps {
		applied = append(applied, s.settings...)
	}
	var reloadable []string
	for _, s := range config.Settings() {
		if s.InPlace {
			reloadable = append(reloadable, s.Name)
		}
	}
	slices.Sort(applied)
	slices.Sort(reloadable)
	if !slices.Equal(applied, reloadable) {
		t.Errorf("steps apply    %q\nconfig promises %q", applied, reloadable)
	}
}

// The times of entries in Redis are fixed when the relay connects to it.
func TestTimesInRedisStay(t *testing.T) {
	alone, sharing := &reloads{relay: new(relay)}, &reloads{relay: new(relay)}
	sharing.relay.balancer.shared = new(redis.Balancer)
	for _, name := range []string{"affinity", "backend-ttl", "policy", "name"} {
		stays := name == "affinity" || name == "backend-ttl"
		if why := sharing.refuse(name, nil); (why != "") != stays {
			t.Errorf("%s with Redis: %q", name, why)
		}
		if why := alone.refuse(name, nil); why != "" {
			t.Errorf("%s: %q", name, why)
		}
	}
}

func TestOutcomeText(t *testing.T) {
	for want, c := range map[string]struct {
		reply   answer.Reload
		applied []string
	}{
		"there is no configuration file":                             {},
		"there is no configuration file; shared secrets in force: 2": {reply: answer.Reload{CookieSecrets: 2}},
		"no setting has changed":                                     {reply: answer.Reload{File: "f"}},
		"in force: a, b":                                             {answer.Reload{File: "f", Changes: make([]answer.SettingChange, 2)}, []string{"a", "b"}},
		"in force: a; needs srtrelay upgrade: b": {
			answer.Reload{File: "f", Changes: make([]answer.SettingChange, 2), NeedUpgrade: []string{"b"}}, []string{"a"},
		},
	} {
		if got := outcomeText(c.reply, c.applied); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// A wrong value of a megabyte does not fill the log.
func TestReasonIsClipped(t *testing.T) {
	if short := "config: short"; clipped(short) != short {
		t.Error("a short reason has changed")
	}
	if got := clipped(strings.Repeat("é", maxReason)); len(got) > maxReason+3 || !utf8.ValidString(got) {
		t.Errorf("%d bytes, valid: %v", len(got), utf8.ValidString(got))
	}
	if got := clipped("x" + strings.Repeat("é", maxReason)); !utf8.ValidString(got) {
		t.Error("cut within a letter")
	}
}
