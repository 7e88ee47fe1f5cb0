// SPDX-License-Identifier: Apache-2.0
//
// Ctrl-C, SIGTERM and SIGHUP. The handler only counts and writes one byte to a pipe; whoever waits
// in poll(2) watches interrupt_fd() too and calls check_interrupt(). A second signal ends at once.
#pragma once

namespace ds {

/// Installs the handlers; made once, in main. SIGPIPE is ignored from then on.
class InterruptHandlers {
 public:
  InterruptHandlers();
  ~InterruptHandlers();
  InterruptHandlers(const InterruptHandlers&) = delete;
  InterruptHandlers& operator=(const InterruptHandlers&) = delete;
};

/// Readable once a signal came; -1 where no handlers are installed (unit tests).
int interrupt_fd();

/// Throws Interrupted if a signal came.
void check_interrupt();

/// Forgets the signals that came, for work that must still be done after Interrupted: bringing
/// hosts back. A further signal interrupts again, and one after that ends at once.
void clear_interrupt();

}  // namespace ds
