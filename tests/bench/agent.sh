#!/usr/bin/env bash
# What watching a host costs: Bailey's agent beside prometheus-node-exporter, both in the same
# network namespace, over the same wire, at the same interval, in the same run.
# Needs root, and before `cargo build --release --workspace` and, for the agent as it is installed,
# `cargo build --profile small -p bailey-agent`. Prints medians over the cycles.
#
#   tests/bench/agent.sh [CYCLES]     default 9 cycles of 15 s after one minute of warming up
set -euo pipefail

cycles=${1:-9}
interval=15
warm_up=75
repository=$(cd "$(dirname "$0")/../.." && pwd)
bin=$repository/target/release
agent_bin=$repository/target/small/bailey-agent
host=bailey-bench-$$-host
centre=bailey-bench-$$-centre
folder=$(mktemp -d)
pids=()

finish() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    ip netns del "$host" 2>/dev/null || true
    ip netns del "$centre" 2>/dev/null || true
    rm -rf "$folder"
}
trap finish EXIT

ip netns add "$host"
ip netns add "$centre"
ip -n "$centre" link add bailey type veth peer name eth0 netns "$host"
ip -n "$centre" link add peer type veth peer name eth1 netns "$host"
for pair in "$centre bailey 10.1.0.1" "$host eth0 10.1.0.17" "$centre peer 10.1.1.1" "$host eth1 10.1.1.17"; do
    read -r where device address <<<"$pair"
    ip -n "$where" link set lo up
    ip -n "$where" addr add "$address/24" dev "$device"
    ip -n "$where" link set "$device" up
done

mkdir -p "$folder/collector" "$folder/backup"
cat >"$folder/collector/policy.yaml" <<YAML
site: bench
zones:
  inner: {networks: [10.1.0.0/16]}
YAML
ip netns exec "$centre" "$bin/bailey-collector" --state "$folder/collector" \
    --web 127.0.0.1:7711 --agents 0.0.0.0:7710 --public-address 10.1.0.1:7710 2>"$folder/collector.log" &
pids+=($!)
for _ in $(seq 100); do [ -S "$folder/collector/bailey.sock" ] && break; sleep 0.1; done
"$bin/bailey" --state "$folder/collector" -o json enroll token --host bench --zone inner |
    sed -n 's/.*"token": *"\([^"]*\)".*/\1/p' >"$folder/token"
printf 'backup:\n  drop_directory: %s\n' "$folder/backup" >"$folder/agent.yaml"
ip netns exec "$host" "$agent_bin" enroll --token-file "$folder/token" \
    --state "$folder/agent" --settings "$folder/agent.yaml" >/dev/null
ip netns exec "$host" "$agent_bin" run --state "$folder/agent" \
    --settings "$folder/agent.yaml" 2>"$folder/agent.log" &
agent=$!
pids+=("$agent")
ip netns exec "$host" prometheus-node-exporter --web.listen-address=10.1.1.17:9100 \
    2>"$folder/node_exporter.log" &
exporter=$!
pids+=("$exporter")

# Nanoseconds on a processor, all threads of the process and the children it has waited for.
cpu_ns() {
    local own children
    own=$(cat /proc/"$1"/task/*/schedstat | awk '{sum += $1} END {printf "%.0f", sum}')
    children=$(awk '{sub(/^.*\) /, ""); print ($14 + $15) * 10000000}' /proc/"$1"/stat)
    echo $((own + children))
}
resident_kib() { awk '/^VmRSS/ {print $2}' /proc/"$1"/status; }
anonymous_kib() { awk '/^RssAnon/ {print $2}' /proc/"$1"/status; }
wire_octets() { # of both directions
    ip netns exec "$host" cat /sys/class/net/"$1"/statistics/{rx,tx}_bytes | awk '{sum += $1} END {print sum}'
}
scrape() { ip netns exec "$centre" curl -sS -o /dev/null -H 'Accept-Encoding: identity' http://10.1.1.17:9100/metrics; }
median() { sort -n | awk '{v[NR] = $1} END {print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2}'; }

sleep 2
scrape
sleep "$warm_up"
: >"$folder/agent.cpu"; : >"$folder/agent.wire"; : >"$folder/exporter.cpu"; : >"$folder/exporter.wire"
for _ in $(seq "$cycles"); do
    a_cpu=$(cpu_ns "$agent"); e_cpu=$(cpu_ns "$exporter")
    a_wire=$(wire_octets eth0); e_wire=$(wire_octets eth1)
    scrape
    sleep "$interval"
    echo $((($(cpu_ns "$agent") - a_cpu) / 1000)) >>"$folder/agent.cpu"
    echo $((($(cpu_ns "$exporter") - e_cpu) / 1000)) >>"$folder/exporter.cpu"
    echo $(($(wire_octets eth0) - a_wire)) >>"$folder/agent.wire"
    echo $(($(wire_octets eth1) - e_wire)) >>"$folder/exporter.wire"
done

row() { printf '%-34s %14s %14s %9s\n' "$@"; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN {printf "%.1fx", (a > 0 ? b / a : 0)}'; }
compare() { row "$1" "$2" "$3" "$(ratio "$2" "$3")"; }
row "per cycle of $interval s, median of $cycles" bailey-agent node_exporter ratio
compare "resident memory, KiB" "$(resident_kib "$agent")" "$(resident_kib "$exporter")"
compare "of it anonymous, KiB" "$(anonymous_kib "$agent")" "$(anonymous_kib "$exporter")"
compare "processor, microseconds" "$(median <"$folder/agent.cpu")" "$(median <"$folder/exporter.cpu")"
compare "on the wire with TCP, octets" "$(median <"$folder/agent.wire")" "$(median <"$folder/exporter.wire")"
