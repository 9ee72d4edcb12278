// Attention of all tokens to all, v softmax(k' q / sqrt(d)) in heads of d channels, by blocks of rows that stay in the
// cache, forwards and backwards. Tokens are rows of bfloat16, `tokens` of them an example, of 3 x heads x d numbers:
// queries, keys, values. Products sum bfloat16 in float, two at a time: a factor's neighbours form a pair, for which
// such processors as compute in bfloat16 have an instruction.
#include <algorithm>
#include <new>
#include <vector>

#include "numbers.h"

#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

namespace {

constexpr int64_t ROWS = 8, LANES = 16, KEYS = 64; // rows of a product; numbers of a vector; keys of a step backwards
constexpr float EPSILON = 1.1920929e-7f;

using pair = uint32_t; // the first in the lower half
using Floats = float __attribute__((vector_size(4 * LANES)));
using Pairs = uint32_t __attribute__((vector_size(4 * LANES)));

// Where vectors lie within lines of the cache: a store across two takes many times as long.
template <typename T> struct Lines {
    using value_type = T;
    T *allocate(size_t n) { return static_cast<T *>(::operator new(n * sizeof(T), std::align_val_t(64))); }
    void deallocate(T *p, size_t) { ::operator delete(p, std::align_val_t(64)); }
    bool operator==(const Lines &) const { return true; }
    bool operator!=(const Lines &) const { return false; }
};

template <typename T> using Room = std::vector<T, Lines<T>>;

inline Floats plus_product(Floats sum, pair a, Pairs b) {
#ifdef __AVX512BF16__
    return (Floats)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_epi32(static_cast<int>(a)), (__m512bh)b);
#else
    const Pairs both = Pairs{} + a;
    sum += (Floats)(both << 16) * (Floats)(b << 16);
    return sum + (Floats)(both & 0xffff0000u) * (Floats)(b & 0xffff0000u);
#endif
}

inline pair paired(bfloat16 first, bfloat16 second) { return first | static_cast<pair>(second) << 16; }

// Where the pair k of column j lies: columns by the vector, each vector's `inner` pairs in a row.
inline int64_t place(int64_t k, int64_t j, int64_t inner) { return (j / LANES * inner + k) * LANES + j % LANES; }

template <int vectors, bool more>
inline void tile(const bfloat16 *a, int64_t stride, const pair *b, int64_t inner, float *c, int64_t columns) {
    Floats sum[ROWS][vectors];
    for (int r = 0; r < ROWS; ++r)
        for (int v = 0; v < vectors; ++v) {
            sum[r][v] = Floats{};
            if (more) std::memcpy(&sum[r][v], c + r * columns + v * LANES, sizeof(Floats));
        }
    for (int64_t k = 0; k < inner; ++k) {
        Pairs factor[vectors];
        for (int v = 0; v < vectors; ++v) std::memcpy(&factor[v], b + (v * inner + k) * LANES, sizeof(Pairs));
        for (int r = 0; r < ROWS; ++r) {
            pair both;
            std::memcpy(&both, a + r * stride + 2 * k, sizeof(pair));
            for (int v = 0; v < vectors; ++v) sum[r][v] = plus_product(sum[r][v], both, factor[v]);
        }
    }
    for (int r = 0; r < ROWS; ++r)
        for (int v = 0; v < vectors; ++v) std::memcpy(c + r * columns + v * LANES, &sum[r][v], sizeof(Floats));
}

// c = a b, or c + a b: `ROWS` rows of 2 x inner numbers by as many rows of `columns`, these as `place` has them.
template <bool more = false>
__attribute__((noinline)) void product(const bfloat16 *a, int64_t stride, const pair *b, int64_t inner, float *c,
                                       int64_t columns) {
    int64_t j = 0;
    for (; j + 2 * LANES <= columns; j += 2 * LANES) tile<2, more>(a, stride, b + j * inner, inner, c + j, columns);
    if (j < columns) tile<1, more>(a, stride, b + j * inner, inner, c + j, columns);
}

