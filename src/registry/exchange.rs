//! Packages in the network: put, fetch, announce, withdraw.

use std::time::{Duration, Instant};

use chrono::Utc;
use libp2p::kad::{self, Quorum, Record, store::RecordStore};
use libp2p_identity::PeerId;

use super::{
    addresses::normal_address,
    commands::{Published, Reply, answer},
    node::NodeTask,
    package::{Announcement, Checked, Package, PackageSource, check_id},
    shelf::{Stored, Verdict, aged, no_room, record_key, ttl},
    withdrawn::withdrawal,
};
use crate::{
    Ack, Error, ErrorKind,
    state::{Change, limits::PACKAGE_SECONDS_MAX},
};

/// Wait after no node took a package, before one is offered again.
const REPLICATE_AFTER: Duration = Duration::from_secs(15);

/// Somebody waits for a package.
pub(super) struct GetWait {
    id: String,
    since: Instant,
    reply: Reply<Option<Package>>,
}

/// A package on its way to other nodes, and who waits for the outcome.
pub(super) struct PutWait {
    id: String,
    publisher: Option<Waiting>,
}

struct Waiting {
    ack: Ack,
    published: Published,
    reply: Reply<(Ack, Published)>,
}

impl NodeTask {
    pub(super) fn publish(&mut self, package: Checked, reply: Reply<(Ack, Published)>) {
        match self.keep_own(&package) {
            Ok((query, ack)) => {
                let announced = self.announce(&package.announcement());
                let id = package.info.id.clone();
                let published = Published { info: package.info, replicas: 0, announced };
                let publisher = Some(Waiting { ack, published, reply });
                self.puts.insert(query, PutWait { id, publisher });
            }
            Err(error) => answer(reply, Err(error)),
        }
    }

    /// Journals an own package and starts to hand it out.
    fn keep_own(&mut self, package: &Checked) -> Result<(kad::QueryId, Ack), Error> {
        let id = &package.info.id;
        let local = *self.swarm.local_peer_id();
        let owner = self.catalog.owner(id).or_else(|| self.shelf.get(id).map(|row| row.publisher));
        if let Some(owner) = owner.filter(|owner| *owner != local) {
            let what = format!("the package id {id} belongs to peer {owner}");
            return Err(Error::invalid(what).next("publish it under another id"));
        }
        let known = self.shelf.get(id).is_some_and(|row| row.own);
        if !known && self.shelf.owned().count() >= self.config.limits.dht_records {
            return Err(no_room(kad::store::Error::MaxRecords));
        }
        let stored = Stored::new(package.clone(), &self.prefix, None);
        let at = super::recorder::now();
        // The journal first: what the DHT holds of ours must not be more than what is remembered.
        let ack = self.store.append(Change::DhtPut {
            key: [&self.prefix, id.as_str()].concat().into(),
            value: package.envelope.to_vec().into(),
            at,
        })?;
        let query = self.swarm.behaviour_mut().kad.put_record(stored.record, Quorum::All);
        let query = query.map_err(no_room)?;
        self.shelf.insert(package, true, at);
        self.catalog.add(package.info.clone(), package.published_ms);
        self.recorder.provides(&local, self.catalog.provided_by(&local));
        Ok((query, ack))
    }

    pub(super) fn unpublish(&mut self, id: &str) -> Result<Ack, Error> {
        check_id(id)?;
        if self.shelf.get(id).is_none_or(|row| !row.own) {
            return Err(Error::invalid(format!("this node does not publish a package {id}"))
                .next("unpublish it on the node that does"));
        }
        let now = super::recorder::now();
        // A clock that was set back must not leave the copies standing.
        let published_ms =
            self.shelf.get(id).map_or(0, |row| row.published_ms).max(now.get().timestamp_millis());
        let local = *self.swarm.local_peer_id();
        let mut changes = Vec::from(dropped(&self.prefix, id));
        changes.push(withdrawal(&self.prefix, &local, id, published_ms, now));
        let ack = self.store.append_batch(changes)?;
        self.catalog.withdraw(id, &local, published_ms, true, now);
        self.catalog.withdrawn.set_saved(id, &local);
        self.take_off(id);
        self.forget_providers(id);
        self.announce(&Announcement::Withdrawn { id: id.to_owned(), published_ms });
        Ok(ack)
    }

