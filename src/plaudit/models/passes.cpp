// What a decoder layer does beside its matrix products where it is trained, one pass over memory each: norms, gates, rotary angles,
// causal softmax, and their gradients. Compiled at first use (native.py); passes.py says the same in torch, and is used where
// there is no compiler. Rows are computed by themselves; sums over rows are taken in blocks, so that the number of threads
// changes nothing.
//
// X is what the residual stream is held in, S what is computed in; sums are float.
#include "vectors.h"

namespace {

constexpr long SOME = 32;  // rows of one turn of a thread: the cores of a shared machine are not equally fast

template <class T> inline void read_line(const T *__restrict from, float *__restrict to, long size) {
#pragma omp simd
    for (long i = 0; i < size; i++) to[i] = wide(from[i]);
}

inline float inverse_rms(const float *x, long size, double eps) {
    float total = 0;
#pragma omp simd reduction(+ : total)
    for (long i = 0; i < size; i++) total += x[i] * x[i];
    return 1.0f / std::sqrt(total / float(size) + float(eps));
}

// out = weight * x / rms(x)
template <class X, class S>
void norm_rows(const X *x, const float *weight, S *out, long rows, long size, double eps, int threads) {
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        std::vector<float> room(size);
        float *line = room.data();
#pragma omp for schedule(dynamic, SOME)
        for (long row = 0; row < rows; row++) {
            read_line(x + row * size, line, size);
            const float scale = inverse_rms(line, size, eps);
            S *to = out + row * size;
#pragma omp simd
            for (long i = 0; i < size; i++) line[i] = line[i] * scale * weight[i];
            put_line(to, line, size);
        }
    }
}

// With n = x / rms(x) and g = weight * grad: to = (g - n mean(g n)) / rms(x); part [blocks, size] gets the sums of grad * n over
// NORM_BLOCK rows each, where it is given.
template <class X, class S>
void norm_back_rows(const X *x, const float *weight, const S *grad, X *to, float *part, long rows, long size, double eps,
                    int threads) {
    const long blocks = (rows + NORM_BLOCK - 1) / NORM_BLOCK;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        std::vector<float> room(2 * size);
        float *n = room.data(), *g = n + size;
#pragma omp for schedule(dynamic)
        for (long block = 0; block < blocks; block++) {
            float *sums = part ? part + block * size : nullptr;
            if (sums) std::fill(sums, sums + size, 0.0f);
            for (long row = block * NORM_BLOCK; row < std::min(rows, (block + 1) * NORM_BLOCK); row++) {
                read_line(x + row * size, n, size);
                read_line(grad + row * size, g, size);
                const float scale = inverse_rms(n, size, eps);
                float along = 0;
#pragma omp simd reduction(+ : along)
                for (long i = 0; i < size; i++) {
                    n[i] *= scale;
                    along += g[i] * weight[i] * n[i];
                }
                if (sums)
#pragma omp simd
                    for (long i = 0; i < size; i++) sums[i] += g[i] * n[i];
                along /= float(size);
                X *out = to + row * size;
#pragma omp simd
                for (long i = 0; i < size; i++) g[i] = (g[i] * weight[i] - n[i] * along) * scale;
                put_line(out, g, size);
            }
        }
    }
}

inline float sigmoid(float x) {
    const float e = power(x > 0 ? -x : x);  // never overflows
    return (x > 0 ? 1.0f : e) / (1.0f + e);
}

constexpr long STRETCH = 16384;  // numbers of one turn of a thread

// out = silu(gate) * up
template <class S> void gate_all(const S *gate, const S *up, S *out, long count, int threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(dynamic)
    for (long from = 0; from < count; from += STRETCH) {
        const long end = std::min(count, from + STRETCH);
#pragma omp simd
        for (long i = from; i < end; i++) {
            const float x = wide(gate[i]);
            put(out[i], x * sigmoid(x) * wide(up[i]));
        }
    }
}

// Of out = silu(gate) * up, and of its gradient `grad`: out itself, the gradient of gate, and that of up in place of grad.
template <class S> void gate_back_all(const S *gate, const S *up, S *grad, S *out, S *grad_gate, long count, int threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(dynamic)
    for (long from = 0; from < count; from += STRETCH) {
        const long end = std::min(count, from + STRETCH);
#pragma omp simd
        for (long i = from; i < end; i++) {
            const float x = wide(gate[i]), u = wide(up[i]), d = wide(grad[i]), s = sigmoid(x), opened = x * s;
            put(out[i], opened * u);
            put(grad_gate[i], d * u * (s + opened * (1.0f - s)));
            put(grad[i], d * opened);
        }
    }
}

#ifdef VECTORS
void gate_all(const bf16 *gate, const bf16 *up, bf16 *out, long count, int threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(dynamic)
    for (long from = 0; from < count; from += STRETCH)
        for (long i = from, end = std::min(count, from + STRETCH); i < end; i += LANES) {
            const __mmask16 inside = first_lanes(end - i);
            const __m512 x = take_lanes(gate + i, inside), u = take_lanes(up + i, inside);
            put_lanes(out + i, inside, _mm512_mul_ps(_mm512_mul_ps(x, sigmoid(x)), u));
        }
}

