// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// Runs a kernel on the host and on a GPU over the same bytes, and holds the results together.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "devices/base/error.h"
#include "devices/registry.h"
#include "devices/workers.h"
#include "kernels/host_kernels.h"
#include "tests/support/kernel_tensor.h"

namespace sluice {

enum class Side { kHost, kDevice };

// What sanitizers look for shows in one run of an emulated kernel, which takes long enough; and
// races have nothing to do with types.
#if defined(SLUICE_SANITIZE_thread)
constexpr bool kSanitized = true;
constexpr DType kTypes[] = {DType::kFloat32};
constexpr std::size_t kShifts[] = {0};
#elif defined(SLUICE_SANITIZE_address)
constexpr bool kSanitized = true;
constexpr auto& kTypes = kBothTypes;
constexpr std::size_t kShifts[] = {0, 4};
#else
constexpr bool kSanitized = false;
constexpr auto& kTypes = kBothTypes;
constexpr std::size_t kShifts[] = {0, 4};
#endif

// Device memory that is given out from the front, and a queue.
class DeviceSide {
 public:
  DeviceSide()
      : accelerator_(make_accelerator("cuda", {})),
        kernels(kernels_for("cuda")),
        arena_(accelerator_->reserve_device(Bytes{256 << 20})),
        scratch_(accelerator_->reserve_device(queue_scratch_for("cuda"))),
        queue_(accelerator_->create_queue(QueueKind::kCompute, 16)) {
    queue_->lend({scratch_->base(), scratch_->size()});
  }

  Queue& queue() { return *queue_; }
  // By tests/emulator: right, and slow.
  bool is_emulated() const { return accelerator_->description().starts_with("emulated"); }
  void clear() { used_ = 0; }

  // `size` bytes at an address that is `shift` off a multiple of 64.
  std::byte* take(std::size_t size, std::size_t shift) {
    std::byte* memory = arena_->base() + used_ + shift;
    used_ += static_cast<std::size_t>(round_up(static_cast<std::int64_t>(size + shift), 256));
    SLUICE_CHECK(used_ <= count(arena_->size()));
    return memory;
  }

  void copy(void* to, const void* from, std::size_t size) {
    if (size == 0) return;
    queue_->copy(to, from, Bytes{static_cast<std::int64_t>(size)});
    finish();
  }

  // A copy of `values` on the device.
  template <typename T>
  T* uploaded(const std::vector<T>& values) {
    auto* memory = reinterpret_cast<T*>(take(values.size() * sizeof(T) + sizeof(T), 0));
    copy(memory, values.data(), values.size() * sizeof(T));
    return memory;
  }
  template <typename T>
  void download(std::vector<T>* values, const T* memory) {
    copy(values->data(), memory, values->size() * sizeof(T));
  }

  void finish() { queue_->synchronize(queue_->mark()); }

 private:
  std::unique_ptr<Accelerator> accelerator_;

 public:
  const KernelTable& kernels;

 private:
  std::unique_ptr<Arena> arena_, scratch_;
  std::unique_ptr<Queue> queue_;
  std::size_t used_ = 0;
};

// A matrix that exists on both sides, canaries included.
class Twin {
 public:
  Twin(std::int64_t rows, std::int64_t columns, DType dtype = DType::kFloat32,
       std::int64_t padding = 0, unsigned seed = 1, double size = 1.0)
      : host(rows, columns, dtype, padding), result_(rows, columns, dtype, padding) {
    host.randomize(seed, size);
  }

  void* at(Side side) { return side == Side::kHost ? host.data() : device_; }
  float* floats(Side side) { return static_cast<float*>(at(side)); }

  // What the host has now is what the device will start from.
  void keep_start() { start_.assign(begin(host), begin(host) + size()); }

  // The start to the device, its first element `shift` off a multiple of 64.
  void upload(DeviceSide& device, std::size_t shift) {
    std::byte* memory = device.take(start_.size(), shift);
    device.copy(memory, start_.data(), start_.size());
    device_ = memory + guard();
  }

