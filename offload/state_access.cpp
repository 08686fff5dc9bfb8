// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "offload/state_access.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#include "devices/base/error.h"
#include "kernels/host_kernels.h"
#include "offload/tensor_range.h"

namespace sluice {
namespace {

constexpr std::int64_t kPiece = 256 << 10;  // elements moved at once
constexpr std::int64_t kPage = 4096;

std::byte* allocate_staging() {
  void* bytes = std::aligned_alloc(kPage, 4 * kPiece);
  if (bytes == nullptr) throw Error(ErrorKind::kNoFit, "no memory for 1 MiB of staging");
  return static_cast<std::byte*>(bytes);
}

}  // namespace

void StateAccess::Free::operator()(std::byte* bytes) const noexcept { std::free(bytes); }

StateAccess::StateAccess(const Workload& workload, const Program& program,
                         const Resources& resources)
    : workload_(workload),
      program_(program),
      resources_(resources),
      to_device_(resources.accelerator.create_queue(QueueKind::kHostToDevice, 4)),
      from_device_(resources.accelerator.create_queue(QueueKind::kDeviceToHost, 4)),
      values_(allocate_staging()),
      converted_(allocate_staging()) {}

StateAccess::~StateAccess() = default;

DType StateAccess::dtype_of(StatePart part) const {
  switch (part) {
    case StatePart::kWeight:
      return workload_.compute;
    case StatePart::kFirstMoment:
    case StatePart::kSecondMoment:
      return workload_.moments;
    default:
      return DType::kFloat32;
  }
}

StateAccess::Place StateAccess::place_of(int flat, StatePart part, std::int64_t element) const {
  const FlatHomes& homes = program_.homes[static_cast<std::size_t>(flat)];
  if (part == StatePart::kWeight) return {homes.weight, bytes_of(workload_.compute, element)};
  const std::int64_t segment = element / homes.segment_elements;
  const std::int64_t first = segment * homes.segment_elements;
  const std::int64_t elements = std::min(
      homes.segment_elements, workload_.flats[static_cast<std::size_t>(flat)].count - first);
  const SegmentLayout layout = segment_layout(elements, workload_.moments);
  Bytes begin = homes.block_size * segment + bytes_of(dtype_of(part), element - first);
  if (part == StatePart::kFirstMoment) begin += layout.first_moment;
  if (part == StatePart::kSecondMoment) begin += layout.second_moment;
  return {homes.state, begin};
}

// Storage moves whole pages; every array is followed by at least the rest of its page.
void StateAccess::put(const Place& place, const std::byte* from, Bytes size) {
  const Buffer& buffer = program_.buffers[static_cast<std::size_t>(place.buffer)];
  const Bytes offset = buffer.offset + place.begin;
  switch (buffer.tier) {
    case Tier::kDevice:
      to_device_->copy(resources_.memory.device + offset.value, from, size);
      to_device_->synchronize(to_device_->mark());
      return;
    case Tier::kHost:
      std::memcpy(resources_.memory.host + offset.value, from, count(size));
      return;
    case Tier::kStorage:
      write_now(*resources_.memory.storage, offset, {from, count(round_up(size, Bytes{kPage}))});
      return;
  }
}

void StateAccess::get(const Place& place, std::byte* to, Bytes size) {
  const Buffer& buffer = program_.buffers[static_cast<std::size_t>(place.buffer)];
  const Bytes offset = buffer.offset + place.begin;
  switch (buffer.tier) {
    case Tier::kDevice:
      from_device_->copy(to, resources_.memory.device + offset.value, size);
      from_device_->synchronize(from_device_->mark());
      return;
    case Tier::kHost:
      std::memcpy(to, resources_.memory.host + offset.value, count(size));
      return;
    case Tier::kStorage:
      read_now(*resources_.memory.storage, offset, {to, count(round_up(size, Bytes{kPage}))});
      return;
  }
}

// Pieces never cross a segment's end.
template <typename Piece>
void StateAccess::for_pieces(int flat, Piece piece) const {
  const FlatHomes& homes = program_.homes[static_cast<std::size_t>(flat)];
  const std::int64_t elements = workload_.flats[static_cast<std::size_t>(flat)].count;
  for (std::int64_t segment = 0; segment < elements; segment += homes.segment_elements) {
    const std::int64_t end = std::min(segment + homes.segment_elements, elements);
    for (std::int64_t first = segment; first < end; first += kPiece) {
      piece(first, std::min(kPiece, end - first));
    }
  }
}

void StateAccess::load(int flat, const Values& values) {
  const FlatHomes& homes = program_.homes[static_cast<std::size_t>(flat)];
  auto* floats = reinterpret_cast<float*>(values_.get());
  for_pieces(flat, [&](std::int64_t first, std::int64_t length) {
    values(first, {floats, static_cast<std::size_t>(length)});
    if (homes.state != kNoBuffer) {
      put(place_of(flat, StatePart::kMaster, first), values_.get(), {4 * length});
    }
    run_on_host(resources_.host_workers, Cast{.count = length,
                                              .from = floats,
                                              .to = converted_.get(),
                                              .from_dtype = DType::kFloat32,
                                              .to_dtype = workload_.compute});
    put(place_of(flat, StatePart::kWeight, first), converted_.get(),
        bytes_of(workload_.compute, length));
    if (homes.state == kNoBuffer) return;
    std::memset(converted_.get(), 0, static_cast<std::size_t>(4 * kPiece));
    for (const StatePart part : {StatePart::kFirstMoment, StatePart::kSecondMoment}) {
      put(place_of(flat, part, first), converted_.get(), bytes_of(workload_.moments, length));
    }
  });
}

void StateAccess::restore(int flat, StatePart part, const Values& values) {
  auto* floats = reinterpret_cast<float*>(values_.get());
  const auto put_as = [&](StatePart to, std::int64_t first, std::int64_t length) {
    const DType dtype = dtype_of(to);
    run_on_host(resources_.host_workers, Cast{.count = length,
                                              .from = floats,
                                              .to = converted_.get(),
                                              .from_dtype = DType::kFloat32,
                                              .to_dtype = dtype});
    put(place_of(flat, to, first), converted_.get(), bytes_of(dtype, length));
  };
  for_pieces(flat, [&](std::int64_t first, std::int64_t length) {
    values(first, {floats, static_cast<std::size_t>(length)});
    put_as(part, first, length);
    if (part == StatePart::kMaster) put_as(StatePart::kWeight, first, length);
  });
}

void StateAccess::read(int flat, StatePart part, const Sink& sink) {
  for_pieces(flat, [&](std::int64_t first, std::int64_t length) {
    const Bytes size = bytes_of(dtype_of(part), length);
    get(place_of(flat, part, first), values_.get(), size);
    sink(first, {values_.get(), count(size)});
  });
}

void save_state(const Workload& workload, StateAccess& state, std::int64_t step, StateSink& sink) {
  for (std::size_t f = 0; f < workload.flats.size(); ++f) {
    const FlatParameter& flat = workload.flats[f];
    for (const StatePart part :
         {StatePart::kMaster, StatePart::kFirstMoment, StatePart::kSecondMoment}) {
      const std::int64_t width = size_of(state.dtype_of(part));
      state.read(
          static_cast<int>(f), part, [&](std::int64_t first, std::span<const std::byte> bytes) {
            const std::int64_t end = first + static_cast<std::int64_t>(bytes.size()) / width;
            for_tensors(flat, first, end, [&](std::size_t t, std::int64_t from, std::int64_t to) {
              sink.write(step,
                         {.flat = static_cast<int>(f),
                          .tensor = t,
                          .part = part,
                          .first = from - flat.tensors[t].offset,
                          .bytes = bytes.subspan(static_cast<std::size_t>((from - first) * width),
                                                 static_cast<std::size_t>((to - from) * width))});
            });
          });
    }
  }
  sink.end(step);
}

std::vector<TensorDigest> digest_state(const Workload& workload, const Program& program,
                                       const Resources& resources) {
  StateAccess access(workload, program, resources);
  std::vector<TensorDigest> digests;
  for (std::size_t f = 0; f < workload.flats.size(); ++f) {
    const FlatParameter& flat = workload.flats[f];
    for (const StatePart part : {StatePart::kWeight, StatePart::kMaster, StatePart::kFirstMoment,
                                 StatePart::kSecondMoment}) {
      if (part != StatePart::kWeight && program.homes[f].state == kNoBuffer) continue;
      std::vector<std::uint64_t> sums(flat.tensors.size());
      const DType dtype = access.dtype_of(part);
      access.read(static_cast<int>(f), part,
                  [&](std::int64_t first, std::span<const std::byte> bytes) {
                    const std::int64_t last =
                        first + static_cast<std::int64_t>(bytes.size()) / size_of(dtype);
                    for (std::size_t t = 0; t < flat.tensors.size(); ++t) {
                      const TensorSpec& tensor = flat.tensors[t];
                      const std::int64_t from = std::max(first, tensor.offset);
                      const std::int64_t to = std::min(last, tensor.offset + tensor.count);
                      if (from >= to) continue;
                      run_on_host(resources.host_workers,
                                  Digest{.count = to - from,
                                         .x = bytes.data() + size_of(dtype) * (from - first),
                                         .dtype = dtype,
                                         .salt = digest_salt(static_cast<std::int32_t>(f), t, part),
                                         .first = from - tensor.offset,
                                         .digest = &sums[t]});
                    }
                  });
      for (std::size_t t = 0; t < flat.tensors.size(); ++t) {
        digests.push_back({flat.tensors[t].name, part, sums[t]});
      }
    }
  }
  return digests;
}

}  // namespace sluice
