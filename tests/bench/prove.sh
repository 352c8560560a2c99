#!/usr/bin/env bash
# How long proofs take: a filter of 5,000 rules, one rule of it changed, 1,000 hosts of the reference policy.
# Medians, how they lie to what is aimed at, and the most memory that each of the two held.
#
#   tests/bench/prove.sh
set -euo pipefail

cd "$(dirname "$0")/../.."
cargo bench --quiet -p bailey-rules --bench prove --no-run
for part in rules hosts; do
    cargo bench --quiet -p bailey-rules --bench prove -- "$part"
done
