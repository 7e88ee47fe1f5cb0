// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>

#include "base/error.h"
#include "base/text.h"
#include "config/config.h"
#include "config/form.h"
#include "config/yaml_reader.h"

namespace ds {
namespace {

constexpr const char* schema = "ds-deploy.catalog/1";

class CatalogReader {
 public:
  explicit CatalogReader(const std::string& file) : file_(file) {}

  Catalog read(const std::string& text) {
    const YamlValue top = read_yaml(text, file_);
    std::string said;
    entry(top, {{"catalog", [&](const YamlValue& at) { said = at.text; }},
                {"date", [this](const YamlValue& at) { catalog_.date = clean_line(at.text, 40); }},
                {"toolkits", [this](const YamlValue& at) { toolkits(at); }},
                {"majors", [this](const YamlValue& at) { majors(at); }},
                {"gpus", [this](const YamlValue& at) { gpus(at); }},
                {"xids", [this](const YamlValue& at) { xids(at); }},
                {"packages", [this](const YamlValue& at) { packages(at); }},
                {"floors", [this](const YamlValue& at) {
                   entry(at, {{"shared_memory_mib", number(catalog_.shared_memory_mib)},
                              {"clock_seconds", number(catalog_.clock_seconds)}});
                 }}});
    if (said != schema) {
      problem(top,
              fmt::format("it is no catalog of a kind known here: catalog is '{}'",
                          clean_line(said, 80)),
              fmt::format("begin with 'catalog: {}'", schema));
    }
    if (!problems_.empty())
      throw InputError(std::move(problems_));
    return std::move(catalog_);
  }

 private:
  using Use = std::function<void(const YamlValue&)>;
  using Keys = std::map<std::string, Use>;

  void problem(const YamlValue& at, std::string what, std::string fix) {
    problems_.push_back(
        {file_, std::max(at.line, 1), std::max(at.column, 1), std::move(what), std::move(fix)});
  }

  void entry(const YamlValue& map, const Keys& known) {
    if (map.kind != YamlValue::Kind::map)
      return problem(map, fmt::format("{} where keys and values are wanted", to_string(map.kind)),
                     "take the catalog that came along as a model");
    for (std::size_t at = 0; at < map.keys.size(); ++at) {
      const auto use = known.find(map.keys[at].text);
      if (use == known.end()) {
        std::vector<std::string> names;
        for (const auto& [name, unused] : known)
          names.push_back(name);
        const std::string nearest = suggestion(map.keys[at].text, names);
        problem(map.keys[at], fmt::format("unknown key '{}'", clean_line(map.keys[at].text, 80)),
                nearest.empty() ? "known are " + join(names, ", ") : nearest);
        continue;
      }
      use->second(map.items[at]);
    }
  }

  void each(const YamlValue& list, const Use& use) {
    if (list.kind != YamlValue::Kind::list)
      return problem(list, fmt::format("{} where a list is wanted", to_string(list.kind)),
                     "take the catalog that came along as a model");
    for (const YamlValue& item : list.items)
      use(item);
  }

  Use version(std::string& into) {
    return [this, &into](const YamlValue& at) {
      into = at.text;
      if (!has_form(at.text, "[0-9]+(\\.[0-9]+)*"))
        problem(at, fmt::format("'{}' is no version", clean_line(at.text, 80)),
                "write numbers with dots between them, in quotes");
    };
  }

  Use number(int& into) {
    return [this, &into](const YamlValue& at) {
      const auto value = parse_integer(at.text, 1, 1'000'000);
      if (!value)
        return problem(at, fmt::format("'{}' is no number", clean_line(at.text, 80)),
                       "write a whole number");
      into = static_cast<int>(*value);
    };
  }

  Use text(std::string& into) {
    return [&into](const YamlValue& at) { into = clean_line(at.text, 200); };
  }

  Use texts(std::vector<std::string>& into) {
    return [this, &into](const YamlValue& list) {
      each(list, [&into](const YamlValue& at) { into.push_back(clean_line(at.text, 80)); });
    };
  }

  void need(const YamlValue& at, const std::string& key, const std::string& value) {
    if (value.empty())
      problem(at, fmt::format("an entry has no {}", key), "add it, or remove the entry");
  }

  void toolkits(const YamlValue& list) {
    each(list, [this](const YamlValue& at) {
      Catalog::Toolkit toolkit;
      entry(at, {{"cuda", version(toolkit.cuda)},
                 {"ptx_isa", version(toolkit.ptx_isa)},
                 {"driver", version(toolkit.driver)},
                 {"gcc", number(toolkit.gcc)},
                 {"clang", number(toolkit.clang)}});
      need(at, "cuda", toolkit.cuda);
      catalog_.toolkits.push_back(std::move(toolkit));
    });
    std::stable_sort(catalog_.toolkits.begin(), catalog_.toolkits.end(),
                     [](const Catalog::Toolkit& left, const Catalog::Toolkit& right) {
                       return compare_versions(left.cuda, right.cuda) < 0;
                     });
  }