struct Shape {
    int64_t examples, tokens, heads, width; // width: d
    int unit;                               // queries and keys have unit root mean square
    float scale;                            // log2(e) / sqrt(d)
    int64_t row() const { return heads * width; }
    static int64_t whole(int64_t n) { return (n + LANES - 1) / LANES * LANES; }
    int64_t rows() const { return whole(tokens); }
    int64_t columns() const { return whole(width); }
};

// A head's rows of d numbers, close together and 0 after the last token; `sizes`: 1 / root mean square, where `unit`.
void gather(const Shape &s, const bfloat16 *from, int64_t stride, bool unit, bfloat16 *to, float *sizes) {
    std::fill(to + s.tokens * s.width, to + s.rows() * s.width, 0);
    if (!unit) {
        for (int64_t i = 0; i < s.tokens; ++i) std::copy_n(from + i * stride, s.width, to + i * s.width);
        return;
    }
    for (int64_t i = 0; i < s.tokens; ++i) {
        float squares = 0;
#pragma omp simd reduction(+ : squares)
        for (int64_t c = 0; c < s.width; ++c) squares += number(from[i * stride + c]) * number(from[i * stride + c]);
        sizes[i] = squares;
    }
#pragma omp simd
    for (int64_t i = 0; i < s.tokens; ++i) sizes[i] = 1.0f / std::sqrt(sizes[i] / s.width + EPSILON);
    for (int64_t i = 0; i < s.tokens; ++i)
#pragma omp simd
        for (int64_t c = 0; c < s.width; ++c)
            to[i * s.width + c] = as<bfloat16>(number(from[i * stride + c]) * sizes[i]);
}

// The transpose of rows of d numbers as a right factor: a token is a column.
void across(const Shape &s, const bfloat16 *rows, pair *to) {
    const int64_t inner = s.width / 2;
    for (int64_t j = 0; j < s.rows(); ++j)
        for (int64_t k = 0; k < inner; ++k)
            std::memcpy(to + place(k, j, inner), rows + j * s.width + 2 * k, sizeof(pair));
}

// Rows as a right factor: a token is a row, two of them pair up.
void down(const bfloat16 *rows, int64_t stride, int64_t width, int64_t count, int64_t columns, pair *to) {
    const int64_t inner = count / 2;
    for (int64_t k = 0; k < inner; ++k) {
        const bfloat16 *first = rows + 2 * k * stride, *second = first + stride;
        for (int64_t j = 0; j < columns; j += LANES) {
            pair *here = to + place(k, j, inner);
            if (j + LANES <= width)
#pragma omp simd
                for (int64_t c = 0; c < LANES; ++c) here[c] = paired(first[j + c], second[j + c]);
            else
                for (int64_t c = 0; c < LANES; ++c) here[c] = j + c < width ? paired(first[j + c], second[j + c]) : 0;
        }
    }
}

// What a thread needs for one head after another, of `n` = rows() rows.
struct Forwards {
    Room<bfloat16> q, k, v, weights;
    Room<pair> keys, values;
    Room<float> scores, sums, sizes;
    explicit Forwards(const Shape &s)
        : q(s.rows() * s.width), k(q.size()), v(q.size()), weights(ROWS * s.rows()), keys(q.size() / 2),
          values(s.rows() / 2 * s.columns()), scores(ROWS * s.rows()), sums(ROWS * s.columns()), sizes(s.rows()) {}
    void head(const Shape &s, const bfloat16 *qkv, bfloat16 *y, float *level);
};

