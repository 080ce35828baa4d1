// Keys and values of a KV head in int8, laid out for the vector units as int16.
//
// Compiled once for each instruction set, as simd.h is.
#pragma once

#include "attention.h"
#include "laid_out.h"

namespace plimsoll::PLIMSOLL_ISA {

// As LaidOut; scales are left to whoever has the products.
class Int8LaidOut {
 public:
  typedef Int16Dot Compute;
  typedef Compute::Element Element;
  static constexpr bool kScaled = true;
  static constexpr int kKeyStride = kTileKeys;
  static constexpr int kRun = kTileKeys / Compute::kPack;

  Int8LaidOut(const Cache& cache, const Tile& tile)
      : pages_(cache, tile),
        cache_(cache),
        head_dim_(static_cast<int>(cache.head_dim)),
        width_(static_cast<int>(padded(cache.head_dim))),
        row_bytes_((head_dim_ + kWordBytes - 1) / kWordBytes * kWordBytes) {}

  // Returns the scale. Of each four elements the second and the third change places, as in keys.
  template <class Row>
  static float put_query(Element* to, const Row* from, int head_dim, int width) {
    alignas(64) float numbers[kMaxHeadDim] = {};
    copy(numbers, from, head_dim);
    for (int d = 1; d < width; d += 4) {
      const float second = numbers[d];
      numbers[d] = numbers[d + 1];
      numbers[d + 1] = second;
    }
    return Compute::quantize(to, numbers, width);
  }

  void read(int64_t first, int keys) {
    find_rows(cache_.keys, first, keys);
    lay_out_keys(keys);
    find_rows(cache_.values, first, keys);
    lay_out_values(keys);
    gather(cache_.key_scales, first, keys, key_scales_);
    gather(cache_.value_scales, first, keys, value_scales_);
  }

  void prefetch(int64_t first, int keys) const { pages_.prefetch(first, keys); }

  const uint32_t* keys(int key) const { return keys_ + key; }
  const uint32_t* values(int) const { return values_; }
  // Of each key, and of its value; 0 beyond the last.
  const float* key_scales() const { return key_scales_; }
  const float* value_scales() const { return value_scales_; }

 private:
  // Bytes of a row that are turned around at a time.
  static constexpr int kWordBytes = 4 * kLanes;

  // In the pages themselves where a row may be read up to its padding.
  void find_rows(const void* pages, int64_t first, int keys) {
    if (head_dim_ == row_bytes_) {
      pages_.each_row(pages, first, keys, [&](int k, const int8_t* row) { rows_[k] = row; });
    } else {
      pages_.each_row(pages, first, keys, [&](int k, const int8_t* row) {
        copy_row(copies_ + k * row_bytes_, row, head_dim_, row_bytes_);
        rows_[k] = copies_ + k * row_bytes_;
      });
    }
    for (int k = keys; k < kTileKeys; ++k) rows_[k] = zeros_;
  }

  void lay_out_keys(int keys) {
    const auto* words = reinterpret_cast<const uint32_t* const*>(rows_);
    alignas(64) uint32_t turned[kLanes * kLanes];
    for (int k = 0; k < keys; k += kLanes) {
      for (int d = 0; d < width_ / 4; d += kLanes) {
        transpose(words + k, d, turned, kLanes);
        uint32_t* to = keys_ + 2 * d * kTileKeys + k;
        for (int i = 0; i < smaller(kLanes, width_ / 4 - d); ++i, to += 2 * kTileKeys) {
          // Four int8 of a key: the first and third as int16, then the second and fourth.
          Shorts four;
          __builtin_memcpy(&four, turned + i * kLanes, sizeof four);
          const Shorts even = (four << 8) >> 8, odd = four >> 8;
          __builtin_memcpy(to, &even, sizeof even);
          __builtin_memcpy(to + kTileKeys, &odd, sizeof odd);
        }
      }
    }
  }

  void lay_out_values(int keys) {
    for (int k = 0; k < keys; k += 2) {
      for (int d = 0; d < width_; d += kLanes) {
        const Ints even = load_int8(rows_[k] + d), odd = load_int8(rows_[k + 1] + d);
        const Ints both = (even & 0xffff) | (odd << 16);
        __builtin_memcpy(values_ + k / 2 * width_ + d, &both, sizeof both);
      }
    }
  }

  void gather(const float* scales, int64_t first, int keys, float* to) const {
    pages_.each_scale(scales, first, keys, [&](int k, const float* scale) { to[k] = *scale; });
    for (int k = keys; k < kTileKeys; ++k) to[k] = 0;
  }

  const Pages<int8_t> pages_;
  const Cache& cache_;
  const int head_dim_;
  const int width_;
  const int row_bytes_;
  alignas(64) static constexpr int8_t zeros_[kMaxHeadDim] = {};
  const int8_t* rows_[kTileKeys];
  alignas(64) int8_t copies_[kTileKeys * kMaxHeadDim];
  alignas(64) uint32_t keys_[kMaxHeadDim / 2 * kTileKeys];
  alignas(64) uint32_t values_[kTileKeys / 2 * kMaxHeadDim];
  alignas(64) float key_scales_[kTileKeys];
  alignas(64) float value_scales_[kTileKeys];
};

}  // namespace plimsoll::PLIMSOLL_ISA
