/* Bodies of the random host that come in events: each piece is compared, credit is given at random, and a body ends once. */
#include "world.h"

#include <stdlib.h>
#include <string.h>

/* Octets with the host that it has given no credit for; unread ones came while somebody was about to end their request. */
struct piece {
  const uint8_t *octets;
  size_t length;
  uint64_t at;
  piece *next;
};

void upload_begin(actor *self, entry *each, uint64_t length) {
  each->streamed = true;
  each->length = length;
  each->hasty = chance(&self->random, 25);
  each->stingy = chance(&self->random, 8);
  pthread_mutex_init(&each->upload_lock, NULL);
}

void upload_forget(entry *each) {
  if (!each->streamed) return;
  while (each->first) {
    piece *next = each->first->next;
    free(each->first);
    each->first = next;
  }
  pthread_mutex_destroy(&each->upload_lock);
}

static void compare_pieces(entry *each) {
  for (piece *at = each->first; at; at = at->next)
    if (at->octets && !pattern_holds(at->octets, at->length, each->id, at->at))
      fail("octets of the body of request %llx have changed while they were held", (unsigned long long)each->id);
}

/* From here on the octets may go at any time, so that nobody reads what is still on its way. */
void upload_close(entry *each) {
  if (!each->streamed) return;
  pthread_mutex_lock(&each->upload_lock);
  compare_pieces(each);
  each->closing = true;
  pthread_mutex_unlock(&each->upload_lock);
}

static void take_piece(entry *each, const ingest_event *event) {
  if (!event->data.ptr || !event->data.len) fail("a piece of the body of request %llx is empty", (unsigned long long)each->id);
  if (!each->closing && !pattern_holds(event->data.ptr, event->data.len, each->id, each->came))
    fail("the body of request %llx is not what was sent, within %zu octets from %llu on", (unsigned long long)each->id,
         event->data.len, (unsigned long long)each->came);
  piece *made = malloc(sizeof *made);
  if (!made) fail("the test itself has no memory left");
  *made = (piece){each->closing ? NULL : event->data.ptr, event->data.len, each->came, NULL};
  if (each->first)
    each->last->next = made;
  else
    each->first = made;
  each->last = made;
  each->came += event->data.len;
  each->owed += event->data.len;
  if (each->came > each->length)
    fail("the body of request %llx has more than the %llu octets that were sent", (unsigned long long)each->id,
         (unsigned long long)each->length);
  count(EVENT_BODY, 1);
}

static void take_end(actor *self, entry *each, const ingest_event *event) {
  static const char trailer[] = "X-Trailer: t\r\n";
  if (atomic_load(&ledger_record(&self->world->book, each->id)->cut))
    fail("request %llx was cut short, and its body looks complete", (unsigned long long)each->id);
  if (each->came != each->length)
    fail("the body of request %llx ends after %llu of %llu octets", (unsigned long long)each->id, (unsigned long long)each->came,
         (unsigned long long)each->length);
  if (!each->closing && event->data.ptr &&
      (event->data.len != sizeof trailer - 1 || memcmp(event->data.ptr, trailer, event->data.len)))
    fail("the body of request %llx ends with other trailers", (unsigned long long)each->id);
  each->whole = true;
  count(EVENT_BODY_END, 1);
}

void take_upload(actor *self, entry *each, const ingest_event *event) {
  if (!each->streamed) fail("event %u for request %llx, whose body is whole", event->kind, (unsigned long long)each->id);
  pthread_mutex_lock(&each->upload_lock);
  if (each->whole || each->cut_off) fail("event %u for request %llx behind its body's end", event->kind, (unsigned long long)each->id);
  if (event->kind == INGEST_EVENT_BODY)
    take_piece(each, event);
  else
    take_end(self, each, event);
  pthread_mutex_unlock(&each->upload_lock);
}

void upload_gone(entry *each) {
  if (!each->streamed) return;
  pthread_mutex_lock(&each->upload_lock);
  if (!each->whole) count(SAW_CUT_UPLOADS, 1);
  each->cut_off = true;
  pthread_mutex_unlock(&each->upload_lock);
}

static void pay(entry *each, size_t octets) {
  each->owed -= octets;
  each->paid += octets;
  while (each->first && each->first->length <= each->paid) {
    piece *next = each->first->next;
    each->paid -= each->first->length;
    free(each->first);
    each->first = next;
  }
}

/* Under the lock, so that what is taken off the list is what the library takes. */
static void give_credit(actor *self, entry *each) {
  ingest_server *server = self->world->server;
  compare_pieces(each);
  if (chance(&self->random, 5)) {
    ingest_status status = ingest_request_credit(server, each->token, 1ull << 40);
    if (status != INGEST_E_ARGUMENT && status != INGEST_E_GONE)
      fail("credit for more than there is returned %s", ingest_status_name(status));
  }
  size_t octets = chance(&self->random, 60) ? each->owed : draw_below(&self->random, each->owed + 1);
  ingest_status status = ingest_request_credit(server, each->token, octets);
  if (status == INGEST_OK) {
    pay(each, octets);
    count(DID_CREDIT, 1);
  } else if (status != INGEST_E_GONE) {
    fail("credit for %zu of %zu octets returned %s", octets, (size_t)each->owed, ingest_status_name(status));
  }
}

bool upload_act(actor *self, entry *each, bool finish) {
  if (!each->streamed) return true;
  pthread_mutex_lock(&each->upload_lock);
  each->closing = false;
  if (!each->cut_off && !each->stingy && chance(&self->random, 80)) give_credit(self, each);
  bool over = each->whole || each->cut_off;
  pthread_mutex_unlock(&each->upload_lock);
  return over || each->begun || (chance(&self->random, 30) && (finish || each->hasty));
}
