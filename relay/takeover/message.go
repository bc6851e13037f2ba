package takeover

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
)

// protocolMin and protocolMax are the versions of the protocol that this program speaks.
// HELLO, WELCOME and REFUSED are the same in all versions.
const (
	protocolMin = 1
	protocolMax = 1
)

// Bounds of a message.
const (
	maxMessage = 64 << 10 // a third of what a unix socket buffers by default
	maxFiles   = 253      // SCM_MAX_FD, the kernel's limit
	maxList    = 64       // settings, versions
	maxName    = 128      // of a file or a part
	maxReason  = 512

	maxAllFiles = 1 << 16 // of all messages
	maxPart     = 4 << 30 // a snapshot of some ten million sessions

	// clockTolerance is how old a HELLO may be. Time namespaces are made for containers
	// that move between hosts, whose clocks differ by more.
	clockTolerance = time.Minute
)

// kind is the kind of a message.
type kind string

const (
	kindHello     kind = "HELLO"
	kindWelcome   kind = "WELCOME"
	kindRefused   kind = "REFUSED" // from either side, with the reason: the end of the take-over
	kindFiles     kind = "FILES"
	kindReady     kind = "READY"
	kindSnapshot  kind = "SNAPSHOT"
	kindTaken     kind = "TAKEN"
	kindCommitted kind = "COMMITTED"
	kindAlive     kind = "ALIVE"
	kindSettled   kind = "SETTLED"
)

var kinds = []kind{
	kindHello, kindWelcome, kindRefused, kindFiles, kindReady, kindSnapshot, kindTaken, kindCommitted, kindAlive, kindSettled,
}

// message is any message. Unknown fields are ignored, so that a later version can add some.
type message struct {
	Kind kind `json:"kind"`

	// Of HELLO: versions of the protocol and of the snapshot that the taker can read. Of
	// WELCOME: the chosen ones, Min and Max being the same.
	Min       int   `json:"min,omitempty"`
	Max       int   `json:"max,omitempty"`
	Snapshots []int `json:"snapshots,omitempty"`
	// Of both.
	Version  string            `json:"version,omitempty"`
	Settings map[string]string `json:"settings,omitempty"`
	// Clock is CLOCK_MONOTONIC in ns. The times in a snapshot are of that clock, which a
	// time namespace may shift.
	Clock int64 `json:"clock,omitempty"`

	Reason string `json:"reason,omitempty"`

	// Of FILES and SNAPSHOT: what the descriptors are, in their order. More says that
	// another message of this kind follows.
	Files []File       `json:"files,omitempty"`
	Parts []partHeader `json:"parts,omitempty"`
	More  bool         `json:"more,omitempty"`
	// FrozenAt is when the freeze began, by CLOCK_MONOTONIC in ns.
	FrozenAt int64 `json:"frozen_at,omitempty"`
}

// partHeader describes a Part, whose data is in a memory file.
type partHeader struct {
	Name  string `json:"name"`
	Shard int    `json:"shard,omitempty"`
	Size  int64  `json:"size"`
	Sum   uint32 `json:"sum"` // CRC-32C
}

// descriptors is how many descriptors must come with m.
func (m *message) descriptors() int {
	switch m.Kind {
	case kindHello:
		return 1 // the kill switch
	case kindFiles:
		return len(m.Files)
	case kindSnapshot:
		return len(m.Parts)
	}
	return 0
}

// encode returns the bytes of m.
func encode(m *message) ([]byte, error) {
	b, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	if len(b) > maxMessage {
		return nil, fmt.Errorf("a %s of %d bytes is too long", m.Kind, len(b))
	}
	return b, nil
}

// decode reads a message and checks its bounds.
func decode(b []byte) (*message, error) {
	m := new(message)
	if err := json.Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("not a message: %w", err)
	}
	if !slices.Contains(kinds, m.Kind) {
		return nil, fmt.Errorf("unknown message %.32q", string(m.Kind))
	}
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("bad %s: %w", m.Kind, err)
	}
	m.Reason, m.Version = printable(m.Reason, maxReason), printable(m.Version, maxName)
	return m, nil
}

// check checks the bounds of m.
func (m *message) check() error {
	if len(m.Settings) > maxList || len(m.Snapshots) > maxList || len(m.Files) > maxFiles || len(m.Parts) > maxFiles {
		return errors.New("too long a list")
	}
	for _, f := range m.Files {
		if f.Shard < 0 || f.Index < 0 || len(f.Kind) > maxName || len(f.Name) > maxName {
			return fmt.Errorf("file %.32q out of bounds", f.Kind)
		}
	}
	for _, p := range m.Parts {
		if p.Shard < 0 || p.Size < 0 || p.Size > maxPart || len(p.Name) > maxName {
			return fmt.Errorf("part %.32q out of bounds", p.Name)
		}
	}
	return nil
}

// printable makes a text of the other process fit for a log line.
func printable(text string, most int) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "..."
	}
	return text
}

// hello returns the HELLO of a taker.
func (h Hello) hello() *message {
	return &message{
		Kind: kindHello, Min: protocolMin, Max: protocolMax, Snapshots: h.Snapshots,
		Version: h.Version, Settings: h.Settings, Clock: int64(monotonic()),
	}
}

// welcome returns the WELCOME for a HELLO, or an error that says why there is none. maxAge
// is how old the HELLO can be.
func (o *Offer) welcome(m *message) (*message, error) {
	if m.Min > protocolMax || m.Max < protocolMin || m.Min > m.Max {
		return nil, fmt.Errorf("it speaks versions %d to %d of the protocol, this one %d to %d", m.Min, m.Max, protocolMin, protocolMax)
	}
	if now := int64(monotonic()); m.Clock > now || m.Clock < now-int64(clockTolerance) {
		return nil, errors.New("its CLOCK_MONOTONIC differs: it is in another time namespace")
	}
	if err := sameSettings(o.Settings, m.Settings); err != nil {
		return nil, err
	}
	best := 0
	for _, v := range o.Snapshots {
		if slices.Contains(m.Snapshots, v) {
			best = max(best, v)
		}
	}
	if best == 0 {
		return nil, fmt.Errorf("it reads snapshots of version %v, this one writes %v", m.Snapshots, o.Snapshots)
	}
	settings := o.Settings
	if o.Facts != nil {
		settings = o.Facts()
		maps.Copy(settings, o.Settings)
	}
	protocol := min(m.Max, protocolMax)
	return &message{
		Kind: kindWelcome, Min: protocol, Max: protocol, Snapshots: []int{best}, Version: o.Version, Settings: settings,
	}, nil
}

// sameSettings returns an error that names the first setting that differs.
func sameSettings(ours, theirs map[string]string) error {
	for _, name := range sortedKeys(ours) {
		if value, set := theirs[name]; set && value != ours[name] {
			return fmt.Errorf("%s may not differ: it is %q here and %q in the new process", name, ours[name], printable(value, maxName))
		}
	}
	return nil
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
