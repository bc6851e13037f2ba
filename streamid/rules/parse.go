package rules

import (
	"cmp"
	"errors"
	"maps"
	"strconv"
	"strings"
)

// MaxStreamID is the longest stream ID of a rule, in bytes: SRS has a buffer of 512
// bytes, one for the NUL.
const MaxStreamID = 511

// Check returns why servers of a dialect would refuse a stream ID, nil if they would
// not.
type Check func(streamID string, d Dialect) error

// Parse reads a file of rules. The error is one line: the file with the line,
// the key, and why.
func Parse(name string, text []byte, check Check) (*Set, error) {
	s := new(Set)
	root, err := document(name, text)
	if err == nil && root.node != nil {
		err = s.parse(root, check)
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Set) parse(root position, check Check) error {
	// First, wherever it is in the file: it decides how stream IDs are checked.
	if a, ok := root.value("dialect"); ok {
		if err := s.dialect.parse(a); err != nil {
			return err
		}
	}
	return root.fields(map[string]func(position) error{
		"dialect": s.dialect.parse,
		"default": func(a position) (err error) {
			s.fallback, err = s.parseDefault(a, check)
			return err
		},
		"ports": func(a position) error {
			s.ports = make(map[uint16]entry)
			return a.items(func(a position) error { return s.addPort(a, check) })
		},
		"sources": func(a position) error {
			return a.items(func(a position) error { return s.addSource(a, check) })
		},
		"vhosts": func(a position) error {
			s.vhosts = make(map[string]bool)
			return a.items(s.addVhost)
		},
		"access": func(a position) error {
			return a.fields(map[string]func(position) error{
				"publish": s.publish.parse,
				"play":    s.play.parse,
			})
		},
		"inject-address": func(a position) error { return s.inject.parse(a) },
		"limits":         s.limits.parse,
	})
}

// parseDefault reads the default, which may be the stream ID alone.
func (s *Set) parseDefault(a position, check Check) (*entry, error) {
	e := new(entry)
	if !a.mapping() {
		return e, e.set(a, s.dialect, check)
	}
	err := e.parse(a, s.dialect, check, nil)
	if err == nil && e.streamID == "" {
		err = a.missing("stream-id")
	}
	return e, err
}

func (s *Set) addPort(a position, check Check) error {
	var e entry
	var port uint16
	var where position
	err := e.parse(a, s.dialect, check, map[string]func(position) error{
		"dialect": e.dialect.parse,
		"port": func(a position) (err error) {
			where = a
			port, err = portOf(a)
			return err
		},
	})
	if err != nil {
		return err
	}
	if port == 0 {
		return a.missing("port")
	}
	if _, twice := s.ports[port]; twice {
		return where.bad("listed twice")
	}
	s.ports[port] = e
	return nil
}

func portOf(a position) (uint16, error) {
	text, err := a.text()
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return 0, a.refuse(text, errors.New("not a port from 1 to 65535"))
	}
	return uint16(n), nil
}

func (s *Set) addSource(a position, check Check) error {
	var e entry
	var network position
	if err := e.parse(a, s.dialect, check, map[string]func(position) error{
		"dialect": e.dialect.parse,
		"network": func(a position) error {
			network = a
			return nil
		},
	}); err != nil {
		return err
	}
	if network.node == nil {
		return a.missing("network")
	}
	return addNetwork(&s.sources, network, e)
}

func addNetwork[T any](to *networks[T], a position, v T) error {
	text, err := a.text()
	if err != nil {
		return err
	}
	p, err := parseNetwork(text)
	if err != nil {
		return a.refuse(text, err)
	}
	if !to.add(p, v) {
		return a.refuse(text, errors.New("listed twice"))
	}
	return nil
}

func (s *Set) addVhost(a position) error {
	vhost, err := a.text()
	switch {
	case err != nil:
		return err
	case vhost == "" || strings.ContainsAny(vhost, "/=,&;? \x00"):
		return a.refuse(vhost, errors.New("not the name of a vhost"))
	case s.vhosts[vhost]:
		return a.refuse(vhost, errors.New("listed twice"))
	}
	s.vhosts[vhost] = true
	return nil
}

func (c *access) parse(a position) error {
	list := func(allowed bool) func(position) error {
		return func(a position) error {
			c.listed = c.listed || allowed
			return a.items(func(a position) error { return addNetwork(&c.verdicts, a, allowed) })
		}
	}
	return a.fields(map[string]func(position) error{"allow": list(true), "deny": list(false)})
}

// parse reads a mapping with a stream ID, override and the keys in more. fileWide
// is the dialect of an entry without one of its own.
func (e *entry) parse(a position, fileWide Dialect, check Check, more map[string]func(position) error) error {
	var streamID position
	known := map[string]func(position) error{
		"stream-id": func(a position) error {
			streamID = a // set when the dialect is known
			return nil
		},
		"override": func(a position) (err error) {
			e.override, err = a.truth()
			return err
		},
	}
	maps.Copy(known, more)
	if err := a.fields(known); err != nil {
		return err
	}
	if streamID.node != nil {
		return e.set(streamID, cmp.Or(e.dialect, fileWide), check)
	}
	if e.dialect == "" || e.override {
		return a.missing("stream-id")
	}
	return nil
}

// set reads a stream ID.
func (e *entry) set(a position, d Dialect, check Check) error {
	text, err := a.text()
	switch {
	case errors.Is(err, errMissing):
		return a.bad("value missing; a stream ID that begins with # needs quotes")
	case err != nil:
		return err
	case text == "":
		return a.refuse(text, errors.New("empty"))
	case len(text) > MaxStreamID:
		return a.bad("longer than " + strconv.Itoa(MaxStreamID) + " bytes")
	case strings.ContainsRune(text, 0):
		return a.refuse(text, errors.New("contains a NUL"))
	}
	if err := check(text, cmp.Or(d, DialectAuto)); err != nil {
		return a.refuse(text, err)
	}
	e.streamID = text
	return nil
}

// reserved are keys that SRS, or SRT's access control, reads itself.
const reserved = " u r h s t m vhost "

func (j *Injection) parse(a position) error {
	err := a.fields(map[string]func(position) error{
		"key": func(a position) (err error) {
			j.Key, err = a.text()
			letters := "abcdefghijklmnopqrstuvwxyz0123456789-_"
			switch {
			case err != nil:
				return err
			case j.Key == "" || strings.Trim(strings.ToLower(j.Key), letters) != "":
				return a.refuse(j.Key, errors.New("takes letters, digits, - and _"))
			case len(j.Key) > 32:
				return a.refuse(j.Key, errors.New("longer than 32 bytes"))
			case strings.Contains(reserved, " "+strings.ToLower(j.Key)+" "):
				return a.refuse(j.Key, errors.New("means something else in a stream ID"))
			}
			return nil
		},
		"port": func(a position) (err error) {
			j.Port, err = a.truth()
			return err
		},
	})
	if err == nil && j.Key == "" {
		return a.missing("key")
	}
	return err
}
