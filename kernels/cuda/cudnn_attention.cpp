// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
// The one file that sees cuDNN. Its front end takes a minute to compile: nothing else in here.

#include "kernels/cuda/cudnn_attention.h"

#include <cudnn_frontend.h>
#include <dlfcn.h>
#include <fmt/format.h>

#include <array>
#include <compare>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "devices/base/error.h"
#include "devices/base/format.h"
#include "devices/base/log.h"
#include "kernels/cuda/stream.cuh"
#include "kernels/cuda/table.h"

// The front end looks cuDNN's functions up here, so that a binary starts without the library.
namespace cudnn_frontend {
void* cudnn_dlhandle = nullptr;
}  // namespace cudnn_frontend

namespace sluice {
namespace {

namespace fe = cudnn_frontend;

// Names of the tensors in cuDNN's variant packs.
enum Uid : std::int64_t { kQ = 1, kK, kV, kOut, kStats, kDout, kDq, kDk, kDv };
using Pointers = std::unordered_map<std::int64_t, void*>;

// A call on `sequences` and `heads` of a larger tensor: all that a graph depends on.
struct Key {
  bool backward;
  std::int64_t sequences, length, heads, kv_heads, head_width;
  std::int64_t stats_heads;  // of the tensor that log_sum is
  float scale;
  std::array<std::int64_t, 8> strides;  // q k v out dout dq dk dv

