// SPDX-License-Identifier: Apache-2.0
#include "rollout/run_authority.h"

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include "base/error.h"

namespace ds {
namespace {

template <auto function>
struct Free {
  template <class T>
  void operator()(T* pointer) const {
    function(pointer);
  }
};
using Key = std::unique_ptr<EVP_PKEY, Free<EVP_PKEY_free>>;
using KeyContext = std::unique_ptr<EVP_PKEY_CTX, Free<EVP_PKEY_CTX_free>>;
using Certificate = std::unique_ptr<X509, Free<X509_free>>;
using Extension = std::unique_ptr<X509_EXTENSION, Free<X509_EXTENSION_free>>;
using Memory = std::unique_ptr<BIO, Free<BIO_free_all>>;

void need(bool done) {
  if (!done)
    throw Error("OpenSSL cannot make a certificate for the hosts of this run");
}

Key make_key() {
  const KeyContext context(EVP_PKEY_CTX_new_id(EVP_PKEY_EC, nullptr));
  EVP_PKEY* key = nullptr;
  need(context && EVP_PKEY_keygen_init(context.get()) == 1 &&
       EVP_PKEY_CTX_set_ec_paramgen_curve_nid(context.get(), NID_X9_62_prime256v1) == 1 &&
       EVP_PKEY_keygen(context.get(), &key) == 1);
  return Key(key);
}

/// 1970 and 9999, "no well-defined expiration date" (RFC 5280, 4.1.2.5).
void set_times(X509* certificate) {
  need(ASN1_TIME_set_string(X509_getm_notBefore(certificate), "700101000000Z") == 1 &&
       ASN1_TIME_set_string(X509_getm_notAfter(certificate), "99991231235959Z") == 1);
}

void set_serial(X509* certificate) {
  unsigned char bytes[8];
  need(RAND_bytes(bytes, sizeof bytes) == 1);
  std::uint64_t number = 1;
  for (const unsigned char byte : bytes)
    number = (number << 8 | byte) & 0x7fffffffffffffff;
  need(ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate), number) == 1);
}

void add_name(X509_NAME* to, const std::string& name) {
  need(X509_NAME_add_entry_by_txt(to, "CN", MBSTRING_UTF8,
                                  reinterpret_cast<const unsigned char*>(name.data()),
                                  static_cast<int>(name.size()), -1, 0) == 1);
}

void extend(X509* certificate, X509* issuer, int what, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const Extension extension(X509V3_EXT_conf_nid(nullptr, &context, what, value));
  need(extension && X509_add_ext(certificate, extension.get(), -1) == 1);
}

std::string text_of(const Memory& memory) {
  char* bytes = nullptr;
  const long size = BIO_get_mem_data(memory.get(), &bytes);
  return {bytes, static_cast<std::size_t>(size)};
}

std::string pem(X509* certificate) {
  const Memory memory(BIO_new(BIO_s_mem()));
  need(memory && PEM_write_bio_X509(memory.get(), certificate) == 1);
  return text_of(memory);
}

std::string pem(EVP_PKEY* key) {
  // Memory that is overwritten before it is freed.
  const Memory memory(BIO_new(BIO_s_secmem()));
  need(memory && PEM_write_bio_PKCS8PrivateKey(memory.get(), key, nullptr, nullptr, 0, nullptr,
                                               nullptr) == 1);
  return text_of(memory);
}

Certificate begin_certificate(const std::string& name, EVP_PKEY* key) {
  Certificate certificate(X509_new());
  need(certificate && X509_set_version(certificate.get(), X509_VERSION_3) == 1 &&
       X509_set_pubkey(certificate.get(), key) == 1);
  set_serial(certificate.get());
  set_times(certificate.get());
  add_name(X509_get_subject_name(certificate.get()), name);
  return certificate;
}

}  // namespace

struct RunAuthority::Keys {
  Key key;
  Certificate certificate;
};

RunAuthority::RunAuthority() : keys_(std::make_unique<Keys>()) {
  keys_->key = make_key();
  keys_->certificate = begin_certificate("ds-deploy run", keys_->key.get());
  X509* own = keys_->certificate.get();
  need(X509_set_issuer_name(own, X509_get_subject_name(own)) == 1);
  extend(own, own, NID_basic_constraints, "critical,CA:TRUE,pathlen:0");
  extend(own, own, NID_key_usage, "critical,keyCertSign");
  extend(own, own, NID_subject_key_identifier, "hash");
  need(X509_sign(own, keys_->key.get(), EVP_sha256()) > 0);
  certificate_ = pem(own);
}

RunAuthority::~RunAuthority() = default;

RunAuthority::Identity RunAuthority::identity(const std::string& name) const {
  const Key key = make_key();
  const Certificate certificate = begin_certificate(name, key.get());
  X509* own = certificate.get();
  X509* authority = keys_->certificate.get();
  need(X509_set_issuer_name(own, X509_get_subject_name(authority)) == 1);
  extend(own, authority, NID_basic_constraints, "critical,CA:FALSE");
  extend(own, authority, NID_key_usage, "critical,digitalSignature");
  extend(own, authority, NID_ext_key_usage, "serverAuth,clientAuth");
  extend(own, authority, NID_authority_key_identifier, "keyid");
  need(X509_sign(own, keys_->key.get(), EVP_sha256()) > 0);
  return {pem(own), pem(key.get())};
}

}  // namespace ds
