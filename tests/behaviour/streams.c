/* What the host does for the rows about answers in pieces, interim answers, files and lent bodies. */
#include "host.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static ingest_status begin(trial *it, uint16_t status, int64_t content_length)
{
    ingest_response response = response_of(status);
    response.content_length = content_length;
    return ingest_respond_begin(subject, it->token, &response);
}

static int32_t piece(trial *it, const text *body, size_t from, size_t to)
{
    return ingest_respond_write(subject, it->token, body->octets + from, to - from);
}

/* A count that must be whole is told as OK, so that the table need not know how long the body is. */
static void say_written(trial *it, const char *call, int32_t taken, size_t wanted)
{
    trial_say(it, call, taken == (int32_t)wanted ? INGEST_OK : taken);
}

/* The request is the host's until _end or _abandon returns. */
static void end_and_say(trial *it)
{
    const ingest_request *request = it->request;
    memory_read_again(it);
    it->request = NULL;
    ingest_status status = ingest_respond_end(subject, it->token, NULL, 0);
    if (status == INGEST_E_ARGUMENT || status == INGEST_E_STATE)
        it->request = request;
    trial_say(it, "end", status);
}

static void abandon_and_say(trial *it)
{
    memory_read_again(it);
    it->request = NULL;
    trial_say(it, "abandon", ingest_abandon(subject, it->token));
}

/* stream-late: five pieces with a pause and a look at the memory before each. */
static void play_stream_late(trial *it)
{
    text body = {0};
    answer_body(it, &body);
    trial_say(it, "begin", begin(it, 200, -1));
    int32_t taken = 0;
    for (size_t i = 0; i < 5; i++) {
        usleep(5000);
        memory_read_again(it);
        int32_t got = piece(it, &body, body.length * i / 5, body.length * (i + 1) / 5);
        taken = got < 0 || taken < 0 ? (got < 0 ? got : taken) : taken + got;
    }
    say_written(it, "write", taken, body.length);
    end_and_say(it);
    free(body.octets);
}

/* stream-twice: what else could be said once it is begun, and once it is ended. */
static void play_stream_twice(trial *it)
{
    text body = {0};
    answer_body(it, &body);
    trial_say(it, "write", ingest_respond_write(subject, it->token, "x", 1));
    trial_say(it, "end", ingest_respond_end(subject, it->token, NULL, 0));
    trial_say(it, "begin", begin(it, 200, -1));
    memory_read_again(it);
    trial_say(it, "begin", begin(it, 200, -1));
    trial_say(it, "interim", begin(it, 103, 0));
    trial_say(it, "bytes", ingest_respond_bytes(subject, it->token, 500, NULL, NULL, 0));
    ingest_response response = response_of(500);
    const ingest_response *const responses = &response;
    ingest_status each = 1;
    trial_say(it, "respond", ingest_respond(subject, it->token, &response));
    ingest_respond_many(subject, &it->token, &responses, 1, &each);
    trial_say(it, "many", each);
    ingest_respond_all(subject, &it->token, 1, 500, &each);
    trial_say(it, "all", each);
    say_written(it, "write", piece(it, &body, 0, body.length), body.length);
    end_and_say(it);
    trial_say(it, "write", ingest_respond_write(subject, it->token, "x", 1));
    trial_say(it, "end", ingest_respond_end(subject, it->token, NULL, 0));
    trial_say(it, "begin", begin(it, 200, -1));
    free(body.octets);
}

/* stream-length: more than was announced, and less, is refused; then the rest is written. */
static void play_stream_length(trial *it)
{
    text body = {0};
    answer_body(it, &body);
    trial_say(it, "begin", begin(it, 200, (int64_t)body.length));
    say_written(it, "write", piece(it, &body, 0, body.length - 10), body.length - 10);
    trial_say(it, "write", ingest_respond_write(subject, it->token, "more than is left", 17));
    end_and_say(it);
    say_written(it, "write", piece(it, &body, body.length - 10, body.length), 10);
    end_and_say(it);
    free(body.octets);
}

/* stream-empty: an announced length of zero is an answer without a body. */
static void play_stream_empty(trial *it)
{
    trial_say(it, "begin", begin(it, 200, 0));
    trial_say(it, "write", ingest_respond_write(subject, it->token, "x", 1));
    end_and_say(it);
}

static void play_stream_trailers(trial *it)
{
    text body = {0};
    answer_body(it, &body);
    ingest_header good = {{(const uint8_t *)"X-Trailer", 9}, {(const uint8_t *)"whole", 5}};
    ingest_header split = {{(const uint8_t *)"X-Trailer", 9}, {(const uint8_t *)"a\r\nb: c", 7}};
    trial_say(it, "begin", begin(it, 200, -1));
    say_written(it, "write", piece(it, &body, 0, body.length), body.length);
    trial_say(it, "end", ingest_respond_end(subject, it->token, &split, 1));
    memory_read_again(it);
    it->request = NULL;
    trial_say(it, "end", ingest_respond_end(subject, it->token, &good, 1));
    free(body.octets);
}

