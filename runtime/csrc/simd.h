// Vectors of fp32 in the compilers' own vector types, and what the kernels do with them.
//
// This file is compiled once for each instruction set, with PLIMSOLL_ISA naming it. All of it lies
// in a namespace of that name: the linker must never take a function that was compiled with AVX-512
// for one that runs everywhere. For the same reason nothing here is a template of the standard
// library.
#pragma once

#include <cstdint>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define PLIMSOLL_LANES 16
#elif defined(__AVX2__)
#define PLIMSOLL_LANES 8
#else
#define PLIMSOLL_LANES 4
#endif

namespace plimsoll::PLIMSOLL_ISA {

constexpr int kLanes = PLIMSOLL_LANES;
// Accumulators for one row of a tile: four rows of them, and what is added, fill the registers.
constexpr int kMaxVectors = kLanes == 16 ? 4 : 2;

typedef float Floats __attribute__((vector_size(4 * kLanes)));
typedef int32_t Ints __attribute__((vector_size(4 * kLanes)));
typedef uint32_t Words __attribute__((vector_size(4 * kLanes)));
typedef uint16_t Bf16s __attribute__((vector_size(2 * kLanes)));
typedef int8_t Int8s __attribute__((vector_size(kLanes)));
typedef int16_t Shorts __attribute__((vector_size(4 * kLanes)));

inline Floats load(const float* from) {
  Floats result;
  __builtin_memcpy(&result, from, sizeof result);
  return result;
}

inline void store(float* to, Floats x) { __builtin_memcpy(to, &x, sizeof x); }

// x - 0 is x for every x, so that this is one instruction.
inline Floats broadcast(float x) { return x - Floats{}; }

// NaN in x is kept.
inline Floats at_least(Floats x, Floats low) { return x < low ? low : x; }

inline float largest(Floats x) {
#if defined(__AVX512F__)
  return _mm512_reduce_max_ps((__m512)x);
#else
  float result = x[0];
  for (int i = 1; i < kLanes; ++i) result = x[i] > result ? x[i] : result;
  return result;
#endif
}

// Magnitudes' bits are ordered as these are, with infinity and then NaN at the end.
inline Words larger_magnitudes(Words most, Floats x) {
  const Words bits = (Words)x & 0x7fffffff;
  return bits > most ? bits : most;
}

inline float largest_magnitude(Words most) {
#if defined(__AVX512F__)
  const uint32_t bits = _mm512_reduce_max_epu32((__m512i)most);
#else
  uint32_t bits = most[0];
  for (int i = 1; i < kLanes; ++i) bits = most[i] > bits ? most[i] : bits;
#endif
  float result;
  __builtin_memcpy(&result, &bits, sizeof result);
  return result;
}

inline float sum(Floats x) {
  float result = 0;
  for (int i = 0; i < kLanes; ++i) result += x[i];
  return result;
}

// 2^x for x <= 0, exactly 0 below the normal numbers. Taylor's series of 2^f for |f| <= 1/2 to the
// sixth power, whose relative error is below 2e-7.
inline Floats exp2_of_negative(Floats x) {
#if defined(__AVX512DQ__)
  const Floats f = (Floats)_mm512_reduce_ps((__m512)x, _MM_FROUND_TO_NEAREST_INT);
#else
  const Floats clamped = at_least(x, broadcast(-126.0f));
  // Adding 1.5 * 2^23 leaves the nearest integer in the lowest bits.
  const Floats shifted = clamped + 12582912.0f;
  const Floats f = clamped - (shifted - 12582912.0f);
#endif
  Floats power = broadcast(1.5403530e-4f);
  power = power * f + 1.3333558e-3f;
  power = power * f + 9.6181291e-3f;
  power = power * f + 5.5504109e-2f;
  power = power * f + 2.4022651e-1f;
  power = power * f + 6.9314718e-1f;
  power = power * f + 1.0f;
#if defined(__AVX512DQ__)
  const __mmask16 normal = _mm512_cmp_ps_mask((__m512)x, _mm512_set1_ps(-126.0f), _CMP_NLT_UQ);
  return (Floats)_mm512_maskz_scalef_ps(normal, (__m512)power, (__m512)(x - f));
#else
  // Its bits moved up, and the exponent's bias, are the float 2^integer. NaN stays NaN.
  const Floats scale = (Floats)(((Ints)shifted + 127) << 23);
  return x < -126.0f ? Floats{} : power * scale;
#endif
}

// kLanes of 16 bits, with zeros before them.
inline Words load_halves(const void* from) {
#if defined(__AVX512F__)
  // GCC would make two vectors of half the length, and put them together.
  return (Words)_mm512_cvtepu16_epi32(_mm256_loadu_si256(static_cast<const __m256i*>(from)));
#else
  Bf16s halves;
  __builtin_memcpy(&halves, from, sizeof halves);
  return __builtin_convertvector(halves, Words);
#endif
}

// bf16 is the upper half of an fp32.
inline Floats load(const uint16_t* from) { return (Floats)(load_halves(from) << 16); }

#if !defined(__AVX512BF16__)
// Words whose upper halves are x in bf16: to the nearest, ties to even; NaN stays NaN.
inline Words rounded_in_upper_halves(Floats x) {
  const Words bits = (Words)x;
  return x != x ? bits | 0x400000 : bits + 0x7fff + ((bits >> 16) & 1);
}
#endif

// To the nearest, ties to even; NaN stays NaN. What is below the normal numbers may become 0.
inline void store(uint16_t* to, Floats x) {
#if defined(__AVX512BF16__)
  const __m256i result = (__m256i)_mm512_cvtneps_pbh((__m512)x);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), result);
