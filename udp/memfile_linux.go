package udp

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// errNoMemoryFile says that a descriptor is not of a file of NewMemoryFile.
var errNoMemoryFile = errors.New("not a memory file")

// NewMemoryFile creates a file without a name (memfd): it is there for as long as any process
// has a descriptor of it.
func NewMemoryFile(label string) (*PrivateFile, error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate(label, flags|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINTR) || errors.Is(err, unix.EINVAL) { // EINVAL before Linux 6.3
		fd, err = unix.MemfdCreate(label, flags)
	}
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	return &PrivateFile{fd: fd}, nil
}

// AdoptMemoryFile opens the descriptor of a memory file that another process has created, and
// owns it unless it returns an error.
func AdoptMemoryFile(fd int) (*PrivateFile, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, os.NewSyscallError("fstat", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || int(st.Uid) != os.Geteuid() || st.Nlink > 0 {
		return nil, errNoMemoryFile
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0); err != nil {
		return nil, errNoMemoryFile
	}
	unix.CloseOnExec(fd)
	return &PrivateFile{fd: fd}, nil
}

// FD is the descriptor of the file, which stays its own.
func (f *PrivateFile) FD() int { return f.fd }

// ReadAt implements io.ReaderAt.
func (f *PrivateFile) ReadAt(b []byte, at int64) (n int, err error) {
	for n < len(b) {
		k, err := unix.Pread(f.fd, b[n:], at+int64(n))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return n, os.NewSyscallError("pread", err)
		case k == 0:
			return n, io.EOF
		default:
			n += k
		}
	}
	return n, nil
}

// WriteAt implements io.WriterAt. If there is no memory it fails, unlike a store into the
// mapped file.
func (f *PrivateFile) WriteAt(b []byte, at int64) (n int, err error) {
	for n < len(b) {
		k, err := unix.Pwrite(f.fd, b[n:], at+int64(n))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return n, os.NewSyscallError("pwrite", err)
		default:
			n += k
		}
	}
	return n, nil
}
