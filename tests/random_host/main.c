/* random_host: a host that plays every call of ingest.h against clients that misbehave, from a seed, and checks what must hold. */
#include "secured.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WORLDS 2

static world worlds[WORLDS];
static uint64_t over_at_ns;
static atomic_int worlds_over;

static void *world_main(void *argument) {
  world *world = argument;
  do run_round(world);
  while (now_ns() < over_at_ns);
  atomic_fetch_add(&worlds_over, 1);
  return NULL;
}

/* Entries of a folder of /proc/self, the one that lists it included. */
static unsigned entries_of(const char *path) {
  unsigned many = 0;
  DIR *folder = opendir(path);
  if (!folder) fail("cannot read %s", path);
  while (readdir(folder)) many++;
  closedir(folder);
  return many;
}

static int usage(void) {
  fprintf(
      stderr,
      "usage: random_host --seed N --seconds S [--delivery inline|queue|threads|turn] [--topology NAME] [--io-threads N] [--queues N] [--tls 0|1] [--body buffer|stream|spool]\n");
  return 2;
}

static void tell_all_plans(void) {
  static const char *const deliveries[] = {"inline", "queue", "threads", "turn"}, *const endings[] = {"gentle", "cut", "stop",
                                                                                                      "leave"};
  static const char *const bodies[] = {"buffer", "stream", "spool"};
  for (int i = 0; i < WORLDS; i++) {
    const plan *plan = &worlds[i].plan;
    if (!plan->topology) continue;
    fprintf(
        stderr,
        "  world %d, round %u, phase %d: tls %x, delivery %s%s%s, topology %s, io_threads %u, queues %u, handler_threads %u, ending %s, in_flight_max %u, "
        "queue_max %u, pipeline_max %u, batch_max %u, response_timeout %u ms, queue_age %u ms, events %x, pipeline_unsafe %s, "
        "body %s, body_max %u, body_buffer_max %u, body_window %u\n",
        i, worlds[i].round, atomic_load(&worlds[i].phase), plan->secure, deliveries[plan->delivery], plan->callback ? " with callback" : "",
        plan->runs ? ", run" : "", plan->topology, plan->io_threads, plan->queues, plan->handler_threads, endings[plan->ending],
        plan->in_flight_max, plan->queue_max, plan->pipeline_max, plan->batch_max, plan->response_timeout_ms, plan->queue_age_ms,
        plan->events, plan->parallel ? "parallel" : "serial", bodies[plan->bodies], plan->body_max, plan->body_buffer_max, plan->body_window);
  }
}

static void tell(uint64_t began) {
  printf("%3llu s:", (unsigned long long)((now_ns() - began) / 1000000000));
  for (int i = 0; i < COUNTERS; i++)
    printf(" %s %llu%s", counter_names[i], (unsigned long long)atomic_load(&counters[i]), i + 1 < COUNTERS ? "," : "");
  printf("\n");
  fflush(stdout);
}

static int make_file(void) {
  FILE *file = tmpfile();
  uint8_t *octets = malloc(FILE_OCTETS);
  if (!file || !octets) fail("the test itself has no file");
  pattern_fill(octets, FILE_OCTETS, FILE_ID, 0);
  if (fwrite(octets, 1, FILE_OCTETS, file) != FILE_OCTETS || fflush(file)) fail("the test itself cannot write its file");
  free(octets);
  int own = dup(fileno(file));
  fclose(file);
  return own;
}

/* A run that did too little proves nothing, so it fails. */
static void check_coverage(uint64_t seconds, bool secure, int bodies) {
  static const counter always[] = {DID_RESPOND, DID_BYTES,  DID_MANY,    DID_ALL,     DID_PACKED,     DID_ABANDON,    DID_GONE,
                                   DID_RIVALS,  DID_MISUSE, DID_STALE,   SAW_ANSWERS, SAW_REFUSALS,   SAW_ENDS,       DID_STREAM,
                                   DID_FILE,    DID_LEND,   DID_INTERIM, EVENT_GONE,  EVENT_WRITABLE, EVENT_RELEASED, EVENT_SENT};
  if (seconds < 10) return;
  for (size_t i = 0; i < sizeof always / sizeof *always; i++)
    if (!atomic_load(&counters[always[i]]))
      fail("nothing was counted for `%s`: the run proves too little", counter_names[always[i]]);
  if (secure && (!atomic_load(&counters[SAW_TLS]) || !atomic_load(&counters[SAW_CERTIFICATES])))
    fail("no request came over TLS with a certificate: the run proves too little");
  static const counter streamed[] = {EVENT_BODY, EVENT_BODY_END, SAW_CUT_UPLOADS, DID_CREDIT};
  for (size_t i = 0; bodies == BODY_STREAM && i < sizeof streamed / sizeof *streamed; i++)
    if (!atomic_load(&counters[streamed[i]]))
      fail("nothing was counted for `%s`: the run proves too little", counter_names[streamed[i]]);
  if (bodies == BODY_SPOOL && !atomic_load(&counters[SAW_FILES])) fail("no body was in a file: the run proves too little");
}

