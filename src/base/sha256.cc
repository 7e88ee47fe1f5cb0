// SPDX-License-Identifier: Apache-2.0
#include "base/sha256.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "base/error.h"
#include "base/fd.h"

namespace ds {

struct Sha256::State {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  ~State() { EVP_MD_CTX_free(context); }
};

Sha256::Sha256() : state_(std::make_unique<State>()) {
  if (EVP_DigestInit_ex(state_->context, EVP_sha256(), nullptr) != 1) {
    throw Error("OpenSSL cannot compute SHA-256");
  }
}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::update(std::string_view bytes) {
  if (EVP_DigestUpdate(state_->context, bytes.data(), bytes.size()) != 1) {
    throw Error("OpenSSL cannot compute SHA-256");
  }
}

Digest Sha256::so_far() const {
  Sha256 copy;
  if (EVP_MD_CTX_copy_ex(copy.state_->context, state_->context) != 1) {
    throw Error("OpenSSL cannot compute SHA-256");
  }
  return copy.finish();
}

Digest Sha256::finish() {
  Digest digest{};
  if (EVP_DigestFinal_ex(state_->context, digest.data(), nullptr) != 1) {
    throw Error("OpenSSL cannot compute SHA-256");
  }
  return digest;
}

Digest sha256(std::string_view bytes) {
  Sha256 hash;
  hash.update(bytes);
  return hash.finish();
}

namespace {

/// Calls `take` with the content, a block at a time.
template <typename Take>
void read_blocks(const std::filesystem::path& file, Take&& take) {
  const Fd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd)
    throw Error("cannot read " + file.string() + ": " + errno_text(errno));
  std::vector<char> buffer(1 << 20);
  for (;;) {
    const ssize_t got = ::read(fd.get(), buffer.data(), buffer.size());
    if (got == 0)
      return;
    if (got < 0 && errno == EINTR)
      continue;
    if (got < 0)
      throw Error("cannot read " + file.string() + ": " + errno_text(errno));
    take(std::string_view(buffer.data(), static_cast<std::size_t>(got)));
  }
}

}  // namespace

Digest sha256_file(const std::filesystem::path& file) {
  Sha256 hash;
  read_blocks(file, [&hash](std::string_view block) { hash.update(block); });
  return hash.finish();
}

std::map<std::uint64_t, Digest> sha256_beginnings(const std::filesystem::path& file,
                                                  const std::set<std::uint64_t>& sizes) {
  std::map<std::uint64_t, Digest> digests;
  Sha256 hash;
  std::uint64_t at = 0;
  auto next = sizes.begin();
  const auto take = [&](std::string_view block) {
    while (next != sizes.end() && *next <= at + block.size()) {
      const std::size_t before = *next - at;
      hash.update(block.substr(0, before));
      block.remove_prefix(before);
      at = *next++;
      digests[at] = hash.so_far();
    }
    hash.update(block);
    at += block.size();
  };
  take({});
  if (next != sizes.end())
    read_blocks(file, take);
  return digests;
}

std::vector<Digest> sha256_parts(const std::filesystem::path& file, std::uint64_t size) {
  std::vector<Digest> digests;
  Sha256 hash;
  std::uint64_t left = size;
  read_blocks(file, [&](std::string_view block) {
    while (!block.empty()) {
      const std::size_t taken = std::min<std::uint64_t>(left, block.size());
      hash.update(block.substr(0, taken));
      block.remove_prefix(taken);
      left -= taken;
      if (left == 0) {
        digests.push_back(hash.finish());
        hash = Sha256();
        left = size;
      }
    }
  });
  if (left < size)
    digests.push_back(hash.finish());
  return digests;
}

std::string hex(std::string_view bytes) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string out;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    out += digits[byte >> 4];
    out += digits[byte & 15];
  }
  return out;
}

std::string hex(const Digest& digest) {
  return hex(std::string_view(reinterpret_cast<const char*>(digest.data()), digest.size()));
}

std::string base64url(const Digest& digest) {
  constexpr std::string_view digits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  std::string out;
  for (std::size_t i = 0; i < digest.size(); i += 3) {
    std::uint32_t group = std::uint32_t{digest[i]} << 16;
    if (i + 1 < digest.size())
      group |= std::uint32_t{digest[i + 1]} << 8;
    if (i + 2 < digest.size())
      group |= digest[i + 2];
    const std::size_t characters = std::min<std::size_t>(4, (digest.size() - i) + 1);
    for (std::size_t c = 0; c < characters; ++c)
      out += digits[(group >> (18 - 6 * c)) & 63];
  }
  return out;
}

std::string sha256_hex(std::string_view bytes) {
  return hex(sha256(bytes));
}

}  // namespace ds
