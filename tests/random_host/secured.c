/* TLS on the clients' side of the random host, by OpenSSL: certificates made at the start, sessions that resume, some with a certificate. */
#include "secured.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

char *secured_cert, *secured_key, *secured_client_ca;
static SSL_CTX *plain_clients, *certified_clients;

/* ---- certificates ---- */

static char *text_of(BIO *memory) {
  char *octets;
  long length = BIO_get_mem_data(memory, &octets);
  char *text = strndup(octets, (size_t)length);
  if (!text) fail("the test itself has no memory left");
  BIO_free(memory);
  return text;
}

static void name(X509 *cert, const char *field, const char *value, int length) {
  if (!X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), field, MBSTRING_UTF8, (const unsigned char *)value, length, -1, 0))
    fail("the test itself cannot name a certificate");
}

static void alternative_names(X509 *cert) {
  char list[64 * SECURED_NAMES] = "";
  for (int i = 0; i < SECURED_NAMES; i++) {
    char one[64];
    snprintf(one, sizeof one, i % 2 ? "%sDNS:%d.client.test" : "%sURI:urn:client:%d", i ? "," : "", i);
    strcat(list, one);
  }
  X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, list);
  if (!extension || !X509_add_ext(cert, extension, -1)) fail("the test itself cannot name a certificate");
  X509_EXTENSION_free(extension);
}

/* A certificate of version 3 that signs itself, for a server or for a client. */
static X509 *make(EVP_PKEY *key, bool client) {
  X509 *cert = X509_new();
  X509_set_version(cert, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(cert), client ? 2 : 1);
  X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
  X509_gmtime_adj(X509_getm_notAfter(cert), 86400);
  X509_set_pubkey(cert, key);
  name(cert, "CN", client ? "client, one" : "localhost", client ? 12 : -1); /* twelve: with the NUL behind it */
  name(cert, "O", "random host", -1);
  X509_set_issuer_name(cert, X509_get_subject_name(cert));
  alternative_names(cert);
  if (!X509_sign(cert, key, EVP_sha256())) fail("the test itself cannot sign a certificate");
  return cert;
}

static SSL_CTX *context(void) {
  SSL_CTX *made = SSL_CTX_new(TLS_client_method());
  if (!made) fail("the test itself has no TLS");
  SSL_CTX_set_mode(made, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  return made;
}

void secured_begin(void) {
  EVP_PKEY *keys[] = {EVP_EC_gen("P-256"), EVP_EC_gen("P-256")};
  if (!keys[0] || !keys[1]) fail("the test itself cannot make a key");
  X509 *certs[] = {make(keys[0], false), make(keys[1], true)};
  BIO *texts[] = {BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem())};
  PEM_write_bio_X509(texts[0], certs[0]);
  PEM_write_bio_PrivateKey(texts[1], keys[0], NULL, NULL, 0, NULL, NULL);
  PEM_write_bio_X509(texts[2], certs[1]);
  secured_cert = text_of(texts[0]);
  secured_key = text_of(texts[1]);
  secured_client_ca = text_of(texts[2]);
  plain_clients = context();
  certified_clients = context();
  if (!SSL_CTX_use_certificate(certified_clients, certs[1]) || !SSL_CTX_use_PrivateKey(certified_clients, keys[1]))
    fail("the test itself cannot use its certificate");
  for (int i = 0; i < 2; i++) {
    X509_free(certs[i]);
    EVP_PKEY_free(keys[i]);
  }
}

void secured_end(void) {
  SSL_CTX_free(plain_clients);
  SSL_CTX_free(certified_clients);
  free(secured_cert);
  free(secured_key);
  free(secured_client_ca);
}

/* ---- connections ---- */

bool secured_connect(secured *self, int socket, generator *random) {
  struct timeval patience = {PATIENCE_NS / 1000000000, 0};
  setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  SSL *ssl = SSL_new(chance(random, 60) ? certified_clients : plain_clients);
  if (!ssl || !SSL_set_fd(ssl, socket)) fail("the test itself has no memory left");
  SSL_set_tlsext_host_name(ssl, "localhost");
  if (chance(random, 30)) SSL_set_max_proto_version(ssl, TLS1_2_VERSION);
  if (self->ticket && chance(random, 50)) SSL_set_session(ssl, self->ticket);
  self->ssl = ssl;
  self->retried = 0;
  ERR_clear_error();
  if (SSL_connect(ssl) == 1) return true;
  secured_close(self);
  return false;
}

/* What a call came to, as errno says it of a socket. */
static ssize_t outcome(secured *self, int result) {
  if (result > 0) return result;
  switch (SSL_get_error(self->ssl, result)) {
    case SSL_ERROR_ZERO_RETURN: return 0;
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE: errno = EAGAIN; return -1;
    default: errno = ECONNRESET; return -1;
  }
}

ssize_t secured_send(secured *self, int socket, const void *octets, size_t length) {
  if (!self->ssl) return send(socket, octets, length, MSG_NOSIGNAL);
  if (self->retried) length = self->retried;
  ERR_clear_error();
  ssize_t sent = outcome(self, SSL_write(self->ssl, octets, (int)length));
  self->retried = sent < 0 ? length : 0;
  return sent;
}

ssize_t secured_recv(secured *self, int socket, void *octets, size_t room) {
  if (!self->ssl) return recv(socket, octets, room, 0);
  ERR_clear_error();
  return outcome(self, SSL_read(self->ssl, octets, (int)room));
}

bool secured_has_more(const secured *self) { return self->ssl && SSL_pending(self->ssl) > 0; }

void secured_finish(secured *self) {
  if (self->ssl) SSL_shutdown(self->ssl);
}

void secured_close(secured *self) {
  if (!self->ssl) return;
  SSL_SESSION *ticket = SSL_get1_session(self->ssl);
  if (ticket && SSL_SESSION_is_resumable(ticket)) {
    secured_forget(self);
    self->ticket = ticket;
  } else {
    SSL_SESSION_free(ticket);
  }
  /* A session that ended without close_notify may be resumed all the same. */
  SSL_set_quiet_shutdown(self->ssl, 1);
  SSL_shutdown(self->ssl);
  SSL_free(self->ssl);
  self->ssl = NULL;
}

void secured_forget(secured *self) {
  SSL_SESSION_free(self->ticket);
  self->ticket = NULL;
}