void gate_back_all(const bf16 *gate, const bf16 *up, bf16 *grad, bf16 *out, bf16 *grad_gate, long count, int threads) {
    const __m512 one = _mm512_set1_ps(1.0f);
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(dynamic)
    for (long from = 0; from < count; from += STRETCH)
        for (long i = from, end = std::min(count, from + STRETCH); i < end; i += LANES) {
            const __mmask16 inside = first_lanes(end - i);
            const __m512 x = take_lanes(gate + i, inside), u = take_lanes(up + i, inside), d = take_lanes(grad + i, inside);
            const __m512 s = sigmoid(x), opened = _mm512_mul_ps(x, s);
            const __m512 slope = _mm512_fmadd_ps(opened, _mm512_sub_ps(one, s), s);
            put_lanes(out + i, inside, _mm512_mul_ps(opened, u));
            put_lanes(grad_gate + i, inside, _mm512_mul_ps(_mm512_mul_ps(d, u), slope));
            put_lanes(grad + i, inside, _mm512_mul_ps(d, opened));
        }
}
#endif

// Halves (a, b) of each head become (a cos - sign b sin, b cos + sign a sin): x [rows, heads, 2 half], angles [rows, half].
template <class S>
void turn_rows(const S *x, const S *cosine, const S *sine, S *out, long rows, long heads, long half, double sign, int threads) {
    const float way = float(sign);
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        std::vector<float> room(2 * half);
        float *line = room.data();
#pragma omp for schedule(dynamic, SOME)
        for (long row = 0; row < rows; row++)
            for (long head = 0; head < heads; head++) {
                const S *from = x + (row * heads + head) * 2 * half, *c = cosine + row * half, *s = sine + row * half;
                S *to = out + (row * heads + head) * 2 * half;
#pragma omp simd
                for (long i = 0; i < half; i++) {
                    const float a = wide(from[i]), b = wide(from[i + half]), turn = way * wide(s[i]), stay = wide(c[i]);
                    line[i] = a * stay - b * turn;
                    line[i + half] = b * stay + a * turn;
                }
                put_line(to, line, 2 * half);
            }
    }
}

// Rows of scores [rows, width] belong to the last `height` of `width` places, in turns: a softmax of the places up to a row's own,
// 0 behind it. In place.
template <class S> void softmax_rows(S *scores, long rows, long height, long width, int threads) {
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        std::vector<float> room(width);
        float *line = room.data();
#pragma omp for schedule(static)
        for (long row = 0; row < rows; row++) {
            S *to = scores + row * width;
            const long count = width - height + row % height + 1;
            read_line(to, line, count);
            float top = -std::numeric_limits<float>::infinity(), sum = 0;
#pragma omp simd reduction(max : top)
            for (long i = 0; i < count; i++) top = line[i] > top ? line[i] : top;
#pragma omp simd reduction(+ : sum)
            for (long i = 0; i < count; i++) {
                line[i] = power(line[i] - top);
                sum += line[i];
            }
            const float part = 1.0f / sum;
#pragma omp simd
            for (long i = 0; i < count; i++) put(to[i], line[i] * part);
            for (long i = count; i < width; i++) put(to[i], 0.0f);
        }
    }
}

// grad <- P (grad - sum(P grad)) of such a softmax P.
template <class S> void softmax_back_rows(const S *weights, S *grad, long rows, long height, long width, int threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (long row = 0; row < rows; row++) {
        const S *p = weights + row * width;
        S *d = grad + row * width;
        const long count = width - height + row % height + 1;
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (long i = 0; i < count; i++) sum += wide(p[i]) * wide(d[i]);
#pragma omp simd
        for (long i = 0; i < count; i++) put(d[i], wide(p[i]) * (wide(d[i]) - sum));
        for (long i = count; i < width; i++) put(d[i], 0.0f);
    }
}

}  // namespace

#define NORMS(NAME, X, S)                                                                                                         \
    extern "C" void norm_##NAME(const void *x, const float *weight, void *out, long rows, long size, double eps, int threads) {  \
        norm_rows((const X *)x, weight, (S *)out, rows, size, eps, threads);                                                     \
    }                                                                                                                            \
    extern "C" void norm_back_##NAME(const void *x, const float *weight, const void *grad, void *to, float *part, long rows,     \
                                     long size, double eps, int threads) {                                                       \
        norm_back_rows((const X *)x, weight, (const S *)grad, (X *)to, part, rows, size, eps, threads);                          \
    }
NORMS(float32_float32, float, float)
NORMS(float32_bfloat16, float, bf16)
NORMS(bfloat16_bfloat16, bf16, bf16)

#define OTHERS(NAME, S)                                                                                                           \
    extern "C" void gate_##NAME(const void *gate, const void *up, void *out, long count, int threads) {                          \
        gate_all((const S *)gate, (const S *)up, (S *)out, count, threads);                                                      \
    }                                                                                                                            \
    extern "C" void gate_back_##NAME(const void *gate, const void *up, void *grad, void *out, void *grad_gate, long count,       \
                                     int threads) {                                                                              \
        gate_back_all((const S *)gate, (const S *)up, (S *)grad, (S *)out, (S *)grad_gate, count, threads);                      \
    }                                                                                                                            \
    extern "C" void turn_##NAME(const void *x, const void *cosine, const void *sine, void *out, long rows, long heads,           \
                                long half, double sign, int threads) {                                                           \
        turn_rows((const S *)x, (const S *)cosine, (const S *)sine, (S *)out, rows, heads, half, sign, threads);                 \
    }                                                                                                                            \
    extern "C" void softmax_##NAME(void *scores, long rows, long height, long width, int threads) {                              \
        softmax_rows((S *)scores, rows, height, width, threads);                                                                 \
    }                                                                                                                            \
    extern "C" void softmax_back_##NAME(const void *weights, void *grad, long rows, long height, long width, int threads) {      \
        softmax_back_rows((const S *)weights, (S *)grad, rows, height, width, threads);                                          \
    }
OTHERS(float32, float)
OTHERS(bfloat16, bf16)
