// SPDX-License-Identifier: (GPL-2.0-only OR MIT)

/*
 * The kernel path: a datagram of an established session is rewritten at a TCX hook and
 * goes straight on to the other side of the relay. Everything else passes on unchanged,
 * so that user space handles it.
 *
 * One program serves both ways: a caller's datagram to the front and a backend's to an
 * upstream port differ only in the key. It is attached to the ingress of every device
 * that owns an address of the relay and to the egress of lo.
 *
 * Two arrays are shared with user space, which maps them: ways (what has passed) and
 * handovers (how a way comes into the kernel without a datagram being overtaken). Only
 * this program writes them while a way is on.
 */

#include <stdbool.h>

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* linux/bpf.h of 6.6; older headers do not have it. */
#define PASS_ON (-1) /* TCX_NEXT */

/* linux/bpf.h of 6.16: the pseudo header of an IPv6 datagram has changed. */
#define CSUM_IPV6 (1ULL << 7)

#define EINVAL 22
#define AF_INET 2
#define AF_INET6 10
#define LOOPBACK 1 /* lo, in every network namespace (LOOPBACK_IFINDEX, Linux 3.7) */

#define LINK_HEADER 14

#define HOP_LIMIT 64 /* as of a datagram that the host sends (net.ipv4.ip_default_ttl) */

#include "shared.h"
#include "srt.h"
#include "shield.h"
#include "account.h"
#include "handover.h"
#include "train.h"

static __always_inline int up(struct __sk_buff *skb, __u32 reason, __u32 n)
{
	__u32 key = skb->ifindex << 8 | reason;
	__u64 *count = bpf_map_lookup_elem(&reasons, &key);

	if (!count) {
		__u64 none = 0;

		bpf_map_update_elem(&reasons, &key, &none, BPF_NOEXIST);
		count = bpf_map_lookup_elem(&reasons, &key);
	}
	if (count)
		*count += n;
	return PASS_ON;
}

/*
 * Decides about a datagram of a session, and accounts for it if it passes. Returns the
 * reason if it goes up, -1 if it passes.
 */
static __always_inline int decide(struct __sk_buff *skb, const struct packet *p, const struct target *to)
{
	__u32 place = to->way, zero = 0;
	struct way *w = bpf_map_lookup_elem(&ways, &place);
	struct handover *h = bpf_map_lookup_elem(&handovers, &place);
	struct control *c = bpf_map_lookup_elem(&controls, &zero);
	__u32 headers = p->first.offset - LINK_HEADER;
	struct progress at = {};
	int why = -1, type;
	__u32 mode;
	__u64 now;

	if (w && c && w->gen == to->gen && c->shield) {
		at.shield = 1;
		at.next = w->next;
		at.known = w->observed;
	}
	if (p->segments > 1)
		type = check_train(skb, p, &at);
	else
		type = judge(skb, &p->first, &at);
	if (type == UP_MIXED) {
		raise_mixed(skb, p, 0);
		return type;
	}
	if (!w || !h || !c || w->gen != to->gen)
		return UP_REUSED;
	mode = *(volatile __u32 *)&w->mode;
	if (mode == MODE_OFF)
		return UP_OFF;
	if (mode == MODE_PENDING && !is_ready(h)) {
		count_up(h, p->first.words, p->segments);
		return UP_PENDING;
	}
	if (c->paused)
		why = UP_PAUSED;
	else if (p->first.length + headers > to->mtu)
		why = UP_LENGTH;
	else if (to->action == TO_DEVICE && to->flags & HOP_SOFT && bpf_csum_update(skb, 0) >= 0)
		why = UP_CHECKSUM;
	else
		why = type;
	if ((why == UP_TYPE || why == UP_SHIELD) && p->segments == 1) {
		/* Media does not depend on it: the way stays as it is. A pending one goes on to count. */
		if (mode == MODE_PENDING)
			count_up(h, p->first.words, 1);
		return why;
	}
	if (why >= 0) {
		mark(h, p->first.words, p->segments);
		set_mode(w, MODE_ON, MODE_PENDING);
		return why;
	}
	if (mode == MODE_PENDING)
		set_mode(w, MODE_PENDING, MODE_ON);
	now = bpf_ktime_get_coarse_ns();
	w->last = now;
	__sync_fetch_and_add(&w->packets, p->segments);
	__sync_fetch_and_add(&w->bytes, p->total);
	if (p->segments > 1)
		account_train(skb, p, to, w, now);
	else
		account(skb, to, w, &p->first, now);
	return -1;
}

