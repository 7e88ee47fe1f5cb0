// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include "support/audit_fixture.h"

using namespace ds;
using enum Severity;

namespace {

const char* const c10_of_torch = "_ZN3c104cuda9SetDeviceEa";  // c10::cuda::SetDevice(signed char)

/// A host with a torch of two libraries and a Python, and a wheel whose op is linked with them.
struct SymbolCase : AuditCase {
  RuntimeExports exports;

  SymbolCase() {
    exports.try_emplace("aa01", "libc.so.6\nPyObject_GetAttr\nPyErr_Clear\n");
    exports.try_emplace("aa02", std::string("libc10.so libc.so.6\n_ZN2at5emptyEv\n"));
    exports.try_emplace("aa03", std::string("libc.so.6\n") + c10_of_torch + "\n");
    host().runtime = {{"python", "aa01"}, {"libtorch.so", "aa02"}, {"libc10.so", "aa03"}};
    cpu().links_torch = true;
    cpu().needed = {"libtorch.so", "libc.so.6"};
    cpu().outside = {"PyErr_Clear", "_ZN2at5emptyEv", c10_of_torch, "cuLaunchKernel"};
    options.exports = &exports;
  }
};

}  // namespace

TEST_CASE("audit: symbols that the host's PyTorch and Python have") {
  const SymbolCase audited;
  const Finding found = audited.worst("symbols");
  CHECK(to_string(found.severity) == "ok");
  CHECK(found.because == "3 symbols of PyTorch and Python that the ops need are there");
  CHECK(AuditCase().findings("symbols").empty());
}

TEST_CASE("audit: symbols of another PyTorch are named as people write them") {
  SymbolCase audited;
  audited.cpu().outside.emplace_back("_ZN3c104cuda9SetDeviceEab");
  Finding found = audited.worst("symbols");
  CHECK(to_string(found.severity) == "fail");
  CHECK(found.because ==
        "cpu_adam needs c10::cuda::SetDevice(signed char, bool), which torch 2.6.0+cu124 of this "
        "host does not have");
  CHECK(found.ways == std::vector<Change>{{"torch-wheel", "2.6.0+cu124"}});
  audited.cpu().outside.emplace_back("_ZN2at4onesEv");
  found = audited.worst("symbols");
  CHECK(
      found.because ==
      "cpu_adam needs at::ones(), and 1 more, which torch 2.6.0+cu124 of this host does not have");
}

TEST_CASE("audit: a symbol of a library that the op is not linked with does not count") {
  SymbolCase audited;
  audited.cpu().needed = {"libc.so.6"};
  CHECK(to_string(audited.worst("symbols").severity) == "fail");
}

TEST_CASE("audit: symbols of another Python") {
  SymbolCase audited;
  audited.cpu().outside = {"PyUnicode_New"};
  const Finding found = audited.worst("symbols");
  CHECK(to_string(found.severity) == "fail");
  CHECK(found.because ==
        "cpu_adam needs PyUnicode_New, which Python 3.11.2 of this host does not "
        "have");
}

TEST_CASE("audit: a symbol is PyTorch's by its own namespace, not by its arguments'") {
  SymbolCase audited;
  audited.cpu().outside = {"_ZN22deepspeed_pin_tensor_t10is_managedERKN2at6TensorE", "PyErr_Clear"};
  CHECK(to_string(audited.worst("symbols").severity) == "ok");
  for (const char* symbol : {"_ZTVN5torch8autograd4NodeE", "_ZNK3c106Scalar2toEv",
                             "_Z16THPVariable_WrapN2at10TensorBaseE", "aoti_torch_get_data_ptr"}) {
    audited.cpu().outside = {symbol};
    CHECK(to_string(audited.worst("symbols").severity) == "fail");
  }
}

TEST_CASE("audit: another torch than the op was built with is told once") {
  SymbolCase audited;
  audited.cpu().torch = "2.7.0+cu126";
  audited.cpu().outside = {"_ZN2at4onesEv"};
  CHECK(audited.findings("symbols").empty());
  audited.wheel().libraries.push_back(audited.cpu());
  audited.wheel().libraries.back().op = "cpu_adagrad";
  const std::vector<Finding> found = audited.findings("torch");
  REQUIRE(found.size() == 1);
  CHECK(found[0].because ==
        "cpu_adam, cpu_adagrad are built with torch 2.7.0+cu126, and this host has torch "
        "2.6.0+cu124");
  CHECK(found[0].ways ==
        std::vector<Change>{{"torch", "2.7.0+cu126"}, {"torch-wheel", "2.6.0+cu124"}});
}

TEST_CASE("audit: symbols of libraries that nobody asked for are not known") {
  SymbolCase audited;
  audited.exports.erase("aa03");
  const Finding found = audited.worst("symbols");
  CHECK(to_string(found.severity) == "unknown");
  CHECK(found.because ==
        "cpu_adam needs 1 symbol of PyTorch and Python, and what this host's have is not known");
  audited.host().runtime.clear();
  CHECK(to_string(audited.worst("symbols").severity) == "unknown");
}
