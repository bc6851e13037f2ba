package rules

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// PollInterval is how often a file is checked. A change is read when two checks in a
// row find the same, so that a file is not read half-written.
const PollInterval = time.Second

// maxFile is far above any real file; it stops a mistyped path to a disk
// image or a log.
const maxFile = 1 << 20

// File reads a file again when it changes, and publishes its rules. One goroutine at a
// time may use it, except for Live.
type File struct {
	name  string
	check Check
	live  *Live

	read      fs.FileInfo // the file as it was when last read
	candidate fs.FileInfo // a change that one check has found
	gone      bool
	lastError string // the last failure reported, "" after a success
}

// Open reads the file. The error is one line that names the file, the line and
// the key.
func Open(name string, check Check) (*File, error) {
	f := &File{name: name, check: check, live: new(Live)}
	if err := f.reload(); err != nil {
		return nil, err
	}
	return f, nil
}

// Live is where the rules in force are published. Any goroutine may call it.
func (f *File) Live() *Live { return f.live }

// PublishIn puts the rules in force in live, and there from then on.
func (f *File) PublishIn(live *Live) {
	live.Publish(f.live.Set())
	f.live = live
}

// Poll reads the file again if it has changed; it is called every PollInterval. A file
// that cannot be used leaves the rules as they are. Poll calls report with the outcome,
// unless the same failure repeats; nil means new rules in force.
func (f *File) Poll(report func(error)) {
	if !f.changed() {
		return
	}
	reported := f.lastError
	if err := f.reload(); err == nil || err.Error() != reported {
		report(err)
	}
}

// changed checks the file. Its time, size and identity show a change, including a
// rename of another file to this name, or a symbolic link on the path that now
// points elsewhere.
func (f *File) changed() bool {
	now, err := os.Stat(f.name)
	if err != nil {
		f.candidate = nil
		return !f.gone // reported once
	}
	if same(now, f.read) && !f.gone {
		f.candidate = nil
		return false
	}
	steady := same(now, f.candidate)
	f.candidate = now
	return steady
}

func same(a, b fs.FileInfo) bool {
	return a != nil && b != nil && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime()) && os.SameFile(a, b)
}

// reload reads the file and publishes its rules, if they are good.
func (f *File) reload() error {
	err := f.attempt()
	f.lastError = ""
	if err != nil {
		f.lastError = err.Error()
	}
	return err
}

func (f *File) attempt() error {
	f.candidate = nil
	// Before the read: the next check finds what is written meanwhile.
	info, err := os.Stat(f.name)
	f.gone = err != nil
	if err != nil {
		return f.bad(err)
	}
	if !info.Mode().IsRegular() {
		f.read = info
		return f.bad(errors.New("not a regular file"))
	}
	text, err := readFile(f.name)
	if err != nil {
		f.gone = true // until it can be read: changed does not compare permissions
		return f.bad(err)
	}
	f.read = info
	s, err := Parse(f.name, text, f.check)
	if err != nil {
		return err
	}
	f.live.Publish(s)
	return nil
}

func (f *File) bad(err error) error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		err = path.Err // the message names the file already
	}
	return fmt.Errorf("rules: %s: %w", f.name, err)
}

// readFile reads at most what shows that a file is too large.
func readFile(name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, maxFile+1))
}
