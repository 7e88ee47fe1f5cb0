// SPDX-License-Identifier: Apache-2.0
#include "plan/source_jobs.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"

namespace ds {
namespace {

namespace fs = std::filesystem;

/// What Python's own build gives to every extension (sysconfig's CFLAGS), but for -g and warnings:
/// torch's headers have other code without NDEBUG.
const Words& python_words() {
  static const Words words = {"-DNDEBUG", "-fwrapv", "-O3", "-fPIC"};
  return words;
}

class OpJobs {
 public:
  OpJobs(const SourceJobs& how, const SourceOp& op, const SourceFlags& flags,
         const std::vector<Arch>& archs, const std::string& because)
      : tree_(how.tree),
        tools_(how.tools),
        debug_info_(how.debug_info),
        op_(op),
        flags_(flags),
        archs_(archs),
        because_(because) {}

  Job compile(const std::string& source) const {
    const fs::path path = fs::path(source).lexically_normal();
    const bool device = path.extension() == ".cu", in_c = path.extension() == ".c";
    Job job;
    job.kind = Job::Kind::compile;
    job.op = op_.name;
    job.name = fmt::format("{} {}: {}",
                           device ? "nvcc"
                           : in_c ? "cc"
                                  : "c++",
                           op_.name, path.generic_string());
    job.command.argv = device ? nvcc_words() : cxx_words(in_c);
    append(job.command.argv, {"-MD", "-MF", "@DEP@", "-c", "-o", "@OUT@", path.generic_string()});
    job.command.cwd = tree_.root;
    job.command.environment = tools_.environment;
    job.inputs = {path};
    job.output = object_path(op_.name, path, job.command.argv);
    job.because = because_;
    if (device)
      job.threads = threads_told(tools_, archs_);
    return job;
  }

  /// Upstream exports every symbol: so does this.
  Job link(const Words& objects) const {
    const std::string name = last_part(op_.module);
    Job job;
    job.kind = Job::Kind::link;
    job.op = op_.name;
    job.name = "link " + name + ".so";
    job.command.argv = tools_.cxx;
    append(job.command.argv, {"-shared", "-Wl,--build-id=sha1"});
    if (!debug_info_)
      job.command.argv.emplace_back("-Wl,-s");
    append(job.command.argv, {"-o", "@OUT@"});
    append(job.command.argv, objects);
    append(job.command.argv, library_words());
    append(job.command.argv, flags_.link);
    if (links_driver())
      append(job.command.argv, stub_words());
    job.inputs.assign(objects.begin(), objects.end());
    job.output =
        fs::path("lib") / op_.name / fmt::format("{}.{}.so", name, digest12(job.command.argv));
    job.because = because_;
    return job;
  }

 private:
  const TorchAdditions& added() const {
    return op_.links_cuda ? tree_.torch.cuda_extension : tree_.torch.cpp;
  }

  std::string cuda_root() const {
    return fs::path(tools_.nvcc).parent_path().parent_path().string();
  }

  /// In this machine's toolkit, where it lies in the one that torch found.
  std::string here(const std::string& path) const {
    return in_toolkit(path, tree_.torch.cuda_home, tools_.nvcc.empty() ? "" : cuda_root());
  }

  bool is_of_toolkit(const std::string& path) const {
    return !tools_.nvcc.empty() && in_toolkit(path, tree_.torch.cuda_home, "//") != path;
  }

  /// Headers of others, as the system's: their warnings are not the op's.
  Words include_words(bool device) const {
    Words own, system;
    const auto add_system = [&system](const std::string& folder) {
      // Naming it would put it before the compiler's own folders and break #include_next.
      if (folder.empty() || folder == "/usr/include")
        return;
      if (std::find(system.begin(), system.end(), folder) == system.end())
        append(system, {"-isystem", folder});
    };
    for (const std::string& folder : op_.include) {
      if (!is_of_toolkit(folder))
        own.push_back("-I" + fs::path(folder).lexically_normal().generic_string());
    }
    for (const std::string& folder : added().include) {
      if (!is_of_toolkit(folder))
        add_system(folder);
    }
    if (op_.links_cuda && (!device || tools_.include_is_apart))
      add_system(tools_.cuda_include);
    add_system(tree_.python.include);
    append(own, system);
    return own;
  }

  /// What a header says of itself, in messages, is not where it lies on the build machine. Of two
  /// that match the compiler takes the last.
  Words place_words() const {
    Words words;
    const auto add = [&words](const fs::path& place, const char* name) {
      if (place.has_relative_path() && place != "/usr")
        words.push_back(fmt::format("-ffile-prefix-map={}={}", place.string(), name));
    };
    const fs::path python = tree_.python.executable;
    add(python.parent_path().parent_path(), "python");
    add(tree_.python.include, "python");
    if (!tools_.nvcc.empty())
      add(cuda_root(), "cuda");
    add(torch_folder(tree_.torch), "torch");
    words.emplace_back("-ffile-prefix-map=@FOLDER@=.");
    return words;
  }

