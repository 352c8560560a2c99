#!/usr/bin/env bash
# Time from plugging a wire of the other zone into a host to the alert in a real Alertmanager:
# runs the end-to-end test again and again and prints the median. Needs root.
#
#   tests/bench/wire-to-alert.sh [RUNS]     default 5
set -euo pipefail
runs=${1:-5}
cd "$(dirname "$0")/../.."
cargo build --release --workspace --all-targets
for _ in $(seq "$runs"); do
    cargo test --release -q --workspace --test end_to_end -- --nocapture a_wire 2>&1 |
        sed -n 's/^wire to alert in Alertmanager: //p'
done | awk '/ms$/ {sub(/ms$/, ""); print; next} {sub(/s$/, ""); print $0 * 1000}' | sort -n |
    awk '{v[NR] = $1} END {printf "median %.0f ms of %d runs, %.0f to %.0f ms\n", v[int((NR + 1) / 2)], NR, v[1], v[NR]}'
