/* A host that tries to start until it works, for tests that make the k-th call of some kind fail: `start threads|turn|memory [option=value]...`.
 * Says what failed, and how many descriptors and threads were left behind; ends with `served N` once a request was answered. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <ingest.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { TRIES = 8 };

static int entries(const char *folder)
{
    int count = 0;
    DIR *open = opendir(folder);
    if (!open)
        return -1;
    while (readdir(open))
        count++;
    closedir(open);
    return count;
}

static int descriptors(void)
{
    return entries("/proc/self/fd");
}

/* A thread that was joined may still be listed for a moment. */
static int threads(int wanted)
{
    int count = entries("/proc/self/task");
    for (int i = 0; i < 1000 && count != wanted; i++, count = entries("/proc/self/task"))
        usleep(1000);
    return count;
}

static void on_events(void *userdata, ingest_server *server, const ingest_event *events, size_t count)
{
    (void)userdata;
    for (size_t i = 0; i < count; i++)
        if (events[i].kind == INGEST_EVENT_REQUEST)
            ingest_respond_bytes(server, events[i].token, 200, "text/plain", "ok", 2);
}

static int ask(ingest_server *server, int turns)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char answer[512] = {0};
    size_t length = 0;
    to.sin_port = htons((uint16_t)ingest_server_port(server, 0));
    int client = socket(AF_INET, SOCK_STREAM, 0);
    if (client < 0) /* it was this call that the test has made fail */
        client = socket(AF_INET, SOCK_STREAM, 0);
    struct timeval patience = {.tv_sec = turns ? 0 : 10, .tv_usec = turns ? 1000 : 0};
    setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (connect(client, (struct sockaddr *)&to, sizeof to) != 0 || send(client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27, 0) != 27)
        return -1;
    for (int i = 0; i < 5000 && !strstr(answer, "\r\n\r\nok"); i++) {
        if (turns && ingest_server_turn(server, 1) < 0)
            break;
        ssize_t got = recv(client, answer + length, sizeof answer - 1 - length, 0);
        length += got > 0 ? (size_t)got : 0;
        if (!turns && got <= 0)
            break;
    }
    close(client);
    return strstr(answer, "\r\n\r\nok") ? 0 : -1;
}

static struct rlimit unlimited;

/* A little more than what is mapped now, so that a stack or two can be had and the next cannot. */
static void limit_memory(int on)
{
    struct rlimit limit = unlimited;
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file && fscanf(file, "%ld", &pages) == 1 && on)
        limit.rlim_cur = (rlim_t)pages * 4096 + (6 << 20);
    if (file)
        fclose(file);
    setrlimit(RLIMIT_AS, &limit);
}

static void failed(const char *what, const ingest_error *error, int fds, int tasks)
{
    printf("failed %s %d %d %s\n", what, (int)error->status, (int)error->os_errno, error->text);
    if (descriptors() != fds || threads(tasks) != tasks)
        printf("left %d descriptors, %d threads\n", descriptors() - fds, threads(tasks) - tasks);
}

int main(int count, char **arguments)
{
    const char *mode = count > 1 ? arguments[1] : "threads";
    int turns = strcmp(mode, "turn") == 0, memory = strcmp(mode, "memory") == 0;
    getrlimit(RLIMIT_AS, &unlimited);
    ingest_options *options = ingest_options_new();
    for (int i = 2; i < count; i++) {
        char *value = strchr(arguments[i], '=');
        ingest_error error = {0};
        if (!value)
            return 2;
        *value++ = 0;
        if (ingest_options_set(options, arguments[i], value, &error) != INGEST_OK)
            return printf("option %s\n", error.text), 2;
    }
    int fds = descriptors(), tasks = threads(1);
    for (int try = 0; try < TRIES; try++) {
        ingest_error error = {0};
        ingest_server *server = ingest_server_new(options);
        if (!server) {
            failed("new", &error, fds, tasks);
            continue;
        }
        if (ingest_server_on_events(server, on_events, NULL) != INGEST_OK)
            return 3;
        int made = descriptors();
        if (ingest_server_listen(server, "http://127.0.0.1:0", NULL, &error) < 0) {
            failed("listen", &error, made, tasks);
            if (ingest_server_free(server) != INGEST_OK || descriptors() != fds)
                printf("left descriptors after free\n");
            continue;
        }
        made = descriptors();
        limit_memory(memory);
        int32_t started = turns ? ingest_server_fd(server) : ingest_server_start(server, &error);
        limit_memory(0);
        /* The same server is asked again: what the failed start had must be free. */
        while (started < 0 && try++ < TRIES) {
            error.status = started;
            /* A server that is driven keeps its epoll instance from the first call on; only its end gives it back. */
            failed("start", &error, turns ? descriptors() : made, tasks);
            started = turns ? ingest_server_fd(server) : ingest_server_start(server, &error);
        }
        if (started < 0)
            return printf("never started\n"), 4;
        /* The calls of each thread of the library are counted apart, so the first clients may have met with the failure. */
        int asked = 0;
        while (asked < 4 && ask(server, turns) != 0)
            asked++;
        if (asked == 4)
            return printf("not served\n"), 5;
        if (ingest_server_free(server) != INGEST_OK || descriptors() != fds || threads(tasks) != tasks)
            return printf("left %d descriptors, %d threads after free\n", descriptors() - fds, threads(tasks) - tasks), 6;
        printf("served %d\n", try);
        ingest_options_free(options);
        return 0;
    }
    return 7;
}
