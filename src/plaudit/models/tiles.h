// The matrix units of a processor (AMX): tiles of 16 rows of 64 bytes, and how matrices in bfloat16 are laid out in them.
//
// A product adds A B to a tile of 16 x 16 floats, where A holds 16 rows of 32 numbers, and B 32 rows of 16 numbers as pairs:
// its line j has b[2j][0], b[2j + 1][0], b[2j][1], b[2j + 1][1] and so on. WORK says whether they are there: where the compiler
// knows them, since all is compiled for this machine; the kernel must also let the process use them.
#pragma once
#include "vectors.h"
#if defined(VECTORS) && defined(__AMX_TILE__) && defined(__AMX_BF16__) && defined(__linux__)
#define TILES 1
#include <sys/syscall.h>
#include <unistd.h>

namespace {

constexpr long SIDE = 16, DEEP = 32;          // rows or columns of a tile of floats; numbers that are summed by one product
constexpr long TILE = SIDE * DEEP;            // numbers of a tile in bfloat16
inline long up_to(long count, long step) { return (count + step - 1) / step * step; }

// Whether the system lets this process use tiles; asked once by whoever calls this library.
inline bool tiles_allowed() { return syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* tile data */) == 0; }

// Compilers do not know that tiles are read from memory: what was written before must be there. Stand before the first load.
inline void written() { __asm__ volatile("" ::: "memory"); }

// Eight whole tiles, for one thread, for as long as this lives: others configure their own.
struct Tiles {
    Tiles() {
        alignas(64) uint8_t about[64] = {1};
        for (int tile = 0; tile < 8; tile++) about[16 + 2 * tile] = 64, about[48 + tile] = SIDE;
        written();
        _tile_loadconfig(about);
    }
    ~Tiles() { _tile_release(); }
};

// 16 numbers, those from `count` on 0.
inline __m256i sixteen(const bf16 *from, long count) {
    if (count >= SIDE) return _mm256_loadu_si256((const __m256i *)from);
    return _mm256_maskz_loadu_epi16(__mmask16((1u << std::max(count, 0L)) - 1), from);
}

// 32 numbers, those from `count` on 0.
inline __m512i thirty_two(const bf16 *from, long count) {
    if (count >= DEEP) return _mm512_loadu_si512(from);
    return _mm512_maskz_loadu_epi16(__mmask32((1ull << std::max(count, 0L)) - 1), from);
}

// Lines 2j and 2j + 1 of up to 32 x 16 numbers, as pairs.
inline __m512i pair(const bf16 *from, long stride, long j, long rows, long columns) {
    const __m256i none = _mm256_setzero_si256();
    const __m256i a = 2 * j < rows ? sixteen(from + 2 * j * stride, columns) : none;
    const __m256i b = 2 * j + 1 < rows ? sixteen(from + (2 * j + 1) * stride, columns) : none;
    return _mm512_or_si512(_mm512_cvtepu16_epi32(a), _mm512_slli_epi32(_mm512_cvtepu16_epi32(b), 16));
}

