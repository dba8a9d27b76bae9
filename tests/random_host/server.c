/* One round of the random host: a server with drawn options, its host threads and clients, its end, and what must hold then. */
#include "secured.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORKERS_MAX 4
#define CLIENTS_MAX 12

/* ---- drawing a plan ---- */

static unsigned draw_limit(generator *random, unsigned percent, unsigned least, unsigned most, unsigned usual) {
  return chance(random, percent) ? (unsigned)draw_between(random, least, most) : usual;
}

static plan draw_plan(world *world) {
  generator *random = &world->random;
  static const char *const journeys[] = {"off", "tick", "sample", "steps"};
  static const char *const topologies[] = {"auto", "inline", "shards", "shared", "acceptor", "dispatch", "pipeline",
                                          "cut",  "cut-each"};
  plan made = {0};
  made.delivery = world->pins.delivery >= 0 ? (delivery)world->pins.delivery : (delivery)draw_below(random, 4);
  made.ending = (ending)(chance(random, 50) ? END_GENTLE : draw_below(random, 4));
  do made.topology = topologies[draw_below(random, sizeof topologies / sizeof *topologies)];
  /* The plans that are cut before parse are for tests alone, and ingest_has does not tell of them. */
  while (strcmp(made.topology, "auto") && strncmp(made.topology, "cut", 3) && ingest_has(made.topology) != 1);
  if (world->pins.topology) made.topology = world->pins.topology;
  if (made.delivery == DELIVERY_TURN) made.topology = chance(random, 50) ? "auto" : "inline";
  made.io_threads = world->pins.io_threads ? world->pins.io_threads : (unsigned)draw_between(random, 1, 3);
  if (made.delivery == DELIVERY_TURN || strcmp(made.topology, "inline") == 0) made.io_threads = 1;
  made.queues = world->pins.queues ? world->pins.queues : (unsigned)draw_between(random, 1, QUEUES_MAX);
  made.callback = made.delivery == DELIVERY_INLINE || made.delivery == DELIVERY_THREADS ||
                  (made.delivery == DELIVERY_TURN && chance(random, 50));
  made.handler_threads = made.queues + (unsigned)draw_below(random, 3);
  made.workers = (unsigned)draw_between(random, 2, WORKERS_MAX);
  made.clients = (unsigned)draw_between(random, 3, CLIENTS_MAX);
  made.listeners = (unsigned)draw_between(random, 1, 2);
  bool secure = world->pins.tls < 0 ? chance(random, 40) : world->pins.tls;
  made.secure = !secure ? 0 : world->pins.tls > 0 ? ~0u : (unsigned)draw_between(random, 1, 3);
  /* BODY and BODY_END come unasked, MESSAGE belongs to what this version does not do; all the others may be asked for. */
  unsigned all = ASKED(INGEST_EVENT_GONE) | ASKED(INGEST_EVENT_WRITABLE) | ASKED(INGEST_EVENT_RELEASED) | ASKED(INGEST_EVENT_SENT) |
                 ASKED(INGEST_EVENT_DRAINING) | ASKED(INGEST_EVENT_STOPPED) | ASKED(INGEST_EVENT_FAULT);
  made.events = chance(random, 40) ? all : chance(random, 20) ? 0 : (unsigned)draw(random) & all;
  made.in_flight_max = draw_limit(random, 30, 1, 16, 16384);
  made.queue_max = draw_limit(random, 30, 1, 8, 1024);
  made.pipeline_max = draw_limit(random, 60, 1, 8, 16);
  made.response_timeout_ms = draw_limit(random, 50, 50, 300, 5000);
  made.queue_age_ms = draw_limit(random, 15, 20, 200, 5000);
  made.batch_max = draw_limit(random, 50, 1, 8, 64);
  made.packed_inline_max = draw_limit(random, 50, 1, 2000, 16384);
  made.body_max = draw_limit(random, 50, 8192, 65536, LONGEST_BODY);
  made.bodies = world->pins.bodies >= 0 ? (bodies)world->pins.bodies
                : chance(random, 40)    ? BODY_BUFFER
                : chance(random, 65)    ? BODY_STREAM
                                        : BODY_SPOOL;
  made.body_buffer_max = draw_limit(random, 70, 0, 4000, 65536);
  made.body_window = draw_limit(random, 60, 16384, 40000, 262144);
  made.in_memory = chance(random, 50);
  made.requests_per_connection = draw_limit(random, 30, 1, 20, 0);
  made.parallel = chance(random, 50);
  made.runs = made.delivery != DELIVERY_TURN && chance(random, 20);
  made.journey = journeys[draw_below(random, 4)];
  made.run_ms = (unsigned)draw_between(random, 200, 3000);
  return made;
}

