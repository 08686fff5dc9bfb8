// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/host/elementwise.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/activation_math.h"
#include "kernels/host/loops.h"
#include "kernels/host_kernels.h"

HWY_BEFORE_NAMESPACE();
namespace sluice {
namespace HWY_NAMESPACE {

// y[i] = formula(x[i]) on [begin, end).
template <typename T, typename Formula>
void map(const T* x, T* y, std::int64_t begin, std::int64_t end, const Formula& formula) {
#pragma GCC ivdep
  for (std::int64_t i = begin; i < end; ++i) store(formula(loaded(x[i])), &y[i]);
}

template <typename T, typename Formula>
void map2(const T* a, const T* b, T* y, std::int64_t begin, std::int64_t end,
          const Formula& formula) {
#pragma GCC ivdep
  for (std::int64_t i = begin; i < end; ++i) {
    store(formula(loaded(a[i]), loaded(b[i])), &y[i]);
  }
}

void gelu(const Gelu& g, std::int64_t begin, std::int64_t end) {
  with_type(g.dtype, [&]<typename T>(T) {
    const T* x = at<T>(g.x, 0);
    T* y = at<T>(g.y, 0);
    if (g.form == GeluForm::kTanh) {
      map(x, y, begin, end, [](float v) { return gelu_tanh(v); });
    } else {
      map(x, y, begin, end, [](float v) { return gelu_erf(v); });
    }
  });
}

void gelu_backward(const GeluBackward& g, std::int64_t begin, std::int64_t end) {
  with_type(g.dtype, [&]<typename T>(T) {
    const T* x = at<T>(g.x, 0);
    const T* dy = at<T>(g.dy, 0);
    T* dx = at<T>(g.dx, 0);
    if (g.form == GeluForm::kTanh) {
      map2(x, dy, dx, begin, end, [](float v, float d) { return d * gelu_tanh_derivative(v); });
    } else {
      map2(x, dy, dx, begin, end, [](float v, float d) { return d * gelu_erf_derivative(v); });
    }
  });
}

void swiglu(const SwiGlu& s, std::int64_t begin, std::int64_t end) {
  with_type(s.dtype, [&]<typename T>(T) {
    for (std::int64_t row = begin; row < end; ++row) {
      const T* gate = at<T>(s.gate_up, row * 2 * s.width);
      map2(gate, gate + s.width, at<T>(s.y, row * s.width), 0, s.width,
           [](float g, float u) { return silu(g) * u; });
    }
  });
}

void swiglu_backward(const SwiGluBackward& s, std::int64_t begin, std::int64_t end) {
  with_type(s.dtype, [&]<typename T>(T) {
    for (std::int64_t row = begin; row < end; ++row) {
      const T* gate = at<T>(s.gate_up, row * 2 * s.width);
      const T* up = gate + s.width;
      const T* dy = at<T>(s.dy, row * s.width);
      T* dgate = at<T>(s.dgate_up, row * 2 * s.width);
      T* dup = dgate + s.width;
#pragma GCC ivdep
      for (std::int64_t i = 0; i < s.width; ++i) {
        const float g = loaded(gate[i]);
        const float u = loaded(up[i]);
        const float d = loaded(dy[i]);
        store(d * u * silu_derivative(g), &dgate[i]);
        store(d * silu(g), &dup[i]);
      }
    }
  });
}

void add(const Add& s, std::int64_t begin, std::int64_t end) {
  with_type(s.dtype, [&]<typename T>(T) {
    map2(at<T>(s.a, 0), at<T>(s.b, 0), at<T>(s.y, 0), begin, end,
         [](float a, float b) { return a + b; });
  });
}

void cast(const Cast& c, std::int64_t begin, std::int64_t end) {
  with_type(c.from_dtype, [&]<typename From>(From) {
    with_type(c.to_dtype, [&]<typename To>(To) {
      const From* from = at<From>(c.from, 0);
      To* to = at<To>(c.to, 0);
#pragma GCC ivdep
      for (std::int64_t i = begin; i < end; ++i) store(loaded(from[i]), &to[i]);
    });
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace sluice
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sluice {
namespace {

constexpr std::int64_t kChunk = 16384;

HWY_EXPORT(gelu);
HWY_EXPORT(gelu_backward);
HWY_EXPORT(swiglu);
HWY_EXPORT(swiglu_backward);
HWY_EXPORT(add);
HWY_EXPORT(cast);

}  // namespace

void run_on_host(Workers& workers, const Gelu& g) {
  for_chunks(workers, g.count, kChunk, [&](std::int64_t begin, std::int64_t end) {
    HWY_DYNAMIC_DISPATCH(gelu)(g, begin, end);
  });
}

void run_on_host(Workers& workers, const GeluBackward& g) {
  for_chunks(workers, g.count, kChunk, [&](std::int64_t begin, std::int64_t end) {
    HWY_DYNAMIC_DISPATCH(gelu_backward)(g, begin, end);
  });
}

void run_on_host(Workers& workers, const SwiGlu& s) {
  for_chunks(workers, s.rows, rows_per_chunk(s.width), [&](std::int64_t begin, std::int64_t end) {
    HWY_DYNAMIC_DISPATCH(swiglu)(s, begin, end);
  });
}

void run_on_host(Workers& workers, const SwiGluBackward& s) {
  for_chunks(workers, s.rows, rows_per_chunk(s.width), [&](std::int64_t begin, std::int64_t end) {
    HWY_DYNAMIC_DISPATCH(swiglu_backward)(s, begin, end);
  });
}

void run_on_host(Workers& workers, const Add& s) {
  for_chunks(workers, s.count, kChunk, [&](std::int64_t begin, std::int64_t end) {
    HWY_DYNAMIC_DISPATCH(add)(s, begin, end);
  });
}

void run_on_host(Workers& workers, const Cast& c) {
  for_chunks(workers, c.count, kChunk, [&](std::int64_t begin, std::int64_t end) {
    HWY_DYNAMIC_DISPATCH(cast)(c, begin, end);
  });
}

}  // namespace sluice
#endif  // HWY_ONCE
