// SPDX-License-Identifier: Apache-2.0
#include "plan/jobs.h"

#include <fmt/format.h>

#include "base/text.h"
#include "plan/job_words.h"

namespace ds {
namespace {

namespace fs = std::filesystem;

class OpJobs {
 public:
  OpJobs(const Op& op, const fs::path& root, const Toolchain& tools, const std::vector<Arch>& archs,
         const std::string& because)
      : op_(op), root_(root), tools_(tools), archs_(archs), because_(because) {}

  Job compile(const std::string& source) const {
    const fs::path path = fs::path(source).lexically_normal();
    const bool device = path.extension() == ".cu", in_c = path.extension() == ".c";
    const std::string from = (fs::path(op_.name) / path).generic_string();
    Job job;
    job.kind = Job::Kind::compile;
    job.op = op_.name;
    job.name = (device ? "nvcc " : in_c ? "cc " : "c++ ") + from;
    job.command.argv = device ? nvcc_words() : cxx_words(in_c);
    append(job.command.argv, {"-MD", "-MF", "@DEP@", "-c", "-o", "@OUT@", from});
    job.command.cwd = root_;
    job.command.environment = tools_.environment;
    job.inputs = {from};
    job.output = object_path(op_.name, path, job.command.argv);
    job.because = because_;
    if (device)
      job.threads = threads_told(tools_, archs_);
    return job;
  }

  Job link(const Words& objects) const {
    const std::string file = "lib" + op_.name + ".so";
    Job job;
    job.kind = Job::Kind::link;
    job.op = op_.name;
    job.name = "link " + file;
    job.command.argv = op_.kind == Op::Kind::cuda ? nvcc_link_words(file) : cxx_link_words(file);
    append(job.command.argv, {"-o", "@OUT@"});
    append(job.command.argv, objects);
    append(job.command.argv,
           op_.kind == Op::Kind::cuda ? for_nvcc(op_.link_flags) : op_.link_flags);
    append(job.command.argv, torch_libraries());
    for (const std::string& library : op_.libraries)
      job.command.argv.push_back("-l" + library);
    job.inputs.assign(objects.begin(), objects.end());
    job.output = fs::path("lib") / op_.name /
                 fmt::format("lib{}.{}.so", op_.name, digest12(job.command.argv));
    job.because = because_;
    return job;
  }

 private:
  Words include_words() const {
    Words words;
    for (const std::string& include : op_.include) {
      words.push_back("-I" + (fs::path(op_.name) / include).lexically_normal().generic_string());
    }
    return words;
  }

  Words cxx_words(bool in_c) const {
    Words words = in_c ? tools_.cc : tools_.cxx;
    append(words, {in_c ? "-std=gnu11" : "-std=c++20", "-O2", "-fPIC", "-fvisibility=hidden",
                   "-ffile-prefix-map=@FOLDER@=."});
    append(words, in_c ? tools_.c_cpu_flags : tools_.cpu_flags);
    append(words, include_words());
    if (op_.links_torch && !in_c) {
      append(words, torch_words());
      // What a header says of itself, in messages, is not where it lies on the build machine.
      words.push_back("-ffile-prefix-map=" + tools_.torch.folder + "=torch");
    }
    if (op_.kind == Op::Kind::cuda && !tools_.cuda_include.empty()) {
      words.push_back("-I" + tools_.cuda_include);
    }
    append(words, op_.flags);
    append(words, in_c ? tools_.c_flags : tools_.cxx_flags);
    return words;
  }

  Words nvcc_words() const {
    Words words = tools_.nvcc_launcher;
    append(words, {tools_.nvcc, "-ccbin", tools_.host_compiler, device_standard(), "-O3",
                   "-Xcompiler=-fPIC,-fvisibility=hidden"});
    for (const std::string& flag : tools_.cpu_flags)
      words.push_back("-Xcompiler=" + flag);
    // nvcc names files of its own by its process, and the object tells.
    append(words, {"-keep", "-keep-dir", "@KEEP@"});
    for (const Arch& arch : archs_)
      words.push_back(gencode(arch));
    append(words, thread_words(tools_, archs_));
    append(words, include_words());
    if (tools_.include_is_apart)
      words.push_back("-I" + tools_.cuda_include);
    if (op_.links_torch) {
      append(words, torch_words());
      append(words, {"-Xcompiler", "-ffile-prefix-map=" + tools_.torch.folder + "=torch"});
    }
    append(words, op_.nvcc_flags);
    return words;
  }

  /// Headers of PyTorch, as the system's: their warnings are not the op's.
  Words torch_words() const {
    const fs::path include = fs::path(tools_.torch.folder) / "include";
    Words words = {"-isystem", include.string(), "-isystem",
                   (include / "torch/csrc/api/include").string()};
    if (tools_.torch.cxx11_abi)
      words.push_back(fmt::format("-D_GLIBCXX_USE_CXX11_ABI={}", *tools_.torch.cxx11_abi ? 1 : 0));
    return words;
  }

  /// Without a run path: on a host they are in the process once `import torch` ran.
  Words torch_libraries() const {
    if (!op_.links_torch)
      return {};
    Words words = {"-L" + (fs::path(tools_.torch.folder) / "lib").string(), "-lc10", "-ltorch_cpu",
                   "-ltorch"};
    if (op_.kind == Op::Kind::cuda)
      append(words, {"-lc10_cuda", "-ltorch_cuda"});
    return words;
  }

  const char* device_standard() const {
    const bool newer = op_.links_torch && torch_standard(tools_.torch.version) >= 20;
    return newer ? "-std=c++20" : "-std=c++17";
  }

  Words cxx_link_words(const std::string& file) const {
    Words words = tools_.cxx;
    append(words, {"-shared", "-Wl,-s", "-Wl,--no-undefined", "-Wl,--build-id=sha1",
                   "-Wl,-soname," + file});
    return words;
  }

  /// Without -nodlink nvcc adds an empty device image of its own default arch to the library.
  Words nvcc_link_words(const std::string& file) const {
    return {tools_.nvcc, "-ccbin",   tools_.host_compiler,
            "-shared",   "-nodlink", "-cudart",
            "static",    "-Xlinker", "-s,--no-undefined,--build-id=sha1,-soname," + file};
  }

  /// nvcc knows -l and -L itself; what is for g++ or ld has to be handed on.
  static Words for_nvcc(const Words& flags) {
    Words words;
    for (const std::string& flag : flags) {
      if (flag.starts_with("-Wl,")) {
        append(words, {"-Xlinker", flag.substr(4)});
      } else if (flag.starts_with("-l") || flag.starts_with("-L") || flag.starts_with("-X")) {
        words.push_back(flag);
      } else {
        append(words, {"-Xcompiler", flag});
      }
    }
    return words;
  }

  const Op& op_;
  const fs::path& root_;
  const Toolchain& tools_;
  const std::vector<Arch>& archs_;
  const std::string& because_;
};

}  // namespace

fs::path add_jobs(const Op& op, const fs::path& root, const Toolchain& tools,
                  const std::vector<Arch>& archs, const std::string& because,
                  std::vector<Job>& jobs) {
  const OpJobs make(op, root, tools, archs, because);
  Words objects;
  std::vector<std::size_t> needs;
  for (const std::string& source : op.sources) {
    needs.push_back(jobs.size());
    jobs.push_back(make.compile(source));
    objects.push_back(jobs.back().output.generic_string());
  }
  jobs.push_back(make.link(objects));
  jobs.back().needs = needs;
  return jobs.back().output;
}

}  // namespace ds
