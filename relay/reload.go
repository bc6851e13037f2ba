package relay

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"srtrelay/api"
	"srtrelay/api/answer"
	"srtrelay/config"
	"srtrelay/handshake"
	"srtrelay/streamid/rules"
)

// maxReason is the most of an error's text that a line, an event or an answer quotes: a
// wrong value may be long.
const maxReason = 1024

// reloads reads the configuration file and the rules again, on SIGHUP and for the API, and
// puts in force what can change in a running relay. One reload runs at a time.
type reloads struct {
	relay *relay
	turn  chan struct{} // holds a value while a reload runs
	hup   chan os.Signal
	// current is the configuration in force.
	current atomic.Pointer[config.Config]

	mu     sync.Mutex
	counts reloadCounts
	reloadHandover
}

// reloadCounts counts reloads by their result.
type reloadCounts struct {
	succeeded, failed uint64
	last              time.Time // the last success, at first the start
}

// newReloads also keeps SIGHUP from ending the process.
func newReloads(r *relay) *reloads {
	l := &reloads{relay: r, turn: make(chan struct{}, 1), hup: make(chan os.Signal, 1)}
	l.current.Store(&r.config)
	l.counts.last = time.Now()
	notifyHangup(l.hup)
	return l
}

// follow reloads on SIGHUP until ctx ends. Signals that come during a reload are one.
func (l *reloads) follow(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.hup:
			_, _ = l.reload(ctx) // the log has the error
		}
	}
}

// stats returns how many reloads succeeded and failed, and when the last one succeeded.
func (l *reloads) stats() (succeeded, failed uint64, last time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.counts.succeeded, l.counts.failed, l.counts.last
}

// reload reads the files and applies what has changed, or nothing if anything is wrong.
// It returns api.ErrReloading if ctx ends before other reloads have, and errTakenOver if another
// process has taken over.
func (l *reloads) reload(ctx context.Context) (answer.Reload, error) {
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return answer.Reload{}, api.ErrReloading
	}
	defer func() { <-l.turn }()
	if err := l.admit(ctx); err != nil {
		return answer.Reload{}, err
	}
	l.relay.reportReloading()
	defer l.relay.manager.Ready()
	p, err := l.plan()
	if err == nil {
		err = l.commit(ctx, p)
	}
	if err != nil {
		err = errors.New(clipped(err.Error()))
	}
	l.count(err)
	l.report(p, err)
	return p.answer(), err
}

func (l *reloads) count(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.counts.failed++
		return
	}
	l.counts.succeeded++
	l.counts.last = time.Now()
}

// reloadPlan is what a reload has read, before anything has changed.
type reloadPlan struct {
	old  config.Config
	next config.Next
	// rules is the file of rules as it is now, nil for none. rulesErr says what is wrong
	// with it.
	rules    *rules.File
	rulesErr error
	secrets  []handshake.Secret // of the file as it is now
}

// plan reads and checks all files. It changes nothing.
func (l *reloads) plan() (p reloadPlan, err error) {
	p.old = *l.current.Load()
	if err := regular(p.old.File); err != nil {
		return p, fmt.Errorf("config: file %s: %w", p.old.File, err)
	}
	p.next, err = p.old.Reload(l.refuse)
	switch {
	case errors.Is(err, config.ErrNoFile):
		p.next = config.Next{Config: p.old, File: p.old}
	case err != nil:
		return p, err
	}
	file := p.next.File
	if file.APICert != p.old.APICert || file.APIKey != p.old.APIKey {
		if file.APICert != "" {
			_, err = api.OpenCertificate(file.APICert, file.APIKey)
		}
		if err != nil {
			return p, err
		}
	}
	if p.secrets, err = readSecrets(p.next.Config); err != nil {
		return p, err
	}
	p.rules, p.rulesErr = readRules(p.next.Config)
	return p, p.rulesErr
}

// regular returns why a file cannot be read again: the reader of a pipe would wait for
// ever. What else is wrong with the file, its reader says better.
func regular(name string) error {
	if name == "" {
		return nil
	}
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() {
		return &fs.PathError{Op: "read", Path: name, Err: errors.New("not a regular file, which cannot be read again")}
	}
	return nil
}

// refuse returns why a change cannot be applied to this process, "" if it can.
func (l *reloads) refuse(name string, file *config.Config) string {
	for _, s := range reloadSteps {
		if s.refuse != nil && slices.Contains(s.settings, name) {
			return s.refuse(l.relay, name, file)
		}
	}
	return ""
}

