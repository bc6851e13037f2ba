package takeover

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"srtrelay/internal/supervise"
)

// seals are those of a memory file that nobody can change any more.
const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seal writes data to a new memory file and seals it. The file's position is that of its
// end.
func seal(name string, data []byte) (fd int, err error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err = unix.MemfdCreate(name, flags|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3
		fd, err = unix.MemfdCreate(name, flags)
	}
	if err != nil {
		return -1, fmt.Errorf("memory file: %w", err)
	}
	for rest := data; len(rest) > 0; {
		n, err := unix.Write(fd, rest)
		if err != nil && !errors.Is(err, unix.EINTR) {
			_ = unix.Close(fd)
			return -1, fmt.Errorf("memory file: %w", err)
		}
		rest = rest[max(n, 0):]
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("memory file: sealing it: %w", err)
	}
	return fd, nil
}

// unseal reads a memory file that must be sealed and have the size and the sum of its
// header.
func unseal(fd int, h partHeader) ([]byte, error) {
	set, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if err != nil {
		return nil, errors.New("is no memory file")
	}
	if set&seals != seals {
		return nil, errors.New("is not sealed")
	}
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return nil, err
	}
	if stat.Size != h.Size {
		return nil, fmt.Errorf("has %d bytes in place of %d", stat.Size, h.Size)
	}
	data := make([]byte, h.Size)
	for at := 0; at < len(data); {
		n, err := unix.Pread(fd, data[at:], int64(at))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return nil, os.NewSyscallError("pread", err)
		case n == 0:
			return nil, io.ErrUnexpectedEOF
		default:
			at += n
		}
	}
	if sum := crc32.Checksum(data, castagnoli); sum != h.Sum {
		return nil, fmt.Errorf("has the checksum %08x in place of %08x", sum, h.Sum)
	}
	return data, nil
}

// sendParts sends the parts of a snapshot, each written by a goroutine of its own.
func (c *conn) sendParts(ctx context.Context, s *supervise.Supervisor, parts []Part, frozenAt int64) error {
	fds, headers, errs := make([]int, len(parts)), make([]partHeader, len(parts)), make([]error, len(parts))
	tasks := s.Tasks()
	for i, part := range parts {
		fds[i], errs[i] = -1, errPanicked
		tasks.Go("take-over snapshot", func() {
			headers[i] = partHeader{part.Name, part.Shard, int64(len(part.Data)), crc32.Checksum(part.Data, castagnoli)}
			fds[i], errs[i] = seal(part.Name, part.Data)
		})
	}
	tasks.Wait()
	defer func() { closeAll(fds) }()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for at := 0; ; {
		end := min(at+maxFiles, len(parts))
		m := message{Kind: kindSnapshot, Parts: headers[at:end], More: end < len(parts), FrozenAt: frozenAt}
		if err := c.send(ctx, &m, fds[at:end]...); err != nil {
			return err
		}
		if at = end; at == len(parts) {
			return nil
		}
	}
}

// errPanicked is the result of a task that has ended without one.
var errPanicked = errors.New("the task panicked")

// receiveParts is the other end of sendParts.
func (c *conn) receiveParts(ctx context.Context, s *supervise.Supervisor) (parts []Part, frozenAt int64, err error) {
	var headers []partHeader
	var fds []int
	defer func() { closeAll(fds) }()
	for more := true; more; {
		m, some, err := c.receive(ctx, kindSnapshot)
		if err != nil {
			return nil, 0, err
		}
		fds, headers = append(fds, some...), append(headers, m.Parts...)
		more, frozenAt = m.More, m.FrozenAt
		if len(fds) > maxAllFiles {
			return nil, 0, fmt.Errorf("more than %d parts", maxAllFiles)
		}
	}
	parts = make([]Part, len(headers))
	errs := make([]error, len(headers))
	tasks := s.Tasks()
	for i, h := range headers {
		errs[i] = errPanicked
		tasks.Go("take-over snapshot", func() {
			data, err := unseal(fds[i], h)
			if err != nil {
				err = fmt.Errorf("part %q of shard %d %w", h.Name, h.Shard, err)
			}
			parts[i], errs[i] = Part{h.Name, h.Shard, data}, err
		})
	}
	tasks.Wait()
	return parts, frozenAt, errors.Join(errs...)
}
