#include "dreamgate/client/request_id.h"

#include <array>
#include <cstdint>
#include <cstdio>
#include <random>

namespace dreamgate::client {

std::string DrawRequestId() {
  std::random_device entropy;  // the kernel's generator, not a seeded one: ids must never collide
  std::array<uint32_t, 4> words;
  for (uint32_t& word : words) word = entropy();
  words[1] = (words[1] & 0xffff0fffu) | 0x00004000u;  // version 4
  words[2] = (words[2] & 0x3fffffffu) | 0x80000000u;  // variant of RFC 4122
  std::array<char, 37> text;
  std::snprintf(text.data(), text.size(), "%08x-%04x-%04x-%04x-%04x%08x", words[0], words[1] >> 16,
                words[1] & 0xffffu, words[2] >> 16, words[2] & 0xffffu, words[3]);
  return text.data();
}

}  // namespace dreamgate::client
