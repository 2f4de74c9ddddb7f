/* A server that answers every Confirmable request with 2.05 and 11 octets, piggybacked: what clients are measured against.
 *
 * It prints its port, and serves until it is ended.  It remembers nothing and routes nothing. */

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

int main(void) {
    int sock = socket(AF_INET, SOCK_DGRAM, 0);
    int size = 4 << 20;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    setsockopt(sock, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    if (sock < 0 || bind(sock, (struct sockaddr *)&address, length) || getsockname(sock, (struct sockaddr *)&address, &length)) {
        perror("sink");
        return 1;
    }
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    for (;;) {
        unsigned char request[2048], answer[32];
        struct sockaddr_in peer;
        socklen_t peer_length = sizeof peer;
        ssize_t octets = recvfrom(sock, request, sizeof request, 0, (struct sockaddr *)&peer, &peer_length);
        if (octets < 4 || (request[0] & 0xf0) != 0x40 || octets < 4 + (request[0] & 15) || request[1] == 0)
            continue;
        int token = request[0] & 15;
        answer[0] = 0x60 | token;
        answer[1] = 0x45;
        memcpy(answer + 2, request + 2, 2 + token);
        memcpy(answer + 4 + token, "\xffhello world", 12);
        sendto(sock, answer, 16 + token, 0, (struct sockaddr *)&peer, peer_length);
    }
}
