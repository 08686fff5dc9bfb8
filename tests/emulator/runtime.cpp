// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers

// The calls of cuda_runtime_api.h; what starts kernels is in launch.cpp.

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "tests/emulator/cuda/cuda_runtime_api.h"
#include "tests/emulator/memory.h"
#include "tests/emulator/stream.h"

namespace emulator {
namespace {

constexpr const char* kBusId = "0000:e3:00.0";

// What broke the device, if anything.
std::atomic<cudaError_t> broken{cudaSuccess};
thread_local cudaError_t last_error = cudaSuccess;

// Whether the device is to break now: EMULATED_GPU_FAULT=214@500 in the environment breaks it with
// status 214 in the place of its 500th piece of work.
cudaError_t fault_now() {
  static const char* const told = std::getenv("EMULATED_GPU_FAULT");
  static std::atomic<int> works{0};
  int status = 0;
  int number = 0;
  if (told == nullptr || std::sscanf(told, "%d@%d", &status, &number) != 2) return cudaSuccess;
  return ++works == number ? static_cast<cudaError_t>(status) : cudaSuccess;
}

}  // namespace

cudaError_t answer(cudaError_t status) {
  if (broken != cudaSuccess) status = broken;
  if (status != cudaSuccess) last_error = status;
  return status;
}

// A point in a stream, of each record one.
class Event {
 public:
  std::uint64_t record() {
    const std::lock_guard lock(mutex_);
    return ++recorded_;
  }
  std::uint64_t recorded() {
    const std::lock_guard lock(mutex_);
    return recorded_;
  }
  void reach(std::uint64_t number) {
    const std::lock_guard lock(mutex_);
    reached_ = std::max(reached_, number);
    time_ = std::chrono::steady_clock::now();
    moved_.notify_all();
  }
  void wait(std::uint64_t number) {
    std::unique_lock lock(mutex_);
    moved_.wait(lock, [&] { return reached_ >= number; });
  }
  // False before the last record is reached.
  bool time(std::chrono::steady_clock::time_point* time) {
    const std::lock_guard lock(mutex_);
    *time = time_;
    return reached_ == recorded_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable moved_;
  std::uint64_t recorded_ = 0, reached_ = 0;
  std::chrono::steady_clock::time_point time_{};
};

}  // namespace emulator

struct CUevent_st {
  std::shared_ptr<emulator::Event> event = std::make_shared<emulator::Event>();
  bool timed = true;
};

// A thread and what it is still to do.
struct CUstream_st {
 public:
  CUstream_st() : thread_([this] { work(); }) {}
  ~CUstream_st() {
    push({});
    thread_.join();
  }

  // Nothing ends the thread.
  void push(std::function<void()> work) {
    const std::lock_guard lock(mutex_);
    waiting_.push_back(std::move(work));
    moved_.notify_all();
  }
  bool is_idle() {
    const std::lock_guard lock(mutex_);
    return waiting_.empty();
  }
  void wait_until_idle() {
    std::unique_lock lock(mutex_);
    moved_.wait(lock, [&] { return waiting_.empty(); });
  }

 private:
  void work() {
    while (true) {
      std::function<void()> next;
      {
        std::unique_lock lock(mutex_);
        moved_.wait(lock, [&] { return !waiting_.empty(); });
        next = waiting_.front();
      }
      if (!next) return;
      next();
      next = nullptr;
      const std::lock_guard lock(mutex_);
      waiting_.pop_front();
      moved_.notify_all();
    }
  }

  std::mutex mutex_;
  std::condition_variable moved_;
  std::deque<std::function<void()>> waiting_;  // the first is at work
  std::thread thread_;
};

namespace emulator {

cudaError_t enqueue(cudaStream_t stream, std::function<cudaError_t()> work) {
  if (stream == nullptr) return answer(cudaErrorInvalidResourceHandle);
  stream->push([work = std::move(work)] {
    if (broken != cudaSuccess) return;
    cudaError_t status = fault_now();
    if (status == cudaSuccess) {
      memory().open();
      status = work();
      memory().close();
    }
    if (status != cudaSuccess) broken = status;
  });
  return answer(cudaSuccess);
}

}  // namespace emulator

using emulator::answer;
using emulator::memory;

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "cudaSuccess";
    case cudaErrorInvalidValue:
      return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorLaunchFailure:
      return "cudaErrorLaunchFailure";
    default:
      return "another error";
  }
}
const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaErrorLaunchFailure ? "unspecified launch failure" : cudaGetErrorName(error);
}
cudaError_t cudaGetLastError() {
  const cudaError_t status = answer(emulator::last_error);
  emulator::last_error = cudaSuccess;
  return status;
}
cudaError_t cudaDriverGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return answer(cudaSuccess);
}
cudaError_t cudaDeviceGetByPCIBusId(int* device, const char* bus_id) {
  *device = 0;
  return answer(std::strcmp(bus_id, emulator::kBusId) == 0 ? cudaSuccess : cudaErrorInvalidDevice);
}
cudaError_t cudaDeviceGetPCIBusId(char* bus_id, int size, int device) {
  if (device != 0) return answer(cudaErrorInvalidDevice);
  std::snprintf(bus_id, static_cast<std::size_t>(size), "%s", emulator::kBusId);
  return answer(cudaSuccess);
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (device != 0) return answer(cudaErrorInvalidDevice);
  *properties = {
      .name = "emulated", .totalGlobalMem = emulator::Memory::kCapacity, .major = 9, .minor = 0};
  return answer(cudaSuccess);
}
cudaError_t cudaSetDevice(int device) {  // need not say that the device is broken
  return device == 0 ? cudaSuccess : cudaErrorInvalidDevice;
}
cudaError_t cudaDeviceSynchronize() { return answer(cudaSuccess); }
cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  *free = memory().free_bytes();
  *total = emulator::Memory::kCapacity;
  return answer(cudaSuccess);
}

