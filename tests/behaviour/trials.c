/* The trials of this process: who they are, what their calls returned, which events came, and the report that says all this. */
#include "host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TRIALS_MAX = 65536 };

pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static trial *trials[TRIALS_MAX];
static unsigned highest;

void text_add(text *to, const void *octets, size_t length)
{
    if (to->length + length > to->capacity) {
        to->capacity = 2 * (to->length + length) + 256;
        to->octets = realloc(to->octets, to->capacity);
        if (!to->octets)
            abort();
    }
    if (length > 0)
        memcpy(to->octets + to->length, octets, length);
    to->length += length;
}

trial *trial_number(unsigned id)
{
    pthread_mutex_lock(&lock);
    trial *it = id < TRIALS_MAX ? trials[id] : NULL;
    pthread_mutex_unlock(&lock);
    return it;
}

/* With the lock held. */
static trial *by_token(ingest_token token)
{
    for (unsigned id = highest + 1; id-- > 0;)
        if (trials[id] && trials[id]->token == token)
            return trials[id];
    return NULL;
}

/* Copies the parameter of that name, NUL-terminated. */
static bool parameter(const ingest_request *request, const char *name, char *to, size_t capacity)
{
    ingest_slice value = ingest_request_query(request, name, strlen(name));
    if (!value.ptr || value.len >= capacity)
        return false;
    memcpy(to, value.ptr, value.len);
    to[value.len] = '\0';
    return true;
}

/* The trial of a request for /row/NAME; one that was given back and came again is found again. NULL if the request is none of the table. */
trial *trial_start(const ingest_event *event, int consumer, unsigned long batch)
{
    static const char prefix[] = "/row/";
    const ingest_request *request = event->request;
    char number[16], way[16];
    if (request->path.len < sizeof prefix || memcmp(request->path.ptr, prefix, sizeof prefix - 1) != 0)
        return NULL;
    const row *wanted = row_of((ingest_slice){request->path.ptr + sizeof prefix - 1, request->path.len - (sizeof prefix - 1)});
    if (!wanted || !parameter(request, "id", number, sizeof number) || !parameter(request, "by", way, sizeof way))
        return NULL;
    unsigned id = (unsigned)strtoul(number, NULL, 10);
    if (id == 0 || id >= TRIALS_MAX)
        return NULL;
    pthread_mutex_lock(&lock);
    if (!trials[id]) {
        trials[id] = calloc(1, sizeof *trials[id]);
        if (!trials[id])
            abort();
        trials[id]->id = id;
        trials[id]->row = wanted;
        trials[id]->open = 1;
        memcpy(trials[id]->way, way, sizeof way);
        if (id > highest)
            highest = id;
    }
    trial *it = trials[id];
    it->token = event->token;
    it->request = request;
    it->deliveries++;
    it->owner = consumer;
    it->owner_batch = batch;
    pthread_mutex_unlock(&lock);
    return it;
}

static void add_word(char *to, size_t capacity, const char *word)
{
    size_t length = strlen(to);
    snprintf(to + length, capacity - length, " %s", word);
}

static const char *event_name(const ingest_event *event)
{
    switch (event->kind) {
    case INGEST_EVENT_GONE: return event->reason == INGEST_GONE_READ_CLOSED ? "READ_CLOSED" : event->reason == INGEST_GONE_RESET ? "RESET" : "GONE?";
    case INGEST_EVENT_WRITABLE: return "WRITABLE";
    case INGEST_EVENT_RELEASED: return "RELEASED";
    case INGEST_EVENT_SENT: return "SENT";
    default: return "UNKNOWN";
    }
}