typedef struct writer {
    trial *it;
    pthread_barrier_t *start;
    text *body;
    ingest_status begun, ended;
} writer;

static void *write_in_race(void *argument)
{
    writer *self = argument;
    pthread_barrier_wait(self->start);
    self->begun = begin(self->it, 200, -1);
    if (self->begun == INGEST_OK)
        say_written(self->it, "write", piece(self->it, self->body, 0, self->body->length), self->body->length);
    pthread_barrier_wait(self->start);
    self->ended = ingest_respond_end(subject, self->it->token, NULL, 0);
    return NULL;
}

/* stream-race: two threads begin at once, one writes, both end at once. */
static void play_stream_race(trial *it)
{
    text body = {0};
    answer_body(it, &body);
    pthread_barrier_t start;
    pthread_t thread;
    writer self = {it, &start, &body, INGEST_E_PANIC, INGEST_E_PANIC}, other = self;
    memory_read_again(it);
    it->request = NULL;
    pthread_barrier_init(&start, NULL, 2);
    if (pthread_create(&thread, NULL, write_in_race, &other) != 0) {
        trial_fault(it, "no thread is to be had", 0);
        return;
    }
    write_in_race(&self);
    pthread_join(thread, NULL);
    pthread_barrier_destroy(&start);
    bool began = self.begun == INGEST_OK, ended = self.ended == INGEST_OK;
    trial_say(it, "begin", began ? self.begun : other.begun);
    trial_say(it, "begin", began ? other.begun : self.begun);
    trial_say(it, "end", ended ? self.ended : other.ended);
    trial_say(it, "end", ended ? other.ended : self.ended);
    free(body.octets);
}

/* Begins, writes a little, and lets the client or the driver do something. */
static void begin_and_wait(trial *it, bool (*condition)(trial *))
{
    trial_say(it, "begin", begin(it, 200, -1));
    say_written(it, "write", ingest_respond_write(subject, it->token, "half of it\n", 11), 11);
    memory_read_again(it);
    trial_progress(it, READY);
    if (condition)
        wait_for(it, condition);
}

/* stream-reset, stream-stop */
static void cut(trial *it, bool (*condition)(trial *))
{
    begin_and_wait(it, condition);
    trial_say(it, "write", ingest_respond_write(subject, it->token, "the rest\n", 9));
    end_and_say(it);
    trial_say(it, "write", ingest_respond_write(subject, it->token, "more\n", 5));
    trial_say(it, "end", ingest_respond_end(subject, it->token, NULL, 0));
}

static void play_stream_reset(trial *it)
{
    cut(it, is_lost);
}

static void play_stream_stop(trial *it)
{
    cut(it, is_stopped);
}

static void play_stream_never(trial *it)
{
    trial_stays(it);
    begin_and_wait(it, NULL);
}

static void play_stream_abandon(trial *it)
{
    begin_and_wait(it, NULL);
    abandon_and_say(it);
    trial_say(it, "write", ingest_respond_write(subject, it->token, "the rest\n", 9));
    trial_say(it, "end", ingest_respond_end(subject, it->token, NULL, 0));
}

static unsigned writable_now(trial *it)
{
    pthread_mutex_lock(&lock);
    unsigned writable = it->writable;
    pthread_mutex_unlock(&lock);
    return writable;
}

/* stream-full: 8 MiB to a client that reads late. Each BUSY is followed by one WRITABLE; who does not ask for events tries again later. */
static void play_stream_full(trial *it)
{
    text body = {0};
    answer_body(it, &body);
    trial_say(it, "begin", begin(it, 200, -1));
    unsigned busy = 0;
    int32_t taken = 0;
    for (size_t at = 0; at < body.length && taken != INGEST_E_GONE; at += taken > 0 ? (size_t)taken : 0) {
        taken = piece(it, &body, at, body.length - at > 30000 ? at + 30000 : body.length);
        if (taken != INGEST_E_BUSY && taken <= 0) {
            trial_fault(it, "ingest_respond_write returned", taken);
            break;
        }
        if (taken != INGEST_E_BUSY)
            continue;
        busy++;
        if (busy == 1) {
            memory_read_again(it);
            trial_progress(it, READY);
        }
        for (int tries = 0; with_events && writable_now(it) < busy; tries++) {
            usleep(500);
            if (tries == 60000) {
                trial_fault(it, "WRITABLE did not come after so many BUSY", busy);
                break;
            }
        }
        if (!with_events)
            usleep(500);
    }
    end_and_say(it);
    if (with_events && writable_now(it) != busy)
        trial_fault(it, "as many WRITABLE as BUSY were expected", writable_now(it));
    trial_say_word(it, "busy", busy > 0 ? "seen" : "never");
    free(body.octets);
}

