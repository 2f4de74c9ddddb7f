/* A load generator for CoAP servers (RFC 7252), so fast that it is not what is measured.
 *
 * It keeps N requests outstanding, over one or several sockets, checks type, code, token, message ID and payload of every answer,
 * and says how near its own limit it ran.  Rule 1: no message ID is used twice on one port: a socket is replaced by one with
 * a port of its own after 60,000 requests.  Rule 2: a request without answer is repeated as it was, and counted.  Rule 3:
 * a separate response is waited for, and acknowledged (section 5.2.2).
 *
 * It prints one line of JSON.  How fast it could be shows against bench/echo.c.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CON, NON, ACK, RST };
enum { CONTENT = 0x45, HEADER = 8, BATCH = 64, MAX_DATAGRAM = 2048 };
enum { MAX_OUTSTANDING = 1024, MAX_LANES = 256, MAX_WINDOWS = 4096 };
enum { REQUESTS_PER_PORT = 60000, MAX_RETRIES = 4 };

static struct options {
    const char *host, *payload;
    unsigned char request[MAX_DATAGRAM]; /* The options of the request, encoded. */
    size_t request_length;
    int port, type, method, outstanding, lanes, core, pid;
    long requests, warmup, window, per_port;
    double seconds, retry_after; /* Longer than ACK_TIMEOUT, so that long stalls are seen whole. */
} options = {.host = "127.0.0.1", .payload = "hello world", .port = 5683, .method = 1, .outstanding = 1, .lanes = 1,
             .core = -1, .requests = 1000000000, .per_port = REQUESTS_PER_PORT, .retry_after = 3};

struct slot { /* One request, from its first datagram to its answer. */
    unsigned char header[HEADER];
    uint32_t token;
    uint16_t message_id;
    int lane, retries;
    bool is_busy;
    double started_at, sent_at;
};

struct lane { /* One socket. */
    int fd, outstanding;
    long used;
    uint16_t next_message_id;
};

struct window {
    long completed;
    double ended_at, server_cpu, longest;
};

static struct slot slots[MAX_OUTSTANDING];
static struct lane lanes[MAX_LANES];
static struct window windows[MAX_WINDOWS];
static bool port_is_used[65536];
static uint32_t token_keys[4], token_counter;
static long started, completed, bad, retries, lost, strays, separate;
static int window_count;
static double longest, window_longest;
static char first_problem[200];

