// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// Elementwise kernels: neighbouring elements are read and written 16 bytes at a time where
// all operands are aligned for it, one by one elsewhere, with the same bits.

#include <cstdint>
#include <type_traits>

#include "kernels/cuda/launch.cuh"

namespace sluice {

inline constexpr int kPackWidth = 8;  // elements: 16 bytes of bf16, twice 16 of fp32

template <typename T, int kWidth>
struct alignas(kWidth == 1 ? sizeof(T) : 16) Pack {
  T x[kWidth];
};

inline bool is_aligned(const void* address) {
  return reinterpret_cast<std::uintptr_t>(address) % 16 == 0;
}

template <int kWidth, typename T>
__device__ Pack<T, kWidth> pack_at(const T* from, std::int64_t pack) {
  return reinterpret_cast<const Pack<T, kWidth>*>(from)[pack];
}
template <int kWidth, typename T>
__device__ void put_pack(const Pack<T, kWidth>& value, T* to, std::int64_t pack) {
  reinterpret_cast<Pack<T, kWidth>*>(to)[pack] = value;
}

// y[i] = formula(x[i]); y may be x.
template <int kWidth, typename Formula, typename From, typename To>
__global__ void map_kernel(std::int64_t packs, const From* x, To* y, Formula formula) {
  for (std::int64_t i = grid_thread(); i < packs; i += grid_threads()) {
    const Pack<From, kWidth> in = pack_at<kWidth>(x, i);
    Pack<To, kWidth> out;
#pragma unroll
    for (int j = 0; j < kWidth; ++j) store(formula(loaded(in.x[j])), &out.x[j]);
    put_pack(out, y, i);
  }
}

// y[i] = formula(a[i], b[i]); y may be a or b.
template <int kWidth, typename Formula, typename T>
__global__ void map2_kernel(std::int64_t packs, const T* a, const T* b, T* y, Formula formula) {
  for (std::int64_t i = grid_thread(); i < packs; i += grid_threads()) {
    const Pack<T, kWidth> left = pack_at<kWidth>(a, i);
    const Pack<T, kWidth> right = pack_at<kWidth>(b, i);
    Pack<T, kWidth> out;
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      store(formula(loaded(left.x[j]), loaded(right.x[j])), &out.x[j]);
    }
    put_pack(out, y, i);
  }
}

// Calls call(width, first, packs) for the packs of [0, count), then for what is left: `width`
// is std::integral_constant, `first` an element.
template <typename Call>
void for_packs(std::int64_t count, bool aligned, const Call& call) {
  const std::int64_t packs = aligned ? count / kPackWidth : 0;
  const std::int64_t rest = count - packs * kPackWidth;
  if (packs > 0) call(std::integral_constant<int, kPackWidth>{}, std::int64_t{0}, packs);
  if (rest > 0) call(std::integral_constant<int, 1>{}, packs * kPackWidth, rest);
}

inline constexpr int kMapThreads = 256;

template <typename Formula, typename From, typename To>
void map(Queue& queue, std::int64_t count, const From* x, To* y, Formula formula) {
  for_packs(count, is_aligned(x) && is_aligned(y),
            [&](auto width, std::int64_t first, std::int64_t packs) {
              launch(queue, "map", {grid_for(packs, kMapThreads), kMapThreads},
                     map_kernel<width(), Formula, From, To>, packs, x + first, y + first, formula);
            });
}

template <typename Formula, typename T>
void map2(Queue& queue, std::int64_t count, const T* a, const T* b, T* y, Formula formula) {
  for_packs(count, is_aligned(a) && is_aligned(b) && is_aligned(y),
            [&](auto width, std::int64_t first, std::int64_t packs) {
              launch(queue, "map2", {grid_for(packs, kMapThreads), kMapThreads},
                     map2_kernel<width(), Formula, T>, packs, a + first, b + first, y + first,
                     formula);
            });
}

}  // namespace sluice