/* ---- making the server ---- */

static void set(ingest_options *options, const char *name, const char *value) {
  ingest_error error;
  if (ingest_options_set(options, name, value, &error) != INGEST_OK) fail("%s=%s: %s", name, value, error.text);
}

static void set_number(ingest_options *options, const char *name, unsigned number, const char *unit) {
  char value[32];
  snprintf(value, sizeof value, "%u%s", number, unit);
  set(options, name, value);
}

static void set_events(world *world, ingest_options *options) {
  static const char *const names[] = {[INGEST_EVENT_GONE] = "gone",         [INGEST_EVENT_WRITABLE] = "writable",
                                      [INGEST_EVENT_RELEASED] = "released", [INGEST_EVENT_SENT] = "sent",
                                      [INGEST_EVENT_DRAINING] = "draining", [INGEST_EVENT_STOPPED] = "stopped",
                                      [INGEST_EVENT_FAULT] = "fault"};
  char list[128] = "";
  for (unsigned kind = 0; kind < sizeof names / sizeof *names; kind++) {
    if (!names[kind] || !(world->plan.events & ASKED(kind))) continue;
    if (*list) strcat(list, ",");
    strcat(list, names[kind]);
  }
  ingest_error error;
  ingest_status status = ingest_options_set(options, "events", list, &error);
  if (status != INGEST_OK) fail("events=%s: %s", list, error.text);
}

static ingest_options *options_of(world *world) {
  static const char *const deliveries[] = {"inline", "queue", "threads", "queue"};
  static const char *const policies[] = {"buffer", "stream", "spool"};
  const plan *plan = &world->plan;
  ingest_options *options = ingest_options_new();
  set(options, "topology", plan->topology);
  set(options, "delivery", plan->delivery == DELIVERY_TURN && plan->callback ? "auto" : deliveries[plan->delivery]);
  set(options, "journey", plan->journey);
  set(options, "pipeline_unsafe", plan->parallel ? "parallel" : "serial");
  set_number(options, "io_threads", plan->io_threads, "");
  set_number(options, "queues", plan->queues, "");
  set_number(options, "handler_threads", plan->handler_threads, "");
  set_number(options, "in_flight_max", plan->in_flight_max, "");
  set_number(options, "queue_max", plan->queue_max, "");
  set_number(options, "pipeline_max", plan->pipeline_max, "");
  set_number(options, "batch_max", plan->batch_max, "");
  set_number(options, "response_timeout", plan->response_timeout_ms, "ms");
  set_number(options, "queue_age", plan->queue_age_ms, "ms");
  set_number(options, "packed_inline_max", plan->packed_inline_max, "");
  set_number(options, "body_max", plan->body_max, "");
  set(options, "body", policies[plan->bodies]);
  set_number(options, "body_buffer_max", plan->body_buffer_max, "");
  set_number(options, "body_window", plan->body_window, "");
  if (plan->in_memory) set(options, "spool_dir", "memory");
  if (plan->requests_per_connection) set_number(options, "requests_per_connection", plan->requests_per_connection, "");
  if (plan->secure) {
    set(options, "tls.cert", secured_cert);
    set(options, "tls.key", secured_key);
    set(options, "tls.client_ca", secured_client_ca);
    set(options, "tls.client_auth", "optional");
  }
  set_events(world, options);
  return options;
}

static void on_log(void *userdata, ingest_server *server, const ingest_log_record *record) {
  world *world = userdata;
  if (server != world->server || record->size < sizeof *record || !record->text.ptr || !record->at_ns)
    fail("a record of the log is not whole");
  if (record->level == INGEST_LOG_ERROR) fail("the log has an error: %.*s", (int)record->text.len, record->text.ptr);
}

static void on_thread(void *userdata, ingest_server *server, const char *name, int32_t started) {
  world *world = userdata;
  if (server != world->server || strncmp(name, "ingest-", 7)) fail("a thread has the name %s", name);
  atomic_fetch_add(started ? &world->threads_started : &world->threads_ended, 1);
}

