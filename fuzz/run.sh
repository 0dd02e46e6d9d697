#!/usr/bin/env bash
# Fuzzes with coverage guidance, one target after the other, and prints what each did.
#
#   bash fuzz/run.sh SECONDS [TARGET...]     SECONDS for each target; all targets by default
#   bash fuzz/run.sh minimise [TARGET...]    after that: makes fuzz/corpus the smallest set that reaches as much,
#                                            inputs of at most 8 KiB, at most 40 for each target
#
# Needs a nightly compiler and `cargo install cargo-fuzz`. What it finds on its way stays in fuzz/target/corpus;
# inputs that fail are in fuzz/artifacts and make it exit with 1. There is no `unsafe` code here, so no sanitizer
# is needed; memory is capped.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

all=(scan_segment read_header read_snapshot recover operations)
what=${1:?"seconds for each target, or: minimise"}
shift
targets=("$@")
[[ $# -gt 0 ]] || targets=("${all[@]}")

fuzz() {
    cargo +nightly fuzz "$@"
}

if [[ $what == minimise ]]; then
    for target in "${targets[@]}"; do
        found=fuzz/target/corpus/$target
        small=fuzz/target/minimised/$target
        rm -rf "$small"
        mkdir -p "$small" "$found"
        fuzz run --sanitizer none "$target" "$small" "fuzz/corpus/$target" "$found" -- -merge=1 -max_len=8192 \
            >/dev/null 2>&1
        # The smallest of them are the likeliest to run fast; the seeds stay in any case.
        find "fuzz/corpus/$target" -type f ! -name 'seed-*' ! -name 'found-*' -delete
        find "$small" -type f -printf '%s %p\n' | sort -n | head -n 25 | while read -r _ file; do
            cp "$file" "fuzz/corpus/$target/"
        done
        printf '%-14s %s inputs\n' "$target" "$(find "fuzz/corpus/$target" -type f | wc -l)"
    done
    exit
fi

status=0
printf '%-14s %12s %10s %10s %8s\n' TARGET EXECUTIONS COVERAGE CORPUS CRASHES
for target in "${targets[@]}"; do
    mkdir -p "fuzz/target/corpus/$target" "fuzz/artifacts/$target"
    log=fuzz/target/$target.log
    options=(-max_total_time="$what" -timeout=30 -rss_limit_mb=2048 -malloc_limit_mb=256 -max_len=16384
        -print_final_stats=1)
    [[ ! -f fuzz/dict/$target.dict ]] || options+=(-dict="fuzz/dict/$target.dict")
    fuzz run --sanitizer none "$target" "fuzz/target/corpus/$target" "fuzz/corpus/$target" -- "${options[@]}" \
        >"$log" 2>&1 || status=1
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log" | tail -1)
    reached=$(grep -oE 'cov: [0-9]+' "$log" | tail -1 | cut -d' ' -f2)
    inputs=$(find "fuzz/target/corpus/$target" -type f | wc -l)
    # One that was slow once did not fail: there is a limit for that, too.
    crashes=$(find "fuzz/artifacts/$target" -type f ! -name 'slow-unit-*' | wc -l)
    printf '%-14s %12s %10s %10s %8s\n' "$target" "${executions:-none}" "${reached:-none}" "$inputs" "$crashes"
    if [[ -z $executions || $crashes -gt 0 ]]; then
        echo "  see $log" >&2
        status=1
    fi
done
exit $status
