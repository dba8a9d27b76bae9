/* Clients of the random host: pipelined, split anywhere, slow, cut short, reset, idle, or sending what is no request. */
#include "reader.h"
#include "secured.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

typedef enum { PLAIN, FIN, RESET, SLOW, GARBAGE, CUT, IDLE, BEHAVIOURS } behaviour;

typedef struct {
  world *world;
  generator random;
  int socket;
  secured tls;
  behaviour behaviour;
  reader reader;
  uint8_t *out;
  size_t out_length, out_at, out_room;
  bool write_shut, last_batch;
} client;

static void append(client *self, const void *octets, size_t length) {
  if (self->out_length + length > self->out_room) {
    self->out_room = (self->out_length + length) * 2;
    self->out = realloc(self->out, self->out_room);
    if (!self->out) fail("the test itself has no memory left");
  }
  memcpy(self->out + self->out_length, octets, length);
  self->out_length += length;
}

static void append_text(client *self, const char *text) { append(self, text, strlen(text)); }

static void append_pattern(client *self, uint64_t id, uint64_t position, size_t length) {
  uint8_t piece[4096];
  while (length) {
    size_t part = length < sizeof piece ? length : sizeof piece;
    pattern_fill(piece, part, id, position);
    append(self, piece, part);
    position += part;
    length -= part;
  }
}

static void append_chunks(client *self, uint64_t id, size_t length, bool spoilt) {
  char line[96];
  for (size_t at = 0; at < length;) {
    size_t part = draw_between(&self->random, 1, chance(&self->random, 70) ? 100 : 5000);
    if (part > length - at) part = length - at;
    snprintf(line, sizeof line,
             chance(&self->random, 20)   ? "%zx;a=\"b\"\r\n"
             : chance(&self->random, 30) ? "%04zX\r\n"
                                         : "%zx\r\n",
             part);
    append_text(self, line);
    append_pattern(self, id, at, part);
    append_text(self, "\r\n");
    at += part;
  }
  append_text(self, spoilt                      ? "zz\r\n\r\n"
                    : chance(&self->random, 30) ? "0\r\nX-Trailer: t\r\n\r\n"
                                                : "0\r\n\r\n");
}

