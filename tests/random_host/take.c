/* How the random host takes events: callback, poll, wait and packed poll; each request is read to its last octet and compared. */
#include "secured.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- reading everything ---- */

static uint64_t mix(uint64_t digest, const void *octets, size_t length) {
  const uint8_t *at = octets;
  for (size_t i = 0; i < length; i++) digest = (digest ^ at[i]) * 0x100000001b3ull;
  return digest ^ length;
}

static uint64_t mix_slice(uint64_t digest, ingest_slice slice) {
  if (!slice.ptr && slice.len) fail("an absent slice has a length");
  return mix(digest + (slice.ptr != NULL), slice.ptr, slice.len);
}

static uint64_t mix_fields(uint64_t digest, const ingest_header *fields, size_t many) {
  for (size_t i = 0; i < many; i++) digest = mix_slice(mix_slice(digest, fields[i].name), fields[i].value);
  return digest;
}

static uint64_t mix_pairs(uint64_t digest, const ingest_pairs *pairs) {
  if (!pairs) return digest + 1;
  return mix_fields(digest, pairs->items, pairs->count);
}

static uint64_t mix_tls(uint64_t digest, const ingest_tls *tls) {
  const ingest_slice slices[] = {tls->server_name,    tls->alpn,          tls->client_certificate, tls->client_subject,
                                 tls->client_issuer,  tls->client_serial, tls->client_fingerprint};
  digest = mix(digest, tls, sizeof *tls);
  for (size_t i = 0; i < sizeof slices / sizeof *slices; i++) digest = mix_slice(digest, slices[i]);
  return mix_fields(digest, tls->client_names, tls->client_name_count);
}

uint64_t digest_of(const ingest_request *request) {
  uint64_t digest = mix(0xcbf29ce484222325ull, request, sizeof *request);
  const ingest_slice slices[] = {request->method, request->target,    request->path, request->query,
                                 request->scheme, request->authority, request->body};
  for (size_t i = 0; i < sizeof slices / sizeof *slices; i++) digest = mix_slice(digest, slices[i]);
  digest = mix_fields(digest, request->headers, request->header_count);
  digest = mix_slice(mix_slice(digest, request->peer->address), request->peer->text);
  digest = mix_pairs(mix_pairs(digest, request->query_pairs), request->cookies);
  digest = mix_pairs(mix_pairs(digest, request->form), request->trailers);
  if (request->journey) digest = mix(digest, request->journey, sizeof *request->journey);
  if (request->tls) digest = mix_tls(digest, request->tls);
  return digest;
}

/* ---- comparing with what the client sent ---- */

static uint64_t number(ingest_slice slice, int base, const char *what) {
  char text[32] = {0};
  char *end;
  if (!slice.ptr || slice.len == 0 || slice.len >= sizeof text) fail("a request that no client sent: no %s", what);
  memcpy(text, slice.ptr, slice.len);
  uint64_t value = strtoull(text, &end, base);
  if (*end) fail("a request that no client sent: %s is %s", what, text);
  return value;
}

static bool equals(ingest_slice slice, const char *text) {
  return slice.ptr && slice.len == strlen(text) && memcmp(slice.ptr, text, slice.len) == 0;
}

