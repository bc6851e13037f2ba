package relay

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"srtrelay/config"
	"srtrelay/internal/supervise"
	"srtrelay/streamid"
	"srtrelay/streamid/rules"
)

// ruleFile is the file of --rules, if there is one. A reload may put another in its place.
type ruleFile struct {
	live *rules.Live // where the rules in force are published; without a file there are none

	mu   sync.Mutex
	file *rules.File // nil without one
}

// openRules reads the file.
func openRules(c config.Config, log *slog.Logger) (*ruleFile, error) {
	file, err := readRules(c)
	if err != nil {
		return nil, err
	}
	l := &ruleFile{live: new(rules.Live)}
	if l.replace(file); file != nil {
		log.Info("rules in force", "file", c.Rules)
	}
	return l, nil
}

// readRules reads the file of a configuration, nil if it has none.
func readRules(c config.Config) (*rules.File, error) {
	if c.Rules == "" {
		return nil, nil
	}
	return rules.Open(c.Rules, streamid.Check)
}

// replace puts another file in force, or none.
func (l *ruleFile) replace(file *rules.File) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file = file; file == nil {
		l.live.Publish(nil)
		return
	}
	file.PublishIn(l.live)
}

// watch reads the file again when it changes, and calls reloaded each time. After an
// error the old rules stay in force.
func (l *ruleFile) watch(ctx context.Context, reloaded func(error)) {
	supervise.Every(ctx, rules.PollInterval, func(time.Time) { l.poll(reloaded) })
}

func (l *ruleFile) poll(reloaded func(error)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		l.file.Poll(reloaded)
	}
}

// reportRules writes to the log and the feed that the file was read again.
func reportRules(err error, sinks eventSinks, log *slog.Logger) {
	sinks.publishRulesReload(err)
	if err != nil {
		log.Error("rules not reloaded, the old ones stay in force", "error", err)
		return
	}
	log.Info("rules in force")
}
