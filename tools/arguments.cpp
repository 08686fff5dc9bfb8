// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "tools/arguments.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <sstream>

#include "devices/base/error.h"
#include "devices/base/format.h"
#include "devices/base/nearest.h"
#include "engine/config/keys.h"

namespace sluice {
namespace {

// What needs a second look after CLI11 has filled it in.
struct Raw {
  std::string model, prompt, prompt_tokens, machine, plan_file, threads, io, dtype, max_shard,
      deadline;
};

[[noreturn]] void refuse(const std::string& what) { throw Error(ErrorKind::kConfig, what); }

std::vector<std::int32_t> numbers_of(const std::string& flag, std::string list) {
  std::replace(list.begin(), list.end(), ',', ' ');
  std::istringstream in(list);
  std::vector<std::int32_t> numbers;
  for (std::int32_t number = 0; in >> number;) numbers.push_back(number);
  if (!in.eof() || numbers.empty()) refuse(fmt::format("{} takes numbers: {} 1,2,8", flag, flag));
  return numbers;
}

std::vector<std::int32_t> bytes_of_text(const std::string& text) {
  std::vector<std::int32_t> tokens;
  for (const char c : text) tokens.push_back(static_cast<unsigned char>(c));
  return tokens;
}

CLI::App* add_command(CLI::App& app, Arguments& a, const std::string& name, const std::string& what,
                      const std::string& example) {
  CLI::App* command = app.add_subcommand(name, what);
  command->footer("Example: sluice " + example);
  command->add_flag("--quiet", a.quiet, "no talk on standard error, only warnings");
  return command;
}

void add_keys(CLI::App* command) {
  command->footer(command->get_footer() +
                  "\nEvery key of a run config is a flag too: --train.steps 100, "
                  "--limits.device 64MiB. Keys:\n" +
                  config_help());
}

CLI::App* add_config_command(CLI::App& app, Arguments& a, const std::string& name,
                             const std::string& what, const std::string& example) {
  CLI::App* command = add_command(app, a, name, what, example);
  command->add_option("CONFIG", a.config,
                      "run config (TOML); - is standard input; may be left out where flags say "
                      "enough");
  command->add_flag("--print-config", a.print_config, "print the resolved config and stop");
  add_keys(command);
  return command;
}

void add_machine_commands(CLI::App& app, Arguments& a) {
  CLI::App* doctor = add_command(
      app, a, "doctor", "What this machine offers, which limit binds, and what is missing.",
      "doctor --json");
  doctor->add_flag("--json", a.doctor.json, "as JSON");
  doctor->add_option("--limits.storage_path", a.doctor.storage,
                     "folder to examine as storage (default: the current one)");

  CLI::App* clean = add_command(app, a, "clean",
                                "Removes swap files that killed runs left. What a living process "
                                "holds stays, and so does what sluice did not write.",
                                "clean --dry-run /mnt/nvme runs/");
  clean->add_option("PATH", a.clean.paths,
                    "swap files, or folders that are searched with the run directories in them "
                    "(default: the current folder)");
  clean->add_flag("--dry-run", a.clean.dry_run, "say what would be removed");

  CLI::App* probe = add_command(app, a, "probe",
                                "Measures this machine's rates and writes a machine file, which "
                                "plan and train then use.",
                                "probe --quick --out here.toml");
  probe->add_option("--out", a.probe.out,
                    "machine file; - is standard output (default: this machine's cached file)");
  probe->add_flag("--quick", a.probe.quick, "in at most 15 seconds");
  probe->add_option("--limits.accelerator", a.probe.accelerator,
                    "device that is measured: auto, host, or a GPU by name");
  probe->add_option("--limits.storage_path", a.probe.storage,
                    "folder whose drive is measured (default: the current one)");
}

void add_run_commands(CLI::App& app, Arguments& a, Raw& raw) {
  CLI::App* plan = add_config_command(
      app, a, "plan",
      "Where every byte will live and how long a step will take; needs no data, weights or GPU.",
      "plan configs/quickstart.toml --limits.device 64MiB");
  plan->add_option("--machine", raw.machine, "machine file (default: what probe measured)");
  plan->add_option("--json", a.plan.json, "write plan.json; - is standard output");
  plan->add_option("--trace", a.plan.trace,
                   "write the forecast for a trace viewer; - is standard output");

  CLI::App* train = add_config_command(app, a, "train", "Trains a model.",
                                       "train configs/quickstart.toml --train.steps 100");
  train->add_option("--run-dir", a.train.run_dir, "default: runs/<config name>");
  train->add_option("--plan", raw.plan_file, "replay this plan");
  train->add_option("--machine", raw.machine, "machine file (default: what probe measured)");
  train->add_flag("--resume", a.train.resume, "go on from the newest checkpoint");
  train->add_flag("--overwrite", a.train.overwrite, "replace the run that is there");
  train->add_option("--deadline", raw.deadline,
                    "end before so much time is over, with a checkpoint, as after a signal: 2h30m");
  train->add_flag("--serial", a.train.serial, "one operation at a time");
  train->add_flag("--dry-run", a.train.dry_run, "all but step 0");

  CLI::App* verify = add_config_command(
      app, a, "verify", "Trains a few steps in many placements: all must give the same bits.",
      "verify configs/quickstart.toml --steps 2");
  verify->add_option("--steps", a.verify.steps, "steps of each placement")
      ->check(CLI::Range(1, 1000000));
  verify->add_flag("--all", a.verify.all, "the full product of all choices");
  verify->add_flag("--drop-edge", a.verify.drop_edge,
                   "leave one derived edge out of each placement: a difference must be found");
  verify->add_option("--threads", raw.threads, "thread counts: 1,2,8");
  verify->add_option("--io", raw.io, "storage back ends: uring,threads");
}

void add_model_commands(CLI::App& app, Arguments& a, Raw& raw) {
  CLI::App* eval = add_command(app, a, "eval",
                               "Loss, perplexity and bits per byte of a model over held-out data.",
                               "eval runs/quickstart --json -");
  eval->add_option("CONFIG_OR_MODEL", a.eval.what,
                   "config, run directory, checkpoint or model folder")
      ->required();
  eval->add_option("--data", a.eval.data,
                   "file, folder or glob, may be given again; - is standard input")
      ->allow_extra_args(false);
  eval->add_option("--json", a.eval.json, "write as JSON; - is standard output");
  eval->add_flag("--print-config", a.eval.print_config, "print the resolved config and stop");
  add_keys(eval);

  CLI::App* generate = add_command(app, a, "generate", "Samples text from a model.",
                                   "generate runs/quickstart --prompt 'The ' --tokens 200");
  generate->add_option("MODEL", raw.model, "run directory, checkpoint or model folder")->required();
  generate->add_option("--prompt", raw.prompt, "text, for models of bytes");
  generate->add_option("--prompt-tokens", raw.prompt_tokens, "token ids: 12,7,90");
  generate->add_option("--tokens", a.generate.tokens, "how many")->check(CLI::Range(1, 1000000));
  generate->add_option("--temperature", a.generate.temperature, "0: the likeliest")
      ->check(CLI::Range(0.0, 100.0));
  generate->add_option("--top-k", a.generate.top_k, "of the k likeliest; 0: all")
      ->check(CLI::Range(0, 1000000000));
  generate->add_option("--seed", a.generate.seed, "of the draws");
  generate->add_option("--logits", a.generate.logits,
                       "write what each token was drawn from: rows of fp32, one a token");

  CLI::App* to_folder =
      add_command(app, a, "export", "Writes a model as a Hugging Face folder, and reads it back.",
                  "export runs/quickstart --out quickstart-bf16 --dtype bf16");
  to_folder->add_option("MODEL", raw.model, "run directory or model folder")->required();
  to_folder->add_option("--out", a.export_options.out, "the folder to make")->required();
  to_folder->add_option("--dtype", raw.dtype, "fp32 or bf16 (default: as the weights are stored)");
  to_folder->add_option("--max-shard-size", raw.max_shard, "of a file (default: 5GB)");
  to_folder->add_flag("--overwrite", a.export_options.overwrite,
                      "replace the model folder that is there");
}

// A file to read: "-" is standard input, which can be read once.
std::filesystem::path input_of(const std::string& path, bool& stdin_used) {
  if (path != "-") return path;
  if (stdin_used) refuse("- stands for standard input twice: give one of them a file");
  stdin_used = true;
  return "/dev/stdin";
}

void set_verify(const Raw& raw, VerifyOptions& verify) {
  if (!raw.threads.empty()) {
    const std::vector<std::int32_t> threads = numbers_of("--threads", raw.threads);
    verify.threads.assign(threads.begin(), threads.end());
    for (const int count : verify.threads) {
      if (count < 1 || count > 1024) refuse(fmt::format("--threads {}: takes 1 to 1024", count));
    }
  }
  if (raw.io.empty()) return;
  verify.io.clear();
  std::istringstream in(raw.io);
  for (std::string io; std::getline(in, io, ',');) {
    if (io != "uring" && io != "threads") refuse(fmt::format("--io {}: takes uring, threads", io));
    verify.io.push_back(io);
  }
}

void set_export(const Raw& raw, ExportOptions& options) {
  if (!raw.dtype.empty()) {
    if (raw.dtype != "fp32" && raw.dtype != "bf16") {
      refuse(fmt::format("--dtype {}: takes fp32 or bf16", raw.dtype));
    }
    options.dtype = raw.dtype == "fp32" ? DType::kFloat32 : DType::kBFloat16;
  }
  if (raw.max_shard.empty()) return;
  options.max_shard = parse_bytes(raw.max_shard);
  if (options.max_shard.value < 1) refuse("--max-shard-size must be at least a byte");
}

void finish(const Raw& raw, Arguments& a) {
  bool stdin_used = a.config == "-";
  if (!raw.machine.empty()) a.plan.machine = a.train.machine = input_of(raw.machine, stdin_used);
  if (!raw.plan_file.empty()) a.train.plan = input_of(raw.plan_file, stdin_used);
  if (!raw.deadline.empty()) a.train.deadline = parse_duration(raw.deadline);
  set_verify(raw, a.verify);
  set_export(raw, a.export_options);
  a.model = raw.model;
  if (!raw.prompt.empty() && !raw.prompt_tokens.empty()) {
    refuse("--prompt and --prompt-tokens say the same thing: give one of them");
  }
  a.generate.prompt = raw.prompt_tokens.empty()
                          ? bytes_of_text(raw.prompt.empty() ? "\n" : raw.prompt)
                          : numbers_of("--prompt-tokens", raw.prompt_tokens);
  const std::filesystem::path here = std::filesystem::current_path();
  if (a.doctor.storage.empty()) a.doctor.storage = here;
  if (a.probe.storage.empty()) a.probe.storage = here;
  if (a.clean.paths.empty()) a.clean.paths.push_back(here);
  a.eval.flags = a.flags;
}

// The command that the first word names.
CLI::App& command_of(CLI::App& app, const std::vector<std::string>& words) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands({})) names.push_back(command->get_name());
  if (words.empty()) refuse(fmt::format("give a command: {}", fmt::join(names, ", ")));
  const auto found = std::find(names.begin(), names.end(), words.front());
  if (found == names.end()) {
    const std::string nearest = nearest_of(words.front(), names);
    refuse(fmt::format("there is no command {}; {}", words.front(),
                       nearest.empty() ? fmt::format("give one of {}", fmt::join(names, ", "))
                                       : "the nearest is " + nearest));
  }
  return *app.get_subcommand(*found);
}

