// Causal attention of tokens that lie in lines, forward and backward, by the processor's matrix units, in bfloat16 with scores,
// softmax and sums in float. Compiled at first use (native.py); attention.py says the same in torch, and is used where there are
// no such units.
//
// A task is one line and one key-value head with the query heads that share it; nothing it makes leaves the core's cache but
// its results. Queries and keys are taken in blocks of 32, and with a block of queries only the keys up to it. Kept for the
// backward pass is the log-sum-exp of each query, from which its weights are made again (FlashAttention, arXiv 2205.14135).
// A line is computed by itself, in an order that depends on its tokens' places alone.
#include "tiles.h"

#ifdef TILES
namespace {

constexpr long BLOCK = 32;              // queries, and keys, that are taken together
constexpr long CHUNK = 4;               // blocks of keys whose weights are held at once in the backward pass
constexpr long AHEAD = 8;               // tokens whose numbers are fetched before they are needed, and with them the next head's
constexpr long CELL = SIDE * SIDE;      // numbers of a tile of floats
constexpr float BITS = 1.442695041f;    // log2(e)
constexpr float NEVER = -std::numeric_limits<float>::infinity();

// Which tokens stand where, and the shapes: query [N, heads, size], key and value [N, kv_heads, size].
struct Standing {
    const int64_t *places;            // [lines, width] the token in each place
    const int64_t *counts, *starts;   // [lines] how many there are; how many of them, at the front, stand in a line before as well
    long lines, width, heads, kv_heads, size;
};

// 2^x: a minimax polynomial of x - floor(x), relative error below 3e-6, a thousandth of what rounding takes. NaN stays NaN, and -inf
// gives 0.
inline __m512 power_of_two(__m512 x) {
    const __m512 part = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
    __m512 y = _mm512_set1_ps(1.3534168e-2f);
    for (float next : {5.2011460e-2f, 2.4144275e-1f, 6.9300383e-1f, 1.0000026f}) y = _mm512_fmadd_ps(y, part, _mm512_set1_ps(next));
    return _mm512_scalef_ps(y, x);
}

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

// Two vectors of 16 floats as 32 numbers.
inline __m512i narrow(__m512 first, __m512 second) { return (__m512i)_mm512_cvtne2ps_pbh(second, first); }

// Adds the products of 32 numbers.
inline __m512 dot(__m512 sum, const bf16 *a, const bf16 *b) {
    return _mm512_dpbf16_ps(sum, (__m512bh)_mm512_loadu_si512(a), (__m512bh)_mm512_loadu_si512(b));
}

// Memory of a thread, for as long as it lives: asking the system for it at each call takes longer than the call.
class Room {
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

// The compiler does not see that tiles read memory: what is written before must be there.
inline void settle() { __asm__ volatile("" ::: "memory"); }

// The four tiles 0 .. 3 are a 2 x 2 block of sums.
inline void zero() {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
}
inline void take(const float *a, const float *b, const float *c, const float *d) {
    settle();
    _tile_loadd(0, a, 64);
    _tile_loadd(1, b, 64);
    _tile_loadd(2, c, 64);
    _tile_loadd(3, d, 64);
}
inline void give(float *a, float *b, float *c, float *d) {
    _tile_stored(0, a, 64);
    _tile_stored(1, b, 64);
    _tile_stored(2, c, 64);
    _tile_stored(3, d, 64);
    settle();
}

// Adds `count` products: A from two rows of tiles whose lines are `stride` numbers apart and which follow each other by `step`, B
// from two rows of whole tiles.
inline void add(const bf16 *a0, const bf16 *a1, long stride, long step, const bf16 *b0, const bf16 *b1, long count) {
    settle();
    for (long k = 0; k < count; k++) {
        _tile_loadd(4, a0 + k * step, 2 * stride);
        _tile_loadd(6, b0 + k * TILE, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, b1 + k * TILE, 64);
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(5, a1 + k * step, 2 * stride);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
}

// One head's numbers at the places `from` .. `end` of a line, one below the other, `blocks` whole blocks; 0 at all other places.
void lay(const bf16 *x, long heads, long head, long size, const int64_t *place, long from, long end, long blocks, bf16 *to) {
    for (long t = 0; t < blocks * BLOCK; t++) {
        const bool there = from <= t && t < end;
        const bf16 *row = there ? x + (place[t] * heads + head) * size : x;
        const __mmask16 all = there ? 0xffff : 0;
        if (there && t + AHEAD < end)
            for (long d = 0; d < 2 * size; d += DEEP) _mm_prefetch(x + (place[t + AHEAD] * heads + head) * size + d, _MM_HINT_T0);
        for (long d = 0; d < size; d += DEEP) _mm512_storeu_si512(to + t * size + d, _mm512_maskz_loadu_epi32(all, row + d));
    }
}

// Rows of lay: as B of a product with their transpose, [2 blocks][size / 32] tiles.
void turned(const bf16 *rows, long size, long blocks, bf16 *to) {
    for (long t = 0; t < 2 * blocks; t++)
        for (long d = 0; d < size; d += DEEP, to += TILE) tile_of_lines_turned(rows + t * SIDE * size + d, size, SIDE, DEEP, to);
}

// As B of a product that sums over places, [size / 16][blocks] tiles.
void paired(const bf16 *rows, long size, long blocks, bf16 *to) {
    for (long d = 0; d < size; d += SIDE)
        for (long b = 0; b < blocks; b++, to += TILE) tile_of_pairs(rows + b * BLOCK * size + d, size, DEEP, SIDE, to);
}

// Their transpose as A of a product that sums over places, [size / 16][blocks] tiles, those from `from` on.
void paired_turned(const bf16 *rows, long size, long from, long blocks, bf16 *to) {
    for (long d = 0; d < size; d += SIDE)
        for (long b = from; b < blocks; b++)
            tile_of_pairs_turned(rows + b * BLOCK * size + d, size, DEEP, SIDE, to + (d / SIDE * blocks + b) * TILE);
}

// A softmax of up to 16 queries' scores, in tiles [keys / 16][16][16], the last tile of which is theirs: weights [keys / 32][16][32],
// not divided by their sums; 1 / sum and log2 of the sum of 2^(scores log2(e)), [16] each.
void weigh(const float *scores, long tiles, long rows, bf16 *weights, float *part, float *sums) {
    if (rows <= 0) return;
    const __m512 never = _mm512_set1_ps(NEVER), bits = _mm512_set1_ps(BITS);
    __m512 line[SIDE];
    alignas(64) float top[SIDE];
    const auto seen = [](long i) { return __mmask16((2u << i) - 1); };
    for (long i = 0; i < SIDE; i++) {
        const float *from = scores + i * SIDE;
        line[i] = _mm512_mask_loadu_ps(never, seen(i), from + (tiles - 1) * CELL);
        for (long t = 0; t < tiles - 1; t++) line[i] = _mm512_max_ps(line[i], _mm512_loadu_ps(from + t * CELL));
    }
    const __m512 tops = _mm512_mul_ps(bits, most_of(line));
    _mm512_store_ps(top, tops);
    for (long i = 0; i < rows; i++) {
        const __m512 shift = _mm512_set1_ps(top[i]);
        const auto weight = [&](long t) {
            return power_of_two(_mm512_fmsub_ps(_mm512_loadu_ps(scores + t * CELL + i * SIDE), bits, shift));
        };
        __m512 sum = _mm512_setzero_ps();
        long t = 0;
        for (; t + 2 < tiles; t += 2) {
            const __m512 a = weight(t), b = weight(t + 1);
            sum = _mm512_add_ps(sum, _mm512_add_ps(a, b));
            _mm512_storeu_si512(weights + t / 2 * TILE + i * DEEP, narrow(a, b));
        }
        const __m512 last = _mm512_maskz_mov_ps(seen(i), weight(tiles - 1));
        const __m512 a = t + 1 == tiles ? last : weight(t), b = t + 1 == tiles ? _mm512_setzero_ps() : last;
        line[i] = _mm512_add_ps(sum, _mm512_add_ps(a, b));
        _mm512_storeu_si512(weights + t / 2 * TILE + i * DEEP, narrow(a, b));
    }
    const __m512 total = sum_of(line);
    _mm512_storeu_ps(part, _mm512_div_ps(_mm512_set1_ps(1.0f), total));
    _mm512_storeu_ps(sums, _mm512_add_ps(tops, log_of_two(total)));
}

long forward_bytes(const Standing &s) {
    const long width = up_to(s.width, BLOCK);
    return 2 * 3 * width * s.size + (4 + 2) * BLOCK * width + 4096 * 2;
}

// Of one line and key-value head: out [N, heads, size], sums [N, heads] as `weigh` gives them.
void forward(const Standing &s, const bf16 *query, const bf16 *key, const bf16 *value, bf16 *out, float *sums, long line, long kv) {
    const int64_t *place = s.places + line * s.width;
    const long count = s.counts[line], start = s.starts[line], size = s.size, blocks = (count + BLOCK - 1) / BLOCK;
    const long group = s.heads / s.kv_heads, deep = size / DEEP;
    Room room(forward_bytes(s));
    bf16 *rows = room.take<bf16>(blocks * BLOCK * size), *keys = room.take<bf16>(blocks * BLOCK * size);
    bf16 *values = room.take<bf16>(blocks * BLOCK * size), *weights = room.take<bf16>(2 * blocks * TILE);
    float *scores = room.take<float>(4 * blocks * CELL), *seen = room.take<float>(4 * CELL);
    lay(key, s.kv_heads, kv, size, place, 0, count, blocks, rows), turned(rows, size, blocks, keys);
    lay(value, s.kv_heads, kv, size, place, 0, count, blocks, rows), paired(rows, size, blocks, values);
    for (long head = kv * group; head < (kv + 1) * group; head++) {
        lay(query, s.heads, head, size, place, start, count, blocks, rows);
        for (long block = start / BLOCK; block < blocks; block++) {
            const bf16 *q = rows + block * BLOCK * size;
            float *score[2] = {scores, scores + 2 * blocks * CELL};
            for (long t = 0; t < 2 * (block + 1); t += 2) {
                zero();
                add(q, q + SIDE * size, size, DEEP, keys + t * deep * TILE, keys + (t + 1) * deep * TILE, deep);
                give(score[0] + t * CELL, score[0] + (t + 1) * CELL, score[1] + t * CELL, score[1] + (t + 1) * CELL);
            }
            const long from = std::max(start - block * BLOCK, 0L), end = std::min(count - block * BLOCK, BLOCK);
            float part[BLOCK], sum[BLOCK];
            for (long half = 0; half < 2; half++)
                weigh(score[half], 2 * block + 1 + half, std::min(end - half * SIDE, SIDE), weights + half * blocks * TILE,
                      part + half * SIDE, sum + half * SIDE);
            place += block * BLOCK;
            for (long i = from; i < end; i++) sums[place[i] * s.heads + head] = sum[i];
            for (long d = 0; d < size; d += DEEP) {
                const bf16 *v = values + d / SIDE * blocks * TILE;
                zero();
                add(weights, weights + blocks * TILE, DEEP, TILE, v, v + blocks * TILE, block + 1);
                give(seen, seen + CELL, seen + 2 * CELL, seen + 3 * CELL);
                for (long i = from; i < end; i++) {
                    const float *found = seen + i / SIDE * 2 * CELL + i % SIDE * SIDE;
                    const __m512 by = _mm512_set1_ps(part[i]);
                    const __m512 a = _mm512_mul_ps(by, _mm512_loadu_ps(found)), b = _mm512_mul_ps(by, _mm512_loadu_ps(found + CELL));
                    _mm512_storeu_si512(out + (place[i] * s.heads + head) * size + d, narrow(a, b));
                }
            }
            place -= block * BLOCK;
        }
    }
}

// Weights P of up to 32 queries for 32 keys and what comes back for their scores, P (back - along), from tiles [2][2][16][16]: both
// in pairs of queries (`to` 0 and 1), the latter in lines as well (2). Columns of pairs are out of order, as `key_of` says.
template <bool DIAGONAL>
void weigh_back(const float *scores, const float *back, const float *sums, const float *along, long rows, bf16 *to[3][2]) {
    const __m512 bits = _mm512_set1_ps(BITS);
    for (long i = 0; i < BLOCK; i += 2) {
        __m512i p[2], d[2];
        for (long k = 0; k < 2; k++) {
            const uint64_t seen = DIAGONAL ? (2ull << (i + k)) - 1 : ~0ull;
            const long at = (i + k) / SIDE * 2 * CELL + (i + k) % SIDE * SIDE;
            const __m512 sum = _mm512_set1_ps(sums[i + k]), mean = _mm512_set1_ps(along[i + k]);
            __m512 w[2], g[2];
            for (long t = 0; t < 2; t++) {
                const __mmask16 mask = __mmask16(seen >> (t * SIDE));
                w[t] = power_of_two(_mm512_fmsub_ps(_mm512_loadu_ps(scores + at + t * CELL), bits, sum));
                if (DIAGONAL) w[t] = _mm512_maskz_mov_ps(mask, w[t]);
                const __m512 more = _mm512_sub_ps(_mm512_loadu_ps(back + at + t * CELL), mean);
                g[t] = DIAGONAL ? _mm512_maskz_mul_ps(mask, w[t], more) : _mm512_mul_ps(w[t], more);
            }
            p[k] = narrow(w[0], w[1]), d[k] = narrow(g[0], g[1]);
            _mm512_storeu_si512(to[2][(i + k) / SIDE] + (i + k) % SIDE * DEEP, d[k]);
        }
        for (long t = 0; t < 2; t++) {
            _mm512_storeu_si512(to[0][t] + i / 2 * DEEP, t ? _mm512_unpackhi_epi16(p[0], p[1]) : _mm512_unpacklo_epi16(p[0], p[1]));
            _mm512_storeu_si512(to[1][t] + i / 2 * DEEP, t ? _mm512_unpackhi_epi16(d[0], d[1]) : _mm512_unpacklo_epi16(d[0], d[1]));
        }
        if (i + 2 < rows || i + 2 == BLOCK) continue;
        for (long next = i / 2 + 1; next < SIDE; next++)  // no more queries
            for (long t = 0; t < 4; t++) _mm512_storeu_si512(to[t / 2][t % 2] + next * DEEP, _mm512_setzero_si512());
        return;
    }
}

// Which of a block's 32 keys a column of its two tiles of pairs belongs to.
inline long key_of(long tile, long column) { return column / 4 * 8 + tile * 4 + column % 4; }

// Where 32 numbers of a gradient are put.
inline void put_thirty_two(bf16 *to, __m512 a, __m512 b) { _mm512_storeu_si512(to, narrow(a, b)); }
inline void put_thirty_two(float *to, __m512 a, __m512 b) { _mm512_storeu_ps(to, a), _mm512_storeu_ps(to + SIDE, b); }

// Sums [size / 16][2 blocks] tiles of [16 of size][16 keys], to the tokens' rows; those of the first `start` places to `more`.
template <class S>
void put_keys(const Standing &s, const float *sums, long line, long kv, S *to, float *more) {
    const int64_t *place = s.places + line * s.width;
    const long count = s.counts[line], start = s.starts[line], size = s.size, tiles = (count + BLOCK - 1) / BLOCK * 2;
    for (long before = 0; before < line; before++) more += s.starts[before] * s.kv_heads * size;
    for (long d = 0; d < size / SIDE; d += 2)
        for (long t = 0; t < tiles; t++) {
            __m512i half[2][SIDE];
            for (long k = 0; k < 2; k++) {
                for (long i = 0; i < SIDE; i++) half[k][i] = _mm512_loadu_si512(sums + ((d + k) * tiles + t) * CELL + i * SIDE);
                mirror(half[k]);
            }
            for (long i = 0; i < SIDE; i++) {
                const long at = t / 2 * BLOCK + key_of(t % 2, i);
                if (at >= count) continue;
                const __m512 a = _mm512_castsi512_ps(half[0][i]), b = _mm512_castsi512_ps(half[1][i]);
                if (at < start)
                    put_thirty_two(more + (at * s.kv_heads + kv) * size + d * SIDE, a, b);
                else
                    put_thirty_two(to + (place[at] * s.kv_heads + kv) * size + d * SIDE, a, b);
            }
        }
}

long backward_bytes(const Standing &s) {
    const long width = up_to(s.width, BLOCK);
    return 2 * 8 * width * s.size + 4 * 3 * width * s.size + (3 * 2) * width * CHUNK * BLOCK + 2 * 4 * width + 4096 * 8;
}

// Of one line and key-value head the gradients of the queries, [N, heads, size], and of keys and values. With P the weights:
//
// dV = P^T dO, dS = P (dO V^T - rowsum(dO O)), dQ = dS K, dK = dS^T Q
template <class S>
void backward(const Standing &s, const bf16 *query, const bf16 *key, const bf16 *value, const bf16 *out, const float *sums,
              const bf16 *grad, bf16 *grad_query, S *grad_key, S *grad_value, float *more_key, float *more_value, long line, long kv) {
    const int64_t *place = s.places + line * s.width;
    const long count = s.counts[line], start = s.starts[line], size = s.size, blocks = (count + BLOCK - 1) / BLOCK;
    const long group = s.heads / s.kv_heads, deep = size / DEEP, wide = size / SIDE, all = blocks * BLOCK * size;
    const long first = start / BLOCK;
    Room room(backward_bytes(s));
    bf16 *q = room.take<bf16>(all), *g = room.take<bf16>(all), *q_turned = room.take<bf16>(all), *g_turned = room.take<bf16>(all);
    bf16 *keys = room.take<bf16>(all), *values = room.take<bf16>(all), *key_pairs = room.take<bf16>(all);
    float *sum_q = room.take<float>(all), *sum_k = room.take<float>(all), *sum_v = room.take<float>(all);
    float *total = room.take<float>(blocks * BLOCK), *along = room.take<float>(blocks * BLOCK);
    float *scores = room.take<float>(4 * CELL), *back = room.take<float>(4 * CELL);
    bf16 *weights = room.take<bf16>(2 * CHUNK * blocks * TILE), *pairs = room.take<bf16>(2 * CHUNK * blocks * TILE);
    bf16 *lines = room.take<bf16>(2 * CHUNK * TILE);
    lay(value, s.kv_heads, kv, size, place, 0, count, blocks, q), turned(q, size, blocks, values);
    lay(key, s.kv_heads, kv, size, place, 0, count, blocks, q), turned(q, size, blocks, keys), paired(q, size, blocks, key_pairs);
    for (long head = kv * group; head < (kv + 1) * group; head++) {
        lay(query, s.heads, head, size, place, start, count, blocks, q), paired_turned(q, size, first, blocks, q_turned);
        lay(grad, s.heads, head, size, place, start, count, blocks, g), paired_turned(g, size, first, blocks, g_turned);
        for (long t = first * BLOCK; t < blocks * BLOCK; t += SIDE) {
            __m512 line[SIDE];
            for (long i = 0; i < SIDE; i++) {
                line[i] = _mm512_setzero_ps(), total[t + i] = 0;
                if (t + i < start || t + i >= count) continue;
                const long row = place[t + i] * s.heads + head;
                if (t + i + AHEAD < count)
                    for (long d = 0; d < 2 * size; d += DEEP)
                        _mm_prefetch(out + (place[t + i + AHEAD] * s.heads + head) * size + d, _MM_HINT_T0);
                total[t + i] = sums[row];
                for (long d = 0; d < size; d += DEEP) line[i] = dot(line[i], out + row * size + d, g + (t + i) * size + d);
            }
            _mm512_store_ps(along + t, sum_of(line));
        }
        for (long begin = 0; begin < blocks; begin += CHUNK) {
            const long end = std::min(begin + CHUNK, blocks), top = std::max(begin, first);
            for (long block = top; block < blocks; block++) {
                const long until = std::min(end, block + 1), at = block * BLOCK * size;
                for (long b = begin; b < until; b++) {
                    const bf16 *k = keys + 2 * b * deep * TILE, *v = values + 2 * b * deep * TILE;
                    zero(), add(q + at, q + at + SIDE * size, size, DEEP, k, k + deep * TILE, deep);
                    give(scores, scores + CELL, scores + 2 * CELL, scores + 3 * CELL);
                    zero(), add(g + at, g + at + SIDE * size, size, DEEP, v, v + deep * TILE, deep);
                    give(back, back + CELL, back + 2 * CELL, back + 3 * CELL);
                    const long tile = 2 * (b - begin) * blocks + block;
                    bf16 *to[3][2] = {{weights + tile * TILE, weights + (tile + blocks) * TILE},
                                      {pairs + tile * TILE, pairs + (tile + blocks) * TILE},
                                      {lines + (b - begin) * TILE, lines + (CHUNK + b - begin) * TILE}};
                    (b == block ? weigh_back<true> : weigh_back<false>)(scores, back, total + block * BLOCK, along + block * BLOCK,
                                                                        count - block * BLOCK, to);
                }
                for (long d = 0; d < wide; d += 2) {
                    float *c = sum_q + (2 * block * wide + d) * CELL, *below = c + wide * CELL;
                    const bf16 *k = key_pairs + (d * blocks + begin) * TILE;
                    begin ? take(c, c + CELL, below, below + CELL) : zero();
                    add(lines, lines + CHUNK * TILE, DEEP, TILE, k, k + blocks * TILE, until - begin);
                    give(c, c + CELL, below, below + CELL);
                }
            }
            for (long b = begin; b < end; b++)
                for (long d = 0; d < wide; d += 2)
                    for (long side = 0; side < 2; side++) {
                        const long from = std::max(b, first);
                        const bf16 *a = (side ? q_turned : g_turned) + (d * blocks + from) * TILE;
                        const bf16 *w = (side ? pairs : weights) + (2 * (b - begin) * blocks + from) * TILE;
                        float *c = (side ? sum_k : sum_v) + (d * blocks + b) * 2 * CELL, *below = c + 2 * blocks * CELL;
                        head % group ? take(c, c + CELL, below, below + CELL) : zero();
                        add(a, a + blocks * TILE, DEEP, TILE, w, w + blocks * TILE, blocks - from);
                        give(c, c + CELL, below, below + CELL);
                    }
        }
        for (long t = start; t < count; t++)
            for (long d = 0; d < wide; d += 2) {
                const float *from = sum_q + (t / SIDE * wide + d) * CELL + t % SIDE * SIDE;
                bf16 *to = grad_query + (place[t] * s.heads + head) * size + d * SIDE;
                put_thirty_two(to, _mm512_loadu_ps(from), _mm512_loadu_ps(from + CELL));
            }
    }
    put_keys(s, sum_k, line, kv, grad_key, more_key), put_keys(s, sum_v, line, kv, grad_value, more_value);
}

// Each line and key-value head by one thread.
template <class F> void each(const Standing &s, int threads, F task) {
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        const Tiles tiles;
#pragma omp for schedule(dynamic)
        for (long number = 0; number < s.lines * s.kv_heads; number++) task(number / s.kv_heads, number % s.kv_heads);
    }
}

}  // namespace

extern "C" void tiles_work(int *yes) { *yes = tiles_allowed(); }

extern "C" void attend(const int64_t *places, const int64_t *counts, const int64_t *starts, long lines, long width, long heads,
                       long kv_heads, long size, const void *query, const void *key, const void *value, void *out, float *sums,
                       int threads) {
    const Standing s{places, counts, starts, lines, width, heads, kv_heads, size};
    each(s, threads, [&](long line, long kv) {
        forward(s, (const bf16 *)query, (const bf16 *)key, (const bf16 *)value, (bf16 *)out, sums, line, kv);
    });
}

// Gradients of keys and values are float where tokens stand in several lines, and more_* then have those of the places where one has
// stood before: [sum of starts, kv_heads, size].
extern "C" void attend_back(const int64_t *places, const int64_t *counts, const int64_t *starts, long lines, long width, long heads,
                            long kv_heads, long size, const void *query, const void *key, const void *value, const void *out,
                            const float *sums, const void *grad, void *grad_query, void *grad_key, void *grad_value,
                            float *more_key, float *more_value, int threads) {
    const Standing s{places, counts, starts, lines, width, heads, kv_heads, size};
    const auto run = [&](auto *key_to, auto *value_to) {
        each(s, threads, [&](long line, long kv) {
            backward(s, (const bf16 *)query, (const bf16 *)key, (const bf16 *)value, (const bf16 *)out, sums, (const bf16 *)grad,
                     (bf16 *)grad_query, key_to, value_to, more_key, more_value, line, kv);
        });
    };
    more_key ? run((float *)grad_key, (float *)grad_value) : run((bf16 *)grad_key, (bf16 *)grad_value);
}
#else
extern "C" void tiles_work(int *yes) { *yes = 0; }
#endif
