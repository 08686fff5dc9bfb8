// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

#include "kernels/kernels.h"

namespace sluice {

// The host's kernels, for queues that are a HostQueue.
const KernelTable& host_kernels();

}  // namespace sluice
