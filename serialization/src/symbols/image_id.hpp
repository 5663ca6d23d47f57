// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

// Declared in <link.h>, which only sources include.
struct dl_phdr_info;

namespace troupe::detail {

/// Tells builds of a program or library apart: the build id that the linker wrote into it, in
/// hexadecimal (its first 32 bytes), or where there is none "code:" and a hash of its code. The
/// path of the file does not tell them apart, because an upgrade puts another build there.
class image_id {
 public:
  image_id() = default;
  [[nodiscard]] std::string_view text() const noexcept { return text_.data(); }
  /// Ends in a zero.
  [[nodiscard]] const char* c_str() const noexcept { return text_.data(); }
  [[nodiscard]] bool known() const noexcept { return text_.front() != '\0'; }

  void set_build_id(std::span<const std::byte> id) noexcept;
  void set_code_hash(std::uint64_t hash) noexcept;

 private:
  std::array<char, 65> text_{};
};

/// Of what the linker has loaded. Reads its memory alone: no locks, nothing is allocated.
[[nodiscard]] image_id id_of_image(const dl_phdr_info& image) noexcept;
/// The same of what is mapped from `first` up to `end`, by the header that it begins with: for
/// signal handlers, which cannot ask the linker. Unknown if there is none.
[[nodiscard]] image_id id_of_mapped(std::uintptr_t first, std::uintptr_t end) noexcept;
/// The same of an open file; unknown if it is no program or library of this machine's kind.
[[nodiscard]] image_id id_of_file(int descriptor) noexcept;

/// The bytes of the build id itself, empty if the image has none.
[[nodiscard]] std::span<const std::byte> build_id_note(const dl_phdr_info& image) noexcept;

/// Something that is loaded in this process.
struct loaded_image {
  std::string path;  ///< opens the file, as long as it can be opened: "/proc/self/exe", or absolute
  std::uintptr_t base = 0;
};
/// The program or library of that build, if this process has loaded it.
[[nodiscard]] std::optional<loaded_image> find_loaded_image(std::string_view id);

}  // namespace troupe::detail
