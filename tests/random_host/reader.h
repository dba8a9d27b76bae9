/* A reader of answers that looks at them octet by octet and believes neither the framing nor the mark alone. */
#ifndef RANDOM_HOST_READER_H
#define RANDOM_HOST_READER_H

#include "world.h"

/* A request whose answer is awaited. */
typedef struct {
  uint64_t id;
  bool head, http10;
} asked;

typedef enum { AT_HEAD, AT_OCTETS, AT_CHUNK_SIZE, AT_CHUNK, AT_CHUNK_END, AT_TRAILERS, AT_UNTIL_CLOSE } reading;

typedef struct {
  world *world;
  asked asked[64];
  size_t first, last;
  reading at;
  char head[16384];
  size_t head_length;
  /* Of the answer that is being read. */
  int status;
  bool marked, close, trailer, trailer_seen;
  uint64_t length, position, remaining, file_offset;
  bool file;
  /* Answers to what is no request may come, and nothing after them. */
  bool garbage_sent, ended;
  uint64_t answered;
} reader;

void reader_feed(reader *reader, const uint8_t *octets, size_t length);
/* The connection is over: in good order (FIN) or not. */
void reader_end(reader *reader, bool orderly);

#endif