  auto operator<=>(const Key&) const = default;
};

struct Plan {
  std::shared_ptr<fe::graph::Graph> graph;
  std::int64_t workspace = 0;
};

// [sequences, heads, length, width] as it lies in rows of `stride` elements.
fe::graph::Tensor_attributes tensor(const Key& key, std::int64_t uid, std::int64_t heads,
                                    std::int64_t stride) {
  return fe::graph::Tensor_attributes()
      .set_uid(uid)
      .set_data_type(fe::DataType_t::BFLOAT16)
      .set_dim({key.sequences, heads, key.length, key.head_width})
      .set_stride({key.length * stride, key.head_width, stride, 1});
}

using TensorPointer = std::shared_ptr<fe::graph::Tensor_attributes>;

void is_output(const TensorPointer& result, const fe::graph::Tensor_attributes& like) {
  result->set_output(true)
      .set_uid(like.get_uid())
      .set_data_type(like.get_data_type())
      .set_dim(like.get_dim())
      .set_stride(like.get_stride());
}

fe::graph::Tensor_attributes stats_tensor(const Key& key) {
  return fe::graph::Tensor_attributes()
      .set_uid(kStats)
      .set_data_type(fe::DataType_t::FLOAT)
      .set_alignment(4)  // a part of a call starts in the middle
      .set_dim({key.sequences, key.heads, key.length, 1})
      .set_stride({key.stats_heads * key.length, key.length, 1, 1});
}

std::shared_ptr<fe::graph::Graph> describe(const Key& key) {
  auto graph = std::make_shared<fe::graph::Graph>();
  graph->set_io_data_type(fe::DataType_t::BFLOAT16)
      .set_intermediate_data_type(fe::DataType_t::FLOAT)
      .set_compute_data_type(fe::DataType_t::FLOAT);
  const TensorPointer q = graph->tensor(tensor(key, kQ, key.heads, key.strides[0]));
  const TensorPointer k = graph->tensor(tensor(key, kK, key.kv_heads, key.strides[1]));
  const TensorPointer v = graph->tensor(tensor(key, kV, key.kv_heads, key.strides[2]));
  const auto out_like = tensor(key, kOut, key.heads, key.strides[3]);
  if (!key.backward) {
    const auto [out, stats] =
        graph->sdpa(q, k, v,
                    fe::graph::SDPA_attributes()
                        .set_generate_stats(true)
                        .set_diagonal_alignment(fe::DiagonalAlignment_t::TOP_LEFT)
                        .set_diagonal_band_right_bound(0)
                        .set_attn_scale(key.scale));
    is_output(out, out_like);
    is_output(stats, stats_tensor(key));
    return graph;
  }
  const TensorPointer out = graph->tensor(out_like);
  const TensorPointer dout = graph->tensor(tensor(key, kDout, key.heads, key.strides[4]));
  const TensorPointer stats = graph->tensor(stats_tensor(key));
  const auto [dq, dk, dv] =
      graph->sdpa_backward(q, k, v, out, dout, stats,
                           fe::graph::SDPA_backward_attributes()
                               .set_diagonal_alignment(fe::DiagonalAlignment_t::TOP_LEFT)
                               .set_diagonal_band_right_bound(0)
                               .set_deterministic_algorithm(true)
                               .set_attn_scale(key.scale));
  is_output(dq, tensor(key, kDq, key.heads, key.strides[5]));
  is_output(dk, tensor(key, kDk, key.kv_heads, key.strides[6]));
  is_output(dv, tensor(key, kDv, key.kv_heads, key.strides[7]));
  return graph;
}

Key key_of(const Attention& a) {
  return {.backward = false,
          .sequences = a.sequences,
          .length = a.length,
          .heads = a.heads,
          .kv_heads = a.kv_heads,
          .head_width = a.head_width,
          .stats_heads = a.heads,
          .scale = a.scale,
          .strides = {a.q_stride, a.k_stride, a.v_stride, a.out_stride}};
}

Key key_of(const AttentionBackward& b) {
  Key key = key_of(b.forward);
  key.backward = true;
  key.strides[4] = b.dout_stride;
  key.strides[5] = b.dq_stride;
  key.strides[6] = b.dk_stride;
  key.strides[7] = b.dv_stride;
  return key;
}

// The handle, and the graphs that were asked for so far, refused ones too.
class Cudnn {
 public:
  Cudnn() {
    // Beyond this the front end asks cuDNN 9.25 and later on Hopper for the deterministic backward
    // whose workspace is linear in the length. It takes no other word for it; what the user said
    // stays.
    ::setenv("CUDNN_FRONTEND_ATTN_DP_WORKSPACE_LIMIT", std::to_string(kCudaScratch.value).c_str(),
             /*overwrite=*/0);
    // It asks the shared runtime for the device, and would take an older one first.
    const std::string runtime = fmt::format("libcudart.so.{}", CUDART_VERSION / 1000);
    ::setenv("CUDNN_FRONTEND_CUDART_LIB_NAME", runtime.c_str(), /*overwrite=*/0);
    if (::dlopen(std::getenv("CUDNN_FRONTEND_CUDART_LIB_NAME"), RTLD_NOW) == nullptr) {
      note_ = fmt::format(
          "own tiled kernel, slower: {}; install the CUDA runtime, or name its folder "
          "in LD_LIBRARY_PATH",
          ::dlerror());
      return;
    }
    fe::cudnn_dlhandle = ::dlopen("libcudnn.so.9", RTLD_NOW | RTLD_LOCAL);
    if (fe::cudnn_dlhandle == nullptr) {
      note_ = fmt::format("own tiled kernel, slower: {}; install cuDNN 9", ::dlerror());
      return;
    }
    note_ = fmt::format("cuDNN {}", fe::detail::get_backend_version_string());
  }

  bool there() const { return fe::cudnn_dlhandle != nullptr; }
  const std::string& note() const { return note_; }

  // The graph for `key`, or nothing where cuDNN has no engine for it, said once.
  const Plan* plan(const Key& key) {
    const auto known = plans_.find(key);
    if (known != plans_.end()) return known->second.graph ? &known->second : nullptr;
    try {
      Plan plan{.graph = describe(key)};
      fe::error_t status = plan.graph->build(handle(), {fe::HeurMode_t::A});
      if (!status.is_bad()) status = plan.graph->get_workspace_size(plan.workspace);
      if (!status.is_bad()) return &(plans_[key] = std::move(plan));
      refuse(key, status.get_message());
    } catch (const std::exception& refused) {  // of the front end's loading of the runtime
      refuse(key, refused.what());
    }
    return nullptr;
  }

