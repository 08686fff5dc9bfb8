// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "offload/check.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <initializer_list>
#include <map>

#include "devices/base/error.h"
#include "offload/operands.h"

namespace sluice {
namespace {

Symbol combine(const std::vector<Symbol>& parts) {
  const Symbol hash = XXH3_64bits(parts.data(), parts.size() * sizeof(Symbol));
  return hash == 0 ? 1 : hash;
}

// One tier's bytes: a partition into ranges of one symbol each.
class SymbolMemory {
 public:
  SymbolMemory() { pieces_[0] = 0; }

  void write(std::int64_t begin, std::int64_t end, Symbol symbol) {
    split(begin);
    split(end);
    pieces_.erase(pieces_.lower_bound(begin), pieces_.lower_bound(end));
    pieces_[begin] = symbol;
  }

  // Calls visit(begin, end, symbol) for the pieces of [begin, end).
  template <typename Visit>
  void read(std::int64_t begin, std::int64_t end, Visit visit) const {
    auto piece = std::prev(pieces_.upper_bound(begin));
    while (begin < end) {
      const Symbol symbol = piece->second;
      ++piece;
      const std::int64_t stop = piece == pieces_.end() ? end : std::min(end, piece->first);
      visit(begin, stop, symbol);
      begin = stop;
    }
  }

 private:
  void split(std::int64_t at) {
    auto piece = std::prev(pieces_.upper_bound(at));
    if (piece->first != at) pieces_.emplace_hint(std::next(piece), at, piece->second);
  }

  std::map<std::int64_t, Symbol> pieces_;  // from here to the next key
};

class Interpreter {
 public:
  Interpreter(const Workload& workload, const Program& program)
      : workload_(workload), program_(program), saved_(program.homes.size()) {
    for (std::size_t f = 0; f < program.homes.size(); ++f) {
      write_home(program.homes[f].weight, combine({'w', f}));
      write_home(program.homes[f].state, combine({'s', f}));
    }
  }

  SymbolicRun run(int steps) {
    // Step numbers from 1; the iterations before and after are masked.
    for (int iteration = 0; iteration <= steps + 1; ++iteration) {
      for (const Operation& operation : program_.operations) {
        const int step = iteration - operation.stage;
        if (step < 1 || step > steps) continue;
        interpret(operation, step);
        if (!result_.fault.empty()) return std::move(result_);
      }
    }
    check_saved(steps);
    for (const FlatHomes& homes : program_.homes) {
      result_.weights.push_back(home_symbol(homes.weight));
      result_.states.push_back(homes.state == kNoBuffer ? 0 : home_symbol(homes.state));
    }
    return std::move(result_);
  }

 private:
  const Access& operand(const Operation& operation, std::size_t index) const {
    return program_.accesses[operation.first_access + index];
  }

  // The symbol of an operand: that of its bytes if they are one piece, else a
  // number made of all pieces and where they lie.
  Symbol value(const Operation& operation, std::size_t index) {
    const Access& access = operand(operation, index);
    return access.exists() ? value(operation, access) : 2;
  }

  Symbol value(const Operation& operation, const Access& access) {
    std::vector<Symbol> pieces;
    Symbol only = 0;
    bool uniform = true, written = true;
    const std::int64_t begin = begin_of(access);
    memory(access).read(begin, begin + access.size.value,
                        [&](std::int64_t from, std::int64_t, Symbol symbol) {
                          written = written && symbol != 0;
                          uniform = uniform && (pieces.empty() || symbol == only);
                          only = symbol;
                          pieces.push_back(static_cast<Symbol>(from - begin));
                          pieces.push_back(symbol);
                        });
    if (!written && result_.fault.empty()) {
      result_.fault = fmt::format("{} reads bytes that nobody has written (operand {} bytes at {})",
                                  label_of(workload_, operation), access.size.value, begin);
    }
    return uniform ? only : combine(pieces);
  }

  void assign(const Operation& operation, std::size_t index, Symbol symbol) {
    const Access& access = operand(operation, index);
    if (!access.exists()) return;
    const std::int64_t begin = begin_of(access);
    memory(access).write(begin, begin + access.size.value, symbol);
  }

