// Group normalisation with a gain and an offset for each channel of each example, and SiLU, in one pass each way:
// y = phi(gain (x - mean) / sqrt(var + eps) + offset). Plain C++, so that it compiles in seconds and needs no headers
// of torch. x, y and their gradients are float or bfloat16, `rows` of `spots` numbers a channel (side by side) or of
// `channels` numbers a spot (channels last); all else is float.
#include <algorithm>
#include <vector>

#include "numbers.h"

namespace {

template <typename T, bool activate> inline float phi(float z) { return activate ? z * sigmoid<T>(z).at : z; }

template <typename T, bool activate> inline float slope(float z) {
    if (!activate) return 1.0f;
    const Sigmoid s = sigmoid<T>(z);
    return s.at * (1.0f + z * s.rest);
}

struct Shape {
    int64_t examples, channels, spots, groups;
    int64_t width() const { return channels / groups; }
    int64_t size() const { return width() * spots; }
};

// Side by side: one example's group is `size` numbers in a row, a channel `spots` of them.

template <typename T, bool activate>
void forward_group(const Shape &s, const T *x, const float *gain, const float *offset, float eps, T *y, float *mean,
                   float *scale) {
    float sum = 0, squares = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < s.size(); ++i) sum += number(x[i]);
    const float m = sum / s.size();
#pragma omp simd reduction(+ : squares)
    for (int64_t i = 0; i < s.size(); ++i) {
        const float d = number(x[i]) - m;
        squares += d * d;
    }
    const float r = 1.0f / std::sqrt(squares / s.size() + eps);
    *mean = m;
    *scale = r;
    for (int64_t c = 0; c < s.width(); ++c) {
        const float g = gain[c] * r, b = offset[c] - gain[c] * r * m;
        const T *from = x + c * s.spots;
        T *to = y + c * s.spots;
#pragma omp simd
        for (int64_t i = 0; i < s.spots; ++i) to[i] = as<T>(phi<T, activate>(number(from[i]) * g + b));
    }
}

template <typename T, bool activate>
void backward_group(const Shape &s, const T *dy, const T *x, const float *gain, const float *offset, float m, float r,
                    float *dz, T *dx, float *dgain, float *doffset) {
    float along = 0, across = 0;
    for (int64_t c = 0; c < s.width(); ++c) {
        const float g = gain[c] * r, b = offset[c] - gain[c] * r * m;
        const T *from = x + c * s.spots, *wanted = dy + c * s.spots;
        float *here = dz + c * s.spots;
        float sum = 0, product = 0;
#pragma omp simd reduction(+ : sum, product)
        for (int64_t i = 0; i < s.spots; ++i) {
            const float value = number(from[i]);
            const float d = number(wanted[i]) * slope<T, activate>(value * g + b);
            here[i] = d;
            sum += d;
            product += d * (value - m);
        }
        doffset[c] = sum;
        dgain[c] = product * r;
        along += gain[c] * doffset[c];
        across += gain[c] * dgain[c];
    }
    const float level = r * along / s.size(), tilt = r * r * across / s.size();
    for (int64_t c = 0; c < s.width(); ++c) {
        const float g = gain[c] * r;
        const T *from = x + c * s.spots;
        const float *here = dz + c * s.spots;
        T *to = dx + c * s.spots;
#pragma omp simd
        for (int64_t i = 0; i < s.spots; ++i)
            to[i] = as<T>(here[i] * g - level - (number(from[i]) - m) * tilt);
    }
}

// Channels last: an example is `spots` rows of `channels` numbers, several of which are taken as one long row.

int64_t long_row(const Shape &s) {
    int64_t n = s.channels, rows = s.spots;
    for (; n < 256 && rows % 2 == 0; rows /= 2) n *= 2;
    return n;
}

void repeat(int64_t channels, int64_t n, float *row) {
    for (int64_t c = channels; c < n; c += channels) std::copy(row, row + channels, row + c);
}

