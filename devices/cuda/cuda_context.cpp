// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/cuda/cuda_context.h"

#include "devices/cuda/cuda_error.h"

namespace sluice {

void CudaContext::enter() const { check_cuda(*api_, api_->set_device(device_), "use the GPU"); }

CudaStream make_stream(const CudaContext& context) {
  void* stream = nullptr;
  check_cuda(context.api(), context.api().create_stream(&stream), "create a stream on the GPU",
             CudaPhase::kStart);
  return CudaStream(stream, {context});
}

CudaEvent make_event(const CudaContext& context, CudaEventUse use) {
  void* event = nullptr;
  check_cuda(context.api(), context.api().create_event(&event, use), "create an event on the GPU",
             CudaPhase::kStart);
  return CudaEvent(event, {context});
}

}  // namespace sluice
