// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <string>

#include "artifact/artifact.h"

namespace {

/// One unit with this SASS and this PTX.
ds::GpuImages images(std::vector<std::string> sass, std::vector<std::string> ptx = {}) {
  ds::GpuImages gpu;
  gpu.units = 1;
  gpu.sass_all_units = gpu.sass = std::move(sass);
  for (std::string& arch : ptx)
    gpu.ptx.push_back({.arch = std::move(arch), .isa = "9.0"});
  gpu.ptx_all_units = gpu.ptx;
  return gpu;
}

}  // namespace

TEST_CASE("image_for knows which image a GPU loads") {
  using ds::Image;
  const struct {
    std::vector<std::string> sass, ptx;
    const char* gpu;
    Image expected;
  } cases[] = {
      {{"80"}, {}, "8.0", Image::sass},        {{"80"}, {}, "8.6", Image::sass},
      {{"80"}, {}, "8.9", Image::sass},        {{"86"}, {}, "8.0", Image::none},
      {{"80"}, {}, "9.0", Image::none},        {{"80"}, {}, "7.5", Image::none},
      {{"80"}, {"80"}, "9.0", Image::ptx},     {{"80"}, {"90"}, "8.9", Image::sass},
      {{}, {"90"}, "8.9", Image::none},        {{}, {"75"}, "12.1", Image::ptx},
      {{"90a"}, {}, "9.0", Image::sass},       {{"90a"}, {}, "10.0", Image::none},
      {{}, {"90a"}, "9.0", Image::ptx},        {{}, {"90a"}, "10.0", Image::none},
      {{"100f"}, {}, "10.0", Image::sass},     {{"100f"}, {}, "10.3", Image::sass},
      {{"103f"}, {}, "10.0", Image::none},     {{"100f"}, {}, "11.0", Image::none},
      {{"100f"}, {}, "12.0", Image::none},     {{"110f"}, {}, "11.0", Image::sass},
      {{"120f"}, {}, "12.1", Image::sass},     {{}, {"100f"}, "10.3", Image::ptx},
      {{}, {"100f"}, "12.0", Image::none},     {{"100"}, {}, "10.3", Image::sass},
      {{"80"}, {}, "8.7", Image::none},        {{"87"}, {}, "8.7", Image::sass},
      {{"87"}, {}, "8.9", Image::none},        {{"80"}, {"80"}, "8.7", Image::ptx},
      {{"70"}, {}, "7.2", Image::none},        {{"60"}, {}, "6.2", Image::none},
      {{"50"}, {}, "5.3", Image::none},        {{"110"}, {}, "11.0", Image::sass},
      {{"80"}, {}, "", Image::none},           {{"80"}, {}, "8", Image::none},
      {{"80"}, {}, "eight.zero", Image::none}, {{"eighty"}, {""}, "8.0", Image::none},
  };
  for (const auto& one : cases) {
    CAPTURE(one.gpu);
    const std::string image = one.sass.empty() ? "PTX" : one.sass.front();
    CAPTURE(image);
    CHECK(ds::image_for(images(one.sass, one.ptx), one.gpu) == one.expected);
  }
  CHECK(ds::image_for({}, "8.0") == Image::none);
}

TEST_CASE("every unit must have an image, not the same one") {
  using ds::Image;
  ds::GpuImages gpu;
  gpu.units = 2;
  gpu.sass = {"80", "86"};
  gpu.unit_kinds = {{.sass = {"80"}, .ptx = {}}, {.sass = {"86"}, .ptx = {}}};
  CHECK(ds::image_for(gpu, "8.6") == Image::sass);
  CHECK(ds::image_for(gpu, "8.0") == Image::none);
  gpu.unit_kinds[1].ptx = {{.arch = "80", .isa = "9.0"}};
  CHECK(ds::image_for(gpu, "8.0") == Image::ptx);
}

TEST_CASE("units for one architecture alone do not refuse other GPUs") {
  using ds::Image;
  ds::GpuImages gpu;
  gpu.units = 3;
  gpu.unit_kinds = {{.sass = {"90a"}, .ptx = {}}, {.sass = {"100f"}, .ptx = {{"100a", "9.0"}}}};
  CHECK(ds::image_for(gpu, "9.0") == Image::sass);
  CHECK(ds::image_for(gpu, "10.3") == Image::sass);
  CHECK(ds::image_for(gpu, "8.0") == Image::none);
  gpu.unit_kinds.push_back({.sass = {"80"}, .ptx = {{"80", "9.0"}}});
  CHECK(ds::image_for(gpu, "8.0") == Image::sass);
  CHECK(ds::image_for(gpu, "9.0") == Image::ptx);
  CHECK(ds::image_for(gpu, "7.5") == Image::none);
}

TEST_CASE("a PTX ISA belongs to a toolkit") {
  CHECK(ds::builtin_catalog().toolkit_of_ptx("7.0") == "11.0");
  CHECK(ds::builtin_catalog().toolkit_of_ptx("7.8") == "11.8");
  CHECK(ds::builtin_catalog().toolkit_of_ptx("8.5") == "12.5");
  CHECK(ds::builtin_catalog().toolkit_of_ptx("8.6") == "12.7");
  CHECK(ds::builtin_catalog().toolkit_of_ptx("9.0") == "13.0");
  CHECK(ds::builtin_catalog().toolkit_of_ptx("42.0").empty());
  CHECK(ds::builtin_catalog().toolkit_of_ptx("").empty());
}
