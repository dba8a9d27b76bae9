# What the parts of tests/run need, and how it gets here. Sourced by tests/run.

have() { command -v "$1" >/dev/null 2>&1; }

# The Debian package that brings a command.
package_of() {
  case $1 in
    cc) echo gcc ;;
    ld | nm | readelf) echo binutils ;;
    node) echo nodejs ;;
    nft) echo nftables ;;
    ip) echo iproute2 ;;
    setpriv | prlimit) echo util-linux ;;
    *) echo "$1" ;;
  esac
}

commands_for() { # PART
  echo cc make
  case $1 in
    rust) echo g++ nm readelf python3 pkg-config cmake curl openssl node gzip brotli zstd ;;
    valgrind) echo valgrind ;;
    faults) echo python3 git strace faketime slowhttptest nft ip prlimit setpriv ;;
    fuzz) echo g++ ;;
    corpus) echo python3 ;;
  esac
}

# Installs Debian packages as root; anyone else is told the one line that does.
install_packages() { # PARTS
  local part command packages=""
  for part in $1; do
    for command in $(commands_for "$part"); do
      have "$command" || packages="$packages $(package_of "$command")"
    done
  done
  case " $packages " in *" gcc "*) packages="$packages libc6-dev" ;; esac
  packages=$(printf '%s\n' $packages | sort -u | tr '\n' ' ')
  packages=${packages% }
  [ -n "$packages" ] || return 0
  if [ "$(id -u)" -ne 0 ] || ! have apt-get; then
    echo "tests/run: some tools are missing; install them and run it again:" >&2
    echo "  sudo apt-get install -y $packages" >&2
    return 1
  fi
  echo "installing $packages"
  apt-get update -qq >/dev/null 2>&1
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $packages >"$logs/install.log" 2>&1 || {
    echo "tests/run: apt-get could not install $packages, see $logs/install.log" >&2
    return 1
  }
}

# Rust itself is the user's choice; its components and cargo-fuzz are fetched when they are missing.
install_rust_tools() { # PARTS
  local needed found
  needed=$(sed -n 's/^rust-version *= *"\(.*\)"/\1/p' Cargo.toml)
  if ! have cargo; then
    echo "tests/run: cargo is not here: install Rust $needed or newer (https://rustup.rs), then open a new shell" >&2
    return 1
  fi
  found=$(cargo --version | cut -d' ' -f2 | cut -d- -f1)
  if [ "$(printf '%s\n' "$needed" "$found" | sort -V | head -n 1)" != "$needed" ]; then
    echo "tests/run: cargo $found is too old: libingest needs $needed or newer (rustup update stable)" >&2
    return 1
  fi
  case " $1 " in *" fmt "*) component rustfmt "cargo fmt" || return 1 ;; esac
  case " $1 " in *" clippy "*) component clippy "cargo clippy" || return 1 ;; esac
  case " $1 " in *" fuzz "*)
    if ! cargo fuzz --version >/dev/null 2>&1; then
      echo "installing cargo-fuzz"
      cargo install --quiet --locked cargo-fuzz >"$logs/install.log" 2>&1 || {
        echo "tests/run: cargo-fuzz could not be installed, see $logs/install.log" >&2
        return 1
      }
    fi ;;
  esac
}

component() { # NAME COMMAND
  # shellcheck disable=SC2086
  $2 --version >/dev/null 2>&1 && return 0
  echo "installing $1"
  rustup component add "$1" >/dev/null 2>&1 && return 0
  echo "tests/run: $2 is not here: install it (rustup component add $1)" >&2
  return 1
}

install_tools() { # PARTS
  install_packages "$1" && install_rust_tools "$1"
}
