# What Doxygen reads instead of a header (INPUT_FILTER in the Doxyfile): the header without namespace detail, but with
# the bases of public classes in it, whose members are what users call. Lines keep their numbers.

BEGIN {
  shown = "^class (array_handle|basic_queue|data_lock|executor_calls|local_submissions|lock_handle|object_handle|" \
          "semaphore_handle|submissions)( |$)"
}

# Doxygen takes the digit separator of 10'000 for the begin of a character.
{ while (match($0, /[0-9]'[0-9]/)) $0 = substr($0, 1, RSTART) substr($0, RSTART + 2) }

# A comment and a template head are held back until it is known what they belong to.
function flush(   i) {
  for (i = 0; i < held; ++i) print keep ? line[i] : ""
  held = 0
}

!inside && /^namespace (troupe::)?detail \{$/ { inside = 1; print; next }
!inside { print; next }
keep && /^ (public|protected|private):$/ { secret = !/public/ }
keep { print (secret ? (/^};$/ ? $0 : "") : $0); if (/^};$/) keep = secret = 0; next }
/^}  \/\/ namespace (troupe::)?detail$/ { flush(); inside = 0; print; next }
$0 ~ shown { keep = 1; flush(); print; next }
/^(\/\/\/|template |  requires)/ { line[held++] = $0; next }
{ flush(); print "" }
