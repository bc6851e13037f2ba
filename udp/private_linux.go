package udp

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const (
	privateMode = 0o600
	// dataPiece is how many bytes of a file Data reads at once.
	dataPiece = 64 << 10
	// interrupts bounds how often an interrupted call is repeated.
	interrupts = 100
)

// PrivateFile is a file that only this user can read, locked and mapped into
// memory. It is on a tmpfs: on a disk, a store into a page that is being written
// back would block. The kernel releases the lock when the process ends, whatever
// ends it.
type PrivateFile struct {
	path string
	fd   int
	mem  []byte
}

// OpenPrivate opens or creates a file and locks it. It follows no link and does
// not change the content.
func OpenPrivate(path string) (*PrivateFile, error) {
	for range interrupts {
		f, err := openPrivate(path)
		switch {
		case errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EEXIST):
			if _, err := os.Stat(filepath.Dir(path)); err != nil {
				return nil, err
			}
		case err != nil:
			return nil, err
		case f.named():
			return f, nil
		default:
			_ = f.Close() // another process removed it between open and lock
		}
	}
	return nil, fmt.Errorf("open %s: it keeps changing", path)
}

func openPrivate(path string) (*PrivateFile, error) {
	const flags = unix.O_RDWR | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC
	fd, err := unix.Open(path, flags, 0)
	created := errors.Is(err, unix.ENOENT)
	if created {
		fd, err = unix.Open(path, flags|unix.O_CREAT|unix.O_EXCL, privateMode)
	}
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.EISDIR) {
		return nil, ErrNotPrivate
	}
	if err != nil {
		return nil, os.NewSyscallError("open", err)
	}
	f := &PrivateFile{path: path, fd: fd}
	if err := f.lock(); err != nil {
		if created {
			_ = f.Remove()
		}
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// lock checks the file's owner and mode, and locks it.
func (f *PrivateFile) lock() error {
	var st unix.Stat_t
	if err := unix.Fstat(f.fd, &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Mode&0o7777 != privateMode ||
		int(st.Uid) != os.Geteuid() || st.Nlink > 1 {
		return ErrNotPrivate
	}
	if err := unix.Flock(f.fd, unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		return ErrLocked
	} else if err != nil {
		return os.NewSyscallError("flock", err)
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(f.fd, &fs); err != nil {
		return os.NewSyscallError("fstatfs", err)
	}
	if fs.Type != unix.TMPFS_MAGIC && fs.Type != unix.RAMFS_MAGIC {
		return ErrOnDisk
	}
	return nil
}

// named reports whether the path still names this file.
func (f *PrivateFile) named() bool { return f.isAt(f.path) }

func (f *PrivateFile) isAt(path string) bool {
	var ours, there unix.Stat_t
	return unix.Fstat(f.fd, &ours) == nil && unix.Lstat(path, &there) == nil &&
		ours.Dev == there.Dev && ours.Ino == there.Ino
}

// displaced is appended to the name of a file that makes way for a successor's.
const displaced = ".previous"

// DisplacePrivate renames the file of the process that this one takes over from, so that
// OpenPrivate creates another. The other process goes on with its file, and may Reclaim the
// name.
func DisplacePrivate(path string) error {
	err := unix.Rename(path, path+displaced)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return os.NewSyscallError("rename", err)
}

// Displaced reports whether a successor has displaced the file.
func (f *PrivateFile) Displaced() bool { return !f.named() && f.isAt(f.path+displaced) }

// Reclaim gives the file its name again, if a successor has displaced it. It replaces the
// successor's file.
func (f *PrivateFile) Reclaim() error {
	if !f.Displaced() {
		return nil
	}
	return os.NewSyscallError("rename", unix.Rename(f.path+displaced, f.path))
}

// Size is the size of the file in bytes, 0 if it is new.
func (f *PrivateFile) Size() (int64, error) {
	var st unix.Stat_t
	err := unix.Fstat(f.fd, &st)
	return st.Size, os.NewSyscallError("fstat", err)
}

// Data calls fn for all that has been written to the file, in pieces that begin at
// a small page; it skips holes. b is valid until fn returns, and fn returns false
// to end.
func (f *PrivateFile) Data(fn func(offset int64, b []byte) bool) error {
	buffer := make([]byte, dataPiece)
	for at := int64(0); ; {
		next, err := unix.Seek(f.fd, at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil // only a hole is left
		}
		if err != nil {
			return os.NewSyscallError("lseek", err)
		}
		n, err := unix.Pread(f.fd, buffer, next&^(smallPage-1))
		if err != nil || n == 0 {
			return os.NewSyscallError("pread", err)
		}
		at = next&^(smallPage-1) + int64(n)
		if !fn(at-int64(n), buffer[:n]) {
			return nil
		}
	}
}

// Reset empties the file and maps size bytes of it, which have no memory yet: if
// the tmpfs is full, a store before Reserve ends the process (SIGBUS).
func (f *PrivateFile) Reset(size int64) error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &limit); err == nil && uint64(size) > limit.Cur {
		return fmt.Errorf("%d bytes are above the limit of file sizes (RLIMIT_FSIZE), and a signal would end the process", size)
	}
	if size > math.MaxInt {
		return fmt.Errorf("%d bytes cannot be mapped", size)
	}
	for _, n := range []int64{0, size} {
		if err := unix.Ftruncate(f.fd, n); err != nil {
			return os.NewSyscallError("ftruncate", err)
		}
	}
	mem, err := unix.Mmap(f.fd, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map %d bytes: %w", size, os.NewSyscallError("mmap", err))
	}
	f.mem = mem
	return nil
}

// Bytes is the mapped file, nil before Reset and after Close.
func (f *PrivateFile) Bytes() []byte { return f.mem }

// Reserve allocates the memory of a part of the file, so that stores into it
// cannot fail any more. It takes the time that the kernel needs to clear the
// pages.
func (f *PrivateFile) Reserve(offset, n int64) error {
	err := error(unix.EINTR)
	for try := 0; try < interrupts && errors.Is(err, unix.EINTR); try++ {
		err = unix.Fallocate(f.fd, 0, offset, n)
	}
	if err != nil {
		return os.NewSyscallError("fallocate", err)
	}
	// The page tables as well (Linux 5.14), so that the first store does not
	// fault.
	_ = unix.Madvise(f.mem[offset:offset+n], unix.MADV_POPULATE_WRITE)
	return nil
}

// Remove removes the file, if the path still names it, or its name as a displaced one.
func (f *PrivateFile) Remove() error {
	for _, path := range []string{f.path, f.path + displaced} {
		if f.isAt(path) {
			return os.NewSyscallError("unlink", unix.Unlink(path))
		}
	}
	return nil
}

// Close unmaps and unlocks the file. What Bytes returned must not be used any
// more.
func (f *PrivateFile) Close() error {
	if f.fd == closedFD {
		return nil
	}
	fd, mem := f.fd, f.mem
	f.fd, f.mem = closedFD, nil
	var unmapped error
	if mem != nil {
		unmapped = unmapMemory(mem)
	}
	return errors.Join(unmapped, os.NewSyscallError("close", unix.Close(fd)))
}
