// SPDX-License-Identifier: Apache-2.0
//
// What the journal keeps of the hosts and wheels of a run, so that it can be told later what
// changed: a digest of each host's facts, kept once for all hosts that share it.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cli/session.h"
#include "facts/facts.h"
#include "rollout/rollout.h"

namespace ds {

/// By name: "driver" -> "580.65.06". A name that is not there is not known; an empty value: none.
using Properties = std::map<std::string, std::string>;

struct HostDigest {
  std::string problem;  ///< why it gave no facts; empty: it did
  Properties facts;
  bool operator==(const HostDigest&) const = default;
  auto operator<=>(const HostDigest&) const = default;
};

struct RunFacts {
  std::map<std::string, HostDigest> hosts;
  std::map<std::string, Properties> wheels;  ///< by sha256: how it was built, where that is noted
  /// "CXXFLAGS=-O2", sorted: variables that a build goes by; nothing: the run built no wheel.
  std::optional<std::vector<std::string>> environment;
  bool operator==(const RunFacts&) const = default;
};

/// Driver, GPUs, libraries, Python packages that ops depend on: what changes what an op does.
HostDigest digest_of(const HostFacts& host);

/// Compiler, nvcc, CUDA, PyTorch, ops and architectures, of the record in a wheel (Parcel::ops);
/// without one nothing is known.
Properties build_of(const std::string& record);

RunFacts facts_of_run(const std::vector<ReleaseSet>& sets, Session& session);

/// {"schema":"ds-deploy.run-facts/1",...}, see ds-deploy-journal(5); and read again, cleaned:
/// nothing if it is no such text.
std::string run_facts_json(const RunFacts& facts);
std::optional<RunFacts> read_run_facts(const std::string& text);

}  // namespace ds
