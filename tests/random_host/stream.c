/* Answers in pieces, from files and from lent memory; a piece more each time that the entry is drawn from the pool. */
#include "world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static ingest_slice slice_of(const char *text) { return (ingest_slice){(const uint8_t *)text, strlen(text)}; }

/* The body does not follow the status: a stream may be begun with 204, and what is written to it is dropped. */
static void end_plainly(actor *self, entry *each) {
  before_end(each);
  atomic_store(&each->attempted, true);
  atomic_store(&each->calls, 1);
  char type[64];
  snprintf(type, sizeof type, "x/y; id=%016llx; body=0", (unsigned long long)each->id);
  note_end(self, each, ingest_respond_bytes(self->world->server, each->token, 200, type, NULL, 0), DID_BYTES);
}

static void interim(actor *self, entry *each) {
  char id[32];
  snprintf(id, sizeof id, "%016llx", (unsigned long long)each->id);
  ingest_header field = {slice_of("X-Interim"), slice_of(id)};
  ingest_response response = {
      .size = sizeof response, .status = chance(&self->random, 50) ? 103 : 102, .headers = &field, .header_count = 1};
  ingest_status status = ingest_respond_begin(self->world->server, each->token, &response);
  if (status != INGEST_OK && status != INGEST_E_GONE && status != INGEST_E_BUSY)
    fail("an interim answer returned %s", ingest_status_name(status));
  if (status == INGEST_OK) count(DID_INTERIM, 1);
  each->interims++;
}

/* True when the entry is still the host's to go on with. */
bool stream_begin(actor *self, entry *each) {
  if (each->interims < 3 && chance(&self->random, 25)) {
    interim(self, each);
    return true;
  }
  if (each->interims && chance(&self->random, 50)) {
    end_plainly(self, each);
    return false;
  }
  mark mark = draw_mark(self, each->id);
  each->total = chance(&self->random, 5) ? draw_below(&self->random, LONGEST_BODY) : mark.length;
  each->chunked = chance(&self->random, 50);
  each->trailer = each->chunked && chance(&self->random, 50);
  bool empty = mark.status == 204 || mark.status == 304;
  if (empty) each->chunked = each->trailer = false;
  snprintf(mark.type, sizeof mark.type, "x/y; id=%016llx; body=%llu%s", (unsigned long long)each->id,
           (unsigned long long)each->total, each->trailer ? "; trailer" : "");
  ingest_header field = {slice_of("content-type"), slice_of(mark.type)};
  ingest_response response = {.size = sizeof response, .status = mark.status, .headers = &field, .header_count = 1};
  response.content_length = each->chunked ? -1 : (int64_t)each->total;
  before_end(each);
  atomic_store(&each->attempted, true);
  ingest_status status = ingest_respond_begin(self->world->server, each->token, &response);
  if (status == INGEST_OK) {
    each->begun = true;
    return true;
  }
  atomic_store(&each->calls, 1);
  note_end(self, each, status, DID_STREAM);
  return false;
}

static bool note_gone(actor *self, entry *each) {
  atomic_store(&each->calls, 1);
  note_end(self, each, INGEST_E_GONE, DID_STREAM);
  return true;
}

/* What is refused while a stream is under way, without any effect on it; true when the entry has ended, because it was gone
   before: whoever hears INGEST_E_GONE has given the memory back. */
