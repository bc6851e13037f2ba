/*
 * An SRT caller that is a bonding group: connections from several addresses that carry one
 * stream. It publishes its standard input in messages of 1316 bytes, or writes what it plays
 * to its standard output. A member that is no more is connected again, as libsrt leaves that
 * to its users. It prints a line per event on standard error; members are counted from 0:
 *
 *   member=0 state=running
 *   member=1 rejected=15
 *
 * States are pending, idle (of a backup group: connected and not in use), running, broken and
 * gone; a rejection is libsrt's reason.
 */
#include <errno.h>
#include <getopt.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <srt/srt.h>
#include <time.h>
#include <unistd.h>

enum {
	MAX_MEMBERS = 8,
	MESSAGE = 1316,
	MAX_MESSAGE = 1456, /* the largest payload in live mode */
	TICK_MS = 20,
	AGAIN_MS = 500, /* from the loss of a member to its next try */
	GONE = SRT_GST_BROKEN + 1,
};

struct member {
	struct sockaddr_storage local, remote;
	int remote_size;
	int state;
	int64_t next; /* try not before */
};

static const char *const states[] = {"pending", "idle", "running", "broken", "gone"};
static struct member members[MAX_MEMBERS];
static int count;
static SRTSOCKET group;
static volatile sig_atomic_t stopped;

static void stop(int signal)
{
	stopped = signal;
}

static void die(const char *what)
{
	fprintf(stderr, "bonded: %s: %s\n", what, srt_getlasterror_str());
	exit(EXIT_FAILURE);
}

static int64_t now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Reads host:port, with the host of IPv6 in brackets. */
static int read_address(const char *text, struct sockaddr_storage *a)
{
	char host[256];
	struct addrinfo hints = {.ai_socktype = SOCK_DGRAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV}, *at;
	snprintf(host, sizeof(host), "%s", text[0] == '[' ? text + 1 : text);
	char *port = strrchr(host, ':');
	if (!port)
		die("an address has no port");
	*port++ = '\0';
	if (text[0] == '[')
		host[strcspn(host, "]")] = '\0';
	if (getaddrinfo(host, port, &hints, &at) != 0)
		die("not a numeric address");
	memcpy(a, at->ai_addr, at->ai_addrlen);
	int size = at->ai_addrlen;
	freeaddrinfo(at);
	return size;
}

static void read_member(char *text)
{
	char *comma = strchr(text, ',');
	if (!comma || count == MAX_MEMBERS)
		die("a member is LOCAL,REMOTE, and there are 8 at most");
	*comma = '\0';
	struct member *m = &members[count++];
	m->state = GONE;
	m->remote_size = read_address(comma + 1, &m->remote);
	if (read_address(text, &m->local) != m->remote_size)
		die("a member has addresses of two families");
}

static void set_state(int i, int state)
{
	if (members[i].state != state)
		fprintf(stderr, "member=%d state=%s\n", i, states[state]);
	members[i].state = state;
}

static void failed(void *opaque, SRTSOCKET sock, int error, const struct sockaddr *peer, int token)
{
	(void)opaque, (void)error, (void)peer;
	fprintf(stderr, "member=%d rejected=%d\n", token, srt_getrejectreason(sock));
}

/* Connects these members; the first one is preferred in a backup group. */
static int connect_members(int first, int n)
{
	SRT_SOCKGROUPCONFIG config[MAX_MEMBERS];
	for (int i = 0; i < n; i++) {
		struct member *m = &members[first + i];
		config[i] = srt_prepare_endpoint((struct sockaddr *)&m->local, (struct sockaddr *)&m->remote, m->remote_size);
		config[i].token = first + i;
		config[i].weight = MAX_MEMBERS - first - i;
		m->next = now_ms() + AGAIN_MS;
	}
	return srt_connect_group(group, config, n);
}

