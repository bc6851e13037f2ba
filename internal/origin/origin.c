/*
 * The SRT server behind the relay in tests and in the demo, where SRS stands in
 * production. It is built on libsrt, and unlike srt-live-transmit it takes many
 * connections on one port. What the publisher of a resource sends goes to all
 * players of that resource and into a file. It prints a line per event:
 *
 *   listening address=127.0.0.1:40001
 *   accepted id=.. role=publisher resource=live/x peer=127.0.0.1:50001 keylen=32
 *   closed   id=.. role=.. resource=.. peer=.. keylen=.. packets=.. bytes=.. unsent=..
 *            lost=.. retransmitted=.. late=.. srt_packets=.. rtt_us=.. ms=..
 *
 * packets and bytes are messages that this program was given or handed over;
 * lost, retransmitted, late (dropped because too late), srt_packets (datagrams
 * with payload, retransmissions among them) and rtt_us (smoothed round trip) are
 * libsrt's counters. A bonding group (-g) is one connection, with the first
 * member's stream id.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netdb.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <srt/srt.h>
#include <time.h>

enum {
	MAX_CLIENTS = 1024,
	MAX_MESSAGE = 1456, /* the largest payload in live mode */
	TEXT = 513,         /* a stream id is 512 bytes at most */
	ADDRESS = INET6_ADDRSTRLEN + 16,
	TICK_MS = 50,
	DRAIN_MS = 3000, /* how long a player may take what is left at the end */
};

struct client {
	SRTSOCKET sock; /* 0: the slot is free */
	bool publishes;
	int64_t since, ends; /* ends: closed by this time at the latest, 0: lives */
	char resource[TEXT], peer[ADDRESS];
	int keylen;
	FILE *file;
	uint64_t packets, bytes, unsent;
	SRT_TRACEBSTATS stats;
};

static struct client clients[MAX_CLIENTS];
#define EACH(c) (struct client *c = clients; c < clients + MAX_CLIENTS; c++)
static const char *directory;
static int epoll;
static const int reading = SRT_EPOLL_IN | SRT_EPOLL_ERR;
static volatile sig_atomic_t stopped;

static void stop(int signal)
{
	stopped = signal;
}

static void die(const char *what)
{
	fprintf(stderr, "origin: %s: %s\n", what, srt_getlasterror_str());
	exit(EXIT_FAILURE);
}

