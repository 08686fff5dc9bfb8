// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
// Stands in for cuda_runtime.cpp where there is no CUDA toolkit.

#include "devices/base/error.h"
#include "devices/cuda/cuda_api.h"

namespace sluice {

const CudaApi& cuda_api() {
  throw Error(ErrorKind::kConfig,
              "this build has no CUDA: install the CUDA toolkit (12.2 or later), configure with "
              "-D SLUICE_CUDA=ON and build again, or train on the host device");
}

}  // namespace sluice
