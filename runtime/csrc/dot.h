// How products of queries and keys, and of weights and values, are computed.
//
// A word holds `kPack` neighbouring elements of a row, of which one instruction multiplies and adds
// up all. Compiled once for each instruction set, as simd.h is.
#pragma once

#include "simd.h"

namespace plimsoll::PLIMSOLL_ISA {

struct Fp32 {
  typedef float Element;
  typedef Floats Sums;
  static constexpr int kPack = 1;
  static Floats multiply_add(Floats sum, const uint32_t* word, const uint32_t* words) {
    float x;
    __builtin_memcpy(&x, word, sizeof x);
    Floats y;
    __builtin_memcpy(&y, words, sizeof y);
    return broadcast(x) * y + sum;
  }
  // Weights of kLanes keys.
  static void put_weights(Element* to, Floats x) { store(to, x); }
};

#if defined(__AVX512BF16__)
// fp32 sums of products of bf16.
struct Bf16Dot {
  typedef uint16_t Element;
  typedef Floats Sums;
  static constexpr int kPack = 2;
  static Floats multiply_add(Floats sum, const uint32_t* word, const uint32_t* words) {
    const __m512i x = _mm512_set1_epi32(static_cast<int>(*word));
    const __m512i y = _mm512_loadu_si512(words);
    return (Floats)_mm512_dpbf16_ps((__m512)sum, (__m512bh)x, (__m512bh)y);
  }
  static void put_weights(Element* to, Floats x) {
    const __m256i rounded = (__m256i)_mm512_cvtneps_pbh((__m512)x);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), rounded);
  }
};
#endif

// int32 sums of products of int16, exact: queries and weights are rounded to multiples of a scale,
// finer than bf16's 8 bits, and an int8 of the cache is an int16 by one extension of its sign.
struct Int16Dot {
  typedef int16_t Element;
  typedef Ints Sums;
  static constexpr int kPack = 2;
  static Ints multiply_add(Ints sum, const uint32_t* word, const uint32_t* words) {
#if defined(__AVX512VNNI__)
    const __m512i x = _mm512_set1_epi32(static_cast<int>(*word));
    return (Ints)_mm512_dpwssd_epi32((__m512i)sum, x, _mm512_loadu_si512(words));
#elif defined(__AVX512BW__)
    const __m512i x = _mm512_set1_epi32(static_cast<int>(*word));
    return sum + (Ints)_mm512_madd_epi16(x, _mm512_loadu_si512(words));
#elif defined(__AVX2__)
    const __m256i x = _mm256_set1_epi32(static_cast<int>(*word));
    const auto* y = reinterpret_cast<const __m256i*>(words);
    return sum + (Ints)_mm256_madd_epi16(x, _mm256_loadu_si256(y));
#elif defined(__SSE2__)
    const __m128i x = _mm_set1_epi32(static_cast<int>(*word));
    const auto* y = reinterpret_cast<const __m128i*>(words);
    return sum + (Ints)_mm_madd_epi16(x, _mm_loadu_si128(y));
#else
    Ints y;
    __builtin_memcpy(&y, words, sizeof y);
    const auto low = static_cast<int16_t>(*word), high = static_cast<int16_t>(*word >> 16);
    return sum + ((y << 16) >> 16) * low + (y >> 16) * high;
#endif
  }
  // `count` numbers, a multiple of kLanes, as multiples of what it returns.
  static float quantize(Element* to, const float* from, int count) {
    Ints magnitudes = {};
    for (int i = 0; i < count; i += kLanes) {
      // The bits of magnitudes are ordered as these are, with infinity and then NaN at the end.
      const Ints bits = (Ints)load(from + i) & 0x7fffffff;
      magnitudes = bits > magnitudes ? bits : magnitudes;
    }
    const float largest = largest_magnitude(magnitudes);
    // So small a number is 0 in what it is multiplied with, and the quotient is finite.
    const float scale = (largest < 1e-30f ? 1e-30f : largest) / 32767.0f;
    const float per_unit = 1.0f / scale;
    for (int i = 0; i < count; i += kLanes) {
      // Adding 1.5 * 2^23 leaves the nearest integer in the lowest bits.
      const Words bits = (Words)(load(from + i) * per_unit + 12582912.0f);
      const Bf16s low = __builtin_convertvector(bits, Bf16s);
      __builtin_memcpy(to + i, &low, sizeof low);
    }
    return scale;
  }

 private:
  static float largest_magnitude(Ints bits) {
    int32_t largest = bits[0];
    for (int i = 1; i < kLanes; ++i) largest = bits[i] > largest ? bits[i] : largest;
    float result;
    __builtin_memcpy(&result, &largest, sizeof result);
    return result;
  }
};

// sums[r][v] += row r of `rows` times the columns at `columns[v]`, over `count` words.
template <class Compute, int kRows, int kVectors>
void multiply(typename Compute::Sums (&sums)[kRows][kVectors], const uint32_t* rows,
              int64_t row_stride, const uint32_t* const (&columns)[kVectors],
              int64_t column_stride, int count) {
  for (int i = 0; i < count; ++i) {
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < kVectors; ++v) {
        sums[r][v] = Compute::multiply_add(sums[r][v], rows + r * row_stride + i,
                                           columns[v] + i * column_stride);
      }
    }
  }
}

}  // namespace plimsoll::PLIMSOLL_ISA
