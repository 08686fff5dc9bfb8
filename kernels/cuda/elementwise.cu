// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "kernels/activation_math.h"
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/pack.cuh"
#include "kernels/cuda/reduce.cuh"

namespace sluice {
namespace {

struct GeluTanh {
  __device__ float operator()(float x) const { return gelu_tanh(x); }
};
struct GeluErf {
  __device__ float operator()(float x) const { return gelu_erf(x); }
};
struct GeluTanhGradient {
  __device__ float operator()(float x, float dy) const { return dy * gelu_tanh_derivative(x); }
};
struct GeluErfGradient {
  __device__ float operator()(float x, float dy) const { return dy * gelu_erf_derivative(x); }
};
struct Same {
  __device__ float operator()(float x) const { return x; }
};

// One pack of a row of y per thread; `width` counts packs of a half row of gate_up.
template <int kWidth, typename T>
__global__ void swiglu_kernel(std::int64_t packs, std::int64_t width, const T* gate_up, T* y) {
  for (std::int64_t i = grid_thread(); i < packs; i += grid_threads()) {
    const std::int64_t at = i / width * 2 * width + i % width;
    const Pack<T, kWidth> gate = pack_at<kWidth>(gate_up, at);
    const Pack<T, kWidth> up = pack_at<kWidth>(gate_up, at + width);
    Pack<T, kWidth> out;
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      store(silu(loaded(gate.x[j])) * loaded(up.x[j]), &out.x[j]);
    }
    put_pack(out, y, i);
  }
}

template <int kWidth, typename T>
__global__ void swiglu_backward_kernel(std::int64_t packs, std::int64_t width, const T* gate_up,
                                       const T* dy, T* dgate_up) {
  for (std::int64_t i = grid_thread(); i < packs; i += grid_threads()) {
    const std::int64_t at = i / width * 2 * width + i % width;
    const Pack<T, kWidth> gate = pack_at<kWidth>(gate_up, at);
    const Pack<T, kWidth> up = pack_at<kWidth>(gate_up, at + width);
    const Pack<T, kWidth> given = pack_at<kWidth>(dy, i);
    Pack<T, kWidth> dgate;
    Pack<T, kWidth> dup;
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      const float g = loaded(gate.x[j]);
      const float d = loaded(given.x[j]);
      store(d * loaded(up.x[j]) * silu_derivative(g), &dgate.x[j]);
      store(d * silu(g), &dup.x[j]);
    }
    put_pack(dgate, dgate_up, at);
    put_pack(dup, dgate_up, at + width);
  }
}

// Calls call(width of a pack, packs per row) for rows of `width` elements: whole packs or
// single elements.
template <typename Call>
void for_row_packs(std::int64_t width, bool aligned, const Call& call) {
  if (aligned && width % kPackWidth == 0) {
    call(std::integral_constant<int, kPackWidth>{}, width / kPackWidth);
  } else {
    call(std::integral_constant<int, 1>{}, width);
  }
}

}  // namespace

void run_on_cuda(Queue& queue, const Gelu& a) {
  for_type(a.dtype, [&]<typename T>(T) {
    if (a.form == GeluForm::kTanh) {
      map(queue, a.count, typed<T>(a.x), typed<T>(a.y), GeluTanh{});
    } else {
      map(queue, a.count, typed<T>(a.x), typed<T>(a.y), GeluErf{});
    }
  });
}

void run_on_cuda(Queue& queue, const GeluBackward& a) {
  for_type(a.dtype, [&]<typename T>(T) {
    if (a.form == GeluForm::kTanh) {
      map2(queue, a.count, typed<T>(a.x), typed<T>(a.dy), typed<T>(a.dx), GeluTanhGradient{});
    } else {
      map2(queue, a.count, typed<T>(a.x), typed<T>(a.dy), typed<T>(a.dx), GeluErfGradient{});
    }
  });
}

void run_on_cuda(Queue& queue, const SwiGlu& a) {
  if (a.rows == 0 || a.width == 0) return;
  for_row_packs(
      a.width, is_aligned(a.gate_up) && is_aligned(a.y), [&](auto pack, std::int64_t width) {
        const std::int64_t packs = a.rows * width;
        for_type(a.dtype, [&]<typename T>(T) {
          launch(queue, "swiglu", {grid_for(packs, kMapThreads), kMapThreads},
                 swiglu_kernel<pack(), T>, packs, width, typed<T>(a.gate_up), typed<T>(a.y));
        });
      });
}

void run_on_cuda(Queue& queue, const SwiGluBackward& a) {
  if (a.rows == 0 || a.width == 0) return;
  for_row_packs(a.width, is_aligned(a.gate_up) && is_aligned(a.dy) && is_aligned(a.dgate_up),
                [&](auto pack, std::int64_t width) {
                  const std::int64_t packs = a.rows * width;
                  for_type(a.dtype, [&]<typename T>(T) {
                    launch(queue, "swiglu_backward", {grid_for(packs, kMapThreads), kMapThreads},
                           swiglu_backward_kernel<pack(), T>, packs, width, typed<T>(a.gate_up),
                           typed<T>(a.dy), typed<T>(a.dgate_up));
                  });
                });
}

void run_on_cuda(Queue& queue, const Add& a) {
  for_type(a.dtype, [&]<typename T>(T) {
    map2(queue, a.count, typed<T>(a.a), typed<T>(a.b), typed<T>(a.y), Plus{});
  });
}

void run_on_cuda(Queue& queue, const Cast& a) {
  for_type(a.from_dtype, [&]<typename From>(From) {
    for_type(a.to_dtype, [&]<typename To>(To) {
      map(queue, a.count, typed<From>(a.from), typed<To>(a.to), Same{});
    });
  });
}

void run_on_cuda(Queue& queue, const FillZero& a) {
  if (a.size.value == 0) return;
  check_cuda(cudaMemsetAsync(a.to, 0, count(a.size), stream_of(queue)), "fill with zeros");
}

}  // namespace sluice
