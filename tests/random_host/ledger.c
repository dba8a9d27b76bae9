/* The ledger of a round: which tokens there are, who holds them and how they ended; the generator, patterns and counters. */
#include "world.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

uint64_t the_seed;
void (*tell_plans)(void);
atomic_ullong counters[COUNTERS];
const char *const counter_names[COUNTERS] = {
    "respond",  "bytes", "many",       "all",        "packed",         "stream",         "file",      "lend",      "abandon",
    "return",   "gone",  "credit", "rivals",     "interim",    "misuse",         "stale",          "rounds",    "delivered", "answers",
    "refusals", "ends",  "cut bodies", "event gone", "event writable", "event released", "event sent",
    "event body", "event body end", "cut uploads", "files",
    "over tls", "with a certificate"};

uint64_t draw(generator *random) {
  uint64_t mixed = random->state += 0x9E3779B97F4A7C15ull;
  mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9ull;
  mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EBull;
  return mixed ^ (mixed >> 31);
}

uint64_t draw_below(generator *random, uint64_t below) { return draw(random) % below; }

uint64_t draw_between(generator *random, uint64_t least, uint64_t most) { return least + draw_below(random, most - least + 1); }

bool chance(generator *random, unsigned percent) { return draw_below(random, 100) < percent; }

static uint8_t pattern_base(uint64_t id) { return (uint8_t)((id * 0x9E3779B97F4A7C15ull) >> 37); }

uint8_t pattern_at(uint64_t id, uint64_t position) { return (uint8_t)(pattern_base(id) + position * 131 + (position >> 8) * 17); }

void pattern_fill(uint8_t *octets, size_t length, uint64_t id, uint64_t position) {
  for (size_t at = 0; at < length; at++) octets[at] = pattern_at(id, position + at);
}

bool pattern_holds(const uint8_t *octets, size_t length, uint64_t id, uint64_t position) {
  for (size_t at = 0; at < length; at++)
    if (octets[at] != pattern_at(id, position + at)) return false;
  return true;
}

void fail(const char *format, ...) {
  char text[1024];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  fprintf(stderr, "random_host: seed %llu: %s\n", (unsigned long long)the_seed, text);
  if (tell_plans) tell_plans();
  fflush(stderr);
  if (getenv("RANDOM_HOST_ABORT")) abort();
  _exit(3);
}

uint64_t now_ns(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000000ull + (uint64_t)time.tv_nsec;
}

void sleep_us(uint64_t microseconds) {
  struct timespec time = {(time_t)(microseconds / 1000000), (long)(microseconds % 1000000) * 1000};
  nanosleep(&time, NULL);
}

void count(counter which, uint64_t by) { atomic_fetch_add_explicit(&counters[which], by, memory_order_relaxed); }

static void *want(void *memory) {
  if (!memory) fail("the test itself has no memory left");
  return memory;
}

void ledger_open(ledger *book) {
  memset(book, 0, sizeof *book);
  pthread_mutex_init(&book->lock, NULL);
  book->table = want(calloc(TOKENS, sizeof *book->table));
  book->records = want(calloc(RECORDS, sizeof *book->records));
  book->pool_room = 1024;
  book->pool = want(calloc(book->pool_room, sizeof *book->pool));
}

void ledger_close(ledger *book) {
  for (size_t at = 0; at < TOKENS; at++) {
    if (!book->table[at]) continue;
    if (book->table[at]->body) {
      free(book->table[at]->body->octets);
      free(book->table[at]->body);
    }
    upload_forget(book->table[at]);
    free(book->table[at]);
  }
  free(book->table);
  free(book->records);
  free(book->pool);
  pthread_mutex_destroy(&book->lock);
}

static size_t place_of(ledger *book, ingest_token token) {
  size_t at = (token * 0x9E3779B97F4A7C15ull) >> 44;
  while (book->table[at % TOKENS] && book->table[at % TOKENS]->token != token) at++;
  return at % TOKENS;
}

record *ledger_record(ledger *book, uint64_t id) {
  uint64_t index = id & 0xffffffff;
  if (index >= atomic_load(&book->made)) fail("request %llx was never made by a client", (unsigned long long)id);
  return &book->records[index];
}

entry *ledger_deliver(ledger *book, ingest_token token, uint64_t id, const ingest_request *request) {
  record *each = ledger_record(book, id);
  if (token == 0 || token >> 63) fail("%llx is no token", (unsigned long long)token);
  if (atomic_load(&each->cut) && !(request->flags & INGEST_REQUEST_STREAMED))
    fail("request %llx was cut short, and delivered as if it were whole", (unsigned long long)id);
  if (atomic_load(&each->done)) fail("request %llx was ended, and delivered again", (unsigned long long)id);
  entry *made = want(calloc(1, sizeof *made));
  made->token = token;
  made->id = id;
  made->request = request;
  made->tag = (token * 0xD6E8FEB86659FD93ull) | 1;
  pthread_mutex_lock(&book->lock);
  size_t at = place_of(book, token);
  if (book->table[at]) fail("token %llx was delivered twice", (unsigned long long)token);
  if (++book->tokens > TOKENS / 2) fail("the test's table of tokens is full");
  book->table[at] = made;
  pthread_mutex_unlock(&book->lock);
  if (atomic_fetch_add(&each->held, 1) != 0) fail("request %llx was delivered while it was held", (unsigned long long)id);
  atomic_fetch_add(&book->held, 1);
  count(DID_DELIVERED, 1);
  return made;
}

entry *ledger_find(ledger *book, ingest_token token) {
  pthread_mutex_lock(&book->lock);
  entry *found = book->table[place_of(book, token)];
  pthread_mutex_unlock(&book->lock);
  return found;
}

void pool_put(ledger *book, entry *each) {
  pthread_mutex_lock(&book->lock);
  if (book->pooled == book->pool_room) {
    book->pool_room *= 2;
    book->pool = want(realloc(book->pool, book->pool_room * sizeof *book->pool));
  }
  book->pool[book->pooled++] = each;
  pthread_mutex_unlock(&book->lock);
}

entry *pool_take(ledger *book, generator *random, bool all) {
  entry *taken = NULL;
  uint64_t now = now_ns();
  pthread_mutex_lock(&book->lock);
  for (int tries = 0; tries < 4 && book->pooled && !taken; tries++) {
    size_t at = draw_below(random, book->pooled);
    if (!all && book->pool[at]->due_ns > now) continue;
    taken = book->pool[at];
    book->pool[at] = book->pool[--book->pooled];
  }
  pthread_mutex_unlock(&book->lock);
  return taken;
}
