// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <fmt/format.h>

#include "devices/base/error.h"
#include "kernels/cuda/table.h"
#include "kernels/host/table.h"
#include "kernels/kernels.h"

namespace sluice {

const KernelTable& kernels_for(const std::string& kind) {
  if (kind == "host") return host_kernels();
  if (kind == "cuda") return cuda_kernels();
  throw Error(ErrorKind::kConfig,
              fmt::format("no kernels for device \"{}\": expected \"host\" or \"cuda\"", kind));
}

}  // namespace sluice