static void open_server(world *world) {
  ingest_options *options = options_of(world);
  ingest_error error;
  world->server = ingest_server_new(options);
  ingest_options_free(options);
  if (!world->server) fail("no server could be made");
  if (world->plan.callback && ingest_server_on_events(world->server, on_events, world) != INGEST_OK)
    fail("the callback was not taken");
  if (ingest_server_on_thread(world->server, on_thread, world) != INGEST_OK) fail("the callback for threads was not taken");
  if (chance(&world->random, 50) && ingest_server_on_log(world->server, on_log, world) != INGEST_OK)
    fail("the callback for the log was not taken");
  for (unsigned i = 0; i < world->plan.queues; i++)
    if (!(world->queues[i] = ingest_server_queue(world->server, i))) fail("queue %u is missing", i);
  for (unsigned i = 0; i < world->plan.listeners; i++) {
    int32_t listener = ingest_server_listen(
        world->server, world->plan.secure & 1u << i ? "https://127.0.0.1:0" : "http://127.0.0.1:0", NULL, &error);
    if (listener < 0) fail("cannot listen: %s", error.text);
    world->ports[i] = (unsigned)ingest_server_port(world->server, listener);
  }
  if (world->plan.runs) return;
  if (world->plan.delivery != DELIVERY_TURN && ingest_server_start(world->server, &error) != INGEST_OK)
    fail("cannot start: %s", error.text);
  if (world->plan.delivery == DELIVERY_TURN && ingest_server_fd(world->server) < 0) fail("the server has no descriptor for turns");
}

/* ---- threads ---- */

static void spawn(world *world, pthread_t *thread, actor *start, void *(*run)(void *)) {
  *start = (actor){.world = world, .random = {draw(&world->random)}};
  if (pthread_create(thread, NULL, run, start)) fail("the test itself cannot have another thread");
}

static void *driver_main(void *start) {
  actor self = *(actor *)start;
  world *world = self.world;
  int descriptor = ingest_server_fd(world->server);
  while (!atomic_load(&world->driver_end)) {
    bool polls = chance(&self.random, 50);
    if (polls) poll(&(struct pollfd){descriptor, POLLIN, 0}, 1, 20);
    int32_t turned = ingest_server_turn(world->server, polls ? 0 : (int32_t)draw_below(&self.random, 20));
    if (turned == INGEST_E_STOPPED) return NULL;
    if (turned < 0 && turned != INGEST_E_INTERRUPTED) fail("a turn returned %s", ingest_status_name(turned));
  }
  return NULL;
}

static void *runner_main(void *start) {
  ingest_error error;
  ingest_status status = ingest_server_run(((actor *)start)->world->server, &error);
  if (status != INGEST_OK) fail("running the server returned %s: %s", ingest_status_name(status), error.text);
  return NULL;
}

/* The thread that drives the server or runs it, where there is one. */
static bool has_driver(const plan *plan) { return plan->delivery == DELIVERY_TURN || plan->runs; }

static void start_driver(world *world, pthread_t *driver, actor *start) {
  if (!has_driver(&world->plan)) return;
  spawn(world, driver, start, world->plan.runs ? runner_main : driver_main);
  uint64_t began = now_ns();
  while (world->plan.runs && ingest_server_join(world->server, 0) != INGEST_E_BUSY) {
    if (now_ns() - began > PATIENCE_NS) fail("a server that is run does not start");
    sleep_us(200);
  }
}

static void *worker_main(void *start) {
  actor self = *(actor *)start;
  world *world = self.world;
  while (!atomic_load(&world->workers_end)) {
    bool finish = atomic_load(&world->phase) >= PHASE_CLOSING, idle = true;
    if (!world->plan.callback && chance(&self.random, 60))
      consume(&self, world->queues[draw_below(&self.random, world->plan.queues)], chance(&self.random, 50));
    act_as_rival(&self);
    for (int acts = 0; acts < 8; acts++) {
      entry *each = pool_take(&world->book, &self.random, finish);
      if (!each) break;
      act(&self, each, finish);
      idle = false;
    }
    if (chance(&self.random, 30)) misuse_anything(&self);
    if (idle) sleep_us(draw_below(&self.random, 300));
  }
  return NULL;
}

/* ---- the end ---- */

static ingest_stats stats_of(world *world) {
  ingest_stats stats = {.size = sizeof stats};
  if (ingest_server_stats(world->server, &stats) != INGEST_OK) fail("the server has no stats");
  return stats;
}

/* Whatever else was in the queues, and the last events; each queue says STOPPED for ever after. */
static void empty_queues(world *world) {
  if (world->plan.callback && world->plan.delivery != DELIVERY_THREADS) return;
  actor self = {.world = world, .random = {draw(&world->random)}};
  uint64_t began = now_ns();
  for (unsigned i = 0; i < world->plan.queues; i++)
    while (consume(&self, world->queues[i], true))
      if (now_ns() - began > PATIENCE_NS) fail("queue %u never says that the server has stopped", i);
}

