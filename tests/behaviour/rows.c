/* What the host does for each row of the table, as README.md says it; rows about streams, files and lent bodies are in streams.c. */
#include "host.h"

#include <string.h>
#include <time.h>

static void pause_ms(long milliseconds)
{
    struct timespec time = {.tv_sec = milliseconds / 1000, .tv_nsec = milliseconds % 1000 * 1000000};
    nanosleep(&time, NULL);
}

/* Asks every millisecond; a condition that does not come true in ten seconds is a fault of the trial. */
bool wait_for(trial *it, bool (*condition)(trial *))
{
    for (int tries = 0; tries < 10000; tries++) {
        if (condition(it))
            return true;
        pause_ms(1);
    }
    trial_fault(it, "waited in vain with token alive", ingest_token_alive(subject, it->token));
    return false;
}

static bool saw(const unsigned *events)
{
    pthread_mutex_lock(&lock);
    bool seen = !with_events || *events > 0;
    pthread_mutex_unlock(&lock);
    return seen;
}

static bool is_half_closed(trial *it)
{
    return ingest_token_alive(subject, it->token) == 1 && saw(&it->gone_closed);
}

static bool is_left(trial *it)
{
    return ingest_token_alive(subject, it->token) != 2 && (saw(&it->gone_closed) || saw(&it->gone_reset));
}

bool is_lost(trial *it)
{
    return ingest_token_alive(subject, it->token) == 0 && saw(&it->gone_reset);
}

bool is_stopped(trial *it)
{
    return atomic_load(&subject_stopped) && is_lost(it);
}

/* early, thread: nothing but the answer; where it is played makes the difference. */
static void play_answer(trial *it)
{
    answer_and_say(it);
}

static void play_late(trial *it)
{
    pause_ms(30);
    answer_and_say(it);
}

static void play_twice(trial *it)
{
    answer_and_say(it);
    trial_say(it, "again", answer_raw(it, subject, it->token));
    trial_say(it, "abandon", ingest_abandon(subject, it->token));
    trial_say(it, "tag", ingest_token_tag(subject, it->token, it->id));
    trial_say(it, "alive", ingest_token_alive(subject, it->token));
    if (ingest_token_request(subject, it->token))
        trial_fault(it, "a token that was used leads to a request", 0);
}

typedef struct racer {
    trial *it;
    pthread_barrier_t *start;
    ingest_status status;
} racer;

static void *race(void *argument)
{
    racer *self = argument;
    pthread_barrier_wait(self->start);
    self->status = answer_raw(self->it, subject, self->it->token);
    return NULL;
}

/* race: the winner is told first. */
static void play_race(trial *it)
{
    pthread_barrier_t start;
    pthread_t thread;
    racer other = {it, &start, INGEST_E_PANIC}, self = {it, &start, INGEST_E_PANIC};
    memory_read_again(it);
    it->request = NULL;
    pthread_barrier_init(&start, NULL, 2);
    if (pthread_create(&thread, NULL, race, &other) != 0) {
        trial_fault(it, "no thread is to be had", 0);
        return;
    }
    race(&self);
    pthread_join(thread, NULL);
    pthread_barrier_destroy(&start);
    bool won = self.status == INGEST_OK;
    trial_say(it, "answer", won ? self.status : other.status);
    trial_say(it, "answer", won ? other.status : self.status);
}

/* Everything that waits for the client or the library to do something, and then answers. */
static void when(trial *it, bool (*condition)(trial *))
{
    trial_progress(it, READY);
    wait_for(it, condition);
    answer_and_say(it);
}

static void play_half_close(trial *it)
{
    when(it, is_half_closed);
}

static void play_close(trial *it)
{
    when(it, is_left);
}

static void play_lost(trial *it)
{
    when(it, is_lost);
    trial_say(it, "again", answer_raw(it, subject, it->token));
}

static void play_stop(trial *it)
{
    when(it, is_stopped);
    trial_say(it, "again", answer_raw(it, subject, it->token));
}

/* never: the host reads the memory once more just before ingest_server_free, see host.c. */
static void play_never(trial *it)
{
    trial_stays(it);
    trial_progress(it, READY);
}

/* What every call says about a token that is not the server's. GONE if all of them agree. */
static ingest_status strange(trial *it, ingest_server *server, ingest_token token)
{
    uint8_t octet;
    ingest_response response = response_of(200);
    ingest_status each = 1;
    int32_t results[] = {
        answer_raw(it, server, token),
        ingest_respond(server, token, &response),
        ingest_abandon(server, token),
        ingest_token_tag(server, token, 1),
        (int32_t)ingest_request_body_read(server, token, 0, &octet, 1),
        (ingest_respond_all(server, &token, 1, 200, &each), each),
        ingest_token_alive(server, token) == 0 ? INGEST_E_GONE : 1,
        ingest_token_request(server, token) == NULL ? INGEST_E_GONE : 1,
    };
    for (size_t i = 0; i < sizeof results / sizeof results[0]; i++)
        if (results[i] != INGEST_E_GONE)
            return results[i];
    if (ingest_has("stream") != 1)
        return INGEST_E_GONE;
    response.content_length = -1;
    ingest_status begun = ingest_respond_begin(server, token, &response);
    int32_t written = ingest_respond_write(server, token, "x", 1);
    ingest_status ended = ingest_respond_end(server, token, NULL, 0);
    return begun != INGEST_E_GONE ? begun : written != INGEST_E_GONE ? written : ended;
}

