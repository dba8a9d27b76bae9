/* Every way in which a host can give a whole answer. A row takes the one that its request names with `by`. */
#include "host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SMALL = 0, LARGE = 50000, BIG = 8 * 1024 * 1024 };

ingest_response response_of(uint16_t status)
{
    return (ingest_response){.size = sizeof(ingest_response), .status = status};
}

static ingest_slice slice(const void *octets, size_t length)
{
    return (ingest_slice){octets, length};
}

/* `row 7 by bytes\n`, repeated up to 50,000 octets where the way is made for long bodies, to 8 MiB by `big`; empty by `all`. */
void answer_body(const trial *it, text *body)
{
    char line[64];
    bool is_large = strcmp(it->way, "stream") == 0 || strcmp(it->way, "file") == 0 || strcmp(it->way, "lend") == 0;
    size_t wanted = strcmp(it->way, "big") == 0 ? BIG : is_large ? LARGE : SMALL;
    size_t length = (size_t)snprintf(line, sizeof line, "row %u by %s\n", it->id, it->way);
    if (strcmp(it->way, "all") == 0)
        return;
    do
        text_add(body, line, wanted == SMALL || wanted - body->length > length ? length : wanted - body->length);
    while (body->length < wanted);
}

/* docs/packed.md */
typedef struct place {
    uint32_t offset, length;
} place;

typedef struct answer_block {
    char magic[4];
    uint32_t version, used, count, record_size, records;
    uint64_t zero;
    uint64_t token;
    uint16_t status, flags;
    uint32_t record_zero;
    place type, headers, body;
    uint8_t octets[64];
} answer_block;

static ingest_status by_packed(ingest_server *server, ingest_token token, const text *body)
{
    answer_block block = {
        .magic = {'I', 'N', 'P', 'R'},
        .version = 1,
        .used = (uint32_t)(offsetof(answer_block, octets) + body->length),
        .count = 1,
        .record_size = 40,
        .records = offsetof(answer_block, token),
        .token = token,
        .status = 200,
        .body = {offsetof(answer_block, octets), (uint32_t)body->length},
    };
    memcpy(block.octets, body->octets, body->length);
    int32_t taken = ingest_respond_packed(server, &block, block.used);
    return taken == 1 ? INGEST_OK : taken == 0 ? INGEST_E_GONE : taken;
}

static ingest_status by_many(ingest_server *server, ingest_token token, const text *body)
{
    /* A token that was never given out stands in front, and must not keep the other from being answered. */
    ingest_response response = response_of(200);
    response.body = slice(body->octets, body->length);
    ingest_token tokens[2] = {0, token};
    const ingest_response *const responses[2] = {&response, &response};
    ingest_status each[2] = {1, 1};
    int32_t taken = ingest_respond_many(server, tokens, responses, 2, each);
    return each[0] == INGEST_E_GONE && taken == (each[1] == INGEST_OK) ? each[1] : taken < 0 ? taken : INGEST_E_PANIC;
}

static ingest_status by_all(ingest_server *server, ingest_token token)
{
    ingest_token tokens[2] = {0, token};
    ingest_status each[2] = {1, 1};
    int32_t taken = ingest_respond_all(server, tokens, 2, 200, each);
    return each[0] == INGEST_E_GONE && taken == (each[1] == INGEST_OK) ? each[1] : taken < 0 ? taken : INGEST_E_PANIC;
}

/* The body fits what is buffered for a stream, so that nothing has to be waited for. Once begun, the stream is ended whatever happens. */
static ingest_status by_stream(trial *it, ingest_server *server, ingest_token token, const text *body)
{
    ingest_response response = response_of(200);
    response.content_length = -1;
    ingest_status status = ingest_respond_begin(server, token, &response);
    if (status != INGEST_OK)
        return status;
    for (size_t at = 0, most = 7000; at < body->length; at += most) {
        if (most > body->length - at)
            most = body->length - at;
        int32_t taken = ingest_respond_write(server, token, body->octets + at, most);
        if (taken == INGEST_E_GONE)
            break;
        if (taken != (int32_t)most) {
            trial_fault(it, "ingest_respond_write returned", taken);
            break;
        }
    }
    return ingest_respond_end(server, token, NULL, 0);
}

