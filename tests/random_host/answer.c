/* What the random host does with a request that it holds: answers of every kind, alone, together, twice and by two threads. */
#include "world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- marks: an answer says whose it is and how long its body is, so that the client need not trust the framing ---- */

mark draw_mark(actor *self, uint64_t id) {
  static const uint16_t statuses[] = {200, 200, 200, 200, 201, 206, 299, 302, 404, 418, 500, 599, 204, 304};
  mark made;
  unsigned size = (unsigned)draw_below(&self->random, 100);
  made.status = statuses[draw_below(&self->random, sizeof statuses / sizeof *statuses)];
  made.length = size < 10   ? 0
                : size < 80 ? draw_below(&self->random, 600)
                : size < 97 ? draw_below(&self->random, 40000)
                            : draw_below(&self->random, 400000);
  /* An answer without a body is given without one: what becomes of octets behind a 204 is another test's. */
  if (made.status == 204 || made.status == 304) made.length = 0;
  snprintf(made.type, sizeof made.type, "x/y; id=%016llx; body=%zu", (unsigned long long)id, made.length);
  return made;
}

static uint8_t *body_of(uint64_t id, size_t length) {
  uint8_t *body = malloc(length + !length);
  if (!body) fail("the test itself has no memory left");
  pattern_fill(body, length, id, 0);
  return body;
}

static ingest_slice slice_of(const char *text) { return (ingest_slice){(const uint8_t *)text, strlen(text)}; }

/* Field lines in front of and behind the mark; the library leaves framing to itself whatever they say. */
static size_t draw_fields(actor *self, const mark *mark, ingest_header fields[8]) {
  size_t many = 0;
  if (chance(&self->random, 30)) fields[many++] = (ingest_header){slice_of("Server"), slice_of("random")};
  if (chance(&self->random, 5)) fields[many++] = (ingest_header){slice_of("Content-Length"), slice_of("7")};
  if (chance(&self->random, 5)) fields[many++] = (ingest_header){slice_of("Transfer-Encoding"), slice_of("chunked")};
  fields[many++] = (ingest_header){slice_of("Content-Type"), slice_of(mark->type)};
  if (chance(&self->random, 5)) fields[many++] = (ingest_header){slice_of("Date"), slice_of("Thu, 01 Jan 1970 00:00:00 GMT")};
  if (chance(&self->random, 5)) fields[many++] = (ingest_header){slice_of("Connection"), slice_of("close")};
  return many;
}

/* ---- how calls come out ---- */

void before_end(entry *each) {
  upload_close(each);
  if (digest_of(each->request) != each->digest)
    fail("the memory of request %llx changed while it was held", (unsigned long long)each->id);
}

static void forget(actor *self, entry *each) {
  ledger *book = &self->world->book;
  record *known = ledger_record(book, each->id);
  if (!each->given_back) {
    atomic_store(&known->done, true);
    atomic_fetch_sub(&known->held, 1);
  }
  if (atomic_exchange(&each->ended, true)) fail("token %llx ended twice", (unsigned long long)each->token);
  atomic_store(&each->ended_at, atomic_fetch_add(&book->clock, 1) + 1);
  remember_stale(each->token);
}

void note_end(actor *self, entry *each, ingest_status status, counter what) {
  if (status == INGEST_OK) {
    if (atomic_fetch_add(&each->ok, 1)) fail("token %llx was answered twice, and both were taken", (unsigned long long)each->token);
    if (what == DID_ABANDON) atomic_store(&each->abandoned, true);
    count(what, 1);
  } else if (status == INGEST_E_GONE || status == INGEST_E_STOPPED || status == INGEST_E_MEMORY) {
    atomic_fetch_add(&each->gone, 1);
    count(DID_GONE, 1);
  } else {
    fail("ending token %llx by %s returned %s", (unsigned long long)each->token, counter_names[what], ingest_status_name(status));
  }
  if (atomic_fetch_sub(&each->calls, 1) > 1) return;
  forget(self, each);
  /* The last thing that is done with an entry: the world frees its server only when nothing is held. */
  bool again = chance(&self->random, 10);
  ingest_server *server = self->world->server;
  if (again) {
    uint8_t octet;
    if (ingest_token_alive(server, each->token) != 0 || ingest_token_request(server, each->token) ||
        ingest_token_tag(server, each->token, 1) != INGEST_E_GONE ||
        ingest_request_body_read(server, each->token, 0, &octet, 1) != INGEST_E_GONE ||
        ingest_respond_bytes(server, each->token, 200, NULL, NULL, 0) != INGEST_E_GONE ||
        ingest_abandon(server, each->token) != INGEST_E_GONE)
      fail("token %llx is used up, and something still works with it", (unsigned long long)each->token);
  }
  atomic_fetch_sub(&self->world->book.held, 1);
}

