#include "kv_store.h"

#include <cfloat>
#include <cstddef>
#include <cstring>

#include "threads.h"

namespace plimsoll {
namespace {

// Tokens that one thread stores at a time: fewer would not pay for waking another one.
constexpr int64_t kTokens = 16;

// body(token, slot) for all.
template <class Body>
void each_token(const Slots& slots, const Body& body) {
  parallel_for((slots.count + kTokens - 1) / kTokens, slots.threads, [&](int64_t chunk) {
    const int64_t begin = chunk * kTokens;
    const int64_t end = begin + kTokens < slots.count ? begin + kTokens : slots.count;
    for (int64_t i = begin; i < end; ++i) body(i, slots.slots[i]);
  });
}

float number(float x) { return x; }

float number(uint16_t bf16) {
  const uint32_t bits = static_cast<uint32_t>(bf16) << 16;
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

int32_t bits_of(float x) {
  int32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

// Every operation here is exact or rounded once, so that vectors of any length give the same bits.
template <class Element>
void quantize(const Element* from, int64_t count, int8_t* to, float* scale) {
  // The bits of magnitudes are ordered as these are, with infinity and then NaN at the end.
  int32_t largest = 0;
  for (int64_t d = 0; d < count; ++d) {
    const int32_t bits = bits_of(number(from[d])) & 0x7fffffff;
    largest = bits > largest ? bits : largest;
  }
  float magnitude;
  std::memcpy(&magnitude, &largest, sizeof magnitude);
  const float exact = magnitude / 127.0f;
  // Normal, so that no quotient overflows.
  *scale = exact < FLT_MIN ? FLT_MIN : exact;
  for (int64_t d = 0; d < count; ++d) {
    // Adding 1.5 * 2^23 leaves the nearest integer, ties to even, in the lowest bits; NaN leaves 0.
    to[d] = static_cast<int8_t>(bits_of(number(from[d]) / *scale + 12582912.0f));
  }
}

// Where a head's key and value go in pages of rows, and its scales.
struct Rows {
  static int64_t scale(const Slots& slots, int64_t slot, int64_t head) {
    return slot * slots.kv_heads + head;
  }

  template <class Element>
  static void put(const Slots& slots, int64_t slot, int64_t head, const Element* key, void* keys,
                  const Element* value, void* values) {
    const int64_t dims = slots.head_dim, at = (slot * slots.kv_heads + head) * dims;
    const auto bytes = static_cast<std::size_t>(dims) * sizeof(Element);
    std::memcpy(static_cast<Element*>(keys) + at, key, bytes);
    std::memcpy(static_cast<Element*>(values) + at, value, bytes);
  }
};

// The same in blocked pages.
struct Blocks {
  static int64_t scale(const Slots& slots, int64_t slot, int64_t head) {
    return (slot / kBlockTokens * slots.kv_heads + head) * kBlockTokens + slot % kBlockTokens;
  }

  template <class Element>
  static void put(const Slots& slots, int64_t slot, int64_t head, const Element* key, void* keys,
                  const Element* value, void* values) {
    constexpr int64_t kPack = sizeof(uint32_t) / sizeof(Element);
    const int64_t dims = slots.head_dim, in_block = slot % kBlockTokens;
    const int64_t at = (slot / kBlockTokens * slots.kv_heads + head) * kBlockTokens * dims;
    auto* to_keys = static_cast<Element*>(keys) + at + in_block * kPack;
    for (int64_t d = 0; d < dims; d += kPack) {
      std::memcpy(to_keys + d * kBlockTokens, key + d, sizeof(uint32_t));
    }
    auto* to_values = static_cast<Element*>(values) + at + in_block / kPack * dims * kPack;
    for (int64_t d = 0; d < dims; ++d) to_values[d * kPack + in_block % kPack] = value[d];
  }
};

template <class Places, class Element>
void store(const Slots& slots, const NewRows& key, const LayerPages& keys, const NewRows& value,
           const LayerPages& values) {
  each_token(slots, [&](int64_t token, int64_t slot) {
    const auto* new_keys = static_cast<const Element*>(key.data) + token * key.stride;
    const auto* new_values = static_cast<const Element*>(value.data) + token * value.stride;
    for (int64_t h = 0; h < slots.kv_heads; ++h) {
      const Element* from_key = new_keys + h * slots.head_dim;
      const Element* from_value = new_values + h * slots.head_dim;
      if (keys.scales == nullptr) {
        Places::put(slots, slot, h, from_key, keys.data, from_value, values.data);
        continue;
      }
      int8_t rounded_key[kMaxHeadDim], rounded_value[kMaxHeadDim];
      const int64_t scale = Places::scale(slots, slot, h);
      quantize(from_key, slots.head_dim, rounded_key, keys.scales + scale);
      quantize(from_value, slots.head_dim, rounded_value, values.scales + scale);
      Places::put(slots, slot, h, rounded_key, keys.data, rounded_value, values.data);
    }
  });
}

}  // namespace

void store(PageFormat format, const Slots& slots, const NewRows& key, const LayerPages& keys,
           const NewRows& value, const LayerPages& values) {
  const bool blocked = format == kBlockedPages || format == kInt8BlockedPages;
  const auto by_element = slots.is_bf16 ? (blocked ? store<Blocks, uint16_t> : store<Rows, uint16_t>)
                                        : (blocked ? store<Blocks, float> : store<Rows, float>);
  by_element(slots, key, keys, value, values);
}

}  // namespace plimsoll