  const Tensor& fetched(DeviceSide& device) {
    device.copy(begin(result_), device_ - guard(), start_.size());
    return result_;
  }

  Tensor host;

 private:
  std::ptrdiff_t guard() const { return bytes_of(host.dtype(), Tensor::kGuard).value; }
  std::ptrdiff_t size() const {
    return bytes_of(host.dtype(), host.rows() * host.stride()).value + 2 * guard();
  }
  unsigned char* begin(Tensor& tensor) const {
    return static_cast<unsigned char*>(tensor.data()) - guard();
  }

  Tensor result_;  // what came back
  std::vector<unsigned char> start_;
  std::byte* device_ = nullptr;
};

// Every element within `relative` of the host's plus the same share of the largest one. Two bf16
// results on either side of a tie are a whole unit of the last place apart.
inline testing::AssertionResult agrees(const Tensor& actual, const Tensor& host, double relative) {
  if (!actual.canaries_intact()) return testing::AssertionFailure() << "wrote out of bounds";
  const std::vector<double> expected = host.values();
  const std::vector<double> values = actual.values();
  const double unit = actual.dtype() == DType::kBFloat16 && relative > 0 ? 0x1p-7 : 0.0;
  double largest = 0;
  for (const double e : expected) largest = std::max(largest, std::abs(e));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double allowed =
        relative * (largest + std::abs(expected[i])) + unit * std::abs(expected[i]);
    if (!(std::abs(values[i] - expected[i]) <= allowed)) {
      return testing::AssertionFailure()
             << "element " << i << " is " << values[i] << ", on the host " << expected[i]
             << " (off by " << std::abs(values[i] - expected[i]) << ", allowed " << allowed << ")";
    }
  }
  return testing::AssertionSuccess();
}

// The tests' GPU, or why there is none.
class CudaParity : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    try {
      device_ = std::make_unique<DeviceSide>();
    } catch (const Error& error) {
      missing_ = error.what();
    }
  }
  static void TearDownTestSuite() { device_.reset(); }
  void SetUp() override {
    if (device_ == nullptr) GTEST_SKIP() << "needs gpu: " << missing_;
  }

  // Calls `call(side)` for the arguments of each side, runs them, and compares the twins. On the
  // device twice, for the same bits, at aligned addresses and at odd ones. Tolerance 0 is for
  // kernels whose bits are the host's.
  template <typename Call, typename Arguments>
  void expect_parity(Kernel<Arguments> kernel, const Call& call, std::initializer_list<Twin*> twins,
                     double tolerance) {
    for (Twin* twin : twins) twin->keep_start();
    const auto run = [&](std::size_t shift) {
      device_->clear();
      for (Twin* twin : twins) twin->upload(*device_, shift);
      kernel(device_->queue(), call(Side::kDevice));
      device_->finish();
    };
    run_on_host(workers_, call(Side::kHost));
    for (const std::size_t shift : kShifts) {
      SCOPED_TRACE(testing::Message() << shift << " bytes off alignment");
      run(shift);
      std::vector<std::vector<double>> values;
      for (Twin* twin : twins) {
        EXPECT_TRUE(agrees(twin->fetched(*device_), twin->host, tolerance));
        values.push_back(twin->fetched(*device_).values());
      }
      if (kSanitized) continue;
      run(shift);
      std::size_t i = 0;
      for (Twin* twin : twins) {
        EXPECT_EQ(twin->fetched(*device_).values(), values[i++]) << "differs from run to run";
      }
    }
  }

  // `values` where the arguments of `side` can point to it; call from `call` only.
  template <typename T>
  const T* at(Side side, const std::vector<T>& values) {
    return side == Side::kHost ? values.data() : device_->uploaded(values);
  }

  Workers workers_{2};
  static inline std::unique_ptr<DeviceSide> device_;
  static inline std::string missing_;
};

}  // namespace sluice
