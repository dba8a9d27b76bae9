# What the parts of tests/run need, and how it gets here. Sourced by tests/run.

# Whether a command is there; python3-venv is none, and is there when Python can make an environment with pip.
have() {
  case $1 in
    python3-venv) python3 -c 'import ensurepip, venv' >/dev/null 2>&1 ;;
    *) command -v "$1" >/dev/null 2>&1 ;;
  esac
}

# The Debian package that brings a command.
package_of() {
  case $1 in
    cc) echo gcc ;;
    ld | nm | readelf) echo binutils ;;
    node) echo nodejs ;;
    nft) echo nftables ;;
    ip) echo iproute2 ;;
    setpriv | prlimit | unshare) echo util-linux ;;
    hexdump) echo bsdextrautils ;;
    testssl) echo testssl.sh ;;
    *) echo "$1" ;;
  esac
}

commands_for() { # PART
  echo cc make
  case $1 in
    rust) echo g++ nm readelf python3 pkg-config cmake curl openssl node gzip brotli zstd chromium prlimit unshare ;;
    valgrind) echo valgrind ;;
    faults) echo python3 git strace faketime slowhttptest nft ip prlimit setpriv ;;
    fuzz) echo g++ ;;
    tls) echo python3 python3-venv openssl testssl hexdump ;;
    corpus) echo python3 openssl ;;
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
  # The random host's clients speak TLS by OpenSSL.
  case " $1 " in *" asan "*) [ -f /usr/include/openssl/ssl.h ] || packages="$packages libssl-dev" ;; esac
  case " $packages " in *" gcc "*) packages="$packages libc6-dev" ;; esac
  # Debian's Python comes without what virtual environments need.
  case " $1 " in *" rust "*) python3 -c 'import ensurepip, venv' 2>/dev/null || packages="$packages python3-venv" ;; esac
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

# Modules of Python live in an environment of their own under the build folder, with the exact versions of a file; it is made anew when the
# file has changed, or the Python that it was made with is gone.
python_modules() { # REQUIREMENTS
  local folder=$target/python log=$logs/python.log
  cmp -s "$1" "$folder/installed.txt" && "$folder/bin/python" -m pip --version >/dev/null 2>&1 && return 0
  echo "installing the modules of $1"
  rm -rf "$folder"
  if python3 -m venv "$folder" >"$log" 2>&1 &&
    "$folder/bin/python" -m pip install --no-input --disable-pip-version-check --quiet --requirement "$1" >>"$log" 2>&1 &&
    "$folder/bin/python" -m pip check >>"$log" 2>&1; then
    # Last, so that what was begun and not ended is begun again.
    cp "$1" "$folder/installed.txt"
    return 0
  fi
  echo "tests/run: the Python modules of $1 could not be installed, see $log:" >&2
  tail -n 5 "$log" >&2
  return 1
}

install_tools() { # PARTS
  install_packages "$1" && install_rust_tools "$1" || return 1
  case " $1 " in *" tls "*) python_modules tests/tls/requirements.txt || return 1 ;; esac
}
