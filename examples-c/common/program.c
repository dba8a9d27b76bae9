/* The command line, the start and the end that all examples share. Nothing here is about requests. */
#define _POSIX_C_SOURCE 200809L
#include "program.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { LISTENERS_MAX = 16, URL_BYTES = 512 };

static const char *addresses[LISTENERS_MAX]; /* what the user asked for */
static char urls[LISTENERS_MAX][URL_BYTES];  /* what they became, by the listener's index */
static size_t address_count;
static int sockets[LISTENERS_MAX];           /* what is to be served there, if `are_given` */
static bool are_given;

/* The signal handler's view of the server: NULL before the start and after the end. */
static _Atomic(ingest_server *) running;

void program_complain(const program *self, const char *text)
{
    fprintf(stderr, "%s: %s\n", self->name, text);
}

static void usage(const program *self, FILE *out)
{
    fprintf(out, "usage: %s [--listen URL]... [--set option=value]...%s%s%s [--help]\n\n%s\n\n", self->name,
            self->consumers ? " [--consumers N]" : "", self->workers ? " [--workers N]" : "", self->file ? " [--file PATH]" : "", self->about);
    fprintf(out, "  --listen URL         where to listen, http://127.0.0.1:8080 if never given; port 0 lets the kernel choose\n");
    fprintf(out, "  --set option=value   an option of the library, see below\n");
    if (self->consumers)
        fprintf(out, "  --consumers N        threads that take requests from the queue, %u if not given\n", (unsigned)self->consumers);
    if (self->workers)
        fprintf(out, "  --workers N          processes that serve, %u if not given\n", (unsigned)self->workers);
    if (self->file)
        fprintf(out, "  --file PATH          the file to serve, %s if not given\n", self->file);
    fprintf(out, "  --help               this text\n");
}

/* The library describes its own options, so that this list is never out of date. */
static void describe_options(const program *self, FILE *out)
{
    ingest_option_info info;
    fprintf(out, "\noptions:\n");
    for (uint32_t index = 0; memset(&info, 0, sizeof info), info.size = sizeof info, ingest_option_describe(index, &info) == INGEST_OK; index++)
        fprintf(out, "  %.*s=%.*s\n      %.*s\n", (int)info.name.len, (const char *)info.name.ptr, (int)info.default_value.len,
                info.default_value.len ? (const char *)info.default_value.ptr : "", (int)info.help.len,
                info.help.len ? (const char *)info.help.ptr : "");
    if (self->delivery)
        fprintf(out, "\n%s sets delivery=%s itself; --set delivery=... overrides it\n", self->name, self->delivery);
    if (self->events)
        fprintf(out, "\n%s sets events=%s itself; --set events=... overrides it\n", self->name, self->events);
    if (self->body)
        fprintf(out, "\n%s sets body=%s itself; --set body=... overrides it\n", self->name, self->body);
    if (self->body_max)
        fprintf(out, "\n%s sets body_max=%s itself; --set body_max=... overrides it\n", self->name, self->body_max);
}

static void bad_usage(const program *self, const char *what, const char *argument)
{
    fprintf(stderr, "%s: %s: %s\n", self->name, what, argument);
    usage(self, stderr);
    exit(2);
}

/* A library leaves its host's limits alone; a program may use all that it was given. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* Applies one `option=value`; the text is the library's when it refuses. */
static void apply(const program *self, ingest_options *options, const char *setting)
{
    ingest_error error = {0};
    char name[64];
    const char *equals = strchr(setting, '=');
    if (!equals || equals == setting || (size_t)(equals - setting) >= sizeof name) {
        ingest_options_free(options);
        bad_usage(self, "--set takes option=value", setting);
    }
    memcpy(name, setting, (size_t)(equals - setting));
    name[equals - setting] = '\0';
    if (ingest_options_set(options, name, equals + 1, &error) != INGEST_OK) {
        program_complain(self, error.text);
        ingest_options_free(options);
        exit(1);
    }
}

static uint32_t parse_count(const program *self, const char *text)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || value < 1 || value > 1024)
        bad_usage(self, "--consumers and --workers take a number from 1 to 1024", text);
    return (uint32_t)value;
}

/* The value of `--name value` or `--name=value`; NULL if argv[*at] is another argument. */
static const char *value_of(const program *self, const char *name, int argc, char **argv, int *at)
{
    size_t length = strlen(name);
    if (strncmp(argv[*at], name, length) != 0)
        return NULL;
    if (argv[*at][length] == '=')
        return argv[*at] + length + 1;
    if (argv[*at][length] != '\0')
        return NULL;
    if (*at + 1 >= argc)
        bad_usage(self, "a value is missing", name);
    return argv[++*at];
}

/* Everything but --set, which needs the library; also finds bad usage before anything is made. */
void program_read(program *self, int argc, char **argv)
{
    for (int at = 1; at < argc; at++) {
        const char *value;
        if (strcmp(argv[at], "--help") == 0 || strcmp(argv[at], "-h") == 0) {
            usage(self, stdout);
            describe_options(self, stdout);
            exit(0);
        } else if ((value = value_of(self, "--listen", argc, argv, &at)) != NULL) {
            if (address_count == LISTENERS_MAX)
                bad_usage(self, "at most 16 listeners", value);
            addresses[address_count++] = value;
        } else if (self->consumers && (value = value_of(self, "--consumers", argc, argv, &at)) != NULL) {
            self->consumers = parse_count(self, value);
        } else if (self->workers && (value = value_of(self, "--workers", argc, argv, &at)) != NULL) {
            self->workers = parse_count(self, value);
        } else if (self->file && (value = value_of(self, "--file", argc, argv, &at)) != NULL) {
            self->file = value;
        } else if (value_of(self, "--set", argc, argv, &at) == NULL) {
            bad_usage(self, "unknown argument", argv[at]);
        }
    }
    if (address_count == 0)
        addresses[address_count++] = "http://127.0.0.1:8080";
}