/* interim: 103 (RFC 8297) first; 101 cannot be sent. Whatever the interim answers return, the final one is still to be given. */
static void play_interim(trial *it)
{
    ingest_header link = {{(const uint8_t *)"Link", 4}, {(const uint8_t *)"</style.css>; rel=preload", 25}};
    ingest_response early = response_of(103), upgrade = response_of(101);
    early.headers = &link;
    early.header_count = 1;
    trial_say(it, "interim", ingest_respond_begin(subject, it->token, &upgrade));
    trial_say(it, "interim", ingest_respond_begin(subject, it->token, &early));
    memory_read_again(it);
    answer_and_say(it);
}

static void play_interim_lost(trial *it)
{
    trial_progress(it, READY);
    wait_for(it, is_lost);
    trial_say(it, "interim", begin(it, 103, 0));
    memory_read_again(it);
    answer_and_say(it);
}

/* interim-return: whoever was spoken to cannot be given back. */
static void play_interim_return(trial *it)
{
    trial_say(it, "interim", begin(it, 103, 0));
    int32_t returned = ingest_queue_return(subject_queue, &it->token, 1);
    trial_say_word(it, "return", returned == 0 ? "none" : "some");
    answer_and_say(it);
}

static ingest_status file_part(trial *it, int file, uint64_t offset, uint64_t length, int64_t content_length)
{
    ingest_response response = response_of(200);
    response.content_length = content_length;
    return ingest_respond_file(subject, it->token, &response, file, offset, length);
}

/* file-refused: what is no part of a regular file. Nothing happens, and the right answer goes through. */
static void play_file_refused(trial *it)
{
    char path[] = "/tmp/ingest-behaviour-XXXXXX";
    int file = mkstemp(path), folder = open("/tmp", O_RDONLY | O_DIRECTORY), ends[2];
    if (file < 0 || unlink(path) != 0 || folder < 0 || pipe(ends) != 0 || ftruncate(file, 1000) != 0) {
        trial_fault(it, "no file is to be had", file);
        return;
    }
    int32_t results[] = {
        file_part(it, ends[0], 0, 1, 0),          file_part(it, folder, 0, 1, 0),      file_part(it, -1, 0, 1, 0),
        file_part(it, file, 0, 1001, 0),          file_part(it, file, 1001, 0, 0),     file_part(it, file, 500, 501, 0),
        file_part(it, file, UINT64_MAX, 2, 0),    file_part(it, file, 0, 1000, 999),   file_part(it, file, 0, UINT64_MAX, 0),
    };
    ingest_status status = INGEST_E_ARGUMENT;
    for (size_t i = 0; i < sizeof results / sizeof results[0] && status == INGEST_E_ARGUMENT; i++)
        status = results[i];
    trial_say(it, "refused", status);
    close(ends[0]);
    close(ends[1]);
    close(folder);
    close(file);
    trial_say(it, "alive", ingest_token_alive(subject, it->token));
    answer_and_say(it);
}

/* lend-refused: without `released` in the option events a host would never get its body back. */
static void play_lend_refused(trial *it)
{
    ingest_response response = response_of(200);
    response.body = (ingest_slice){(const uint8_t *)"lent", 4};
    response.lend = 1;
    trial_say(it, "lend", ingest_respond(subject, it->token, &response));
    answer_and_say(it);
}

/* big-reset: 8 MiB are lent or sent from a file, and the client leaves in the middle: READY is what it waits for. */
static void play_lend_big(trial *it)
{
    answer_and_say(it);
    trial_progress(it, READY);
}

const row stream_rows[] = {
    {"stream-late", false, play_stream_late},
    {"stream-twice", true, play_stream_twice},
    {"stream-length", true, play_stream_length},
    {"stream-empty", true, play_stream_empty},
    {"stream-trailers", true, play_stream_trailers},
    {"stream-race", false, play_stream_race},
    {"stream-reset", false, play_stream_reset},
    {"stream-stop", false, play_stream_stop},
    {"stream-never", false, play_stream_never},
    {"stream-abandon", false, play_stream_abandon},
    {"stream-full", false, play_stream_full},
    {"interim", true, play_interim},
    {"interim-lost", false, play_interim_lost},
    {"interim-return", true, play_interim_return},
    {"file-refused", true, play_file_refused},
    {"lend-refused", true, play_lend_refused},
    {"lend-late", true, play_lend_big},
    {"lend-reset", true, play_lend_big},
    {NULL, false, NULL},
};
