// What a transformer does to tokens between its matrix products, in one pass each way: rows of `width` numbers, float
// or bfloat16, `tokens` of them an example; scales, shifts and gates are float, a row an example, and biases one row.
#include <vector>

#include "numbers.h"

namespace {

constexpr float EPSILON = 1e-5f;

struct Shape {
    int64_t examples, tokens, width;
};

// y = (1 + scale) (x - mean) / sqrt(var + eps) + shift
template <typename T>
void modulate(const Shape &s, const T *x, const float *scale, const float *shift, T *y, float *mean, float *size) {
    for (int64_t i = 0; i < s.tokens; ++i, x += s.width, y += s.width) {
        float sum = 0, squares = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t c = 0; c < s.width; ++c) sum += number(x[c]);
        const float m = sum / s.width;
#pragma omp simd reduction(+ : squares)
        for (int64_t c = 0; c < s.width; ++c) squares += (number(x[c]) - m) * (number(x[c]) - m);
        const float r = 1.0f / std::sqrt(squares / s.width + EPSILON);
        mean[i] = m;
        size[i] = r;
#pragma omp simd
        for (int64_t c = 0; c < s.width; ++c) y[c] = as<T>((number(x[c]) - m) * r * (1.0f + scale[c]) + shift[c]);
    }
}

template <typename T>
void modulate_back(const Shape &s, const T *dy, const T *x, const float *scale, const float *mean, const float *size,
                   T *dx, float *dscale, float *dshift) {
    std::vector<float> slope(s.width), unit(s.width);
    std::memset(dscale, 0, s.width * sizeof(float));
    std::memset(dshift, 0, s.width * sizeof(float));
    for (int64_t i = 0; i < s.tokens; ++i, dy += s.width, x += s.width, dx += s.width) {
        const float m = mean[i], r = size[i];
        float *g = slope.data(), *u = unit.data(), sum = 0, along = 0;
#pragma omp simd reduction(+ : sum, along)
        for (int64_t c = 0; c < s.width; ++c) {
            const float d = number(dy[c]);
            u[c] = (number(x[c]) - m) * r;
            g[c] = d * (1.0f + scale[c]);
            dshift[c] += d;
            dscale[c] += d * u[c];
            sum += g[c];
            along += g[c] * u[c];
        }
        sum /= s.width;
        along /= s.width;
#pragma omp simd
        for (int64_t c = 0; c < s.width; ++c) dx[c] = as<T>(r * (g[c] - sum - along * u[c]));
    }
}

// y = h + gate (x + bias)
template <typename T>
void pass(const Shape &s, const T *h, const T *x, const float *bias, const float *gate, T *y) {
    for (int64_t i = 0; i < s.tokens; ++i, h += s.width, x += s.width, y += s.width)
#pragma omp simd
        for (int64_t c = 0; c < s.width; ++c) y[c] = as<T>(number(h[c]) + gate[c] * (number(x[c]) + bias[c]));
}

template <typename T>
void pass_back(const Shape &s, const T *dy, const T *x, const float *bias, const float *gate, T *dx, float *dbias,
               float *dgate) {
    std::memset(dbias, 0, s.width * sizeof(float));
    std::memset(dgate, 0, s.width * sizeof(float));
    for (int64_t i = 0; i < s.tokens; ++i, dy += s.width, x += s.width, dx += s.width)
#pragma omp simd
        for (int64_t c = 0; c < s.width; ++c) {
            const float d = number(dy[c]), slope = gate[c] * d;
            dx[c] = as<T>(slope);
            dbias[c] += slope;
            dgate[c] += d * (number(x[c]) + bias[c]);
        }
}

// y = v sigmoid(2 sqrt(2 / pi) (v + 0.044715 v^3)), v = x + bias, which is v (1 + tanh(...)) / 2
constexpr float INNER = 1.59576912f, CUBE = 0.044715f;

template <typename T> void gelu(const Shape &s, const T *x, const float *bias, T *y) {
    for (int64_t i = 0; i < s.tokens; ++i, x += s.width, y += s.width)
#pragma omp simd
        for (int64_t c = 0; c < s.width; ++c) {
            const float v = number(x[c]) + bias[c];
            y[c] = as<T>(v * sigmoid<T>(INNER * v * (1.0f + CUBE * v * v)).at);
        }
}

