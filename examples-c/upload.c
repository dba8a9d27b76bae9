/* upload: bodies as they arrive. GET / is a page with a file field; while a body streams in, the server prints a progress bar to its
   stderr; the answer tells name, size and checksum. However large the file is, only a window of it is in memory (body_window).

   With body=stream a large request is delivered when its head is complete. Its octets come in BODY events, and each is given back with
   ingest_request_credit, or no more would come. BODY_END says that the body is whole; GONE, that it never will be. A small body comes
   with its request, as it would without body=stream. */
#define _POSIX_C_SOURCE 200809L
#include "common/program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 64, BEGINNING_BYTES = 1024, BAR_CELLS = 30, BAR_EVERY_BYTES = 1 << 20 };

/* One body on its way in; its address is the tag of its token. */
typedef struct upload {
    struct upload *next; /* the list of those that are over */
    bool over;
    uint64_t announced, arrived, shown; /* announced is 0 if the length is not known */
    size_t kept;
    char beginning[BEGINNING_BYTES]; /* the boundary, and the head of the first part */
    uint64_t checksum;                  /* FNV-1a of all that arrived */
} upload;

static const char page[] =
    "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>upload</title>\n"
    "<h1>Upload a file</h1>\n"
    "<form method=\"post\" action=\"/upload\" enctype=\"multipart/form-data\">\n"
    "<input type=\"file\" name=\"file\" required> <button>Upload</button></form>\n"
    "<p>The server prints how far it has come.</p></html>\n";

/* A bar where the length is known, else how much there is so far. */
static void show(upload *of, bool always)
{
    if (!always && of->arrived - of->shown < BAR_EVERY_BYTES)
        return;
    of->shown = of->arrived;
    if (of->announced == 0) {
        fprintf(stderr, "\r%12llu bytes", (unsigned long long)of->arrived);
        return;
    }
    uint64_t percent = of->arrived / (of->announced / 100 + 1) > 100 ? 100 : of->arrived * 100 / of->announced;
    char bar[BAR_CELLS + 1];
    for (int cell = 0; cell < BAR_CELLS; cell++)
        bar[cell] = (uint64_t)cell * 100 < percent * BAR_CELLS ? '#' : '.';
    bar[BAR_CELLS] = 0;
    fprintf(stderr, "\r[%s] %3llu%% %12llu bytes", bar, (unsigned long long)percent, (unsigned long long)of->arrived);
}

static void take(upload *of, ingest_slice data)
{
    size_t room = sizeof of->beginning - of->kept;
    size_t kept = data.len < room ? data.len : room;
    if (kept > 0)
        memcpy(of->beginning + of->kept, data.ptr, kept);
    of->kept += kept;
    of->arrived += data.len;
    for (size_t i = 0; i < data.len; i++)
        of->checksum = (of->checksum ^ data.ptr[i]) * 0x100000001b3;
    show(of, false);
}

/* Where a text stands in the beginning, NULL if it does not. */
static const char *find(const upload *in, const char *text)
{
    size_t length = strlen(text);
    for (size_t at = 0; at + length <= in->kept; at++)
        if (memcmp(in->beginning + at, text, length) == 0)
            return in->beginning + at;
    return NULL;
}

/* A form with one file is its boundary and a few fields, the file, and the boundary once more; anything else is taken as it is. */
static uint64_t file_of(const upload *from, char *name, size_t capacity)
{
    const char *line = find(from, "\r\n"), *head = find(from, "\r\n\r\n"), *filename = find(from, "; filename=\"");
    snprintf(name, capacity, "(no name)");
    if (!line || !head || !filename || filename > head || memcmp(from->beginning, "--", 2) != 0)
        return from->arrived;
    filename += strlen("; filename=\"");
    size_t length = 0;
    while (filename + length < head && filename[length] != '"' && length + 1 < capacity)
        length++;
    for (size_t i = 0; i < length; i++)
        name[i] = (unsigned char)filename[i] < ' ' ? '?' : filename[i]; /* it is printed */
    name[length] = 0;
    uint64_t before = (uint64_t)(head + 4 - from->beginning), behind = (uint64_t)(line - from->beginning) + 6;
    return from->arrived >= before + behind ? from->arrived - before - behind : 0;
}

static void finish(ingest_server *server, ingest_token token, upload *done)
{
    char name[256], text[512];
    uint64_t size = file_of(done, name, sizeof name);
    show(done, true);
    fprintf(stderr, "\n%s: %llu bytes\n", name, (unsigned long long)size);
    int length = snprintf(text, sizeof text, "name: %s\nsize: %llu\nchecksum of the whole body: %016llx\n", name,
                          (unsigned long long)size, (unsigned long long)done->checksum);
    ingest_respond_bytes(server, token, 200, "text/plain; charset=utf-8", text, (size_t)length);
}

static void on_request(ingest_server *server, const ingest_request *request)
{
    if (request->method_id == INGEST_METHOD_GET) {
        ingest_respond_bytes(server, request->token, 200, "text/html; charset=utf-8", page, sizeof page - 1);
        return;
    }
    upload *begun = calloc(1, sizeof *begun);
    if (!begun) {
        ingest_respond_bytes(server, request->token, 503, NULL, NULL, 0);
        return;
    }
    begun->checksum = 0xcbf29ce484222325;
    begun->announced = request->body_len;
    if (request->flags & INGEST_REQUEST_STREAMED) {
        ingest_token_tag(server, request->token, (uint64_t)(uintptr_t)begun); /* every later event brings it along */
        return;
    }
    if (request->body.len > 0)
        take(begun, request->body);
    finish(server, request->token, begun);
    free(begun);
}

static void on_event(ingest_server *server, const ingest_event *event, upload **over)
{
    upload *about = (upload *)(uintptr_t)event->tag;
    if (event->kind == INGEST_EVENT_REQUEST)
        on_request(server, event->request);
    if (event->kind == INGEST_EVENT_REQUEST || !about || about->over)
        return;
    if (event->kind == INGEST_EVENT_BODY) {
        take(about, event->data);
        ingest_request_credit(server, event->token, event->data.len);
        return;
    }
    if (event->kind == INGEST_EVENT_BODY_END) {
        finish(server, event->token, about);
    } else if (event->kind == INGEST_EVENT_GONE && event->reason == INGEST_GONE_RESET) {
        fprintf(stderr, "\ncut short after %llu bytes\n", (unsigned long long)about->arrived);
        ingest_abandon(server, event->token);
    } else {
        return;
    }
    about->over = true; /* the batch at hand may hold another event with this tag, so the memory stays until after it */
    about->next = *over;
    *over = about;
}

int main(int argc, char **argv)
{
    program self = {
        .name = "upload",
        .about = "Takes uploads of any size as they arrive: GET / is a page with a file field, the progress is printed here.",
        .delivery = "queue",
        .body = "stream",
        .body_max = "1TiB",
    };
    ingest_server *server = program_new(&self, argc, argv);
    program_start(&self, server);
    ingest_event batch[BATCH];
    for (int32_t count; (count = ingest_queue_wait(ingest_server_queue(server, 0), batch, BATCH, -1)) >= 0 || count == INGEST_E_INTERRUPTED;) {
        upload *over = NULL;
        for (int32_t i = 0; i < count; i++)
            on_event(server, &batch[i], &over);
        for (upload *next; over; over = next) {
            next = over->next;
            free(over);
        }
    }
    return program_finish(&self, server);
}
