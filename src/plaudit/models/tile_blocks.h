// What kernels that multiply by tiles do with vectors of 16 floats, and with 2 x 2 blocks of tiles: logarithms of 2, sums of rows,
// memory of a thread, and products whose operands lie in rows of tiles.
#pragma once
#include "tiles.h"
#ifdef TILES

namespace {

constexpr long CELL = SIDE * SIDE;    // numbers of a tile of floats

// log2(x) for x > 0: with x = 2^n m and z = (m - 1) / (m + 1) <= 1 / 3, n + 2 (z + z^3 / 3 + z^5 / 5 + ...) / ln 2.
inline __m512 log_of_two(__m512 x) {
    const __m512 one = _mm512_set1_ps(1.0f), m = _mm512_getmant_ps(x, _MM_MANT_NORM_1_2, _MM_MANT_SIGN_src);
    const __m512 z = _mm512_div_ps(_mm512_sub_ps(m, one), _mm512_add_ps(m, one)), square = _mm512_mul_ps(z, z);
    __m512 y = _mm512_set1_ps(1.0f / 13);
    for (float odd : {11, 9, 7, 5, 3, 1}) y = _mm512_fmadd_ps(y, square, _mm512_set1_ps(1 / odd));
    return _mm512_fmadd_ps(_mm512_mul_ps(y, z), _mm512_set1_ps(2 * BITS), _mm512_getexp_ps(x));
}

// Of 16 vectors the largest, or the sum, of each, as one vector.
inline __m512 most_of(__m512 line[SIDE]) {
    mirror((__m512i *)line);
    for (long half = SIDE / 2; half; half /= 2)
        for (long i = 0; i < half; i++) line[i] = _mm512_max_ps(line[i], line[i + half]);
    return line[0];
}
inline __m512 sum_of(__m512 line[SIDE]) {
    mirror((__m512i *)line);
    for (long half = SIDE / 2; half; half /= 2)
        for (long i = 0; i < half; i++) line[i] = _mm512_add_ps(line[i], line[i + half]);
    return line[0];
}

// Adds the products of 32 numbers.
inline __m512 dot(__m512 sum, const bf16 *a, const bf16 *b) {
    return _mm512_dpbf16_ps(sum, (__m512bh)_mm512_loadu_si512(a), (__m512bh)_mm512_loadu_si512(b));
}

// Memory of a thread, for as long as it lives: asking the system for it at each call takes longer than the call. Each WHICH has
// its own.
template <int WHICH = 0> class Room {
  public:
    explicit Room(long bytes) {
        static thread_local std::vector<char> memory;
        if (long(memory.size()) < bytes + 64) memory.resize(bytes + 64);
        at = (char *)(((uintptr_t)memory.data() + 63) / 64 * 64);
    }
    template <class T> T *take(long count) {
        T *found = (T *)at;
        at += up_to(count * long(sizeof(T)), 64);
        return found;
    }

  private:
    char *at;
};

// Sums stand in the tiles 0 and 1, one below the other, and A and B pass through 2 and 3. No other tile is used, though eight are
// there: with eight in use a product was measured to take four times as long where the core's other thread is busy, with four twice as
// long (docs/performance-log.md). It looks as if about ten could be named anew then, less those that hold something.
inline void take(const float *a, const float *b) {
    written();
    _tile_loadd(0, a, 64);
    _tile_loadd(1, b, 64);
}
inline void zero() {
    written();
    _tile_zero(0);
    _tile_zero(1);
}
inline void give(float *a, float *b) {
    _tile_stored(0, a, 64);
    _tile_stored(1, b, 64);
    written();
}

// Sums of a block of 32 x 16, in tiles `above` and `below`, or as good as 0 where there is nothing `more`: adds `count` products of A
// from two rows of tiles, whose lines are `stride` numbers apart and which follow each other by `step`, and of B, a row of whole tiles.
inline void add(float *above, float *below, bool more, const bf16 *a0, const bf16 *a1, long stride, long step, const bf16 *b, long count) {
    more ? take(above, below) : zero();
    for (long k = 0; k < count; k++) {
        _tile_loadd(3, b + k * TILE, 64);
        _tile_loadd(2, a0 + k * step, 2 * stride);
        _tile_dpbf16ps(0, 2, 3);
        _tile_loadd(2, a1 + k * step, 2 * stride);
        _tile_dpbf16ps(1, 2, 3);
    }
    give(above, below);
}

}  // namespace
#endif
