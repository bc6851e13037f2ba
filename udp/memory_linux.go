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

// mapMemory returns n bytes for the kernel to receive into, on huge pages if
// there are any (transparent_hugepage madvise or always). On small pages every
// buffer of a batch begins on a page of its own, and every page costs an address
// translation per turn, which takes longest in a virtual machine.
func mapMemory(n int) ([]byte, error) {
	b, err := mapIdle(n)
	if err != nil {
		return nil, err
	}
	_ = unix.Madvise(b, unix.MADV_HUGEPAGE) // best effort
	// Populated here, so that the first packets need not wait for it.
	for i := 0; i < n; i += smallPage {
		b[i] = 0
	}
	return b, nil
}

// mapIdle returns n bytes that take no memory until they are used.
func mapIdle(n int) ([]byte, error) {
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("map %d bytes: %w", n, os.NewSyscallError("mmap", err))
	}
	return b, nil
}

// idleEntries is the size of an idle shard's batch: it takes some small pages for
// single datagrams, and at most 1 MiB for trains.
const idleEntries = 16

// BatchSizes returns the sizes through which a batch of messages of size bytes
// grows up to most, each about twice the one before. All but the first and the
// last fill their huge pages.
func BatchSizes(most, size int) []int {
	sizes := []int{min(idleEntries, most)}
	for pages := 1; sizes[len(sizes)-1] < most; pages *= 2 {
		n := pages * hugePage / size
		if 4*n >= 3*most {
			n = most // one more step would save too little memory
		}
		if n > sizes[len(sizes)-1] {
			sizes = append(sizes, n)
		}
	}
	return sizes
}

// BatchBytes is the memory of a batch of NewBatch.
func BatchBytes(n, size int) int {
	return (n*size + hugePage - 1) &^ (hugePage - 1)
}

func unmapMemory(b []byte) error { return os.NewSyscallError("munmap", unix.Munmap(b)) }
