// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

// JSON that a stranger may have written. Nothing is built from it before it was
// found to be JSON (RFC 8259, UTF-8), nested at most 64 deep, without a key that
// stands twice in one object.

#include <cstdint>
#include <string>
#include <string_view>

#include "devices/base/error.h"

namespace sluice {

// Told of each value as it is read, in order. Exceptions end the reading.
class JsonEvents {
 public:
  virtual ~JsonEvents() = default;
  virtual void begin(bool /*object*/) {}  // of an object, or an array
  virtual void end() {}
  virtual void key(std::string_view /*name*/) {}
  virtual void text(std::string_view /*value*/) {}
  virtual void integer(std::int64_t /*value*/) {}
  virtual void other() {}  // null, true, false, another number
};

// Errors: `kind`, one line with `name` (the file) and the byte or the key.
void read_strict_json(std::string_view json, const std::string& name, ErrorKind kind,
                      JsonEvents& events);

// The same check, for what is then read by other means.
void check_strict_json(std::string_view json, const std::string& name, ErrorKind kind);

}  // namespace sluice
