/* A reader of answers that looks at them octet by octet and believes neither the framing nor the mark alone. */
#include "reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *field_of(const reader *reader, const char *name) {
  size_t length = strlen(name);
  for (const char *line = strchr(reader->head, '\n'); line && line[1]; line = strchr(line + 1, '\n'))
    if (strncasecmp(line + 1, name, length) == 0 && line[1 + length] == ':')
      return line + 2 + length + strspn(line + 2 + length, " ");
  return NULL;
}

static uint64_t marked_number(const char *type, const char *name, int base) {
  const char *at = strstr(type, name);
  const char *end = strchr(type, '\r');
  if (!at || !end || at > end) return UINT64_MAX;
  return strtoull(at + strlen(name), NULL, base);
}

static asked *front(reader *reader) { return reader->first < reader->last ? &reader->asked[reader->first] : NULL; }

static void answer_ends(reader *reader) {
  asked *each = front(reader);
  if (reader->marked) {
    bool none = each->head || reader->status == 204 || reader->status == 304;
    if (!none && reader->position != reader->length)
      fail("the answer to %llx looks complete after %llu of %llu octets", (unsigned long long)each->id,
           (unsigned long long)reader->position, (unsigned long long)reader->length);
    if (reader->trailer && !none && !each->http10 && !reader->trailer_seen)
      fail("the answer to %llx has lost its trailer", (unsigned long long)each->id);
  }
  count(reader->marked ? SAW_ANSWERS : SAW_REFUSALS, 1);
  reader->answered++;
  reader->first++;
  reader->at = AT_HEAD;
  reader->head_length = 0;
  if (reader->close) reader->ended = true;
}

/* An answer without a mark is one of respond_all, which has an empty body, or the library's own. */
static void judge_unmarked(reader *reader, asked *each) {
  if (reader->status >= ALL_STATUS && reader->status < ALL_STATUS + ALL_STATUSES) {
    unsigned given = atomic_load(&ledger_record(&reader->world->book, each->id)->all_statuses);
    if (!(given & 1u << (reader->status - ALL_STATUS)))
      fail("request %llx got status %d, which was given to another", (unsigned long long)each->id, reader->status);
    reader->marked = true;
    reader->length = 0;
    return;
  }
  if (reader->status < 400) fail("request %llx got status %d, which nobody gave", (unsigned long long)each->id, reader->status);
}

static void judge_mark(reader *reader, asked *each, const char *type) {
  uint64_t id = marked_number(type, "id=", 16);
  if (id != each->id) fail("request %llx got the answer to %llx", (unsigned long long)each->id, (unsigned long long)id);
  reader->marked = true;
  reader->length = marked_number(type, "body=", 10);
  reader->file_offset = marked_number(type, "file=", 10);
  reader->file = reader->file_offset != UINT64_MAX;
  reader->trailer = marked_number(type, "traile", 10) != UINT64_MAX;
}

static void judge_interim(reader *reader, asked *each) {
  const char *id = field_of(reader, "X-Interim");
  if (reader->status == 101 || each->http10)
    fail("request %llx got the interim status %d", (unsigned long long)each->id, reader->status);
  if (reader->status != 100 && (!id || strtoull(id, NULL, 16) != each->id))
    fail("request %llx got an interim answer of another", (unsigned long long)each->id);
  reader->head_length = 0;
}

static void judge_head(reader *reader) {
  asked *each = front(reader);
  int minor;
  if (sscanf(reader->head, "HTTP/1.%d %3d", &minor, &reader->status) != 2 || minor != 1)
    fail("this is no head of an answer: %.60s", reader->head);
  if (reader->ended) fail("an answer came behind one that closes");
  if (!each) {
    if (reader->garbage_sent && reader->status >= 400) {
      count(SAW_REFUSALS, 1);
      reader->ended = true;
      return;
    }
    fail("an answer came that nobody asked for: %.60s", reader->head);
  }
  reader->marked = reader->close = reader->trailer = reader->trailer_seen = reader->file = false;
  reader->length = reader->position = 0;
  if (reader->status < 200) {
    judge_interim(reader, each);
    return;
  }
  const char *type = field_of(reader, "Content-Type"), *length = field_of(reader, "Content-Length");
  const char *coding = field_of(reader, "Transfer-Encoding"), *connection = field_of(reader, "Connection");
  if (type && strncmp(type, "x/y; id=", 8) == 0)
    judge_mark(reader, each, type);
  else
    judge_unmarked(reader, each);
  reader->close = connection && strncmp(connection, "close", 5) == 0;
  if (length && coding) fail("an answer has both Content-Length and Transfer-Encoding");
  if (coding && each->http10) fail("an HTTP/1.0 client got Transfer-Encoding");
  if (!field_of(reader, "Date")) fail("an answer has no Date: %s", reader->head);
  if (each->head || reader->status == 204 || reader->status == 304) {
    answer_ends(reader);
  } else if (coding) {
    reader->at = AT_CHUNK_SIZE;
    reader->head_length = 0;
  } else if (length) {
    reader->remaining = strtoull(length, NULL, 10);
    if (reader->marked && reader->remaining != reader->length)
      fail("the answer to %llx says %llu octets, %llu were given", (unsigned long long)each->id,
           (unsigned long long)reader->remaining, (unsigned long long)reader->length);
    reader->at = AT_OCTETS;
    if (reader->remaining == 0) answer_ends(reader);
  } else {
    if (!each->http10) fail("the answer to %llx has no framing: %s", (unsigned long long)each->id, reader->head);
    reader->at = AT_UNTIL_CLOSE;
  }
}

