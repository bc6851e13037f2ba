package config

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// endpoint is an address as it is written.
type endpoint struct {
	host string
	port uint16
	bare bool // a port without a colon
}

// parseEndpoint reads 20080, :20080, host:20080 and [::1]:20080, each with an
// optional scheme out of schemes. Port 0 leaves the choice to the kernel.
func parseEndpoint(text string, schemes ...string) (endpoint, error) {
	if scheme, rest, ok := strings.Cut(text, "://"); ok {
		if !slices.Contains(schemes, strings.ToLower(scheme)) {
			return endpoint{}, fmt.Errorf("unknown scheme %q, expected %s://", scheme, strings.Join(schemes, ":// or "))
		}
		text = strings.TrimSuffix(rest, "/")
	}
	if text == "" {
		return endpoint{}, errors.New("address missing")
	}
	if strings.ContainsAny(text, "/?#@ ") {
		return endpoint{}, errors.New("takes an address and a port only")
	}
	if isDigits(text) {
		port, err := parsePort(text)
		return endpoint{port: port, bare: true}, err
	}
	host, portText, err := net.SplitHostPort(text)
	if err != nil {
		if strings.Count(text, ":") > 1 && !strings.HasPrefix(text, "[") {
			return endpoint{}, errors.New("an IPv6 address needs brackets, like [::1]:20080")
		}
		if !strings.Contains(text, ":") || strings.HasSuffix(text, "]") {
			return endpoint{}, errors.New("port missing")
		}
		return endpoint{}, errors.New("not an address")
	}
	port, err := parsePort(portText)
	return endpoint{host: host, port: port}, err
}

func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

func parsePort(text string) (uint16, error) {
	if text == "" {
		return 0, errors.New("port missing")
	}
	if !isDigits(text) {
		return 0, errors.New("port is not a number")
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return 0, errors.New("port out of range")
	}
	return uint16(n), nil
}

// parseIP reads an IP address that a host can have.
func parseIP(text string) (netip.Addr, error) {
	ip, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}, errors.New("not an IP address")
	}
	ip = ip.Unmap()
	if ip.IsMulticast() || ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return netip.Addr{}, errors.New("not the address of one host")
	}
	// The data plane has numeric scopes only, as the kernel.
	if zone := ip.Zone(); zone != "" && !isDigits(zone) {
		return netip.Addr{}, errors.New("the zone must be an interface index")
	}
	return ip, nil
}

func parseListen(text string) (netip.AddrPort, error) {
	e, err := parseEndpoint(text, "udp", "srt")
	if err != nil {
		return netip.AddrPort{}, err
	}
	ip := netip.IPv6Unspecified()
	if e.host != "" {
		if ip, err = parseIP(e.host); err != nil {
			return netip.AddrPort{}, err
		}
	}
	return netip.AddrPortFrom(ip, e.port), nil
}

// parseAPI reads a bare port as one of the loopback address: other hosts can reach the API
// only if its address says so.
func parseAPI(text string) (netip.AddrPort, error) {
	e, err := parseEndpoint(text, "http", "tcp")
	if err != nil {
		return netip.AddrPort{}, err
	}
	ip := netip.IPv6Unspecified()
	switch {
	case e.bare || e.host == "localhost":
		ip = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	case e.host != "":
		if ip, err = parseIP(e.host); err != nil {
			return netip.AddrPort{}, err
		}
	}
	return netip.AddrPortFrom(ip, e.port), nil
}

// parseCluster reads an address that other relays can send to.
func parseCluster(text string) (netip.AddrPort, error) {
	e, err := parseEndpoint(text, "udp")
	if err != nil {
		return netip.AddrPort{}, err
	}
	ip, err := parseIP(e.host)
	switch {
	case e.host == "":
		return netip.AddrPort{}, errors.New("needs an address, at which other relays reach this one")
	case err != nil:
		return netip.AddrPort{}, err
	case ip.IsUnspecified():
		return netip.AddrPort{}, errors.New("needs one address, at which other relays reach this one")
	case ip.Zone() != "":
		return netip.AddrPort{}, errors.New("a link-local address means another host to each relay")
	}
	return netip.AddrPortFrom(ip, e.port), nil
}

// srvScheme stands before a name whose SRV records name the backends.
const srvScheme = "srv://"

