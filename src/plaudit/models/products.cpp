// Sums of matrix products in bfloat16 on the processor's matrix units: C = A1 B1 + A2 B2 + ..., in float until the one rounding.
//
// Columns are divided into shares. A thread lays its share's part of B out in tiles, which then stay in that core's second cache, and
// takes 32 rows of A at a time, of a depth that stays in the first; when no rows are left, it helps with another share. Each number of
// C is summed by one thread in one order: neither the number of threads nor the rows beside it change its bits.
#include "panels.h"
#include <atomic>
#include <omp.h>
#include <sched.h>

#ifdef TILES
namespace {

constexpr long CACHE = 600 * 1024;  // numbers of B that stay in the second cache
constexpr long LOW = 4;             // blocks of rows that are few: B comes from memory, and is not worth being kept or shared
constexpr long SMALL = 128 * 1024;  // numbers of B of a share then

// A share of all columns, whose B fits into the cache: how far it has come.
struct Share {
    std::vector<Panels> panels;
    std::atomic<bool> laid{false};
    std::atomic<long> next{0};
};

long numbers_of(const Panels &panels) { return (panels.last - panels.first) * 2 * panels.steps * TILE; }

// All panels of all jobs, evenly divided among shares of up to `most` numbers, as many for each thread; where B stands is not set.
std::vector<std::vector<Panels>> shares_of(const Asked &asked, long most, long threads) {
    long all = 0;
    for (long job = 0; job < asked.number; job++) all += numbers_of({job, 0, asked.panels(job), asked.steps(job), nullptr});
    const long least = up_to(std::max((all + most - 1) / most, 1L), threads), fit = (all + least - 1) / least;
    std::vector<std::vector<Panels>> shares;
    long filled = fit;
    for (long job = 0; job < asked.number; job++) {
        const long steps = asked.steps(job), size = 2 * steps * TILE;
        for (long panel = 0; panel < asked.panels(job); panel++, filled += size) {
            if (filled + size / 2 >= fit) shares.emplace_back(), filled = 0;
            auto &share = shares.back();
            if (share.empty() || share.back().job != job) share.push_back({job, panel, panel, steps, nullptr});
            share.back().last++;
        }
    }
    return shares;
}

// `laid`: B of the only job, as `products_lay` lays it out; null where each share's is laid out here, in a place of its own for each of
// `threads` shares, or, where rows are few, for each thread.
template <class C> void multiply(Asked asked, const bf16 *laid, int threads) {
    const bool few = asked.blocks <= LOW;
    auto all = shares_of(asked, few ? SMALL : CACHE, threads);
    const size_t together = laid || few ? all.size() : threads;
    long size = 0, most = 0;  // of a share: numbers of B, panels of a job
    for (auto &share : all) {
        long here = 0;
        for (const Panels &panels : share) here += numbers_of(panels), most = std::max(most, panels.last - panels.first);
        size = std::max(size, laid ? 0 : here);
    }
    Room<1> shared((asked.size + threads * size) * long(sizeof(bf16)));
    asked.tiles = shared.take<bf16>(asked.size);
    bf16 *const b = shared.take<bf16>(threads * size);
    std::vector<Share> shares(all.size());
    for (size_t i = 0; i < all.size(); i++) {
        shares[i].panels.swap(all[i]);
        shares[i].laid = laid;
        if (laid)
            for (Panels &panels : shares[i].panels) panels.b = (bf16 *)laid + panels.first * 2 * panels.steps * TILE;
    }
    const auto lay_out = [&](Share &share, bf16 *to) {
        for (Panels &panels : share.panels) panels.b = to, lay_panels(asked, panels), to += numbers_of(panels);
        share.laid = true;
    };
    std::vector<std::atomic<size_t>> taken((shares.size() + together - 1) / std::max(together, size_t(1)));
    for (size_t round = 0; round < taken.size(); round++) taken[round] = round * together;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        Room<2> own(Worker<C>::size(most) * long(sizeof(bf16)));
        Worker<C> worker(asked, few && laid, own.take<bf16>(Worker<C>::size(most)));
        Tiles tiles_of_this_thread;
        for (long left = 0; left < asked.count; left++)
            if (asked.how[left] == Asked::AT_ONCE)
#pragma omp for schedule(dynamic, 4) nowait
                for (long block = 0; block < asked.blocks; block++)
                    asked.lay_block(left, block, 0, steps_of(asked.lefts[left]), asked.place(left, block));
        const auto work = [&](Share &share) {
            for (long block; (block = share.next++) < asked.blocks;) worker.compute(share.panels, block);
        };
        for (size_t round = 0; round < taken.size(); round++) {
            if (round || asked.size) {
#pragma omp barrier
            }
            const size_t begin = round * together, end = std::min(shares.size(), begin + together);
            for (size_t i; (i = taken[round]++) < end;) {
                if (!laid) lay_out(shares[i], b + (few ? omp_get_thread_num() : i % threads) * size);
                work(shares[i]);
            }
            for (bool more = !few || laid; more;) {
                more = false;
                for (size_t i = begin; i < end; i++) shares[i].laid ? work(shares[i]) : void(more = true);
                if (more) sched_yield();
            }
        }
        worker.end();
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
        const Asked asked((const Left *)lefts, count, (const Part *)parts, (const Job *)jobs, number, rows, false);              \
        multiply<C>(asked, nullptr, threads);                                                                                    \
    }

// W [outputs, inputs] as B of x W^T, in panels of 32 outputs, to `to`: [outputs / 32][2][inputs / 32] tiles, both rounded up.
extern "C" void products_lay(const void *weight, long outputs, long inputs, void *to, int threads) {
    const Left left{nullptr, inputs, inputs, 1};
    const Part part{0, (const bf16 *)weight, 1, inputs};
    const Job job{0, 1, nullptr, nullptr, outputs, outputs, 0, 1};
    const Asked asked(&left, 1, &part, &job, 1, 0, false);
    const long steps = asked.steps(0);
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(dynamic, 4)
    for (long panel = 0; panel < asked.panels(0); panel++)
        lay_panels(asked, {0, panel, panel + 1, steps, (bf16 *)to + panel * 2 * steps * TILE});
}

// out [rows, outputs] = x [rows, inputs] W^T and the bias, of W laid out.
extern "C" void products_laid(const void *x, long rows, long inputs, const void *laid, const float *bias, void *out, long outputs,
                              int threads) {
    const Left left{(const bf16 *)x, inputs, inputs, 1};
    const Part part{0, nullptr, 1, inputs};
    const Job job{0, 1, bias, out, outputs, outputs, 0, 1};
    multiply<bf16>(Asked(&left, 1, &part, &job, 1, rows, rows % TALL && rows <= LOW * TALL), (const bf16 *)laid, threads);
}
#else
#define PRODUCTS(NAME, C)                                                                                                         \
    extern "C" void products_##NAME(const void *, long, const void *, const void *, long, long, int) {}
extern "C" void products_lay(const void *, long, long, void *, int) {}
extern "C" void products_laid(const void *, long, long, const void *, const float *, void *, long, int) {}
#endif
PRODUCTS(bfloat16, bf16)
PRODUCTS(float32, float)
