/* Forks while a server runs and calls every function in the child: `forked` prints `NAME STATUS` for each (NULL and absent are `null`), then
 * goes on in the parent. With `forked hold` the child only stays for a while, with everything that it inherited. */
#define _GNU_SOURCE
#include <ingest.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define CALL(name, call) printf("called %s %lld\n", name, (long long)(call))
#define POINTER(name, call) printf("called %s %s\n", name, (call) ? "pointer" : "null")
#define SLICE(name, call) printf("called %s %s\n", name, (call).ptr ? "pointer" : "null")

static void on_events(void *userdata, ingest_server *server, const ingest_event *events, size_t count)
{
    (void)userdata, (void)server, (void)events, (void)count;
}

static void on_log(void *userdata, ingest_server *server, const ingest_log_record *record)
{
    (void)userdata, (void)server, (void)record;
}

static void on_thread(void *userdata, ingest_server *server, const char *name, int32_t started)
{
    (void)userdata, (void)server, (void)name, (void)started;
}

static void in_the_child_servers(ingest_server *server, ingest_options *options)
{
    ingest_error error = {0};
    ingest_stats stats = {.size = sizeof stats};
    char text[64];
    ingest_log_record record = {.size = sizeof record};
    ingest_trace trace = {.size = sizeof trace};
    ingest_option_info info = {.size = sizeof info};
    POINTER("ingest_options_new", ingest_options_new());
    CALL("ingest_options_set", ingest_options_set(options, "io_threads", "2", &error));
    CALL("ingest_option_describe", ingest_option_describe(0, &info));
    POINTER("ingest_server_new", ingest_server_new(options));
    CALL("ingest_server_on_events", ingest_server_on_events(server, on_events, NULL));
    CALL("ingest_server_on_log", ingest_server_on_log(server, on_log, NULL));
    CALL("ingest_server_on_thread", ingest_server_on_thread(server, on_thread, NULL));
    CALL("ingest_server_listen", ingest_server_listen(server, "http://127.0.0.1:0", NULL, &error));
    CALL("ingest_server_listen_fd", ingest_server_listen_fd(server, 0, "http", NULL, &error));
    CALL("ingest_server_port", ingest_server_port(server, 0));
    CALL("ingest_server_start", ingest_server_start(server, &error));
    CALL("ingest_server_run", ingest_server_run(server, &error));
    CALL("ingest_server_fd", ingest_server_fd(server));
    CALL("ingest_server_turn", ingest_server_turn(server, -1));
    CALL("ingest_server_set", ingest_server_set(server, "io_threads", "2", &error));
    CALL("ingest_server_reload_tls", ingest_server_reload_tls(server, &error));
    CALL("ingest_server_drain", ingest_server_drain(server, 0));
    CALL("ingest_server_stop", ingest_server_stop(server));
    CALL("ingest_server_join", ingest_server_join(server, -1));
    CALL("ingest_server_stats", ingest_server_stats(server, &stats));
    CALL("ingest_server_log_next", ingest_server_log_next(server, &record, text, sizeof text));
    CALL("ingest_server_trace_next", ingest_server_trace_next(server, &trace));
    POINTER("ingest_server_queue", ingest_server_queue(server, 0));
}

static void in_the_child_requests(ingest_server *server, ingest_queue *queue, const ingest_event *held)
{
    ingest_event event;
    char block[4096] = {0};
    ingest_token token = held->token;
    ingest_response response = {.size = sizeof response, .status = 200};
    const ingest_response *responses[] = {&response};
    CALL("ingest_queue_poll", ingest_queue_poll(queue, &event, 1));
    CALL("ingest_queue_wait", ingest_queue_wait(queue, &event, 1, -1));
    CALL("ingest_queue_fd", ingest_queue_fd(queue));
    CALL("ingest_queue_wake", ingest_queue_wake(queue));
    CALL("ingest_queue_depth", ingest_queue_depth(queue));
    CALL("ingest_queue_return", ingest_queue_return(queue, &token, 1));
    CALL("ingest_queue_poll_packed", ingest_queue_poll_packed(queue, block, sizeof block));
    SLICE("ingest_request_header", ingest_request_header(held->request, "host", 4));
    SLICE("ingest_request_query", ingest_request_query(held->request, "a", 1));
    SLICE("ingest_request_cookie", ingest_request_cookie(held->request, "c", 1));
    SLICE("ingest_request_form", ingest_request_form(held->request, "a", 1));
    SLICE("ingest_request_part", ingest_request_part(held->request, "a", 1));
    ingest_slice value;
    CALL("ingest_request_json", ingest_request_json(held->request, "/a", 2, &value));
    CALL("ingest_request_credit", ingest_request_credit(server, token, 1));
    CALL("ingest_request_body_read", ingest_request_body_read(server, token, 0, block, sizeof block));
    POINTER("ingest_token_request", ingest_token_request(server, token));
    CALL("ingest_token_tag", ingest_token_tag(server, token, 1));
    CALL("ingest_token_alive", ingest_token_alive(server, token));
    CALL("ingest_respond", ingest_respond(server, token, &response));
    CALL("ingest_respond_bytes", ingest_respond_bytes(server, token, 200, "text/plain", "child", 5));
    CALL("ingest_respond_many", ingest_respond_many(server, &token, responses, 1, NULL));
    CALL("ingest_respond_all", ingest_respond_all(server, &token, 1, 200, NULL));
    CALL("ingest_respond_packed", ingest_respond_packed(server, block, sizeof block));
    CALL("ingest_respond_begin", ingest_respond_begin(server, token, &response));
    CALL("ingest_respond_write", ingest_respond_write(server, token, "child", 5));
    CALL("ingest_respond_end", ingest_respond_end(server, token, NULL, 0));
    CALL("ingest_respond_file", ingest_respond_file(server, token, &response, 0, 0, 0));
    CALL("ingest_abandon", ingest_abandon(server, token));
}

