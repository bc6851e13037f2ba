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
