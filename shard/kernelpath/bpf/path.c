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

_Static_assert(sizeof(struct neighbour) == sizeof(struct bpf_redir_neigh), "the helper takes it");

GLOBAL int up(struct __sk_buff *skb, __u32 reason, __u32 n)
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

/* PASS_ON, which the compiler does not keep in a register from the beginning on. */
static __always_inline int pass_on(void)
{
	int code;

	asm volatile("%0 = -1" : "=r"(code));
	return code;
}

/* Whether a packet of so many bytes behind the UDP header is a train. */
static __always_inline bool is_train(const struct __sk_buff *skb, __u32 total)
{
	return skb->gso_size && skb->gso_size < total;
}

/* Whether a packet begins with a datagram of SRT. */
static __always_inline bool is_whole(const struct __sk_buff *skb, __u32 total)
{
	return total >= SRT_HEADER && total <= 0xffff &&
	       (!is_train(skb, total) || skb->gso_size >= SRT_HEADER);
}

/* What a packet has behind its UDP header, by this. Negative if that is wrong. */
static __always_inline __u32 length_of(const struct udphdr *udp)
{
	return bpf_ntohs(udp->len) - sizeof(*udp);
}

static __always_inline void read_words(struct datagram *d, const struct udphdr *udp)
{
	const __be32 *srt = (const void *)(udp + 1);

	for (int i = 0; i < 4; i++)
		d->words[i] = bpf_ntohl(srt[i]);
}

/*
 * Without CAP_PERFMON the verifier puts a barrier behind the first write into each word of the
 * stack, which takes 10 ns. So what a usual datagram needs is read from the packet again each
 * time, and only what is less usual is copied to the stack, in a branch or a function of its own.
 */

/* Returns the single datagram of a packet. */
static __always_inline struct datagram datagram_of(const struct udphdr *udp, __u32 offset)
{
	struct datagram d = { .offset = offset, .length = length_of(udp) };

	read_words(&d, udp);
	return d;
}

/* As decide, of a control packet, or of a way that is not open. */
GLOBAL int decide_unusual(struct __sk_buff *skb, struct packet *p, const struct target *to)
{
	struct control *c;
	struct way *w;
	__u64 now;

	if (!p || !to)
		return UP_REUSED;
	w = bpf_map_lookup_elem(&ways, &to->way);
	c = controls_of();
	if (!w || !c)
		return UP_REUSED;
	if (is_control(p->first.words)) {
		struct progress at = progress_of(w, to, c);

		p->why = judge(skb, &p->first, &at);
	}
	p->why = admit(skb, p, to, w, c);
	if (p->why >= 0)
		return p->why;
	now = bpf_ktime_get_coarse_ns();
	count(w, 1, p->total, now);
	account(skb, to, w, &p->first, now);
	return -1;
}

/*
 * Decides about the only datagram of a packet of a session, and accounts for it if it passes.
 * Returns the reason if it goes up, -1 if it passes.
 */
static __always_inline int decide(struct __sk_buff *skb, const struct udphdr *udp, __u32 offset,
				  const struct target *to)
{
	const __be32 *srt = (const void *)(udp + 1);
	struct way *w = bpf_map_lookup_elem(&ways, &to->way);
	struct control *c = controls_of();
	__u64 now;

	if (!w || !c || srt[0] & bpf_htonl(CONTROL) ||
	    !is_open(skb, to, w, c, length_of(udp) + offset - LINK_HEADER)) {
		struct packet p = {
			.first = datagram_of(udp, offset), .total = length_of(udp), .segments = 1, .why = -1,
		};

		return decide_unusual(skb, &p, to);
	}
	now = bpf_ktime_get_coarse_ns();
	count(w, 1, length_of(udp), now);
	w->last_data = now;
	if (!w->observed)
		return -1;
	if (is_expected(w, bpf_ntohl(srt[0]), bpf_ntohl(srt[1]), w->next)) {
		account_expected(w, 1, length_of(udp) - SRT_HEADER);
	} else {
		struct datagram d = datagram_of(udp, offset);

		account_exception(skb, to, w, &d);
	}
	return -1;
}

