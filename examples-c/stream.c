/* stream: answers that take their time. GET /count?n=1000 writes the numbers from 1 to n as fast as the client reads them, GET /file sends
   a file, GET /events brings a tick every 100 ms (server-sent events), and GET / is a page that shows the ticks. One thread does it all.

   A streamed answer is begun once, written to any number of times and ended once. Two results of a write are no errors but news:
     INGEST_E_BUSY  the client reads more slowly than we write, nothing was taken: let it rest until its event WRITABLE comes
     INGEST_E_GONE  nobody is there any more: give the request back with ingest_abandon */
#define _POSIX_C_SOURCE 200809L
#include "common/program.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 64, TICK_MS = 100, COUNT_TO = 1000, PIECE_BYTES = 1024, PIECES_A_TURN = 64 };

typedef enum kind { COUNT, EVENTS } kind;
typedef struct stream stream;
typedef struct list { stream *first; } list;

/* One streamed answer. It is on exactly one of the host's lists, and its address is the tag of its token. */
struct stream {
    ingest_token token;
    kind kind;
    list *on;
    stream *previous, *next;
    uint64_t number, last;  /* COUNT: the number that comes next, and the last one */
    uint64_t checksum;      /* COUNT: of all that was written, for the trailer (FNV-1a) */
    bool complete;          /* nothing follows the piece */
    size_t length, written; /* the piece that is on its way out: a write may take a part of it */
    char piece[PIECE_BYTES];
};

typedef struct host {
    ingest_server *server;
    const char *file;
    list ready;           /* may be written to now */
    list resting;         /* has nothing to say until the next tick */
    list blocked;         /* the last write was INGEST_E_BUSY: waits for WRITABLE */
    list over;            /* given back, freed after the batch */
    uint64_t ticks, tuned_in;
    int64_t next_tick_ms;
    bool draining;
} host;

static const char page[] =
    "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>stream</title>\n"
    "<h1>libingest streams</h1>\n"
    "<p><a href=\"/count?n=100000\">count to 100000</a> &middot; <a href=\"/file\">a file</a> &middot; <a href=\"/events\">the events, raw</a></p>\n"
    "<p id=\"tick\">waiting for the first tick</p>\n"
    "<script>\n"
    "const tick = document.getElementById('tick');\n"
    "const events = new EventSource('/events');\n"
    "events.onmessage = message => { const news = JSON.parse(message.data); tick.textContent = `tick ${news.tick}, ${news.clients} tuned in`; };\n"
    "events.addEventListener('bye', () => { events.close(); tick.textContent = 'the server has said goodbye'; });\n"
    "</script></html>\n";

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static ingest_slice text(const char *plain)
{
    ingest_slice slice = {(const uint8_t *)plain, strlen(plain)};
    return slice;
}

static bool is(ingest_slice slice, const char *plain)
{
    return slice.len == strlen(plain) && memcmp(slice.ptr, plain, slice.len) == 0;
}

/* Takes a stream off the list that it is on and puts it on another. */
static void move(stream *moved, list *to)
{
    if (moved->previous)
        moved->previous->next = moved->next;
    else if (moved->on)
        moved->on->first = moved->next;
    if (moved->next)
        moved->next->previous = moved->previous;
    moved->on = to;
    moved->previous = NULL;
    moved->next = to->first;
    if (to->first)
        to->first->previous = moved;
    to->first = moved;
}

static void move_all(list *from, list *to)
{
    while (from->first)
        move(from->first, to);
}

/* The request has been given back. The batch at hand may still hold an event with this tag, so the memory stays until after it. */
static void retire(host *host, stream *done)
{
    if (done->kind == EVENTS)
        host->tuned_in--;
    move(done, &host->over);
}

static void free_all(list *from)
{
    for (stream *next; from->first; from->first = next) {
        next = from->first->next;
        free(from->first);
    }
}

/* Ends an answer as it should end. The request is given back, whether the client still was there (INGEST_OK) or not (INGEST_E_GONE). */
static void finish(host *host, stream *done)
{
    char digits[17];
    snprintf(digits, sizeof digits, "%016llx", (unsigned long long)done->checksum);
    ingest_header trailer = {text("Checksum"), text(digits)};
    ingest_respond_end(host->server, done->token, &trailer, done->kind == COUNT ? 1 : 0);
    retire(host, done);
}

/* Ends an answer that nobody reads. The library let go of the connection already; the request is ours until we give it back. */
static void give_up(host *host, stream *lost)
{
    ingest_abandon(host->server, lost->token);
    retire(host, lost);
}

/* Writes what is left of the piece. False if that has to wait, or if there is nobody to write to. */
static bool flush(host *host, stream *to)
{
    while (to->written < to->length) {
        int32_t taken = ingest_respond_write(host->server, to->token, to->piece + to->written, to->length - to->written);
        if (taken == INGEST_E_BUSY) {
            move(to, &host->blocked);
            return false;
        }
        if (taken < 0) {
            give_up(host, to); /* INGEST_E_GONE, or there is no memory for it */
            return false;
        }
        to->written += (size_t)taken;
    }
    return true;
}

