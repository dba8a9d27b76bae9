/* SHA-256 as FIPS 180-4 section 6.2 writes it down: plain, not fast. */
#include "sha256.h"

#include <stdio.h>
#include <string.h>

/* The first 32 bits of the fractional parts of the cube roots of the first 64 primes. */
static const uint32_t round_words[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
    0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
    0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
    0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
    0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
    0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t turned(uint32_t word, unsigned places)
{
    return word >> places | word << (32 - places);
}

static void take_block(uint32_t hash[8], const uint8_t *block)
{
    uint32_t words[64], state[8];
    for (int i = 0; i < 16; i++)
        words[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 | (uint32_t)block[4 * i + 2] << 8 | block[4 * i + 3];
    for (int i = 16; i < 64; i++) {
        uint32_t low = turned(words[i - 15], 7) ^ turned(words[i - 15], 18) ^ words[i - 15] >> 3;
        uint32_t high = turned(words[i - 2], 17) ^ turned(words[i - 2], 19) ^ words[i - 2] >> 10;
        words[i] = words[i - 16] + low + words[i - 7] + high;
    }
    memcpy(state, hash, sizeof state);
    for (int i = 0; i < 64; i++) {
        uint32_t e = state[4], a = state[0];
        uint32_t first = state[7] + (turned(e, 6) ^ turned(e, 11) ^ turned(e, 25)) + ((e & state[5]) ^ (~e & state[6])) + round_words[i] + words[i];
        uint32_t second = (turned(a, 2) ^ turned(a, 13) ^ turned(a, 22)) + ((a & state[1]) ^ (a & state[2]) ^ (state[1] & state[2]));
        memmove(state + 1, state, 7 * sizeof state[0]);
        state[4] += first;
        state[0] = first + second;
    }
    for (int i = 0; i < 8; i++)
        hash[i] += state[i];
}

void sha256_begin(sha256 *sum)
{
    static const uint32_t first[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memcpy(sum->hash, first, sizeof first);
    sum->length = 0;
}

void sha256_add(sha256 *sum, const uint8_t *octets, size_t length)
{
    while (length > 0) {
        size_t held = sum->length % 64, count = 64 - held < length ? 64 - held : length;
        memcpy(sum->block + held, octets, count);
        sum->length += count;
        octets += count;
        length -= count;
        if (held + count == 64)
            take_block(sum->hash, sum->block);
    }
}

void sha256_end(sha256 *sum, char text[65])
{
    /* What is left, a bit that is set, zeros, and the length in bits: one block or two. */
    uint64_t bits = sum->length * 8;
    size_t held = sum->length % 64, zeros = (held < 56 ? 56 : 120) - held;
    uint8_t last[72] = {0x80};
    for (size_t i = 0; i < 8; i++)
        last[zeros + i] = (uint8_t)(bits >> (56 - 8 * i));
    sha256_add(sum, last, zeros + 8);
    for (int i = 0; i < 8; i++)
        snprintf(text + 8 * i, 9, "%08x", (unsigned)sum->hash[i]);
}

void sha256_text(const uint8_t *octets, size_t length, char text[65])
{
    sha256 sum;
    sha256_begin(&sum);
    sha256_add(&sum, octets, length);
    sha256_end(&sum, text);
}
