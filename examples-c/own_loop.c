/* own_loop: the host has an event loop already. The queue's descriptor joins it beside the host's own timer and signals. */
#define _POSIX_C_SOURCE 200809L
#include "common/program.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { BATCH = 64 };
enum source { REQUESTS, TIMER, SIGNALS };

static unsigned long long tenths; /* what the host's own timer counted */

static void die(const program *self, const char *what)
{
    fprintf(stderr, "%s: %s: %s\n", self->name, what, strerror(errno));
    exit(1);
}

static void watch(const program *self, int loop, int descriptor, enum source source)
{
    struct epoll_event interest = {.events = EPOLLIN, .data = {.u32 = source}};
    if (descriptor < 0 || epoll_ctl(loop, EPOLL_CTL_ADD, descriptor, &interest) < 0)
        die(self, "cannot watch a descriptor");
}

static int open_timer(const program *self)
{
    struct itimerspec every = {.it_interval = {.tv_nsec = 100000000}, .it_value = {.tv_nsec = 100000000}};
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (timer < 0 || timerfd_settime(timer, 0, &every, NULL) < 0)
        die(self, "cannot make a timer");
    return timer;
}

/* Blocked and read from a descriptor, so that signals are events of the loop like all others. */
static int open_signals(const program *self)
{
    sigset_t wanted;
    sigemptyset(&wanted);
    sigaddset(&wanted, SIGINT);
    sigaddset(&wanted, SIGTERM);
    int descriptor = -1;
    if (sigprocmask(SIG_BLOCK, &wanted, NULL) < 0 || (descriptor = signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK)) < 0)
        die(self, "cannot receive signals");
    return descriptor;
}

/* Takes one batch; the descriptor is level-triggered, so what is left brings us back. False when the server has stopped. */
static bool answer_batch(ingest_server *server, ingest_queue *queue)
{
    ingest_event batch[BATCH];
    int32_t count = ingest_queue_poll(queue, batch, BATCH);
    for (int32_t i = 0; i < count; i++) {
        char text[64];
        int length = snprintf(text, sizeof text, "the host's own timer stands at %llu.%llu s\n", tenths / 10, tenths % 10);
        if (batch[i].kind == INGEST_EVENT_REQUEST)
            ingest_respond_bytes(server, batch[i].token, 200, "text/plain", text, (size_t)length);
    }
    return count >= 0;
}

int main(int argc, char **argv)
{
    program self = {
        .name = "own_loop",
        .about = "Serves from an epoll loop of its own, in which libingest is one descriptor among others.",
        .own_signals = true,
    };
    ingest_server *server = program_new(&self, argc, argv);
    int signals = open_signals(&self);
    int timer = open_timer(&self);
    int loop = epoll_create1(EPOLL_CLOEXEC);
    program_start(&self, server);
    ingest_queue *queue = ingest_server_queue(server, 0);
    watch(&self, loop, ingest_queue_fd(queue), REQUESTS);
    watch(&self, loop, timer, TIMER);
    watch(&self, loop, signals, SIGNALS);

    for (bool serving = true; serving;) {
        struct epoll_event ready[8];
        int count = epoll_wait(loop, ready, 8, -1);
        if (count < 0 && errno != EINTR)
            die(&self, "cannot wait");
        for (int i = 0; i < count; i++) {
            uint64_t expirations;
            struct signalfd_siginfo signal;
            if (ready[i].data.u32 == REQUESTS)
                serving = answer_batch(server, queue);
            else if (ready[i].data.u32 == TIMER && read(timer, &expirations, sizeof expirations) == sizeof expirations)
                tenths += expirations;
            else if (ready[i].data.u32 == SIGNALS && read(signals, &signal, sizeof signal) == sizeof signal)
                ingest_server_stop(server); /* the first drains, the second stops now; the queue then says INGEST_E_STOPPED */
        }
    }
    close(loop);
    close(timer);
    close(signals);
    return program_finish(&self, server);
}