/* The body stands behind a hundred other octets, and the descriptor is closed at once. */
static ingest_status by_file(ingest_server *server, ingest_token token, const text *body)
{
    uint8_t before[100] = {0};
    char path[] = "/tmp/ingest-behaviour-XXXXXX";
    int file = mkstemp(path);
    ingest_status status = INGEST_E_SYSTEM;
    if (file < 0)
        return status;
    unlink(path);
    if (write(file, before, sizeof before) == (ssize_t)sizeof before && write(file, body->octets, body->length) == (ssize_t)body->length &&
        write(file, before, sizeof before) == (ssize_t)sizeof before) {
        ingest_response response = response_of(200);
        status = ingest_respond_file(server, token, &response, file, sizeof before, body->length);
    }
    close(file);
    return status;
}

/* A lent body is freed when both have happened: the call has returned (here, with the octets) and RELEASED has come. */
void lend_settle(trial *it, uint8_t *octets)
{
    pthread_mutex_lock(&lock);
    if (octets)
        it->lent = octets;
    octets = NULL;
    if (it->released > 0) {
        octets = it->lent;
        it->lent = NULL;
    }
    pthread_mutex_unlock(&lock);
    free(octets);
}

static ingest_status by_lending(trial *it, ingest_server *server, ingest_token token, text *body)
{
    ingest_response response = response_of(200);
    response.body = slice(body->octets, body->length);
    response.lend = 1;
    ingest_status status = ingest_respond(server, token, &response);
    if (status == INGEST_OK) {
        lend_settle(it, body->octets);
        *body = (text){0};
    }
    return status;
}

static ingest_status by_fields(trial *it, ingest_server *server, ingest_token token, const text *body)
{
    char digits[16];
    int length = snprintf(digits, sizeof digits, "%u", it->id);
    ingest_header header = {slice("X-Row", 5), slice(digits, (size_t)length)};
    ingest_response response = response_of(200);
    response.headers = &header;
    response.header_count = 1;
    response.body = slice(body->octets, body->length);
    return ingest_respond(server, token, &response);
}

/* Answers with 200 by the trial's way; the token need not be its own. */
ingest_status answer_raw(trial *it, ingest_server *server, ingest_token token)
{
    text body = {0};
    ingest_status status;
    answer_body(it, &body);
    if (strcmp(it->way, "bytes") == 0)
        status = ingest_respond_bytes(server, token, 200, "text/plain", body.octets, body.length);
    else if (strcmp(it->way, "fields") == 0)
        status = by_fields(it, server, token, &body);
    else if (strcmp(it->way, "many") == 0)
        status = by_many(server, token, &body);
    else if (strcmp(it->way, "all") == 0)
        status = by_all(server, token);
    else if (strcmp(it->way, "packed") == 0)
        status = by_packed(server, token, &body);
    else if (strcmp(it->way, "stream") == 0)
        status = by_stream(it, server, token, &body);
    else if (strcmp(it->way, "file") == 0)
        status = by_file(server, token, &body);
    else
        status = by_lending(it, server, token, &body);
    free(body.octets);
    return status;
}

/* Reads the memory a last time, answers, and notes what that returned. ARGUMENT alone leaves the request the host's. */
void answer_and_say(trial *it)
{
    const ingest_request *request = it->request;
    memory_read_again(it);
    it->request = NULL;
    ingest_status status = answer_raw(it, subject, it->token);
    if (status == INGEST_E_ARGUMENT || status == INGEST_E_UNSUPPORTED || status == INGEST_E_STATE)
        it->request = request;
    trial_say(it, "answer", status);
}