  void copy(const Operation& operation) {
    const Access& from = operand(operation, MoveOperands::kFrom);
    const Access& to = operand(operation, MoveOperands::kTo);
    static_cast<void>(value(operation, from));  // all of it was written
    struct Piece {
      std::int64_t begin, end;
      Symbol symbol;
    };
    std::vector<Piece> pieces;
    const std::int64_t source = begin_of(from);
    memory(from).read(source, source + from.size.value,
                      [&](std::int64_t begin, std::int64_t end, Symbol symbol) {
                        pieces.push_back({begin - source, end - source, symbol});
                      });
    const std::int64_t target = begin_of(to);
    for (const Piece& piece : pieces) {
      memory(to).write(target + piece.begin, target + piece.end, piece.symbol);
    }
  }

  void call_layer(const Operation& operation) {
    const bool backward = operation.kind == OperationKind::kBackward;
    const std::size_t flats =
        workload_.layers[static_cast<std::size_t>(operation.layer)].flats.size();
    std::vector<Symbol> inputs = {
        static_cast<Symbol>(operation.layer), static_cast<Symbol>(operation.micro_batch),
        value(operation, LayerOperands::kBatch), value(operation, LayerOperands::kInput)};
    const bool reads_saved = operand(operation, LayerOperands::kSaved).reads;
    if (backward) {
      inputs.push_back(reads_saved ? value(operation, LayerOperands::kSaved) : 2);
      inputs.push_back(value(operation, LayerOperands::kOutputGradient));
    }
    for (std::size_t k = 0; k < flats; ++k) {
      inputs.push_back(value(operation, LayerOperands::kWeights + k));
    }
    const Symbol all = combine(inputs);
    std::vector<Symbol> sums;
    for (std::size_t k = 0; backward && k < flats; ++k) {
      const std::size_t index = LayerOperands::kWeights + flats + k;
      sums.push_back(
          combine({'G', all, k, operation.accumulate ? value(operation, index) : Symbol{2}}));
    }
    if (!reads_saved) assign(operation, LayerOperands::kSaved, combine({'S', all}));
    assign(operation, LayerOperands::kWorkspace, combine({'T', all}));
    assign(operation, LayerOperands::kOutput, combine({'O', all}));
    assign(operation, LayerOperands::kInputGradient, combine({'I', all}));
    assign(operation, LayerOperands::kLoss, combine({'L', all}));
    assign(operation, LayerOperands::kLogits, combine({'Z', all}));
    for (std::size_t k = 0; k < sums.size(); ++k) {
      assign(operation, LayerOperands::kWeights + flats + k, sums[k]);
    }
  }

  void update(const Operation& operation, int step) {
    const Symbol all = combine({static_cast<Symbol>(step), value(operation, UpdateOperands::kState),
                                value(operation, UpdateOperands::kGradient),
                                value(operation, UpdateOperands::kNorm)});
    updated_[{operation.flat, operation.segment}] = {step, combine({'U', all})};
    assign(operation, UpdateOperands::kState, combine({'U', all}));
    assign(operation, UpdateOperands::kWeight, combine({'W', all}));
    assign(operation, UpdateOperands::kDigest, combine({'D', all}));
  }

  // What is saved of a segment is what the update of that very step left.
  void save(const Operation& operation, int step) {
    const auto [updated, symbol] = updated_[{operation.flat, operation.segment}];
    const bool right = value(operation, SaveOperands::kState) == symbol && updated == step;
    if (!right && result_.fault.empty()) {
      result_.fault = fmt::format("{} of step {} finds other bytes than its update left",
                                  label_of(workload_, operation), step);
    }
    saved_[static_cast<std::size_t>(operation.flat)] +=
        operand(operation, SaveOperands::kState).size;
  }

  // Nothing, or everything in every step.
  void check_saved(int steps) {
    for (std::size_t f = 0; f < saved_.size(); ++f) {
      const BufferId state = program_.homes[f].state;
      if (saved_[f].value == 0 || !result_.fault.empty()) continue;
      if (saved_[f] == program_.buffers[static_cast<std::size_t>(state)].size * steps) continue;
      result_.fault = fmt::format("not all of the state of {} is saved", workload_.flats[f].name);
    }
  }

