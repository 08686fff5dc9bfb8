// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// The CPU as an accelerator: its device memory is an arena in RAM, its queues
// are threads, its links are as fast as memory or as slow as they are told to be.
// The reference for every other device, and a real way to train small models.

#include "devices/accelerator.h"
#include "devices/accelerator_options.h"

namespace sluice {

class HostAccelerator final : public Accelerator {
 public:
  explicit HostAccelerator(AcceleratorOptions options);

  std::string kind() const override { return "host"; }
  std::string description() const override;
  Bytes capacity() const override { return options_.capacity; }
  std::unique_ptr<Arena> reserve_device(Bytes size) override;
  std::unique_ptr<Arena> reserve_host(Bytes size) override;

  // A HostQueue. A compute queue gets options.threads workers of its own, a
  // link's queue one.
  std::unique_ptr<Queue> create_queue(QueueKind kind, std::size_t marks_kept) override;

 private:
  AcceleratorOptions options_;
};

}  // namespace sluice
