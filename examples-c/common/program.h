/* What every example does and none is about: command line, start, `listening on`, signals, end. Read the examples first. */
#ifndef EXAMPLE_PROGRAM_H
#define EXAMPLE_PROGRAM_H

#include <ingest.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One example program. The caller fills it; program_new completes it from the command line. */
typedef struct program {
    const char *name;     /* for messages and --help */
    const char *about;    /* a sentence for --help */
    const char *delivery; /* the delivery it chooses for itself, before the user's --set; NULL for the library's choice */
    const char *events;   /* the kinds of event it wants beside requests, before the user's --set; NULL for none */
    const char *body;     /* how bodies reach it, before the user's --set; NULL for the library's choice */
    const char *body_max; /* the largest body it takes, in the same way */
    uint32_t consumers;   /* default of --consumers, 0 if there is no such option; afterwards what the user said */
    uint32_t workers;     /* default of --workers, in the same way */
    const char *file;     /* default of --file, NULL if there is no such option; afterwards what the user said */
    bool own_signals;     /* the program handles SIGINT and SIGTERM itself */
    bool turns;           /* the program runs the server itself, with ingest_server_turn */
} program;

/* Reads the command line. Exits after --help (0) and on bad usage (2). Only a program that has something to do between this and
   program_new calls it; nothing of the library is in use after it. */
void program_read(program *self, int argc, char **argv);

/* Reads the command line, if that is not done, and makes a server that does not listen yet. Exits after --help (0), on bad usage
   (2) and when the library refuses an option (1). */
ingest_server *program_new(program *self, int argc, char **argv);

/* Listens on every --listen, starts the server (or makes it ready for turns), prints `listening on URL` for each. Exits with 1 if any of it fails. */
void program_start(const program *self, ingest_server *server);

/* Waits until the server has stopped, frees it and returns the exit status. */
int program_finish(const program *self, ingest_server *server);

/* What the user wrote behind the --listen of that number, NULL behind the last. */
const char *program_address(size_t number);

/* Makes program_start serve a socket for the --listen of that number: it hands it to the library, and prints nothing. If one is given, all
   are. */
void program_give_socket(size_t number, int socket, int port);

/* The URL of a listener with its real port, for ingest_request.listener. */
const char *program_listener_url(uint32_t listener);

/* Prints a message for people on stderr. */
void program_complain(const program *self, const char *text);

#endif