  void interpret(const Operation& operation, int step) {
    switch (operation.kind) {
      case OperationKind::kPrepare:
        return assign(operation, PrepareOperands::kBatch,
                      combine({'b', static_cast<Symbol>(step)}));
      case OperationKind::kBegin:
      case OperationKind::kMove:
        return copy(operation);
      case OperationKind::kForward:
      case OperationKind::kRecompute:
      case OperationKind::kBackward:
        return call_layer(operation);
      case OperationKind::kMerge:
        return assign(operation, MergeOperands::kTotal,
                      combine({'M', value(operation, MergeOperands::kTotal),
                               value(operation, MergeOperands::kAddend)}));
      case OperationKind::kRound: {
        const Symbol sum = value(operation, RoundOperands::kAccumulator);
        assign(operation, RoundOperands::kRounded, combine({'R', sum}));
        return assign(operation, RoundOperands::kPartials, combine({'P', sum}));
      }
      case OperationKind::kNorm:
        return assign(operation, NormOperands::kResult,
                      combine({'N', value(operation, NormOperands::kPartials)}));
      case OperationKind::kUpdate:
        return update(operation, step);
      case OperationKind::kReport:
        result_.reports.push_back(value(operation, ReportOperands::kLosses));
        result_.reports.push_back(value(operation, ReportOperands::kNorms));
        return;
      case OperationKind::kSave:
        return save(operation, step);
      case OperationKind::kReportDigest:
        static_cast<void>(value(operation, ReportDigestOperands::kDigests));
        return;
    }
  }

  SymbolMemory& memory(const Access& access) {
    return memories_[index_of(program_.buffers[static_cast<std::size_t>(access.buffer)].tier)];
  }
  std::int64_t begin_of(const Access& access) const {
    return program_.buffers[static_cast<std::size_t>(access.buffer)].offset.value +
           access.begin.value;
  }

  Access whole(BufferId id) const {
    return {id, true, true, {}, program_.buffers[static_cast<std::size_t>(id)].size};
  }
  void write_home(BufferId id, Symbol symbol) {
    if (id == kNoBuffer) return;
    const Access access = whole(id);
    const std::int64_t begin = begin_of(access);
    memory(access).write(begin, begin + access.size.value, symbol);
  }
  Symbol home_symbol(BufferId id) { return value(Operation{}, whole(id)); }

  const Workload& workload_;
  const Program& program_;
  std::array<SymbolMemory, kTierCount> memories_;
  // By flat parameter and segment: the last step updated, and what it left.
  std::map<std::pair<std::int16_t, std::int32_t>, std::pair<int, Symbol>> updated_;
  std::vector<Bytes> saved_;  // by flat parameter, over all steps
  SymbolicRun result_;
};

}  // namespace

SymbolicRun run_on_symbols(const Workload& workload, const Program& program, int steps) {
  return Interpreter(workload, program).run(steps);
}

std::optional<std::string> check(const Workload& workload, const Program& program,
                                 const SymbolicRun& reference, int steps) {
  const SymbolicRun run = run_on_symbols(workload, program, steps);
  if (!run.fault.empty()) return run.fault;
  for (std::size_t f = 0; f < workload.flats.size(); ++f) {
    if (run.weights[f] != reference.weights[f]) {
      return fmt::format("weights of {} differ from the resident program", workload.flats[f].name);
    }
    if (run.states[f] != reference.states[f]) {
      return fmt::format("optimizer state of {} differs from the resident program",
                         workload.flats[f].name);
    }
  }
  if (run.reports != reference.reports) return "losses or norm differ from the resident program";
  return std::nullopt;
}

Placement resident_placement(const Workload& workload, bool deferred) {
  const std::size_t flats = workload.flats.size();
  return {.weights = std::vector<Tier>(flats, Tier::kDevice),
          .gradients = std::vector<Tier>(flats, Tier::kDevice),
          .states = std::vector<Tier>(flats, Tier::kDevice),
          .adam_on_device = std::vector<bool>(flats, true),
          .activations = std::vector<Tier>(workload.layers.size(), Tier::kDevice),
          .recompute = std::vector<bool>(workload.layers.size(), false),
          .sequences = workload.sequences,
          .wave = 1,
          .deferred = deferred};
}

}  // namespace sluice
