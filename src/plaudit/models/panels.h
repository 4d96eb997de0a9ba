// What one thread does of a sum of matrix products on matrix units: A and B laid out in tiles, blocks of 32 x 32 summed, and their sums
// rounded on the way to C.
//
// Blocks are 32 rows high, and of a depth whose A stays in the first cache. B is laid out in panels of 32 columns.
#pragma once
#include "sums.h"
#include "tile_blocks.h"

#ifdef TILES
namespace {

long steps_of(const Left &left) { return (left.depth + DEEP - 1) / DEEP; }

constexpr long TALL = 2 * SIDE;  // rows of C that are summed at once, of 16 columns, in two tiles
constexpr long WIDE = 2 * SIDE;  // columns of C that are written at once
constexpr long SHALLOW = 20;     // products of 32 rows whose A stays in the first cache
constexpr long SOON = 4;         // how many tiles ahead what comes from memory is asked for

// Step `step` of up to 16 rows from `row` on, as A.
void lay(const Left &left, long row, long rows, long step, bf16 *to) {
    const long depth = std::min(DEEP, left.depth - step * DEEP);
    const bf16 *from = left.from + row * left.row + step * DEEP * left.deep;
    if (left.deep == 1) tile_of_lines(from, left.row, rows, depth, to);
    else tile_of_pairs_turned(from, left.deep, depth, rows, to);
}

// The same of columns, as B: of more than 16, two tiles that lie `apart`; the first has columns 0 to 3 of each 8, the
// second the others, since that is what costs least to lay out. Leaving puts them in order again.
void lay(const Part &part, const Left &left, long column, long columns, long step, long apart, bf16 *to) {
    const long depth = std::min(DEEP, left.depth - step * DEEP);
    const bf16 *from = part.from + column * part.column + step * DEEP * part.deep;
    if (part.column == 1) {
        if (columns > SIDE) tiles_of_pairs(from, part.deep, depth, columns, to, to + apart);
        else tile_of_pairs(from, part.deep, depth, columns, to);
    } else if (columns > SIDE) {
        for (long half = 0; half < 2; half++)
            tile_of_lines_turned(from + half * 4 * part.column, part.column, columns - half * 4, depth, to + half * apart, 4);
    } else {
        tile_of_lines_turned(from, part.column, columns, depth, to);
    }
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
        const __m512 by = _mm512_set1_ps(scale), none = _mm512_setzero_ps();
        const __mmask32 inside = __mmask32((1ull << columns) - 1);
        const __m512i low = _mm512_set_epi64(11, 10, 3, 2, 9, 8, 1, 0), high = _mm512_set_epi64(15, 14, 7, 6, 13, 12, 5, 4);
        for (const long end = std::min(rows, row + some); row < end; row++) {
            __m512 x = _mm512_load_ps(sums + row * SIDE), y = none;
            if (columns > SIDE) {
                const __m512d a = _mm512_castps_pd(x), b = _mm512_load_pd(sums + 2 * CELL + row * SIDE);
                x = _mm512_castpd_ps(_mm512_permutex2var_pd(a, low, b)), y = _mm512_castpd_ps(_mm512_permutex2var_pd(a, high, b));
            }
            x = _mm512_mul_ps(x, by), y = _mm512_mul_ps(y, by);
            if (bias) {
                x = _mm512_add_ps(x, _mm512_maskz_loadu_ps(__mmask16(inside), bias));
                y = _mm512_add_ps(y, _mm512_maskz_loadu_ps(__mmask16(inside >> SIDE), bias + SIDE));
            }
            put(to + row * stride, x, y, inside);
            if (soon) __builtin_prefetch(soon + row * stride, 1);
        }
    }
    void put(bf16 *at, __m512 x, __m512 y, __mmask32 inside) { _mm512_mask_storeu_epi16(at, inside, narrow(x, y)); }
    void put(float *at, __m512 x, __m512 y, __mmask32 inside) {
        if (more) {
            x = _mm512_add_ps(x, _mm512_maskz_loadu_ps(__mmask16(inside), at));
            y = _mm512_add_ps(y, _mm512_maskz_loadu_ps(__mmask16(inside >> SIDE), at + SIDE));
        }
        _mm512_mask_storeu_ps(at, __mmask16(inside), x);
        _mm512_mask_storeu_ps(at + SIDE, __mmask16(inside >> SIDE), y);
    }
};

