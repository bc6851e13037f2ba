// Package keep is the parent process of a relay where there is no systemd: it starts the
// relay, keeps its descriptors, and starts it again with them after a crash. It has the part
// of systemd's protocol that the relay uses (sd_notify(3), sd_listen_fds(3)): READY, MAINPID,
// FDSTORE, FDSTOREREMOVE, FDNAME, BARRIER and WATCHDOG.
//
// The package must not know what a relay is, and holds nothing but descriptors: what can
// crash is in the other process.
package keep

import (
	"bytes"
	"strconv"
	"time"
)

const (
	// mostDescriptors bounds the store, as FileDescriptorStoreMax= of the unit does.
	mostDescriptors = 4096
	// watchdog is how long the main process may be silent, as WatchdogSec= of the unit.
	watchdog = 30 * time.Second
	// mostText is the longest message.
	mostText = 4096
	// mostName is the longest name of a descriptor (FDNAME_MAX of systemd).
	mostName = 255
)

// message is what a process has sent. What it says of other things is left out.
type message struct {
	ready   bool
	alive   bool // a sign of life
	mainPID int  // 0 if it says nothing
	store   bool
	remove  bool
	name    string // of the descriptors; "" if it has none, or one that cannot be passed on
}

// parse reads a message. Lines that are not understood are as if they were not there.
//
// BARRIER=1 needs no field: messages are handled in order, and a descriptor that is not
// stored is closed, which is the answer to it.
func parse(text []byte) (m message) {
	for line := range bytes.SplitSeq(text, []byte("\n")) {
		key, value, _ := bytes.Cut(line, []byte("="))
		is := string(value) == "1"
		switch string(key) {
		case "READY":
			m.ready = m.ready || is
		case "WATCHDOG":
			m.alive = m.alive || is
		case "FDSTORE":
			m.store = m.store || is
		case "FDSTOREREMOVE":
			m.remove = m.remove || is
		case "MAINPID":
			if pid, err := strconv.ParseUint(string(value), 10, 31); err == nil {
				m.mainPID = int(pid)
			}
		case "FDNAME":
			m.name = ""
			if isName(value) {
				m.name = string(value)
			}
		}
	}
	return m
}

// isName reports whether a name fits into LISTEN_FDNAMES.
func isName(text []byte) bool {
	bad := func(c rune) bool { return c <= ' ' || c >= 127 || c == ':' }
	return len(text) > 0 && len(text) <= mostName && bytes.IndexFunc(text, bad) < 0
}