/* What the program chooses for itself, before the user's --set. */
static void choose(const program *self, ingest_options *options, const char *name, const char *value)
{
    ingest_error error = {0};
    if (value && ingest_options_set(options, name, value, &error) != INGEST_OK) {
        program_complain(self, error.text);
        ingest_options_free(options);
        exit(1);
    }
}

ingest_server *program_new(program *self, int argc, char **argv)
{
    if (address_count == 0)
        program_read(self, argc, argv);
    raise_descriptor_limit();
    ingest_options *options = ingest_options_new();
    choose(self, options, "delivery", self->delivery);
    choose(self, options, "events", self->events);
    choose(self, options, "body", self->body);
    choose(self, options, "body_max", self->body_max);
    for (int at = 1; at < argc; at++) {
        const char *setting = value_of(self, "--set", argc, argv, &at);
        if (setting)
            apply(self, options, setting);
    }
    ingest_server *server = ingest_server_new(options);
    ingest_options_free(options);
    if (!server) {
        program_complain(self, "cannot make a server: out of memory");
        exit(1);
    }
    return server;
}

/* `http://127.0.0.1:0?x=y` with port 4711 becomes `http://127.0.0.1:4711`; an address without a port stays as it is. */
static void write_url(char *url, const char *address, int32_t port)
{
    size_t length = strcspn(address, "?");
    const char *authority = strstr(address, "://");
    if (authority && port > 0) {
        length = (size_t)(authority - address) + 3;
        length += strcspn(address + length, "/?");
        size_t digits = length;
        while (digits > 0 && address[digits - 1] >= '0' && address[digits - 1] <= '9')
            digits--;
        if (digits > 0 && address[digits - 1] == ':' && address + digits - 1 > authority)
            length = digits - 1;
        snprintf(url, URL_BYTES, "%.*s:%d", (int)length, address, (int)port);
    } else {
        snprintf(url, URL_BYTES, "%.*s", (int)length, address);
    }
}

const char *program_address(size_t number)
{
    return number < address_count ? addresses[number] : NULL;
}

void program_give_socket(size_t number, int socket, int port)
{
    are_given = true;
    sockets[number] = socket;
    write_url(urls[number], addresses[number], port);
}

const char *program_listener_url(uint32_t listener)
{
    return listener < LISTENERS_MAX ? urls[listener] : "";
}

/* ingest_server_stop is async-signal-safe: the first call drains, the second stops now. */
static void on_signal(int number)
{
    (void)number;
    ingest_server *server = atomic_load(&running);
    if (server)
        ingest_server_stop(server);
}

static void fail(const program *self, ingest_server *server, const ingest_error *error)
{
    program_complain(self, error->text);
    ingest_server_free(server);
    exit(1);
}

void program_start(const program *self, ingest_server *server)
{
    ingest_error error = {0};
    int32_t listeners[LISTENERS_MAX];
    for (size_t i = 0; i < address_count; i++) {
        const char *scheme = strncmp(addresses[i], "https", 5) == 0 ? "https" : "http";
        listeners[i] = are_given ? ingest_server_listen_fd(server, sockets[i], scheme, NULL, &error)
                                 : ingest_server_listen(server, addresses[i], NULL, &error);
        if (listeners[i] < 0)
            fail(self, server, &error);
        if (listeners[i] < LISTENERS_MAX)
            write_url(urls[listeners[i]], addresses[i], ingest_server_port(server, listeners[i]));
    }
    if (!self->own_signals) {
        struct sigaction action = {.sa_handler = on_signal};
        sigemptyset(&action.sa_mask);
        atomic_store(&running, server);
        sigaction(SIGINT, &action, NULL);
        sigaction(SIGTERM, &action, NULL);
    }
    if (self->turns) {
        /* The descriptor is not used by every program that takes turns; asking for it is what makes the server ready. */
        error.status = ingest_server_fd(server);
        snprintf(error.text, sizeof error.text, "%s", error.status < 0 ? ingest_status_text(error.status) : "");
    }
    if (self->turns ? error.status < 0 : ingest_server_start(server, &error) != INGEST_OK) {
        atomic_store(&running, NULL);
        fail(self, server, &error);
    }
    for (size_t i = 0; i < address_count && !are_given; i++)
        printf("listening on %s\n", program_listener_url((uint32_t)listeners[i]));
    fflush(stdout);
}

int program_finish(const program *self, ingest_server *server)
{
    ingest_status status = self->turns ? INGEST_OK : ingest_server_join(server, -1);
    atomic_store(&running, NULL);
    if (status == INGEST_OK)
        status = ingest_server_free(server);
    if (status != INGEST_OK)
        program_complain(self, ingest_status_text(status));
    return status == INGEST_OK ? 0 : 1;
}
