package config

import (
	"errors"
	"path/filepath"
	"strings"
)

// ledgerOff and ledgerName are the value that turns the session ledger off, and
// the file's name in systemd's runtime directory.
const (
	ledgerOff  = "off"
	ledgerName = "session-ledger"
)

func setLedger(c *Config, text string) error {
	if text != ledgerOff && !filepath.IsAbs(text) {
		return errors.New("not off or an absolute path")
	}
	c.SessionLedger = text
	return nil
}

// ledgerPath returns where the ledger is, "" for nowhere. RUNTIME_DIRECTORY is
// what systemd made for the unit, a list with colons (systemd.exec).
func ledgerPath(set string, env func(string) (string, bool)) string {
	switch set {
	case ledgerOff:
		return ""
	case "":
		dir, _ := env("RUNTIME_DIRECTORY")
		dir, _, _ = strings.Cut(dir, ":")
		if !filepath.IsAbs(dir) {
			return ""
		}
		return filepath.Join(dir, ledgerName)
	}
	return filepath.Clean(set)
}