/* Appends a request and awaits its answer; a spoilt one has a chunk that is none. Returns false when the round has no more ids. */
static bool append_request(client *self, bool http10, bool spoilt) {
  static const char *const methods[] = {"GET", "GET", "GET", "GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "PATCH", "BREW"};
  ledger *book = &self->world->book;
  if (atomic_load(&book->made) >= RECORDS - 1024) return false;
  uint64_t id = (uint64_t)(self->world->number + 1) << 32 | atomic_fetch_add(&book->made, 1);
  const char *method = spoilt ? "POST" : methods[draw_below(&self->random, sizeof methods / sizeof *methods)];
  bool bodied = method[0] == 'P' || method[0] == 'B';
  size_t most = chance(&self->random, self->world->plan.bodies == BODY_STREAM ? 60 : 90) ? 3000 : self->world->plan.body_max / 2;
  size_t length = bodied && chance(&self->random, 90) ? draw_below(&self->random, most) : 0;
  bool chunked = spoilt || (bodied && !http10 && chance(&self->random, 40)), cookie = chance(&self->random, 20);
  char text[512];
  snprintf(text, sizeof text,
           "%s%s /r/%016llx?a=1+2&b=%%41 HTTP/1.%c\r\nHost: a\r\nX-Id: %llx\r\nx-length: %zu\r\nX-Cookie: %s\r\n",
           chance(&self->random, 3) ? "\r\n" : "", method, (unsigned long long)id, http10 ? '0' : '1', (unsigned long long)id,
           length, cookie ? "1" : "0");
  append_text(self, text);
  if (cookie) append_text(self, "Cookie: b=1; c=v\r\n");
  if (chance(&self->random, 10)) {
    append_text(self, "X-Long: ");
    for (size_t fill = draw_below(&self->random, 2000); fill; fill--) append_text(self, "y");
    append_text(self, "\r\n");
  }
  if (bodied && !http10 && chance(&self->random, 5)) append_text(self, "Expect: 100-continue\r\n");
  if (self->last_batch && chance(&self->random, 20)) append_text(self, "Connection: close\r\n");
  if (chunked) {
    append_text(self, "Transfer-Encoding: chunked\r\n\r\n");
    append_chunks(self, id, length, spoilt);
  } else {
    if (bodied) snprintf(text, sizeof text, "Content-Length: %zu\r\n\r\n", length);
    append_text(self, bodied ? text : "\r\n");
    append_pattern(self, id, 0, length);
  }
  self->reader.asked[self->reader.last++] = (asked){id, strcmp(method, "HEAD") == 0, http10};
  return true;
}

static void append_garbage(client *self) {
  static const char *const wrong[] = {
      "G@T / HTTP/1.1\r\nHost: a\r\n\r\n",
      "GET / HTTP/9.1\r\nHost: a\r\n\r\n",
      "GET / HTTP/1.1\r\n\r\n",
      "GET / HTTP/1.1\nHost: a\n\n",
      "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
      "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
      "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n"};
  if (chance(&self->random, 60)) {
    /* Of the last one the head is good: where bodies are streamed it would be delivered, and say nothing of whose it is. */
    append_text(self, wrong[draw_below(&self->random, sizeof wrong / sizeof *wrong - (self->world->plan.bodies == BODY_STREAM))]);
  } else {
    for (size_t left = draw_between(&self->random, 1, 400); left; left--) {
      uint8_t octet = (uint8_t)draw(&self->random);
      append(self, &octet, 1);
    }
    append_text(self, "\r\n\r\n\r\n");
  }
  self->reader.garbage_sent = true;
}

/* A request whose end never comes; whoever delivers it has believed a cut message. */
static void append_cut(client *self) {
  size_t before = self->out_length;
  bool spoilt = chance(&self->random, 30);
  if (!append_request(self, false, spoilt)) return;
  uint64_t id = self->reader.asked[self->reader.last - 1].id;
  atomic_store(&ledger_record(&self->world->book, id)->cut, true);
  if (spoilt) return;
  self->out_length = before + draw_below(&self->random, self->out_length - before);
}

static bool fill(client *self) {
  reader *reader = &self->reader;
  self->out_length = self->out_at = 0;
  reader->first = reader->last = 0;
  self->last_batch = chance(&self->random, 40) || self->behaviour != PLAIN || atomic_load(&self->world->phase) != PHASE_SERVING;
  size_t many = chance(&self->random, 50) ? 1 : draw_between(&self->random, 1, 24);
  for (size_t i = 0; i < many; i++)
    if (!append_request(self, false, false)) return i > 0;
  if (self->behaviour == GARBAGE)
    append_garbage(self);
  else if (self->behaviour == CUT)
    append_cut(self);
  else if (self->last_batch && chance(&self->random, 15))
    return append_request(self, true, false);
  return true;
}

static bool join(client *self) {
  world *world = self->world;
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  unsigned listener = (unsigned)draw_below(&self->random, world->plan.listeners);
  address.sin_port = htons((uint16_t)world->ports[listener]);
  self->socket = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (self->socket < 0) fail("the test itself has no descriptor left");
  int small = 4096;
  if (self->behaviour == SLOW) setsockopt(self->socket, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
  if (connect(self->socket, (struct sockaddr *)&address, sizeof address) == 0) {
    /* A handshake may fail: the server drops connections when it ends, and may be busy until its deadline. */
    bool talks = !(world->plan.secure & 1u << listener) || secured_connect(&self->tls, self->socket, &self->random);
    if (talks && fcntl(self->socket, F_SETFL, O_NONBLOCK) == 0) return true;
    close(self->socket);
    return false;
  }
  if (atomic_load(&world->phase) == PHASE_SERVING && world->plan.ending == END_GENTLE)
    fail("the server takes no connection: %s", strerror(errno));
  close(self->socket);
  return false;
}

/* Sends some of what is left; false when the connection is lost. */
static bool send_some(client *self) {
  size_t left = self->out_length - self->out_at;
  size_t part = chance(&self->random, 60) ? left : draw_between(&self->random, 1, left < 300 ? left : 300);
  ssize_t sent = secured_send(&self->tls, self->socket, self->out + self->out_at, part);
  if (sent >= 0)
    self->out_at += (size_t)sent;
  else if (errno != EAGAIN)
    return false;
  if (self->out_at < self->out_length || self->write_shut) return true;
  if ((self->behaviour == FIN || self->behaviour == CUT) && self->last_batch) {
    secured_finish(&self->tls);
    shutdown(self->socket, SHUT_WR);
    self->write_shut = true;
  }
  return true;
}

/* Receives some; false when the connection is over, which the reader has heard then. */
static bool receive_some(client *self) {
  uint8_t octets[16384];
  size_t most = self->behaviour == SLOW     ? draw_between(&self->random, 1, 3000)
                : chance(&self->random, 80) ? sizeof octets
                                            : draw_between(&self->random, 1, 200);
  if (self->behaviour == SLOW) sleep_us(draw_below(&self->random, 3000));
  ssize_t got = secured_recv(&self->tls, self->socket, octets, most);
  if (got < 0 && errno == EAGAIN) return true;
  if (got <= 0) {
    reader_end(&self->reader, got == 0);
    return false;
  }
  reader_feed(&self->reader, octets, (size_t)got);
  return true;
}

static void reset(client *self) {
  struct linger now = {1, 0};
  setsockopt(self->socket, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

static bool is_waiting(client *self) {
  if (self->out_at < self->out_length) return true;
  if (self->reader.ended) return self->reader.first < self->reader.last;
  return self->reader.first < self->reader.last || self->reader.garbage_sent;
}

/* Sends a batch and reads its answers; true when the connection may be used again. */
static bool exchange(client *self) {
  uint64_t moved_ns = now_ns();
  unsigned patience = self->behaviour == RESET ? (unsigned)draw_below(&self->random, 30) : UINT32_MAX;
  while (is_waiting(self) && patience--) {
    struct pollfd wish = {self->socket, POLLIN, 0};
    if (self->out_at < self->out_length) wish.events |= POLLOUT;
    bool more = secured_has_more(&self->tls);
    int ready = poll(&wish, 1, more ? 0 : 50);
    if (more) {
      wish.revents |= POLLIN;
      ready = 1;
    }
    if (ready > 0) moved_ns = now_ns();
    if (now_ns() - moved_ns > PATIENCE_NS)
      fail("nothing has come for a minute: %zu of %zu octets sent, %zu answers awaited, behaviour %d, first %llx", self->out_at,
           self->out_length, self->reader.last - self->reader.first, self->behaviour,
           (unsigned long long)self->reader.asked[self->reader.first].id);
    if (atomic_load(&self->world->phase) >= PHASE_STOPPED && ready == 0)
      fail("the server has stopped, and a connection is still open");
    if (wish.revents & (POLLIN | POLLHUP | POLLERR) && !receive_some(self)) return false;
    if (wish.revents & POLLOUT && !send_some(self)) {
      /* What the server sent before it closed may still be here. */
      while (receive_some(self)) continue;
      return false;
    }
  }
  if (self->behaviour == RESET) reset(self);
  return !self->last_batch && !self->reader.ended;
}

static void converse(client *self) {
  memset(&self->reader, 0, sizeof self->reader);
  self->reader.world = self->world;
  self->write_shut = false;
  unsigned kind = (unsigned)draw_below(&self->random, 100);
  self->behaviour = kind < 50   ? PLAIN
                    : kind < 62 ? FIN
                    : kind < 74 ? RESET
                    : kind < 80 ? SLOW
                    : kind < 88 ? GARBAGE
                    : kind < 96 ? CUT
                                : IDLE;
  if (!join(self)) {
    sleep_us(1000);
    return;
  }
  if (self->behaviour == IDLE)
    sleep_us(draw_below(&self->random, 100000));
  else
    while (fill(self) && exchange(self)) continue;
  if (self->behaviour == IDLE && chance(&self->random, 30)) reset(self);
  secured_close(&self->tls);
  close(self->socket);
}

void *client_main(void *start) {
  const actor *given = start;
  world *world = given->world;
  client self = {.world = world, .random = given->random};
  /* OpenSSL writes without MSG_NOSIGNAL; the library's threads and the host's have the signal as it is. */
  sigset_t pipe;
  sigemptyset(&pipe);
  sigaddset(&pipe, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &pipe, NULL);
  while (atomic_load(&world->phase) == PHASE_SERVING && atomic_load(&world->book.made) < RECORDS - 2048) converse(&self);
  secured_forget(&self.tls);
  free(self.out);
  return NULL;
}
