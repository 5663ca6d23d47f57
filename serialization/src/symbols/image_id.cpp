// SPDX-License-Identifier: BSD-3-Clause
#include "symbols/image_id.hpp"

#include <link.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstring>

namespace troupe::detail {
namespace {

using program_header = ElfW(Phdr);

constexpr std::size_t most_headers = 64;
/// A longer note segment would hold other things first; linkers make none such.
constexpr std::uint64_t most_note_bytes = 16 * 1024;
/// Bytes of each segment that are hashed. The unwinder's table of functions is in one of these
/// segments, so builds have different hashes even if their code differs only behind these bytes.
constexpr std::uint64_t most_hashed_bytes = std::uint64_t{1} << 20U;

/// The descriptor of the first NT_GNU_BUILD_ID note.
std::span<const std::byte> build_id_in(std::span<const std::byte> notes,
                                       std::size_t alignment) noexcept {
  const auto padded = [alignment](std::size_t size) {
    return (size + alignment - 1) / alignment * alignment;
  };
  while (notes.size() >= sizeof(ElfW(Nhdr))) {
    ElfW(Nhdr) note{};
    std::memcpy(&note, notes.data(), sizeof note);
    const std::size_t name_at = sizeof note;
    const std::size_t text_at = name_at + padded(note.n_namesz);
    const std::size_t end = text_at + padded(note.n_descsz);
    if (text_at + note.n_descsz > notes.size()) {
      break;
    }
    if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == sizeof "GNU" &&
        std::memcmp(notes.data() + name_at, "GNU", sizeof "GNU") == 0) {
      return notes.subspan(text_at, note.n_descsz);
    }
    notes = notes.subspan(std::min(end, notes.size()));
  }
  return {};
}

std::size_t note_alignment(const program_header& header) noexcept {
  return header.p_align == 8 ? 8 : 4;
}

/// FNV-1a by words of eight bytes, the last one filled up with zeros. Parts but the last of a
/// segment have whole words.
class code_hash {
 public:
  void add(std::uint64_t word) noexcept { hash_ = (hash_ ^ word) * 0x100000001b3U; }
  void add(std::span<const std::byte> bytes) noexcept {
    for (std::size_t at = 0; at < bytes.size(); at += sizeof(std::uint64_t)) {
      std::uint64_t word = 0;
      std::memcpy(&word, bytes.data() + at, std::min(sizeof word, bytes.size() - at));
      add(word);
    }
  }
  [[nodiscard]] std::uint64_t value() const noexcept { return hash_; }

 private:
  std::uint64_t hash_ = 0xcbf29ce484222325U;
};

bool is_hashed(const program_header& header) noexcept {
  return (header.p_type == PT_LOAD && (header.p_flags & PF_X) != 0) ||
         header.p_type == PT_GNU_EH_FRAME;
}

const std::byte* to_address(std::uint64_t number) noexcept {
  // NOLINTNEXTLINE(performance-no-int-to-ptr): there is no pointer to derive it from
  return reinterpret_cast<const std::byte*>(static_cast<std::uintptr_t>(number));
}

std::span<const std::byte> build_id_of(std::uintptr_t base,
                                       std::span<const program_header> headers) noexcept {
  for (const program_header& header : headers) {
    if (header.p_type == PT_NOTE) {
      const auto id =
          build_id_in({to_address(base + header.p_vaddr), header.p_memsz}, note_alignment(header));
      if (!id.empty()) {
        return id;
      }
    }
  }
  return {};
}

image_id id_of(std::uintptr_t base, std::span<const program_header> headers) noexcept {
  image_id found;
  if (const auto id = build_id_of(base, headers); !id.empty()) {
    found.set_build_id(id);
    return found;
  }
  code_hash hash;
  for (const program_header& header : headers) {
    if (is_hashed(header)) {
      hash.add(header.p_vaddr);
      hash.add(header.p_filesz);
      hash.add({to_address(base + header.p_vaddr), static_cast<std::size_t>(std::min<std::uint64_t>(
                                                       header.p_filesz, most_hashed_bytes))});
    }
  }
  found.set_code_hash(hash.value());
  return found;
}

bool is_ours(const ElfW(Ehdr) & header) noexcept {
  return std::memcmp(header.e_ident, ELFMAG, SELFMAG) == 0 &&
         header.e_ident[EI_CLASS] == (sizeof(void*) == 8 ? ELFCLASS64 : ELFCLASS32) &&
         header.e_phentsize == sizeof(program_header) && header.e_phnum > 0 &&
         header.e_phnum <= most_headers;
}

bool read_all(int descriptor, void* to, std::size_t bytes, std::uint64_t at) noexcept {
  for (std::size_t done = 0; done < bytes;) {
    const ssize_t n = ::pread(descriptor, static_cast<std::byte*>(to) + done, bytes - done,
                              static_cast<off_t>(at + done));
    if (n <= 0) {
      return false;
    }
    done += static_cast<std::size_t>(n);
  }
  return true;
}

}  // namespace