    pub(super) fn get(&mut self, id: String, reply: Reply<Option<Package>>) {
        let key = record_key(&self.prefix, &id);
        let query = self.swarm.behaviour_mut().kad.get_record(key);
        self.gets.insert(query, GetWait { id, since: Instant::now(), reply });
    }

    pub(super) fn on_get_progress(
        &mut self,
        query: kad::QueryId,
        result: kad::GetRecordResult,
        last: bool,
    ) {
        match result {
            Ok(kad::GetRecordOk::FoundRecord(found)) => {
                if let Some(package) = self.on_answer(query, found) {
                    if let Some(mut query) = self.swarm.behaviour_mut().kad.query_mut(&query) {
                        query.finish();
                    }
                    if let Some(wait) = self.gets.remove(&query) {
                        answer(wait.reply, Ok(Some(package)));
                    }
                }
            }
            Ok(kad::GetRecordOk::FinishedWithNoAdditionalRecord { .. }) => {}
            Err(kad::GetRecordError::NotFound { .. }) => {}
            Err(kad::GetRecordError::Timeout { .. }) => {
                if let Some(wait) = self.gets.remove(&query) {
                    answer(wait.reply, Err(timed_out("get_package")));
                }
            }
        }
        if last && let Some(wait) = self.gets.remove(&query) {
            answer(wait.reply, Ok(None));
        }
    }

    /// A peer answered with a record: what it is worth decides about the peer's reputation.
    fn on_answer(&mut self, query: kad::QueryId, found: kad::PeerRecord) -> Option<Package> {
        let wait = self.gets.get(&query)?;
        let (id, took) = (wait.id.clone(), wait.since.elapsed());
        let bytes_max = self.config.limits.package_bytes;
        let read = Checked::read(found.record.value.into(), Utc::now(), bytes_max);
        let package = match read.ok().filter(|package| package.info.id == id) {
            Some(package) => package,
            None => {
                self.recorder.counters_mut().invalid += 1;
                if let Some(peer) = found.peer {
                    tracing::debug!(%peer, "a peer answered with what is not the package");
                    let failed = self.store.retrieval_failed(&peer);
                    failed.map_or_else(|error| self.recorder.refused(&error), drop);
                }
                return None;
            }
        };
        let publisher = package.info.publisher;
        let foreign = self.catalog.owner(&id).is_some_and(|owner| owner != publisher);
        // The peer is not to blame: it may not have heard of the first publisher.
        if foreign || self.catalog.is_withdrawn(&id, &publisher, package.published_ms) {
            return None;
        }
        let Some(peer) = found.peer else {
            return Some(package.into_package(PackageSource::Local));
        };
        let succeeded = self.store.retrieval_succeeded(&peer, took);
        succeeded.map_or_else(|error| self.recorder.refused(&error), drop);
        self.cache(&package);
        self.catalog.add(package.info.clone(), package.published_ms);
        Some(package.into_package(PackageSource::Dht(peer)))
    }

    /// Keeps a fetched package for a while; the oldest make room.
    fn cache(&mut self, package: &Checked) {
        let most = self.config.limits.cache_bytes;
        let Ok(view) = self.store.view() else { return };
        let mut cached: Vec<_> = view.state().packages().collect();
        cached.sort_unstable_by_key(|(_, entry)| entry.cached_at);
        let mut bytes = cached.iter().map(|(_, entry)| entry.data.len()).sum::<usize>();
        bytes = bytes.saturating_add(package.envelope.len());
        let now = super::recorder::now();
        let oldest = now.get() - chrono::TimeDelta::seconds(PACKAGE_SECONDS_MAX);
        let mut changes = Vec::new();
        for (id, entry) in cached {
            if bytes > most || entry.cached_at.get() < oldest {
                bytes = bytes.saturating_sub(entry.data.len());
                changes.push(Change::PackageDropped { id: id.into() });
            }
        }
        if bytes <= most {
            let (id, data) = (package.info.id.as_str().into(), package.envelope.to_vec().into());
            changes.push(Change::PackageCached { id, data, at: now });
        }
        drop(view);
        self.recorder.append(changes);
    }

