/* turn: a server without threads. The program runs it, turn by turn; its callback is called within a turn. A program with a
   loop of its own polls ingest_server_fd instead, and takes a turn of 0 ms when it is readable. */
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
        .name = "turn",
        .about = "Serves without any thread of the library: the program itself takes the turns. Answers as hello does.",
        .delivery = "inline",
        .turns = true,
    };
    ingest_server *server = program_new(&self, argc, argv);
    ingest_server_on_events(server, on_events, NULL);
    program_start(&self, server);
    int32_t turned;
    do {
        turned = ingest_server_turn(server, -1);
    } while (turned >= 0 || turned == INGEST_E_INTERRUPTED);
    if (turned != INGEST_E_STOPPED)
        program_complain(&self, ingest_status_text(turned));
    return program_finish(&self, server);
}
