#!/bin/sh
# Makes sure there is a program that the tests need: from Debian's packages, where that is allowed.
#   debian.sh <program> <package>
set -eu

say() { echo "$*" >&2; }

if [ "$1" = --install ]; then
  # As root. Debian starts the service it installs: not for us, tests start their own on free ports.
  package=$2
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 1' INT TERM
    printf '#!/bin/sh\ncase "$1" in %s*) exit 101 ;; esac\nexit 0\n' "$package" >"$policy"
    chmod 755 "$policy"
  fi
  export DEBIAN_FRONTEND=noninteractive
  apt-get install -y --no-install-recommends "$package" || { apt-get update && apt-get install -y --no-install-recommends "$package"; }
  # Nor shall it start with the machine.
  if command -v systemctl >/dev/null; then systemctl disable "$package" >/dev/null 2>&1 || true; fi
  exit 0
fi

program=$1
package=$2
! command -v "$program" >/dev/null || exit 0
if ! command -v apt-get >/dev/null; then
  say "The tests need $program on PATH, and this machine has no apt-get to install it with. Install it and run this again."
  exit 1
fi
if [ "$(id -u)" = 0 ]; then
  root=
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
  root='sudo -n'
else
  say "The tests need $program on PATH, and may not install it without root. Run: sudo apt-get install $package"
  exit 1
fi
say "Installing $program from the Debian package $package, for the tests …"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! $root sh "$0" --install "$package" >"$log" 2>&1 || ! command -v "$program" >/dev/null; then
  cat "$log" >&2
  say "$program could not be installed (see above). Install it by hand and run this again."
  exit 1
fi
say '  done'