static void fail(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static double own_cpu(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* CPU time of all threads of the server, in seconds; schedstat counts nanoseconds, where stat counts ticks of 10 ms. */
static double server_cpu(void) {
    char path[300];
    double total = 0;
    if (!options.pid) return 0;
    snprintf(path, sizeof path, "/proc/%d/task", options.pid);
    DIR *threads = opendir(path);
    if (!threads) return 0;
    for (struct dirent *each; (each = readdir(threads));) {
        if (each->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "/proc/%d/task/%s/schedstat", options.pid, each->d_name);
        FILE *file = fopen(path, "r");
        double nanoseconds;
        if (file && fscanf(file, "%lf", &nanoseconds) == 1) total += nanoseconds / 1e9;
        if (file) fclose(file);
    }
    closedir(threads);
    return total;
}

static void problem(long *counter, const char *format, ...) {
    va_list arguments;
    if (counter == &bad && !first_problem[0]) {
        va_start(arguments, format);
        vsnprintf(first_problem, sizeof first_problem, format, arguments);
        va_end(arguments);
    }
    ++*counter;
}

/* A keyed permutation of a counter: no token comes twice, and who has not seen the keys cannot tell the next. */
static uint32_t next_token(void) {
    uint32_t value = token_counter++;
    for (int round = 0; round < 4; round++) {
        uint32_t mixed = ((value & 0xffff) ^ token_keys[round]) * 0x9e3779b1u;
        value = value << 16 | ((value >> 16) ^ (mixed >> 16));
    }
    return value;
}

static void pin(int core) {
    cpu_set_t set;
    if (core < 0) return;
    CPU_ZERO(&set);
    CPU_SET(core, &set);
    if (sched_setaffinity(0, sizeof set, &set)) fail("pinning to a core");
}

static socklen_t address(struct sockaddr_storage *result, const char *host, int port) {
    struct sockaddr_in6 *six = (void *)result;
    struct sockaddr_in *four = (void *)result;
    memset(result, 0, sizeof *result);
    if (inet_pton(AF_INET6, host, &six->sin6_addr) == 1) {
        six->sin6_family = AF_INET6;
        six->sin6_port = htons(port);
        return sizeof *six;
    }
    if (inet_pton(AF_INET, host, &four->sin_addr) != 1) fail("the address of the server");
    four->sin_family = AF_INET;
    four->sin_port = htons(port);
    return sizeof *four;
}

static int open_socket(int family) {
    int fd = socket(family, SOCK_DGRAM, 0), size = 1 << 20;
    struct timeval patience = {.tv_usec = 50000};
    if (fd < 0) fail("socket");
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    return fd;
}

/* Give a lane a socket whose port has not been used by this process. */
static void open_lane(struct lane *lane) {
    struct sockaddr_storage peer, own;
    socklen_t length = address(&peer, options.host, options.port), own_length = sizeof own;
    for (int attempts = 1000; attempts--; close(lane->fd)) {
        lane->fd = open_socket(peer.ss_family);
        if (connect(lane->fd, (void *)&peer, length)) fail("connect");
        own_length = sizeof own;
        getsockname(lane->fd, (void *)&own, &own_length);
        uint16_t port = ntohs(((struct sockaddr_in *)&own)->sin_port); /* At the same place in both families. */
        if (!port_is_used[port]) {
            port_is_used[port] = true;
            lane->used = 0;
            lane->next_message_id = token_keys[0] ^ port;
            return;
        }
    }
    errno = EADDRNOTAVAIL;
    fail("a port that has not been used yet");
}

static void begin(struct slot *slot, double at) {
    struct lane *lane = &lanes[slot->lane];
    slot->token = next_token();
    slot->message_id = lane->next_message_id++;
    slot->is_busy = true;
    slot->retries = 0;
    slot->started_at = at;
    unsigned char *h = slot->header;
    h[0] = 0x44 | options.type << 4;
    h[1] = options.method;
    h[2] = slot->message_id >> 8;
    h[3] = slot->message_id;
    memcpy(h + 4, &slot->token, 4);
    lane->used++;
    lane->outstanding++;
    started++;
}

static void send_slots(int lane, struct slot **batch, int count, double at) {
    static struct mmsghdr messages[BATCH];
    static struct iovec pieces[BATCH][2];
    for (int i = 0; i < count; i++) {
        pieces[i][0] = (struct iovec){batch[i]->header, HEADER};
        pieces[i][1] = (struct iovec){options.request, options.request_length};
        messages[i].msg_hdr = (struct msghdr){.msg_iov = pieces[i], .msg_iovlen = 2};
        batch[i]->sent_at = at;
    }
    for (int done = 0; done < count;) {
        int sent = sendmmsg(lanes[lane].fd, messages + done, count - done, 0);
        if (sent < 0 && errno != EINTR && errno != EAGAIN) fail("sending (is the server gone?)");
        if (sent > 0) done += sent;
    }
}

/* Begin a request in every free slot, and repeat those that have waited for too long. */
static void fill(double at, bool may_begin, bool may_repeat) {
    for (int lane = 0; lane < options.lanes; lane++) {
        struct slot *batch[BATCH];
        int count = 0;
        if (lanes[lane].used >= options.per_port && !lanes[lane].outstanding) {
            close(lanes[lane].fd);
            open_lane(&lanes[lane]);
        }
        for (int i = lane; i < options.outstanding; i += options.lanes) {
            struct slot *slot = &slots[i];
            if (!slot->is_busy) {
                if (!may_begin || lanes[lane].used >= options.per_port || started >= options.warmup + options.requests) continue;
                begin(slot, at);
            } else if (may_repeat && at - slot->sent_at > options.retry_after) {
                if (slot->retries++ >= MAX_RETRIES) {
                    lost++;
                    slot->is_busy = false;
                    lanes[lane].outstanding--;
                    continue;
                }
                retries++;
            } else continue;
            batch[count++] = slot;
            if (count == BATCH) send_slots(lane, batch, count, at), count = 0;
        }
        if (count) send_slots(lane, batch, count, at);
    }
}

/* Return the payload of an answer and its length, or NULL if the options do not end in one. */
static const unsigned char *find_payload(const unsigned char *at, const unsigned char *end, size_t *length) {
    while (at < end && *at != 0xff) {
        size_t delta = *at >> 4, size = *at & 15;
        at++;
        at += delta == 13 ? 1 : delta == 14 ? 2 : 0;
        if (size == 13 && at < end) size = 13 + *at++;
        else if (size == 14 && at + 1 < end) size = 269 + (at[0] << 8 | at[1]), at += 2;
        at += size;
    }
    if (at > end) return NULL;
    *length = at < end ? end - at - 1 : 0;
    return at < end ? at + 1 : end;
}

static struct slot *find(int lane, bool is_token, uint32_t value) {
    for (int i = lane; i < options.outstanding; i += options.lanes)
        if (slots[i].is_busy && (is_token ? slots[i].token : slots[i].message_id) == value) return &slots[i];
    return NULL;
}

/* Check one datagram from the server against what it answers. */
static void take(int lane, const unsigned char *data, size_t length, double at) {
    int type = data[0] >> 4 & 3;
    uint16_t message_id = data[2] << 8 | data[3];
    uint32_t token;
    size_t size = 0, expected = strlen(options.payload);
    if (length < 4 || data[0] >> 6 != 1) return problem(&bad, "not CoAP: %zu octets", length);
    if (type == CON) { /* Of whatever it is, our acknowledgement is what the server waits for. */
        unsigned char acknowledgement[4] = {0x60, 0, data[2], data[3]};
        if (send(lanes[lane].fd, acknowledgement, 4, 0) < 0) fail("acknowledging");
    }
    if (data[1] == 0) {
        if (type != ACK || !find(lane, false, message_id)) problem(type == RST ? &bad : &strays, "a reset");
        return;
    }
    if (length < HEADER || (data[0] & 15) != 4) return problem(&bad, "the token has %d octets", data[0] & 15);
    memcpy(&token, data + 4, 4);
    struct slot *slot = find(lane, true, token);
    if (!slot) return problem(type == ACK && !retries ? &bad : &strays, "a token of nothing that waits");
    const unsigned char *payload = find_payload(data + HEADER, data + length, &size);
    if (type == ACK && (options.type != CON || message_id != slot->message_id)) problem(&bad, "message ID %04x", message_id);
    else if (data[1] != CONTENT) problem(&bad, "code %d.%02d", data[1] >> 5, data[1] & 31);
    else if (!payload || size != expected || memcmp(payload, options.payload, size)) problem(&bad, "the payload");
    if (options.type == CON && type != ACK) separate++;
    if (at - slot->started_at > window_longest) window_longest = at - slot->started_at;
    slot->is_busy = false;
    lanes[lane].outstanding--;
    completed++;
}

static void receive(int lane, int flags) {
    static struct mmsghdr messages[BATCH];
    static struct iovec pieces[BATCH];
    static unsigned char data[BATCH][MAX_DATAGRAM];
    for (int i = 0; i < BATCH; i++) {
        pieces[i] = (struct iovec){data[i], MAX_DATAGRAM};
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &pieces[i], .msg_iovlen = 1};
    }
    int count = recvmmsg(lanes[lane].fd, messages, BATCH, flags, NULL);
    if (count < 0 && errno != EAGAIN && errno != EINTR) fail("receiving (is the server gone?)");
    double at = now();
    for (int i = 0; i < count; i++) take(lane, data[i], messages[i].msg_len, at);
}

static void receive_some(void) {
    static struct pollfd ready[MAX_LANES];
    if (options.lanes == 1) return receive(0, MSG_WAITFORONE);
    for (int i = 0; i < options.lanes; i++) ready[i] = (struct pollfd){lanes[i].fd, POLLIN, 0};
    if (poll(ready, options.lanes, 50) <= 0) return;
    for (int i = 0; i < options.lanes; i++)
        if (ready[i].revents) receive(i, MSG_DONTWAIT);
}

static void end_window(long since, double at) {
    if (window_longest > longest) longest = window_longest;
    if (window_count && windows[window_count - 1].completed == completed - since) return;
    if (window_count < MAX_WINDOWS) windows[window_count++] = (struct window){completed - since, at, server_cpu(), window_longest};
    window_longest = 0;
}

static int generate(void) {
    double began = now(), cpu = own_cpu(), server = server_cpu(), checked = began, at = began;
    bool is_warm = options.warmup == 0;
    long base = 0, next = options.window;
    for (int i = 0; i < options.lanes; i++) open_lane(&lanes[i]);
    for (int i = 0; i < options.outstanding; i++) slots[i].lane = i % options.lanes;
    while (completed + lost < options.warmup + options.requests && !(is_warm && options.seconds && at - began > options.seconds)) {
        bool is_check = at - checked > 0.1;
        if (is_check) checked = at;
        fill(at, true, is_check);
        receive_some();
        at = now();
        if (!is_warm && completed + lost >= options.warmup) {
            is_warm = true;
            base = completed;
            window_longest = 0;
            began = at, cpu = own_cpu(), server = server_cpu();
        } else if (is_warm && options.window && completed - base >= next) {
            end_window(base, at);
            next += options.window;
        }
    }
    end_window(base, at);
    long counted = completed - base;
    double wall = at - began, share = (own_cpu() - cpu) / wall, used = server_cpu() - server;
    for (double until = at + options.retry_after; at < until && completed + lost < started; at = now()) receive_some();
    printf("{\"requests\": %ld, \"seconds\": %.6f, \"rate\": %.1f, \"own_cpu_share\": %.4f, \"server_cpu\": %.6f, "
           "\"longest_ms\": %.3f, \"bad\": %ld, \"retries\": %ld, \"lost\": %ld, \"strays\": %ld, \"separate\": %ld, "
           "\"unanswered\": %ld, \"problem\": \"%s\", \"windows\": [",
           counted, wall, counted / wall, share, used, longest * 1e3, bad, retries, lost, strays, separate,
           started - completed - lost, first_problem);
    for (int i = 0; i < window_count; i++)
        printf("%s[%ld, %.6f, %.6f, %.3f]", i ? ", " : "", windows[i].completed, windows[i].ended_at - began,
               windows[i].server_cpu - server, windows[i].longest * 1e3);
    printf("]}\n");
    return 0;
}

static void decode_hex(const char *text) {
    for (unsigned octet; sscanf(text, "%2x", &octet) == 1 && options.request_length < MAX_DATAGRAM; text += 2)
        options.request[options.request_length++] = octet;
}

/* load, then NAME VALUE for each option. */
int main(int count, char **arguments) {
    for (int i = 1; i + 1 < count; i += 2) {
        const char *name = arguments[i], *value = arguments[i + 1];
        if (!strcmp(name, "host")) options.host = value;
        else if (!strcmp(name, "port")) options.port = atoi(value);
        else if (!strcmp(name, "type")) options.type = !strcmp(value, "NON") ? NON : CON;
        else if (!strcmp(name, "method")) options.method = atoi(value);
        else if (!strcmp(name, "options")) decode_hex(value);
        else if (!strcmp(name, "payload")) options.payload = value;
        else if (!strcmp(name, "outstanding")) options.outstanding = atoi(value);
        else if (!strcmp(name, "sockets")) options.lanes = atoi(value);
        else if (!strcmp(name, "requests")) options.requests = atol(value);
        else if (!strcmp(name, "warmup")) options.warmup = atol(value);
        else if (!strcmp(name, "seconds")) options.seconds = atof(value);
        else if (!strcmp(name, "window")) options.window = atol(value);
        else if (!strcmp(name, "per_port")) options.per_port = atol(value);
        else if (!strcmp(name, "retry_after")) options.retry_after = atof(value);
        else if (!strcmp(name, "core")) options.core = atoi(value);
        else if (!strcmp(name, "pid")) options.pid = atoi(value);
        else return fprintf(stderr, "load: no option %s\n", name), 2;
    }
    if (options.outstanding < 1 || options.outstanding > MAX_OUTSTANDING || options.lanes < 1 ||
        options.lanes > MAX_LANES || options.lanes > options.outstanding || options.per_port > REQUESTS_PER_PORT || strlen(options.payload) > 1024)
        return fprintf(stderr, "load: 1 to %d outstanding, over 1 to %d sockets and not more than outstanding; at most %d requests per port\n",
                       MAX_OUTSTANDING, MAX_LANES, REQUESTS_PER_PORT), 2;
    pin(options.core);
    if (getrandom(token_keys, sizeof token_keys, 0) < 0) fail("random numbers");
    return generate();
}
