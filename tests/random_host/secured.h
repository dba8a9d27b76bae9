/* TLS on the clients' side of the random host, by OpenSSL: certificates made at the start, sessions that resume, some with a certificate. */
#ifndef RANDOM_HOST_SECURED_H
#define RANDOM_HOST_SECURED_H

#include "world.h"

#include <sys/types.h>

/* The session of one connection; without `ssl` the connection is plain. Zero at first. */
typedef struct {
  void *ssl;
  void *ticket;   /* an earlier session, to resume */
  size_t retried; /* octets of a write that has to be tried again as it was */
} secured;

/* What servers are given, in PEM, and what a request must tell of a client that has a certificate. */
extern char *secured_cert, *secured_key, *secured_client_ca;
#define SECURED_SUBJECT "O=random host,CN=client\\, one\\00"
#define SECURED_NAMES 40

void secured_begin(void);
void secured_end(void);

/* Has a handshake over a blocking socket, with this version or another, resuming or not; false when the server has none of it. */
bool secured_connect(secured *self, int socket, generator *random);
/* As send and recv on a socket that does not block: 0 is close_notify, a stream that ends without is ECONNRESET. */
ssize_t secured_send(secured *self, int socket, const void *octets, size_t length);
ssize_t secured_recv(secured *self, int socket, void *octets, size_t room);
/* Octets were opened and not taken yet. */
bool secured_has_more(const secured *self);
/* Says close_notify. */
void secured_finish(secured *self);
/* Ends the session, and keeps its ticket. */
void secured_close(secured *self);
void secured_forget(secured *self);

#endif
