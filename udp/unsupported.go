//go:build !linux

package udp

import (
	"fmt"
	"net/netip"
	"runtime"
	"time"

	"srtrelay/addr"
)

// errUnsupported is what opening anything returns off Linux, where this package
// only compiles, for editors and for tools that read code.
var errUnsupported = fmt.Errorf("srtrelay needs Linux and does not run on %s", runtime.GOOS)

type (
	Socket      struct{}
	Batch       struct{}
	Outbox      struct{}
	Poller      struct{}
	PrivateFile struct{}
)

func OpenFront(netip.AddrPort, int, Options) ([]*Socket, error) { return nil, errUnsupported }
func OpenBack(netip.Addr, Options) (*Socket, error)             { return nil, errUnsupported }
func AdoptFront([]int, netip.AddrPort, Options) ([]*Socket, error) {
	return nil, errUnsupported
}
func AdoptBack(int, netip.AddrPort, Options) (*Socket, error) { return nil, errUnsupported }
func DupFD(int) (int, error)                                  { return -1, errUnsupported }
func CloseFD(int) error                                       { return errUnsupported }
func ClosedSocket() *Socket                                   { return &Socket{} }
func Serves(netip.AddrPort, netip.AddrPort) bool              { return false }
func Monotonic() (time.Duration, error)                       { return 0, errUnsupported }
func AtMonotonic(time.Duration) (time.Time, error)            { return time.Time{}, errUnsupported }
func DisplacePrivate(string) error                            { return errUnsupported }
func NewBatch(int, int) (*Batch, error)                       { return nil, errUnsupported }
func NewIdleBatch(int, int) (*Batch, error)                   { return nil, errUnsupported }
func NewPoller() (*Poller, error)                             { return nil, errUnsupported }
func OpenPrivate(string) (*PrivateFile, error)                { return nil, errUnsupported }
func NewMemoryFile(string) (*PrivateFile, error)              { return nil, errUnsupported }
func AdoptMemoryFile(int) (*PrivateFile, error)               { return nil, errUnsupported }
func ReserveFiles(int) error                                  { return errUnsupported }
func UsableCPUs() ([]int, error)                              { return nil, errUnsupported }
func PinThread(int) error                                     { return errUnsupported }
func SinceBoot() (time.Duration, error)                       { return 0, errUnsupported }
func FileLimit() int                                          { return 0 }
func SharpenTimers()                                          {}
func PreferThread()                                           {}
func PreferSession()                                          {}
func BatchSizes(most, _ int) []int                            { return []int{most} }
func BatchBytes(n, size int) int                              { return n * size }
func NewOutbox(*Socket) *Outbox                               { return &Outbox{} }

func (*Socket) Dup() (int, error)                 { return -1, errUnsupported }
func (*Socket) HasGRO() bool                      { return false }
func (*Socket) Configure(Options)                 {}
func (*Socket) Local() netip.AddrPort             { return netip.AddrPort{} }
func (*Socket) GrantedBuffers() (recv, send int)  { return 0, 0 }
func (*Socket) Queues() Queues                    { return Queues{} }
func (*Socket) Drops() uint32                     { return 0 }
func (*Socket) ResumeDrops(uint32)                {}
func (*Socket) ErrorsPending() bool               { return false }
func (*Socket) ReadErrors(int, func(Refusal)) int { return 0 }
func (*Socket) Close() error                      { return nil }

func (*Batch) Bytes() int                   { return 0 }
func (*Batch) Len() int                     { return 0 }
func (*Batch) Receive(*Socket) (int, error) { return 0, errUnsupported }
func (*Batch) At(int) Datagram              { return Datagram{} }
func (*Batch) Close() error                 { return nil }

func (*Outbox) Add(addr.AddrPort, addr.IP, uint32, []byte) {}
func (*Outbox) Pending() int                               { return 0 }
func (*Outbox) Outcome() Outcome                           { return Outcome{} }
func (*Outbox) Flush()                                     {}

func (*Poller) Add(*Socket) int          { return 0 }
func (*Poller) Wait(time.Duration) error { return errUnsupported }
func (*Poller) Pause(time.Duration)      {}
func (*Poller) Readable(int) bool        { return false }
func (*Poller) Errored(int) bool         { return false }
func (*Poller) Wake()                    {}
func (*Poller) Close() error             { return nil }

func (*PrivateFile) Size() (int64, error)                { return 0, errUnsupported }
func (*PrivateFile) Data(func(int64, []byte) bool) error { return errUnsupported }
func (*PrivateFile) Reset(int64) error                   { return errUnsupported }
func (*PrivateFile) Bytes() []byte                       { return nil }
func (*PrivateFile) Reserve(int64, int64) error          { return errUnsupported }
func (*PrivateFile) FD() int                             { return -1 }
func (*PrivateFile) ReadAt([]byte, int64) (int, error)   { return 0, errUnsupported }
func (*PrivateFile) WriteAt([]byte, int64) (int, error)  { return 0, errUnsupported }
func (*PrivateFile) Displaced() bool                     { return false }
func (*PrivateFile) Reclaim() error                      { return errUnsupported }
func (*PrivateFile) Remove() error                       { return nil }
func (*PrivateFile) Close() error                        { return nil }
