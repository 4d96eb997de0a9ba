// Vectors of 16 floats, where the processor has AVX-512 with bfloat16: powers, logistic function, and numbers on their way from and
// to memory. VECTORS says whether they are there.
#pragma once
#include "numbers.h"
#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__AVX512BF16__)
#define VECTORS 1
#include <immintrin.h>

namespace {

constexpr long LANES = 16;
constexpr float BITS = 1.442695041f;  // log2(e)

// 2^x: a minimax polynomial of x - floor(x), relative error below 3e-6, a thousandth of what rounding takes. NaN stays NaN, and -inf
// gives 0.
inline __m512 power_of_two(__m512 x) {
    const __m512 part = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
    __m512 y = _mm512_set1_ps(1.3534168e-2f);
    for (float next : {5.2011460e-2f, 2.4144275e-1f, 6.9300383e-1f, 1.0000026f}) y = _mm512_fmadd_ps(y, part, _mm512_set1_ps(next));
    return _mm512_scalef_ps(y, x);
}

// 1 / (1 + e^-x). A first guess of the inverse, 14 bits, is mended by one step of Newton's method.
inline __m512 sigmoid(__m512 x) {
    const __m512 one = _mm512_set1_ps(1.0f), size = _mm512_abs_ps(x);
    const __m512 e = power_of_two(_mm512_mul_ps(size, _mm512_set1_ps(-BITS))), d = _mm512_add_ps(one, e);  // never overflows
    const __m512 guess = _mm512_rcp14_ps(d), inverse = _mm512_mul_ps(guess, _mm512_fnmadd_ps(d, guess, _mm512_set1_ps(2.0f)));
    const __mmask16 positive = _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_GT_OQ);
    return _mm512_mul_ps(inverse, _mm512_mask_mov_ps(e, positive, one));
}

// Two vectors as 32 numbers.
inline __m512i narrow(__m512 first, __m512 second) { return (__m512i)_mm512_cvtne2ps_pbh(second, first); }

// Up to 16 numbers: those of `inside`.
inline __mmask16 first_lanes(long count) { return count >= LANES ? __mmask16(~0u) : __mmask16((1u << count) - 1); }
inline __m512 take_lanes(const bf16 *from, __mmask16 inside) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(inside, from)), 16));
}
inline void put_lanes(bf16 *to, __mmask16 inside, __m512 x) { _mm256_mask_storeu_epi16(to, inside, (__m256i)_mm512_cvtneps_pbh(x)); }

// As numbers.h has it for all types. Numbers below 2^-126 become 0.
inline void put_line(bf16 *__restrict to, const float *__restrict from, long size) {
    for (long i = 0; i < size; i += LANES) {
        const __mmask16 inside = first_lanes(size - i);
        put_lanes(to + i, inside, _mm512_maskz_loadu_ps(inside, from + i));
    }
}

}  // namespace
#endif
