package relay

import (
	"context"
	"testing"

	"srtrelay/config"
	"srtrelay/handshake"
	"srtrelay/streamid/rules"
)

// A step may wait for shards that are frozen for a take-over. An API that is opened meanwhile,
// because that has failed, must have the new tokens.
func TestReloadIsCurrentBeforeItsSteps(t *testing.T) {
	r := parts(t)
	r.reloads = newReloads(r)
	r.rules, r.cookies = &ruleFile{live: new(rules.Live)}, &cookieSecrets{live: new(handshake.SharedSecrets)}
	next := r.config
	next.RegisterToken = "new"
	seen := ""
	former := reloadSteps
	defer func() { reloadSteps = former }()
	reloadSteps = []reloadStep{{settings: []string{"max-sessions"}, apply: func(context.Context, *relay, *config.Config) {
		seen = apiSettings(*r.reloads.current.Load()).Token
	}}}
	p := reloadPlan{old: r.config, next: config.Next{
		Config: next, Changes: []config.Change{{Name: "max-sessions", InPlace: true}},
	}}
	if err := r.reloads.commit(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if seen != "new" {
		t.Errorf("during the steps the token is %q", seen)
	}
}
