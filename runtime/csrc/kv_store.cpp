#include "kv_store.h"

#include <cstddef>
#include <cstring>

#include "threads.h"

namespace plimsoll {

// Rows that one thread copies at a time: fewer would not pay for waking another one.
constexpr int64_t kRows = 64;

void store_kv(char* keys, char* values, const char* new_keys, int64_t key_stride,
              const char* new_values, int64_t value_stride, const int64_t* slots, int64_t count,
              int64_t row_bytes, int threads) {
  const auto bytes = static_cast<std::size_t>(row_bytes);
  parallel_for((count + kRows - 1) / kRows, threads, [&](int64_t chunk) {
    const int64_t begin = chunk * kRows;
    const int64_t end = begin + kRows < count ? begin + kRows : count;
    for (int64_t i = begin; i < end; ++i) {
      std::memcpy(keys + slots[i] * row_bytes, new_keys + i * key_stride, bytes);
      std::memcpy(values + slots[i] * row_bytes, new_values + i * value_stride, bytes);
    }
  });
}

}  // namespace plimsoll
