/* The answers that hello and queue give. */
#ifndef EXAMPLE_ANSWER_H
#define EXAMPLE_ANSWER_H

#include <ingest.h>

/* Answers one request: GET /plaintext with `Hello, World!`, any POST with the length of its body, the rest with a short text. */
void answer(ingest_server *server, const ingest_request *request);

#endif
