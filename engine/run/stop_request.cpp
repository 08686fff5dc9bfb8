// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "engine/run/stop_request.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <initializer_list>
#include <mutex>
#include <stop_token>
#include <string_view>
#include <utility>

#include "devices/accelerator.h"

namespace sluice {
namespace {

constexpr std::array kSignals = {SIGINT, SIGTERM, SIGUSR1, SIGHUP};

// A launcher may hand on the Ctrl-C that the terminal sends too: not two of a person's.
constexpr Seconds kSameKeypress{0.3};

std::atomic<int> asked_signals{0};
std::atomic<double> interrupted_at{0};  // by the first SIGINT; 0: there was none
std::array<struct sigaction, kSignals.size()> before{};
std::atomic<const StopLines*> lines{&kStopOfTraining};

std::atomic<const std::vector<std::string>*> all_that_is_made{nullptr};

void say(std::initializer_list<std::string_view> line) {
  for (const std::string_view part : line) {
    static_cast<void>(!::write(STDERR_FILENO, part.data(), part.size()));
  }
}

// Calls that a handler may make, alone.
void leave_if_nothing_is_lost() {
  const std::vector<std::string>* made = all_that_is_made.load();
  if (made == nullptr) return;
  for (const std::string& path : *made) {
    if (::unlink(path.c_str()) != 0) static_cast<void>(::rmdir(path.c_str()));
  }
  say({"\nstopped before the first step: nothing was kept\n"});
  _exit(kStopped);
}

void on_signal(int signal) {
  const int earlier = asked_signals.fetch_add(1);
  leave_if_nothing_is_lost();
  if (earlier == 0) {
    say({"\n", lines.load()->asked, signal == SIGINT ? "; Ctrl-C again ends at once\n" : "\n"});
  }
  if (signal != SIGINT) return;
  const double now = steady_seconds().count();
  double first = 0;
  if (interrupted_at.compare_exchange_strong(first, now)) return;
  if (now - first > kSameKeypress.count()) {
    say({"\nended at once: ", lines.load()->ended_at_once, "\n"});
    _exit(130);
  }
}

}  // namespace

StopRequest::StopRequest(std::optional<Seconds> limit, const StopLines& told) {
  lines = &told;
  if (limit) end_ = steady_seconds() + *limit;
  asked_signals = 0;
  interrupted_at = 0;
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  for (std::size_t i = 0; i < kSignals.size(); ++i) {
    sigaction(kSignals[i], &action, &before[i]);
    // nohup: who wants to outlive the terminal goes on.
    if (before[i].sa_handler == SIG_IGN) sigaction(kSignals[i], &before[i], nullptr);
  }
  if (!limit) return;
  watch_ = std::jthread([limit = std::min(*limit, Seconds{1e9})](const std::stop_token& ended) {
    std::mutex mutex;
    std::condition_variable_any never;
    std::unique_lock lock(mutex);
    never.wait_for(lock, ended, limit, [] { return false; });
    if (!ended.stop_requested()) leave_if_nothing_is_lost();
  });
}

StopRequest::~StopRequest() {
  finish_step();
  for (std::size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &before[i], nullptr);
}

void StopRequest::leave_at_once(std::vector<std::string> made) {
  all_that_is_made = &made_.emplace_back(std::move(made));
  if (asked()) leave_if_nothing_is_lost();
}

void StopRequest::finish_step() { all_that_is_made = nullptr; }

bool StopRequest::late() const {
  return end_ && steady_seconds() + Seconds{reserve_.load()} >= *end_;
}

bool StopRequest::asked() const { return asked_signals.load() > 0 || late(); }

std::string StopRequest::reason() const {
  if (asked_signals.load() > 0) return "signal";
  return late() ? "deadline" : "";
}

}  // namespace sluice
