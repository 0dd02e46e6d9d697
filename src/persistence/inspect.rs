//! Reading a store without a lock in one go, and sealing a snapshot that was edited by hand.

use std::{path::Path, time::Duration};

use super::{P2PStatePersistence, View, options::Builder};
use crate::{
    Error, ErrorKind, Lsn, StoreId,
    recovery::{self, Base, OnDamage, Recovered, report::RecoveryReport},
    snapshot::{
        publish::{Demote, Places, Publication},
        read::{SNAPSHOT_BYTES_MAX, read_unsealed},
    },
    state::{Change, Limits, P2PState, State},
    vfs::{OsVfs, Vfs, read_file},
};

/// A live store changes under its reader: what looks damaged is looked at again this often.
pub(crate) const ATTEMPTS: u32 = 5;
const ATTEMPT_PAUSE: Duration = Duration::from_millis(20);

/// What is on disk, read without a lock and without changing anything.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Inspection {
    /// The state that an opening would recover.
    pub view: View,
    /// What an opening would find. Nothing was set aside.
    pub report: RecoveryReport,
    /// The store's name; `None` for a version 1 file or if there is no store.
    pub store_id: Option<StoreId>,
}

/// Reads a store as an opening would recover it, without a lock, a repair or any other change. Safe
/// on a live store: a record that is just being written is in flight, not damage. Where there is no
/// store, that is a first run; [`Reader`](crate::Reader) calls it an error and tells much more.
///
/// # Errors
/// `Io` if the files cannot be read, `NewerVersion` if they are of a newer version.
pub fn inspect(state_file: impl AsRef<Path>) -> Result<Inspection, Error> {
    let recovered = examine(&Builder::new(state_file.as_ref().to_owned()))?;
    Ok(Inspection {
        view: View::new(recovered.state, recovered.last_lsn),
        report: recovered.report,
        store_id: recovered.store_id,
    })
}

fn examine(options: &Builder) -> Result<Recovered, Error> {
    let places = Places::new(&options.state_file);
    examine_patiently(options.vfs.as_ref(), &places, options.limits, ATTEMPTS)
}

/// What an opening would find and recover. A live store may change while it is read: what looks
/// damaged is read again.
pub(crate) fn examine_patiently(
    vfs: &dyn Vfs,
    places: &Places,
    limits: Limits,
    attempts: u32,
) -> Result<Recovered, Error> {
    let mut attempt = 1;
    loop {
        let examined = recovery::examine(vfs, places, limits, OnDamage::Salvage, Base::Kept);
        let in_doubt = examined.as_ref().map_or_else(
            |error| error.kind() == ErrorKind::Io,
            |recovered| recovered.report.is_damaged(),
        );
        if in_doubt && attempt < attempts {
            attempt = attempt.saturating_add(1);
            std::thread::sleep(ATTEMPT_PAUSE);
            continue;
        }
        return examined;
    }
}

impl P2PStatePersistence {
    /// A snapshot now, on this thread.
    pub(crate) fn compact_now(&self) -> Result<Lsn, Error> {
        self.engine()?.compact()
    }

    /// Puts the state that `derive` gives into two fresh snapshots, so that what older ones and
    /// segments hold is not needed any more. Blocks.
    pub(crate) fn replace_now(
        &self,
        derive: impl Fn(&State) -> Result<State, Error> + Send + 'static,
    ) -> Result<Lsn, Error> {
        self.engine()?.replace(derive)
    }

    /// Closes on this thread, for those who have no future to await.
    pub(crate) fn close_now(&self) -> Result<(), Error> {
        self.shared().close()
    }
}

/// The state for a handle that may not write.
pub(super) fn read_only_state(options: &Builder) -> Result<P2PState, Error> {
    let mut recovered = examine(options)?;
    let now = (options.clock)();
    if recovered.state.has_expired(now.into()) {
        recovered.state.apply(&Change::Expired { at: now.into() })?;
    }
    Ok(recovered.state.to_rows(recovered.saved_at))
}

/// Renews the checksum of a snapshot file that was edited on purpose. The file is read and checked
/// whole, and written anew beside itself before it is replaced. Run it while no node has the store
/// open.
///
/// # Errors
/// `Invalid` if it is not a snapshot of the current version or a limit keeps a row out; `Io` if
/// the disk refuses. The file is unchanged then.
pub fn seal_snapshot(file: impl AsRef<Path>) -> Result<(), Error> {
    let file = file.as_ref();
    let bytes = read_file(&OsVfs, file, SNAPSHOT_BYTES_MAX)
        .map_err(|error| Error::io("cannot read the snapshot", file, error))?;
    let loaded = read_unsealed(&bytes, Limits::default())
        .map_err(|reason| Error::invalid(format!("not a snapshot to seal: {reason}")).at(file))?;
    if let Some(reason) = loaded.skipped.first {
        return Err(Error::invalid(format!("a row breaks a limit: {reason}")).at(file));
    }
    Publication {
        vfs: &OsVfs,
        places: &Places::new(file),
        state: &loaded.state,
        meta: &loaded.meta,
        demote: &Demote::Nothing,
        stop: &|| false,
    }
    .publish()?;
    Ok(())
}
