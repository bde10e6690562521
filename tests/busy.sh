#!/usr/bin/env bash
# `make busy`: the tests several times in a row, beside a loop on each core. A line for each run.
#
# TIMES  how often; 10 without it
# Fails where a run has failed, and where a test had to be run again in three runs.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

times=${TIMES:-10}
logs=.busy
failed=0
loops=()
trap 'kill "${loops[@]}" 2>/dev/null' EXIT
mkdir -p $logs && rm -f $logs/*.log
for _ in $(seq "$(nproc)"); do
    nice sh -c 'while :; do :; done' &
    loops+=($!)
done

for run in $(seq "$times"); do
    "${MAKE:-make}" --no-print-directory test >"$logs/$run.log" 2>&1 </dev/null
    code=$?
    [ $code -eq 0 ] || failed=1
    echo "run $run: exit code $code, $(grep -E " in [0-9.]+s" "$logs/$run.log" | tail -n 1)"
done

again=$(sed -n 's/ failed while the machine stood still for .* s$//p' $logs/*.log | sort | uniq -c | awk '$1 >= 3')
if [ -n "$again" ]; then
    printf 'run again in three runs or more:\n%s\n' "$again"
    failed=1
fi
[ $failed -eq 0 ] || echo "what they said is in $logs/"
exit $failed
