// What a decoding step does beside its matrix products, one pass over memory each: norms, rotary angles with attention on the
// cache, gates, and the draw of the next token. Compiled at first use (models/native.py); kernels.py says the same in torch, and is
// used where there is no compiler. Each row is computed by itself, in an order that does not depend on the rows beside it.
#include "numbers.h"

namespace {

// out[i] = rms(x)[i] * weight[i]; x gets `add` first, where there is one.
template <class S>
void norm_rows(typename Sum<S>::type *x, const S *add, const S *weight, S *out, long rows, long size, double eps, int offset,
               int threads) {
    using A = typename Sum<S>::type;
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (long row = 0; row < rows; row++) {
        A *line = x + row * size;
        S *to = out + row * size;
        A total = 0;
        if (add) {
            const S *more = add + row * size;
#pragma omp simd
            for (long i = 0; i < size; i++) line[i] += wide(more[i]);
        }
#pragma omp simd reduction(+ : total)
        for (long i = 0; i < size; i++) total += line[i] * line[i];
        A scale = A(1) / std::sqrt(total / A(size) + A(eps));
        A one = A(offset);
#pragma omp simd
        for (long i = 0; i < size; i++) put(to[i], line[i] * scale * (one + wide(weight[i])));
    }
}

// out = silu(y[:, :size]) * y[:, size:]
template <class S> void gate_rows(const S *y, S *out, long rows, long size, int threads) {
    using A = typename Sum<S>::type;
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (long row = 0; row < rows; row++) {
        const S *gate = y + row * 2 * size, *up = gate + size;
        S *to = out + row * size;
#pragma omp simd
        for (long i = 0; i < size; i++) {
            A x = wide(gate[i]);
            A e = power(x > 0 ? -x : x);  // never overflows
            put(to[i], x * (x > 0 ? A(1) : e) / (A(1) + e) * wide(up[i]));
        }
    }
}

template <class A> struct Shape {
    long heads, kv_heads, size, turned, slot_stride, head_stride, window;
    A scale, softcap;
};

// Rotates the first `turned` numbers of a head by halves (Su et al. 2021, arXiv 2104.09864).
template <class S, class A>
inline void rotate(const S *x, const S *cosine, const S *sine, long size, long turned, A *__restrict to) {
    const long half = turned / 2;
#pragma omp simd
    for (long i = 0; i < half; i++) {
        A left = wide(x[i]), right = wide(x[i + half]);
        to[i] = left * wide(cosine[i]) - right * wide(sine[i]);
        to[i + half] = right * wide(cosine[i + half]) + left * wide(sine[i + half]);
    }
    for (long i = turned; i < size; i++) to[i] = wide(x[i]);
}

// 64 bytes of numbers as sums are held in, which compilers turn into whatever vectors the machine has.
template <class A> struct Vector {
    typedef A type __attribute__((vector_size(64)));
    static constexpr int width = 64 / sizeof(A);
};
using Floats = Vector<float>::type;
using Doubles = Vector<double>::type;

template <class A> inline typename Vector<A>::type load(const A *from) {
    typename Vector<A>::type x;
    std::memcpy(&x, from, sizeof x);
    return x;
}

// Two vectors of numbers that lie together. Those of bf16 come as the even and the odd ones, which costs a shift and a mask;
// `spread` brings what they are multiplied with into that order, and `gather` what comes of it back.
template <class A> inline void load_two(const A *from, typename Vector<A>::type &first, typename Vector<A>::type &second) {
    first = load(from);
    second = load(from + Vector<A>::width);
}
inline void load_two(const bf16 *from, Floats &first, Floats &second) {
    typedef uint32_t words __attribute__((vector_size(64)));
    words bits;
    std::memcpy(&bits, from, sizeof bits);
    first = (Floats)(bits << 16);
    second = (Floats)(bits & 0xffff0000u);
}
template <class S, class A> inline void spread(A *, long) {}
template <class S, class A> inline void gather(A *, long) {}
template <> inline void spread<bf16, float>(float *line, long size) {
    for (long i = 0; i < size; i += 32) {
        const Floats a = load(line + i), b = load(line + i + 16);
        const Floats even = __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
        const Floats odd = __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
        std::memcpy(line + i, &even, sizeof even);
        std::memcpy(line + i + 16, &odd, sizeof odd);
    }
}
template <> inline void gather<bf16, float>(float *line, long size) {
    for (long i = 0; i < size; i += 32) {
        const Floats even = load(line + i), odd = load(line + i + 16);
        const Floats a = __builtin_shufflevector(even, odd, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
        const Floats b = __builtin_shufflevector(even, odd, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
        std::memcpy(line + i, &a, sizeof a);
        std::memcpy(line + i + 16, &b, sizeof b);
    }
}

// to[j] = the sum of x[j]'s numbers.
inline void add_up(const Floats (&x)[4], float (&to)[4]) {
    auto low = [](Floats a, Floats b) {
        return __builtin_shufflevector(a, b, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29) +
               __builtin_shufflevector(a, b, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
    };
    typedef float eight __attribute__((vector_size(32)));
    typedef float four __attribute__((vector_size(16)));
    const Floats a = low(x[0], x[1]), b = low(x[2], x[3]);
    const Floats c = __builtin_shufflevector(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29) +
                     __builtin_shufflevector(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
    const eight d = __builtin_shufflevector(c, c, 0, 1, 2, 3, 4, 5, 6, 7) + __builtin_shufflevector(c, c, 8, 9, 10, 11, 12, 13, 14, 15);
    const four e = __builtin_shufflevector(d, d, 0, 1, 2, 3) + __builtin_shufflevector(d, d, 4, 5, 6, 7);
    std::memcpy(to, &e, sizeof e);
}
inline void add_up(const Doubles (&x)[4], double (&to)[4]) {
    for (int j = 0; j < 4; j++) to[j] = ((x[j][0] + x[j][4]) + (x[j][2] + x[j][6])) + ((x[j][1] + x[j][5]) + (x[j][3] + x[j][7]));
}

constexpr int AHEAD = 24;  // keys between a key and the one that is fetched for later

// scores[g][t] = q[g] . keys[t] of G query heads, four keys at a time; D numbers a head, a multiple of two vectors.
template <class S, int D, int G>
void score_keys(const typename Sum<S>::type *q, const S *keys, long first, long count, typename Sum<S>::type *scores) {
    using A = typename Sum<S>::type;
    constexpr int width = Vector<A>::width;
    for (long t = first; t < count; t += 4) {
        typename Vector<A>::type sums[G][4] = {};
        for (int j = 0; j < 4; j++) {
            const S *line = keys + std::min(t + j, count - 1) * D;
            for (unsigned long at = 0; at < D * sizeof(S); at += 64) __builtin_prefetch((const char *)(line + AHEAD * D) + at);
            for (int i = 0; i < D; i += 2 * width) {
                typename Vector<A>::type one, two;
                load_two(line + i, one, two);
                for (int g = 0; g < G; g++) sums[g][j] += load(q + g * D + i) * one + load(q + g * D + i + width) * two;
            }
        }
        for (int g = 0; g < G; g++) {
            A found[4];
            add_up(sums[g], found);
            for (int j = 0; j < 4 && t + j < count; j++) scores[g * count + t + j] = found[j];
        }
    }
}

// mixed[g] = sum over t of scores[g][t] values[t], four vectors of it at a time.
template <class S, int D, int G>
void mix_values(const typename Sum<S>::type *scores, const S *values, long first, long count, typename Sum<S>::type *mixed) {
    using A = typename Sum<S>::type;
    constexpr int width = Vector<A>::width, step = std::min(4 * width, D);
    for (int i = 0; i < D; i += step) {
        typename Vector<A>::type sums[G][step / width] = {};
        for (long t = first; t < count; t++) {
            for (unsigned long at = 0; at < D * sizeof(S); at += 64) __builtin_prefetch((const char *)(values + (t + AHEAD) * D) + at);
            for (int part = 0; part < step / width; part += 2) {
                typename Vector<A>::type one, two;
                load_two(values + t * D + i + part * width, one, two);
                for (int g = 0; g < G; g++) {
                    sums[g][part] += scores[g * count + t] * one;
                    sums[g][part + 1] += scores[g * count + t] * two;
                }
            }
        }
        for (int g = 0; g < G; g++) std::memcpy(mixed + g * D + i, sums[g], sizeof sums[g]);
    }
}

// The same for heads of any size, one query head at a time.
template <class S>
void score_keys(const typename Sum<S>::type *q, const S *keys, long first, long count, long size, typename Sum<S>::type *scores) {
    for (long t = first; t < count; t++) {
        typename Sum<S>::type sum = 0;
#pragma omp simd reduction(+ : sum)
        for (long i = 0; i < size; i++) sum += q[i] * wide(keys[t * size + i]);
        scores[t] = sum;
    }
}
template <class S>
void mix_values(const typename Sum<S>::type *scores, const S *values, long first, long count, long size,
                typename Sum<S>::type *mixed) {
    std::fill(mixed, mixed + size, 0);
    for (long t = first; t < count; t++)
#pragma omp simd
        for (long i = 0; i < size; i++) mixed[i] += scores[t] * wide(values[t * size + i]);
}

template <class A> void softmax(A *line, long first, long count, A softcap) {
    A top = -std::numeric_limits<A>::infinity(), sum = 0;
    if (softcap > 0)
        for (long t = first; t < count; t++) line[t] = std::tanh(line[t] / softcap) * softcap;
#pragma omp simd reduction(max : top)
    for (long t = first; t < count; t++) top = line[t] > top ? line[t] : top;
#pragma omp simd reduction(+ : sum)
    for (long t = first; t < count; t++) {
        line[t] = power(line[t] - top);
        sum += line[t];
    }
    const A part = A(1) / sum;
#pragma omp simd
    for (long t = first; t < count; t++) line[t] *= part;
}

// Query heads g .. g + G - 1 of `group` over places first .. count - 1.
template <class S, int D, int G>
void attend_some(const typename Sum<S>::type *q, const S *keys, const S *values, long first, long count,
                 const Shape<typename Sum<S>::type> &shape, typename Sum<S>::type *scores, typename Sum<S>::type *mixed) {
    if constexpr (D > 0)
        score_keys<S, D, G>(q, keys, first, count, scores);
    else
        score_keys<S>(q, keys, first, count, shape.size, scores);
    for (long g = 0; g < G; g++) softmax(scores + g * count, first, count, shape.softcap);
    if constexpr (D > 0)
        mix_values<S, D, G>(scores, values, first, count, mixed);
    else
        mix_values<S>(scores, values, first, count, shape.size, mixed);
}

// One token's attention of the query heads that share one key-value head; its own key and value are written first.
// D: head size, 0 where it is known at run time only.
template <class S, int D>
void attend_head(const S *query, const S *key, const S *value, const S *cosine, const S *sine, S *keys, S *values, long position,
                 const Shape<typename Sum<S>::type> &shape, typename Sum<S>::type *room, S *out) {
    using A = typename Sum<S>::type;
    const long size = D ? D : shape.size, group = shape.heads / shape.kv_heads, count = position + 1;
    const long first = shape.window > 0 ? std::max(0L, count - shape.window) : 0;
    A *q = room, *mixed = q + group * size, *scores = mixed + group * size;
    rotate(key, cosine, sine, size, shape.turned, mixed);
    put_line(keys + position * size, mixed, size);
    std::memcpy(values + position * size, value, size * sizeof(S));
    for (long g = 0; g < group; g++) {
        A *mine = q + g * size;
        rotate(query + g * size, cosine, sine, size, shape.turned, mine);
        S *rounded = out + g * size;  // as torch's kernel reads it; there is room where the result will be
        put_line(rounded, mine, size);
#pragma omp simd
        for (long i = 0; i < size; i++) mine[i] = wide(rounded[i]) * shape.scale;
        if (D) spread<S, A>(mine, size);
    }
    for (long g = 0; g < group;) {
        const long taken = D ? std::min(4L, group - g) : 1;
        auto run = attend_some<S, D, 1>;
        if constexpr (D > 0) {
            if (taken == 2) run = attend_some<S, D, 2>;
            if (taken == 3) run = attend_some<S, D, 3>;
            if (taken == 4) run = attend_some<S, D, 4>;
        }
        run(q + g * size, keys, values, first, count, shape, scores, mixed + g * size);
        g += taken;
    }
    if (D) gather<S, A>(mixed, group * size);
    put_line(out, mixed, group * size);
}

// Tokens starts[run] .. starts[run + 1] - 1 stand in slot slots[run], one behind the other: one token in a step, a whole prompt
// where prompts are read. Each attends to what its slot holds up to itself.
template <class S>
void attend_runs(const S *qkv, const S *cosine, const S *sine, const int64_t *positions, const int64_t *slots,
                 const int64_t *starts, S *keys, S *values, S *out, long runs, const Shape<typename Sum<S>::type> &shape,
                 int threads) {
    using A = typename Sum<S>::type;
    const long group = shape.heads / shape.kv_heads, line = (shape.heads + 2 * shape.kv_heads) * shape.size;
    const auto attend = shape.size == 64 ? attend_head<S, 64> : shape.size == 128 ? attend_head<S, 128> : attend_head<S, 0>;
    long longest = 0;
    for (long token = 0; token < starts[runs]; token++) longest = std::max(longest, long(positions[token]) + 1);
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        std::vector<A> room(group * (2 * shape.size + longest));  // q, mixed, scores
#pragma omp for collapse(2) schedule(dynamic, 1)
        for (long run = 0; run < runs; run++)
            for (long head = 0; head < shape.kv_heads; head++) {
                const long place = slots[run] * shape.slot_stride + head * shape.head_stride;
                for (long token = starts[run]; token < starts[run + 1]; token++) {
                    const S *query = qkv + token * line + head * group * shape.size;
                    const S *key = qkv + token * line + (shape.heads + head) * shape.size;
                    const S *value = key + shape.kv_heads * shape.size;
                    const long angle = token * shape.turned;
                    attend(query, key, value, cosine + angle, sine + angle, keys + place, values + place, positions[token], shape,
                           room.data(), out + (token * shape.heads + head * group) * shape.size);
                }
            }
    }
}

constexpr long BLOCK = 256;

// The token in whose stretch of the cumulative distribution `uniform` falls, and its log-probability; -1 where the largest
// logit is not finite. Temperature 0 takes the first of the likeliest. Weights of a block are summed in A, blocks in double. Below `floor` (a log-ratio to the likeliest
// token) a token has no weight: min-p.
template <class S>
void draw_row(const S *logits, long size, double uniform, double temperature, double floor, int64_t &token, double &logprob) {
    using A = typename Sum<S>::type;
    const A heat = temperature > 0 ? A(temperature) : A(1);
    A top = -std::numeric_limits<A>::infinity();
    int broken = 0;
#pragma omp simd reduction(max : top) reduction(| : broken)
    for (long i = 0; i < size; i++) {
        A x = wide(logits[i]) / heat;
        broken |= !(x == x);
        top = x > top ? x : top;
    }
    if (broken || !std::isfinite(top)) {
        token = -1;
        return;
    }
    if (temperature == 0) {
        token = 0;
        while (wide(logits[token]) != top) token++;
        logprob = 0;
        return;
    }
    const A least = std::isfinite(floor) ? A(double(top) + floor) : -std::numeric_limits<A>::infinity();
    auto weight = [&](long i) {
        A x = wide(logits[i]) / heat;
        return x >= least ? power(x - top) : A(0);
    };
    const long blocks = (size + BLOCK - 1) / BLOCK;
    std::vector<double> edges(blocks);
    double total = 0;
    for (long block = 0; block < blocks; block++) {
        const long from = block * BLOCK, to = std::min(size, from + BLOCK);
        A sum = 0;
#pragma omp simd reduction(+ : sum)
        for (long i = from; i < to; i++) sum += weight(i);
        total += double(sum);
        edges[block] = total;
    }
    const double target = uniform * total;
    const long block = std::upper_bound(edges.begin(), edges.end(), target) - edges.begin();
    const long from = std::min(block, blocks - 1) * BLOCK, to = std::min(size, from + BLOCK);
    // The block's sum was rounded: where the rest lies behind its last weight, that last token with a weight is taken.
    double rest = target - (from ? edges[from / BLOCK - 1] : 0.0), sum = 0;
    for (long i = from; i < to; i++) {
        const A mine = weight(i);
        sum += double(mine);
        if (mine > 0) {
            token = i;
            if (sum > rest) break;
        }
    }
    logprob = double(wide(logits[token]) / heat) - double(top) - std::log(total);
}

template <class S>
void draw_rows(const S *logits, const double *uniform, long rows, long size, double temperature, double floor, int64_t *tokens,
               double *logprobs, int threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(dynamic, 1)
    for (long row = 0; row < rows; row++)
        draw_row(logits + row * size, size, uniform[row], temperature, floor, tokens[row], logprobs[row]);
}

}  // namespace

#define FOR_EACH_TYPE(MAKE) MAKE(bfloat16, bf16, float) MAKE(float32, float, float) MAKE(float64, double, double)
#define MAKE(NAME, S, A)                                                                                                          \
    extern "C" void norm_##NAME(void *x, const void *add, const void *weight, void *out, long rows, long size, double eps,       \
                                int offset, int threads) {                                                                       \
        norm_rows<S>((A *)x, (const S *)add, (const S *)weight, (S *)out, rows, size, eps, offset, threads);                     \
    }                                                                                                                            \
    extern "C" void gate_##NAME(const void *y, void *out, long rows, long size, int threads) {                                   \
        gate_rows<S>((const S *)y, (S *)out, rows, size, threads);                                                               \
    }                                                                                                                            \
    extern "C" void attend_##NAME(const void *qkv, const void *cosine, const void *sine, const int64_t *positions,               \
                                  const int64_t *slots, const int64_t *starts, void *keys, void *values, void *out, long runs,   \
                                  long heads, long kv_heads, long size, long turned, long slot_stride, long head_stride,         \
                                  long window, double scale, double softcap, int threads) {                                      \
        Shape<A> shape{heads, kv_heads, size, turned, slot_stride, head_stride, window, A(scale), A(softcap)};                   \
        attend_runs<S>((const S *)qkv, (const S *)cosine, (const S *)sine, positions, slots, starts, (S *)keys, (S *)values,     \
                       (S *)out, runs, shape, threads);                                                                          \
    }                                                                                                                            \
    extern "C" void draw_##NAME(const void *logits, const double *uniform, long rows, long size, double temperature,             \
                                double floor, int64_t *tokens, double *logprobs, int threads) {                                  \
        draw_rows<S>((const S *)logits, uniform, rows, size, temperature, floor, tokens, logprobs, threads);                     \
    }
FOR_EACH_TYPE(MAKE)
