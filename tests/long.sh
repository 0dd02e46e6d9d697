#!/usr/bin/env bash
# Everything that takes long: crash exploration without strides, kill loops, soak, torture on a real and on a
# simulated disk, the concurrency model and its mutants, fuzz targets, mutants.
#
#   bash tests/long.sh MINUTES
#
# The budget is shared out among what can run for any time; the rest takes what it takes. Logs go to
# target/long. Ends with a table, and with 1 if anything failed.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [[ ! ${1-} =~ ^[1-9][0-9]{0,5}$ ]]; then
    echo "usage: bash tests/long.sh MINUTES" >&2
    exit 2
fi
seconds=$(($1 * 60))
logs=target/long
mkdir -p "$logs"
table=()
failed=0

# share PERCENT: so much of the budget, in seconds, and at least 5.
share() {
    local part=$((seconds * $1 / 100))
    echo $((part > 5 ? part : 5))
}

# step NAME COMMAND...: runs it, keeps its output, notes how it ended.
step() {
    local name=$1 log=$logs/$1.log begun=$SECONDS result=ok
    shift
    printf '%s ...\n' "$name"
    if "$@" >"$log" 2>&1; then
        # A test that the machine does not allow says so.
        if grep -q '^skipped: ' "$log"; then
            result="ok, but $(grep -m 1 '^skipped: ' "$log")"
        fi
    else
        result="FAILED ($?), see $log"
        failed=1
    fi
    table+=("$(printf '%-24s %6d s  %s' "$name" $((SECONDS - begun)) "$result")")
}

skip() {
    table+=("$(printf '%-24s %8s  %s' "$1" - "skipped: $2")")
}

# At about three kills a second.
rounds=$(($(share 10) * 2))
simulated="$(share 25)s" real="$(share 15)s" soak=$(share 40)
# For each of five targets.
fuzz=$(($(share 10) / 5 + 1))
disk=$(mktemp -d "${TMPDIR:-/tmp}/peer-journal-long.XXXXXX")
trap 'rmdir "$disk" 2>/dev/null' EXIT
suite=(cargo test --release -p peer-journal)

step build cargo build --release -p peer-journal-cli
step crash-exploration env PEER_JOURNAL_LONG=1 "${suite[@]}" --test crash -- --nocapture
step kill-loops env PEER_JOURNAL_KILL_ROUNDS=$rounds "${suite[@]}" --test kill -- --nocapture
step full-disks "${suite[@]}" --test full_disk -- --nocapture
step torture-real target/release/peer-journal torture "$disk" --for "$real"
step torture-simulated target/release/peer-journal torture --simulate --for "$simulated"
step soak env PEER_JOURNAL_SOAK_SECONDS="$soak" "${suite[@]}" --test soak -- --ignored --nocapture
if [[ -f tests/model.sh ]]; then
    step concurrency-model bash tests/model.sh
    step concurrency-mutants bash tests/model.sh mutants
else
    skip concurrency-model 'there is no tests/model.sh'
fi
if [[ ! -f fuzz/run.sh ]]; then
    skip fuzz 'there is no fuzz/run.sh'
elif ! cargo fuzz --version >/dev/null 2>&1; then
    skip fuzz 'cargo fuzz is not installed'
else
    step fuzz bash fuzz/run.sh "$fuzz"
fi
step mutants bash tests/mutants.sh

echo
printf '%-24s %8s  %s\n' STEP TIME RESULT
printf '%s\n' "${table[@]}"
exit $failed
