package config

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"srtrelay/internal/bitrate"
)

func setListen(c *Config, text string) error {
	a, err := parseListen(text)
	if err != nil {
		return err
	}
	if slices.Contains(c.Listen, a) {
		return errors.New("listed twice")
	}
	if len(c.Listen) == maxListen {
		return fmt.Errorf("more than %d listen addresses", maxListen)
	}
	c.Listen = append(c.Listen, a)
	return nil
}

func setBackend(c *Config, text string) error {
	address, weight, weighted := strings.Cut(text, "?weight=")
	b, err := parseBackend(address)
	if err != nil {
		return err
	}
	if slices.Contains(c.Backends, b) {
		return errors.New("listed twice")
	}
	if len(c.Backends) == maxBackends {
		return fmt.Errorf("more than %d static backends", maxBackends)
	}
	c.Backends = append(c.Backends, b)
	if !weighted {
		return nil
	}
	if strings.HasPrefix(b, srvScheme) {
		return errors.New("the weights of SRV records count, not one here")
	}
	n, err := strconv.Atoi(weight)
	if err != nil || n < 1 || n > maxWeight {
		return fmt.Errorf("weight is not a number from 1 to %d", maxWeight)
	}
	if c.Weights == nil {
		c.Weights = make(map[string]int)
	}
	c.Weights[b] = n
	return nil
}

// setName sets the relay's name, which is only shown.
func setName(c *Config, text string) error {
	switch {
	case text == "" || len(text) > maxName:
		return fmt.Errorf("not 1 to %d bytes long", maxName)
	case strings.TrimSpace(text) != text || !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }):
		return errors.New("begins or ends with a blank, or holds characters that are not printable")
	}
	c.Name = text
	return nil
}

// setAPIHost sets a host name as in a Host header, without a port. IP addresses are always
// permitted.
func setAPIHost(c *Config, text string) error {
	name := strings.TrimSuffix(strings.ToLower(text), ".")
	if _, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil || name == "localhost" {
		return errors.New("is taken anyway, only names need to be given")
	}
	if name == "" || len(name) > 253 || strings.Contains(name, "..") || name[0] == '.' || strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '.' && r != '_'
	}) {
		return errors.New("not a host name, without scheme and port")
	}
	if slices.Contains(c.APIHosts, name) {
		return errors.New("listed twice")
	}
	c.APIHosts = append(c.APIHosts, name)
	return nil
}

// setToken sets a token, which must fit into a header and a URL. An empty token, such as a
// shell makes of an unset variable, is refused.
func setToken(at func(*Config) *string) func(*Config, string) error {
	return func(c *Config, text string) error {
		switch {
		case len(text) < minToken || len(text) > maxToken:
			return fmt.Errorf("not %d to %d characters long", minToken, maxToken)
		case strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }):
			return errors.New("holds blanks or letters that are not ASCII")
		}
		*at(c) = text
		return nil
	}
}

func setFile(at func(*Config) *string) func(*Config, string) error {
	return func(c *Config, text string) error {
		if text == "" {
			return errors.New("file name missing")
		}
		*at(c) = text
		return nil
	}
}

func setLevel(c *Config, text string) error {
	return c.LogLevel.UnmarshalText([]byte(text))
}

func setInt(at func(*Config) *int, low, high int) func(*Config, string) error {
	return func(c *Config, text string) error {
		n, err := strconv.Atoi(text)
		if errors.Is(err, strconv.ErrRange) || err == nil && (n < low || n > high) {
			return fmt.Errorf("out of range %d to %d", low, high)
		}
		if err != nil {
			return errors.New("not a number")
		}
		*at(c) = n
		return nil
	}
}

// setBitrate sets a bitrate, 0 for none.
func setBitrate(at func(*Config) *int64) func(*Config, string) error {
	return func(c *Config, text string) (err error) {
		if *at(c) = 0; text != "0" {
			*at(c), err = bitrate.Parse(text)
		}
		return err
	}
}

func setSize(at func(*Config) *int, low, high int64) func(*Config, string) error {
	return func(c *Config, text string) error {
		n, err := parseSize(text)
		if err != nil {
			return err
		}
		if n < low || n > high {
			return fmt.Errorf("out of range %d to %d bytes", low, high)
		}
		*at(c) = int(n)
		return nil
	}
}

func setDuration(at func(*Config) *time.Duration, low time.Duration) func(*Config, string) error {
	return func(c *Config, text string) error {
		d, err := time.ParseDuration(text)
		if err != nil {
			return errors.New(`not a duration, write it like "30s"`)
		}
		if d < low || d > maxTimeout {
			return fmt.Errorf("out of range %v to %v", low, maxTimeout)
		}
		*at(c) = d
		return nil
	}
}

// setWait sets the longest pause of a shard.
func setWait(c *Config, text string) error {
	d, err := time.ParseDuration(text)
	if err != nil {
		return errors.New(`not a duration, write it like "100us"`)
	}
	if d < 0 || d > maxWait {
		return fmt.Errorf("out of range 0s to %v", maxWait)
	}
	c.BatchWait = d
	return nil
}

func setBool(at func(*Config) *bool) func(*Config, string) error {
	return func(c *Config, text string) error {
		b, err := strconv.ParseBool(text)
		if err != nil {
			return errors.New("not true or false")
		}
		*at(c) = b
		return nil
	}
}

// setEither reads yes as true, and the other value of the field as false.
func setEither(at func(*Config) *bool, yes string) func(*Config, string) error {
	return func(c *Config, text string) error {
		*at(c) = text == yes
		return nil
	}
}

// setText sets a value as it is written.
func setText(at func(*Config) *string) func(*Config, string) error {
	return func(c *Config, text string) error {
		*at(c) = text
		return nil
	}
}

// runtimeOff turns off a file that is otherwise in systemd's runtime directory, under
// one of the names.
const (
	runtimeOff   = "off"
	ledgerName   = "session-ledger"
	takeOverName = "takeover.sock"
)

func setRuntimeFile(at func(*Config) *string) func(*Config, string) error {
	return func(c *Config, text string) error {
		if text != runtimeOff && !filepath.IsAbs(text) {
			return errors.New("not off or an absolute path")
		}
		*at(c) = text
		return nil
	}
}

// runtimePath returns the path of such a file, "" for none. RUNTIME_DIRECTORY is set by
// systemd, a list with colons (systemd.exec).
func runtimePath(set, name string, env func(string) (string, bool)) string {
	switch set {
	case runtimeOff:
		return ""
	case "":
		dir, _ := env("RUNTIME_DIRECTORY")
		dir, _, _ = strings.Cut(dir, ":")
		if !filepath.IsAbs(dir) {
			return ""
		}
		return filepath.Join(dir, name)
	}
	return filepath.Clean(set)
}
