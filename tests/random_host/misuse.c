/* Arguments that must be refused without any effect, tokens that nobody holds, and the calls that only look. */
#include "world.h"

#include <string.h>

/* Tokens that have ended, of every world: some are foreign to whoever draws them. */
#define STALE 1024
static atomic_ullong stale[STALE];
static atomic_uint stale_made;

void remember_stale(ingest_token token) { atomic_store(&stale[atomic_fetch_add(&stale_made, 1) % STALE], token); }

static void wants(ingest_status got, ingest_status wanted, const char *what) {
  if (got != wanted) fail("%s returned %s, not %s", what, ingest_status_name(got), ingest_status_name(wanted));
}

static void refused(ingest_status got, const char *what) { wants(got, INGEST_E_ARGUMENT, what); }

static ingest_slice slice_of(const char *text) { return (ingest_slice){(const uint8_t *)text, strlen(text)}; }

static void misuse_response(actor *self, ingest_token token) {
  ingest_server *server = self->world->server;
  ingest_header field = {slice_of("X-A"), slice_of("b")};
  ingest_response response = {.size = sizeof response, .status = 200, .headers = &field, .header_count = 1};
  const char *what = "a malformed answer";
  switch (draw_below(&self->random, 14)) {
    case 0:
      response.status = 199;
      what = "status 199";
      break;
    case 1:
      response.status = 600;
      what = "status 600";
      break;
    case 2:
      response.size = 4;
      what = "a size of 4";
      break;
    case 3:
      response.flags = 0x80;
      what = "an unknown flag";
      break;
    case 4:
      response.reserved = 1;
      what = "a reserved word";
      break;
    case 5:
      response.lend = 2;
      what = "lend=2";
      break;
    case 6:
      response.content_length = 3;
      what = "a content length that is not the body's";
      break;
    case 7:
      response.body.len = 9;
      what = "a body at NULL";
      break;
    case 8:
      response.headers = NULL;
      what = "fields at NULL";
      break;
    case 9:
      field.value = slice_of("a\r\nSet-Cookie: b");
      what = "a value with a line end";
      break;
    case 10:
      field.name = slice_of("X A");
      what = "a name with a space";
      break;
    case 11:
      field.name = slice_of("");
      what = "an empty name";
      break;
    case 12:
      field.value = (ingest_slice){(const uint8_t *)"a\0b", 3};
      what = "a value with NUL";
      break;
    default:
      response.header_count = 1u << 30;
      what = "too many fields";
      break;
  }
  const ingest_response *pointer = &response;
  ingest_status each = 1;
  if (chance(&self->random, 50)) {
    refused(ingest_respond(server, token, &response), what);
    return;
  }
  if (ingest_respond_many(server, &token, &pointer, 1, &each) != 0) fail("%s was taken by respond_many", what);
  refused(each, what);
}

/* True when the entry has ended. */
static bool misuse_pieces(actor *self, entry *each) {
  ingest_token token = each->token;
  ingest_server *server = self->world->server;
  ingest_response response = {.size = sizeof response, .status = 101};
  ingest_status status = ingest_respond_begin(server, token, &response);
  refused(status, "the interim status 101");
  response.status = 99;
  status = ingest_respond_begin(server, token, &response);
  refused(status, "the status 99 for a stream");
  response.status = 200;
  response.content_length = -2;
  status = ingest_respond_begin(server, token, &response);
  refused(status, "a stream of -2 octets");
  response.content_length = -1;
  response.body = slice_of("body");
  status = ingest_respond_begin(server, token, &response);
  refused(status, "a stream that begins with a body");
  /* When the right to answer has ended meanwhile that is what is said, and the end gives the memory back. */
  before_end(each);
  status = ingest_respond_write(server, token, "a", 1);
  if (status != INGEST_E_GONE) wants(status, INGEST_E_STATE, "writing to a stream that was not begun");
  status = ingest_respond_end(server, token, NULL, 0);
  if (status == INGEST_E_GONE) {
    atomic_store(&each->calls, 1);
    note_end(self, each, status, DID_STREAM);
    return true;
  }
  wants(status, INGEST_E_STATE, "ending a stream that was not begun");
  return false;
}

