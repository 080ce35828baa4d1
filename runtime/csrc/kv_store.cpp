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

template <class Element>
void store_heads(const Slots& slots, const NewRows& rows, const Int8Pages& pages, int64_t token,
                 int64_t slot) {
  const auto* from = static_cast<const Element*>(rows.data) + token * rows.stride;
  auto* to = static_cast<int8_t*>(pages.data) + slot * slots.kv_heads * slots.head_dim;
  float* scales = pages.scales + slot * slots.kv_heads;
  for (int64_t h = 0; h < slots.kv_heads; ++h) {
    quantize(from + h * slots.head_dim, slots.head_dim, to + h * slots.head_dim, scales + h);
  }
}

// One token's heads to their places; `kPack` elements make a word.
template <class Element, int kPack>
void store_token(const Slots& slots, const NewRows& key, void* keys, const NewRows& value,
                 void* values, int64_t token, int64_t slot) {
  const auto* new_keys = static_cast<const Element*>(key.data) + token * key.stride;
  const auto* new_values = static_cast<const Element*>(value.data) + token * value.stride;
  const int64_t dims = slots.head_dim, in_block = slot % kBlockTokens;
  for (int64_t h = 0; h < slots.kv_heads; ++h) {
    const int64_t head = (slot / kBlockTokens * slots.kv_heads + h) * kBlockTokens * dims;
    auto* to_keys = static_cast<Element*>(keys) + head + in_block * kPack;
    auto* to_values = static_cast<Element*>(values) + head + in_block / kPack * dims * kPack;
    for (int64_t d = 0; d < dims; d += kPack) {
      std::memcpy(to_keys + d * kBlockTokens, new_keys + h * dims + d, sizeof(uint32_t));
    }
    for (int64_t d = 0; d < dims; ++d) {
      to_values[d * kPack + in_block % kPack] = new_values[h * dims + d];
    }
  }
}

}  // namespace

void store_blocked(const Slots& slots, const NewRows& key, void* keys, const NewRows& value,
                   void* values) {
  each_token(slots, [&](int64_t token, int64_t slot) {
    if (slots.is_bf16) {
      store_token<uint16_t, 2>(slots, key, keys, value, values, token, slot);
    } else {
      store_token<float, 1>(slots, key, keys, value, values, token, slot);
    }
  });
}

void store(const Slots& slots, const NewRows& key, void* keys, const NewRows& value, void* values) {
  const int64_t element = slots.is_bf16 ? 2 : 4;
  const int64_t bytes = slots.kv_heads * slots.head_dim * element;
  const auto copy = [&](void* pages, const NewRows& rows, int64_t token, int64_t slot) {
    std::memcpy(static_cast<char*>(pages) + slot * bytes,
                static_cast<const char*>(rows.data) + token * rows.stride * element,
                static_cast<std::size_t>(bytes));
  };
  each_token(slots, [&](int64_t token, int64_t slot) {
    copy(keys, key, token, slot);
    copy(values, value, token, slot);
  });
}

void store_int8(const Slots& slots, const NewRows& key, const Int8Pages& keys,
                const NewRows& value, const Int8Pages& values) {
  each_token(slots, [&](int64_t token, int64_t slot) {
    if (slots.is_bf16) {
      store_heads<uint16_t>(slots, key, keys, token, slot);
      store_heads<uint16_t>(slots, value, values, token, slot);
    } else {
      store_heads<float>(slots, key, keys, token, slot);
      store_heads<float>(slots, value, values, token, slot);
    }
  });
}

}  // namespace plimsoll