/* What a request tells of TLS: there when it came over TLS, and of a client with a certificate all that stands in it. */
static void compare_tls(uint64_t id, const ingest_request *request) {
  const ingest_tls *tls = request->tls;
  bool secure = request->flags & INGEST_REQUEST_TLS;
  if (secure != (tls != NULL) || !equals(request->scheme, secure ? "https" : "http"))
    fail("request %llx does not know whether it came over TLS", (unsigned long long)id);
  if (!secure) return;
  count(SAW_TLS, 1);
  if (tls->size != sizeof *tls || tls->version < 0x0303 || tls->version > 0x0304 || !tls->cipher_suite ||
      !equals(tls->server_name, "localhost"))
    fail("request %llx tells nothing of its session", (unsigned long long)id);
  if (!tls->client_certificate.ptr) {
    if (tls->flags & ~INGEST_TLS_RESUMED || tls->client_subject.ptr || tls->client_names || tls->client_name_count)
      fail("request %llx tells of a certificate that is not there", (unsigned long long)id);
    return;
  }
  count(SAW_CERTIFICATES, 1);
  ingest_slice last = tls->client_name_count == SECURED_NAMES ? tls->client_names[SECURED_NAMES - 1].value : (ingest_slice){0};
  if ((tls->flags & ~INGEST_TLS_RESUMED) != INGEST_TLS_CLIENT_READ || !equals(tls->client_subject, SECURED_SUBJECT) ||
      !equals(tls->client_issuer, SECURED_SUBJECT) || !equals(tls->client_serial, "\2") || tls->client_fingerprint.len != 32 ||
      !equals(last, "39.client.test"))
    fail("request %llx tells something else of its client: %.*s", (unsigned long long)id, (int)tls->client_subject.len,
         tls->client_subject.ptr);
}

/* The body, wherever it is: with the request, in a file, or still to come. */
static void compare_body(world *world, uint64_t id, uint64_t length, const ingest_request *request) {
  if (request->flags & INGEST_REQUEST_STREAMED) {
    if (world->plan.bodies != BODY_STREAM || request->body.ptr || request->body_fd >= 0)
      fail("request %llx has a body that is streamed and here", (unsigned long long)id);
    return;
  }
  bool filed = request->body_fd >= 0;
  if (request->body_len != length || request->body.len != (filed ? 0 : length))
    fail("request %llx has a body of %zu octets, %zu were sent", (unsigned long long)id, request->body.len, (size_t)length);
  if (filed != (world->plan.bodies == BODY_SPOOL && length > world->plan.body_buffer_max))
    fail("the %zu octets of the body of request %llx are in the wrong place", (size_t)length, (unsigned long long)id);
  if (!pattern_holds(request->body.ptr, request->body.len, id, 0))
    fail("the body of request %llx has changed", (unsigned long long)id);
  if (!filed) return;
  count(SAW_FILES, 1);
  uint8_t piece[4096];
  for (uint64_t at = 0; at < length;) {
    ssize_t got = pread(request->body_fd, piece, sizeof piece, (off_t)at);
    if (got <= 0 || !pattern_holds(piece, (size_t)got, id, at))
      fail("the file of request %llx is not its body", (unsigned long long)id);
    at += (uint64_t)got;
  }
}

static uint64_t compare(world *world, ingest_token token, const ingest_request *request) {
  uint64_t id = number(ingest_request_header(request, "x-id", 4), 16, "X-Id");
  uint64_t length = number(ingest_request_header(request, "X-LENGTH", 8), 10, "X-Length");
  char path[64];
  snprintf(path, sizeof path, "/r/%016llx", (unsigned long long)id);
  if (id >> 32 != world->number + 1) fail("request %llx belongs to another server", (unsigned long long)id);
  if (request->size != sizeof *request || request->token != token)
    fail("request %llx has another size or token", (unsigned long long)id);
  if (!equals(request->path, path) || !equals(ingest_request_query(request, "a", 1), "1 2"))
    fail("request %llx has another target: %.*s", (unsigned long long)id, (int)request->target.len, request->target.ptr);
  compare_body(world, id, length, request);
  compare_tls(id, request);
  bool cookie = equals(ingest_request_cookie(request, "c", 1), "v");
  if (cookie != equals(ingest_request_header(request, "x-cookie", 8), "1"))
    fail("request %llx has other cookies", (unsigned long long)id);
  if (!!(request->flags & INGEST_REQUEST_HEAD) != equals(request->method, "HEAD")) fail("the flag HEAD is wrong");
  if (ingest_request_header(request, "absent", 6).ptr || ingest_request_form(request, "a", 1).ptr ||
      ingest_request_part(request, "a", 1).ptr || request->form || request->parts)
    fail("a field was found that is not there");
  return id;
}

/* ---- events ---- */

