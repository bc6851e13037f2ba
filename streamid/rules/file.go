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

// PollEvery is how often a file is looked at. A change is read when two looks
// in a row find the same, so that a file is not read half-written.
const PollEvery = time.Second

// maxFile is far above any real file; it stops a mistyped path to a disk
// image or a log.
const maxFile = 1 << 20

// File keeps a Live in step with a file. After Open it belongs to the
// goroutine that runs Watch, except Live.
type File struct {
	name  string
	check Check
	live  Live

	read    fs.FileInfo // the file as it was when last read
	settled fs.FileInfo // a change that one look has seen
	gone    bool
	told    string // the last failure reported, "" after a success
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

// Live is where the rules in force are published. Any goroutine may ask it.
func (f *File) Live() *Live { return &f.live }

// Watch reads the file again when a tick finds it changed and whenever asked,
// until ctx ends. A file that cannot be used leaves the rules as they are.
// report is told the outcome of every attempt that was asked for, and of the
// others unless it is the same failure again; nil for new rules in force.
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
	if !f.due() {
		return
	}
	told := f.told
	if err := f.reload(); err == nil || err.Error() != told {
		report(err)
	}
}

// due looks at the file. Its time, size and identity tell a change apart,
// also one made by renaming another file over it; a directory in between may
// be a symbolic link that was turned.
func (f *File) due() bool {
	now, err := os.Stat(f.name)
	if err != nil {
		f.settled = nil
		return !f.gone // reported once
	}
	if same(now, f.read) && !f.gone {
		f.settled = nil
		return false
	}
	steady := same(now, f.settled)
	f.settled = now
	return steady
}

func same(a, b fs.FileInfo) bool {
	return a != nil && b != nil && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime()) && os.SameFile(a, b)
}

// reload reads the file and publishes its rules, if they are good.
func (f *File) reload() error {
	err := f.attempt()
	f.told = ""
	if err != nil {
		f.told = err.Error()
	}
	return err
}

func (f *File) attempt() error {
	f.settled = nil
	// Before the read: what is written meanwhile shows at the next look.
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
		f.gone = true // until it can be read: permissions leave no trace in what is compared
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
		err = path.Err // the line names the file already
	}
	return fmt.Errorf("rules: %s: %w", f.name, err)
}

// readFile reads no more than shows that a file is too large.
func readFile(name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, maxFile+1))
}
