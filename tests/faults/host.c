/* A host that does what no host should, when a request's path asks for it: see the table `deeds`. Built and run by tests/faults_hosts. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <ingest.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static ingest_server *server;
static volatile sig_atomic_t asked_to_stop;
static jmp_buf out_of_the_callback;
static const char *prison = "/";

static void fail(const char *what, const char *text) {
  fprintf(stderr, "host: %s: %s\n", what, text);
  exit(1);
}

static void answer(ingest_token token, const char *text) {
  ingest_respond_bytes(server, token, 200, "text/plain", text, strlen(text));
}

static void hello(ingest_token token, const ingest_request *request) {
  (void)request;
  answer(token, "hello");
}

/* The length of the body that came. */
static void length(ingest_token token, const ingest_request *request) {
  char text[32];
  snprintf(text, sizeof text, "%llu", (unsigned long long)request->body_len);
  answer(token, text);
}

static void hold(ingest_token token, const ingest_request *request) {
  (void)token;
  (void)request;
}

static void stats(ingest_token token, const ingest_request *request) {
  ingest_stats now = {.size = sizeof now};
  char text[128];
  (void)request;
  if (ingest_server_stats(server, &now) != INGEST_OK) fail("stats", "refused");
  snprintf(text, sizeof text, "open %llu in_flight %llu memory %llu", (unsigned long long)now.connections_open,
           (unsigned long long)now.in_flight, (unsigned long long)now.memory_bytes);
  answer(token, text);
}

/* H05: the child may use nothing of the library; what it is told is in its exit status. */
static void fork_here(ingest_token token, const ingest_request *request) {
  int status = 0;
  char text[32];
  pid_t child = fork();
  (void)request;
  if (child == 0) {
    int refused = ingest_respond_bytes(server, token, 200, NULL, "child", 5) == INGEST_E_FORKED;
    refused += ingest_server_stop(server) == INGEST_E_FORKED;
    refused += ingest_server_free(server) == INGEST_E_FORKED;
    _exit(40 + refused);
  }
  if (child < 0 || waitpid(child, &status, 0) != child) fail("fork", strerror(errno));
  snprintf(text, sizeof text, "child %d", WIFEXITED(status) ? WEXITSTATUS(status) : -1);
  answer(token, text);
}

static void exit_here(ingest_token token, const ingest_request *request) {
  (void)token;
  (void)request;
  exit(7);
}

/* H16: every descriptor but the standard ones, ours and the library's. */
static void close_descriptors(ingest_token token, const ingest_request *request) {
  (void)token;
  (void)request;
  if (close_range(3, 1024, 0) != 0) fail("close_range", strerror(errno));
}

/* H17: nothing of the process is as it was when the server started. */
static void change_everything(ingest_token token, const ingest_request *request) {
  sigset_t all;
  (void)request;
  sigfillset(&all);
  if (pthread_sigmask(SIG_SETMASK, &all, NULL) != 0) fail("pthread_sigmask", "refused");
  umask(0777);
  if (chroot(prison) != 0 || chdir("/") != 0) fail("chroot", strerror(errno));
  if (setgroups(0, NULL) != 0 || setresgid(65534, 65534, 65534) != 0 || setresuid(65534, 65534, 65534) != 0)
    fail("setresuid", strerror(errno));
  answer(token, access("/etc", F_OK) == 0 || geteuid() == 0 ? "nothing changed" : "changed");
}

/* H03: out of the callback past the frames of the library; only with --turn, where the caller's frame is still there. */
static void jump(ingest_token token, const ingest_request *request) {
  (void)token;
  (void)request;
  longjmp(out_of_the_callback, 1);
}

static const struct {
  const char *path;
  void (*deed)(ingest_token token, const ingest_request *request);
} deeds[] = {
    {"/hello", hello},         {"/length", length},   {"/hold", hold},
    {"/stats", stats},         {"/fork", fork_here},  {"/exit", exit_here},
    {"/close", close_descriptors}, {"/change", change_everything}, {"/jump", jump},
};

