/* Loads the library, starts a server, unloads the library while it serves, and asks it something: `unload PATH-OF-LIBRARY`. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <ingest.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void *library;

static void *find(const char *name)
{
    void *found = dlsym(library, name);
    if (!found)
        printf("no %s\n", name);
    return found;
}

static int (*respond)(ingest_server *, ingest_token, uint16_t, const char *, const void *, size_t);

static void on_events(void *userdata, ingest_server *server, const ingest_event *events, size_t count)
{
    (void)userdata;
    for (size_t i = 0; i < count; i++)
        respond(server, events[i].token, 200, "text/plain", "ok", 2);
}

static int serve(void)
{
    ingest_server *(*create)(const ingest_options *);
    ingest_status (*set)(ingest_server *, ingest_on_events, void *);
    int32_t (*listen_on)(ingest_server *, const char *, const ingest_options *, ingest_error *);
    int32_t (*port)(const ingest_server *, int32_t);
    ingest_status (*start)(ingest_server *, ingest_error *);
    ingest_status (*destroy)(ingest_server *);
    *(void **)&create = find("ingest_server_new");
    *(void **)&set = find("ingest_server_on_events");
    *(void **)&listen_on = find("ingest_server_listen");
    *(void **)&port = find("ingest_server_port");
    *(void **)&start = find("ingest_server_start");
    *(void **)&destroy = find("ingest_server_free");
    *(void **)&respond = find("ingest_respond_bytes");
    ingest_server *server = create(NULL);
    if (set(server, on_events, NULL) || listen_on(server, "http://127.0.0.1:0", NULL, NULL) < 0 || start(server, NULL))
        return printf("not started\n"), 3;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)port(server, 0))};
    printf("unloaded %d\n", dlclose(library));
    fflush(stdout);
    int client = socket(AF_INET, SOCK_STREAM, 0);
    char answer[512] = {0};
    size_t length = 0;
    if (connect(client, (struct sockaddr *)&to, sizeof to) != 0 || send(client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27, 0) != 27)
        return 4;
    while (!strstr(answer, "\r\n\r\nok")) {
        ssize_t got = recv(client, answer + length, sizeof answer - 1 - length, 0);
        if (got <= 0)
            return 5;
        length += (size_t)got;
    }
    printf("served\n");
    close(client);
    return destroy(server) == INGEST_OK ? 0 : 6;
}

static void *host(void *result)
{
    *(int *)result = serve();
    return NULL;
}

int main(int count, char **arguments)
{
    int result = 9;
    pthread_t thread;
    library = count == 2 ? dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL) : NULL;
    if (!library)
        return printf("cannot load: %s\n", dlerror()), 2;
    if (pthread_create(&thread, NULL, host, &result) != 0 || pthread_join(thread, NULL) != 0 || result != 0)
        return result;
    /* Threads hold a library by their thread-local data as long as they run. All that used it have ended, the host's too, so from here
     * on only its own mark keeps it, for a handler or a hook that may still point into it. */
    void *again = dlopen(arguments[1], RTLD_NOW | RTLD_NOLOAD);
    if (again)
        dlclose(again);
    return dlopen(arguments[1], RTLD_NOW | RTLD_NOLOAD) ? 0 : 7;
}