void Forwards::head(const Shape &s, const bfloat16 *qkv, bfloat16 *y, float *level) {
    const int64_t n = s.rows(), d = s.width, stride = 3 * s.row();
    gather(s, qkv, stride, s.unit, q.data(), sizes.data());
    gather(s, qkv + s.row(), stride, s.unit, k.data(), sizes.data());
    gather(s, qkv + 2 * s.row(), stride, false, v.data(), nullptr);
    across(s, k.data(), keys.data());
    down(v.data(), d, d, n, s.columns(), values.data());
    for (int64_t i = 0; i < s.tokens; i += ROWS) {
        product(q.data() + i * d, d, keys.data(), d / 2, scores.data(), n);
        float total[ROWS];
        for (int64_t r = 0; r < ROWS; ++r) {
            const float *score = scores.data() + r * n;
            bfloat16 *weight = weights.data() + r * n;
            float most = score[0], sum = 0;
#pragma omp simd reduction(max : most)
            for (int64_t j = 0; j < s.tokens; ++j) most = score[j] > most ? score[j] : most;
#pragma omp simd reduction(+ : sum)
            for (int64_t j = 0; j < s.tokens; ++j) {
                const float t = score[j] * s.scale - most * s.scale, w = power<bfloat16>(t < -126.0f ? -126.0f : t);
                weight[j] = as<bfloat16>(w);
                sum += w;
            }
            std::fill(weight + s.tokens, weight + n, 0);
            total[r] = sum;
            if (level && i + r < s.tokens) level[i + r] = most * s.scale + std::log2(sum);
        }
        product(weights.data(), n, values.data(), n / 2, sums.data(), s.columns());
        for (int64_t r = 0; r < std::min(ROWS, s.tokens - i); ++r)
#pragma omp simd
            for (int64_t c = 0; c < d; ++c)
                y[(i + r) * s.row() + c] = as<bfloat16>(sums[r * s.columns() + c] / total[r]);
    }
}

// From gradients of rows of unit root mean square to those of the rows as they came.
void scatter(const Shape &s, const float *from, int64_t stride, int64_t step, const bfloat16 *rows, const float *sizes,
             bfloat16 *to) {
    Room<float> gradient(s.width);
    for (int64_t i = 0; i < s.tokens; ++i, to += 3 * s.row()) {
        const float size = s.unit ? sizes[i] : 1.0f;
        float along = 0;
        for (int64_t c = 0; c < s.width; ++c) gradient[c] = s.scale / LOG2_E * from[i * stride + c * step];
#pragma omp simd reduction(+ : along)
        for (int64_t c = 0; c < s.width; ++c) along += gradient[c] * number(rows[i * s.width + c]);
        const float mean = s.unit ? along / s.width : 0.0f;
#pragma omp simd
        for (int64_t c = 0; c < s.width; ++c)
            to[c] = as<bfloat16>(size * (gradient[c] - mean * number(rows[i * s.width + c])));
    }
}

struct Backwards {
    Room<bfloat16> q, k, v, g, turned, weights, slopes;
    Room<pair> queries, wanted, query_rows, wanted_rows, slope_rows;
    Room<float> scores, told, dq, dk, dv, q_sizes, k_sizes, levels, means;
    explicit Backwards(const Shape &s)
        : q(s.rows() * s.width), k(q.size()), v(q.size()), g(q.size()), turned(s.columns() * s.rows()),
          weights(ROWS * s.rows()), slopes(KEYS * s.rows()), queries(q.size() / 2), wanted(q.size() / 2),
          query_rows(turned.size() / 2), wanted_rows(turned.size() / 2), slope_rows(slopes.size() / 2),
          scores(ROWS * s.rows()), told(ROWS * s.rows()), dq(turned.size()), dk(turned.size()), dv(ROWS * s.columns()),
          q_sizes(s.rows()), k_sizes(s.rows()), levels(s.rows(), 1e30f), means(s.rows()) {}
    void head(const Shape &s, const bfloat16 *dy, const bfloat16 *qkv, const bfloat16 *y, const float *level,
              bfloat16 *dqkv);
};

