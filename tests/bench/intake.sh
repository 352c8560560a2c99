#!/usr/bin/env bash
# How fast the collector takes reports that it acknowledges only when they are on disk, and what
# thousands of connected agents cost it; beside plain TLS messages of the same size on the same
# machine in the same run. Needs `cargo build --release --workspace` before.
#
#   tests/bench/intake.sh [AGENTS...]     default 1000 10000
set -euo pipefail

counts=("${@:-1000}")
[ $# -gt 0 ] || counts=(1000 10000)
repository=$(cd "$(dirname "$0")/../.." && pwd)
bin=$repository/target/release
folder=$(mktemp -d -p "${BENCH_FOLDER:-$repository/target}")
collector=
finish() {
    [ -z "$collector" ] || kill "$collector" 2>/dev/null || true
    wait 2>/dev/null || true
    rm -rf "$folder"
}
trap finish EXIT
ulimit -n "$(ulimit -Hn)"

resident_kib() { awk '/^VmRSS/ {print $2}' /proc/"$collector"/status; }

echo "plain TLS 1.3 messages of 2048 octets, one answer each:"
"$bin/bailey-load" plain --connections 100 --seconds 10

for count in "${counts[@]}"; do
    state=$folder/$count
    mkdir -p "$state"
    printf 'site: bench\nzones:\n  inner: {networks: [10.0.0.0/8]}\n' >"$state/policy.yaml"
    "$bin/bailey-collector" --state "$state" --web 127.0.0.1:0 --agents 127.0.0.1:7790 2>"$folder/log" &
    collector=$!
    for _ in $(seq 100); do [ -S "$state/bailey.sock" ] && break; sleep 0.1; done
    empty=$(resident_kib)
    "$bin/bailey-load" provision --state "$state" --agents "$count" --keys "$folder/keys-$count"
    echo "collector with $count agents:"
    "$bin/bailey-load" reports --keys "$folder/keys-$count" --seconds 15 --pid "$collector"
    echo "  resident: $empty KiB empty, $(resident_kib) KiB after"
    kill "$collector"; wait "$collector" 2>/dev/null || true
    collector=
done
