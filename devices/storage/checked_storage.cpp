// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#include "devices/storage/checked_storage.h"

#include <fmt/format.h>
#include <xxhash.h>
#if defined(__x86_64__) && __has_include(<xxh_x86dispatch.h>)
#include <xxh_x86dispatch.h>  // XXH3 with the widest vectors of this processor
#endif

#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "devices/base/error.h"
#include "devices/base/format.h"
#include "devices/ram_limit.h"
#include "devices/storage/swap_file.h"

namespace sluice {
namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kReads = 64;  // in flight or waiting to be checked

// Of a page; never 0, which stands for a page that was not written.
std::uint64_t checksum(const std::byte* page) { return XXH3_64bits(page, kPage) | 1; }

std::vector<std::uint64_t> make_table(Bytes size) {
  const Bytes bytes = checksum_table(size);
  const RamLimit limit = ram_limit();
  if (bytes > limit.available) {
    throw Error(ErrorKind::kNoFit,
                fmt::format("checksums of {} on storage take {} of RAM and {} leaves {}: lower "
                            "--limits.storage or --limits.host, or --limits.storage_checksum false",
                            format_bytes(size), format_bytes(bytes), limit.source,
                            format_bytes(limit.available)));
  }
  return std::vector<std::uint64_t>(count(bytes) / sizeof(std::uint64_t));
}

class CheckedStorage final : public Storage, private Storage::Listener {
 public:
  CheckedStorage(std::unique_ptr<Storage> inner, std::filesystem::path file)
      : inner_(std::move(inner)),
        file_(std::move(file)),
        sums_(make_table(inner_->size())),
        reads_(kReads) {
    SLUICE_CHECK(inner_->alignment().value % static_cast<std::int64_t>(kPage) == 0);
    free_.reserve(kReads);
    ready_.reserve(kReads);
    checking_.reserve(kReads);
    for (std::size_t i = 0; i < kReads; ++i) free_.push_back(i);
    checker_ = std::thread([this] { check_reads(); });
  }
  ~CheckedStorage() override {
    inner_.reset();  // completes what was started
    {
      const std::lock_guard lock(mutex_);
      closed_ = true;
    }
    changed_.notify_all();
    checker_.join();
  }
  CheckedStorage(const CheckedStorage&) = delete;
  CheckedStorage& operator=(const CheckedStorage&) = delete;

  std::string description() const override { return inner_->description() + ", checksums"; }
  Bytes size() const override { return inner_->size(); }
  Bytes alignment() const override { return inner_->alignment(); }

  void read(Bytes offset, std::span<std::byte> memory, Storage::Listener& listener,
            std::uint64_t cookie) override {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !free_.empty(); });
    const std::size_t index = free_.back();
    free_.pop_back();
    reads_[index] = {offset, memory, &listener, cookie, nullptr};
    lock.unlock();
    inner_->read(offset, memory, *this, index);
  }

  void write(Bytes offset, std::span<const std::byte> memory, Storage::Listener& listener,
             std::uint64_t cookie) override {
    std::uint64_t* sum = sums_.data() + count(offset) / kPage;
    for (std::size_t at = 0; at < memory.size(); at += kPage) *sum++ = checksum(&memory[at]);
    inner_->write(offset, memory, listener, cookie);
  }

  void sync() override { inner_->sync(); }
  void lend(std::span<std::byte> memory) override { inner_->lend(memory); }

 private:
  struct Read {
    Bytes offset;
    std::span<std::byte> memory;
    Storage::Listener* listener = nullptr;
    std::uint64_t cookie = 0;
    std::exception_ptr error;
  };

  void completed(std::uint64_t index, std::exception_ptr error) noexcept override {
    {
      const std::lock_guard lock(mutex_);
      reads_[index].error = std::move(error);
      ready_.push_back(index);
    }
    changed_.notify_all();
  }

  // Body of the checker: hashing would hold up the thread that completions come on.
  void check_reads() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [&] { return closed_ || !ready_.empty(); });
      if (ready_.empty()) return;
      checking_.swap(ready_);
      for (const std::size_t index : checking_) {
        Read read = std::exchange(reads_[index], {});
        lock.unlock();
        if (!read.error) read.error = mismatch(read);
        read.listener->completed(read.cookie, std::move(read.error));
        lock.lock();
        free_.push_back(index);
        changed_.notify_all();
      }
      checking_.clear();
    }
  }

  std::exception_ptr mismatch(const Read& read) const {
    const std::uint64_t* sum = sums_.data() + count(read.offset) / kPage;
    for (std::size_t at = 0; at < read.memory.size(); at += kPage, ++sum) {
      if (*sum == 0 || *sum == checksum(&read.memory[at])) continue;
      return std::make_exception_ptr(Error(
          ErrorKind::kIo,
          fmt::format("{}: the page read at offset {} is not the one that was written there "
                      "(checksum): the drive, its cable or its driver loses or changes data; look "
                      "at dmesg, and go on from the last checkpoint on another "
                      "--limits.storage_path",
                      file_.string(),
                      (SwapFile::kData + read.offset).value + static_cast<std::int64_t>(at))));
    }
    return nullptr;
  }

  std::unique_ptr<Storage> inner_;
  std::filesystem::path file_;
  std::vector<std::uint64_t> sums_;  // by page; 0: never written

  std::mutex mutex_;
  std::condition_variable changed_;  // a read ended or is to be checked, or closed
  std::vector<Read> reads_;
  std::vector<std::size_t> free_, ready_, checking_;  // indices of reads
  bool closed_ = false;
  std::thread checker_;
};

}  // namespace

std::unique_ptr<Storage> check_pages(std::unique_ptr<Storage> inner, std::filesystem::path file) {
  return std::make_unique<CheckedStorage>(std::move(inner), std::move(file));
}

}  // namespace sluice
