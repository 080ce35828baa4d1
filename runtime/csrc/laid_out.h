// Keys and values of a KV head that lie in the pages as rows, laid out for the vector units.
//
// Compiled once for each instruction set, as simd.h is.
#pragma once

#include "attention.h"
#include "pages.h"
#include "dot.h"

namespace plimsoll::PLIMSOLL_ISA {

// A row of `head_dim` elements, followed by zeros up to its padding.
template <class Element, class Stored>
void copy_row(Element* to, const Stored* from, int head_dim, int width) {
  copy(to, from, head_dim);
  for (int d = head_dim; d < width; ++d) to[d] = Element{};
}

// Up to kTileKeys of them, in words of Compute; `Stored` is what the pages hold.
template <class Of, class Stored>
class LaidOut {
 public:
  typedef Of Compute;
  // Rows whose sums are in registers at a time.
  static constexpr int kBlockRows = 4;
  // From a word of a key to its next.
  static constexpr int kKeyStride = kTileKeys;
  // Words of the same dimension's values that lie padded(head_dim) apart.
  static constexpr int kRun = kTileKeys / Compute::kPack;

  LaidOut(const Cache& cache, const Tile& tile)
      : pages_(cache, tile),
        cache_(cache),
        head_dim_(static_cast<int>(cache.head_dim)),
        width_(static_cast<int>(padded(cache.head_dim))) {}

  // Takes the keys and values from the sequence's position `first` on, a multiple of kTileKeys.
  void read(int64_t first, int keys) {
    find_rows(cache_.keys, first, keys);
    lay_out_keys(keys);
    find_rows(cache_.values, first, keys);
    lay_out_values(keys);
    if constexpr (Compute::kScaled) {
      gather(cache_.key_scales, first, keys, key_scales_);
      gather(cache_.value_scales, first, keys, value_scales_);
    }
  }

  // What will be read next.
  void prefetch(int64_t first, int keys) const { pages_.prefetch(first, keys); }
  void prefetch_values(int, int) const {}
  void prefetch_keys(int, int) const {}

  // The first words of keys from `key` on, side by side.
  const uint32_t* keys(int key) const { return keys_ + key; }
  // All dimensions of the values that are word `word`, a multiple of kRun.
  const uint32_t* values(int) const { return values_; }
  // Of each key, and of its value. There are some only where products are to be scaled.
  const float* key_scales() const { return key_scales_; }
  const float* value_scales() const { return value_scales_; }

 private:
  typedef typename Compute::Element Element;

  // Where each row is: in the pages themselves if it can be used as it is there. Beyond the last
  // are zeros, since other requests may have left NaN in the pages.
  void find_rows(const void* pages, int64_t first, int keys) {
    constexpr bool kSameType = sizeof(Stored) == sizeof(Element);
    if (kSameType && head_dim_ == width_) {
      pages_.each_row(pages, first, keys, [&](int k, const Stored* row) {
        rows_[k] = reinterpret_cast<const Element*>(row);
      });
    } else {
      pages_.each_row(pages, first, keys, [&](int k, const Stored* row) {
        copy_row(copies_ + k * width_, row, head_dim_, width_);
        rows_[k] = copies_ + k * width_;
      });
    }
    for (int k = keys; k < kTileKeys; ++k) rows_[k] = zeros_;
  }

  void lay_out_keys(int keys) {
    const auto* words = reinterpret_cast<const uint32_t* const*>(rows_);
    const int row_words = width_ / Compute::kPack;
    for (int k = 0; k < keys; k += kLanes) {
      int d = 0;
      for (; d + kLanes <= row_words; d += kLanes) {
        transpose(words + k, d, keys_ + d * kTileKeys + k, kTileKeys);
      }
      for (; d < row_words; ++d) {
        for (int i = 0; i < kLanes; ++i) keys_[d * kTileKeys + k + i] = words[k + i][d];
      }
    }
  }

  void lay_out_values(int keys) {
    if constexpr (Compute::kPack == 1) {
      for (int k = 0; k < (keys + 1) / 2 * 2; ++k) {
        copy(reinterpret_cast<float*>(values_) + k * width_, rows_[k], width_);
      }
    }
    if constexpr (Compute::kPack == 4) {
      for (int k = 0; k < keys; k += 4) {
        for (int d = 0; d < width_; d += kLanes) {
          const Ints words = (load_int8(rows_[k] + d) & 0xff) |
                             (load_int8(rows_[k + 1] + d) & 0xff) << 8 |
                             (load_int8(rows_[k + 2] + d) & 0xff) << 16 |
                             load_int8(rows_[k + 3] + d) << 24;
          __builtin_memcpy(values_ + k / 4 * width_ + d, &words, sizeof words);
        }
      }
    }
#if defined(__AVX512BF16__)
    if constexpr (Compute::kPack == 2) {
      const __m512i order = _mm512_set_epi16(
          31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4,
          19, 3, 18, 2, 17, 1, 16, 0);
      for (int k = 0; k < keys; k += 2) {
        for (int d = 0; d < width_; d += 16) {
          const auto* even = reinterpret_cast<const __m256i*>(rows_[k] + d);
          const auto* odd = reinterpret_cast<const __m256i*>(rows_[k + 1] + d);
          const __m512i both = _mm512_inserti64x4(
              _mm512_castsi256_si512(_mm256_loadu_si256(even)), _mm256_loadu_si256(odd), 1);
          _mm512_storeu_si512(values_ + k / 2 * width_ + d, _mm512_permutexvar_epi16(order, both));
        }
      }
    }
#endif
  }

  void gather(const float* scales, int64_t first, int keys, float* to) const {
    pages_.each_scale(scales, first, keys, [&](int k, const float* scale) { to[k] = *scale; });
    for (int k = keys; k < kTileKeys; ++k) to[k] = 0;
  }

  const Pages<Stored> pages_;
  const Cache& cache_;
  const int head_dim_;
  const int width_;
  alignas(64) static constexpr Element zeros_[kMaxHeadDim] = {};
  const Element* rows_[kTileKeys];
  alignas(64) Element copies_[kTileKeys * kMaxHeadDim];
  alignas(64) uint32_t keys_[kMaxHeadDim / Compute::kPack * kTileKeys];
  alignas(64) uint32_t values_[kTileKeys / Compute::kPack * kMaxHeadDim];
  alignas(64) float key_scales_[kTileKeys];
  alignas(64) float value_scales_[kTileKeys];
};

}  // namespace plimsoll::PLIMSOLL_ISA