/* Returns a train. */
static __always_inline struct packet train_of(const struct __sk_buff *skb, const struct udphdr *udp,
					      __u32 offset)
{
	struct packet p = { .total = length_of(udp), .why = -1 };

	p.first.offset = offset;
	p.first.length = skb->gso_size;
	p.segments = (p.total + p.first.length - 1) / p.first.length;
	read_words(&p.first, udp);
	return p;
}

/* Passes a train on whose first datagram is of no session. Others in it may be. */
static __always_inline int pass_train(struct __sk_buff *skb, const struct packet *p, struct keys *by)
{
	__u32 n = raise_mixed(skb, p, by, p->first.words[3]);

	return n ? up(skb, UP_MIXED, n) : PASS_ON;
}

static __always_inline bool pull(struct __sk_buff *skb, __u32 headers)
{
	if ((__u64)skb->data + headers <= (__u64)skb->data_end)
		return true;
	return skb->len >= headers && bpf_skb_pull_data(skb, headers) == 0;
}

/*
 * Writes a link header whose sum is zero: bpf_redirect_neigh pulls it without taking it
 * out of a COMPLETE checksum.
 */
static __always_inline void clear_link(__be16 *link, __be16 source)
{
	for (int i = 0; i < 6; i++)
		link[i] = i == 3 ? source : 0;
}

/* Two words that are one after another in memory. */
static __always_inline __u64 pair(__u32 first, __u32 second)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return first | (__u64)second << 32;
#else
	return (__u64)first << 32 | second;
#endif
}

/* Sends a rewritten datagram of one family on. */
static __always_inline int send_on(struct __sk_buff *skb, __be16 *link, const struct target *to,
				   const struct neighbour *next, __be16 zero_sum)
{
	if (to->action == TO_DEVICE)
		return bpf_redirect_neigh(to->ifindex, (void *)next, sizeof(*next), 0);
	if (to->action == TO_LOCAL || is_egress(skb))
		return pass_on(); /* on lo's egress it is on its way there */
	clear_link(link, zero_sum);
	return bpf_redirect_neigh(LOOPBACK, NULL, 0, 0);
}

static __always_inline int broken(struct __sk_buff *skb)
{
	up(skb, BROKEN, skb->gso_segs ? skb->gso_segs : 1);
	return TC_ACT_SHOT;
}

#define HEADERS4 (LINK_HEADER + sizeof(struct iphdr) + sizeof(struct udphdr))
#define HEADERS6 (LINK_HEADER + sizeof(struct ipv6hdr) + sizeof(struct udphdr))

/* Where the UDP checksum is. */
#define CHECKSUM4 (HEADERS4 - 2)
#define CHECKSUM6 (HEADERS6 - 2)

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

/* In network order: 127.0.0.1. */
#define LENT bpf_htonl(0x7f000001)

/* In skb->cb of datagrams that have passed lend, where nothing else leaves it. */
#define LENT_MARK 0x6c656e74

/*
 * bpf_redirect_neigh looks for the route on lo. The kernel keeps that of lo's addresses, but for
 * another address of this host it makes one for each datagram, and frees it later. So such a
 * datagram has lo's address until it passes lo's egress, where give_back puts its own into its
 * place. If it is not given back, because the program is not there any more or another one hides
 * it, the datagram is dropped: its IP checksum is that of its own address. Those of the way that
 * follow then keep theirs.
 */
static __always_inline void lend(struct __sk_buff *skb, struct iphdr *ip, const struct target *to)
{
	struct way *w;

	if (!(to->flags & HOP_LEND) || to->action != TO_LOOPBACK || is_egress(skb))
		return;
	w = bpf_map_lookup_elem(&ways, &to->way);
	if (!w)
		return;
	skb->cb[0] = LENT_MARK;
	skb->cb[1] = to->way;
	skb->cb[2] = ip->daddr;
	if (w->lent)
		return;
	w->lent = 1;
	ip->daddr = LENT;
}

