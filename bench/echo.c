/* The fastest answer there is: a CoAP response from C, made without looking further than the token.
 *
 * It shows what the load generator can do, and what the system calls alone cost.  "echo HOST PORT PAYLOAD".
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { BATCH = 64, MAX_DATAGRAM = 2048, CONTENT = 0x45 };

static unsigned char data[BATCH][MAX_DATAGRAM];
static struct sockaddr_storage peers[BATCH];
static struct mmsghdr messages[BATCH];
static struct iovec pieces[BATCH];

static int bind_socket(const char *host, int port) {
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(port)};
    if (inet_pton(AF_INET, host, &four.sin_addr) == 1) {
        int fd = socket(AF_INET, SOCK_DGRAM, 0);
        return fd >= 0 && !bind(fd, (void *)&four, sizeof four) ? fd : -1;
    }
    int fd = socket(AF_INET6, SOCK_DGRAM, 0);
    return inet_pton(AF_INET6, host, &six.sin6_addr) == 1 && fd >= 0 && !bind(fd, (void *)&six, sizeof six) ? fd : -1;
}

/* Turn the request in a buffer into its answer: a CON gets an ACK, a NON a NON. */
static void answer(int i, const char *payload, size_t size) {
    size_t head = 4 + (data[i][0] & 15);
    data[i][0] = (data[i][0] & 0xf) | ((data[i][0] & 0x30) == 0 ? 0x60 : 0x50);
    data[i][1] = CONTENT;
    data[i][head] = 0xff;
    memcpy(data[i] + head + 1, payload, size);
    pieces[i].iov_len = head + 1 + size;
}

int main(int count, char **arguments) {
    int fd = count == 4 ? bind_socket(arguments[1], atoi(arguments[2])) : -1;
    size_t size = count == 4 ? strlen(arguments[3]) : 0;
    if (fd < 0 || size > 1024) return fprintf(stderr, "echo: HOST PORT PAYLOAD: %s\n", strerror(errno)), 1;
    for (;;) {
        for (int i = 0; i < BATCH; i++) {
            pieces[i] = (struct iovec){data[i], MAX_DATAGRAM};
            messages[i].msg_hdr = (struct msghdr){
                .msg_name = &peers[i], .msg_namelen = sizeof peers[i], .msg_iov = &pieces[i], .msg_iovlen = 1};
        }
        int received = recvmmsg(fd, messages, BATCH, MSG_WAITFORONE, NULL);
        for (int i = 0; i < received; i++) answer(i, arguments[3], size);
        for (int done = 0; done < received;) {
            int sent = sendmmsg(fd, messages + done, received - done, 0);
            done += sent > 0 ? sent : 1; /* What cannot be sent is lost, as datagrams are. */
        }
    }
}
