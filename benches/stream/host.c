/* host: what is measured. Answers every request with `bytes` octets: written in pieces of 64 KiB, or from a file.
   Usage: host queue|inline|turn send|chunk|file PATH BYTES */
#define _GNU_SOURCE
#include <fcntl.h>
#include <ingest.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE = 65536 };

static char piece[PIECE];
static long long bytes, left;
static const char *way;
static int file;

/* One client at a time, so that one counter is enough. */
static void go_on(ingest_server *server, ingest_token token)
{
    while (left > 0) {
        int32_t taken = ingest_respond_write(server, token, piece, left < PIECE ? (size_t)left : PIECE);
        if (taken == INGEST_E_BUSY)
            return; /* WRITABLE follows */
        if (taken < 0)
            break;
        left -= taken;
    }
    ingest_respond_end(server, token, NULL, 0);
}

static void take(void *userdata, ingest_server *server, const ingest_event *events, size_t count)
{
    (void)userdata;
    for (size_t i = 0; i < count; i++) {
        ingest_response response = {.size = sizeof response, .status = 200};
        if (events[i].kind == INGEST_EVENT_WRITABLE) {
            go_on(server, events[i].token);
        } else if (*way == 'f') {
            ingest_respond_file(server, events[i].token, &response, file, 0, (uint64_t)bytes);
        } else {
            response.content_length = *way == 'c' ? -1 : bytes;
            left = bytes;
            if (ingest_respond_begin(server, events[i].token, &response) == INGEST_OK)
                go_on(server, events[i].token);
        }
    }
}

int main(int argc, char **argv)
{
    if (argc != 5)
        return fprintf(stderr, "usage: host queue|inline|turn send|chunk|file PATH BYTES\n"), 2;
    way = argv[2];
    file = open(argv[3], O_RDONLY);
    bytes = atoll(argv[4]);
    memset(piece, 'x', sizeof piece);
    ingest_options *options = ingest_options_new();
    ingest_options_set(options, "events", "writable", NULL);
    ingest_options_set(options, "delivery", *argv[1] == 'i' ? "inline" : *argv[1] == 't' ? "auto" : "queue", NULL);
    ingest_server *server = ingest_server_new(options);
    ingest_error error;
    if (*argv[1] != 'q')
        ingest_server_on_events(server, take, NULL);
    if (ingest_server_listen(server, "http://127.0.0.1:0", NULL, &error) < 0)
        return fprintf(stderr, "%s\n", error.text), 1;
    printf("port %d\n", ingest_server_port(server, 0));
    fflush(stdout);
    if (*argv[1] == 't')
        while (ingest_server_turn(server, -1) >= 0)
            ;
    if (ingest_server_start(server, &error) < 0)
        return fprintf(stderr, "%s\n", error.text), 1;
    ingest_queue *queue = ingest_server_queue(server, 0);
    ingest_event batch[64];
    for (int32_t n; *argv[1] == 'q' && (n = ingest_queue_wait(queue, batch, 64, -1)) >= 0;)
        take(NULL, server, batch, (size_t)n);
    ingest_server_join(server, -1);
    return 0;
}