void fold(int64_t channels, int64_t n, float *row) {
    for (int64_t r = channels; r < n; r += channels)
        for (int64_t c = 0; c < channels; ++c) row[c] += row[r + c];
}

// Gain and offset of x itself for each number of a long row.
void affine(const Shape &s, int64_t n, const float *gain, const float *offset, const float *mean, const float *scale,
            float *g, float *b) {
    for (int64_t k = 0; k < s.groups; ++k)
        for (int64_t c = k * s.width(); c < (k + 1) * s.width(); ++c) {
            g[c] = gain[c] * scale[k];
            b[c] = offset[c] - g[c] * mean[k];
        }
    repeat(s.channels, n, g);
    repeat(s.channels, n, b);
}

// One pass for both moments, around the first spot, which is as far from the mean as any: nothing cancels.
template <typename T, bool activate>
void forward_example(const Shape &s, const T *x, const float *gain, const float *offset, float eps, T *y, float *mean,
                     float *scale, float *room) {
    const int64_t n = long_row(s), rows = s.channels * s.spots / n;
    float *first = room, *sum = room + n, *square = room + 2 * n, *g = room + 3 * n, *b = room + 4 * n;
    for (int64_t c = 0; c < s.channels; ++c) first[c] = number(x[c]);
    repeat(s.channels, n, first);
    std::memset(sum, 0, 2 * n * sizeof(float));
    for (int64_t i = 0; i < rows; ++i)
#pragma omp simd
        for (int64_t c = 0; c < n; ++c) {
            const float d = number(x[i * n + c]) - first[c];
            sum[c] += d;
            square[c] += d * d;
        }
    fold(s.channels, n, sum);
    fold(s.channels, n, square);
    for (int64_t k = 0; k < s.groups; ++k) {
        float total = 0, squares = 0;
        for (int64_t c = k * s.width(); c < (k + 1) * s.width(); ++c) total += s.spots * first[c] + sum[c];
        mean[k] = total / s.size();
        for (int64_t c = k * s.width(); c < (k + 1) * s.width(); ++c) {
            const float d = first[c] - mean[k];
            squares += square[c] + d * (2 * sum[c] + s.spots * d);
        }
        scale[k] = 1.0f / std::sqrt((squares < 0 ? 0 : squares) / s.size() + eps);
    }
    affine(s, n, gain, offset, mean, scale, g, b);
    for (int64_t i = 0; i < rows; ++i)
#pragma omp simd
        for (int64_t c = 0; c < n; ++c) y[i * n + c] = as<T>(phi<T, activate>(number(x[i * n + c]) * g[c] + b[c]));
}

template <typename T, bool activate>
void backward_example(const Shape &s, const T *dy, const T *x, const float *gain, const float *offset,
                      const float *mean, const float *scale, float *dz, T *dx, float *dgain, float *doffset,
                      float *room) {
    const int64_t n = long_row(s), rows = s.channels * s.spots / n;
    float *m = room, *g = room + n, *b = room + 2 * n, *sum = room + 3 * n, *product = room + 4 * n;
    float *level = room + 5 * n, *tilt = room + 6 * n;
    affine(s, n, gain, offset, mean, scale, g, b);
    for (int64_t k = 0; k < s.groups; ++k) std::fill(m + k * s.width(), m + (k + 1) * s.width(), mean[k]);
    repeat(s.channels, n, m);
    std::memset(sum, 0, 2 * n * sizeof(float));
    for (int64_t i = 0; i < rows; ++i)
#pragma omp simd
        for (int64_t c = 0; c < n; ++c) {
            const float value = number(x[i * n + c]);
            const float d = number(dy[i * n + c]) * slope<T, activate>(value * g[c] + b[c]);
            dz[i * n + c] = d;
            sum[c] += d;
            product[c] += d * (value - m[c]);
        }
    fold(s.channels, n, sum);
    fold(s.channels, n, product);
    for (int64_t k = 0; k < s.groups; ++k) {
        float along = 0, across = 0;
        for (int64_t c = k * s.width(); c < (k + 1) * s.width(); ++c) {
            doffset[c] = sum[c];
            dgain[c] = product[c] * scale[k];
            along += gain[c] * doffset[c];
            across += gain[c] * dgain[c];
        }
        std::fill(level + k * s.width(), level + (k + 1) * s.width(), scale[k] * along / s.size());
        std::fill(tilt + k * s.width(), tilt + (k + 1) * s.width(), scale[k] * scale[k] * across / s.size());
    }
    repeat(s.channels, n, level);
    repeat(s.channels, n, tilt);
    for (int64_t i = 0; i < rows; ++i)
#pragma omp simd
        for (int64_t c = 0; c < n; ++c)
            dx[i * n + c] =
                as<T>(dz[i * n + c] * g[c] - level[c] - (number(x[i * n + c]) - m[c]) * tilt[c]);
}