  void majors(const YamlValue& list) {
    each(list, [this](const YamlValue& at) {
      Catalog::Major major;
      entry(at, {{"cuda", version(major.cuda)},
                 {"driver", version(major.driver)},
                 {"zstd", version(major.zstd_driver)}});
      need(at, "cuda", major.cuda);
      need(at, "driver", major.driver);
      catalog_.majors.push_back(std::move(major));
    });
  }

  void gpus(const YamlValue& list) {
    each(list, [this](const YamlValue& at) {
      Catalog::Gpu gpu;
      entry(at, {{"capability", version(gpu.capability)},
                 {"first", version(gpu.first)},
                 {"last", version(gpu.last)},
                 {"exact", version(gpu.exact)},
                 {"family", version(gpu.family)},
                 {"kin", texts(gpu.kin)},
                 {"integrated",
                  [this, &gpu](const YamlValue& value) {
                    gpu.integrated = value.text == "true";
                    if (value.text != "true" && value.text != "false")
                      problem(value, "integrated is neither true nor false", "write one of them");
                  }},
                 {"models", texts(gpu.models)}});
      need(at, "capability", gpu.capability);
      need(at, "first", gpu.first);
      catalog_.gpus.push_back(std::move(gpu));
    });
  }

  void xids(const YamlValue& list) {
    each(list, [this](const YamlValue& at) {
      Catalog::Xid xid;
      entry(at, {{"number", number(xid.number)}, {"meaning", text(xid.meaning)}});
      need(at, "meaning", xid.meaning);
      catalog_.xids.push_back(std::move(xid));
    });
  }

  void packages(const YamlValue& list) {
    each(list, [this](const YamlValue& at) {
      Catalog::Package package;
      entry(at, {{"library", text(package.library)},
                 {"systems", texts(package.systems)},
                 {"get", text(package.get)}});
      need(at, "library", package.library);
      need(at, "get", package.get);
      if (package.systems.empty())
        problem(at, "an entry has no systems", "add them, or remove the entry");
      catalog_.packages.push_back(std::move(package));
    });
  }

  const std::string& file_;
  Catalog catalog_;
  std::vector<Problem> problems_;
};

template <typename Entry>
const Entry* find(const std::vector<Entry>& entries, std::string Entry::*key,
                  const std::string& wanted) {
  const auto found = std::find_if(entries.begin(), entries.end(),
                                  [&](const Entry& entry) { return entry.*key == wanted; });
  return found == entries.end() ? nullptr : &*found;
}

}  // namespace

const Catalog::Toolkit* Catalog::toolkit(const std::string& cuda) const {
  return find(toolkits, &Toolkit::cuda, cuda);
}

const Catalog::Major* Catalog::major_of(const std::string& cuda) const {
  return find(majors, &Major::cuda, cuda.substr(0, cuda.find('.')));
}

const Catalog::Gpu* Catalog::gpu(const std::string& capability) const {
  return find(gpus, &Gpu::capability, capability);
}

std::string Catalog::toolkit_of_ptx(const std::string& isa) const {
  const Toolkit* found = isa.empty() ? nullptr : find(toolkits, &Toolkit::ptx_isa, isa);
  return found == nullptr ? std::string() : found->cuda;
}

std::string Catalog::cuda_of_driver(const std::string& driver) const {
  std::string newest;
  for (const Toolkit& toolkit : toolkits) {
    if (!toolkit.driver.empty() && compare_versions(toolkit.driver, driver) <= 0)
      newest = toolkit.cuda;
  }
  return newest;
}

std::string Catalog::how_to_get(const std::string& library, const std::string& system) const {
  const auto found = std::find_if(packages.begin(), packages.end(), [&](const Package& package) {
    return package.library == library &&
           std::any_of(package.systems.begin(), package.systems.end(),
                       [&](const std::string& name) { return system.starts_with(name); });
  });
  return found == packages.end() ? std::string() : found->get;
}

Catalog read_catalog(const std::string& text, const std::string& file) {
  return CatalogReader(file).read(text);
}

const Catalog& builtin_catalog() {
  static const Catalog catalog =
      read_catalog(std::string(template_text("catalog.yaml")), "catalog.yaml");
  return catalog;
}

}  // namespace ds