static void say(stream *to, int length)
{
    to->length = (size_t)length; /* every piece was printed into a buffer that is large enough */
    to->written = 0;
}

/* The next numbers, a line each, as many as fit. */
static void count_on(stream *to)
{
    size_t length = 0;
    for (; to->number <= to->last && length + 24 <= PIECE_BYTES; to->number++)
        length += (size_t)snprintf(to->piece + length, PIECE_BYTES - length, "%llu\n", (unsigned long long)to->number);
    for (size_t i = 0; i < length; i++)
        to->checksum = (to->checksum ^ (uint8_t)to->piece[i]) * 0x100000001b3;
    to->complete = to->number > to->last;
    say(to, (int)length);
}

static void say_goodbye(stream *to)
{
    say(to, snprintf(to->piece, PIECE_BYTES, "event: bye\ndata: {}\n\n"));
    to->complete = true;
}

/* Writes to one stream until it is busy, rests or is over, but only so much that all others have their turn too. */
static void pump(host *host, stream *to)
{
    for (int pieces = 0; pieces < PIECES_A_TURN && flush(host, to); pieces++) {
        if (to->complete) {
            finish(host, to);
            return;
        }
        if (to->kind == COUNT) {
            count_on(to);
        } else if (host->draining) {
            say_goodbye(to);
        } else {
            move(to, &host->resting);
            return;
        }
    }
}

/* Who is blocked misses the tick: what cannot be written is not piled up. */
static void tick(host *host)
{
    host->ticks++;
    for (stream *to = host->resting.first; to; to = to->next)
        say(to, snprintf(to->piece, PIECE_BYTES, "id: %llu\ndata: {\"tick\":%llu,\"clients\":%llu}\n\n", (unsigned long long)host->ticks,
                         (unsigned long long)host->ticks, (unsigned long long)host->tuned_in));
    move_all(&host->resting, &host->ready);
}

/* Begins a streamed answer. Its length is not known (-1), so HTTP/1.1 gets it in chunks, and HTTP/1.0 until the connection closes. */
static void begin(host *host, const ingest_request *request, kind kind, uint64_t last)
{
    ingest_header counted[] = {{text("Content-Type"), text("text/plain")}, {text("Trailer"), text("Checksum")}};
    ingest_header events[] = {{text("Content-Type"), text("text/event-stream")}, {text("Cache-Control"), text("no-store")}};
    ingest_response response = {
        .size = sizeof response, .status = 200, .headers = kind == COUNT ? counted : events, .header_count = 2, .content_length = -1};
    stream *begun = calloc(1, sizeof *begun);
    if (!begun) {
        ingest_respond_bytes(host->server, request->token, 503, NULL, NULL, 0);
        return;
    }
    *begun = (stream){.token = request->token, .kind = kind, .number = 1, .last = last, .checksum = 0xcbf29ce484222325};
    /* To HEAD there is nothing to write: it is told what GET would be told, and that is all. */
    begun->complete = (request->flags & INGEST_REQUEST_HEAD) != 0;
    if (ingest_respond_begin(host->server, request->token, &response) != INGEST_OK) {
        free(begun); /* the client was faster and has left; an answer that is refused gives the request back */
        return;
    }
    /* From here on every event about this token brings the stream along. */
    ingest_token_tag(host->server, begun->token, (uint64_t)(uintptr_t)begun);
    if (kind == EVENTS) {
        if (host->tuned_in++ == 0)
            host->next_tick_ms = now_ms() + TICK_MS;
        /* A GONE in the same batch was made before there was a tag, so it is asked for once. */
        if (ingest_token_alive(host->server, begun->token) < 2)
            begun->complete = true;
    }
    move(begun, &host->ready);
}

/* A whole answer from a file. The library reads it while the client does, however long that takes; our descriptor may go at once. */
static void send_file(host *host, const ingest_request *request)
{
    ingest_header type = {text("Content-Type"), text("application/octet-stream")};
    ingest_response response = {.size = sizeof response, .status = 200, .headers = &type, .header_count = 1};
    struct stat about;
    int file = open(host->file, O_RDONLY | O_CLOEXEC);
    ingest_status status = INGEST_E_SYSTEM;
    if (file >= 0 && fstat(file, &about) == 0)
        status = ingest_respond_file(host->server, request->token, &response, file, 0, (uint64_t)about.st_size);
    if (file >= 0)
        close(file);
    /* Not a regular file (ARGUMENT), or no descriptor to be had (SYSTEM): nothing happened, so the request is still ours to answer. */
    if (status == INGEST_E_ARGUMENT || status == INGEST_E_SYSTEM)
        ingest_respond_bytes(host->server, request->token, 404, "text/plain", "the file cannot be read\n", 24);
}

