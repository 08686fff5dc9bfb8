// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
// The one file of the device layer that sees the CUDA runtime.

#include <cuda_runtime_api.h>

#include <cstdio>

#include "devices/cuda/cuda_api.h"
#include "devices/cuda/cuda_error.h"

namespace sluice {
namespace {

cudaStream_t stream_of(void* stream) { return static_cast<cudaStream_t>(stream); }
cudaEvent_t event_of(void* event) { return static_cast<cudaEvent_t>(event); }

// The numbers of cuda_error.h are NVIDIA's.
constexpr bool same(CudaStatus ours, cudaError_t theirs) {
  return static_cast<int>(ours) == static_cast<int>(theirs);
}
static_assert(same(kCudaNoMemory, cudaErrorMemoryAllocation));
static_assert(same(kCudaNotInitialized, cudaErrorInitializationError));
static_assert(same(kCudaDriverTooOld, cudaErrorInsufficientDriver));
static_assert(same(kCudaBusy, cudaErrorDevicesUnavailable));
static_assert(same(kCudaNoDevice, cudaErrorNoDevice));
static_assert(same(kCudaInvalidDevice, cudaErrorInvalidDevice));
static_assert(same(kCudaStartupFailure, cudaErrorStartupFailure));
static_assert(same(kCudaNoKernelImage, cudaErrorNoKernelImageForDevice));
static_assert(same(kCudaEcc, cudaErrorECCUncorrectable));
static_assert(same(kCudaNvlink, cudaErrorNvlinkUncorrectable));
static_assert(same(kCudaUnsupportedPtx, cudaErrorUnsupportedPtxVersion));
static_assert(same(kCudaContained, cudaErrorContained));
static_assert(same(kCudaOperatingSystem, cudaErrorOperatingSystem));
static_assert(same(kCudaIllegalAddress, cudaErrorIllegalAddress));
static_assert(same(kCudaLaunchTimeout, cudaErrorLaunchTimeout));
static_assert(same(kCudaContextIsDestroyed, cudaErrorContextIsDestroyed));
static_assert(same(kCudaHardwareStack, cudaErrorHardwareStackError));
static_assert(same(kCudaIllegalInstruction, cudaErrorIllegalInstruction));
static_assert(same(kCudaMisalignedAddress, cudaErrorMisalignedAddress));
static_assert(same(kCudaInvalidPc, cudaErrorInvalidPc));
static_assert(same(kCudaLaunchFailure, cudaErrorLaunchFailure));
static_assert(same(kCudaNotPermitted, cudaErrorNotPermitted));
static_assert(same(kCudaNotSupported, cudaErrorNotSupported));
static_assert(same(kCudaSystemNotReady, cudaErrorSystemNotReady));
static_assert(same(kCudaDriverMismatch, cudaErrorSystemDriverMismatch));
static_assert(same(kCudaCompatibility, cudaErrorCompatNotSupportedOnDevice));
static_assert(same(kCudaUnknown, cudaErrorUnknown));

int versions(int* driver, int* runtime) {
  const cudaError_t status = cudaDriverGetVersion(driver);
  return status != cudaSuccess ? status : cudaRuntimeGetVersion(runtime);
}

int properties(CudaProperties* properties, int device) {
  // Large, and its symbol has changed with major versions; static linking keeps them together.
  cudaDeviceProp all{};
  cudaError_t status = cudaGetDeviceProperties(&all, device);
  if (status != cudaSuccess) return status;
  *properties = {.memory = all.totalGlobalMem, .major = all.major, .minor = all.minor};
  std::snprintf(properties->name, sizeof(properties->name), "%s", all.name);
  return cudaDeviceGetPCIBusId(properties->bus_id, sizeof(properties->bus_id), device);
}

int fill_with_zero(void* memory, std::size_t size) {
  const cudaError_t status = cudaMemset(memory, 0, size);
  return status != cudaSuccess ? status : cudaDeviceSynchronize();
}

int kind_of_pointer(CudaPointer* kind, const void* memory) {
  cudaPointerAttributes attributes{};
  const cudaError_t status = cudaPointerGetAttributes(&attributes, memory);
  if (status != cudaSuccess) return status;
  switch (attributes.type) {
    case cudaMemoryTypeHost:
      *kind = CudaPointer::kPinned;
      break;
    case cudaMemoryTypeDevice:
    case cudaMemoryTypeManaged:
      *kind = CudaPointer::kDevice;
      break;
    default:
      *kind = CudaPointer::kPageable;
  }
  return cudaSuccess;
}

unsigned flags_of(CudaEventUse use) {
  switch (use) {
    case CudaEventUse::kOrder:
      return cudaEventDisableTiming;
    case CudaEventUse::kTime:
      return cudaEventBlockingSync;
    case CudaEventUse::kClock:
      break;
  }
  return cudaEventDefault;
}

constexpr CudaApi kRuntime = {
    .architectures = SLUICE_CUDA_ARCHITECTURES,
    .error_name = [](int status) { return cudaGetErrorName(static_cast<cudaError_t>(status)); },
    .error_text = [](int status) { return cudaGetErrorString(static_cast<cudaError_t>(status)); },
    .forget_error = [] { static_cast<void>(cudaGetLastError()); },
    .versions = versions,
    .device_count = [](int* count) -> int { return cudaGetDeviceCount(count); },
    .device_by_bus_id = [](int* device, const char* bus_id) -> int {
      return cudaDeviceGetByPCIBusId(device, bus_id);
    },
    .properties = properties,
    .set_device = [](int device) -> int { return cudaSetDevice(device); },
    .memory_info = [](std::size_t* free, std::size_t* total) -> int {
      return cudaMemGetInfo(free, total);
    },
    .allocate = [](void** memory, std::size_t size) -> int { return cudaMalloc(memory, size); },
    .release = [](void* memory) -> int { return cudaFree(memory); },
    .fill_with_zero = fill_with_zero,
    .allocate_pinned = [](void** memory, std::size_t size) -> int {
      return cudaHostAlloc(memory, size, cudaHostAllocPortable);
    },
    .release_pinned = [](void* memory) -> int { return cudaFreeHost(memory); },
    .pin = [](void* memory, std::size_t size) -> int {
      return cudaHostRegister(memory, size, cudaHostRegisterPortable);
    },
    .unpin = [](void* memory) -> int { return cudaHostUnregister(memory); },
    .kind_of_pointer = kind_of_pointer,
    .create_stream = [](void** stream) -> int {
      return cudaStreamCreateWithFlags(reinterpret_cast<cudaStream_t*>(stream),
                                       cudaStreamNonBlocking);
    },
    .destroy_stream = [](void* stream) -> int { return cudaStreamDestroy(stream_of(stream)); },
    .synchronize_stream = [](void* stream) -> int {
      return cudaStreamSynchronize(stream_of(stream));
    },
    .wait_for_event = [](void* stream, void* event) -> int {
      return cudaStreamWaitEvent(stream_of(stream), event_of(event), cudaEventWaitDefault);
    },
    .copy = [](void* to, const void* from, std::size_t size, void* stream) -> int {
      return cudaMemcpyAsync(to, from, size, cudaMemcpyDefault, stream_of(stream));
    },
    .call_host = [](void* stream, void (*call)(void*), void* argument) -> int {
      return cudaLaunchHostFunc(stream_of(stream), call, argument);
    },
    .create_event = [](void** event, CudaEventUse use) -> int {
      return cudaEventCreateWithFlags(reinterpret_cast<cudaEvent_t*>(event), flags_of(use));
    },
    .destroy_event = [](void* event) -> int { return cudaEventDestroy(event_of(event)); },
    .record = [](void* event, void* stream) -> int {
      return cudaEventRecord(event_of(event), stream_of(stream));
    },
    .synchronize_event = [](void* event) -> int { return cudaEventSynchronize(event_of(event)); },
    .elapsed = [](float* milliseconds, void* start, void* end) -> int {
      return cudaEventElapsedTime(milliseconds, event_of(start), event_of(end));
    },
};

}  // namespace

const CudaApi& cuda_api() { return kRuntime; }

}  // namespace sluice
