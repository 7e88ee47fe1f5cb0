// SPDX-License-Identifier: Apache-2.0
#include "cli/run_facts.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "base/text.h"
#include "cli/plan_wheel.h"

namespace ds {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr const char* schema = "ds-deploy.run-facts/1";
constexpr std::size_t longest = 1000;

std::string gpus_of(const HostFacts& host) {
  std::map<std::string, std::size_t> models;
  for (const Gpu& gpu : host.gpus) {
    ++models[gpu.name + (gpu.compute_capability.empty() ? "" : " " + gpu.compute_capability) +
             (gpu.mig == "Enabled" ? " with MIG" : "")];
  }
  std::vector<std::string> texts;
  for (const auto& [model, number] : models)
    texts.push_back(fmt::format("{} x {}", number, model));
  return join(texts, ", ");
}

std::string cpus_of(const HostFacts& host) {
  return host.cpu_model.empty() ? "" : fmt::format("{} x {}", host.cpu_count, host.cpu_model);
}

/// Of packages whose name ends in the CUDA that they are for: nvidia-nccl-cu12, -cu13.
std::string packages_named(const std::vector<std::pair<std::string, std::string>>& all,
                           const std::string& name) {
  std::vector<std::string> versions;
  for (const auto& [found, version] : all) {
    if (found == name || found.starts_with(name + "-cu"))
      versions.push_back(version);
  }
  return join(versions, ", ");
}

void add_packages(const HostFacts& host, Properties& facts) {
  if (!host.distributions)
    return;
  const auto all = host.distributions->all();
  facts["NCCL"] = packages_named(all, "nvidia-nccl");
  facts["CUDA runtime"] = packages_named(all, "nvidia-cuda-runtime");
  facts["cuDNN"] = packages_named(all, "nvidia-cudnn");
  facts["triton"] = host.distributions->find("triton").value_or("");
  facts["DeepSpeed"] = host.distributions->find("deepspeed").value_or("");
}

std::string text_of(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string()
             ? clean_line(found->get_ref<const std::string&>(), longest)
             : std::string();
}

json objects_in(const json& object, const char* key) {
  json objects = json::array();
  const auto found = object.find(key);
  if (found == object.end() || !found->is_array())
    return objects;
  std::copy_if(found->begin(), found->end(), std::back_inserter(objects),
               [](const json& item) { return item.is_object(); });
  return objects;
}

std::vector<std::string> texts_in(const json& object, const char* key) {
  std::vector<std::string> texts;
  const auto found = object.find(key);
  if (found == object.end() || !found->is_array())
    return texts;
  for (const json& item : *found) {
    if (item.is_string())
      texts.push_back(clean_line(item.get_ref<const std::string&>(), longest));
  }
  return texts;
}

Properties properties_in(const json& object, const char* key) {
  Properties properties;
  const auto found = object.find(key);
  if (found == object.end() || !found->is_object())
    return properties;
  for (const auto& [name, value] : found->items()) {
    if (value.is_string())
      properties[clean_line(name, longest)] =
          clean_line(value.get_ref<const std::string&>(), longest);
  }
  return properties;
}

std::string joined(const std::set<std::string>& texts) {
  std::vector<std::string> all(texts.begin(), texts.end());
  std::stable_sort(all.begin(), all.end(), [](const std::string& left, const std::string& right) {
    return compare_versions(left, right) < 0;  // 90 before 100
  });
  return join(all, ", ");
}

bool is_of_a_build(const std::string& variable) {
  static const std::set<std::string> known = {"CC",
                                              "CFLAGS",
                                              "CUDA_HOME",
                                              "CXX",
                                              "CXXFLAGS",
                                              "DS_SKIP_CUDA_CHECK",
                                              "NVCC_APPEND_FLAGS",
                                              "NVCC_PREPEND_FLAGS",
                                              "TORCH_CUDA_ARCH_LIST"};
  return known.contains(variable) || variable.starts_with("DS_BUILD_");
}

std::vector<std::string> build_environment() {
  std::vector<std::string> texts;
  for (const auto& [name, value] : environment_map()) {
    if (is_of_a_build(name))
      texts.push_back(clean_line(name + "=" + value, longest));
  }
  return texts;
}

}  // namespace

