// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// The arithmetic of training, as one table of kernels per device. A table is a
// plain value: a test may swap one entry for another.
//
// Legend   T tokens of a micro-batch (sequences x length), S length of a
//          sequence, C width, H heads, G key-value heads, D width of a head,
//          F width of the feed-forward part, V vocabulary.
// Shape    row-major; a `stride` is in elements between rows, at least the row.
// Types    `dtype` is the compute type (fp32 or bf16) of every void pointer
//          unless a field says otherwise; float pointers are fp32. Arithmetic and
//          sums are fp32 in both.
// Alignment 4 bytes; 64 is fast. Sizes may be 0.
// Ownership the caller keeps all memory alive until the queue has run the call.
// Aliasing  outputs overlap nothing else unless a field says so.
// Async     a kernel is enqueued and returns at once.
// Determinism  results depend on the arguments alone: never on threads, or on
//          what runs beside. Sums are cut into fixed chunks.
// Accumulators  `accumulate` false overwrites, true adds to what is there.

#include <cstdint>
#include <string>
#include <vector>

#include "devices/accelerator.h"
#include "devices/base/dtype.h"

namespace sluice {

// c[m,n] = a[m,k] * b[k,n] (+ bias[n]) (+ c). A transposed operand is stored
// [k,m] or [n,k]. bias has type `dtype` or is null. c has type `output`.
struct Matmul {
  std::int64_t m = 0, n = 0, k = 0;
  const void* a = nullptr;
  std::int64_t a_stride = 0;
  bool a_transposed = false;
  const void* b = nullptr;
  std::int64_t b_stride = 0;
  bool b_transposed = false;
  const void* bias = nullptr;
  void* c = nullptr;
  std::int64_t c_stride = 0;
  DType dtype = DType::kFloat32;   // of a, b, bias
  DType output = DType::kFloat32;  // of c
  bool accumulate = false;
};

// gradient[n] (+)= sum over rows of x[rows,n].
struct ColumnSum {
  std::int64_t rows = 0, n = 0;
  const void* x = nullptr;
  std::int64_t stride = 0;
  float* gradient = nullptr;
  DType dtype = DType::kFloat32;
  bool accumulate = false;
};

// LayerNorm (Ba, Kiros, Hinton 2016) where shift or `layer_norm` says so, else
// RMSNorm (Zhang, Sennrich 2019). y[rows,n]. mean (LayerNorm only) and
// reciprocal [rows] are kept for backward. Where residual is not null it is of x + residual, as Add
// gives it, which is kept in sum[rows,n] (may be the memory of either).
struct Norm {
  std::int64_t rows = 0, n = 0;
  bool layer_norm = true;
  float epsilon = 1e-5F;
  const void* x = nullptr;
  const void* residual = nullptr;
  void* sum = nullptr;
  const void* scale = nullptr;
  const void* shift = nullptr;  // null: none
  void* y = nullptr;
  float* mean = nullptr;
  float* reciprocal = nullptr;  // 1 / standard deviation, or 1 / root mean square
  DType dtype = DType::kFloat32;
};

// dx = d(loss)/dx given dy, plus `residual` where it is not null (dx may be the
// same memory as residual). Parameter gradients are fp32 accumulators.
struct NormBackward {
  std::int64_t rows = 0, n = 0;
  bool layer_norm = true;
  const void* dy = nullptr;
  const void* x = nullptr;
  const void* scale = nullptr;
  const float* mean = nullptr;
  const float* reciprocal = nullptr;
  const void* residual = nullptr;
  void* dx = nullptr;
  float* scale_gradient = nullptr;
  float* shift_gradient = nullptr;  // null: none
  // fp32 scratch of norm_backward_scratch(rows, n) elements.
  float* scratch = nullptr;
  DType dtype = DType::kFloat32;
  bool accumulate = false;
};
std::int64_t norm_backward_scratch(std::int64_t rows, std::int64_t n);

enum class GeluForm : std::uint8_t { kTanh, kErf };

// y = gelu(x), elementwise (Hendrycks, Gimpel 2016); y may be x.
struct Gelu {
  std::int64_t count = 0;
  GeluForm form = GeluForm::kTanh;
  const void* x = nullptr;
  void* y = nullptr;
  DType dtype = DType::kFloat32;
};
// dx = dy * gelu'(x); dx may be dy.
struct GeluBackward {
  std::int64_t count = 0;
  GeluForm form = GeluForm::kTanh;
  const void* x = nullptr;
  const void* dy = nullptr;
  void* dx = nullptr;
  DType dtype = DType::kFloat32;
};

// y[T,F] = silu(gate) * up (Shazeer 2020), where a row of gate_up is gate[F], up[F].
struct SwiGlu {
  std::int64_t rows = 0, width = 0;
  const void* gate_up = nullptr;
  void* y = nullptr;
  DType dtype = DType::kFloat32;
};
struct SwiGluBackward {
  std::int64_t rows = 0, width = 0;
  const void* gate_up = nullptr;
  const void* dy = nullptr;
  void* dgate_up = nullptr;  // [T,2F]; may be gate_up
  DType dtype = DType::kFloat32;
};

// How rotary frequencies are changed for contexts longer than the model began with, as
// Llama 3 does it: wavelengths below original_context / high_factor stay, those above
// original_context / low_factor are stretched by `factor`, between them both are mixed.
struct RopeScaling {
  float factor = 1.0F;  // 1: frequencies are as they are
  float low_factor = 1.0F, high_factor = 4.0F;
  float original_context = 8192.0F;