static void wait_until_nothing_is_held(world *world) {
  uint64_t began = now_ns();
  while (atomic_load(&world->book.held)) {
    if (now_ns() - began > PATIENCE_NS)
      fail("%ld requests are still held, and %zu in the pool", atomic_load(&world->book.held), world->book.pooled);
    sleep_us(500);
  }
}

static bool is_at_rest(const ingest_stats *stats, uint64_t memory_before) {
  return !stats->connections_open && !stats->in_flight && !stats->queued && stats->memory_bytes == memory_before;
}

/* Every client has left and every request is given back: a server that goes on serving returns to what it was. */
static void wait_for_rest(world *world, uint64_t memory_before) {
  uint64_t began = now_ns();
  for (;;) {
    ingest_stats stats = stats_of(world);
    if (!atomic_load(&world->book.held) && is_at_rest(&stats, memory_before)) return;
    if (now_ns() - began > PATIENCE_NS)
      fail(
          "without clients %llu connections are open, the host holds %ld requests, %llu are in flight, %llu queued, and memory_bytes is %llu, at "
          "first it was %llu",
          (unsigned long long)stats.connections_open, atomic_load(&world->book.held), (unsigned long long)stats.in_flight,
          (unsigned long long)stats.queued, (unsigned long long)stats.memory_bytes, (unsigned long long)memory_before);
    sleep_us(500);
  }
}

static void check_entries(world *world) {
  bool all_came = world->plan.ending != END_LEAVE;
  unsigned events = world->plan.events;
  for (size_t at = 0; at < TOKENS; at++) {
    entry *each = world->book.table[at];
    if (!each) continue;
    int ok = atomic_load(&each->ok), gone = atomic_load(&each->gone);
    bool released = atomic_load(&each->seen) & ASKED(INGEST_EVENT_RELEASED);
    if (all_came && (!atomic_load(&each->ended) || ok > 1 || ok + gone < 1))
      fail("token %llx ended %d times and was gone %d times", (unsigned long long)each->token, ok, gone);
    if (all_came && released != atomic_load(&each->lent_ok))
      fail("token %llx: an answer was %s, RELEASED %s", (unsigned long long)each->token,
           atomic_load(&each->lent_ok) ? "lent" : "not lent", released ? "came" : "did not come");
    if (atomic_load(&each->writable) > atomic_load(&each->busy))
      fail("token %llx was WRITABLE more often than BUSY", (unsigned long long)each->token);
    bool answered = each->unsure || (ok && !atomic_load(&each->abandoned) && !each->given_back);
    if (all_came && atomic_load(&each->seen) & ASKED(INGEST_EVENT_SENT) && !answered)
      fail("SENT for token %llx, whose answer was not taken", (unsigned long long)each->token);
  }
  unsigned draining = atomic_load(&world->draining_seen), stopped = atomic_load(&world->stopped_seen);
  if (draining > world->plan.queues || stopped > world->plan.queues)
    fail("DRAINING came %u times, STOPPED %u times", draining, stopped);
  if (!all_came) return;
  unsigned wanted = world->plan.callback && world->plan.delivery != DELIVERY_THREADS ? 1 : world->plan.queues;
  if (events & ASKED(INGEST_EVENT_STOPPED) && stopped != wanted) fail("STOPPED came %u times, not %u", stopped, wanted);
  if (world->plan.ending == END_GENTLE && events & ASKED(INGEST_EVENT_DRAINING) && draining != wanted)
    fail("DRAINING came %u times, not %u", draining, wanted);
}

static void check_stats(world *world, uint64_t memory_before) {
  ingest_stats stats = stats_of(world);
  bool gentle = world->plan.ending == END_GENTLE;
  if (stats.connections_open || stats.in_flight || stats.queued || stats.panics)
    fail("after the end %llu connections are open, %llu requests in flight, %llu queued, and %llu faults were caught",
         (unsigned long long)stats.connections_open, (unsigned long long)stats.in_flight, (unsigned long long)stats.queued,
         (unsigned long long)stats.panics);
  if (gentle && stats.memory_bytes != memory_before)
    fail("memory_bytes was %llu before the first request and is %llu after the last", (unsigned long long)memory_before,
         (unsigned long long)stats.memory_bytes);
}

