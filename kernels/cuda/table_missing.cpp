// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
// In the place of table.cpp in a build without CUDA.

#include "devices/base/error.h"
#include "kernels/cuda/table.h"

namespace sluice {

const KernelTable& cuda_kernels() {
  throw Error(
      ErrorKind::kConfig,
      "no kernels for device \"cuda\" in this build: install the CUDA toolkit and configure "
      "with -DSLUICE_CUDA=ON, or set device = \"host\"");
}

std::vector<std::string> cuda_kernel_notes() { return {}; }

}  // namespace sluice
