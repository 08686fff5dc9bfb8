// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "offload/memory_map.h"

#include <algorithm>
#include <map>
#include <queue>

#include "devices/base/error.h"

namespace sluice {
namespace {

constexpr std::int64_t kPage = 4096;

std::int64_t alignment_of(Bytes size) { return size.value >= kPage ? kPage : 256; }

// A place shared by transient buffers of one size, and when it is taken; or several
// such places side by side, one per entry of `parts`.
struct Slot {
  std::int64_t size = 0;  // of one part
  std::int64_t offset = -1;
  std::vector<Lifetime> taken;  // ascending, disjoint
  std::vector<BufferId> buffers;
  std::vector<std::vector<BufferId>> parts;

  std::int64_t stride() const { return round_up(size, alignment_of({size})); }
  std::int64_t whole() const { return stride() * static_cast<std::int64_t>(parts.size()); }
};

std::vector<Lifetime> united(const std::vector<Lifetime>& a, const std::vector<Lifetime>& b) {
  std::vector<Lifetime> all(a.size() + b.size());
  std::merge(a.begin(), a.end(), b.begin(), b.end(), all.begin(),
             [](const Lifetime& x, const Lifetime& y) { return x.first < y.first; });
  std::vector<Lifetime> result;
  for (const Lifetime& life : all) {
    if (!result.empty() && life.first <= result.back().last + 1) {
      result.back().last = std::max(result.back().last, life.last);
    } else {
      result.push_back(life);
    }
  }
  return result;
}

bool overlap(const std::vector<Lifetime>& a, const std::vector<Lifetime>& b) {
  std::size_t i = 0, j = 0;
  while (i < a.size() && j < b.size()) {
    if (a[i].last < b[j].first) {
      ++i;
    } else if (b[j].last < a[i].first) {
      ++j;
    } else {
      return true;
    }
  }
  return false;
}

// Interval colouring: as many slots as buffers of this size are alive at once.
void color(const std::vector<BufferId>& ids, const std::vector<Lifetime>& lifetimes,
           std::int64_t size, std::vector<Slot>& slots) {
  using Free = std::pair<std::int32_t, std::size_t>;  // free after this operation; slot
  std::priority_queue<Free, std::vector<Free>, std::greater<>> oldest;
  for (const BufferId id : ids) {
    const Lifetime life = lifetimes[static_cast<std::size_t>(id)];
    std::size_t slot = slots.size();
    if (!oldest.empty() && oldest.top().first < life.first) {
      slot = oldest.top().second;
      oldest.pop();
    } else {
      slots.push_back({.size = size, .offset = -1, .taken = {}, .buffers = {}, .parts = {}});
    }
    slots[slot].taken.push_back(life);
    slots[slot].buffers.push_back(id);
    oldest.emplace(life.last, slot);
  }
}

// Merges runs of slots of one size until few are left, so that packing stays quick
// with thousands of activations: a run lies in one piece and is taken whenever one
// of its slots is.
void join(std::vector<Slot>& slots, std::vector<Slot>& packed) {
  constexpr std::size_t kMost = 24;
  const std::size_t run = (slots.size() + kMost - 1) / kMost;
  for (std::size_t s = 0; s < slots.size(); s += run) {
    Slot joined = slots[s];
    joined.parts.push_back(slots[s].buffers);
    for (std::size_t i = s + 1; i < std::min(s + run, slots.size()); ++i) {
      joined.taken = united(joined.taken, slots[i].taken);
      joined.parts.push_back(slots[i].buffers);
    }
    packed.push_back(std::move(joined));
  }
}

// First fit above `base` among the slots placed before that are taken meanwhile.
std::int64_t pack(std::vector<Slot>& slots, std::int64_t base) {
  std::int64_t end = base;
  std::vector<std::size_t> placed;  // by ascending offset
  for (std::size_t s = 0; s < slots.size(); ++s) {
    Slot& slot = slots[s];
    const std::int64_t alignment = alignment_of({slot.size});
    std::int64_t offset = round_up(base, alignment);
    for (const std::size_t other : placed) {
      const Slot& neighbour = slots[other];
      if (neighbour.offset >= offset + slot.whole()) break;
      if (neighbour.offset + neighbour.whole() <= offset) continue;
      if (overlap(neighbour.taken, slot.taken)) {
        offset = round_up(neighbour.offset + neighbour.whole(), alignment);
      }
    }
    slot.offset = offset;
    end = std::max(end, offset + slot.whole());
    placed.insert(std::upper_bound(placed.begin(), placed.end(), offset,
                                   [&](std::int64_t value, std::size_t other) {
                                     return value < slots[other].offset;
                                   }),
                  s);
  }
  return end;
}

void assign_tier(Program& program, Tier tier, const std::vector<Lifetime>& lifetimes) {
  std::int64_t end = 0;
  std::map<std::int64_t, std::vector<BufferId>, std::greater<>> by_size;
  for (std::size_t b = 0; b < program.buffers.size(); ++b) {
    Buffer& buffer = program.buffers[b];
    if (buffer.tier != tier || buffer.size.value == 0) continue;
    if (buffer.persistent) {
      buffer.offset = {round_up(end, alignment_of(buffer.size))};
      end = buffer.offset.value + buffer.size.value;
    } else if (lifetimes[b].first >= 0) {
      by_size[buffer.size.value].push_back(static_cast<BufferId>(b));
    }
  }
  std::vector<Slot> slots;
  for (auto& [size, ids] : by_size) {
    std::vector<Slot> of_size;
    std::sort(ids.begin(), ids.end(), [&](BufferId a, BufferId b) {
      return lifetimes[static_cast<std::size_t>(a)].first <
             lifetimes[static_cast<std::size_t>(b)].first;
    });
    color(ids, lifetimes, size, of_size);
    join(of_size, slots);
  }
  end = pack(slots, end);
  for (const Slot& slot : slots) {
    std::int64_t offset = slot.offset;
    for (const std::vector<BufferId>& buffers : slot.parts) {
      for (const BufferId id : buffers) {
        program.buffers[static_cast<std::size_t>(id)].offset = {offset};
      }
      offset += slot.stride();
    }
  }
  program.extent[index_of(tier)] = {round_up(end, kPage)};
}

// Sweeps over the operations for the moment at which most bytes are in use.
void find_peaks(Program& program, const std::vector<Lifetime>& lifetimes) {
  const std::size_t n = program.operations.size();
  for (const Tier tier : kTiers) {
    std::array<std::int64_t, kRoleCount> now{};
    std::vector<std::array<std::int64_t, kRoleCount>> change(n + 1);
    for (std::size_t b = 0; b < program.buffers.size(); ++b) {
      const Buffer& buffer = program.buffers[b];
      if (buffer.tier != tier) continue;
      const std::size_t role = index_of(buffer.role);
      if (buffer.persistent) {
        now[role] += buffer.size.value;
      } else if (lifetimes[b].first >= 0) {
        change[static_cast<std::size_t>(lifetimes[b].first)][role] += buffer.size.value;
        change[static_cast<std::size_t>(lifetimes[b].last) + 1][role] -= buffer.size.value;
      }
    }
    std::int64_t peak = -1;
    for (std::size_t i = 0; i <= n; ++i) {
      std::int64_t total = 0;
      for (std::size_t role = 0; role < kRoleCount; ++role) {
        now[role] += change[i][role];
        total += now[role];
      }
      if (total <= peak) continue;
      peak = total;
      for (std::size_t role = 0; role < kRoleCount; ++role) {
        program.peak_by_role[index_of(tier)][role] = {now[role]};
      }
    }
  }
}

}  // namespace

std::vector<Lifetime> lifetimes_of(const Program& program) {
  std::vector<Lifetime> lifetimes(program.buffers.size());
  for (std::size_t i = 0; i < program.operations.size(); ++i) {
    for (const Access& access : program.accesses_of(program.operations[i])) {
      if (!access.exists()) continue;
      Lifetime& life = lifetimes[static_cast<std::size_t>(access.buffer)];
      if (life.first < 0) life.first = static_cast<std::int32_t>(i);
      life.last = static_cast<std::int32_t>(i);
    }
  }
  return lifetimes;
}

void assign_offsets(Program& program) {
  const std::vector<Lifetime> lifetimes = lifetimes_of(program);
  for (const Tier tier : kTiers) assign_tier(program, tier, lifetimes);
  find_peaks(program, lifetimes);
}

}  // namespace sluice
