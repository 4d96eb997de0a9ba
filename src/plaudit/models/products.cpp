// Sums of matrix products in bfloat16 on the processor's matrix units: C = A1 B1 + A2 B2 + ..., in float until the one rounding.
//
// Columns are divided among tasks: a task lays its part of B out in tiles, which stay in that core's cache, and then takes 32 rows of
// A at a time. Each number of C is summed by one thread in one order: neither the number of threads nor the rows beside it change
// its bits.
#include "sums.h"
#include "tile_blocks.h"

#ifdef TILES
namespace {

long steps_of(const Left &left) { return (left.depth + DEEP - 1) / DEEP; }

constexpr long WIDE = 2 * SIDE;  // rows and columns of C that are summed at once, in four tiles
constexpr long FEW = 128;        // columns below which A is not laid out
constexpr double OFTEN = 2.5;    // how often a thread may lay out the same A
constexpr long CACHE = 640 * 1024;  // bytes of B that a thread works on at a time

// Step `step` of up to 16 rows from `row` on, as A.
void lay(const Left &left, long row, long rows, long step, bf16 *to) {
    const long depth = std::min(DEEP, left.depth - step * DEEP);
    const bf16 *from = left.from + row * left.row + step * DEEP * left.deep;
    if (left.deep == 1) tile_of_lines(from, left.row, rows, depth, to);
    else tile_of_pairs_turned(from, left.deep, depth, rows, to);
}

// The same of columns, as B.
void lay(const Part &part, const Left &left, long column, long columns, long step, bf16 *to) {
    const long depth = std::min(DEEP, left.depth - step * DEEP);
    const bf16 *from = part.from + column * part.column + step * DEEP * part.deep;
    if (part.column == 1) tile_of_pairs(from, part.deep, depth, columns, to);
    else tile_of_lines_turned(from, part.column, columns, depth, to);
}

// Sums of a block that has been computed, on their way to C: they go while the matrix units work on the next block.
template <class C> struct Leaving {
    const float *sums = nullptr, *bias = nullptr;
    C *to = nullptr;
    long stride = 0, rows = 0, columns = 0, row = 0;
    bool more = false;
    float scale = 1;

    void go(long some) {
        for (const long end = std::min(rows, row + some); row < end; row++)
            for (long i = 0; i < columns; i += SIDE) {
                const __mmask16 inside = __mmask16((1u << std::min(SIDE, columns - i)) - 1);
                __m512 x = _mm512_mul_ps(_mm512_load_ps(sums + row * WIDE + i), _mm512_set1_ps(scale));
                if (bias) x = _mm512_add_ps(x, _mm512_maskz_loadu_ps(inside, bias + i));
                put(to + row * stride + i, x, inside);
            }
    }
    void put(bf16 *at, __m512 x, __mmask16 inside) { _mm256_mask_storeu_epi16(at, inside, (__m256i)_mm512_cvtneps_pbh(x)); }
    void put(float *at, __m512 x, __mmask16 inside) {
        if (more) x = _mm512_add_ps(x, _mm512_maskz_loadu_ps(inside, at));
        _mm512_mask_storeu_ps(at, inside, x);
    }
};

// Tiles of A for 32 rows: where the first is, from line to line of a tile, to the tile below, and to the next step (in numbers).
struct Tall {
    const bf16 *from;
    long line, below, step;
};

// To the sums of a block [32, 32] in tiles 0 to 3: `steps` products of each. b: for each step a tile or two.
template <int DOWN, int ACROSS, class C> void add(Tall a, const bf16 *b, long steps, Leaving<C> &before, long some) {
    const long line = a.line * 2;
    for (long k = 0; k < steps; k++, a.from += a.step, b += ACROSS * TILE) {
        _tile_loadd(4, a.from, line);
        _tile_stream_loadd(6, b, 64);
        _tile_dpbf16ps(0, 4, 6);
        if (ACROSS > 1) {
            _tile_stream_loadd(7, b + TILE, 64);
            _tile_dpbf16ps(1, 4, 7);
        }
        if (DOWN > 1) {
            _tile_loadd(5, a.from + a.below, line);
            _tile_dpbf16ps(2, 5, 6);
            if (ACROSS > 1) _tile_dpbf16ps(3, 5, 7);
        }
        before.go(some);
    }
}

void store(float *sums) {
    _tile_stored(0, sums, WIDE * 4);
    _tile_stored(1, sums + SIDE, WIDE * 4);
    _tile_stored(2, sums + SIDE * WIDE, WIDE * 4);
    _tile_stored(3, sums + SIDE * WIDE + SIDE, WIDE * 4);
    written();
}

// How each A of one call comes into tiles, of each block of 32 rows its steps, a tile or two each: turned ones all at once, since
// that takes long, and lines that many tasks ask for; other lines by each task, shortly before they are read; and not at all where
// few columns ask for them.
struct Laid {
    enum How { AT_ONCE, IN_TURN, NOT };
    const Left *lefts;
    std::vector<long> begin;
    std::vector<How> how;
    bf16 *tiles = nullptr;
    long rows, blocks, size = 0;

