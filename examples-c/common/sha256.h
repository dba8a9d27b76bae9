/* SHA-256 (FIPS 180-4), for showing what arrived. */
#ifndef EXAMPLE_SHA256_H
#define EXAMPLE_SHA256_H

#include <stddef.h>
#include <stdint.h>

/* A hash of octets that come in pieces. */
typedef struct sha256 {
    uint32_t hash[8];
    uint64_t length;
    uint8_t block[64];
} sha256;

void sha256_begin(sha256 *sum);
void sha256_add(sha256 *sum, const uint8_t *octets, size_t length);
/* Writes the hash as 64 hexadecimal digits and a NUL. */
void sha256_end(sha256 *sum, char text[65]);

/* The same for octets that are all there. */
void sha256_text(const uint8_t *octets, size_t length, char text[65]);

#endif
