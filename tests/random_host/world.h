/* What the parts of the random host share: the seeded generator, the ledger of tokens, the plan of a round and its world. */
#ifndef RANDOM_HOST_WORLD_H
#define RANDOM_HOST_WORLD_H

#define _GNU_SOURCE
#include <ingest.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How long anything may take that has to happen; generous, since the machine may be busy and the program is instrumented. */
#define PATIENCE_NS (60ull * 1000000000ull)
/* Requests that the clients of one round may make. */
#define RECORDS (1u << 18)
/* Tokens that one round may see: some requests are returned and come again under new tokens. */
#define TOKENS (1u << 20)
#define QUEUES_MAX 3
#define LONGEST_BODY (1u << 20)
/* The file that answers are taken from holds so many octets of the pattern FILE_ID. */
#define FILE_OCTETS (1u << 22)
#define FILE_ID 0x7fffffffffffull

/* ---- the generator: splitmix64, so that a seed says everything ---- */

typedef struct { uint64_t state; } generator;
uint64_t draw(generator *random);
/* 0 to below - 1. */
uint64_t draw_below(generator *random, uint64_t below);
uint64_t draw_between(generator *random, uint64_t least, uint64_t most);
bool chance(generator *random, unsigned percent);

/* ---- patterns: what the octets of a body must be is known from the request's id ---- */

uint8_t pattern_at(uint64_t id, uint64_t position);
void pattern_fill(uint8_t *octets, size_t length, uint64_t id, uint64_t position);
bool pattern_holds(const uint8_t *octets, size_t length, uint64_t id, uint64_t position);

/* ---- saying what is wrong ---- */

extern uint64_t the_seed;
/* Says on stderr what is going on, behind what went wrong. */
extern void (*tell_plans)(void);
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
uint64_t now_ns(void);
void sleep_us(uint64_t microseconds);

/* ---- one round's choices ---- */

typedef enum { DELIVERY_INLINE, DELIVERY_QUEUE, DELIVERY_THREADS, DELIVERY_TURN } delivery;
typedef enum { BODY_BUFFER, BODY_STREAM, BODY_SPOOL } bodies;
/* How a round ends: everybody is served first; a drain that cuts; two stops; stopped and freed with requests still held. */
typedef enum { END_GENTLE, END_CUT, END_STOP, END_LEAVE } ending;

#define ASKED(kind) (1u << (kind))

typedef struct {
  delivery delivery;
  bodies bodies;
  ending ending;
  const char *topology;
  unsigned io_threads, queues, handler_threads, workers, clients, listeners;
  unsigned events; /* ASKED(INGEST_EVENT_...) bits of the option `events` */
  unsigned in_flight_max, queue_max, pipeline_max, response_timeout_ms, queue_age_ms, batch_max, packed_inline_max;
  unsigned body_max, body_buffer_max, body_window, requests_per_connection;
  bool in_memory; /* spooled bodies */
  unsigned secure; /* listeners of https, as bits */
  bool parallel, callback, runs; /* runs: ingest_server_run on a thread instead of ingest_server_start */
  const char *journey;
  unsigned run_ms;
} plan;

/* What the command line pins; NULL, 0 or -1 is drawn. */
typedef struct { const char *topology; int delivery, tls, bodies; unsigned io_threads, queues; } pins;

/* ---- the ledger ---- */

/* A request as its client knows it. */
typedef struct {
  /* The message was cut short on purpose: it may never reach the host. */
  atomic_bool cut;
  /* Tokens under which the host holds it now; never more than one. */
  atomic_int held;
  /* It was ended by something else than ingest_queue_return: it may not come again. */
  atomic_bool done;
  /* Statuses with which `ingest_respond_all` was called for it, as bits above ALL_STATUS. */
  atomic_uint all_statuses;
} record;

#define ALL_STATUS 210
#define ALL_STATUSES 8

typedef struct piece piece;
typedef struct lent { uint8_t *octets; size_t length; struct lent *next; } lent;

/* A token as the host knows it, from its delivery to the end of the round. */
typedef struct entry {
  ingest_token token;
  uint64_t id;
  const ingest_request *request;
  uint64_t digest;     /* of all that the request holds, taken at delivery */
  uint64_t tag;        /* the word that the host ties to it, sooner or later or never */
  uint64_t due_ns;     /* nobody touches it before */
  atomic_int ok, gone; /* how calls that end a request came out */
  atomic_int calls;    /* calls that end a request and have not returned yet */
  atomic_bool ended;
  bool given_back;     /* by ingest_queue_return */
  bool unsure;         /* one of several in a call that only counts: which of them it counted is not known */
  atomic_ullong ended_at; /* on the ledger's clock, once the ending call had returned */
  atomic_uint seen;       /* ASKED(kind) bits of events that came */
  atomic_uint reasons;    /* 1 << reason of GONE */
  atomic_uint busy, writable;
  atomic_bool attempted;  /* some call that answers it was begun */
  atomic_bool abandoned;  /* the call that ended it was ingest_abandon */
  atomic_bool lent_ok;    /* an answer with lend=1 was taken */
  lent *body;             /* what was lent */
  /* A streamed answer. */
  bool begun, chunked, trailer, patient;
  uint64_t busy_ns;
  uint64_t total, written;
  unsigned interims;
  /* A body that comes in events: how the host means to take it, and under the lock how much came, what of it is not credited, how
     many octets of the oldest piece are, and how it ended. `closing`: somebody may be ending the request. */
  bool streamed, hasty, stingy;
  pthread_mutex_t upload_lock;
  piece *first, *last;
  uint64_t length, came, owed, paid;
  bool closing, whole, cut_off;
} entry;