// The flag that is near the one typed: of a command's own `names`, or a key.
std::string nearest_flag(const std::string& typed, const std::vector<std::string>& names,
                         bool takes_keys) {
  std::string best = nearest_of(typed, names);
  if (!takes_keys) return best;
  const std::string key = nearest_key(typed);
  const std::size_t distance = edit_distance(typed, key.substr(key.find('.') + 1));
  const bool nearer = best.empty() || distance < edit_distance(typed, best);
  return is_near(typed, distance) && nearer ? key : best;
}

// Refuses flags that `command` does not have, with one of its own that is near.
void check_flags(const CLI::App& command, const std::vector<std::string>& words, bool takes_keys) {
  std::vector<std::string> names;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back(name);
  }
  for (const std::string& word : words) {
    if (word.rfind("--", 0) != 0 || word.size() == 2) continue;
    const std::string name = word.substr(2, word.find('=') - 2);
    if (std::find(names.begin(), names.end(), name) != names.end()) continue;
    const std::string near = nearest_flag(name, names, takes_keys);
    refuse(fmt::format("{} has no flag --{}; {}", command.get_name(), name,
                       near.empty() ? fmt::format("see sluice {} --help", command.get_name())
                                    : "the nearest is --" + near));
  }
}

// An empty word, as of a shell variable that is not set, would be taken for none.
void refuse_empty(const CLI::App& command) {
  for (const CLI::Option* option : command.get_options()) {
    const std::string name = option->get_name();
    if (name == "--prompt") continue;
    for (const std::string& value : option->results()) {
      if (!value.empty()) continue;
      refuse(fmt::format("{}: {} is empty; give it a value, or leave it out", command.get_name(),
                         name));
    }
  }
}

}  // namespace

