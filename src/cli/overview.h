// SPDX-License-Identifier: Apache-2.0
//
// What `ds-deploy --help` says around the options of a deployment.
#pragma once

namespace ds {

inline constexpr const char* overview =
    R"(ds-deploy: builds a wheel of C++/CUDA ops once and deploys it to every host of a cluster.

Usage: ds-deploy [COMMAND] [OPTION...]

Deploy
  deploy        build or reuse the wheel, audit, stage, verify, activate, confirm (the default)
                  ds-deploy --hostfile cluster --python /opt/venv/bin/python
  stage         the first half of it: hosts hold the release, nothing is activated
                  ds-deploy stage --hostfile cluster
  activate      the second half: what a run staged is activated and confirmed
                  ds-deploy activate
  resume        goes on with a run that ended early
                  ds-deploy resume
  rollback      brings hosts back to a release that they hold
                  ds-deploy rollback --hostfile cluster
  remove        takes releases that nobody uses off hosts
                  ds-deploy remove 0123456789ab --hostfile cluster
  pin           keeps a release on hosts for a job, whatever is activated meanwhile
                  ds-deploy pin 0123456789ab --hostfile cluster
Look
  facts         what every host is
                  ds-deploy facts --hostfile cluster --json
  audit         holds a wheel that exists against every host; changes nothing
                  ds-deploy audit dist/ds_ops-0.1.0+g1a2b3c4d5.cpu-py3-none-linux_x86_64.whl -l
  status        which release is active on every host, and whether that is decided
                  ds-deploy status --hostfile cluster
  verify        hashes again what is active on every host, and names what drifted
                  ds-deploy verify --hostfile cluster
  history       the runs of this coordinator, newest first
                  ds-deploy history
  show          what one run did, and where it left every host
                  ds-deploy show 20261126-0312
  diff          what differs between two runs, or between a run and the hosts as they are
                  ds-deploy diff 20261126-0312 now
  report        what is installed and what could run, as ds_report shows it
                  ds-deploy report --hostfile cluster
  inspect       what a wheel or a library really needs
                  ds-deploy inspect libfused_adam.so
Build
  build         the wheel only
                  TORCH_CUDA_ARCH_LIST="8.0;9.0" ds-deploy build -l --output dist
  jit           one op for this machine, into the extension cache
                  ds-deploy jit cpu_adam
  cache         the store of what was built: show, trim, verify
                  ds-deploy cache show
Reach
  ping          one no-op command on every host
                  ds-deploy ping --hostfile cluster
  trust         shows the keys of hosts that are not known and, once confirmed, adds them
                  ds-deploy trust --hostfile cluster

ds-deploy COMMAND --help lists the options of a command; those of deploy:

)";

inline constexpr const char* manuals = R"(
Exit status: 0 every host is where the command takes it, 2 usage, 3 the audit refused a host,
4 a host failed and is at its old release, 5 a host was not reached, 6 a rollback failed, 7 another
run is at work, 8 host key or checksum refused, 9 the build failed; see ds-deploy(1), ds-deploy-hostfile(5), ds-deploy-op(5).
)";

}  // namespace ds
