// SPDX-License-Identifier: Apache-2.0
//
// From the lock to the last host that holds its release, whole, and can go back by itself. What
// runs on the hosts does not change.
#pragma once

#include <string>
#include <vector>

#include "rollout/records.h"
#include "rollout/rollout_state.h"

namespace ds {

class Preparation {
 public:
  Preparation(std::vector<RolloutHost>& hosts, const std::vector<ReleaseSet>& sets,
              const RolloutOptions& options, Records& records, Transport& transport, Status& status)
      : hosts_(hosts),
        sets_(sets),
        options_(options),
        records_(records),
        transport_(transport),
        status_(status),
        lock_(lock_phase(options, status)) {}

  /// Why no host may be activated; empty: good_hosts() may be.
  std::string run();
  /// Those good_writers() that are not at their release.
  std::vector<RolloutHost*> movers();

 private:
  void do_phase(const PhaseDescription& phase, const std::vector<RolloutHost*>& hosts);
  /// The same of one that changes something there.
  void do_announced(const PhaseDescription& phase, const std::vector<RolloutHost*>& hosts);
  void lock();
  void take_lock(const std::vector<RolloutHost*>& hosts);
  void prove_shared();
  void recover();
  void prove_dead_man();
  bool is_undefended() const;
  void stage_on(const std::vector<RolloutHost*>& hosts, bool again);
  void stage();
  void verify();
  void verify_sealed();
  void install_requirements();
  void confirm_unchanged();

  std::vector<RolloutHost>& hosts_;
  const std::vector<ReleaseSet>& sets_;
  const RolloutOptions& options_;
  Records& records_;
  Transport& transport_;
  Status& status_;
  PhaseDescription lock_;
  bool locked_ = false;
  bool locked_out_ = false;  ///< of a host that another run holds
  bool disagrees_ = false;   ///< of what was taken for one folder
};

}  // namespace ds
