// A decoder layer of the Llama kind where it is trained, in one call forward and one backward: norm, queries, keys and values, angles,
// attention, norm, gated MLP, and LoRA's thin factors beside each map. What it is made of are the functions of passes.cpp,
// products.cpp and attention.cpp, which it is given; lean.py calls the same ones one by one, and says the same to the last bit.
//
// Gradients of weights are added to float matrices where they stand. X is what the residual stream is held in.
#include "layer.h"
#include "vectors.h"

namespace {

constexpr long STRETCH = 16384, SOME = 512;  // numbers of one turn of a thread, and of a buffer

template <class A, class B, class C> void add_all(const A *a, const B *b, C *out, long count, int threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(dynamic)
    for (long from = 0; from < count; from += STRETCH) {
        float sums[SOME];
        for (long i = from, end = std::min(count, from + STRETCH); i < end; i += SOME) {
            const long some = std::min(SOME, end - i);
#pragma omp simd
            for (long j = 0; j < some; j++) sums[j] = wide(a[i + j]) + wide(b[i + j]);
            put_line(out + i, sums, some);
        }
    }
}

inline const bf16 *narrowed(const bf16 *x, bf16 *, long, int) { return x; }
const bf16 *narrowed(const float *x, bf16 *to, long count, int threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(dynamic)
    for (long from = 0; from < count; from += STRETCH) put_line(to + from, x + from, std::min(count - from, STRETCH));
    return to;
}

template <class X> class Pass {
  public:
    Pass(const Calls &c, const Layer &l, const Tokens &t, void *scratch, int threads)
        : c(c), l(l), t(t), n(t.count), threads(threads), place(scratch, 64) {}

    long forward(const X *x, X *out, const Kept<X> &k);
    long backward(const X *x, const X *grad, X *grad_x, const Kept<X> &k);

  private:
    const Calls &c;
    const Layer &l;
    const Tokens &t;
    const long n;
    const int threads;
    Place place;

    View weight(const Map &m) const { return lines(m.weight, m.outputs, m.inputs); }
    View up(const Map &m) const { return lines(m.up, m.outputs, m.rank); }
    View downs(Group g, bf16 *to) const;
    void apply(Group g, const bf16 *x, std::initializer_list<bf16 *> outs, bf16 *low, bf16 *room);
    void norm(const X *x, int which, bf16 *out) { c.norm(x, l.norms[which], out, n, l.width, l.eps, threads); }
    void norm_back(const X *x, int which, const bf16 *grad, X *out, float *part);
    void turn(bf16 *x, const bf16 *cosine, const bf16 *sine, long heads, double sign) {
        c.turn(x, cosine, sine, x, n, heads, l.size / 2, sign, threads);
    }

    // What goes back through the maps of a group: t = scale g B of each adapter, side by side; then dx, or gradients of weights.
    struct Back {
        Group g;
        const bf16 *grads[3];
        long ranks;
        bf16 *lifted;
        View downs;
    };
    struct Room {
        bf16 *lifted, *downs;
        float *weights;
    } room{};
    Back back(Group g, std::initializer_list<const bf16 *> grads);
    void towards(const Back &b, bf16 *out);
    void weights(const Back &b, const bf16 *x, const bf16 *low);
    void attention_back(const Kept<X> &k, const bf16 *grad, bf16 *query, bf16 *key, bf16 *value);
    void again(float *total, const float *more, bf16 *out);
};

// The A of all adapters of a group below one another.
template <class X> View Pass<X>::downs(Group g, bf16 *to) const {
    long at = 0, inputs = l.maps[g.first].inputs;
    const bf16 *found = nullptr;
    for (int i = g.first; i < g.end; at += l.maps[i++].rank) {
        const Map &m = l.maps[i];
        if (!m.rank) continue;
        if (m.rank == ranks_of(l, g)) found = m.down;
        else std::copy(m.down, m.down + m.rank * inputs, to + at * inputs);
    }
    return lines(found ? found : to, at, inputs);
}

template <class X> void Pass<X>::apply(Group g, const bf16 *x, std::initializer_list<bf16 *> outs, bf16 *low, bf16 *room) {
    const View all = downs(g, room), given = lines(x, n, all.columns);
    Sums sums;
    long at = 0;
    for (int i = g.first; i < g.end;) {  // those of one scale together
        const double scale = l.maps[i].scale;
        long count = 0;
        while (i < g.end && (!l.maps[i].rank || l.maps[i].scale == scale)) count += l.maps[i++].rank;
        if (count)
            sums.open(low + at, count, all.rows, scale).add(given, lines(all.at + at * all.columns, count, all.columns).turned());
        at += count;
    }
    sums.run(c.products_bfloat16, n, threads);
    at = 0;
    for (int i = g.first; i < g.end; at += l.maps[i++].rank) {
        const Map &m = l.maps[i];
        sums.open(outs.begin()[i - g.first], m.outputs, m.outputs, 1, m.bias).add(given, weight(m).turned());
        if (m.rank) sums.add({low + at, n, m.rank, all.rows, 1}, up(m).turned());
    }
    sums.run(c.products_bfloat16, n, threads);
}

template <class X> typename Pass<X>::Back Pass<X>::back(Group g, std::initializer_list<const bf16 *> grads) {
    Back b{g, {}, ranks_of(l, g), room.lifted, downs(g, room.downs)};
    std::copy(grads.begin(), grads.end(), b.grads);
    Sums sums;
    long at = 0;
    for (int i = g.first; i < g.end; at += l.maps[i++].rank) {
        const Map &m = l.maps[i];
        if (m.rank) sums.open(b.lifted + at, m.rank, b.ranks, m.scale).add(lines(b.grads[i - g.first], n, m.outputs), up(m));
    }
    sums.run(c.products_bfloat16, n, threads);
    return b;
}

// dx = sum g W + t A
template <class X> void Pass<X>::towards(const Back &b, bf16 *out) {
    Sums sums;
    sums.open(out, b.downs.columns, b.downs.columns);
    for (int i = b.g.first; i < b.g.end; i++) {
        const Map &m = l.maps[i];
        sums.add(lines(b.grads[i - b.g.first], n, m.outputs), weight(m));
    }
    if (b.ranks) sums.add(lines(b.lifted, n, b.ranks), b.downs);
    sums.run(c.products_bfloat16, n, threads);
}

// dW += g^T x, db += sum g, dA += t^T x, dB += g^T (scale x A^T); `low` is scale x A^T of the group.
template <class X> void Pass<X>::weights(const Back &b, const bf16 *x, const bf16 *low) {
    const long inputs = b.downs.columns;
    const View given = lines(x, n, inputs);
    Sums sums;
    bool downs = false;
    long at = 0;
    for (int i = b.g.first; i < b.g.end; at += l.maps[i++].rank) {
        const Map &m = l.maps[i];
        const View grad = lines(b.grads[i - b.g.first], n, m.outputs);
        if (m.grad_weight)
            sums.open(m.grad_weight, inputs, inputs, 1, nullptr, m.begun).add(grad.turned(), given);
        sums.run(c.products_float32, m.outputs, threads);
        if (m.grad_bias)
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
            for (long from = 0; from < m.outputs; from += 64)
                for (long row = 0; row < n; row++)
                    for (long j = from; j < std::min(m.outputs, from + 64); j++) m.grad_bias[j] += wide(grad.at[row * m.outputs + j]);
        if (m.grad_up) {  // the thin factor is turned: turning the gradient itself would cost as much as the product
            const View thin{low + at, n, m.rank, b.ranks, 1};
            sums.open(room.weights, m.outputs, m.outputs).add(thin.turned(), grad).run(c.products_float32, m.rank, threads);
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
            for (long from = 0; from < m.outputs; from += 64)
                for (long r = 0; r < m.rank; r++)
                    for (long o = from; o < std::min(m.outputs, from + 64); o++)
                        m.grad_up[o * m.rank + r] += room.weights[r * m.outputs + o];
        }
        downs |= m.grad_down != nullptr;
    }
    if (!downs) return;
    sums.open(room.weights, inputs, inputs).add(lines(b.lifted, n, b.ranks).turned(), given).run(c.products_float32, b.ranks, threads);
    at = 0;
    for (int i = b.g.first; i < b.g.end; at += l.maps[i++].rank)
        if (float *to = l.maps[i].grad_down) add_all(to, room.weights + at * inputs, to, l.maps[i].rank * inputs, threads);
}

template <class X> void Pass<X>::norm_back(const X *x, int which, const bf16 *grad, X *out, float *part) {
    float *to = l.grad_norms[which];
    c.norm_back(x, l.norms[which], grad, out, to ? part : nullptr, n, l.width, l.eps, threads);
    for (long block = 0; to && block < (n + NORM_BLOCK - 1) / NORM_BLOCK; block++)
        for (long i = 0; i < l.width; i++) to[i] += part[block * l.width + i];
}

// Of tokens that stand in several lines the gradients of all of them, and then one rounding.
template <class X> void Pass<X>::again(float *total, const float *more, bf16 *out) {
    const long size = l.kv_heads * l.size;
    for (long i = 0; i < t.repeated; i++)
        for (long j = 0; j < size; j++) total[t.again[i] * size + j] += more[i * size + j];
    narrowed(total, out, n * size, threads);
}

template <class X>
void Pass<X>::attention_back(const Kept<X> &k, const bf16 *grad, bf16 *query, bf16 *key, bf16 *value) {
    const long size = l.kv_heads * l.size, some = t.repeated ? n * size : 0, more = t.repeated * size;
    float *key_sum = place.take<float>(some), *value_sum = place.take<float>(some);
    float *more_key = place.take<float>(more), *more_value = place.take<float>(more);
    c.attend_back(t.places, t.counts, t.starts, t.lines, t.width, l.heads, l.kv_heads, l.size, k.query, k.key, k.value, k.seen, k.sums,
                  grad, query, some ? (void *)key_sum : key, some ? (void *)value_sum : value, some ? more_key : nullptr,
                  some ? more_value : nullptr, threads);
    if (some) again(key_sum, more_key, key), again(value_sum, more_value, value);
    turn(query, t.query_cosine, t.query_sine, l.heads, -1);
    turn(key, t.key_cosine, t.key_sine, l.kv_heads, -1);
}

// x -> out; without x, how much scratch there must be.
template <class X> long Pass<X>::forward(const X *x, X *out, const Kept<X> &k) {
    bf16 *normed = place.take<bf16>(n * l.width), *product = place.take<bf16>(n * l.inner), *made = place.take<bf16>(n * l.width);
    long most = 0;
    for (const Group g : GROUPS) most = std::max(most, ranks_of(l, g) * l.maps[g.first].inputs);
    bf16 *all = place.take<bf16>(most);
    if (!x) return place.most;
    norm(x, 0, normed);
    apply(ASK, normed, {k.query, k.key, k.value}, k.low[0], all);
    turn(k.query, t.query_cosine, t.query_sine, l.heads, 1);
    turn(k.key, t.key_cosine, t.key_sine, l.kv_heads, 1);
    c.attend(t.places, t.counts, t.starts, t.lines, t.width, l.heads, l.kv_heads, l.size, k.query, k.key, k.value, k.seen, k.sums, threads);
    apply(SEEN, k.seen, {made}, k.low[1], all);
    add_all(x, made, k.middle, n * l.width, threads);
    norm(k.middle, 1, normed);
    apply(OPEN, normed, {k.gate, k.up}, k.low[2], all);
    c.gate(k.gate, k.up, product, n * l.inner, threads);
    apply(CLOSE, product, {made}, k.low[3], all);
    add_all(k.middle, made, out, n * l.width, threads);
    return 0;
}

// What comes back for out -> for x (null: not wanted); without x, how much scratch there must be.
template <class X> long Pass<X>::backward(const X *x, const X *grad, X *grad_x, const Kept<X> &k) {
    long ranks = 0, inputs = 0, outputs = 0;
    for (const Group g : GROUPS) ranks = std::max(ranks, ranks_of(l, g)), inputs = std::max(inputs, l.maps[g.first].inputs);
    for (const Map &m : l.maps) outputs = std::max(outputs, m.outputs);
    room = {place.take<bf16>(n * ranks), place.take<bf16>(ranks * inputs), place.take<float>(ranks * std::max(inputs, outputs))};
    bf16 *normed = place.take<bf16>(n * l.width), *through = place.take<bf16>(n * l.width), *low = place.take<bf16>(n * l.width);
    X *middle = place.take<X>(n * l.width), *made = place.take<X>(n * l.width);
    float *part = place.take<float>((n + NORM_BLOCK - 1) / NORM_BLOCK * l.width);
    const long mark = place.at, q = n * l.heads * l.size, kv = n * l.kv_heads * l.size;
    bf16 *up = place.take<bf16>(n * l.inner), *product = place.take<bf16>(n * l.inner), *gate = place.take<bf16>(n * l.inner);
    if (x) {
        const Back closed = back(CLOSE, {narrowed(grad, low, n * l.width, threads)});
        towards(closed, up);
        c.gate_back(k.gate, k.up, up, product, gate, n * l.inner, threads);
        weights(closed, product, k.low[3]);
        norm(k.middle, 1, normed);
        const Back opened = back(OPEN, {gate, up});
        towards(opened, through);
        weights(opened, normed, k.low[2]);
        norm_back(k.middle, 1, through, made, part);
        add_all(grad, made, middle, n * l.width, threads);
    }
    place.back_to(mark);
    bf16 *seen = place.take<bf16>(q), *query = place.take<bf16>(q), *key = place.take<bf16>(kv), *value = place.take<bf16>(kv);
    if (!x) {
        place.take<float>(t.repeated ? 2 * (n + t.repeated) * l.kv_heads * l.size + 64 : 0);
        return place.most;
    }
    const Back out = back(SEEN, {narrowed(middle, low, n * l.width, threads)});
    towards(out, seen);
    weights(out, k.seen, k.low[1]);
    attention_back(k, seen, query, key, value);
    norm(x, 0, normed);
    const Back asked = back(ASK, {query, key, value});
    weights(asked, normed, k.low[0]);
    if (!grad_x && !l.grad_norms[0]) return 0;
    towards(asked, through);
    norm_back(x, 0, through, made, part);
    if (grad_x) add_all(middle, made, grad_x, n * l.width, threads);
    return 0;
}

}  // namespace

