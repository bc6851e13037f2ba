package backend

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// Bounds of a registration, which limit the memory that one heartbeat can take.
// SRS's own values have a few dozen bytes.
const (
	maxName    = 128 // bytes of one value
	maxListens = 32  // entries of one list
)

// ID returns the name that SRS's proxy gives the same process:
// <server>-<service>-<pid>. A restart changes it.
func (g *Registration) ID() ID {
	return ID(g.Server + "-" + g.Service + "-" + g.PID)
}

// Check returns what is wrong with the registration. The error begins with the name
// of the field in a heartbeat.
func (g *Registration) Check() error {
	for _, f := range []struct{ name, value string }{
		{"server", g.Server}, {"service", g.Service}, {"pid", g.PID},
	} {
		if f.value == "" {
			return fmt.Errorf("%s: missing", f.name)
		}
		if err := checkText(f.value); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		// These values become parts of URLs, Redis keys and log lines.
		if strings.ContainsFunc(f.value, func(r rune) bool { return r <= ' ' || r > '~' || r == '/' }) {
			return fmt.Errorf("%s: %q: letters other than printable ASCII, or a slash", f.name, f.value)
		}
	}
	for _, f := range []struct{ name, value string }{{"ip", g.IP}, {"device_id", g.Device}} {
		if err := checkText(f.value); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	for _, f := range []struct {
		name string
		list []string
	}{{"rtmp", g.RTMP}, {"http", g.HTTP}, {"api", g.API}, {"srt", g.SRT}, {"rtc", g.RTC}} {
		if len(f.list) > maxListens {
			return fmt.Errorf("%s: more than %d entries", f.name, maxListens)
		}
		for _, entry := range f.list {
			if err := checkText(entry); err != nil {
				return fmt.Errorf("%s: %w", f.name, err)
			}
		}
	}
	return nil
}

func checkText(s string) error {
	if len(s) > maxName {
		return fmt.Errorf("longer than %d bytes", maxName)
	}
	if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return errors.New("holds characters that are not printable")
	}
	return nil
}

// sameServer reports whether two registrations are of one server, perhaps before
// and after a restart.
func (g *Registration) sameServer(o *Registration) bool {
	return g != nil && o != nil && g.Server == o.Server
}

// equal reports whether two registrations have the same content.
func (g *Registration) equal(o *Registration) bool {
	if g == nil || o == nil {
		return g == o
	}
	return g.IP == o.IP && g.Device == o.Device &&
		g.Server == o.Server && g.Service == o.Service && g.PID == o.PID &&
		slices.Equal(g.RTMP, o.RTMP) && slices.Equal(g.HTTP, o.HTTP) && slices.Equal(g.API, o.API) &&
		slices.Equal(g.SRT, o.SRT) && slices.Equal(g.RTC, o.RTC)
}