  bool operator==(const RopeScaling&) const = default;
};

// Rotates pairs (i, i + D/2) of each head in place, as Hugging Face's Llama does
// (Su et al. 2021): x is [T, heads * D] inside rows of `stride`; the position of
// row t is t modulo `length`. `inverse` rotates back (backward).
struct Rope {
  std::int64_t tokens = 0, length = 0, heads = 0, head_width = 0;
  void* x = nullptr;
  std::int64_t stride = 0;
  float theta = 10000.0F;
  RopeScaling scaling{};
  bool inverse = false;
  DType dtype = DType::kFloat32;
};

// Causal attention with grouped key-value heads: out[T, H*D], query head h reads
// key-value head h / (H/G). Never holds an S x S matrix: keys are visited in
// blocks with a running maximum (Dao et al. 2022). log_sum[sequences, H, S] is kept.
struct Attention {
  std::int64_t sequences = 0, length = 0;
  std::int64_t heads = 0, kv_heads = 0, head_width = 0;
  float scale = 1.0F;  // 1/sqrt(D) as a rule
  const void* q = nullptr;
  const void* k = nullptr;
  const void* v = nullptr;
  std::int64_t q_stride = 0, k_stride = 0, v_stride = 0;
  void* out = nullptr;
  std::int64_t out_stride = 0;
  float* log_sum = nullptr;
  DType dtype = DType::kFloat32;
};
struct AttentionBackward {
  Attention forward;  // as given to the forward call; out and log_sum are read
  const void* dout = nullptr;
  std::int64_t dout_stride = 0;
  void* dq = nullptr;
  void* dk = nullptr;
  void* dv = nullptr;  // overwritten
  std::int64_t dq_stride = 0, dk_stride = 0, dv_stride = 0;
  // fp32 scratch of attention_backward_scratch() elements.
  float* scratch = nullptr;
};
std::int64_t attention_backward_scratch(const Attention& shape);

// out[T,C] = token_table[token] (+ position_table[t modulo length] if not null).
struct Embedding {
  std::int64_t tokens = 0, length = 0, width = 0, vocabulary = 0;
  const std::int32_t* ids = nullptr;  // each in [0, vocabulary)
  const void* token_table = nullptr;
  const void* position_table = nullptr;
  void* out = nullptr;
  DType dtype = DType::kFloat32;
};
// Rows of one token id are added in token order.
struct EmbeddingBackward {
  std::int64_t tokens = 0, length = 0, width = 0, vocabulary = 0;
  const std::int32_t* ids = nullptr;
  const void* dout = nullptr;
  float* token_gradient = nullptr;     // [V,C]; rows of absent ids become 0 unless accumulate
  float* position_gradient = nullptr;  // null: none; [positions, C], likewise
  std::int64_t positions = 0;
  DType dtype = DType::kFloat32;
  bool accumulate = false;
};

// For each row of logits[rows, V]: loss[row] = -log softmax(logits)[target], 0 where
// target < 0 (masked). `backward` turns logits in place into
// (softmax - onehot) * *scale, 0 for masked rows. scale is device memory.
struct CrossEntropy {
  std::int64_t rows = 0, vocabulary = 0;
  void* logits = nullptr;
  std::int64_t stride = 0;
  const std::int32_t* targets = nullptr;
  const float* scale = nullptr;
  float* loss = nullptr;  // [rows]
  bool backward = false;
  DType dtype = DType::kFloat32;
};

// *total (+)= sum of x[count], in fixed chunks.
struct Sum {
  std::int64_t count = 0;
  const float* x = nullptr;
  float* total = nullptr;
  bool accumulate = false;
};

// y = a + b; y may be a or b.
struct Add {
  std::int64_t count = 0;
  const void* a = nullptr;
  const void* b = nullptr;
  void* y = nullptr;
  DType dtype = DType::kFloat32;
};

// to = from, in another type (or the same).
struct Cast {
  std::int64_t count = 0;
  const void* from = nullptr;
  void* to = nullptr;
  DType from_dtype = DType::kFloat32;
  DType to_dtype = DType::kBFloat16;
};

struct FillZero {
  void* to = nullptr;
  Bytes size;
};

// Chunks of the squared norm: partials[i] = sum of x^2 over elements
// [i * kNormChunk, (i + 1) * kNormChunk) of a tensor, in double.
inline constexpr std::int64_t kNormChunk = 16384;
constexpr std::int64_t norm_chunks(std::int64_t count) {
  return (count + kNormChunk - 1) / kNormChunk;
}
struct SquaredNorm {
  std::int64_t count = 0;
  const void* x = nullptr;
  double* partials = nullptr;
  DType dtype = DType::kFloat32;
};

// What a step's updates need of all gradients together.
struct NormResult {
  float norm = 0;           // global gradient norm
  float scale = 1;          // min(1, clip / norm); 1 where clip is 0
  std::int32_t finite = 1;  // 0: norm is NaN or infinite
  // 1 + index of the last partial that is not finite, 0: none. Gradients land from the last
  // layer to the first, so that is where a bad number showed first.
  std::int32_t bad_partial = 0;
};
// Sums partials[count] in order into *result. Clip as PyTorch's clip_grad_norm_:
// scale = min(1, clip / (norm + 1e-6)).
struct FinishNorm {
  std::int64_t count = 0;
  const double* partials = nullptr;
  float clip = 0;
  NormResult* result = nullptr;
};

// One AdamW step (Loshchilov, Hutter 2019, decoupled decay, bias corrected) in one
// pass over `count` elements of one tensor. `norm` (same memory space as the rest)
// gives the gradient's scale; where *norm is not finite, master and moments stay and the
// weight is written from the master, so that it is defined wherever it lies.
struct AdamW {
  std::int64_t count = 0;
  float learning_rate = 0, beta1 = 0, beta2 = 0, epsilon = 0;
  float weight_decay = 0;  // 0 for tensors that do not decay
  std::int64_t step = 1;   // from 1
  const void* gradient = nullptr;
  DType gradient_dtype = DType::kFloat32;
  float* master = nullptr;
  void* first_moment = nullptr;
  void* second_moment = nullptr;
  DType moment_dtype = DType::kFloat32;
  void* weight = nullptr;  // written
  DType weight_dtype = DType::kFloat32;
  const NormResult* norm = nullptr;
};

// *digest += sum over i of mix(salt, first + i, bits of x[i]) (digest_math.h): a
// hash of a tensor that does not depend on how it is cut, ordered or placed.
struct Digest {
  std::int64_t count = 0;
  const void* x = nullptr;
  DType dtype = DType::kFloat32;
  std::uint64_t salt = 0;  // names the tensor and its role
  std::int64_t first = 0;  // index of x[0] in the whole tensor
  std::uint64_t* digest = nullptr;
};

template <typename Arguments>
using Kernel = void (*)(Queue& queue, const Arguments& arguments);

struct KernelTable {
  Kernel<Matmul> matmul = nullptr;
  Kernel<ColumnSum> column_sum = nullptr;
  Kernel<Norm> norm = nullptr;
  Kernel<NormBackward> norm_backward = nullptr;
  Kernel<Gelu> gelu = nullptr;
  Kernel<GeluBackward> gelu_backward = nullptr;
  Kernel<SwiGlu> swiglu = nullptr;
  Kernel<SwiGluBackward> swiglu_backward = nullptr;
  Kernel<Rope> rope = nullptr;
  Kernel<Attention> attention = nullptr;
  Kernel<AttentionBackward> attention_backward = nullptr;
  Kernel<Embedding> embedding = nullptr;
  Kernel<EmbeddingBackward> embedding_backward = nullptr;
  Kernel<CrossEntropy> cross_entropy = nullptr;
  Kernel<Sum> sum = nullptr;
  Kernel<Add> add = nullptr;
  Kernel<Cast> cast = nullptr;
  Kernel<FillZero> fill_zero = nullptr;
  Kernel<SquaredNorm> squared_norm = nullptr;
  Kernel<FinishNorm> finish_norm = nullptr;
  Kernel<AdamW> adamw = nullptr;
  Kernel<Digest> digest = nullptr;

  // Makes libraries take the device memory that they keep, which they would do at their
  // first use; the accelerator's capacity() is without it from then on. Null: none do.
  void (*load)(Accelerator& accelerator) = nullptr;

  // A table whose calls enqueue nothing: libraries choose, and keep, what calls with the same
  // arguments on the same queue will run. Null: nothing is chosen by arguments.
  const KernelTable* rehearsal = nullptr;
};

// Calls that do nothing: what a rehearsal starts from.
KernelTable idle_kernels();

// The table for accelerators of `kind` ("host", "cuda"). Error{kConfig} for an unknown kind and
// for one that this build has no kernels for.
const KernelTable& kernels_for(const std::string& kind);

// Device memory that is to be lent (Queue::lend) to each queue that runs kernels of `kind`, among
// them attention of `shape`'s heads, length and type, which goes back as well; 0 for none. The same
// in every build, so that a plan can be made where there is no such device.
Bytes queue_scratch_for(const std::string& kind, const Attention& shape = {});

// For people: which library or kernel does what has a choice ("attention: cuDNN 9.19"), and why
// not a faster one; empty where there is no choice. Of a kind that this build has.
std::vector<std::string> kernel_notes(const std::string& kind);

}  // namespace sluice
