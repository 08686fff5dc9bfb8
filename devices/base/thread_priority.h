// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Sluice developers
#pragma once

namespace sluice {

// From here on this thread takes the time that arithmetic leaves, and a small share of what
// others want too: nobody who waits for it waits for ever. It cannot be taken back.
void give_way() noexcept;

}  // namespace sluice
