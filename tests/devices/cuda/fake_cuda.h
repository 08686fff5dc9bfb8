// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// A CUDA runtime without a GPU that fails where it is told to. Work is done at
// the time of the call; handles and memory are counted, calls written down.

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "devices/accelerator.h"
#include "devices/base/error.h"
#include "devices/cuda/cuda_api.h"
#include "devices/cuda/cuda_error.h"

namespace sluice {

// One at a time: the functions of the table have no argument for it.
// Threads  calls of the table from any thread, one after the other; the rest from one, while
//          there are no others.
class FakeCuda {
 public:
  FakeCuda() {
    SLUICE_CHECK(there() == nullptr);
    there() = this;
    add_device("0000:17:00.0");
  }
  ~FakeCuda() { there() = nullptr; }
  FakeCuda(const FakeCuda&) = delete;
  FakeCuda& operator=(const FakeCuda&) = delete;

  static const CudaApi& api();

  void add_device(const char* bus_id) {
    CudaProperties device{.memory = std::size_t{8} << 30, .major = 9, .minor = 0};
    std::snprintf(device.name, sizeof(device.name), "Fake H200");
    std::snprintf(device.bus_id, sizeof(device.bus_id), "%s", bus_id);
    devices.push_back(device);
  }

  // Calls of this name (of a member of CudaApi) fail with `status` after `good`
  // ones that work.
  void fail(const std::string& call, int status, int good = 0) { faults_[call] = {status, good}; }
  // For kernels that stand in for a GPU's: "launch" can be made to fail like a call.
  static int launch() { return current()->status_of("launch"); }
  // The device breaks, as by break_device(), at the call after `good` good ones.
  void break_at(const std::string& call, int status, int good) {
    fail(call, status, good);
    breaks_ = true;
  }
  // From now on all calls fail, as behind a kernel that broke the context.
  void break_device(int status) { broken_ = status; }

  // No call fails any more.
  void mend() {
    faults_.clear();
    broken_ = kCudaSuccess;
    breaks_ = false;
  }

  // Handles and memory given out and not taken back.
  int alive(const std::string& kind) { return alive_[kind]; }
  int alive() const {
    int sum = 0;
    for (const auto& [kind, number] : alive_) sum += number;
    return sum;
  }

  // What streams were told, in order: "record e3 s1", "wait s1 e3", "copy 64 s1".
  std::vector<std::string> calls;
  std::vector<CudaProperties> devices;
  std::size_t free_bytes = std::size_t{8} << 30;
  int driver_version = 13000;
  int current_device = -1;
  Seconds ahead{};  // of the host's clock, what events record

 private:
  struct Fault {
    int status;
    int good;
  };
  using Ranges = std::map<const std::byte*, std::size_t>;

  static FakeCuda*& there() {
    static FakeCuda* fake = nullptr;
    return fake;
  }

  // The fake for the length of an expression, nobody else's meanwhile.
  class Current {
   public:
    FakeCuda* operator->() const { return there(); }

   private:
    static std::recursive_mutex& mutex() {
      static std::recursive_mutex one;
      return one;
    }
    std::unique_lock<std::recursive_mutex> lock_{mutex()};
  };
  static Current current() { return {}; }

  int status_of(const std::string& call) {
    if (broken_ != kCudaSuccess) return broken_;
    const auto fault = faults_.find(call);
    if (fault == faults_.end() || fault->second.good-- > 0) return kCudaSuccess;
    if (breaks_) broken_ = fault->second.status;
    return fault->second.status;
  }

  int give(const std::string& call, const std::string& kind, void** handle, std::size_t size) {
    if (const int status = status_of(call)) return status;
    *handle = std::aligned_alloc(4096, (size + 4095) / 4096 * 4096);
    names_[*handle] = kind.substr(0, 1) + std::to_string(++given_[kind]);
    ++alive_[kind];
    return kCudaSuccess;
  }

  // Always done, as the driver does when a process ends: what counts is the call.
  int take(const std::string& kind, void* handle) {
    --alive_[kind];
    names_.erase(handle);
    std::free(handle);
    return broken_;
  }

  static bool contain(const Ranges& ranges, const void* memory) {
    const auto* const byte = static_cast<const std::byte*>(memory);
    auto after = ranges.upper_bound(byte);
    return after != ranges.begin() && byte < (--after)->first + after->second;
  }

  int told(const std::string& call, const std::string& line) {
    calls.push_back(line);
    return status_of(call);
  }