template <typename T, bool activate>
void forward(const Shape &s, bool last, const T *x, const float *gain, const float *offset, float eps, T *y,
             float *mean, float *scale, int threads) {
    const int64_t whole = s.channels * s.spots, parts = last ? s.examples : s.examples * s.groups;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        std::vector<float> room(last ? 5 * long_row(s) : 0);
#pragma omp for
        for (int64_t i = 0; i < parts; ++i) {
            if (last)
                forward_example<T, activate>(s, x + i * whole, gain + i * s.channels, offset + i * s.channels, eps,
                                             y + i * whole, mean + i * s.groups, scale + i * s.groups, room.data());
            else
                forward_group<T, activate>(s, x + i * s.size(), gain + i * s.width(), offset + i * s.width(), eps,
                                           y + i * s.size(), mean + i, scale + i);
        }
    }
}

template <typename T, bool activate>
void backward(const Shape &s, bool last, const T *dy, const T *x, const float *gain, const float *offset,
              const float *mean, const float *scale, T *dx, float *dgain, float *doffset, int threads) {
    const int64_t whole = s.channels * s.spots, parts = last ? s.examples : s.examples * s.groups;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        std::vector<float> room(last ? 7 * long_row(s) : 0), dz(last ? whole : s.size());
#pragma omp for
        for (int64_t i = 0; i < parts; ++i) {
            const int64_t c = i * (last ? s.channels : s.width());
            if (last)
                backward_example<T, activate>(s, dy + i * whole, x + i * whole, gain + c, offset + c,
                                              mean + i * s.groups, scale + i * s.groups, dz.data(), dx + i * whole,
                                              dgain + c, doffset + c, room.data());
            else
                backward_group<T, activate>(s, dy + i * s.size(), x + i * s.size(), gain + c, offset + c, mean[i],
                                            scale[i], dz.data(), dx + i * s.size(), dgain + c, doffset + c);
        }
    }
}

} // namespace

#define DEFINE(NAME, T)                                                                                               \
    extern "C" void forward_##NAME(const int64_t *shape, int last, int activate, const T *x, const float *gain,      \
                                   const float *offset, float eps, T *y, float *mean, float *scale, int threads) {    \
        const Shape s{shape[0], shape[1], shape[2], shape[3]};                                                        \
        (activate ? forward<T, true> : forward<T, false>)(s, last, x, gain, offset, eps, y, mean, scale, threads);    \
    }                                                                                                                 \
    extern "C" void backward_##NAME(const int64_t *shape, int last, int activate, const T *dy, const T *x,           \
                                    const float *gain, const float *offset, const float *mean, const float *scale,    \
                                    T *dx, float *dgain, float *doffset, int threads) {                               \
        const Shape s{shape[0], shape[1], shape[2], shape[3]};                                                        \
        (activate ? backward<T, true> : backward<T, false>)(s, last, dy, x, gain, offset, mean, scale, dx, dgain,     \
                                                            doffset, threads);                                        \
    }

DEFINE(float32, float)
DEFINE(bfloat16, bfloat16)
