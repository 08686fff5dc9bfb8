// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <new>
#include <system_error>

#include "devices/base/error.h"
#include "devices/base/log.h"
#include "devices/base/out_of_memory.h"
#include "tools/arguments.h"
#include "tools/output.h"

namespace sluice {
namespace {

int run(const Arguments& arguments) {
  set_quiet(arguments.quiet);
  if (arguments.command == "doctor") return run_doctor(arguments.doctor);
  if (arguments.command == "clean") return run_clean(arguments.clean);
  if (arguments.command == "probe") return run_probe(arguments.probe);
  if (arguments.command == "generate") return run_generate(arguments.model, arguments.generate);
  if (arguments.command == "export") {
    return run_export(arguments.model, arguments.export_options);
  }
  if (arguments.command == "eval") return run_eval(arguments.eval);
  const LoadedConfig loaded = load_config(arguments.config, arguments.flags);
  if (arguments.print_config) {
    fmt::print("{}", print_config(loaded));
    return 0;
  }
  if (arguments.command == "plan") return run_plan(loaded, arguments.plan);
  if (arguments.command == "verify") return run_verify(loaded, arguments.verify);
  return run_train(loaded, arguments.train);
}

const char* name_of_code(int code) {
  switch (code) {
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
      return "internal error";
  }
}

int fail(int code, const std::string& what) {
  const std::string line =
      fmt::format("sluice: {} (exit {}: {})\n", one_line(what), code, name_of_code(code));
  std::fputs(line.c_str(), stderr);  // fmt::print would throw where nobody reads it
  return code;
}

int main_of(std::vector<std::string> words) {
  exit_where_memory_is_refused();
  try {
    const std::optional<Arguments> arguments = parse_arguments(std::move(words));
    const int code = arguments ? run(*arguments) : 0;
    flush_results();
    return code;
  } catch (const Error& error) {
    return fail(exit_code(error.kind()), error.what());
  } catch (const std::bad_alloc&) {
    return fail(3, "out of memory; lower limits.device and limits.host");
  } catch (const std::filesystem::filesystem_error& error) {
    return fail(6, fmt::format("{}: {}; check the path and its permissions", error.path1().string(),
                               error.code().message()));
  } catch (const std::system_error& error) {  // of the standard library's files, of fmt's output
    return fail(6, error.what());
  } catch (const std::exception& error) {
    return fail(1, error.what());
  }
}

// A file opened while one of the three is closed would take its place, and get what is
// meant for a person.
void open_standard_streams() {
  for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(descriptor, F_GETFD) == -1) static_cast<void>(::open("/dev/null", O_RDWR));
  }
}

}  // namespace
}  // namespace sluice

int main(int argc, char** argv) {
  sluice::open_standard_streams();
  return sluice::main_of({argv + 1, argv + argc});
}
