/* queue: the host's own threads wait for requests and answer them; no library thread ever calls the host. */
#define _POSIX_C_SOURCE 200809L
#include "common/answer.h"
#include "common/program.h"

#include <pthread.h>
#include <stdlib.h>

enum { BATCH = 64 };

typedef struct source {
    ingest_server *server;
    ingest_queue *queue;
} source;

/* What each consumer does until the server has stopped. Any number of threads may share one queue. */
static void *consume(void *argument)
{
    const source *from = argument;
    ingest_event batch[BATCH];
    for (;;) {
        int32_t count = ingest_queue_wait(from->queue, batch, BATCH, -1);
        if (count == INGEST_E_INTERRUPTED)
            continue; /* a signal: the handler has run, go on */
        if (count < 0)
            return NULL; /* INGEST_E_STOPPED */
        for (int32_t i = 0; i < count; i++)
            if (batch[i].kind == INGEST_EVENT_REQUEST)
                answer(from->server, batch[i].request);
    }
}

int main(int argc, char **argv)
{
    program self = {
        .name = "queue",
        .about = "Answers from the host's own threads, which take requests from a queue; the answers are those of hello.",
        .consumers = 1,
    };
    ingest_server *server = program_new(&self, argc, argv);
    program_start(&self, server);

    source from = {server, ingest_server_queue(server, 0)};
    pthread_t *threads = calloc(self.consumers, sizeof *threads);
    uint32_t started = 0;
    while (threads && started + 1 < self.consumers && pthread_create(&threads[started], NULL, consume, &from) == 0)
        started++;
    if (started + 1 < self.consumers)
        program_complain(&self, "cannot start as many consumers as asked for, going on with fewer");
    consume(&from); /* the main thread is the first consumer */
    for (uint32_t i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    free(threads);
    return program_finish(&self, server);
}
