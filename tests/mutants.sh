#!/usr/bin/env bash
# Mutation check of the crash tests: takes one safeguard away at a time and demands that a test goes red.
# Run on demand: `bash tests/mutants.sh [NAME ...]`. Works on a copy of the last commit in target/mutants, without
# libp2p, so that a mutant costs an incremental build of the library and the suites up to the first red one.
#
# A mutant is: name, file, the text as it stands, the text instead. A text that is not found is an error, so that the
# list cannot go stale in silence. Only the first place of a text is changed.
#
# Not here: the calls of `src/vfs/os.rs`, which no simulated disk can see.
set -euo pipefail
cd "$(dirname "$0")/.."

tree=target/mutants/tree
build=$PWD/target/mutants/build
# The first red one ends a mutant: quick ones, and those that catch most, come first.
suites=(regressions recovery_cases faults folder_syncs names_in_doubt lessons crash corruption bad_input history_repair
    lib kill wakers)
# What caught each mutant the last time all of them were run: that suite is tried first.
last_table=tests/mutants.txt
seconds_per_suite=${PEER_JOURNAL_MUTANT_SECONDS:-600}
wanted=" $* "
caught=0
missed=()
table=

# The package alone: no workspace member, no libp2p, no example or bench that would need it.
prepare() {
    rm -rf "$tree"
    mkdir -p "$tree"
    # With new times, or cargo takes what the last mutant left for what is built of these files.
    git archive HEAD Cargo.toml Cargo.lock README.md src tests docs | tar -x -m -C "$tree"
    perl -ni -e '
        $bench = 1 if /^\[\[bench\]\]/;
        $bench = 0 if /^\[/ && !/^\[\[bench\]\]/;
        next if $bench || /^(members|default-members|libp2p|libp2p-peer-store|libp2p-swarm-test|futures-timer|jsonschema|criterion|dns) = /;
        s/^default = .*/default = []/;
        s/^registry = .*/registry = []/;
        $example = 1 if /^\[\[example\]\]/;
        $example = 0 if /^\[/ && !/^\[\[example\]\]/;
        print unless $example;
    ' "$tree/Cargo.toml"
    cat >>"$tree/Cargo.toml" <<'TOML'

[profile.dev]
debug = 0
incremental = true

[profile.dev.package."*"]
opt-level = 2
TOML
    local test
    for test in "$tree"/tests/*.rs; do
        case " ${suites[*]} " in
        *" $(basename "$test" .rs) "*) ;;
        *) rm "$test" ;;
        esac
    done
}

# Runs the suites up to the first red one. Prints what it was, or nothing.
first_red() {
    local log=$1 first suite target status
    first=$(sed -nE "s/^$2 +([a-z_]+):.*/\\1/p" "$last_table" 2>/dev/null)
    : >"$log"
    for suite in $first "${suites[@]}"; do
        target=(--test "$suite")
        [[ $suite == lib ]] && target=(--lib)
        status=0
        (cd "$tree" && CARGO_TARGET_DIR=$build timeout -k 5 "$seconds_per_suite" \
            cargo test --offline "${target[@]}") >>"$log" 2>&1 || status=$?
        if [[ $status -eq 0 ]]; then
            continue
        elif grep -qE 'could not compile|^error\[' "$log"; then
            echo "does not build"
        elif [[ $status -eq 124 || $status -eq 137 ]]; then
            echo "$suite: a test that never ends"
        else
            echo "$suite: $(sed -nE 's/^test (.*) \.\.\. FAILED/\1/p; s/^test (.*) - should panic.*FAILED/\1/p' "$log" | head -n 1)"
        fi
        return
    done
}

# A line of the table.
say() {
    printf '%-36s %s\n' "$1" "$2"
    table+=$(printf '%-36s %s' "$1" "$2")$'\n'
}

mutant() {
    local name=$1 file=$2 old=$3 new=$4 by
    if [[ $# -ne 4 ]]; then
        echo "mutant $name needs a file and two texts" >&2
        exit 2
    fi
    if [[ $wanted != "  " && $wanted != *" $name "* ]]; then
        return
    fi
    cp "$tree/$file" target/mutants/original
    OLD=$old NEW=$new perl -0pi -e '
        my $count = s/\Q$ENV{OLD}\E/$ENV{NEW}/;
        die "text not found in $ARGV\n" unless $count;
    ' "$tree/$file"
    by=$(first_red "target/mutants/$name.log" "$name")
    case $by in
    "" | "does not build")
        missed+=("$name")
        by="NOTHING: ${by:-every suite stays green}"
        ;;
    *) caught=$((caught + 1)) ;;
    esac
    say "$name" "$by"
    cp target/mutants/original "$tree/$file"
}

prepare
# Built before the time of a suite counts.
(cd "$tree" && CARGO_TARGET_DIR=$build cargo test --quiet --offline --no-run)
red=$(first_red target/mutants/none.log none)
if [[ -n $red ]]; then
    echo "without any mutant: $red; see target/mutants/none.log" >&2
    exit 2
fi
say MUTANT 'CAUGHT BY'

# -- each sync of a file

mutant batch-sync src/persistence/commit.rs \
    'segment.write(&self.buffer, records, last)?;
        segment.sync()?;' \
    'segment.write(&self.buffer, records, last)?;'
mutant closing-seal-sync src/persistence/commit.rs \
    'segment.write(&self.buffer, 0, last)?;
        segment.sync()' \
    'segment.write(&self.buffer, 0, last)'
mutant segment-sync src/journal/segment.rs \
    'self.file.sync().map_err(|error| Error::io("cannot sync the journal", &self.path, error))' \
    'Ok(())'
mutant segment-header-sync src/journal/segment.rs \
    '.and_then(|()| self.file.sync())' \
    ''
mutant prepared-segment-sync src/journal/segment.rs \
    'match self.file.sync() {' \
    'match io::Result::Ok(()) {'
mutant snapshot-sync src/snapshot/temporary.rs \
    'self.file.sync()?;' \
    ''
mutant fallback-copy-sync src/snapshot/publish.rs \
    'return to.sync().map_err(write);' \
    'return Ok(());'
mutant sync-files-before-reading src/recovery/mod.rs \
    'match vfs.open(path).and_then(|file| file.sync()) {' \
    'match vfs.open(path).map(drop) {'
mutant cut-sync src/recovery/repair.rs \
    'file.set_len(offset).and_then(|()| file.sync()).map_err(failed)?;' \
    'file.set_len(offset).map_err(failed)?;'
mutant repair-seal-sync src/recovery/repair.rs \
    'file.write_at(offset, &bytes).and_then(|()| file.sync()).map_err(failed)?;' \
    'file.write_at(offset, &bytes).map_err(failed)?;'
mutant quarantine-sync src/recovery/quarantine.rs \
    '.and_then(|()| file.write_at(0, bytes))
            .and_then(|()| file.sync())' \
    '.and_then(|()| file.write_at(0, bytes))'

mutant rewritten-segment-sync src/mend/rewrite.rs \
    '.and_then(|()| file.sync())' \
    ''

# -- each sync of a folder

mutant segment-folder-sync src/journal/segment.rs \
    'vfs.sync_dir(dir)' \
    'io::Result::Ok(())'
mutant snapshot-folder-sync src/snapshot/publish.rs \
    'vfs.sync_dir(places.parent())' \
    'io::Result::Ok(())'
mutant fallback-folder-sync src/snapshot/publish.rs \
    'vfs.sync_dir(&places.journal_dir)' \
    'io::Result::Ok(())'
mutant large-update-not-settled src/persistence/commit.rs \
    '(self.settle)()' \
    '{ self.progress.settled(); Ok::<(), Error>(()) }'
mutant unsettled-segment-given-up src/persistence/commit.rs \
    'self.progress.fail(&error);
            return Err(error);' \
    'self.abandon_segment(&error);
            return Err(error);'
mutant settling-waits-for-the-answer src/persistence/jobs.rs \
    'Err(TryRecvError::Empty) => thread::park_timeout(LOOK_AGAIN),' \
    'Err(TryRecvError::Empty) => return answer.recv().map_err(|_| closed())?.map(drop),'
mutant half-a-copy-stays src/snapshot/publish.rs \
    'if let Err(error) = remove_if_there(vfs, &temporary) {
                tracing::debug!(%error, "recovery removes the temporary snapshot");
            }
            return' \
    'return'
mutant save-not-settled src/persistence/compact.rs \
    'self.failed_syncs != self.folders.failed_syncs()' \
    'self.progress.is_unsettled()'
mutant doubted-names-not-renewed src/persistence/compact.rs \
    'if before == self.failed_syncs {' \
    'if before >= self.failed_syncs {'
mutant doubted-fallback-not-renewed src/snapshot/publish.rs \
    'renew_file(vfs, &dir.join(&entry.name))?;' \
    ''
mutant doubted-segment-trusted src/persistence/commit.rs \
    'self.folders.check(failed_syncs, segment.path())' \
    'self.folders.check(self.folders.failed_syncs(), segment.path())'
mutant failed-folder-sync-not-counted src/persistence/folders.rs \
    'if synced.is_err() {' \
    'if false {'
mutant doubted-names-demoted src/persistence/compact.rs \
    'if self.is_in_doubt() {
            // Before' \
    'if self.progress.is_unsettled() {
            // Before'
mutant names-of-a-killed-process-trusted src/recovery/repair.rs \
    'if was_closed(inventory) {' \
    'if was_closed(inventory) || self.now.timestamp() > 0 {'
mutant doubt-closed-away src/persistence/compact.rs \
    'while self.is_in_doubt() && attempts' \
    'while false && attempts'
mutant sync-journal-folder-before-reading src/recovery/mod.rs \
    'for dir in [&*places.journal_dir, places.parent()] {' \
    'for dir in [places.parent()] {'
mutant sync-state-folder-before-reading src/recovery/mod.rs \
    'for dir in [&*places.journal_dir, places.parent()] {' \
    'for dir in [&*places.journal_dir] {'
mutant quarantine-folder-sync-of-a-copy src/recovery/quarantine.rs \
    'self.put_note(&kept, verdict, &origin)?;
            self.sync_dir(&dir)?;' \
    'self.put_note(&kept, verdict, &origin)?;'
mutant quarantine-folder-sync-of-a-move src/recovery/quarantine.rs \
    'self.sync_dir(&dir)?;
        self.sync_dir(path.parent()' \
    'self.sync_dir(path.parent()'
mutant old-folder-sync-of-a-move src/recovery/quarantine.rs \
    'self.sync_dir(path.parent().unwrap_or(Path::new(".")))?;' \
    ''

# -- the order of steps

mutant trusted-before-synced src/persistence/engine.rs \
    'recovery::sync_before_reading(vfs.as_ref(), &places)?;' \
    ''
mutant acknowledged-before-sync src/persistence/commit.rs \
    'self.write_batches(seal, count)?;' \
    'if let Some(last) = self.pending.last() { self.progress.publish(last.last_lsn()); }
        self.write_batches(seal, count)?;'
mutant acknowledged-into-no-segment src/journal/segment.rs \
    'if let Err(error) = vfs.sync_dir(dir) {' \
    'if let Err(error) = vfs.rename(&path, &self.path).and_then(|()| vfs.sync_dir(dir)).and_then(|()| vfs.rename(&self.path, &path)) {'
mutant removed-before-renamed src/snapshot/publish.rs \
    'vfs.rename(&temporary, &places.state_file).map_err(|error| {' \
    'let _gone = vfs.remove(&places.state_file);
        vfs.rename(&temporary, &places.state_file).map_err(|error| {'
mutant renamed-before-written src/snapshot/publish.rs \
    'fill(file.as_ref(), self.state, self.meta, self.stop)' \
    'self.vfs.rename(path, &self.places.state_file)?;
        let bytes = fill(file.as_ref(), self.state, self.meta, self.stop)?;
        self.vfs.rename(&self.places.state_file, path)?;
        Ok(bytes)'
mutant deleted-before-published src/persistence/compact.rs \
    'self.publish(&state, lsn, &demote)?;
        self.progress.forget' \
    'for entry in self.folders.list(&self.places.journal_dir).unwrap_or_default() {
            let name = entry.name.to_str().and_then(SegmentName::parse);
            if name.is_some_and(|name| name.segment < self.progress.segment()) {
                let _gone = self.folders.remove(&self.places.journal_dir.join(&entry.name));
            }
        }
        self.publish(&state, lsn, &demote)?;
        self.progress.forget'
mutant one-snapshot-covers src/persistence/compact.rs \
    'let deletable = deletable(&names, fallback);' \
    'let deletable = deletable(&names, self.lsn());'
mutant fallback-not-kept src/persistence/compact.rs \
    'Some(published) if published < lsn => Demote::fallback(published),' \
    'Some(published) if published < lsn && false => Demote::fallback(published),'
mutant expiry-fails-a-save src/persistence/compact.rs \
    'Err(error) if error.kind() == ErrorKind::Full => {}' \
    'Err(error) if error.kind() == ErrorKind::Closed => {}'
mutant one-bad-file-keeps-the-others src/persistence/compact.rs \
    'result = result.and(self.folders.remove(path).map_err(|error| failed(path, error)));' \
    'self.folders.remove(path).map_err(|error| failed(path, error))?; result = result.and(Ok(()));'
mutant second-file-of-a-large-update-removed src/snapshot/publish.rs \
    'if !is_fallback(vfs, &fallback, name, store_id) {' \
    'if true || !is_fallback(vfs, &fallback, name, store_id) {'
mutant cut-before-copied src/recovery/repair.rs \
    '} else if let Some(kept) = self.copy_damage(segment, judged)? {' \
    '} else if let Some(kept) = (if judged.cut.is_some() { None } else { self.copy_damage(segment, judged)? }) {'
mutant history-rewritten-before-copied src/mend/past.rs \
    'let kept = quarantine.keep(segment, path, &bytes, &ranges, verdict)?;' \
    'self.write_anew(file, segment, &bytes, &sound)?;
                    let kept = quarantine.keep(segment, path, &bytes, &ranges, verdict)?;'
mutant unborn-removed-too-early src/persistence/engine.rs \
    'let segment = start_first_segment(options, &places, store_id, previous, &recovered)?;
        recovered.remove_unborn(vfs.as_ref())?;' \
    'recovered.remove_unborn(vfs.as_ref())?;
        let segment = start_first_segment(options, &places, store_id, previous, &recovered)?;'

# -- checks that are skipped

mutant record-checksum-ignored src/journal/format.rs \
    '(seed.crc(covered, &[]) == record.crc).then_some(record)' \
    '(seed.crc(covered, &[]) == record.crc || len_of(bytes) > 0).then_some(record)
}

fn len_of(bytes: &[u8]) -> usize {
    bytes.len()'
mutant header-checksum-ignored src/journal/format.rs \
    'if fields.u32()? != header_crc(bytes) {' \
    'if fields.u32()? != header_crc(bytes) && false {'
mutant snapshot-checksum-ignored src/snapshot/read.rs \
    'if written != computed {' \
    'if false && written != computed {'
mutant checksum-without-seed src/journal/format.rs \
    'crc32fast::Hasher::new_with_initial(self.0)' \
    'crc32fast::Hasher::new_with_initial(self.0 & 0)'
mutant store-id-ignored src/recovery/inventory.rs \
    'Ok(good) if Some(good.store_id) == store_id => Header::Good(good),' \
    'Ok(good) if good.segment > 0 => Header::Good(good),'
mutant seal-check-skipped src/recovery/plan.rs \
    'segment.scan.seal.is_some_and(|seal| seal.crc != *crc)' \
    'segment.scan.seal.is_some_and(|seal| seal.crc != *crc && false)'
mutant records-behind-a-seal-count src/journal/scan.rs \
    'let next = if found.seal.is_some() {' \
    'let next = if false {'
mutant stale-numbers-count src/journal/scan.rs \
    'lsn.get().checked_sub(smallest.get()).is_some_and(|leap| leap <= LSN_LEAP_MAX)' \
    'lsn.get().saturating_sub(smallest.get()) <= LSN_LEAP_MAX'
mutant long-record-behind-damage-unchecked src/journal/scan.rs \
    'checksums.of(start, len, seed) == Some(record.crc)' \
    'checksums.of(start, len, seed).is_some()'
mutant snapshot-not-read-back src/snapshot/temporary.rs \
    'if found != (written.len, written.len, written.crc) {' \
    'if found != (written.len, written.len, written.crc) && false {'
mutant failed-sync-of-a-part-forgotten src/snapshot/temporary.rs \
    'checked?;' \
    'checked.ok();'
mutant part-read-back-before-its-sync src/snapshot/temporary.rs \
    'self.file.sync()?;
        while self.len < len {' \
    'if self.len == 0 { self.file.sync()?; }
        while self.len < len {'
mutant fallback-not-verified src/snapshot/publish.rs \
    'Reading::Whole(loaded) => (loaded.meta.lsn, loaded.meta.store_id) == (lsn, store_id),
        _ => false,' \
    '_ => lsn > Lsn::ZERO && store_id.as_bytes().len() == 16,'
mutant holder-not-told src/persistence/holder.rs \
    'io::ErrorKind::WouldBlock => held(vfs, places, &path),' \
    'io::ErrorKind::WouldBlock => Error::io("cannot lock the store", &path, error),'
mutant newer-version-opened src/recovery/mod.rs \
    'refuse_newer(&inventory)?;' \
    'let _newer = refuse_newer(&inventory);'

# -- failed writes

mutant failed-sync-retried src/persistence/commit.rs \
    'if let Some(segment) = self.segment.take() {' \
    'if let Some(segment) = self.segment.take_if(|_| false) {'
mutant failed-sync-not-superseded src/persistence/commit.rs \
    'superseded: true,' \
    'superseded: false,'
mutant failed-batch-dropped src/persistence/commit.rs \
    'self.abandon_segment(error);' \
    'self.abandon_segment(error); self.pending.clear();'
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
mutant degraded-not-shown src/persistence/progress.rs \
    'waiting.degraded = true;' \
    'waiting.degraded = false;'
mutant torn-superseded-end-is-damage src/recovery/plan.rs \
    '!segment.scan.damage.is_empty()
            && segment' \
    'false && !segment.scan.damage.is_empty()
            && segment'
mutant superseded-forgotten-by-repair src/recovery/repair.rs \
    'superseded: plan.supersedes,' \
    'superseded: false,'
mutant followed-segment-sealed src/recovery/repair.rs \
    'judged.verdict != Verdict::Whole || is_followed(inventory, plan, segment) =>' \
    'judged.verdict != Verdict::Whole || (false && is_followed(inventory, plan, segment)) =>'

# -- what is told and numbered

mutant vouches-for-too-much src/persistence/commit.rs \
    'encode_record(&mut self.buffer, segment.seed(), kind, lsn, durable, payload);' \
    '{ let _honest = durable; encode_record(&mut self.buffer, segment.seed(), kind, lsn, lsn, payload); }'
mutant vouches-for-nothing src/persistence/commit.rs \
    'encode_record(&mut self.buffer, segment.seed(), kind, lsn, durable, payload);' \
    '{ let _honest = durable; encode_record(&mut self.buffer, segment.seed(), kind, lsn, Lsn::ZERO, payload); }'
mutant lost-records-not-reported src/recovery/plan.rs \
    'lost.push(LsnRange { first: reached.next(), last });' \
    'let _silent = last;'
mutant torn-tail-replayed src/recovery/plan.rs \
    'break; // a hole that nothing vouches for: the torn tail begins' \
    '// a hole that nothing vouches for'
mutant numbers-used-again src/recovery/plan.rs \
    'lost.push(LsnRange { first: reached.next(), last: vouched });
        reached = vouched;' \
    'lost.push(LsnRange { first: reached.next(), last: vouched });'
mutant segment-number-used-again src/recovery/mod.rs \
    'last_segment: inventory.last_segment(),' \
    'last_segment: inventory.last_segment().saturating_sub(1),'
mutant batch-torn-apart src/state/batch.rs \
    'let mut next = self.clone();' \
    'for change in changes { self.apply(change)?; } let mut next = self.clone();'
mutant shared-out-without-room src/state/shares.rs \
    'if !ledger.headroom.take(changes) {' \
    'if !ledger.headroom.take(changes) && false {'
mutant addresses-given-uncounted src/state/shares.rs \
    'changes.iter().for_each(|change| ledger.give(change));' \
    ''
mutant most-addresses-forgotten src/state/peers/edit.rs \
    'self.most_addresses = self.most_addresses.max(count);' \
    ''
mutant part-of-a-record-applied src/state/peers.rs \
    'self.apply_each(changes, limits).inspect_err(|_| *self = before)' \
    '{ let _unused = before; self.apply_each(changes, limits) }'
mutant deferred-not-seen src/state/live.rs \
    'peers.settle(self);
        State {' \
    'State {'
mutant deferred-overtaken src/state/live.rs \
    'peers.settle(self);
        std::mem::swap' \
    'std::mem::swap'
mutant deferred-without-room src/state/deferred.rs \
    'self.peers + self.changes.len() < self.limits.peers' \
    'self.peers < self.limits.peers'
mutant deferred-addresses-uncounted src/state/deferred.rs \
    'self.added += addresses.len();' \
    ''
mutant deferred-though-not-new src/state/deferred.rs \
    'self.of_all.max(*latest) < at' \
    'self.of_all.max(*latest) <= at'
mutant deferred-not-noted src/state/deferred.rs \
    'self.added += addresses.len();
            self.latest.note(peer, *at);' \
    'self.added += addresses.len();'
mutant not-deferred-not-noted src/state/deferred.rs \
    'self.latest.note(peer, seen.last_seen);' \
    ''
mutant batch-not-noted src/state/deferred.rs \
    'self.latest.of_all = peers.latest();
            return;' \
    'return;'
mutant waiting-uncounted src/state/deferred.rs \
    'self.peers = peers.len() + passed.len();' \
    'self.peers = peers.len();'
mutant waiting-addresses-uncounted src/state/deferred.rs \
    'self.addresses = peers.most_addresses() + passed.added;' \
    'self.addresses = peers.most_addresses();'
mutant deferred-applied-twice src/state/deferred.rs \
    'self.changes.get(self.applied..)' \
    'self.changes.get(0..)'
mutant applier-not-known-to-sleep src/persistence/queue/applier.rs \
    'self.applying.is_asleep.store(!stops && rests, Ordering::Relaxed);' \
    ''
mutant applier-not-woken src/persistence/queue/applier.rs \
    'Task::Wake => self.applying.thread.ring(),' \
    'Task::Wake => {}'
mutant applier-never-helped src/persistence/queue/applier.rs \
    'if waiting < LEFT_MAX {' \
    'if waiting < usize::MAX {'
mutant ended-applier-waited-for src/persistence/queue/applier.rs \
    'self.applying.is_awake.store(!stops && !rests, Ordering::Relaxed);' \
    'self.applying.is_awake.store(!rests, Ordering::Relaxed);'
mutant latest-forgotten src/state/peers/edit.rs \
    'self.latest = self.latest.max(edit.last_seen);' \
    ''
mutant deferred-of-a-new-peer-apart src/state/peers.rs \
    'has_grown |= slot.is_none();' \
    ''
mutant rotation-overtakes src/persistence/queue/work.rs \
    'let work = match inner.closed.pop_front() {' \
    'let work = match inner.closed.pop_back() {'
mutant closing-seal-missing src/persistence/commit.rs \
    'self.commit(work)?;
        }
        self.finish()' \
    'self.commit(work)?;
        }
        if self.last_segment == 0 { self.finish() } else { Ok(()) }'
mutant close-never-gives-up src/persistence/commit.rs \
    'self.commit(work)?;' \
    'let _given_up = self.commit(work);'
mutant close-does-not-drain src/persistence/queue/work.rs \
    'let due = inner.closing
                || self.progress.is_demanded()' \
    'if inner.closing { return None; }
            let due = inner.closing
                || self.progress.is_demanded()'

echo
echo "$caught caught, ${#missed[@]} missed${missed[*]:+: ${missed[*]}}"
if [[ ${#missed[@]} -eq 0 && $wanted == "  " ]]; then
    printf '%s' "$table" >"$last_table"
fi
[[ ${#missed[@]} -eq 0 ]]
