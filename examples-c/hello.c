/* hello: a callback answers each request. Its handler never blocks, so it asks to be called on the I/O thread itself. */
#include "common/answer.h"
#include "common/program.h"

static void on_events(void *userdata, ingest_server *server, const ingest_event *events, size_t count)
{
    (void)userdata;
    for (size_t i = 0; i < count; i++)
        if (events[i].kind == INGEST_EVENT_REQUEST)
            answer(server, events[i].request);
}

int main(int argc, char **argv)
{
    program self = {
        .name = "hello",
        .about = "Answers from a callback: GET /plaintext with a greeting, a POST with the length of its body.",
        .delivery = "inline",
    };
    ingest_server *server = program_new(&self, argc, argv);
    ingest_server_on_events(server, on_events, NULL);
    program_start(&self, server);
    return program_finish(&self, server);
}
