// SPDX-License-Identifier: (GPL-2.0-only OR MIT)

/* How a way comes into the kernel without a datagram being overtaken. */

/* Changes a mode unless user space has done so meanwhile. */
static __always_inline void set_mode(struct way *w, __u32 from, __u32 to)
{
	__sync_val_compare_and_swap(&w->mode, from, to);
}

/* Has this datagram, and all that follow, go up until user space has sent them. */
static __always_inline void mark(struct handover *h, const struct packet *p)
{
	h->mark[0] = p->first.words[0];
	h->mark[1] = p->first.words[1];
	h->mark[2] = p->first.words[2];
	h->up = p->segments;
	h->round++;
	__sync_lock_test_and_set(&h->marked, 1);
}

/* Whether a pending way is ready. If not, it counts the datagram. */
static __always_inline bool is_ready(struct handover *h, const struct packet *p)
{
	if (!h->marked) {
		mark(h, p);
		return false;
	}
	if (h->ready == ((__u64)h->round << 32 | *(volatile __u32 *)&h->up))
		return true;
	__sync_fetch_and_add(&h->up, p->segments);
	return false;
}