// layer_room_*: bytes of what is kept, and of scratch in either pass.
#define LAYER(NAME, X)                                                                                                            \
    extern "C" void layer_room_##NAME(const Layer *l, const Tokens *t, long *kept, long *forward, long *backward) {              \
        const Kept<X> none(*l, t->count, nullptr);                                                                               \
        *kept = none.bytes;                                                                                                      \
        *forward = Pass<X>({}, *l, *t, nullptr, 1).forward(nullptr, nullptr, none);                                              \
        *backward = Pass<X>({}, *l, *t, nullptr, 1).backward(nullptr, nullptr, nullptr, none);                                   \
    }                                                                                                                            \
    extern "C" void layer_##NAME(const Calls *calls, const Layer *l, const Tokens *t, const void *x, void *out, void *kept,      \
                                 void *scratch, int threads) {                                                                   \
        Pass<X>(*calls, *l, *t, scratch, threads).forward((const X *)x, (X *)out, Kept<X>(*l, t->count, kept));                  \
    }                                                                                                                            \
    extern "C" void layer_back_##NAME(const Calls *calls, const Layer *l, const Tokens *t, const void *x, const void *grad,      \
                                      void *grad_x, void *kept, void *scratch, int threads) {                                    \
        const Kept<X> k(*l, t->count, kept);                                                                                     \
        Pass<X>(*calls, *l, *t, scratch, threads).backward((const X *)x, (const X *)grad, (X *)grad_x, k);                       \
    }
LAYER(bfloat16, bf16)
LAYER(float32, float)
