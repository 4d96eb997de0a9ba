// What products.cpp is asked for: sums of matrix products, as products.py and layer.cpp write them down.
#pragma once
#include "numbers.h"

namespace {

// A [rows, depth]: `row` and `deep` are the steps from row to row and along the depth, of which one is 1. Several products may have
// it in common.
struct Left {
    const bf16 *from;
    long depth, row, deep;
};

// A part of a sum: which A, and B [depth, columns] with its steps.
struct Part {
    long left;
    const bf16 *from;
    long deep, column;
};

// C [rows, columns] = scale * the sum of `count` parts from `first` on, and the bias in each row. `more`: added to what stands in C.
struct Job {
    long first, count;
    const float *bias;
    void *out;
    long stride, columns, more;
    double scale;
};

}  // namespace