static void wait_for_stop(world *world, pthread_t *driver) {
  if (world->plan.delivery == DELIVERY_TURN) {
    pthread_join(*driver, NULL);
    return;
  }
  if (world->plan.runs) pthread_join(*driver, NULL);
  ingest_status status = ingest_server_join(world->server, (int32_t)(PATIENCE_NS / 1000000));
  if (status != INGEST_OK) fail("the server does not stop: join returned %s", ingest_status_name(status));
}

static void order_the_end(world *world) {
  generator *random = &world->random;
  ingest_status status = INGEST_OK;
  if (world->plan.ending == END_GENTLE)
    status = ingest_server_drain(world->server, 20000);
  else if (world->plan.ending == END_CUT)
    status = ingest_server_drain(world->server, chance(random, 50) ? 20000 : (int32_t)draw_below(random, 100));
  else if (ingest_server_stop(world->server) == INGEST_OK)
    status = ingest_server_stop(world->server);
  if (status != INGEST_OK) fail("ending the server returned %s", ingest_status_name(status));
}

static void dig_out(world *world) {
  while (world->graves) {
    lent *next = world->graves->next;
    free(world->graves->octets);
    free(world->graves);
    world->graves = next;
  }
  world->graves_kept = 0;
}

/* Everything in the order in which a host would end: clients may be first or last. */
static void end_round(world *world, pthread_t *workers, pthread_t *clients, pthread_t *driver, uint64_t memory_before) {
  plan *plan = &world->plan;
  atomic_store(&world->phase, PHASE_CLOSING);
  if (plan->ending == END_GENTLE) {
    for (unsigned i = 0; i < plan->clients; i++) pthread_join(clients[i], NULL);
    wait_for_rest(world, memory_before);
  }
  if (plan->ending == END_LEAVE) {
    atomic_store(&world->workers_end, true);
    for (unsigned i = 0; i < plan->workers; i++) pthread_join(workers[i], NULL);
    atomic_store(&world->driver_end, true);
    if (plan->delivery == DELIVERY_TURN) pthread_join(*driver, NULL);
    /* Who runs the server cannot be within a call when it is freed. */
    if (plan->runs || chance(&world->random, 50)) order_the_end(world);
    if (plan->runs) pthread_join(*driver, NULL);
  } else {
    order_the_end(world);
    wait_for_stop(world, driver);
    atomic_store(&world->phase, PHASE_STOPPED);
    empty_queues(world);
    wait_until_nothing_is_held(world);
    atomic_store(&world->workers_end, true);
    for (unsigned i = 0; i < plan->workers; i++) pthread_join(workers[i], NULL);
  }
}

void run_round(world *world) {
  pthread_t workers[WORKERS_MAX], clients[CLIENTS_MAX], driver;
  actor starts[WORKERS_MAX + CLIENTS_MAX + 1];
  world->round++;
  world->plan = draw_plan(world);
  plan *plan = &world->plan;
  ledger_open(&world->book);
  atomic_store(&world->phase, PHASE_SERVING);
  atomic_store(&world->workers_end, false);
  atomic_store(&world->driver_end, false);
  atomic_store(&world->draining_seen, 0);
  atomic_store(&world->threads_started, 0);
  atomic_store(&world->threads_ended, 0);
  atomic_store(&world->unreadable, 0);
  atomic_store(&world->stopped_seen, 0);
  open_server(world);
  uint64_t memory_before = stats_of(world).memory_bytes;
  start_driver(world, &driver, &starts[WORKERS_MAX + CLIENTS_MAX]);
  for (unsigned i = 0; i < plan->workers; i++) spawn(world, &workers[i], &starts[i], worker_main);
  for (unsigned i = 0; i < plan->clients; i++) spawn(world, &clients[i], &starts[WORKERS_MAX + i], client_main);
  sleep_us(plan->run_ms * 1000ull);
  end_round(world, workers, clients, &driver, memory_before);
  if (plan->ending != END_LEAVE) check_stats(world, memory_before);
  if (ingest_server_free(world->server) != INGEST_OK) fail("the server was not freed");
  int started = atomic_load(&world->threads_started), ended = atomic_load(&world->threads_ended);
  if (started != ended || (started == 0) != (plan->delivery == DELIVERY_TURN))
    fail("%d threads started and %d ended", started, ended);
  atomic_store(&world->phase, PHASE_OVER);
  if (plan->ending != END_GENTLE)
    for (unsigned i = 0; i < plan->clients; i++) pthread_join(clients[i], NULL);
  check_entries(world);
  memset(world->rivals, 0, sizeof world->rivals);
  dig_out(world);
  ledger_close(&world->book);
  count(DID_ROUNDS, 1);
}
