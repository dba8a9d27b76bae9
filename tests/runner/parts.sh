# The parts of tests/run, one function each. A part prints what it does, and cargo's or our own lines of counts. Sourced by tests/run.

# Past this a part has hung.
part_limit() { # PART
  case $1-$profile in
    fuzz-full) echo 3h ;;
    *-full) echo 60m ;;
    faults-* | fuzz-*) echo 30m ;;
    *) echo 15m ;;
  esac
}

part_fmt() {
  cargo fmt --all -- --check --color never
}

part_clippy() {
  cargo clippy --quiet --all-targets -- -D warnings && cargo clippy --quiet --test sanitizers --test random_host --test faults_hosts --test faults_peers --test scanners -- -D warnings &&
    cargo clippy --quiet --features fail-points --test faults_panics -- -D warnings
}

part_rust() {
  cargo test --no-fail-fast
}

part_examples() {
  make -C examples-c && cargo test --test examples
}

part_asan() {
  cargo test --test sanitizers asan -- --nocapture && cargo test --test random_host -- --nocapture --test-threads=1
}

part_valgrind() {
  cargo test --test sanitizers valgrind -- --nocapture
}

# The fault matrix (docs/faults.md): the tests of its rows, a panic at every step, and a few of the changes that have to make them fail.
part_faults() {
  local status=0 name targets="" threads=2
  for name in faults_system faults_peers faults_hosts; do
    [ -f "tests/$name.rs" ] && targets="$targets --test $name"
  done
  # In the full profile one crowd at a time: each has up to 10,000 connections, and descriptors in this process.
  [ "$profile" = full ] && threads=1
  # shellcheck disable=SC2086
  cargo test --no-fail-fast $targets -- --test-threads=$threads || status=1
  # The library with fail points is another one than everything else is tested with, so it has a folder of its own.
  cargo test --features fail-points --target-dir "$target/fail-points" --test faults_panics || status=1
  tests/mutations $([ "$profile" = full ] && echo --full) || status=1
  return $status
}

# Those who look for weak TLS: sslyze with Mozilla's profiles, and testssl.sh, against us and against a server that is weak.
part_tls() {
  INGEST_PYTHON=$target/python/bin/python cargo test --no-fail-fast --test scanners -- --nocapture --test-threads=2
}

# The models run the shipped code on loom's own atomics, so everything is built anew, in a folder of its own.
part_loom() {
  RUSTFLAGS="${RUSTFLAGS:-} --cfg loom" cargo test --release --target-dir "$target/loom" --test loom
}

part_fuzz() {
  local seconds=10 good=0 bad=0 name
  [ "$profile" = full ] && seconds=120
  # libFuzzer needs the compiler's unstable instrumentation: RUSTC_BOOTSTRAP opens it on the stable one.
  export RUSTC_BOOTSTRAP=1
  for name in $(fuzz_targets); do
    echo "fuzzing $name for $seconds s"
    # What is found is kept in fuzz/artifacts; the corpus grows in the build folder and is thrown away with it.
    mkdir -p "$target/fuzz-corpus/$name"
    if cargo fuzz run --target-dir "$target/fuzz" "$name" "$target/fuzz-corpus/$name" $(seeds_of "$name") -- \
      -dict=fuzz/http.dict -max_total_time=$seconds -timeout=10 -print_final_stats=1; then
      good=$((good + 1))
    else
      echo "FAILED fuzzing $name"
      bad=$((bad + 1))
    fi
  done
  echo "$good passed, $bad failed"
  [ $good -gt 0 ] && [ $bad -eq 0 ]
}

fuzz_targets() {
  awk -F'"' '/^\[/ { in_bin = ($0 == "[[bin]]") } in_bin && /^name *=/ { print $2 }' fuzz/Cargo.toml
}

seeds_of() { # TARGET
  [ -d "fuzz/seeds/$1" ] && echo "fuzz/seeds/$1"
}

# The corpus is not part of the project: its cases have licences of their own.
part_corpus() {
  local folder=../shared/corpus status=0 topology mode
  if [ ! -f "$folder/run_corpus.py" ]; then
    echo "remark: ../shared/corpus is not here, nothing was asked; tests/cases has our own cases"
    echo "0 passed, 0 failed"
    return 0
  fi
  make -C examples-c && corpus_certificate && corpus_for_tls "$folder" || return 1
  local topologies="inline shards" secure="inline-whole"
  [ "$profile" = full ] && topologies="$topologies shared acceptor" && secure=""
  for topology in $topologies; do
    for mode in whole bytes split; do
      ask_corpus "$folder" http $topology $mode || status=1
      case "${secure:-$topology-$mode}" in "$topology-$mode") ask_corpus "$folder" https $topology $mode || status=1 ;; esac
    done
  done
  return $status
}

corpus_certificate() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
    -keyout "$logs/corpus-key.pem" -out "$logs/corpus-cert.pem" 2>"$logs/corpus-openssl.log" || { cat "$logs/corpus-openssl.log"; return 1; }
}

# An https target is misdirected on a plain connection, and is where it belongs on one with TLS: there it is asked for without --strict, which
# would have it refused.
corpus_for_tls() { # FOLDER
  grep -v E-TARGET-HTTPS "$1/http1_requests.jsonl" >"$logs/corpus-tls.jsonl" && grep E-TARGET-HTTPS "$1/http1_requests.jsonl" >"$logs/corpus-https.jsonl"
}

ask_corpus() { # FOLDER SCHEME TOPOLOGY MODE
  local log=$logs/inspect.out server port="" status threads=1 tries=0 settings=() runner=$1/run_corpus.py
  echo "corpus, $2, topology $3, mode $4"
  [ "$3" != inline ] && threads=2
  [ "$2" = https ] && settings=(--set "tls.cert=$logs/corpus-cert.pem" --set "tls.key=$logs/corpus-key.pem")
  # The one before has written its port here, which must not be taken for that of the next.
  : >"$log"
  examples-c/build/inspect --listen "$2://127.0.0.1:0" --set "topology=$3" --set "io_threads=$threads" "${settings[@]}" >"$log" &
  server=$!
  while [ -z "$port" ] && [ $tries -lt 100 ] && kill -0 $server 2>/dev/null; do
    port=$(sed -n 's/^listening on .*:\([0-9]*\)$/\1/p' "$log")
    [ -n "$port" ] || sleep 0.1
    tries=$((tries + 1))
  done
  if [ -z "$port" ]; then
    false
  elif [ "$2" = http ]; then
    python3 "$runner" 127.0.0.1 "$port" --mode "$4" --strict --jobs 16
  else
    python3 "$runner" 127.0.0.1 "$port" --mode "$4" --strict --jobs 16 --tls --file "$logs/corpus-tls.jsonl" &&
      python3 "$runner" 127.0.0.1 "$port" --mode "$4" --tls --file "$logs/corpus-https.jsonl"
  fi
  status=$?
  kill -TERM $server
  wait $server || { echo "FAILED inspect ended with $?"; status=1; }
  return $status
}
