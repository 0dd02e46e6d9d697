//! `peer-journal node`: a registry from the command line.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use peer_journal::{
    Multiaddr, P2PConfig, P2PRegistry,
    registry::{Package, PackageSource},
};

use crate::{Failure, identity, out, signals::Signals};

/// Time between two tries to find a package while the node joins the network.
const RETRY: Duration = Duration::from_millis(500);

/// Run a node that remembers: peers, reputation, bans and packages survive a crash.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Address to listen on; repeatable [default: any TCP port of every IPv4 interface]
    #[arg(long, value_name = "MULTIADDR", value_parser = address)]
    listen: Vec<Multiaddr>,
    /// Node to join the network through; repeatable
    #[arg(long, value_name = "MULTIADDR", value_parser = address)]
    bootstrap: Vec<Multiaddr>,
    /// State file; its journal is kept beside it [default: ~/.ggen/p2p-state.json]
    #[arg(long, value_name = "FILE")]
    state_file: Option<PathBuf>,
    /// Identity of the node, made if it is missing [default: beside the state file, `.key`]
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Publish this file as a package
    #[arg(long, value_name = "FILE", requires_all = ["id", "version"])]
    publish: Option<PathBuf>,
    /// Id of the package to publish
    #[arg(long, value_name = "ID", requires = "publish")]
    id: Option<String>,
    /// Version of the package to publish
    #[arg(long, value_name = "VERSION", requires = "publish")]
    version: Option<String>,
    /// What the package to publish is
    #[arg(long, value_name = "TEXT", requires = "publish", default_value = "")]
    #[arg(hide_default_value = true)]
    description: String,
    /// Fetch the package with this id
    #[arg(long, value_name = "ID")]
    get: Option<String>,
    /// Where to write the fetched package
    #[arg(long, value_name = "FILE", requires = "get")]
    output: Option<PathBuf>,
    /// Seconds to look for the package, and for any query
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
    /// Stop once everything asked for is done
    #[arg(long)]
    once: bool,
}

impl Args {
    /// The same with `--store` as the state file, unless one is named.
    pub(crate) fn at(mut self, store: Option<PathBuf>) -> Self {
        self.state_file = self.state_file.or(store);
        self
    }
}

fn address(text: &str) -> Result<Multiaddr, String> {
    const EXAMPLE: &str = "/ip4/192.0.2.1/tcp/4001, with or without /p2p/<peer id>";
    text.parse().map_err(|error| format!("{error}; expected for example {EXAMPLE}"))
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::io("cannot start the runtime", error))?;
    runtime.block_on(async {
        let mut stop = Signals::catch()?;
        let config = config(&args)?;
        let payload = args.publish.as_deref().map(|path| payload(path, &config)).transpose()?;
        let node = P2PRegistry::new(config).await?;
        let worked = tokio::select! {
            worked = work(&node, &args, payload) => match worked {
                Ok(()) if args.once => Ok(()),
                Ok(()) => {
                    stop.asked().await;
                    Ok(())
                }
                failed => failed,
            },
            () = stop.asked() => Ok(()),
        };
        // Also after a failure: what was learned is kept.
        let stopped = node.shutdown().await;
        worked?;
        stopped?;
        out::note(format_args!("stopped; the state is saved"));
        Ok(())
    })
}

fn config(args: &Args) -> Result<P2PConfig, Failure> {
    let mut config = P2PConfig {
        bootstrap_nodes: args.bootstrap.clone(),
        query_timeout: Duration::from_secs(args.timeout),
        state_file: args.state_file.clone(),
        ..P2PConfig::default()
    };
    if !args.listen.is_empty() {
        config.listen_addresses.clone_from(&args.listen);
    }
    let key_file = match (&args.key_file, &args.state_file) {
        (Some(key_file), _) => key_file.clone(),
        (None, Some(state_file)) => identity::default_path(state_file),
        (None, None) => {
            let home = std::env::home_dir().filter(|home| !home.as_os_str().is_empty());
            let home = home.ok_or_else(|| {
                Failure::usage("this user has no home folder; name a file with --state-file")
            })?;
            identity::default_path(&home.join(".ggen").join("p2p-state.json"))
        }
    };
    config.keypair = Some(identity::load_or_create(&key_file)?);
    Ok(config)
}

/// The file to publish. No more of it is read than a package may have.
fn payload(path: &Path, config: &P2PConfig) -> Result<Vec<u8>, Failure> {
    let cannot = |error| Failure::io(format_args!("cannot read {}", path.display()), error);
    let most = u64::try_from(config.limits.package_bytes).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    let mut file = fs::File::open(path).map_err(cannot)?.take(most.saturating_add(1));
    file.read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() > config.limits.package_bytes {
        let most = config.limits.package_bytes;
        return Err(Failure::usage(format!(
            "{} is larger than a package may be ({most} bytes)",
            path.display()
        )));
    }
    Ok(bytes)
}

async fn work(node: &P2PRegistry, args: &Args, payload: Option<Vec<u8>>) -> Result<(), Failure> {
    let local = node.local_peer_id();
    for address in node.start_listening().await? {
        out::line(format_args!("listening on {address}/p2p/{local}"))?;
    }
    node.subscribe().await?;
    if !args.bootstrap.is_empty() {
        match node.bootstrap().await {
            Ok(joined) => {
                for (address, why) in joined.failed {
                    out::note(format_args!("warning: {address} did not answer: {why}"));
                }
            }
            // The node goes on: it may know other peers, or be found by them.
            Err(error) => out::note(format_args!("warning: {error:#}")),
        }
    }
    if let (Some(data), Some(id), Some(version)) = (payload, &args.id, &args.version) {
        let published = node.publish_package(id, version, &args.description, &data).await?;
        out::line(format_args!(
            "published {id} {version}: {} bytes, {} replicas",
            published.info.size, published.replicas
        ))?;
    }
    if let Some(id) = &args.get {
        let package = find(node, id, Duration::from_secs(args.timeout)).await?;
        if let Some(path) = &args.output {
            fs::write(path, &package.data).map_err(|error| {
                Failure::io(format_args!("cannot write {}", path.display()), error)
            })?;
        }
        let from = match package.source {
            PackageSource::Cache => "the cache".to_owned(),
            PackageSource::Local => "this node".to_owned(),
            PackageSource::Dht(peer) => format!("peer {peer}"),
            _ => "elsewhere".to_owned(),
        };
        let (version, size) = (&package.info.version, package.info.size);
        out::line(format_args!("got {id} {version}: {size} bytes from {from}"))?;
    }
    Ok(())
}

/// Asks until somebody has it: right after a start the node knows few others.
async fn find(node: &P2PRegistry, id: &str, limit: Duration) -> Result<Package, Failure> {
    let begun = Instant::now();
    loop {
        if let Some(package) = node.get_package(id).await? {
            return Ok(package);
        }
        if begun.elapsed() >= limit {
            return Err(Failure::negative(format!("nobody reachable has the package {id}")));
        }
        tokio::time::sleep(RETRY).await;
    }
}
