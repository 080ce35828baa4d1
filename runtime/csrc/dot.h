// How products of queries and keys, and of weights and values, are computed.
//
// Keys and values are `Element`s, in words of `kPack` of them. Queries and weights are `Factor`s, of
// which kPack go with a word. With kScaled both are multiples of scales, which are left to whoever has
// the products, and a row of them is `kParts` rows of Factors. For four rows the sums with kVectors
// columns each fit into the registers.
//
// Compiled once for each instruction set, as simd.h is.
#pragma once

#include "simd.h"

namespace plimsoll::PLIMSOLL_ISA {

struct Fp32 {
  typedef float Element;
  typedef float Factor;
  typedef Floats Column;
  typedef Floats Sums;
  static constexpr int kPack = 1;
  static constexpr bool kScaled = false;
  static constexpr int kQueryOffset = 0;
  static constexpr int kParts = 1;
  static constexpr int kVectors = kMaxVectors;
  static Floats column(const uint32_t* words) {
    Floats x;
    __builtin_memcpy(&x, words, sizeof x);
    return x;
  }
  static Floats multiply_add(Floats sum, const Factor* factor, Floats column) {
    return broadcast(*factor) * column + sum;
  }
  // Weights of kLanes keys.
  static void put_weights(Factor* to, Floats x) { store(to, x); }
};

// fp32 sums of products of bf16.
struct Bf16Dot {
  typedef uint16_t Element;
  typedef Floats Sums;
  static constexpr int kPack = 2;
  static constexpr bool kScaled = false;
  static constexpr int kQueryOffset = 0;
  static constexpr int kParts = 1;
  static constexpr int kVectors = kMaxVectors;
#if defined(__AVX512BF16__)
  typedef uint16_t Factor;
  typedef Words Column;
  static Column column(const uint32_t* words) { return load(words); }
  static Floats multiply_add(Floats sum, const Factor* factors, Column column) {
    const __m512i x = _mm512_set1_epi32(word_at(factors));
    return (Floats)_mm512_dpbf16_ps((__m512)sum, (__m512bh)x, (__m512bh)column);
  }
  static void put_weights(Factor* to, Floats x) {
    const __m256i rounded = (__m256i)_mm512_cvtneps_pbh((__m512)x);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), rounded);
  }
#else
  // Without an instruction for it words are widened as they are read: the first number of each, and
  // the second.
  typedef float Factor;
  struct Column {
    Floats first;
    Floats second;
  };
  static Column column(const uint32_t* words) {
    const Words both = load(words);
    return {(Floats)(both << 16), (Floats)(both & 0xffff0000u)};
  }
  static Floats multiply_add(Floats sum, const Factor* factors, const Column& column) {
    return broadcast(factors[1]) * column.second + (broadcast(factors[0]) * column.first + sum);
  }
  static void put_weights(Factor* to, Floats x) { store(to, x); }
#endif
};

// int32 sums of products of int16 and int8, exact: queries and weights are rounded to multiples of a
// scale, finer than bf16's 8 bits.
struct Int8Dot {
  typedef int8_t Element;
  static constexpr int kPack = 4;
  static constexpr bool kScaled = true;

#if defined(__AVX512VNNI__)
  // There are products of unsigned with signed bytes. So a row of factors is a row of their high bytes
  // and one of their low bytes, and queries are made positive by adding this.
  static constexpr int kQueryOffset = 1 << 15;
  static constexpr int kParts = 2;
  static constexpr int kVectors = 2;
  typedef uint8_t Factor;
  typedef Words Sums;
  typedef Words Column;
  static Column column(const uint32_t* words) { return load(words); }
  static Sums multiply_add(Sums sums, const Factor* factors, Column column) {
    return add_bytes(sums, word_at(factors), column);
  }
  static Words total(Sums high, Sums low) { return (high << 8) + low; }
  // Adds words of keys times the high byte of kQueryOffset; its low byte is 0.
  static Sums add_offset(Sums sums, const uint32_t* words) {
    return add_bytes(sums, static_cast<int32_t>(0x80808080), column(words));
  }
#else
  // An int8 is an int16 by one extension of its sign: the first and third of each word's four, and the
  // second and fourth.
  static constexpr int kQueryOffset = 0;
  static constexpr int kParts = 1;
  static constexpr int kVectors = kMaxVectors;
  typedef int16_t Factor;
  typedef Ints Sums;
  struct Column {
    Shorts even;
    Shorts odd;
  };
  static Column column(const uint32_t* words) {
    Shorts four;
    __builtin_memcpy(&four, words, sizeof four);
    return {(four << 8) >> 8, four >> 8};
  }
  static Sums multiply_add(Sums sums, const Factor* factors, const Column& column) {
    return add_pairs(add_pairs(sums, factors, column.even), factors + 2, column.odd);
  }
  static Words total(Sums sums, Sums) { return (Words)sums; }
#endif

