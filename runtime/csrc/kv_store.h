// Writes new keys and values to their places in the cache.
#pragma once

#include <cstdint>

namespace plimsoll {

// Keys or values of new tokens, `stride` elements apart.
struct NewRows {
  const void* data;
  int64_t stride;
};

// Where they go: the i-th to slot `slots[i]`. A token has `kv_heads` heads of `head_dim` elements.
struct Slots {
  const int64_t* slots;
  int64_t count;
  int64_t kv_heads;
  int64_t head_dim;
  bool is_bf16;
  int threads;
};

// Pages in int8 and their scales [slots, kv_heads].
struct Int8Pages {
  void* data;
  float* scales;
};

// Tokens whose keys and values are laid out together.
constexpr int64_t kBlockTokens = 16;

// Copies them to pages of the same type, laid out for the vector units: for kBlockTokens tokens and a
// head, keys are [words of a row, tokens], and values [tokens / 2, head_dim, 2] in bf16 and
// [tokens, head_dim] in fp32. A word is 4 bytes.
void store_blocked(const Slots& slots, const NewRows& key, void* keys, const NewRows& value,
                   void* values);

// Copies them to pages of the same type, row by row.
void store(const Slots& slots, const NewRows& key, void* keys, const NewRows& value, void* values);

// Rounds each head's elements to multiples of its scale, which is their largest magnitude / 127.
// NaN and infinity make a scale of theirs, so that whoever reads the head meets them.
void store_int8(const Slots& slots, const NewRows& key, const Int8Pages& keys,
                const NewRows& value, const Int8Pages& values);

}  // namespace plimsoll
