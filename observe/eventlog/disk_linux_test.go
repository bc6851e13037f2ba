package eventlog

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"srtrelay/internal/need"
)

// A real disk fills up in the middle of a line. Whole lines stay, and when there is room
// again the log goes on, with a line that says how many events are missing.
func TestRealDiskFillsUp(t *testing.T) {
	need.Root(t, "mounts a small disk")
	runtime.LockOSThread() // and never unlocked: the thread ends with its mounts
	if err := syscall.Unshare(syscall.CLONE_NEWNS); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) }()
	other := filepath.Join(dir, "other")
	if err := os.WriteFile(other, make([]byte, 32<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "events")
	l := openLog(t, path, 1<<20)
	const batches, size = 100, 7
	for i := range batches {
		l.Write(events(size*i, size), 0)
	}
	lost := int(l.Stats().Lost)
	if said := l.said.String(); strings.Count(said, "\n") != 1 || !strings.Contains(said, "no space left on device") || lost == 0 {
		t.Errorf("%d lost, said %s", lost, said)
	}
	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	l.looked = time.Time{}
	l.Write(events(size*batches, 1), 0)
	var want []int
	for i := range size*batches - lost {
		want = append(want, i)
	}
	if got := read(t, path); fmt.Sprint(got) != fmt.Sprint(append(want, -lost, size*batches)) {
		t.Errorf("%v, want %d events, -%d, %d", got, len(want), lost, size*batches)
	}
}