#elif defined(__AVX512F__)
  // GCC would take a permutation of all halves, which is slower.
  const __m512i bits = (__m512i)(rounded_in_upper_halves(x) >> 16);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtepi32_epi16(bits));
#else
  const Bf16s result = __builtin_convertvector(rounded_in_upper_halves(x) >> 16, Bf16s);
  __builtin_memcpy(to, &result, sizeof result);
#endif
}

// As it is after a store and a load.
template <class Element>
Floats as_stored(Floats x) {
#if !defined(__AVX512BF16__)
  if constexpr (sizeof(Element) == 2) return (Floats)(rounded_in_upper_halves(x) & 0xffff0000u);
#endif
  Element stored[kLanes];
  store(stored, x);
  return load(stored);
}

// The first `count` of kLanes, the others zeros.
template <class Element>
Floats load_some(const Element* from, int64_t count) {
  if (count >= kLanes) return load(from);
  Element some[kLanes] = {};
  for (int64_t i = 0; i < count; ++i) some[i] = from[i];
  return load(some);
}

template <class Element>
void store_some(Element* to, Floats x, int64_t count) {
  if (count >= kLanes) {
    store(to, x);
    return;
  }
  Element some[kLanes];
  store(some, x);
  for (int64_t i = 0; i < count; ++i) to[i] = some[i];
}

inline Words load(const uint32_t* from) {
  Words result;
  __builtin_memcpy(&result, from, sizeof result);
  return result;
}

inline void store(uint32_t* to, Words x) { __builtin_memcpy(to, &x, sizeof x); }

// Of numbers with a sign.
inline Floats to_floats(Words x) { return __builtin_convertvector((Ints)x, Floats); }

// kLanes of them.
inline Ints load_int8(const int8_t* from) {
#if defined(__AVX512F__)
  return (Ints)_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
#elif defined(__AVX2__)
  return (Ints)_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)));
#else
  Ints result;
  for (int i = 0; i < kLanes; ++i) result[i] = from[i];
  return result;
#endif
}

// The word that begins at some numbers of a row.
template <class Element>
int32_t word_at(const Element* from) {
  int32_t word;
  __builtin_memcpy(&word, from, sizeof word);
  return word;
}

// The first `count` of a row's elements, in the type that they are computed in.
template <class To, class From>
void copy(To* to, const From* from, int count) {
  int i = 0;
  for (; i + kLanes <= count; i += kLanes) store(to + i, load(from + i));
  if (i == count) return;
  From in[kLanes] = {};
  To out[kLanes];
  for (int j = 0; j < count - i; ++j) in[j] = from[i + j];
  store(out, load(in));
  for (int j = 0; j < count - i; ++j) to[i + j] = out[j];
}

