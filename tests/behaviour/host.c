/* The host of the behaviour table in C. It runs the server under test in the way that its arguments say, plays a row for each request
   for /row/NAME, answers /plain/TEXT with TEXT, and reports on a second server. README.md describes the whole; no row is described here.

   host --delivery inline|queue|threads|turn|turn-queue [--consumers N] [--events] [--set option=value]...
   host --rows    prints the rows that it knows */
#include "host.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 16, CONSUMERS_MAX = 64 };

ingest_server *subject, *control;
ingest_queue *subject_queue;
bool with_events;
atomic_bool subject_stopped;
static bool turns, polls;
static atomic_bool turns_over;

/* Threads that play a row and are not to be joined one by one, and those that are. */
static pthread_mutex_t counting = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t none_left = PTHREAD_COND_INITIALIZER;
static unsigned playing;
static pthread_t consumers[CONSUMERS_MAX], control_thread;
static unsigned consumer_count;

/* Whether a consumer has asked again since it got a batch: its number grows each time. */
static atomic_ulong batches[CONSUMERS_MAX];
static atomic_int consumers_seen;
static _Thread_local int me = -1;
/* This consumer was told that the server has stopped; nothing may follow. */
static _Thread_local bool saw_stopped;

/* Events of the server itself. */
static atomic_uint draining, stopped_events, strays;

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "behaviour host: %s: %s\n", what, why);
    exit(1);
}

static void start_thread(void *(*run)(void *), void *argument)
{
    pthread_t thread;
    pthread_mutex_lock(&counting);
    playing++;
    pthread_mutex_unlock(&counting);
    if (pthread_create(&thread, NULL, run, argument) != 0)
        fail("pthread_create", "no thread is to be had");
    pthread_detach(thread);
}

static void *play(void *argument)
{
    trial *it = argument;
    it->row->play(it);
    trial_played(it);
    pthread_mutex_lock(&counting);
    if (--playing == 0)
        pthread_cond_broadcast(&none_left);
    pthread_mutex_unlock(&counting);
    return NULL;
}

static bool is_there(int consumer, unsigned long batch)
{
    return atomic_load(&batches[consumer]) == batch;
}

static void take_request(const ingest_event *event)
{
    static const char plain[] = "/plain/";
    const ingest_request *request = event->request;
    if (request->path.len >= sizeof plain - 1 && memcmp(request->path.ptr, plain, sizeof plain - 1) == 0) {
        ingest_respond_bytes(subject, event->token, 200, "text/plain", request->path.ptr + sizeof plain - 1, request->path.len - (sizeof plain - 1));
        return;
    }
    trial *it = trial_start(event, me, atomic_load(&batches[me]));
    if (!it) {
        ingest_respond_bytes(subject, event->token, 404, NULL, NULL, 0);
        return;
    }
    ingest_token_tag(subject, event->token, it->id);
    memory_read_first(it);
    if (!it->row->at_once) {
        start_thread(play, it);
        return;
    }
    it->row->play(it);
    trial_played(it);
}

static void take(const ingest_event *events, size_t count)
{
    if (me < 0)
        me = atomic_fetch_add(&consumers_seen, 1);
    if (me >= CONSUMERS_MAX)
        fail("consumers", "there are more than 64");
    for (size_t i = 0; i < count; i++) {
        switch (events[i].kind) {
        case INGEST_EVENT_REQUEST: take_request(&events[i]); break;
        case INGEST_EVENT_DRAINING: atomic_fetch_add(&draining, events[i].token == 0); break;
        case INGEST_EVENT_STOPPED:
            atomic_fetch_add(&stopped_events, events[i].token == 0);
            saw_stopped = true;
            break;
        case INGEST_EVENT_GONE:
        case INGEST_EVENT_WRITABLE:
        case INGEST_EVENT_RELEASED:
        case INGEST_EVENT_SENT: trial_event(&events[i], me, is_there, atomic_load(&batches[me])); break;
        default: atomic_fetch_add(&strays, 1);
        }
        /* Another consumer may still be at work with what it was handed before. */
        if (saw_stopped && events[i].kind != INGEST_EVENT_STOPPED)
            atomic_fetch_add(&strays, 1);
    }
}

static void asks_again(void)
{
    if (me >= 0)
        atomic_fetch_add(&batches[me], 1);
}

static void on_events(void *userdata, ingest_server *server, const ingest_event *events, size_t count)
{
    (void)userdata;
    (void)server;
    take(events, count);
    asks_again();
}

