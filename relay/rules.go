package relay

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"srtrelay/config"
	"srtrelay/streamid"
	"srtrelay/streamid/rules"
)

// ruleFile is the file of --rules, if there is one.
type ruleFile struct {
	file *rules.File
	hup  chan os.Signal
}

// openRules reads the file. From then on SIGHUP reads it again; without a file, SIGHUP
// writes a line to the log and does not end the process.
func openRules(c config.Config, log *slog.Logger) (*ruleFile, error) {
	l := &ruleFile{hup: make(chan os.Signal, 1)}
	if c.Rules != "" {
		file, err := rules.Open(c.Rules, streamid.Check)
		if err != nil {
			return nil, err
		}
		l.file = file
		log.Info("rules in force", "file", c.Rules)
	}
	signal.Notify(l.hup, syscall.SIGHUP)
	return l, nil
}

// live returns the rules in force, for the shards; nil without a file.
func (l *ruleFile) live() *rules.Live {
	if l.file == nil {
		return nil
	}
	return l.file.Live()
}

// close restores the default action of SIGHUP.
func (l *ruleFile) close() { signal.Stop(l.hup) }

// watch reads the file again when it changes and on SIGHUP, and calls reloaded each
// time. After an error the old rules stay in force.
func (l *ruleFile) watch(ctx context.Context, reloaded func(error), log *slog.Logger) {
	if l.file == nil {
		for {
			select {
			case <-ctx.Done():
				return
			case <-l.hup:
				log.Info("nothing to reload: there is no file of rules")
			}
		}
	}
	tick := time.NewTicker(rules.PollInterval)
	defer tick.Stop()
	l.file.Watch(ctx, tick.C, l.hup, func(err error) {
		reloaded(err)
		if err != nil {
			log.Error("rules not reloaded, the old ones stay in force", "error", err)
			return
		}
		log.Info("rules in force")
	})
}
