package udp

import (
	"fmt"
	"os"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// byFlow is what a steering program returns where it has no opinion: an index
// past the group's end, upon which the kernel goes by the flow hash
// (reuseport_select_sock).
const byFlow = 1<<32 - 1

// steerByCPU does what Options.Steer says. SO_ATTACH_REUSEPORT_CBPF, Linux 4.5.
func steerByCPU(group []*Socket, cpus []int) error {
	program, err := bpf.Assemble(steering(cpus))
	if err != nil {
		return fmt.Errorf("steer by CPU: %w", err)
	}
	filter := make([]unix.SockFilter, len(program))
	for i, in := range program {
		filter[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	// The program is the group's: any member may attach it.
	err = unix.SetsockoptSockFprog(group[0].fd, unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF,
		&unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
	if err != nil {
		return fmt.Errorf("steer by CPU: %w", os.NewSyscallError("setsockopt SO_ATTACH_REUSEPORT_CBPF", err))
	}
	return nil
}

// steering returns the index in cpus of the CPU it runs on.
func steering(cpus []int) []bpf.Instruction {
	program := []bpf.Instruction{bpf.LoadExtension{Num: bpf.ExtCPUID}}
	for i, cpu := range cpus {
		program = append(program,
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(cpu), SkipTrue: 1},
			bpf.RetConstant{Val: uint32(i)})
	}
	return append(program, bpf.RetConstant{Val: byFlow})
}
