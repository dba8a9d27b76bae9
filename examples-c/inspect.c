/* inspect: answers every request with all that libingest knows about it, as JSON. One octet is one latin-1 character; what a client's
   certificate says is always UTF-8 and stands as such. */
#define _POSIX_C_SOURCE 200809L
#include "common/program.h"
#include "common/sha256.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

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

static const char hexadecimal[] = "0123456789abcdef";

/* A JSON string (RFC 8259 section 7). Octets above 0x7F are written as the latin-1 characters that they are, or stay UTF-8. */
static void put_quoted(text *out, ingest_slice value, bool utf8)
{
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
        } else if (octet < 0x20 || octet == 0x7F || (octet > 0x7F && !utf8)) {
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

static void put_string(text *out, ingest_slice value)
{
    put_quoted(out, value, false);
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

/* A number that TLS gives names to, and the usual ones (the registry is IANA's "Transport Layer Security Parameters"). */
typedef struct tls_name {
    uint16_t number;
    const char *name;
} tls_name;

static const tls_name versions[] = {{0x0303, "TLS 1.2"}, {0x0304, "TLS 1.3"}, {0, NULL}};

static const tls_name cipher_suites[] = {
    {0x1301, "TLS_AES_128_GCM_SHA256"},
    {0x1302, "TLS_AES_256_GCM_SHA384"},
    {0x1303, "TLS_CHACHA20_POLY1305_SHA256"},
    {0xC02B, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"},
    {0xC02C, "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"},
    {0xC02F, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"},
    {0xC030, "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"},
    {0xCCA8, "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"},
    {0xCCA9, "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"},
    {0, NULL},
};

static const tls_name groups[] = {
    {0x0017, "secp256r1"}, {0x0018, "secp384r1"},         {0x0019, "secp521r1"},
    {0x001D, "x25519"},    {0x11EB, "SecP256r1MLKEM768"}, {0x11EC, "X25519MLKEM768"}, {0, NULL},
};

/* The name of a number, the number itself if it has none here, null for 0. */
static void put_named(text *out, const char *field, const tls_name *names, uint16_t number)
{
    put_string(out, slice_of(field));
    while (names->name && names->number != number)
        names++;
    char value[80] = ":null,";
    if (names->name)
        snprintf(value, sizeof value, ":\"%s\",", names->name);
    else if (number)
        snprintf(value, sizeof value, ":\"0x%04X\",", (unsigned)number);
    put(out, value);
}

/* A field that may be absent, which is not the same as empty. */
static void put_optional(text *out, const char *name, ingest_slice value, bool utf8)
{
    put_string(out, slice_of(name));
    put(out, ":");
    if (value.ptr)
        put_quoted(out, value, utf8);
    else
        put(out, "null");
    put(out, ",");
}

/* Two digits for each octet. */
static void put_hexadecimal(text *out, const char *name, ingest_slice value)
{
    put_string(out, slice_of(name));
    put(out, ":\"");
    char *to = reserve(out, 2 * value.len);
    for (size_t i = 0; to && i < value.len; i++) {
        *to++ = hexadecimal[value.ptr[i] >> 4];
        *to++ = hexadecimal[value.ptr[i] & 15];
        out->length += 2;
    }
    put(out, "\",");
}

static void put_certificate(text *out, const ingest_tls *tls)
{
    put(out, "\"client_certificate\":");
    if (!tls->client_certificate.ptr) {
        put(out, "null");
        return;
    }
    put(out, "{");
    put_optional(out, "subject", tls->client_subject, true);
    put_optional(out, "issuer", tls->client_issuer, true);
    put_hexadecimal(out, "serial", tls->client_serial);
    put(out, "\"names\":");
    put(out, tls->flags & INGEST_TLS_CLIENT_NAMES_UNREAD ? "null" : "[");
    for (size_t i = 0; i < tls->client_name_count; i++) {
        put(out, i ? ",[" : "[");
        put_string(out, tls->client_names[i].name);
        put(out, ",");
        put_quoted(out, tls->client_names[i].value, true);
        put(out, "]");
    }
    put(out, tls->flags & INGEST_TLS_CLIENT_NAMES_UNREAD ? "," : "],");
    put_hexadecimal(out, "sha256", tls->client_fingerprint);
    char numbers[128];
    if (tls->flags & INGEST_TLS_CLIENT_READ)
        snprintf(numbers, sizeof numbers, "\"not_before\":%lld,\"not_after\":%lld,\"size\":%zu}", (long long)tls->client_not_before,
                 (long long)tls->client_not_after, tls->client_certificate.len);
    else
        snprintf(numbers, sizeof numbers, "\"not_before\":null,\"not_after\":null,\"size\":%zu}", tls->client_certificate.len);
    put(out, numbers);
}

static void put_tls(text *out, const ingest_tls *tls)
{
    put(out, "\"tls\":");
    if (!tls) {
        put(out, "null,");
        return;
    }
    put(out, "{");
    put_named(out, "version", versions, tls->version);
    put_named(out, "cipher_suite", cipher_suites, tls->cipher_suite);
    put_named(out, "group", groups, tls->group);
    put(out, tls->flags & INGEST_TLS_RESUMED ? "\"resumed\":true," : "\"resumed\":false,");
    put_optional(out, "server_name", tls->server_name, false);
    put_optional(out, "alpn", tls->alpn, false);
    put_certificate(out, tls);
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

/* The fields of a form, or null. */
static void put_form(text *out, const ingest_pairs *form)
{
    if (form)
        put_pairs(out, "form", form->items, form->count);
    else
        put(out, "\"form\":null,");
}

/* The hash of a piece of the body, wherever the body is; nothing if it cannot be read. */
static void hash_of(const ingest_request *request, uint64_t offset, uint64_t length, char text[65])
{
    uint8_t piece[65536];
    text[0] = '\0';
    if (request->body_fd < 0) {
        sha256_text(request->body.ptr + offset, (size_t)length, text);
        return;
    }
    sha256 sum;
    sha256_begin(&sum);
    while (length > 0) {
        /* The descriptor is the library's: pread leaves its position alone. */
        ssize_t count = pread(request->body_fd, piece, length < sizeof piece ? (size_t)length : sizeof piece, (off_t)offset);
        if (count <= 0)
            return;
        sha256_add(&sum, piece, (size_t)count);
        offset += (uint64_t)count;
        length -= (uint64_t)count;
    }
    sha256_end(&sum, text);
}

/* Octets of a body in memory; of one in a file, how many they are and their hash. */
static void put_body(text *out, const ingest_request *request)
{
    put(out, "\"body_b64\":\"");
    put_base64(out, request->body);
    put(out, "\",");
    char hash[65], rest[160];
    snprintf(rest, sizeof rest, "\"body_len\":%llu,\"spooled\":", (unsigned long long)request->body_len);
    put(out, rest);
    if (request->body_fd < 0) {
        put(out, "null,");
        return;
    }
    hash_of(request, 0, request->body_len, hash);
    snprintf(rest, sizeof rest, "{\"sha256\":\"%s\"},", hash);
    put(out, rest);
}

/* The parts of a multipart body, or null. */
static void put_parts(text *out, const ingest_request *request)
{
    const ingest_parts *parts = request->parts;
    put(out, "\"parts\":");
    if (!parts) {
        put(out, "null,");
        return;
    }
    put(out, "[");
    for (uint32_t i = 0; i < parts->count; i++) {
        const ingest_part *part = parts->items[i];
        put(out, i ? ",{" : "{");
        put_field(out, "name", part->name);
        put_optional(out, "filename", part->filename, false);
        put_optional(out, "filename_extended", part->filename_extended, false);
        put_optional(out, "content_type", part->content_type, false);
        put_pairs(out, "headers", part->headers, part->header_count);
        char hash[65], rest[128];
        hash_of(request, part->body_offset, part->body_len, hash);
        snprintf(rest, sizeof rest, "\"size\":%llu,\"sha256\":\"%s\"}", (unsigned long long)part->body_len, hash);
        put(out, rest);
    }
    put(out, "],");
}

/* Whether the body is well-formed JSON; null unless its type says that it is JSON, and when it is in a file. */
static void put_json(text *out, const ingest_request *request)
{
    static const char json[] = "application/json";
    ingest_slice type = ingest_request_header(request, "content-type", 12), value;
    bool is_json = type.len >= sizeof json - 1 && strncasecmp((const char *)type.ptr, json, sizeof json - 1) == 0;
    if (!is_json || request->body_fd >= 0)
        put(out, "\"json\":null,");
    else if (ingest_request_json(request, "", 0, &value) == INGEST_OK)
        put(out, "\"json\":\"well-formed\",");
    else
        put(out, "\"json\":\"malformed\",");
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
    put_body(out, request);
    put_field(out, "decoded", request->decoded);
    put_field(out, "charset", request->charset);
    put_form(out, request->form);
    put_parts(out, request);
    put_json(out, request);
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
