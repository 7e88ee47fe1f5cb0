// SPDX-License-Identifier: Apache-2.0
#include "base/error.h"
#include "transport/session.h"

namespace ds {
std::unique_ptr<HostSession> make_ssh_session(const Endpoint&, const TransportOptions&) {
  throw Error("not yet");
}
}  // namespace ds
