// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <iostream>

#include "tools/commands.h"
#include "tools/output.h"

namespace sluice {

int run_generate(const std::filesystem::path& model, const GenerateOptions& options) {
  const bool bytes = is_byte_model(model);
  bool first = true;
  generate(model, options, [&](std::int32_t token) {
    if (bytes && first) {
      for (const std::int32_t id : options.prompt) std::cout.put(static_cast<char>(id));
    }
    if (bytes) {
      std::cout.put(static_cast<char>(token));
    } else {
      std::cout << (first ? "" : " ") << token;
    }
    flush_results();  // as it comes; nothing more where nobody gets it
    first = false;
  });
  std::cout << '\n';
  return 0;
}

}  // namespace sluice