// The same without a change of type.
template <class Element>
void copy(Element* to, const Element* from, int count) {
  constexpr int kAtOnce = 32 / sizeof(Element);
  int i = 0;
  for (; i + kAtOnce <= count; i += kAtOnce) __builtin_memcpy(to + i, from + i, 32);
  for (; i < count; ++i) to[i] = from[i];
}

// Turns 32-bit words around: to[c * to_stride + r] = rows[r][first + c], for kLanes rows and columns.
inline void transpose(const uint32_t* const* rows, int first, uint32_t* to, int64_t to_stride) {
#if defined(__AVX512F__)
  __m512i a[16], b[16];
  for (int i = 0; i < 16; ++i) a[i] = _mm512_loadu_si512(rows[i] + first);
  for (int i = 0; i < 16; i += 2) {
    b[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]);
    b[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    a[i] = _mm512_unpacklo_epi64(b[i], b[i + 2]);
    a[i + 1] = _mm512_unpackhi_epi64(b[i], b[i + 2]);
    a[i + 2] = _mm512_unpacklo_epi64(b[i + 1], b[i + 3]);
    a[i + 3] = _mm512_unpackhi_epi64(b[i + 1], b[i + 3]);
  }
  // a[4g + c] holds columns c, c + 4, c + 8 and c + 12 of rows 4g to 4g + 3.
  for (int c = 0; c < 4; ++c) {
    const __m512i low01 = _mm512_shuffle_i32x4(a[c], a[4 + c], 0x88);
    const __m512i low23 = _mm512_shuffle_i32x4(a[8 + c], a[12 + c], 0x88);
    const __m512i high01 = _mm512_shuffle_i32x4(a[c], a[4 + c], 0xdd);
    const __m512i high23 = _mm512_shuffle_i32x4(a[8 + c], a[12 + c], 0xdd);
    _mm512_storeu_si512(to + c * to_stride, _mm512_shuffle_i32x4(low01, low23, 0x88));
    _mm512_storeu_si512(to + (c + 4) * to_stride, _mm512_shuffle_i32x4(high01, high23, 0x88));
    _mm512_storeu_si512(to + (c + 8) * to_stride, _mm512_shuffle_i32x4(low01, low23, 0xdd));
    _mm512_storeu_si512(to + (c + 12) * to_stride, _mm512_shuffle_i32x4(high01, high23, 0xdd));
  }
#elif defined(__AVX2__)
  __m256i a[8], b[8];
  for (int i = 0; i < 8; ++i) {
    a[i] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(rows[i] + first));
  }
  for (int i = 0; i < 8; i += 2) {
    b[i] = _mm256_unpacklo_epi32(a[i], a[i + 1]);
    b[i + 1] = _mm256_unpackhi_epi32(a[i], a[i + 1]);
  }
  for (int i = 0; i < 8; i += 4) {
    a[i] = _mm256_unpacklo_epi64(b[i], b[i + 2]);
    a[i + 1] = _mm256_unpackhi_epi64(b[i], b[i + 2]);
    a[i + 2] = _mm256_unpacklo_epi64(b[i + 1], b[i + 3]);
    a[i + 3] = _mm256_unpackhi_epi64(b[i + 1], b[i + 3]);
  }
  // a[4g + c] holds columns c and c + 4 of rows 4g to 4g + 3.
  for (int c = 0; c < 4; ++c) {
    const __m256i low = _mm256_permute2x128_si256(a[c], a[4 + c], 0x20);
    const __m256i high = _mm256_permute2x128_si256(a[c], a[4 + c], 0x31);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + c * to_stride), low);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + (c + 4) * to_stride), high);
  }
#else
  for (int r = 0; r < kLanes; ++r) {
    for (int c = 0; c < kLanes; ++c) to[c * to_stride + r] = rows[r][first + c];
  }
#endif
}

}  // namespace plimsoll::PLIMSOLL_ISA
