// SPDX-License-Identifier: (GPL-2.0-only OR MIT)

/* Trains: datagrams of one size that the kernel has made one packet of (GRO). */

/* Reads the SRT header at d->offset. */
static __always_inline bool read_header(struct __sk_buff *skb, struct datagram *d)
{
	if (bpf_skb_load_bytes(skb, d->offset, d->words, SRT_HEADER) < 0)
		return false;
	for (int i = 0; i < 4; i++)
		d->words[i] = bpf_ntohl(d->words[i]);
	return true;
}

/* A walk over the segments of a train, by bpf_loop (Linux 5.17). */
struct train {
	struct __sk_buff *skb;
	const struct packet *packet;
	struct keys *keys;
	const struct target *to;
	const struct progress *at;
	struct way *way;
	__u64 now;
	__u32 done;     /* bytes */
	__u32 expected; /* segments that are the next expected data packets, one after another */
	__u32 raised;   /* segments of sessions that go up */
	__u32 skip;     /* an ID of no session */
	int why;        /* as of a packet */
};

/* Reads the next segment. False at the end, or if it has no SRT header. */
static __always_inline bool next_segment(struct train *t, struct datagram *d)
{
	__u32 left = t->packet->total - t->done;

	d->offset = t->packet->first.offset + t->done;
	d->length = t->packet->first.length < left ? t->packet->first.length : left;
	t->done += d->length;
	return d->length >= SRT_HEADER && read_header(t->skb, d);
}

static long check_segment(__u32 i, struct train *t)
{
	struct datagram d;
	int why;

	if (!next_segment(t, &d) || d.words[3] != t->packet->first.words[3]) {
		t->why = UP_MIXED;
		return 1;
	}
	if (!is_control(d.words)) {
		if (t->way && t->expected == i &&
		    is_expected(t->way, d.words[0], d.words[1], (t->way->next + i) & SEQUENCE_MASK))
			t->expected++;
		return 0;
	}
	why = judge(t->skb, &d, t->at);
	if (why >= 0 && t->why != UP_TYPE)
		t->why = why; /* one behind it may be of another session */
	return 0;
}

/* Returns what is known of the session of another ID between the same ends. */
static __always_inline const struct target *other_target(struct keys *by, __u32 id)
{
	if (!by->ipv6) {
		struct hop4 *hop;

		by->key4.id = bpf_htonl(id);
		hop = bpf_map_lookup_elem(&sessions4, &by->key4);
		return hop ? &hop->to : NULL;
	}
	struct hop6 *hop;

	by->key6.id = bpf_htonl(id);
	hop = bpf_map_lookup_elem(&sessions6, &by->key6);
	return hop ? &hop->to : NULL;
}

static long raise_segment(__u32 i, struct train *t)
{
	const struct target *to;
	struct handover *h;
	struct datagram d;
	struct way *w;
	__u32 place;

	if (!next_segment(t, &d))
		return 1; /* no datagram of a session */
	if (d.words[3] == t->skip)
		return 0;
	to = other_target(t->keys, d.words[3]);
	if (!to || !comes_from(t->keys->egress, to))
		return 0;
	place = to->way;
	w = bpf_map_lookup_elem(&ways, &place);
	h = bpf_map_lookup_elem(&handovers, &place);
	if (!w || !h || w->gen != to->gen)
		return 0;
	t->raised++;
	switch (*(volatile __u32 *)&w->mode) {
	case MODE_ON:
		mark(h, d.words, 1);
		set_mode(w, MODE_ON, MODE_PENDING);
		break;
	case MODE_PENDING:
		count_up(h, d.words, 1);
	}
	return 0;
}

/*
 * Has a train of several sessions go up, so that none of its datagrams is overtaken.
 * Returns how many segments are of sessions.
 */
GLOBAL int raise_mixed(struct __sk_buff *skb, const struct packet *p, struct keys *by, __u32 skip)
{
	struct train t = { .skb = skb, .packet = p, .keys = by, .skip = skip };

	if (!p || !by)
		return 0;
	bpf_loop(p->segments, raise_segment, &t, 0);
	return t.raised;
}

static long account_segment(__u32 i, struct train *t)
{
	struct datagram d;

	if (!next_segment(t, &d))
		return 1;
	account(t->skb, t->to, t->way, &d, t->now);
	return 0;
}

/* Decides about a train, and accounts for it if it passes, as decide does. */
GLOBAL int decide_train(struct __sk_buff *skb, struct packet *p, struct keys *by,
			const struct target *to)
{
	struct train t = { .skb = skb, .packet = p, .to = to, .why = -1 };
	struct progress at;
	struct control *c;
	struct way *w;

	if (!p || !by || !to)
		return UP_REUSED;
	w = bpf_map_lookup_elem(&ways, &to->way);
	c = controls_of();
	at = progress_of(w, to, c);
	t.way = w;
	t.at = &at;
	bpf_loop(p->segments, check_segment, &t, 0);
	if (t.why == UP_MIXED) {
		raise_mixed(skb, p, by, 0);
		return UP_MIXED;
	}
	if (!w || !c)
		return UP_REUSED;
	p->why = t.why;
	p->why = admit(skb, p, to, w, c);
	if (p->why >= 0)
		return p->why;
	t.now = bpf_ktime_get_coarse_ns();
	count(w, p->segments, p->total, t.now);
	if (w->observed && t.expected == p->segments) {
		w->last_data = t.now;
		account_expected(w, p->segments, p->total - p->segments * SRT_HEADER);
		return -1;
	}
	t.done = 0;
	bpf_loop(p->segments, account_segment, &t, 0);
	return -1;
}