cudaError_t cudaMalloc(void** to, std::size_t size) {
  *to = memory().allocate(size);
  return answer(*to == nullptr ? cudaErrorMemoryAllocation : cudaSuccess);
}
cudaError_t cudaFree(void* there) {
  return answer(there == nullptr || memory().release(there) ? cudaSuccess : cudaErrorInvalidValue);
}
cudaError_t cudaHostAlloc(void** to, std::size_t size, unsigned /*flags*/) {
  *to = std::aligned_alloc(4096, (size + 4095) / 4096 * 4096);
  return cudaHostRegister(*to, size, cudaHostRegisterPortable);
}
cudaError_t cudaFreeHost(void* there) {
  if (!memory().unpin(there)) return answer(cudaErrorInvalidValue);
  std::free(there);
  return answer(cudaSuccess);
}
cudaError_t cudaHostRegister(void* there, std::size_t size, unsigned /*flags*/) {
  return answer(memory().pin(there, size) ? cudaSuccess : cudaErrorHostMemoryAlreadyRegistered);
}
cudaError_t cudaHostUnregister(void* there) {
  return answer(memory().unpin(there) ? cudaSuccess : cudaErrorHostMemoryNotRegistered);
}
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* there) {
  switch (memory().reach_of(there, 1)) {
    case emulator::Reach::kNone:
      attributes->type = cudaMemoryTypeUnregistered;
      break;
    case emulator::Reach::kPinned:
      attributes->type = cudaMemoryTypeHost;
      break;
    case emulator::Reach::kDevice:
      attributes->type = cudaMemoryTypeDevice;
      break;
  }
  return answer(cudaSuccess);
}
cudaError_t cudaMemset(void* to, int value, std::size_t size) {
  if (memory().reach_of(to, size) != emulator::Reach::kDevice) return answer(cudaErrorInvalidValue);
  memory().open();
  // Whole pages of zeros take none of the host's memory.
  const auto address = reinterpret_cast<std::uintptr_t>(to);
  const std::size_t pages = value == 0 && address % 4096 == 0 ? size / 4096 * 4096 : 0;
  if (pages > 0) ::madvise(to, pages, MADV_DONTNEED);
  std::memset(static_cast<std::byte*>(to) + pages, value, size - pages);
  memory().close();
  return answer(cudaSuccess);
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned /*flags*/) {
  *stream = new CUstream_st;
  return answer(cudaSuccess);
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return answer(cudaSuccess);
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  stream->wait_until_idle();
  return answer(cudaSuccess);
}
cudaError_t cudaStreamQuery(cudaStream_t stream) {
  return answer(stream->is_idle() ? cudaSuccess : cudaErrorNotReady);
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned /*flags*/) {
  stream->push([event = event->event, number = event->event->recorded()] { event->wait(number); });
  return answer(cudaSuccess);
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t size, cudaMemcpyKind /*kind*/,
                            cudaStream_t stream) {
  using emulator::Reach;
  const Reach there = memory().reach_of(to, size);
  const Reach here = memory().reach_of(from, size);
  // A copy that leaves its piece of pinned memory, or of the device's, is none.
  if ((there == Reach::kNone && memory().reach_of(to, 1) != Reach::kNone) ||
      (here == Reach::kNone && memory().reach_of(from, 1) != Reach::kNone)) {
    return answer(cudaErrorInvalidValue);
  }
  if (here == Reach::kNone) {
    const auto* const bytes = static_cast<const std::byte*>(from);
    return emulator::enqueue(stream, [to, now = std::vector<std::byte>(bytes, bytes + size)] {
      std::memcpy(to, now.data(), now.size());
      return cudaSuccess;
    });
  }
  const cudaError_t status = emulator::enqueue(stream, [to, from, size] {
    std::memcpy(to, from, size);
    return cudaSuccess;
  });
  if (there == Reach::kNone) stream->wait_until_idle();
  return status;
}
cudaError_t cudaMemsetAsync(void* to, int value, std::size_t size, cudaStream_t stream) {
  if (memory().reach_of(to, size) == emulator::Reach::kNone) return answer(cudaErrorInvalidValue);
  return emulator::enqueue(stream, [to, value, size] {
    std::memset(to, value, size);
    return cudaSuccess;
  });
}
cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t call, void* argument) {
  // Called on a broken device, too; may not touch device memory.
  stream->push([call, argument] { call(argument); });
  return answer(cudaSuccess);
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  *event = new CUevent_st;
  (*event)->timed = (flags & cudaEventDisableTiming) == 0;
  return answer(cudaSuccess);
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return answer(cudaSuccess);
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  stream->push([event = event->event, number = event->event->record()] { event->reach(number); });
  return answer(cudaSuccess);
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  event->event->wait(event->event->recorded());
  return answer(cudaSuccess);
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  if (!start->timed || !end->timed) return answer(cudaErrorInvalidResourceHandle);
  std::chrono::steady_clock::time_point from;
  std::chrono::steady_clock::time_point to;
  if (!start->event->time(&from) || !end->event->time(&to)) return answer(cudaErrorNotReady);
  *milliseconds = std::chrono::duration<float, std::milli>(to - from).count();
  return answer(cudaSuccess);
}