/* Notes what has become of the members, and connects again what is gone. */
static void check_members(void)
{
	SRT_SOCKGROUPDATA data[MAX_MEMBERS];
	size_t n = MAX_MEMBERS;
	int state[MAX_MEMBERS];
	for (int i = 0; i < count; i++)
		state[i] = GONE;
	if (srt_group_data(group, data, &n) == SRT_ERROR)
		n = 0;
	for (size_t k = 0; k < n; k++)
		state[data[k].token] = data[k].memberstate;
	for (int i = 0; i < count; i++) {
		if (state[i] == GONE && members[i].state != GONE)
			members[i].next = now_ms() + AGAIN_MS;
		set_state(i, state[i]);
		if (state[i] == GONE && now_ms() >= members[i].next)
			connect_members(i, 1);
	}
}

/* Reads as much of a message as there is; true if it is whole. */
static bool read_message(char message[MESSAGE], int *have)
{
	ssize_t n = read(STDIN_FILENO, message + *have, MESSAGE - *have);
	if (n <= 0)
		stopped = stopped || n == 0 || errno != EINTR;
	else
		*have += n;
	return *have == MESSAGE;
}

static void publish(void)
{
	char message[MESSAGE];
	int have = 0;
	for (int64_t due = 0; !stopped;) {
		struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
		if (poll(&in, 1, TICK_MS) > 0 && read_message(message, &have)) {
			if (srt_sendmsg(group, message, MESSAGE, -1, 1) == SRT_ERROR)
				die("send");
			have = 0;
		}
		if (now_ms() < due)
			continue;
		check_members();
		due = now_ms() + TICK_MS;
	}
}

static void play(void)
{
	char message[MAX_MESSAGE];
	for (int64_t due = 0; !stopped;) {
		int n = srt_recvmsg(group, message, sizeof(message));
		if (n != SRT_ERROR) {
			if (fwrite(message, 1, n, stdout) != (size_t)n || fflush(stdout) != 0)
				return;
		} else if (srt_getlasterror(NULL) != SRT_ETIMEOUT && srt_getlasterror(NULL) != SRT_EASYNCRCV)
			die("receive");
		if (now_ms() < due)
			continue;
		check_members();
		due = now_ms() + TICK_MS;
	}
}

static void set(SRT_SOCKOPT option, const void *value, int size, const char *name)
{
	if (srt_setsockflag(group, option, value, size) == SRT_ERROR)
		die(name);
}

int main(int argc, char **argv)
{
	int latency = 120, keylen = 0, tick = TICK_MS, option;
	const char *passphrase = NULL, *id = "";
	SRT_GROUP_TYPE type = SRT_GTYPE_BROADCAST;
	while ((option = getopt(argc, argv, "bs:p:k:l:")) != -1) {
		type = option == 'b' ? SRT_GTYPE_BACKUP : type;
		id = option == 's' ? optarg : id;
		passphrase = option == 'p' ? optarg : passphrase;
		keylen = option == 'k' ? atoi(optarg) : keylen;
		latency = option == 'l' ? atoi(optarg) : latency;
	}
	if (optind + 2 > argc) {
		fprintf(stderr, "usage: bonded [-b (backup, not broadcast)] [-s stream id] [-p passphrase] [-k key length, bytes]"
				" [-l latency, ms] publish|play local,remote...\n");
		return 2;
	}
	const bool publishes = strcmp(argv[optind], "publish") == 0;
	for (int i = optind + 1; i < argc; i++)
		read_member(argv[i]);
	setvbuf(stderr, NULL, _IOLBF, 0);
	signal(SIGTERM, stop);
	signal(SIGINT, stop);
	srt_startup();
	group = srt_create_group(type);
	if (group == SRT_INVALID_SOCK)
		die("create a group");
	srt_connect_callback(group, failed, NULL);
	set(SRTO_LATENCY, &latency, sizeof(latency), "set latency");
	set(SRTO_STREAMID, id, strlen(id), "set stream id");
	if (passphrase)
		set(SRTO_PASSPHRASE, passphrase, strlen(passphrase), "set passphrase");
	if (keylen)
		set(SRTO_PBKEYLEN, &keylen, sizeof(keylen), "set key length");
	set(SRTO_RCVTIMEO, &tick, sizeof(tick), "set receive timeout");
	if (connect_members(0, count) == SRT_ERROR)
		die("connect");
	if (publishes)
		publish();
	else
		play();
	srt_close(group);
	srt_cleanup();
	return 0;
}