static void take_request(actor *self, const ingest_event *event) {
  world *world = self->world;
  if (!event->request) fail("a REQUEST without its request");
  if (event->tag) fail("a new request has a tag already");
  uint64_t id = compare(world, event->token, event->request);
  entry *made = ledger_deliver(&world->book, event->token, id, event->request);
  made->digest = digest_of(event->request);
  if (event->request->flags & INGEST_REQUEST_STREAMED)
    upload_begin(self, made, number(ingest_request_header(event->request, "x-length", 8), 10, "X-Length"));
  if (chance(&self->random, 45)) {
    act(self, made, false);
    return;
  }
  uint64_t later_us = chance(&self->random, 95) ? draw_below(&self->random, 500) : draw_below(&self->random, 50000);
  made->due_ns = now_ns() + later_us * 1000;
  pool_put(&world->book, made);
}

static void note_once(entry *each, unsigned kind) {
  if (atomic_fetch_or(&each->seen, ASKED(kind)) & ASKED(kind))
    fail("event %u came twice for token %llx", kind, (unsigned long long)each->token);
}

static void take_note(actor *self, const ingest_event *event) {
  world *world = self->world;
  entry *each = ledger_find(&world->book, event->token);
  if (!each) fail("event %u for token %llx, which was never delivered", event->kind, (unsigned long long)event->token);
  if (event->tag && event->tag != each->tag) fail("event %u brings the tag of another token", event->kind);
  /* What was given back before we asked has nothing more to say but what became of the answer. */
  unsigned long long ended_at = atomic_load(&each->ended_at);
  bool late = ended_at && !self->in_callback && ended_at < self->poll_began;
  switch (event->kind) {
    case INGEST_EVENT_BODY:
    case INGEST_EVENT_BODY_END:
      if (late) fail("event %u for token %llx, which was given back", event->kind, (unsigned long long)event->token);
      take_upload(self, each, event);
      break;
    case INGEST_EVENT_GONE:
      if (!each->streamed && !(world->plan.events & ASKED(INGEST_EVENT_GONE))) fail("event %u was not asked for", event->kind);
      if (event->reason == INGEST_GONE_RESET) upload_gone(each);
      if (late) fail("GONE for token %llx, which was given back", (unsigned long long)event->token);
      if (event->reason != INGEST_GONE_READ_CLOSED && event->reason != INGEST_GONE_RESET)
        fail("GONE has the reason %u", event->reason);
      unsigned before = atomic_fetch_or(&each->reasons, 1u << event->reason);
      if (before & (1u << event->reason) || before & (1u << INGEST_GONE_RESET))
        fail("GONE with reason %u for token %llx after reasons %x", event->reason, (unsigned long long)event->token, before);
      count(EVENT_GONE, 1);
      break;
    case INGEST_EVENT_WRITABLE:
      if (late) fail("WRITABLE for token %llx, which was given back", (unsigned long long)event->token);
      atomic_fetch_add(&each->writable, 1);
      count(EVENT_WRITABLE, 1);
      break;
    case INGEST_EVENT_SENT:
      if (!atomic_load(&each->attempted)) fail("SENT for token %llx, which nobody answered", (unsigned long long)event->token);
      if (atomic_load(&each->seen) & ASKED(INGEST_EVENT_RELEASED)) fail("SENT after RELEASED");
      note_once(each, INGEST_EVENT_SENT);
      count(EVENT_SENT, 1);
      break;
    default:
      note_once(each, INGEST_EVENT_RELEASED);
      if (!each->body) fail("RELEASED for token %llx, for which nothing is lent", (unsigned long long)event->token);
      bury(world, each->body);
      each->body = NULL;
      count(EVENT_RELEASED, 1);
      break;
  }
}

