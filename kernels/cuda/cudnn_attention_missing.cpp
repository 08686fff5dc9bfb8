// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
// In the place of cudnn_attention.cpp in a build without cuDNN.

#include "kernels/cuda/cudnn_attention.h"

namespace sluice {

bool cudnn_attend(Queue& /*queue*/, const Attention& /*a*/) { return false; }
bool cudnn_attend_backward(Queue& /*queue*/, const AttentionBackward& /*a*/) { return false; }

void cudnn_prepare(Queue& /*queue*/, const Attention& /*a*/) {}
void cudnn_prepare(Queue& /*queue*/, const AttentionBackward& /*a*/) {}

std::string cudnn_note() {
  return "own tiled kernel, slower: built without cuDNN; install cuDNN 9, run "
         "`pip download nvidia-cudnn-frontend` where there is a network, and configure again "
         "with -D SLUICE_CUDNN=ON";
}

}  // namespace sluice