/* ---- one answer ---- */

static ingest_status respond_bytes(actor *self, entry *each) {
  mark mark = draw_mark(self, each->id);
  uint8_t *body = body_of(each->id, mark.length);
  ingest_status status =
      ingest_respond_bytes(self->world->server, each->token, mark.status, mark.type, mark.length ? body : NULL, mark.length);
  memset(body, 0xEE, mark.length);
  free(body);
  return status;
}

static ingest_status respond_full(actor *self, entry *each) {
  mark mark = draw_mark(self, each->id);
  uint8_t *body = body_of(each->id, mark.length);
  ingest_header fields[8];
  ingest_response response = {.size = sizeof response, .status = mark.status, .headers = fields};
  response.header_count = draw_fields(self, &mark, fields);
  response.body = (ingest_slice){body, mark.length};
  response.content_length = chance(&self->random, 50) ? (int64_t)mark.length : 0;
  response.flags = chance(&self->random, 3) ? INGEST_RESPONSE_CLOSE : 0;
  ingest_status status = ingest_respond(self->world->server, each->token, &response);
  memset(body, 0xEE, mark.length);
  free(body);
  return status;
}

static int note_all_status(actor *self, entry *each, unsigned which) {
  atomic_fetch_or(&ledger_record(&self->world->book, each->id)->all_statuses, 1u << which);
  return ALL_STATUS + (int)which;
}

/* One call that ends a request, whichever; used by both sides of a race. */
static ingest_status any_end(actor *self, entry *each, counter *what) {
  atomic_store(&each->attempted, true);
  switch (draw_below(&self->random, 5)) {
    case 0: *what = DID_BYTES; return respond_bytes(self, each);
    case 1: *what = DID_RESPOND; return respond_full(self, each);
    case 2: *what = DID_ABANDON; return ingest_abandon(self->world->server, each->token);
    case 3: {
      ingest_status status = 1;
      *what = DID_ALL;
      int chosen = note_all_status(self, each, (unsigned)draw_below(&self->random, ALL_STATUSES));
      int32_t taken = ingest_respond_all(self->world->server, &each->token, 1, (uint16_t)chosen, &status);
      if (taken != (status == INGEST_OK)) fail("respond_all returned %d and said %d", taken, status);
      return status;
    }
    default: {
      mark mark = draw_mark(self, each->id);
      uint8_t *body = body_of(each->id, mark.length);
      ingest_header fields[8];
      ingest_response response = {.size = sizeof response, .status = mark.status, .headers = fields};
      response.header_count = draw_fields(self, &mark, fields);
      response.body = (ingest_slice){body, mark.length};
      const ingest_response *responses[] = {&response};
      ingest_status status = 1;
      *what = DID_MANY;
      int32_t taken = ingest_respond_many(self->world->server, &each->token, responses, 1, &status);
      if (taken != (status == INGEST_OK)) fail("respond_many returned %d and said %d", taken, status);
      free(body);
      return status;
    }
  }
}

static void end_alone(actor *self, entry *each) {
  counter what;
  before_end(each);
  atomic_store(&each->calls, 1);
  ingest_status status = any_end(self, each, &what);
  note_end(self, each, status, what);
}

/* ---- many at once ---- */

static size_t gather(actor *self, entry *first, entry *together[16]) {
  size_t most = draw_between(&self->random, 1, 16), many = 1;
  together[0] = first;
  while (many < most) {
    entry *next = pool_take(&self->world->book, &self->random, false);
    if (!next) break;
    if (next->begun || next->interims) {
      pool_put(&self->world->book, next);
      break;
    }
    together[many++] = next;
  }
  for (size_t i = 0; i < many; i++) atomic_store(&together[i]->calls, 1);
  return many;
}

