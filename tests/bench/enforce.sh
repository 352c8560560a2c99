#!/usr/bin/env bash
# What enforcement costs: compiling, loading, pushing to simulated agents and a real one, how soon a
# change by hand is a finding, and what watching for it costs beside a poll of nft, all in namespaces
# of their own. Needs root, and before
#   cargo build --release --workspace && cargo build --profile small -p bailey-agent
#
#   tests/bench/enforce.sh [AGENTS]     default 200 simulated agents
set -euo pipefail

agents=${1:-200}
rounds=7
idle=60
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

# What stays in the background is not started through these: its process would be a shell's child.
at_host() { ip netns exec "$host" "$@"; }
at_centre() { ip netns exec "$centre" "$@"; }
median() { sort -n | awk '{v[NR] = $1} END {print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2}'; }
millis() { date +%s%3N; }
row() { printf '  %-58s %12s\n' "$@"; }
wait_for() { # LIMIT COMMAND...
    local limit=$1 begin
    begin=$(millis)
    shift
    until "$@" >/dev/null 2>&1; do
        [ $(($(millis) - begin)) -lt $((limit * 1000)) ] || { echo "waited $limit s for: $*" >&2; return 1; }
        sleep 0.02
    done
}

echo "compile, median of 5"
"$bin/bailey-load" compile --hosts 1000 --networks 9000 --ruleset "$folder/large.nft"

ip netns add "$host"
ip netns add "$centre"
ip -n "$centre" link add bailey type veth peer name eth0 netns "$host"
for pair in "$centre bailey 10.1.0.1" "$host eth0 10.1.0.17"; do
    read -r where device address <<<"$pair"
    ip -n "$where" link set lo up
    ip -n "$where" addr add "$address/24" dev "$device"
    ip -n "$where" link set "$device" up
done

echo "load in one transaction, milliseconds, median of $rounds"
for _ in $(seq "$rounds"); do
    begin=$(millis)
    { printf 'add table inet bailey\ndelete table inet bailey\n'; cat "$folder/large.nft"; } | at_host nft -f -
    echo $(($(millis) - begin))
done >"$folder/load"
row "ruleset of the large policy" "$(median <"$folder/load")"
at_host nft delete table inet bailey

mkdir -p "$folder/collector" "$folder/backup"
cat >"$folder/collector/policy.yaml" <<YAML
site: bench
zones:
  inner: {networks: [10.1.0.0/16], mode: enforce, on_drift: restore}
services:
  ssh: {tcp: [22]}
  web: {tcp: [80, 443]}
flows:
  - {from: inner, to: inner, service: web}
management:
  inner: {from: 10.1.0.1/32, service: ssh, collectors: ["10.1.0.1:7710"]}
YAML
bailey() { at_centre "$bin/bailey" --lang en --state "$folder/collector" "$@"; }
ip netns exec "$centre" "$bin/bailey-collector" --state "$folder/collector" \
    --web 127.0.0.1:7711 --agents 0.0.0.0:7710 --public-address 10.1.0.1:7710 2>"$folder/collector.log" &
pids+=($!)
wait_for 20 bailey status
bailey policy key --out "$folder/security.key" >/dev/null
ip netns exec "$host" "$agent_bin" enforce --state "$folder/enforcer" --socket "$folder/enforcer.sock" \
    --agent "$folder/agent" 2>"$folder/enforcer.log" &
enforcer=$!
pids+=("$enforcer")
wait_for 20 at_host "$agent_bin" enforced --socket "$folder/enforcer.sock"
bailey -o json enroll token --host bench --zone inner --security-key "$folder/security.key.pub" |
    sed -n 's/.*"token": *"\([^"]*\)".*/\1/p' >"$folder/token"
printf 'enforcer: %s\nbackup:\n  drop_directory: %s\n' "$folder/enforcer.sock" "$folder/backup" >"$folder/agent.yaml"
at_host "$agent_bin" enroll --token-file "$folder/token" --socket "$folder/enforcer.sock" \
    --state "$folder/agent" --settings "$folder/agent.yaml" >/dev/null