HostDigest digest_of(const HostFacts& host) {
  if (host.state != HostFacts::State::reached)
    return {host.problem.empty() ? "it gave no facts" : host.problem, {}};
  HostDigest digest;
  digest.facts = {{"system", host.os},
                  {"kernel", host.kernel},
                  {"CPU", cpus_of(host)},
                  {"glibc", host.glibc},
                  {"GLIBCXX", host.glibcxx},
                  {"driver", host.driver},
                  {"CUDA of the driver", host.nvidia.cuda},
                  {"GPUs", gpus_of(host)},
                  {"Python", host.python.version},
                  {"torch", host.torch.version},
                  {"CUDA of torch", host.torch.cuda}};
  add_packages(host, digest.facts);
  return digest;
}

Properties build_of(const std::string& record) {
  const json whole = json::parse(record, nullptr, false);
  if (!whole.is_object())
    return {};
  Properties build;
  for (const char* key : {"compiler", "nvcc"}) {
    if (whole.contains(key))
      build[key] = text_of(whole, key);
  }
  if (whole.contains("cuda"))
    build["CUDA"] = text_of(whole, "cuda");
  std::set<std::string> ops, archs, torches;
  for (const json& op : objects_in(whole, "ops")) {
    ops.insert(text_of(op, "name"));
    for (const std::string& arch : texts_in(op, "archs"))
      archs.insert(arch);
    torches.insert(text_of(op, "torch"));
  }
  torches.erase("");
  build["ops"] = clean_line(joined(ops), longest);
  build["architectures"] = clean_line(joined(archs), longest);
  build["torch"] = clean_line(joined(torches), longest);
  return build;
}

RunFacts facts_of_run(const std::vector<ReleaseSet>& sets, Session& session) {
  RunFacts facts;
  for (const HostFacts& host : session.fleet().hosts)
    facts.hosts[host.host] = digest_of(host);
  for (const ReleaseSet& set : sets) {
    for (const Parcel& parcel : set.parcels) {
      Properties build = build_of(parcel.ops);
      if (!build.empty())
        facts.wheels[parcel.wheel->sha256] = std::move(build);
    }
  }
  const Options& options = session.options();
  if (options.wheels.empty() && (options.command == "deploy" || options.command == "stage"))
    facts.environment = build_environment();
  return facts;
}

std::string run_facts_json(const RunFacts& facts) {
  std::map<HostDigest, std::vector<std::string>> alike;
  for (const auto& [host, digest] : facts.hosts)
    alike[digest].push_back(host);
  ordered_json classes = ordered_json::array(), wheels = ordered_json::array();
  for (const auto& [digest, hosts] : alike) {
    classes.push_back({{"hosts", hosts}, {"facts", digest.facts}});
    if (!digest.problem.empty())
      classes.back()["problem"] = digest.problem;
  }
  for (const auto& [sha256, build] : facts.wheels)
    wheels.push_back({{"sha256", sha256}, {"build", build}});
  ordered_json whole = {{"schema", schema}, {"classes", classes}, {"wheels", wheels}};
  if (facts.environment)
    whole["environment"] = *facts.environment;
  return whole.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

std::optional<RunFacts> read_run_facts(const std::string& text) {
  const json whole = json::parse(text, nullptr, false);
  if (!whole.is_object() || text_of(whole, "schema") != schema)
    return std::nullopt;
  RunFacts facts;
  for (const json& one : objects_in(whole, "classes")) {
    const HostDigest digest = {text_of(one, "problem"), properties_in(one, "facts")};
    for (const std::string& host : texts_in(one, "hosts"))
      facts.hosts[host] = digest;
  }
  for (const json& wheel : objects_in(whole, "wheels"))
    facts.wheels[text_of(wheel, "sha256")] = properties_in(wheel, "build");
  if (whole.contains("environment"))
    facts.environment = texts_in(whole, "environment");
  return facts;
}

}  // namespace ds