  void run(const Plan& plan, Pointers& pointers, void* workspace, cudaStream_t stream) {
    check(fe::detail::set_stream(handle(), stream));
    fe::error_t status = plan.graph->execute(handle(), pointers, workspace);
    if (!status.is_bad()) return;
    check_device(stream, "compute attention");
    throw Error(ErrorKind::kInternal, "cuDNN: " + status.get_message());
  }

  // From now on the tiled kernels do what `key` is; says so, this once.
  void refuse(const Key& key, const std::string& why) {
    plans_[key] = {};
    log_warn(fmt::format(
        "attention{} of {} x {} tokens, {}/{} heads of {}: own kernel, slower; cuDNN: {}",
        key.backward ? " backward" : "", key.sequences, key.length, key.heads, key.kv_heads,
        key.head_width, why));
  }

  std::mutex& mutex() { return mutex_; }

 private:
  static void check(cudnnStatus_t status) {
    if (status == CUDNN_STATUS_SUCCESS) return;
    throw Error(ErrorKind::kInternal,
                fmt::format("cuDNN: {}", fe::detail::get_error_string(status)));
  }

  // Made at first use, when the device is current.
  cudnnHandle_t handle() {
    if (handle_ == nullptr) check(fe::detail::create_handle(&handle_));
    return handle_;
  }

