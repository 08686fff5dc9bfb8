// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/storage/uring_storage.h"

#include <fmt/format.h>
#include <liburing.h>
#include <sys/resource.h>
#include <unistd.h>

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

// Whether RLIMIT_MEMLOCK lets this process pin `size` bytes.
bool may_lock(std::size_t size) {
  rlimit limit{};
  return ::geteuid() == 0 || ::getrlimit(RLIMIT_MEMLOCK, &limit) != 0 || limit.rlim_cur >= size;
}

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
  // Linux 5.11: waits with a time limit do not touch the submission side.
  bool waits_with_limit() const { return (ring_.features & IORING_FEAT_EXT_ARG) != 0; }
  io_uring& get() { return ring_; }

 private:
  io_uring ring_{};
  int status_;
};

class UringStorage final : public Storage {
 public:
  UringStorage(std::unique_ptr<SwapFile> file, std::unique_ptr<Ring> ring, std::size_t depth)
      : file_(std::move(file)), ring_(std::move(ring)), slots_(depth) {
    for (std::size_t i = 0; i < depth; ++i) idle_.push_back(i);
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
  void lend(std::span<std::byte> memory) override;

 private:
  // A block in flight. `left` shrinks when the kernel moves less than asked.
  struct Slot {
    Block block;
    Block left;
    Retries retries;
    bool busy = false;
  };

  void pump();                      // submits what there is room for
  void prepare(std::size_t index);  // mutex_ held
  void submit();                    // mutex_ held
  void reap();                      // body of the thread
  bool stop_at(const io_uring_cqe& entry);
  void settle(std::size_t index, int result);
  bool broken();
  void break_ring(int error_number);
  void fail_blocks();

  std::unique_ptr<SwapFile> file_;
  std::unique_ptr<Ring> ring_;
  TransferQueue queue_;
  std::vector<std::span<std::byte>> pieces_;  // registered, in order of index

  std::mutex mutex_;  // the submission side of the ring, and:
  std::vector<Slot> slots_;
  std::vector<std::size_t> idle_;  // slots
  int broken_ = 0;                 // the errno with which the ring ended: every block fails

  std::thread reaper_;  // owns the completion side
};

UringStorage::~UringStorage() {
  queue_.drain();
  {
    const std::lock_guard lock(mutex_);
    if (broken_ == 0) {
      io_uring_sqe* entry = io_uring_get_sqe(&ring_->get());
      SLUICE_CHECK(entry != nullptr);
      io_uring_prep_nop(entry);
      io_uring_sqe_set_data64(entry, kStop);
      submit();
    }
  }
  reaper_.join();
}

void UringStorage::lend(std::span<std::byte> memory) {
  const std::lock_guard lock(mutex_);
  SLUICE_CHECK(pieces_.empty() && idle_.size() == slots_.size());
  if (memory.empty() || !may_lock(memory.size())) {
    return;
  }
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
  {
    const std::lock_guard lock(mutex_);
    bool any = false;
    while (broken_ == 0 && !idle_.empty()) {
      const std::optional<Block> block = queue_.try_take();
      if (!block) break;
      const std::size_t index = idle_.back();
      idle_.pop_back();
      slots_[index] = {.block = *block, .left = *block, .retries = {}, .busy = true};
      prepare(index);
      any = true;
    }
    if (any) submit();
  }
  fail_blocks();
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
    if (status >= 0 || retries.again(-status)) continue;
    broken_ = -status;  // the kernel takes nothing any more
    return;
  }
}

void UringStorage::reap() {
  __kernel_timespec limit{.tv_sec = 0, .tv_nsec = 200'000'000};  // to see that the ring broke
  Retries retries;
  while (!broken()) {
    io_uring_cqe* entry = nullptr;
    const int status = io_uring_wait_cqe_timeout(&ring_->get(), &entry, &limit);
    if (status == 0) {
      retries = {};
      if (stop_at(*entry)) return;
    } else if (status != -ETIME && !retries.again(-status)) {
      break_ring(-status);
    }
  }
  fail_blocks();
}

// Handles a completion; true for the one that ends the thread.
bool UringStorage::stop_at(const io_uring_cqe& entry) {
  const std::uint64_t data = io_uring_cqe_get_data64(&entry);
  const int result = entry.res;
  io_uring_cq_advance(&ring_->get(), 1);
  if (data != kStop) settle(data, result);
  return data == kStop;
}

bool UringStorage::broken() {
  const std::lock_guard lock(mutex_);
  return broken_ != 0;
}

void UringStorage::break_ring(int error_number) {
  const std::lock_guard lock(mutex_);
  broken_ = error_number;
}

// Of a broken ring: ends the blocks in flight and those not yet taken, with its error.
void UringStorage::fail_blocks() {
  for (;;) {
    std::unique_lock lock(mutex_);
    if (broken_ == 0) return;
    std::optional<Block> block = queue_.try_take();
    const auto slot =
        std::find_if(slots_.begin(), slots_.end(), [](const Slot& s) { return s.busy; });
    if (!block && slot == slots_.end()) return;
    if (!block) {
      block = slot->block;
      slot->busy = false;
    }
    const int error = broken_;
    lock.unlock();
    queue_.finish(*block, block_error(*file_, *block, error));
  }
}

void UringStorage::settle(std::size_t index, int result) {
  std::unique_lock lock(mutex_);
  Slot& slot = slots_[index];
  if (!slot.busy) return;  // failed with the ring
  const bool again = result < 0 && slot.retries.again(-result);
  // The rest of a short transfer must start aligned; a crumb is moved once more.
  const std::int64_t moved =
      result > 0 ? result - result % static_cast<int>(SwapFile::kAlignment.value) : 0;
  const bool more = again || (moved > 0 && moved < slot.left.size);
  if (more && broken_ == 0) {
    slot.left.advance(moved);
    prepare(index);
    submit();
    lock.unlock();
    return fail_blocks();
  }
  const Block block = slot.block;
  slot.busy = false;
  std::exception_ptr error;
  if (more) error = block_error(*file_, slot.left, broken_);
  if (moved <= 0) error = block_error(*file_, slot.left, result < 0 ? -result : 0);
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
  if (!ring->waits_with_limit()) {
    refusal = "this kernel's is older than Linux 5.11";
    return nullptr;
  }
  return std::make_unique<UringStorage>(std::move(file), std::move(ring), depth);
}

}  // namespace sluice