typedef struct {
  pthread_mutex_t lock;
  entry **table;         /* open addressing by token */
  size_t tokens;
  entry **pool;          /* held by the host, owned by nobody */
  size_t pooled, pool_room;
  atomic_long held;      /* entries that have not ended */
  record *records;
  atomic_uint made;      /* records in use */
  atomic_ullong clock;
  atomic_long returned;  /* requests that ingest_queue_return put back */
  atomic_long again;     /* deliveries of such a request */
} ledger;

void ledger_open(ledger *book);
void ledger_close(ledger *book);
/* Ids hold the world's number above the record's index, so that no two worlds share one. */
entry *ledger_deliver(ledger *book, ingest_token token, uint64_t id, const ingest_request *request);
entry *ledger_find(ledger *book, ingest_token token);
record *ledger_record(ledger *book, uint64_t id);
void pool_put(ledger *book, entry *each);
/* A random entry that is due, or any with `all`; NULL if there is none. The caller owns it then. */
entry *pool_take(ledger *book, generator *random, bool all);

/* ---- the world: one server at a time, its host threads and its clients ---- */

typedef enum { PHASE_SERVING, PHASE_CLOSING, PHASE_STOPPED, PHASE_OVER } phase;

typedef struct world {
  unsigned number, round;
  generator random;
  pins pins;
  plan plan;
  ingest_server *server;
  ingest_queue *queues[QUEUES_MAX];
  unsigned ports[2];
  ledger book;
  atomic_int phase;
  atomic_bool workers_end, driver_end;
  atomic_uint draining_seen, stopped_seen;
  atomic_int threads_started, threads_ended;
  atomic_uint unreadable; /* looks in a row that found a queue with events behind a descriptor that is not readable */
  /* Lent bodies that came back: scribbled over, and kept a while so that a late reader sends nonsense. */
  pthread_mutex_t graves_lock;
  lent *graves;
  unsigned graves_kept;
  /* Entries that two threads are to answer at once. */
  pthread_mutex_t rivals_lock;
  entry *rivals[8];
  int file;
} world;

/* A thread of the host with a generator of its own. */
typedef struct { world *world; generator random; uint64_t poll_began; bool in_callback; } actor;

/* What was done, over all rounds and worlds. */
typedef enum {
  DID_RESPOND, DID_BYTES, DID_MANY, DID_ALL, DID_PACKED, DID_STREAM, DID_FILE, DID_LEND, DID_ABANDON, DID_RETURN,
  DID_GONE, DID_CREDIT, DID_RIVALS, DID_INTERIM, DID_MISUSE, DID_STALE, DID_ROUNDS, DID_DELIVERED,
  SAW_ANSWERS, SAW_REFUSALS, SAW_ENDS, SAW_CUT_BODIES, EVENT_GONE, EVENT_WRITABLE, EVENT_RELEASED, EVENT_SENT,
  EVENT_BODY, EVENT_BODY_END, SAW_CUT_UPLOADS, SAW_FILES, SAW_TLS, SAW_CERTIFICATES,
  COUNTERS
} counter;
extern atomic_ullong counters[COUNTERS];
extern const char *const counter_names[COUNTERS];
void count(counter which, uint64_t by);

/* ---- doors between the parts ---- */

/* take.c */
void on_events(void *userdata, ingest_server *server, const ingest_event *events, size_t many);
/* Takes from a queue in one of the three ways; false when the server has stopped. */
bool consume(actor *self, ingest_queue *queue, bool may_wait);
void take_events(actor *self, const ingest_event *events, size_t many);
uint64_t digest_of(const ingest_request *request);

/* packed.c */
int32_t take_packed(actor *self, ingest_queue *queue);
void respond_packed(actor *self, entry **entries, size_t many);

/* answer.c */
/* Does something random with an entry that the caller owns, and with others of the pool. */
void act(actor *self, entry *each, bool finish);
/* Called by the thread that lost no race for the slot: answers somebody else's entry at the same time. */
void act_as_rival(actor *self);
/* Notes how a call that ends a request came out. */
void note_end(actor *self, entry *each, ingest_status status, counter what);
/* Before the last call: reads every octet and compares it with what was there at delivery. */
void before_end(entry *each);
/* Answers with ingest_respond or ingest_respond_bytes and puts the mark in the type. */
typedef struct { uint16_t status; size_t length; char type[128]; } mark;
mark draw_mark(actor *self, uint64_t id);
void bury(world *world, lent *body);

/* stream.c */
bool stream_begin(actor *self, entry *each);
/* True when the entry has ended. */
bool stream_go_on(actor *self, entry *each, bool finish);
void respond_file(actor *self, entry *each);
void respond_lent(actor *self, entry *each);

/* upload.c */
void upload_begin(actor *self, entry *each, uint64_t length);
void upload_forget(entry *each);
void upload_close(entry *each);
void upload_gone(entry *each);
void take_upload(actor *self, entry *each, const ingest_event *event);
/* Gives credit, perhaps. True when the host goes on with the request itself. */
bool upload_act(actor *self, entry *each, bool finish);

/* misuse.c */
/* True when the entry has ended, because it was gone before. */
bool misuse_held(actor *self, entry *each);
void misuse_anything(actor *self);
void remember_stale(ingest_token token);

/* client.c and reader.c */
void *client_main(void *start);

/* server.c */
void run_round(world *world);

#endif