static void misuse_packed(actor *self, ingest_token token) {
  ingest_server *server = self->world->server;
  /* A header and one record, of which something is wrong. */
  uint32_t block[18] = {0, 1, 72, 1, 40, 32};
  memcpy(block, "INPR", 4);
  memcpy(&block[8], &token, sizeof token);
  block[10] = 200;
  switch (draw_below(&self->random, 9)) {
    case 0: block[0] ^= 1; break;
    case 1: block[1] = 2; break;
    case 2: block[2] = 73; break;
    case 3: block[3] = 2; break;
    case 4: block[4] = 39; break;
    case 5: block[5] = 64; break;
    case 6: block[6] = 1; break;
    case 7:
      block[12] = 60;
      block[13] = 13;
      break;
    default: block[10] |= 2u << 16; break;
  }
  refused(ingest_respond_packed(server, block, sizeof block), "a malformed packed block");
}

bool misuse_held(actor *self, entry *each) {
  count(DID_MISUSE, 1);
  ingest_server *server = self->world->server;
  ingest_token token = each->token;
  ingest_status status = 1;
  switch (draw_below(&self->random, 6)) {
    case 0:
    case 1: misuse_response(self, token); break;
    case 2:
      if (misuse_pieces(self, each)) return true;
      break;
    case 3: misuse_packed(self, token); break;
    case 4:
      refused(ingest_respond_bytes(server, token, 0, "a/b", "", 0), "status 0");
      refused(ingest_respond_bytes(server, token, 200, "a/b\r\n", "", 0), "a type with a line end");
      refused(ingest_respond_bytes(server, token, 200, "a/b", NULL, 3), "octets at NULL");
      refused(ingest_respond_all(server, &token, 1, 700, &status), "status 700 for all");
      break;
    default:
      refused(ingest_respond(NULL, token, NULL), "a server at NULL");
      refused(ingest_respond(server, token, NULL), "a response at NULL");
      refused(ingest_respond_all(server, NULL, 1, 200, NULL), "tokens at NULL");
      refused(ingest_respond_many(server, &token, NULL, 1, NULL), "responses at NULL");
      refused(ingest_respond_file(server, token, NULL, 0, 0, 0), "a file's response at NULL");
      refused(ingest_respond_begin(server, token, NULL), "a stream's response at NULL");
      refused((ingest_status)ingest_request_body_read(server, token, 0, NULL, 1), "a buffer at NULL");
      break;
  }
  if (ingest_token_request(server, token) != each->request) fail("a refused call took token %llx away", (unsigned long long)token);
  return false;
}

/* ---- tokens that nobody holds ---- */

static void gone(ingest_status status, ingest_token token, const char *what) {
  if (status != INGEST_E_GONE)
    fail("%s with the stale token %llx returned %s", what, (unsigned long long)token, ingest_status_name(status));
}

static void use_stale(actor *self) {
  ingest_server *server = self->world->server;
  uint64_t token = atomic_load(&stale[draw_below(&self->random, STALE)]);
  if (chance(&self->random, 30)) token = draw(&self->random);
  if (chance(&self->random, 10)) token = draw_below(&self->random, 3);
  ingest_response response = {.size = sizeof response, .status = 200};
  ingest_status each = 1;
  switch (draw_below(&self->random, 11)) {
    case 0: gone(ingest_respond(server, token, &response), token, "respond"); break;
    case 1: gone(ingest_respond_bytes(server, token, 200, "a/b", "no", 2), token, "respond_bytes"); break;
    case 2: gone(ingest_abandon(server, token), token, "abandon"); break;
    case 3:
      if (ingest_respond_all(server, &token, 1, 200, &each) != 0) fail("a stale token was answered");
      gone(each, token, "respond_all");
      break;
    case 4:
      if (ingest_queue_return(self->world->queues[0], &token, 1) != 0) fail("a stale token was returned");
      break;
    case 5:
      if (ingest_token_alive(server, token) != 0) fail("a stale token is alive");
      break;
    case 6: gone(ingest_respond_begin(server, token, &response), token, "begin"); break;
    case 7: gone(ingest_respond_write(server, token, "no", 2), token, "write"); break;
    case 8: gone(ingest_respond_end(server, token, NULL, 0), token, "end"); break;
    case 9: gone(ingest_respond_file(server, token, &response, self->world->file, 0, 10), token, "file"); break;
    default: gone(ingest_token_tag(server, token, 5), token, "tag"); break;
  }
  count(DID_STALE, 1);
}

