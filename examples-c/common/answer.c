/* The answers that hello and queue give. No status is looked at: a client that left in the meantime is no error of ours. */
#include "answer.h"

#include <stdio.h>
#include <string.h>

static const char plaintext_path[] = "/plaintext";
static const char plaintext[] = "Hello, World!";
static const char greeting[] = "served by libingest\n";

void answer(ingest_server *server, const ingest_request *request)
{
    if (request->method_id == INGEST_METHOD_POST) {
        char digits[24];
        int length = snprintf(digits, sizeof digits, "%llu", (unsigned long long)request->body_len);
        ingest_respond_bytes(server, request->token, 200, "text/plain", digits, (size_t)length);
    } else if ((request->method_id == INGEST_METHOD_GET || request->method_id == INGEST_METHOD_HEAD) &&
               request->path.len == sizeof plaintext_path - 1 && memcmp(request->path.ptr, plaintext_path, sizeof plaintext_path - 1) == 0) {
        ingest_respond_bytes(server, request->token, 200, "text/plain", plaintext, sizeof plaintext - 1);
    } else {
        ingest_respond_bytes(server, request->token, 200, "text/plain", greeting, sizeof greeting - 1);
    }
}
