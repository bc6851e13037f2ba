package relay

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"srtrelay/streamid"

	"srtrelay/config"
	"srtrelay/streamid/rules"
)

// ruleFile is the file of stream ID rules, if there is one.
type ruleFile struct {
	file *rules.File
	hup  chan os.Signal
}

// openRules reads the file and from then on takes SIGHUP for a wish to have it
// read again. Without a file SIGHUP only says so: it must not end a relay.
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

// live is what the shards look at; nil without rules.
func (l *ruleFile) live() *rules.Live {
	if l.file == nil {
		return nil
	}
	return l.file.Live()
}

// close has SIGHUP end the process again.
func (l *ruleFile) close() { signal.Stop(l.hup) }

// watch reads the file again when it changes or SIGHUP asks for it. A bad file
// leaves the old rules in force. tell hears of both.
func (l *ruleFile) watch(ctx context.Context, tell func(error), log *slog.Logger) {
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
	tick := time.NewTicker(rules.PollEvery)
	defer tick.Stop()
	l.file.Watch(ctx, tick.C, l.hup, func(err error) {
		tell(err)
		if err != nil {
			log.Error("rules not reloaded, the old ones stay in force", "error", err)
			return
		}
		log.Info("rules in force")
	})
}