static bool parse(int count, char **arguments, pins *pins, uint64_t *seconds) {
  static const char *const deliveries[] = {"inline", "queue", "threads", "turn"}, *const bodies[] = {"buffer", "stream", "spool"};
  for (int i = 1; i + 1 < count; i += 2) {
    const char *name = arguments[i], *value = arguments[i + 1];
    if (!strcmp(name, "--seed"))
      the_seed = strtoull(value, NULL, 0);
    else if (!strcmp(name, "--seconds"))
      *seconds = strtoull(value, NULL, 10);
    else if (!strcmp(name, "--topology"))
      pins->topology = value;
    else if (!strcmp(name, "--io-threads"))
      pins->io_threads = (unsigned)atoi(value);
    else if (!strcmp(name, "--tls"))
      pins->tls = atoi(value);
    else if (!strcmp(name, "--queues"))
      pins->queues = (unsigned)atoi(value);
    else if (!strcmp(name, "--delivery")) {
      for (int each = 0; each < 4; each++)
        if (!strcmp(value, deliveries[each])) pins->delivery = each;
      if (pins->delivery < 0) return false;
    } else if (!strcmp(name, "--body")) {
      for (int each = 0; each < 3; each++)
        if (!strcmp(value, bodies[each])) pins->bodies = each;
      if (pins->bodies < 0) return false;
    } else
      return false;
  }
  return count % 2 == 1 && *seconds && pins->queues <= QUEUES_MAX;
}

int main(int count, char **arguments) {
  pthread_t threads[WORLDS];
  pins pins = {.delivery = -1, .tls = -1, .bodies = -1};
  uint64_t seconds = 0, began = now_ns();
  if (!parse(count, arguments, &pins, &seconds)) return usage();
  signal(SIGPIPE, SIG_DFL); /* the library may not depend on the host ignoring it */
  generator random = {the_seed};
  tell_plans = tell_all_plans;
  int file = make_file();
  secured_begin();
  over_at_ns = began + seconds * 1000000000ull;
  unsigned descriptors = entries_of("/proc/self/fd"), tasks = entries_of("/proc/self/task");
  printf("seed %llu, %llu s\n", (unsigned long long)the_seed, (unsigned long long)seconds);
  for (unsigned i = 0; i < WORLDS; i++) {
    worlds[i].number = i;
    worlds[i].pins = pins;
    worlds[i].random.state = draw(&random);
    worlds[i].file = file;
    pthread_mutex_init(&worlds[i].graves_lock, NULL);
    pthread_mutex_init(&worlds[i].rivals_lock, NULL);
    if (pthread_create(&threads[i], NULL, world_main, &worlds[i])) fail("the test itself cannot have another thread");
  }
  for (uint64_t told = 0; atomic_load(&worlds_over) < WORLDS; sleep_us(50000)) {
    if (now_ns() - began > 5000000000ull * (told + 1)) {
      told++;
      tell(began);
    }
    if (now_ns() > over_at_ns + 3 * PATIENCE_NS) fail("the round that is under way does not end");
  }
  for (unsigned i = 0; i < WORLDS; i++) pthread_join(threads[i], NULL);
  unsigned left = entries_of("/proc/self/fd");
  if (left != descriptors) fail("%u descriptors were open at the beginning and %u are at the end", descriptors, left);
  /* A joined thread may be listed for a moment longer. */
  for (int tries = 0; entries_of("/proc/self/task") != tasks && tries < 1000; tries++) sleep_us(10000);
  if (entries_of("/proc/self/task") != tasks) fail("threads are left over");
  tell(began);
  close(file);
  secured_end();
  check_coverage(seconds, pins.tls != 0, pins.bodies);
  printf("clean\n");
  return 0;
}
