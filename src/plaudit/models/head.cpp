// What log-probabilities take beside their matrix products: one pass over a block of logits, and one over their gradient.
// head_kernel.py calls them; core/logprob.py says what they compute. Rows are computed by themselves.
#include "numbers.h"

namespace {

// Of logits z [rows, words] of the words from `first` on: with x = z / temperature, and m, s, u the maximum, sum exp(x - m) and
// sum exp(x - m) (x - m) of the blocks before, the same with this block; `chosen` gets x of a row's target. z <- exp(x - m), and
// lines of a [rows, width], which were made with the old maximum, shrink to the new; a may be null.
void fold_rows(bf16 *z, const int64_t *targets, long rows, long words, long first, float heat, float *m, float *s, float *u,
               float *chosen, float *a, long width, int threads) {
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        std::vector<float> room(words);
        float *x = room.data();
#pragma omp for schedule(dynamic, 16)
        for (long row = 0; row < rows; row++) {
            bf16 *line = z + row * words;
            float top = -std::numeric_limits<float>::infinity(), sum = 0, along = 0;
#pragma omp simd reduction(max : top)
            for (long i = 0; i < words; i++) {
                x[i] = wide(line[i]) * heat;
                top = x[i] > top ? x[i] : top;
            }
            const long target = targets[row] - first;
            if (target >= 0 && target < words) chosen[row] = x[target];
            const float high = std::max(m[row], top);
#pragma omp simd reduction(+ : sum, along)
            for (long i = 0; i < words; i++) {
                const float below = x[i] - high, e = power(below);
                sum += e;
                along += e * below;
                put(line[i], e);
            }
            const float fall = m[row] - high, shrink = s[row] > 0 ? std::exp(fall) : 0.0f;
            u[row] = (s[row] > 0 ? (u[row] + fall * s[row]) * shrink : 0.0f) + along;
            s[row] = s[row] * shrink + sum;
            m[row] = high;
            if (a && shrink != 1.0f)
#pragma omp simd
                for (long i = 0; i < width; i++) a[row * width + i] *= shrink;
        }
    }
}

// The gradient of the logits, in place of them, with p = exp(z / temperature - lse): of log-probabilities that `grad` comes back
// for, and of entropies that `way` does, where it is given:
//
//     (grad (1 at the target - p) - way p (log p + entropy)) / temperature
void slope_rows(bf16 *z, const int64_t *targets, long rows, long words, long first, float heat, const float *lse,
                const float *grad, const float *way, const float *entropy, int threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(dynamic, 16)
    for (long row = 0; row < rows; row++) {
        bf16 *line = z + row * words;
        const float own = grad[row] * heat, turn = way ? way[row] * heat : 0.0f, size = own + (way ? turn * entropy[row] : 0.0f);
        const float sum = lse[row];
        const long target = targets[row] - first;
        const bool here = target >= 0 && target < words;
        const float log_p = here ? std::min(0.0f, wide(line[target]) * heat - sum) : 0.0f;
#pragma omp simd
        for (long i = 0; i < words; i++) {
            const float x = wide(line[i]) * heat - sum, below = x < 0.0f ? x : 0.0f;
            put(line[i], -power(below) * (size + turn * below));
        }
        if (here) put(line[target], own - power(log_p) * (size + turn * log_p));
    }
}

}  // namespace

extern "C" void fold(void *z, const void *targets, long rows, long words, long first, double heat, float *m, float *s, float *u,
                     float *chosen, float *a, long width, int threads) {
    fold_rows((bf16 *)z, (const int64_t *)targets, rows, words, first, float(heat), m, s, u, chosen, a, width, threads);
}

extern "C" void slope(void *z, const void *targets, long rows, long words, long first, double heat, const float *lse,
                      const float *grad, const float *way, const float *entropy, int threads) {
    slope_rows((bf16 *)z, (const int64_t *)targets, rows, words, first, float(heat), lse, grad, way, entropy, threads);
}
