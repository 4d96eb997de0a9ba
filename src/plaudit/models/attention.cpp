// Causal attention of tokens that lie in lines, forward and backward, by the processor's matrix units, in bfloat16 with scores,
// softmax and sums in float. Compiled at first use (native.py); attention.py says the same in torch, and is used where there are
// no such units.
//
// A task is one line and one key-value head with the query heads that share it; nothing it makes leaves the core's cache but
// its results. Queries and keys are taken in blocks of 32, and with a block of queries only the keys up to it. Kept for the
// backward pass is the log-sum-exp of each query, from which its weights are made again (FlashAttention, arXiv 2205.14135).
// A line is computed by itself, in an order that depends on its tokens' places alone.
#include "tile_blocks.h"

#ifdef TILES
namespace {

constexpr long BLOCK = 32;              // queries, and keys, that are taken together
constexpr long CHUNK = 4;               // blocks of keys whose weights are held at once in the backward pass
constexpr long AHEAD = 8;               // tokens whose numbers are fetched before they are needed, and with them the next head's
constexpr float NEVER = -std::numeric_limits<float>::infinity();

// Which tokens stand where, and the shapes: query [N, heads, size], key and value [N, kv_heads, size].
struct Standing {
    const int64_t *places;            // [lines, width] the token in each place
    const int64_t *counts, *starts;   // [lines] how many there are; how many of them, at the front, stand in a line before as well
    long lines, width, heads, kv_heads, size;
};

// Into the cache: the numbers of one head of a token, and of the head behind.
inline void fetch(const bf16 *from, long size) {
    for (long d = 0; d < 2 * size; d += DEEP) _mm_prefetch(from + d, _MM_HINT_T0);
}

// One head's numbers at the places `from` .. `end` of a line, one below the other, `blocks` whole blocks; 0 at all other places.
void lay(const bf16 *x, long heads, long head, long size, const int64_t *place, long from, long end, long blocks, bf16 *to) {
    for (long t = 0; t < blocks * BLOCK; t++) {
        const bool there = from <= t && t < end;
        const bf16 *row = there ? x + (place[t] * heads + head) * size : x;
        const __mmask16 all = there ? 0xffff : 0;
        if (there && t + AHEAD < end) fetch(x + (place[t + AHEAD] * heads + head) * size, size);
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

// Of one line and key-value head: out [N, heads, size], sums [N, heads] as `weigh` gives them.
void forward(const Standing &s, const bf16 *query, const bf16 *key, const bf16 *value, bf16 *out, float *sums, long line, long kv) {
    const int64_t *place = s.places + line * s.width;
    const long count = s.counts[line], start = s.starts[line], size = s.size, blocks = (count + BLOCK - 1) / BLOCK;
    const long group = s.heads / s.kv_heads, deep = size / DEEP;
    const long all = blocks * BLOCK * size;
    Room<> room(2 * (3 * all + 2 * blocks * TILE) + 4 * (4 * blocks + 4) * CELL);
    bf16 *rows = room.take<bf16>(all), *keys = room.take<bf16>(all), *values = room.take<bf16>(all);
    bf16 *weights = room.take<bf16>(2 * blocks * TILE);
    float *scores = room.take<float>(4 * blocks * CELL), *seen = room.take<float>(4 * CELL);
    lay(key, s.kv_heads, kv, size, place, 0, count, blocks, rows), turned(rows, size, blocks, keys);
    lay(value, s.kv_heads, kv, size, place, 0, count, blocks, rows), paired(rows, size, blocks, values);
    for (long head = kv * group; head < (kv + 1) * group; head++) {
        lay(query, s.heads, head, size, place, start, count, blocks, rows);
        for (long block = start / BLOCK; block < blocks; block++) {
            const bf16 *q = rows + block * BLOCK * size;
            float *score[2] = {scores, scores + 2 * blocks * CELL};
            for (long t = 0; t < 2 * (block + 1); t++)
                add(score[0] + t * CELL, score[1] + t * CELL, false, q, q + SIDE * size, size, DEEP, keys + t * deep * TILE, deep);
            const long from = std::max(start - block * BLOCK, 0L), end = std::min(count - block * BLOCK, BLOCK);
            float part[BLOCK], sum[BLOCK];
            for (long half = 0; half < 2; half++)
                weigh(score[half], 2 * block + 1 + half, std::min(end - half * SIDE, SIDE), weights + half * blocks * TILE,
                      part + half * SIDE, sum + half * SIDE);
            place += block * BLOCK;
            for (long i = from; i < end; i++) sums[place[i] * s.heads + head] = sum[i];
            for (long d = 0; d < size; d += DEEP) {
                for (long t = 0; t < 2; t++)
                    add(seen + t * CELL, seen + (2 + t) * CELL, false, weights, weights + blocks * TILE, DEEP, TILE,
                        values + (d / SIDE + t) * blocks * TILE, block + 1);
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

// What a task of the backward pass holds: numbers of a head laid end to end, as they are and as tiles of products, sums, and weights.
struct Back {
    long count, start, size, blocks, deep, wide, first;  // deep and wide: size in tiles of depth and of sums; first: block with queries
    bf16 *q, *g, *q_turned, *g_turned, *keys, *values, *key_pairs, *weights, *pairs, *lines;
    float *sum_q, *sum_k, *sum_v, *total, *along, *scores, *back;

    Back(const Standing &s, long line)
        : count(s.counts[line]), start(s.starts[line]), size(s.size), blocks((count + BLOCK - 1) / BLOCK), deep(size / DEEP),
          wide(size / SIDE), first(start / BLOCK) {
        const long width = blocks * BLOCK, all = width * size, held = 2 * CHUNK * blocks * TILE;
        Room<> room(2 * (7 * all + 2 * held + 2 * CHUNK * TILE) + 4 * (3 * all + 2 * width + 8 * CELL));
        for (bf16 **to : {&q, &g, &q_turned, &g_turned, &keys, &values, &key_pairs}) *to = room.take<bf16>(all);
        for (float **to : {&sum_q, &sum_k, &sum_v}) *to = room.take<float>(all);
        weights = room.take<bf16>(held), pairs = room.take<bf16>(held), lines = room.take<bf16>(2 * CHUNK * TILE);
        total = room.take<float>(width), along = room.take<float>(width);
        scores = room.take<float>(4 * CELL), back = room.take<float>(4 * CELL);
    }

    // rowsum(dO O) of the head's queries, and the sums of the forward pass; 0 for what is none.
    void look(const Standing &s, const int64_t *place, long head, const bf16 *out, const float *sums) {
        for (long t = first * BLOCK; t < blocks * BLOCK; t += SIDE) {
            __m512 row[SIDE];
            for (long i = 0; i < SIDE; i++) {
                row[i] = _mm512_setzero_ps(), total[t + i] = 0;
                if (t + i < start || t + i >= count) continue;
                const long at = place[t + i] * s.heads + head;
                total[t + i] = sums[at];
                if (t + i + AHEAD < count) fetch(out + (place[t + i + AHEAD] * s.heads + head) * size, size);
                for (long d = 0; d < size; d += DEEP) row[i] = dot(row[i], out + at * size + d, g + (t + i) * size + d);
            }
            _mm512_store_ps(along + t, sum_of(row));
        }
    }

    // Weights of a block of queries for the blocks of keys begin .. end, and dQ += dS K with these.
    void queries(long block, long begin, long end) {
        const long at = block * BLOCK * size;
        for (long b = begin; b < end; b++) {
            for (long t = 0; t < 2; t++) {
                const long right = (2 * b + t) * deep * TILE, below = at + SIDE * size;
                add(scores + t * CELL, scores + (2 + t) * CELL, false, q + at, q + below, size, DEEP, keys + right, deep);
                add(back + t * CELL, back + (2 + t) * CELL, false, g + at, g + below, size, DEEP, values + right, deep);
            }
            const long tile = 2 * (b - begin) * blocks + block;
            bf16 *to[3][2] = {{weights + tile * TILE, weights + (tile + blocks) * TILE},
                              {pairs + tile * TILE, pairs + (tile + blocks) * TILE},
                              {lines + (b - begin) * TILE, lines + (CHUNK + b - begin) * TILE}};
            (b == block ? weigh_back<true> : weigh_back<false>)(scores, back, total + block * BLOCK, along + block * BLOCK,
                                                                count - block * BLOCK, to);
        }
        for (long d = 0; d < wide; d++) {
            float *c = sum_q + (2 * block * wide + d) * CELL;
            add(c, c + wide * CELL, begin, lines, lines + CHUNK * TILE, DEEP, TILE, key_pairs + (d * blocks + begin) * TILE, end - begin);
        }
    }

    // The transpose of dV += P^T dO or dK += dS^T Q for a block of keys, the `number`th of those whose weights are held.
    void keys_of(float *sums, const bf16 *queries, const bf16 *held, long block, long number, bool more) {
        const long from = std::max(block, first);
        const bf16 *w = held + (2 * number * blocks + from) * TILE;
        for (long d = 0; d < wide; d += 2) {
            const bf16 *a = queries + (d * blocks + from) * TILE;
            float *c = sums + (d * blocks + block) * 2 * CELL, *below = c + 2 * blocks * CELL;
            for (long t = 0; t < 2; t++)
                add(c + t * CELL, below + t * CELL, more, a, a + blocks * TILE, DEEP, TILE, w + t * blocks * TILE, blocks - from);
        }
    }
};

// Of one line and key-value head the gradients of the queries, [N, heads, size], and of keys and values. With P the weights:
//
// dV = P^T dO, dS = P (dO V^T - rowsum(dO O)), dQ = dS K, dK = dS^T Q
template <class S>
void backward(const Standing &s, const bf16 *query, const bf16 *key, const bf16 *value, const bf16 *out, const float *sums,
              const bf16 *grad, bf16 *grad_query, S *grad_key, S *grad_value, float *more_key, float *more_value, long line, long kv) {
    Back w(s, line);
    const int64_t *place = s.places + line * s.width;
    const long size = s.size, blocks = w.blocks, group = s.heads / s.kv_heads;
    lay(value, s.kv_heads, kv, size, place, 0, w.count, blocks, w.q), turned(w.q, size, blocks, w.values);
    lay(key, s.kv_heads, kv, size, place, 0, w.count, blocks, w.q), turned(w.q, size, blocks, w.keys);
    paired(w.q, size, blocks, w.key_pairs);
    for (long head = kv * group; head < (kv + 1) * group; head++) {
        lay(query, s.heads, head, size, place, w.start, w.count, blocks, w.q), paired_turned(w.q, size, w.first, blocks, w.q_turned);
        lay(grad, s.heads, head, size, place, w.start, w.count, blocks, w.g), paired_turned(w.g, size, w.first, blocks, w.g_turned);
        w.look(s, place, head, out, sums);
        for (long begin = 0; begin < blocks; begin += CHUNK) {
            const long end = std::min(begin + CHUNK, blocks);
            for (long block = std::max(begin, w.first); block < blocks; block++) w.queries(block, begin, std::min(end, block + 1));
            for (long block = begin; block < end; block++) {
                w.keys_of(w.sum_v, w.g_turned, w.weights, block, block - begin, head % group);
                w.keys_of(w.sum_k, w.q_turned, w.pairs, block, block - begin, head % group);
            }
        }
        for (long t = w.start; t < w.count; t++)
            for (long d = 0; d < w.wide; d += 2) {
                const float *from = w.sum_q + (t / SIDE * w.wide + d) * CELL + t % SIDE * SIDE;
                bf16 *to = grad_query + (place[t] * s.heads + head) * size + d * SIDE;
                put_thirty_two(to, _mm512_loadu_ps(from), _mm512_loadu_ps(from + CELL));
            }
    }
    put_keys(s, w.sum_k, line, kv, grad_key, more_key), put_keys(s, w.sum_v, line, kv, grad_value, more_value);
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
#endif
