#!/usr/bin/env bash
# Mutation check of the crash tests: takes one safeguard away at a time and demands that the suite goes
# red. Run on demand: `bash tests/mutants.sh [NAME ...]`. Works on a copy of the last commit, in target/mutants.
#
# A mutant is: name, file, the text as it stands, the text instead. A text that is not found is an error, so that the
# list cannot go stale in silence.
set -euo pipefail
cd "$(dirname "$0")/.."

copy=target/mutants/tree
suites=(-p peer-journal --lib --test crash --test faults --test corruption --test bad_input)
rm -rf "$copy"
mkdir -p "$copy"
git archive HEAD | tar -x -C "$copy"
wanted=" $* "
caught=0
missed=()
printf '%-34s %s\n' MUTANT 'CAUGHT BY'

mutant() {
    local name=$1 file=$2 old=$3 new=$4
    if [[ $# -lt 4 ]]; then
        echo "mutant $name needs a file and two texts" >&2
        exit 2
    fi
    if [[ $wanted != "  " && $wanted != *" $name "* ]]; then
        return
    fi
    cp "$copy/$file" target/mutants/original
    OLD=$old NEW=$new perl -0pi -e '
        my $count = s/\Q$ENV{OLD}\E/$ENV{NEW}/;
        die "text not found in $ARGV\n" unless $count;
    ' "$copy/$file"
    local log=target/mutants/$name.log
    if (cd "$copy" && CARGO_TARGET_DIR=../build timeout 600 cargo test --no-fail-fast "${suites[@]}") >"$log" 2>&1; then
        printf '%-34s %s\n' "$name" 'NOTHING: the suite stays green'
        missed+=("$name")
    elif ! grep -q '^test result' "$log"; then
        printf '%-34s %s\n' "$name" "does not build, see $log"
        missed+=("$name")
    else
        local by
        by=$(grep -m 2 -oE '^test .* \.\.\. FAILED' "$log" | sed -E 's/^test (.*) \.\.\. FAILED/\1/' | paste -sd ' ' -)
        printf '%-34s %s\n' "$name" "${by:-a test that timed out}"
        caught=$((caught + 1))
    fi
    cp target/mutants/original "$copy/$file"
}

mutant journal-sync src/journal/segment.rs \
    'self.file.sync().map_err(|error| Error::io("cannot sync the journal", &self.path, error))' \
    'Ok(())'
mutant header-sync src/journal/segment.rs \
    '.write_at(0, &header.encode())
            .and_then(|()| self.file.sync())' \
    '.write_at(0, &header.encode())'
mutant segment-directory-sync src/journal/segment.rs \
    'vfs.sync_dir(dir)' \
    'Ok(())'
mutant snapshot-sync src/snapshot/publish.rs \
    'file.sync()?;' \
    ''
mutant snapshot-directory-sync src/snapshot/publish.rs \
    'vfs.sync_dir(places.parent())' \
    'Ok(())'
mutant fallback-directory-sync src/snapshot/publish.rs \
    'vfs.sync_dir(&places.journal_dir)' \
    'Ok(())'
mutant snapshot-renamed-before-written src/snapshot/publish.rs \
    'let written = write_temporary(vfs, &temporary, state, meta, stop);' \
    'let written = { let _gone = vfs.remove(&places.state_file); write_temporary(vfs, &temporary, state, meta, stop) };'
mutant delete-before-publish src/persistence/compact.rs \
    'self.publish(&state, lsn, &demote)?;
        self.progress.forget' \
    'for entry in self.vfs.list(&self.places.journal_dir).unwrap_or_default() {
            let name = entry.name.to_str().and_then(SegmentName::parse);
            if name.is_some_and(|name| name.segment < self.progress.segment()) {
                let _gone = self.vfs.remove(&self.places.journal_dir.join(&entry.name));
            }
        }
        self.publish(&state, lsn, &demote)?;
        self.progress.forget'
mutant one-snapshot-covers src/persistence/compact.rs \
    'let deletable = deletable(&names, fallback);' \
    'let deletable = deletable(&names, self.lsn());'
mutant record-checksum-ignored src/journal/format.rs \
    'if seed.crc(covered, payload) != crc {' \
    'if false && seed.crc(covered, payload) != crc {'
mutant checksum-without-seed src/journal/format.rs \
    'crc32fast::Hasher::new_with_initial(self.0)' \
    'crc32fast::Hasher::new_with_initial(self.0 & 0)'
mutant snapshot-checksum-ignored src/snapshot/read.rs \
    'if written != computed {' \
    'if false && written != computed {'
mutant seal-check-skipped src/recovery/plan.rs \
    'segment.scan.seal.is_some_and(|seal| seal.crc != *crc)' \
    'segment.scan.seal.is_some_and(|seal| seal.crc != *crc && false)'
mutant acknowledged-before-sync src/persistence/commit.rs \
    'self.write_batches(seal, count)?;' \
    'if let Some(last) = self.pending.last() { self.progress.publish(last.last_lsn()); }
        self.write_batches(seal, count)?;'
mutant failed-sync-retried src/persistence/commit.rs \
    'if let Some(segment) = self.segment.take() {' \
    'if let Some(segment) = self.segment.take_if(|_| false) {'
mutant failed-sync-not-superseded src/persistence/commit.rs \
    'superseded: true,' \
    'superseded: false,'
mutant vouches-for-too-much src/persistence/commit.rs \
    'encode_record(&mut self.buffer, segment.seed(), kind, lsn, durable, payload);' \
    '{ let _honest = durable; encode_record(&mut self.buffer, segment.seed(), kind, lsn, lsn, payload); }'
mutant trusted-before-synced src/persistence/engine.rs \
    'recovery::sync_before_reading(vfs.as_ref(), &places)?;' \
    ''
mutant repair-without-sync src/recovery/repair.rs \
    'file.write_at(offset, &bytes).and_then(|()| file.sync()).map_err(failed)?;' \
    'file.write_at(offset, &bytes).map_err(failed)?;'
mutant cut-without-sync src/recovery/repair.rs \
    'file.set_len(offset).and_then(|()| file.sync()).map_err(failed)?;' \
    'let _uncut = &file;'
mutant torn-tail-replayed src/recovery/plan.rs \
    'break; // a hole that nothing vouches for: the torn tail begins' \
    '// a hole that nothing vouches for'
mutant batch-torn-apart src/state/batch.rs \
    'let mut next = self.clone();' \
    'for change in changes { self.apply(change)?; } let mut next = self.clone();'
mutant waiters-not-told src/persistence/progress.rs \
    'let woken = extract(&mut waiting.waiters, |_| true);
        drop(waiting);
        self.changed.notify_all();
        woken.into_iter().for_each(Waker::wake);
    }

    /// The commit thread has ended.' \
    'drop(waiting);
    }

    /// The commit thread has ended.'

echo
echo "$caught caught, ${#missed[@]} missed${missed[*]:+: ${missed[*]}}"
[[ ${#missed[@]} -eq 0 ]]
