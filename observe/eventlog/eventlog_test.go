package eventlog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"srtrelay/api/answer"
)

// logged is a log whose lines a test reads.
type logged struct {
	*Log
	t    *testing.T
	path string
	said bytes.Buffer
}

func openLog(t *testing.T, path string, most int64) *logged {
	t.Helper()
	l := &logged{t: t, path: path}
	var err error
	if l.Log, err = Open(path, most, slog.New(slog.NewTextHandler(&l.said, nil))); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// events returns n events, from a number on.
func events(from, n int) (all []answer.Event) {
	for i := from; i < from+n; i++ {
		all = append(all, answer.Event{ID: uint64(i), Time: time.Unix(int64(i), 0).UTC(), Kind: answer.EventSessionEnded, Stream: "live/\x1b", Cause: "caller"})
	}
	return all
}

// read returns the IDs in a file, and of a gap how many events are missing: -5.
func read(t *testing.T, path string) (ids []int) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var e answer.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil || !strings.HasSuffix(line, "\n") {
			t.Errorf("%q: %v", line, err)
		}
		if e.Kind == answer.EventLost {
			ids = append(ids, -int(e.Lost))
			continue
		}
		if e.Stream != `live/\x1b` {
			t.Errorf("stream %q is not escaped", e.Stream)
		}
		ids = append(ids, int(e.ID))
	}
	return ids
}

func (l *logged) expect(path string, want ...int) {
	l.t.Helper()
	if got := read(l.t, path); fmt.Sprint(got) != fmt.Sprint(want) {
		l.t.Errorf("%s: %v, want %v", filepath.Base(path), got, want)
	}
}

func TestLinesAndGaps(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events")
	l := openLog(t, path, 1<<20)
	l.Write(events(1, 3), 0)
	l.Write(events(9, 2), 5)
	l.Write(nil, 4)
	l.expect(path, 1, 2, 3, -5, 9, 10, -4)
	if s := l.Stats(); s != (Stats{Lost: 9}) || l.said.Len() > 0 {
		t.Errorf("%+v, said %s", s, &l.said)
	}
	again := openLog(t, path, 1<<20)
	again.Write(events(20, 1), 0)
	l.expect(path, 1, 2, 3, -5, 9, 10, -4, 20)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o007 != 0 {
		t.Errorf("%v, %v: everybody may read it", info.Mode(), err)
	}
}

// No file is longer than its bound, the oldest one goes, and each holds whole lines.
func TestRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events")
	line, _ := events(10, 1)[0].Line()
	l := openLog(t, path, int64(3*len(line)))
	for i := range 10 {
		l.Write(events(10+2*i, 2), 0)
	}
	l.expect(path, 28, 29)
	for i, want := range [][]int{{25, 26, 27}, {22, 23, 24}, {19, 20, 21}, {16, 17, 18}} {
		l.expect(fmt.Sprintf("%s.%d", path, i+1), want...)
	}
	if all, _ := filepath.Glob(path + "*"); len(all) != 1+Rotated {
		t.Errorf("%q, want %d files", all, 1+Rotated)
	}
}

// A disk that is full costs events, which are counted, and says so once; when there is
// room again the log goes on.
func TestFullDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events")
	if err := os.Symlink("/dev/full", path); err != nil {
		t.Fatal(err)
	}
	l := openLog(t, path, 1<<20)
	for i := range 5 {
		l.Write(events(10*i, 10), 0)
	}
	if s := l.Stats(); s != (Stats{Lost: 50, WriteErrors: 5}) {
		t.Errorf("%+v", s)
	}
	if said := l.said.String(); strings.Count(said, "\n") != 1 || !strings.Contains(said, "no space left on device") {
		t.Errorf("said %s", said)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	l.looked = time.Time{} // a second later
	l.Write(events(90, 1), 0)
	l.expect(path, -50, 90)
	if said := l.said.String(); strings.Count(said, "\n") != 2 || !strings.Contains(said, `"event log is written again" file=`+path+` events_lost=50`) {
		t.Errorf("said %s", said)
	}
}

// Half a line, which a disk took before it was full, is removed.
func TestHalfALineIsRemoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events")
	l := openLog(t, path, 1<<20)
	l.Write(events(1, 1), 0)
	if _, err := l.file.Write([]byte(`{"id":`)); err != nil {
		t.Fatal(err)
	}
	l.cut(6)
	l.Write(events(2, 1), 0)
	l.expect(path, 1, 2)
}

// What moves the file gets no more events than a second's.
func TestFileThatIsMoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events")
	l := openLog(t, path, 1<<20)
	l.Write(events(1, 1), 0)
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	l.Write(events(2, 1), 0)
	l.looked = time.Time{} // a second later
	l.Write(events(3, 1), 0)
	l.expect(path+".old", 1, 2)
	l.expect(path, 3)
}

// A file that cannot be rotated does not grow without end.
func TestRotationThatFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "events")
	line, _ := events(10, 1)[0].Line()
	l := openLog(t, path, int64(2*len(line)))
	// A folder that is not empty is in the way.
	if err := os.MkdirAll(filepath.Join(path+".4", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".3", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l.Write(events(10, 5), 0)
	l.expect(path, 10, 11)
	if s := l.Stats(); s.Lost != 3 || s.WriteErrors != 1 {
		t.Errorf("%+v", s)
	}
	if err := os.RemoveAll(path + ".4"); err != nil {
		t.Fatal(err)
	}
	l.looked = time.Time{} // a second later
	l.Write(events(20, 1), 0)
	l.expect(path+".1", 10, 11)
	l.expect(path, -3, 20)
}

func TestOpenRefuses(t *testing.T) {
	for _, path := range []string{filepath.Join(t.TempDir(), "no", "such"), t.TempDir()} {
		if _, err := Open(path, 1, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "open the event log: open "+path) {
			t.Errorf("%v", err)
		}
	}
}

// A process opens the file early, and takes over from one that still writes: nothing of it
// is lost, and the file gets no longer than it may.
func TestTwoProcessesInTurn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events")
	size := int64(len(lineOf(t)))
	old := openLog(t, path, 5*size)
	next := openLog(t, path, 5*size)
	old.Write(events(10, 4), 0)
	next.Write(events(14, 2), 0) // one fits
	next.expect(path+".1", 10, 11, 12, 13, 14)
	next.expect(path, 15)
	// What is cut after a write that failed was not the other one's.
	next.size -= 10 // as if the other one had written 10 bytes meanwhile
	next.cut(1)
	next.size += 10
	next.expect(path, 15)
}

func lineOf(t *testing.T) []byte {
	t.Helper()
	line, err := events(10, 1)[0].Line()
	if err != nil {
		t.Fatal(err)
	}
	return line
}