/* Notes an event that is not REQUEST. Requests that play no row have events too, which nobody looks at. */
void trial_event(const ingest_event *event, int consumer, bool (*still_there)(int consumer, unsigned long batch), unsigned long batch)
{
    char word[64];
    const char *name = event_name(event);
    pthread_mutex_lock(&lock);
    trial *it = by_token(event->token);
    if (it) {
        if (it->owner != consumer && still_there(it->owner, it->owner_batch))
            snprintf(it->faults, sizeof it->faults, "%s went to a second consumer while the first had not asked again", name);
        it->owner = consumer;
        it->owner_batch = batch;
        if (event->request || event->flags || (event->tag != 0 && event->tag != it->id) || (event->reason != 0) != (event->kind == INGEST_EVENT_GONE))
            snprintf(it->faults, sizeof it->faults, "%s with tag %llu, reason %u", name, (unsigned long long)event->tag, event->reason);
        /* How often a stream runs full is the kernel's business; the row compares it with what its calls returned. */
        if (event->kind != INGEST_EVENT_WRITABLE) {
            snprintf(word, sizeof word, "%s", name);
            add_word(it->events, sizeof it->events, word);
        }
        it->writable += event->kind == INGEST_EVENT_WRITABLE;
        it->gone_closed += event->kind == INGEST_EVENT_GONE && event->reason == INGEST_GONE_READ_CLOSED;
        it->gone_reset += event->kind == INGEST_EVENT_GONE && event->reason == INGEST_GONE_RESET;
        it->released += event->kind == INGEST_EVENT_RELEASED;
    }
    pthread_mutex_unlock(&lock);
    if (it && event->kind == INGEST_EVENT_RELEASED)
        lend_settle(it, NULL);
}

void trial_say_word(trial *it, const char *call, const char *word)
{
    char both[96];
    snprintf(both, sizeof both, "%s=%s", call, word);
    pthread_mutex_lock(&lock);
    add_word(it->calls, sizeof it->calls, both);
    pthread_mutex_unlock(&lock);
}

/* `call=OK` for a status, `call=3` for a count. */
void trial_say(trial *it, const char *call, int32_t result)
{
    char digits[16];
    const char *name = ingest_status_name(result);
    if (result > 0) {
        snprintf(digits, sizeof digits, "%d", result);
        name = digits;
    } else if (result == INGEST_OK) {
        name = "OK";
    } else if (strncmp(name, "INGEST_E_", 9) == 0) {
        name += 9;
    }
    trial_say_word(it, call, name);
}

/* The first fault of a trial is kept. */
void trial_fault(trial *it, const char *what, long long number)
{
    pthread_mutex_lock(&lock);
    if (it->faults[0] == '\0')
        snprintf(it->faults, sizeof it->faults, "%s: %lld", what, number);
    pthread_mutex_unlock(&lock);
}

void trial_progress(trial *it, progress progress)
{
    pthread_mutex_lock(&lock);
    it->progress = progress;
    pthread_mutex_unlock(&lock);
}

/* The row has a second part: another delivery, or ingest_server_free. */
void trial_stays(trial *it)
{
    pthread_mutex_lock(&lock);
    it->open++;
    pthread_mutex_unlock(&lock);
}

void trial_played(trial *it)
{
    pthread_mutex_lock(&lock);
    if (--it->open == 0)
        it->progress = FINISHED;
    pthread_mutex_unlock(&lock);
}

progress trial_report(const trial *it, text *out)
{
    char head[CALLS_BYTES * 2 + FAULT_BYTES + 128];
    pthread_mutex_lock(&lock);
    int length = snprintf(head, sizeof head, "calls%s\nevents%s\nreadings %u\nfaults %s\n\n", it->calls, it->events, it->readings,
                          it->faults[0] ? it->faults : "none");
    text_add(out, head, (size_t)length);
    text_add(out, it->seen.octets, it->told);
    progress progress = it->progress;
    pthread_mutex_unlock(&lock);
    return progress;
}

/* Just before ingest_server_free, which takes back what the host still holds. */
unsigned trials_read_held(void)
{
    unsigned held = 0;
    for (unsigned id = 0; id <= highest; id++) {
        if (!trials[id] || !trials[id]->request)
            continue;
        memory_read_again(trials[id]);
        trials[id]->request = NULL;
        trial_played(trials[id]);
        held++;
    }
    return held;
}

/* After ingest_server_free the host has its lent bodies back. */
void trials_free_lent(void)
{
    for (unsigned id = 0; id <= highest; id++) {
        if (!trials[id])
            continue;
        free(trials[id]->lent);
        trials[id]->lent = NULL;
    }
}

void trials_free(void)
{
    for (unsigned id = 0; id <= highest; id++) {
        if (trials[id])
            free(trials[id]->seen.octets);
        free(trials[id]);
    }
}
