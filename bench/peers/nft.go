//go:build linux

package peers

import (
	"fmt"
	"net/netip"
	"strings"

	"srtrelay/internal/clocale"
)

// nftTable is removed as a whole: without a rule that needs it, connection
// tracking leaves the path as well.
const nftTable = "srtbench"

// NFTRules is the ruleset that spreads callers over backends by a hash of
// their address and port. A map names the ports: the hash itself is in the
// host's byte order, which is no port's.
func NFTRules(backends []netip.AddrPort) string {
	var ports []string
	for i, b := range backends {
		ports = append(ports, fmt.Sprintf("%d : %d", i, b.Port()))
	}
	return fmt.Sprintf(`table ip %s {
	chain callers {
		type nat hook prerouting priority dstnat; policy accept;
		ip daddr %s udp dport %d dnat to %s : jhash ip saddr . udp sport mod %d seed 0x5eed map { %s }
	}
}
`, nftTable, front().Addr(), Port, backends[0].Addr(), len(backends), strings.Join(ports, ", "))
}

type nft struct{}

// NFT is the kernel's own address translation, without a process, a socket or knowledge of
// SRT: what the kernel path has to beat. It leads to the exposed addresses, because towards
// 127.0.0.1 the kernel translates only with route_localnet, and no faster.
func NFT() Peer { return nft{} }

// Name implements Peer.
func (nft) Name() string { return "nft" }

// Start implements Peer.
func (nft) Start(s Site) (*Running, error) {
	rules := NFTRules(s.Exposed)
	if err := s.Origin.Do(func() error { return nftCommand(rules) }); err != nil {
		return nil, err
	}
	// Long enough that no session expires between two keepalives.
	for _, name := range []string{"net.netfilter.nf_conntrack_udp_timeout", "net.netfilter.nf_conntrack_udp_timeout_stream"} {
		if err := s.Origin.SetSysctl(name, "3600"); err != nil {
			return nil, err
		}
	}
	return &Running{
		Targets: []netip.AddrPort{front()}, Config: rules,
		stop: func() error {
			return s.Origin.Do(func() error { return nftCommand("delete table ip " + nftTable + "\n") })
		},
	}, nil
}

// nftCommand loads a ruleset in the calling thread's namespace.
func nftCommand(rules string, args ...string) error {
	cmd := clocale.Command("nft", append(args, "-f", "-")...)
	cmd.Stdin = strings.NewReader(rules)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}
