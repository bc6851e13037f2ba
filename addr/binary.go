package addr

import "encoding/binary"

// The binary form of an address has as many bytes as it needs: 4 or 16 of the IP address,
// 2 of the port, 4 of the scope if there is one.
const (
	binary4      = 4 + 2
	binary6      = 16 + 2
	binaryScoped = binary6 + 4
	// MaxBinary is the longest binary form.
	MaxBinary = binaryScoped
)

// Append appends the binary form of an address.
func (a AddrPort) Append(b []byte) []byte {
	if a.Zone != 0 {
		b = append(b, a.IP[:]...)
		b = binary.BigEndian.AppendUint16(b, a.Port)
		return binary.BigEndian.AppendUint32(b, a.Zone)
	}
	return binary.BigEndian.AppendUint16(a.IP.Append(b), a.Port)
}

// FromBinary reads what AddrPort.Append has appended; false if it is no address.
func FromBinary(b []byte) (a AddrPort, ok bool) {
	ip := b
	switch len(b) {
	case binary4, binary6:
		ip = b[:len(b)-2]
	case binaryScoped:
		ip = b[:16]
		a.Zone = binary.BigEndian.Uint32(b[binary6:])
	}
	if a.IP, ok = IPFromBinary(ip); !ok || len(b) == len(ip) {
		return AddrPort{}, false
	}
	a.Port = binary.BigEndian.Uint16(b[len(ip):])
	return a, true
}

// Append appends the 4 or 16 bytes of an IP address.
func (ip IP) Append(b []byte) []byte {
	if ip.Is4() {
		return append(b, ip[12:]...)
	}
	return append(b, ip[:]...)
}

// IPFromBinary reads what IP.Append has appended; false if it is no IP address.
func IPFromBinary(b []byte) (ip IP, ok bool) {
	switch len(b) {
	case 4:
		ip[10], ip[11] = 0xFF, 0xFF
		copy(ip[12:], b)
		return ip, true
	case 16:
		return IP(b), true
	}
	return IP{}, false
}
