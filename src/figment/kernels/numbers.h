// Numbers, float or bfloat16, and functions of them: what all kernels share, such as a compiler makes vectors of.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace {

using bfloat16 = uint16_t;

inline float number(float value) { return value; }

inline float number(bfloat16 bits) {
    const uint32_t u = static_cast<uint32_t>(bits) << 16;
    float value;
    std::memcpy(&value, &u, 4);
    return value;
}

template <typename T> inline T as(float value);

template <> inline float as<float>(float value) { return value; }

template <> inline bfloat16 as<bfloat16>(float value) {
    uint32_t u;
    std::memcpy(&u, &value, 4);
    return static_cast<bfloat16>((u + 0x7fff + ((u >> 16) & 1)) >> 16); // a NaN that arithmetic made stays one
}

// 2^t of t in [-126, 126], to a relative 8e-5 where T is bfloat16, else 1e-7: a polynomial in the distance of t from
// the nearest whole number, which is what adding a large number leaves of it.
template <typename T> inline float power(float t) {
    constexpr float large = 12582912.0f;
    const float shifted = t + large, r = t - (shifted - large);
    float p;
    if (sizeof(T) < 4)
        p = 0.999928072f + r * (0.693260987f + r * (0.24261114f + r * 0.0551716707f));
    else
        p = 1.00000007f + r * (0.693146967f +
            r * (0.240221197f + r * (0.0555071328f + r * (0.00967554162f + r * 0.00132764722f))));
    uint32_t whole, u;
    std::memcpy(&whole, &shifted, 4);
    std::memcpy(&u, &p, 4);
    u += whole << 23; // to the exponent
    std::memcpy(&p, &u, 4);
    return p;
}

constexpr float LOG2_E = 1.44269504f;

// e^x of x in [-87, 87], beyond these as there.
template <typename T> inline float exponential(float x) {
    const float t = x * LOG2_E;
    return power<T>(t < -126.0f ? -126.0f : (t > 126.0f ? 126.0f : t));
}

// 1 / d of d in [1, 2^126]: where T is bfloat16 to a relative 2e-6, by two of Newton's steps, which take less time than a
// division.
template <typename T> inline float inverse(float d) {
    if (sizeof(T) == 4) return 1.0f / d;
    uint32_t u;
    std::memcpy(&u, &d, 4);
    u = 0x7ef00000u - u;
    float r;
    std::memcpy(&r, &u, 4);
    r *= 2.03212865f - 1.03116935f * (d * r);
    return r * (2.0f - d * r);
}

struct Sigmoid {
    float at, rest; // 1 / (1 + e^-z) and 1 less it, both to a relative precision
};

template <typename T> inline Sigmoid sigmoid(float z) {
    const float e = exponential<T>(-z), at = inverse<T>(1.0f + e);
    return {at, e * at};
}

} // namespace
