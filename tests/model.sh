#!/usr/bin/env bash
# The concurrency model: the whole store under a model checker's threads, locks and time.
#
#   bash tests/model.sh                  runs it (under a minute and a half from nothing)
#   bash tests/model.sh mutants [NAME..] breaks the protocol in one place at a time, in a copy of the last
#                                        commit in target/model/tree, and demands that the model goes red
#
# MODEL_SCHEDULES and MODEL_SEED: see tests/model/tests/protocol.rs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [[ ${1-} != mutants ]]; then
    CARGO_TARGET_DIR=target/model cargo test --manifest-path tests/model/Cargo.toml "$@"
    exit
fi

shift
# One of the mutants is met in few schedules only.
export MODEL_SCHEDULES=${MODEL_SCHEDULES:-20000}
wanted=" $* "
copy=target/model/tree
rm -rf "$copy"
mkdir -p "$copy"
# With new times, or cargo takes what the last mutant left for what is built of these files.
git archive HEAD | tar -x -m -C "$copy"
caught=0
missed=()
# A target folder of its own, or cargo takes the copy for the original that it has built already. Built once
# before the first mutant, whose time is limited.
CARGO_TARGET_DIR=target/model/mutants cargo test --quiet --manifest-path "$copy/tests/model/Cargo.toml" >/dev/null
printf '%-34s %s\n' MUTANT 'CAUGHT BY'

# A mutant is: name, file, the text as it stands, the text instead. A text that is not found is an error, so
# that the list cannot go stale in silence.
mutant() {
    local name=$1 file=$copy/$2 log=target/model/$1.log by
    if [[ $wanted != "  " && $wanted != *" $name "* ]]; then
        return
    fi
    cp "$file" target/model/original
    OLD=$3 NEW=$4 perl -0pi -e '
        my $count = s/\Q$ENV{OLD}\E/$ENV{NEW}/;
        die "text not found in $ARGV\n" unless $count;
    ' "$file"
    # A mutant may also make the code spin: that is red, too.
    if RUST_BACKTRACE=0 CARGO_TARGET_DIR=target/model/mutants timeout 300 \
        cargo test --no-fail-fast --manifest-path "$copy/tests/model/Cargo.toml" >"$log" 2>&1; then
        printf '%-34s %s\n' "$name" 'NOTHING: the model stays green'
        missed+=("$name")
    elif ! grep -q '^running ' "$log"; then
        printf '%-34s %s\n' "$name" "does not build, see $log"
        missed+=("$name")
    else
        by=$(grep -m 2 -oE '^test .* \.\.\. FAILED' "$log" | sed -E 's/^test (.*) \.\.\. FAILED/\1/' | paste -sd ' ' - || true)
        printf '%-34s %s\n' "$name" "${by:-a test that timed out}"
        caught=$((caught + 1))
    fi
    cp target/model/original "$file"
}

mutant demand-cleared-without-the-lock src/persistence/queue/work.rs \
    'if inner.open.is_empty() && inner.closed.is_empty() {
                    self.progress.clear_demand();
                }' \
    'let empty = inner.open.is_empty() && inner.closed.is_empty();
                drop(inner);
                if empty {
                    self.progress.clear_demand();
                }
                inner = self.lock();'