static void take_event(actor *self, const ingest_event *event) {
  world *world = self->world;
  /* What a streamed body brings comes unasked. */
  bool body = event->kind == INGEST_EVENT_BODY || event->kind == INGEST_EVENT_BODY_END;
  unsigned asked = world->plan.events | (world->plan.bodies == BODY_STREAM ? ASKED(INGEST_EVENT_GONE) : 0);
  if (event->kind != INGEST_EVENT_REQUEST && !body && (event->kind > 31 || !(asked & ASKED(event->kind))))
    fail("event %u was not asked for", event->kind);
  if (event->flags || (event->kind != INGEST_EVENT_GONE && event->reason) || (event->data.ptr && !body))
    fail("a field of an event that must be zero is not");
  if (event->kind != INGEST_EVENT_REQUEST && event->request) fail("event %u brings a request", event->kind);
  switch (event->kind) {
    case INGEST_EVENT_REQUEST: take_request(self, event); return;
    case INGEST_EVENT_BODY:
    case INGEST_EVENT_BODY_END:
    case INGEST_EVENT_GONE:
    case INGEST_EVENT_WRITABLE:
    case INGEST_EVENT_SENT:
    case INGEST_EVENT_RELEASED: take_note(self, event); return;
    case INGEST_EVENT_DRAINING: atomic_fetch_add(&world->draining_seen, 1); break;
    case INGEST_EVENT_STOPPED: atomic_fetch_add(&world->stopped_seen, 1); break;
    default: fail("event %u came (a FAULT if 11)", event->kind);
  }
  if (event->token) fail("event %u has a token", event->kind);
}

void on_events(void *userdata, ingest_server *server, const ingest_event *events, size_t many) {
  world *world = userdata;
  if (server != world->server) fail("the callback got another server");
  if (many == 0 || many > world->plan.batch_max)
    fail("the callback got %zu events, batch_max is %u", many, world->plan.batch_max);
  actor self = {.world = world, .in_callback = true};
  /* Whatever thread this is: what it does follows from the seed and the token. */
  self.random.state = the_seed ^ events[0].token ^ events[0].kind;
  for (size_t i = 0; i < many; i++) take_event(&self, &events[i]);
}

void take_events(actor *self, const ingest_event *events, size_t many) {
  for (size_t i = 0; i < many; i++) take_event(self, &events[i]);
}

/* The descriptor is never unreadable while the queue has events. What is on its way between two looks is not held against it,
   and at in_flight_max the events are not there for anyone. */
static void watch_descriptor(actor *self, ingest_queue *queue) {
  world *world = self->world;
  struct pollfd wish = {ingest_queue_fd(queue), POLLIN, 0};
  if (wish.fd < 0) fail("a queue has the descriptor %d", wish.fd);
  int ready = poll(&wish, 1, (int)draw_below(&self->random, 5));
  if (ready || world->plan.in_flight_max < 1000 || ingest_queue_depth(queue) == 0) {
    atomic_store(&world->unreadable, 0);
    return;
  }
  if (atomic_fetch_add(&world->unreadable, 1) > 1000) fail("a queue has events, and its descriptor is not readable");
  sleep_us(1000);
}

bool consume(actor *self, ingest_queue *queue, bool may_wait) {
  world *world = self->world;
  if (chance(&self->random, 20)) watch_descriptor(self, queue);
  self->poll_began = atomic_fetch_add(&world->book.clock, 1) + 1;
  if (world->plan.bodies != BODY_STREAM && chance(&self->random, 15)) {
    int32_t packed = take_packed(self, queue);
    return packed != INGEST_E_STOPPED;
  }
  ingest_event events[96];
  memset(events, 0xA5, sizeof events);
  size_t capacity = chance(&self->random, 30) ? 1 : draw_between(&self->random, 1, 96);
  bool wait = may_wait && world->plan.delivery != DELIVERY_TURN && chance(&self->random, 60);
  int32_t got = wait ? ingest_queue_wait(queue, events, capacity, (int32_t)draw_below(&self->random, 20))
                     : ingest_queue_poll(queue, events, capacity);
  if (got == INGEST_E_STOPPED) return false;
  if (got < 0 || (size_t)got > capacity) fail("taking up to %zu events returned %d", capacity, got);
  for (int32_t i = 0; i < got; i++) take_event(self, &events[i]);
  return true;
}
