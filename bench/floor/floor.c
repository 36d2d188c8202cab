//go:build ignore
// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The least that a fan-out server can do: one pinned thread, one write(2) for each message and
 * connection, nothing else.
 *
 * floor PORT RESPONSE: listens on 127.0.0.1:PORT, says "ready", and answers each connection's first
 * bytes with RESPONSE. Each line of its input is a message: it goes to all who were answered, in
 * one text frame. The input's end is its own.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_FD (1 << 20)
#define MAX_LINE (64 << 10)
#define MAX_EVENTS 512

static int place[MAX_FD]; /* of a descriptor in conns, from 1 on; 0: not answered */
static int conns[MAX_FD];
static int count;
static const char *response;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

/* The sockets of connections block, so that one write is the whole frame. */
static void publish(const char *payload, size_t n)
{
	static char frame[MAX_LINE + 4];
	size_t head = 2;

	frame[0] = (char)0x81;
	frame[1] = (char)n;
	if (n > 125) {
		frame[1] = 126;
		frame[2] = (char)(n >> 8);
		frame[3] = (char)n;
		head = 4;
	}
	memcpy(frame + head, payload, n);
	for (int i = 0; i < count; i++) {
		if (write(conns[i], frame, head + n) < 0 && errno != EPIPE && errno != ECONNRESET)
			die("write");
	}
}

static void end(int fd)
{
	int at = place[fd];

	if (at) {
		conns[at - 1] = conns[--count];
		place[conns[at - 1]] = at;
		place[fd] = 0;
	}
	close(fd);
}

static void hear(int fd)
{
	char buf[4096];
	ssize_t n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);

	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		end(fd);
		return;
	}
	if (place[fd])
		return;
	if (write(fd, response, strlen(response)) < 0) {
		end(fd);
		return;
	}
	conns[count++] = fd;
	place[fd] = count;
}

static void watch(int epoll, int fd)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.fd = fd};

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &ev) < 0)
		die("epoll_ctl");
}

static void take_in(int epoll, int listener)
{
	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0 && errno == EAGAIN)
			return;
		if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
			continue;
		if (fd < 0)
			die("accept");
		if (fd >= MAX_FD) {
			close(fd);
			continue;
		}
		watch(epoll, fd);
	}
}

/* Returns 0 at the input's end. */
static int take_lines(void)
{
	static char lines[MAX_LINE];
	static size_t have;
	char *line = lines, *newline;
	ssize_t n = read(0, lines + have, sizeof(lines) - have);

	if (n <= 0)
		return 0;
	have += (size_t)n;
	while ((newline = memchr(line, '\n', have - (size_t)(line - lines)))) {
		publish(line, (size_t)(newline - line));
		line = newline + 1;
	}
	have -= (size_t)(line - lines);
	memmove(lines, line, have);
	return have < sizeof(lines);
}

static int listen_on(int port)
{
	struct sockaddr_in at = {.sin_family = AF_INET,
				 .sin_port = htons((unsigned short)port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(fd, 65535) < 0)
		die("listen");
	return fd;
}

static void pin(void)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	if (sched_setaffinity(0, sizeof(one), &one) < 0)
		die("sched_setaffinity");
}

int main(int argc, char **argv)
{
	int listener, epoll = epoll_create1(EPOLL_CLOEXEC);

	if (argc != 3 || epoll < 0)
		die("floor PORT RESPONSE");
	response = argv[2];
	signal(SIGPIPE, SIG_IGN);
	pin();
	listener = listen_on(atoi(argv[1]));
	watch(epoll, listener);
	watch(epoll, 0);
	if (write(1, "ready\n", 6) != 6)
		die("write");
	for (;;) {
		struct epoll_event events[MAX_EVENTS];
		int n = epoll_wait(epoll, events, MAX_EVENTS, -1);

		for (int i = 0; i < n; i++) {
			int fd = events[i].data.fd;

			if (fd == listener)
				take_in(epoll, listener);
			else if (fd != 0)
				hear(fd);
			else if (!take_lines())
				return 0;
		}
	}
}