mutant no-second-look-before-sleep src/persistence/queue/work.rs \
    'inner.is_quiet()
                    };
                    if nothing && !self.progress.is_demanded() {' \
    'inner.is_quiet() || true
                    };
                    if nothing {'
mutant idle-said-after-the-look src/persistence/queue/work.rs \
    'self.progress.set_idle(true);
                    let nothing = {
                        let inner = self.lock();
                        inner.is_quiet()
                    };' \
    'let nothing = {
                        let inner = self.lock();
                        inner.is_quiet()
                    };
                    self.progress.set_idle(true);'
mutant idle-not-rung src/persistence/queue.rs \
    'was_empty && self.progress.is_idle()' \
    'false && was_empty && self.progress.is_idle()'
mutant ban-without-demand src/persistence/queue.rs \
    'if filling || is_urgent {' \
    'if filling {'
mutant close-does-not-ring src/persistence/queue.rs \
    'self.lock().closing = true;
        self.progress.ring();' \
    'self.lock().closing = true;'
mutant append-after-close src/persistence/queue.rs \
    'fn refuse(&self, inner: &Inner, bytes: usize) -> Result<(), Error> {
        if inner.closing {' \
    'fn refuse(&self, inner: &Inner, bytes: usize) -> Result<(), Error> {
        if false && inner.closing {'
mutant room-not-given-back src/persistence/queue/work.rs \
    'inner.unsynced_bytes = inner.unsynced_bytes.saturating_sub(batch.framed_bytes());' \
    ''
mutant rotation-without-demand src/persistence/queue.rs \
    'drop(inner);
        self.progress.demand();
        Ok(pinned)' \
    'drop(inner);
        Ok(pinned)'
mutant demand-does-not-ring src/persistence/progress.rs \
    'if !self.is_demanded() && !self.told.demand.swap(true, Ordering::AcqRel) {
            self.ring();
        }' \
    'self.told.demand.store(true, Ordering::Release);'
mutant publish-forgets-blocked-waiters src/persistence/progress.rs \
    'let woken: Vec<Waker> = extract(&mut waiting.waiters, |waiter| waiter.lsn <= durable);
        drop(waiting);
        self.changed.notify_all();' \
    'let woken: Vec<Waker> = extract(&mut waiting.waiters, |waiter| waiter.lsn <= durable);
        drop(waiting);'
mutant publish-wakes-one src/persistence/progress.rs \
    'let woken: Vec<Waker> = extract(&mut waiting.waiters, |waiter| waiter.lsn <= durable);
        drop(waiting);
        self.changed.notify_all();' \
    'let woken: Vec<Waker> = extract(&mut waiting.waiters, |waiter| waiter.lsn <= durable);
        drop(waiting);
        self.changed.notify_one();'
mutant publish-forgets-tasks src/persistence/progress.rs \
    'extract(&mut waiting.waiters, |waiter| waiter.lsn <= durable);' \
    'extract(&mut waiting.waiters, |waiter| waiter.lsn < durable);'
mutant publish-without-the-lock src/persistence/progress/ack.rs \
    'if let Some(result) = this.result(&waiting) {
            this.registered = None;
            return Poll::Ready(result);
        }
        register' \
    'register'
mutant failure-not-told src/persistence/progress.rs \
    'waiting.degraded = true;
        let woken = extract(&mut waiting.waiters, |_| true);
        drop(waiting);
        self.changed.notify_all();' \
    'waiting.degraded = true;
        let woken = extract(&mut waiting.waiters, |_| false);
        drop(waiting);'
mutant end-not-told src/persistence/progress.rs \
    'waiting.closed = true;' \
    ''
mutant waker-left-behind src/persistence/progress/ack.rs \
    'index.map(|index| waiting.waiters.swap_remove(index))' \
    'index.map(|_| ())'
mutant acknowledged-before-sync src/persistence/commit.rs \
    'let started = Instant::now();
        self.write_batches(seal, count)?;' \
    'let started = Instant::now();
        if let Some(last) = self.pending.last() { self.progress.publish(last.last_lsn()); }
        self.write_batches(seal, count)?;'
mutant degraded-demand-cleared-late src/persistence/commit.rs \
    'self.progress.clear_demand();
            while let Some(work) = self.queue.take_more() {
                self.add(work, &mut rotate);
            }' \
    'while let Some(work) = self.queue.take_more() {
                self.add(work, &mut rotate);
            }
            self.progress.clear_demand();'
mutant rotation-not-answered src/persistence/commit.rs \
    'let _sent: Result<(), mpsc::SendError<_>> = reply.send(Ok(()));' \
    'std::mem::forget(reply);'
mutant close-without-draining src/persistence/queue/work.rs \
    'if due {
                let work = take(&mut inner);' \
    'if inner.closing {
                return None;
            }
            if due {
                let work = take(&mut inner);'

echo
echo "$caught caught, ${#missed[@]} missed${missed[*]:+: ${missed[*]}}"
[[ ${#missed[@]} -eq 0 ]]
