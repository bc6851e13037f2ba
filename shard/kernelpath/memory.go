package kernelpath

import (
	"fmt"
	"os"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// memory is the maps that user space and the program share by mmap (BPF_F_MMAPABLE, Linux
// 5.5).
type memory struct {
	ways      []pathWay
	handovers []pathHandover
	control   *pathControl
	mapped    [][]byte
}

func (m *memory) mapAll(maps *pathMaps, ways int) error {
	all, err := mapArray[pathWay](m, maps.Ways, ways)
	if err != nil {
		return err
	}
	m.ways = all
	if m.handovers, err = mapArray[pathHandover](m, maps.Handovers, ways); err != nil {
		return err
	}
	control, err := mapArray[pathControl](m, maps.Controls, 1)
	if err != nil {
		return err
	}
	m.control = &control[0]
	return nil
}

// mapArray maps an array of n values. The kernel pads a value to 8 bytes.
func mapArray[T any](m *memory, array *ebpf.Map, n int) ([]T, error) {
	var one T
	page := os.Getpagesize()
	size := (n*int(unsafe.Sizeof(one)) + page - 1) / page * page
	b, err := unix.Mmap(array.FD(), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", array, os.NewSyscallError("mmap", err))
	}
	m.mapped = append(m.mapped, b)
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), n), nil
}

func (m *memory) unmapAll() {
	for _, b := range m.mapped {
		_ = unix.Munmap(b)
	}
	*m = memory{}
}