  // The largest factor.
  static constexpr float kMost = 32767.0f;

  // `count` numbers, a multiple of kLanes, as multiples of what it returns.
  static float put_query(Factor* to, int stride, const float* from, int count) {
    Words most = {};
    for (int i = 0; i < count; i += kLanes) most = larger_magnitudes(most, load(from + i));
    const float scale = scale_for(largest_magnitude(most));
    for (int i = 0; i < count; i += kLanes) {
      put(to + i, stride, load(from + i) * (1.0f / scale) + kQueryOffset);
    }
    return scale;
  }

  // What 1 stands for where numbers are up to `most`. So small a one is 0 in what it is multiplied
  // with, and the quotient is finite.
  static float scale_for(float most) { return (most < 1e-30f ? 1e-30f : most) / kMost; }

  // kLanes factors, rounded to integers, and NaN to 0; parts are `stride` apart.
  static void put(Factor* to, int stride, Floats x) {
    // Adding 1.5 * 2^23 leaves the nearest integer in the lowest bits.
    put_integers(to, stride, (Words)(x + 12582912.0f));
  }

 private:
#if defined(__AVX512VNNI__)
  static void put_integers(Factor* to, int stride, Words numbers) {
    // The low bytes of each four numbers and then the high ones; those of all fours beside each other.
    const __m512i bytes = _mm512_broadcast_i32x4(
        _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, -1, -1, -1, -1, -1, -1, -1, -1));
    const __m512i fours = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 2, 2, 2, 2, 2, 2, 2);
    const __m256i both = _mm512_castsi512_si256(
        _mm512_permutexvar_epi32(fours, _mm512_shuffle_epi8((__m512i)numbers, bytes)));
    const auto at = [](Factor* part) { return reinterpret_cast<__m128i*>(part); };
    _mm_storeu_si128(at(to), _mm256_extracti128_si256(both, 1));
    _mm_storeu_si128(at(to + stride), _mm256_castsi256_si128(both));
  }

  static Words add_bytes(Words sum, int32_t four, Column column) {
    return (Words)_mm512_dpbusd_epi32((__m512i)sum, _mm512_set1_epi32(four), (__m512i)column);
  }
#else
  // Of each four numbers the second and the third change places, as in columns.
  static void put_integers(Factor* to, int, Words numbers) {
    typedef uint64_t Fours __attribute__((vector_size(2 * kLanes)));
    const Fours four = (Fours)__builtin_convertvector(numbers, Bf16s);
    const Fours second = four & 0xffff0000, third = (four >> 16) & 0xffff0000;
    const Fours result = (four & 0xffff00000000ffff) | (second << 16) | third;
    __builtin_memcpy(to, &result, sizeof result);
  }

  static Ints add_pairs(Ints sum, const Factor* pair, Shorts column) {
#if defined(__AVX512BW__)
    return sum + (Ints)_mm512_madd_epi16(_mm512_set1_epi32(word_at(pair)), (__m512i)column);
#elif defined(__AVX2__)
    return sum + (Ints)_mm256_madd_epi16(_mm256_set1_epi32(word_at(pair)), (__m256i)column);
#elif defined(__SSE2__)
    return sum + (Ints)_mm_madd_epi16(_mm_set1_epi32(word_at(pair)), (__m128i)column);
#else
    const Ints y = (Ints)column;
    return sum + ((y << 16) >> 16) * pair[0] + (y >> 16) * pair[1];
#endif
  }
#endif
};

// sums[r][v] += row r of `rows` times the columns at `columns[v]`, over `count` words. Inlined, so that
// the sums are in registers: behind a reference they would be stored after every word. ahead(i, v) may
// ask for memory that is read soon: while these products are computed it is on its way.
template <class Compute, int kRows, int kVectors, class Ahead>
inline __attribute__((always_inline)) void multiply(
    typename Compute::Sums (&sums)[kRows][kVectors], const typename Compute::Factor* rows,
    int64_t row_stride, const uint32_t* const (&columns)[kVectors], int64_t column_stride,
    int count, const Ahead& ahead) {
  for (int i = 0; i < count; ++i) {
    for (int v = 0; v < kVectors; ++v) ahead(i, v);
    typename Compute::Column column[kVectors];
    for (int v = 0; v < kVectors; ++v) column[v] = Compute::column(columns[v] + i * column_stride);
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < kVectors; ++v) {
        sums[r][v] =
            Compute::multiply_add(sums[r][v], rows + r * row_stride + i * Compute::kPack, column[v]);
      }
    }
  }
}

}  // namespace plimsoll::PLIMSOLL_ISA
