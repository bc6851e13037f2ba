// SPDX-License-Identifier: (GPL-2.0-only OR MIT)

/* How a way comes into the kernel without a datagram being overtaken. */

/* Changes a mode unless user space has done so meanwhile. */
static __always_inline void set_mode(struct way *w, __u32 from, __u32 to)
{
	__sync_val_compare_and_swap(&w->mode, from, to);
}

/* Has n datagrams, and all that follow, go up until user space has sent them. */
static __always_inline void mark(struct handover *h, const __u32 *words, __u32 n)
{
	h->mark[0] = words[0];
	h->mark[1] = words[1];
	h->mark[2] = words[2];
	h->up = n;
	h->round++;
	__sync_lock_test_and_set(&h->marked, 1);
}

/* Counts n datagrams that go up while the way is pending. */
static __always_inline void count_up(struct handover *h, const __u32 *words, __u32 n)
{
	if (h->marked)
		__sync_fetch_and_add(&h->up, n);
	else
		mark(h, words, n);
}

/* Whether user space has sent all that went up of a pending way. */
static __always_inline bool is_ready(const struct handover *h)
{
	return h->marked && h->ready == ((__u64)h->round << 32 | *(volatile __u32 *)&h->up);
}

/* Whether no datagram of a session that is no longer than a size has to go up. */
static __always_inline bool is_open(struct __sk_buff *skb, const struct target *to,
				    const struct way *w, const struct control *c, __u32 size)
{
	return w->gen == to->gen && *(volatile __u32 *)&w->mode == MODE_ON && !c->paused &&
	       size <= to->mtu && !(to->action == TO_DEVICE && to->flags & HOP_SOFT &&
				    bpf_csum_update(skb, 0) >= 0);
}

/* Decides about a packet of a session. Returns the reason if it goes up, -1 if it passes. */
static __always_inline int admit(struct __sk_buff *skb, const struct packet *p,
				 const struct target *to, struct way *w, const struct control *c)
{
	const __u32 *words = p->first.words;
	struct handover *h;
	int why = p->why;
	__u32 mode;

	h = bpf_map_lookup_elem(&handovers, &to->way);
	if (!h || w->gen != to->gen)
		return UP_REUSED;
	mode = *(volatile __u32 *)&w->mode;
	if (mode == MODE_OFF)
		return UP_OFF;
	if (mode == MODE_PENDING && !is_ready(h)) {
		count_up(h, words, p->segments);
		return UP_PENDING;
	}
	if (c->paused)
		why = UP_PAUSED;
	else if (p->first.length + p->first.offset - LINK_HEADER > to->mtu)
		why = UP_LENGTH;
	else if (to->action == TO_DEVICE && to->flags & HOP_SOFT && bpf_csum_update(skb, 0) >= 0)
		why = UP_CHECKSUM;
	if ((why == UP_TYPE || why == UP_SHIELD) && p->segments == 1) {
		/* Media does not depend on it: the way stays as it is. A pending one goes on to count. */
		if (mode == MODE_PENDING)
			count_up(h, words, 1);
		return why;
	}
	if (why >= 0) {
		mark(h, words, p->segments);
		set_mode(w, MODE_ON, MODE_PENDING);
		return why;
	}
	if (mode == MODE_PENDING)
		set_mode(w, MODE_PENDING, MODE_ON);
	return -1;
}
