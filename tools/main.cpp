// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>
#include <iterator>
#include <new>
#include <sstream>

#include "devices/base/error.h"
#include "devices/base/log.h"
#include "tools/commands.h"

namespace sluice {
namespace {

const char* name_of_code(int code) {
  switch (code) {
    case 1:
      return "internal error";
    case 2:
      return "config or usage";
    case 3:
      return "does not fit";
    case 4:
      return "data or model file";
    case 5:
      return "non-finite numbers";
    case 6:
      return "I/O or checkpoint failure";
    default:
      return "";
  }
}

std::vector<std::int32_t> tokens_of(const std::string& list) {
  std::vector<std::int32_t> tokens;
  std::string text = list;
  std::replace(text.begin(), text.end(), ',', ' ');
  std::istringstream in(text);
  for (std::int32_t token = 0; in >> token;) tokens.push_back(token);
  if (!in.eof()) {
    throw Error(ErrorKind::kConfig, "--prompt-tokens takes numbers: --prompt-tokens 12,7,90");
  }
  return tokens;
}

std::vector<std::int32_t> bytes_of_text(const std::string& text) {
  std::vector<std::int32_t> tokens;
  for (const char c : text) tokens.push_back(static_cast<unsigned char>(c));
  return tokens;
}

// What the command line fills; one subcommand uses a part of it.
struct Arguments {
  std::string config;
  bool quiet = false, print_config = false, json_flag = false;
  ProbeOptions probe;
  PlanOptions plan;
  TrainOptions train;
  VerifyOptions verify;
  EvalOptions eval;
  std::string model, prompt, prompt_tokens, machine, plan_file, threads, io;
  GenerateOptions generate;
};

CLI::App* add_command(CLI::App& app, const std::string& name, const std::string& what,
                      const std::string& example, Arguments& a) {
  CLI::App* command = app.add_subcommand(name, what);
  command->footer("Example: sluice " + example);
  command->add_flag("--quiet", a.quiet, "no talk on standard error, only warnings");
  return command;
}

void add_config(CLI::App* command, Arguments& a) {
  command->add_option("CONFIG", a.config, "run config (TOML); - reads standard input");
  command->add_flag("--print-config", a.print_config, "print the resolved config and stop");
  command->footer(command->get_footer() +
                  "\nEvery key of a run config is a flag too: --train.steps 100, "
                  "--limits.device 64MiB. Keys:\n" +
                  config_help());
}

void add_commands(CLI::App& app, Arguments& a) {
  CLI::App* doctor = add_command(app, "doctor", "what this machine offers, and what is missing",
                                 "doctor --json", a);
  doctor->add_flag("--json", a.json_flag, "as JSON");

  CLI::App* probe =
      add_command(app, "probe", "measure rates, write a machine file", "probe --out here.toml", a);
  probe->add_option("--out", a.probe.out, "file; - is standard output (default: cached)");
  probe->add_flag("--quick", a.probe.quick, "in about 15 seconds");

  CLI::App* plan = add_command(app, "plan", "where every byte will live, how long a step takes",
                               "plan configs/quickstart.toml --limits.device 64MiB", a);
  add_config(plan, a);
  plan->add_option("--machine", a.machine, "machine file");
  plan->add_option("--json", a.plan.json, "write plan.json; - is standard output");
  plan->add_option("--trace", a.plan.trace, "write the forecast as a trace");

  CLI::App* train =
      add_command(app, "train", "train", "train configs/quickstart.toml --train.steps 100", a);
  add_config(train, a);
  train->add_option("--run-dir", a.train.run_dir, "default: runs/<config name>");
  train->add_option("--plan", a.plan_file, "replay this plan");
  train->add_option("--machine", a.machine, "machine file");
  train->add_flag("--resume", a.train.resume, "go on from the newest checkpoint");
  train->add_flag("--overwrite", a.train.overwrite, "replace the run that is there");
  train->add_flag("--serial", a.train.serial, "one operation at a time");
  train->add_flag("--dry-run", a.train.dry_run, "all but step 0");

  CLI::App* verify = add_command(app, "verify", "the same bits in every placement",
                                 "verify configs/quickstart.toml --steps 2", a);
  add_config(verify, a);
  verify->add_option("--steps", a.verify.steps, "steps of each placement")
      ->check(CLI::Range(1, 1000000));
  verify->add_flag("--all", a.verify.all, "the full product");
  verify->add_option("--threads", a.threads, "list: 1,2,8");
  verify->add_option("--io", a.io, "list: uring,threads");

  CLI::App* eval = add_command(app, "eval", "loss over held-out text", "eval runs/quickstart", a);
  eval->add_option("CONFIG_OR_MODEL", a.eval.what, "config, run directory or model folder")
      ->required();
  eval->add_option("--data", a.eval.data, "files, folders, globs");
  eval->add_option("--json", a.eval.json, "write as JSON; - is standard output");

  CLI::App* generate = add_command(app, "generate", "sample text from a model",
                                   "generate runs/quickstart --prompt 'The ' --tokens 200", a);
  generate->add_option("MODEL", a.model, "run directory or model folder")->required();
  generate->add_option("--prompt", a.prompt, "text, for models of bytes");
  generate->add_option("--prompt-tokens", a.prompt_tokens, "token ids: 12,7,90");
  generate->add_option("--tokens", a.generate.tokens, "how many")->check(CLI::Range(1, 1000000));
  generate->add_option("--temperature", a.generate.temperature, "0: the likeliest")
      ->check(CLI::Range(0.0, 100.0));
  generate->add_option("--top-k", a.generate.top_k, "of the k likeliest; 0: all")
      ->check(CLI::Range(0, 1000000000));
  generate->add_option("--seed", a.generate.seed, "of the draws");
}

void set_lists(Arguments& a) {
  if (!a.threads.empty()) {
    const std::vector<std::int32_t> threads = tokens_of(a.threads);
    a.verify.threads.assign(threads.begin(), threads.end());
  }
  if (!a.io.empty()) {
    a.verify.io.clear();
    std::istringstream in(a.io);
    for (std::string io; std::getline(in, io, ',');) {
      if (io != "uring" && io != "threads") {
        throw Error(ErrorKind::kConfig, fmt::format("--io {}: takes uring, threads", io));
      }
      a.verify.io.push_back(io);
    }
  }
  for (const int threads : a.verify.threads) {
    if (threads < 1 || threads > 1024) {
      throw Error(ErrorKind::kConfig, fmt::format("--threads {}: takes 1 to 1024", threads));
    }
  }
  if (!a.machine.empty()) a.plan.machine = a.train.machine = a.machine;
  if (!a.plan_file.empty()) a.train.plan = a.plan_file;
  a.generate.prompt = a.prompt_tokens.empty() ? bytes_of_text(a.prompt.empty() ? "\n" : a.prompt)
                                              : tokens_of(a.prompt_tokens);
}

int run(const CLI::App& app, Arguments& a, const std::vector<ConfigFlag>& flags) {
  set_quiet(a.quiet);
  set_lists(a);
  if (app.got_subcommand("doctor")) return run_doctor(a.json_flag);
  if (app.got_subcommand("probe")) return run_probe(a.probe);
  if (app.got_subcommand("generate")) return run_generate(a.model, a.generate);
  if (app.got_subcommand("eval")) {
    a.eval.flags = flags;
    return run_eval(a.eval);
  }
  const LoadedConfig loaded = load_config(a.config, flags);
  if (a.print_config) {
    fmt::print("{}", print_config(loaded));
    return 0;
  }
  if (app.got_subcommand("plan")) return run_plan(loaded, a.plan);
  if (app.got_subcommand("verify")) return run_verify(loaded, a.verify);
  return run_train(loaded, a.train);
}

int usage_error(const CLI::App& app, const CLI::ParseError& error) {
  if (error.get_exit_code() == 0) return app.exit(error);  // --help
  std::string what = error.what();
  std::replace(what.begin(), what.end(), '\n', ' ');
  fmt::print(stderr, "sluice: {}; see `sluice --help` (exit 2: {})\n", what, name_of_code(2));
  return 2;
}

int fail(int code, const std::string& what) {
  fmt::print(stderr, "sluice: {} (exit {}: {})\n", what, code, name_of_code(code));
  return code;
}

int main_of(std::vector<std::string> words) {
  Arguments arguments;
  CLI::App app("Sluice trains transformers whose training state does not fit in device memory.",
               "sluice");
  app.require_subcommand(1);
  app.footer("Example: sluice train configs/quickstart.toml");
  add_commands(app, arguments);
  try {
    const std::vector<ConfigFlag> flags = take_config_flags(words);
    std::reverse(words.begin(), words.end());  // CLI11 takes them from the back
    app.parse(words);
    return run(app, arguments, flags);
  } catch (const CLI::ParseError& error) {
    return usage_error(app, error);
  } catch (const Error& error) {
    return fail(exit_code(error.kind()), error.what());
  } catch (const std::bad_alloc&) {
    return fail(3, "out of memory; lower limits.device and limits.host");
  } catch (const std::exception& error) {
    return fail(1, error.what());
  }
}

}  // namespace
}  // namespace sluice

int main(int argc, char** argv) { return sluice::main_of({argv + 1, argv + argc}); }
