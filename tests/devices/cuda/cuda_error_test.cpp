// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/cuda/cuda_error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/devices/cuda/fake_cuda.h"

namespace sluice {
namespace {

using testing::HasSubstr;
using testing::Not;

struct Case {
  int status;
  CudaPhase phase;
  ErrorKind kind;
  const char* text;
};

TEST(CudaError, SaysInOneLineWhatHappenedAndWhatToDo) {
  const FakeCuda fake;
  constexpr auto start = CudaPhase::kStart;
  constexpr auto run = CudaPhase::kRun;
  for (const Case& c : {
           Case{kCudaNoDevice, start, ErrorKind::kConfig, "the driver sees no GPU"},
           Case{kCudaBusy, start, ErrorKind::kConfig, "the GPU is busy"},
           Case{kCudaNoMemory, start, ErrorKind::kNoFit, "--limits.device"},
           Case{kCudaNoKernelImage, start, ErrorKind::kConfig, "built for 90a"},
           Case{kCudaNoKernelImage, run, ErrorKind::kConfig, "CMAKE_CUDA_ARCHITECTURES"},
           Case{kCudaDriverMismatch, start, ErrorKind::kConfig, "restart the machine"},
           Case{kCudaEcc, run, ErrorKind::kInternal, "(ECC)"},
           Case{kCudaEcc, run, ErrorKind::kInternal, "last saved state is intact"},
           Case{kCudaEcc, start, ErrorKind::kInternal, "(ECC)"},
           Case{kCudaBusy, run, ErrorKind::kInternal, "does not answer any more"},
           Case{kCudaUnknown, run, ErrorKind::kInternal, "does not answer any more"},
           Case{kCudaUnknown, start, ErrorKind::kConfig, "/dev/nvidia-uvm"},
           Case{kCudaOperatingSystem, start, ErrorKind::kConfig, "the driver does not start"},
           Case{kCudaNotInitialized, start, ErrorKind::kConfig, "the driver does not start"},
           Case{kCudaIllegalAddress, run, ErrorKind::kInternal, "a kernel failed on the GPU"},
           Case{1, run, ErrorKind::kInternal, "a fault was injected"},
       }) {
    const Error error = cuda_error(fake.api(), c.status, "do it", c.phase);
    EXPECT_EQ(error.kind(), c.kind) << error.what();
    EXPECT_THAT(error.what(), HasSubstr(c.text));
    EXPECT_THAT(error.what(), HasSubstr("cannot do it: "));
    EXPECT_THAT(error.what(), HasSubstr("(cudaErrorFake)"));
    EXPECT_THAT(error.what(), Not(HasSubstr("\n")));
  }
}

TEST(CudaError, TellsNoDriverFromAnOldOne) {
  FakeCuda fake;
  const auto text = [&] {
    return std::string(
        cuda_error(fake.api(), kCudaDriverTooOld, "find a GPU", CudaPhase::kStart).what());
  };
  fake.driver_version = 0;
  EXPECT_THAT(text(), HasSubstr("there is no NVIDIA driver"));
  fake.driver_version = 12020;
  EXPECT_THAT(text(), HasSubstr("made for CUDA 12.2, this build for 13.0"));
}

TEST(CudaError, OfSuccessIsNone) {
  EXPECT_NO_THROW(check_cuda(FakeCuda::api(), kCudaSuccess, "do it"));
}

}  // namespace
}  // namespace sluice
