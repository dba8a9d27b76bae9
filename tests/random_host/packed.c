/* Packed polls and packed answers of the random host, by the layout in docs/packed.md. */
#include "world.h"

#include <stdlib.h>
#include <string.h>

enum { HEADER = 32, RECORD = 256, ANSWER = 40 };

static uint32_t u32_at(const uint8_t *block, size_t at) {
  uint32_t value;
  memcpy(&value, block + at, sizeof value);
  return value;
}

static uint64_t u64_at(const uint8_t *block, size_t at) {
  uint64_t value;
  memcpy(&value, block + at, sizeof value);
  return value;
}

static void put(uint8_t *block, size_t at, const void *value, size_t size) { memcpy(block + at, value, size); }

static ingest_slice place_at(const uint8_t *block, size_t at, uint32_t used) {
  uint32_t offset = u32_at(block, at), length = u32_at(block, at + 4);
  if (offset == 0) return (ingest_slice){NULL, 0};
  if (offset > used || length > used - offset) fail("a packed place leads outside of the block");
  return (ingest_slice){block + offset, length};
}

static void same(ingest_slice packed, ingest_slice direct, const char *what) {
  if (!packed.ptr != !direct.ptr || packed.len != direct.len || (packed.len && memcmp(packed.ptr, direct.ptr, packed.len)))
    fail("the packed %s is not the request's", what);
}

static void compare_packed(actor *self, const uint8_t *block, size_t at, uint32_t used, const ingest_request *request) {
  same(place_at(block, at + 40, used), request->method, "method");
  same(place_at(block, at + 48, used), request->target, "target");
  same(place_at(block, at + 56, used), request->path, "path");
  same(place_at(block, at + 64, used), request->query, "query");
  same(place_at(block, at + 88, used), request->peer->text, "peer");
  uint32_t table = u32_at(block, at + 104), fields = u32_at(block, at + 108);
  if (fields != request->header_count) fail("a packed record has %u fields, the request %zu", fields, request->header_count);
  if (fields && (table > used || (used - table) / 16 < fields)) fail("a packed table leads outside of the block");
  for (uint32_t i = 0; i < fields; i++) {
    same(place_at(block, table + i * 16, used), request->headers[i].name, "field name");
    same(place_at(block, table + i * 16 + 8, used), request->headers[i].value, "field value");
  }
  ingest_slice body = place_at(block, at + 144, used);
  if (u64_at(block, at + 152) != request->body_len) fail("the packed length of a body is not the request's");
  if (body.ptr)
    same(body, request->body, "body");
  else if (request->body_len && request->body_fd < 0 && request->body_len <= self->world->plan.packed_inline_max)
    fail("a packed record lacks a body that fits");
}

int32_t take_packed(actor *self, ingest_queue *queue) {
  /* Sometimes too small for anything, and never larger than what is said: AddressSanitizer watches its end. */
  size_t capacity =
      chance(&self->random, 20) ? draw_between(&self->random, HEADER, 700) : draw_between(&self->random, 4096, 262144);
  uint8_t *block = malloc(capacity);
  if (!block) fail("the test itself has no memory left");
  int32_t got = ingest_queue_poll_packed(queue, block, capacity);
  if (got < 0 && got != INGEST_E_SPACE && got != INGEST_E_STOPPED) fail("a packed poll returned %d", got);
  uint32_t used = u32_at(block, 12), many = u32_at(block, 16), needed = u32_at(block, 20), size = u32_at(block, 24),
           first = u32_at(block, 28);
  if (memcmp(block, "INPQ", 4) || u32_at(block, 4) != 1 || used > capacity || many != (uint32_t)(got > 0 ? got : 0))
    fail("the header of a packed block is wrong");
  if ((got == INGEST_E_SPACE) != (needed != 0) || (needed && needed <= capacity))
    fail("a packed block needs %u, and was given %zu", needed, capacity);
  if (many && (first + (uint64_t)many * size > used || size < RECORD)) fail("packed records lead outside of the block");
  ingest_event events[256];
  memset(events, 0, sizeof events);
  for (uint32_t i = 0; i < many; i++) {
    size_t at = first + (size_t)i * size;
    events[i].token = u64_at(block, at);
    events[i].tag = u64_at(block, at + 8);
    events[i].kind = (uint16_t)u32_at(block, at + 16);
    events[i].flags = (uint16_t)(u32_at(block, at + 16) >> 16);
    events[i].reason = u32_at(block, at + 20);
    if (events[i].kind != INGEST_EVENT_REQUEST) continue;
    events[i].request = ingest_token_request(self->world->server, events[i].token);
    if (!events[i].request) fail("a request came packed, and its token has none");
    compare_packed(self, block, at, used, events[i].request);
  }
  free(block);
  take_events(self, events, many);
  return got;
}

void respond_packed(actor *self, entry **entries, size_t many) {
  world *world = self->world;
  static const char name[] = "X-Packed", value[] = "yes";
  mark marks[16];
  size_t length = HEADER + many * ANSWER;
  size_t table = length, texts = table + 16;
  length = texts + sizeof name - 1 + sizeof value - 1;
  for (size_t i = 0; i < many; i++) {
    marks[i] = draw_mark(self, entries[i]->id);
    length += strlen(marks[i].type) + marks[i].length;
  }
  uint8_t *block = calloc(1, length);
  if (!block) fail("the test itself has no memory left");
  uint32_t head[8] = {0, 1, (uint32_t)length, (uint32_t)many, ANSWER, HEADER, 0, 0};
  memcpy(head, "INPR", 4);
  put(block, 0, head, sizeof head);
  uint32_t field[4] = {(uint32_t)texts, sizeof name - 1, (uint32_t)(texts + sizeof name - 1), sizeof value - 1};
  put(block, table, field, sizeof field);
  put(block, texts, name, sizeof name - 1);
  put(block, texts + sizeof name - 1, value, sizeof value - 1);
  size_t at = texts + sizeof name - 1 + sizeof value - 1;
  for (size_t i = 0; i < many; i++) {
    size_t answer = HEADER + i * ANSWER, type = strlen(marks[i].type);
    uint32_t places[6] = {(uint32_t)at, (uint32_t)type, (uint32_t)table, 1, (uint32_t)(at + type), (uint32_t)marks[i].length};
    put(block, answer, &entries[i]->token, 8);
    put(block, answer + 8, &marks[i].status, 2);
    put(block, answer + 16, places, sizeof places);
    put(block, at, marks[i].type, type);
    pattern_fill(block + at + type, marks[i].length, entries[i]->id, 0);
    at += type + marks[i].length;
    atomic_store(&entries[i]->attempted, true);
    before_end(entries[i]);
  }
  int32_t taken = ingest_respond_packed(world->server, block, length);
  free(block);
  if (taken < 0 || (size_t)taken > many) fail("%zu packed answers returned %d", many, taken);
  /* Which they were is not told; with one it is. */
  for (size_t i = 0; i < many; i++) {
    entries[i]->unsure = taken > 0 && (size_t)taken < many;
    note_end(self, entries[i], (size_t)taken == many || (int32_t)i < taken ? INGEST_OK : INGEST_E_GONE, DID_PACKED);
  }
}
