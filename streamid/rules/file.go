package rules

import (
	"context"
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

// File reads a file again when it changes, and publishes its rules. After Open it
// belongs to the goroutine that runs Watch, except for Live.
type File struct {
	name  string
	check Check
	live  Live

	read      fs.FileInfo // the file as it was when last read
	candidate fs.FileInfo // a change that one check has found
	gone      bool
	lastError string // the last failure reported, "" after a success
}

// Open reads the file. The error is one line that names the file, the line and
// the key.
func Open(name string, check Check) (*File, error) {
	f := &File{name: name, check: check}
	if err := f.reload(); err != nil {
		return nil, err
	}
	return f, nil
}

// Live is where the rules in force are published. Any goroutine may call it.
func (f *File) Live() *Live { return &f.live }

// Watch reads the file again when a tick finds it changed and whenever asked
// receives, until ctx ends. A file that cannot be used leaves the rules as they
// are. Watch calls report with the outcome of every read that was asked for, and of
// the others unless the same failure repeats; nil means new rules in force.
func (f *File) Watch(ctx context.Context, ticks <-chan time.Time, asked <-chan os.Signal, report func(error)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-asked:
			report(f.reload())
		case <-ticks:
			f.tick(report)
		}
	}
}

// tick reads the file if it has changed.
func (f *File) tick(report func(error)) {
	if !f.changed() {
		return
	}
	told := f.lastError
	if err := f.reload(); err == nil || err.Error() != told {
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