static void play_foreign(trial *it)
{
    trial_say(it, "foreign", strange(it, control, it->token));
    trial_say(it, "alive", ingest_token_alive(subject, it->token));
    answer_and_say(it);
}

/* random: the token with each of its bits the other way, the borders, and numbers from xorshift. */
static void play_random(trial *it)
{
    ingest_token borders[] = {0, 1, UINT64_MAX, (uint64_t)1 << 63, INT64_MAX, (uint64_t)1 << 52, UINT32_MAX};
    uint64_t random = 0x9E3779B97F4A7C15u ^ it->token;
    ingest_status status = INGEST_E_GONE;
    for (unsigned i = 0; i < 200 && status == INGEST_E_GONE; i++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        ingest_token token = i < 64 ? it->token ^ (uint64_t)1 << i : i < 71 ? borders[i - 64] : random;
        status = strange(it, subject, token);
    }
    trial_say(it, "random", status);
    trial_say(it, "alive", ingest_token_alive(subject, it->token));
    answer_and_say(it);
}

static void play_abandon(trial *it)
{
    memory_read_again(it);
    it->request = NULL;
    trial_say(it, "abandon", ingest_abandon(subject, it->token));
    trial_say(it, "abandon", ingest_abandon(subject, it->token));
    trial_say(it, "answer", answer_raw(it, subject, it->token));
}

/* malformed: answers that nobody could send. Nothing happens, the memory is still ours, and the right answer goes through. */
static void play_malformed(trial *it)
{
    ingest_header split = {{(const uint8_t *)"A", 1}, {(const uint8_t *)"b\r\nc: d", 7}};
    ingest_response response = response_of(200);
    ingest_status each = 1;
    response.headers = &split;
    response.header_count = 1;
    const ingest_response *const responses = &response;
    ingest_response short_one = response_of(200);
    short_one.size = 4;
    ingest_response too_low = response_of(199);
    int32_t results[] = {
        ingest_respond(subject, it->token, &response),
        ingest_respond(subject, it->token, &short_one),
        ingest_respond(subject, it->token, &too_low),
        ingest_respond(subject, it->token, NULL),
        ingest_respond_bytes(subject, it->token, 600, NULL, NULL, 0),
        ingest_respond_bytes(subject, it->token, 200, NULL, NULL, 5),
        ingest_respond_bytes(subject, it->token, 200, "text/\nplain", "x", 1),
        (ingest_respond_many(subject, &it->token, &responses, 1, &each), each),
        ingest_respond_all(subject, &it->token, 1, 101, &each),
    };
    ingest_status status = INGEST_E_ARGUMENT;
    for (size_t i = 0; i < sizeof results / sizeof results[0] && status == INGEST_E_ARGUMENT; i++)
        status = results[i];
    trial_say(it, "malformed", status);
    trial_say(it, "alive", ingest_token_alive(subject, it->token));
    answer_and_say(it);
}

static bool is_returned(trial *it)
{
    pthread_mutex_lock(&lock);
    bool returned = it->progress == READY;
    pthread_mutex_unlock(&lock);
    return returned;
}

/* return: given back at the first delivery, answered at the second, which may come to another consumer before the first has looked at its old token. */
static void play_return(trial *it)
{
    if (it->deliveries > 1) {
        wait_for(it, is_returned);
        answer_and_say(it);
        return;
    }
    ingest_token old = it->token;
    memory_read_again(it);
    it->request = NULL;
    trial_stays(it);
    trial_say(it, "return", ingest_queue_return(subject_queue, &old, 1));
    trial_say(it, "old", answer_raw(it, subject, old));
    trial_progress(it, READY);
}

const row rows[] = {
    {"early", true, play_answer},
    {"late", false, play_late},
    {"twice", true, play_twice},
    {"thread", false, play_answer},
    {"race", false, play_race},
    {"half-close", false, play_half_close},
    {"close", false, play_close},
    {"reset", false, play_lost},
    {"timeout", false, play_lost},
    {"stop", false, play_stop},
    {"foreign", true, play_foreign},
    {"random", true, play_random},
    {"never", true, play_never},
    {"abandon", true, play_abandon},
    {"malformed", true, play_malformed},
    {"return", false, play_return},
    {NULL, false, NULL},
};

static const row *in(const row *table, ingest_slice name)
{
    for (; table->name; table++)
        if (strlen(table->name) == name.len && memcmp(table->name, name.ptr, name.len) == 0)
            return table;
    return NULL;
}

const row *row_of(ingest_slice name)
{
    const row *found = in(rows, name);
    return found ? found : in(stream_rows, name);
}