// 16 x 16 words of 32 bits, mirrored: word j of line i becomes word i of line j.
inline void mirror(__m512i line[16]) {
    __m512i a[16], b[16];
    for (int i = 0; i < 8; i++) {
        a[2 * i] = _mm512_unpacklo_epi32(line[2 * i], line[2 * i + 1]);
        a[2 * i + 1] = _mm512_unpackhi_epi32(line[2 * i], line[2 * i + 1]);
    }
    for (int i = 0; i < 4; i++)
        for (int half = 0; half < 2; half++) {
            b[4 * i + 2 * half] = _mm512_unpacklo_epi64(a[4 * i + half], a[4 * i + 2 + half]);
            b[4 * i + 2 * half + 1] = _mm512_unpackhi_epi64(a[4 * i + half], a[4 * i + 2 + half]);
        }
    // b[4i + k] has, in its quarter q, word 4q + k of lines 4i .. 4i + 3
    for (int k = 0; k < 4; k++) {
        const __m512i low = _mm512_shuffle_i32x4(b[k], b[4 + k], 0x88), high = _mm512_shuffle_i32x4(b[k], b[4 + k], 0xdd);
        const __m512i lower = _mm512_shuffle_i32x4(b[8 + k], b[12 + k], 0x88), higher = _mm512_shuffle_i32x4(b[8 + k], b[12 + k], 0xdd);
        line[k] = _mm512_shuffle_i32x4(low, lower, 0x88);
        line[8 + k] = _mm512_shuffle_i32x4(low, lower, 0xdd);
        line[4 + k] = _mm512_shuffle_i32x4(high, higher, 0x88);
        line[12 + k] = _mm512_shuffle_i32x4(high, higher, 0xdd);
    }
}

// A tile as A or B of a product is read from a matrix with lines of `stride` numbers; what lies outside it is 0.
//
// As A from [rows <= 16, depth <= 32]: the lines as they are.
inline void tile_of_lines(const bf16 *from, long stride, long rows, long depth, bf16 *to) {
    for (long i = 0; i < SIDE; i++)
        _mm512_storeu_si512(to + i * DEEP, i < rows ? thirty_two(from + i * stride, depth) : _mm512_setzero_si512());
}

// As B from [depth <= 32, columns <= 16]: pairs of lines.
inline void tile_of_pairs(const bf16 *from, long stride, long depth, long columns, bf16 *to) {
    for (long j = 0; j < SIDE; j++) _mm512_storeu_si512(to + j * DEEP, pair(from, stride, j, depth, columns));
}

// The same of up to 32 columns as two tiles: columns 0 to 3 of each 8 in the first, the others in the second.
inline void tiles_of_pairs(const bf16 *from, long stride, long depth, long columns, bf16 *to, bf16 *others) {
    for (long j = 0; j < SIDE; j++) {
        const __m512i none = _mm512_setzero_si512();
        const __m512i a = 2 * j < depth ? thirty_two(from + 2 * j * stride, columns) : none;
        const __m512i b = 2 * j + 1 < depth ? thirty_two(from + (2 * j + 1) * stride, columns) : none;
        for (long next : {2 * j, 2 * j + 1}) _mm_prefetch((const char *)(from + (next + DEEP) * stride), _MM_HINT_T0);
        _mm512_storeu_si512(to + j * DEEP, _mm512_unpacklo_epi16(a, b));
        _mm512_storeu_si512(others + j * DEEP, _mm512_unpackhi_epi16(a, b));
    }
}

// As B from its transpose [columns <= 16, depth <= 32]. `apart`: how many lines are left out after each 4. Lines that are 32 further
// on are asked for.
inline void tile_of_lines_turned(const bf16 *from, long stride, long columns, long depth, bf16 *to, long apart = 0) {
    __m512i line[16];
    for (long i = 0; i < SIDE; i++) {
        const long at = i + i / 4 * apart;
        line[i] = at < columns ? thirty_two(from + at * stride, depth) : _mm512_setzero_si512();
        if (at < columns) _mm_prefetch((const char *)(from + (at + DEEP) * stride), _MM_HINT_T0);
    }
    mirror(line);
    for (long j = 0; j < SIDE; j++) _mm512_storeu_si512(to + j * DEEP, line[j]);
}

// As A from its transpose [depth <= 32, rows <= 16].
inline void tile_of_pairs_turned(const bf16 *from, long stride, long depth, long rows, bf16 *to) {
    __m512i line[16];
    for (long j = 0; j < SIDE; j++) line[j] = pair(from, stride, j, depth, rows);
    mirror(line);
    for (long i = 0; i < SIDE; i++) _mm512_storeu_si512(to + i * DEEP, line[i]);
}

}  // namespace
#endif