/*
 * Writes a link header whose sum is zero: bpf_redirect_neigh pulls it without taking it
 * out of a COMPLETE checksum.
 */
static __always_inline int clear_link(struct __sk_buff *skb, __be16 source)
{
	struct {
		__u8 dst[6];
		__be16 src[3];
	} zero = { .src = { source } };

	return bpf_skb_store_bytes(skb, 0, &zero, sizeof(zero), 0);
}

/* Adds a train's size to a packet. False if it is none of ours. */
static __always_inline bool measure(struct __sk_buff *skb, struct packet *p)
{
	p->first.length = p->total;
	p->segments = 1;
	if (skb->gso_size && skb->gso_size < p->total) {
		p->first.length = skb->gso_size;
		p->segments = (p->total + skb->gso_size - 1) / skb->gso_size;
	}
	return p->first.length >= SRT_HEADER && p->total <= 0xffff;
}

static __always_inline bool pull(struct __sk_buff *skb, __u32 headers)
{
	if ((__u64)skb->data + headers <= (__u64)skb->data_end)
		return true;
	return skb->len >= headers && bpf_skb_pull_data(skb, headers) == 0;
}

#define HEADERS4 (LINK_HEADER + sizeof(struct iphdr) + sizeof(struct udphdr))
#define HEADERS6 (LINK_HEADER + sizeof(struct ipv6hdr) + sizeof(struct udphdr))

static __always_inline void read_words(struct datagram *d, const __be32 *srt)
{
	for (int i = 0; i < 4; i++)
		d->words[i] = bpf_ntohl(srt[i]);
}

/* Passes a packet on whose first datagram is of no session. Others in a train may be. */
static __always_inline int pass_on(struct __sk_buff *skb, const struct packet *p)
{
	__u32 n = p->segments > 1 ? raise_mixed(skb, p, p->first.words[3]) : 0;

	return n ? up(skb, UP_MIXED, n) : PASS_ON;
}

/*
 * A next hop, of whole words: without CAP_PERFMON the verifier does not allow half of one
 * to be written where the stack has held a pointer.
 */
union next_hop {
	__u64 words[3];
	struct bpf_redir_neigh neigh;
};

static __always_inline void clear_hop(union next_hop *next)
{
	__builtin_memset(next, 0, sizeof(*next));
	asm volatile("" : : "r"(next) : "memory"); /* before anything is written into it */
}

/* Sends a rewritten datagram of one family on. */
static __always_inline int send_on(struct __sk_buff *skb, const struct target *to, bool egress,
				   struct bpf_redir_neigh *next, __be16 zero_sum)
{
	if (to->action == TO_DEVICE)
		return bpf_redirect_neigh(to->ifindex, next, sizeof(*next), 0);
	if (to->action == TO_LOCAL || egress)
		return PASS_ON; /* on lo's egress it is on its way there */
	if (clear_link(skb, zero_sum) < 0) {
		up(skb, BROKEN, 1);
		return TC_ACT_SHOT;
	}
	return bpf_redirect_neigh(LOOPBACK, NULL, 0, 0);
}

