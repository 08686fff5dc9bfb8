// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// A transformer as offload sees it: layers embedding, blocks, head.

#include "engine/model/model_shape.h"
#include "offload/workload.h"

namespace sluice {

// Requires a complete shape (no zeros) and training.length <= shape.context.
// Model::workload(sequences) requires that `sequences` divides the global batch and
// training.groups the micro-batches that this gives. A flat parameter's tensors
// carry Hugging Face's names, shapes and layouts; the tied matrix comes first.
Model make_model(const ModelShape& shape, const TrainingShape& training);

}  // namespace sluice
