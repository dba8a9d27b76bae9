/* What the parts of the behaviour host share: a trial is one request that plays one row of README.md's table. */
#ifndef BEHAVIOUR_HOST_H
#define BEHAVIOUR_HOST_H

#define _GNU_SOURCE
#include <ingest.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct trial trial;

/* Octets that grow. */
typedef struct text {
    uint8_t *octets;
    size_t length, capacity;
} text;

typedef struct row {
    const char *name;
    bool at_once; /* played on the thread that delivers, before it takes the next event; else on a thread of the host's own */
    void (*play)(trial *);
} row;

typedef enum progress { RUNNING, READY, FINISHED } progress;

enum { CALLS_BYTES = 1024, FAULT_BYTES = 512 };

struct trial {
    unsigned id;
    const row *row;
    char way[16];
    ingest_token token;
    const ingest_request *request; /* NULL once it was given back: the host reads nothing through it then */
    unsigned deliveries;

    text seen;         /* the request as it was when it came */
    size_t told;       /* how much of `seen` the report shows; behind it stands what a client cannot know */
    unsigned readings; /* how often it was read since, and was the same */

    /* Under the lock. */
    progress progress;
    unsigned open; /* what is still to be played of it; FINISHED at zero */
    char calls[CALLS_BYTES], events[CALLS_BYTES], faults[FAULT_BYTES];
    unsigned gone_closed, gone_reset, writable, released;
    uint8_t *lent;
    int owner; /* the consumer that got the last event of this token, and in which of its batches */
    unsigned long owner_batch;
};

/* host.c */
extern ingest_server *subject, *control; /* the server under test; the one that reports, whose tokens are foreign to it */
extern ingest_queue *subject_queue;
extern bool with_events;
extern atomic_bool subject_stopped;

/* trials.c */
extern pthread_mutex_t lock;
trial *trial_start(const ingest_event *event, int consumer, unsigned long batch);
trial *trial_of_token(ingest_token token);
trial *trial_number(unsigned id);
void trial_event(const ingest_event *event, int consumer, bool (*still_there)(int consumer, unsigned long batch), unsigned long batch);
void trial_say(trial *it, const char *call, int32_t result);
void trial_say_word(trial *it, const char *call, const char *word);
void trial_fault(trial *it, const char *what, long long number);
void trial_progress(trial *it, progress progress);
void trial_stays(trial *it);
void trial_played(trial *it);
progress trial_report(const trial *it, text *out);
unsigned trials_read_held(void);
void trials_free_lent(void);
void trials_free(void);
void text_add(text *to, const void *octets, size_t length);

/* memory.c: the request's memory, read to the last octet. */
void memory_read_first(trial *it);
void memory_read_again(trial *it);

/* answers.c: every way to answer, and the body that belongs to it. */
ingest_status answer_raw(trial *it, ingest_server *server, ingest_token token);
void answer_and_say(trial *it);
void answer_body(const trial *it, text *body);
void lend_settle(trial *it, uint8_t *octets);
ingest_response response_of(uint16_t status);

/* rows.c and streams.c */
extern const row rows[], stream_rows[];
const row *row_of(ingest_slice name);
bool wait_for(trial *it, bool (*condition)(trial *));
bool is_stopped(trial *it);
bool is_lost(trial *it);

#endif
