/* Serves so many requests with packed calls alone: the reference reader of docs/packed.md in C. */
#include <ingest.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct { uint32_t offset, length; } place;
typedef struct { place name, value; } entry;

typedef struct {
  char magic[4];
  uint32_t version, capacity, used, count, needed, record_size, records;
} requests_header;

typedef struct {
  uint64_t token, tag;
  uint16_t kind, event_flags;
  uint32_t reason, flags;
  uint16_t method_id, http_version, listener, peer_family, peer_port, zero;
  place method, target, path, query, scheme, authority, peer_text, peer_address;
  place headers, query_pairs, cookies, trailers, form, body;
  uint64_t body_len;
  uint32_t journey_flags, journey_zero;
  uint64_t received_at, delivered_at, steps[8], end_zero;
} request_record;

typedef struct {
  char magic[4];
  uint32_t version, used, count, record_size, records;
  uint64_t zero;
} answers_header;

typedef struct {
  uint64_t token;
  uint16_t status, flags;
  uint32_t zero;
  place type, headers, body;
} answer_record;

_Static_assert(sizeof(requests_header) == 32 && sizeof(request_record) == 256, "as documented");
_Static_assert(sizeof(answers_header) == 32 && sizeof(answer_record) == 40, "as documented");

static _Alignas(8) unsigned char requests[256 * 1024], answers[256 * 1024];

static void fail(const char *what, long long number) {
  fprintf(stderr, "%s: %lld\n", what, number);
  exit(1);
}

static place append(uint32_t *used, const void *octets, uint32_t length) {
  place here = {*used, length};
  if (*used + length > sizeof answers)
    fail("the answers do not fit", *used);
  memcpy(answers + *used, octets, length);
  *used += length;
  return here;
}

/* Answers with the target, a semicolon, and the value of the field x-number. */
static void answer_one(const request_record *request, answer_record *answer, uint32_t *used) {
  const entry *headers = (const entry *)(requests + request->headers.offset);
  place number = {0, 0};
  for (uint32_t i = 0; i < request->headers.length; i++)
    if (headers[i].name.length == 8 && memcmp(requests + headers[i].name.offset, "x-number", 8) == 0)
      number = headers[i].value;
  *answer = (answer_record){.token = request->token, .status = 200};
  answer->type = append(used, "text/plain", 10);
  answer->body = append(used, requests + request->target.offset, request->target.length);
  append(used, ";", 1);
  append(used, requests + number.offset, number.length);
  answer->body.length += 1 + number.length;
}

static int serve(ingest_server *server, ingest_queue *queue) {
  int32_t found = ingest_queue_poll_packed(queue, requests, sizeof requests);
  if (found <= 0)
    return found;
  const requests_header *header = (const requests_header *)requests;
  if (memcmp(header->magic, "INPQ", 4) != 0 || header->version != 1 || header->count != (uint32_t)found)
    fail("not a block of requests", found);
  answers_header *out = (answers_header *)answers;
  *out = (answers_header){.magic = {'I', 'N', 'P', 'R'}, .version = 1, .record_size = sizeof(answer_record), .records = sizeof *out};
  answer_record *records = (answer_record *)(answers + sizeof *out);
  uint32_t used = (uint32_t)(sizeof *out + (size_t)found * sizeof(answer_record));
  for (int32_t i = 0; i < found; i++) {
    const void *at = requests + header->records + (size_t)i * header->record_size;
    answer_one(at, &records[i], &used);
  }
  out->used = used;
  out->count = (uint32_t)found;
  int32_t taken = ingest_respond_packed(server, answers, used);
  if (taken != found)
    fail("not every answer was taken", taken);
  return found;
}

int main(int count, char **arguments) {
  if (count != 2)
    fail("usage: reader REQUESTS", count);
  int wanted = atoi(arguments[1]);
  ingest_error error = {0};
  ingest_options *options = ingest_options_new();
  ingest_options_set(options, "delivery", "queue", NULL);
  ingest_server *server = ingest_server_new(options);
  ingest_options_free(options);
  int32_t listener = ingest_server_listen(server, "http://127.0.0.1:0", NULL, &error);
  if (listener < 0 || ingest_server_start(server, &error) < 0)
    fail(error.text, error.status);
  printf("%d\n", ingest_server_port(server, listener));
  fflush(stdout);
  ingest_queue *queue = ingest_server_queue(server, 0);
  struct pollfd wait = {.fd = ingest_queue_fd(queue), .events = POLLIN};
  for (int served = 0; served < wanted;) {
    int32_t found = serve(server, queue);
    if (found < 0)
      fail("poll", found);
    if (found == 0 && poll(&wait, 1, 10000) <= 0)
      fail("nothing came for ten seconds after", served);
    served += found;
  }
  /* The clients say when they have read all: a drain would cut pipelined answers short. */
  while (getchar() != EOF) {
  }
  ingest_server_drain(server, -1);
  ingest_server_join(server, 10000);
  if (ingest_server_free(server) != INGEST_OK)
    fail("free", 0);
  puts("served");
  return 0;
}