static void on_events(void *userdata, ingest_server *of, const ingest_event *events, size_t count) {
  (void)userdata;
  (void)of;
  for (size_t i = 0; i < count; i++) {
    if (events[i].kind == INGEST_EVENT_FAULT) {
      printf("fault\n");
      fflush(stdout);
    }
    if (events[i].kind != INGEST_EVENT_REQUEST) continue;
    const ingest_slice path = events[i].request->path;
    for (size_t deed = 0; deed < sizeof deeds / sizeof *deeds; deed++)
      if (strlen(deeds[deed].path) == path.len && memcmp(deeds[deed].path, path.ptr, path.len) == 0)
        deeds[deed].deed(events[i].token, events[i].request);
  }
}

static void on_signal(int number) {
  (void)number;
  asked_to_stop = 1;
}

/* H26: from here on the process may have so many MiB more than it has, and then no more. */
static void limit_memory(const char *more) {
  unsigned long pages = 0;
  FILE *file = fopen("/proc/self/statm", "r");
  if (file == NULL || fscanf(file, "%lu", &pages) != 1) fail("/proc/self/statm", "cannot be read");
  fclose(file);
  const rlim_t octets = (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + ((rlim_t)atoi(more) << 20);
  const struct rlimit limit = {octets, octets};
  if (setrlimit(RLIMIT_AS, &limit) != 0) fail("setrlimit", strerror(errno));
}

/* The host's own loop; after a jump it goes on as if nothing had been. */
static void take_turns(void) {
  if (setjmp(out_of_the_callback) != 0) {
    const int32_t fd = ingest_server_fd(server);
    printf("jumped: fd %d, turn %d, join %d\n", fd, ingest_server_turn(server, 0), ingest_server_join(server, 0));
    printf("free %d\n", ingest_server_free(server));
    exit(0);
  }
  while (!asked_to_stop) {
    const int32_t waiting = ingest_server_turn(server, 100);
    if (waiting < 0 && waiting != INGEST_E_INTERRUPTED) return;
  }
}

int main(int argc, char **argv) {
  ingest_options *options = ingest_options_new();
  ingest_error error = {0};
  const char *more = NULL;
  int turns = 0;
  for (int i = 1; i < argc; i++) {
    char *value = strchr(argv[i], '=');
    if (strcmp(argv[i], "--turn") == 0) {
      turns = 1;
    } else if (value == NULL) {
      fail("usage", "host [--turn] [NAME=VALUE]...");
    } else {
      *value++ = 0;
      if (strcmp(argv[i], "--more-memory") == 0) more = value;
      else if (strcmp(argv[i], "--prison") == 0) prison = value;
      else if (ingest_options_set(options, argv[i], value, &error) != INGEST_OK) fail("option", error.text);
    }
  }
  server = ingest_server_new(options);
  ingest_options_free(options);
  ingest_server_on_events(server, on_events, NULL);
  if (ingest_server_listen(server, "http://127.0.0.1:0", NULL, &error) < 0) fail("listen", error.text);

  const struct sigaction action = {.sa_handler = on_signal};
  sigaction(SIGTERM, &action, NULL);
  sigset_t term, before;
  sigemptyset(&term);
  sigaddset(&term, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &term, &before);
  if (!turns && ingest_server_start(server, &error) != INGEST_OK) fail("start", error.text);
  if (more != NULL) limit_memory(more);
  printf("listening on http://127.0.0.1:%d\n", ingest_server_port(server, 0));
  fflush(stdout);
  if (turns) {
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    take_turns();
  }
  while (!asked_to_stop) sigsuspend(&before);
  ingest_server_stop(server);
  ingest_server_stop(server);
  if (!turns) printf("join %d\n", ingest_server_join(server, 20000));
  printf("free %d\n", ingest_server_free(server));
  return 0;
}