static void respond_all(actor *self, entry **entries, size_t many) {
  ingest_token tokens[16] = {0};
  ingest_status each[16];
  unsigned which = (unsigned)draw_below(&self->random, ALL_STATUSES);
  int status = ALL_STATUS;
  for (size_t i = 0; i < many; i++) {
    tokens[i] = entries[i]->token;
    status = note_all_status(self, entries[i], which);
    atomic_store(&entries[i]->attempted, true);
    before_end(entries[i]);
  }
  int32_t taken = ingest_respond_all(self->world->server, tokens, many, (uint16_t)status, each);
  for (size_t i = 0; i < many; i++) {
    taken -= each[i] == INGEST_OK;
    note_end(self, entries[i], each[i], DID_ALL);
  }
  if (taken) fail("respond_all miscounted by %d", taken);
}

static void respond_many(actor *self, entry **entries, size_t many) {
  ingest_token tokens[16] = {0};
  ingest_status each[16];
  mark marks[16];
  uint8_t *bodies[16];
  ingest_header fields[16][8];
  ingest_response responses[16];
  const ingest_response *pointers[16] = {NULL};
  for (size_t i = 0; i < many; i++) {
    tokens[i] = entries[i]->token;
    marks[i] = draw_mark(self, entries[i]->id);
    bodies[i] = body_of(entries[i]->id, marks[i].length);
    responses[i] = (ingest_response){.size = sizeof responses[i], .status = marks[i].status, .headers = fields[i]};
    responses[i].header_count = draw_fields(self, &marks[i], fields[i]);
    responses[i].body = (ingest_slice){bodies[i], marks[i].length};
    pointers[i] = &responses[i];
    atomic_store(&entries[i]->attempted, true);
    before_end(entries[i]);
  }
  int32_t taken = ingest_respond_many(self->world->server, tokens, pointers, many, each);
  for (size_t i = 0; i < many; i++) {
    free(bodies[i]);
    taken -= each[i] == INGEST_OK;
    note_end(self, entries[i], each[i], DID_MANY);
  }
  if (taken) fail("respond_many miscounted by %d", taken);
}

static void put_off(actor *self, entry *each) {
  uint64_t most_ms = chance(&self->random, 98) ? 1 : self->world->plan.response_timeout_ms + 100;
  each->due_ns = now_ns() + draw_below(&self->random, (most_ms < 600 ? most_ms : 600) * 1000000);
  pool_put(&self->world->book, each);
}

static void give_back(actor *self, entry **entries, size_t many) {
  world *world = self->world;
  ingest_token tokens[16] = {0};
  for (size_t i = 0; i < many; i++) {
    tokens[i] = entries[i]->token;
    before_end(entries[i]);
    entries[i]->given_back = true;
    /* Before the call: it may be delivered again before the call returns. */
    atomic_fetch_sub(&ledger_record(&world->book, entries[i]->id)->held, 1);
  }
  ingest_queue *queue = world->queues[draw_below(&self->random, world->plan.queues)];
  int32_t back = ingest_queue_return(queue, tokens, many);
  if (back < 0 || (size_t)back > many) fail("giving %zu requests back returned %d", many, back);
  if (back == 0 && entries[0]->streamed && ingest_token_request(world->server, tokens[0]) == entries[0]->request) {
    /* Something of its body was handed out, so it stays with the host. */
    entries[0]->given_back = false;
    atomic_store(&entries[0]->calls, 0);
    atomic_fetch_add(&ledger_record(&world->book, entries[0]->id)->held, 1);
    put_off(self, entries[0]);
    return;
  }
  for (size_t i = 0; i < many; i++) note_end(self, entries[i], (int32_t)i < back ? INGEST_OK : INGEST_E_GONE, DID_RETURN);
}

/* ---- two at once ---- */

static bool take_rival(world *world, entry *wanted, entry **taken) {
  bool found = false;
  pthread_mutex_lock(&world->rivals_lock);
  for (size_t i = 0; i < 8 && !found; i++) {
    if (!world->rivals[i] || (wanted && world->rivals[i] != wanted)) continue;
    *taken = world->rivals[i];
    world->rivals[i] = NULL;
    found = true;
  }
  pthread_mutex_unlock(&world->rivals_lock);
  return found;
}

static void end_as_one_of_two(actor *self, entry *each) {
  counter what;
  ingest_status status = any_end(self, each, &what);
  note_end(self, each, status, what);
}

void act_as_rival(actor *self) {
  entry *each;
  if (take_rival(self->world, NULL, &each)) end_as_one_of_two(self, each);
}