static bool misuse_stream(actor *self, entry *each) {
  ingest_server *server = self->world->server;
  ingest_header bad = {slice_of("X-Bad"), slice_of("a\r\nb")};
  ingest_token token = each->token;
  count(DID_MISUSE, 1);
  before_end(each);
  if (ingest_respond_end(server, token, &bad, 1) != INGEST_E_ARGUMENT) fail("malformed trailers were not refused");
  if (ingest_respond_write(server, token, NULL, 5) != INGEST_E_ARGUMENT) fail("writing from NULL was not refused");
  ingest_status status = ingest_respond_bytes(server, token, 200, NULL, NULL, 0);
  if (status == INGEST_E_GONE) return note_gone(self, each);
  if (status != INGEST_E_STATE) fail("an answer to a begun stream returned %s", ingest_status_name(status));
  if (each->chunked || each->written == each->total) return false;
  status = ingest_respond_end(server, token, NULL, 0);
  if (status == INGEST_E_GONE) return note_gone(self, each);
  if (status != INGEST_E_ARGUMENT)
    fail("ending a stream of %llu octets after %llu returned %s", (unsigned long long)each->total,
         (unsigned long long)each->written, ingest_status_name(status));
  return false;
}

static void end_stream(actor *self, entry *each) {
  char id[32];
  snprintf(id, sizeof id, "%016llx", (unsigned long long)each->id);
  ingest_header trailer = {slice_of("X-End"), slice_of(id)};
  before_end(each);
  atomic_store(&each->calls, 1);
  ingest_status status = ingest_respond_end(self->world->server, each->token, each->trailer ? &trailer : NULL, each->trailer);
  note_end(self, each, status, DID_STREAM);
}

/* A patient stream is not written to between BUSY and WRITABLE, so WRITABLE has to come while somebody reads. */
static bool waits_for_writable(actor *self, entry *each) {
  if (!each->patient || atomic_load(&each->writable) >= atomic_load(&each->busy)) return false;
  if (ingest_token_alive(self->world->server, each->token) == 0) return false;
  if (now_ns() - each->busy_ns > PATIENCE_NS)
    fail("token %llx was BUSY a minute ago, and is not WRITABLE yet", (unsigned long long)each->token);
  return true;
}

bool stream_go_on(actor *self, entry *each, bool finish) {
  ingest_server *server = self->world->server;
  unsigned rounds = finish ? 64 : (unsigned)draw_between(&self->random, 1, 6);
  if (chance(&self->random, 5) && misuse_stream(self, each)) return true;
  if (chance(&self->random, 3)) {
    /* The client must not take what it got for the whole, unless it is. */
    before_end(each);
    atomic_store(&each->calls, 1);
    note_end(self, each, ingest_abandon(server, each->token), DID_ABANDON);
    return true;
  }
  if (waits_for_writable(self, each)) return false;
  for (; rounds && each->written < each->total; rounds--) {
    uint64_t left = each->total - each->written;
    uint64_t wanted = chance(&self->random, 20) ? draw_between(&self->random, 1, 200000) : draw_between(&self->random, 1, 4000);
    size_t length = wanted < left ? wanted : left;
    uint8_t *piece = malloc(length);
    if (!piece) fail("the test itself has no memory left");
    pattern_fill(piece, length, each->id, each->written);
    int32_t taken = ingest_respond_write(server, each->token, piece, length);
    memset(piece, 0xEE, length);
    free(piece);
    if (taken == INGEST_E_GONE || taken == INGEST_E_STOPPED) {
      end_stream(self, each);
      return true;
    }
    if (taken == INGEST_E_BUSY) {
      if (atomic_fetch_add(&each->busy, 1) == 0)
        each->patient = self->world->plan.events & ASKED(INGEST_EVENT_WRITABLE) && chance(&self->random, 60);
      each->busy_ns = now_ns();
      return false;
    }
    if (taken < 1 || (size_t)taken > length) fail("writing %zu octets returned %d", length, taken);
    each->written += (uint64_t)taken;
  }
  if (each->written < each->total || (!finish && chance(&self->random, 20))) return false;
  end_stream(self, each);
  return true;
}