// parseBackend reads a backend as host:port, the host a name or an address, or as
// srv://NAME.
func parseBackend(text string) (string, error) {
	if len(text) >= len(srvScheme) && strings.EqualFold(text[:len(srvScheme)], srvScheme) {
		return parseSRV(text)
	}
	e, err := parseEndpoint(text, "srt", "udp")
	if err != nil {
		return "", err
	}
	if e.host == "" {
		return "", errors.New("host missing")
	}
	if e.port == 0 {
		return "", errors.New("port out of range")
	}
	host := strings.ToLower(e.host)
	last := host[strings.LastIndexByte(host, '.')+1:]
	if strings.Contains(host, ":") || isDigits(last) {
		ip, err := parseIP(host)
		if err != nil {
			return "", err
		}
		if ip.IsUnspecified() {
			return "", errors.New("not the address of one host")
		}
		host = ip.String()
	} else if !isHostname(host) {
		return "", errors.New("not a host name")
	}
	return net.JoinHostPort(host, strconv.Itoa(int(e.port))), nil
}

// defaultService is put before a name of SRV records that has no service of its own.
const defaultService = "_srt._udp."

// parseSRV reads srv://NAME. A name with neither service nor protocol means those of SRT.
func parseSRV(text string) (string, error) {
	name := strings.TrimSuffix(strings.ToLower(text[len(srvScheme):]), "/")
	switch {
	case name == "":
		return "", errors.New("name missing")
	case strings.ContainsAny(name, ":/?#@ "):
		return "", errors.New("takes a name only: the ports are in its SRV records")
	case !isHostname(name):
		return "", errors.New("not a host name")
	case !strings.HasPrefix(name, "_"):
		name = defaultService + name
	}
	return srvScheme + name, nil
}

// isHostname reports whether s can be a host name. Container networks use underscores.
func isHostname(s string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789-_"
	if len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(s, "."), ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, letters) != "" {
			return false
		}
	}
	return true
}

// parseSize reads a number of bytes with an optional unit. K and M alone are refused,
// because they may mean powers of 1000 or of 1024.
func parseSize(text string) (int64, error) {
	units := []struct {
		suffix string
		bytes  int64
	}{
		{"kib", 1 << 10},
		{"mib", 1 << 20},
		{"gib", 1 << 30},
		{"kb", 1e3},
		{"mb", 1e6},
		{"gb", 1e9},
		{"b", 1},
	}
	digits, factor := strings.ToLower(text), int64(1)
	for _, u := range units {
		if n, ok := strings.CutSuffix(digits, u.suffix); ok {
			digits, factor = strings.TrimRight(n, " "), u.bytes
			break
		}
	}
	if !isDigits(digits) {
		return 0, errors.New(`not a size, write it like "16MiB" or in bytes`)
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n > math.MaxInt64/factor {
		return 0, errors.New("size out of range")
	}
	return n * factor, nil
}

// parsePin reads auto, off or a CPU list such as 0,2-5.
func parsePin(text string) (Pin, error) {
	switch text {
	case "auto":
		return Pin{Auto: true}, nil
	case "off":
		return Pin{}, nil
	}
	var p Pin
	for item := range strings.SplitSeq(text, ",") {
		from, to, ranged := strings.Cut(strings.TrimSpace(item), "-")
		if !ranged {
			to = from
		}
		low, err := parseCPU(from)
		if err != nil {
			return Pin{}, err
		}
		high, err := parseCPU(to)
		if err != nil {
			return Pin{}, err
		}
		if high < low {
			return Pin{}, fmt.Errorf("range %q runs backwards", item)
		}
		for cpu := low; cpu <= high; cpu++ {
			if slices.Contains(p.CPUs, cpu) {
				return Pin{}, fmt.Errorf("CPU %d listed twice", cpu)
			}
			p.CPUs = append(p.CPUs, cpu)
		}
	}
	return p, nil
}

func parseCPU(text string) (int, error) {
	if !isDigits(text) {
		return 0, errors.New("not auto, off or a CPU list like 0,2-5")
	}
	n, err := strconv.Atoi(text)
	if err != nil || n >= maxShards {
		return 0, fmt.Errorf("CPU out of range 0 to %d", maxShards-1)
	}
	return n, nil
}