// commit puts a plan in force. The backends come first, because they alone may be refused
// now, for an address that has become the relay's own: then nothing has changed.
func (l *reloads) commit(ctx context.Context, p reloadPlan) error {
	c := &p.next.Config
	if p.changes("backend") {
		if err := l.relay.registry.SetStatic(c.Backends, c.Weights, time.Now()); err != nil {
			return fmt.Errorf("config: --backend: %w", err)
		}
		l.relay.registry.ExpireRemoved(l.relay.balancer.memory.InUse)
	}
	l.relay.rules.replace(p.rules)
	l.relay.cookies.setFile(p.secrets)
	// Before the steps, which may wait for frozen shards: an API that goes on after a take-over
	// has failed begins with what is current.
	l.current.Store(c)
	for _, s := range reloadSteps {
		if s.apply != nil && slices.ContainsFunc(s.settings, p.changes) {
			s.apply(ctx, l.relay, c)
		}
	}
	return nil
}

// changes reports whether the plan gives a setting another value.
func (p *reloadPlan) changes(name string) bool {
	return slices.ContainsFunc(p.next.Changes, func(c config.Change) bool { return c.Name == name && c.InPlace })
}

// answer returns the plan as the API shows it.
func (p *reloadPlan) answer() answer.Reload {
	a := answer.Reload{
		File: p.old.File, Rules: p.next.Config.Rules, Changes: []answer.SettingChange{}, NeedUpgrade: []string{},
		CookieSecrets: len(p.secrets), Warnings: append([]string{}, p.next.NewWarnings(p.old)...),
	}
	for _, c := range p.next.Changes {
		a.Changes = append(a.Changes, answer.SettingChange{Setting: c.Name, From: c.From, To: c.To, Applied: c.InPlace, Why: c.Why})
		if !c.InPlace {
			a.NeedUpgrade = append(a.NeedUpgrade, c.Name)
		}
	}
	return a
}

// report writes the outcome to the log and the feed.
func (l *reloads) report(p reloadPlan, err error) {
	log, sinks := l.relay.log, l.relay.sinks
	if p.rulesErr != nil || err == nil && p.rules != nil {
		reportRules(p.rulesErr, sinks, log)
	}
	if err != nil {
		log.Error("configuration not reloaded, nothing has changed", "error", err)
		sinks.publishConfigReload("not reloaded: " + err.Error())
		return
	}
	a := p.answer()
	for _, line := range a.Warnings {
		log.Warn(line)
	}
	var applied []string
	for _, c := range a.Changes {
		if c.Applied {
			applied = append(applied, c.Setting)
		}
	}
	if a.CookieSecrets > 0 {
		log.Info("shared secrets in force", "secrets", a.CookieSecrets)
	}
	switch {
	case a.File == "" && p.rules == nil && a.CookieSecrets == 0:
		log.Info("nothing to reload: there is neither a configuration file nor a file of rules")
	case a.File == "":
		log.Info("configuration not read: there is no configuration file")
	default:
		log.Info("configuration reloaded", "file", a.File, "applied", applied)
	}
	if len(a.NeedUpgrade) > 0 {
		log.Warn("settings in the configuration file are not in force, which needs srtrelay upgrade", "settings", a.NeedUpgrade)
	}
	sinks.publishConfigReload(outcomeText(a, applied))
}

// outcomeText describes a reload in a line.
func outcomeText(a answer.Reload, applied []string) string {
	var parts []string
	switch {
	case a.File == "":
		parts = append(parts, "there is no configuration file")
	case len(a.Changes) == 0:
		parts = append(parts, "no setting has changed")
	}
	if a.CookieSecrets > 0 {
		parts = append(parts, "shared secrets in force: "+strconv.Itoa(a.CookieSecrets))
	}
	if len(applied) > 0 {
		parts = append(parts, "in force: "+strings.Join(applied, ", "))
	}
	if len(a.NeedUpgrade) > 0 {
		parts = append(parts, "needs srtrelay upgrade: "+strings.Join(a.NeedUpgrade, ", "))
	}
	return strings.Join(parts, "; ")
}

// clipped limits the length of a reason.
func clipped(text string) string {
	if len(text) > maxReason {
		return strings.ToValidUTF8(text[:maxReason], "") + "..."
	}
	return text
}
