// SPDX-License-Identifier: (GPL-2.0-only OR MIT)

/* The SRT header (draft section 3). */

#define SRT_HEADER 16

/*
 * A function that the verifier looks at once, and not for each of its callers anew. Its pointers
 * may be NULL by what the verifier knows.
 */
#define GLOBAL __attribute__((noinline))

/* Bits of the first two words of an SRT header (draft section 3). */
#define CONTROL 0x80000000u
#define SEQUENCE_MASK 0x7fffffffu
#define KEY_MASK 0x18000000u
#define REXMIT_BIT 0x04000000u
#define MESSAGE_MASK 0x03ffffffu

/* Control types (draft section 3.2), with the control bit. */
#define TYPE_KEEPALIVE 0x8001
#define TYPE_ACK 0x8002
#define TYPE_NAK 0x8003
#define TYPE_ACKACK 0x8006
#define TYPE_DROPREQ 0x8007
#define TYPE_USER 0xffff

/* Of observe/telemetry; a test compares how they work. */
#define WINDOW_SIZE 4096
#define MAX_STRAYS 32

struct datagram {
	__u32 words[4]; /* of the SRT header, in host order */
	__u32 offset;   /* of the SRT header in the packet */
	__u32 length;   /* SRT header included */
};

/* A datagram, or a train of them that the kernel has made one packet of. */
struct packet {
	struct datagram first;
	__u32 total;    /* bytes of all */
	__u32 segments; /* 1 if it is no train */
	int why;        /* the reason why it has to go up by what it is, -1 for none */
};

/* By what the sessions of a train are found. */
struct keys {
	struct key4 key4; /* one of the two */
	struct key6 key6;
	__u32 ipv6;   /* it is the second one */
	__u32 egress; /* see is_egress */
};

/* Whether a socket of this host has sent a packet: it is at lo's egress. */
static __always_inline bool is_egress(const struct __sk_buff *skb) { return skb->ifindex == LOOPBACK; }

/*
 * Whether a packet comes from where its sender is. One that claims to be of this host, and has
 * come by another device, would otherwise pass before the kernel finds its source forged.
 */
static __always_inline bool comes_from(bool egress, const struct target *to)
{
	return egress == !!(to->flags & PEER_LOCAL);
}

static __always_inline bool is_control(const __u32 *words) { return words[0] & CONTROL; }

/* Whether a datagram may pass without user space. */
static __always_inline bool may_pass(const __u32 *words)
{
	if (!is_control(words))
		return true;
	switch (words[0] >> 16) {
	case TYPE_KEEPALIVE:
	case TYPE_ACK:
	case TYPE_NAK:
	case TYPE_ACKACK:
	case TYPE_DROPREQ:
	case TYPE_USER:
		return true;
	}
	return false;
}

/* Whether user space must see a control packet that passes. */
static __always_inline bool is_report(const __u32 *words)
{
	return words[0] >> 16 != TYPE_KEEPALIVE;
}

