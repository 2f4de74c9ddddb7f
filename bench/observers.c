/* Observers that cost little: observers PORT COUNT SECONDS NUMBERED.
 *
 * Each of COUNT sockets observes /o, or /o/<number> if NUMBERED is 1.  When all are registered, and numbered ones have had one
 * notification each by POST /tick with their number, rounds begin: POST /tick without a payload, then wait until every observer has
 * its notification; Confirmable ones are acknowledged.  What does not come in a second is lost.  At the end it prints
 * notifications, seconds, and how many were lost. */

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static struct sockaddr_in server = {.sin_family = AF_INET};
static int *observers, count, poller, control;
static unsigned *last_round;
static unsigned control_id;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static int open_socket(int number) {
    int sock = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = (unsigned)number};
    if (sock < 0 || connect(sock, (struct sockaddr *)&server, sizeof server) || epoll_ctl(poller, EPOLL_CTL_ADD, sock, &event)) {
        perror("observers");
        exit(1);
    }
    return sock;
}

static size_t put_option(unsigned char *at, int delta, const char *value, int length) {
    at[0] = (unsigned char)(delta << 4 | length);
    memcpy(at + 1, value, (size_t)length);
    return (size_t)length + 1;
}

static void observe(int number, int is_numbered) {
    unsigned char request[64] = {0x44, 1, 0x12, 0x34, 'o', 'b', (unsigned char)(number >> 8), (unsigned char)number};
    size_t size = 8;
    char segment[12];
    size += put_option(request + size, 6, "", 0);
    size += put_option(request + size, 5, "o", 1);
    if (is_numbered)
        size += put_option(request + size, 0, segment, snprintf(segment, sizeof segment, "%d", number));
    send(observers[number], request, size, 0);
}

static void tick(const char *payload) {
    unsigned char request[64] = {0x42, 2, 0, 0, 'c', 't'};
    size_t size = 6;
    control_id++;
    request[2] = (unsigned char)(control_id >> 8);
    request[3] = (unsigned char)control_id;
    size += put_option(request + size, 11, "tick", 4);
    if (*payload) {
        request[size++] = 0xff;
        memcpy(request + size, payload, strlen(payload));
        size += strlen(payload);
    }
    send(control, request, size, 0);
}

/* Take what comes until WANTED observers were notified in this round, or a second is over; return how many were. */
static int take(int wanted, unsigned round) {
    int taken = 0;
    double end = now() + 1.0;
    while (taken < wanted && now() < end) {
        struct epoll_event events[64];
        int ready = epoll_wait(poller, events, 64, 100);
        for (int i = 0; i < ready; i++) {
            unsigned number = events[i].data.u32;
            int sock = number == (unsigned)count ? control : observers[number];
            unsigned char answer[2048];
            for (;;) {
                ssize_t octets = recv(sock, answer, sizeof answer, 0);
                if (octets < 0)
                    break;
                if (octets < 4)
                    continue;
                int type = answer[0] >> 4 & 3;
                if (type == 0) {
                    unsigned char acknowledgement[4] = {0x60, 0, answer[2], answer[3]};
                    send(sock, acknowledgement, 4, 0);
                }
                if (number == (unsigned)count || answer[1] >> 5 != 2 || (type > 1 && round > 0))
                    continue;
                if (last_round[number] < round + 1) {
                    last_round[number] = round + 1;
                    taken++;
                }
            }
        }
    }
    return taken;
}

int main(int argc, char **argv) {
    struct rlimit files;
    if (argc != 5)
        return 2;
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    server.sin_port = htons((unsigned short)atoi(argv[1]));
    count = atoi(argv[2]);
    double seconds = atof(argv[3]);
    int is_numbered = atoi(argv[4]);
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    observers = calloc((size_t)count, sizeof *observers);
    last_round = calloc((size_t)count, sizeof *last_round);
    poller = epoll_create1(0);
    for (int number = 0; number < count; number++)
        observers[number] = open_socket(number);
    control = open_socket(count);
    for (int number = 0; number < count; number++) {
        observe(number, is_numbered);
        for (int tries = 0; take(1, 0) == 0; tries++) {
            if (tries == 3) {
                fprintf(stderr, "observers: number %d cannot register\n", number);
                return 1;
            }
            observe(number, is_numbered);
        }
    }
    unsigned round = 1;
    for (int number = 0; is_numbered && number < count; number++, round++) {
        char text[12];
        snprintf(text, sizeof text, "%d", number);
        tick(text);
        take(1, round);
    }
    long notifications = 0, lost = 0;
    double start = now();
    while (now() < start + seconds) {
        tick("");
        int taken = take(count, round++);
        notifications += taken;
        lost += count - taken;
    }
    printf("%ld %f %ld\n", notifications, now() - start, lost);
    return 0;
}
