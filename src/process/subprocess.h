// SPDX-License-Identifier: Apache-2.0
//
// The pieces that the runner and the single command share.
#pragma once

#include "process/process.h"

namespace ds {

struct Pipe {
  Fd read, write;
};
Pipe make_pipe();
void set_nonblocking(int fd);

enum class Group { own, ours };

/// Starts `command` with these descriptors (`in` < 0: /dev/null). Returns 0 or an errno value.
int spawn(const Command& command, int in, int out, int err, pid_t& pid, Group group = Group::own);

/// Waits for a child and fills in status, signal and peak memory.
void reap(pid_t pid, CommandResult& result);
void kill_group(pid_t pid);
CommandResult not_started(const Command& command, int number);

/// Reads what is there; closes `fd` and returns false at its end.
bool read_available(Fd& fd, std::string& into);

}  // namespace ds