    pub(super) fn on_put_done(&mut self, query: kad::QueryId, result: kad::PutRecordResult) {
        let replicas = match result {
            Ok(_) => kad::K_VALUE.get(),
            Err(
                kad::PutRecordError::QuorumFailed { success, .. }
                | kad::PutRecordError::Timeout { success, .. },
            ) => success.len(),
        };
        let Some(PutWait { id, publisher }) = self.puts.remove(&query) else { return };
        if replicas > 0 {
            self.shelf.set_replicated(&id);
        } else {
            self.replicate_at = Instant::now() + REPLICATE_AFTER;
        }
        if let Some(Waiting { ack, published, reply }) = publisher {
            answer(reply, Ok((ack, Published { replicas, ..published })));
        }
    }

    /// Hands out an own package that no other node has yet, one at a time.
    pub(super) fn replicate_next(&mut self) {
        if Instant::now() < self.replicate_at
            || self.puts.values().any(|put| put.publisher.is_none())
        {
            return;
        }
        let waiting = |id: &String| self.puts.values().any(|put| put.id == *id);
        let next = self.shelf.owned().find(|(id, row)| !row.replicated && !waiting(id));
        let Some(id) = next.map(|(id, _)| id.clone()) else { return };
        let key = record_key(&self.prefix, &id);
        let kad = &mut self.swarm.behaviour_mut().kad;
        let Some(record) = kad.store_mut().get(&key).map(|record| record.into_owned()) else {
            return;
        };
        if let Ok(query) = kad.put_record(record, Quorum::All) {
            self.puts.insert(query, PutWait { id, publisher: None });
        }
    }

    /// Another node asks this one to keep a record.
    pub(super) fn on_put(&mut self, source: &PeerId, record: Record) {
        // Before any work is done for it.
        if !self.puts_budget.take(source, super::recorder::now()) {
            self.recorder.counters_mut().coalesced += 1;
            return;
        }
        if let Err(why) = self.keep(record) {
            self.recorder.counters_mut().invalid += 1;
            tracing::debug!(peer = %source, why, "a record was not kept");
        }
    }