static void refuse(host *host, const ingest_request *request, uint16_t status, const char *why)
{
    ingest_header headers[] = {{text("Content-Type"), text("text/plain")}, {text("Allow"), text("GET, HEAD")}};
    ingest_response response = {
        .size = sizeof response, .status = status, .headers = headers, .header_count = status == 405 ? 2 : 1, .body = text(why)};
    ingest_respond(host->server, request->token, &response);
}

/* Counts to the n of the query, or to COUNT_TO. */
static void count(host *host, const ingest_request *request)
{
    ingest_slice digits = ingest_request_query(request, "n", 1);
    uint64_t last = digits.ptr ? 0 : COUNT_TO;
    bool right = !digits.ptr || (digits.len > 0 && digits.len <= 15);
    for (size_t i = 0; i < digits.len && right; i++) {
        right = digits.ptr[i] >= '0' && digits.ptr[i] <= '9';
        last = last * 10 + (uint64_t)(digits.ptr[i] - '0');
    }
    if (right)
        begin(host, request, COUNT, last);
    else
        refuse(host, request, 400, "n is a number of at most 15 digits\n");
}

static void on_request(host *host, const ingest_request *request)
{
    if (request->method_id != INGEST_METHOD_GET && request->method_id != INGEST_METHOD_HEAD)
        refuse(host, request, 405, "only GET and HEAD are understood here\n");
    else if (is(request->path, "/"))
        ingest_respond_bytes(host->server, request->token, 200, "text/html; charset=utf-8", page, sizeof page - 1);
    else if (is(request->path, "/count"))
        count(host, request);
    else if (is(request->path, "/events"))
        begin(host, request, EVENTS, 0);
    else if (is(request->path, "/file"))
        send_file(host, request);
    else
        refuse(host, request, 404, "there are /, /count?n=1000, /file and /events\n");
}

/* RESET is the end. READ_CLOSED only means that the client sends nothing more: who asked for numbers may still be reading them,
   but a stream without an end has no reason to go on. */
static void on_gone(host *host, stream *left, uint32_t reason)
{
    if (reason == INGEST_GONE_RESET) {
        give_up(host, left);
    } else if (left->kind == EVENTS) {
        left->complete = true;
        if (left->on == &host->resting)
            move(left, &host->ready);
    }
}

static void on_event(host *host, const ingest_event *event)
{
    stream *about = (stream *)(uintptr_t)event->tag;
    if (about && about->on == &host->over)
        return; /* an earlier event of this batch has ended it */
    if (event->kind == INGEST_EVENT_REQUEST) {
        on_request(host, event->request);
    } else if (event->kind == INGEST_EVENT_WRITABLE && about) {
        move(about, &host->ready);
    } else if (event->kind == INGEST_EVENT_GONE && about) {
        on_gone(host, about, event->reason);
    } else if (event->kind == INGEST_EVENT_DRAINING) {
        host->draining = true; /* numbers are counted to their end, ticks end with a goodbye */
        move_all(&host->resting, &host->ready);
    }
}

/* One batch of events, the tick if it is due, and a turn for every stream that can be written to. False when the server has stopped. */
static bool turn(host *host)
{
    ingest_event batch[BATCH];
    int64_t pause_ms = -1; /* nobody is tuned in: sleep until something happens */
    if (host->ready.first)
        pause_ms = 0;
    else if (host->tuned_in > 0 && (pause_ms = host->next_tick_ms - now_ms()) < 0)
        pause_ms = 0;
    int32_t count = ingest_queue_wait(ingest_server_queue(host->server, 0), batch, BATCH, (int32_t)pause_ms);
    for (int32_t i = 0; i < count; i++)
        on_event(host, &batch[i]);
    if (host->tuned_in > 0 && now_ms() >= host->next_tick_ms) {
        host->next_tick_ms = now_ms() + TICK_MS;
        tick(host);
    }
    for (stream *to = host->ready.first, *next; to; to = next) {
        next = to->next;
        pump(host, to);
    }
    free_all(&host->over);
    return count >= 0 || count == INGEST_E_INTERRUPTED;
}

int main(int argc, char **argv)
{
    program self = {
        .name = "stream",
        .about = "Streams: GET /count?n=1000 counts, /file sends a file, /events ticks, / shows the ticks in a browser.",
        .delivery = "queue",
        .events = "gone,writable,draining",
        .file = "/proc/self/exe",
    };
    host host = {.server = program_new(&self, argc, argv)};
    host.file = self.file;
    program_start(&self, host.server);
    while (turn(&host)) {
    }
    /* What a drain could not end in time, or a second signal cut off. */
    move_all(&host.blocked, &host.ready);
    move_all(&host.resting, &host.ready);
    while (host.ready.first)
        give_up(&host, host.ready.first);
    free_all(&host.over);
    return program_finish(&self, host.server);
}