  /// As BuildExtension has them, behind the op's own. Macros that a torch no longer has are not
  /// given.
  Words define_words() const {
    Words words = {"-DTORCH_API_INCLUDE_EXTENSION_H"};
    for (const auto& [name, value] : tree_.torch.abi) {
      if (name == "_GLIBCXX_USE_CXX11_ABI")
        words.push_back(fmt::format("-D{}={}", name, value == "True" || value == "1" ? 1 : 0));
      else
        words.push_back(
            fmt::format("-D{}=\"{}\"", name.substr(name.find_first_not_of('_')), value));
    }
    words.push_back("-DTORCH_EXTENSION_NAME=" + last_part(op_.module));
    return words;
  }

  Words cxx_words(bool in_c) const {
    Words words = in_c ? tools_.cc : tools_.cxx;
    append(words, python_words());
    append(words, place_words());
    append(words, in_c ? tools_.c_cpu_flags : tools_.cpu_flags);
    append(words, include_words(false));
    for (const std::string& define : op_.defines)
      words.push_back("-D" + define);
    append(words, flags_.cxx);
    if (debug_info_)
      words.emplace_back("-g");
    append(words, define_words());
    if (!in_c)
      words.push_back(fmt::format("-std=c++{}", flags_.cxx_standard));
    append(words, in_c ? tools_.c_flags : tools_.cxx_flags);
    return words;
  }

  Words nvcc_words() const {
    Words words = tools_.nvcc_launcher;
    append(words, {tools_.nvcc, "-ccbin", tools_.host_compiler, "-Xcompiler=-fPIC"});
    for (const std::string& flag : tools_.cpu_flags)
      words.push_back("-Xcompiler=" + flag);
    for (const std::string& flag : place_words())
      append(words, {"-Xcompiler", flag});
    // nvcc names files of its own by its process, and the object tells.
    append(words, {"-keep", "-keep-dir", "@KEEP@"});
    for (const Arch& arch : archs_)
      words.push_back(gencode(arch));
    append(words, thread_words(tools_, archs_));
    append(words, include_words(true));
    append(words, tree_.torch.nvcc_flags);
    for (const std::string& define : op_.defines)
      words.push_back("-D" + define);
    append(words, flags_.nvcc);
    append(words, define_words());
    words.push_back(fmt::format("-std=c++{}", flags_.nvcc_standard));
    return words;
  }

  /// Without a run path: on a host torch's are in the process once `import torch` ran.
  Words library_words() const {
    Words words;
    for (const std::vector<std::string>* folders : {&op_.library_dirs, &added().library_dirs}) {
      for (const std::string& folder : *folders)
        words.push_back("-L" + here(folder));
    }
    if (op_.links_cuda)
      append(words, {"-L" + cuda_root() + "/lib64", "-L" + cuda_root() + "/lib"});
    for (const std::vector<std::string>* names : {&op_.libraries, &added().libraries}) {
      for (const std::string& name : *names)
        words.push_back("-l" + name);
    }
    return words;
  }

  bool links_driver() const {
    const auto has = [](const Words& words, const char* word) {
      return std::find(words.begin(), words.end(), word) != words.end();
    };
    return !tools_.nvcc.empty() && (has(flags_.link, "-lcuda") || has(op_.libraries, "cuda"));
  }

  /// The driver itself is not on a build machine without a GPU. Only its name gets into the
  /// library.
  Words stub_words() const {
    return {"-L" + cuda_root() + "/lib64/stubs", "-L" + cuda_root() + "/lib/stubs"};
  }

  const SourceTree& tree_;
  const Toolchain& tools_;
  const bool debug_info_;
  const SourceOp& op_;
  const SourceFlags& flags_;
  const std::vector<Arch>& archs_;
  const std::string& because_;
};

}  // namespace

fs::path add_source_jobs(const SourceJobs& how, const SourceOp& op, const SourceFlags& flags,
                         const std::vector<Arch>& archs, const std::string& because,
                         std::vector<Job>& jobs) {
  const OpJobs make(how, op, flags, archs, because);
  Words objects;
  std::vector<std::size_t> needs;
  for (const std::string& source : op.sources) {
    needs.push_back(jobs.size());
    Job unit = make.compile(source);
    if (reads_torch(unit, op)) {
      const std::string digest = digest12(header_words(unit, op, flags, how.tools.cuda_include));
      const auto header = how.headers.find(digest);
      if (header != how.headers.end())
        read_precompiled(unit, digest, header->second);
    }
    jobs.push_back(std::move(unit));
    objects.push_back(jobs.back().output.generic_string());
  }
  jobs.push_back(make.link(objects));
  jobs.back().needs = needs;
  return jobs.back().output;
}

bool reads_torch(const Job& unit, const SourceOp& op) {
  const std::vector<std::string>& units = op.torch_units;
  return unit.kind == Job::Kind::compile && unit.name.starts_with("c++ ") &&
         std::any_of(units.begin(), units.end(), [&unit](const std::string& source) {
           return fs::path(source).lexically_normal() == unit.inputs.front();
         });
}

std::string last_part(const std::string& module) {
  return module.substr(module.find_last_of('.') + 1);
}

std::string torch_folder(const SourceTorch& torch) {
  for (const std::string& folder : torch.cpp.include) {
    if (folder.ends_with("/torch/include"))
      return folder.substr(0, folder.size() - std::string_view("/include").size());
  }
  return {};
}

}  // namespace ds
