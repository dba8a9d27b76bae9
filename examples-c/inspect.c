/* inspect: answers every request with all that libingest knows about it, as JSON. One octet is one latin-1 character. */
#include "common/program.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Text that grows. Once memory ran out it stays `failed` and takes nothing more. */
typedef struct text {
    char *bytes;
    size_t length, capacity;
    bool failed;
} text;

/* Room for `more` octets, or NULL. */
static char *reserve(text *out, size_t more)
{
    if (!out->failed && out->capacity - out->length < more) {
        size_t capacity = out->capacity ? out->capacity : 1024;
        while (capacity - out->length < more)
            capacity *= 2;
        char *bytes = realloc(out->bytes, capacity);
        out->failed = bytes == NULL;
        if (bytes) {
            out->bytes = bytes;
            out->capacity = capacity;
        }
    }
    return out->failed ? NULL : out->bytes + out->length;
}

static void put(text *out, const char *plain)
{
    size_t length = strlen(plain);
    char *to = reserve(out, length);
    if (to) {
        memcpy(to, plain, length);
        out->length += length;
    }
}

/* A JSON string. Octets above 0x7F are written as the latin-1 characters that they are (RFC 8259 section 7). */
static void put_string(text *out, ingest_slice value)
{
    static const char hexadecimal[] = "0123456789abcdef";
    char *to = reserve(out, 6 * value.len + 2); /* an octet takes six characters at most */
    if (!to)
        return;
    char *start = to;
    *to++ = '"';
    for (size_t i = 0; i < value.len; i++) {
        uint8_t octet = value.ptr[i];
        if (octet == '"' || octet == '\\') {
            *to++ = '\\';
            *to++ = (char)octet;
        } else if (octet < 0x20 || octet > 0x7E) {
            memcpy(to, "\\u00", 4);
            to[4] = hexadecimal[octet >> 4];
            to[5] = hexadecimal[octet & 15];
            to += 6;
        } else {
            *to++ = (char)octet;
        }
    }
    *to++ = '"';
    out->length += (size_t)(to - start);
}

static ingest_slice slice_of(const char *plain)
{
    ingest_slice slice = {(const uint8_t *)plain, strlen(plain)};
    return slice;
}

static void put_field(text *out, const char *name, ingest_slice value)
{
    put_string(out, slice_of(name));
    put(out, ":");
    put_string(out, value);
    put(out, ",");
}

/* An array of [name, value]. */
static void put_pairs(text *out, const char *name, const ingest_header *items, size_t count)
{
    put_string(out, slice_of(name));
    put(out, ":[");
    for (size_t i = 0; i < count; i++) {
        put(out, i ? ",[" : "[");
        put_string(out, items[i].name);
        put(out, ",");
        put_string(out, items[i].value);
        put(out, "]");
    }
    put(out, "],");
}

/* Base64 with padding (RFC 4648 section 4). */
static void put_base64(text *out, ingest_slice value)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *to = reserve(out, (value.len + 2) / 3 * 4);
    if (!to)
        return;
    char *start = to;
    for (size_t i = 0; i < value.len; i += 3) {
        size_t left = value.len - i;
        uint32_t group = (uint32_t)value.ptr[i] << 16;
        group |= left > 1 ? (uint32_t)value.ptr[i + 1] << 8 : 0;
        group |= left > 2 ? value.ptr[i + 2] : 0;
        *to++ = alphabet[group >> 18];
        *to++ = alphabet[group >> 12 & 63];
        *to++ = left > 1 ? alphabet[group >> 6 & 63] : '=';
        *to++ = left > 2 ? alphabet[group & 63] : '=';
    }
    out->length += (size_t)(to - start);
}

static void put_tls(text *out, const ingest_tls *tls)
{
    put(out, "\"tls\":");
    if (!tls) {
        put(out, "null,");
        return;
    }
    char numbers[128];
    snprintf(numbers, sizeof numbers, "{\"version\":%u,\"cipher_suite\":%u,\"group\":%u,\"resumed\":%s,", (unsigned)tls->version,
             (unsigned)tls->cipher_suite, (unsigned)tls->group, tls->flags & INGEST_TLS_RESUMED ? "true" : "false");
    put(out, numbers);
    put_field(out, "server_name", tls->server_name);
    put(out, "\"alpn\":");
    put_string(out, tls->alpn);
    put(out, "},");
}

static void put_journey(text *out, const ingest_journey *journey)
{
    put(out, "\"journey\":{");
    if (journey) {
        const struct {
            const char *name;
            uint64_t ns;
        } steps[] = {
            {"accept", journey->accept_ns}, {"handshake", journey->handshake_ns}, {"read", journey->read_ns},
            {"decrypt", journey->decrypt_ns}, {"parse", journey->parse_ns}, {"decode", journey->decode_ns},
            {"body_wait", journey->body_wait_ns}, {"queue", journey->queue_ns},
        };
        for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
            char step[64];
            snprintf(step, sizeof step, "%s\"%s\":%llu", i ? "," : "", steps[i].name, (unsigned long long)steps[i].ns);
            put(out, step);
        }
    }
    put(out, "}");
}

static const char *version_name(uint16_t version)
{
    return version == 10 ? "HTTP/1.0" : version == 11 ? "HTTP/1.1" : version == 20 ? "HTTP/2" : "HTTP/3";
}

static void describe(text *out, const ingest_request *request)
{
    put(out, "{");
    put_field(out, "method", request->method);
    put_field(out, "target", request->target);
    put_field(out, "path", request->path);
    put_field(out, "version", slice_of(version_name(request->http_version)));
    put_field(out, "scheme", request->scheme);
    put_field(out, "authority", request->authority);
    put_pairs(out, "headers", request->headers, request->header_count);
    put_pairs(out, "trailers", request->trailers->items, request->trailers->count);
    put_pairs(out, "query", request->query_pairs->items, request->query_pairs->count);
    put_pairs(out, "cookies", request->cookies->items, request->cookies->count);
    put(out, "\"body_b64\":\"");
    put_base64(out, request->body);
    put(out, "\",");
    put_field(out, "decoded", request->decoded);
    put_field(out, "peer", request->peer->text);
    put_field(out, "listener", slice_of(program_listener_url(request->listener)));
    put_tls(out, request->tls);
    put_journey(out, request->journey);
    put(out, "}\n");
}

static void on_events(void *userdata, ingest_server *server, const ingest_event *events, size_t count)
{
    (void)userdata;
    for (size_t i = 0; i < count; i++) {
        if (events[i].kind != INGEST_EVENT_REQUEST)
            continue;
        text json = {0};
        describe(&json, events[i].request);
        if (json.failed)
            ingest_respond_bytes(server, events[i].token, 500, "text/plain", "out of memory\n", 14);
        else
            ingest_respond_bytes(server, events[i].token, 200, "application/json", json.bytes, json.length);
        free(json.bytes);
    }
}

int main(int argc, char **argv)
{
    program self = {
        .name = "inspect",
        .about = "Answers every request with a JSON description of it.",
        .delivery = "inline",
    };
    ingest_server *server = program_new(&self, argc, argv);
    ingest_server_on_events(server, on_events, NULL);
    program_start(&self, server);
    return program_finish(&self, server);
}
