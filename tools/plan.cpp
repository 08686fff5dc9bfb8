// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <fmt/format.h>

#include "devices/base/error.h"
#include "engine/files/trace.h"
#include "engine/run/checkpoint_interval.h"
#include "engine/run/step_log.h"
#include "engine/run/weights.h"
#include "offload/plan_json.h"
#include "tools/commands.h"
#include "tools/output.h"

namespace sluice {

int run_plan(const LoadedConfig& loaded, const PlanOptions& options) {
  if (options.json == "-" && options.trace == "-") {
    throw Error(ErrorKind::kConfig,
                "--json - and --trace - share standard output: give one of them a file");
  }
  require_writable(options.json);
  require_writable(options.trace);
  const std::filesystem::path storage = loaded.config.limits.storage_path.empty()
                                            ? std::filesystem::path("runs") / loaded.name
                                            : loaded.config.limits.storage_path;
  // Weights that are yet to be fetched can be planned for.
  if (holds_weights(loaded.config.model.path)) check_start(loaded.config.model);
  const PlannedRun run =
      plan_run(loaded.config, {.machine = options.machine}, storage, /*may_exceed=*/true);
  if (!options.json.empty()) write_output(options.json, to_json(run.result, run.machine));
  const bool page = options.json != "-" && options.trace != "-";
  if (const auto* infeasible = std::get_if<Infeasible>(&run.result)) {
    if (page) fmt::print("{}", describe(*infeasible));
    throw_infeasible(*infeasible);
  }
  const Plan& plan = std::get<Plan>(run.result);
  if (page) {
    const std::int64_t every = checkpoint_interval(loaded.config.checkpoint, plan);
    fmt::print("{}  {}\n", describe(plan, run.machine), describe_interval(every, plan));
  }
  if (!options.trace.empty()) write_output(options.trace, trace_text(forecast_spans(plan), {}));
  return 0;
}

}  // namespace sluice
