// What layer.cpp is given (as layer_kernel.py writes it down), what it keeps, and how it asks products.cpp for sums.
#pragma once
#include "sums.h"

namespace {

// The others' functions; norms are those of X.
struct Calls {
    void (*products_bfloat16)(const void *, long, const void *, const void *, long, long, int);
    void (*products_float32)(const void *, long, const void *, const void *, long, long, int);
    void (*norm)(const void *, const float *, void *, long, long, double, int);
    void (*norm_back)(const void *, const float *, const void *, void *, float *, long, long, double, int);
    void (*gate)(const void *, const void *, void *, long, int);
    void (*gate_back)(const void *, const void *, void *, void *, void *, long, int);
    void (*turn)(const void *, const void *, const void *, void *, long, long, long, double, int);
    void (*attend)(const int64_t *, const int64_t *, const int64_t *, long, long, long, long, long, const void *, const void *,
                   const void *, void *, float *, int);
    void (*attend_back)(const int64_t *, const int64_t *, const int64_t *, long, long, long, long, long, const void *, const void *,
                        const void *, const void *, const float *, const void *, void *, void *, void *, float *, float *, int);
};

// y = x W^T + b + scale (x A^T) B^T: W [outputs, inputs], A [rank, inputs], B [outputs, rank]; rank 0 where there is no adapter.
// Gradients are null where none is wanted. `begun`: grad_weight holds something that is added to.
struct Map {
    const bf16 *weight, *down, *up;
    const float *bias;
    float *grad_weight, *grad_bias, *grad_down, *grad_up;
    long inputs, outputs, rank, begun;
    double scale;
};

// Maps: those of queries, keys, values; out; gate, up; down. Norms stand before the first and before the gate.
struct Layer {
    Map maps[7];
    const float *norms[2];
    float *grad_norms[2];
    long width, heads, kv_heads, size, inner;
    double eps;
};
enum { QUERY, KEY, VALUE, OUT, GATE, UP, DOWN };
// Maps of one input.
struct Group {
    int number, first, end;
};
constexpr Group ASK{0, QUERY, OUT}, SEEN{1, OUT, GATE}, OPEN{2, GATE, DOWN}, CLOSE{3, DOWN, DOWN + 1};
constexpr Group GROUPS[] = {ASK, SEEN, OPEN, CLOSE};

// The tokens of a pass: where they stand for attention (attention_kernel.py), and cosine and sine of their angles.
struct Tokens {
    long count, lines, width, repeated;
    const int64_t *places, *counts, *starts, *again;
    const bf16 *query_cosine, *query_sine, *key_cosine, *key_sine;
};

// Parts of one piece of memory, taken one after another; with none, how much is needed.
class Place {
  public:
    Place(void *from, long step) : from((char *)from), step(step) {}
    template <class T> T *take(long count) {
        T *found = (T *)(from + at);
        at += (count * long(sizeof(T)) + step - 1) / step * step;
        most = std::max(most, at);
        return found;
    }
    void back_to(long mark) { at = mark; }
    long at = 0, most = 0;

  private:
    char *from;
    long step;
};

long ranks_of(const Layer &l, Group g) {
    long found = 0;
    for (int i = g.first; i < g.end; i++) found += l.maps[i].rank;
    return found;
}

// What a layer keeps for the backward pass beside x: the sums of the softmax, what the residual stream is after attention, queries and
// keys turned, values, what was seen, gate and up, and scale x A^T of each group.
template <class X> struct Kept {
    float *sums;
    X *middle;
    bf16 *query, *key, *value, *seen, *gate, *up, *low[4];
    long bytes;

    Kept(const Layer &l, long n, void *from) {
        Place place(from, 1);
        sums = place.take<float>(n * l.heads), middle = place.take<X>(n * l.width);
        query = place.take<bf16>(n * l.heads * l.size);
        key = place.take<bf16>(n * l.kv_heads * l.size), value = place.take<bf16>(n * l.kv_heads * l.size);
        seen = place.take<bf16>(n * l.heads * l.size);
        gate = place.take<bf16>(n * l.inner), up = place.take<bf16>(n * l.inner);
        for (const Group g : GROUPS) low[g.number] = place.take<bf16>(n * ranks_of(l, g));
        bytes = place.most;
    }
};

// A matrix, and the steps from row to row and from column to column.
struct View {
    const bf16 *at;
    long rows, columns, row, column;
    View turned() const { return {at, columns, rows, column, row}; }
};
View lines(const bf16 *at, long rows, long columns) { return {at, rows, columns, columns, 1}; }

// Sums of products of one call.
class Sums {
  public:
    Sums &open(void *out, long columns, long stride, double scale = 1, const float *bias = nullptr, bool more = false) {
        jobs[job++] = {part, 0, bias, out, stride, columns, more, scale};
        return *this;
    }
    Sums &add(View a, View b) {
        long which = 0;
        while (which < left && (lefts[which].from != a.at || lefts[which].row != a.row)) which++;
        if (which == left) lefts[left++] = {a.at, a.columns, a.row, a.column};
        parts[part++] = {which, b.at, b.row, b.column};
        jobs[job - 1].count++;
        return *this;
    }
    void run(decltype(Calls::products_bfloat16) multiply, long rows, int threads) {
        if (job) multiply(lefts, left, parts, jobs, job, rows, threads);
        left = part = job = 0;
    }

  private:
    Left lefts[8];
    Part parts[8];
    Job jobs[8];
    long left = 0, part = 0, job = 0;
};

}  // namespace