static __always_inline __u16 ip_checksum(const struct iphdr *ip)
{
	const __u16 *half = (const __u16 *)ip;
	__u32 sum = 0;

	for (int i = 0; i < 10; i++)
		sum += half[i];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

static __always_inline int relay4(struct __sk_buff *skb, bool egress)
{
	struct key4 key;
	struct packet p = { .first.offset = HEADERS4, .key4 = &key, .egress = egress };
	struct hop4 *hop;
	struct iphdr *ip;
	struct udphdr *udp;
	int why;

	if (!pull(skb, HEADERS4 + SRT_HEADER))
		return PASS_ON;
	ip = (void *)(long)skb->data + LINK_HEADER;
	udp = (void *)(ip + 1);
	if ((void *)(udp + 1) + SRT_HEADER > (void *)(long)skb->data_end)
		return PASS_ON;
	if (ip->version != 4 || ip->ihl != 5 || ip->protocol != IPPROTO_UDP ||
	    ip->frag_off & bpf_htons(0x3fff))
		return PASS_ON;
	p.total = bpf_ntohs(udp->len) - sizeof(*udp);
	if (bpf_ntohs(ip->tot_len) != p.total + sizeof(*ip) + sizeof(*udp) ||
	    skb->len < HEADERS4 + p.total || !measure(skb, &p))
		return PASS_ON;
	read_words(&p.first, (void *)(udp + 1));
	key.peer = ip->saddr;
	key.local = ip->daddr;
	key.peer_port = udp->source;
	key.local_port = udp->dest;
	key.id = bpf_htonl(p.first.words[3]);
	/* ID 0 is a listener's. */
	hop = p.first.words[3] ? bpf_map_lookup_elem(&sessions4, &key) : NULL;
	if (!hop || !comes_from(&p, &hop->to))
		return pass_on(skb, &p);
	why = decide(skb, &p, &hop->to);
	if (why >= 0)
		return up(skb, why, p.segments);

	if (bpf_l4_csum_replace(skb, HEADERS4 - sizeof(*udp) + 6, 0, hop->to.pseudo_delta,
				BPF_F_PSEUDO_HDR | BPF_F_MARK_MANGLED_0) < 0 ||
	    bpf_l4_csum_replace(skb, HEADERS4 - sizeof(*udp) + 6, 0, hop->to.ports_delta,
				BPF_F_MARK_MANGLED_0) < 0)
		goto broken;
	ip = (void *)(long)skb->data + LINK_HEADER;
	udp = (void *)(ip + 1);
	if ((void *)(udp + 1) > (void *)(long)skb->data_end)
		goto broken;
	ip->saddr = hop->saddr;
	ip->daddr = hop->daddr;
	ip->ttl = HOP_LIMIT;
	if (ip->frag_off) {
		/* User space lets its datagrams be fragmented (IP_PMTUDISC_DONT). */
		ip->frag_off = 0;
		ip->id = bpf_get_prandom_u32();
	}
	ip->check = 0;
	ip->check = ip_checksum(ip);
	udp->source = hop->to.sport;
	udp->dest = hop->to.dport;

	union next_hop next;

	clear_hop(&next);
	next.neigh.nh_family = AF_INET;
	next.neigh.ipv4_nh = hop->nexthop;
	return send_on(skb, &hop->to, egress, &next.neigh, bpf_htons(0xf7ff));
broken:
	up(skb, BROKEN, p.segments);
	return TC_ACT_SHOT;
}

static __always_inline int replace_pseudo6(struct __sk_buff *skb, __u32 delta)
{
	__u64 flags = BPF_F_PSEUDO_HDR | BPF_F_MARK_MANGLED_0;
	__u32 offset = HEADERS6 - sizeof(struct udphdr) + 6;
	int err = bpf_l4_csum_replace(skb, offset, 0, delta, flags | CSUM_IPV6);

	if (err != -EINVAL)
		return err;
	/*
	 * Before 6.16 (and stable kernels of June 2025) the helper takes the addresses into
	 * a COMPLETE checksum, which has them on both sides in IPv6.
	 */
	if (bpf_csum_update(skb, 0) >= 0)
		flags = BPF_F_MARK_MANGLED_0;
	return bpf_l4_csum_replace(skb, offset, 0, delta, flags);
}

static __always_inline int relay6(struct __sk_buff *skb, bool egress)
{
	struct key6 key;
	struct packet p = { .first.offset = HEADERS6, .key6 = &key, .ipv6 = 1, .egress = egress };
	struct hop6 *hop;
	struct ipv6hdr *ip;
	struct udphdr *udp;
	int why;

	if (!pull(skb, HEADERS6 + SRT_HEADER))
		return PASS_ON;
	ip = (void *)(long)skb->data + LINK_HEADER;
	udp = (void *)(ip + 1);
	if ((void *)(udp + 1) + SRT_HEADER > (void *)(long)skb->data_end)
		return PASS_ON;
	if (ip->version != 6 || ip->nexthdr != IPPROTO_UDP)
		return PASS_ON;
	p.total = bpf_ntohs(udp->len) - sizeof(*udp);
	if (bpf_ntohs(ip->payload_len) != p.total + sizeof(*udp) ||
	    skb->len < HEADERS6 + p.total || !measure(skb, &p))
		return PASS_ON;
	read_words(&p.first, (void *)(udp + 1));
	__builtin_memcpy(key.peer, &ip->saddr, 16);
	__builtin_memcpy(key.local, &ip->daddr, 16);
	key.peer_port = udp->source;
	key.local_port = udp->dest;
	key.id = bpf_htonl(p.first.words[3]);
	hop = p.first.words[3] ? bpf_map_lookup_elem(&sessions6, &key) : NULL;
	if (!hop || !comes_from(&p, &hop->to))
		return pass_on(skb, &p);
	why = decide(skb, &p, &hop->to);
	if (why >= 0)
		return up(skb, why, p.segments);

	if (replace_pseudo6(skb, hop->to.pseudo_delta) < 0 ||
	    bpf_l4_csum_replace(skb, HEADERS6 - sizeof(*udp) + 6, 0, hop->to.ports_delta,
				BPF_F_MARK_MANGLED_0) < 0)
		goto broken;
	ip = (void *)(long)skb->data + LINK_HEADER;
	udp = (void *)(ip + 1);
	if ((void *)(udp + 1) > (void *)(long)skb->data_end)
		goto broken;
	__builtin_memcpy(&ip->saddr, hop->saddr, 16);
	__builtin_memcpy(&ip->daddr, hop->daddr, 16);
	/* A COMPLETE checksum covers it, and IPv6 has no header checksum that makes up for it. */
	bpf_csum_update(skb, bpf_htons((__u16)~ip->hop_limit) + bpf_htons(HOP_LIMIT));
	ip->hop_limit = HOP_LIMIT;
	udp->source = hop->to.sport;
	udp->dest = hop->to.dport;

	union next_hop next;

	clear_hop(&next);
	next.neigh.nh_family = AF_INET6;
	__builtin_memcpy(next.neigh.ipv6_nh, hop->nexthop, 16);
	return send_on(skb, &hop->to, egress, &next.neigh, bpf_htons(0x7922));
broken:
	up(skb, BROKEN, p.segments);
	return TC_ACT_SHOT;
}

SEC("tc")
int relay(struct __sk_buff *skb)
{
	bool egress = skb->ifindex == LOOPBACK;

	if (egress && skb->ingress_ifindex)
		return PASS_ON; /* redirected here, by this program */
	if (skb->vlan_present)
		return PASS_ON; /* the VLAN's own device has a hook */
	if (skb->protocol == bpf_htons(ETH_P_IP))
		return relay4(skb, egress);
	if (skb->protocol == bpf_htons(ETH_P_IPV6))
		return relay6(skb, egress);
	return PASS_ON;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