/* Gives a datagram back the address that lend has taken. */
static __always_inline void give_back(struct __sk_buff *skb)
{
	struct iphdr *ip = (void *)(long)skb->data + LINK_HEADER;
	__u32 place = skb->cb[1];
	struct way *w;

	if (skb->cb[0] != LENT_MARK || (void *)(ip + 1) > (void *)(long)skb->data_end)
		return;
	if (ip->daddr == LENT)
		ip->daddr = skb->cb[2];
	w = bpf_map_lookup_elem(&ways, &place);
	if (w)
		w->lent = 0;
}

static __always_inline int relay4(struct __sk_buff *skb)
{
	union {
		struct key4 key;
		__u64 words[2];
	} by;
	struct hop4 *hop;
	struct udphdr *udp;
	struct iphdr *ip;
	__be32 *srt;
	__u32 total;
	int why;

	if (!pull(skb, HEADERS4 + SRT_HEADER))
		return pass_on();
	ip = (void *)(long)skb->data + LINK_HEADER;
	udp = (void *)(ip + 1);
	srt = (void *)(udp + 1);
	if ((void *)srt + SRT_HEADER > (void *)(long)skb->data_end)
		return pass_on();
	if (ip->version != 4 || ip->ihl != 5 || ip->protocol != IPPROTO_UDP ||
	    ip->frag_off & bpf_htons(0x3fff))
		return pass_on();
	total = length_of(udp);
	if (bpf_ntohs(ip->tot_len) != total + sizeof(*ip) + sizeof(*udp) ||
	    skb->len < HEADERS4 + total || !is_whole(skb, total))
		return pass_on();
	by.words[0] = pair(ip->saddr, ip->daddr);
	by.words[1] = pair(*(__be32 *)udp, srt[3]); /* both ports at once */
	if (is_train(skb, length_of(udp))) {
		struct packet p = train_of(skb, udp, HEADERS4);
		struct keys keys = { .key4 = by.key, .egress = is_egress(skb) };

		if (!srt[3]) /* a listener's */
			return pass_train(skb, &p, &keys);
		hop = bpf_map_lookup_elem(&sessions4, &by.key);
		if (!hop || !comes_from(is_egress(skb), &hop->to))
			return pass_train(skb, &p, &keys);
		why = decide_train(skb, &p, &keys, &hop->to);
		if (why >= 0)
			return up(skb, why, p.segments);
	} else {
		if (!srt[3])
			return pass_on();
		hop = bpf_map_lookup_elem(&sessions4, &by.key);
		if (!hop || !comes_from(is_egress(skb), &hop->to))
			return pass_on();
		why = decide(skb, udp, HEADERS4, &hop->to);
		if (why >= 0)
			return up(skb, why, 1);
	}

	if (bpf_l4_csum_replace(skb, CHECKSUM4, 0, hop->to.pseudo_delta, BPF_F_PSEUDO_HDR | BPF_F_MARK_MANGLED_0) < 0 ||
	    bpf_l4_csum_replace(skb, CHECKSUM4, 0, hop->to.ports_delta, BPF_F_MARK_MANGLED_0) < 0)
		return broken(skb);
	ip = (void *)(long)skb->data + LINK_HEADER;
	udp = (void *)(ip + 1);
	if ((void *)(udp + 1) > (void *)(long)skb->data_end)
		return broken(skb);
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
	lend(skb, ip, &hop->to);
	return send_on(skb, (void *)ip - LINK_HEADER, &hop->to, &hop->next, bpf_htons(0xf7ff));
}

static __always_inline int replace_pseudo6(struct __sk_buff *skb, __u32 delta)
{
	__u64 flags = BPF_F_PSEUDO_HDR | BPF_F_MARK_MANGLED_0;
	int err = bpf_l4_csum_replace(skb, CHECKSUM6, 0, delta, flags | CSUM_IPV6);

	if (err != -EINVAL)
		return err;
	/*
	 * Before 6.16 (and stable kernels of June 2025) the helper takes the addresses into
	 * a COMPLETE checksum, which has them on both sides in IPv6.
	 */
	if (bpf_csum_update(skb, 0) >= 0)
		flags = BPF_F_MARK_MANGLED_0;
	return bpf_l4_csum_replace(skb, CHECKSUM6, 0, delta, flags);
}

