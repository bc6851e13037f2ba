package rules

import (
	"errors"
	"strings"
)

// Dialect is the way in which the servers behind the relay read stream IDs.
// Package handshake reads them; to this room it is a name.
type Dialect string

// Dialects. The zero value of an entry or a set is none of them: then the next
// one in the order of precedence counts, and Auto in the end.
const (
	// Auto takes MediaMTX's form publish:PATH and read:PATH for MediaMTX's,
	// and everything else for SRS's.
	Auto     Dialect = "auto"
	SRS      Dialect = "srs"
	MediaMTX Dialect = "mediamtx"
	// Plain takes the text for the stream's name.
	Plain Dialect = "plain"
)

var dialects = []string{string(Auto), string(SRS), string(MediaMTX), string(Plain)}

// Dialect returns how a caller's stream ID is to be read: as its source
// network says, else its listener port, else the file, else Auto.
func (s *Set) Dialect(in Request) Dialect {
	source, port, _ := s.candidates(in)
	switch {
	case source != nil && source.dialect != "":
		return source.dialect
	case port != nil && port.dialect != "":
		return port.dialect
	case s != nil && s.dialect != "":
		return s.dialect
	}
	return Auto
}

func (d *Dialect) parse(a at) error {
	text, err := a.text()
	if err != nil {
		return err
	}
	for _, name := range dialects {
		if text == name {
			*d = Dialect(text)
			return nil
		}
	}
	return a.refuse(text, errors.New("not one of "+strings.Join(dialects, ", ")))
}
