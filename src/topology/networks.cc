// SPDX-License-Identifier: Apache-2.0
#include "topology/networks.h"

#include <arpa/inet.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>

#include "base/text.h"

namespace ds {
namespace {

/// Bytes as they are on the wire: 4 or 16 of them.
struct Address {
  std::string bytes;
  int prefix = 0;

  std::string network() const {
    std::string masked = bytes;
    for (int bit = prefix; bit < static_cast<int>(8 * masked.size()); ++bit) {
      char& byte = masked[static_cast<std::size_t>(bit / 8)];
      byte = static_cast<char>(byte & ~(0x80 >> (bit % 8)));
    }
    return masked + '/' + static_cast<char>(prefix);
  }

  bool starts_with(std::initializer_list<unsigned char> start) const {
    return std::equal(
        start.begin(), start.end(), bytes.begin(),
        [](unsigned char left, char right) { return static_cast<char>(left) == right; });
  }

  bool leads_to_others() const {
    if (bytes.size() == 4)
      return !starts_with({127}) && !starts_with({169, 254});
    const bool link_local =
        starts_with({0xfe}) && (static_cast<unsigned char>(bytes[1]) & 0xc0) == 0x80;
    return !link_local && bytes != std::string(15, '\0') + '\1';
  }
};

std::optional<Address> parse_address(const std::string& text) {
  const std::size_t slash = text.find('/');
  if (slash == std::string::npos)
    return std::nullopt;
  const int family = text.find(':') < slash ? AF_INET6 : AF_INET;
  Address address;
  address.bytes.resize(family == AF_INET6 ? 16 : 4);
  const auto prefix = parse_integer(std::string_view(text).substr(slash + 1), 0,
                                    static_cast<long>(8 * address.bytes.size()));
  if (!prefix || ::inet_pton(family, text.substr(0, slash).c_str(), address.bytes.data()) != 1)
    return std::nullopt;
  address.prefix = static_cast<int>(*prefix);
  return address.leads_to_others() ? std::optional(address) : std::nullopt;
}

using Addresses = std::map<std::string, Address>;  ///< by their bytes

}  // namespace

std::vector<std::optional<std::size_t>> home_networks(const std::vector<TopologyHost>& hosts) {
  std::vector<Addresses> of_host(hosts.size());
  std::map<std::string, std::size_t> owners;
  for (std::size_t host = 0; host < hosts.size(); ++host) {
    for (const std::string& text : hosts[host].addresses) {
      const auto address = parse_address(text);
      if (address && of_host[host].emplace(address->bytes, *address).second)
        ++owners[address->bytes];
    }
  }
  std::vector<std::set<std::string>> networks(hosts.size());
  std::map<std::string, std::size_t> members;
  for (std::size_t host = 0; host < hosts.size(); ++host) {
    for (const auto& [bytes, address] : of_host[host]) {
      if (owners.at(bytes) == 1 && networks[host].insert(address.network()).second)
        ++members[address.network()];
    }
  }
  std::map<std::string, std::size_t> numbers;
  for (const auto& [network, number] : members)
    numbers.emplace(network, numbers.size());
  std::vector<std::optional<std::size_t>> homes;
  for (const std::set<std::string>& own : networks) {
    const auto home = std::max_element(
        own.begin(), own.end(),
        [&](const auto& left, const auto& right) { return members.at(left) < members.at(right); });
    const bool shared = home != own.end() && members.at(*home) > 1;
    homes.push_back(shared ? std::optional(numbers.at(*home)) : std::nullopt);
  }
  return homes;
}

}  // namespace ds