template <typename T> void gelu_back(const Shape &s, const T *dy, const T *x, const float *bias, T *dx, float *dbias) {
    std::memset(dbias, 0, s.width * sizeof(float));
    for (int64_t i = 0; i < s.tokens; ++i, dy += s.width, x += s.width, dx += s.width)
#pragma omp simd
        for (int64_t c = 0; c < s.width; ++c) {
            const float v = number(x[c]) + bias[c];
            const Sigmoid p = sigmoid<T>(INNER * v * (1.0f + CUBE * v * v));
            const float slope = number(dy[c]) * p.at * (1.0f + v * p.rest * INNER * (1.0f + 3.0f * CUBE * v * v));
            dx[c] = as<T>(slope);
            dbias[c] += slope;
        }
}

template <typename Call> void each(const Shape &s, int threads, Call call) {
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t i = 0; i < s.examples; ++i) call(i * s.tokens * s.width, i * s.tokens, i * s.width);
}

} // namespace

#define DEFINE(NAME, T)                                                                                               \
    extern "C" void modulate_##NAME(const int64_t *shape, const T *x, const float *scale, const float *shift, T *y,   \
                                    float *mean, float *size, int threads) {                                          \
        const Shape s{shape[0], shape[1], shape[2]};                                                                  \
        each(s, threads, [&](int64_t all, int64_t token, int64_t row) {                                               \
            modulate(s, x + all, scale + row, shift + row, y + all, mean + token, size + token);                      \
        });                                                                                                           \
    }                                                                                                                 \
    extern "C" void modulate_back_##NAME(const int64_t *shape, const T *dy, const T *x, const float *scale,           \
                                         const float *mean, const float *size, T *dx, float *dscale, float *dshift,   \
                                         int threads) {                                                               \
        const Shape s{shape[0], shape[1], shape[2]};                                                                  \
        each(s, threads, [&](int64_t all, int64_t token, int64_t row) {                                               \
            modulate_back(s, dy + all, x + all, scale + row, mean + token, size + token, dx + all, dscale + row,      \
                          dshift + row);                                                                              \
        });                                                                                                           \
    }                                                                                                                 \
    extern "C" void pass_##NAME(const int64_t *shape, const T *h, const T *x, const float *bias, const float *gate,   \
                                T *y, int threads) {                                                                  \
        const Shape s{shape[0], shape[1], shape[2]};                                                                  \
        each(s, threads, [&](int64_t all, int64_t, int64_t row) {                                                     \
            pass(s, h + all, x + all, bias, gate + row, y + all);                                                     \
        });                                                                                                           \
    }                                                                                                                 \
    extern "C" void pass_back_##NAME(const int64_t *shape, const T *dy, const T *x, const float *bias,                \
                                     const float *gate, T *dx, float *dbias, float *dgate, int threads) {             \
        const Shape s{shape[0], shape[1], shape[2]};                                                                  \
        each(s, threads, [&](int64_t all, int64_t, int64_t row) {                                                     \
            pass_back(s, dy + all, x + all, bias, gate + row, dx + all, dbias + row, dgate + row);                    \
        });                                                                                                           \
    }                                                                                                                 \
    extern "C" void gelu_##NAME(const int64_t *shape, const T *x, const float *bias, T *y, int threads) {             \
        const Shape s{shape[0], shape[1], shape[2]};                                                                  \
        each(s, threads, [&](int64_t all, int64_t, int64_t) { gelu(s, x + all, bias, y + all); });                    \
    }                                                                                                                 \
    extern "C" void gelu_back_##NAME(const int64_t *shape, const T *dy, const T *x, const float *bias, T *dx,         \
                                     float *dbias, int threads) {                                                     \
        const Shape s{shape[0], shape[1], shape[2]};                                                                  \
        each(s, threads, [&](int64_t all, int64_t, int64_t row) {                                                     \
            gelu_back(s, dy + all, x + all, bias, dx + all, dbias + row);                                             \
        });                                                                                                           \
    }

DEFINE(float32, float)
DEFINE(bfloat16, bfloat16)