void Backwards::head(const Shape &s, const bfloat16 *dy, const bfloat16 *qkv, const bfloat16 *y, const float *level,
                     bfloat16 *dqkv) {
    const int64_t n = s.rows(), d = s.width, w = s.columns(), stride = 3 * s.row();
    std::fill(dq.begin(), dq.end(), 0);
    gather(s, qkv, stride, s.unit, q.data(), q_sizes.data());
    gather(s, qkv + s.row(), stride, s.unit, k.data(), k_sizes.data());
    gather(s, qkv + 2 * s.row(), stride, false, v.data(), nullptr);
    gather(s, dy, s.row(), false, g.data(), nullptr);
    across(s, q.data(), queries.data());
    across(s, g.data(), wanted.data());
    down(q.data(), d, d, n, w, query_rows.data());
    down(g.data(), d, d, n, w, wanted_rows.data());
    for (int64_t c = 0; c < d; ++c)
        for (int64_t j = 0; j < n; ++j) turned[c * n + j] = k[j * d + c];
    std::copy(level, level + s.tokens, levels.begin());
    for (int64_t i = 0; i < s.tokens; ++i) {
        float mean = 0;
#pragma omp simd reduction(+ : mean)
        for (int64_t c = 0; c < d; ++c) mean += number(g[i * d + c]) * number(y[i * s.row() + c]);
        means[i] = mean;
    }
    for (int64_t first = 0; first < n; first += KEYS) {
        const int64_t last = std::min(n, first + KEYS);
        for (int64_t j = first; j < last; j += ROWS) {
            product(k.data() + j * d, d, queries.data(), d / 2, scores.data(), n);
            product(v.data() + j * d, d, wanted.data(), d / 2, told.data(), n);
            std::fill(slopes.begin() + (j - first) * n, slopes.begin() + (j - first + ROWS) * n, 0);
            for (int64_t r = 0; r < std::min(ROWS, s.tokens - j); ++r) {
                bfloat16 *weight = weights.data() + r * n, *slope = slopes.data() + (j - first + r) * n;
                const float *score = scores.data() + r * n, *mine = told.data() + r * n;
#pragma omp simd
                for (int64_t i = 0; i < n; ++i) {
                    const float t = score[i] * s.scale - levels[i], p = power<bfloat16>(t < -126.0f ? -126.0f : t);
                    weight[i] = as<bfloat16>(p);
                    slope[i] = as<bfloat16>(p * (mine[i] - means[i]));
                }
            }
            product(weights.data(), n, wanted_rows.data(), n / 2, dv.data(), w);
            product(slopes.data() + (j - first) * n, n, query_rows.data(), n / 2, dk.data() + j * w, w);
            for (int64_t r = 0; r < std::min(ROWS, s.tokens - j); ++r)
#pragma omp simd
                for (int64_t c = 0; c < d; ++c)
                    dqkv[(j + r) * stride + 2 * s.row() + c] = as<bfloat16>(dv[r * w + c]);
        }
        down(slopes.data(), n, n, last - first, n, slope_rows.data());
        for (int64_t c = 0; c < w; c += ROWS)
            product<true>(turned.data() + c * n + first, n, slope_rows.data(), (last - first) / 2, dq.data() + c * n,
                          n);
    }
    scatter(s, dq.data(), 1, n, q.data(), q_sizes.data(), dqkv);
    scatter(s, dk.data(), w, 1, k.data(), k_sizes.data(), dqkv + s.row());
}

// Every head of every example: where its first token's tensors of one and of three rows begin, and its number.
template <typename Work, typename Call> void each(const Shape &s, int threads, Call call) {
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        Work work(s);
#pragma omp for
        for (int64_t i = 0; i < s.examples * s.heads; ++i) {
            const int64_t token = i / s.heads * s.tokens, head = i % s.heads * s.width;
            call(work, token * s.row() + head, 3 * token * s.row() + head, i);
        }
    }
}

Shape shape_of(const int64_t *n, int unit) {
    return {n[0], n[1], n[2], n[3], unit, LOG2_E / std::sqrt(static_cast<float>(n[3]))};
}

} // namespace

extern "C" void forward(const int64_t *shape, int unit, const bfloat16 *qkv, bfloat16 *y, float *level, int threads) {
    const Shape s = shape_of(shape, unit);
    each<Forwards>(s, threads, [&](Forwards &work, int64_t one, int64_t three, int64_t i) {
        work.head(s, qkv + three, y + one, level ? level + i * s.tokens : nullptr);
    });
}

extern "C" void backward(const int64_t *shape, int unit, const bfloat16 *dy, const bfloat16 *qkv, const bfloat16 *y,
                         const float *level, bfloat16 *dqkv, int threads) {
    const Shape s = shape_of(shape, unit);
    each<Backwards>(s, threads, [&](Backwards &work, int64_t one, int64_t three, int64_t i) {
        work.head(s, dy + one, qkv + three, y + one, level + i * s.tokens, dqkv + three);
    });
}
