// Sums of matrix products in bfloat16 on the processor's matrix units: C = A1 B1 + A2 B2 + ..., in float until the one rounding.
//
// Columns are divided among tasks: a task lays its part of B out in tiles, which stay in that core's second cache, and then takes 32
// rows of A at a time, of a depth that stays in the first. Each number of C is summed by one thread in one order: neither the number of threads nor the rows beside it change
// its bits.
#include "sums.h"
#include "tile_blocks.h"

#ifdef TILES
namespace {

long steps_of(const Left &left) { return (left.depth + DEEP - 1) / DEEP; }

constexpr long TALL = 2 * SIDE;  // rows of C that are summed at once, of 16 columns, in two tiles
constexpr long FEW = 128;        // columns below which A is not laid out
constexpr double OFTEN = 2.5;    // how often a thread may lay out the same A
constexpr long CACHE = 1200 * 1024;  // bytes of B that a thread works on at a time
constexpr long SHALLOW = 20;     // products of 32 rows whose A stays in the first cache

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
    C *soon = nullptr;  // where others will go in a while

    void go(long some) {
        const __mmask16 inside = __mmask16((1u << columns) - 1);
        for (const long end = std::min(rows, row + some); row < end; row++) {
            __m512 x = _mm512_mul_ps(_mm512_load_ps(sums + row * SIDE), _mm512_set1_ps(scale));
            if (bias) x = _mm512_add_ps(x, _mm512_maskz_loadu_ps(inside, bias));
            put(to + row * stride, x, inside);
            if (soon) __builtin_prefetch(soon + row * stride, 1);
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

// To the sums of a block [32, 16] in tiles 0 and 1 (or of [16, 16] in tile 0): `steps` products of each. Tiles 2 and 3 take A and B;
// no other tile may be in use, as tile_blocks.h says.
template <int DOWN, class C> void add(Tall a, const bf16 *b, long steps, Leaving<C> &before, long some) {
    const long line = a.line * 2;
    for (long k = 0; k < steps; k++, a.from += a.step, b += TILE) {
        _tile_stream_loadd(3, b, 64);
        _tile_loadd(2, a.from, line);
        _tile_dpbf16ps(0, 2, 3);
        if (DOWN > 1) {
            _tile_loadd(2, a.from + a.below, line);
            _tile_dpbf16ps(1, 2, 3);
        }
        before.go(some);
    }
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
        : lefts(lefts), begin(count), how(count), rows(rows), blocks((rows + TALL - 1) / TALL) {}
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
    void lay_block(long left, long block, long from, long end, bf16 *to) const {
        const long high = std::min(TALL, rows - block * TALL);
        for (long step = from; step < end; step++)
            for (long at = 0; at < high; at += SIDE, to += TILE)
                lay(lefts[left], block * TALL + at, std::min(SIDE, high - at), step, to);
    }
    // Where the tiles of the steps from .. end are; laid out at `to` if they have to be.
    Tall of(long left, long block, long from, long end, bf16 *to) const {
        const Left &l = lefts[left];
        if (how[left] == NOT && (block + 1) * TALL <= rows)
            return {l.from + block * TALL * l.row + from * DEEP, l.row, SIDE * l.row, DEEP};
        const long step = (rows - block * TALL > SIDE ? 2 : 1) * TILE;
        if (how[left] != AT_ONCE) lay_block(left, block, from, end, to);
        return {how[left] == AT_ONCE ? place(left, block) + from * step : to, DEEP, TILE, step};
    }
};

// Steps of a sum.
long steps_of(const Laid &laid, const Job &job, const Part *parts) {
    long steps = 0;
    for (long i = 0; i < job.count; i++) steps += steps_of(laid.lefts[parts[i].left]);
    return steps;
}

// B of the columns 16 * (first .. last): of each 16 all steps, a tile each. Lines are read from end to end.
void lay_panel(const Laid &laid, const Job &job, const Part *parts, long first, long last, long steps, bf16 *b) {
    long done = 0;
    for (long i = 0; i < job.count; i++) {
        const Part &part = parts[i];
        const Left &left = laid.lefts[part.left];
        const long here = steps_of(left), across = last - first;
        for (long n = 0; n < here * across; n++) {
            const long step = part.column == 1 ? n / across : n % here, p = part.column == 1 ? n % across : n / here;
            const long column = (first + p) * SIDE;
            lay(part, left, column, std::min(SIDE, job.columns - column), step, b + (p * steps + done + step) * TILE);
        }
        done += here;
    }
}

// A stretch of the depth of a part of a sum: where it is in A and, among all steps of the sum, in B.
struct Stretch {
    Tall a;
    long first, count;
};

// Columns of one job, 16 * (first .. last), of all rows of the blocks begin .. end; sums wait from one stretch of the depth to the
// next. `room`: for a block of A, for such sums, then for B.
template <class C>
void compute(const Laid &laid, const Job &job, const Part *parts, long first, long last, long begin, long end, bf16 *room) {
    const long steps = steps_of(laid, job, parts), turns = (steps + SHALLOW - 1) / SHALLOW;
    float *const waiting = (float *)(room + SHALLOW * 2 * TILE);
    bf16 *const b = room + SHALLOW * 2 * TILE + (last - first) * 4 * CELL;
    lay_panel(laid, job, parts, first, last, steps, b);
    alignas(64) float sums[2][TALL * SIDE];
    std::vector<Stretch> stretches(job.count);
    Leaving<C> before;
    int side = 0;
    for (long at = begin * turns; at < end * turns; at++) {
        const long block = at / turns, turn = at % turns, high = std::min(TALL, laid.rows - block * TALL);
        const long from = steps * turn / turns, to = steps * (turn + 1) / turns;
        const auto how = high > SIDE ? add<2, C> : add<1, C>;
        long done = 0, number = 0;
        for (long i = 0; i < job.count; i++) {
            const long here = steps_of(laid.lefts[parts[i].left]), low = std::max(from - done, 0L), up = std::min(to - done, here);
            if (low < up) {
                bf16 *const place = room + (done + low - from) * 2 * TILE;
                stretches[number++] = {laid.of(parts[i].left, block, low, up, place), done + low, up - low};
            }
            done += here;
        }
        for (long p = first; p < last; p++) {
            const long some = (before.rows + to - from - 1) / (to - from);
            float *const held = waiting + (p - first) * 2 * CELL;
            turn ? take(held, held + CELL) : zero();
            for (long i = 0; i < number; i++)
                how(stretches[i].a, b + ((p - first) * steps + stretches[i].first) * TILE, stretches[i].count, before, some);
            if (turn + 1 < turns) {
                give(held, held + CELL);
                continue;
            }
            give(sums[side], sums[side] + CELL);
            const auto to_columns = [&](long block, long p) { return (C *)job.out + block * TALL * job.stride + p * SIDE; };
            C *const soon = p + 2 < last ? to_columns(block, p + 2) : block + 1 < end ? to_columns(block + 1, first) : nullptr;
            before = {sums[side], job.bias ? job.bias + p * SIDE : nullptr, to_columns(block, p), job.stride, high,
                      std::min(SIDE, job.columns - p * SIDE), 0, job.more != 0, float(job.scale), soon};
            side ^= 1;
        }
    }
    before.go(TALL);
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
        const long steps = steps_of(laid, jobs[j], parts + jobs[j].first);
        // twice as many tasks as threads, so that the fastest takes most: of columns, or where there are few, of rows
        const long stretches = (jobs[j].columns + SIDE - 1) / SIDE, turns = threads > 1 ? 2L * threads : 1;
        const long fit = std::max(1L, CACHE / (steps * TILE * 2)), down = stretches < 2 * turns ? turns : 1;
        const long least = (stretches + fit - 1) / fit, even = std::min(up_to(std::max(least, turns), threads), stretches);
        const long panels = down > 1 ? least : even;
        room = std::max(room, SHALLOW * 2 * TILE + (stretches + panels - 1) / panels * (steps * TILE + 4 * CELL));
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
                for (long block = 0; block < laid.blocks; block++) laid.lay_block(left, block, 0, steps_of(lefts[left]), laid.place(left, block));
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