static ingest_event next(ingest_queue *queue)
{
    ingest_event event = {0};
    while (ingest_queue_wait(queue, &event, 1, -1) != 1)
        ;
    return event;
}

/* The child has every descriptor that the parent has when /fork is asked for, and stays until standard input ends. */
static int hold(ingest_server *server)
{
    char octet;
    pid_t child = 0;
    ingest_queue *queue = ingest_server_queue(server, 0);
    for (;;) {
        ingest_event event;
        int32_t got = ingest_queue_wait(queue, &event, 1, -1);
        if (got == INGEST_E_STOPPED)
            break;
        if (got != 1)
            continue;
        if (event.request->target.len == 5 && memcmp(event.request->target.ptr, "/fork", 5) == 0) {
            child = fork();
            if (child == 0 && prctl(PR_SET_PDEATHSIG, SIGKILL) == 0)
                _exit(read(0, &octet, 1) > 0);
        }
        int stops = event.request->target.len == 5 && memcmp(event.request->target.ptr, "/stop", 5) == 0;
        ingest_respond_bytes(server, event.token, 200, "text/plain", "ok", 2);
        if (stops)
            ingest_server_drain(server, -1);
    }
    ingest_server_join(server, -1);
    printf("freed %d\n", (int)ingest_server_free(server));
    int status = 0;
    waitpid(child, &status, 0);
    return status;
}

int main(int count, char **arguments)
{
    ingest_error error = {0};
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("pid %d\n", (int)getpid());
    ingest_options *options = ingest_options_new();
    ingest_options_set(options, "delivery", "queue", NULL);
    for (int i = 2; i + 1 < count; i += 2)
        if (ingest_options_set(options, arguments[i], arguments[i + 1], &error) != INGEST_OK)
            return printf("option %s\n", error.text), 2;
    ingest_server *server = ingest_server_new(options);
    if (!server || ingest_server_listen(server, "http://127.0.0.1:0", NULL, &error) < 0 || ingest_server_start(server, &error) != INGEST_OK)
        return printf("start %s\n", error.text), 3;
    printf("port %d\nstarted\n", (int)ingest_server_port(server, 0));
    if (count > 1 && strcmp(arguments[1], "hold") == 0)
        return hold(server);
    ingest_queue *queue = ingest_server_queue(server, 0);
    ingest_event held = next(queue);
    pid_t child = fork();
    if (child == 0 && prctl(PR_SET_PDEATHSIG, SIGKILL) == 0) { /* a call that does not return must not outlive the test */
        in_the_child_servers(server, options);
        in_the_child_requests(server, queue, &held);
        CALL("ingest_server_free", ingest_server_free(server));
        ingest_options_free(options);
        exit(0); /* with atexit handlers and destructors, as careless hosts do */
    }
    int status = 0;
    waitpid(child, &status, 0);
    printf("child ended %d\n", status);
    ingest_respond_bytes(server, held.token, 200, "text/plain", "parent", 6);
    held = next(queue);
    ingest_respond_bytes(server, held.token, 200, "text/plain", "after", 5);
    ingest_server_stop(server);
    ingest_server_join(server, -1);
    printf("freed %d\n", (int)ingest_server_free(server));
    ingest_options_free(options);
    return 0;
}
