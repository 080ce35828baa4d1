// All decoder layers of a step in one call: what model/llama.py does layer by layer, by the same
// kernels in the same order, so that the numbers are the same bits.

#include <cstdint>

#include "layer.h"
#include "paged_step.h"
#include "product.h"

namespace plimsoll {
namespace {

struct Linear {
  const PackedWeight* weight;
  const void* bias;
};

// The structures of model/decoder.py.
struct DecoderLayer {
  const void* input_norm;
  const void* post_attention_norm;
  const void* query_norm;  // null where heads are not normed
  const void* key_norm;
  Linear qkv;
  Linear out;
  Linear gate_up;
  Linear down;
};

struct Decoder {
  const DecoderLayer* layers;
  int64_t num_layers;
  int64_t hidden;
  int64_t heads;
  int64_t kv_heads;
  int64_t head_dim;
  int64_t inner;
  float eps;
  int32_t how;  // the instruction set, times two, plus one for bf16
};

// Rows of a step between two calls, one after the other.
struct Buffers {
  char* normed;    // hidden
  char* qkv;       // (heads + 2 * kv_heads) * head_dim
  char* attended;  // heads * head_dim
  char* added;     // hidden
  char* gate_up;   // 2 * inner
  char* inner;     // inner
  // What int8 weights are multiplied with: words of the widest input, and a scale.
  uint32_t* quantized;
  float* scales;
};

class Step {
 public:
  Step(const Decoder& model, const Buffers& at, int64_t rows, int threads)
      : model_(model), at_(at), rows_(rows), threads_(threads) {}

  bool layer(const DecoderLayer& layer, int64_t index, const PagedStep* step, const float* table,
             char* x, bool first) const {
    const int64_t query = model_.heads * model_.head_dim;
    const int64_t key = model_.kv_heads * model_.head_dim;
    norm(x, first ? nullptr : at_.added, layer.input_norm);
    multiply(layer.qkv, at_.normed, model_.hidden, at_.qkv);
    char* keys = at_.qkv + query * element();
    if (layer.query_norm != nullptr) {
      norm_heads(at_.qkv, layer.query_norm, model_.heads);
      norm_heads(keys, layer.key_norm, model_.kv_heads);
    }
    plimsoll_rotate(at_.qkv, query + 2 * key, table, rows_, model_.heads + model_.kv_heads,
                    model_.head_dim, model_.how, threads_);
    if (plimsoll_paged_attention(step, index, at_.qkv, query + 2 * key, keys, query + 2 * key,
                                 keys + key * element(), query + 2 * key, at_.attended) != 0) {
      return false;
    }
    multiply(layer.out, at_.attended, query, at_.added);
    norm(x, at_.added, layer.post_attention_norm);
    multiply(layer.gate_up, at_.normed, model_.hidden, at_.gate_up);
    plimsoll_silu_and_mul(at_.inner, at_.gate_up, 2 * model_.inner, rows_, model_.inner, model_.how,
                          threads_);
    multiply(layer.down, at_.inner, model_.inner, at_.added);
    return true;
  }

 private:
  int64_t element() const { return model_.how % 2 != 0 ? 2 : 4; }

  void norm(char* x, char* added, const void* weight) const {
    plimsoll_rms_norm(at_.normed, x, model_.hidden, added, model_.hidden, weight, model_.eps, rows_,
                      model_.hidden, model_.how, threads_);
  }

  void norm_heads(char* heads, const void* weight, int64_t count) const {
    const int64_t stride = (model_.heads + 2 * model_.kv_heads) * model_.head_dim;
    plimsoll_norm_heads(heads, stride, weight, model_.eps, rows_, count, model_.head_dim,
                        model_.how, threads_);
  }

  void multiply(const Linear& linear, const char* x, int64_t inputs, char* out) const {
    if (linear.weight->format == kInt8) {
      plimsoll_multiply_int8(linear.weight, x, inputs, model_.how % 2, rows_, inputs,
                             at_.quantized, at_.scales, linear.bias, out, linear.weight->outputs,
                             model_.how % 2, threads_);
      return;
    }
    plimsoll_multiply(linear.weight, reinterpret_cast<const uint32_t*>(x),
                      inputs * element() / 4, rows_, nullptr, linear.bias, out,
                      linear.weight->outputs, model_.how % 2, threads_);
  }

  const Decoder& model_;
  const Buffers& at_;
  int64_t rows_;
  int threads_;
};

}  // namespace
}  // namespace plimsoll

// From embeddings `x` [rows, hidden] to the last layer's, in place but for the last summand, which
// is left in `added`. Returns 0, or 1 when there is not enough memory.
extern "C" __attribute__((visibility("default"))) int plimsoll_decode(
    const plimsoll::Decoder* model, const plimsoll::PagedStep* step, const float* table, char* x,
    const plimsoll::Buffers* buffers, int64_t rows, int threads) {
  const plimsoll::Step here(*model, *buffers, rows, threads);
  for (int64_t i = 0; i < model->num_layers; ++i) {
    if (!here.layer(model->layers[i], i, step, table, x, i == 0)) return 1;
  }
  return 0;
}
