/* prefork: one process listens, and several others serve. The first one binds, forks the workers and watches over them; it never uses
   the library, so each worker may. Who is killed takes with him what he was answering, nothing else: those who connect meanwhile wait in
   the backlog of the socket, which the first process keeps open, until a worker has time or a new one is there. */
#define _POSIX_C_SOURCE 200809L
#include "common/answer.h"
#include "common/program.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* No place is filled more often than this, so that workers that fail at once do not keep the machine busy. */
enum { RESTART_MS = 200, BACKLOG = 1024, WORKERS = 4 };

typedef struct worker {
    pid_t process; /* 0 while there is none */
    int64_t began_ms;
} worker;

/* What the first process knows. */
typedef struct herd {
    program *self;
    int argc;
    char **argv;
    worker *workers;
    int sockets[16]; /* what it keeps open; as many as program_read takes */
    sigset_t signals; /* what it waits for */
    bool ending;
} herd;

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* A socket that listens where the address says, or -1 with `reason` set. */
static int listen_there(const char *host, const char *port, const char **reason)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE}, *found;
    int failed = getaddrinfo(host, port, &hints, &found);
    if (failed) {
        *reason = gai_strerror(failed);
        return -1;
    }
    int made = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    if (made >= 0 && (setsockopt(made, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
                      bind(made, found->ai_addr, found->ai_addrlen) != 0 || listen(made, BACKLOG) != 0)) {
        int kept = errno;
        close(made);
        errno = kept;
        made = -1;
    }
    *reason = strerror(errno);
    freeaddrinfo(found);
    return made;
}

static int port_of(int made)
{
    struct sockaddr_storage name;
    socklen_t length = sizeof name;
    if (getsockname(made, (struct sockaddr *)&name, &length) != 0)
        return 0;
    return ntohs(name.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&name)->sin6_port : ((struct sockaddr_in *)&name)->sin_port);
}

/* Listens on every --listen, before anybody is forked. Exits with 1 if that fails. */
static void listen_once(herd *all)
{
    const char *address;
    for (size_t number = 0; (address = program_address(number)) != NULL; number++) {
        const char *authority = strncmp(address, "http://", 7) == 0 ? address + 7 : strncmp(address, "https://", 8) == 0 ? address + 8 : NULL;
        const char *colon = authority ? strrchr(authority, ':') : NULL;
        const char *reason = "prefork binds http://HOST:PORT and https://HOST:PORT, with a numeric host";
        char host[64], text[512];
        int made = -1;
        if (colon && (size_t)(colon - authority) < sizeof host) {
            bool brackets = authority[0] == '[' && colon[-1] == ']';
            snprintf(host, sizeof host, "%.*s", (int)(colon - authority) - 2 * brackets, authority + brackets);
            made = listen_there(host, colon + 1, &reason);
        }
        if (made < 0) {
            snprintf(text, sizeof text, "cannot listen on %s: %s", address, reason);
            program_complain(all->self, text);
            exit(1);
        }
        all->sockets[number] = made;
        program_give_socket(number, made, port_of(made));
    }
}

static void on_events(void *userdata, ingest_server *server, const ingest_event *events, size_t count)
{
    static const char asked[] = "/worker";
    (void)userdata;
    for (size_t i = 0; i < count; i++) {
        if (events[i].kind != INGEST_EVENT_REQUEST)
            continue;
        const ingest_request *request = events[i].request;
        if (request->path.len == sizeof asked - 1 && memcmp(request->path.ptr, asked, sizeof asked - 1) == 0) {
            char text[32];
            int length = snprintf(text, sizeof text, "%ld\n", (long)getpid());
            ingest_respond_bytes(server, request->token, 200, "text/plain", text, (size_t)length);
        } else {
            answer(server, request);
        }
    }
}

/* What a worker does: it makes a server on the sockets that it has inherited, and serves until it is told to end. */
static void work(const herd *all, int ready)
{
    ingest_server *server = program_new(all->self, all->argc, all->argv);
    ingest_server_on_events(server, on_events, NULL);
    program_start(all->self, server);
    if (ready >= 0) {
        ssize_t told = write(ready, "", 1);
        (void)told; /* who would read it has ended, and says so by SIGTERM */
        close(ready);
    }
    /* Ctrl-C is for the first process, which passes it on; here it would be the second signal, and cut the answers short. */
    sigset_t mine;
    sigemptyset(&mine);
    sigaddset(&mine, SIGTERM);
    sigprocmask(SIG_UNBLOCK, &mine, NULL);
    exit(program_finish(all->self, server));
}

