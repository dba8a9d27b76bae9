/* host: answers every request out of one packed block a batch (docs/packed.md), for the harness that measures processor time a request.
   Usage: host queue|turn PORT */
#define _GNU_SOURCE
#include <ingest.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct { uint32_t offset, length; } place;
typedef struct { char magic[4]; uint32_t version, capacity, used, count, needed, record_size, records; } requests_header;
typedef struct { char magic[4]; uint32_t version, used, count, record_size, records; uint64_t zero; } answers_header;
typedef struct { uint64_t token; uint16_t status, flags; uint32_t zero; place type, headers, body; } answer_record;

static _Alignas(8) unsigned char requests[256 * 1024];
static _Alignas(8) struct { answers_header header; answer_record records[256]; char text[32]; } answers;

/* The text is the one that hello sends; it stands in the block once, and every record points to it. */
static int32_t answer_all(ingest_server *server, ingest_queue *queue)
{
    int32_t count = ingest_queue_poll_packed(queue, requests, sizeof requests);
    if (count <= 0)
        return count;
    const requests_header *header = (const requests_header *)requests;
    place type = {offsetof(__typeof__(answers), text), 10}, body = {type.offset + 10, 13};
    for (uint32_t i = 0; i < header->count; i++) {
        uint64_t token;
        memcpy(&token, requests + header->records + (size_t)i * header->record_size, sizeof token);
        answers.records[i] = (answer_record){.token = token, .status = 200, .type = type, .body = body};
    }
    answers.header = (answers_header){"INPR", 1, sizeof answers, header->count, sizeof(answer_record), sizeof(answers_header), 0};
    ingest_respond_packed(server, &answers, sizeof answers);
    return count;
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return fprintf(stderr, "usage: host queue|turn PORT\n"), 2;
    char address[64];
    ingest_error error;
    snprintf(address, sizeof address, "http://127.0.0.1:%s", argv[2]);
    memcpy(answers.text, "text/plainHello, world!", 23);
    ingest_server *server = ingest_server_new(NULL);
    if (ingest_server_listen(server, address, NULL, &error) < 0)
        return fprintf(stderr, "%s\n", error.text), 1;
    ingest_queue *queue = ingest_server_queue(server, 0);
    if (*argv[1] == 't') {
        while (ingest_server_turn(server, -1) >= 0)
            while (answer_all(server, queue) > 0)
                ;
        return 0;
    }
    if (ingest_server_start(server, &error) < 0)
        return fprintf(stderr, "%s\n", error.text), 1;
    struct pollfd waiting = {ingest_queue_fd(queue), POLLIN, 0};
    while (answer_all(server, queue) >= 0 || error.status == INGEST_E_STOPPED)
        poll(&waiting, 1, -1);
    return 0;
}