  std::mutex mutex_;
  std::string note_;
  cudnnHandle_t handle_ = nullptr;
  std::map<Key, Plan> plans_;
};

Cudnn& library() {
  // Never destroyed: at exit the driver may be gone before it.
  static Cudnn& cudnn = *new Cudnn;
  return cudnn;
}

bool aligned(std::initializer_list<const void*> addresses,
             std::initializer_list<std::int64_t> strides) {
  std::uintptr_t bits = 0;
  for (const void* address : addresses) bits |= reinterpret_cast<std::uintptr_t>(address);
  std::int64_t elements = 0;
  for (const std::int64_t stride : strides) elements |= stride;
  return bits % 16 == 0 && elements % 8 == 0;  // 16 bytes are read at once
}

bool is_worth_asking(const Attention& a) {
  return a.dtype == DType::kBFloat16 && a.sequences * a.length > 0 &&
         aligned({a.q, a.k, a.v, a.out},
                 {a.q_stride, a.k_stride, a.v_stride, a.out_stride, a.head_width}) &&
         library().there();
}

bool is_worth_asking(const AttentionBackward& b) {
  return is_worth_asking(b.forward) &&
         aligned({b.dout, b.dq, b.dk, b.dv},
                 {b.dout_stride, b.dq_stride, b.dk_stride, b.dv_stride});
}

// The larger piece of memory that this call may overwrite.
Scratch larger_scratch(const Queue& queue, const AttentionBackward& b) {
  const Scratch own{reinterpret_cast<std::byte*>(b.scratch),
                    {4 * attention_backward_scratch(b.forward)}};
  return own.size > queue.scratch().size ? own : queue.scratch();
}

// The largest part of the whole whose workspace fits: all sequences, half of them, ..., one;
// then half of one's heads, ... Whole key-value groups, so that no gradient has two writers.
const Plan* fitting_plan(Cudnn& cudnn, Key& key, Bytes room) {
  const Key whole = key;
  for (;;) {
    const Plan* const plan = cudnn.plan(key);
    if (plan == nullptr || plan->workspace <= room.value) return plan;
    if (key.sequences > 1) {
      key.sequences = (key.sequences + 1) / 2;
      while (whole.sequences % key.sequences != 0) --key.sequences;
    } else if (key.kv_heads > 1) {
      std::int64_t kv_heads = (key.kv_heads + 1) / 2;
      while (whole.kv_heads % kv_heads != 0) --kv_heads;
      key.heads = key.heads / key.kv_heads * kv_heads;
      key.kv_heads = kv_heads;
      key.stats_heads = key.heads;  // of one sequence: its heads lie one after the other
    } else {
      cudnn.refuse(whole, fmt::format("its workspace is {} for one group of heads, {} are there; "
                                      "on H100 and H200 cuDNN 9.25 and later need less",
                                      format_bytes({plan->workspace}), format_bytes(room)));
      return nullptr;
    }
  }
}

// The graph that `a` runs as, if any.
const Plan* fitting_plan(Cudnn& cudnn, const Attention& a, Bytes room) {
  const Plan* const plan = cudnn.plan(key_of(a));
  if (plan == nullptr || plan->workspace <= room.value) return plan;
  cudnn.refuse(key_of(a), fmt::format("its workspace is {}", format_bytes({plan->workspace})));
  return nullptr;
}

void* part(const void* base, std::int64_t elements, std::int64_t size) {
  return const_cast<std::byte*>(static_cast<const std::byte*>(base) + elements * size);
}

}  // namespace

std::string cudnn_note() { return library().note(); }

bool cudnn_attend(Queue& queue, const Attention& a) {
  if (!is_worth_asking(a)) return false;
  const cudaStream_t stream = stream_of(queue);  // makes the device current, for the handle
  Cudnn& cudnn = library();
  const std::lock_guard lock(cudnn.mutex());
  const Plan* const plan = fitting_plan(cudnn, a, queue.scratch().size);
  if (plan == nullptr) return false;
  Pointers pointers = {{kQ, part(a.q, 0, 2)},
                       {kK, part(a.k, 0, 2)},
                       {kV, part(a.v, 0, 2)},
                       {kOut, a.out},
                       {kStats, a.log_sum}};
  cudnn.run(*plan, pointers, queue.scratch().data, stream);
  return true;
}

bool cudnn_attend_backward(Queue& queue, const AttentionBackward& b) {
  const Attention& a = b.forward;
  if (!is_worth_asking(b)) return false;
  const cudaStream_t stream = stream_of(queue);
  Cudnn& cudnn = library();
  const std::lock_guard lock(cudnn.mutex());
  const Scratch scratch = larger_scratch(queue, b);
  Key key = key_of(b);
  const Plan* const plan = fitting_plan(cudnn, key, scratch.size);
  if (plan == nullptr) return false;
  for (std::int64_t sequence = 0; sequence < a.sequences; sequence += key.sequences) {
    for (std::int64_t head = 0; head < a.heads; head += key.heads) {
      const std::int64_t row = sequence * a.length;
      const std::int64_t column = head * a.head_width;
      const std::int64_t kv_column = head / (a.heads / a.kv_heads) * a.head_width;
      Pointers pointers = {{kQ, part(a.q, row * a.q_stride + column, 2)},
                           {kK, part(a.k, row * a.k_stride + kv_column, 2)},
                           {kV, part(a.v, row * a.v_stride + kv_column, 2)},
                           {kOut, part(a.out, row * a.out_stride + column, 2)},
                           {kStats, part(a.log_sum, (sequence * a.heads + head) * a.length, 4)},
                           {kDout, part(b.dout, row * b.dout_stride + column, 2)},
                           {kDq, part(b.dq, row * b.dq_stride + column, 2)},
                           {kDk, part(b.dk, row * b.dk_stride + kv_column, 2)},
                           {kDv, part(b.dv, row * b.dv_stride + kv_column, 2)}};
      cudnn.run(*plan, pointers, scratch.data, stream);
    }
  }
  return true;
}

void cudnn_prepare(Queue& queue, const Attention& a) {
  if (!is_worth_asking(a)) return;
  static_cast<void>(stream_of(queue));
  const std::lock_guard lock(library().mutex());
  fitting_plan(library(), a, queue.scratch().size);
}

void cudnn_prepare(Queue& queue, const AttentionBackward& b) {
  if (!is_worth_asking(b)) return;
  static_cast<void>(stream_of(queue));
  const std::lock_guard lock(library().mutex());
  Key key = key_of(b);
  fitting_plan(library(), key, larger_scratch(queue, b).size);
}

}  // namespace sluice
