// SPDX-License-Identifier: (GPL-2.0-only OR MIT)

/* What the program and user space share: maps, and what they hold. */

enum mode {
	MODE_OFF,     /* user space relays this way */
	MODE_PENDING, /* so it does, until what is under way has arrived there */
	MODE_ON,
};

/* Why a datagram of a session goes up to user space. Go: reason.go. */
enum reason {
	UP_OFF,      /* the way is off: captured, or about to end */
	UP_PENDING,  /* the way is not on yet */
	UP_PAUSED,   /* routes are being resolved again */
	UP_TYPE,     /* a handshake, a SHUTDOWN, or a type that is not known */
	UP_LENGTH,   /* longer than the next hop's MTU */
	UP_MIXED,    /* a train of several sessions */
	UP_CHECKSUM, /* a checksum that a redirect to this device would spoil */
	UP_REUSED,   /* the place belongs to another session by now */
	UP_SHIELD,   /* a control packet that fails the shield's check */
	BROKEN,      /* lost: a helper failed when the datagram was half rewritten */
	REASONS,
};

/* How a datagram reaches the other side. */
enum action {
	TO_DEVICE,    /* by a device and a next hop */
	TO_LOOPBACK,  /* a socket of this host, by lo's receive side */
	TO_LOCAL,     /* a socket of this host, without a redirect: needs accept_local */
};

/*
 * The version of what the maps hold and mean. A process takes maps over from another one
 * only if it is the same. Raise it with each change of the structs or the protocols here.
 */
enum layout {
	LAYOUT = 4,
};

/* So that bpf2go finds the enums in the object. */
const enum layout *layout_type __attribute__((unused));
const enum mode *mode_type __attribute__((unused));
const enum reason *reason_type __attribute__((unused));
const enum action *action_type __attribute__((unused));

#define HOP_SOFT 1   /* the device is a virtual one, which checks a COMPLETE checksum */
#define PEER_LOCAL 2 /* the sender is a socket of this host: its datagrams come by lo */
#define HOP_LEND 4   /* an IPv4 address of this host that is none of lo's: see lend */

struct key4 {
	__be32 peer, local;
	__be16 peer_port, local_port;
	__be32 id;
};

struct key6 {
	__be32 peer[4], local[4];
	__be16 peer_port, local_port;
	__be32 id;
};

/* What the two families have in common of a session's next hop. */
struct target {
	__u32 way;          /* place in ways and handovers */
	__u32 gen;          /* generation of the session */
	__u32 ifindex;
	__u16 pseudo_delta; /* what the addresses and the ports change of the sum */
	__u16 ports_delta;
	__be16 sport, dport;
	__u16 mtu;
	__u16 ring; /* the shard's */
	__u8 action, flags;
	__u16 reserved;
};

/* struct bpf_redir_neigh, to which a helper is given a pointer. */
struct neighbour {
	__u32 family;
	__be32 address[4]; /* of IPv4 the first one */
};

/* With its key and the kernel's own 56 bytes an entry has 128 bytes. */
struct hop4 {
	struct target to;
	__be32 saddr, daddr;
	struct neighbour next;
};

struct hop6 {
	struct target to;
	__be32 saddr[4], daddr[4];
	struct neighbour next;
};

/* What has passed on a way. One cache line. */
struct way {
	__u64 bytes;      /* SRT headers included */
	__u64 data_bytes; /* payloads of the data packets that came in order */
	__u64 last;       /* CLOCK_MONOTONIC_COARSE, ns */
	__u64 last_data;  /* the same, of data packets */
	__u32 packets;
	__u32 gen;
	__u32 next;       /* sequence number after the newest */
	__u32 expect;     /* key bits of an ordinary packet */
	__u32 exceptions; /* records about data packets */
	__u32 lost;       /* records for which the ring had no space */
	__u32 mode;
	__u8 strays;   /* packets in a row from behind the window */
	__u8 rexmit;   /* REXMIT_BIT is in use */
	__u8 observed; /* telemetry is on */
	__u8 lent;     /* a datagram has lo's address, and was not seen at lo yet */
};

/*
 * How a pending way is handed over: user space counts the datagrams that it has sent on
 * from the marked one on; when it has sent all that went up, the next one may pass here.
 * See Handover in handover.go.
 */
struct handover {
	__u64 ready;   /* round << 32 | up, when user space has sent them all */
	__u32 up;      /* datagrams that went up, from the marked one on */
	__u32 round;   /* counts the marks */
	__u32 marked;  /* mark is valid */
	__u32 mark[3]; /* first words of a datagram, in host order */
};

/* What user space must see of a datagram that did not go up. */
struct record {
	__u64 at; /* CLOCK_MONOTONIC, ns */
	__u32 way;
	__u32 gen;
	__u32 next;   /* of the way, before this datagram */
	__u16 length; /* of the datagram, bytes */
	__u16 head;   /* bytes of it that are here */
	__u8 datagram[0];
};

const struct record *record_type __attribute__((unused));

#define HEAD_SHORT 64
#define HEAD_LONG 1472 /* a NAK that names as many losses as it can: wire.MaxPayload */

struct control {
	__u32 paused; /* every datagram goes up */
	__u32 layout; /* LAYOUT of the process that has made the maps */
	__u32 owner;  /* counts the processes that have used the maps */
	__u32 shield; /* control packets are checked */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct key4);
	__type(value, struct hop4);
	__uint(max_entries, 1);
} sessions4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct key6);
	__type(value, struct hop6);
	__uint(max_entries, 1);
} sessions6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct way);
	__uint(max_entries, 1);
} ways SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct handover);
	__uint(max_entries, 1);
} handovers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct control);
	__uint(max_entries, 1);
} controls SEC(".maps");

/* Datagrams of sessions by device and reason: key ifindex << 8 | reason. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 4096);
} reasons SEC(".maps");

struct ring {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__type(key, __u32);
	__uint(max_entries, 1);
	__array(values, struct ring);
} rings SEC(".maps");

/*
 * The key has 8 bytes, of which 4 are read: without CAP_PERFMON the verifier does not allow half
 * a word to be written where the stack has held a pointer.
 */
static __always_inline struct control *controls_of(void)
{
	__u64 zero = 0;

	return bpf_map_lookup_elem(&controls, &zero);
}