ip netns exec "$host" "$agent_bin" run --state "$folder/agent" --settings "$folder/agent.yaml" 2>"$folder/agent.log" &
agent=$!
pids+=("$agent")
known() { [ "$(bailey -o json policy hosts | grep -c '"key_id": "')" -ge "$1" ]; }
wait_for 30 known 1
key_id=$(bailey -o json policy hosts | sed -n 's/.*"key_id": "\([0-9a-f]*\)".*/\1/p' | head -n 1)

echo "push to $agents simulated agents and a real one, milliseconds from the command to its end"
at_centre "$bin/bailey-load" provision --state "$folder/collector" --agents "$agents" --keys "$folder/keys"
mkfifo "$folder/input"
ip netns exec "$centre" "$bin/bailey-load" follow --keys "$folder/keys" --key-id "$key_id" <"$folder/input" >"$folder/follow.log" 2>&1 &
pids+=($!)
exec 9>"$folder/input"
wait_for 60 known "$((agents + 1))"
push() { # WHAT [MORE...]
    local what=$1 begin
    shift
    begin=$(millis)
    bailey policy push "$folder/collector/policy.yaml" --key "$folder/security.key" --yes "$@" >"$folder/push.log" 2>&1 ||
        { cat "$folder/push.log" >&2; return 1; }
    row "$what" $(($(millis) - begin))
}
push "all at once" --at-once
push "in three stages"
exec 9>&-

echo "a change by hand, milliseconds, median of $rounds"
drifts() { bailey -o json alerts | grep -q '"check": "ruleset_drift"'; }
resolved() { ! drifts; }
restored() { ! at_host nft list table inet bailey | grep -q 'dport 23'; }
for _ in $(seq "$rounds"); do
    begin=$(millis)
    at_host nft insert rule inet bailey input tcp dport 23 accept
    wait_for 20 restored
    echo $(($(millis) - begin))
    sleep 1
done >"$folder/restored"
row "until the kernel is as it was" "$(median <"$folder/restored")"
sed 's/on_drift: restore/on_drift: audit/' "$folder/collector/policy.yaml" >"$folder/audit.yaml"
bailey policy push "$folder/audit.yaml" --host bench --key "$folder/security.key" --yes >/dev/null
for _ in $(seq "$rounds"); do
    begin=$(millis)
    at_host nft add chain inet bailey hole
    wait_for 30 drifts
    echo $(($(millis) - begin))
    at_host nft delete chain inet bailey hole
    wait_for 60 resolved
done >"$folder/found"
row "until it is a finding" "$(median <"$folder/found")"

# Nanoseconds on a processor, all threads of the process and the children it has waited for.
cpu_ns() {
    local own children
    own=$(cat /proc/"$1"/task/*/schedstat | awk '{sum += $1} END {printf "%.0f", sum}')
    children=$(awk '{sub(/^.*\) /, ""); printf "%.0f", ($14 + $15) * 10000000}' /proc/"$1"/stat)
    echo $((own + children))
}
echo "an idle host for $idle s, the large ruleset in a table of somebody else's, milliseconds of a processor"
sed 's/^table inet bailey/table inet other/; s/policy drop/policy accept/' "$folder/large.nft" | at_host nft -f -
sleep 5
ip netns exec "$host" sh -c 'while :; do nft -j list ruleset >/dev/null; sleep 5; done' &
poll=$!
pids+=("$poll")
enforcer_before=$(cpu_ns "$enforcer")
poll_before=$(cpu_ns "$poll")
sleep "$idle"
watched=$((($(cpu_ns "$enforcer") - enforcer_before) / 1000000))
polled=$((($(cpu_ns "$poll") - poll_before) / 1000000))
row "the enforcer, which is told of changes" "$watched"
row "a poll of nft -j list ruleset every 5 s" "$polled"
row "ratio" "$(awk -v a="$watched" -v b="$polled" 'BEGIN {printf "%.0fx", b / (a > 0 ? a : 1)}')"
