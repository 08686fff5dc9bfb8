// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/storage/uring_storage.h"

#include <fmt/format.h>
#include <liburing.h>

#include <algorithm>
#include <cerrno>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "devices/base/error.h"
#include "devices/base/format.h"
#include "devices/base/log.h"
#include "devices/storage/retries.h"
#include "devices/storage/transfer_queue.h"

namespace sluice {
namespace {

constexpr std::uint64_t kStop = ~std::uint64_t{0};
constexpr std::size_t kRegisteredPiece = std::size_t{1} << 30;  // the kernel's limit

// An initialised ring, with buffers registered where that was possible.
class Ring {
 public:
  explicit Ring(unsigned entries) : status_(io_uring_queue_init(entries, &ring_, 0)) {}
  ~Ring() {
    if (status_ == 0) io_uring_queue_exit(&ring_);
  }
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  int status() const { return status_; }  // 0 or a negative errno
  io_uring& get() { return ring_; }

 private:
  io_uring ring_{};
  int status_;
};

class UringStorage final : public Storage {
 public:
  UringStorage(std::unique_ptr<SwapFile> file, std::unique_ptr<Ring> ring,
               const StorageOptions& options, std::size_t depth)
      : file_(std::move(file)), ring_(std::move(ring)), slots_(depth) {
    for (std::size_t i = 0; i < depth; ++i) idle_.push_back(i);
    register_buffers(options.registered);
    reaper_ = std::thread([this] { reap(); });
  }
  ~UringStorage() override;
  UringStorage(const UringStorage&) = delete;
  UringStorage& operator=(const UringStorage&) = delete;

  std::string description() const override {
    return fmt::format("io_uring, {} blocks in flight, {}{}", slots_.size(),
                       file_->direct() ? "direct" : "through the page cache",
                       pieces_.empty() ? "" : ", registered buffers");
  }
  Bytes size() const override { return file_->size(); }
  Bytes alignment() const override { return SwapFile::kAlignment; }

  void read(Bytes offset, std::span<std::byte> memory, Listener& listener,
            std::uint64_t cookie) override {
    const auto size = static_cast<std::int64_t>(memory.size());
    check_transfer(*file_, offset, memory.data(), size);
    queue_.add(/*write=*/false, SwapFile::kData + offset, memory.data(), size, listener, cookie);
    pump();
  }
  void write(Bytes offset, std::span<const std::byte> memory, Listener& listener,
             std::uint64_t cookie) override {
    const auto size = static_cast<std::int64_t>(memory.size());
    check_transfer(*file_, offset, memory.data(), size);
    queue_.add(/*write=*/true, SwapFile::kData + offset, const_cast<std::byte*>(memory.data()),
               size, listener, cookie);
    pump();
  }
  void sync() override { file_->sync(); }

 private:
  // A block in flight. `left` shrinks when the kernel moves less than asked.
  struct Slot {
    Block block;
    Block left;
    Retries retries;
  };

  void register_buffers(std::span<std::byte> memory);
  void pump();                      // submits what there is room for
  void prepare(std::size_t index);  // mutex_ held
  void submit();                    // mutex_ held
  void reap();                      // body of the thread
  void settle(std::size_t index, int result);

  std::unique_ptr<SwapFile> file_;
  std::unique_ptr<Ring> ring_;
  TransferQueue queue_;
  std::vector<std::span<std::byte>> pieces_;  // registered, in order of index

  std::mutex mutex_;  // the submission side of the ring, and:
  std::vector<Slot> slots_;
  std::vector<std::size_t> idle_;  // slots

