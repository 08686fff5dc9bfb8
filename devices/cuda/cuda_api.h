// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// The calls of the CUDA runtime that the device layer uses, as a table. All
// files of this folder but cuda_runtime.cpp go through it, so that they compile
// without a toolkit and tests put a device behind them that fails on demand.
//
// Errors   every call returns a CUDA status as a plain int, 0 for success;
//          cuda_error.h names those that matter.
// Threads  as the runtime: any thread; the current device belongs to the thread.

#include <cstddef>

namespace sluice {

// Enough of cudaDeviceProp.
struct CudaProperties {
  char name[256] = {};
  char bus_id[32] = {};  // "0000:17:00.0"
  std::size_t memory = 0;
  int major = 0;  // compute capability
  int minor = 0;
};

enum class CudaPointer { kPageable, kPinned, kDevice };

// What an event is for: order alone; order and time, where a waiting thread sleeps
// (cores are for computing); or time with a waiting thread that spins.
enum class CudaEventUse { kOrder, kTime, kClock };

// Streams and events are what the runtime calls cudaStream_t and cudaEvent_t.
struct CudaApi {
  // Architectures that kernels were built for, as CMAKE_CUDA_ARCHITECTURES: "80;90a".
  const char* architectures;

  const char* (*error_name)(int status);
  const char* (*error_text)(int status);
  // Forgets this thread's last error, so that a library that looks for one
  // behind its launches does not find what was dealt with. A sticky one stays.
  void (*forget_error)();

  // 12020 is 12.2; the driver's is 0 where there is none.
  int (*versions)(int* driver, int* runtime);
  int (*device_count)(int* count);
  int (*device_by_bus_id)(int* device, const char* bus_id);
  int (*properties)(CudaProperties* properties, int device);
  int (*set_device)(int device);  // creates the device's context if there is none
  int (*memory_info)(std::size_t* free, std::size_t* total);

  int (*allocate)(void** memory, std::size_t size);
  int (*release)(void* memory);
  int (*fill_with_zero)(void* memory, std::size_t size);  // and waits
  int (*allocate_pinned)(void** memory, std::size_t size);
  int (*release_pinned)(void* memory);
  int (*pin)(void* memory, std::size_t size);  // cudaHostRegister
  int (*unpin)(void* memory);
  int (*kind_of_pointer)(CudaPointer* kind, const void* memory);

  int (*create_stream)(void** stream);  // does not wait for the default stream
  int (*destroy_stream)(void* stream);
  int (*synchronize_stream)(void* stream);
  int (*wait_for_event)(void* stream, void* event);
  int (*copy)(void* to, const void* from, std::size_t size, void* stream);
  int (*call_host)(void* stream, void (*call)(void* argument), void* argument);

  int (*create_event)(void** event, CudaEventUse use);
  int (*destroy_event)(void* event);
  int (*record)(void* event, void* stream);
  int (*synchronize_event)(void* event);
  int (*elapsed)(float* milliseconds, void* start, void* end);
};

// The real runtime. Errors: kConfig where this build has none, naming what to install.
const CudaApi& cuda_api();

}  // namespace sluice
