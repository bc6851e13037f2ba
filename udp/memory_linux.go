package udp

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"srtrelay/pool"
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
	b, err := mapIdle(n)
	if err != nil {
		return nil, err
	}
	_ = unix.Madvise(b, unix.MADV_HUGEPAGE) // best effort
	// Now, while memory is in one piece, and not under the first packets.
	for i := 0; i < n; i += smallPage {
		b[i] = 0
	}
	return b, nil
}

// mapIdle returns n bytes that take no memory before they are used.
func mapIdle(n int) ([]byte, error) {
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("map %d bytes: %w", n, os.NewSyscallError("mmap", err))
	}
	return b, nil
}

// idleEntries is the size of a batch before anything comes: one megabyte if
// trains should come at once, and some small pages if single datagrams do.
const idleEntries = 16

// BatchSizes are the sizes in which a batch of messages of size bytes grows up
// to most, each about twice the one before. All but the first fill the huge
// pages that they lie on.
func BatchSizes(most, size int) []int {
	sizes := []int{min(idleEntries, most)}
	for pages := 1; sizes[len(sizes)-1] < most; pages *= 2 {
		n := pages * hugePage / pool.SlabBytes(1, size)
		if 4*n >= 3*most {
			n = most // a step for the rest would gain too little
		}
		if n > sizes[len(sizes)-1] {
			sizes = append(sizes, n)
		}
	}
	return sizes
}

// BatchBytes is the memory that NewBatch takes.
func BatchBytes(n, size int) int {
	return (pool.SlabBytes(n, size) + hugePage - 1) &^ (hugePage - 1)
}

func unmapMemory(b []byte) error { return os.NewSyscallError("munmap", unix.Munmap(b)) }