  std::thread reaper_;  // owns the completion side
};

UringStorage::~UringStorage() {
  queue_.drain();
  {
    const std::lock_guard lock(mutex_);
    io_uring_sqe* entry = io_uring_get_sqe(&ring_->get());
    SLUICE_CHECK(entry != nullptr);
    io_uring_prep_nop(entry);
    io_uring_sqe_set_data64(entry, kStop);
    submit();
  }
  reaper_.join();
}

void UringStorage::register_buffers(std::span<std::byte> memory) {
  if (memory.empty()) return;
  std::vector<iovec> vectors;
  for (std::size_t first = 0; first < memory.size(); first += kRegisteredPiece) {
    const auto piece = memory.subspan(first, std::min(kRegisteredPiece, memory.size() - first));
    pieces_.push_back(piece);
    vectors.push_back({piece.data(), piece.size()});
  }
  const int status = io_uring_register_buffers(&ring_->get(), vectors.data(),
                                               static_cast<unsigned>(vectors.size()));
  if (status == 0) return;
  pieces_.clear();
  log_warn(with_errno(fmt::format("io_uring without registered buffers, which costs CPU: {} of "
                                  "them refused (ulimit -l unlimited)",
                                  format_bytes({static_cast<std::int64_t>(memory.size())})),
                      -status));
}

void UringStorage::pump() {
  const std::lock_guard lock(mutex_);
  bool any = false;
  while (!idle_.empty()) {
    const std::optional<Block> block = queue_.try_take();
    if (!block) break;
    const std::size_t index = idle_.back();
    idle_.pop_back();
    slots_[index] = {*block, *block, {}};
    prepare(index);
    any = true;
  }
  if (any) submit();
}

void UringStorage::prepare(std::size_t index) {
  const Block& block = slots_[index].left;
  io_uring_sqe* entry = io_uring_get_sqe(&ring_->get());
  SLUICE_CHECK(entry != nullptr);  // the ring is larger than the number of slots
  const auto size = static_cast<unsigned>(block.size);
  const auto offset = static_cast<std::uint64_t>(block.offset);
  const auto holds = [&](std::span<std::byte> piece) {
    return block.memory >= piece.data() && block.memory + block.size <= piece.data() + piece.size();
  };
  const auto piece = std::find_if(pieces_.begin(), pieces_.end(), holds);
  const int buffer = static_cast<int>(piece - pieces_.begin());
  const int file = file_->descriptor();
  if (piece == pieces_.end()) {
    block.write ? io_uring_prep_write(entry, file, block.memory, size, offset)
                : io_uring_prep_read(entry, file, block.memory, size, offset);
  } else {
    block.write ? io_uring_prep_write_fixed(entry, file, block.memory, size, offset, buffer)
                : io_uring_prep_read_fixed(entry, file, block.memory, size, offset, buffer);
  }
  io_uring_sqe_set_data64(entry, index);
}

void UringStorage::submit() {
  Retries retries;
  while (io_uring_sq_ready(&ring_->get()) > 0) {
    const int status = io_uring_submit(&ring_->get());
    // Anything else is a misuse of the ring, or a kernel that takes nothing any more.
    SLUICE_CHECK(status >= 0 || retries.again(-status));
  }
}

void UringStorage::reap() {
  for (bool stopping = false; !stopping;) {
    io_uring_cqe* entry = nullptr;
    const int status = io_uring_wait_cqe(&ring_->get(), &entry);
    if (status == -EINTR || status == -EAGAIN) continue;
    SLUICE_CHECK(status == 0);
    const std::uint64_t data = io_uring_cqe_get_data64(entry);
    const int result = entry->res;
    io_uring_cqe_seen(&ring_->get(), entry);
    stopping = data == kStop;
    if (!stopping) settle(data, result);
  }
}

void UringStorage::settle(std::size_t index, int result) {
  std::unique_lock lock(mutex_);
  Slot& slot = slots_[index];
  const bool again = result < 0 && slot.retries.again(-result);
  // The rest of a short transfer must start aligned; a crumb is moved once more.
  const std::int64_t moved =
      result > 0 ? result - result % static_cast<int>(SwapFile::kAlignment.value) : 0;
  if (again || (moved > 0 && moved < slot.left.size)) {
    slot.left.advance(moved);
    prepare(index);
    submit();
    return;
  }
  const Block block = slot.block;
  std::exception_ptr error =
      moved > 0 ? nullptr : block_error(*file_, slot.left, result < 0 ? -result : 0);
  idle_.push_back(index);
  lock.unlock();
  pump();  // keep the drive busy first
  file_->forget({block.offset}, {block.size});
  queue_.finish(block, std::move(error));
}

}  // namespace

std::unique_ptr<Storage> open_uring_storage(std::unique_ptr<SwapFile>& file,
                                            const StorageOptions& options, std::string& refusal) {
  const auto depth = static_cast<std::size_t>(std::clamp(options.depth, 1, 1024));
  // One more than the blocks in flight: the entry that stops the reaper.
  auto ring = std::make_unique<Ring>(static_cast<unsigned>(depth + 1));
  if (ring->status() != 0) {
    refusal = with_errno("io_uring_queue_init", -ring->status());
    return nullptr;
  }
  return std::make_unique<UringStorage>(std::move(file), std::move(ring), options, depth);
}

}  // namespace sluice
