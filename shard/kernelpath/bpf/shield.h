// SPDX-License-Identifier: (GPL-2.0-only OR MIT)

/*
 * The laws of control packets, as package shield has them: a test compares both. What fails
 * goes up, where the shard judges it again and drops it under a name.
 */

/* Lengths behind the SRT header. */
#define KM_LEAST 40
#define KM_MOST 104
#define KM_ERROR 4
#define ACK_LITE 4
#define ACK_SMALL 16
#define ACK_FULL 24
#define ACK_MOST 64
#define DROPREQ_SIZE 8
#define HSREQ_LEAST 8
#define HSREQ_MOST 16
#define PADDING_MOST 64

#define DROP_WINDOW (1 << 20)

/* Subtypes of TYPE_USER. */
#define SUBTYPE_HSREQ 1
#define SUBTYPE_HSRSP 2
#define SUBTYPE_KMREQ 3
#define SUBTYPE_KMRSP 4

/* How far the data packets of a packet's sender have come. */
struct progress {
	__u32 next;
	__u32 known;
	__u32 shield; /* control packets are checked */
};

/* How far a sequence number is ahead of another one. */
static __always_inline __s32 ahead(__u32 seq, __u32 of)
{
	return (__s32)((seq - of) << 1) >> 1;
}

static __always_inline bool is_sequence(__u32 word) { return !(word & ~SEQUENCE_MASK); }

/* Words of a NAK that are read at once. */
#define LOSSES_AT_ONCE 16

/* A walk over the words of a NAK, by bpf_loop. */
struct losses {
	struct __sk_buff *skb;
	__u32 offset; /* of the next word */
	__u32 first;  /* of the range whose end is the next word */
	__u32 open;   /* there is one */
	__u32 bad;
};

/* Takes in the next word. False if it is not what a NAK has there. */
static __always_inline bool add_loss(struct losses *l, __u32 word)
{
	if (l->open) {
		l->open = 0;
		l->bad = !is_sequence(word) || ahead(word, l->first) < 0;
		return !l->bad;
	}
	if (!is_sequence(word)) {
		l->open = 1;
		l->first = word & SEQUENCE_MASK;
	}
	return true;
}

static long check_losses(__u32 i, struct losses *l)
{
	__be32 words[LOSSES_AT_ONCE];

	if (bpf_skb_load_bytes(l->skb, l->offset, words, sizeof(words)) < 0) {
		l->bad = 1;
		return 1;
	}
	l->offset += sizeof(words);
	/* Without CAP_PERFMON an index into the stack must be known. */
#pragma unroll
	for (int k = 0; k < LOSSES_AT_ONCE; k++)
		if (!add_loss(l, bpf_ntohl(words[k])))
			return 1;
	return 0;
}

static long check_loss(__u32 i, struct losses *l)
{
	__be32 word;

	if (bpf_skb_load_bytes(l->skb, l->offset, &word, sizeof(word)) < 0) {
		l->bad = 1;
		return 1;
	}
	l->offset += sizeof(word);
	return !add_loss(l, bpf_ntohl(word));
}

/* A NAK of any length: media of a process that is stopped depends on it. */
static __always_inline bool is_loss_list(struct __sk_buff *skb, const struct datagram *d, __u32 n)
{
	struct losses l = { .skb = skb, .offset = d->offset + SRT_HEADER };

	if (n == 0 || n % 4)
		return false;
	n /= 4;
	if (n >= LOSSES_AT_ONCE)
		bpf_loop(n / LOSSES_AT_ONCE, check_losses, &l, 0);
	if (!l.bad)
		bpf_loop(n % LOSSES_AT_ONCE, check_loss, &l, 0);
	return !l.bad && !l.open;
}

static __always_inline bool is_ack(struct __sk_buff *skb, const struct datagram *d, __u32 n)
{
	__u32 word;

	if (n != ACK_LITE && n != ACK_SMALL && (n % 4 || n < ACK_FULL || n > ACK_MOST))
		return false;
	if (bpf_skb_load_bytes(skb, d->offset + SRT_HEADER, &word, sizeof(word)) < 0)
		return false;
	return is_sequence(bpf_ntohl(word));
}

static __always_inline bool is_dropreq(struct __sk_buff *skb, const struct datagram *d, __u32 n,
				       const struct progress *at)
{
	__u32 range[2], first, last;

	if (n != DROPREQ_SIZE ||
	    bpf_skb_load_bytes(skb, d->offset + SRT_HEADER, range, sizeof(range)) < 0)
		return false;
	first = bpf_ntohl(range[0]);
	last = bpf_ntohl(range[1]);
	if (!is_sequence(first) || !is_sequence(last) || ahead(last, first) < 0 ||
	    ahead(last, first) >= DROP_WINDOW)
		return false;
	return !at->known ||
	       (ahead(last, at->next) > -DROP_WINDOW && ahead(first, at->next) < DROP_WINDOW);
}

static __always_inline bool is_km(__u32 n) { return n % 4 == 0 && n >= KM_LEAST && n <= KM_MOST; }

static __always_inline bool is_extension(__u32 subtype, __u32 n)
{
	switch (subtype) {
	case SUBTYPE_HSREQ:
	case SUBTYPE_HSRSP:
		return n % 4 == 0 && n >= HSREQ_LEAST && n <= HSREQ_MOST;
	case SUBTYPE_KMREQ:
		return is_km(n);
	case SUBTYPE_KMRSP:
		return n == KM_ERROR || is_km(n);
	}
	return true;
}

/* Whether a control packet that may pass is what a peer sends. */
GLOBAL int is_sound(struct __sk_buff *skb, const struct datagram *d, const struct progress *at)
{
	__u32 n;

	if (!d || !at)
		return false;
	n = d->length - SRT_HEADER;
	switch (d->words[0] >> 16) {
	case TYPE_ACK:
		return is_ack(skb, d, n);
	case TYPE_NAK:
		return is_loss_list(skb, d, n);
	case TYPE_DROPREQ:
		return is_dropreq(skb, d, n, at);
	case TYPE_USER:
		return is_extension(d->words[0] & 0xffff, n);
	}
	return n <= PADDING_MOST;
}

/* Returns why a control packet has to go up by what it is, -1 if it may pass. */
static __always_inline int judge(struct __sk_buff *skb, const struct datagram *d,
				 const struct progress *at)
{
	if (!may_pass(d->words))
		return UP_TYPE;
	if (at->shield && !is_sound(skb, d, at))
		return UP_SHIELD;
	return -1;
}

/* Returns what is known of a way, or of none, for judge. */
static __always_inline struct progress progress_of(const struct way *w, const struct target *to,
						   const struct control *c)
{
	struct progress at = {};

	if (w && c && w->gen == to->gen && c->shield) {
		at.shield = 1;
		at.next = w->next;
		at.known = w->observed;
	}
	return at;
}