std::optional<Arguments> parse_arguments(std::vector<std::string> words) {
  Arguments arguments;
  Raw raw;
  CLI::App app("Sluice trains transformers whose training state does not fit in device memory.",
               "sluice");
  app.set_version_flag("--version", "sluice " SLUICE_VERSION);
  app.footer(
      "Each command has --help.\nExample: sluice train configs/quickstart.toml --train.steps 100");
  add_machine_commands(app, arguments);
  add_run_commands(app, arguments, raw);
  add_model_commands(app, arguments, raw);
  try {
    const std::string first = words.empty() ? "" : words.front();
    if (first != "--help" && first != "-h" && first != "--version") {
      const CLI::App& command = command_of(app, words);
      arguments.command = command.get_name();
      const bool takes_keys = command.get_option_no_throw("--print-config") != nullptr;
      if (takes_keys) arguments.flags = take_config_flags(words);
      check_flags(command, words, takes_keys);
    }
    std::reverse(words.begin(), words.end());  // CLI11 takes them from the back
    app.parse(words);
    for (const CLI::App* command : app.get_subcommands()) refuse_empty(*command);
  } catch (const CLI::Success& asked) {
    app.exit(asked);
    return std::nullopt;
  } catch (const CLI::ParseError& error) {
    std::string what = error.what();
    std::replace(what.begin(), what.end(), '\n', ' ');
    refuse(fmt::format("{}; see sluice {}{}--help", what, arguments.command,
                       arguments.command.empty() ? "" : " "));
  }
  finish(raw, arguments);
  return arguments;
}

}  // namespace sluice