static void end_with_rival(actor *self, entry *each) {
  world *world = self->world;
  entry *left;
  bool placed = false;
  before_end(each);
  atomic_store(&each->calls, 2);
  pthread_mutex_lock(&world->rivals_lock);
  for (size_t i = 0; i < 8 && !placed; i++) {
    if (world->rivals[i]) continue;
    world->rivals[i] = each;
    placed = true;
  }
  pthread_mutex_unlock(&world->rivals_lock);
  count(DID_RIVALS, 1);
  for (uint64_t spins = draw_below(&self->random, 3000); spins; spins--) __asm__ volatile("" ::: "memory");
  end_as_one_of_two(self, each);
  /* Nobody came: we are our own rival, and late. The entry is not ended while a call is missing. */
  if (!placed || take_rival(world, each, &left)) end_as_one_of_two(self, each);
}

/* ---- choosing ---- */

static void look(actor *self, entry *each) {
  ingest_server *server = self->world->server;
  uint8_t part[64];
  int32_t alive = ingest_token_alive(server, each->token);
  if (alive < 0 || alive > 2) fail("token_alive returned %d", alive);
  if (each->request->token != each->token || ingest_token_request(server, each->token) != each->request)
    fail("token %llx is held and has another request", (unsigned long long)each->token);
  if (ingest_token_tag(server, each->token, each->tag) != INGEST_OK)
    fail("token %llx is held and takes no tag", (unsigned long long)each->token);
  uint64_t offset = draw_below(&self->random, each->request->body_len + 2);
  size_t capacity = draw_below(&self->random, sizeof part + 1);
  int64_t got = ingest_request_body_read(server, each->token, offset, capacity ? part : NULL, capacity);
  uint64_t left = offset < each->request->body_len && !each->streamed ? each->request->body_len - offset : 0;
  if (got != (int64_t)(left < capacity ? left : capacity) || !pattern_holds(part, (size_t)got, each->id, offset))
    fail("body_read of %zu octets at %llu returned %lld", capacity, (unsigned long long)offset, (long long)got);
}

static bool may_return(actor *self) {
  world *world = self->world;
  bool queued = world->plan.delivery == DELIVERY_QUEUE || world->plan.delivery == DELIVERY_THREADS ||
                (world->plan.delivery == DELIVERY_TURN && !world->plan.callback);
  return queued && atomic_load(&world->phase) == PHASE_SERVING;
}

static bool any_streams(entry **entries, size_t many) {
  for (size_t i = 0; i < many; i++)
    if (entries[i]->streamed) return true;
  return false;
}

static void end_somehow(actor *self, entry *each) {
  entry *together[16];
  unsigned choice = (unsigned)draw_below(&self->random, 100);
  if (choice < 40) {
    end_alone(self, each);
    return;
  }
  if (choice < 46) {
    end_with_rival(self, each);
    return;
  }
  if (choice < 54) {
    respond_file(self, each);
    return;
  }
  if (choice < 62) {
    respond_lent(self, each);
    return;
  }
  size_t many = gather(self, each, together);
  if (choice < 71)
    respond_all(self, together, many);
  else if (choice < 80)
    respond_many(self, together, many);
  else if (choice < 91 || !may_return(self) || (many > 1 && any_streams(together, many)))
    respond_packed(self, together, many);
  else
    give_back(self, together, many);
}

void act(actor *self, entry *each, bool finish) {
  if (!upload_act(self, each, finish)) {
    put_off(self, each);
    return;
  }
  if (each->begun) {
    if (!stream_go_on(self, each, finish)) put_off(self, each);
    return;
  }
  if (chance(&self->random, 20)) look(self, each);
  if (chance(&self->random, 8) && misuse_held(self, each)) return;
  if (!finish && chance(&self->random, 10)) {
    put_off(self, each);
    return;
  }
  /* Who was spoken to is no longer returned; the stream's door sends interim answers too. */
  if (chance(&self->random, 15) || each->interims) {
    if (stream_begin(self, each)) put_off(self, each);
    return;
  }
  end_somehow(self, each);
}

void bury(world *world, lent *body) {
  memset(body->octets, 0xEE, body->length);
  pthread_mutex_lock(&world->graves_lock);
  body->next = world->graves;
  world->graves = body;
  lent *dig = NULL;
  if (++world->graves_kept > 64) {
    dig = world->graves;
    world->graves = NULL;
    world->graves_kept = 0;
  }
  pthread_mutex_unlock(&world->graves_lock);
  while (dig) {
    lent *next = dig->next;
    free(dig->octets);
    free(dig);
    dig = next;
  }
}
