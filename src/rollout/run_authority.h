// SPDX-License-Identifier: Apache-2.0
//
// Who the hosts of a run trust while they pass bytes on to each other: X.509 certificates (RFC
// 5280) of an authority that is made for the run, kept in memory, and forgotten with it.
#pragma once

#include <memory>
#include <string>

namespace ds {

class RunAuthority {
 public:
  /// Error where OpenSSL cannot make one.
  RunAuthority();
  ~RunAuthority();
  RunAuthority(const RunAuthority&) = delete;
  RunAuthority& operator=(const RunAuthority&) = delete;

  /// PEM.
  const std::string& certificate() const { return certificate_; }

  struct Identity {
    std::string certificate, key;  ///< PEM; ECDSA on P-256
  };
  /// For a peer that is both server and client; `name` is its common name, at most 64 bytes. The
  /// times in it are so far away that no clock is wrong enough to matter: what ends it is that the
  /// authority's key is gone.
  Identity identity(const std::string& name) const;

 private:
  struct Keys;
  std::unique_ptr<Keys> keys_;
  std::string certificate_;
};

}  // namespace ds