static void *consume(void *argument)
{
    (void)argument;
    ingest_event events[BATCH];
    for (int32_t count; asks_again(), (count = ingest_queue_wait(subject_queue, events, BATCH, -1)) != INGEST_E_STOPPED;) {
        if (count < 0 && count != INGEST_E_INTERRUPTED)
            fail("ingest_queue_wait", ingest_status_name(count));
        if (count > 0)
            take(events, (size_t)count);
    }
    return NULL;
}

/* The host's own loop: it sleeps on the descriptor alone, so that a wake-up that is missing shows as a hang. */
static void *drive(void *argument)
{
    ingest_event events[BATCH];
    struct pollfd ready = {.fd = *(int *)argument, .events = POLLIN};
    for (int32_t turned = 0; turned != INGEST_E_STOPPED;) {
        poll(&ready, 1, -1);
        turned = ingest_server_turn(subject, 0);
        if (turned < 0 && turned != INGEST_E_STOPPED && turned != INGEST_E_INTERRUPTED)
            fail("ingest_server_turn", ingest_status_name(turned));
        for (int32_t count = 1; polls && count > 0;) {
            asks_again();
            count = ingest_queue_poll(subject_queue, events, BATCH);
            if (count > 0)
                take(events, (size_t)count);
        }
    }
    atomic_store(&turns_over, true);
    return NULL;
}

/* Stops the server under test with two calls and waits for its end. */
static ingest_status stop_subject(void)
{
    ingest_status first = ingest_server_stop(subject), second = ingest_server_stop(subject), joined = INGEST_OK;
    if (!turns)
        joined = ingest_server_join(subject, 30000);
    for (int tries = 0; turns && !atomic_load(&turns_over); tries++) {
        poll(NULL, 0, 1);
        if (tries == 30000)
            return INGEST_E_BUSY;
    }
    for (unsigned i = 0; i < consumer_count; i++)
        pthread_join(consumers[i], NULL);
    consumer_count = 0;
    atomic_store(&subject_stopped, true);
    return first != INGEST_OK ? first : second != INGEST_OK ? second : joined;
}

static void wait_for_players(void)
{
    pthread_mutex_lock(&counting);
    while (playing > 0)
        pthread_cond_wait(&none_left, &counting);
    pthread_mutex_unlock(&counting);
}

/* Ends the server under test. Requests that the host still holds are read a last time before it is freed. */
static ingest_status end_subject(unsigned *held)
{
    ingest_status status = atomic_load(&subject_stopped) ? INGEST_OK : stop_subject();
    wait_for_players();
    if (status != INGEST_OK)
        return status;
    *held = trials_read_held();
    status = ingest_server_free(subject);
    subject = NULL;
    trials_free_lent();
    return status;
}

/* Answers /report/ID with 200 and the report, 202 `ready` or `running` before its end, 404 before its request came. */
static void report(ingest_token token, const ingest_slice *path)
{
    trial *it = trial_number((unsigned)strtoul((const char *)path->ptr + 8, NULL, 10));
    text body = {0};
    if (!it) {
        ingest_respond_bytes(control, token, 404, NULL, NULL, 0);
        return;
    }
    progress progress = trial_report(it, &body);
    if (progress == FINISHED)
        ingest_respond_bytes(control, token, 200, "text/plain", body.octets, body.length);
    else
        ingest_respond_bytes(control, token, 202, "text/plain", progress == READY ? "ready" : "running", progress == READY ? 5 : 7);
    free(body.octets);
}

/* The server that reports. Its one consumer does what it is told, one after the other. */
static void *obey(void *argument)
{
    ingest_queue *queue = ingest_server_queue(control, 0);
    ingest_event event;
    char text[128] = "";
    (void)argument;
    for (int32_t count; (count = ingest_queue_wait(queue, &event, 1, -1)) != INGEST_E_STOPPED;) {
        if (count != 1 || event.kind != INGEST_EVENT_REQUEST)
            continue;
        const ingest_slice *path = &event.request->path;
        int length = 0;
        if (path->len > 8 && path->len < 16 && memcmp(path->ptr, "/report/", 8) == 0) {
            report(event.token, path);
            continue;
        } else if (path->len == 5 && memcmp(path->ptr, "/stop", 5) == 0) {
            length = snprintf(text, sizeof text, "stop=%s", ingest_status_name(stop_subject()));
        } else if (path->len == 4 && memcmp(path->ptr, "/end", 4) == 0) {
            unsigned held = 0;
            const char *status = subject ? ingest_status_name(end_subject(&held)) : "INGEST_E_STATE";
            length = snprintf(text, sizeof text, "free=%s held=%u draining=%u stopped=%u strays=%u", status, held, atomic_load(&draining),
                              atomic_load(&stopped_events), atomic_load(&strays));
        }
        ingest_respond_bytes(control, event.token, length > 0 ? 200 : 404, "text/plain", text, (size_t)length);
    }
    return NULL;
}

