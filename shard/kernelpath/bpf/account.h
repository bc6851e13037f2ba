// SPDX-License-Identifier: (GPL-2.0-only OR MIT)

/* What user space sees of the datagrams that pass: counters, and records in a ring. */

/* Makes a value opaque, so that the compiler does not derive an unchecked one from it. */
#define OPAQUE(v) asm volatile("" : "+r"(v))

/* Takes the head of a datagram down for user space, which is not woken. */
GLOBAL int take_down(struct __sk_buff *skb, const struct target *to, const struct way *w,
		     const struct datagram *d)
{
	struct record *r;
	__u32 shard, head;
	bool whole;
	void *ring;

	if (!to || !w || !d)
		return false;
	head = d->length;
	whole = d->words[0] >> 16 == TYPE_NAK && head > HEAD_SHORT;
	shard = to->ring;
	ring = bpf_map_lookup_elem(&rings, &shard);
	if (!ring)
		return false;
	if (whole) {
		if (head > HEAD_LONG)
			head = HEAD_LONG;
		r = bpf_ringbuf_reserve(ring, sizeof(*r) + HEAD_LONG, 0);
	} else {
		if (head > HEAD_SHORT)
			head = HEAD_SHORT;
		r = bpf_ringbuf_reserve(ring, sizeof(*r) + HEAD_SHORT, 0);
	}
	if (!r)
		return false;
	r->at = bpf_ktime_get_ns();
	r->way = to->way;
	r->gen = to->gen;
	r->next = w->next;
	r->length = d->length;
	OPAQUE(head);
	if (whole) {
		if (head < SRT_HEADER || head > HEAD_LONG ||
		    bpf_skb_load_bytes(skb, d->offset, r->datagram, head) < 0)
			goto discard;
	} else {
		if (head < SRT_HEADER || head > HEAD_SHORT ||
		    bpf_skb_load_bytes(skb, d->offset, r->datagram, head) < 0)
			goto discard;
	}
	r->head = head;
	bpf_ringbuf_submit(r, BPF_RB_NO_WAKEUP);
	return true;
discard:
	bpf_ringbuf_discard(r, BPF_RB_NO_WAKEUP);
	return false;
}

/*
 * Follows the sequence numbers exactly as observe/telemetry does (record.data), so that
 * both agree on which data packet is the expected one.
 */
static __always_inline void follow(struct way *w, const __u32 *words)
{
	__u32 seq = words[0], word = words[1];
	__u32 rexmit = w->rexmit ? REXMIT_BIT : 0;
	__u32 message = word & ((MESSAGE_MASK | REXMIT_BIT) & ~rexmit);
	__s32 distance = ahead(seq, w->next);

	if (message == 0)
		return; /* an FEC packet has no sequence number of its own */
	if (distance < 0) {
		if (!(word & rexmit) && -distance > WINDOW_SIZE && ++w->strays >= MAX_STRAYS) {
			w->next = (seq + 1) & SEQUENCE_MASK;
			w->strays = 0;
		}
		return;
	}
	w->next = (seq + 1) & SEQUENCE_MASK;
	w->strays = 0;
	if (!(word & rexmit))
		w->expect = word & KEY_MASK;
}

/* Whether a data packet is the expected one, whose number is next. */
static __always_inline bool is_expected(const struct way *w, __u32 seq, __u32 word, __u32 next)
{
	__u32 rexmit = w->rexmit ? REXMIT_BIT : 0;

	return seq == next && (word & (KEY_MASK | rexmit)) == w->expect &&
	       word & (MESSAGE_MASK | REXMIT_BIT) & ~rexmit;
}

/* Accounts for the next expected data packets, of so many bytes of payload. */
static __always_inline void account_expected(struct way *w, __u32 n, __u32 payload)
{
	w->next = (w->next + n) & SEQUENCE_MASK;
	w->strays = 0;
	w->data_bytes += payload;
}

/* Accounts for a data packet that is not the expected one. */
static __always_inline void account_exception(struct __sk_buff *skb, const struct target *to,
					      struct way *w, const struct datagram *d)
{
	if (take_down(skb, to, w, d)) {
		/* Before next changes: user space reads both without a lock. With its result used, it is a barrier. */
		__u32 n = __sync_fetch_and_add(&w->exceptions, 1);

		OPAQUE(n);
	} else {
		w->lost++;
	}
	follow(w, d->words);
}

/* Accounts for one datagram that passes. */
static __always_inline void account(struct __sk_buff *skb, const struct target *to, struct way *w,
				    const struct datagram *d, __u64 now)
{
	if (is_control(d->words)) {
		if (w->observed && is_report(d->words) && !take_down(skb, to, w, d))
			w->lost++;
		return;
	}
	w->last_data = now;
	if (!w->observed)
		return;
	if (is_expected(w, d->words[0], d->words[1], w->next))
		account_expected(w, 1, d->length - SRT_HEADER);
	else
		account_exception(skb, to, w, d);
}

/* Counts datagrams that pass. */
static __always_inline void count(struct way *w, __u32 n, __u32 bytes, __u64 now)
{
	w->last = now;
	__sync_fetch_and_add(&w->packets, n);
	__sync_fetch_and_add(&w->bytes, bytes);
}
