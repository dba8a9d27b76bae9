/* late: the host's own threads answer after a delay. GET /250 is answered after 250 ms, anything else after 20 ms; meanwhile
   the request is only an entry in a heap, so that thousands can wait on four threads. */
#define _POSIX_C_SOURCE 200809L
#include "common/answer.h"
#include "common/program.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

enum { BATCH = 64, WORKERS = 4, DELAY_MS = 20, DELAY_MAX_MS = 60000 };

typedef struct entry {
    int64_t due_ns;
    const ingest_request *request; /* ours until it is answered, also when its client has left meanwhile */
} entry;

/* A heap with the earliest at its root, shared by the thread that takes requests and those that answer them. */
typedef struct waiting {
    ingest_server *server;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    entry *entries;
    size_t count, capacity;
    bool closed;
} waiting;

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static bool push(waiting *heap, entry added)
{
    if (heap->count == heap->capacity) {
        size_t capacity = heap->capacity ? 2 * heap->capacity : 256;
        entry *entries = realloc(heap->entries, capacity * sizeof *entries);
        if (!entries)
            return false;
        heap->entries = entries;
        heap->capacity = capacity;
    }
    size_t at = heap->count++;
    for (; at > 0 && heap->entries[(at - 1) / 2].due_ns > added.due_ns; at = (at - 1) / 2)
        heap->entries[at] = heap->entries[(at - 1) / 2];
    heap->entries[at] = added;
    return true;
}

static entry pop(waiting *heap)
{
    entry first = heap->entries[0], last = heap->entries[--heap->count];
    size_t at = 0;
    for (size_t child; (child = 2 * at + 1) < heap->count; at = child) {
        if (child + 1 < heap->count && heap->entries[child + 1].due_ns < heap->entries[child].due_ns)
            child++;
        if (last.due_ns <= heap->entries[child].due_ns)
            break;
        heap->entries[at] = heap->entries[child];
    }
    heap->entries[at] = last;
    return first;
}

/* What each thread of the pool does: sleeps until the earliest is due, answers it, and takes the next. */
static void *work(void *argument)
{
    waiting *heap = argument;
    pthread_mutex_lock(&heap->lock);
    while (heap->count > 0 || !heap->closed) {
        if (heap->count == 0) {
            pthread_cond_wait(&heap->changed, &heap->lock);
        } else if (!heap->closed && heap->entries[0].due_ns > now_ns()) {
            int64_t due_ns = heap->entries[0].due_ns;
            struct timespec due = {.tv_sec = due_ns / 1000000000, .tv_nsec = due_ns % 1000000000};
            pthread_cond_timedwait(&heap->changed, &heap->lock, &due);
        } else {
            /* Once the server has stopped nobody is there to hear the answer, but it gives the request's memory back. */
            entry next = pop(heap);
            pthread_mutex_unlock(&heap->lock);
            answer(heap->server, next.request);
            pthread_mutex_lock(&heap->lock);
        }
    }
    pthread_mutex_unlock(&heap->lock);
    return NULL;
}

/* The number that the path is made of, in milliseconds. */
static int64_t delay_of(const ingest_request *request)
{
    int64_t delay_ms = 0;
    for (size_t i = 1; i < request->path.len; i++) {
        uint8_t digit = request->path.ptr[i];
        if (digit < '0' || digit > '9')
            return DELAY_MS;
        delay_ms = delay_ms * 10 + (digit - '0');
        if (delay_ms > DELAY_MAX_MS)
            return DELAY_MAX_MS;
    }
    return request->path.len > 1 ? delay_ms : DELAY_MS;
}

static void take(waiting *heap, const ingest_request *request)
{
    entry added = {now_ns() + delay_of(request) * 1000000, request};
    pthread_mutex_lock(&heap->lock);
    bool taken = push(heap, added);
    pthread_mutex_unlock(&heap->lock);
    if (taken)
        pthread_cond_signal(&heap->changed);
    else
        ingest_respond_bytes(heap->server, request->token, 503, NULL, NULL, 0);
}

int main(int argc, char **argv)
{
    program self = {
        .name = "late",
        .about = "Answers after a delay from a pool of its own threads: /250 after 250 ms, anything else after 20 ms.",
    };
    waiting heap = {.server = program_new(&self, argc, argv), .lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&heap.changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    program_start(&self, heap.server);

    pthread_t threads[WORKERS];
    int started = 0;
    while (started < WORKERS && pthread_create(&threads[started], NULL, work, &heap) == 0)
        started++;
    if (started == 0) {
        program_complain(&self, "cannot start a thread");
        return 1;
    }
    ingest_queue *queue = ingest_server_queue(heap.server, 0);
    ingest_event batch[BATCH];
    for (int32_t count; (count = ingest_queue_wait(queue, batch, BATCH, -1)) >= 0 || count == INGEST_E_INTERRUPTED;)
        for (int32_t i = 0; i < count; i++)
            if (batch[i].kind == INGEST_EVENT_REQUEST)
                take(&heap, batch[i].request);

    pthread_mutex_lock(&heap.lock);
    heap.closed = true;
    pthread_cond_broadcast(&heap.changed);
    pthread_mutex_unlock(&heap.lock);
    for (int i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    pthread_cond_destroy(&heap.changed);
    free(heap.entries);
    return program_finish(&self, heap.server);
}
