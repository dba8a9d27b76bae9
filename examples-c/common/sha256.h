/* SHA-256 (FIPS 180-4), for showing what arrived. */
#ifndef EXAMPLE_SHA256_H
#define EXAMPLE_SHA256_H

#include <stddef.h>
#include <stdint.h>

/* Writes the hash as 64 hexadecimal digits and a NUL. */
void sha256_text(const uint8_t *octets, size_t length, char text[65]);

#endif