  std::map<std::string, Fault> faults_;
  int broken_ = kCudaSuccess;
  bool breaks_ = false;
  std::map<std::string, int> alive_;
  std::map<std::string, int> given_;
  std::map<void*, std::string> names_;
  std::map<void*, Seconds> times_;
  Ranges pinned_;
  Ranges device_;
};

inline const CudaApi& FakeCuda::api() {
  static const CudaApi table = {
      .architectures = "90a",
      .error_name = [](int) { return "cudaErrorFake"; },
      .error_text = [](int) { return "a fault was injected"; },
      .forget_error = [] {},
      .versions =
          [](int* driver, int* runtime) {
            *driver = current()->driver_version;
            *runtime = 13000;
            return current()->status_of("versions");
          },
      .device_count =
          [](int* number) {
            *number = static_cast<int>(current()->devices.size());
            return current()->status_of("device_count");
          },
      .device_by_bus_id =
          [](int* device, const char* bus_id) {
            for (std::size_t i = 0; i < current()->devices.size(); ++i) {
              *device = static_cast<int>(i);
              if (std::strstr(current()->devices[i].bus_id, bus_id) != nullptr) return 0;
            }
            return int{kCudaInvalidDevice};
          },
      .properties =
          [](CudaProperties* properties, int device) {
            *properties = current()->devices.at(static_cast<std::size_t>(device));
            return current()->status_of("properties");
          },
      .set_device =
          [](int device) {
            current()->current_device = device;
            return current()->status_of("set_device");
          },
      .memory_info =
          [](std::size_t* free, std::size_t* total) {
            *free = current()->free_bytes;
            *total = std::size_t{8} << 30;
            return current()->status_of("memory_info");
          },
      .allocate =
          [](void** memory, std::size_t size) {
            const int status = current()->give("allocate", "device memory", memory, size);
            if (status == 0) current()->device_[static_cast<std::byte*>(*memory)] = size;
            return status;
          },
      .release =
          [](void* memory) {
            current()->device_.erase(static_cast<std::byte*>(memory));
            return current()->take("device memory", memory);
          },
      .fill_with_zero =
          [](void* memory, std::size_t size) {
            std::memset(memory, 0, size);
            return current()->status_of("fill_with_zero");
          },
      .allocate_pinned =
          [](void** memory, std::size_t size) {
            const int status = current()->give("allocate_pinned", "pinned memory", memory, size);
            if (status == 0) current()->pinned_[static_cast<std::byte*>(*memory)] = size;
            return status;
          },
      .release_pinned =
          [](void* memory) {
            current()->pinned_.erase(static_cast<std::byte*>(memory));
            return current()->take("pinned memory", memory);
          },
      .pin =
          [](void* memory, std::size_t size) {
            if (const int status = current()->status_of("pin")) return status;
            current()->pinned_[static_cast<std::byte*>(memory)] = size;
            ++current()->alive_["registration"];
            return int{kCudaSuccess};
          },
      .unpin =
          [](void* memory) {
            current()->alive_["registration"] -=
                static_cast<int>(current()->pinned_.erase(static_cast<std::byte*>(memory)));
            return current()->broken_;
          },
      .kind_of_pointer =
          [](CudaPointer* kind, const void* memory) {
            *kind = contain(current()->device_, memory)   ? CudaPointer::kDevice
                    : contain(current()->pinned_, memory) ? CudaPointer::kPinned
                                                          : CudaPointer::kPageable;
            return current()->status_of("kind_of_pointer");
          },
      .create_stream =
          [](void** stream) { return current()->give("create_stream", "stream", stream, 1); },
      .destroy_stream = [](void* stream) { return current()->take("stream", stream); },
      .synchronize_stream =
          [](void* stream) {
            return current()->told("synchronize_stream",
                                   "synchronize " + current()->names_.at(stream));
          },
      .wait_for_event =
          [](void* stream, void* event) {
            return current()->told("wait_for_event", "wait " + current()->names_.at(stream) + " " +
                                                         current()->names_.at(event));
          },
      .copy =
          [](void* to, const void* from, std::size_t size, void* stream) {
            const int status = current()->told(
                "copy", "copy " + std::to_string(size) + " " + current()->names_.at(stream));
            if (status == 0) std::memcpy(to, from, size);
            return status;
          },
      .call_host =
          [](void* stream, void (*call)(void*), void* argument) {
            const int status =
                current()->told("call_host", "call host " + current()->names_.at(stream));
            if (status == 0) call(argument);
            return status;
          },
      .create_event =
          [](void** event, CudaEventUse /*use*/) {
            return current()->give("create_event", "event", event, 1);
          },
      .destroy_event = [](void* event) { return current()->take("event", event); },
      .record =
          [](void* event, void* stream) {
            current()->times_[event] = steady_seconds() + current()->ahead;
            return current()->told("record", "record " + current()->names_.at(event) + " " +
                                                 current()->names_.at(stream));
          },
      .synchronize_event =
          [](void* event) {
            return current()->told("synchronize_event",
                                   "synchronize " + current()->names_.at(event));
          },
      .elapsed =
          [](float* milliseconds, void* start, void* end) {
            const Seconds time = current()->times_.at(end) - current()->times_.at(start);
            *milliseconds = static_cast<float>(1e3 * time.count());
            return current()->status_of("elapsed");
          },
  };
  return table;
}

// What `body` throws.
template <typename Body>
Error error_of(Body body) {
  try {
    body();
  } catch (const Error& error) {
    return error;
  }
  return Error(ErrorKind::kInternal, "nothing was thrown");
}

}  // namespace sluice
