// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/cuda/cuda_error.h"

#include <fmt/format.h>

#include <string>

namespace sluice {
namespace {

struct Meaning {
  ErrorKind kind = ErrorKind::kInternal;
  std::string why;
  std::string remedy;
};

constexpr const char* kGone = "the last saved state is intact; look for Xid lines in dmesg";
constexpr const char* kBug = "the last saved state is intact; please report this as a bug";

std::string version(int number) { return fmt::format("{}.{}", number / 1000, number % 1000 / 10); }

// CUDA has one status for both: a driver too old and no driver at all.
Meaning driver(const CudaApi& api) {
  int driver = 0;
  int runtime = 0;
  if (api.versions(&driver, &runtime) != kCudaSuccess || driver == 0) {
    return {ErrorKind::kConfig, "there is no NVIDIA driver on this machine",
            "install one (nvidia-smi must work), or train on the host device"};
  }
  return {ErrorKind::kConfig,
          fmt::format("the NVIDIA driver is too old: it is made for CUDA {}, this build for {}",
                      version(driver), version(runtime)),
          "update the driver, or build against an older toolkit"};
}

Meaning meaning_in_run(const CudaApi& api, int status) {
  switch (status) {
    case kCudaEcc:
      return {.why = "uncorrectable memory error (ECC) on the GPU", .remedy = kGone};
    case kCudaNvlink:
    case kCudaContained:
      return {.why = "uncorrectable hardware error of the GPU", .remedy = kGone};
    case kCudaBusy:
    case kCudaNoDevice:
    case kCudaUnknown:
      return {.why = "the GPU does not answer any more", .remedy = kGone};
    case kCudaLaunchTimeout:
      return {.why = "a kernel ran into the display's time limit",
              .remedy = "use a GPU that drives no screen"};
    case kCudaContextIsDestroyed:
      return {.why = "the GPU's context was destroyed", .remedy = kGone};
    case kCudaIllegalAddress:
    case kCudaMisalignedAddress:
    case kCudaIllegalInstruction:
    case kCudaHardwareStack:
    case kCudaInvalidPc:
    case kCudaLaunchFailure:
      return {.why = fmt::format("a kernel failed on the GPU: {}", api.error_text(status)),
              .remedy = kBug};
    default:
      return {.why = api.error_text(status), .remedy = "the last saved state is intact"};
  }
}

Meaning meaning_at_start(const CudaApi& api, int status) {
  switch (status) {
    case kCudaDriverTooOld:
      return driver(api);
    case kCudaNoDevice:
      return {ErrorKind::kConfig, "the driver sees no GPU",
              "look at nvidia-smi and CUDA_VISIBLE_DEVICES, or train on the host device"};
    case kCudaInvalidDevice:
      return {ErrorKind::kConfig, "there is no such GPU",
              "sluice doctor lists the GPUs with their bus ids"};
    case kCudaBusy:
      return {ErrorKind::kConfig, "the GPU is busy: another process holds it for itself",
              "end that process (nvidia-smi lists it), or take another GPU"};
    case kCudaSystemNotReady:
      return {ErrorKind::kConfig, "the GPU's services are not ready",
              "start nvidia-fabricmanager or wait for it"};
    case kCudaDriverMismatch:
      return {ErrorKind::kConfig, "kernel module and user libraries of the driver do not match",
              "restart the machine after the driver's update"};
    case kCudaNotInitialized:
    case kCudaStartupFailure:
    case kCudaOperatingSystem:
    case kCudaNotPermitted:
    case kCudaNotSupported:
    case kCudaCompatibility:
    case kCudaUnknown:
      return {ErrorKind::kConfig, "the driver does not start",
              "see that nvidia-smi works here, and in a container that it was started with its "
              "GPUs (/dev/nvidia-uvm); or train on the host device"};
    default:
      return meaning_in_run(api, status);
  }
}

Meaning meaning_of(const CudaApi& api, int status, CudaPhase phase) {
  switch (status) {
    case kCudaNoMemory:
      return {ErrorKind::kNoFit, "the GPU or the driver is out of memory",
              "end what else runs there, or lower --limits.device"};
    case kCudaNoKernelImage:
    case kCudaUnsupportedPtx:
      return {
          ErrorKind::kConfig,
          fmt::format("this build has no kernels for this GPU (built for {})", api.architectures),
          "configure with -D CMAKE_CUDA_ARCHITECTURES for it and build again"};
    default:
      return phase == CudaPhase::kStart ? meaning_at_start(api, status)
                                        : meaning_in_run(api, status);
  }
}

}  // namespace

Error cuda_error(const CudaApi& api, int status, std::string_view doing, CudaPhase phase) {
  api.forget_error();
  const Meaning meaning = meaning_of(api, status, phase);
  return Error(meaning.kind, fmt::format("cannot {}: {} ({}); {}", doing, meaning.why,
                                         api.error_name(status), meaning.remedy));
}

}  // namespace sluice