    Laid(const Left *lefts, long count, long rows)
        : lefts(lefts), begin(count), how(count), rows(rows), blocks((rows + WIDE - 1) / WIDE) {}
    // columns: that ask for each A; times: how often all of it is asked for; often: from when on laying it at once pays.
    void choose(const std::vector<long> &columns, const std::vector<long> &times, double often) {
        for (size_t i = 0; i < columns.size(); i++) {
            const bool whole = lefts[i].depth % DEEP == 0;
            begin[i] = size;
            how[i] = lefts[i].deep != 1 || times[i] > often ? AT_ONCE : whole && columns[i] <= FEW ? NOT : IN_TURN;
            if (how[i] == AT_ONCE) size += blocks * 2 * steps_of(lefts[i]) * TILE;
        }
    }
    bf16 *place(long left, long block) const { return tiles + begin[left] + block * 2 * steps_of(lefts[left]) * TILE; }
    void lay_block(long left, long block, bf16 *to) const {
        const long high = std::min(WIDE, rows - block * WIDE);
        for (long step = 0; step < steps_of(lefts[left]); step++)
            for (long at = 0; at < high; at += SIDE, to += TILE)
                lay(lefts[left], block * WIDE + at, std::min(SIDE, high - at), step, to);
    }
    // Where the tiles are; laid out at `to` if they have to be.
    Tall of(long left, long block, bf16 *to) const {
        const Left &l = lefts[left];
        if (how[left] == NOT && (block + 1) * WIDE <= rows) return {l.from + block * WIDE * l.row, l.row, SIDE * l.row, DEEP};
        if (how[left] != AT_ONCE) lay_block(left, block, to);
        return {how[left] == AT_ONCE ? place(left, block) : to, DEEP, TILE, (rows - block * WIDE > SIDE ? 2 : 1) * TILE};
    }
};

// B of the columns 32 * (first .. last): of each 32 all steps, of each step a tile or two. Lines are read from end to end.
void lay_panel(const Laid &laid, const Job &job, const Part *parts, long first, long last, long steps, bf16 *b) {
    long done = 0;
    for (long i = 0; i < job.count; i++) {
        const Part &part = parts[i];
        const Left &left = laid.lefts[part.left];
        const long here = steps_of(left), all = here * (last - first);
        for (long n = 0; n < all; n++) {
            const long step = part.column == 1 ? n / (last - first) : n % here;
            const long p = first + (part.column == 1 ? n % (last - first) : n / here);
            const long begin = p * WIDE, wide = std::min(WIDE, job.columns - begin), tiles = wide > SIDE ? 2 : 1;
            bf16 *to = b + ((p - first) * 2 * steps + (done + step) * tiles) * TILE;
            for (long at = 0; at < wide; at += SIDE, to += TILE)
                lay(part, left, begin + at, std::min(SIDE, wide - at), step, to);
        }
        done += here;
    }
}

// Columns of one job, 32 * (first .. last), of all rows of the blocks begin .. end. `room`: for a block of A, then for B.
template <class C>
void compute(const Laid &laid, const Job &job, const Part *parts, long first, long last, long begin, long end, bf16 *room) {
    long steps = 0;
    for (long i = 0; i < job.count; i++) steps += steps_of(laid.lefts[parts[i].left]);
    bf16 *const b = room + steps * 2 * TILE;
    lay_panel(laid, job, parts, first, last, steps, b);
    alignas(64) float sums[2][WIDE * WIDE];
    std::vector<Tall> tall(job.count);
    Leaving<C> before;
    int turn = 0;
    for (long block = begin; block < end; block++) {
        const bf16 *right = b;
        const long high = std::min(WIDE, laid.rows - block * WIDE);
        bf16 *to = room;
        for (long i = 0; i < job.count; i++) {
            tall[i] = laid.of(parts[i].left, block, to);
            to += steps_of(laid.lefts[parts[i].left]) * 2 * TILE;
        }
        for (long p = first; p < last; p++, turn ^= 1) {
            const long wide = std::min(WIDE, job.columns - p * WIDE), some = (before.rows + steps - 1) / steps;
            const auto how = high > SIDE ? (wide > SIDE ? add<2, 2, C> : add<2, 1, C>) : (wide > SIDE ? add<1, 2, C> : add<1, 1, C>);
            written();
            zero();
            for (long i = 0; i < job.count; i++) {
                const long here = steps_of(laid.lefts[parts[i].left]);
                how(tall[i], right, here, before, some);
                right += here * (wide > SIDE ? 2 : 1) * TILE;
            }
            store(sums[turn]);
            const long place = block * WIDE * job.stride + p * WIDE;
            before = {sums[turn], job.bias ? job.bias + p * WIDE : nullptr, (C *)job.out + place, job.stride, high, wide, 0,
                      job.more != 0, float(job.scale)};
        }
    }
    before.go(WIDE);
}

struct Task {
    long job, first, last, begin, end;
};

template <class C>
void multiply(const Left *lefts, long count, const Part *parts, const Job *jobs, long number, long rows, int threads) {
    std::vector<Task> tasks;
    std::vector<long> columns(count), times(count);
    Laid laid(lefts, count, rows);
    long room = 0;
    for (long j = 0; j < number; j++) {
        long steps = 0;
        for (long i = 0; i < jobs[j].count; i++) steps += steps_of(lefts[parts[jobs[j].first + i].left]);
        // twice as many tasks as threads, so that the fastest takes most: of columns, or where there are few, of rows
        const long stretches = (jobs[j].columns + WIDE - 1) / WIDE, turns = threads > 1 ? 2L * threads : 1;
        const long fit = std::max(1L, CACHE / (steps * 2 * TILE * 2)), down = stretches < 2 * turns ? turns : 1;
        const long least = (stretches + fit - 1) / fit, even = std::min(up_to(std::max(least, turns), threads), stretches);
        const long panels = down > 1 ? least : even;
        room = std::max(room, ((stretches + panels - 1) / panels + 1) * 2 * steps * TILE);
        for (long x = 0; x < panels; x++)
            for (long y = 0; y < down; y++)
                tasks.push_back({j, stretches * x / panels, stretches * (x + 1) / panels, laid.blocks * y / down,
                                 laid.blocks * (y + 1) / down});
        for (long i = 0; i < jobs[j].count; i++) {
            const long left = parts[jobs[j].first + i].left;
            columns[left] += jobs[j].columns;
            times[left] += panels;
        }
    }
    laid.choose(columns, times, OFTEN * threads);
    Room<1> shared(laid.size * long(sizeof(bf16)));
    laid.tiles = shared.take<bf16>(laid.size);
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        Room<2> own(room * long(sizeof(bf16)));
        bf16 *b = own.take<bf16>(room);
        Tiles tiles_of_this_thread;
        for (long left = 0; left < count; left++)
            if (laid.how[left] == Laid::AT_ONCE)
#pragma omp for schedule(dynamic, 4) nowait
                for (long block = 0; block < laid.blocks; block++) laid.lay_block(left, block, laid.place(left, block));
        if (laid.size) {
#pragma omp barrier
        }
#pragma omp for schedule(dynamic)
        for (long t = 0; t < long(tasks.size()); t++) {
            const Task &task = tasks[t];
            const Job &job = jobs[task.job];
            if (task.begin < task.end)
                compute<C>(laid, job, parts + job.first, task.first, task.last, task.begin, task.end, b);
        }
    }
}

}  // namespace
#endif

// Whether the functions below can be called: asked once, before.
extern "C" void tiles_work(int *yes) {
#ifdef TILES
    *yes = tiles_allowed();
#else
    *yes = 0;
#endif
}

#ifdef TILES
#define PRODUCTS(NAME, C)                                                                                                         \
    extern "C" void products_##NAME(const void *lefts, long count, const void *parts, const void *jobs, long number, long rows,  \
                                    int threads) {                                                                               \
        multiply<C>((const Left *)lefts, count, (const Part *)parts, (const Job *)jobs, number, rows, threads);                  \
    }
#else
#define PRODUCTS(NAME, C)                                                                                                         \
    extern "C" void products_##NAME(const void *, long, const void *, const void *, long, long, int) {}
#endif
PRODUCTS(bfloat16, bf16)
PRODUCTS(float32, float)
