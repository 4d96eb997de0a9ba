// What all kernels share: numbers as tensors hold them and as sums are held, and e^x.
//
// Types: S is what tensors hold (bf16, float, double), A what sums are held in (float; double where S is double).
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>
#ifdef _OPENMP
#include <omp.h>
#endif


namespace {

constexpr long NORM_BLOCK = 64;  // rows whose part of a norm's gradient is summed at once; passes.py has it too

struct bf16 {
    uint16_t bits;
};

inline float wide(bf16 x) {
    uint32_t bits = uint32_t(x.bits) << 16;
    float y;
    std::memcpy(&y, &bits, 4);
    return y;
}
inline float wide(float x) { return x; }
inline double wide(double x) { return x; }

// Rounds to the nearest, ties to even; NaN stays NaN.
inline void put(bf16 &to, float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    to.bits = x == x ? uint16_t(rounded) : uint16_t(0x7fc0);
}
inline void put(float &to, float x) { to = x; }
inline void put(double &to, double x) { to = x; }

template <class S, class A> inline void put_line(S *__restrict to, const A *__restrict from, long size) {
#pragma omp simd
    for (long i = 0; i < size; i++) put(to[i], from[i]);
}

template <class S> struct Sum {
    using type = float;
};
template <> struct Sum<double> {
    using type = double;
};

// e^x for x <= 0: 2^n times a Taylor polynomial of the rest, |rest| <= ln 2 / 2; relative error below 2e-7. 0 under e^-87.
inline float power(float x) {
    float y = x > -87.0f ? x : -87.0f;
    float n = std::nearbyint(y * 1.44269504f);
    float r = (y - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.0f / 5040;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    int32_t bits = (int32_t(n) + 127) << 23;
    float scale;
    std::memcpy(&scale, &bits, 4);
    return x >= -87.0f ? p * scale : (x == x ? 0.0f : x);
}
inline double power(double x) { return std::exp(x); }

}  // namespace
