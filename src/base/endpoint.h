// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace ds {

/// Where a host is reached. Fields that are empty (or 0) are left to the ssh configuration.
struct Endpoint {
  enum class Kind { ssh, local };
  Kind kind = Kind::ssh;
  std::string name;     ///< as the hostfile says, without user@; also the ssh configuration's Host
  std::string address;  ///< host name or IP address to connect to
  std::string user;
  int port = 0;
  std::string identity;  ///< private key file
  bool operator==(const Endpoint&) const = default;
};

}  // namespace ds