    fn keep(&mut self, record: Record) -> Result<(), &'static str> {
        let id = std::str::from_utf8(record.key.as_ref())
            .ok()
            .and_then(|key| key.strip_prefix(&self.prefix))
            .ok_or("its key is not that of a package")?;
        let limits = &self.config.limits;
        let read = Checked::read(record.value.into(), Utc::now(), limits.package_bytes);
        let package = read.ok().filter(|package| package.info.id == id);
        let package = package.ok_or("it is not the package that its key names")?;
        let info = package.info.clone();
        if info.publisher == *self.swarm.local_peer_id() {
            return Err("only this node itself says what it publishes");
        }
        if self.catalog.is_withdrawn(&info.id, &info.publisher, package.published_ms) {
            return Err("it was withdrawn");
        }
        if self.catalog.owner(&info.id).is_some_and(|owner| owner != info.publisher) {
            return Err("the id is another publisher's");
        }
        let life = limits.dht_ttl;
        let left = record.expires.map(|at| at.saturating_duration_since(Instant::now()));
        let left = left.unwrap_or(life).min(life);
        // A copy that is passed on is as old as it was: else copies would keep each other alive.
        let now = aged(super::recorder::now(), life.saturating_sub(left));
        match self.shelf.judge(&package, limits, now) {
            Verdict::Keep => {}
            Verdict::Known => return Ok(()),
            Verdict::Refused(why) => return Err(why),
        }
        let change = Change::DhtPut {
            key: [&self.prefix, info.id.as_str()].concat().into(),
            value: package.envelope.to_vec().into(),
            at: now,
        };
        let stored = Stored::new(package, &self.prefix, Some(left));
        let kept = stored.put(self.swarm.behaviour_mut().kad.store_mut());
        let package = kept.map_err(|_| "there is no room")?;
        self.shelf.insert(&package, false, now);
        self.recorder.append(vec![change]);
        self.catalog.add(info, package.published_ms);
        Ok(())
    }

    /// Packages of others that nobody put again.
    pub(super) fn drop_expired(&mut self) {
        let now = super::recorder::now();
        self.puts_budget.prune(now);
        let mut changes = self.catalog.withdrawn.expire(ttl(&self.config.limits), now);
        let expired = self.shelf.expired(&self.config.limits, now);
        for id in expired {
            self.take_off(&id);
            changes.push(Change::DhtRemoved { key: [&self.prefix, id.as_str()].concat().into() });
        }
        self.recorder.append(changes);
    }

    /// From the shelf and the DHT's record store.
    pub(super) fn take_off(&mut self, id: &str) {
        self.shelf.remove(id);
        let key = record_key(&self.prefix, id);
        self.swarm.behaviour_mut().kad.store_mut().remove(&key);
    }

    /// Another node says that it provides a package. What it has is checked by whoever fetches it.
    pub(super) fn on_provider(&mut self, mut record: kad::ProviderRecord) {
        if !self.puts_budget.take(&record.provider, super::recorder::now()) {
            self.recorder.counters_mut().coalesced += 1;
            return;
        }
        let id = std::str::from_utf8(record.key.as_ref()).ok();
        if id.and_then(|key| key.strip_prefix(&self.prefix)).is_none_or(|id| check_id(id).is_err())
        {
            self.recorder.counters_mut().invalid += 1;
            return;
        }
        let bytes_max = self.config.limits.address_bytes;
        let addresses = record.addresses.iter().take(self.config.limits.addresses_unverified);
        record.addresses = addresses
            .filter_map(|address| normal_address(&record.provider, address, bytes_max))
            .collect();
        if let Err(error) = self.swarm.behaviour_mut().kad.store_mut().add_provider(record) {
            tracing::debug!(%error, "a provider record was not kept");
        }
    }

    /// Nobody provides it any more.
    pub(super) fn forget_providers(&mut self, id: &str) {
        let key = record_key(&self.prefix, id);
        let records = self.swarm.behaviour_mut().kad.store_mut();
        for provided in records.providers(&key) {
            records.remove_provider(&key, &provided.provider);
        }
    }
}

/// The changes that drop every copy of a package.
pub(super) fn dropped(prefix: &str, id: &str) -> [Change; 2] {
    let key = [prefix, id].concat().into();
    [Change::DhtRemoved { key }, Change::PackageDropped { id: id.into() }]
}

/// The cached package, unless it is too old.
pub(super) fn cached(view: &crate::View, id: &str, bytes_max: usize) -> Option<Package> {
    let now = Utc::now();
    let entry = view.state().package(id)?;
    let oldest = now - chrono::TimeDelta::seconds(PACKAGE_SECONDS_MAX);
    if entry.cached_at.get() < oldest {
        return None;
    }
    let package = Checked::read(std::sync::Arc::clone(&entry.data), now, bytes_max).ok()?;
    (package.info.id == id).then(|| package.into_package(PackageSource::Cache))
}

/// The package that this node publishes or keeps for the DHT.
pub(super) fn local(
    view: &crate::View,
    prefix: &str,
    id: &str,
    bytes_max: usize,
) -> Option<Package> {
    let entry = view.state().dht_entry(&[prefix, id].concat())?;
    let package = Checked::read(std::sync::Arc::clone(&entry.value), Utc::now(), bytes_max).ok()?;
    (package.info.id == id).then(|| package.into_package(PackageSource::Local))
}

/// Nobody answered in time.
pub(super) fn timed_out(what: &str) -> Error {
    Error::new(ErrorKind::Network, format!("{what} got no answer in time"))
        .next("check the connection, or raise `query_timeout`")
}
