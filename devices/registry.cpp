// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/registry.h"

#include <fmt/format.h>

#include "devices/base/error.h"
#include "devices/host/host_accelerator.h"

namespace sluice {

std::unique_ptr<Accelerator> make_accelerator(const std::string& kind,
                                              const AcceleratorOptions& options) {
  if (kind == "host") return std::make_unique<HostAccelerator>(options);
  throw Error(ErrorKind::kConfig,
              fmt::format("no device of kind '{}' in this build: expected \"host\"", kind));
}

}  // namespace sluice