static void set(ingest_options *options, const char *name, const char *value)
{
    ingest_error error;
    if (ingest_options_set(options, name, value, &error) != INGEST_OK)
        fail(name, error.text);
}

static int32_t listen_on_loopback(ingest_server *server)
{
    ingest_error error;
    int32_t listener = server ? ingest_server_listen(server, "http://127.0.0.1:0", NULL, &error) : INGEST_E_MEMORY;
    if (listener < 0)
        fail("listen", server ? error.text : "no server");
    return ingest_server_port(server, listener);
}

static unsigned read_arguments(int count, char **arguments, ingest_options *options)
{
    unsigned consumers_wanted = 1;
    const char *delivery = "";
    for (int i = 1; i < count; i++) {
        char *value = i + 1 < count ? arguments[i + 1] : "";
        char *equals = strchr(value, '=');
        if (strcmp(arguments[i], "--events") == 0) {
            with_events = true;
            set(options, "events", "all");
            continue;
        } else if (strcmp(arguments[i], "--delivery") == 0) {
            delivery = value;
        } else if (strcmp(arguments[i], "--consumers") == 0) {
            consumers_wanted = (unsigned)strtoul(value, NULL, 10);
        } else if (strcmp(arguments[i], "--set") == 0 && equals) {
            *equals = '\0';
            set(options, value, equals + 1);
        } else {
            fail("unknown argument", arguments[i]);
        }
        i++;
    }
    turns = strncmp(delivery, "turn", 4) == 0;
    polls = strcmp(delivery, "turn-queue") == 0;
    set(options, "delivery", polls ? "queue" : turns ? "inline" : delivery);
    if (consumers_wanted < 1 || consumers_wanted > CONSUMERS_MAX)
        fail("--consumers", "1 to 64");
    return polls || turns || strcmp(delivery, "queue") != 0 ? 0 : consumers_wanted;
}

static void start_subject(unsigned consumers_wanted)
{
    static int descriptor;
    ingest_error error;
    if (consumers_wanted == 0 && !polls)
        ingest_server_on_events(subject, on_events, NULL);
    subject_queue = ingest_server_queue(subject, 0);
    if (turns) {
        descriptor = ingest_server_fd(subject);
        if (descriptor < 0)
            fail("ingest_server_fd", ingest_status_name(descriptor));
    } else if (ingest_server_start(subject, &error) != INGEST_OK) {
        fail("start", error.text);
    }
    for (unsigned i = 0; i < (turns ? 1 : consumers_wanted); i++, consumer_count++)
        if (pthread_create(&consumers[i], NULL, turns ? drive : consume, &descriptor) != 0)
            fail("pthread_create", "no thread is to be had");
}

int main(int count, char **arguments)
{
    if (count == 2 && strcmp(arguments[1], "--rows") == 0) {
        for (const row *each = rows; each->name; each++)
            puts(each->name);
        for (const row *each = stream_rows; each->name; each++)
            puts(each->name);
        return 0;
    }
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    pthread_sigmask(SIG_BLOCK, &ends, NULL);
    ingest_options *options = ingest_options_new();
    unsigned consumers_wanted = read_arguments(count, arguments, options);
    subject = ingest_server_new(options);
    ingest_options_free(options);
    /* It may be given lent bodies with tokens that are not its own, which is to be GONE and not ARGUMENT. */
    options = ingest_options_new();
    if (with_events)
        set(options, "events", "all");
    control = ingest_server_new(options);
    ingest_options_free(options);
    int32_t port = listen_on_loopback(subject), control_port = listen_on_loopback(control);
    ingest_error error;
    if (ingest_server_start(control, &error) != INGEST_OK)
        fail("start", error.text);
    start_subject(consumers_wanted);
    if (pthread_create(&control_thread, NULL, obey, NULL) != 0)
        fail("pthread_create", "no thread is to be had");
    printf("listening on http://127.0.0.1:%d\nlistening on http://127.0.0.1:%d\n", port, control_port);
    fflush(stdout);

    int signal_number;
    sigwait(&ends, &signal_number);
    ingest_server_stop(control);
    ingest_server_stop(control);
    ingest_server_join(control, -1);
    pthread_join(control_thread, NULL);
    ingest_status freed = ingest_server_free(control);
    unsigned held;
    if (subject && freed == INGEST_OK)
        freed = end_subject(&held);
    if (freed != INGEST_OK)
        fail("the end", ingest_status_name(freed));
    trials_free();
    return 0;
}