void respond_file(actor *self, entry *each) {
  world *world = self->world;
  uint64_t offset = draw_below(&self->random, FILE_OCTETS);
  uint64_t most = chance(&self->random, 85) ? 5000 : chance(&self->random, 75) ? 200000 : FILE_OCTETS;
  uint64_t length = draw_below(&self->random, (most < FILE_OCTETS - offset ? most : FILE_OCTETS - offset) + 1);
  char type[128];
  snprintf(type, sizeof type, "x/y; id=%016llx; body=%llu; file=%llu", (unsigned long long)each->id, (unsigned long long)length,
           (unsigned long long)offset);
  ingest_header field = {slice_of("Content-Type"), slice_of(type)};
  ingest_response response = {.size = sizeof response, .status = 200, .headers = &field, .header_count = 1};
  response.content_length = chance(&self->random, 50) ? (int64_t)length : 0;
  int pipe_ends[2] = {-1, -1};
  if (chance(&self->random, 10) && pipe(pipe_ends) == 0) {
    /* None of these may touch the request. */
    if (ingest_respond_file(world->server, each->token, &response, -1, 0, 0) != INGEST_E_ARGUMENT)
      fail("the descriptor -1 was not refused");
    ingest_status status = ingest_respond_file(world->server, each->token, &response, pipe_ends[0], offset, length);
    if (status != INGEST_E_ARGUMENT) fail("a pipe as a file returned %s", ingest_status_name(status));
    status = ingest_respond_file(world->server, each->token, &response, world->file, FILE_OCTETS - length, length + 1);
    if (status != INGEST_E_ARGUMENT) fail("a part outside the file returned %s", ingest_status_name(status));
    status = ingest_respond_file(world->server, each->token, &response, world->file, UINT64_MAX - 1, length + 2);
    if (status != INGEST_E_ARGUMENT) fail("a part that wraps around returned %s", ingest_status_name(status));
    close(pipe_ends[0]);
    close(pipe_ends[1]);
  }
  before_end(each);
  atomic_store(&each->attempted, true);
  int own = dup(world->file);
  if (own < 0) fail("the test itself has no descriptor left");
  ingest_status status = ingest_respond_file(world->server, each->token, &response, own, offset, length);
  close(own);
  atomic_store(&each->calls, 1);
  note_end(self, each, status, DID_FILE);
}

void respond_lent(actor *self, entry *each) {
  world *world = self->world;
  mark mark = draw_mark(self, each->id);
  /* Sometimes more than the kernel takes at once, so that it is still being read while the host goes on. */
  if (chance(&self->random, 4)) {
    mark.status = 200;
    mark.length = draw_between(&self->random, 1u << 20, 6u << 20);
    snprintf(mark.type, sizeof mark.type, "x/y; id=%016llx; body=%zu", (unsigned long long)each->id, mark.length);
  }
  lent *body = malloc(sizeof *body);
  if (!body || !(body->octets = malloc(mark.length + 1))) fail("the test itself has no memory left");
  body->length = mark.length;
  pattern_fill(body->octets, body->length, each->id, 0);
  ingest_header field = {slice_of("Content-Type"), slice_of(mark.type)};
  ingest_response response = {.size = sizeof response, .status = mark.status, .headers = &field, .header_count = 1, .lend = 1};
  response.body = (ingest_slice){body->octets, body->length};
  before_end(each);
  atomic_store(&each->attempted, true);
  each->body = body;
  atomic_store(&each->calls, 1);
  ingest_status status = ingest_respond(world->server, each->token, &response);
  if (status == INGEST_OK) {
    atomic_store(&each->lent_ok, true);
    note_end(self, each, status, DID_LEND);
    return;
  }
  /* Not taken: it is ours again at once, and RELEASED may not come. */
  each->body = NULL;
  free(body->octets);
  free(body);
  bool unasked = !(world->plan.events & ASKED(INGEST_EVENT_RELEASED));
  if (status == INGEST_E_ARGUMENT && unasked) {
    end_plainly(self, each);
    return;
  }
  if (unasked && status != INGEST_E_GONE) fail("lending without the event RELEASED returned %s", ingest_status_name(status));
  note_end(self, each, status, DID_LEND);
}