void image_id::set_build_id(std::span<const std::byte> id) noexcept {
  constexpr std::string_view digits = "0123456789abcdef";
  text_.fill('\0');
  std::size_t at = 0;
  for (const std::byte byte : id.first(std::min(id.size(), (text_.size() - 1) / 2))) {
    text_[at++] = digits[std::to_integer<unsigned>(byte >> 4)];
    text_[at++] = digits[std::to_integer<unsigned>(byte & std::byte{15})];
  }
}

void image_id::set_code_hash(std::uint64_t hash) noexcept {
  constexpr std::string_view prefix = "code:";
  text_.fill('\0');
  std::copy(prefix.begin(), prefix.end(), text_.begin());
  std::to_chars(text_.data() + prefix.size(), text_.data() + text_.size() - 1, hash, 16);
}

std::span<const std::byte> build_id_note(const dl_phdr_info& image) noexcept {
  return build_id_of(image.dlpi_addr, {image.dlpi_phdr, image.dlpi_phnum});
}

image_id id_of_image(const dl_phdr_info& image) noexcept {
  return id_of(image.dlpi_addr, {image.dlpi_phdr, image.dlpi_phnum});
}

image_id id_of_mapped(std::uintptr_t first, std::uintptr_t end) noexcept {
  constexpr std::size_t page = 4096;  // of any machine at least; more may not be there
  ElfW(Ehdr) header{};
  if (first == 0 || end - first < page) {
    return {};
  }
  std::memcpy(&header, to_address(first), sizeof header);
  if (!is_ours(header) || header.e_phoff % alignof(program_header) != 0 ||
      header.e_phoff > page - header.e_phnum * sizeof(program_header)) {
    return {};
  }
  const std::span headers{
      reinterpret_cast<const program_header*>(to_address(first + header.e_phoff)), header.e_phnum};
  // The first segment is what `first` is the begin of.
  const auto load = std::find_if(headers.begin(), headers.end(),
                                 [](const program_header& one) { return one.p_type == PT_LOAD; });
  if (load == headers.end() || load->p_offset != 0) {
    return {};
  }
  const std::uintptr_t base = first - load->p_vaddr;
  for (const program_header& one : headers) {
    if ((one.p_type == PT_NOTE || is_hashed(one)) &&
        (base + one.p_vaddr < first || base + one.p_vaddr + one.p_filesz > end)) {
      return {};
    }
  }
  return id_of(base, headers);
}

image_id id_of_file(int descriptor) noexcept {
  ElfW(Ehdr) header{};
  std::array<program_header, most_headers> all{};
  if (!read_all(descriptor, &header, sizeof header, 0) || !is_ours(header) ||
      !read_all(descriptor, all.data(), header.e_phnum * sizeof(program_header), header.e_phoff)) {
    return {};
  }
  const std::span headers = std::span{all}.first(header.e_phnum);
  std::array<std::byte, most_note_bytes> buffer;
  image_id found;
  for (const program_header& one : headers) {
    if (one.p_type == PT_NOTE && one.p_filesz <= buffer.size() &&
        read_all(descriptor, buffer.data(), one.p_filesz, one.p_offset)) {
      const auto id = build_id_in(std::span{buffer}.first(one.p_filesz), note_alignment(one));
      if (!id.empty()) {
        found.set_build_id(id);
        return found;
      }
    }
  }
  code_hash hash;
  for (const program_header& one : headers) {
    if (!is_hashed(one)) {
      continue;
    }
    hash.add(one.p_vaddr);
    hash.add(one.p_filesz);
    const std::uint64_t size = std::min<std::uint64_t>(one.p_filesz, most_hashed_bytes);
    for (std::uint64_t done = 0; done < size;) {
      const std::size_t part = std::min<std::uint64_t>(buffer.size(), size - done);
      if (!read_all(descriptor, buffer.data(), part, one.p_offset + done)) {
        return {};
      }
      hash.add(std::span{buffer}.first(part));
      done += part;
    }
  }
  found.set_code_hash(hash.value());
  return found;
}

}  // namespace troupe::detail
