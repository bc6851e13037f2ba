package udp

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"srtrelay/internal/need"
)

// memoryDir is a directory of the test's own on a tmpfs.
func memoryDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "srtrelay-test")
	if err != nil {
		need.Skip(t, "no directory on a tmpfs: "+err.Error())
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func openedPrivate(t *testing.T, path string) *PrivateFile {
	t.Helper()
	f, err := OpenPrivate(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// What is written to the mapping is in the file when the next process opens it,
// and the holes between are left out.
func TestPrivateFileKeepsWhatIsWritten(t *testing.T) {
	path := filepath.Join(memoryDir(t), "file")
	f := openedPrivate(t, path)
	if n, err := f.Size(); n != 0 || err != nil {
		t.Errorf("a new file of %d bytes, %v", n, err)
	}
	const size = 64 << 20
	ok(t, f.Reset(size))
	ok(t, f.Reserve(0, dataPiece))
	ok(t, f.Reserve(size/2, dataPiece))
	f.Bytes()[5], f.Bytes()[size/2+7] = 1, 2
	if _, err := OpenPrivate(path); !errors.Is(err, ErrLocked) {
		t.Errorf("opened twice: %v", err)
	}
	ok(t, f.Close())
	ok(t, f.Close())

	f = openedPrivate(t, path)
	if n, err := f.Size(); n != size || err != nil {
		t.Errorf("%d bytes, %v; want %d", n, err, size)
	}
	found, read := map[int64]byte{}, 0
	ok(t, f.Data(func(offset int64, b []byte) bool {
		read += len(b)
		for k, x := range b {
			if x != 0 {
				found[offset+int64(k)] = x
			}
		}
		return true
	}))
	if len(found) != 2 || found[5] != 1 || found[size/2+7] != 2 || read > 4*dataPiece {
		t.Errorf("found %v in %d bytes read", found, read)
	}
	ok(t, f.Reset(size))
	ok(t, f.Data(func(offset int64, b []byte) bool {
		t.Errorf("left at %d: %d bytes", offset, len(b))
		return false
	}))
	ok(t, f.Remove())
	ok(t, f.Remove())
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("still there: %v", err)
	}
}

// A file that its owner has removed and another has made anew is not removed.
func TestPrivateFileRemovesItsOwnOnly(t *testing.T) {
	path := filepath.Join(memoryDir(t), "file")
	f := openedPrivate(t, path)
	ok(t, os.Remove(path))
	other := openedPrivate(t, path)
	ok(t, f.Remove())
	if !other.named() {
		t.Error("another's file is removed")
	}
}

func TestPrivateFileRefusesOthers(t *testing.T) {
	dir := memoryDir(t)
	at := func(name string) string { return filepath.Join(dir, name) }
	write := func(path string, mode os.FileMode) {
		ok(t, os.WriteFile(path, []byte("theirs"), mode))
		ok(t, os.Chmod(path, mode))
	}
	write(at("readable"), 0o644)
	write(at("setuid"), 0o600|os.ModeSetuid)
	write(at("target"), 0o600)
	ok(t, os.Symlink(at("target"), at("link")))
	ok(t, os.Symlink(at("none"), at("dangling")))
	write(at("linked"), 0o600)
	ok(t, os.Link(at("linked"), at("hard")))
	ok(t, syscall.Mkfifo(at("fifo"), 0o600))
	ok(t, os.Mkdir(at("dir"), 0o700))
	names := []string{"readable", "setuid", "link", "dangling", "hard", "fifo", "dir"}
	if os.Geteuid() == 0 {
		write(at("others"), 0o600)
		ok(t, os.Chown(at("others"), 12345, 12345))
		names = append(names, "others")
	}
	for _, name := range names {
		if _, err := OpenPrivate(at(name)); !errors.Is(err, ErrNotPrivate) {
			t.Errorf("%s: %v, want %v", name, err, ErrNotPrivate)
		}
	}
	for _, name := range []string{"readable", "target", "hard"} {
		if b, err := os.ReadFile(at(name)); string(b) != "theirs" {
			t.Errorf("%s holds %q, %v", name, b, err)
		}
	}
	if _, err := os.Lstat(at("none")); err == nil {
		t.Error("made a file at the end of a link")
	}
	if _, err := OpenPrivate(at("no/such")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a directory: %v", err)
	}
}

// A disk may be slow, and a store into a file on it would wait with it.
func TestPrivateFileOnDiskIsRefused(t *testing.T) {
	dir := t.TempDir()
	var fs unix.Statfs_t
	ok(t, unix.Statfs(dir, &fs))
	if fs.Type == unix.TMPFS_MAGIC {
		need.Skip(t, "the temporary directory is on a tmpfs")
	}
	path := filepath.Join(dir, "file")
	if _, err := OpenPrivate(path); !errors.Is(err, ErrOnDisk) {
		t.Errorf("%v, want %v", err, ErrOnDisk)
	}
	if _, err := os.Lstat(path); err == nil {
		t.Error("left an empty file")
	}
}

// On a full file system Reserve fails, and nobody touches what it did not give.
func TestReserveOnAFullFileSystem(t *testing.T) {
	need.Root(t, "mounts a small tmpfs in a namespace of its own")
	dir := t.TempDir()
	failed := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with its namespace
		failed <- func() error {
			if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
				return err
			}
			if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
				return err
			}
			if err := unix.Mount("none", dir, "tmpfs", 0, "size=256k"); err != nil {
				return err
			}
			f, err := OpenPrivate(filepath.Join(dir, "file"))
			if err != nil {
				return err
			}
			defer func() { _ = f.Close() }()
			if err := f.Reset(1 << 20); err != nil {
				return err
			}
			if err := f.Reserve(0, 128<<10); err != nil {
				return err
			}
			f.Bytes()[128<<10-1] = 1
			if err := f.Reserve(128<<10, 512<<10); !errors.Is(err, unix.ENOSPC) {
				return errors.Join(errors.New("want ENOSPC"), err)
			}
			return nil
		}()
	}()
	ok(t, <-failed)
}

func TestFileSizeLimitIsNoSignal(t *testing.T) {
	f := openedPrivate(t, filepath.Join(memoryDir(t), "file"))
	var limit unix.Rlimit
	ok(t, unix.Getrlimit(unix.RLIMIT_FSIZE, &limit))
	lower := limit
	lower.Cur = 1 << 30
	if lower.Cur > limit.Max {
		need.Skip(t, "a file size limit is in force")
	}
	ok(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &lower))
	defer func() { ok(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &limit)) }()
	if f.Reset(1<<30+1) == nil {
		t.Error("a file beyond the limit")
	}
}