static __always_inline int relay6(struct __sk_buff *skb)
{
	union {
		struct key6 key;
		__u64 words[5];
	} by;
	struct hop6 *hop;
	struct ipv6hdr *ip;
	struct udphdr *udp;
	__be32 *srt;
	__u32 total;
	int why;

	if (!pull(skb, HEADERS6 + SRT_HEADER))
		return pass_on();
	ip = (void *)(long)skb->data + LINK_HEADER;
	udp = (void *)(ip + 1);
	srt = (void *)(udp + 1);
	if ((void *)srt + SRT_HEADER > (void *)(long)skb->data_end)
		return pass_on();
	if (ip->version != 6 || ip->nexthdr != IPPROTO_UDP)
		return pass_on();
	total = length_of(udp);
	if (bpf_ntohs(ip->payload_len) != total + sizeof(*udp) ||
	    skb->len < HEADERS6 + total || !is_whole(skb, total))
		return pass_on();
	for (int i = 0; i < 4; i++)
		by.words[i] = ((__u64 *)&ip->saddr)[i]; /* both addresses */
	by.words[4] = pair(*(__be32 *)udp, srt[3]);
	if (is_train(skb, length_of(udp))) {
		struct packet p = train_of(skb, udp, HEADERS6);
		struct keys keys = { .key6 = by.key, .ipv6 = 1, .egress = is_egress(skb) };

		if (!srt[3]) /* a listener's */
			return pass_train(skb, &p, &keys);
		hop = bpf_map_lookup_elem(&sessions6, &by.key);
		if (!hop || !comes_from(is_egress(skb), &hop->to))
			return pass_train(skb, &p, &keys);
		why = decide_train(skb, &p, &keys, &hop->to);
		if (why >= 0)
			return up(skb, why, p.segments);
	} else {
		if (!srt[3])
			return pass_on();
		hop = bpf_map_lookup_elem(&sessions6, &by.key);
		if (!hop || !comes_from(is_egress(skb), &hop->to))
			return pass_on();
		why = decide(skb, udp, HEADERS6, &hop->to);
		if (why >= 0)
			return up(skb, why, 1);
	}

	if (replace_pseudo6(skb, hop->to.pseudo_delta) < 0 ||
	    bpf_l4_csum_replace(skb, CHECKSUM6, 0, hop->to.ports_delta, BPF_F_MARK_MANGLED_0) < 0)
		return broken(skb);
	ip = (void *)(long)skb->data + LINK_HEADER;
	udp = (void *)(ip + 1);
	if ((void *)(udp + 1) > (void *)(long)skb->data_end)
		return broken(skb);
	__builtin_memcpy(&ip->saddr, hop->saddr, 16);
	__builtin_memcpy(&ip->daddr, hop->daddr, 16);
	/* A COMPLETE checksum covers it, and IPv6 has no header checksum that makes up for it. */
	bpf_csum_update(skb, bpf_htons((__u16)~ip->hop_limit) + bpf_htons(HOP_LIMIT));
	ip->hop_limit = HOP_LIMIT;
	udp->source = hop->to.sport;
	udp->dest = hop->to.dport;
	return send_on(skb, (void *)ip - LINK_HEADER, &hop->to, &hop->next, bpf_htons(0x7922));
}

SEC("tc")
int relay(struct __sk_buff *skb)
{
	if (is_egress(skb) && skb->ingress_ifindex) { /* redirected here, by this program */
		give_back(skb);
		return pass_on();
	}
	if (skb->vlan_present)
		return pass_on(); /* the VLAN's own device has a hook */
	if (skb->protocol == bpf_htons(ETH_P_IP))
		return relay4(skb);
	if (skb->protocol == bpf_htons(ETH_P_IPV6))
		return relay6(skb);
	return pass_on();
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
