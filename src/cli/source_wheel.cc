// SPDX-License-Identifier: Apache-2.0
#include "cli/source_wheel.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/text.h"

namespace ds {
namespace {

namespace fs = std::filesystem;

InstalledOps installed_ops(const SourceWheel& wheel) {
  InstalledOps installed{
      .version = wheel.version, .accelerator = wheel.accelerator, .names = {}, .bf16 = wheel.bf16};
  for (const BuiltOp& op : wheel.ops)
    installed.names.push_back(op.name);
  return installed;
}

std::vector<WheelFile> wheel_files(const std::vector<PackageFile>& files) {
  std::vector<WheelFile> all;
  for (const PackageFile& file : files)
    all.push_back({file.path, {}, file.source, file.executable});
  return all;
}

WheelSpec spec_of(const SourceWheel& wheel, const SourcePackage& package) {
  WheelSpec spec;
  spec.name = normalised_name(package.name);
  spec.version = wheel.version;
  spec.tag = wheel_tag(wheel.tree.python);
  spec.metadata = package.metadata;
  spec.files = wheel_files(package.files);
  spec.data = wheel_files(package.data);
  spec.dist_info = wheel_files(package.dist_info);
  const std::string record = build_record(wheel.tree, package, installed_ops(wheel));
  // A library that an older build left in the tree gives way.
  std::set<std::string> ours = {record.empty() ? "" : build_record_path};
  for (const BuiltOp& op : wheel.ops)
    ours.insert(module_path(op.module, wheel.tree.python));
  std::erase_if(spec.files, [&ours](const WheelFile& file) { return ours.contains(file.path); });
  if (!record.empty())
    spec.files.push_back({build_record_path, record, {}, false});
  for (const BuiltOp& op : wheel.ops) {
    spec.files.push_back({module_path(op.module, wheel.tree.python), {}, op.library, true});
  }
  return spec;
}

}  // namespace

fs::path make_source_wheel(const SourceWheel& wheel, const SourcePackage& package,
                           const fs::path& output, Session& session, FileHashes& hashes) {
  Packing packing{.spec = spec_of(wheel, package),
                  .ops = wheel.ops,
                  .cuda = wheel.cuda,
                  .compiler = wheel.compiler,
                  .nvcc = wheel.nvcc};
  for (BuiltOp& op : packing.ops)
    op.path = module_path(op.module, wheel.tree.python);
  return pack(packing, output, session, hashes);
}

}  // namespace ds