// Tiles of A for 32 rows: where the first is, from line to line of a tile, to the tile below, and to the next step (in numbers).
struct Tall {
    const bf16 *from;
    long line, below, step;
};

// To the sums of a block [32, 16] in tiles 0 and 1 (or of [16, 16] in tile 0): `steps` products of each. Tiles 2 and 3 take A and B;
// no other tile may be in use, as tile_blocks.h says. COLD: B comes from memory.
template <int DOWN, bool COLD, class C> void add(Tall a, const bf16 *b, long steps, Leaving<C> &before, long some) {
    const long line = a.line * 2;
    for (long k = 0; k < steps; k++, a.from += a.step, b += TILE) {
        if (COLD)
            for (long i = 0; i < SIDE; i++) _mm_prefetch((const char *)(b + SOON * TILE + i * DEEP), _MM_HINT_T0);
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

// What is asked for in one call. How each A comes into tiles: turned ones all at once, by all threads, since that takes long. Lines are
// read where they lie, but for what would be read beyond their end: that is laid out shortly before it is read.
struct Asked {
    enum How { AT_ONCE, IN_TURN, AS_IT_LIES };
    const Left *lefts;
    const Part *parts;
    const Job *jobs;
    long count, number, rows, blocks, size = 0;
    std::vector<How> how;
    std::vector<long> begin;
    bf16 *tiles = nullptr;

    // at_once: lines are laid out like turned ones.
    Asked(const Left *lefts, long count, const Part *parts, const Job *jobs, long number, long rows, bool at_once)
        : lefts(lefts), parts(parts), jobs(jobs), count(count), number(number), rows(rows), blocks((rows + TALL - 1) / TALL), how(count),
          begin(count) {
        for (long i = 0; i < count; i++) {
            const bool whole = lefts[i].depth % DEEP == 0;
            begin[i] = size;
            how[i] = lefts[i].deep != 1 || at_once ? AT_ONCE : whole ? AS_IT_LIES : IN_TURN;
            if (how[i] == AT_ONCE) size += blocks * 2 * steps_of(lefts[i]) * TILE;
        }
    }
    const Part *parts_of(long job) const { return parts + jobs[job].first; }
    long panels(long job) const { return (jobs[job].columns + WIDE - 1) / WIDE; }
    long steps(long job) const {
        long sum = 0;
        for (long i = 0; i < jobs[job].count; i++) sum += steps_of(lefts[parts_of(job)[i].left]);
        return sum;
    }
    bf16 *place(long left, long block) const { return tiles + begin[left] + block * 2 * steps_of(lefts[left]) * TILE; }
    void lay_block(long left, long block, long from, long end, bf16 *to) const {
        const long high = std::min(TALL, rows - block * TALL);
        for (long step = from; step < end; step++)
            for (long at = 0; at < high; at += SIDE, to += TILE)
                lay(lefts[left], block * TALL + at, std::min(SIDE, high - at), step, to);
    }
    // Where the tiles of the steps from .. end are; laid out at `to` if they have to be.
    Tall tall(long left, long block, long from, long end, bf16 *to) const {
        const Left &l = lefts[left];
        if (how[left] == AS_IT_LIES && (block + 1) * TALL <= rows)
            return {l.from + block * TALL * l.row + from * DEEP, l.row, SIDE * l.row, DEEP};
        const long step = (rows - block * TALL > SIDE ? 2 : 1) * TILE;
        if (how[left] != AT_ONCE) lay_block(left, block, from, end, to);
        return {how[left] == AT_ONCE ? place(left, block) + from * step : to, DEEP, TILE, step};
    }
};

// Columns 32 * (first .. last) of a job; B, of each 16 columns all steps, a tile each, stands at `b`.
struct Panels {
    long job, first, last, steps;
    bf16 *b;

    bf16 *at(long panel, long half) const { return b + ((panel - first) * 2 + half) * steps * TILE; }
};

// Lines of B are read from end to end.
void lay_panels(const Asked &asked, const Panels &panels) {
    const Job &job = asked.jobs[panels.job];
    long done = 0;
    for (long i = 0; i < job.count; i++) {
        const Part &part = asked.parts_of(panels.job)[i];
        const Left &left = asked.lefts[part.left];
        const long here = steps_of(left), across = panels.last - panels.first;
        for (long n = 0; n < here * across; n++) {
            const long step = part.column == 1 ? n / across : n % here, panel = panels.first + (part.column == 1 ? n % across : n / here);
            lay(part, left, panel * WIDE, std::min(WIDE, job.columns - panel * WIDE), step, panels.steps * TILE,
                panels.at(panel, 0) + (done + step) * TILE);
        }
        done += here;
    }
}

// The steps low .. up of an A, which are those from `first` on of a sum: its tiles for a block of 32 rows.
struct Stretch {
    long left, low, up, first;
    Tall a;
};

// What one thread works with: A of a block of rows laid out, sums that wait from one stretch of the depth to the next, and sums that
// leave.
template <class C> class Worker {
  public:
    Worker(const Asked &asked, bool cold, bf16 *room)
        : asked(asked), cold(cold), room(room), waiting((float *)(room + SHALLOW * 2 * TILE)) {}
    static long size(long panels) { return SHALLOW * 2 * TILE + panels * 8 * CELL; }

    void compute(const std::vector<Panels> &all, long block) {
        stretches.clear();
        for (const Panels &panels : all) compute(panels, block);
    }
    void end() { before.go(TALL); }

  private:
    void compute(const Panels &panels, long block) {
        const Job &job = asked.jobs[panels.job];
        const long turns = (panels.steps + SHALLOW - 1) / SHALLOW, high = std::min(TALL, asked.rows - block * TALL);
        const auto how = high > SIDE ? (cold ? add<2, true, C> : add<2, false, C>) : (cold ? add<1, true, C> : add<1, false, C>);
        const auto place = [&](long panel) { return (C *)job.out + block * TALL * job.stride + panel * WIDE; };
        for (long turn = 0; turn < turns; turn++) {
            const long from = panels.steps * turn / turns, to = panels.steps * (turn + 1) / turns;
            look(panels.job, block, from, to);
            for (long panel = panels.first; panel < panels.last; panel++) {
                const long wide = std::min(WIDE, job.columns - panel * WIDE), halves = wide > SIDE ? 2 : 1;
                const long some = (before.rows + halves * (to - from) - 1) / (halves * (to - from));
                for (long half = 0; half < halves; half++) {
                    float *held = waiting + ((panel - panels.first) * 2 + half) * 2 * CELL;
                    turn ? take(held, held + CELL) : zero();
                    for (const Stretch &stretch : stretches)
                        how(stretch.a, panels.at(panel, half) + stretch.first * TILE, stretch.up - stretch.low, before, some);
                    if (turn + 1 == turns) held = sums[side] + half * 2 * CELL;
                    give(held, held + CELL);
                }
                if (turn + 1 < turns) continue;
                before = {sums[side], job.bias ? job.bias + panel * WIDE : nullptr, place(panel), job.stride, high, wide, 0,
                          job.more != 0, float(job.scale), panel + 1 < panels.last ? place(panel + 1) : nullptr};
                side ^= 1;
            }
        }
    }
    // A of the steps from .. to of a sum; what is laid out already stays.
    void look(long job, long block, long from, long to) {
        std::vector<Stretch> found;
        long done = 0;
        for (long i = 0; i < asked.jobs[job].count; i++) {
            const long left = asked.parts_of(job)[i].left, here = steps_of(asked.lefts[left]);
            const long low = std::max(from - done, 0L), up = std::min(to - done, here);
            if (low < up) found.push_back({left, low, up, done + low, {}});
            done += here;
        }
        for (Stretch &one : found) {
            bf16 *const to_tiles = room + (one.first - from) * 2 * TILE;
            bool there = false;
            for (const Stretch &old : stretches)
                if (old.left == one.left && old.low == one.low && old.up == one.up && old.a.from == to_tiles) one.a = old.a, there = true;
            if (!there) one.a = asked.tall(one.left, block, one.low, one.up, to_tiles);
        }
        stretches.swap(found);
    }

    const Asked &asked;
    const bool cold;  // B comes from memory
    bf16 *const room;
    float *const waiting;
    alignas(64) float sums[2][TALL * WIDE];
    std::vector<Stretch> stretches;
    Leaving<C> before;
    int side = 0;
};

}  // namespace
#endif