static bool start_worker(const herd *all, worker *place, int ready)
{
    pid_t first = getpid();
    fflush(NULL);
    place->began_ms = now_ms();
    place->process = fork();
    if (place->process == 0) {
        /* Nobody would restart workers that are left alone, so they drain. */
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (getppid() != first)
            exit(1);
        work(all, ready);
    }
    if (place->process > 0)
        return true;
    place->process = 0;
    program_complain(all->self, "cannot fork a worker, trying again");
    return false;
}

/* Starts one worker and waits until it serves: what it cannot do, such as an option that is refused, the others cannot do either. */
static void start_first(const herd *all)
{
    int ready[2], status = 1 << 8;
    char told;
    if (pipe(ready) != 0 || !start_worker(all, &all->workers[0], ready[1])) {
        program_complain(all->self, strerror(errno));
        exit(1);
    }
    close(ready[1]);
    if (read(ready[0], &told, 1) != 1) {
        waitpid(all->workers[0].process, &status, 0);
        exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
    }
    close(ready[0]);
}

/* Takes note of those that have ended, and says why if nobody asked them to. */
static bool reap(const herd *all)
{
    bool any = false;
    int status;
    for (pid_t process; (process = waitpid(-1, &status, WNOHANG)) > 0;)
        for (uint32_t i = 0; i < all->self->workers; i++)
            if (all->workers[i].process == process) {
                char text[96];
                all->workers[i].process = 0;
                if (WIFSIGNALED(status))
                    snprintf(text, sizeof text, "worker %ld was killed by signal %d", (long)process, WTERMSIG(status));
                else
                    snprintf(text, sizeof text, "worker %ld has ended with status %d", (long)process, WEXITSTATUS(status));
                if (status != 0 || !all->ending)
                    program_complain(all->self, text);
            }
    for (uint32_t i = 0; i < all->self->workers; i++)
        any = any || all->workers[i].process > 0;
    return any;
}

/* Fills empty places, and returns for how many milliseconds there is nothing more to do, -1 for ever. */
static int64_t refill(const herd *all)
{
    int64_t next_ms = -1;
    for (uint32_t i = 0; i < all->self->workers; i++) {
        worker *place = &all->workers[i];
        int64_t wait_ms = place->began_ms + RESTART_MS - now_ms();
        if (place->process > 0 || (wait_ms <= 0 && start_worker(all, place, -1)))
            continue;
        wait_ms = wait_ms > 0 ? wait_ms : RESTART_MS;
        next_ms = next_ms < 0 || wait_ms < next_ms ? wait_ms : next_ms;
    }
    return next_ms;
}

/* The first time the workers drain, the second time they stop at once: that is what ingest_server_stop does in them. */
static void end(herd *all)
{
    /* Nobody is to wait in a backlog that no worker will ever look at. */
    for (size_t number = 0; !all->ending && program_address(number); number++)
        close(all->sockets[number]);
    all->ending = true;
    for (uint32_t i = 0; i < all->self->workers; i++)
        if (all->workers[i].process > 0)
            kill(all->workers[i].process, SIGTERM);
}

/* Waits for signals, which are blocked and so cannot be missed, until the last worker has ended; the first places to fill are due in so many
   milliseconds. */
static void watch_over(herd *all, int64_t next_ms)
{
    for (;;) {
        struct timespec most = {.tv_sec = next_ms / 1000, .tv_nsec = next_ms % 1000 * 1000000};
        int number = next_ms < 0 ? sigwaitinfo(&all->signals, NULL) : sigtimedwait(&all->signals, NULL, &most);
        if (number == SIGTERM || number == SIGINT)
            end(all);
        bool any = reap(all);
        if (all->ending && !any)
            return;
        next_ms = all->ending ? -1 : refill(all);
    }
}

int main(int argc, char **argv)
{
    program self = {
        .name = "prefork",
        .about = "Answers as hello does, from several processes that share the listening sockets; GET /worker says which one.",
        .delivery = "inline",
        .workers = WORKERS,
    };
    program_read(&self, argc, argv);
    herd all = {.self = &self, .argc = argc, .argv = argv, .workers = calloc(self.workers, sizeof(worker))};
    if (!all.workers)
        return 1;
    listen_once(&all);
    sigemptyset(&all.signals);
    sigaddset(&all.signals, SIGTERM);
    sigaddset(&all.signals, SIGINT);
    sigaddset(&all.signals, SIGCHLD);
    sigprocmask(SIG_BLOCK, &all.signals, NULL);
    start_first(&all);
    int64_t next_ms = refill(&all);
    for (size_t number = 0; program_address(number); number++)
        printf("listening on %s\n", program_listener_url((uint32_t)number));
    fflush(stdout);
    watch_over(&all, next_ms);
    free(all.workers);
    return 0;
}
