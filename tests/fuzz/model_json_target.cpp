// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/base/error.h"
#include "engine/files/model_json.h"
#include "engine/model/model.h"
#include "tests/fuzz/fuzz_target.h"

namespace sluice {

// A shape that is accepted can be made into a model and its size be counted, and is read
// back as it was written.
SLUICE_FUZZ_TARGET(model_json) {
  const ModelShape shape = parse_model_json(std::string(bytes), "config.json");
  if (shape.layers <= 64) {
    const Workload workload = make_model(shape, {}).workload(1);
    SLUICE_CHECK(workload.parameters() > 0);
  }
  const std::string written = write_model_json(shape, DType::kBFloat16);
  SLUICE_CHECK(parse_model_json(written, "written") == shape);
}

}  // namespace sluice
