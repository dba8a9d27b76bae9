/* A host for the fault tests: `serve ADDRESS[,ADDRESS...] [option=value]...` answers every request with its target, and says on standard
 * output, line by line, what it hears of the library. The targets /hold, /file and /exit do more, see `answer`. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <ingest.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static _Atomic(ingest_server *) running;

static int is(ingest_slice text, const char *wanted)
{
    return text.len == strlen(wanted) && memcmp(text.ptr, wanted, text.len) == 0;
}

static void answer_with_file(ingest_server *server, ingest_token token)
{
    ingest_response response = {.size = sizeof response, .status = 200};
    int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (file < 0 || ingest_respond_file(server, token, &response, file, 0, 4096) != INGEST_OK)
        printf("the file cannot be sent\n");
    if (file >= 0)
        close(file);
}

static void answer(ingest_server *server, const ingest_request *request)
{
    if (is(request->target, "/hold"))
        printf("held\n"); /* until GONE */
    else if (is(request->target, "/file"))
        answer_with_file(server, request->token);
    else if (is(request->target, "/exit"))
        exit(0); /* with every thread running, on one of them */
    else
        ingest_respond_bytes(server, request->token, 200, "text/plain", request->target.ptr, request->target.len);
}

static void on_events(void *userdata, ingest_server *server, const ingest_event *events, size_t count)
{
    (void)userdata;
    for (size_t i = 0; i < count; i++) {
        switch (events[i].kind) {
        case INGEST_EVENT_REQUEST:
            answer(server, events[i].request);
            break;
        case INGEST_EVENT_GONE:
            printf("gone %u\n", (unsigned)events[i].reason);
            ingest_abandon(server, events[i].token);
            break;
        case INGEST_EVENT_FAULT:
            printf("fault\n");
            break;
        }
    }
}

static void on_log(void *userdata, ingest_server *server, const ingest_log_record *record)
{
    (void)userdata, (void)server;
    printf("log %d %.*s\n", (int)record->level, (int)record->text.len, (const char *)record->text.ptr);
}

static void on_signal(int number)
{
    (void)number;
    ingest_server *server = running;
    if (server)
        ingest_server_stop(server);
}

/* The second way to end with threads running: the main thread leaves while they serve. */
static void *leave(void *text)
{
    usleep((useconds_t)atoi(text) * 1000);
    exit(0);
}

static int complain(const char *what, const ingest_error *error)
{
    printf("%s %d %d %s\n", what, (int)error->status, (int)error->os_errno, error->text);
    return 3;
}

int main(int count, char **arguments)
{
    ingest_error error = {0};
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("pid %d\n", (int)getpid());
    ingest_options *options = ingest_options_new();
    for (int i = 2; i < count; i++) {
        char *value = strchr(arguments[i], '=');
        if (!value)
            return 2;
        *value++ = 0;
        pthread_t leaver;
        if (strcmp(arguments[i], "leave") == 0) {
            if (pthread_create(&leaver, NULL, leave, value) != 0)
                return 2;
        } else if (ingest_options_set(options, arguments[i], value, &error) != INGEST_OK) {
            return complain("option", &error);
        }
    }
    ingest_server *server = ingest_server_new(options);
    ingest_options_free(options);
    if (!server || ingest_server_on_events(server, on_events, NULL) != INGEST_OK || ingest_server_on_log(server, on_log, NULL) != INGEST_OK)
        return 4;
    for (char *rest = arguments[1], *address; (address = strtok_r(rest, ",", &rest));) {
        int32_t listener = ingest_server_listen(server, address, NULL, &error);
        if (listener < 0)
            return complain("listen", &error);
        printf("port %d\n", (int)ingest_server_port(server, listener));
    }
    running = server;
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    if (ingest_server_start(server, &error) != INGEST_OK)
        return complain("start", &error);
    printf("started\n");
    while (ingest_server_join(server, 1000) == INGEST_E_BUSY)
        ;
    running = NULL;
    ingest_status freed = ingest_server_free(server);
    printf("freed %d\n", (int)freed);
    return freed == INGEST_OK ? 0 : 5;
}
