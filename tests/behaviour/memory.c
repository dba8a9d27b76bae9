/* Reads every octet that a request shows, when it comes and again each time before it is given back, and compares. */
#include "host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void put(text *to, const char *label, ingest_slice slice)
{
    text_add(to, label, strlen(label));
    if (slice.ptr) {
        text_add(to, " ", 1);
        text_add(to, slice.ptr, slice.len);
        text_add(to, "\n", 1);
    } else {
        text_add(to, " absent\n", 8);
    }
}

static void put_number(text *to, const char *label, unsigned long long number)
{
    char line[64];
    int length = snprintf(line, sizeof line, "%s %llu\n", label, number);
    text_add(to, line, (size_t)length);
}

static void put_headers(text *to, const char *label, const ingest_header *items, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        text_add(to, label, strlen(label));
        text_add(to, " ", 1);
        text_add(to, items[i].name.ptr, items[i].name.len);
        text_add(to, "=", 1);
        text_add(to, items[i].value.ptr, items[i].value.len);
        text_add(to, "\n", 1);
    }
}

static void put_pairs(trial *it, text *to, const char *label, const ingest_pairs *pairs)
{
    if (pairs->size != sizeof *pairs)
        trial_fault(it, "size of pairs", pairs->size);
    put_headers(to, label, pairs->items, pairs->count);
}

/* The lines that a client can work out from what it sent. The order is README.md's. */
static void put_told(trial *it, const ingest_request *request, text *to)
{
    put(to, "method", request->method);
    put_number(to, "method_id", request->method_id);
    put_number(to, "version", request->http_version);
    put_number(to, "flags", request->flags);
    put_number(to, "listener", request->listener);
    put(to, "target", request->target);
    put(to, "path", request->path);
    put(to, "query", request->query);
    put(to, "scheme", request->scheme);
    put(to, "authority", request->authority);
    put_headers(to, "header", request->headers, request->header_count);
    put_pairs(it, to, "pair", request->query_pairs);
    put_pairs(it, to, "cookie", request->cookies);
    put_pairs(it, to, "trailer", request->trailers);
    put_number(to, "family", request->peer->family);
    put_number(to, "port", request->peer->port);
    put(to, "address", request->peer->address);
    put(to, "peer", request->peer->text);
    put_number(to, "length", request->body_len);
    put(to, "body", request->body);
}

static void put_journey(text *to, const ingest_journey *journey)
{
    put_number(to, "journey", journey->flags);
    put_number(to, "received_at", journey->received_at_ns);
    put_number(to, "delivered_at", journey->delivered_at_ns);
    put_number(to, "accept", journey->accept_ns);
    put_number(to, "handshake", journey->handshake_ns);
    put_number(to, "read", journey->read_ns);
    put_number(to, "decrypt", journey->decrypt_ns);
    put_number(to, "parse", journey->parse_ns);
    put_number(to, "decode", journey->decode_ns);
    put_number(to, "body_wait", journey->body_wait_ns);
    put_number(to, "queue", journey->queue_ns);
}

static text read_all(trial *it, size_t *told)
{
    const ingest_request *request = it->request;
    text seen = {0};
    put_told(it, request, &seen);
    *told = seen.length;
    if (request->journey)
        put_journey(&seen, request->journey);
    return seen;
}

/* What must hold for every request, whatever was sent. */
static void check_structs(trial *it)
{
    const ingest_request *request = it->request;
    if (request->size != sizeof *request)
        trial_fault(it, "size of the request", request->size);
    if (request->token != it->token)
        trial_fault(it, "the request has another token than its event", (long long)request->token);
    if (request->peer->size != sizeof *request->peer)
        trial_fault(it, "size of the peer", request->peer->size);
    if (request->tls || request->form || request->body_fd != -1 || request->reserved)
        trial_fault(it, "tls, form, body_fd or reserved is set", request->body_fd);
    const ingest_journey *journey = request->journey;
    if (!journey || journey->size != sizeof *journey || journey->received_at_ns == 0 || journey->delivered_at_ns < journey->received_at_ns)
        trial_fault(it, "the journey is not right", journey ? journey->size : 0);
}

void memory_read_first(trial *it)
{
    size_t told;
    check_structs(it);
    text seen = read_all(it, &told);
    /* The report may be asked for at any time. */
    pthread_mutex_lock(&lock);
    free(it->seen.octets);
    it->seen = seen;
    it->told = told;
    pthread_mutex_unlock(&lock);
}

/* The same again, through the token too: while the host holds a request its token leads to it, also when nobody waits for the answer any more. */
void memory_read_again(trial *it)
{
    const ingest_request *request = it->request;
    if (!request)
        return;
    check_structs(it);
    size_t told;
    text seen = read_all(it, &told);
    if (seen.length != it->seen.length || told != it->told || memcmp(seen.octets, it->seen.octets, seen.length) != 0)
        trial_fault(it, "the memory has changed, reading", it->readings);
    free(seen.octets);
    if (ingest_token_request(subject, it->token) != request)
        trial_fault(it, "the token does not lead to the request, reading", it->readings);
    uint8_t *body = malloc(request->body_len + 1);
    int64_t length = body ? ingest_request_body_read(subject, it->token, 0, body, request->body_len + 1) : -1;
    if (length != (int64_t)request->body_len || (length > 0 && memcmp(body, request->body.ptr, (size_t)length) != 0))
        trial_fault(it, "ingest_request_body_read returned", length);
    free(body);
    it->readings++;
}