/* ---- what only looks ---- */

static void look_at_server(actor *self) {
  ingest_server *server = self->world->server;
  ingest_stats stats = {.size = sizeof stats};
  wants(ingest_server_stats(server, &stats), INGEST_OK, "stats");
  if (stats.panics) fail("the library caught %llu faults of its own", (unsigned long long)stats.panics);
  if (stats.in_flight > self->world->plan.in_flight_max)
    fail("%llu requests are in flight, in_flight_max is %u", (unsigned long long)stats.in_flight, self->world->plan.in_flight_max);
  char text[256];
  ingest_log_record record = {.size = sizeof record};
  ingest_status status = ingest_server_log_next(server, &record, text, chance(&self->random, 80) ? sizeof text : 10);
  if (status != INGEST_OK && status != INGEST_E_BUSY) fail("log_next returned %s", ingest_status_name(status));
  if (status == INGEST_OK && record.level == INGEST_LOG_ERROR)
    fail("the log has an error: %.*s", (int)record.text.len, record.text.ptr);
}

static void misuse_calls(actor *self) {
  world *world = self->world;
  ingest_queue *queue = world->queues[0];
  ingest_event event;
  uint32_t header[8];
  ingest_stats stats = {.size = 3};
  refused(ingest_queue_poll(queue, NULL, 4), "events at NULL");
  refused(ingest_queue_poll(queue, &event, 0), "no room for events");
  refused(ingest_queue_wait(queue, &event, 1, -2), "a timeout of -2");
  refused(ingest_queue_poll_packed(queue, header, 31), "a block of 31 octets");
  refused(ingest_queue_return(queue, NULL, 1), "tokens at NULL");
  refused(ingest_queue_depth(NULL), "a queue at NULL");
  refused(ingest_server_drain(world->server, -2), "a grace of -2");
  refused(ingest_server_stats(world->server, &stats), "stats of 3 octets");
  refused(ingest_server_port(world->server, 7), "a listener that is not there");
  if (ingest_server_queue(world->server, world->plan.queues)) fail("there is one queue too many");
  wants(ingest_server_run(world->server, NULL), INGEST_E_STATE, "running what runs");
  refused(ingest_server_listen_fd(world->server, -1, "http", NULL, NULL), "the descriptor -1 to listen on");
  refused(ingest_server_set(world->server, NULL, "1", NULL), "an option at NULL");
  wants(ingest_server_set(world->server, "no_such_option", "1", NULL), INGEST_E_OPTION, "an option that is not there");
  refused(ingest_server_reload_tls(NULL, NULL), "a server at NULL");
  refused(ingest_server_trace_next(world->server, NULL), "a trace at NULL");
  refused(ingest_request_credit(NULL, 1, 1), "credit for a server at NULL");
  if (strcmp(ingest_status_name(INGEST_E_GONE), "INGEST_E_GONE") || !*ingest_status_text(INGEST_E_GONE) || !*ingest_version() ||
      ingest_abi_version() != INGEST_ABI_VERSION || ingest_has("no such feature") != 0)
    fail("the library does not know itself");
  wants(ingest_server_start(world->server, NULL), INGEST_E_STATE, "a second start");
  if (ingest_server_listen(world->server, "http://127.0.0.1:0", NULL, NULL) != INGEST_E_STATE)
    fail("listening after the start was not refused");
}

void misuse_anything(actor *self) {
  world *world = self->world;
  switch (draw_below(&self->random, 8)) {
    case 0: misuse_calls(self); break;
    case 1: look_at_server(self); break;
    case 2: {
      ingest_option_info info = {.size = sizeof info};
      uint32_t index = (uint32_t)draw_below(&self->random, 120);
      ingest_status status = ingest_option_describe(index, &info);
      if (status != INGEST_OK && status != INGEST_E_ARGUMENT)
        fail("describing option %u returned %s", index, ingest_status_name(status));
      break;
    }
    case 3: {
      int32_t depth = ingest_queue_depth(world->queues[draw_below(&self->random, world->plan.queues)]);
      if (depth < 0) fail("a queue's depth is %d", depth);
      break;
    }
    case 4: wants(ingest_queue_wake(world->queues[draw_below(&self->random, world->plan.queues)]), INGEST_OK, "wake"); break;
    default: use_stale(self); break;
  }
}
