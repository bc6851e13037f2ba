package udp

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

const (
	smallPage = 4 << 10 // at least
	hugePage  = 2 << 20 // of amd64, and of arm64 with small pages of 4 KiB
)

// mapMemory returns n bytes for the kernel to receive into, on huge pages where
// it has them to give (transparent_hugepage madvise or always). The buffers of
// a batch lie 64 KiB apart, each on a small page of its own otherwise, and every
// page costs address translations per turn, twice as long ones in a virtual
// machine: a twelfth of the whole relay's time there.
func mapMemory(n int) ([]byte, error) {
	n = (n + hugePage - 1) &^ (hugePage - 1)
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("map %d bytes: %w", n, os.NewSyscallError("mmap", err))
	}
	_ = unix.Madvise(b, unix.MADV_HUGEPAGE) // best effort
	// Now, while memory is in one piece, and not under the first packets.
	for i := 0; i < n; i += smallPage {
		b[i] = 0
	}
	return b, nil
}

func unmapMemory(b []byte) error { return os.NewSyscallError("munmap", unix.Munmap(b)) }