static void take_body(reader *reader, const uint8_t *octets, size_t length) {
  uint64_t id = reader->file ? FILE_ID : front(reader)->id;
  uint64_t position = reader->position + (reader->file ? reader->file_offset : 0);
  if (reader->marked && !pattern_holds(octets, length, id, position))
    fail("the answer to %llx is not what was given, within %zu octets from %llu on", (unsigned long long)front(reader)->id, length,
         (unsigned long long)reader->position);
  reader->position += length;
  if (reader->marked && reader->position > reader->length)
    fail("the answer to %llx has more octets than were given", (unsigned long long)front(reader)->id);
}

/* One octet of a line: true when the line is complete, and stands in `head` without its end. */
static bool line_ends(reader *reader, uint8_t octet) {
  if (reader->head_length + 1 >= sizeof reader->head) fail("a line of an answer does not end");
  reader->head[reader->head_length++] = (char)octet;
  if (reader->head_length < 2 || memcmp(reader->head + reader->head_length - 2, "\r\n", 2)) return false;
  reader->head_length -= 2;
  reader->head[reader->head_length] = 0;
  return true;
}

static void take_octet(reader *reader, uint8_t octet) {
  switch (reader->at) {
    case AT_HEAD:
      if (reader->head_length + 1 >= sizeof reader->head) fail("a head does not end");
      reader->head[reader->head_length++] = (char)octet;
      reader->head[reader->head_length] = 0;
      if (reader->head_length >= 4 && memcmp(reader->head + reader->head_length - 4, "\r\n\r\n", 4) == 0) judge_head(reader);
      return;
    case AT_CHUNK_SIZE:
      if (!line_ends(reader, octet)) return;
      char *end;
      reader->remaining = strtoull(reader->head, &end, 16);
      if (end == reader->head || *end) fail("this is no size of a chunk: %.40s", reader->head);
      reader->head_length = 0;
      reader->at = reader->remaining ? AT_CHUNK : AT_TRAILERS;
      return;
    case AT_CHUNK_END:
      if (!line_ends(reader, octet)) return;
      if (reader->head_length) fail("a chunk is longer than it says");
      reader->at = AT_CHUNK_SIZE;
      return;
    default:
      if (!line_ends(reader, octet)) return;
      if (reader->head_length == 0) {
        answer_ends(reader);
        return;
      }
      if (strncmp(reader->head, "X-End: ", 7) || strtoull(reader->head + 7, NULL, 16) != front(reader)->id)
        fail("a trailer is another's: %.40s", reader->head);
      reader->trailer_seen = true;
      reader->head_length = 0;
      return;
  }
}

void reader_feed(reader *reader, const uint8_t *octets, size_t length) {
  while (length) {
    /* What follows a refusal of garbage is its body, and nobody's. */
    if (reader->ended && !front(reader)) return;
    size_t part = 1;
    if (reader->at == AT_OCTETS || reader->at == AT_CHUNK || reader->at == AT_UNTIL_CLOSE) {
      part = reader->at != AT_UNTIL_CLOSE && reader->remaining < length ? reader->remaining : length;
      take_body(reader, octets, part);
      if (reader->at != AT_UNTIL_CLOSE && (reader->remaining -= part) == 0) {
        if (reader->at == AT_CHUNK)
          reader->at = AT_CHUNK_END;
        else
          answer_ends(reader);
      }
    } else {
      take_octet(reader, *octets);
    }
    octets += part;
    length -= part;
  }
}

void reader_end(reader *reader, bool orderly) {
  count(SAW_ENDS, 1);
  if (reader->at == AT_UNTIL_CLOSE && orderly)
    answer_ends(reader);
  else if (reader->at != AT_HEAD || reader->head_length)
    count(SAW_CUT_BODIES, 1);
  reader->ended = true;
}