static int64_t now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void format_address(char text[ADDRESS], const struct sockaddr_storage *a, int len)
{
	char host[INET6_ADDRSTRLEN] = "unknown", port[8] = "0";
	getnameinfo((const struct sockaddr *)a, len, host, sizeof(host), port, sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV);
	snprintf(text, ADDRESS, a->ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}

/* Reads the stream id in its "#!::key=value,.." form; any other is the name of
 * a resource to play. */
static void read_stream_id(struct client *c, char *id)
{
	char *rest;
	snprintf(c->resource, sizeof(c->resource), "%s", id);
	if (strncmp(id, "#!::", 4) != 0)
		return;
	for (char *item = strtok_r(id + 4, ",", &rest); item; item = strtok_r(NULL, ",", &rest)) {
		if (strncmp(item, "r=", 2) == 0)
			snprintf(c->resource, sizeof(c->resource), "%s", item + 2);
		if (strcmp(item, "m=publish") == 0)
			c->publishes = true;
	}
}

/* The file of a publisher is named after its resource. */
static FILE *open_file(const struct client *c)
{
	char name[TEXT], path[4096];
	strcpy(name, c->resource);
	for (char *p = name; *p; p++)
		*p = *p == '/' ? '_' : *p;
	snprintf(path, sizeof(path), "%s/%s", directory, name);
	FILE *f = fopen(path, "wb");
	if (!f)
		fprintf(stderr, "origin: %s: %s\n", path, strerror(errno));
	return f;
}

static void print(const char *event, const struct client *c)
{
	const char *role = c->publishes ? "publisher" : "player";
	printf("%s id=%d role=%s resource=%s peer=%s keylen=%d", event, c->sock, role, c->resource, c->peer, c->keylen);
}

static void accept_client(SRTSOCKET listener)
{
	struct sockaddr_storage peer;
	int len = sizeof(peer);
	SRTSOCKET sock = srt_accept(listener, (struct sockaddr *)&peer, &len);
	if (sock == SRT_INVALID_SOCK)
		return; /* gone before it was accepted */
	struct client *c = clients;
	while (c->sock && c < clients + MAX_CLIENTS - 1)
		c++;
	if (c->sock) { /* full */
		srt_close(sock);
		return;
	}
	*c = (struct client){.sock = sock, .since = now_ms()};
	char id[TEXT] = "";
	int size = sizeof(id) - 1, keylen_size = sizeof(c->keylen);
	srt_getsockflag(sock, SRTO_STREAMID, id, &size);
	srt_getsockflag(sock, SRTO_PBKEYLEN, &c->keylen, &keylen_size);
	read_stream_id(c, id);
	format_address(c->peer, &peer, len);
	if (c->publishes && directory)
		c->file = open_file(c);
	srt_epoll_add_usock(epoll, sock, &reading);
	print("accepted", c);
	printf("\n");
}

/* libsrt tells nothing of a broken connection any more, so its counters are
 * read while it lives. */
static void read_stats(struct client *c)
{
	SRT_TRACEBSTATS s;
	c->stats = srt_bistats(c->sock, &s, 0, 1) == 0 ? s : c->stats;
}

static void close_client(struct client *c)
{
	read_stats(c);
	const SRT_TRACEBSTATS *s = &c->stats;
	print("closed", c);
	printf(" packets=%" PRIu64 " bytes=%" PRIu64 " unsent=%" PRIu64 " lost=%d retransmitted=%d late=%d"
	       " srt_packets=%" PRId64 " rtt_us=%.0f ms=%" PRId64 "\n",
	       c->packets, c->bytes, c->unsent, c->publishes ? s->pktRcvLossTotal : s->pktSndLossTotal,
	       c->publishes ? s->pktRcvRetrans : s->pktRetransTotal,
	       c->publishes ? s->pktRcvDropTotal : s->pktSndDropTotal,
	       c->publishes ? s->pktRecvTotal : s->pktSentTotal, s->msRTT * 1000, now_ms() - c->since);
	if (c->file)
		fclose(c->file);
	srt_close(c->sock);
	if (c->publishes) /* its players end when they have what is left */
		for EACH(p)
			if (p->sock && !p->publishes && !p->ends && strcmp(p->resource, c->resource) == 0)
				p->ends = now_ms() + DRAIN_MS;
	*c = (struct client){0};
}

static void fan_out(const struct client *from, const char *message, int size)
{
	for EACH(p) {
		if (!p->sock || p->publishes || strcmp(p->resource, from->resource) != 0)
			continue;
		p->ends = 0; /* a publisher that came back */
		bool sent = srt_sendmsg(p->sock, message, size, -1, 1) != SRT_ERROR;
		p->packets += sent;
		p->bytes += sent ? size : 0;
		p->unsent += !sent;
	}
}

static void read_client(struct client *c)
{
	char message[MAX_MESSAGE];
	for (;;) {
		int n = srt_recvmsg(c->sock, message, sizeof(message));
		if (n == SRT_ERROR) {
			if (srt_getlasterror(NULL) != SRT_EASYNCRCV)
				close_client(c);
			return;
		}
		if (!c->publishes)
			continue;
		c->packets++;
		c->bytes += n;
		if (c->file && (fwrite(message, 1, n, c->file) != (size_t)n || fflush(c->file) != 0))
			fprintf(stderr, "origin: write %s: %s\n", c->resource, strerror(errno));
		fan_out(c, message, n);
	}
}

/* A group does not say what it has left: it gets all of its time. */
static bool is_drained(const struct client *c)
{
	size_t blocks = 0, bytes = 0;
	if (c->sock & SRTGROUP_MASK)
		return false;
	return srt_getsndbuffer(c->sock, &blocks, &bytes) == SRT_ERROR || blocks == 0;
}

/* Samples the counters, and ends players whose publisher has gone. */
static void tick(void)
{
	for EACH(c) {
		if (!c->sock)
			continue;
		read_stats(c);
		if (c->ends && (is_drained(c) || now_ms() >= c->ends))
			close_client(c);
	}
}

static void set(SRTSOCKET s, SRT_SOCKOPT option, const void *value, int size, const char *name)
{
	if (srt_setsockflag(s, option, value, size) == SRT_ERROR)
		die(name);
}

static void listen_on(SRTSOCKET s, const char *host, const char *port)
{
	struct sockaddr_storage own;
	char text[ADDRESS];
	int len = sizeof(own), only = 1;
	struct addrinfo hints = {.ai_socktype = SOCK_DGRAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE}, *at;
	if (getaddrinfo(host, port, &hints, &at) != 0)
		die("not a numeric address");
	if (at->ai_family == AF_INET6)
		set(s, SRTO_IPV6ONLY, &only, sizeof(only), "set IPv6");
	if (srt_bind(s, at->ai_addr, at->ai_addrlen) == SRT_ERROR)
		die("bind");
	freeaddrinfo(at);
	if (srt_listen(s, 100) == SRT_ERROR)
		die("listen");
	srt_getsockname(s, (struct sockaddr *)&own, &len);
	format_address(text, &own, len);
	printf("listening address=%s\n", text);
}

static void serve(SRTSOCKET listener)
{
	SRT_EPOLL_EVENT ready[64];
	for (int64_t due = now_ms(); !stopped;) {
		int n = srt_epoll_uwait(epoll, ready, 64, TICK_MS);
		for (int i = 0; i < n && i < 64; i++) {
			if (ready[i].fd == listener)
				accept_client(listener);
			for EACH(c)
				if (c->sock == ready[i].fd)
					read_client(c);
		}
		if (now_ms() < due)
			continue;
		tick();
		due = now_ms() + TICK_MS;
	}
}

int main(int argc, char **argv)
{
	int keylen = 0, latency = 120, groups = 0, no = 0, option;
	const char *passphrase = NULL;
	while ((option = getopt(argc, argv, "p:k:l:o:g")) != -1) {
		passphrase = option == 'p' ? optarg : passphrase;
		keylen = option == 'k' ? atoi(optarg) : keylen;
		latency = option == 'l' ? atoi(optarg) : latency;
		directory = option == 'o' ? optarg : directory;
		groups = groups || option == 'g';
	}
	if (optind + 2 != argc) {
		fprintf(stderr, "usage: origin [-p passphrase] [-k key length, bytes] [-l latency, ms] [-o directory] [-g (accept groups)] host port\n");
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGTERM, stop);
	signal(SIGINT, stop);
	srt_startup();
	SRTSOCKET listener = srt_create_socket();
	epoll = srt_epoll_create();
	set(listener, SRTO_RCVSYN, &no, sizeof(no), "set non-blocking receive");
	set(listener, SRTO_SNDSYN, &no, sizeof(no), "set non-blocking send");
	set(listener, SRTO_LATENCY, &latency, sizeof(latency), "set latency");
	if (keylen)
		set(listener, SRTO_PBKEYLEN, &keylen, sizeof(keylen), "set key length");
	if (passphrase)
		set(listener, SRTO_PASSPHRASE, passphrase, strlen(passphrase), "set passphrase");
	if (groups)
		set(listener, SRTO_GROUPCONNECT, &groups, sizeof(groups), "accept groups");
	listen_on(listener, argv[optind], argv[optind + 1]);
	srt_epoll_add_usock(epoll, listener, &reading);
	serve(listener);
	for EACH(c)
		if (c->sock)
			close_client(c);
	srt_close(listener);
	srt_cleanup();
	return 0;
}
